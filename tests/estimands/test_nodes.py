"""Fewer nodes in the place of all: when, and what that changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import deepdml as dd
from deepdml.estimands import Estimand, Sample, UserFunction, integration
from deepdml.estimands.integration import structural_row
from deepdml.learn.influence import LocationScaleLaw, interpolate
from deepdml.learn.treatment import NODES, residual_nodes
from deepdml.results.columns import UserColumns

N = 1_000
SPLINE = "bs(t, df=3)"


def heavy(results: Any) -> Any:
    """The results with as many nodes of residuals with four degrees of freedom as a fit would have."""
    residuals, weights = residual_nodes(stats.t(4).rvs(20_000, random_state=np.random.default_rng(0)), None)
    rows = results._fit.rows
    (piece,) = rows.repetitions
    piece = replace(piece, law=replace(piece.law, residuals=residuals, weights=weights))
    fit = replace(results._fit, rows=replace(rows, repetitions=(piece,)))
    return type(results)(fit, dd.AverageCoefficient(), results._estimates, results._model)


def sample_of(results: Any) -> Sample:
    fit = results._fit
    (piece,) = fit.rows.repetitions
    columns = UserColumns(fit, results._model.user_data)
    return Sample(
        fit.rows.t,
        fit.theta_names,
        piece.theta,
        piece.law,
        fit.family,
        columns.interventions,
        columns,
        lambda_inverse=piece.lambda_inverse,
    )


def chosen(results: Any, estimand: Any) -> int:
    """How many nodes are used."""
    sample = sample_of(results)
    terms, fields = estimand.parts(sample)
    law = integration._thinned(sample.law, sample, terms, fields, estimand.indicator(sample))
    return len(law.residuals)


@pytest.fixture
def tried(monkeypatch):
    """Fewer nodes are tried with few rows, too."""
    monkeypatch.setattr(integration, "PILOT", 100)


MEANS = [
    dd.AverageMarginalEffect(),
    dd.AverageMarginalEffect(method="dyex", subset="x0 > 0"),
    dd.Elasticity(),
]
LAWS = [dd.ConditionalVariance(), dd.TailProbability([0.4, 0.6])]
QUANTILES = [dd.ConditionalQuantile([0.1, 0.9])]
CASES: list[tuple[str, list[Any]]] = [
    ("gaussian", MEANS),
    ("logit", [*MEANS, dd.ConditionalVariance(), dd.TailProbability(0), dd.ChoiceProbability()]),
    ("poisson", [*MEANS, dd.ConditionalVariance(), dd.TailProbability([0, 3])]),
    *[(name, [*MEANS[:2], *LAWS, *QUANTILES]) for name in ("gaussian_scale", "gumbel")],  # means of either sign
    *[(name, [*MEANS, *LAWS, *QUANTILES]) for name in ("weibull", "gamma", "beta")],
    ("tobit", [*MEANS, *LAWS, dd.ConditionalQuantile(0.3)]),
]


@pytest.mark.parametrize("formula", [None, SPLINE])
@pytest.mark.parametrize(("family", "asked"), CASES, ids=[name for name, _ in CASES])
def test_estimates_are_those_with_all_nodes(known, tried, monkeypatch, family, asked, formula):
    draw = known(family, "continuous", n=N, shift=0.1, formula=formula)
    results = heavy(draw.results)
    few = results.estimate(asked)
    monkeypatch.setattr(integration, "PILOT", N)
    full = results.estimate(asked)
    assert not few.psi.equals(full.psi)
    # an estimate may change by a ten-thousandth of its standard error, or a few of them as the pilot's rows are not all
    assert ((few.params - full.params).abs() < 3 * integration.NEGLIGIBLE * full.bse).all()
    np.testing.assert_allclose(few.bse, full.bse, rtol=3 * integration.NEGLIGIBLE)


def test_smooth_gradients_need_few_nodes_and_jumps_all(known, tried):
    results = heavy(known("tobit", "continuous", n=N).results)
    assert chosen(results, dd.AverageMarginalEffect()) == integration.ORDERS[0]
    assert chosen(results, dd.ConditionalQuantile(0.1)) == NODES
    spline = heavy(known("tobit", "continuous", n=N, formula=SPLINE).results)
    assert integration.ORDERS[0] < chosen(spline, dd.AverageMarginalEffect()) < NODES


def test_few_rows_keep_all_nodes(known):
    results = heavy(known("logit", "continuous", n=N).results)
    assert chosen(results, dd.AverageMarginalEffect()) == NODES


def test_units_of_the_treatment_do_not_matter(known, tried):
    """A gradient whose part in the intercept jumps keeps all nodes, however large its part in the treatment is."""
    results = heavy(known("logit", "continuous", n=N).results)
    sample, units = sample_of(results), np.diag([1.0, 1e-6])  # of a treatment a million times as large
    sample = replace(sample, lambda_inverse=units @ sample.lambda_inverse @ units)

    def used(jump: float) -> int:
        def terms(theta: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            first = np.where(t[..., 1] > 1.5, jump, 0.1)
            return first[..., None], np.stack([first, 1e6 * t[..., 1]], axis=-1)[..., None, :]

        law = integration._thinned(sample.law, sample, terms, (structural_row(sample),), None)
        return len(law.residuals)

    assert used(0.1) == integration.ORDERS[0]
    assert used(1.0) == NODES


class TestCondensed:
    def test_polynomials_keep_their_means(self):
        rng = np.random.default_rng(1)
        residuals, weights = residual_nodes(stats.t(3).rvs(5_000, random_state=rng), rng.uniform(size=5_000))
        law = LocationScaleLaw(np.zeros(1), np.ones(1), residuals, weights, np.arange(2.0), np.ones((2, 1)), True)
        for count in integration.ORDERS:
            few = law.condensed(count)
            assert len(few.residuals) == count
            assert (few.weights > 0).all()
            assert np.abs(few.residuals).max() < np.abs(residuals).max() + 1e-12  # rounding
            for degree in range(2 * count):
                # rounding, beside the mean of the power's size
                scale = weights @ np.abs(residuals) ** degree
                assert few.weights @ few.residuals**degree == pytest.approx(
                    weights @ residuals**degree, abs=1e-11 * scale
                )

    def test_a_law_of_fewer_nodes_stays(self, known):
        law = known("logit", "continuous").results._fit.rows.repetitions[0].law
        assert law.condensed(12) is law
        assert len(law.condensed(11).residuals) == 11


def test_interpolation_of_a_table_is_that_of_its_columns():
    rng = np.random.default_rng(2)
    grid, values = np.unique(rng.standard_normal(300)), 2.0 * rng.standard_normal((40, 7))
    values[0, :2] = grid[[0, -1]]
    table = np.column_stack([rng.standard_normal(len(grid)), grid**2, np.full(len(grid), 3.0)])
    expected = np.stack([np.interp(values, grid, column) for column in table.T], axis=-1)
    np.testing.assert_array_equal(interpolate(values, grid, table), expected)


def test_a_bend_is_taken_along_the_axes_that_have_noise():
    """Of a quadratic, half the trace; noise of rank one has one axis, and none leaves no bend."""
    rng = np.random.default_rng(3)
    n, asked = 200, []
    theta, axis = rng.standard_normal((n, 3)), rng.standard_normal((n, 3))

    def terms(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(at)
        return (at**2).sum(-1, keepdims=True), 2 * at[:, None]

    gradient = terms(theta)[1]
    noise = axis[:, :, None] * axis[:, None, :]
    found = integration._bend(terms, theta, noise, (), gradient)
    np.testing.assert_allclose(found[:, 0], (axis**2).sum(1), rtol=1e-9)  # rounding of the axes
    assert len(asked) <= 1 + 1 + 2 + 2  # its own, whether it is linear, along the axis, and near again
    assert (integration._bend(terms, theta, 0 * noise, (), gradient) == 0).all()


def test_rows_where_a_function_is_flat_are_no_error(known, monkeypatch):
    """A function is looked at over all rows before blocks of them; one block may have no slope."""
    monkeypatch.setattr(integration, "CHUNK", 200)
    draw = known("logit", "continuous", n=400)
    sample = sample_of(draw.results)
    order = np.argsort(sample.theta[:, 0])
    sample = replace(sample, theta=sample.theta[order], noise=np.broadcast_to(0.01 * np.eye(2), (400, 2, 2)))
    estimand: Estimand = UserFunction(lambda x, t, theta: torch.relu(theta[..., 0] - 0.2) ** 2)
    assert np.isfinite(estimand.evaluate(sample).bend).all()

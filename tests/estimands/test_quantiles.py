"""Quantiles given treatment and covariates, and differences between treatments of what an outcome's law gives."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import deepdml as dd
from deepdml.errors import OptionError
from deepdml.estimands import AverageCoefficient
from deepdml.estimands.response import gradients_of, values_of
from deepdml.families import Tobit, registered

ETA = np.array([[-0.6, -0.5], [-0.2, 0.4], [0.1, 0.0], [0.5, 0.3], [1.0, 1.2]])
SHARES = (0.02, 0.25, 0.5, 0.9, 0.99)
every_law = pytest.mark.parametrize("name", ["beta", "gamma", "gaussian_scale", "gumbel", "tobit", "weibull"])


@pytest.fixture
def ppf(laws):
    """Quantiles by scipy."""

    def quantile(name, share, eta):
        values = laws[name](eta).ppf(share)
        return np.maximum(values, 0.0) if name == "tobit" else values

    return quantile


@every_law
@pytest.mark.parametrize("share", SHARES)
class TestFamilies:
    def test_quantiles_are_those_of_scipy(self, ppf, name, share):
        # closed forms and iterations to rounding
        np.testing.assert_allclose(registered()[name]().quantile(share, ETA), ppf(name, share, ETA), rtol=1e-10)

    def test_the_tail_beyond_a_quantile_is_its_share(self, name, share):
        family = registered()[name]()
        for eta, at in zip(ETA, family.quantile(share, ETA), strict=True):
            reached = 1 - share if at > 0 or name != "tobit" else family.tail(0.0, eta[None])[0]
            assert family.tail(float(at), eta[None])[0] == pytest.approx(reached, rel=1e-9)  # rounding over the tail

    def test_slopes_are_derivatives(self, ppf, name, share):
        h = 1e-5
        steps = h * np.eye(2)
        expected = np.stack([(ppf(name, share, ETA + s) - ppf(name, share, ETA - s)) / (2 * h) for s in steps], -1)
        found = registered()[name]().quantile_slope(share, ETA)
        # central differences: h squared, and rounding over h
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)

    def test_gradients_in_theta(self, ppf, name, share):
        family = registered()[name]().bind(("Intercept", "t"))
        rng = np.random.default_rng(0)
        t, theta = np.column_stack([np.ones(6), rng.uniform(-1, 1, 6)]), 0.4 * rng.standard_normal((6, 3))
        function, slope = partial(family.quantile, share), partial(family.quantile_slope, share)
        value = values_of(family, [function], t, theta)[:, 0]
        np.testing.assert_allclose(value, ppf(name, share, family.indices(t, theta)), rtol=1e-10)  # as above
        closed, wide = (gradients_of(family, [(function, s)], t, theta) for s in (slope, None))
        np.testing.assert_allclose(closed, wide, rtol=1e-7, atol=1e-9)  # h^4, and rounding over a narrow step


def test_far_tails_stay_finite():
    """Shapes that put nearly all mass at an end of the support, as a poor fit may have them."""
    eta = np.array([[0.0, -6.0], [0.0, 6.0], [8.0, -3.0], [-8.0, -3.0]])
    for name in ("gamma", "beta"):
        family = registered()[name]()
        for share in (0.01, 0.99):
            assert family.in_support(family.quantile(share, eta)).all()
            assert np.isfinite(family.quantile_slope(share, eta)).all()


def test_a_quantile_at_either_point_of_censoring_stays_there():
    family = Tobit(-1.0, 2.0)
    eta = np.array([[-3.0, 0.0], [0.5, 0.0], [4.0, 0.0]])
    np.testing.assert_allclose(family.quantile(0.5, eta), [-1.0, 0.5, 2.0])
    np.testing.assert_allclose(family.quantile_slope(0.5, eta), [[0, 0], [1, 0], [0, 0]], atol=1e-15)


@pytest.mark.parametrize("name", ["gaussian", "logit", "probit", "poisson", "negbin", "zip", "ordered_logit"])
def test_laws_with_steps_or_none_have_no_quantiles(name):
    with pytest.raises(OptionError, match=f"'{name}' has no quantiles.*TailProbability"):
        registered()[name]().quantile(0.5, ETA)


class TestEstimand:
    def test_without_covariates_left_over_it_is_the_quantile(self, known, laws):
        """Rows with one theta have one law, whose quantile the average is."""
        draw = known("weibull", "binary")
        piece = draw.results._fit.rows.repetitions[0]
        theta = np.tile([0.2, 0.4, 0.3], (400, 1))
        fit = replace(
            draw.results._fit,
            rows=replace(draw.results._fit.rows, repetitions=(replace(piece, theta=theta, score=0 * theta),)),
        )
        res = type(draw.results)(fit, AverageCoefficient(), draw.results._estimates, draw.results._model)
        found = res.estimate(dd.ConditionalQuantile([0.2, 0.8], column="t", value=1))
        np.testing.assert_allclose(found.params, laws["weibull"](np.array([0.6, 0.3])).ppf([0.2, 0.8]), rtol=1e-12)
        assert list(found.params.index) == ["Q0.2(y | t, x, t = 1)", "Q0.8(y | t, x, t = 1)"]

    @pytest.mark.parametrize(
        "make",
        [
            partial(dd.ConditionalQuantile, [0.3, 0.6]),
            partial(dd.TailProbability, [0.5, 1.0]),
            dd.ConditionalVariance,
        ],
    )
    def test_against_another_value_is_a_difference(self, known, make):
        res = known("gamma", "binary", shift=0.1).results
        both = [res.estimate(make(column="t", value=value)).psi.to_numpy() for value in (1, 0)]
        found = res.estimate(make(column="t", value=1, against=0))
        np.testing.assert_allclose(found.psi, both[0] - both[1], rtol=1e-9, atol=1e-12)  # rounding
        assert ", t = 1 vs 0)" in found.params.index[0]

    def test_the_median_effect_of_a_normal_outcome_is_the_coefficient(self, known):
        res = known("gaussian_scale", "binary", shift=0.1).results
        found = res.estimate(dd.ConditionalQuantile(0.5, column="t", value=1, against=0))
        np.testing.assert_allclose(found.psi.iloc[:, 0], res.psi["t"], rtol=1e-8, atol=1e-10)  # differences

    def test_a_quantile_that_is_censored_everywhere_is_refused(self, known):
        res = known("tobit", "binary").results
        with pytest.raises(OptionError, match=r"the 1e-06 quantile is a point of censoring in every row"):
            res.estimate(dd.ConditionalQuantile([0.5, 1e-6]))

    @pytest.mark.parametrize("shares", [0.0, 1.0, [0.5, 2.0], [], np.nan])
    def test_shares_are_shares(self, shares):
        with pytest.raises(OptionError, match=r"between 0 and 1, such as 0\.5 for the median"):
            dd.ConditionalQuantile(shares)

    def test_against_needs_a_variable(self):
        with pytest.raises(OptionError, match="against=0 needs the variable"):
            dd.ConditionalQuantile(0.5, against=0)

"""Held-out predictions and their convex weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from deepdml.families import Logit, Poisson
from deepdml.learn.bases import linear_basis, sieve_basis
from deepdml.learn.candidates import fit_basis
from deepdml.learn.stacking import Predictions, predictions_of_basis, simplex_weights, stack
from deepdml.learn.tasks import LevelTask, MeanTask, OutcomeTask


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def best_on_simplex(loss, c: int) -> float:
    """The least loss on the simplex by scipy, from every corner and the middle."""
    starts = [np.full(c, 1 / c), *(0.9 * np.eye(c) + 0.1 / c)]
    found = [
        minimize(
            loss,
            start,
            method="SLSQP",
            bounds=[(0, 1)] * c,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-12},
        ).fun
        for start in starts
    ]
    return min(found)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(1, 2), st.integers(0, 10_000), st.floats(0.1, 3.0))
def test_weights_for_squared_errors_are_the_best_on_the_simplex(c, o, seed, noise):
    target = normal(50, o, seed=seed)
    task, rows = MeanTask("m", target, None), torch.arange(50)
    predictions = [0.7 * target + noise * normal(50, o, seed=seed + k + 1) for k in range(c)]
    weights = simplex_weights(task, predictions, rows).numpy()
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1.0)

    def loss(w):
        return float(task.loss(sum(a * p for a, p in zip(w.tolist(), predictions, strict=True)), rows).mean())

    # scipy stops within 1e-12 of its own minimum; ours adds a ridge of 1e-9
    assert loss(weights) <= best_on_simplex(loss, c) + 1e-7


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(["logit", "poisson", "levels"]), st.integers(2, 4), st.integers(0, 10_000))
def test_weights_for_other_losses_are_the_best_on_the_simplex(kind, c, seed):
    rng = np.random.default_rng(seed)
    n = 200
    t = torch.from_numpy(np.column_stack([np.ones(n), rng.standard_normal(n)]))
    truth = 0.3 * normal(n, 2, seed=seed)
    eta = (t * truth).sum(1).numpy()
    if kind == "levels":
        task = LevelTask("l", torch.from_numpy(rng.integers(0, 3, n)), 3, None)
    elif kind == "logit":
        y = (rng.random(n) < 1 / (1 + np.exp(-eta))) * 1.0
        task = OutcomeTask(Logit(), torch.from_numpy(y), t, None, None)
    else:
        task = OutcomeTask(Poisson(), torch.from_numpy(rng.poisson(np.exp(eta)) * 1.0), t, None, None)
    rows = torch.arange(n)
    predictions = [truth + 0.5 * normal(n, 2, seed=seed + k + 1) for k in range(c)]
    weights = simplex_weights(task, predictions, rows).numpy()
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1.0)

    def loss(w):
        return float(task.loss(sum(a * p for a, p in zip(w.tolist(), predictions, strict=True)), rows).mean())

    # six Newton steps end within their last change, 1e-4, squared
    assert loss(weights) <= best_on_simplex(loss, c) + 1e-5


def test_a_perfect_candidate_gets_all_the_weight():
    target = normal(80, 1)
    task = MeanTask("m", target, None)
    weights = simplex_weights(task, [normal(80, 1, seed=2), target, torch.zeros(80, 1)], torch.arange(80))
    np.testing.assert_allclose(weights, [0, 1, 0], atol=1e-6)  # the ridge of 1e-9


def test_equal_candidates_are_no_trouble():
    target = normal(80, 1)
    task = MeanTask("m", target, None)
    weights = simplex_weights(task, [0.5 * target] * 3, torch.arange(80))
    assert float(weights.sum()) == pytest.approx(1.0)


def two_candidates(p):
    task, x = p.problem.outcome, p.problem.x
    fits = [fit_basis(n, task, make(x), x, p.scheme, p.units(task)) for n, make in BASES]
    return fits, [predictions_of_basis(fit, x, p.scheme) for fit in fits]


BASES = [("linear", linear_basis), ("sieve", sieve_basis)]


@pytest.mark.parametrize("n_folds", [3, 5])
def test_predictions_are_those_of_the_right_snapshots(posed, n_folds):
    p = posed(n_folds=n_folds)
    (fit, _), (predictions, _) = two_candidates(p)
    features = fit.basis(p.problem.x)
    for a in range(p.scheme.n_blocks):
        inside = np.flatnonzero(p.plan.block == a)
        snapshots = p.scheme.snapshots_of(a)
        for m, v in enumerate(snapshots):
            expected = (features[inside] @ fit.coefficients[v]).float()
            torch.testing.assert_close(predictions.members[m, inside], expected)
        for v in snapshots:
            rows = p.scheme.rows_of_cells(p.scheme.select[v])
            expected = (features[rows] @ fit.coefficients[v]).float()
            torch.testing.assert_close(predictions.held[a, rows], expected)


def test_the_stack_is_the_weighted_mean_of_its_candidates(posed):
    p = posed(wave=1.0)
    _, candidates = two_candidates(p)
    stacked = stack(p.problem.outcome, candidates, p.scheme)
    assert stacked.weights.shape == (5, 2)
    torch.testing.assert_close(stacked.weights.sum(1), torch.ones(5).double())
    for a in range(5):
        inside, w = p.plan.block == a, stacked.weights[a]
        expected = sum(float(w[c]) * candidates[c].members[:, inside] for c in range(2))
        torch.testing.assert_close(stacked.members[:, inside], expected)
        expected = sum(float(w[c]) * candidates[c].held[a] for c in range(2))
        torch.testing.assert_close(stacked.held[a], expected)
    torch.testing.assert_close(stacked.out, stacked.members.mean(0))
    assert stacked.weights[:, 1].mean() > 0.5  # the sieve sees some of the wave, the linear fit none


@pytest.mark.parametrize("wild", [1e6, float("inf"), float("nan")])
def test_a_candidate_that_diverged_has_no_weight(posed, wild):
    p = posed("poisson")
    _, candidates = two_candidates(p)
    gone = Predictions(torch.full_like(candidates[0].held, wild), torch.full_like(candidates[0].members, wild))
    stacked = stack(p.problem.outcome, [candidates[0], gone, candidates[1]], p.scheme)
    plain = stack(p.problem.outcome, candidates, p.scheme)
    torch.testing.assert_close(stacked.weights[:, [0, 2]], plain.weights, rtol=0, atol=0)
    torch.testing.assert_close(stacked.out, plain.out, rtol=0, atol=0)
    torch.testing.assert_close(stacked.held, plain.held, rtol=0, atol=0)

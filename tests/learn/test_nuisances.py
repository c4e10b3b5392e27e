"""The treatment's law and the diagnostics of a fit, on designs whose law is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import deepdml as dd

QUICK = {"hidden": (8,), "epochs": 20, "seed": 1}


def covariates(n: int, seed: int) -> tuple[np.random.Generator, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng, rng.standard_normal((n, 2))


def fitted_law(res):
    return res._fit.rows.repetitions[0].law


@pytest.mark.parametrize("learner", ["auto", "net"])
class TestContinuous:
    def test_mean_and_scale_of_a_heteroskedastic_treatment(self, learner):
        n = 2_000
        rng, x = covariates(n, 1)
        scale = np.exp(0.5 * x[:, 1])
        t = 10 + 2 * x[:, 0] + scale * rng.standard_normal(n)
        frame = pd.DataFrame({"y": t + rng.standard_normal(n), "t": t, "x0": x[:, 0], "x1": x[:, 1]})
        law = fitted_law(
            dd.fit("y ~ t | x0 + x1", frame, learner=learner, lambda_="location-scale quadrature", **QUICK)
        )
        # in the units of t; estimation errors are some 1/sqrt(n / 10) of the scale
        assert np.sqrt(np.mean((law.mean - 10 - 2 * x[:, 0]) ** 2)) < 0.3
        assert np.sqrt(np.mean((np.log(law.scale) - np.log(scale)) ** 2)) < 0.2
        standardized = (t - law.mean) / law.scale
        assert standardized.std() == pytest.approx(1.0, abs=0.1)

    def test_a_constant_variance_is_nearly_constant(self, learner):
        n = 1_000
        rng, x = covariates(n, 2)
        t = x[:, 0] + 0.5 * rng.standard_normal(n)
        frame = pd.DataFrame({"y": t + rng.standard_normal(n), "t": t, "x0": x[:, 0], "x1": x[:, 1]})
        law = fitted_law(dd.fit("y ~ t | x0 + x1", frame, learner=learner, **QUICK))
        assert np.log(law.scale).std() < 0.1  # noise in the slopes of the log variance, 1/sqrt(n) each
        assert law.scale.mean() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("learner", ["auto", "net"])
def test_propensities_of_three_arms(learner):
    n = 3_000
    rng, x = covariates(n, 3)
    odds = np.column_stack([np.zeros(n), 0.8 * x[:, 0], -0.5 * x[:, 1]])
    share = np.exp(odds) / np.exp(odds).sum(1, keepdims=True)
    arm = (odds + rng.gumbel(size=(n, 3))).argmax(1)
    frame = pd.DataFrame({"y": arm + rng.standard_normal(n), "arm": np.array(["a", "b", "c"])[arm]})
    frame[["x0", "x1"]] = x
    law = fitted_law(dd.fit("y ~ C(arm) | x0 + x1", frame, learner=learner, **QUICK))
    order = [int(np.flatnonzero((law.levels == row).all(1))[0]) for row in ([1, 0, 0], [1, 1, 0], [1, 0, 1])]
    # six coefficients from 2,400 rows; flexible learners add noise
    assert np.sqrt(np.mean((law.probabilities[:, order] - share) ** 2)) < 0.04
    np.testing.assert_allclose(law.probabilities.sum(1), 1.0)


def test_moments_of_two_correlated_treatments():
    """Lambda^-1 of two treatments whose scales and correlation depend on x."""
    n = 3_000
    rng, x = covariates(n, 4)
    scale = np.column_stack([np.exp(0.3 * x[:, 0]), np.full(n, 2.0)])
    u = rng.standard_normal((n, 2))
    u[:, 1] = 0.6 * u[:, 0] + 0.8 * u[:, 1]
    mean = np.column_stack([x[:, 0], 1 - x[:, 1]])
    t = mean + scale * u
    frame = pd.DataFrame(
        {"y": t.sum(1) + rng.standard_normal(n), "a": t[:, 0], "b": t[:, 1], "x0": x[:, 0], "x1": x[:, 1]}
    )
    res = dd.fit("y ~ a + b | x0 + x1", frame, **QUICK)
    rows = np.column_stack([np.ones(n), mean])
    expected = rows[:, :, None] * rows[:, None, :]
    covariance = np.array([[1.0, 0.6], [0.6, 1.0]]) * scale[:, :, None] * scale[:, None, :]
    expected[:, 1:, 1:] += covariance
    found = res._fit.rows.repetitions[0].lambda_inverse[:, 1:, 1:]
    # the block of the inverse is the inverse conditional covariance, whatever the means
    relative = np.linalg.inv(found) / covariance - 1
    assert np.median(np.abs(relative)) < 0.1
    assert np.abs(relative).mean() < 0.2
    np.testing.assert_allclose(np.linalg.inv(expected)[:, 1:, 1:], np.linalg.inv(covariance), rtol=1e-6)


class TestDiagnostics:
    @pytest.fixture(scope="class", params=["auto", "net"])
    @classmethod
    def record(cls, request):
        n = 1_500
        rng, x = covariates(n, 5)
        t = x[:, 0] + rng.standard_normal(n)
        y = 2 * np.sin(3 * x[:, 0]) + t + rng.standard_normal(n)
        frame = pd.DataFrame({"y": y, "t": t, "x0": x[:, 0], "x1": x[:, 1]})
        return dd.fit("y ~ t | x0 + x1", frame, learner=request.param, hidden=(16, 8), lr=1e-2, seed=1)._fit.record

    def test_losses_are_ordered(self, record):
        outcome, mean, variance = record.nuisances
        assert outcome.loss_perfect < outcome.loss < min(outcome.loss_linear, outcome.loss_constant)
        assert mean.loss < mean.loss_constant
        # the truth is half the errors' variance, in the units of y and of the standardized treatment
        assert outcome.loss == pytest.approx(0.5, rel=0.35)
        assert mean.loss == pytest.approx(0.25, rel=0.1)
        assert variance.loss <= variance.loss_constant + 0.01

    def test_overlap_is_the_share_explained(self, record):
        assert record.overlap["R2 of t given x"] == pytest.approx(0.5, abs=0.06)  # two standard errors, 1,500 rows

    def test_nothing_was_regularized(self, record):
        assert record.clipped_share == 0
        assert record.floored_share == 0
        assert 0 < record.min_eigenvalue < 1

    def test_nets_are_named_with_their_epochs(self, record):
        outcome = record.nuisances[0]
        nets = ["silu net", "sine net"] if record.learner == "auto" else ["silu net"]
        assert list(outcome.best_epochs) == nets
        assert all(epochs > 0 for epochs in outcome.best_epochs.values())
        others = ["constant", "linear", "sieve", "sparse sieve", "trees"] if record.learner == "auto" else []
        assert list(outcome.weights) == [*others, *nets]


@pytest.mark.parametrize(
    ("family", "options", "there"),
    [
        ("logit", {}, True),
        ("poisson", {}, True),
        ("probit", {}, False),  # its link is not canonical
        ("gaussian", {}, False),  # theta itself is recalibrated
        ("logit", {"learner": "net"}, False),
        ("logit", {"lambda_": "hessian regression"}, False),
    ],
)
def test_a_second_theta_is_there_where_theta_is_not_recalibrated(family, options, there):
    n = 600
    rng, x = covariates(n, 6)
    y = (rng.random(n) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)
    frame = pd.DataFrame({"y": y, "t": rng.integers(0, 2, n) * 1.0, "x0": x[:, 0], "x1": x[:, 1]})
    res = dd.fit("y ~ t | x0 + x1", frame, family, **QUICK, **options)
    (piece,) = res._fit.rows.repetitions
    assert (piece.recalibrated is not None) == there
    if there:
        second, law, rows = piece.recalibrated, piece.law, res._fit.rows
        weights = law.probabilities * res._fit.family.hessian(second.theta @ law.levels.T)
        expected = np.einsum("nm,md,me->nde", weights, law.levels, law.levels)
        # rounding, grown by two inversions and the scale of the structural row; no eigenvalue is floored here
        np.testing.assert_allclose(np.linalg.inv(second.lambda_inverse), expected, rtol=1e-6, atol=1e-9)
        assert not np.array_equal(second.theta, piece.theta)
        assert second.theta.shape == (len(rows.y), 2)

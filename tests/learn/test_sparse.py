"""Sparse fits against the closed form of one feature, and against the truth where few features matter."""

from __future__ import annotations

import math

import pytest
import torch

from deepdml.learn import sparse
from deepdml.learn.bases import sieve_basis
from deepdml.learn.candidates import fit_sieve
from deepdml.learn.sparse import THRESHOLDS, sparse_path


def fixed_point(estimate: float, curvature: float, penalty: float) -> float:
    """The coefficient at which reweighting stops, by the quadratic formula; zero where it has no root."""
    inside = 1 - 4 * penalty / (estimate**2 * curvature)
    return 0.5 * estimate * (1 + math.sqrt(inside)) if inside > 0 else 0.0


def test_orthogonal_features_stop_at_their_fixed_points(monkeypatch):
    """With orthogonal features each coefficient goes its own way; at convergence its equation is quadratic."""
    monkeypatch.setattr(sparse, "ROUNDS", 200)
    curvature = torch.tensor([100.0, 50.0, 200.0, 80.0]).double()
    estimates = torch.tensor([3.0, 1.5, 0.5, -0.05]).double()
    path = sparse_path(torch.diag(curvature), -curvature * estimates, estimates[:, None], noise=2.0)
    for fitted, threshold in zip(path[..., 0], THRESHOLDS, strict=True):
        assert float(fitted[0]) == pytest.approx(3.0)  # the constant is free
        for j in range(1, 4):
            expected = fixed_point(float(estimates[j]), float(curvature[j]), 2.0 * threshold)
            assert float(fitted[j]) == pytest.approx(expected, abs=1e-6)  # the rounds' contraction


def test_a_feature_that_is_gone_stays_gone_and_the_free_ones_stay():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 30, generator=generator, dtype=torch.float64)
    x[:, 0] = 1.0
    y = 2.0 + x[:, 1] - 0.7 * x[:, 2] + torch.randn(400, generator=generator, dtype=torch.float64)
    hessian, gradient = x.T @ x, -x.T @ y
    start = torch.linalg.solve(hessian, -gradient)[:, None]
    path = sparse_path(hessian, gradient, start, noise=1.0)
    used = (path[..., 0].abs() > 1e-8).sum(1).tolist()
    assert used == sorted(used, reverse=True)
    assert used[-1] == 3  # the constant and the two that matter: a squared t of 32 comes by chance once in 10^8
    plain = torch.linalg.lstsq(x[:, :3], y[:, None]).solution
    torch.testing.assert_close(path[-1, :3], plain, rtol=0.05, atol=0.02)  # shrunk by the penalty over t squared


def test_noise_scales_the_threshold():
    curvature, estimates = torch.tensor([100.0, 100.0]).double(), torch.tensor([1.0, 0.3]).double()  # squared t: 9

    def last(noise: float) -> float:
        path = sparse_path(torch.diag(curvature), -curvature * estimates, estimates[:, None], noise)
        return float(path[0, 1, 0])

    assert last(1.0) > 0.2  # nine is over four
    assert abs(last(9.0)) < 1e-3  # one is not


def test_a_basis_wider_than_the_rows_that_interpolates_them():
    """No noise is left, so hardly any penalty; the directions that the rows do not tell apart stay at zero."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 80, generator=generator, dtype=torch.float64)
    y = x[:, 3] + torch.randn(30, generator=generator, dtype=torch.float64)
    start = torch.linalg.lstsq(x, y[:, None], driver="gelsd").solution
    path = sparse_path(x.T @ x, -x.T @ y, start, noise=1e-25)
    assert torch.isfinite(path).all()
    torch.testing.assert_close(
        x @ path[0, :, 0], y, rtol=1e-6, atol=1e-6
    )  # of 1e-10 in the curvature, which is a square


@pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
def test_few_features_are_kept_and_found(posed, family):
    """theta is linear in x0 and x1 with T: of some 50 coefficients the sparse fit keeps a handful."""
    p = posed(family, n=3000)
    task, x = p.problem.outcome, p.problem.x
    ridge, few = fit_sieve(task, sieve_basis(x), x, p.scheme, p.units(task))
    assert (ridge.name, few.name) == ("sieve", "sparse sieve")
    kept = (few.coefficients.abs() > 1e-6).double().sum((1, 2)).mean()
    assert float(kept) < 0.5 * ridge.coefficients[0].numel()
    losses = [
        float(task.loss((fit.basis(x) @ fit.coefficients.mean(0)), torch.arange(len(x))).mean()) for fit in (ridge, few)
    ]
    assert losses[1] < losses[0] + 0.01  # of a loss that varies by tenths between rows

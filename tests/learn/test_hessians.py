"""The task that regresses hessians, and Lambda from it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import deepdml as dd
from deepdml.errors import DataError
from deepdml.families import Logit
from deepdml.learn.bases import linear_basis
from deepdml.learn.candidates import fit_basis
from deepdml.learn.hessians import REACH, PrecisionTask, _root
from deepdml.learn.scheme import Scheme

N, K = 40, 3
ROWS = torch.arange(N)


def positive(seed: int = 0) -> torch.Tensor:
    a = torch.randn(N, K, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a @ a.transpose(1, 2)


def outputs(seed: int = 1) -> torch.Tensor:
    return 0.3 * torch.randn(N, K * (K + 1) // 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_gradients_are_derivatives_of_the_loss():
    task, out = PrecisionTask("h", positive(), None), outputs().requires_grad_()
    (expected,) = torch.autograd.grad(task.loss(out, ROWS).sum(), out)
    torch.testing.assert_close(task.derivatives(out.detach(), ROWS)[0], expected, rtol=1e-10, atol=1e-12)  # rounding


def test_loss_and_gradient_are_those_of_the_loss_and_the_derivatives():
    task = PrecisionTask("h", positive(), 1.0 + torch.arange(N).double() % 3)
    loss, gradient = task.loss_and_gradient(outputs(), ROWS)
    assert torch.equal(loss, task.loss(outputs(), ROWS))
    assert torch.equal(gradient, task.derivatives(outputs(), ROWS)[0])


def test_the_loss_is_that_of_stein():
    lower = PrecisionTask("h", positive(), None).factors(outputs())
    precision = lower @ lower.transpose(1, 2)
    expected = torch.einsum("nkl,nlk->n", precision, positive()) - torch.logdet(precision)
    torch.testing.assert_close(PrecisionTask("h", positive(), None).loss(outputs(), ROWS), expected)


def test_a_fit_takes_one_output_at_a_time_or_all_together(monkeypatch):
    x = torch.randn(N, 2, generator=torch.Generator().manual_seed(2))
    cell = np.arange(N) % 2
    select = np.eye(2, dtype=bool)
    scheme = Scheme(cell, cell, ~select, select, np.arange(2), np.arange(2))
    task = PrecisionTask("h", positive() / K, 1.0 + torch.arange(N).double() % 3)
    fits = []
    for separable in (True, False):
        monkeypatch.setattr(PrecisionTask, "separable", separable)
        fits.append(fit_basis("basis", task, linear_basis(x), x, scheme, task.units([ROWS] * 2)))
    apart, together = fits
    assert torch.equal(apart.penalties, together.penalties)
    # rounding: of hessians in single precision, of which steps that have not converged keep some
    torch.testing.assert_close(apart.coefficients, together.coefficients, rtol=1e-6, atol=1e-7)


def test_the_loss_is_least_where_the_precision_is_the_inverse_of_the_mean():
    target = (0.5 * torch.eye(K, dtype=torch.float64) + positive()[:1] / 6).expand(N, K, K)
    task = PrecisionTask("h", target, None)
    out = torch.zeros(1, task.n_out, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([out], max_iter=200, tolerance_grad=1e-12, tolerance_change=0.0)

    def closure():
        solver.zero_grad()
        loss = task.loss(out, ROWS[:1]).sum()
        loss.backward()
        return loss

    solver.step(closure)
    lower = task.factors(out.detach())[0]
    torch.testing.assert_close(torch.linalg.inv(lower @ lower.T), target[0], rtol=1e-5, atol=1e-6)  # where LBFGS stops


def test_the_curvature_is_that_at_the_identity():
    task = PrecisionTask("h", torch.eye(K, dtype=torch.float64).expand(N, K, K), None)
    out = torch.zeros(N, task.n_out, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(task.loss(out, ROWS).sum(), out, create_graph=True)
    second = torch.stack([torch.autograd.grad(g.sum(), out, retain_graph=True)[0] for g in gradient.unbind(1)], 1)
    torch.testing.assert_close(task.derivatives(out.detach(), ROWS)[1], second)


def test_weights_multiply():
    weight = 1.0 + torch.arange(N).double() % 3
    plain, weighted = PrecisionTask("h", positive(), None), PrecisionTask("h", positive(), weight)
    torch.testing.assert_close(weighted.loss(outputs(), ROWS), weight * plain.loss(outputs(), ROWS))


@pytest.mark.parametrize("wild", [1e3, -1e3])
def test_outputs_that_run_away_end_at_a_bound(wild):
    task = PrecisionTask("h", positive(), None)
    lower = task.factors(torch.full((1, task.n_out), wild, dtype=torch.float64))[0]
    expected = np.exp(np.sign(wild) * REACH)
    torch.testing.assert_close(lower.diagonal(), torch.full((K,), expected, dtype=torch.float64))
    assert bool((lower.abs() <= max(expected, REACH) + 1e-9).all())


def test_means_undo_what_whitened_the_targets():
    whiten = torch.linalg.inv(torch.linalg.cholesky(positive()[:1] + torch.eye(K, dtype=torch.float64)))
    task = PrecisionTask("h", positive(), None)
    lower = task.factors(outputs()[:1])
    inverse = torch.linalg.inv(whiten)
    expected = inverse @ torch.linalg.inv(lower @ lower.transpose(1, 2)) @ inverse.transpose(1, 2)
    torch.testing.assert_close(task.means(whiten, outputs()[:1]), expected)


@pytest.mark.parametrize("matrix", [-torch.eye(2), torch.full((2, 2), float("nan"))])
def test_a_mean_that_is_not_positive_definite_is_refused(matrix):
    with pytest.raises(DataError, match="second derivatives of the logit loss do not average to a positive definite"):
        _root(matrix.double(), Logit())


def counts(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(6)
    x = rng.standard_normal((n, 2))
    d, t = (rng.random(n) < 1 / (1 + np.exp(-x[:, 0]))) * 1.0, x[:, 1] + rng.standard_normal(n)
    y = rng.poisson(np.exp(0.3 + 0.4 * x[:, 0] + 0.3 * d - 0.2 * t)) * 1.0
    return pd.DataFrame({"y": y, "d": d, "t": t, "x0": x[:, 0], "x1": x[:, 1]})


def test_a_loss_of_ones_own_learns_the_hessian_that_the_family_knows():
    """The second derivative of a count's loss is exp(theta), which nobody said."""
    frame, quick = counts(1_500), {"hidden": (8,), "epochs": 20, "seed": 1}
    loss = dd.families.CustomLoss(lambda y, t, theta: theta[..., 0].exp() - y * theta[..., 0], names=["Intercept"])
    own, known = (dd.fit("y ~ 1 | x0 + x1", frame, family, **quick) for family in (loss, "poisson"))
    piece = own._fit.rows.repetitions[0]
    ratio = piece.lambda_inverse[:, 0, 0] * np.exp(piece.theta[:, 0])
    # a constant, a line and a sieve in theta and x, from 1,200 rows of which no second derivative is off by much
    assert np.quantile(np.abs(np.log(ratio)), 0.95) < 0.1
    assert own.params.iloc[0] == pytest.approx(known.params.iloc[0], abs=0.2 * known.bse.iloc[0])
    assert own.bse.iloc[0] == pytest.approx(known.bse.iloc[0], rel=0.03)


@pytest.mark.parametrize("formula", ["y ~ d + t | x0 + x1", "y ~ d * t | x0 + x1"])
def test_several_treatments_have_the_lambda_of_their_law(formula):
    """d takes two values, t is normal, and both are independent given x: Lambda by quadrature over the true law."""
    frame = counts(2_000)
    res = dd.fit(formula, frame, "poisson", hidden=(8,), epochs=20, seed=1)
    assert res._fit.record.strategy == "location-scale quadrature"
    piece, x = res._fit.rows.repetitions[0], frame[["x0", "x1"]].to_numpy()
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    expected = np.zeros_like(piece.lambda_inverse)
    for d, share in ((0.0, 1 / (1 + np.exp(x[:, 0]))), (1.0, 1 / (1 + np.exp(-x[:, 0])))):
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            t = x[:, 1] + node
            row = np.column_stack([np.ones_like(t), np.full_like(t, d), t, d * t])[:, : piece.theta.shape[1]]
            rate = share * weight * np.exp((row * piece.theta).sum(1))
            expected += rate[:, None, None] * row[:, :, None] * row[:, None, :]
    ratio = np.einsum("ndd->nd", piece.lambda_inverse) / np.einsum("ndd->nd", np.linalg.inv(expected))
    # means, scales and propensities from 1,600 rows err by some five per cent each
    assert np.quantile(np.abs(np.log(ratio)), 0.9, axis=0).max() < 0.35
    np.testing.assert_allclose(np.median(ratio, axis=0), 1.0, atol=0.12)

"""The recalibration on held-out residuals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepdml.learn.bases import constant_basis, linear_basis, sieve_basis
from deepdml.learn.candidates import fit_basis
from deepdml.learn.recalibration import recalibrate
from deepdml.learn.stacking import covered, predictions_of_basis, stack

BASES = (("constant", constant_basis), ("linear", linear_basis), ("sieve", sieve_basis))


def stacked(p, task):
    x = p.problem.x
    fits = [fit_basis(name, task, make(x), x, p.scheme, p.units(task)) for name, make in BASES]
    predictions = [predictions_of_basis(fit, x, p.scheme) for fit in fits]
    return stack(task, predictions, p.scheme), predictions


def test_residuals_that_the_net_never_saw_are_regressed_on_the_predictions(posed):
    """By least squares with a ridge of features over rows; the constant's predictions vary by little."""
    p = posed(wave=1.0)
    task = p.problem.treated
    stack_, predictions = stacked(p, task)
    ours = recalibrate(stack_, predictions, p.scheme)
    assert ours.mix.shape == (5, 3, 1, 1)
    added = torch.zeros(400, 1).double()
    for a in range(5):
        rows = np.flatnonzero(covered(p.scheme)[a])
        used = torch.cat([q.held[a, rows] for q in predictions], 1).double()
        mean, scale = used.mean(0), used.std(0, correction=0)
        standard = torch.cat([torch.ones(len(rows), 1).double(), (used - mean) / scale], 1)
        gram = standard.T @ standard
        ridge = torch.full((4,), 4 / len(rows)).double() * gram.diagonal().mean()
        ridge[0] = 0.0
        residual = task.target[rows] - stack_.held[a, rows].double()
        expected = torch.linalg.solve(gram + torch.diag(ridge), standard.T @ residual)
        slopes = ours.mix[a, :, 0] * scale[:, None]
        torch.testing.assert_close(slopes, expected[1:], rtol=1e-3, atol=1e-5)  # the hessian is summed in float32
        inside = torch.from_numpy(p.plan.block == a)
        mine = torch.cat([q.members[:, inside].mean(0) for q in predictions], 1).double()
        added[inside] += ours.shift[a] + mine @ ours.mix[a, :, :, 0]
    torch.testing.assert_close(ours.out, stack_.out.double() + added, rtol=1e-6, atol=1e-6)  # order of sums


def test_a_shrunken_stack_is_stretched(posed):
    """A stack that says half of what a good fit says: what is added makes up most of the other half."""
    p = posed(n=2000)
    task, x = p.problem.treated, p.problem.x
    fit = fit_basis("linear", task, linear_basis(x), x, p.scheme, p.units(task))
    predictions = [predictions_of_basis(fit, x, p.scheme)]
    whole = stack(task, predictions, p.scheme)
    half = type(whole)(task, whole.weights, 0.5 * whole.held, 0.5 * whole.members)
    ours = recalibrate(half, predictions, p.scheme)
    slope = torch.linalg.lstsq(whole.out.double(), ours.out).solution
    assert float(slope) == pytest.approx(1.0, abs=0.1)  # three standard errors of a slope on 1,600 rows


@pytest.mark.parametrize("size", [1e2, 1e9])
def test_the_block_that_is_predicted_is_not_seen(posed, size):
    """Outcomes of a block, whatever their size, leave what is predicted for its rows bit for bit."""
    before = posed()
    mine = before.plan.block == 0
    after = posed(frame=before.frame.assign(y=before.frame["y"] + size * mine), plan=before.plan)
    outs = [recalibrate(*stacked(p, p.problem.outcome), p.scheme).out for p in (before, after)]
    assert torch.equal(outs[0][mine], outs[1][mine])
    assert (outs[0][~mine] != outs[1][~mine]).any()

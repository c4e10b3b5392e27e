"""The task that regresses hessians."""

from __future__ import annotations

import torch

from deepdml.learn.hessians import PrecisionTask

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

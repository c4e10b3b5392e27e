"""Hessian regression: Lambda(x) as a regression of the rows' hessians on the covariates, where no law integrates it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.learn.candidates import Basis, linear_basis, sieve_basis
from deepdml.learn.nuisances import SPREAD_PARTS, Learned, Setting, stack_bases, within
from deepdml.learn.tasks import Task, Units

REACH = 4.0  # of the logs of the diagonal of L: Lambda varies over rows by a factor of exp(8) at most, either way
MOST_COEFFICIENTS = 2_000  # of a sieve; beyond it the linear fit stands alone


class PrecisionTask(Task):
    """Conditional means of positive matrices H under Stein's loss tr(P H) - log det P, with P = L L' their inverse.

    The mean of H given x minimizes it, whatever its spread, and errors count in proportion: Lambda is inverted, and
    squared errors would learn it where it is large and miss it where it is small. The outputs are the lower triangle of
    L, the diagonal as logs that level off at `REACH`.

    Parameters
    ----------
    target : Tensor (n, k, k)
        Symmetric, with mean near the identity.

    References
    ----------
    James & Stein, "Estimation with Quadratic Loss" (Berkeley Symposium 1961), section 5.
    """

    constant_curvature = True
    iterations = 60  # the curvature is that of the start, so that steps are many

    def __init__(self, name: str, target: Tensor, weight: Tensor | None) -> None:
        self.k = target.shape[1]
        super().__init__(name, "Stein's loss of the hessian", self.k * (self.k + 1) // 2, weight)
        self.target = target
        self.place = torch.tril_indices(self.k, self.k, device=target.device)
        self._diagonal = self.place[0] == self.place[1]

    def factors(self, out: Tensor) -> Tensor:
        """Return L (..., k, k) for outputs (..., o)."""
        lower = torch.zeros(*out.shape[:-1], self.k, self.k, dtype=out.dtype, device=out.device)
        lower[..., self.place[0], self.place[1]] = torch.where(self._diagonal, self._logs(out).exp(), out)
        return lower

    def _logs(self, out: Tensor) -> Tensor:
        """Return the logs of the diagonal: a fit that runs away ends at a bound, and stays invertible."""
        return REACH * torch.tanh(out / REACH)

    def loss(self, out: Tensor, rows: Tensor, units: Units | None = None) -> Tensor:
        lower = self.factors(out)
        trace = (lower * (self.target[rows].to(out.dtype) @ lower)).sum((-1, -2))
        return self._weighted(trace - 2.0 * self._logs(out)[..., self._diagonal].sum(-1), rows)

    def derivatives(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        lower, (i, j) = self.factors(out), self.place
        slope = 1.0 - torch.tanh(out / REACH).square()  # of the logs
        stretch = torch.where(self._diagonal, self._logs(out).exp() * slope, 1.0)  # of an entry of L by its output
        gradient = 2.0 * (self.target[rows].to(out.dtype) @ lower)[..., i, j] * stretch - 2.0 * slope * self._diagonal
        # the curvature at L = 1 and a mean of one, near which the targets are
        curvature = torch.diag(2.0 + 2.0 * self._diagonal.to(out.dtype)).expand(*rows.shape, self.n_out, self.n_out)
        return self._weighted(gradient, rows), self._weighted(curvature, rows)


def regress_hessian(setting: Setting, outcome: Learned, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return Lambda(x) at every row, (n, k, k), from regressions that never saw the row's block.

    For each block, every row outside it has a prediction of theta from a fit that saw neither the row nor the block.
    The rows' hessians there are regressed on the covariates: theta and Lambda are fit on disjoint rows.
    """
    problem, scheme = setting.problem, setting.scheme
    x, k = problem.x, problem.outcome.n_out
    out = torch.zeros(len(x), k, k, dtype=torch.float64, device=x.device)
    weight = torch.ones(len(x), dtype=torch.float64, device=x.device) if problem.weight is None else problem.weight
    bases = _bases(x, k * (k + 1) // 2)
    for a in range(scheme.n_blocks):
        inner = within(setting, a, rng)
        inside = torch.from_numpy(scheme.block == a).to(x.device)
        outside = torch.from_numpy(inner.cell < SPREAD_PARTS).to(x.device)
        hessians = problem.outcome.hessians(outcome.stacked.held[a].double())
        hessians = torch.where(outside[:, None, None], hessians, 0.0)
        typical = torch.einsum("n,nkl->kl", weight[outside], hessians[outside]) / weight[outside].sum()
        root = torch.linalg.cholesky(typical)
        whiten = torch.linalg.inv(root)
        task = PrecisionTask("hessian", whiten @ hessians @ whiten.T, problem.weight)
        lower = whiten.T @ task.factors(stack_bases(x, task, inner, bases)[0].out.double()[inside])
        out[inside] = torch.linalg.inv(lower @ lower.transpose(1, 2))
    return np.asarray(out.cpu().numpy())


def _bases(x: Tensor, n_out: int) -> list[Basis]:
    """Return the bases that the outputs are fit on: linear, and a sieve where that has not too many coefficients."""
    if not x.shape[1]:
        return []
    linear, sieve = linear_basis(x), sieve_basis(x)
    return [linear, sieve] if sieve.n_features * n_out <= MOST_COEFFICIENTS else [linear]

"""Hessian regression: Lambda(x) as a regression of the rows' hessians on the covariates, where no law integrates it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.learn.candidates import fit_basis, fit_sieve, linear_basis, sieve_basis
from deepdml.learn.nuisances import SPREAD_PARTS, Learned, Setting, within
from deepdml.learn.scheme import Scheme
from deepdml.learn.stacking import Predictions, predictions_of_basis, stack
from deepdml.learn.tasks import Task, Units

MOST_COEFFICIENTS = 2_000  # of a sieve; beyond it the linear fit stands alone


class CholeskyTask(Task):
    """Conditional means of matrices under squared error: the outputs are the lower triangle of L - 1, the mean L L'.

    Parameters
    ----------
    target : Tensor (n, k, k)
        Symmetric, with mean near the identity.
    """

    def __init__(self, name: str, target: Tensor, weight: Tensor | None) -> None:
        self.k = target.shape[1]
        super().__init__(name, "half squared error of the hessian", self.k * (self.k + 1) // 2, weight)
        self.target = target
        self.place = torch.tril_indices(self.k, self.k, device=target.device)

    def factors(self, out: Tensor) -> Tensor:
        """Return L (..., k, k) for outputs (..., o)."""
        lower = torch.eye(self.k, dtype=out.dtype, device=out.device).repeat(*out.shape[:-1], 1, 1)
        lower[..., self.place[0], self.place[1]] += out
        return lower

    def _error(self, out: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        lower = self.factors(out)
        return lower, lower @ lower.transpose(-1, -2) - self.target[rows].to(out.dtype)

    def loss(self, out: Tensor, rows: Tensor, units: Units | None = None) -> Tensor:
        _, error = self._error(out, rows)
        return self._weighted(0.5 * error.square().sum((-1, -2)), rows)

    def derivatives(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        # Gauss and Newton's hessian: L moved in entry (i, j) moves L L' by e_i l_j' + l_j e_i', l_j being column j
        lower, error = self._error(out, rows)
        i, j = self.place
        gradient = (2.0 * error @ lower)[..., i, j]
        inner = (lower.transpose(-1, -2) @ lower)[..., j[:, None], j[None, :]] * (i[:, None] == i[None, :])
        cross = lower[..., i[None, :], j[:, None]] * lower[..., i[:, None], j[None, :]]
        return self._weighted(gradient, rows), self._weighted(2.0 * (inner + cross), rows)


def regress_hessian(setting: Setting, outcome: Learned, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return Lambda(x) at every row, (n, k, k), from regressions that never saw the row's block.

    For each block, every row outside it has a prediction of theta from a fit that saw neither the row nor the block.
    The rows' hessians there are regressed on the covariates: theta and Lambda are fit on disjoint rows.
    """
    problem, scheme = setting.problem, setting.scheme
    x, k = problem.x, problem.outcome.n_out
    out = torch.zeros(len(x), k, k, dtype=torch.float64, device=x.device)
    weight = torch.ones(len(x), dtype=torch.float64, device=x.device) if problem.weight is None else problem.weight
    for a in range(scheme.n_blocks):
        inner = within(setting, a, rng)
        inside = torch.from_numpy(scheme.block == a).to(x.device)
        outside = torch.from_numpy(inner.cell < SPREAD_PARTS).to(x.device)
        hessians = problem.outcome.hessians(outcome.stacked.held[a].double())
        hessians = torch.where(outside[:, None, None], hessians, 0.0)
        typical = torch.einsum("n,nkl->kl", weight[outside], hessians[outside]) / weight[outside].sum()
        root = torch.linalg.cholesky(typical)
        whiten = torch.linalg.inv(root)
        task = CholeskyTask("hessian", whiten @ hessians @ whiten.T, problem.weight)
        factors = root @ task.factors(_stacked(task, x, inner)[inside])
        out[inside] = factors @ factors.transpose(1, 2)
    return np.asarray(out.cpu().numpy())


def _stacked(task: CholeskyTask, x: Tensor, inner: Scheme) -> Tensor:
    """Return the stacked outputs (n, o) of a constant, a linear fit and two sieves."""
    zero = torch.zeros(SPREAD_PARTS, len(x), task.n_out, device=x.device)
    candidates = [Predictions(zero[:1], zero)]
    if x.shape[1]:
        units = task.units([torch.zeros(0, dtype=torch.long)] * SPREAD_PARTS).to(x.device)
        fits = [fit_basis("linear", task, linear_basis(x), x, inner, units)]
        sieve = sieve_basis(x)
        if sieve.n_features * task.n_out <= MOST_COEFFICIENTS:
            fits += fit_sieve(task, sieve, x, inner, units)
        candidates += [predictions_of_basis(fit, x, inner) for fit in fits]
    return stack(task, candidates, inner).out.double()

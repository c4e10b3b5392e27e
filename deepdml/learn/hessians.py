"""Hessian regression: Lambda(x) from an approximate law of the treatment, corrected by the rows' own hessians."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.errors import DataError
from deepdml.families import Family
from deepdml.families.indices import MultiIndex
from deepdml.learn.bases import Basis, Features, linear_basis, sieve_basis
from deepdml.learn.curvature import Nodes, integrals
from deepdml.learn.indexed import IndexTask
from deepdml.learn.nuisances import Learned, Setting
from deepdml.learn.scheme import Scheme
from deepdml.learn.spread import SPREAD_PARTS, stack_bases, within
from deepdml.learn.tasks import Task, Units

Float = NDArray[np.float64]

REACH = 4.0  # of the entries of L, of the logs on its diagonal: Lambda varies by a factor of exp(8) either way
MOST_COEFFICIENTS = 2_000  # of a sieve; beyond it the linear fit stands alone


class PrecisionTask(Task):
    """Conditional means of positive matrices H under Stein's loss tr(P H) - log det P, with P = L L' their inverse.

    The mean of H given x minimizes it, whatever its spread, and errors count in proportion: Lambda is inverted, and
    squared errors would learn it where it is large and miss it where it is small. The outputs are the lower triangle of
    L, the diagonal as logs, and level off at `REACH`: a fit that runs away ends at a bound, and stays invertible.

    Parameters
    ----------
    target : Tensor (n, k, k)
        Symmetric, with mean near the identity.

    References
    ----------
    James & Stein, "Estimation with Quadratic Loss" (Berkeley Symposium 1961), section 5.
    """

    constant_curvature = separable = True
    iterations = 6  # what more would fit, with the curvature at one, is mostly noise

    def __init__(self, name: str, target: Tensor, weight: Tensor | None) -> None:
        self.k = target.shape[1]
        super().__init__(name, "Stein's loss of the hessian", self.k * (self.k + 1) // 2, weight)
        self.target = target
        i, j = torch.tril_indices(self.k, self.k, device=target.device)
        self._place, self._diagonal = self.k * i + j, i == j

    def factors(self, out: Tensor) -> Tensor:
        """Return L (..., k, k) for outputs (..., o)."""
        return self._lower(self._entries(torch.tanh(out / REACH)))

    def _entries(self, share: Tensor) -> Tensor:
        """Return the lower triangle of L (..., o) at shares (..., o) of the way to the bounds."""
        entries = REACH * share
        return torch.where(self._diagonal, entries.exp(), entries)

    def _lower(self, entries: Tensor) -> Tensor:
        flat = torch.zeros(*entries.shape[:-1], self.k**2, dtype=entries.dtype, device=entries.device)
        lower: Tensor = flat.index_copy_(-1, self._place, entries).unflatten(-1, (self.k, self.k))
        return lower

    def means(self, whiten: Tensor, out: Tensor) -> Tensor:
        """Return the means (..., k, k) at outputs (..., o) of matrices H whose targets were `whiten` H `whiten`'."""
        lower = whiten.transpose(-2, -1) @ self.factors(out)
        found: Tensor = torch.linalg.inv(lower @ lower.transpose(-2, -1))
        return found

    def loss(self, out: Tensor, rows: Tensor, units: Units | None = None) -> Tensor:
        share = torch.tanh(out / REACH)
        entries = self._entries(share)
        return self._loss(share, entries, self._product(entries, rows), rows)

    def derivatives(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        # the curvature at L = 1 and a mean of one, near which the targets are
        curvature = torch.diag(2.0 + 2.0 * self._diagonal.to(out.dtype)).expand(*rows.shape, self.n_out, self.n_out)
        return self.loss_and_gradient(out, rows, units)[1], self._weighted(curvature, rows)

    def loss_and_gradient(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        share = torch.tanh(out / REACH)
        entries, slope = self._entries(share), 1.0 - share.square()
        product = self._product(entries, rows)
        stretch = slope * torch.where(self._diagonal, entries, 1.0)  # of an entry of L by its output
        gradient = 2.0 * product * stretch - 2.0 * slope * self._diagonal
        return self._loss(share, entries, product, rows), self._weighted(gradient, rows)

    def _product(self, entries: Tensor, rows: Tensor) -> Tensor:
        """Return the lower triangle (..., o) of the targets times L."""
        product = self.target[rows].to(entries.dtype) @ self._lower(entries)
        return product.flatten(-2).index_select(-1, self._place)

    def _loss(self, share: Tensor, entries: Tensor, product: Tensor, rows: Tensor) -> Tensor:
        logs = REACH * (share * self._diagonal).sum(-1)
        return self._weighted((entries * product).sum(-1) - 2.0 * logs, rows)


@dataclass(frozen=True, slots=True)
class Information:
    """The expected hessian in the indices eta as a function of them, learned from second derivatives of the loss.

    Parameters
    ----------
    task : PrecisionTask
    whiten : Tensor (r, r)
        Brings the second derivatives' mean to the identity.
    least, most : Tensor (r,)
        Ends of the indices it was learned on; beyond them it is constant.
    parts : tuple of (features, (f, o) coefficients)
        Fits on bases of the indices, times their weights.
    """

    task: PrecisionTask
    whiten: Tensor
    least: Tensor
    most: Tensor
    parts: tuple[tuple[Features, Tensor], ...]

    def __call__(self, eta: Tensor) -> Tensor:
        """Return the expected hessian (..., r, r) at indices (..., r)."""
        bounded = eta.to(self.whiten).clamp(self.least, self.most).reshape(-1, len(self.whiten))
        out = torch.zeros(len(bounded), self.task.n_out, dtype=bounded.dtype, device=bounded.device)
        for basis, coefficients in self.parts:
            out = out + basis(bounded) @ coefficients
        return self.task.means(self.whiten, out).reshape(*eta.shape, len(self.whiten))


def regress_hessian(
    setting: Setting, outcome: Learned, law: Nodes, rng: np.random.Generator
) -> tuple[Float, Callable[[Tensor], Tensor]]:
    """Return Lambda(x) at every row, (n, k, k), and the expected hessian in the indices as a function of them.

    The expected hessian, the family's own or one learned from second derivatives as a function of the indices, is
    integrated over the law of the treatment. What law and function leave is regressed: for each block, every row
    outside it has a prediction of theta from a fit that saw neither the row nor the block, and the hessians there,
    whitened by the integral, are regressed on the covariates. theta and Lambda are fit on disjoint rows.
    """
    problem, scheme, family = setting.problem, setting.scheme, setting.problem.family
    x, k = problem.x, problem.outcome.n_out
    known = not isinstance(family, MultiIndex) or family.closed
    out = torch.zeros(len(x), k, k, dtype=torch.float64, device=x.device)
    bases, learned = _bases(x, k * (k + 1) // 2), []
    for a in range(scheme.n_blocks):
        inner = within(setting, a, rng)
        inside = torch.from_numpy(scheme.block == a).to(x.device)
        theta = torch.where(inside[:, None], outcome.out, outcome.stacked.held[a].double())
        learned.append(family.hessian if known else _information(setting, theta, inner))
        function = None if known else _on_arrays(learned[a])
        base = integrals(law, family, theta.cpu().numpy(), None, problem.unit, function)[0]
        whiten = torch.linalg.inv(_root(torch.from_numpy(base).to(x.device), family))
        hessians = whiten @ problem.outcome.hessians(theta) @ whiten.transpose(1, 2)
        task, again = _centered("Lambda", hessians, setting, inner)
        fitted = stack_bases(task, inner, bases, x.device)[0].out.double()[inside]
        out[inside] = task.means(again @ whiten[inside], fitted)

    def information(eta: Tensor) -> Tensor:
        found = torch.stack([function(eta) for function in learned])
        return found[torch.from_numpy(scheme.block).to(eta.device), torch.arange(len(eta), device=eta.device)]

    return np.asarray(out.cpu().numpy()), family.hessian if known else information


def _on_arrays(function: Callable[[Tensor], Tensor]) -> Callable[[Float], Float]:
    return lambda values: np.asarray(function(torch.from_numpy(values)).cpu().numpy())


def _information(setting: Setting, theta: Tensor, inner: Scheme) -> Information:
    """Learn the expected hessian in the indices from the rows outside a block."""
    outcome = setting.problem.outcome
    assert isinstance(outcome, IndexTask)
    eta = outcome.indices(theta)
    outside = torch.from_numpy(inner.cell < SPREAD_PARTS).to(eta.device)
    task, whiten = _centered("second derivative", outcome.seconds(theta), setting, inner)
    least, most = eta[outside].amin(0), eta[outside].amax(0)
    bounded = eta.clamp(least, most)
    bases: list[tuple[Basis, Tensor]] = []
    if setting.problem.x.shape[1]:  # without covariates the indices vary by noise, and a slope along it means nothing
        bases = [(linear_basis(bounded), bounded), (sieve_basis(bounded), bounded)]
    stacked, fits = stack_bases(task, inner, bases, bounded.device)
    weights = stacked.weights[0, 1:].tolist()
    parts = tuple((f.basis, w * f.coefficients.mean(0)) for f, w in zip(fits, weights, strict=True))
    return Information(task, whiten, least, most, parts)


def _centered(name: str, matrices: Tensor, setting: Setting, inner: Scheme) -> tuple[PrecisionTask, Tensor]:
    """Return the regression of matrices (n, k, k) whitened by their mean outside a block, and what whitens them."""
    problem = setting.problem
    outside = torch.from_numpy(inner.cell < SPREAD_PARTS).to(matrices.device)
    weight = torch.ones_like(matrices[:, 0, 0]) if problem.weight is None else problem.weight
    typical = torch.einsum("n,nkl->kl", weight[outside], matrices[outside]) / weight[outside].sum()
    whiten = torch.linalg.inv(_root(typical, problem.family))
    target = torch.where(outside[:, None, None], whiten @ matrices @ whiten.T, 0.0)
    return PrecisionTask(name, target, problem.weight), whiten


def _root(matrices: Tensor, family: Family) -> Tensor:
    """Return the Cholesky factors of means of hessians (..., k, k).

    Raises
    ------
    DataError
        Where one is not positive definite.
    """
    root: Tensor
    root, failed = torch.linalg.cholesky_ex(matrices)
    if bool((failed > 0).any()) or not bool(root.isfinite().all()):
        raise DataError(
            f"the second derivatives of the {family.name} loss do not average to a positive definite matrix, so that "
            "Lambda cannot be learned from them: theta is at no minimum of the loss. It happens in small samples, with "
            "outcomes that say little of a parameter (few durations that ended), and with a loss of your own that is "
            "not convex enough. Use more rows, fewer structural columns, or a family that knows its expected hessian."
        )
    return root


def _bases(x: Tensor, n_out: int) -> list[tuple[Basis, Tensor]]:
    """Return the bases that the outputs are fit on: linear, and a sieve where that has not too many coefficients."""
    if not x.shape[1]:
        return []
    linear, sieve = (linear_basis(x), x), (sieve_basis(x), x)
    return [linear, sieve] if sieve[0].n_features * n_out <= MOST_COEFFICIENTS else [linear]

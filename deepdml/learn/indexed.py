"""theta(x) under the loss of a family with several indices, or of a user."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from deepdml.errors import OptionError
from deepdml.families.indices import MultiIndex
from deepdml.learn.autodiff import loss_derivatives, loss_gradient
from deepdml.learn.tasks import FamilyTask, Units, refuse_constant

MOST_READ = 4  # entries of theta in one index up to which a loop over them beats a sum over small matrices
STEPS = 8  # of Newton's method from a start that is near; where an index runs off, more steps only follow it
THIRD_STEP = 1e-3  # of differences of the score; their rounding error is some 1e-10


class IndexTask(FamilyTask):
    """theta(x) under the loss of indices eta = A theta(x), with A scaled so that its rows have unit second moments.

    Parameters
    ----------
    family : MultiIndex
    y : Tensor (n,) or (n, c), float64
        The outcome's columns.
    rows : Tensor (n, r, k), float64
        The matrices A.
    constant : Tensor (k,) or None
        theta with A theta = (1, 0, ..., 0), None where A does not span it.
    """

    family: MultiIndex

    def __init__(
        self,
        family: MultiIndex,
        y: Tensor,
        rows: Tensor,
        constant: Tensor | None,
        weight: Tensor | None,
        y_name: str = "y",
    ) -> None:
        super().__init__(family, y, constant, rows.shape[2], weight, y_name)
        self.rows = rows
        self._fixed = family.fixed_loss(y)
        reads = (rows != 0).any(0)
        self._scaled_by_unit = reads[0]  # the entries of theta behind the location
        # the index of each entry of theta, where each has one: most matrices A are mostly zeros
        apart = bool((reads.sum(0) == 1).all() and reads.any(1).all() and (reads.sum(1) <= MOST_READ).all())
        self._index = reads.int().argmax(0) if apart else None
        # what of A is read (n, k), or all of it (n, r, k)
        every = torch.arange(rows.shape[2], device=rows.device)
        self._read = rows if self._index is None else rows[:, self._index, every]
        self._read32 = self._read.float()
        self.restarts = family.stepwise and apart
        if self.restarts:
            self.iterations = STEPS

    def units(self, train: list[Tensor]) -> Units:
        refuse_constant(self.y if self.y.dim() == 1 else self.y[:, 0], train, self.y_name)
        zero, one = torch.zeros(len(train)).double(), torch.ones(len(train)).double()
        if not self.family.location_scale:
            starts = [torch.tensor(self.family.start(self.y[rows])).double() for rows in train]
            multiplier = [self._multiplier(rows, start) for rows, start in zip(train, starts, strict=True)]
            return Units(zero, one, torch.stack(multiplier), torch.stack(starts))
        values = self.y if self.y.dim() == 1 else self.y[:, 0]
        center = zero if self.constant is None else torch.stack([values[rows].mean() for rows in train]).cpu()
        spread = [(values[rows] - c).square().mean().sqrt() for rows, c in zip(train, center.tolist(), strict=True)]
        units = Units(center, torch.stack(spread).cpu(), one)
        starts = [
            torch.tensor(self.family.start(self._outcome(rows[None], units.select(torch.tensor([s])), center.dtype)[0]))
            for s, rows in enumerate(train)
        ]
        return Units(units.center, units.unit, one, torch.stack(starts).double())

    def _multiplier(self, rows: Tensor, start: Tensor) -> Tensor:
        """Return one over the mean curvature of the indices at their start."""
        eta = start.to(self.y.device).expand(len(rows), -1)
        score, second = self._slopes(self.y[rows], eta)
        curvature = second.diagonal(dim1=1, dim2=2).mean(0)
        if not bool(score.isfinite().all() and curvature.isfinite().all() and (curvature > 0).all()):
            raise OptionError(
                f"the {self.family.name} loss is not finite, or has no curvature in an entry of theta, where training "
                f"starts (indices {', '.join(f'{v:g}' for v in start.tolist())}). Newton's method and Lambda need a "
                "second derivative: smooth kinks such as those of an absolute value, use every entry of theta, and "
                "give a start at which the loss is finite."
            )
        return (1.0 / curvature.mean()).cpu()

    def to_common(self, out: Tensor, units: Units) -> Tensor:
        if not self.family.location_scale:
            return out
        unit = units.unit.to(out)[:, None, None]
        out = torch.where(self._scaled_by_unit, out * unit, out)
        shift = torch.zeros(self.n_out, dtype=out.dtype, device=out.device)
        shift[-1] = 1.0  # the log of the scale, the last entry of theta
        out = out + unit.log() * shift
        return out if self.constant is None else out + units.center.to(out)[:, None, None] * self.constant.to(out)

    def _outcome(self, rows: Tensor, units: Units | None, dtype: torch.dtype) -> Tensor:
        y = self.y[rows]
        if units is not None and self.family.location_scale:
            shape = (-1,) + (1,) * (y.dim() - 1)
            y = (y - units.center.reshape(shape).to(y)) / units.unit.reshape(shape).to(y)
        return y.to(dtype)

    def _eta(self, out: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the indices (..., r) of rows, and what of A they read: (..., k), or (..., r, k) where it is more."""
        read = self._read32[rows] if out.dtype == torch.float32 else self._read[rows]
        if self._index is None:
            return (read * out[..., None, :]).sum(-1), read
        terms: list[list[Tensor]] = [[] for _ in range(self.rows.shape[1])]
        for r, own, column in zip(self._index.tolist(), read.unbind(-1), out.unbind(-1), strict=True):
            terms[r].append(own * column)
        return torch.stack([functools.reduce(torch.add, each) for each in terms], -1), read

    def _slopes(self, y: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
        """Return score (..., r) and curvature (..., r, r) in eta."""
        if self.family.automatic:
            return loss_derivatives(self.family.loss, y, eta, definite=True)
        return self.family.score(y, eta), self.family.curvature(y, eta)

    def _score(self, y: Tensor, eta: Tensor) -> Tensor:
        """Return the score (..., r) alone: curvatures cost more, and are not always wanted."""
        if self.family.automatic:
            return loss_gradient(self.family.loss, y, eta)
        score: Tensor = self.family.score(y, eta)
        return score

    def indices(self, out: Tensor) -> Tensor:
        """Return the indices (n, r) of all rows at outputs (n, k)."""
        return (self.rows * out[:, None, :]).sum(-1)

    def loss(self, out: Tensor, rows: Tensor, units: Units | None = None) -> Tensor:
        eta, _ = self._eta(out, rows)
        return self._loss(self._outcome(rows, units, out.dtype), eta, rows, units)

    def _loss(self, y: Tensor, eta: Tensor, rows: Tensor, units: Units | None) -> Tensor:
        """Return the weighted loss (...) of outcomes at their indices (..., r)."""
        loss = self.family.loss(y, eta) - self._fixed[rows].to(eta.dtype)
        return self._scaled(self._weighted(loss, rows), units)

    def perfect_loss(self) -> float:
        fixed = self._weighted(self._fixed, torch.arange(len(self._fixed), device=self._fixed.device))
        return super().perfect_loss() - float(fixed.mean())

    def derivatives(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        eta, read = self._eta(out, rows)
        score, curvature = self._slopes(self._outcome(rows, units, out.dtype), eta)
        return self._spread(score, curvature, read, rows, units)

    def gradient(self, out: Tensor, rows: Tensor, units: Units | None = None) -> Tensor:
        eta, read = self._eta(out, rows)
        return self._pulled(self._score(self._outcome(rows, units, out.dtype), eta), read, rows, units)

    def loss_and_gradient(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        (eta, read), y = self._eta(out, rows), self._outcome(rows, units, out.dtype)
        return self._loss(y, eta, rows, units), self._pulled(self._score(y, eta), read, rows, units)

    def first_derivatives(self, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        if units is None or units.start is None:
            raise TypeError("Newton's method starts in the units of a net")
        r = self.rows.shape[1]
        eta = units.start.reshape((-1,) + (1,) * (rows.dim() - 1) + (r,)).to(self.rows).expand(*rows.shape, r)
        y = self._outcome(rows, units, torch.float64)
        if self.restarts:
            eta = torch.cat([self.family.start_rows(y)[..., None], eta[..., 1:]], -1)
        score, curvature = self._slopes(y, eta)
        score = score - (curvature * eta[..., None, :]).sum(-1)
        return self._spread(score, curvature, self._read[rows], rows, units)

    def restart(self, coefficients: Tensor, out: Tensor, rows: Tensor) -> Tensor:
        assert self._index is not None
        eta, read = self._eta(out, rows)
        found = coefficients.clone()
        for r, value in enumerate(self.family.auxiliary_start(self.y[rows], eta[..., 0]), 1):
            k = self._index.tolist().index(r)
            found[:, k] = 0.0
            found[0, k] = value / read[0, k]
        return found

    def _spread(
        self, score: Tensor, curvature: Tensor, read: Tensor, rows: Tensor, units: Units | None
    ) -> tuple[Tensor, Tensor]:
        if self._index is None:
            hessian = read.transpose(-1, -2) @ curvature @ read
        else:
            # of all ways to pick entries along the last axes, the fastest
            pairs = (curvature.shape[-1] * self._index[:, None] + self._index).flatten()
            apart = curvature.flatten(-2).index_select(-1, pairs).unflatten(-1, (self.n_out, self.n_out))
            hessian = read[..., :, None] * apart * read[..., None, :]
        return self._pulled(score, read, rows, units), self._scaled(self._weighted(hessian, rows), units)

    def _pulled(self, score: Tensor, read: Tensor, rows: Tensor, units: Units | None) -> Tensor:
        """Return a score in eta (..., r) as the weighted gradient in theta (..., k)."""
        if self._index is None:
            pulled = (score[..., None] * read).sum(-2)
        else:
            pulled = score.index_select(-1, self._index) * read
        return self._scaled(self._weighted(pulled, rows), units)

    def gradients(self, out: Tensor) -> Tensor:
        """Return the unweighted derivative of every row's loss in theta at outputs (n, k)."""
        score = self._score(self.y, self.indices(out))
        return (score[..., None] * self.rows).sum(-2)

    def residuals(self, out: Tensor) -> Tensor:
        """Return the derivative of every row's loss in its first index, (n,)."""
        return self._score(self.y, self.indices(out))[:, 0]

    def seconds(self, out: Tensor) -> Tensor:
        """Return a matrix (n, r, r) for every row, whose mean given t and x is the expected hessian in the indices.

        It is that hessian where the family knows it, and the second derivative of the loss where not.
        """
        eta = self.indices(out)
        if self.family.closed:
            found: Tensor = self.family.hessian(eta)
        elif self.family.automatic:
            found = loss_derivatives(self.family.loss, self.y, eta, definite=False)[1]
        else:
            found = self.family.second(self.y, eta)
        return found

    def hessians(self, out: Tensor) -> Tensor:
        """Return a matrix (n, k, k) for every row whose conditional mean given x is Lambda."""
        return self.rows.transpose(1, 2) @ self.seconds(out) @ self.rows

    def remainder(self, out: Tensor, noise: Tensor, hessian: Callable[[Tensor], Tensor]) -> Tensor:
        """Return what a Newton step from outputs (n, k) with sampling covariance `noise` (n, k, k) falls short by.

        With eta off by e, the score is on average I e + T e e / 2, T being the third derivative of the loss, and the
        hessian that Lambda integrates is I + dI e. The remainder of the score is (dI - T / 2) Var(eta). T is taken at
        the row's own outcome, whose mean given x is as good.

        Parameters
        ----------
        hessian : callable
            Returns I (n, r, r), known or learned, at indices (n, r).
        """
        eta = self.indices(out)
        values, vectors = torch.linalg.eigh(self.rows @ noise @ self.rows.transpose(1, 2))
        total, here = torch.zeros_like(eta), self._score(self.y, eta)
        for share, along in zip(values.clamp_min(0.0).unbind(-1), vectors.unbind(-1), strict=True):
            up, down = eta + THIRD_STEP * along, eta - THIRD_STEP * along
            bend = self._score(self.y, up) + self._score(self.y, down) - 2.0 * here
            part = -0.5 * bend / THIRD_STEP**2
            slope = (hessian(up) - hessian(down)) / (2.0 * THIRD_STEP)
            part = part + (slope * along[:, None, :]).sum(-1)
            total = total + share[:, None] * part
        return (total[..., None] * self.rows).sum(-2)

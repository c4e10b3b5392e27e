"""The learners of a nuisance that are not nets: ridge-penalized fits on a fixed basis of the covariates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.learn.bases import CHUNK, Features
from deepdml.learn.quadratics import Penalized, Quadratic, curvature_sum, gradient_sum, separate_sums
from deepdml.learn.scheme import Scheme
from deepdml.learn.sparse import THRESHOLDS, sparse_path
from deepdml.learn.tasks import Task, Units

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # relative to the mean curvature
NEWTON_PENALTY = 1e-3
SPARSE_START = 1e-2
NEW_HESSIANS = 4  # Newton steps with a new hessian; the steps after them keep the last one
MOST_KEPT = 4_000_000  # features, 32 MB, that are held for all steps instead of being made again in each
MOST_HALVINGS = 20  # of a step after which the loss is not finite
STEP_LIMIT = 3.0  # root mean square change of the outputs in one step
CONVERGED = 0.03  # a last step, as a share of sqrt(coefficients / rows): of the order of their sampling error


@dataclass(frozen=True, slots=True)
class BasisFit:
    """A ridge-penalized fit on a basis: one coefficient matrix per net, and the chosen one per snapshot.

    Parameters
    ----------
    coefficients : Tensor (v, f, o)
        In the task's common units.
    nets : Tensor (s, f, o)
        In the units of each net: at the chosen penalty where a net has one snapshot. A net with two serves two blocks,
        and a penalty chosen on either would carry its outcomes to the other; there it is the one of Newton's method.
    penalties : Tensor (v,)
        Penalty chosen on each snapshot's held-out rows.
    """

    name: str
    task: Task
    basis: Features
    coefficients: Tensor
    nets: Tensor
    penalties: Tensor


@dataclass(frozen=True, slots=True)
class OwnFit:
    """One fit per net, each on a basis of its own.

    Parameters
    ----------
    fits : tuple of BasisFit
        By net, with one coefficient matrix for each snapshot of the net.
    place : (v,) array
        Position of each snapshot among those of its net.
    """

    name: str
    task: Task
    fits: tuple[BasisFit, ...]
    place: NDArray[np.intp]

    @classmethod
    def gather(cls, fits: Sequence[BasisFit], scheme: Scheme) -> OwnFit:
        """Put together the fits of all nets of a scheme."""
        return cls(fits[0].name, fits[0].task, tuple(fits), scheme.places())

    def predict(self, snapshot: int, net: int, x: Tensor) -> Tensor:
        """Return what one snapshot of a net predicts at covariates (m, p), shape (m, o)."""
        own = self.fits[net]
        return own.basis(x) @ own.coefficients[self.place[snapshot]]


def fit_basis(name: str, task: Task, basis: Features, x: Tensor, scheme: Scheme, units: Units) -> BasisFit:
    """Fit a task on a basis for every net of a scheme, and choose the penalty of every snapshot on its held-out cells.

    Newton's method runs at one penalty; the others are read off its last quadratic, exactly for a quadratic loss.
    """
    newton = _Newton(task, basis, x, scheme, units, task.separable)
    minima = newton.run()
    paths = torch.stack([minimum.ridge_path(minimum.quadratic()) for minimum in minima])
    return _chosen(name, newton, minima, paths, newton.held_out_losses(paths), PENALTIES)


def fit_groups(
    name: str, task: Task, basis: Features, groups: list[Tensor], x: Tensor, scheme: Scheme, units: Units
) -> BasisFit:
    """Fit a task on one of several groups of features, chosen for every snapshot with its penalty on held-out cells.

    Newton's method runs on all features; fits on a group, the constant among it, are read off its last quadratic.
    """
    newton = _Newton(task, basis, x, scheme, units)
    minima = newton.run()
    paths = torch.stack([minimum.group_paths(minimum.quadratic(), groups) for minimum in minima])
    return _chosen(name, newton, minima, paths, newton.held_out_losses(paths), PENALTIES * len(groups))


def fit_sieve(task: Task, basis: Features, x: Tensor, scheme: Scheme, units: Units) -> tuple[BasisFit, BasisFit]:
    """Fit a task on a sieve twice from the same Newton steps: with a ridge on all features, and on few of them."""
    newton = _Newton(task, basis, x, scheme, units)
    minima, paths = newton.run(), []
    for minimum in minima:
        last = minimum.quadratic()
        paths.append(torch.cat([minimum.ridge_path(last), minimum.sparse_path(last)]))
    ridge, few = torch.stack(paths).split([len(PENALTIES), len(THRESHOLDS)], 1)
    losses = newton.held_out_losses(torch.stack(paths)).split([len(PENALTIES), len(THRESHOLDS)], 1)
    return (
        _chosen("sieve", newton, minima, ridge, losses[0], PENALTIES),
        _chosen("sparse sieve", newton, minima, few, losses[1], THRESHOLDS),
    )


def _chosen(
    name: str, newton: _Newton, minima: list[_Minimum], paths: Tensor, losses: Tensor, penalties: tuple[float, ...]
) -> BasisFit:
    """Return the fit that takes, for every snapshot, the penalty of its net's path (s, l, f, o) with the least loss."""
    task, scheme = newton.task, newton.scheme
    chosen, net = losses.argmin(1), torch.from_numpy(scheme.net)
    picked = paths[net, chosen]
    shifted = _to_common(task, picked, newton.units.select(net.to(newton.units.unit.device)))
    nets = torch.stack([minimum.at for minimum in minima])
    nets = nets.index_copy(0, net.to(nets.device), picked) if len(net) == len(nets) else nets
    return BasisFit(name, task, newton.basis, shifted, nets, torch.tensor(penalties)[chosen.cpu()])


@dataclass(frozen=True, slots=True)
class _Minimum:
    """Where a net's Newton steps ended, and the quadratic there.

    Parameters
    ----------
    at : Tensor (f, o)
    gradient : Tensor (o * f,)
    noise : float
        Mean squared score over mean curvature of the outputs.
    """

    at: Tensor
    gradient: Tensor
    factored: Penalized
    noise: float

    def quadratic(self) -> Quadratic:
        """Return the last quadratic, around `at`."""
        return Quadratic(self.factored.hessian(), self.gradient)

    def ridge_path(self, last: Quadratic) -> Tensor:
        """Return coefficients (l, f, o) at every ridge penalty, from the last quadratic."""
        return torch.stack([self.at + last.minimize(penalty, self.at.shape[1], self.at) for penalty in PENALTIES])

    def group_paths(self, last: Quadratic, groups: list[Tensor]) -> Tensor:
        """Return coefficients (groups * l, f, o) of each group of features alone at every ridge penalty."""
        (f, o), at_zero, paths = self.at.shape, self._gradient_at_zero(last), []
        for group in groups:
            kept = (torch.arange(o, device=group.device)[:, None] * f + group).reshape(-1)
            own = Quadratic(last.hessian[kept[:, None], kept], at_zero[kept])
            path = self.at.new_zeros(len(PENALTIES), f, o)
            path[:, group] = torch.stack([own.minimize(penalty, o) for penalty in PENALTIES])
            paths.append(path)
        return torch.cat(paths)

    def sparse_path(self, last: Quadratic) -> Tensor:
        """Return coefficients (l, f, o) at every threshold for a feature to stay, from the last quadratic."""
        start = self.at + last.minimize(SPARSE_START, self.at.shape[1], self.at)
        return sparse_path(last.hessian, self._gradient_at_zero(last), start, self.noise)

    def _gradient_at_zero(self, last: Quadratic) -> Tensor:
        return last.gradient - last.hessian @ self.at.T.reshape(-1)


def _to_common(task: Task, coefficients: Tensor, units: Units) -> Tensor:
    """Return coefficients (v, f, o) in common units: every row scaled, the constant's row shifted as well."""
    scaled = task.to_common(coefficients, units)
    shift = task.to_common(torch.zeros_like(coefficients), units)
    shift[:, :1] = 0.0
    return scaled - shift


def _rose(loss: Tensor, before: Tensor) -> bool:
    """Whether a loss is greater than before by more than rounding, or no number."""
    return not float(loss) <= float(before) + 1e-9 * abs(float(before))


class _Newton:
    """Penalized Newton steps for all nets, one cell's features at a time; `separate` hessians are one per output."""

    def __init__(
        self, task: Task, basis: Features, x: Tensor, scheme: Scheme, units: Units, separate: bool = False
    ) -> None:
        self.task, self.basis, self.x, self.scheme, self.units = task, basis, x, scheme, units
        self.shape = (scheme.n_nets, basis.n_features, task.n_out)
        self.curvature_sum = separate_sums if separate else curvature_sum
        self.kept: dict[tuple[int, int], Tensor] | None = {} if basis.n_features * len(x) <= MOST_KEPT else None
        self.sides = (task.n_out, basis.n_features) if separate else (task.n_out * basis.n_features,)

    def _chunks(self, used: NDArray[np.bool_]) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield (cell, rows, features) of the cells marked in any row of `used` (any, c), every row once."""
        for cell in np.flatnonzero(used.any(0)).tolist():
            rows = torch.from_numpy(np.flatnonzero(self.scheme.cell == cell)).to(self.x.device)
            for number, part in enumerate(rows.split(CHUNK)):
                yield cell, part, self._features(cell, number, part)

    def _features(self, cell: int, number: int, rows: Tensor) -> Tensor:
        """Return the features of a chunk of a cell, which every step reads again, and keep them if all are few."""
        if self.kept is None:
            return self.basis(self.x[rows])
        if (cell, number) not in self.kept:
            self.kept[cell, number] = self.basis(self.x[rows])
        return self.kept[cell, number]

    def run(self) -> list[_Minimum]:
        """Return where each net's steps end.

        Every net goes its own way and stops on its own: no net's outcomes may reach another's coefficients.
        """
        s, f, o = self.shape
        at = torch.zeros(self.shape, dtype=torch.float64, device=self.x.device)
        value = torch.full((s,), torch.inf, dtype=torch.float64, device=at.device)
        hessians = torch.zeros(s, *self.sides, self.sides[-1], dtype=torch.float64, device=at.device)
        gradients = torch.zeros(s, o * f, dtype=torch.float64, device=at.device)
        squares = torch.zeros(s, dtype=torch.float64, device=at.device)
        factored: list[Penalized] = []
        steps, active = torch.zeros_like(at), list(range(s))
        close = CONVERGED * np.sqrt(f * o / np.maximum(self.scheme.train_sizes(), 1))
        for iteration in range(self.task.iterations):
            renew = iteration == 0 or (not self.task.constant_curvature and iteration < NEW_HESSIANS)
            new = self._derivatives(at, active, hessians if renew else None, iteration == 0)
            for net in [net for net in active if iteration and not math.isfinite(float(new[1][net]))]:
                self._retreat(net, at, steps, value, new, hessians if renew else None)
            if renew:
                self._factor(hessians, active, factored)
            for net in list(active):
                if iteration > 1 and _rose(new[1][net], value[net]):
                    steps[net] *= 0.5
                    at[net] -= steps[net]
                    continue
                before = gradients[net].clone()
                gradients[net], value[net], squares[net] = (sums[net] for sums in new)
                move = factored[net].minimize(gradients[net], at[net])
                size = float(move.square().sum().sqrt())
                if iteration and size < close[net]:
                    active.remove(net)
                    continue
                if iteration > 1 and not renew:
                    move *= factored[net].length(steps[net], gradients[net] - before)
                steps[net] = move * (min(1.0, STEP_LIMIT / max(size, STEP_LIMIT)) if iteration else 1.0)
                at[net] += steps[net]
            if iteration == 0 and self.task.restarts:
                self._restart(at)
                steps = at.clone()
            if not active:
                break
        if active:
            self._check_last(at, steps, active, value, factored, (gradients, squares))
        curvature = [float(part.diagonal()[::f].sum()) for part in factored]  # of the constants: over rows
        noise = [square / max(c, 1e-300) for square, c in zip(squares.tolist(), curvature, strict=True)]
        return [_Minimum(*each) for each in zip(at, gradients, factored, noise, strict=True)]

    def _restart(self, at: Tensor) -> None:
        """Set, after the first step, what the task then knows better than the step did."""
        parts: list[list[tuple[Tensor, Tensor]]] = [[] for _ in at]
        for cell, rows, features in self._chunks(self.scheme.train):
            for net in np.flatnonzero(self.scheme.train[:, cell]).tolist():
                parts[net].append((features @ at[net], rows))
        for net, part in enumerate(parts):
            out, rows = (torch.cat(each) for each in zip(*part, strict=True))
            at[net] = self.task.restart(at[net], out, rows)

    def _check_last(
        self,
        at: Tensor,
        steps: Tensor,
        active: list[int],
        value: Tensor,
        factored: list[Penalized],
        kept: tuple[Tensor, Tensor],
    ) -> None:
        """Take back the last step of nets whose penalized loss it raised, and else keep the derivatives after it.

        A step back leaves the gradients and squared scores that are `kept` from before it.
        """
        new_gradients, new_value, new_squares = self._derivatives(at, active, None, False)
        for net in active:
            before, ridge = at[net] - steps[net], factored[net]
            if _rose(new_value[net] + ridge.penalty(at[net]), value[net] + ridge.penalty(before)):
                at[net] = before
            else:
                kept[0][net], kept[1][net] = new_gradients[net], new_squares[net]

    def _retreat(
        self,
        net: int,
        at: Tensor,
        steps: Tensor,
        value: Tensor,
        new: tuple[Tensor, Tensor, Tensor],
        hessians: Tensor | None,
    ) -> None:
        """Halve a net's last step, which overflowed, until its loss is no greater than before it.

        Where the loss is infinite its derivatives are no numbers, so that no other step could start there.
        """
        for _ in range(MOST_HALVINGS):
            steps[net] *= 0.5
            at[net] -= steps[net]
            for sums, own in zip(new, self._derivatives(at, [net], hessians, False), strict=True):
                sums[net] = own[net]
            if float(new[1][net]) <= float(value[net]):
                return

    def _factor(self, hessians: Tensor, active: list[int], factored: list[Penalized]) -> None:
        """Factor the active nets' hessians in place, which halves what a wide basis holds, and note the factors."""
        for net in active:
            new = Penalized.factor(hessians[net], NEWTON_PENALTY, self.shape[2])
            hessians[net] = new.lower
            factored[net : net + 1] = [Penalized(new.ridge, hessians[net])]

    def _derivatives(
        self, at: Tensor, active: list[int], hessians: Tensor | None, first: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the active nets' gradients (s, o * f), losses (s,) and squared scores (s,), summed over training rows.

        Their hessians are written if given.
        """
        s, f, o = self.shape
        gradients = torch.zeros(s, o * f, dtype=torch.float64, device=at.device)
        value, squares = torch.zeros(2, s, dtype=torch.float64, device=at.device)
        if hessians is not None:
            hessians[active] = 0.0
        for cell, rows, features in self._chunks(self.scheme.train[active]):
            narrow, shared = features if hessians is None else features.float(), None
            for net in (r for r in active if self.scheme.train[r, cell]):
                units, out = self.units.select(torch.tensor([net], device=at.device)), (features @ at[net])[None]
                if hessians is None:
                    loss, gradient = self.task.loss_and_gradient(out, rows[None], units)
                else:
                    loss = self.task.loss(out, rows[None], units)
                    gradient, curvature = (
                        self.task.first_derivatives(rows[None], units)
                        if first
                        else self.task.derivatives(out, rows[None], units)
                    )
                value[net] += loss.sum()
                gradients[net] += gradient_sum(features, gradient[0])
                squares[net] += gradient[0].square().sum()
                if hessians is not None:
                    if shared is None or not self.task.constant_curvature:
                        shared = self.curvature_sum(narrow, curvature[0])
                    hessians[net] += shared
        return gradients, value, squares

    def held_out_losses(self, paths: Tensor) -> Tensor:
        """Return the held-out loss sums (v, l) of coefficients (s, l, f, o) on each snapshot's cells."""
        net, n_paths = self.scheme.net, paths.shape[1]
        losses = torch.zeros(len(net), n_paths, dtype=torch.float64, device=paths.device)
        for cell, rows, features in self._chunks(self.scheme.select):
            for v in np.flatnonzero(self.scheme.select[:, cell]).tolist():
                out = features @ paths[net[v]]
                units = self.units.select(torch.full((n_paths,), int(net[v]), device=paths.device))
                losses[v] += self.task.loss(out, rows.expand(n_paths, -1), units).sum(1)
        return losses.nan_to_num(nan=torch.inf)

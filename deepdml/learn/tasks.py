"""What is learned from x: the outcome's theta, the treatment's mean, levels and scale.

A task knows its targets and turns a learner's outputs into losses and derivatives. Learners know tasks, never families
or treatments. Axes: n rows, o outputs, s nets; `rows` is any integer tensor of row numbers and `out` has the shape of
`rows` plus one axis of outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deepdml.errors import DataError
from deepdml.families.base import Family


@dataclass(frozen=True, slots=True)
class Units:
    """Units in which each net sees its targets, from its own training rows; all of shape (s,).

    A net's output times `unit` plus `center` (in the direction of the constant) is in the task's common units; its loss
    is multiplied by `multiplier`, which makes the curvature of order one. `start` (s, r) are the indices of a fit
    without regressors, for families with several.
    """

    center: Tensor
    unit: Tensor
    multiplier: Tensor
    start: Tensor | None = None

    def select(self, nets: Tensor) -> Units:
        """Return the units of some nets."""
        start = None if self.start is None else self.start[nets]
        return Units(self.center[nets], self.unit[nets], self.multiplier[nets], start)

    def of_net(self, net: int) -> Units:
        """Return the units of one net, with s = 1."""
        return self.select(torch.tensor([net], device=self.unit.device))

    def to(self, device: torch.device) -> Units:
        """Return the units on a device."""
        start = None if self.start is None else self.start.to(device)
        return Units(self.center.to(device), self.unit.to(device), self.multiplier.to(device), start)


class Task:
    """Base of the nuisances.

    Parameters
    ----------
    name, metric : str
        Names for the diagnostics: what is learned, and what its loss is.
    n_out : int
        Number of outputs o.
    weight : Tensor (n,) or None
        Sampling weights with mean one.
    """

    quadratic = False
    iterations = 15
    """Most steps of Newton's method."""
    restarts = False
    """Whether Newton's first step leaves outputs alone that can be had at once from what it fitted."""
    constant_curvature = False
    """Whether `derivatives` gives every net the same hessian, whatever its outputs and its targets."""
    separable = False
    """Whether fits on a basis take one output's hessian at a time, for no two curve together.

    It pays where outputs are many: time grows with the cube of what one hessian holds."""

    def __init__(self, name: str, metric: str, n_out: int, weight: Tensor | None) -> None:
        self.name, self.metric, self.n_out, self.weight = name, metric, n_out, weight

    def units(self, train: list[Tensor]) -> Units:
        """Return the units of each net from its training rows; by default the common units."""
        zero, one = torch.zeros(len(train)), torch.ones(len(train))
        return Units(zero, one, one)

    def to_common(self, out: Tensor, units: Units) -> Tensor:
        """Return outputs of shape (s, rows, o) in the common units."""
        return out

    def loss(self, out: Tensor, rows: Tensor, units: Units | None = None) -> Tensor:
        """Return the weighted loss of each row; `units` broadcast over the first axis, None means common units."""
        raise NotImplementedError

    def derivatives(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        """Return the weighted gradient (..., o) and expected hessian (..., o, o) of each row's loss in the outputs."""
        raise NotImplementedError

    def gradient(self, out: Tensor, rows: Tensor, units: Units | None = None) -> Tensor:
        """Return the first of `derivatives` alone, for where curvatures are kept from earlier steps."""
        return self.derivatives(out, rows, units)[0]

    def loss_and_gradient(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        """Return `loss` and `gradient`, for tasks that have much of both in common."""
        return self.loss(out, rows, units), self.gradient(out, rows, units)

    def first_derivatives(self, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        """Return gradient and hessian at output zero of a quadratic that starts Newton's method well."""
        return self.derivatives(
            torch.zeros(*rows.shape, self.n_out, dtype=torch.float64, device=rows.device), rows, units
        )

    def restart(self, coefficients: Tensor, out: Tensor, rows: Tensor) -> Tensor:
        """Return coefficients (f, o), the constant's first, at which Newton's method goes on after its first step.

        `out` (m, o) is what those of the first step predict at the training rows (m,); asked if the task `restarts`.
        """
        return coefficients

    def perfect_loss(self) -> float:
        """Return the mean loss of a perfect fit."""
        return 0.0

    def _scaled(self, values: Tensor, units: Units | None) -> Tensor:
        if units is None:
            return values
        return values * units.multiplier.to(values.dtype).reshape((-1,) + (1,) * (values.dim() - 1))

    def _weighted(self, values: Tensor, rows: Tensor) -> Tensor:
        if self.weight is None:
            return values
        weight = self.weight[rows].to(values.dtype)
        return values * weight.reshape(weight.shape + (1,) * (values.dim() - weight.dim()))


class FamilyTask(Task):
    """theta(x) under the loss of a family: what one index and several have in common."""

    def __init__(
        self, family: Family, y: Tensor, constant: Tensor | None, n_out: int, weight: Tensor | None, y_name: str
    ) -> None:
        super().__init__("outcome", f"mean {family.name} loss", n_out, weight)
        self.family, self.y, self.constant, self.y_name = family, y, constant, y_name

    def perfect_loss(self) -> float:
        least = torch.from_numpy(self.family.perfect_loss(self.y.cpu().numpy())).to(self.y.device)
        return float(self._weighted(least, torch.arange(len(least), device=least.device)).mean())


class OutcomeTask(FamilyTask):
    """theta(x) under the family's loss, with structural rows t of unit second moment.

    Parameters
    ----------
    family : Family
    y : Tensor (n,), float64
    t : Tensor (n, d), float64
    constant : Tensor (d,) or None
        Coefficients with t @ constant = 1, None where the columns of t do not span the constant.
    """

    def __init__(
        self,
        family: Family,
        y: Tensor,
        t: Tensor,
        constant: Tensor | None,
        weight: Tensor | None,
        y_name: str = "y",
    ) -> None:
        super().__init__(family, y, constant, t.shape[1], weight, y_name)
        self.t = t
        self.quadratic = self.constant_curvature = family.constant_hessian
        self._t32 = t.float()

    def units(self, train: list[Tensor]) -> Units:
        means = torch.stack([self.y[rows].mean() for rows in train])
        zero, one = torch.zeros_like(means), torch.ones_like(means)
        if not self.family.constant_hessian:
            refuse_constant(self.y, train, self.y_name)
            curvature = [self.family.hessian(self.family.link_of_mean(m)) for m in means]
            return Units(zero, one, 1.0 / torch.stack(curvature))
        center = means if self.constant is not None else zero
        spread = torch.stack([(self.y[rows] - c).square().mean().sqrt() for rows, c in zip(train, center, strict=True)])
        return Units(center, torch.where(spread > 0, spread, one), one)

    def to_common(self, out: Tensor, units: Units) -> Tensor:
        out = out * units.unit.to(out)[:, None, None]
        if self.constant is None:
            return out
        return out + units.center.to(out)[:, None, None] * self.constant.to(out)

    def _outcome(self, rows: Tensor, units: Units | None, dtype: torch.dtype) -> Tensor:
        y = self.y[rows]
        if units is not None:
            shape = (-1,) + (1,) * (rows.dim() - 1)
            y = (y - units.center.reshape(shape)) / units.unit.reshape(shape)
        return y.to(dtype)

    def _rows_of_t(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        return self._t32[rows] if dtype == torch.float32 else self.t[rows]

    def loss(self, out: Tensor, rows: Tensor, units: Units | None = None) -> Tensor:
        eta = (self._rows_of_t(rows, out.dtype) * out).sum(-1)
        loss = self.family.loss(self._outcome(rows, units, out.dtype), eta)
        return self._scaled(self._weighted(loss, rows), units)

    def residuals(self, out: Tensor) -> Tensor:
        """Return the derivative of every row's loss in its index, (n,), at outputs (n, d)."""
        slope: Tensor = self.family.score(self.y, (self.t * out).sum(1))
        return slope

    def gradients(self, out: Tensor) -> Tensor:
        """Return the unweighted derivative of every row's loss in theta, (n, d), at outputs (n, d)."""
        return self.residuals(out)[:, None] * self.t

    def hessians(self, out: Tensor) -> Tensor:
        """Return the hessian (n, d, d) of every row's loss in theta expected given t, whose mean given x is Lambda."""
        second: Tensor = self.family.hessian((self.t * out).sum(1))
        return second[:, None, None] * self.t[:, :, None] * self.t[:, None, :]

    def derivatives(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        eta = (self._rows_of_t(rows, out.dtype) * out).sum(-1)
        y = self._outcome(rows, units, out.dtype)
        return self._spread(self.family.score(y, eta), self.family.hessian(eta), rows, units)

    def first_derivatives(self, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        y = self._outcome(rows, units, torch.float64)
        eta = self.family.start_rows(y)
        hessian = self.family.hessian(eta)
        return self._spread(self.family.score(y, eta) - hessian * eta, hessian, rows, units)

    def _spread(self, score: Tensor, hessian: Tensor, rows: Tensor, units: Units | None) -> tuple[Tensor, Tensor]:
        t = self._rows_of_t(rows, score.dtype)
        gradient = self._weighted(score[..., None] * t, rows)
        curvature = self._weighted(hessian[..., None, None] * t[..., :, None] * t[..., None, :], rows)
        return self._scaled(gradient, units), self._scaled(curvature, units)


def refuse_constant(y: Tensor, train: list[Tensor], y_name: str) -> None:
    """Raise DataError if the outcome is the same in all the rows a net trains on."""
    for rows in train:
        if bool((y[rows] == y[rows[0]]).all()):
            raise DataError(
                f"the outcome {y_name!r} is {float(y[rows[0]]):g} in all {len(rows):,} rows that one of the nets "
                "trains on, so its coefficients cannot be learned there. Other outcomes are too rare for this sample: "
                "use more rows, or another outcome."
            )


class MeanTask(Task):
    """Conditional means of the columns of `target` (n, o) under squared error."""

    quadratic = True
    constant_curvature = True

    def __init__(self, name: str, target: Tensor, weight: Tensor | None) -> None:
        super().__init__(name, "half mean squared error", target.shape[1], weight)
        self.target = target
        self._target32 = target.float()

    def means(self, out: Tensor) -> Tensor:
        """Return the conditional means at outputs (..., o), in the units of the target."""
        return out

    def loss(self, out: Tensor, rows: Tensor, units: Units | None = None) -> Tensor:
        target = self._target32 if out.dtype == torch.float32 else self.target
        return self._weighted(0.5 * (out - target[rows]).square().sum(-1), rows)

    def derivatives(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        eye = torch.eye(self.n_out, dtype=out.dtype, device=out.device).expand(*rows.shape, self.n_out, self.n_out)
        return self._weighted(out - self.target[rows].to(out.dtype), rows), self._weighted(eye, rows)


class MixedTask(MeanTask):
    """Conditional means of columns (n, o) of which some have two values: log-odds of the upper one, under log loss.

    Parameters
    ----------
    two : Tensor (o,)
        Which columns have two values.
    """

    quadratic = False
    constant_curvature = False

    def __init__(self, name: str, target: Tensor, weight: Tensor | None, two: Tensor) -> None:
        super().__init__(name, target, weight)
        self.metric = "half mean squared error, log loss of columns with two values"
        self.two, self.low, self.high = two, target.amin(0), target.amax(0)
        self._upper = (target > 0.5 * (self.low + self.high)).double()

    def means(self, out: Tensor) -> Tensor:
        share = torch.sigmoid(out)
        return torch.where(self.two, self.low + (self.high - self.low) * share, out)

    def loss(self, out: Tensor, rows: Tensor, units: Units | None = None) -> Tensor:
        squares = 0.5 * (out - self.target[rows].to(out.dtype)).square()
        logs = torch.nn.functional.softplus(out) - self._upper[rows].to(out.dtype) * out
        return self._weighted(torch.where(self.two, logs, squares).sum(-1), rows)

    def derivatives(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        share = torch.sigmoid(out)
        slope = torch.where(self.two, share - self._upper[rows].to(out.dtype), out - self.target[rows].to(out.dtype))
        curvature = torch.diag_embed(torch.where(self.two, share * (1.0 - share), torch.ones_like(out)))
        return self._weighted(slope, rows), self._weighted(curvature, rows)


class LevelTask(Task):
    """Probabilities of the levels 0..m-1 of a discrete treatment; the outputs are log-odds against level 0."""

    def __init__(self, name: str, codes: Tensor, n_levels: int, weight: Tensor | None) -> None:
        super().__init__(name, "mean log loss", n_levels - 1, weight)
        self.codes = codes

    def loss(self, out: Tensor, rows: Tensor, units: Units | None = None) -> Tensor:
        logits = torch.nn.functional.pad(out, (1, 0))
        chosen = logits.gather(-1, self.codes[rows][..., None])[..., 0]
        return self._weighted(logits.logsumexp(-1) - chosen, rows)

    def derivatives(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        share = torch.nn.functional.pad(out, (1, 0)).softmax(-1)[..., 1:]
        levels = torch.arange(1, self.n_out + 1, device=out.device)
        hit = (self.codes[rows][..., None] == levels).to(out.dtype)
        curvature = torch.diag_embed(share) - share[..., :, None] * share[..., None, :]
        return self._weighted(share - hit, rows), self._weighted(curvature, rows)

    def probabilities(self, out: Tensor) -> Tensor:
        """Return P(level | x), shape (..., m)."""
        return torch.nn.functional.pad(out, (1, 0)).softmax(-1)


class ScaleTask(Task):
    """Log variances of `squares` (n, o), squared residuals with mean near one, under the Gaussian likelihood."""

    constant_curvature = True

    def __init__(self, name: str, squares: Tensor, weight: Tensor | None) -> None:
        super().__init__(
            name, "half mean of log variance plus squared residual over variance", squares.shape[1], weight
        )
        self.squares = squares

    def loss(self, out: Tensor, rows: Tensor, units: Units | None = None) -> Tensor:
        ratio = self.squares[rows].to(out.dtype) * torch.exp(-out)
        return self._weighted(0.5 * (out + ratio).sum(-1), rows)

    def derivatives(self, out: Tensor, rows: Tensor, units: Units | None = None) -> tuple[Tensor, Tensor]:
        ratio = self.squares[rows].to(out.dtype) * torch.exp(-out)
        eye = 0.5 * torch.eye(self.n_out, dtype=out.dtype, device=out.device).expand(
            *rows.shape, self.n_out, self.n_out
        )
        return self._weighted(0.5 * (1.0 - ratio), rows), self._weighted(eye, rows)

"""Conditional variances and correlations of a continuous treatment, learned from held-out residuals of its mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepdml.learn.bases import Basis, linear_basis
from deepdml.learn.candidates import BasisFit, fit_basis
from deepdml.learn.nuisances import Learned, Setting
from deepdml.learn.scheme import Scheme
from deepdml.learn.stacking import Predictions, Stack, covered, predictions_of_basis, stack
from deepdml.learn.tasks import MeanTask, ScaleTask, Task

SPREAD_PARTS = 4  # parts of the held-out residuals that choose the model of the conditional variance


@dataclass(frozen=True, slots=True)
class Spread:
    """The conditional second moments of a continuous treatment, standardized.

    Parameters
    ----------
    scale : Tensor (n, v)
        Conditional standard deviations.
    correlation : Tensor (n, v, v)
        Conditional correlations of the columns.
    loss, loss_linear, loss_constant : float
        Out-of-fold losses of the log variance: as used, of the linear fit, and of a constant.
    weights : Tensor (j, c)
        Stacking weights.
    """

    scale: Tensor
    correlation: Tensor
    loss: float
    loss_linear: float
    loss_constant: float
    weights: Tensor


def learn_spread(setting: Setting, mean: Learned, rng: np.random.Generator) -> Spread:
    """Learn conditional variances and correlations of a continuous treatment from held-out residuals."""
    task = mean.task
    if not isinstance(task, MeanTask):
        raise TypeError(f"a spread needs a mean task, not {type(task).__name__}")
    scheme, target = setting.scheme, task.target
    n, v = target.shape
    log_scale, line, flat = (torch.zeros_like(target) for _ in range(3))
    correlation = torch.eye(v, dtype=torch.float64, device=target.device).repeat(n, 1, 1)
    weights = []
    for a in range(scheme.n_blocks):
        inner = within(setting, a, rng)
        inside = torch.from_numpy(scheme.block == a).to(target.device)
        residuals = target - task.means(mean.stacked.held[a])
        squares = residuals.square()
        typical = _mean_outside(setting, squares, inner)
        stacked, alone = _stack_linear(
            setting, ScaleTask("treatment variance", squares / typical, setting.problem.weight), inner
        )
        weights.append(stacked.weights[0])
        log_scale[inside] = 0.5 * (stacked.out.double()[inside] + typical.log())
        line[inside], flat[inside] = alone.double()[inside] + typical.log(), typical.log().expand(n, v)[inside]
        if v > 1:
            standard = residuals / (0.5 * (stacked.held[0].double() + typical.log())).exp()
            correlation[inside] = _correlations(setting, standard, inner)[inside]
    squares = (target - task.means(mean.out)).square()
    level = _mean(setting, squares, torch.ones(n, dtype=torch.bool, device=target.device))
    judge = ScaleTask("treatment variance", squares / level, setting.problem.weight)
    rows = torch.arange(n, device=target.device)
    loss, linear, constant = (float(judge.loss(out - level.log(), rows).mean()) for out in (2 * log_scale, line, flat))
    return Spread(log_scale.exp(), correlation, loss, linear, constant, torch.stack(weights))


def _stack_linear(setting: Setting, task: Task, inner: Scheme) -> tuple[Stack, Tensor]:
    """Stack a zero and a linear fit of a task; return the stack and the linear fit's predictions (n, o)."""
    x = setting.problem.x
    stacked, fits = stack_bases(task, inner, [(linear_basis(x), x)] if x.shape[1] else [], x.device)
    if not fits:
        return stacked, torch.zeros_like(stacked.out)
    return stacked, predictions_of_basis(fits[0], x, inner).members.mean(0)


def stack_bases(
    task: Task, inner: Scheme, bases: list[tuple[Basis, Tensor]], device: torch.device
) -> tuple[Stack, list[BasisFit]]:
    """Stack a zero and fits of a task on bases of columns (n, p), on a scheme of `within`; return it and the fits."""
    zero = torch.zeros(SPREAD_PARTS, len(inner.cell), task.n_out, device=device)
    units = task.units([torch.zeros(0, dtype=torch.long)] * SPREAD_PARTS).to(device)
    fits = [fit_basis("basis", task, basis, columns, inner, units) for basis, columns in bases]
    held = [predictions_of_basis(fit, columns, inner) for fit, (_, columns) in zip(fits, bases, strict=True)]
    return stack(task, [Predictions(zero[:1], zero), *held], inner), fits


def _correlations(setting: Setting, standard: Tensor, inner: Scheme) -> Tensor:
    """Return conditional correlations (n, v, v) from standardized held-out residuals (n, v).

    Rows in which the fitted ones are no correlation matrix, or nearly singular beside the average one, take the
    average.
    """
    v = standard.shape[1]
    first, second = torch.triu_indices(v, v, 1, device=standard.device).unbind()
    products = standard[:, first] * standard[:, second]
    average = _mean_outside(setting, products, inner).clamp(-0.999, 0.999)
    task = MeanTask("treatment correlation", products - average, setting.problem.weight)
    fitted = _symmetric(_stack_linear(setting, task, inner)[0].out.double() + average, v)
    flat = _symmetric(average[None], v)
    bound = 0.5 * torch.linalg.eigvalsh(flat)[0, 0]
    return torch.where((torch.linalg.eigvalsh(fitted)[:, 0] < bound)[:, None, None], flat, fitted)


def _mean_outside(setting: Setting, values: Tensor, inner: Scheme) -> Tensor:
    """Return the weighted mean (o,) of values (n, o) over the rows outside the block that `inner` predicts."""
    return _mean(setting, values, torch.from_numpy(inner.cell < SPREAD_PARTS).to(values.device))


def _mean(setting: Setting, values: Tensor, rows: Tensor) -> Tensor:
    """Return the weighted mean (o,) of values (n, o) over the marked rows."""
    weight = setting.problem.weight
    if weight is None:
        return values[rows].mean(0)
    return (weight[rows, None] * values[rows]).sum(0) / weight[rows].sum()


def _symmetric(upper: Tensor, v: int) -> Tensor:
    """Return matrices (n, v, v) with unit diagonal from their upper triangles (n, v (v - 1) / 2)."""
    first, second = torch.triu_indices(v, v, 1, device=upper.device).unbind()
    full = torch.eye(v, dtype=upper.dtype, device=upper.device).repeat(len(upper), 1, 1)
    full[:, first, second] = upper
    full[:, second, first] = upper
    return full


def within(setting: Setting, a: int, rng: np.random.Generator) -> Scheme:
    """Return a scheme of four fits on the rows with a held-out residual for block a; they predict block a."""
    scheme, cluster = setting.scheme, setting.plan.cluster
    rows = np.flatnonzero(covered(scheme)[a])
    kept = np.arange(len(rows)) if cluster is None else np.unique(cluster[rows], return_inverse=True)[1]
    cell = np.full(len(scheme.cell), SPREAD_PARTS + 1)
    cell[rows] = rng.permutation(kept.max() + 1)[kept] % SPREAD_PARTS
    inside = scheme.block == a
    cell[inside] = SPREAD_PARTS
    select = np.eye(SPREAD_PARTS, SPREAD_PARTS + 2, dtype=bool)
    train_cells = ~select & (np.arange(SPREAD_PARTS + 2) < SPREAD_PARTS)
    block = np.where(inside, 0, -1)
    return Scheme(cell, block, train_cells, select, np.arange(SPREAD_PARTS), np.zeros(SPREAD_PARTS, dtype=np.intp))

"""Recalibration on held-out residuals: what regularization took out of a stack is added back.

Stacking minimizes a loss, and so accepts a bias where that lowers the variance. An average over rows gains nothing from
the trade: variance averages out, while errors of theta and of the treatment model that go together do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepdml.learn.quadratics import Quadratic, curvature_sum, gradient_sum
from deepdml.learn.scheme import Scheme
from deepdml.learn.stacking import Predictions, Stack, covered
from deepdml.learn.tasks import Task


@dataclass(frozen=True, slots=True)
class Recalibration:
    """Regressions of held-out residuals on the candidates' predictions, one per block.

    Parameters
    ----------
    shift : Tensor (j, o)
        Constants added to the stack's predictions.
    mix : Tensor (j, c, o, o)
        What is added for every unit that a candidate (c) predicts: rows are its outputs, columns those of the stack.
    out : Tensor (n, o)
        The stack's predictions with both added.
    """

    shift: Tensor
    mix: Tensor
    out: Tensor


def recalibrate(stacked: Stack, predictions: list[Predictions], scheme: Scheme) -> Recalibration:
    """Fit one Newton step on the candidates' held-out predictions to the residuals outside each block.

    The ridge is features over rows: the best one if what is left in the residuals were as large as their noise, so that
    it shrinks little where rows are many and much where they are few.
    """
    task, device = stacked.task, stacked.held.device
    out, heads = stacked.out.double(), []
    for a, outside in enumerate(covered(scheme)):
        rows = torch.from_numpy(np.flatnonzero(outside)).to(device)
        features = torch.cat([p.held[a, rows] for p in predictions], 1).double()
        head = _head(task, features, stacked.held[a, rows].double(), rows)
        own = torch.from_numpy(np.flatnonzero(scheme.block == a)).to(device)
        features = torch.cat([p.members[:, own].mean(0) for p in predictions], 1).double()
        out[own] += head[0] + features @ head[1:]
        heads.append(head)
    each = torch.stack(heads)
    return Recalibration(each[:, 0], each[:, 1:].unflatten(1, (len(predictions), task.n_out)), out)


def _head(task: Task, features: Tensor, at: Tensor, rows: Tensor) -> Tensor:
    """Return the constants and slopes (1 + f, o) of one Newton step from `at` on features (m, f), standardized."""
    mean, scale = features.mean(0), features.std(0, correction=0)
    scale = torch.where(scale > 1e-6, scale, 1.0)
    one = torch.ones(len(rows), 1, dtype=features.dtype, device=features.device)
    standard = torch.cat([one, (features - mean) / scale], 1)
    gradient, curvature = task.derivatives(at, rows)
    quadratic = Quadratic(curvature_sum(standard.float(), curvature), gradient_sum(standard, gradient))
    head = quadratic.minimize(standard.shape[1] / len(rows), task.n_out)
    slopes = head[1:] / scale[:, None]
    return torch.cat([head[:1] - mean @ slopes, slopes])

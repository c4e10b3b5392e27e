"""Refinement of the nets' last layers on held-out residuals: what regularization left out of the stack is added back.

Stacking minimizes a loss, and so accepts a bias where that lowers the variance. An average over rows gains nothing from
the trade: variance averages out, while biases of theta and of the treatment that go together do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepdml.learn.candidates import Quadratic, curvature_sum, gradient_sum
from deepdml.learn.scheme import Scheme
from deepdml.learn.stacking import Stack
from deepdml.learn.tasks import Task
from deepdml.learn.training import Inputs, TrainedGroup


@dataclass(frozen=True, slots=True)
class Refinement:
    """Last layers fit to held-out residuals, one per snapshot, on the last hidden layers of all nets.

    Parameters
    ----------
    nets : tuple of TrainedGroup
        Whose last hidden layers are read, side by side.
    heads : Tensor (v, 1 + f, o)
        The constant and the f features; added to the stack's member.
    out : Tensor (n, o)
        The stack's predictions with the heads added.
    """

    nets: tuple[TrainedGroup, ...]
    heads: Tensor
    out: Tensor


def refine(stacked: Stack, nets: tuple[TrainedGroup, ...], inputs: Inputs, scheme: Scheme) -> Refinement:
    """Fit one Newton step on the nets' last hidden layers to held-out residuals, snapshot by snapshot.

    The snapshot of a pair of blocks that predicts the first reads the residuals of the second, which its net never saw.
    The ridge is features over rows: the best one if what is left in the residuals were as large as their noise, so that
    it shrinks little where rows are many and much where they are few.
    """
    task, device = stacked.task, stacked.held.device
    out, heads = stacked.out.double(), []
    for v, a in enumerate(scheme.target.tolist()):
        rows = torch.from_numpy(scheme.rows_of_cells(scheme.select[v])).to(device)
        features = _last_layers(nets, inputs, scheme, v, rows)
        heads.append(_head(task, features, stacked.held[a, rows].double(), rows))
        own = torch.from_numpy(np.flatnonzero(scheme.block == a)).to(device)
        out[own] += _last_layers(nets, inputs, scheme, v, own) @ heads[v] / len(stacked.members)
    return Refinement(nets, torch.stack(heads), out)


def _last_layers(nets: tuple[TrainedGroup, ...], inputs: Inputs, scheme: Scheme, v: int, rows: Tensor) -> Tensor:
    """Return one and the last hidden layers of a snapshot's nets, shape (m, 1 + f), float64."""
    layers = [net.last_layer(inputs, v, int(scheme.net[v]), rows) for net in nets]
    return torch.cat([torch.ones(len(rows), 1, device=rows.device), *layers], 1).double()


def _head(task: Task, features: Tensor, at: Tensor, rows: Tensor) -> Tensor:
    """Return the head (1 + f, o) on features (m, 1 + f), which are standardized for the ridge."""
    mean, scale = features.mean(0), features.std(0, correction=0)
    constant = scale < 1e-6
    mean[0], scale[constant] = 0.0, 1.0
    standard = (features - mean) / scale
    gradient, curvature = task.derivatives(at, rows)
    quadratic = Quadratic(curvature_sum(standard.float(), curvature), gradient_sum(standard, gradient))
    head = quadratic.minimize(features.shape[1] / len(rows), task.n_out) / scale[:, None]
    head[0] -= mean @ head
    return head

"""Refinement on held-out residuals: what regularization left out of the stack is added back.

Stacking minimizes a loss, and so accepts a bias where that lowers the variance. An average over rows gains nothing from
the trade: variance averages out, while biases of theta and of the treatment that go together do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepdml.learn.candidates import CHUNK, Basis, Quadratic, curvature_sum, gradient_sum, sums_without_each
from deepdml.learn.scheme import Scheme
from deepdml.learn.stacking import Stack, covered
from deepdml.learn.tasks import Task
from deepdml.learn.training import Inputs, TrainedGroup


@dataclass(frozen=True, slots=True)
class HeadBoost:
    """Last layers fit to held-out residuals, one per snapshot, on the last hidden layers of all nets.

    Parameters
    ----------
    nets : tuple of TrainedGroup
        Whose last hidden layers are read, side by side.
    heads : Tensor (v, 1 + f, o)
        The constant and the f features; added to the stack's member.
    """

    nets: tuple[TrainedGroup, ...]
    heads: Tensor


def boost_heads(
    stacked: Stack, nets: tuple[TrainedGroup, ...], inputs: Inputs, scheme: Scheme
) -> tuple[HeadBoost, Stack]:
    """Fit one Newton step on the nets' last hidden layers to held-out residuals, snapshot by snapshot.

    The snapshot of a pair of blocks that predicts the first reads the residuals of the second, which its net never saw.
    The ridge is that of `boost`.

    Returns
    -------
    HeadBoost
    Stack
        The stack with the heads added. Its held-out predictions are of rows that the heads were fit to, so that they
        serve a further refinement, but no honest loss.
    """
    task, device = stacked.task, stacked.held.device
    held, members = stacked.held.clone(), stacked.members.clone()
    place, heads = dict.fromkeys(range(scheme.n_blocks), 0), []
    for v, a in enumerate(scheme.target.tolist()):
        rows = torch.from_numpy(scheme.rows_of_cells(scheme.select[v])).to(device)
        features = _last_layers(nets, inputs, scheme, v, rows)
        head = _head(task, features, stacked.held[a, rows].double(), rows)
        heads.append(head)
        held[a, rows] += (features @ head).float()
        own = torch.from_numpy(np.flatnonzero(scheme.block == a)).to(device)
        members[place[a], own] += (_last_layers(nets, inputs, scheme, v, own) @ head).float()
        place[a] += 1
    return HeadBoost(nets, torch.stack(heads)), Stack(task, stacked.weights, held, members)


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


@dataclass(frozen=True, slots=True)
class Boost:
    """Ridge fits on held-out residuals, one per fold.

    Parameters
    ----------
    coefficients : Tensor (k, f, o)
        Added to the stacked prediction of the fold's rows.
    """

    basis: Basis
    coefficients: Tensor

    def added(self, x: Tensor, fold: Tensor) -> Tensor:
        """Return the refinement (n, o) of every row, each from its own fold's fit."""
        added = torch.zeros(len(x), self.coefficients.shape[2], dtype=torch.float64, device=x.device)
        for k, coefficient in enumerate(self.coefficients):
            rows = torch.nonzero(fold == k)[:, 0]
            added[rows] = self.basis(x[rows]) @ coefficient
        return added


def boost(stacked: Stack, basis: Basis, x: Tensor, scheme: Scheme, fold: Tensor, fold_block: np.ndarray) -> Boost:
    """Fit one Newton step on a basis to held-out residuals, for every fold on all rows but the fold.

    Rows outside the fold's block carry the residuals of the block's own snapshots; the other folds of its block those
    of their final prediction. Neither has seen the fold.

    The ridge is features over rows: the best one if what is left in the residuals were as large as their noise, so that
    it shrinks little where rows are many and much where they are few.
    """
    penalty = basis.n_features / len(fold)
    task = stacked.task
    outer = _quadratics_outside(stacked, basis, x, scheme)
    coefficients = []
    for a in range(scheme.n_blocks):
        folds = np.flatnonzero(fold_block == a)
        if len(folds) == 1:
            coefficients.append((folds[0], outer[a].minimize(penalty, task.n_out)))
            continue
        inner = [_quadratic_of(task, basis, x, stacked.out, torch.nonzero(fold == k)[:, 0]) for k in folds.tolist()]
        others = sums_without_each(inner, outer[a])
        coefficients += [(k, part.minimize(penalty, task.n_out)) for k, part in zip(folds, others, strict=True)]
    return Boost(basis, torch.stack([b for _, b in sorted(coefficients, key=lambda pair: int(pair[0]))]))


def _quadratics_outside(stacked: Stack, basis: Basis, x: Tensor, scheme: Scheme) -> list[Quadratic]:
    """Return, for each block, the quadratic over its covered rows, with one pass over the features."""
    task, outside = stacked.task, covered(scheme)
    totals = [_nothing(basis, task, x.device) for _ in outside]
    for cell in range(scheme.train.shape[1]):
        rows = np.flatnonzero(scheme.cell == cell)
        blocks = np.flatnonzero(outside[:, rows[0]]).tolist() if len(rows) else []
        for part in torch.from_numpy(rows).to(x.device).split(CHUNK) if blocks else []:
            features = basis(x[part])
            narrow, hessian = features.float(), None
            for a in blocks:
                gradient, curvature = task.derivatives(stacked.held[a, part].double(), part)
                if hessian is None or not task.constant_curvature:
                    hessian = curvature_sum(narrow, curvature)
                totals[a].hessian.add_(hessian)
                totals[a].gradient.add_(gradient_sum(features, gradient))
    return totals


def _nothing(basis: Basis, task: Task, device: torch.device) -> Quadratic:
    size = basis.n_features * task.n_out
    hessian = torch.zeros(size, size, dtype=torch.float64, device=device)
    return Quadratic(hessian, torch.zeros(size, dtype=torch.float64, device=device))


def _quadratic_of(task: Task, basis: Basis, x: Tensor, out: Tensor, rows: Tensor) -> Quadratic:
    total = _nothing(basis, task, x.device)
    for part in rows.split(CHUNK):
        features = basis(x[part])
        gradient, curvature = task.derivatives(out[part].double(), part)
        total = total + Quadratic(curvature_sum(features.float(), curvature), gradient_sum(features, gradient))
    return total

"""Held-out predictions of all candidates, and their convex weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepdml.learn.bases import CHUNK
from deepdml.learn.candidates import BasisFit, OwnFit
from deepdml.learn.inputs import Inputs
from deepdml.learn.scheme import Scheme
from deepdml.learn.tasks import Task
from deepdml.learn.training import TrainedGroup
from deepdml.learn.trees import TreesFit

WEIGHT_STEPS = 6  # Newton steps for the stacking weights of a loss that is not quadratic


@dataclass(frozen=True, slots=True)
class Predictions:
    """What one candidate predicts for rows its fits never saw, in common units.

    Parameters
    ----------
    held : Tensor (j, n, o)
        For block a and a row outside it: prediction of the snapshot of a that was chosen on the row's cell.
    members : Tensor (m, n, o)
        For a row inside a block: predictions of the block's m snapshots.
    """

    held: Tensor
    members: Tensor


def predictions_of_nets(trained: TrainedGroup, inputs: Inputs, scheme: Scheme) -> Predictions:
    """Return the held-out predictions of a neural candidate."""
    task, backbone = trained.group.task, trained.group.backbone
    device = inputs.x.device

    @torch.no_grad()
    def predict(v: int, rows: Tensor) -> Tensor:
        net = torch.tensor([int(scheme.net[v])], device=device)
        parameters = trained.parameters[v : v + 1]
        out = backbone.forward(parameters, inputs.standardized(net, rows[None]))
        return task.to_common(out, trained.group.units.select(net))[0]

    return _collect(scheme, task.n_out, device, predict)


def predictions_of_basis(fit: BasisFit, x: Tensor, scheme: Scheme) -> Predictions:
    """Return the held-out predictions of a fit on a basis."""
    features: dict[int, Tensor] = {}  # of the rows at hand, shared by their snapshots

    def predict(v: int, rows: Tensor) -> Tensor:
        first = int(rows[0])
        if first not in features:
            features.clear()
            features[first] = fit.basis(x[rows])
        return (features[first] @ fit.coefficients[v]).float()

    return _collect(scheme, fit.task.n_out, x.device, predict)


def predictions_by_net(fit: OwnFit | TreesFit, x: Tensor, scheme: Scheme) -> Predictions:
    """Return the held-out predictions of boosted trees, or of fits on the nets' own bases."""

    def predict(v: int, rows: Tensor) -> Tensor:
        return fit.predict(v, int(scheme.net[v]), x[rows]).float()

    return _collect(scheme, fit.task.n_out, x.device, predict)


def _collect(scheme: Scheme, n_out: int, device: torch.device, predict: Callable[[int, Tensor], Tensor]) -> Predictions:
    j, n = scheme.n_blocks, len(scheme.cell)
    slots = [scheme.snapshots_of(block) for block in range(j)]
    held = torch.zeros(j, n, n_out, device=device)
    members = torch.zeros(len(slots[0]), n, n_out, device=device)
    for cell in range(scheme.train.shape[1]):
        found = torch.from_numpy(np.flatnonzero(scheme.cell == cell)).to(device)
        for rows in found.split(4 * CHUNK) if len(found) else []:
            for v in np.flatnonzero(scheme.select[:, cell]).tolist():
                held[int(scheme.target[v]), rows] = predict(v, rows)
            block = int(scheme.block[int(rows[0])])
            for m, v in enumerate(slots[block].tolist() if block >= 0 else []):
                members[m, rows] = predict(v, rows)
    return Predictions(held, members)


def simplex_weights(task: Task, predictions: list[Tensor], rows: Tensor) -> Tensor:
    """Return convex weights (c,) that minimize the held-out loss of the weighted candidates.

    Parameters
    ----------
    predictions : list of Tensor (m, o)
        One per candidate, at `rows` (m,).
    """
    stacked = torch.stack(predictions).double()
    weights = torch.full((len(stacked),), 1.0 / len(stacked), dtype=torch.float64, device=stacked.device)
    for _ in range(1 if task.quadratic else WEIGHT_STEPS):
        gradient, curvature = task.derivatives(torch.einsum("c,cmo->mo", weights, stacked), rows)
        g = torch.einsum("cmo,mo->c", stacked, gradient) / len(rows)
        # two products of two, for torch reorders one of three where opt_einsum happens to be installed
        h = torch.einsum("cmr,dmr->cd", torch.einsum("cmo,mor->cmr", stacked, curvature), stacked) / len(rows)
        new = _simplex_minimum(h.cpu().numpy(), (g - h @ weights).cpu().numpy())
        change = float(np.abs(new - weights.cpu().numpy()).max())
        weights = torch.from_numpy(new).to(stacked.device)
        if change < 1e-4:
            break
    return weights


def _simplex_minimum(h: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return the minimizer of w'hw/2 + g'w on the simplex, by trying every set of positive weights."""
    c = len(g)
    h = h + 1e-9 * np.trace(h) / c * np.eye(c)
    best, best_value = np.full(c, 1.0 / c), np.inf
    for size in range(1, c + 1):
        subsets = np.array(list(itertools.combinations(range(c), size)))
        system = np.ones((len(subsets), size + 1, size + 1))
        system[:, :size, :size] = own = h[subsets[:, :, None], subsets[:, None]]
        system[:, -1, -1] = 0.0
        right = np.concatenate([-g[subsets], np.ones((len(subsets), 1))], 1)
        found = np.linalg.solve(system, right[..., None])[:, :size, 0]
        inside = found.min(1) >= 0
        for subset, part, solution in zip(subsets[inside], own[inside], found[inside], strict=True):
            value = 0.5 * solution @ part @ solution + g[subset] @ solution
            if value < best_value:
                best, best_value = np.zeros(c), value
                best[subset] = solution
    return best


@dataclass(frozen=True, slots=True)
class Stack:
    """One nuisance after stacking.

    Parameters
    ----------
    weights : Tensor (j, c)
        Candidates' weights, from rows outside each block.
    held : Tensor (j, n, o)
        Stacked held-out predictions for the rows outside each block.
    members : Tensor (m, n, o)
        Stacked predictions of each row's own block, one per member.
    """

    task: Task
    weights: Tensor
    held: Tensor
    members: Tensor

    @property
    def out(self) -> Tensor:
        """Predictions (n, o): the mean of the members."""
        return self.members.mean(0)


def stack(task: Task, candidates: list[Predictions], scheme: Scheme) -> Stack:
    """Weight the candidates by held-out loss, block by block; one without a finite loss has diverged, and no weight."""
    first = candidates[0]
    block = torch.from_numpy(scheme.block).to(first.held.device)
    weights = torch.ones(scheme.n_blocks, len(candidates), dtype=torch.float64, device=first.held.device)
    held, members = torch.zeros_like(first.held), torch.zeros_like(first.members)
    outside = torch.from_numpy(covered(scheme)).to(first.held.device)
    for a in range(scheme.n_blocks):
        if len(candidates) > 1:
            rows = torch.nonzero(outside[a])[:, 0]
            told = [c.held[a, rows] for c in candidates]
            sound = [i for i, out in enumerate(told) if bool(task.loss(out.double(), rows).isfinite().all())]
            if sound:
                weights[a] = 0.0
                weights[a, sound] = simplex_weights(task, [told[i] for i in sound], rows)
        inside = block == a
        for weight, candidate in zip(weights[a].tolist(), candidates, strict=True):
            if not weight:
                continue  # zero times what has diverged need not be zero
            held[a].add_(candidate.held[a], alpha=weight)
            members[:, inside] += weight * candidate.members[:, inside]
    return Stack(task, weights, held, members)


def covered(scheme: Scheme) -> np.ndarray:
    """Return which rows have a held-out prediction for each block (j, n)."""
    marks = np.stack([scheme.select[scheme.snapshots_of(a)].any(0) for a in range(scheme.n_blocks)])
    return np.asarray(marks[:, scheme.cell])

"""Refits of the last layer: nets trained once per block serve any number of folds inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepdml.learn.bases import CHUNK
from deepdml.learn.inputs import Inputs
from deepdml.learn.quadratics import Quadratic, curvature_sum, gradient_sum, sums_without_each
from deepdml.learn.scheme import Scheme
from deepdml.learn.training import TrainedGroup

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # ridge toward the trained head, relative to the mean curvature
STEPS = 3  # heads tried by Newton's method for a loss that is not quadratic; the hessian is the trained head's


def refit_heads(
    copies: Sequence[TrainedGroup],
    inputs: Inputs,
    scheme: Scheme,
    fold: Tensor,
    fold_block: np.ndarray,
    seen: Inputs | None = None,
) -> tuple[Tensor, Tensor]:
    """Refit the last layer and the skip of each block's nets for every fold of the block, on all rows but the fold.

    Parameters
    ----------
    copies : sequence of TrainedGroup
        Copies of the net, whose features one head reads together.
    fold : Tensor (n,)
    fold_block : (k,) array
        The block of each fold.
    seen : Inputs, optional
        A view of every row, which nets with an alpha are to treat alike.

    Returns
    -------
    out : Tensor (n, o)
        Predictions of every row by its fold's head, in common units.
    heads : Tensor (k, f, o)
        Rows: the constant, the features of each copy in turn, the standardized covariates; in common units.
    """
    task, backbone = copies[0].group.task, copies[0].group.backbone
    out = torch.zeros(len(fold), task.n_out, dtype=torch.float64, device=fold.device)
    f = 1 + len(copies) * backbone.n_features + backbone.n_in
    heads = torch.zeros(len(fold_block), f, task.n_out, dtype=torch.float64, device=fold.device)
    for a in range(scheme.n_blocks):
        v = int(scheme.snapshots_of(a)[0])
        features = HeadFeatures.of(copies, inputs, v, int(scheme.net[v]))
        folds = torch.from_numpy(np.flatnonzero(fold_block == a)).to(fold.device)
        views = None if seen is None else HeadFeatures.of(copies, seen, v, int(scheme.net[v]))
        refit = _Refit(copies, features, views, scheme, v, [torch.nonzero(fold == k)[:, 0] for k in folds.tolist()])
        heads[folds] = refit.run()
        for k in folds.tolist():
            for rows in torch.nonzero(fold == k)[:, 0].split(4 * CHUNK):
                out[rows] = features[rows].double() @ heads[k]
    return out, heads


def heads_of_copies(heads: Tensor, copies: Sequence[TrainedGroup]) -> tuple[Tensor, ...]:
    """Return for each copy the heads (k, f, o) whose mean over the copies is the heads on all their features."""
    h, m = copies[0].group.backbone.n_features, len(copies)
    one, *features, skip = heads.split([1, *[h] * m, heads.shape[1] - 1 - m * h], dim=1)
    return tuple(torch.cat([one, m * own, skip], 1) for own in features)


@dataclass(frozen=True, slots=True)
class HeadFeatures:
    """What the last layer of a snapshot reads: one, the features of its copies, the covariates; f columns.

    Covariates are standardized when rows are asked for, so that no second matrix of the size of x is held.

    Parameters
    ----------
    net : Tensor (1,)
        The net of the snapshot.
    hidden : Tensor (n, h)
    """

    inputs: Inputs
    net: Tensor
    hidden: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, copies: Sequence[TrainedGroup], inputs: Inputs, v: int, net: int) -> HeadFeatures:
        """Compute the features of snapshot v, a state of net `net`, at all rows."""
        backbone, device, n = copies[0].group.backbone, inputs.x.device, len(inputs.x)
        parts = [backbone.split(trained.parameters[v : v + 1]) for trained in copies]
        own = torch.tensor([net], device=device)
        hidden = torch.empty(n, len(copies) * backbone.n_features, device=device)
        for rows in torch.arange(n, device=device).split(4 * CHUNK):
            x = inputs.standardized(own, rows[None])
            hidden[rows] = torch.cat([backbone.features(copy, x)[0] for copy in parts], 1)
        return cls(inputs, own, hidden)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return the features (m, f) of rows (m,)."""
        one = torch.ones(len(rows), 1, device=rows.device)
        return torch.cat([one, self.hidden[rows], self.inputs.standardized(self.net, rows[None])[0]], 1)


class _Refit:
    """Newton steps for the heads of one block's folds, with a ridge toward the trained head.

    The penalty is chosen on the rows held out from the trunk, by the loss of a head refit on the trunk's training rows.
    A head on several copies' features starts as the mean of theirs.
    """

    def __init__(
        self,
        copies: Sequence[TrainedGroup],
        features: HeadFeatures,
        views: HeadFeatures | None,
        scheme: Scheme,
        v: int,
        folds: list[Tensor],
    ) -> None:
        group = copies[0].group
        self.task, self.features, self.views, self.folds = group.task, features, views, folds
        self.alpha = float(torch.stack([copy.alpha[v] for copy in copies]).mean())
        device = features.hidden.device
        net = int(scheme.net[v])
        self.units = group.units.select(torch.tensor([net], device=device))
        last = [[p[0] for p in group.backbone.split(c.parameters[v : v + 1])[-3:]] for c in copies]
        layers, bias, skip = (torch.stack(parts).double() / len(copies) for parts in zip(*last, strict=True))
        self.start = torch.cat([bias.sum(0), layers.flatten(0, 1), skip.sum(0)])
        self.trunk_rows = torch.from_numpy(scheme.rows_of_cells(scheme.train[net])).to(device)
        self.held_rows = torch.from_numpy(scheme.rows_of_cells(scheme.select[v])).to(device)
        self.own = torch.full((len(features.hidden),), -1, device=device)
        for k, rows in enumerate(folds):
            self.own[rows] = k

    def run(self) -> Tensor:
        """Return the heads (k, f, o) in common units."""
        parts = [self._derivatives(rows) for rows in (self.trunk_rows, self.held_rows, *self.folds)]
        penalty = self._penalty(parts[0])
        others = sums_without_each(parts[2:], parts[0] + parts[1])
        without = torch.stack([part.hessian for part in others])
        ridge = penalty * without.diagonal(dim1=1, dim2=2).mean(1)
        factors = torch.linalg.cholesky(without + torch.diag_embed(ridge[:, None].expand(-1, without.shape[1])))
        at = self.start - _solve(factors, torch.stack([part.gradient for part in others]), self.start)
        if not self.task.quadratic:
            at = self._more_steps(at, factors, ridge[:, None, None])
        shift = self.task.to_common(torch.zeros_like(at), self.units)
        shift[:, :1] = 0.0
        return self.task.to_common(at, self.units) - shift

    def _more_steps(self, at: Tensor, factors: Tensor, ridge: Tensor) -> Tensor:
        """Take further steps from heads (k, f, o) after the first, and return those with the least penalized loss."""
        best, best_value = at, torch.full((len(at),), torch.inf, dtype=torch.float64, device=at.device)
        for step in range(STEPS):
            gradient, value = self._gradients(at)
            away = at - self.start
            value = value + 0.5 * (ridge * away.square()).sum((1, 2))
            better = value < best_value
            best, best_value = torch.where(better[:, None, None], at, best), torch.minimum(value, best_value)
            if step < STEPS - 1:
                at = at - _solve(factors, (gradient + ridge * away).transpose(1, 2).flatten(1), self.start)
        return best

    def _penalty(self, trunk: Quadratic) -> float:
        """Return the penalty whose head, refit on the trunk's rows, has the least held-out loss."""
        hessian = trunk.hessian
        ridges = hessian.diagonal().mean() * torch.tensor(PENALTIES, dtype=hessian.dtype, device=hessian.device)
        factors = torch.linalg.cholesky(hessian + torch.diag_embed(ridges[:, None].expand(-1, len(hessian))))
        heads = self.start - _solve(factors, trunk.gradient.expand(len(ridges), -1), self.start)
        losses = self._sums(heads, self.held_rows.expand(len(heads), -1))[1]
        return PENALTIES[int(losses.nan_to_num(nan=torch.inf).argmin())]

    def _derivatives(self, rows: Tensor) -> Quadratic:
        """Return the quadratic of the rows' loss around the trained head."""
        size = self.start.numel()
        hessian = torch.zeros(size, size, dtype=torch.float64, device=rows.device)
        total = torch.zeros(size, dtype=torch.float64, device=rows.device)
        for part in rows.split(CHUNK):
            features = self.features[part]
            wide = features.double()
            gradient, curvature = self.task.derivatives((wide @ self.start)[None], part[None], self.units)
            hessian += curvature_sum(features, curvature[0])
            total += gradient_sum(wide, gradient[0])
            if self.views is not None and self.alpha:
                change = features - self.views[part]
                eye = torch.eye(self.start.shape[1], dtype=curvature.dtype, device=rows.device)
                hessian += curvature_sum(change, self.alpha * eye.expand(len(part), -1, -1))
                total += gradient_sum(change.double(), self.alpha * change.double() @ self.start)
        return Quadratic(hessian, total)

    def _gradients(self, at: Tensor) -> tuple[Tensor, Tensor]:
        """Return gradients (k, f, o) and losses (k,) at the heads `at`, each over all rows but its fold."""
        rows = torch.arange(len(self.own), device=at.device).expand(len(at), -1)
        used = self.own != torch.arange(len(at), device=at.device)[:, None]
        return self._sums(at, rows, used)

    def _sums(self, at: Tensor, rows: Tensor, used: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return gradients (k, f, o) and losses (k,) of heads (k, f, o), summed over rows (k, m), alike for all k."""
        k, f, o = at.shape
        wide = at.transpose(0, 1).reshape(f, k * o)
        total, value = torch.zeros_like(wide), at.new_zeros(k)
        for i in range(0, rows.shape[1], CHUNK):
            part = rows[:, i : i + CHUNK]
            features = self.features[part[0]].double()
            out = (features @ wide).view(-1, k, o).transpose(0, 1)
            gradient, loss = self.task.derivatives(out, part, self.units)[0], self.task.loss(out, part, self.units)
            if used is not None:
                mask = used[:, i : i + CHUNK].double()
                gradient, loss = gradient * mask[..., None], loss * mask
            total += features.T @ gradient.transpose(0, 1).reshape(-1, k * o)
            value += loss.sum(1)
            if self.views is not None and self.alpha and used is not None:
                change = features - self.views[part[0]].double()
                moved = (change @ wide).view(-1, k, o) * used[:, i : i + CHUNK].T[..., None]
                total += self.alpha * change.T @ moved.flatten(1)
                value += 0.5 * self.alpha * moved.square().sum((0, 2))
        return total.view(f, k, o).transpose(0, 1), value


def _solve(factors: Tensor, gradients: Tensor, like: Tensor) -> Tensor:
    """Return Newton moves (k, f, o), `like` being (f, o), from factors (k, o * f, o * f) and gradients (k, o * f)."""
    moves = torch.cholesky_solve(gradients[..., None], factors)
    return moves.view(len(factors), like.shape[1], like.shape[0]).transpose(1, 2)

"""theta at new covariates, from the trained fits themselves: written by a fit, read by Results and after loading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.learn.backbones import Backbone
from deepdml.learn.candidates import Basis, BasisFit
from deepdml.learn.crossfit import Repetition
from deepdml.learn.influence import TrainedNets
from deepdml.learn.nuisances import Learned, Setting
from deepdml.learn.refinement import Refinement
from deepdml.learn.tasks import OutcomeTask
from deepdml.learn.training import TrainedGroup
from deepdml.learn.trees import TreesFit, add_trees

CHUNK = 4096  # new rows predicted at once


def collect_nets(repetitions: Sequence[Repetition]) -> TrainedNets:
    """Return everything that predicts theta at new covariates, as plain arrays.

    The prediction is the mean over repetitions and blocks of each block's combination: its stacking weights, the mean
    of its members, and the mean of its folds' refinements or heads.
    """
    writer = _Writer()
    for repetition in repetitions:
        outcome, setting = repetition.learned[0], repetition.setting
        share = 1.0 / (len(repetitions) * setting.scheme.n_blocks)
        for c, candidate in enumerate(outcome.candidates):
            for copy, fit in enumerate(candidate.fits):
                weights = outcome.stacked.weights[:, c] * share / len(candidate.fits)
                if isinstance(fit, BasisFit):
                    writer.add_basis(fit, setting, weights)
                elif isinstance(fit, TreesFit):
                    writer.add_trees(fit, setting, weights)
                else:
                    heads = outcome.heads[copy] if outcome.heads else None
                    writer.add_nets(fit, setting, weights, heads)
        if outcome.refinement is not None:
            writer.add_heads(outcome.refinement, setting, share)
    return writer.finish(repetitions[0].setting, repetitions[0].learned[0])


class _Writer:
    """Collects nets, bases and trees under flat names."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[np.float64] | NDArray[np.float32]] = {}
        self.nets: list[dict[str, object]] = []
        self.bases: list[tuple[Basis, Tensor]] = []
        self.trees: list[tuple[Tensor, Tensor, Tensor]] = []
        self.offset: Tensor | None = None

    def add_basis(self, fit: BasisFit, setting: Setting, weights: Tensor) -> None:
        """Add a basis fit, block by block."""
        scheme = setting.scheme
        for a, weight in enumerate(weights.tolist()):
            if weight > 0:
                self.add_features(fit.basis, weight * fit.coefficients[scheme.snapshots_of(a)].mean(0))

    def add_features(self, basis: Basis, coefficients: Tensor) -> None:
        """Add coefficients (f, o) on a basis; those on the same basis add up."""
        for i, (known, total) in enumerate(self.bases):
            if known is basis:
                self.bases[i] = (known, total + coefficients)
                return
        self.bases.append((basis, coefficients))

    def add_nets(self, fit: TrainedGroup, setting: Setting, weights: Tensor, heads: Tensor | None) -> None:
        """Add the snapshots of a candidate whose block gives it weight."""
        scheme, backbone, units = setting.scheme, fit.group.backbone, fit.group.units
        members = len(scheme.snapshots_of(0))
        snapshots = [v for v in range(len(scheme.target)) if weights[scheme.target[v]] > 0]
        if not snapshots:
            return
        parameters = fit.parameters[snapshots].cpu().clone()
        gain = (weights[scheme.target[snapshots]] / members).cpu()
        net = torch.from_numpy(scheme.net[snapshots])
        if heads is None:
            own = units.select(net.to(units.unit.device))
            task = fit.group.task
            assert isinstance(task, OutcomeTask)
            centers = task.to_common(
                torch.zeros(len(net), 1, task.n_out, dtype=torch.float64, device=own.unit.device), own
            ).cpu()
            self._shift((gain[:, None] * centers[:, 0]).sum(0))
            gain = gain * own.unit.cpu()
        else:
            self._put_heads(
                backbone,
                parameters,
                torch.stack([heads[setting.plan.fold_block == scheme.target[v]].mean(0) for v in snapshots]),
            )
        self._store(backbone, parameters, gain, net, setting)

    def add_heads(self, refinement: Refinement, setting: Setting, share: float) -> None:
        """Add heads fit to residuals, as nets with the trained hidden layers and no skip."""
        scheme, place = setting.scheme, 1
        gain = torch.full((len(scheme.net),), share / len(scheme.snapshots_of(0)))
        for fit in refinement.nets:
            backbone, parameters = fit.group.backbone, fit.parameters.cpu().clone()
            heads = torch.zeros(len(gain), 1 + backbone.n_features + backbone.n_in, refinement.heads.shape[2])
            heads[:, 1 : 1 + backbone.n_features] = refinement.heads[:, place : place + backbone.n_features]
            if place == 1:
                heads[:, :1] = refinement.heads[:, :1]
            self._put_heads(backbone, parameters, heads)
            self._store(backbone, parameters, gain, torch.from_numpy(scheme.net), setting)
            place += backbone.n_features

    def _store(self, backbone: Backbone, parameters: Tensor, gain: Tensor, net: Tensor, setting: Setting) -> None:
        name = f"nets.{len(self.nets)}"
        self.nets.append({"activation": backbone.activation, "hidden": list(backbone.hidden)})
        self.arrays[f"{name}.parameters"] = parameters.numpy()
        self.arrays[f"{name}.gain"] = gain.double().numpy()
        self.arrays[f"{name}.mean"] = setting.inputs.mean.cpu()[net, 0].numpy()
        self.arrays[f"{name}.scale"] = setting.inputs.scale.cpu()[net, 0].numpy()

    def add_trees(self, fit: TreesFit, setting: Setting, weights: Tensor) -> None:
        """Add the trees of the snapshots whose block gives them weight, and the constants they start from."""
        scheme, task = setting.scheme, fit.task
        gains = (weights[scheme.target] / len(scheme.snapshots_of(0))).tolist()
        for net in range(scheme.n_nets):
            own = fit.units.select(torch.tensor([net], device=fit.units.unit.device))
            mine = {int(v): gains[v] for v in np.flatnonzero(scheme.net == net) if gains[v] > 0}
            if not mine:
                continue
            start = task.to_common(fit.start.nets[net, :1][None], own)[0, 0]
            self._shift((start * sum(mine.values())).cpu())
            found = fit.sum_of_snapshots(net, mine)
            if found is not None:
                column, edge, leaves = (v.cpu() for v in found)
                self.trees.append((column, edge, leaves * own.unit.cpu()))

    @staticmethod
    def _put_heads(backbone: Backbone, parameters: Tensor, heads: Tensor) -> None:
        parts, width = backbone.split(parameters), backbone.n_features
        parts[-2].copy_(heads[:, :1])
        parts[-3].copy_(heads[:, 1 : 1 + width])
        parts[-1].copy_(heads[:, 1 + width :])

    def _shift(self, offset: Tensor) -> None:
        self.offset = offset if self.offset is None else self.offset + offset

    def finish(self, setting: Setting, outcome: Learned) -> TrainedNets:
        """Return the collected arrays and their configuration."""
        unit = setting.problem.unit
        self.arrays["unit"] = unit
        self.arrays["offset"] = np.zeros(len(unit)) if self.offset is None else self.offset.double().numpy()
        kinds = []
        for i, (basis, coefficients) in enumerate(self.bases):
            self.arrays[f"bases.{i}.coefficients"] = coefficients.double().cpu().numpy()
            for field in ("mean", "scale", "knots", "center", "spread"):
                self.arrays[f"bases.{i}.{field}"] = getattr(basis, field).cpu().numpy()
            if basis.directions is not None:
                self.arrays[f"bases.{i}.directions"] = basis.directions.cpu().numpy()
            kinds.append({"n_pairs": basis.n_pairs, "sieve": basis.directions is not None})
        if self.trees:
            column, edge, leaves = (torch.cat(parts) for parts in zip(*self.trees, strict=True))
            self.arrays["trees.column"], self.arrays["trees.edge"] = column.float().numpy(), edge.numpy()
            self.arrays["trees.leaves"] = leaves.double().numpy()
        p = setting.problem.x.shape[1]
        return TrainedNets(self.arrays, {"n_in": p, "n_out": outcome.task.n_out, "nets": self.nets, "bases": kinds})


@torch.no_grad()
def predict_theta(nets: TrainedNets, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return theta at new covariates.

    Parameters
    ----------
    x : (m, p) float32 array
        Covariates in the user's units, columns as in the fit.

    Returns
    -------
    (m, d) array
        Coefficients in the user's units.
    """
    parts = [_predict(nets, torch.from_numpy(np.ascontiguousarray(x[i : i + CHUNK]))) for i in range(0, len(x), CHUNK)]
    unit = nets.arrays["unit"].astype(np.float64)
    return np.concatenate([p.numpy() for p in parts] or [np.zeros((0, len(unit)))]) @ unit.T


def _predict(nets: TrainedNets, x: Tensor) -> Tensor:
    """Return theta on scaled structural rows for one chunk of covariates."""
    arrays = {name: torch.tensor(value) for name, value in nets.arrays.items()}
    theta = arrays["offset"].expand(len(x), -1).clone()
    for i, kind in enumerate(nets.config["nets"]):
        backbone = Backbone(nets.config["n_in"], tuple(kind["hidden"]), nets.config["n_out"], kind["activation"])
        own = {f: arrays[f"nets.{i}.{f}"] for f in ("parameters", "gain", "mean", "scale")}
        standardized = (x[None] - own["mean"][:, None]) / own["scale"][:, None]
        theta += torch.einsum("v,vmo->mo", own["gain"], backbone.forward(own["parameters"], standardized).double())
    for i, kind in enumerate(nets.config["bases"]):
        own = {f: arrays[f"bases.{i}.{f}"] for f in ("mean", "scale", "knots", "center", "spread", "coefficients")}
        directions = arrays[f"bases.{i}.directions"] if kind["sieve"] else None
        basis = Basis(
            own["mean"], own["scale"], directions, own["knots"], kind["n_pairs"], own["center"], own["spread"]
        )
        theta += basis(x) @ own["coefficients"]
    if "trees.leaves" in arrays:
        theta += add_trees(x, arrays["trees.column"].long(), arrays["trees.edge"], arrays["trees.leaves"])
    return theta

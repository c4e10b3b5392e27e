"""theta at new covariates, from the trained fits themselves: written by a fit, read by Results and after loading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.design.mapped import release
from deepdml.learn.backbones import Backbone, build
from deepdml.learn.bases import Basis, Features
from deepdml.learn.candidates import BasisFit, OwnFit
from deepdml.learn.clusters import Clusters
from deepdml.learn.crossfit import Repetition
from deepdml.learn.influence import TrainedNets
from deepdml.learn.inputs import Inputs
from deepdml.learn.jumps import Jumps, Stepped
from deepdml.learn.nuisances import Learned, Setting
from deepdml.learn.scheme import Scheme
from deepdml.learn.screening import Products
from deepdml.learn.tasks import Task, Units
from deepdml.learn.training import TrainedGroup
from deepdml.learn.trees import TreesFit, add_trees

CHUNK = 4096  # new rows predicted at once
FIELDS = ("knots", "directions", "terms", "center", "spread", "centers", "share", "number")  # of some bases
JUMPS = ("column", "cut", "share")


def collect_nets(repetitions: Sequence[Repetition]) -> TrainedNets:
    """Return everything that predicts theta at new covariates, as plain arrays.

    The prediction is the mean over repetitions, blocks and their snapshots of what each would predict for its block,
    with the mean of the folds' heads where there are more folds than blocks.
    """
    writer = _Writer()
    for repetition in repetitions:
        outcome, setting = repetition.learned[0], repetition.setting
        scheme = setting.scheme
        share = 1.0 / (len(repetitions) * len(scheme.net))  # every block has as many snapshots
        if outcome.recalibration is not None:
            writer.shift(outcome.recalibration.shift[scheme.target].sum(0).cpu() * share)
        for c, candidate in enumerate(outcome.candidates):
            for copy, fit in enumerate(candidate.fits):
                mix = _mix(outcome, c, scheme) * (share / len(candidate.fits))
                if isinstance(fit, BasisFit):
                    writer.add_basis(fit, mix)
                elif isinstance(fit, OwnFit):
                    writer.add_own(fit, scheme, mix)
                elif isinstance(fit, TreesFit):
                    writer.add_trees(fit, setting, mix)
                else:
                    writer.add_nets(fit, setting, mix, outcome.heads[copy] if outcome.heads else None)
    return writer.finish(repetitions[0].setting, repetitions[0].learned[0])


def _mix(outcome: Learned, c: int, scheme: Scheme) -> Tensor:
    """Return how much of candidate c's outputs each snapshot of a stack takes, (v, o, o)."""
    weights = outcome.stacked.weights[scheme.target, c].cpu()
    mix = weights[:, None, None] * torch.eye(outcome.task.n_out, dtype=torch.float64)
    return mix if outcome.recalibration is None else mix + outcome.recalibration.mix[scheme.target, c].cpu()


def _unit(task: Task, own: Units) -> Tensor:
    """Return by how much every output (o,) of one net grows on its way to common units."""
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device=own.unit.device)[None, :, None]
    zero, one = task.to_common(ends.expand(1, 2, task.n_out), own)[0].cpu().unbind(0)
    return one - zero


class _Writer:
    """Collects nets, bases and trees under flat names."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[np.float64] | NDArray[np.float32]] = {}
        self.nets: list[dict[str, object]] = []
        self.bases: list[tuple[Features, Tensor]] = []
        self.trees: list[tuple[Tensor, Tensor, Tensor]] = []
        self.offset: Tensor | None = None

    def add_basis(self, fit: BasisFit, mix: Tensor) -> None:
        """Add a basis fit, whose snapshots are mixed by (v, o, o)."""
        self.add_features(fit.basis, torch.einsum("vfo,vor->fr", fit.coefficients, mix.to(fit.coefficients.device)))

    def add_own(self, fit: OwnFit, scheme: Scheme, mix: Tensor) -> None:
        """Add fits on the nets' own bases, whose snapshots are mixed by (v, o, o)."""
        for net, own in enumerate(fit.fits):
            mine = torch.from_numpy(scheme.net == net)
            self.add_features(own.basis, torch.einsum("vfo,vor->fr", own.coefficients.cpu(), mix[mine]))

    def add_features(self, basis: Features, coefficients: Tensor) -> None:
        """Add coefficients (f, o) on a basis; those on the same basis add up."""
        for i, (known, total) in enumerate(self.bases):
            if known is basis:
                self.bases[i] = (known, total + coefficients)
                return
        self.bases.append((basis, coefficients))

    def add_nets(self, fit: TrainedGroup, setting: Setting, mix: Tensor, heads: Tensor | None) -> None:
        """Add the snapshots of a net that the mix (v, o, o) takes, with their last layers mixed."""
        scheme, backbone, units, task = setting.scheme, fit.group.backbone, fit.group.units, fit.group.task
        snapshots = torch.nonzero(mix.flatten(1).any(1))[:, 0]
        if not len(snapshots):
            return
        parameters, mix = fit.parameters.cpu()[snapshots].clone(), mix[snapshots]
        net = torch.from_numpy(scheme.net)[snapshots]
        if heads is None:
            own = units.select(net.to(units.unit.device))
            zero = torch.zeros(len(net), 1, task.n_out, dtype=torch.float64, device=own.unit.device)
            center = task.to_common(zero, own).cpu()
            self.shift((center @ mix).sum((0, 1)))
            mix = mix * (task.to_common(zero + 1.0, own).cpu() - center)[:, :1].transpose(1, 2)
        else:
            self._put_heads(
                backbone,
                parameters,
                torch.stack([heads[setting.plan.fold_block == scheme.target[v]].mean(0) for v in snapshots.tolist()]),
            )
        for layer in backbone.split(parameters)[-3:]:  # the last layer, its bias and the skip
            layer.copy_((layer.double() @ mix).float())
        name = f"nets.{len(self.nets)}"
        self.nets.append(backbone.config)
        self.arrays[f"{name}.parameters"] = parameters.numpy()
        self.arrays[f"{name}.mean"] = setting.inputs.mean.cpu()[net, 0].numpy()
        self.arrays[f"{name}.scale"] = setting.inputs.scale.cpu()[net, 0].numpy()
        if setting.inputs.jumps is not None:
            self.add_jumps(name, setting.inputs.jumps.select(net))

    def add_jumps(self, name: str, jumps: Jumps) -> None:
        """Add the jumps of nets or of a basis."""
        for field, value in zip(JUMPS, (jumps.column, jumps.cut, jumps.share), strict=True):
            self.arrays[f"{name}.{field}"] = value.float().cpu().numpy()

    def add_trees(self, fit: TreesFit, setting: Setting, mix: Tensor) -> None:
        """Add the trees of the snapshots that the mix (v, o, o) takes, and the constants they start from."""
        scheme, task = setting.scheme, fit.task
        for net in range(scheme.n_nets):
            mine = [v for v in np.flatnonzero(scheme.net == net).tolist() if mix[v].any()]
            if not mine:
                continue
            own = fit.units.select(torch.tensor([net], device=fit.units.unit.device))
            start = task.to_common(fit.start.nets[net, :1][None], own)[0, 0].cpu()
            self.shift(start @ mix[mine].sum(0))
            unit = _unit(task, own)
            found = fit.sum_of_snapshots(net, {v: unit[:, None] * mix[v] for v in mine})
            if found is not None:
                column, edge, leaves = found
                self.trees.append((column.cpu(), edge.cpu(), leaves.cpu()))

    @staticmethod
    def _put_heads(backbone: Backbone, parameters: Tensor, heads: Tensor) -> None:
        parts, width = backbone.split(parameters), backbone.n_features
        parts[-2].copy_(heads[:, :1])
        parts[-3].copy_(heads[:, 1 : 1 + width])
        parts[-1].copy_(heads[:, 1 + width :])

    def shift(self, offset: Tensor) -> None:
        """Add a constant (o,)."""
        self.offset = offset if self.offset is None else self.offset + offset

    def finish(self, setting: Setting, outcome: Learned) -> TrainedNets:
        """Return the collected arrays and their configuration."""
        unit = setting.problem.unit
        self.arrays["unit"] = unit
        self.arrays["offset"] = np.zeros(len(unit)) if self.offset is None else self.offset.double().numpy()
        kinds: list[dict[str, object]] = []
        for i, (basis, coefficients) in enumerate(self.bases):
            self.arrays[f"bases.{i}.coefficients"] = coefficients.double().cpu().numpy()
            if isinstance(basis, Stepped):
                self.add_jumps(f"bases.{i}", basis.jumps)
                basis = basis.smooth
            extra = {field: getattr(basis, field, None) for field in FIELDS}
            for field, value in {"mean": basis.mean, "scale": basis.scale, **extra}.items():
                if value is not None:
                    self.arrays[f"bases.{i}.{field}"] = value.double().cpu().numpy()
            if isinstance(basis, Basis):
                kinds.append({"n_pairs": basis.n_pairs, "sieve": basis.directions is not None})
            else:
                kinds.append({"products" if isinstance(basis, Products) else "clusters": True})
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
    parts = []
    for i in range(0, len(x), CHUNK):
        parts.append(_predict(nets, torch.tensor(x[i : i + CHUNK])))
        release(x)  # of a matrix in a file, what was read
    unit = nets.arrays["unit"].astype(np.float64)
    return np.concatenate([p.numpy() for p in parts] or [np.zeros((0, len(unit)))]) @ unit.T


def _predict(nets: TrainedNets, x: Tensor) -> Tensor:
    """Return theta on scaled structural rows for one chunk of covariates."""
    arrays = {name: torch.tensor(value) for name, value in nets.arrays.items()}
    theta = arrays["offset"].expand(len(x), -1).clone()
    for i, kind in enumerate(nets.config["nets"]):
        jumps = _read_jumps(arrays, f"nets.{i}")
        width = nets.config["n_in"] + (0 if jumps is None else jumps.most)
        backbone = build(kind, width, nets.config["n_out"])
        own = Inputs(x, arrays[f"nets.{i}.mean"][:, None], arrays[f"nets.{i}.scale"][:, None], jumps)
        # net by net: some backbones hold many numbers a row
        outs = [
            backbone.forward(parameters[None], own.standardize(torch.tensor([v]), x[None].clone()))
            for v, parameters in enumerate(arrays[f"nets.{i}.parameters"])
        ]
        theta += torch.cat(outs).double().sum(0)
    for i, kind in enumerate(nets.config["bases"]):
        theta += _read_basis(arrays, f"bases.{i}", kind)(x) @ arrays[f"bases.{i}.coefficients"]
    if "trees.leaves" in arrays:
        theta += add_trees(x, arrays["trees.column"].long(), arrays["trees.edge"], arrays["trees.leaves"])
    return theta


def _read_basis(arrays: dict[str, Tensor], name: str, kind: dict[str, Any]) -> Features:
    """Return a basis as it was written."""

    def own(*fields: str) -> Iterator[Tensor]:
        return (arrays[f"{name}.{field}"] for field in fields)

    if kind.get("products"):
        mean, scale, terms, center, spread = own("mean", "scale", "terms", "center", "spread")
        return Products(mean, scale, terms.long(), center, spread)
    if kind.get("clusters"):
        mean, scale, centers, share, number = own("mean", "scale", "centers", "share", "number")
        return Clusters(mean, scale, centers, share, number.long())
    mean, scale, knots, center, spread = own("mean", "scale", "knots", "center", "spread")
    directions = next(own("directions")) if kind["sieve"] else None
    smooth, jumps = Basis(mean, scale, directions, knots, kind["n_pairs"], center, spread), _read_jumps(arrays, name)
    return smooth if jumps is None else Stepped(smooth, jumps)


def _read_jumps(arrays: dict[str, Tensor], name: str) -> Jumps | None:
    """Return the jumps of nets or of a basis, if there are any."""
    if f"{name}.cut" not in arrays:
        return None
    column, cut, share = (arrays[f"{name}.{field}"] for field in JUMPS)
    return Jumps(column.long(), cut, share)

"""The problem a fit poses to the learners: arrays, tasks and options."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.design.data import ModelData
from deepdml.families import Family
from deepdml.families.indices import MultiIndex
from deepdml.learn.architecture import Architecture
from deepdml.learn.augmentation import Augment
from deepdml.learn.backbones import BACKBONES, Backbone, build
from deepdml.learn.curvature import Strategy, choose_strategy
from deepdml.learn.indexed import IndexTask
from deepdml.learn.joint import split_products
from deepdml.learn.tasks import LevelTask, MeanTask, MixedTask, OutcomeTask, Task
from deepdml.learn.treatment import Levels, Treatment, Vector, classify, two_valued

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LearnOptions:
    """How the nuisances are learned; see `DeepDML.fit` for the meaning of each. None means automatic.

    Parameters
    ----------
    known : (n, m) array or None
        Known propensities of the treatment's levels.
    """

    learner: Literal["auto", "net"] = "auto"
    backbone: Architecture = field(default_factory=Architecture)
    hidden: tuple[int, ...] | None = None
    epochs: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    ensemble: int = 1
    ensemble_by: Literal["average", "concat"] = "average"
    augment: Augment | None = None
    treatment: Literal["auto", "discrete", "continuous"] = "auto"
    known: Float | None = None
    lambda_: str = "auto"
    device: str = "cpu"

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths that `hidden` means for the backbone."""
        return self.hidden or BACKBONES[self.backbone.name].default_hidden

    @property
    def takes_steps(self) -> bool:
        """Whether the backbone's inputs have no order, so that there may be more of them than covariates."""
        return self.backbone.name in {"mlp", "residual"}

    def backbones(self, n_in: int, n_out: int) -> list[Backbone]:
        """Return the backbones of the neural candidates; ``learner="net"`` has the first alone."""
        cls = BACKBONES[self.backbone.name]
        config = {"backbone": cls.name, "hidden": self.widths, **self.backbone.options}
        activations = cls.activations if self.learner == "auto" else cls.activations[:1]
        return [build({**config, "activation": activation}, n_in, n_out) for activation in activations]


@dataclass(frozen=True, slots=True)
class Problem:
    """The arrays of one fit as the learners see them.

    Parameters
    ----------
    unit : (k, k) array
        Scales structural rows (or a family's matrices of them) to unit second moment, t @ unit; then theta in the
        user's units is unit @ theta.
    strategy : str
        How Lambda is obtained.
    outcome, treated : Task
        What is learned; `treated` is None where the design is known.
    center, spread : (v,) arrays
        Moments that standardize the values of a continuous treatment.
    """

    data: ModelData
    family: Family
    treatment: Treatment
    strategy: Strategy
    unit: Float
    x: Tensor
    weight: Tensor | None
    outcome: OutcomeTask | IndexTask
    treated: Task | None
    center: Float
    spread: Float

    @property
    def standardized(self) -> Float:
        """The values of a continuous treatment, centered and scaled, shape (n, v)."""
        if isinstance(self.treatment, Levels):
            raise TypeError("a discrete treatment has no values to standardize")
        return (self.treatment.values.reshape(len(self.data.t), -1) - self.center) / self.spread

    @property
    def tasks(self) -> list[Task]:
        """The nuisances that nets learn."""
        return [self.outcome] if self.treated is None else [self.outcome, self.treated]


def pose(data: ModelData, family: Family, options: LearnOptions) -> Problem:
    """Turn model data into learning tasks."""
    device = torch.device(options.device)
    kind = "discrete" if options.known is not None else options.treatment
    treatment = classify(data, kind)
    strategy = choose_strategy(options.lambda_, family, treatment, options.known is not None)
    if isinstance(treatment, Vector) and strategy != "moments":
        treatment = split_products(data.t)
    weight = None if data.weights is None else torch.from_numpy(data.weights / data.weights.mean()).to(device)
    outcome, unit = _outcome(data, family, weight, device)
    values = np.zeros((len(data.t), 0)) if isinstance(treatment, Levels) else treatment.values.reshape(len(data.t), -1)
    center, spread = values.mean(0), values.std(0)
    treated: Task | None = None
    if isinstance(treatment, Levels):
        if options.known is None and len(treatment.rows) > 1:
            codes = torch.from_numpy(treatment.codes).to(device)
            treated = LevelTask("treatment levels", codes, len(treatment.rows), weight)
    else:
        target = torch.from_numpy((values - center) / spread).to(device)
        treated = MeanTask("treatment mean", target, weight)
        if isinstance(treatment, Vector) and strategy != "moments" and (two := two_valued(values)).any():
            treated = MixedTask("treatment mean", target, weight, torch.from_numpy(two).to(device))
    x = _shared(data.x).to(device)
    return Problem(data, family, treatment, strategy, unit, x, weight, outcome, treated, center, spread)


def _outcome(
    data: ModelData, family: Family, weight: Tensor | None, device: torch.device
) -> tuple[OutcomeTask | IndexTask, Float]:
    """Return the task of the outcome, and the matrix that scales its structural rows."""
    rows = family.rows(data.t)
    flat = rows.reshape(-1, rows.shape[-1])
    unit = np.linalg.inv(np.linalg.cholesky(flat.T @ flat / len(data.t))).T
    scaled = flat @ unit
    ones = np.zeros(rows.shape[:-1])
    ones[:, 0] = 1.0
    span = np.linalg.lstsq(scaled, ones.reshape(-1), rcond=None)[0]
    spans = np.allclose(scaled @ span, ones.reshape(-1), atol=1e-8)
    constant = torch.from_numpy(span).to(device) if spans else None
    y = torch.from_numpy(family.columns(data.y, data.event, data.t)).to(device)
    if isinstance(family, MultiIndex):
        matrices = torch.from_numpy(scaled.reshape(rows.shape)).to(device)
        return IndexTask(family, y, matrices, constant, weight, data.y_name), unit
    return OutcomeTask(family, y, torch.from_numpy(scaled).to(device), constant, weight, data.y_name), unit


def _shared(x: NDArray[np.float32]) -> Tensor:
    """Return covariates as a tensor over the same memory, also where that is a file which must not be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nor is it written to
        return torch.from_numpy(x)

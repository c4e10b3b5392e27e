"""The problem a fit poses to the learners: arrays, tasks and options."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.design.data import ModelData
from deepdml.families.base import Family
from deepdml.learn.tasks import LevelTask, MeanTask, OutcomeTask, Task
from deepdml.learn.treatment import Levels, Treatment, classify

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
    hidden: tuple[int, ...] | None = None
    epochs: int | None = None
    lr: float | None = None
    weight_decay: float | None = None
    ensemble: int = 1
    treatment: Literal["auto", "discrete", "continuous"] = "auto"
    known: Float | None = None
    lambda_: str = "auto"
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Problem:
    """The arrays of one fit as the learners see them.

    Parameters
    ----------
    unit : (d, d) array
        Scales structural rows to unit second moment, t @ unit; then theta in the user's units is unit @ theta.
    outcome, treated : Task
        What is learned; `treated` is None where the design is known.
    center, spread : (v,) arrays
        Moments that standardize the values of a continuous treatment.
    """

    data: ModelData
    family: Family
    treatment: Treatment
    unit: Float
    x: Tensor
    weight: Tensor | None
    outcome: OutcomeTask
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
    unit = np.linalg.inv(np.linalg.cholesky(data.t.T @ data.t / len(data.t))).T
    scaled = torch.from_numpy(data.t @ unit).to(device)
    span = np.linalg.lstsq(scaled.cpu().numpy(), np.ones(len(data.t)), rcond=None)[0]
    spans = np.allclose(data.t @ unit @ span, 1.0, atol=1e-8)
    constant = torch.from_numpy(span).to(device) if spans else None
    weight = None if data.weights is None else torch.from_numpy(data.weights / data.weights.mean()).to(device)
    outcome = OutcomeTask(family, torch.from_numpy(data.y).to(device), scaled, constant, weight, data.y_name)
    values = np.zeros((len(data.t), 0)) if isinstance(treatment, Levels) else treatment.values.reshape(len(data.t), -1)
    center, spread = values.mean(0), values.std(0)
    treated: Task | None = None
    if isinstance(treatment, Levels):
        if options.known is None and len(treatment.rows) > 1:
            codes = torch.from_numpy(treatment.codes).to(device)
            treated = LevelTask("treatment levels", codes, len(treatment.rows), weight)
    else:
        treated = MeanTask("treatment mean", torch.from_numpy((values - center) / spread).to(device), weight)
    return Problem(data, family, treatment, unit, _shared(data.x).to(device), weight, outcome, treated, center, spread)


def _shared(x: NDArray[np.float32]) -> Tensor:
    """Return covariates as a tensor over the same memory, also where that is a file which must not be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nor is it written to
        return torch.from_numpy(x)

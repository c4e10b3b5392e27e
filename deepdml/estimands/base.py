"""The contract of an estimand mu = E[H(X, T, theta(X))]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from deepdml.families import Family
from deepdml.learn.influence import TreatmentLaw

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """What an estimand may read: the rows of one repetition.

    Parameters
    ----------
    t : (n, d) array
        Structural rows as observed.
    t_names : tuple of str
        Names of the d structural columns.
    theta : (n, d_theta) array
        Cross-fitted coefficients; the first d belong to the structural columns.
    law : TreatmentLaw or None
        Law of the structural row given x, for conditional means over T; None where only moments were learned.
    family : Family
        The outcome family; estimands work through its mean.
    """

    t: Float
    t_names: tuple[str, ...]
    theta: Float
    law: TreatmentLaw | None
    family: Family


@dataclass(frozen=True, slots=True)
class Evaluation:
    """H and G of an estimand.

    Parameters
    ----------
    values : (n, q) array
        H(x, t, theta(x)) of each row, in the units of the estimand.
    gradient : (n, q, d_theta) array
        G(x) = E[dH/dtheta | X = x]: the conditional mean over T, not the value at the row's own t.
    """

    values: Float
    gradient: Float

    def __post_init__(self) -> None:
        if self.gradient.shape[:2] != self.values.shape:
            raise ValueError(
                f"gradient has shape {self.gradient.shape} and values {self.values.shape}; "
                "needed are (n, q, d_theta) and (n, q)"
            )


class Estimand:
    """An estimand; a subclass sets `name` and gives labels and an evaluation.

    Nothing in an estimand names a family: it reads `Sample.family` and `Sample.law`.
    """

    name: ClassVar[str]
    """How a summary's head calls it."""

    def labels(self, t_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the q reported numbers."""
        raise NotImplementedError

    def evaluate(self, sample: Sample) -> Evaluation:
        """Return H and G over the rows of one repetition."""
        raise NotImplementedError

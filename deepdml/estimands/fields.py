"""Functions of the structural row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError
from deepdml.learn.influence import TreatmentLaw

Float = NDArray[np.float64]
Terms = Callable[..., tuple[Float, Float]]
"""Takes theta (..., d_theta) and the values of fields; returns H (..., c) and dH/dtheta (..., c, d_theta)."""


@dataclass(frozen=True, slots=True)
class Costly:
    """Terms whose H is worth leaving out where its gradient alone is asked for.

    Parameters
    ----------
    value, slope : callable
        H and its gradient, each given theta and the values of fields.
    """

    value: Callable[..., Float]
    slope: Callable[..., Float]

    def __call__(self, theta: Float, *values: Float) -> tuple[Float, Float]:
        return self.value(theta, *values), self.slope(theta, *values)


def slope_of(terms: Terms, theta: Float, *values: Float) -> Float:
    """Return dH/dtheta (..., c, d_theta) alone."""
    return terms.slope(theta, *values) if isinstance(terms, Costly) else terms(theta, *values)[1]


MOMENTS_ONLY = (
    "only moments of the treatments were learned, and this estimand needs their whole law given the covariates. "
    "It is available with one continuous treatment, or with treatments that have few levels."
)


@dataclass(frozen=True, slots=True)
class Field:
    """A function of the structural row: at the observed rows, and at the nodes of the law given x.

    Parameters
    ----------
    own : (n, ...) or (1, ...) array
        Values at the observed rows; one row stands for all.
    nodes : callable or None
        Takes a slice of rows and a law of the sample's kind with m nodes, and returns (n_rows or 1, m or 1, ...); None
        for a function of x alone.
    reason : str
        Where the nodes are unknown, why: the field can then be used at the observed rows only.
    """

    own: Float
    nodes: Callable[[slice, Any], Float] | None = None
    reason: str = ""

    @property
    def free(self) -> bool:
        """Whether the field is a function of x alone."""
        return self.nodes is None and not self.reason

    def at(self, rows: slice, law: TreatmentLaw) -> Float:
        """Return the values at the nodes of a law for a slice of rows, (n_rows or 1, m or 1, ...)."""
        if self.reason:
            raise OptionError(self.reason)
        if self.nodes is not None:
            return self.nodes(rows, law)
        return self.own[:, None] if len(self.own) == 1 else self.own[rows, None]


@dataclass(frozen=True, slots=True)
class Weighting(Field):
    """Weights of rows that depend on estimated propensities: `own` has the term for their estimation, `nodes` not."""

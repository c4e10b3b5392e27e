"""The average of each coefficient function, E[theta(X)]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepdml.estimands.averages import Averaged
from deepdml.estimands.base import Sample, register
from deepdml.estimands.fields import Field, Terms


@register
@dataclass(frozen=True)
class AverageCoefficient(Averaged):
    """E[theta_j(X)] for each structural column, in the units of the linear predictor, and each auxiliary parameter.

    Parameters
    ----------
    subset : optional
        Rows to average over; see `Averaged`.

    Examples
    --------
    >>> AverageCoefficient(subset="age > 40")
    AverageCoefficient(subset='age > 40')
    """

    name: ClassVar[str] = "average coefficient"

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return tuple(name + self.suffix(sample) for name in sample.names)

    def parts(self, sample: Sample) -> tuple[Terms, tuple[Field, ...]]:
        k = sample.theta.shape[1]

        def terms(theta: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
            # one identity seen n times, not n identities
            return theta, np.broadcast_to(np.eye(k), (*theta.shape[:-1], k, k))

        return terms, ()

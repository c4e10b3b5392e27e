"""What counts with a law of their own have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdml.families.arrays import lgamma
from deepdml.families.base import Float
from deepdml.families.indices import MultiIndex


class Counts(MultiIndex):
    """Outcomes 0, 1, 2, ..., whose probabilities are at most one, so that no loss is less than zero."""

    support = "counts 0, 1, 2, ..."
    link = "log"

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        return np.asarray((y >= 0) & np.isfinite(y) & (y == np.floor(y)))

    def perfect_loss(self, y: Float) -> Float:
        return np.zeros_like(y)

    def fixed_loss(self, y: Any) -> Any:
        return lgamma(y + 1.0)

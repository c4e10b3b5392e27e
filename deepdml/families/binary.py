"""What binary outcomes have in common, whatever their link."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deepdml.errors import OptionError
from deepdml.families.base import Family, Float


class Binary(Family):
    """Outcomes 0 and 1, or shares between them; a subclass gives the link."""

    support = "outcomes between 0 and 1"

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        return (y >= 0) & (y <= 1)

    def perfect_loss(self, y: Float) -> Float:
        return np.asarray(special.entr(y) + special.entr(1.0 - y))

    def variance(self, eta: Any) -> Any:
        mean = self.mean(eta)
        return mean * (1.0 - mean)

    def tail(self, cut: float, eta: Any) -> Any:
        return self.mean(eta) if 0 <= cut < 1 else np.full_like(eta, float(cut < 0))

    def tail_slope(self, cut: float, eta: Any) -> Any:
        return self.mean_slope(eta) if 0 <= cut < 1 else np.zeros_like(eta)

    def probability_slope(self, level: Any, eta: Any) -> Any:
        self.probability(level, eta)
        return self.mean_slope(eta) if level == 1 else -self.mean_slope(eta)

    def outcomes(self) -> tuple[Any, ...]:
        return (0, 1)

    def probability(self, level: Any, eta: Any) -> Any:
        if level not in (0, 1):
            raise OptionError(f"the outcome is 0 or 1, so it has no level {level!r}.")
        return self.mean(eta) if level == 1 else 1.0 - self.mean(eta)

"""Binary (or fractional) outcomes with the normal link."""

from __future__ import annotations

from typing import Any

from deepdml.families.arrays import log_ndtr, ndtr, ndtri
from deepdml.families.base import register
from deepdml.families.binary import Binary
from deepdml.families.normal import density, mills


@register
class Probit(Binary):
    """P(y = 1) = Phi(eta), the normal distribution function. Shares in [0, 1] are allowed (fractional probit)."""

    name = "probit"
    link = "probit"

    def loss(self, y: Any, eta: Any) -> Any:
        return -y * log_ndtr(eta) - (1.0 - y) * log_ndtr(-eta)

    def score(self, y: Any, eta: Any) -> Any:
        return (1.0 - y) * mills(-eta) - y * mills(eta)

    def hessian(self, eta: Any) -> Any:
        return mills(eta) * mills(-eta)

    def remainder_slope(self, eta: Any) -> Any:
        up, down = mills(eta), mills(-eta)
        slope = up * down * (down - up - 2.0 * eta)
        third = ndtr(eta) * _third(eta, up) - ndtr(-eta) * _third(-eta, down)
        return 2.0 * slope - third

    def mean(self, eta: Any) -> Any:
        return ndtr(eta)

    def mean_slope(self, eta: Any) -> Any:
        return density(eta)

    def mean_curvature(self, eta: Any) -> Any:
        return -eta * self.mean_slope(eta)

    def link_of_mean(self, mean: Any) -> Any:
        return ndtri(mean)

    def start_rows(self, y: Any) -> Any:
        return ndtri((y + 0.5) / 2.0)


def _third(z: Any, ratio: Any) -> Any:
    """Return the third derivative of -log Phi(z), given the Mills ratio."""
    return ratio * (1.0 - (z + ratio) * (2.0 * ratio + z))

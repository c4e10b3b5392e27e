"""Maxima and other right-skewed outcomes on the whole line."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdml.families.arrays import exp, expm1, log, matrix, ones_like, stack, zeros_like
from deepdml.families.base import Float, register
from deepdml.families.indices import MultiIndex

EULER = float(np.euler_gamma)
LOG_MOMENT = (1.0 - EULER) ** 2 + np.pi**2 / 6  # E[v log(v)^2] + 1 for v standard exponential


@register
class Gumbel(MultiIndex):
    """y = t' theta(x) + sigma(x) e with e of the standard Gumbel law of maxima, whose mean is Euler's constant."""

    name = "gumbel"
    support = "finite numbers"
    link = "identity"
    auxiliary = ("log(scale)",)
    location_scale = True

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        return np.isfinite(y)

    def loss(self, y: Any, eta: Any) -> Any:
        z = (y - eta[..., 0]) * exp(-eta[..., 1])
        return eta[..., 1] + z + exp(-z)

    def score(self, y: Any, eta: Any) -> Any:
        rate = exp(-eta[..., 1])
        z = (y - eta[..., 0]) * rate
        return stack([rate * expm1(-z), 1.0 + z * expm1(-z)])

    def hessian(self, eta: Any) -> Any:
        rate = exp(-eta[..., 1])
        cross = (EULER - 1.0) * rate
        return matrix([[rate * rate, cross], [cross, 0.0 * rate + LOG_MOMENT]])

    def start(self, y: Any) -> list[float]:
        scale = ((y - y.mean()) ** 2).mean() ** 0.5 * (6.0**0.5 / np.pi)
        return [y.mean() - EULER * scale, log(scale)]

    def mean(self, eta: Any) -> Any:
        return eta[..., 0] + EULER * exp(eta[..., 1])

    def mean_slope(self, eta: Any) -> Any:
        scale = exp(eta[..., 1])
        return stack([ones_like(scale), EULER * scale])

    def mean_curvature(self, eta: Any) -> Any:
        scale = exp(eta[..., 1])
        zero = zeros_like(scale)
        return matrix([[zero, zero], [zero, EULER * scale]])

    def variance(self, eta: Any) -> Any:
        return np.pi**2 / 6 * exp(2.0 * eta[..., 1])

    def tail(self, cut: float, eta: Any) -> Any:
        return -expm1(-exp((eta[..., 0] - cut) * exp(-eta[..., 1])))

    def quantile(self, share: float, eta: Any) -> Any:
        return eta[..., 0] - np.log(-np.log(share)) * exp(eta[..., 1])

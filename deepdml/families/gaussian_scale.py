"""Normal outcomes whose scale is a function of the covariates, too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deepdml.families.arrays import exp, log, matrix, ndtr, stack, zeros_like
from deepdml.families.base import Float, register
from deepdml.families.indices import MultiIndex
from deepdml.families.normal import HALF_LOG_2PI, tail_slope


@register
class GaussianScale(MultiIndex):
    """y ~ N(t' theta(x), sigma(x)^2): rows with little noise count for more, and the law of y is known.

    Unlike family "gaussian", which needs the mean alone to be right, this one weighs rows by 1 / sigma(x)^2.
    """

    name = "gaussian_scale"
    aliases = ("heteroskedastic_gaussian", "normal")
    support = "finite numbers"
    link = "identity"
    auxiliary = ("log(sigma)",)
    location_scale = True

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        return np.isfinite(y)

    def loss(self, y: Any, eta: Any) -> Any:
        z = (y - eta[..., 0]) * exp(-eta[..., 1])
        return 0.5 * z * z + eta[..., 1] + HALF_LOG_2PI

    def score(self, y: Any, eta: Any) -> Any:
        rate = exp(-eta[..., 1])
        z = (y - eta[..., 0]) * rate
        return stack([-z * rate, 1.0 - z * z])

    def hessian(self, eta: Any) -> Any:
        zero = zeros_like(eta[..., 0])
        return matrix([[exp(-2.0 * eta[..., 1]), zero], [zero, zero + 2.0]])

    def start(self, y: Any) -> list[float]:
        return [y.mean(), 0.5 * log(((y - y.mean()) ** 2).mean())]

    def mean(self, eta: Any) -> Any:
        return eta[..., 0]

    def mean_slope(self, eta: Any) -> Any:
        zero = zeros_like(eta[..., 0])
        return stack([zero + 1.0, zero])

    def mean_curvature(self, eta: Any) -> Any:
        zero = zeros_like(eta[..., 0])
        return matrix([[zero, zero], [zero, zero]])

    def variance(self, eta: Any) -> Any:
        return exp(2.0 * eta[..., 1])

    def tail(self, cut: float, eta: Any) -> Any:
        return ndtr((eta[..., 0] - cut) * exp(-eta[..., 1]))

    def tail_slope(self, cut: float, eta: Any) -> Any:
        return tail_slope(cut, eta)

    def quantile(self, share: float, eta: Any) -> Any:
        return eta[..., 0] + special.ndtri(share) * exp(eta[..., 1])

"""Gaussian outcomes with identity link: the partially varying linear model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdml.families.arrays import ones_like, zeros_like
from deepdml.families.base import Family, Float, register


@register
class Gaussian(Family):
    """y = t' theta(x) + error with mean zero; the loss is half the squared error, so no variance needs to be known."""

    name = "gaussian"
    aliases = ("linear",)
    support = "finite numbers"
    link = "identity"
    constant_hessian = canonical = True

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        return np.isfinite(y)

    def loss(self, y: Any, eta: Any) -> Any:
        return 0.5 * (y - eta) ** 2

    def score(self, y: Any, eta: Any) -> Any:
        return eta - y

    def hessian(self, eta: Any) -> Any:
        return ones_like(eta)

    def remainder_slope(self, eta: Any) -> Any:
        return zeros_like(eta)

    def mean(self, eta: Any) -> Any:
        return eta

    def mean_slope(self, eta: Any) -> Any:
        return ones_like(eta)

    def mean_curvature(self, eta: Any) -> Any:
        return zeros_like(eta)

    def link_of_mean(self, mean: Any) -> Any:
        return mean

    def start_rows(self, y: Any) -> Any:
        return y

"""Counts (or any non-negative outcome) with the log link."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deepdml.families.arrays import exp, log
from deepdml.families.base import Family, Float, register


@register
class Poisson(Family):
    """E[y] = exp(eta); coefficients are semi-elasticities.

    Outcomes need not be integers: Poisson pseudo-maximum likelihood needs the conditional mean only.
    """

    name = "poisson"
    support = "non-negative outcomes"
    canonical = True
    link = "log"

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        return (y >= 0) & np.isfinite(y)

    def loss(self, y: Any, eta: Any) -> Any:
        return exp(eta) - y * eta

    def score(self, y: Any, eta: Any) -> Any:
        return exp(eta) - y

    def hessian(self, eta: Any) -> Any:
        return exp(eta)

    def remainder_slope(self, eta: Any) -> Any:
        return exp(eta)

    def perfect_loss(self, y: Float) -> Float:
        return np.asarray(y - special.xlogy(y, y))

    def variance(self, eta: Any) -> Any:
        return exp(eta)

    def tail(self, cut: float, eta: Any) -> Any:
        # P(Y <= k) is an incomplete gamma function of the mean
        return np.ones_like(eta) if cut < 0 else special.gammainc(np.floor(cut) + 1.0, np.exp(eta))

    def tail_slope(self, cut: float, eta: Any) -> Any:
        # the mean times the probability of the last count at or below the cut
        count = np.floor(cut)
        return (
            np.zeros_like(eta) if cut < 0 else np.exp((count + 1.0) * eta - np.exp(eta) - special.gammaln(count + 1.0))
        )

    def mean(self, eta: Any) -> Any:
        return exp(eta)

    def mean_slope(self, eta: Any) -> Any:
        return exp(eta)

    def mean_curvature(self, eta: Any) -> Any:
        return exp(eta)

    def link_of_mean(self, mean: Any) -> Any:
        return log(mean)

    def start_rows(self, y: Any) -> Any:
        return log(y + 0.5)

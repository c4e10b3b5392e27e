"""Shares strictly between 0 and 1 with the logistic link."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deepdml.families.arrays import digamma, exp, expit, lgamma, log, log1p, matrix, stack, trigamma, zeros_like
from deepdml.families.base import Float, register
from deepdml.families.indices import MultiIndex


@register
class Beta(MultiIndex):
    """y ~ Beta with E[y] = 1 / (1 + exp(-t' theta(x))) and Var(y) = E[y] (1 - E[y]) / (1 + precision(x)).

    References
    ----------
    Ferrari & Cribari-Neto, "Beta regression for modelling rates and proportions" (Journal of Applied Statistics 2004).
    """

    name = "beta"
    support = "outcomes strictly between 0 and 1"
    link = "logit"
    auxiliary = ("log(precision)",)

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        return (y > 0) & (y < 1)

    def loss(self, y: Any, eta: Any) -> Any:
        mean, precision = expit(eta[..., 0]), exp(eta[..., 1])
        first, second = mean * precision, expit(-eta[..., 0]) * precision
        norm = lgamma(first) + lgamma(second) - lgamma(precision)
        return norm - (first - 1.0) * log(y) - (second - 1.0) * log1p(-y)

    def score(self, y: Any, eta: Any) -> Any:
        mean, rest, precision = expit(eta[..., 0]), expit(-eta[..., 0]), exp(eta[..., 1])
        up, down = digamma(mean * precision) - log(y), digamma(rest * precision) - log1p(-y)
        by_mean = precision * (up - down)
        by_precision = mean * up + rest * down - digamma(precision)
        return stack([by_mean * mean * rest, by_precision * precision])

    def hessian(self, eta: Any) -> Any:
        mean, rest, precision = expit(eta[..., 0]), expit(-eta[..., 0]), exp(eta[..., 1])
        up, down = trigamma(mean * precision), trigamma(rest * precision)
        slope = mean * rest
        cross = slope * precision**2 * (mean * up - rest * down)
        last = precision**2 * (mean**2 * up + rest**2 * down - trigamma(precision))
        return matrix([[slope**2 * precision**2 * (up + down), cross], [cross, last]])

    def start(self, y: Any) -> list[float]:
        mean = y.mean()
        share = (mean * (1.0 - mean) / ((y - mean) ** 2).mean() - 1.0).clip(0.1)
        return [log(mean / (1.0 - mean)), log(share)]

    def mean(self, eta: Any) -> Any:
        return expit(eta[..., 0])

    def mean_slope(self, eta: Any) -> Any:
        slope = expit(eta[..., 0]) * expit(-eta[..., 0])
        return stack([slope, zeros_like(slope)])

    def mean_curvature(self, eta: Any) -> Any:
        mean, rest = expit(eta[..., 0]), expit(-eta[..., 0])
        zero = zeros_like(mean)
        return matrix([[mean * rest * (rest - mean), zero], [zero, zero]])

    def variance(self, eta: Any) -> Any:
        return expit(eta[..., 0]) * expit(-eta[..., 0]) / (1.0 + exp(eta[..., 1]))

    def tail(self, cut: Any, eta: Any) -> Any:
        # of one minus the outcome, which is beta, too; betaincc is ten times slower
        first, second = _exponents(eta)
        return special.betainc(second, first, 1.0 - np.clip(cut, 0.0, 1.0))

    def tail_slope(self, cut: Any, eta: Any) -> Any:
        return self.narrow_slope(lambda at: self.tail(cut, at), eta)

    def quantile(self, share: float, eta: Any) -> Any:
        # inside the support, also where an exponent near zero puts all mass at an end
        return special.betaincinv(*_exponents(eta), share).clip(np.finfo(float).tiny, 1.0 - np.finfo(float).epsneg)

    def quantile_slope(self, share: float, eta: Any) -> Any:
        at = self.quantile(share, eta)
        rise = self.narrow_slope(lambda near: special.betainc(*_exponents(near), at), eta)
        return -rise * np.exp(self.loss(at, eta))[..., None]


def _exponents(eta: Any) -> tuple[Any, Any]:
    """Return the two parameters of the beta law."""
    precision = np.exp(eta[..., 1])
    return expit(eta[..., 0]) * precision, expit(-eta[..., 0]) * precision

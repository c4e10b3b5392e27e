"""Positive outcomes with the log link: durations, costs, expenditures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deepdml.families.arrays import digamma, exp, lgamma, log, matrix, stack, trigamma, zeros_like
from deepdml.families.base import Float, register
from deepdml.families.indices import MultiIndex


@register
class Gamma(MultiIndex):
    """y ~ Gamma with E[y] = exp(t' theta(x)) and Var(y) = E[y]^2 / shape(x); coefficients are semi-elasticities."""

    name = "gamma"
    support = "positive outcomes"
    link = "log"
    auxiliary = ("log(shape)",)

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        return (y > 0) & np.isfinite(y)

    def loss(self, y: Any, eta: Any) -> Any:
        log_mean, log_shape = eta[..., 0], eta[..., 1]
        shape = exp(log_shape)
        ratio = y * exp(-log_mean)
        return shape * (ratio - log(y) + log_mean - log_shape) + log(y) + lgamma(shape)

    def score(self, y: Any, eta: Any) -> Any:
        log_mean, log_shape = eta[..., 0], eta[..., 1]
        shape = exp(log_shape)
        ratio = y * exp(-log_mean)
        return stack(
            [shape * (1.0 - ratio), shape * (ratio - log(y) + log_mean - log_shape - 1.0 + digamma(shape))],
        )

    def hessian(self, eta: Any) -> Any:
        shape = exp(eta[..., 1])
        zero = zeros_like(shape)
        return matrix([[shape, zero], [zero, shape * (shape * trigamma(shape) - 1.0)]])

    def start(self, y: Any) -> list[float]:
        mean = y.mean()
        return [log(mean), log(mean**2 / ((y - mean) ** 2).mean())]

    def mean(self, eta: Any) -> Any:
        return exp(eta[..., 0])

    def variance(self, eta: Any) -> Any:
        return exp(2.0 * eta[..., 0] - eta[..., 1])

    def tail(self, cut: Any, eta: Any) -> Any:
        shape = np.exp(eta[..., 1])
        return special.gammaincc(shape, shape * np.maximum(cut, 0.0) * np.exp(-eta[..., 0]))

    def quantile(self, share: float, eta: Any) -> Any:
        shape = np.exp(eta[..., 1])
        # above zero, also where a shape near zero puts all mass there
        return (special.gammaincinv(shape, share) / shape * np.exp(eta[..., 0])).clip(np.finfo(float).tiny)

    def quantile_slope(self, share: float, eta: Any) -> Any:
        return self.implicit_quantile_slope(share, eta)

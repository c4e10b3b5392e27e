"""Positive outcomes with the log link: durations, costs, expenditures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.interpolate import CubicHermiteSpline

from deepdml.families.arrays import digamma, exp, lgamma, log, matrix, stack, trigamma, zeros_like
from deepdml.families.base import Float, narrow_difference, register
from deepdml.families.indices import LogMean

TABLE = 64  # points per unit of log shape, where the slopes of many quantiles are interpolated: seven digits


@register
class Gamma(LogMean):
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

    def variance(self, eta: Any) -> Any:
        return exp(2.0 * eta[..., 0] - eta[..., 1])

    def tail(self, cut: Any, eta: Any) -> Any:
        shape = np.exp(eta[..., 1])
        return special.gammaincc(shape, shape * np.maximum(cut, 0.0) * np.exp(-eta[..., 0]))

    def tail_slope(self, cut: Any, eta: Any) -> Any:
        shape = np.exp(eta[..., 1])
        ratio = shape * np.maximum(cut, 0.0) * np.exp(-eta[..., 0])
        # the ratio times its density
        by_mean = np.exp(special.xlogy(shape, ratio) - ratio - special.gammaln(shape))
        return stack([by_mean, self._tail_by_shape(cut, eta)])

    def _tail_by_shape(self, cut: Any, eta: Any) -> Any:
        """Return d tail / d log shape."""
        along = np.array([0.0, 1.0])
        return narrow_difference(lambda step: self.tail(cut, eta + step * along))

    def quantile(self, share: float, eta: Any) -> Any:
        # above zero, also where a shape near zero puts all mass there
        return (_unit(share, _once(eta[..., 1])) * np.exp(eta[..., 0])).clip(np.finfo(float).tiny)

    def quantile_slope(self, share: float, eta: Any) -> Any:
        # the quantile is the mean times one that the shape alone decides
        mean = np.exp(eta[..., 0])
        unit, by_shape = self._unit_slope(share, _once(eta[..., 1]))
        return stack([(unit * mean).clip(np.finfo(float).tiny), mean * by_shape])

    def _unit_slope(self, share: float, log_shape: Any) -> tuple[Any, Any]:
        """Return the quantile of the law with mean one, and its derivative in the log of the shape."""
        if log_shape.size > 2 * TABLE * np.ptp(log_shape) + TABLE:
            grid = np.arange(np.floor(log_shape.min() * TABLE), np.ceil(log_shape.max() * TABLE) + 2) / TABLE
            at, slope = self._unit_slope(share, grid)
            if (at > np.finfo(float).tiny).all():
                log_unit = CubicHermiteSpline(grid, np.log(at), slope / at)
                unit = np.exp(log_unit(log_shape))
                return unit, unit * log_unit(log_shape, 1)
        unit, alone = _unit(share, log_shape).clip(np.finfo(float).tiny), stack([zeros_like(log_shape), log_shape])
        return unit, self._tail_by_shape(unit, alone) * np.exp(self.loss(unit, alone))


def _unit(share: float, log_shape: Any) -> Any:
    """Return the quantile of the law with mean one."""
    shape = np.exp(log_shape)
    return special.gammaincinv(shape, share) / shape


def _once(log_shape: Any) -> Any:
    """Return the log of the shape at one node of each row, where it is the same at all of them."""
    first = log_shape[..., :1]
    return first if log_shape.ndim > 1 and (log_shape == first).all() else log_shape

"""Outcomes that are censored below, above or on both sides at known points."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deepdml.errors import DataError, OptionError, refuse_no_number
from deepdml.families.arrays import exp, log, log_ndtr, matrix, ndtr, stack, where, zeros_like
from deepdml.families.base import Float, register
from deepdml.families.indices import MultiIndex
from deepdml.families.normal import HALF_LOG_2PI, density, mills, tail_slope


@register
class Tobit(MultiIndex):
    """``y = min(max(y*, lower), upper)`` with ``y* ~ N(t'theta(x), sigma(x)^2)``: coefficients move the latent outcome.

    Parameters
    ----------
    lower, upper : float or None
        Points of censoring, in the units of the outcome; None for none.

    References
    ----------
    Tobin, "Estimation of relationships for limited dependent variables" (Econometrica 1958). Amemiya, "Regression
    analysis when the dependent variable is truncated normal" (Econometrica 1973), for the hessian.
    """

    name = "tobit"
    support = "outcomes between the points of censoring"
    link = "identity"
    auxiliary = ("log(sigma)",)
    location_scale = True

    def __init__(self, lower: float | None = 0.0, upper: float | None = None) -> None:
        super().__init__()
        self.lower = -np.inf if lower is None or _is(lower, -np.inf) else _point("lower", lower)
        self.upper = np.inf if upper is None or _is(upper, np.inf) else _point("upper", upper)
        if not self.lower < self.upper:
            raise OptionError(f"lower={lower!r} is not below upper={upper!r}; these are the points of censoring.")

    def options(self) -> dict[str, Any]:
        return {
            "lower": self.lower if np.isfinite(self.lower) else None,
            "upper": self.upper if np.isfinite(self.upper) else None,
        }

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        return (y >= self.lower) & (y <= self.upper) & np.isfinite(y)

    def for_outcome(self, y: Float, event: Float | None, levels: tuple[Any, ...]) -> Self:
        for side, point in (("lower", self.lower), ("upper", self.upper)):
            if np.isfinite(point) and not (y == point).any():
                raise DataError(
                    f"no outcome is {point:g}, the {side} point of censoring of family 'tobit'; outcomes go from "
                    f"{y.min():g} to {y.max():g}. Give the point at which they pile up, or None for that side."
                )
        if ((y == self.lower) | (y == self.upper)).all():
            raise DataError("every outcome is censored, so that nothing is known of its scale; use family='probit'.")
        return super().for_outcome(y, event, levels)

    def columns(self, y: Float, event: Float | None, t: Float) -> Float:
        return np.column_stack([y, np.full_like(y, self.lower), np.full_like(y, self.upper)])

    def loss(self, y: Any, eta: Any) -> Any:
        value, below, above = _sides(y)
        z = (value - eta[..., 0]) * exp(-eta[..., 1])
        inside = 0.5 * z * z + eta[..., 1] + HALF_LOG_2PI
        return where(below, -log_ndtr(z), where(above, -log_ndtr(-z), inside))

    def score(self, y: Any, eta: Any) -> Any:
        value, below, above = _sides(y)
        rate = exp(-eta[..., 1])
        z = (value - eta[..., 0]) * rate
        ratio = where(below, mills(z), -mills(-z))
        censored = below | above
        return stack([where(censored, ratio, -z) * rate, where(censored, ratio * z, 1.0 - z * z)])

    def hessian(self, eta: Any) -> Any:
        return _expected(eta, self.lower, self.upper)

    def curvature(self, y: Any, eta: Any) -> Any:
        return _expected(eta, y[..., 1], y[..., 2])

    def start(self, y: Any) -> list[float]:
        value = y[..., 0]
        return [value.mean(), 0.5 * log(((value - value.mean()) ** 2).mean())]

    def mean(self, eta: Any) -> Any:
        location, scale = eta[..., 0], np.exp(eta[..., 1])
        low, high = (self.lower - location) / scale, (self.upper - location) / scale
        inside = location * (ndtr(high) - ndtr(low)) + scale * (density(low) - density(high))
        return inside + _times(ndtr(low), self.lower) + _times(ndtr(-high), self.upper)

    def mean_slope(self, eta: Any) -> Any:
        scale = np.exp(eta[..., 1])
        low, high = (self.lower - eta[..., 0]) / scale, (self.upper - eta[..., 0]) / scale
        return stack([ndtr(high) - ndtr(low), scale * (density(low) - density(high))])

    def mean_curvature(self, eta: Any) -> Any:
        scale = np.exp(eta[..., 1])
        low, high = (self.lower - eta[..., 0]) / scale, (self.upper - eta[..., 0]) / scale
        first, cross = density(low) - density(high), _tilted(low) - _tilted(high)
        last = scale * (first + _tilted(low, 2) - _tilted(high, 2))
        return matrix([[first / scale, cross], [cross, last]])

    def variance(self, eta: Any) -> Any:
        location, scale = eta[..., 0], np.exp(eta[..., 1])
        low, high = (self.lower - location) / scale, (self.upper - location) / scale
        share = ndtr(high) - ndtr(low)
        first, second = density(low) - density(high), share + _tilted(low) - _tilted(high)
        square = location**2 * share + 2.0 * location * scale * first + scale**2 * second
        square = square + _times(ndtr(low), self.lower**2) + _times(ndtr(-high), self.upper**2)
        return square - self.mean(eta) ** 2

    def variance_slope(self, eta: Any) -> Any:
        location, scale = eta[..., 0], np.exp(eta[..., 1])
        low, high = (self.lower - location) / scale, (self.upper - location) / scale
        share, first = ndtr(high) - ndtr(low), density(low) - density(high)
        second = share + _tilted(low) - _tilted(high)
        # of the mean square: twice the outcome where it moves, and that times the normal draw and the scale
        square = stack([location * share + scale * first, scale * (location * first + scale * second)])
        return 2.0 * (square - self.mean(eta)[..., None] * stack([share, scale * first]))

    def tail(self, cut: float, eta: Any) -> Any:
        if not self.lower <= cut < self.upper:
            return np.full(eta.shape[:-1], float(cut < self.lower))
        return ndtr((eta[..., 0] - cut) * np.exp(-eta[..., 1]))

    def tail_slope(self, cut: float, eta: Any) -> Any:
        if not self.lower <= cut < self.upper:
            return np.zeros_like(eta)
        return tail_slope(cut, eta)

    def quantile(self, share: float, eta: Any) -> Any:
        return (eta[..., 0] + special.ndtri(share) * np.exp(eta[..., 1])).clip(self.lower, self.upper)

    def quantile_slope(self, share: float, eta: Any) -> Any:
        # a row whose quantile is a point of censoring keeps it when theta moves a little
        at = self.quantile(share, eta)
        moves = (at > self.lower) & (at < self.upper)
        return moves[..., None] * np.stack([np.ones_like(at), special.ndtri(share) * np.exp(eta[..., 1])], axis=-1)


def _point(side: str, value: Any) -> float:
    refuse_no_number(side, value, "the point at which outcomes are censored, one number, or None for no such point")
    return float(value)


def _is(value: Any, point: float) -> bool:
    return isinstance(value, float) and value == point


def _sides(y: Any) -> tuple[Any, Any, Any]:
    """Return the outcomes of columns (..., 3), and which are at the lower and the upper point."""
    value = y[..., 0]
    return value, value <= y[..., 1], value >= y[..., 2]


def _tilted(z: Any, power: int = 1) -> Any:
    """Return z, or a power of it, times the normal density, zero at infinity."""
    finite = abs(z) < 40.0
    return where(finite, z, zeros_like(z)) ** power * density(z)


def _times(share: Any, point: float) -> Any:
    """Return the share times a point of censoring, zero where there is none."""
    return share * point if np.isfinite(point) else 0.0 * share


def _expected(eta: Any, lower: Any, upper: Any) -> Any:
    """Return the expected hessian: that of the uncensored part, and of the rows at either point."""
    rate = exp(-eta[..., 1])
    low, high = (lower - eta[..., 0]) * rate, (upper - eta[..., 0]) * rate
    one = ndtr(high) - ndtr(low)
    first = 2.0 * (density(low) - density(high))
    second = 2.0 * (one + _tilted(low) - _tilted(high))
    for z, sign in ((low, -1.0), (-high, 1.0)):
        near = where(abs(z) < 40.0, z, zeros_like(z) - 40.0)
        ratio, weight = mills(near), density(near)  # weight is the chance of the side times the ratio
        bend = weight * (near + ratio)
        one = one + bend
        first = first + sign * (weight - near * bend)
        second = second + near * near * bend - near * weight
    return matrix([[one * rate * rate, first * rate], [first * rate, second]])

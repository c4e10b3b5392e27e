"""Overdispersed counts with the log link."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from deepdml.families.arrays import (
    digamma,
    exp,
    expm1,
    lgamma,
    log,
    log1p,
    matrix,
    softplus,
    stack,
    trigamma,
    zeros_like,
)
from deepdml.families.base import narrow_difference, register
from deepdml.families.counts import Counts
from deepdml.families.indices import LogMean

FEW = 16  # counts up to a cut over which slopes of tails are summed; of more they are differences
POINTS, REACH = 72, (1e-6, 34.0)  # of the quadrature: nine digits for means up to 5,000 and any dispersion


@register
class NegBin(LogMean, Counts):
    """Counts with E[y] = exp(t' theta(x)) and Var(y) = E[y] + alpha(x) E[y]^2 (NB2); coefficients as in poisson.

    References
    ----------
    Lawless, "Negative binomial and mixed Poisson regression" (Canadian Journal of Statistics 1987), section 2.
    """

    name = "negbin"
    aliases = ("negativebinomial",)
    auxiliary = ("log(alpha)",)
    stepwise = True

    def loss(self, y: Any, eta: Any) -> Any:
        log_mean, log_alpha = eta[..., 0], eta[..., 1]
        size = exp(-log_alpha)
        # log(1 + alpha mean) and the log of the chance of a failure
        grown = softplus(log_alpha + log_mean)
        counts = lgamma(y + size) - lgamma(size) - lgamma(y + 1.0)
        return size * grown - y * (log_alpha + log_mean - grown) - counts

    def score(self, y: Any, eta: Any) -> Any:
        log_mean, log_alpha = eta[..., 0], eta[..., 1]
        size, mean = exp(-log_alpha), exp(log_mean)
        share = size / (size + mean)
        counts = digamma(y + size) - digamma(size)
        by_size = counts - softplus(log_alpha + log_mean) + (mean - y) / (size + mean)
        return stack([(mean - y) * share, size * by_size])

    def hessian(self, eta: Any) -> Any:
        size, mean = exp(-eta[..., 1]), exp(eta[..., 0])
        share = size / (size + mean)
        zero = zeros_like(size)
        dispersion = size * (size * _mean_trigamma_fall(mean, size) - mean / (size + mean))
        return matrix([[mean * share, zero], [zero, dispersion.clip(0.0)]])

    def curvature(self, y: Any, eta: Any) -> Any:
        # the dispersion's entry for a large mean, times the share squared: above the hessian's, and near it
        size, mean = exp(-eta[..., 1]), exp(eta[..., 0])
        share = size / (size + mean)
        zero = zeros_like(size)
        bound = size * (size * trigamma(size) - 1.0) * (1.0 - share) ** 2
        return matrix([[mean * share, zero], [zero, bound.clip(0.0)]])

    def start(self, y: Any) -> list[float]:
        mean = y.mean()
        extra = (((y - mean) ** 2).mean() - mean).clip(0.1 * mean)
        return [log(mean), log(extra / mean**2)]

    def start_rows(self, y: Any) -> Any:
        return log(y + 0.5)

    def auxiliary_start(self, y: Any, first: Any) -> list[float]:
        # by moments, each row by its weight in a fit with alpha near one; no mean is above all outcomes
        mean = exp(first).clip(max=y.max() + 1.0)
        extra = (((y - mean) ** 2 - mean) / (1.0 + mean)).sum()
        alpha = extra / (mean**2 / (1.0 + mean)).sum()
        return [log(alpha.clip(0.1 / mean.mean()))]

    def variance(self, eta: Any) -> Any:
        mean = exp(eta[..., 0])
        return mean + exp(eta[..., 1]) * mean**2

    def tail(self, cut: float, eta: Any) -> Any:
        size, mean = np.exp(-eta[..., 1]), np.exp(eta[..., 0])
        return np.ones_like(mean) if cut < 0 else special.betainc(np.floor(cut) + 1.0, size, mean / (size + mean))

    def tail_slope(self, cut: float, eta: Any) -> Any:
        if cut < 0:
            return np.zeros_like(eta)
        size, mean, least = np.exp(-eta[..., 1]), np.exp(eta[..., 0]), np.floor(cut) + 1.0
        # the density of the beta law whose distribution function the tail is, times d share / d log mean
        up, down = -np.log1p(size / mean), -np.log1p(mean / size)
        by_mean = np.exp(least * up + size * down - special.betaln(least, size))
        if least > FEW:
            along = np.array([0.0, 1.0])
            return stack([by_mean, narrow_difference(lambda step: self.tail(cut, eta + step * along))])
        return stack([by_mean, size * _fall_by_size(int(least), size, mean, down)])


def _fall_by_size(least: int, size: Any, mean: Any, down: Any) -> Any:
    """Return the derivative in the size of P(y < least), from that of the log of each probability."""
    share = mean / (size + mean)
    chance, by_size, total = np.exp(size * down), down + share, 0.0
    for count in range(least):
        total = total + chance * by_size
        chance = chance * ((size + count) / (count + 1.0) * share)
        by_size = by_size + 1.0 / (size + count) - 1.0 / (size + mean)
    return total


def _mean_trigamma_fall(mean: Any, size: Any) -> Any:
    """Return trigamma(size) - E[trigamma(size + y)], by quadrature of its integral.

    trigamma(z) is the integral over t > 0 of t exp(-z t) / (1 - exp(-t)), and the mean of exp(-t y) the generating
    function (1 + alpha mean (1 - exp(-t)))^-size. In log t the trapezoid rule converges geometrically.
    """
    low, high = log(REACH[0] / (size + mean)), log(REACH[1] / size)
    step, total = (high - low) / POINTS, zeros_like(mean)
    for k in range(POINTS):
        t = exp(low + (k + 0.5) * step)
        rest = -expm1(-t)
        fall = -expm1(-size * log1p(mean / size * rest))
        total = total + t * t / rest * exp(-size * t) * fall
    return total * step

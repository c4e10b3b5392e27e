"""Counts with more zeros than a Poisson law gives."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from deepdml.errors import DataError
from deepdml.families.arrays import exp, expit, lgamma, log, logaddexp, matrix, softplus, stack, where
from deepdml.families.base import Float, register
from deepdml.families.counts import Counts
from deepdml.families.poisson import Poisson

BEYOND = 3.0  # standard errors by which zeros are too few for the law


@register
class ZeroInflatedPoisson(Counts):
    """Zero with probability share(x), else Poisson with mean exp(t' theta(x)); the share's log-odds are reported.

    References
    ----------
    Lambert, "Zero-inflated Poisson regression" (Technometrics 1992).
    """

    name = "zip"
    aliases = ("zeroinflatedpoisson",)
    auxiliary = ("logit(inflation)",)

    def for_outcome(self, y: Float, event: Float | None, levels: tuple[Any, ...]) -> Self:
        # of all mixtures of Poisson laws, inflated ones among them, the plain law has the fewest zeros for its mean
        zeros, plain = float((y == 0).mean()), float(np.exp(-y.mean()))
        spread = float(np.std((y == 0) + plain * y)) / len(y) ** 0.5  # of their difference, by the delta method
        if not zeros or zeros + BEYOND * spread < plain:
            raise DataError(
                f"{zeros:.2%} of the outcomes are zero; a Poisson law of the same mean has {plain:.2%}, and one "
                "whose mean varies or that is inflated has more. So nothing tells what 'logit(inflation)' of family "
                "'zip' is; use family='poisson', which needs the mean to be right and nothing else."
            )
        return super().for_outcome(y, event, levels)

    def loss(self, y: Any, eta: Any) -> Any:
        log_mean, odds = eta[..., 0], eta[..., 1]
        mean = exp(log_mean)
        zero = -logaddexp(odds, -mean)
        return softplus(odds) + where(y == 0, zero, mean - y * log_mean + lgamma(y + 1.0))

    def score(self, y: Any, eta: Any) -> Any:
        log_mean, odds = eta[..., 0], eta[..., 1]
        mean = exp(log_mean)
        always = expit(odds + mean)  # chance that a zero is one of the inflation
        none = y == 0
        share = expit(odds)
        return stack([where(none, (1.0 - always) * mean, mean - y), where(none, share - always, share)])

    def hessian(self, eta: Any) -> Any:
        mean, share = exp(eta[..., 0]), expit(eta[..., 1])
        never = expit(-eta[..., 1] - mean)
        cross = -share * never * mean
        return matrix([[mean * (1.0 - share) + cross * mean, cross], [cross, share * (1.0 - share) - share * never]])

    def start(self, y: Any) -> list[float]:
        mean = y.mean()
        over = (((y - mean) ** 2).mean() / mean - 1.0).clip(0.1)
        return [log(mean + over), log(over / mean)]

    def mean(self, eta: Any) -> Any:
        return exp(eta[..., 0]) * expit(-eta[..., 1])

    def mean_slope(self, eta: Any) -> Any:
        mean = self.mean(eta)
        return stack([mean, -mean * expit(eta[..., 1])])

    def mean_curvature(self, eta: Any) -> Any:
        mean, share = self.mean(eta), expit(eta[..., 1])
        cross = -mean * share
        return matrix([[mean, cross], [cross, mean * share * (2.0 * share - 1.0)]])

    def variance(self, eta: Any) -> Any:
        mean, share = exp(eta[..., 0]), expit(eta[..., 1])
        return mean * (1.0 - share) * (1.0 + share * mean)

    def tail(self, cut: float, eta: Any) -> Any:
        if cut < 0:
            return np.ones(eta.shape[:-1])
        return expit(-eta[..., 1]) * Poisson().tail(cut, eta[..., 0])

    def tail_slope(self, cut: float, eta: Any) -> Any:
        if cut < 0:
            return np.zeros_like(eta)
        rest = expit(-eta[..., 1])
        return stack([rest * Poisson().tail_slope(cut, eta[..., 0]), -self.tail(cut, eta) * expit(eta[..., 1])])

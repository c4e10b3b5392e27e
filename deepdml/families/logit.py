"""Binary (or fractional) outcomes with the logistic link."""

from __future__ import annotations

from typing import Any

from deepdml.families.arrays import expit, log, softplus
from deepdml.families.base import register
from deepdml.families.binary import Binary


@register
class Logit(Binary):
    """P(y = 1) = 1 / (1 + exp(-eta)); coefficients are log-odds. Shares in [0, 1] are allowed (fractional logit)."""

    name = "logit"
    aliases = ("binomial",)
    canonical = True
    link = "logit"

    def loss(self, y: Any, eta: Any) -> Any:
        return softplus(eta) - y * eta

    def score(self, y: Any, eta: Any) -> Any:
        return expit(eta) - y

    def hessian(self, eta: Any) -> Any:
        mean = expit(eta)
        return mean * (1.0 - mean)

    def remainder_slope(self, eta: Any) -> Any:
        mean = expit(eta)
        return mean * (1.0 - mean) * (1.0 - 2.0 * mean)

    def mean(self, eta: Any) -> Any:
        return expit(eta)

    def mean_slope(self, eta: Any) -> Any:
        return self.hessian(eta)

    def mean_curvature(self, eta: Any) -> Any:
        return self.remainder_slope(eta)

    def link_of_mean(self, mean: Any) -> Any:
        return log(mean / (1.0 - mean))

    def start_rows(self, y: Any) -> Any:
        return log((y + 0.5) / (1.5 - y))

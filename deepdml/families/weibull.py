"""Durations, also right-censored ones."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deepdml.errors import DataError
from deepdml.families.arrays import digamma, exp, lgamma, log, matrix, stack, trigamma
from deepdml.families.base import Float, register
from deepdml.families.gumbel import EULER, LOG_MOMENT
from deepdml.families.indices import MultiIndex


@register
class Weibull(MultiIndex):
    """P(y > v) = exp(-(v / exp(t' theta(x)))^shape(x)): accelerated failure times; coefficients move log durations.

    ``Surv(time, event) ~ ...`` is an outcome of which rows with event 0 are known to last longer than `time`; the
    censoring must be independent of the duration given t and x.

    Parameters
    ----------
    censored : bool
        Whether durations may be censored; a fit finds out by itself.

    References
    ----------
    Kalbfleisch & Prentice, The Statistical Analysis of Failure Time Data (2nd ed., 2002), section 2.2.
    """

    name = "weibull"
    support = "positive durations"
    link = "log"
    auxiliary = ("log(shape)",)

    def __init__(self, censored: bool = False) -> None:
        super().__init__()
        self.censored = censored

    @property
    def closed(self) -> bool:  # type: ignore[override]  # it depends on the outcome here
        """Whether no duration is censored: how many are is not in the model."""
        return not self.censored

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        return (y > 0) & np.isfinite(y)

    def for_outcome(self, y: Float, event: Float | None, levels: tuple[Any, ...]) -> Self:
        fitted = super().for_outcome(y, None, levels)
        if event is not None and not np.isin(event, (0.0, 1.0)).all():
            odd = np.unique(event[~np.isin(event, (0.0, 1.0))])
            raise DataError(
                f"the event of Surv(time, event) is {', '.join(f'{v:g}' for v in odd[:5])} in some rows; it must be 0 "
                "(censored) or 1. Write the condition for an end in its place, such as Surv(time, status == 2)."
            )
        if event is not None and not event.any():
            raise DataError("Surv(time, event) holds no event: every duration is censored.")
        fitted.censored = event is not None and not event.all()
        return fitted

    def columns(self, y: Float, event: Float | None, t: Float) -> Float:
        return np.column_stack([y, np.ones_like(y) if event is None else event])

    def options(self) -> dict[str, Any]:
        return {"censored": True} if self.censored else {}

    def _read(self, y: Any, eta: Any) -> tuple[Any, Any, Any, Any]:
        """Return times, events, and the log of the cumulative hazard with the shape."""
        time, event = y[..., 0], y[..., 1]
        shape = exp(eta[..., 1])
        return time, event, shape * (log(time) - eta[..., 0]), shape

    def loss(self, y: Any, eta: Any) -> Any:
        time, event, w, _ = self._read(y, eta)
        return exp(w) - event * (eta[..., 1] + w - log(time))

    def fixed_loss(self, y: Any) -> Any:
        return y[..., 1] * log(y[..., 0])  # which moves with the unit of time

    def score(self, y: Any, eta: Any) -> Any:
        _, event, w, shape = self._read(y, eta)
        hazard = exp(w)
        return stack([shape * (event - hazard), w * hazard - event * (1.0 + w)])

    def hessian(self, eta: Any) -> Any:
        shape = exp(eta[..., 1])
        cross = (EULER - 1.0) * shape
        return matrix([[shape * shape, cross], [cross, 0.0 * shape + LOG_MOMENT]])

    def second(self, y: Any, eta: Any) -> Any:
        """Return what a row tells of eta (..., r, r) until it ended or was lost sight of.

        The integral of the squared slope of the log hazard over the cumulative hazard: positive definite in every row,
        and with less noise than the second derivative, whose mean given t and x it has (Kalbfleisch & Prentice 2002,
        chapter 5).
        """
        _, _, w, shape = self._read(y, eta)
        hazard = exp(w)
        cross = -shape * w * hazard
        return matrix([[shape * shape * hazard, cross], [cross, (1.0 + w * w) * hazard]])

    def curvature(self, y: Any, eta: Any) -> Any:
        if not self.censored:
            return self.hessian(eta)
        # a censored row tells as much as its cumulative hazard, which has the mean of the events
        hazard = exp(self._read(y, eta)[2].clip(max=3.0))
        return self.hessian(eta) * hazard[..., None, None]

    def start(self, y: Any) -> list[float]:
        time, event = y[..., 0], y[..., 1]
        return [log(time.sum() / event.sum().clip(1.0)), 0.0]

    def mean(self, eta: Any) -> Any:
        return exp(eta[..., 0] + lgamma(1.0 + exp(-eta[..., 1])))

    def mean_slope(self, eta: Any) -> Any:
        mean, rate = self.mean(eta), exp(-eta[..., 1])
        return stack([mean, -mean * rate * digamma(1.0 + rate)])

    def mean_curvature(self, eta: Any) -> Any:
        mean, rate = self.mean(eta), exp(-eta[..., 1])
        fall = -rate * digamma(1.0 + rate)  # d log mean / d log shape
        bend = rate * (digamma(1.0 + rate) + rate * trigamma(1.0 + rate))
        return matrix([[mean, mean * fall], [mean * fall, mean * (fall * fall + bend)]])

    def variance(self, eta: Any) -> Any:
        rate = np.exp(-eta[..., 1])
        return np.exp(2.0 * eta[..., 0]) * (special.gamma(1.0 + 2.0 * rate) - special.gamma(1.0 + rate) ** 2)

    def tail(self, cut: float, eta: Any) -> Any:
        # the cumulative hazard of a cut at or below zero is zero
        with np.errstate(divide="ignore"):
            return np.exp(-np.exp(np.exp(eta[..., 1]) * (np.log(max(cut, 0.0)) - eta[..., 0])))

    def quantile(self, share: float, eta: Any) -> Any:
        return np.exp(eta[..., 0] + np.log(-np.log1p(-share)) * np.exp(-eta[..., 1]))

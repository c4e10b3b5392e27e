"""What an estimate measures and in which units, in words for the axes of figures."""

from __future__ import annotations

from deepdml.estimands import (
    AverageCoefficient,
    AverageMarginalEffect,
    Contrast,
    DoseResponse,
    Elasticity,
    Estimand,
    OptimalPrice,
    Profit,
    Projection,
)
from deepdml.estimands.averages import Averaged
from deepdml.results.fit import Fit

_COEFFICIENT = {"identity": "units of {y}", "logit": "log-odds of {y}", "log": "log of the mean of {y}"}
_EFFECT = {
    "dydx": "average marginal effect (units of {y} per unit)",
    "eyex": "elasticity of {y}",
    "dyex": "average marginal effect (units of {y} per proportional change)",
    "eydx": "semi-elasticity of {y} (proportional change per unit)",
}
_CONTRAST = {
    "difference": "difference in the mean of {y}",
    "ratio": "ratio of means of {y}",
    "log ratio": "log ratio of means of {y}",
    "odds ratio": "odds ratio of {y}",
}


def estimand_text(fit: Fit, estimand: Estimand, average: bool = True) -> str:
    """Return what an estimand measures, with units; `average` says whether a coefficient is one over rows."""
    y = fit.y_name
    if isinstance(estimand, AverageCoefficient):
        unit = _COEFFICIENT.get(fit.family.link, "linear predictor of {y}").format(y=y)
        return f"{'average ' if average else ''}coefficient ({unit} per unit)"
    if isinstance(estimand, Elasticity | AverageMarginalEffect):
        return _EFFECT[estimand.method].format(y=y)
    if isinstance(estimand, Contrast):
        return _CONTRAST[estimand.kind].format(y=y)
    if isinstance(estimand, DoseResponse):
        return f"mean of {y}"
    if isinstance(estimand, Profit):
        return "average profit per row"
    if isinstance(estimand, Projection):
        return f"effect: {estimand.of}"
    return "estimate" if estimand.name in ("several", "function") else estimand.name


def null_value(estimand: Estimand) -> float | None:
    """Return the value that says "no effect": 1 of ratios, 0 of differences, none of levels such as mean outcomes."""
    if isinstance(estimand, DoseResponse | Profit | OptimalPrice):
        return None
    return estimand.neutral if isinstance(estimand, Averaged) else 0.0

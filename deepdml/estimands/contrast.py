"""Differences and ratios of mean outcomes under two values of a variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError, unknown_option
from deepdml.estimands.arguments import refuse_same
from deepdml.estimands.averages import Averaged
from deepdml.estimands.base import Sample, register
from deepdml.estimands.fields import Field, Terms
from deepdml.estimands.interventions import warn_outside
from deepdml.estimands.response import mean
from deepdml.learn.influence import LocationScaleLaw

Float = NDArray[np.float64]
Kind = Literal["difference", "ratio", "log ratio", "odds ratio"]


@register
@dataclass(frozen=True)
class Contrast(Averaged):
    """E[y(new)] against E[y(old)]: mean outcomes with `column` set to two values, everything else as it is.

    For a 0/1 treatment the difference is the average treatment effect, on the treated with ``subset="treated"``.

    Parameters
    ----------
    column : str
        A variable left of the bar.
    new, old : number or level
        Its values.
    kind : {"difference", "ratio", "log ratio", "odds ratio"}
        How the two means are compared: in units of the outcome, or without units. Ratios are of the means, not means
        of the rows' ratios.
    subset : optional
        Rows to average over; see `Averaged`. Treated rows have the value `new`, untreated ones `old`.

    References
    ----------
    Hahn, "On the Role of the Propensity Score in Efficient Semiparametric Estimation of Average Treatment Effects"
    (Econometrica 1998), theorem 1, for the effect on the treated.

    Examples
    --------
    >>> Contrast("treat", 1, 0, subset="treated")
    Contrast(subset='treated', column='treat', new=1, old=0, kind='difference')
    """

    name: ClassVar[str] = "contrast"

    column: str
    new: Any
    old: Any
    kind: Kind = "difference"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise unknown_option("kind", self.kind, get_args(Kind))
        refuse_same(f"Contrast({self.column!r}, new, old)", self.new, self.old)

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        compared = "" if self.kind == "difference" else f" ({self.kind})"
        return (f"{self.column}: {self.new} vs {self.old}{compared}{self.suffix(sample)}",)

    def group(self, sample: Sample, treated: bool) -> Field:
        return sample.treatments.place(self.column, self.new if treated else self.old, sample.law)

    def parts(self, sample: Sample) -> tuple[Terms, tuple[Field, ...]]:
        family = sample.family
        fields = places(sample, self.column, (self.new, self.old))

        def difference(theta: Float, new: Float, old: Float) -> tuple[Float, Float]:
            (one, up), (zero, down) = mean(family, new, theta), mean(family, old, theta)
            return (one - zero)[..., None], (up - down)[..., None, :]

        def both(theta: Float, new: Float, old: Float) -> tuple[Float, Float]:
            (one, up), (zero, down) = mean(family, new, theta), mean(family, old, theta)
            return np.stack([one, zero], axis=-1), np.stack([up, down], axis=-2)

        return (difference if self.kind == "difference" else both), fields

    @property
    def linear(self) -> bool:
        return self.kind == "difference"

    @property
    def neutral(self) -> float:
        return 1.0 if self.kind in ("ratio", "odds ratio") else 0.0

    def transform(self, means: Float) -> tuple[Float, Float] | None:
        if self.kind == "difference":
            return None
        one, zero = (float(v) for v in means)
        if self.kind == "odds ratio":
            if not (0 < one < 1 and 0 < zero < 1):
                raise OptionError(f"an odds ratio needs means between 0 and 1; these are {one:g} and {zero:g}.")
            ratio = one / (1 - one) / (zero / (1 - zero))
            return np.array([ratio]), ratio * np.array([[1 / (one * (1 - one)), -1 / (zero * (1 - zero))]])
        if zero == 0 or (self.kind == "log ratio" and (one <= 0 or zero <= 0)):
            raise OptionError(
                f"a {self.kind} needs positive means; those of {self.column} = {self.new} and {self.old} are {one:g} "
                f"and {zero:g}. Use kind='difference'."
            )
        if self.kind == "ratio":
            return np.array([one / zero]), np.array([[1 / zero, -one / zero**2]])
        return np.array([np.log(one / zero)]), np.array([[1 / one, -1 / zero]])


def places(sample: Sample, column: str, values: tuple[Any, ...]) -> tuple[Field, ...]:
    """Return the structural rows under each value of a variable, warning of values beyond the data."""
    treatments = sample.treatments
    fields = tuple(treatments.place(column, value, sample.law) for value in values)
    if isinstance(sample.law, LocationScaleLaw) or sample.law is None:
        warn_outside(column, tuple(float(v) for v in values), treatments.value(column, sample.law).own)
    return fields

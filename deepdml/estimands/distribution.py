"""The law of the outcome beyond its mean: tail probabilities, quantiles, variances, probabilities of choices."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError, refuse_no_number
from deepdml.estimands.arguments import refuse_same, several
from deepdml.estimands.averages import Averaged
from deepdml.estimands.base import Evaluation, Sample, register
from deepdml.estimands.contrast import places
from deepdml.estimands.fields import Costly, Field, Terms
from deepdml.estimands.integration import structural_row
from deepdml.estimands.response import Function, gradients_of, values_of
from deepdml.families import Family

Float = NDArray[np.float64]
SHARES = "a number between 0 and 1, such as 0.5 for the median, or a list of them"


@dataclass(frozen=True)
class OfLaw(Averaged):
    """E[f(eta)] of functions that the family gives, at the observed treatment or with one variable set.

    With a second value `against` it is E[f(eta)] at the one less E[f(eta)] at the other.
    """

    column: str | None = field(default=None, kw_only=True)
    value: Any = field(default=None, kw_only=True)
    against: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if (self.column is None) != (self.value is None):
            raise OptionError(f"column={self.column!r}, value={self.value!r}; give both or neither.")
        if self.column is None and self.against is not None:
            raise OptionError(f"against={self.against!r} needs the variable and its other value, column= and value=.")
        if self.against is not None:
            refuse_same(f"the {self.name} of column={self.column!r}", self.value, self.against)

    def functions(self, family: Family) -> list[tuple[Function, Function | None]]:
        """Return the functions of eta, each with its derivative, or None for differences."""
        raise NotImplementedError

    def fields(self, sample: Sample) -> tuple[Field, ...]:
        """Return the structural rows at which the functions are taken: one, or two for a difference."""
        if self.column is None:
            return (structural_row(sample),)
        return places(sample, self.column, (self.value,) if self.against is None else (self.value, self.against))

    def where(self) -> str:
        """Return what a label says about the treatment."""
        if self.column is None:
            return ""
        return f", {self.column} = {self.value}" + ("" if self.against is None else f" vs {self.against}")

    def parts(self, sample: Sample) -> tuple[Terms, tuple[Field, ...]]:
        family, functions = sample.family, self.functions(sample.family)

        def value(theta: Float, *places: Float) -> Float:
            return _against(*(values_of(family, [function for function, _ in functions], t, theta) for t in places))

        def slope(theta: Float, *places: Float) -> Float:
            return _against(*(gradients_of(family, functions, t, theta) for t in places))

        return Costly(value, slope), self.fields(sample)


def _against(new: Float, old: Float | None = None) -> Float:
    """Return what is taken at one place, or its difference from what is taken at another."""
    return new if old is None else new - old


def _moving(found: Evaluation, refusals: list[str]) -> Evaluation:
    """Return an evaluation, or raise OptionError with the refusal of the first function that theta moves nowhere."""
    for j, refusal in enumerate(refusals):
        if not found.gradient[:, j].any():
            raise OptionError(refusal)
    return found


@register
@dataclass(frozen=True)
class TailProbability(OfLaw):
    """E[P(y > cut | T, X)] at one or several cuts, from 0 to 1.

    Parameters
    ----------
    cuts : number, level, or sequence of these
        In the units of the outcome; levels of an ordered one.
    column, value, against : optional
        A variable left of the bar, what it is set to in all rows, and a second value of it whose result is subtracted;
        by default the treatment stays as observed.
    subset : optional
        Rows to average over; see `Averaged`.

    Examples
    --------
    >>> TailProbability([10, 20], column="treat", value=1).cuts
    (10, 20)
    """

    name: ClassVar[str] = "tail probability"

    cuts: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        needed = "the value above which the outcome's probability is taken, or a list of such values"
        object.__setattr__(self, "cuts", several("cuts", self.cuts, needed))

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return tuple(f"P(y > {cut}{self.where()}){self.suffix(sample)}" for cut in self.cuts)

    def functions(self, family: Family) -> list[tuple[Function, Function | None]]:
        for cut in () if family.categorical else self.cuts:
            refuse_no_number("a value of cuts", cut, "one number, in units of the outcome")
        return [(partial(family.tail, cut), partial(family.tail_slope, cut)) for cut in self.cuts]

    def evaluate(self, sample: Sample) -> Evaluation:
        refusals = [
            f"P(y > {cut}) is 0 or 1 in every row, which no treatment or covariate moves; take a cut inside the "
            "range of the outcome."
            for cut in self.cuts
        ]
        return _moving(super().evaluate(sample), refusals)


@register
@dataclass(frozen=True)
class ConditionalQuantile(OfLaw):
    """E[Q(T, X)] with P(y <= Q(t, x) | t, x) = share: the average quantile of rows of one treatment and covariates.

    With `against` it is the quantile treatment effect given x, averaged over x. The quantile of the outcome over all
    rows is another number: it mixes the rows' laws before it orders outcomes.

    Where the outcome is censored, the quantile of some rows is the point of censoring, which they keep when theta moves
    a little. The average is regular as long as few rows are just about to reach it.

    Parameters
    ----------
    shares : float or sequence of float
        Between 0 and 1; .5 is the median. The result is in the units of the outcome.
    column, value, against : optional
        A variable left of the bar, what it is set to in all rows, and a second value of it whose result is subtracted;
        by default the treatment stays as observed.
    subset : optional
        Rows to average over; see `Averaged`.

    References
    ----------
    Koenker & Bassett, "Regression Quantiles" (Econometrica 1978), for quantiles given covariates; here they are those
    of the family's law.

    Examples
    --------
    >>> ConditionalQuantile([0.1, 0.9], column="treat", value=1, against=0).shares
    (0.1, 0.9)
    """

    name: ClassVar[str] = "conditional quantile"

    shares: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = several("shares", self.shares, SHARES)
        for share in shares:
            refuse_no_number("a value of shares", share, SHARES)
        if not all(0 < share < 1 for share in shares):
            raise OptionError(f"shares={self.shares!r}; needed is {SHARES}.")
        object.__setattr__(self, "shares", tuple(float(share) for share in shares))

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return tuple(f"Q{share:g}(y | t, x{self.where()}){self.suffix(sample)}" for share in self.shares)

    def functions(self, family: Family) -> list[tuple[Function, Function | None]]:
        return [(partial(family.quantile, share), partial(family.quantile_slope, share)) for share in self.shares]

    def evaluate(self, sample: Sample) -> Evaluation:
        refusals = [
            f"the {share:g} quantile is a point of censoring in every row, which no treatment or covariate moves; take "
            "another share, or TailProbability."
            for share in self.shares
        ]
        return _moving(super().evaluate(sample), refusals)


@register
@dataclass(frozen=True)
class ConditionalVariance(OfLaw):
    """E[Var(y | T, X)], in squared units of the outcome: what covariates and treatment leave unexplained.

    Parameters
    ----------
    column, value, against : optional
        A variable left of the bar, what it is set to in all rows, and a second value of it whose result is subtracted;
        by default the treatment stays as observed.
    subset : optional
        Rows to average over; see `Averaged`.
    """

    name: ClassVar[str] = "conditional variance"

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return (f"Var(y | t, x{self.where()}){self.suffix(sample)}",)

    def functions(self, family: Family) -> list[tuple[Function, Function | None]]:
        return [(family.variance, family.variance_slope)]


@register
@dataclass(frozen=True)
class ChoiceProbability(OfLaw):
    """E[P(y = level | T, X)] of one or several levels, from 0 to 1.

    Parameters
    ----------
    levels : level or sequence of levels, optional
        Of a multinomial or ordered outcome, all of them by default; 0 and 1 of a binary one.
    column, value, against : optional
        A variable left of the bar, what it is set to in all rows, and a second value of it whose result is subtracted;
        by default the treatment stays as observed.
    subset : optional
        Rows to average over; see `Averaged`.
    """

    name: ClassVar[str] = "choice probability"

    levels: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels is not None:
            needed = "a level of the outcome, a list of them, or None for all"
            object.__setattr__(self, "levels", several("levels", self.levels, needed))

    def _levels(self, family: Family) -> tuple[Any, ...]:
        return tuple(family.outcomes() if self.levels is None else self.levels)

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return tuple(f"P(y = {level}{self.where()}){self.suffix(sample)}" for level in self._levels(sample.family))

    def functions(self, family: Family) -> list[tuple[Function, Function | None]]:
        return [
            (partial(family.probability, level), partial(family.probability_slope, level))
            for level in self._levels(family)
        ]

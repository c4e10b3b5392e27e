"""The law of the outcome beyond its mean: tail probabilities, conditional variances, probabilities of choices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError
from deepdml.estimands.averages import Averaged
from deepdml.estimands.base import Sample, register
from deepdml.estimands.contrast import places
from deepdml.estimands.fields import Field, Terms, structural_row
from deepdml.estimands.response import functional
from deepdml.families import Family

Float = NDArray[np.float64]


@dataclass(frozen=True)
class OfLaw(Averaged):
    """E[f(eta)] of functions that the family gives, at the observed treatment or with one variable set."""

    column: str | None = field(default=None, kw_only=True)
    value: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if (self.column is None) != (self.value is None):
            raise OptionError(f"column={self.column!r}, value={self.value!r}; give both or neither.")

    def functions(self, family: Family) -> list[Any]:
        """Return the functions of eta."""
        raise NotImplementedError

    def place(self, sample: Sample) -> Field:
        """Return the structural row at which the functions are taken."""
        if self.column is None:
            return structural_row(sample)
        return places(sample, self.column, (self.value,))[0]

    def where(self) -> str:
        """Return what a label says about the treatment."""
        return "" if self.column is None else f", {self.column} = {self.value}"

    def parts(self, sample: Sample) -> tuple[Terms, tuple[Field, ...]]:
        family, functions = sample.family, self.functions(sample.family)

        def terms(theta: Float, t: Float) -> tuple[Float, Float]:
            pairs = [functional(family, function, t, theta) for function in functions]
            return np.stack([value for value, _ in pairs], axis=-1), np.stack([slope for _, slope in pairs], axis=-2)

        return terms, (self.place(sample),)


@register
@dataclass(frozen=True)
class TailProbability(OfLaw):
    """E[P(y > cut | T, X)] at one or several cuts, in probability points.

    Parameters
    ----------
    cuts : number, level, or sequence of these
        In the units of the outcome; levels of an ordered one.
    column, value : optional
        A variable left of the bar, and what it is set to in all rows; by default the treatment stays as observed.
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
        cuts = (self.cuts,) if np.ndim(self.cuts) == 0 else tuple(np.asarray(self.cuts, dtype=object).tolist())
        if not cuts:
            raise OptionError(
                "cuts is empty; give the value, or values, above which the outcome's probability is taken."
            )
        object.__setattr__(self, "cuts", cuts)

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return tuple(f"P(y > {cut}{self.where()}){self.suffix(sample)}" for cut in self.cuts)

    def functions(self, family: Family) -> list[Any]:
        return [lambda eta, cut=cut: family.tail(cut, eta) for cut in self.cuts]


@register
@dataclass(frozen=True)
class ConditionalVariance(OfLaw):
    """E[Var(y | T, X)], in squared units of the outcome: what covariates and treatment leave unexplained.

    Parameters
    ----------
    column, value : optional
        A variable left of the bar, and what it is set to in all rows; by default the treatment stays as observed.
    subset : optional
        Rows to average over; see `Averaged`.
    """

    name: ClassVar[str] = "conditional variance"

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return (f"Var(y | t, x{self.where()}){self.suffix(sample)}",)

    def functions(self, family: Family) -> list[Any]:
        return [family.variance]


@register
@dataclass(frozen=True)
class ChoiceProbability(OfLaw):
    """E[P(y = level | T, X)] of one or several levels, in probability points.

    Parameters
    ----------
    levels : level or sequence of levels, optional
        Of a multinomial or ordered outcome, all of them by default; 0 and 1 of a binary one.
    column, value : optional
        A variable left of the bar, and what it is set to in all rows; by default the treatment stays as observed.
    subset : optional
        Rows to average over; see `Averaged`.
    """

    name: ClassVar[str] = "choice probability"

    levels: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels is not None:
            levels = (self.levels,) if isinstance(self.levels, str) or np.ndim(self.levels) == 0 else tuple(self.levels)
            object.__setattr__(self, "levels", levels)

    def _levels(self, family: Family) -> tuple[Any, ...]:
        return tuple(family.outcomes() if self.levels is None else self.levels)

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return tuple(f"P(y = {level}{self.where()}){self.suffix(sample)}" for level in self._levels(sample.family))

    def functions(self, family: Family) -> list[Any]:
        return [lambda eta, level=level: family.probability(level, eta) for level in self._levels(family)]

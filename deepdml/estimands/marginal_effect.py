"""Marginal effects of the variables left of the bar on the mean outcome, and elasticities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError, unknown_option
from deepdml.estimands.arguments import names
from deepdml.estimands.averages import Averaged
from deepdml.estimands.base import Sample, register
from deepdml.estimands.fields import Field, Terms
from deepdml.estimands.integration import structural_row
from deepdml.estimands.interventions import Interventions
from deepdml.estimands.response import marginal, mean

Float = NDArray[np.float64]
Method = Literal["dydx", "eyex", "dyex", "eydx"]
At = Literal["overall", "mean", "median", "zero"]
Piece = tuple[Terms, tuple[Field, ...]]

TITLES = {
    "dydx": "average marginal effect",
    "eyex": "elasticity",
    "dyex": "marginal effect (dyex)",
    "eydx": "semi-elasticity (eydx)",
}
"""How tables call what each method gives; the rows have the names of variables whatever the method."""


@register
@dataclass(frozen=True)
class AverageMarginalEffect(Averaged):
    """E[dE[y | t, x] / dv] of each variable v left of the bar; statsmodels' ``get_margeff``.

    A variable that stands left of the bar in several terms (``dose + I(dose**2)``) has one effect, by the chain rule. A
    categorical variable has one change of the mean for each level, from its first one.

    With ``at="mean"`` the variables left of the bar are set to their means in every row, and effects are averaged over
    the covariates: E[dm(theta(X), v) / dv] at v = mean(V). It is the variable that is set, and its powers and
    interactions follow; statsmodels averages each column. As there, standard errors take the values at which variables
    are set as given.

    Parameters
    ----------
    columns : str or sequence of str, optional
        Variables left of the bar; all of them by default.
    method : {"dydx", "eyex", "dyex", "eydx"}
        d marks a change in units, e one in proportion: "dydx" is in units of y per unit of v, "eyex" the elasticity,
        "dyex" in units of y per proportional change of v, "eydx" a semi-elasticity.
    dummy : bool
        Whether variables that are 0 or 1 get the change from 0 to 1 in place of a derivative.
    at : {"overall", "mean", "median", "zero"}
        Where the variables left of the bar are when one of them moves: as observed, or in all rows at their weighted
        mean or median, or at zero. A categorical one is at its first level for "zero" and has no mean or median.
    atexog : dict, optional
        Values at which some variables are set instead, by name.
    subset : optional
        Rows to average over; see `Averaged`.

    Examples
    --------
    >>> AverageMarginalEffect("price", method="eyex").columns
    ('price',)
    >>> AverageMarginalEffect(at="mean", atexog={"region": "north"}).atexog
    (('region', 'north'),)
    """

    name: ClassVar[str] = "average marginal effect"

    columns: Any = None
    method: Method = "dydx"
    dummy: bool = False
    at: At = field(default="overall", kw_only=True)
    atexog: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise unknown_option("method", self.method, get_args(Method))
        if str(self.at) == "all":
            raise OptionError(
                "at='all' asks for the effect in every row, which has no standard error; Results.theta holds the rows' "
                "coefficients, and gate() and sorted_effects() give effects in groups of rows."
            )
        if self.at not in get_args(At):
            raise unknown_option("at", self.at, get_args(At))
        if self.atexog is not None:
            # a file holds pairs in the place of a dict
            items = self.atexog.items() if isinstance(self.atexog, Mapping) else self.atexog
            values = tuple(items) if isinstance(items, Iterable) else (items,)
            if not all(isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in values):
                raise OptionError(f"atexog={self.atexog!r}; give values by the names of variables, {{'price': 2}}.")
            object.__setattr__(self, "atexog", values)
        if not isinstance(self.dummy, bool | np.bool_):
            raise OptionError(
                f"dummy={self.dummy!r}; True takes the change from 0 to 1 of such variables, False does not."
            )
        if self.columns is not None:
            needed = "a variable left of the bar, a list of them, or None for all"
            object.__setattr__(self, "columns", names("columns", self.columns, needed))

    @property
    def title(self) -> str:
        return TITLES[self.method]

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        where = self._where() + self.suffix(sample)
        return tuple(label + where for column in self._chosen(sample) for label in self._names(sample, column))

    def _where(self) -> str:
        """Return what a label says about the other variables."""
        said: list[str] = [] if self.at == "overall" else [self.at]
        said += [f"{name} = {value}" for name, value in self.atexog or ()]
        return f", at {', '.join(said)}" if said else ""

    def parts(self, sample: Sample) -> Piece:
        pieces = [piece for column in self._chosen(sample) for piece in self._pieces(sample, column)]

        def terms(theta: Float, *values: Float) -> tuple[Float, Float]:
            found, start = [], 0
            for piece, fields in pieces:
                found.append(piece(theta, *values[start : start + len(fields)]))
                start += len(fields)
            return (
                np.stack(np.broadcast_arrays(*(value for value, _ in found)), axis=-1),
                np.stack(np.broadcast_arrays(*(gradient for _, gradient in found)), axis=-2),
            )

        return terms, tuple(field for _, fields in pieces for field in fields)

    def _chosen(self, sample: Sample) -> tuple[str, ...]:
        columns = sample.treatments.variables if self.columns is None else self.columns
        if not columns:
            raise OptionError("no variable stands left of the bar, so nothing has a marginal effect.")
        for column in columns:
            sample.treatments.check(column)
        return tuple(columns)

    def _names(self, sample: Sample, column: str) -> list[str]:
        steps = self._steps(sample, column)
        expression = sample.treatments.categories.get(column, ("",))[0]
        return [column] if steps is None or not expression else [f"{expression}[T.{new}]" for new, _ in steps]

    def _steps(self, sample: Sample, column: str) -> list[tuple[Any, Any]] | None:
        """Return the changes, new and old value, that stand for a derivative; None where there is one."""
        known = sample.treatments.categories.get(column)
        if known is not None:
            if len(known[1]) < 2:
                raise OptionError(f"{known[0]!r} has no levels to compare; use Contrast({column!r}, new, old).")
            return [(level, known[1][0]) for level in known[1][1:]]
        if not self.dummy:
            return None
        values = sample.treatments.value(column, sample.law).own
        return [(1, 0)] if np.isin(values, (0.0, 1.0)).all() else None

    def _point(self, sample: Sample, column: str) -> tuple[Interventions, Field]:
        """Return the interventions from where the variables are when `column` moves, and the structural row there."""
        treatments, given = sample.treatments, dict(self.atexog or ())
        for name in given:
            treatments.check(name)
        if self.at != "overall":
            rest = [name for name in treatments.variables if name not in given]
            middles = {name: self._middle(treatments, name, column) for name in rest}
            given |= {name: value for name, value in middles.items() if value is not None}
        if not given:
            return treatments, structural_row(sample)
        there = treatments.holding(given, sample.law)
        return there, there.row(sample.law)

    def _middle(self, treatments: Interventions, name: str, column: str) -> Any:
        """Return the value that `at` means for a variable; None for a category that changes level by level itself."""
        known = treatments.categories.get(name)
        if known is None:
            return 0.0 if self.at == "zero" else treatments.middle(name, self.at)
        if self.at == "zero" and known[1]:
            return known[1][0]
        if name == column:
            return None
        raise OptionError(
            f"at={self.at!r} needs a value of {name!r}, which is categorical and has none; say which level is meant, "
            f"atexog={{{name!r}: ...}}, or ask for the effect of {name!r} alone."
        )

    def _pieces(self, sample: Sample, column: str) -> list[Piece]:
        steps = self._steps(sample, column)
        if steps is None:
            return [self._derivative(sample, column)]
        if self.method in ("eyex", "dyex"):
            raise OptionError(
                f"method={self.method!r} asks for a proportional change of {column!r}, which has levels; use 'dydx' or "
                "'eydx'."
            )
        return [self._step(sample, column, new, old) for new, old in steps]

    def _derivative(self, sample: Sample, column: str) -> Piece:
        family, method = sample.family, self.method
        treatments, row = self._point(sample, column)
        fields = [row, treatments.slope(column, sample.law)]
        if method.endswith("ex"):
            fields.append(treatments.value(column, sample.law))
            if not fields[-1].own.any():
                raise OptionError(
                    f"method={method!r} asks for a proportional change of {column!r}, which is zero there: the effect "
                    "is zero whatever the data say. Use 'dydx' or 'eydx'."
                )

        def terms(theta: Float, t: Float, slope: Float, value: Float | None = None) -> tuple[Float, Float]:
            effect, gradient = marginal(family, t, slope, theta)
            if method.startswith("ey"):
                effect, gradient = _relative(effect, gradient, *mean(family, t, theta), column)
            return (effect, gradient) if value is None else (value * effect, value[..., None] * gradient)

        return terms, tuple(fields)

    def _step(self, sample: Sample, column: str, new: Any, old: Any) -> Piece:
        family = sample.family
        treatments, row = self._point(sample, column)
        fields = [treatments.place(column, value, sample.law) for value in (new, old)]
        if self.method == "eydx":
            fields.append(row)

        def terms(theta: Float, up: Float, down: Float, t: Float | None = None) -> tuple[Float, Float]:
            (one, rise), (zero, fall) = mean(family, up, theta), mean(family, down, theta)
            if t is None:
                return one - zero, rise - fall
            return _relative(one - zero, rise - fall, *mean(family, t, theta), column)

        return terms, tuple(fields)


@register
@dataclass(frozen=True)
class Elasticity(AverageMarginalEffect):
    """E[d log E[y | t, x] / d log v]: per cent of the mean outcome per per cent of a variable; no units.

    Parameters
    ----------
    columns : str or sequence of str, optional
        Variables left of the bar; all of them by default.
    method : {"eyex", "eydx", "dyex"}
        "eydx" is the semi-elasticity, in proportion of y per unit of v.
    at, atexog : optional
        As in `AverageMarginalEffect`.
    subset : optional
        Rows to average over; see `Averaged`.
    """

    name: ClassVar[str] = "elasticity"

    method: Method = "eyex"


def _relative(effect: Float, gradient: Float, level: Float, rise: Float, column: str) -> tuple[Float, Float]:
    """Return effect / mean and its gradient."""
    if (level <= 0).any():
        share = float((level <= 0).mean())
        raise OptionError(
            f"an elasticity is a derivative of the log of the mean outcome, but the model's mean is not positive in "
            f"{share:.2%} of the rows at which that of {column!r} is taken. Use method='dydx' or 'dyex', or a family "
            "whose mean is positive."
        )
    scaled = effect / level
    return scaled, gradient / level[..., None] - (scaled / level)[..., None] * rise

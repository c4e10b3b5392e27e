"""The structural row as a function of the variables left of the bar: what it becomes when one of them is set or moved.

The formula's own encoding is used throughout, so ``log(price)`` or ``dose + I(dose**2)`` follow their variable.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.specification import Design
from deepdml.errors import DataError, InferenceWarning, OptionError, near_names, warn
from deepdml.estimands.fields import MOMENTS_ONLY, Field
from deepdml.learn.influence import DiscreteLaw, LocationScaleLaw, TreatmentLaw, interpolate

Float = NDArray[np.float64]
Raw = Mapping[str, Any]

SAME = 1e-9  # relative; encodings of the same values differ by rounding, derivatives by a little more
STEP = 1e-3  # of numerical derivatives, in standard deviations of the variable; five points leave an error of STEP**4
TABLE = 2_001  # points at which a function of a continuous treatment is tabulated


class Interventions:
    """What structural rows become when one variable is set to a value, or moved a little.

    Parameters
    ----------
    design : Design
        Formula and encodings.
    t : (n, d) array
        Structural rows as observed.
    raw : callable
        Returns the variables left of the bar, each with n values; called only where the structural row of a value
        depends on them.
    context : dict, optional
        Functions the formula names, which a loaded design no longer has.
    weights : (n,) array, optional
        Sampling weights, for means and medians of the variables.
    held : dict, optional
        Values at which some variables are held in all rows; see `holding`.
    """

    def __init__(
        self,
        design: Design,
        t: Float,
        raw: Callable[[], Raw],
        context: Mapping[str, Any] | None = None,
        weights: Float | None = None,
        held: Mapping[str, Any] | None = None,
    ) -> None:
        self._design, self._t, self._raw, self._context = design, t, raw, context
        self._weights, self._held = weights, dict(held or {})
        self._cache: dict[tuple[object, ...], Float] = {}

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables left of the bar."""
        return self._design.treatments.reads

    @property
    def categories(self) -> dict[str, tuple[str, tuple[Any, ...]]]:
        """The variables taken as categories, each with the expression that does so and its levels."""
        return self._design.treatment_categories()

    def check(self, column: str) -> None:
        """Raise OptionError unless `column` is a variable left of the bar."""
        if column not in self.variables:
            listed = ", ".join(map(repr, self.variables)) or "none"
            raise OptionError(
                f"{column!r} is not a variable left of the bar; there are {listed}.{near_names(column, self.variables)}"
            )

    def check_number(self, column: str) -> None:
        """Raise OptionError unless `column` is a number left of the bar, one that can move a little."""
        self.check(column)
        if column in self.categories or self._design.kinds[column] != "number":
            raise OptionError(
                f"{column!r} is categorical, so nothing moves a little in it; use Contrast({column!r}, new, old)."
            )

    def place(self, column: str, value: object, law: TreatmentLaw | None) -> Field:
        """Return the structural row of each row with `column` set to `value`.

        Raises
        ------
        OptionError
            For an unknown column, a level that the data do not have, or where the formula has no value, such as a
            spline beyond the data.

        Warns
        -----
        InferenceWarning
            For a value outside the range of a continuous variable.
        """
        self.check(column)
        self._check_level(column, value)
        own = self._once(("place", column, value), lambda: self._placed(column, value))
        if isinstance(law, DiscreteLaw) and not self._held and not self._is_between(column, value):
            self._check_among_levels(own, column, value, law)
        return self._field(own, law)

    def holding(self, values: Mapping[str, Any], law: TreatmentLaw | None) -> Interventions:
        """Return the same with variables held at values, from which others are set or moved.

        A number may be held at any value among the observed ones: the formula says what is between them.

        Raises
        ------
        OptionError
            For an unknown column or level, and beyond the values of a treatment with few levels.

        Warns
        -----
        InferenceWarning
            For a value outside the range of a continuous variable.
        """
        for column, value in values.items():
            self.check(column)
            self._check_level(column, value)
            if column not in self.categories:
                self._check_range(column, value, law)
        return Interventions(self._design, self._t, self._raw, self._context, self._weights, {**self._held, **values})

    def row(self, law: TreatmentLaw | None) -> Field:
        """Return the structural row with what is held at its values.

        Raises
        ------
        OptionError
            Where the formula has no value there, such as the log of zero.
        """
        return self._field(self._once(("row",), lambda: self._encode_at(self._columns(), self._held)), law)

    def middle(self, column: str, how: str) -> float:
        """Return the weighted "mean" or "median" of a number left of the bar."""
        self.check_number(column)
        values = np.asarray(self._raw()[column], np.float64)
        weights = np.ones_like(values) if self._weights is None else self._weights
        if how == "mean":
            return float(np.average(values, weights=weights))
        order = np.argsort(values)
        reached = np.cumsum(weights[order]) / weights.sum()
        # where half of the weight lies exactly between two values, the middle of them, as without weights
        around = np.searchsorted(reached, [0.5 - SAME, 0.5 + SAME])
        return float(values[order][around].mean())

    def slope(self, column: str, law: TreatmentLaw | None) -> Field:
        """Return the derivative of the structural row with respect to a numeric column, per unit of the column."""
        self.check_number(column)
        return self._field(self._once(("slope", column), lambda: self._derivative(column)), law)

    def value(self, column: str, law: TreatmentLaw | None) -> Field:
        """Return the values of a numeric column."""
        self.check_number(column)
        return self._field(np.asarray(self._columns()[column], np.float64), law, varies=True)

    def indicator(self, place: Field, law: TreatmentLaw | None, who: str) -> Field:
        """Return 1 where a row's own structural row is that of `place`, at the rows and at the levels of the law."""
        if not isinstance(law, DiscreteLaw):
            raise OptionError(
                f"subset={who!r} needs a treatment with levels; give a condition on covariates or a mask instead."
            )
        own = _matches(self._t, place.own).astype(np.float64)
        if not own.any():
            raise OptionError(f"subset={who!r} matches no rows.")

        def nodes(rows: slice, law: DiscreteLaw) -> Float:
            return _matches(law.levels[None], place.at(rows, law)).astype(np.float64)

        return Field(own, nodes)

    def treated_level(self, law: TreatmentLaw | None, who: str, treated: bool) -> Field:
        """Return the structural row of the treated, or the untreated, of a treatment with two levels."""
        if not isinstance(law, DiscreteLaw) or len(law.levels) != 2:
            levels = isinstance(law, DiscreteLaw) and self.variables
            which = f"say which rows, subset=({self.variables[0]!r}, value), or " if levels else ""
            raise OptionError(
                f"subset={who!r} needs a treatment with two levels, or a Contrast that says which level is meant; "
                f"{which}give a condition on covariates or a mask instead."
            )
        order = np.argsort(law.levels.sum(axis=1))
        return Field(law.levels[order[-1 if treated else 0]][None])

    # Encoding

    def _once(self, key: tuple[object, ...], make: Callable[[], Float]) -> Float:
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def _encode(self, columns: Mapping[str, Any]) -> Float:
        return self._design.encode_treatments(dict(columns), context=self._context)

    def _encode_at(self, columns: Raw, place: Mapping[str, Any]) -> Float:
        try:
            return self._encode(columns)
        except DataError as error:
            listed = ", ".join(f"{name} = {value}" for name, value in place.items())
            raise OptionError(f"the formula left of the bar has no value at {listed}: {error}") from error

    def _columns(self) -> Raw:
        """Return the variables, held ones at their values: n of each, or one where all are held."""
        if not self._held:
            return self._raw()
        if self._held.keys() >= set(self.variables):
            return {name: pd.Series([self._held[name]]) for name in self.variables}
        n = len(self._t)
        return {**self._raw(), **{name: pd.Series([value] * n) for name, value in self._held.items()}}

    def _placed(self, column: str, value: object) -> Float:
        if self._held.keys() | {column} >= set(self.variables):
            columns = {name: pd.Series([v]) for name, v in {**self._held, column: value}.items()}
        else:
            columns = {**self._columns(), column: pd.Series([value] * len(self._t))}
        return self._encode_at(columns, {column: value})

    def _derivative(self, column: str) -> Float:
        """Return dt/dv (n, d), or (1, d) where it is the same for all rows."""
        raw, seen = dict(self._columns()), np.asarray(self._raw()[column], np.float64)
        v, sd = np.asarray(raw[column], np.float64), seen.std()
        wide = np.full(len(v), STEP * sd)
        # no larger than a thousandth of the value, for accuracy where log() and roots bend
        narrow = STEP * np.clip(np.abs(v), 1e-4 * sd, sd)
        # splines have no value beyond the data: there the derivative a step inside stands in
        inside = np.clip(v, seen.min() + 2 * narrow, seen.max() - 2 * narrow)
        for at, h in ((v, wide), (v, narrow), (inside, narrow)):
            try:
                own = self._differences({**raw, column: at}, column, h)
            except DataError:
                continue
            if len(own) == 1:  # one row shows no bend; the wide step is for maps without one
                if h is narrow:
                    return own
                continue
            center = own.mean(axis=0)
            if np.allclose(own, center, rtol=0, atol=SAME * (1 + np.abs(center).max())):
                return np.asarray(np.round(center, 9))[None]
            if h is narrow:
                return own
        raise OptionError(f"the structural row has no derivative with respect to {column!r} at every row.")

    def _differences(self, raw: Raw, column: str, h: Float) -> Float:
        """Return the five-point difference of the encoding."""

        def moved(steps: float) -> Float:
            return self._encode({**raw, column: raw[column] + steps * h})

        near, far = moved(1) - moved(-1), moved(2) - moved(-2)
        return np.asarray((8 * near - far) / (12 * h[:, None]))

    def _check_level(self, column: str, value: object) -> None:
        known = self.categories.get(column)
        if known is not None and known[1] and value not in known[1]:
            levels = ", ".join(map(repr, known[1]))
            raise OptionError(f"{column!r} has no level {value!r}; its levels are {levels}.")
        number = isinstance(value, numbers.Real | np.bool_) and math.isfinite(value)
        if known is None and not number:
            raise OptionError(f"{value!r} is not a value of {column!r}, which is a number.")

    def _check_range(self, column: str, value: Any, law: TreatmentLaw | None) -> None:
        """Refuse or warn of a number beyond the observed ones."""
        seen = np.asarray(self._raw()[column], np.float64)
        if isinstance(law, DiscreteLaw) and not seen.min() <= value <= seen.max():
            raise OptionError(
                f"{column} = {value:g} lies outside the data ({seen.min():g} to {seen.max():g}), where nothing is "
                "known of a treatment that has few values."
            )
        warn_outside(column, (value,), seen)

    def _is_between(self, column: str, value: Any) -> bool:
        """Whether a value lies among the three or more of a number: the formula says what is between them."""
        if column in self.categories:
            return False
        values = np.unique(np.asarray(self._raw()[column], np.float64))
        return len(values) > 2 and bool(values[0] <= value <= values[-1])

    def _check_among_levels(self, own: Float, column: str, value: object, law: DiscreteLaw) -> None:
        """Refuse structural rows that no data have: a 0/1 treatment set to 2, arms never combined."""
        codes = _nearest(own, law.levels)
        strange = ~_matches(own, law.levels[codes])
        if strange.any():
            levels = "; ".join(", ".join(f"{v:g}" for v in row) for row in law.levels[:10])
            raise OptionError(
                f"{column} = {value!r} gives structural rows that the data do not have; the treatment is discrete and "
                f"its structural rows are {levels}."
            )

    def _field(self, own: Float, law: TreatmentLaw | None, varies: bool = False) -> Field:
        """Return a field from its values at the observed rows, where it is a function of the structural row."""
        if len(own) == 1 or (not varies and _matches(own, own[:1]).all()):
            return Field(own[:1])
        if law is None:
            return Field(own, reason=MOMENTS_ONLY)
        if isinstance(law, DiscreteLaw):
            codes = _nearest(self._t, law.levels)
            first = np.full(len(law.levels), -1)
            first[codes[::-1]] = np.arange(len(codes))[::-1]
            if not _matches(own, own[first][codes]).all():
                return Field(own, reason=NOT_A_FUNCTION)
            at_levels = own[first][None]
            return Field(own, lambda rows, law: at_levels)
        if len(self.variables) > 1:
            return Field(own, reason=NOT_A_FUNCTION)
        return Field(own, self._tabulate(own, law))

    def _tabulate(self, own: Float, law: LocationScaleLaw) -> Callable[[slice, LocationScaleLaw], Float]:
        """Return the field at the nodes of a continuous treatment: linear between observed values, or everywhere."""
        position, start = np.unique(self._position(law), return_index=True)
        rise = (own[start[-1]] - own[start[0]]) / (position[-1] - position[0])
        line = own[start[0]] + np.multiply.outer(position - position[0], rise)
        if np.allclose(line, own[start], rtol=SAME, atol=SAME * (1.0 + np.abs(own).max())):

            def affine(rows: slice, law: LocationScaleLaw) -> Float:
                return np.asarray(own[start[0]] + np.multiply.outer(law.values(rows) - position[0], rise))

            return affine
        pick = np.unique(np.linspace(0, len(position) - 1, TABLE).round().astype(int))
        grid, table = position[pick], own[start[pick]]

        def nodes(rows: slice, law: LocationScaleLaw) -> Float:
            found = interpolate(law.values(rows), grid, table.reshape(len(grid), -1))
            return found[..., 0] if table.ndim == 1 else found

        return nodes

    def _position(self, law: LocationScaleLaw) -> Float:
        """Return the value of T (n,) behind each structural row, in the terms of the law."""
        if law.affine:
            rise = law.grid_rows[-1] - law.grid_rows[0]
            j = int(np.argmax(np.abs(rise)))
            share = (self._t[:, j] - law.grid_rows[0, j]) / rise[j]
            return np.asarray(law.grid[0] + share * (law.grid[-1] - law.grid[0]))
        for j, column in enumerate(law.grid_rows.T):
            if np.array_equal(column, law.grid):
                return np.asarray(self._t[:, j])
        return np.asarray(self._raw()[self.variables[0]], np.float64)


NOT_A_FUNCTION = (
    "this estimand's value at a structural row is not decided by that row alone: several variables stand behind one "
    "column left of the bar. Give each variable a column of its own, or ask about the column itself."
)


def warn_outside(column: str, values: tuple[float, ...], observed: Float) -> None:
    """Warn of values of a continuous variable that no row has, beyond the smallest and the largest."""
    low, high = float(observed.min()), float(observed.max())
    outside = [v for v in values if not low <= v <= high]
    if outside:
        warn(
            f"{column} = {', '.join(f'{v:g}' for v in outside)} lies outside the data ({low:g} to {high:g}); the "
            "estimate there extrapolates the formula left of the bar.",
            InferenceWarning,
        )


def _matches(rows: Float, others: Float) -> NDArray[np.bool_]:
    """Return which rows (..., d) equal others up to rounding; a missing last axis is taken as one column."""
    scale = SAME * (1.0 + np.abs(others).max(initial=0.0))
    close = np.abs(rows - others) <= scale
    return np.asarray(close.all(axis=-1) if close.ndim > 1 else close)


def _nearest(rows: Float, levels: Float) -> NDArray[np.intp]:
    """Return the position of the level nearest to each row, by one random projection: (k, d), (m, d) to (k,)."""
    direction = np.sqrt(np.arange(2.0, 2.0 + levels.shape[1]))
    keys = levels @ direction
    order = np.argsort(keys)
    middle = 0.5 * (keys[order][1:] + keys[order][:-1])
    return np.asarray(order[np.searchsorted(middle, rows @ direction)])

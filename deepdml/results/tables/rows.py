"""The rows of a table: which coefficients, under which labels, and statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from deepdml.errors import OptionError, near_names, unknown_option
from deepdml.results.tables.layout import Cell, Row
from deepdml.results.tables.reading import Column

Statistics = Sequence[str] | Mapping[str, str | Callable[[Any], object] | Sequence[object]]

STATISTICS = {
    "N": "Observations",
    "R2": "R²",
    "adj_R2": "Adjusted R²",
    "within_R2": "Within R²",
    "pseudo_R2": "Pseudo R²",
    "family": "Family",
    "learner": "Learner",
    "folds": "Folds",
    "estimand": "Estimand",
    "se": "Standard errors",
    "clusters": "Clusters",
    "fixed_effects": "Fixed effects",
}
_INTERCEPTS = ("Intercept", "const")


@dataclass(frozen=True, slots=True)
class Numbers:
    """How numbers are printed.

    Parameters
    ----------
    digits : int
        Decimals.
    below : str
        "se", "ci", "t", "p" or "".
    alpha : float
        One minus the level of intervals.
    stars : tuple of float
        Levels of one, two and three stars, falling.
    """

    digits: int
    below: str
    alpha: float
    stars: tuple[float, ...]

    def __post_init__(self) -> None:
        if not (isinstance(self.digits, int) and 0 <= self.digits <= 15):
            raise OptionError(f"digits={self.digits!r} must be a whole number from 0 to 15.")
        if not 0 < self.alpha < 1:
            raise OptionError(f"alpha is {self.alpha!r}; it must be between 0 and 1, 0.05 for 95 % intervals.")

    def number(self, value: float) -> str:
        """Return a fraction with the decimals asked for and commas at the thousands; "" for a missing one."""
        return "" if math.isnan(value) else f"{value:,.{self.digits}f}"

    def entry(self, value: object) -> str:
        """Return a statistic as text: whole numbers with commas, fractions with decimals, None as ""."""
        if value is None:
            return ""
        if isinstance(value, bool | np.bool_):
            return "Yes" if value else "No"
        if isinstance(value, Integral):
            return f"{int(value):,}"
        return self.number(float(value)) if isinstance(value, Real) else str(value)

    def cells(self, column: Column) -> list[Cell]:
        """Return the cells of all coefficients of a fit."""
        texts = [self.number(value) for value in column.params]
        stars = ["*" * sum(p < level for level in self.stars) for p in column.pvalues]
        return [Cell(*found) for found in zip(texts, stars, self._below(column), strict=True)]

    def _below(self, column: Column) -> list[str]:
        if self.below == "ci":
            ends = column.intervals(self.alpha)
            pairs = [(self.number(low), self.number(high)) for low, high in ends]
            return [f"[{low}, {high}]" if low and high else "" for low, high in pairs]
        values = {"se": column.bse, "t": column.tvalues, "p": column.pvalues}.get(self.below)
        found = [""] * len(column.names) if values is None else [self.number(value) for value in values]
        return [f"({text})" if text else "" for text in found]


def check_labels(columns: Iterable[Column], labels: Mapping[str, str]) -> list[str]:
    """Return the names of all coefficients in order of appearance, intercepts last.

    Raises
    ------
    OptionError
        If two coefficients of one fit would stand in the same row, or a label is another coefficient's name.
    """
    if not isinstance(labels, Mapping):
        raise OptionError(f"labels is a {type(labels).__name__}; needed is a dict, {{'treat': 'Training'}}.")
    found: dict[str, None] = {}
    for column in columns:
        rows: dict[str, str] = {}
        for name in column.names:
            label = labels.get(name, name)
            if label in rows:
                raise OptionError(
                    f"labels clash: coefficients {rows[label]!r} and {name!r} of one fit would both be {label!r}; "
                    "give each its own entry in labels."
                )
            rows[label] = name
        found |= dict.fromkeys(column.names)
    for name in found:
        others = [other for other in found if other != name and labels.get(other) == name]
        if others and name not in labels:
            raise OptionError(
                f"labels clash: {others[0]!r} is labelled {name!r}, which is the name of another coefficient; if both "
                f"belong in one row, say so with labels={{{name!r}: {name!r}, ...}}."
            )
    return sorted(found, key=lambda name: name in _INTERCEPTS)


def select(names: Sequence[str], labels: Mapping[str, str], keep: Sequence[str], drop: Sequence[str]) -> list[str]:
    """Return the labels of the rows to show, in order.

    Raises
    ------
    OptionError
        If a pattern of `keep` matches nothing, cannot be read, or nothing is left.
    """
    kept = list(names)
    if keep:
        found = {pattern: _matches(pattern, names, labels) for pattern in keep}
        kept = [name for matches in found.values() for name in matches]
        for pattern in (pattern for pattern, matches in found.items() if not matches):
            hint = near_names(pattern, names)
            raise OptionError(f"keep={pattern!r} matches no coefficient; there are {', '.join(names)}.{hint}")
    dropped = {name for pattern in drop for name in _matches(pattern, names, labels)}
    shown = list(dict.fromkeys(labels.get(name, name) for name in kept if name not in dropped))
    if not shown:
        raise OptionError(f"drop={list(drop)!r} leaves no coefficient to show; there are {', '.join(names)}.")
    return shown


def _matches(pattern: str, names: Sequence[str], labels: Mapping[str, str]) -> list[str]:
    """Return the names equal to a pattern, also by their label; where there are none, those it is found in."""
    exact = [name for name in names if pattern in (name, labels.get(name, name))]
    if exact:
        return exact
    try:
        return [name for name in names if re.search(pattern, name)]
    except re.error as error:
        raise OptionError(
            f"{pattern!r} is neither a coefficient nor a regular expression ({error}); there are {', '.join(names)}."
        ) from error


def coefficient_rows(
    columns: Sequence[Column | None], shown: Sequence[str], labels: Mapping[str, str], numbers: Numbers
) -> tuple[Row, ...]:
    """Return a row for each label that some column of a panel has."""
    cells = [
        {labels.get(name, name): cell for name, cell in zip(column.names, numbers.cells(column), strict=True)}
        if column
        else {}
        for column in columns
    ]
    return tuple(
        Row(label, tuple(column.get(label, Cell()) for column in cells))
        for label in shown
        if any(label in column for column in cells)
    )


def statistic_rows(
    panels: Sequence[Sequence[Column | None]], stats: Statistics, numbers: Numbers
) -> tuple[list[tuple[Row, ...]], tuple[Row, ...]]:
    """Return the statistics of each panel, and those in which all panels agree."""
    named = stats if isinstance(stats, Mapping) else {STATISTICS.get(key, key): key for key in stats}
    own: list[list[Row]] = [[] for _ in panels]
    common: list[Row] = []
    for label, source in named.items():
        rows = [_statistic(columns, label, source, numbers) for columns in panels]
        values = [
            {row[j] for row, columns in zip(rows, panels, strict=True) if columns[j]} for j in range(len(panels[0]))
        ]
        if all(len(found) == 1 for found in values):
            cells = [found.pop() for found in values]
            common += [Row(label, tuple(map(Cell, cells)))] if any(cells) else []
        else:
            for found, row in zip(own, rows, strict=True):
                found += [Row(label, tuple(map(Cell, row)))] if any(row) else []
    return [tuple(rows) for rows in own], tuple(common)


def _statistic(columns: Sequence[Column | None], label: str, source: object, numbers: Numbers) -> list[str]:
    """Return the entries of one row."""
    if isinstance(source, str):
        if source not in STATISTICS:
            raise unknown_option("statistic", source, STATISTICS)
        values = [column.stats.get(source) if column else None for column in columns]
        if source == "N":  # statsmodels counts rows in floats
            return [f"{value:,.0f}" if isinstance(value, Real) else "" for value in values]
        return [numbers.entry(value) for value in values]
    if callable(source):
        return [numbers.entry(_asked(source, column.fit)) if column else "" for column in columns]
    if not isinstance(source, Sequence) or len(source) != len(columns):
        raise OptionError(
            f"stats[{label!r}] is {source!r}; it must be the name of a statistic, a function of a fit, or a list of "
            f"{len(columns)} values, one for each column."
        )
    return [numbers.entry(value) if column else "" for value, column in zip(source, columns, strict=True)]


def _asked(function: Callable[[Any], object], fit: Any) -> object:
    try:
        return function(fit)
    except AttributeError:  # as in statsmodels' summary_col: this fit has no such statistic
        return None

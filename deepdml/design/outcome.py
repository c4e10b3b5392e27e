"""The outcome as a fit reads it: a number, a duration that may be censored, or one of a few levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.checks import are_numbers, check_range
from deepdml.design.columns import canonical
from deepdml.design.encoding import Encoded
from deepdml.design.source import Source
from deepdml.design.specification import Block
from deepdml.errors import DataError, list_rows

Float = NDArray[np.float64]
MAX_LEVELS = 50  # a categorical outcome with more is an identifier or a number


@dataclass(frozen=True, slots=True)
class Outcome:
    """The left-hand side of a formula on the rows that are kept.

    Parameters
    ----------
    name : str
    y : (n,) array
        Numbers, durations, or codes 0, 1, ... of `levels`.
    event : (n,) array or None
        1 where a duration of ``Surv(time, event)`` ended, 0 where it was censored.
    levels : tuple
        Levels of a categorical outcome, in order.
    """

    name: str
    y: Float
    event: Float | None = None
    levels: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class OutcomeLevels:
    """What a family of levels asks of the outcome.

    Parameters
    ----------
    given : tuple
        The levels in the order the user gives them; empty for those of the data.
    ordinal : bool
        Whether their order has a meaning.
    """

    given: tuple[Any, ...] = ()
    ordinal: bool = False

    @classmethod
    def of(cls, family: Any) -> OutcomeLevels | None:
        """Return what a family asks for; None where it wants numbers."""
        return cls(family.levels, family.ordinal) if family.categorical else None


def surv(*columns: Any) -> pd.DataFrame:
    """Return a duration and whether it ended, the outcome ``Surv(time, event)`` of a formula.

    Raises
    ------
    DataError
        For other than two columns, and for texts, categories or dates in the place of numbers.
    """
    if len(columns) != 2:
        raise DataError(
            f"Surv has {len(columns)} column(s); needed are two, Surv(time, event): how long, and 1 where it ended, "
            "0 where it was censored."
        )
    time, event = columns
    return pd.DataFrame({"time": _numbers("time", time), "event": _numbers("event", event)})


def _numbers(argument: str, values: Any) -> Float:
    if isinstance(values, int | float):
        return np.asarray(values, np.float64)  # of all rows: Surv(time, 1) where nothing is censored
    if np.ndim(values) != 1:
        raise DataError(f"the {argument} of Surv(time, event) is {values!r}; needed is a column.")
    column = canonical(argument, values if isinstance(values, pd.Series) else np.asarray(values), np.empty(0))
    if column.kind == "number":
        return np.where(column.missing, np.nan, np.asarray(column.values, np.float64))
    held = column.values[np.flatnonzero(~column.missing)[:1]]
    example = f" such as {str(held[0])!r}" if column.kind == "category" and len(held) else ""
    kind = {"category": "categories", "date": "dates or spans of time", "vector": "vectors"}[column.kind]
    how = "numbers, such as months" if argument == "time" else "1 where the duration ended and 0 where it was censored"
    raise DataError(f"the {argument} of Surv(time, event) holds {kind}{example}; needed are {how}.")


def read_outcome(
    encoded: Encoded, block: Block, source: Source, rows: NDArray[np.intp], wanted: OutcomeLevels | None
) -> Outcome:
    """Return the outcome of the kept rows.

    Parameters
    ----------
    wanted : OutcomeLevels or None
        None where the family wants numbers.

    Raises
    ------
    DataError
        Unless it is one column that varies, of numbers where the family wants those.
    """
    name = str(block.terms[0])
    if wanted is not None:
        return _levels(name, encoded, block, source, rows, wanted)
    if encoded.categorical:
        first = block.reads[0]
        if are_numbers(encoded.categories().get(name, [])):
            raise DataError(
                f"the outcome {name!r} holds numbers written as texts; convert it with pd.to_numeric(data[{first!r}])."
            )
        raise DataError(
            f"the outcome {name!r} holds categories, not numbers. Code it as numbers, for example with "
            f"I({first} == {str(source.column(first).values[0])!r}) for a 0/1 outcome, or use a family of levels: "
            "'mnlogit' or 'ordered_logit'."
        )
    event = None
    if name.startswith("Surv("):
        event = np.ascontiguousarray(encoded.values[:, 1])
    elif len(encoded.names) != 1:
        raise DataError(f"the outcome {name!r} gives {len(encoded.names)} columns; one column of numbers is needed.")
    y = np.ascontiguousarray(encoded.values[:, 0])
    if y.min() == y.max():
        raise DataError(f"the outcome {name!r} is {y[0]:g} in all {len(y):,} rows; there is nothing to explain.")
    check_range(name, y)
    return Outcome(name if event is not None else encoded.names[0], y, event)


def _levels(
    name: str, encoded: Encoded, block: Block, source: Source, rows: NDArray[np.intp], wanted: OutcomeLevels
) -> Outcome:
    if encoded.categorical:
        held = pd.Categorical(source.column(block.reads[0]).values[rows])
    else:
        held = pd.Categorical(encoded.values[:, 0])
    levels = [v.item() if isinstance(v, np.generic) else v for v in held.categories]
    levels = [int(v) if isinstance(v, float) and v.is_integer() else v for v in levels]
    if len(levels) > MAX_LEVELS:
        raise DataError(
            f"the outcome {name!r} has {len(levels):,} levels; at most {MAX_LEVELS} are allowed. For an outcome that "
            "is a number use another family, such as 'gaussian' or 'poisson'; of categories put the rare ones together."
        )
    codes = np.asarray(held.codes, np.intp)
    if wanted.given:
        place = np.array([wanted.given.index(v) if v in wanted.given else -1 for v in levels], np.intp)
        odd = place[codes] < 0
        if odd.any():
            found = [repr(levels[j]) for j in np.unique(codes[odd])]
            raise DataError(
                f"the outcome {name!r} is {list_rows(found)} in row(s) {list_rows(list(source.labels[rows][odd]))}, "
                f"and the levels given to the family are {', '.join(map(repr, wanted.given))}. Name every level there."
            )
        levels, codes = list(wanted.given), place[codes]
    elif wanted.ordinal and not held.ordered and isinstance(levels[0], str) and levels == sorted(levels):
        raise DataError(
            f"the outcome {name!r} holds texts, whose alphabetical order need not be theirs ({', '.join(levels)}). "
            "Give it, from low to high: families.OrderedLogit(['poor', 'fair', 'good']), or an ordered categorical."
        )
    return Outcome(name, codes.astype(np.float64), None, tuple(levels))

"""The outcome as a fit reads it: a number, a duration that may be censored, or one of a few levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.encoding import Encoded
from deepdml.design.specification import Block, Source
from deepdml.errors import DataError

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


def surv(time: Any, event: Any) -> pd.DataFrame:
    """Return a duration and whether it ended, the outcome ``Surv(time, event)`` of a formula."""
    return pd.DataFrame({"time": np.asarray(time, np.float64), "event": np.asarray(event, np.float64)})


def read_outcome(encoded: Encoded, block: Block, source: Source, rows: NDArray[np.intp], categorical: bool) -> Outcome:
    """Return the outcome of the kept rows.

    Parameters
    ----------
    categorical : bool
        Whether the family wants levels.

    Raises
    ------
    DataError
        Unless it is one column that varies, of numbers where the family wants those.
    """
    name = str(block.terms[0])
    if categorical:
        return _levels(name, encoded, block, source, rows)
    if encoded.categorical:
        first = block.reads[0]
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
    return Outcome(name if event is not None else encoded.names[0], y, event)


def _levels(name: str, encoded: Encoded, block: Block, source: Source, rows: NDArray[np.intp]) -> Outcome:
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
    return Outcome(name, held.codes.astype(np.float64), None, tuple(levels))

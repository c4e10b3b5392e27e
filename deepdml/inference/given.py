"""Columns that users give beside a fit, which does not keep its data: by name, and on the rows kept."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd

from deepdml.design.labels import KeptRows
from deepdml.errors import DataError, OptionError, list_rows


def frame_columns(role: str, given: Any, lengths: tuple[int, ...]) -> list[tuple[str, Any]] | None:
    """Return names and values of the columns of a dict or a frame of any library; None for what has no names.

    Parameters
    ----------
    role : str
        What it is given as, for messages: "groups", "time", "coordinates".
    given : object
    lengths : tuple of int
        Of a list that may hold one text per row.

    Raises
    ------
    OptionError
        For names of columns in place of the columns.
    """
    listed = isinstance(given, list | tuple) and len(given) > 0 and len(given) not in lengths
    if isinstance(given, str) or (listed and all(isinstance(name, str) for name in given)):
        raise OptionError(
            f"{role}={given!r} names columns; pass the columns themselves, e.g. {role}=data[{given!r}], because a fit "
            "does not keep the data it was given."
        )
    names = given if isinstance(given, dict) else getattr(given, "column_names", getattr(given, "columns", None))
    return None if names is None else [(str(name), cast(Any, given)[name]) for name in names]


def kept_column(role: str, name: str, values: Any, kept: KeptRows) -> pd.Series:
    """Return one column on the rows kept in a fit, without missing values.

    Parameters
    ----------
    role, name : str
        For messages.
    values : array, list, Series or Index
        As long as the user's data or as the rows kept. A Series whose index holds the fit's labels in another order is
        aligned by label.
    kept : KeptRows

    Raises
    ------
    DataError
        For a wrong length, or for a missing value in a kept row.
    """
    # pandas reads lists itself, because numpy makes the text "nan" of a missing label among texts; what comes without
    # an index stays without one, or it would be matched with the data's labels
    plain = list(values) if isinstance(values, list | tuple) else values
    known = isinstance(plain, pd.Series | pd.Index | pd.Categorical)
    column = plain if known else pd.Series(plain if isinstance(plain, list) else np.asarray(plain)).array
    if np.ndim(column) != 1 or len(column) not in kept.lengths:
        n_total, n = kept.lengths
        raise DataError(
            f"{role} {name!r} have shape {np.shape(values)}; needed is one value for each of the {n_total:,} rows of "
            "the data" + (f", or for each of the {n:,} rows kept." if n != n_total else ".")
        )
    taken = pd.Series(kept.take(f"{role} {name!r}", column)).reset_index(drop=True)
    missing = np.flatnonzero(taken.isna())
    if missing.size:
        raise DataError(
            f"{role} {name!r} are missing in {missing.size:,} kept row(s): {list_rows(list(kept.labels[missing]))}. "
            "Fill them in, or drop these rows before the fit."
        )
    return taken

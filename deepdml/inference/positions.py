"""Time and coordinates as users have them, turned into periods and places of the rows kept in a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.labels import KeptRows
from deepdml.errors import DataError, list_rows
from deepdml.inference.contributions import Metric
from deepdml.inference.given import frame_columns, kept_column

Float = NDArray[np.float64]
Codes = NDArray[np.intp]


def encode_time(time: object, kept: KeptRows) -> tuple[Codes, str]:
    """Return the number of the period (n,) of each row kept in a fit, and the name of the time variable.

    Whole numbers and pandas periods keep their gaps, in units of their greatest common step: 1990, 2000 and 2020 are
    the periods 0, 1 and 3. Dates count as consecutive, in their order.

    Parameters
    ----------
    time : array, Series or frame with one column
        As long as the user's data or as the rows kept; aligned by label as groups are.
    kept : KeptRows

    Raises
    ------
    OptionError
        For a column name in place of the column.
    DataError
        For a wrong length, a missing period, or text.
    """
    name, values = _columns("time", time, 1, kept.lengths)[0]
    column = kept_column("time", name, values, kept)
    if column.dtype == object and pd.api.types.infer_dtype(column) in ("date", "datetime", "period"):
        column = pd.Series(list(column)) if pd.api.types.infer_dtype(column) == "period" else pd.to_datetime(column)
    if isinstance(column.dtype, pd.PeriodDtype):
        column = pd.Series(pd.PeriodIndex(column).astype(np.int64))
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return np.unique(column.to_numpy(), return_inverse=True)[1].astype(np.intp), name
    numbers = _numbers("time", name, column, "numbers or dates (convert texts with pd.to_datetime or pd.PeriodIndex)")
    if not np.array_equal(numbers, np.round(numbers)) or np.abs(numbers).max() >= 2**53:
        return np.unique(numbers, return_inverse=True)[1].astype(np.intp), name
    whole = numbers.astype(np.int64)
    step = int(np.gcd.reduce(np.diff(np.unique(whole)))) or 1
    return np.asarray((whole - whole.min()) // step, dtype=np.intp), name


def encode_coordinates(coordinates: object, metric: Metric, kept: KeptRows) -> Float:
    """Return the coordinates (n, 2) of each row kept in a fit.

    Parameters
    ----------
    coordinates : (n, 2) array, frame with two columns, or pair of arrays
        Latitude before longitude.
    metric : {"haversine", "euclidean"}
        The first needs degrees.
    kept : KeptRows

    Raises
    ------
    OptionError
        For column names in place of the columns.
    DataError
        For a wrong length or number of columns, missing values, text, or degrees out of range.
    """
    found = [
        _numbers("coordinates", name, kept_column("coordinates", name, values, kept), "numbers")
        for name, values in _columns("coordinates", coordinates, 2, kept.lengths)
    ]
    places = np.column_stack(found)
    if metric == "haversine":
        bad = np.flatnonzero((np.abs(places[:, 0]) > 90) | (np.abs(places[:, 1]) > 360))
        if bad.size:
            raise DataError(
                f"coordinates are not degrees of latitude and longitude, in this order, in {bad.size:,} row(s): "
                f"{list_rows(list(kept.labels[bad]))}. For planar coordinates use metric='euclidean'."
            )
    return places


def _columns(role: str, given: Any, n_columns: int, lengths: tuple[int, int]) -> list[tuple[str, Any]]:
    """Return names and values of the columns of an array, a frame or a sequence of arrays."""
    found = frame_columns(role, given, lengths)
    if found is None and n_columns == 1 and not (isinstance(given, np.ndarray) and given.ndim == 2):
        found = [(str(getattr(given, "name", None) or role), given)]
    elif found is None:
        pair = isinstance(given, list | tuple) and len(given) == n_columns and np.ndim(given[0]) == 1
        by_column = pair and len(given[0]) != n_columns  # else two rows
        columns = given if by_column else np.asarray(given).T if np.ndim(given) == 2 else []
        found = [(f"{role} {j + 1}", column) for j, column in enumerate(columns)]
    if len(found) != n_columns:
        needed = "one column is" if n_columns == 1 else f"{n_columns} columns are"
        raise DataError(f"{role} have shape {np.shape(given)}; {needed} needed, with one value for each row.")
    return found


def _numbers(role: str, name: str, kept: pd.Series, needed: str) -> Float:
    if not pd.api.types.is_numeric_dtype(kept.dtype) or pd.api.types.is_bool_dtype(kept.dtype):
        raise DataError(f"{role} {name!r} have type {kept.dtype}; needed are {needed}.")
    numbers = np.asarray(kept, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise DataError(f"{role} {name!r} have infinite values.")
    return numbers

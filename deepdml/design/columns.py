"""One column of the user's data in one of four plain forms, whatever library it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.mapped import release
from deepdml.errors import DataError, list_rows

Kind = Literal["number", "category", "date", "vector"]

_ROWS = 16_384  # looked at together; a file is not read into memory at once
_FLOAT_OBJECTS = {"floating", "mixed-integer-float", "decimal"}
_DATE_OBJECTS = {"date", "datetime", "datetime64", "timedelta", "timedelta64", "time", "period"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column, its kind, and where it is missing.

    Parameters
    ----------
    kind : {"number", "category", "date", "vector"}
    values : (n,) array, categorical or datetime array; (n, k) array for a vector
        A number is bool, int64 or float64; a category holds str, int, float or bool, or is a `pandas.Categorical`.
    missing : (n,) bool array
        None, NaN, NaT and, for numbers, infinite; a vector is missing where any entry is.
    """

    kind: Kind
    values: Any
    missing: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.missing):
            raise DataError(f"a column has {len(self.values)} values and {len(self.missing)} missing flags.")

    def take(self, rows: NDArray[np.intp]) -> Any:
        """Return the values of `rows` as formulaic wants them: a Series by position, a 2-D array for a vector."""
        values = self.values[rows]
        if self.kind == "vector":
            return values
        if isinstance(values, pd.Categorical):
            return pd.Series(values.remove_unused_categories())
        if self.kind == "category":
            return pd.Series(values, dtype=object)
        return pd.Series(values)


def canonical(name: str, values: Any, labels: NDArray[Any]) -> Column:
    """Return a Column from a Series or an array of numbers; `labels` name its rows in messages.

    Object columns are looked into: numbers with None become numbers, arrays of equal length a vector.

    Raises
    ------
    DataError
        For values that can be none of the four kinds, such as complex numbers or vectors of different lengths.
    """
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return _vector(name, values)
    series = values if isinstance(values, pd.Series) else pd.Series(values, copy=False)
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _categorical(series)
    if pd.api.types.is_complex_dtype(dtype):
        raise DataError(f"column {name!r} holds complex numbers; use its real and imaginary parts as columns.")
    if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype):
        return _number(series)
    if pd.api.types.is_datetime64_any_dtype(dtype) or dtype.kind == "m" or isinstance(dtype, pd.PeriodDtype):
        return Column("date", series.array, series.isna().to_numpy(bool))
    return _from_objects(name, series.astype(object), labels)


def _number(series: pd.Series) -> Column:
    if isinstance(series.dtype, np.dtype):
        values = series.to_numpy()
        missing = np.zeros(len(values), bool)
    else:
        missing = series.isna().to_numpy(bool)
        target, hole = _plain_type(series.dtype)
        values = series.to_numpy(dtype=target, na_value=hole)
    if values.dtype.kind == "f":
        values = values.astype(np.float64, copy=False)
        missing = ~np.isfinite(values)
    return Column("number", values, missing)


def _plain_type(dtype: Any) -> tuple[str, float]:
    """Return the numpy type of a nullable one, and what stands in for its missing values."""
    if pd.api.types.is_bool_dtype(dtype):
        return "bool", False
    if pd.api.types.is_integer_dtype(dtype):
        return "int64", 0
    return "float64", np.nan


def _categorical(series: pd.Series) -> Column:
    values = series.array
    categories = values.categories
    plain = pd.api.types.infer_dtype(categories, skipna=True)
    if plain not in {"string", "integer", "floating", "boolean", "empty"}:
        values = values.rename_categories([str(c) for c in categories])
    return Column("category", values, series.isna().to_numpy(bool))


def _from_objects(name: str, series: pd.Series, labels: NDArray[Any]) -> Column:
    missing = series.isna().to_numpy(bool)
    inside = pd.api.types.infer_dtype(series, skipna=True)
    if inside == "complex":
        raise DataError(f"column {name!r} holds complex numbers; use its real and imaginary parts as columns.")
    if inside == "empty":
        return Column("number", np.full(len(series), np.nan), np.ones(len(series), bool))
    if inside == "boolean":
        return Column("number", series.where(~missing, False).to_numpy(dtype=bool), missing)
    if inside == "integer" and abs(series[~missing]).max() < 2**63:
        return Column("number", series.where(~missing, 0).to_numpy(dtype=np.int64), missing)
    if inside in {*_FLOAT_OBJECTS, "integer"}:
        return _number(pd.Series(series.where(~missing, np.nan).to_numpy(dtype=np.float64)))
    if inside in _DATE_OBJECTS:
        return Column("date", series.array, missing)
    values = series.to_numpy(dtype=object)
    first = values[np.argmin(missing)]
    if isinstance(first, (list, tuple, np.ndarray)):
        return _stack_vectors(name, values, missing, labels)
    if inside != "string":
        values = np.array([None if gone else str(v) for v, gone in zip(values, missing, strict=True)], dtype=object)
    return Column("category", np.where(missing, None, values), missing)


def _stack_vectors(name: str, values: NDArray[Any], missing: NDArray[np.bool_], labels: NDArray[Any]) -> Column:
    present = np.flatnonzero(~missing)
    lengths = np.array([len(v) if isinstance(v, (list, tuple, np.ndarray)) else -1 for v in values[present]])
    width = int(np.bincount(lengths[lengths >= 0]).argmax())
    odd = present[lengths != width]
    if odd.size:
        raise DataError(
            f"column {name!r} holds vectors of length {width}, but {odd.size:,} row(s) differ: "
            f"{list_rows(list(labels[odd]))}. Every row needs a vector of the same length."
        )
    try:
        stacked = np.stack([np.asarray(v) for v in values[present]])
    except ValueError as error:
        raise DataError(f"column {name!r} holds arrays that are not vectors of one length: {error}.") from error
    if present.size < len(values):
        full = np.full((len(values), *stacked.shape[1:]), np.nan, np.result_type(stacked.dtype, np.float32))
        full[present] = stacked
        stacked = full
    return _vector(name, stacked)


def _vector(name: str, values: NDArray[Any]) -> Column:
    if values.ndim != 2:
        raise DataError(f"{name!r} has {values.ndim} dimensions; an array of shape (rows, columns) is needed.")
    if values.dtype.kind == "O":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"the vectors in {name!r} hold something other than numbers: {error}.") from error
    if values.dtype.kind not in "biuf":
        raise DataError(f"the vectors in {name!r} hold {values.dtype.name} values; numbers are needed.")
    return Column("vector", values, nonfinite_rows(values))


def nonfinite_rows(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows of a 2-D array hold NaN or infinity: by row sums, exactly only where a sum is not finite."""
    bad = np.zeros(len(values), bool)
    if values.dtype.kind != "f" or not values.shape[1]:
        return bad
    # sums of float16 overflow, and no library adds them up
    wide = np.result_type(values.dtype, np.float32)
    ones = np.ones(values.shape[1], wide)
    with np.errstate(all="ignore"):
        for start in range(0, len(values), _ROWS):
            part = values[start : start + _ROWS].astype(wide, copy=False)
            suspects = np.flatnonzero(~np.isfinite(part @ ones))
            bad[start + suspects] = ~np.isfinite(part[suspects]).all(axis=1)
            release(values)
    return bad

"""The user's data, whatever library they come from: columns by name, and many columns at once as float32.

Only the columns a formula names are ever converted, and nothing here writes to the user's data.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.arrow import from_lists, from_tables, is_arrow, n_rows
from deepdml.design.columns import Column, canonical, nonfinite_rows
from deepdml.design.labels import in_order, labels_among
from deepdml.design.mapped import is_mapped
from deepdml.errors import DataError, near_columns

Float32 = NDArray[np.float32]
_CHUNK = 128  # columns converted at once: wide enough to amortize calls, narrow enough to stay in cache


class Table(ABC):
    """Columns by name; a subclass says how its library hands them out."""

    def __init__(self, names: Sequence[str], n: int, labels: NDArray[Any] | None = None) -> None:
        self.names = tuple(names)
        self.n = n
        self.labels = np.arange(n) if labels is None else labels
        self.row_labels = labels
        self.index_names: tuple[str, ...] = ()
        self._position = {name: i for i, name in enumerate(self.names)}
        self._columns: dict[str, Column] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._position

    def near(self, name: str) -> str:
        """Return what to do about a name that is no column."""
        return near_columns(name, self.names, self.index_names)

    @property
    def is_mapped(self) -> bool:
        """Whether the columns are read from a file."""
        return False

    @abstractmethod
    def _values(self, name: str) -> Any:
        """Return a column as a Series, an array of numbers or a 2-D array."""

    @abstractmethod
    def _is_number(self, name: str) -> bool:
        """Return whether the column's type alone says that it holds numbers or booleans."""

    def _chunk(self, names: Sequence[str]) -> Float32:
        """Return number columns as an (n, len(names)) float32 array, missing values as NaN."""
        out = np.empty((len(names), self.n), np.float32)
        for i, name in enumerate(names):
            out[i] = self._values(name)
        return out.T

    def require(self, names: Sequence[str]) -> None:
        """Raise DataError if a column is absent or its name stands for several."""
        for name in names:
            if name not in self:
                raise DataError(f"the data have no column {name!r}.{self.near(name)}")
        if len(self._position) < len(self.names):
            twice = [name for name in names if self.names.count(name) > 1]
            if twice:
                listed = ", ".join(map(repr, twice))
                raise DataError(f"the data have several columns called {listed}; rename or drop them.")

    def column(self, name: str) -> Column:
        """Return one column in plain form."""
        if name not in self._columns:
            self._columns[name] = canonical(name, self._values(name), self.labels)
        return self._columns[name]

    def is_number(self, name: str) -> bool:
        """Return whether a column is a number, from its type or else its values."""
        return self._is_number(name) or self.column(name).kind == "number"

    def _chunks(self, names: Sequence[str]) -> Iterator[tuple[int, int, Float32]]:
        """Yield start, stop and the (n, stop - start) values of number columns, a chunk at a time."""
        start = 0
        with np.errstate(over="ignore"):  # beyond float32 becomes inf, which `flag` looks into
            while start < len(names):
                stop = start
                while stop < min(start + _CHUNK, len(names)) and self._is_number(names[stop]):
                    stop += 1
                if stop > start:
                    yield start, stop, self._chunk(names[start:stop])
                else:
                    stop = start + 1
                    column = self.column(names[start])
                    values = np.where(column.missing, np.nan, column.values.astype(np.float64)).astype(np.float32)
                    yield start, stop, values[:, None]
                start = stop

    def fill(self, out: Float32, names: Sequence[str], rows: NDArray[np.intp] | None) -> None:
        """Write number columns into `out` (m, len(names)), all rows or the ones given."""
        for start, stop, values in self._chunks(names):
            out[:, start:stop] = values if rows is None else values[rows]

    def flag(self, names: Sequence[str], missing: dict[str, NDArray[np.bool_]]) -> None:
        """Add to `missing` the number columns that have missing or infinite values, each with its (n,) flags."""
        for start, _, values in self._chunks(names):
            bad = np.flatnonzero(nonfinite_rows(values))
            if not bad.size:
                continue
            holes = ~np.isfinite(values[bad])
            for i in np.flatnonzero(holes.any(axis=0)):
                name = names[start + int(i)]
                flags = np.zeros(self.n, bool)
                flags[bad[holes[:, i]]] = True
                if (
                    np.isinf(values[bad, i]).any()
                    and (flags & ~canonical(name, self._values(name), self.labels).missing).any()
                ):
                    raise DataError(f"column {name!r} has values beyond 3.4e38, the range of float32; rescale it.")
                missing[name] = flags


class PandasTable(Table):
    """A pandas DataFrame."""

    def __init__(self, data: pd.DataFrame) -> None:
        if data.columns.nlevels > 1:
            raise DataError(
                f"the columns of the data have names of {data.columns.nlevels} levels; a formula names columns by one: "
                "data.columns = ['_'.join(map(str, name)) for name in data.columns]."
            )
        super().__init__([str(c) for c in data.columns], len(data), data.index.to_numpy())
        self.index_names = tuple(str(name) for name in data.index.names if name is not None)
        self._data = data
        self._dtypes = list(data.dtypes)

    def _values(self, name: str) -> Any:
        return self._data.iloc[:, self._position[name]]

    def _is_number(self, name: str) -> bool:
        dtype = self._dtypes[self._position[name]]
        return isinstance(dtype, np.dtype) and dtype.kind in "biuf"

    def _chunk(self, names: Sequence[str]) -> Float32:
        at = [self._position[name] for name in names]
        adjacent = at == list(range(at[0], at[0] + len(at)))
        part = self._data.iloc[:, at[0] : at[0] + len(at)] if adjacent else self._data.iloc[:, at]
        values: Float32 = part.to_numpy(dtype=np.float32)
        return values


class PolarsTable(Table):
    """An eager polars DataFrame."""

    def __init__(self, data: Any) -> None:
        super().__init__(data.columns, data.height)
        self._data = data
        self._schema = data.schema

    def _values(self, name: str) -> Any:
        return from_polars(self._data.get_column(name))

    def _is_number(self, name: str) -> bool:
        dtype = self._schema[name]
        return bool((dtype.is_numeric() and not dtype.is_decimal()) or type(dtype).__name__ == "Boolean")

    def _chunk(self, names: Sequence[str]) -> Float32:
        import polars as pl

        part = self._data.select(pl.col(list(names)).cast(pl.Float32))
        return np.asarray(part.to_numpy(order="fortran"), np.float32)


class ArrowTable(Table):
    """A pyarrow Table or RecordBatch."""

    def __init__(self, data: Any) -> None:
        super().__init__(data.schema.names, data.num_rows)
        self._data = data

    @property
    def is_mapped(self) -> bool:
        """Whether the first column's buffers are not Arrow's own."""
        return any(is_mapped(column) for column in self._data.columns[:1])

    def _values(self, name: str) -> Any:
        return from_arrow(self._data.column(self._position[name]))

    def _is_number(self, name: str) -> bool:
        import pyarrow.types as pt

        column = self._data.column(self._position[name])
        return bool(pt.is_floating(column.type) or (pt.is_integer(column.type) and not column.null_count))


class ArrayTable(Table):
    """A mapping of names to arrays, lists or Series of one length; 2-D arrays are vectors."""

    def __init__(self, data: Mapping[Any, Any]) -> None:
        lengths = {str(name): _length(str(name), value) for name, value in data.items()}
        n = next(iter(lengths.values()), 0)
        odd = [name for name, length in lengths.items() if length != n]
        if odd:
            first = next(iter(lengths))
            raise DataError(f"{first!r} has {n:,} rows, but {odd[0]!r} has {lengths[odd[0]]:,}; all need the same.")
        labels = labels_among(data.values())
        super().__init__(list(lengths), n, labels)
        self._data = {str(name): in_order(repr(str(name)), value, labels) for name, value in data.items()}

    def _values(self, name: str) -> Any:
        return from_any(name, self._data[name])

    def _is_number(self, name: str) -> bool:
        value = self._data[name]
        return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "biuf"


def _length(name: str, value: Any) -> int:
    if is_arrow(value):
        return n_rows(value)
    if isinstance(value, str) or not hasattr(value, "__len__") or getattr(value, "shape", None) == ():
        raise DataError(f"{name!r} is {value!r}, not an array; every value in a dict of data needs one entry per row.")
    return len(value)


def open_table(data: Any) -> Table:
    """Return the Table of a pandas, polars or pyarrow frame, a dict of arrays or a structured numpy array.

    Raises
    ------
    DataError
        For anything else, a lazy polars frame included.
    """
    module, kind = type(data).__module__.split(".")[0], type(data).__name__
    if isinstance(data, Table):
        return data
    if isinstance(data, pd.DataFrame):
        return PandasTable(data)
    if module == "polars" and kind == "DataFrame":
        return PolarsTable(data)
    if module == "polars" and kind == "LazyFrame":
        raise DataError("data is a lazy polars frame; call .collect() on it first.")
    if module == "pyarrow" and kind in {"Table", "RecordBatch"}:
        return ArrowTable(data)
    if isinstance(data, Mapping):
        return ArrayTable(data)
    if isinstance(data, np.ndarray) and data.dtype.names:
        return ArrayTable({name: data[name] for name in data.dtype.names})
    if isinstance(data, str) and "~" in data:
        raise DataError(f"data is the text {data!r}; the formula comes first, then the data.")
    if isinstance(data, str | os.PathLike):
        raise DataError(f"data is {str(data)!r}; read the file first, such as with pd.read_csv, and pass the table.")
    shown = kind if module == "builtins" else f"{type(data).__module__}.{kind}"
    raise DataError(
        f"data is a {shown}; allowed are a pandas DataFrame, an eager polars DataFrame, "
        "a pyarrow Table, a dict of arrays and a structured numpy array."
    )


def from_polars(series: Any) -> Any:
    """Return a polars Series as a pandas Series or a numpy array; List and Array columns as vectors."""
    import polars as pl

    dtype = series.dtype
    if isinstance(dtype, pl.Array) and not series.null_count():
        return series.to_numpy()
    if isinstance(dtype, pl.Enum):
        return pd.Series(pd.Categorical(series.to_list(), categories=dtype.categories.to_list(), ordered=True))
    if isinstance(dtype, pl.Decimal):
        series = series.cast(pl.Float64)
        dtype = series.dtype
    if dtype.is_integer() and series.null_count():
        return pd.Series(series.to_list(), dtype="Int64")
    if dtype.is_numeric() or (dtype.is_temporal() and not isinstance(dtype, pl.Time)):
        return pd.Series(series.to_numpy())
    return pd.Series(series.to_list(), dtype=object)


def from_arrow(column: Any) -> Any:
    """Return a pyarrow array as a pandas Series or a numpy array; lists as vectors."""
    import pyarrow.types as pt

    if pt.is_fixed_size_list(column.type) and not column.null_count:
        return from_lists(column)
    if pt.is_integer(column.type) and column.null_count:
        return pd.Series(column.to_pylist(), dtype="Int64")
    return column.to_pandas()


def from_any(name: str, value: Any) -> Any:
    """Return an array, list or Series of any library as a pandas Series or a 2-D array."""
    module = type(value).__module__.split(".")[0]
    if isinstance(value, pd.DataFrame):
        return value.to_numpy()
    if module == "pandas" or isinstance(value, (list, tuple)):
        return pd.Series(value).reset_index(drop=True)
    if module == "polars":
        return from_polars(value)
    if is_arrow(value):
        return from_arrow(value) if hasattr(value, "null_count") else from_tables(name, value)
    array = np.asarray(value)
    if array.ndim == 2:
        return array
    if array.ndim != 1:
        raise DataError(f"{name!r} has {array.ndim} dimensions; one or two are allowed.")
    return pd.Series(array, copy=False)

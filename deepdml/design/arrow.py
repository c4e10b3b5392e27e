"""Matrices from Arrow and Parquet: fixed-size lists, or one column for each number, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdml.design.mapped import is_mapped, release, room_for
from deepdml.errors import DataError

BATCH = 4096  # rows of a Parquet file decoded at once


def is_arrow(value: Any) -> bool:
    """Return whether a value is pyarrow's: an array, a table or an opened Parquet file."""
    return type(value).__module__.split(".")[0] == "pyarrow"


def n_rows(value: Any) -> int:
    """Return the rows of an Arrow array or table, or of an opened Parquet file."""
    return int(value.metadata.num_rows) if hasattr(value, "iter_batches") else len(value)


def from_lists(column: Any) -> NDArray[Any]:
    """Return fixed-size lists as vectors (n, k): the array's own memory where it is in one piece."""
    chunks = getattr(column, "chunks", [column])
    k = column.type.list_size
    if len(chunks) == 1:
        return _vectors(chunks[0], k)
    if is_mapped(column):
        return _stacked((_vectors(chunk, k) for chunk in chunks), len(column), k)
    return _vectors(column.combine_chunks(), k)


def from_tables(name: str, value: Any) -> NDArray[Any]:
    """Return a table or Parquet file of numbers, or of one column of fixed-size lists, as a matrix (n, k).

    Raises
    ------
    DataError
        For columns of anything else.
    """
    import pyarrow.types as pt

    schema = value.schema_arrow if hasattr(value, "schema_arrow") else value.schema
    batches = _decoded(value) if hasattr(value, "iter_batches") else _batches(value)
    n = n_rows(value)
    if len(schema) == 1 and pt.is_fixed_size_list(schema.types[0]):
        k = schema.types[0].list_size
        return _stacked((_vectors(batch.column(0), k) for batch in batches), n, k)
    for field in schema:
        if not (pt.is_floating(field.type) or pt.is_integer(field.type) or pt.is_boolean(field.type)):
            raise DataError(
                f"{name!r} is a table whose column {field.name!r} holds {field.type}; a matrix of covariates needs "
                "numbers, or one column of fixed-size lists."
            )
    return _stacked((_side_by_side(batch.columns) for batch in batches), n, len(schema))


def _decoded(file: Any) -> Iterable[Any]:
    """Yield the batches of a Parquet file, a row group at a time: pyarrow keeps in memory those asked for together."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(batch_size=BATCH, row_groups=[group])


def _batches(value: Any) -> Iterable[Any]:
    return value.to_batches() if hasattr(value, "to_batches") else [value]


def _vectors(lists: Any, k: int) -> NDArray[Any]:
    """Return one array of lists as (m, k); a missing list is NaN throughout."""
    flat = lists.flatten() if not lists.null_count else lists.values.slice(lists.offset * k, len(lists) * k)
    values = flat.to_numpy(zero_copy_only=False).reshape(-1, k)
    if lists.null_count:
        values = values.astype(np.result_type(values.dtype, np.float32))
        values[lists.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return np.asarray(values)


def _side_by_side(columns: Sequence[Any]) -> NDArray[np.float32]:
    out = np.empty((len(columns[0]), len(columns)), np.float32)
    for j, column in enumerate(columns):
        out[:, j] = column.to_numpy(zero_copy_only=False)
    return out


def _stacked(parts: Iterable[NDArray[Any]], n: int, k: int) -> NDArray[np.float32]:
    """Return parts one below the other, in a file where they are large; x may share it, so it is not written to."""
    out = room_for((n, k), True)
    at = let_go = 0
    with np.errstate(over="ignore"):  # beyond float32 becomes inf, which counts as missing
        for part in parts:
            out[at : at + len(part)] = part
            at += len(part)
            if at - let_go >= BATCH:  # what is written stays in the file
                release(out)
                let_go = at
    release(out)
    out.flags.writeable = False
    return out

"""Weights and groups: columns or arrays that stand beside the formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.columns import Column, canonical
from deepdml.design.labels import in_order
from deepdml.design.table import Table, from_any, open_table
from deepdml.errors import DataError, list_rows

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Groups:
    """Cluster labels before rows are dropped.

    Parameters
    ----------
    names : tuple of str
        The g dimensions.
    columns : tuple of Column
    missing : (n, g) bool array
    """

    names: tuple[str, ...]
    columns: tuple[Column, ...]
    missing: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.missing.shape[1] != len(self.names) or len(self.columns) != len(self.names):
            raise DataError(f"groups have {len(self.columns)} columns and {len(self.names)} names.")

    def codes(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return codes 0, 1, ... of the given rows in order of appearance, shape (m, g)."""
        return np.column_stack([pd.factorize(column.values[rows])[0] for column in self.columns]).astype(np.intp)


def read_weights(weights: Any, table: Table) -> Float | None:
    """Return weights of the table's rows, shape (n,), NaN where missing; see `in_order`.

    Raises
    ------
    DataError
        For an unknown column, a wrong length, text, or negative values.
    """
    if weights is None:
        return None
    column = _column_or_array("weights", weights, table)
    if column.kind != "number":
        raise DataError(f"weights are a {column.kind}; numbers are needed.")
    values = np.where(column.missing, np.nan, column.values.astype(np.float64))
    negative = values < 0
    if negative.any():
        raise DataError(
            f"weights are negative in {int(negative.sum()):,} row(s): {list_rows(list(table.labels[negative]))}. "
            "Sampling weights are zero or positive."
        )
    return values


def read_groups(groups: Any, table: Table) -> Groups | None:
    """Return the cluster dimensions, from column names or from values; see `in_order`.

    Raises
    ------
    DataError
        For an unknown column, a wrong length, or vectors.
    """
    if groups is None:
        return None
    named = _named_groups(groups, table)
    if not named:
        raise DataError("groups is empty; name at least one column, or leave it out.")
    for name, column in named.items():
        if column.kind == "vector":
            raise DataError(f"groups {name!r} holds vectors; one label per row is needed.")
    return Groups(tuple(named), tuple(named.values()), np.column_stack([c.missing for c in named.values()]))


def _named_groups(groups: Any, table: Table) -> dict[str, Column]:
    if isinstance(groups, (list, tuple)) and all(isinstance(name, str) for name in groups):
        if len(groups) != table.n or all(name in table for name in groups):
            return {name: _column_or_array("groups", name, table) for name in groups}
    elif hasattr(groups, "columns") or isinstance(groups, dict):
        _check_length("groups", open_table(groups).n, table)
        if isinstance(groups, dict):
            groups = {name: in_order(f"groups {name!r}", way, table.row_labels) for name, way in groups.items()}
        frame = open_table(in_order("groups", groups, table.row_labels))
        frame.require(frame.names)
        return {name: frame.column(name) for name in frame.names}
    elif getattr(groups, "ndim", 1) == 2:
        _check_length("groups", len(groups), table)
        array = np.asarray(groups)
        return {f"group_{j}": canonical(f"group_{j}", array[:, j], table.labels) for j in range(array.shape[1])}
    name = groups if isinstance(groups, str) else getattr(groups, "name", None)
    return {str(name or "group"): _column_or_array("groups", groups, table)}


def _column_or_array(role: str, value: Any, table: Table) -> Column:
    if isinstance(value, str):
        if value not in table:
            raise DataError(f"{role}={value!r} is not a column of the data.{table.near(value)}")
        table.require([value])
        return table.column(value)
    if not hasattr(value, "__len__") or getattr(value, "shape", None) == ():
        raise DataError(f"{role}={value!r} is neither a column name nor an array with one entry per row.")
    _check_length(role, len(value), table)
    return canonical(role, from_any(role, in_order(role, value, table.row_labels)), table.labels)


def _check_length(role: str, length: int, table: Table) -> None:
    if length != table.n:
        raise DataError(f"{role} has {length:,} rows, but the data have {table.n:,}; one entry per row is needed.")

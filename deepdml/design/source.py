"""Where columns come from: the data, and arrays of the context that stand beside them row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdml.design.arrow import is_arrow, n_rows
from deepdml.design.columns import Column, Kind
from deepdml.design.encoding import Frame
from deepdml.design.labels import in_order
from deepdml.design.table import ArrayTable, Table


class Source:
    """Columns of the data, and arrays of the context that stand beside them row by row."""

    def __init__(self, table: Table, context: Mapping[str, Any], names: Sequence[str]) -> None:
        given = {v: context[v] for v in names if v not in table and v in context and _has_rows(context[v], table.n)}
        beside = {v: in_order(f"{v!r}, from context,", value, table.row_labels) for v, value in given.items()}
        self.table = table
        self.n = table.n
        self.labels = table.labels
        self._beside = ArrayTable(beside)
        self._beside.labels = table.labels

    def __contains__(self, name: str) -> bool:
        return name in self.table or name in self._beside

    def _owner(self, name: str) -> Table:
        return self._beside if name in self._beside else self.table

    def require(self, names: Sequence[str]) -> None:
        """Raise DataError if a column is absent or ambiguous."""
        self.table.require([name for name in names if name not in self._beside])

    def column(self, name: str) -> Column:
        """Return one column in plain form."""
        return self._owner(name).column(name)

    def is_number(self, name: str) -> bool:
        """Return whether a column is a number."""
        return self._owner(name).is_number(name)

    def _runs(self, names: Sequence[str]) -> list[tuple[Table, int, int]]:
        """Return the stretches of names with the same owner."""
        if not any(name in self._beside for name in names):
            return [(self.table, 0, len(names))]
        return [(self._owner(name), i, i + 1) for i, name in enumerate(names)]

    def fill(self, out: NDArray[np.float32], names: Sequence[str], rows: NDArray[np.intp] | None) -> None:
        """Write number columns into `out`."""
        for owner, start, stop in self._runs(names):
            owner.fill(out[:, start:stop], names[start:stop], rows)

    def flag(self, names: Sequence[str], missing: dict[str, NDArray[np.bool_]]) -> None:
        """Add the number columns with missing values to `missing`."""
        for owner, start, stop in self._runs(names):
            owner.flag(names[start:stop], missing)

    def is_mapped(self, names: Sequence[str]) -> bool:
        """Return whether columns are read from a file."""
        return any(owner.is_mapped for owner in {id(owner): owner for owner, _, _ in self._runs(names)}.values())

    def frame(
        self,
        names: Sequence[str],
        context: Mapping[str, Any],
        rows: NDArray[np.intp],
        kinds: Mapping[str, Kind] | None = None,
    ) -> Frame:
        """Return the given rows of the columns that a formula reads; `kinds` says which were categories at the fit."""
        columns = {name: self.column(name).take(rows) for name in names if name in self}
        for name in columns:
            if kinds is not None and kinds[name] == "category" and columns[name].dtype.kind in "biuf":
                columns[name] = columns[name].astype(object)
        return Frame(
            columns=columns,
            context={name: value for name, value in context.items() if name not in columns},
            labels=self.labels[rows],
            dates=frozenset(name for name in columns if self.column(name).kind == "date"),
        )


def _has_rows(value: Any, n: int) -> bool:
    if is_arrow(value):
        return n_rows(value) == n
    shape = getattr(value, "shape", None)
    return shape is not None and len(shape) in (1, 2) and shape[0] == n

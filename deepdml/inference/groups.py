"""Cluster labels as users have them, turned into integer codes of the rows kept in a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import DataError, OptionError, list_rows
from deepdml.inference.contributions import combine_codes

Codes = NDArray[np.intp]


def encode_groups(
    groups: object, rows: NDArray[np.intp], n_total: int, labels: NDArray[Any]
) -> tuple[Codes, tuple[str, ...]]:
    """Return cluster codes of the rows kept in a fit, and a name for each way of clustering.

    Parameters
    ----------
    groups : array, Series, list of these, 2-D array, frame or dict
        One label per row for each way of clustering: as long as the user's data or as the rows kept. A pandas object
        whose index holds the fit's labels in another order is aligned by label.
    rows : (n,) array of int
        Positions of the kept rows in the user's data.
    n_total : int
        Rows of the user's data.
    labels : (n,) array
        Index labels of the kept rows.

    Returns
    -------
    codes : (n, g) array of int
    names : tuple of str

    Raises
    ------
    OptionError
        For a column name in place of the column.
    DataError
        For a wrong length, or for a missing label in a kept row.
    """
    ways = _ways(groups, (n_total, rows.size))
    codes = [_codes(name, way, rows, n_total, labels) for name, way in ways]
    return np.stack(codes, axis=1), tuple(name for name, _ in ways)


def split_clusters(codes: NDArray[np.intp], folds: NDArray[np.intp]) -> int:
    """Return how many clusters have rows in more than one fold, the worst repetition counted.

    Parameters
    ----------
    codes : (n,) array of int
        Cluster of each row.
    folds : (n_rep, n) array of int
        Fold of each row in each repetition.
    """
    n_clusters = np.unique(codes).size
    if not n_clusters:
        return 0
    return max(_n_split(codes, fold) for fold in folds)


def _n_split(codes: Codes, fold: Codes) -> int:
    """Return how many clusters meet more than one fold."""
    pairs = combine_codes(np.stack([codes, fold], axis=1))
    first = np.unique(pairs, return_index=True)[1]
    return int(np.count_nonzero(np.unique(codes[first], return_counts=True)[1] > 1))


def _ways(groups: object, lengths: tuple[int, int]) -> list[tuple[str, Any]]:
    """Return a name and a one-dimensional label array for each way of clustering."""
    listed = groups if isinstance(groups, list | tuple) else ()
    named = len(listed) > 0 and len(listed) not in lengths and all(isinstance(g, str) for g in listed)
    if isinstance(groups, str) or named:
        raise OptionError(
            f"groups={groups!r} names columns; pass the columns themselves, e.g. groups=data[{groups!r}], "
            "because a fit does not keep the data it was given."
        )
    names = groups if isinstance(groups, Mapping) else getattr(groups, "column_names", getattr(groups, "columns", None))
    if names is not None:  # a frame of pandas, polars or pyarrow, or a dict
        return [(str(name), cast(Any, groups)[name]) for name in names]
    if len(listed) and np.ndim(listed[0]) == 1:
        return [_named(way, j, len(listed)) for j, way in enumerate(listed)]
    if not len(listed) and np.ndim(cast(Any, groups)) == 2:
        return [(f"groups {j + 1}", column) for j, column in enumerate(np.asarray(groups).T)]
    return [_named(groups, 0, 1)]


def _named(way: Any, position: int, n_ways: int) -> tuple[str, Any]:
    """Return the name a Series brings, or one by position."""
    name = getattr(way, "name", None)
    return (str(name) if name is not None else "groups" if n_ways == 1 else f"groups {position + 1}"), way


def _codes(name: str, way: Any, rows: NDArray[np.intp], n_total: int, labels: NDArray[Any]) -> Codes:
    """Return codes of the kept rows for one way of clustering."""
    known = isinstance(way, pd.Series | pd.Index | pd.Categorical)
    # pandas reads lists itself, because numpy makes the text "nan" of a missing label among texts; what comes without
    # an index stays without one, or it would be matched with the data's labels
    values = way if known else pd.Series(list(way) if isinstance(way, list | tuple) else np.asarray(way)).array
    if np.ndim(values) != 1 or len(values) not in (n_total, rows.size):
        raise DataError(
            f"groups {name!r} have shape {np.shape(values)}; needed is one label for each of the {n_total:,} rows of "
            "the data" + (f", or for each of the {rows.size:,} rows kept." if rows.size != n_total else ".")
        )
    kept = align(values, rows, n_total, labels)
    codes, _ = pd.factorize(kept)
    missing = np.flatnonzero(codes < 0)
    if missing.size:
        raise DataError(
            f"groups {name!r} are missing in {missing.size:,} kept row(s): {list_rows(list(labels[missing]))}. "
            "Give them a label, or drop these rows before the fit."
        )
    return np.asarray(codes, dtype=np.intp)


def align(values: Any, rows: NDArray[np.intp], n_total: int, labels: NDArray[Any]) -> Any:
    """Return the labels of the kept rows: by index label where the order differs, else by position."""
    taken = values.take(rows) if len(values) == n_total else values
    if isinstance(taken, pd.Series):
        wanted = pd.Index(labels)
        if (
            not taken.index.equals(wanted)
            and values.index.is_unique
            and wanted.is_unique
            and wanted.isin(values.index).all()
        ):
            return values.loc[wanted].array
        return taken.array
    return taken

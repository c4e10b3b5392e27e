"""Cluster labels as users have them, turned into integer codes of the rows kept in a fit."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.labels import KeptRows
from deepdml.inference.contributions import combine_codes
from deepdml.inference.given import frame_columns, kept_column

Codes = NDArray[np.intp]


def encode_groups(groups: object, kept: KeptRows) -> tuple[Codes, tuple[str, ...]]:
    """Return cluster codes of the rows kept in a fit, and a name for each way of clustering.

    Parameters
    ----------
    groups : array, Series, list of these, 2-D array, frame or dict
        One label per row for each way of clustering: as long as the user's data or as the rows kept. A pandas object
        whose index holds the fit's labels in another order is aligned by label.
    kept : KeptRows

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
    ways = _ways(groups, kept.lengths)
    codes = [pd.factorize(kept_column("groups", name, way, kept))[0] for name, way in ways]
    return np.stack(codes, axis=1).astype(np.intp), tuple(name for name, _ in ways)


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
    found = frame_columns("groups", groups, lengths)
    if found is not None:
        return found
    listed = groups if isinstance(groups, list | tuple) else ()
    if len(listed) and np.ndim(listed[0]) == 1:
        return [_named(way, j, len(listed)) for j, way in enumerate(listed)]
    if not len(listed) and np.ndim(cast(Any, groups)) == 2:
        return [(f"groups {j + 1}", column) for j, column in enumerate(np.asarray(groups).T)]
    return [_named(groups, 0, 1)]


def _named(way: Any, position: int, n_ways: int) -> tuple[str, Any]:
    """Return the name a Series brings, or one by position."""
    name = getattr(way, "name", None)
    return (str(name) if name is not None else "groups" if n_ways == 1 else f"groups {position + 1}"), way

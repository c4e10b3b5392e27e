"""What stands beside the data, row for row: pandas objects by their labels, all else by position."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import DataError, list_rows


def labels_of(values: object) -> NDArray[Any] | None:
    """Return the row labels of a pandas object, None for anything else."""
    return np.asarray(values.index.to_numpy()) if isinstance(values, pd.Series | pd.DataFrame) else None


def labels_among(values: Iterable[Any]) -> NDArray[Any] | None:
    """Return the row labels of the first pandas object that has others than 0, 1, ...; None where there is none."""
    for value in values:
        if isinstance(value, pd.Series | pd.DataFrame) and not value.index.equals(pd.RangeIndex(len(value))):
            return np.asarray(value.index.to_numpy())
    return None


def in_order(role: str, values: Any, labels: NDArray[Any] | None, *, unsaid: bool = False) -> Any:
    """Return a Series or DataFrame of pandas in the order of the data's labels; anything else as it is.

    The labels 0, 1, ... of an object that was made without any say nothing, if the data have others.

    Parameters
    ----------
    role : str
        What is given, for the message.
    values : object
    labels : (n,) array or None
        None for data without labels, whose rows only have a position.
    unsaid : bool
        Whether the labels may stand for none, so that other ones are no contradiction.

    Raises
    ------
    DataError
        For an index with other labels than the data's, or with the same ones twice in another order.
    """
    if labels is None or not isinstance(values, pd.Series | pd.DataFrame):
        return values
    # through arrays, because those are what a fit keeps of an index
    theirs, ours = pd.Index(values.index.to_numpy()), pd.Index(labels)
    if theirs.equals(ours):
        return values
    if theirs.is_unique and ours.is_unique:
        place = theirs.get_indexer(ours)
        if (place >= 0).all():
            return values.iloc[place]
    if unsaid or theirs.equals(pd.RangeIndex(len(theirs))):
        return values
    odd = ours[~ours.isin(theirs)].unique()
    what = f"no row for {len(odd):,} label(s) of the data: {list_rows(list(odd))}" if len(odd) else _twice(theirs, ours)
    raise DataError(
        f"the rows of {role} do not match the data's: its index has {what}. Pass it with the labels of the data, or "
        f"as an array (.to_numpy()) if the rows are the same ones in the same order."
    )


def _twice(theirs: pd.Index, ours: pd.Index) -> str:
    several = theirs if not theirs.is_unique else ours
    return f"the label {several[several.duplicated()][0]!r} several times, so that rows cannot be told apart"


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Which rows of the user's data are those of a fit.

    Parameters
    ----------
    positions : (n,) array of int
        Of the kept rows in the user's data.
    n_total : int
        Rows of the user's data.
    labels : (n,) array
        Index labels of the kept rows.
    """

    positions: NDArray[np.intp]
    n_total: int
    labels: NDArray[Any]

    @property
    def lengths(self) -> tuple[int, int]:
        """How long values may be that are given for all rows of the data, or for those kept."""
        return self.n_total, len(self.positions)

    def take(self, role: str, values: Any) -> Any:
        """Return what is given for all rows of the data, or for those kept, on the rows kept.

        Parameters
        ----------
        role : str
            What is given, for the message.
        values : array, Series, frame or Index
            Of one of the two `lengths`; pandas objects with the fit's labels in another order are aligned by label.

        Raises
        ------
        DataError
            For an index with other labels.
        """
        whole = len(values) == self.n_total
        if isinstance(values, pd.Series | pd.DataFrame) and not (
            whole and pd.Index(values.index.to_numpy()[self.positions]).equals(pd.Index(self.labels))
        ):
            # a fit to data without labels has the positions in their place
            unsaid = np.array_equal(self.labels, self.positions)
            ordered = in_order(role, values, self.labels, unsaid=unsaid)
            if ordered is not values:
                return ordered
        if not whole:
            return values
        return values.iloc[self.positions] if isinstance(values, pd.Series | pd.DataFrame) else values[self.positions]

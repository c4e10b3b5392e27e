"""Refusals of arrays that no fit can use, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from deepdml.errors import DataError

Float = NDArray[np.float64]
_RANK_TOLERANCE = 1e-10  # share of a column's length, below which the other columns explain it up to rounding
_SHARE = 1e-6  # coefficient, in units of column lengths, below which a column takes no part in a combination


def check_treatments(t: Float, names: Sequence[str], terms: Mapping[str, slice]) -> None:
    """Raise DataError if a column of t is constant beside an intercept, or a combination of others."""
    for term, columns_of in terms.items():
        if columns_of.start == columns_of.stop:
            raise DataError(
                f"{term!r} left of the bar has the same category in all {len(t):,} rows, or repeats another term, so "
                "it has no coefficient; leave it out or use data in which it varies."
            )
    has_intercept = "Intercept" in names
    for name, column in zip(names, t.T, strict=True):
        low, high = column.min(), column.max()
        if name != "Intercept" and low == high and (has_intercept or low == 0):
            raise DataError(
                f"{name!r} left of the bar is {low + 0.0:g} in all {len(t):,} rows, so its effect cannot be told from "
                "the intercept; leave it out or use data in which it varies."
            )
    varying = [j for j, name in enumerate(names) if name != "Intercept"]
    columns = t[:, varying] - (t[:, varying].mean(axis=0) if has_intercept else 0)
    extra, involved = _dependence(columns)
    if extra is not None:
        listed = ", ".join(repr(names[varying[j]]) for j in involved)
        raise DataError(
            f"the columns left of the bar are collinear: {names[varying[extra]]!r} is a combination of {listed}"
            f"{' and the intercept' if has_intercept else ''}. Leave one of them out."
        )


def _dependence(columns: Float) -> tuple[int | None, list[int]]:
    """Return a column that is a combination of others, and those others; None if there is none."""
    if not columns.shape[1]:
        return None, []
    r, order = scipy.linalg.qr(columns / np.sqrt((columns**2).sum(axis=0)), mode="r", pivoting=True)
    diagonal = np.zeros(columns.shape[1])
    diagonal[: min(r.shape)] = np.abs(np.diag(r))
    rank = int((diagonal > _RANK_TOLERANCE).sum())
    if rank == columns.shape[1]:
        return None, []
    weights = scipy.linalg.solve_triangular(r[:rank, :rank], r[:rank, rank])
    return int(order[rank]), sorted(int(j) for j in order[:rank][np.abs(weights) > _SHARE])


def check_x_names(names: Sequence[str]) -> None:
    """Raise DataError if two covariates have the same name."""
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"several covariates are called {', '.join(map(repr, twice))}; rename or drop one.")


def check_weights(weights: Float) -> Float:
    """Return the weights of the kept rows, refusing all zeros."""
    if not weights.any():
        raise DataError("all weights are zero; at least some rows need a positive weight.")
    return np.ascontiguousarray(weights)

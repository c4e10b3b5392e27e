"""Refusals of arrays that no fit can use, each with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from deepdml.design.blocks import CHUNK
from deepdml.design.encoding import Encoded
from deepdml.design.mapped import release
from deepdml.design.splits import MIN_FOLD_ROWS, MIN_TRAINING_ROWS
from deepdml.errors import DataError

Float = NDArray[np.float64]
_Lost = tuple[str, float, float]  # a column with its standard deviation and mean
_RANK_TOLERANCE = 1e-10  # share of a column's length, below which the other columns explain it up to rounding
_LARGEST = 1e100  # of outcomes and structural columns, whose products are summed
_FEW_CATEGORIES = 20  # so few are never an identifier
_FEW_STEPS = 256  # between neighbouring numbers of float32; a column with more is resolved, and not looked into
_NOISE = 1e-13  # share of its size by which a column varies that is constant up to rounding
_LOST = 0.05  # share of a standard deviation that may be lost to rounding, a quarter of a per cent of the variance
_MANY = 100  # among more covariates, those of an embedding, a few may be dead
_LEAST_SD = 1e-6  # below it, learners take a column for a constant
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
        check_range(name, column)
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


def check_range(name: str, values: Float) -> None:
    """Raise DataError for numbers whose squares do not add up to a finite number."""
    largest = float(np.abs(values).max())
    if largest > _LARGEST:
        raise DataError(f"{name!r} has values as large as {largest:.3g}; rescale it to below {_LARGEST:g}.")


def check_categories(*parts: Encoded | None) -> None:
    """Raise DataError for a factor of a part of the formula that has nearly as many categories as there are rows."""
    found = [(len(part.values), *item) for part in parts if part is not None for item in part.categories().items()]
    for n, expression, categories in found:
        if len(categories) <= max(_FEW_CATEGORIES, n / 2):
            continue
        how = (
            f"Its texts are numbers: convert them with pd.to_numeric(data[{expression!r}])."
            if are_numbers(categories)
            else "Leave it out, or put its categories together."
        )
        raise DataError(
            f"{expression!r} has {len(categories):,} categories in {n:,} rows, so that it names rows, which teaches "
            f"nothing. {how}"
        )


def are_numbers(texts: Sequence[object]) -> bool:
    """Return whether texts are numbers written out."""
    if not len(texts) or not all(isinstance(text, str) for text in texts):
        return False
    try:
        return bool(np.isfinite(np.asarray(texts, dtype=np.float64)).all())
    except ValueError:
        return False


def check_resolution(x: NDArray[np.float32], names: Sequence[str], original: Callable[[int], Float | None]) -> None:
    """Raise DataError for a covariate that float32 does not resolve, or that varies too little for the learners.

    Parameters
    ----------
    x : (n, p) float32 array
    names : sequence of str
        Of the p columns.
    original : callable
        Gives a column before it became float32, (n,); None for one that a transform of many columns makes.
    """
    if not x.size:
        return
    low, high = _bounds(x)
    span, step = high - low, np.spacing(np.maximum(np.abs(low), np.abs(high)))
    bad: list[_Lost] = []
    for j in np.flatnonzero((span < _FEW_STEPS * step) | (span < _FEW_STEPS * _LEAST_SD)).tolist():
        values = original(j)
        if values is not None:
            bad += _lost(names[j], values, _LEAST_SD)
    if bad and not (len(names) > _MANY and len(bad) < len(names) / 10):
        raise _lost_error(bad)


def check_inputs(names: Sequence[str], original: Callable[[int], Float | None]) -> None:
    """Raise DataError for a column that float32 does not resolve, among the few that a transform reads."""
    bad: list[_Lost] = []
    for j, name in enumerate(names if len(names) <= _MANY else ()):
        values = original(j)
        assert values is not None  # inputs are numbers and vectors
        bad += _lost(name, values)
    if bad:
        raise _lost_error(bad)


def _bounds(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the least and the largest value of each column; of a matrix in a file, no more than a chunk is held."""
    low, high = x[0].copy(), x[0].copy()
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        np.minimum(low, part.min(axis=0), out=low)
        np.maximum(high, part.max(axis=0), out=high)
        release(x)
    return low, high


def _lost(name: str, values: Float, least: float = 0.0) -> list[_Lost]:
    """Return a column that float32 does not resolve, or that varies by less than `least`; none if it is constant."""
    sd = float(values.std())
    if sd <= _NOISE * float(np.abs(values).max()):  # up to rounding
        return []
    rounding = float(np.sqrt(np.mean((values.astype(np.float32) - values) ** 2)))
    return [(name, sd, float(values.mean()))] if rounding > _LOST * sd or sd < least else []


def _lost_error(bad: Sequence[_Lost]) -> DataError:
    """Return the error for columns with their standard deviations and means."""
    name, sd, mean = bad[0]
    return DataError(
        f"{len(bad):,} covariate(s) vary so little that it is lost where nets compute in single precision: {name!r} "
        f"has mean {mean:.3g} and standard deviation {sd:.3g}. Standardize such columns, each in a term "
        "standardize(...) of its own, or leave them out."
    )


def check_x_names(names: Sequence[str]) -> None:
    """Raise DataError if two covariates have the same name."""
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"several covariates are called {', '.join(map(repr, twice))}; rename or drop one.")


def check_weights(weights: Float) -> Float:
    """Return the weights of the kept rows, refusing all zeros."""
    positive = int(np.count_nonzero(weights))
    if not positive:
        raise DataError("all weights are zero; at least some rows need a positive weight.")
    fewest = MIN_TRAINING_ROWS + MIN_FOLD_ROWS
    if positive < fewest:
        raise DataError(
            f"only {positive:,} row(s) have a positive weight, which are too few to cross-fit; at least {fewest} are "
            "needed."
        )
    return np.ascontiguousarray(weights)

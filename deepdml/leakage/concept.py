"""What is erased or probed for: the treatment as numbers, one column for each level beyond the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import DataError, OptionError, is_whole, list_rows

Float = NDArray[np.float64]

_MOST_LEVELS = 10  # as many distinct values as `dd.fit` takes for levels


@dataclass(frozen=True, slots=True)
class Concept:
    """The treatment of n rows.

    Parameters
    ----------
    values : (n, k) array
        The treatment itself if it is continuous, indicators of all levels but the first otherwise.
    names : tuple of k str
        Of the columns: the levels, or "treatment".
    discrete : bool
        Whether it has levels.
    codes : (n,) array of int
        Positions of the levels; zeros if it is continuous.
    """

    values: Float
    names: tuple[str, ...]
    discrete: bool
    codes: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.values)


def read_treatment(treatment: Any, n: int) -> Concept:
    """Return the treatment as a concept, or raise DataError.

    Up to ten distinct values are levels.
    """
    series = pd.Series(treatment)
    if len(series) != n:
        raise DataError(f"the treatment has {len(series):,} rows and the covariates {n:,}; they must be the same rows.")
    missing = series.isna().to_numpy()
    if missing.any():
        raise DataError(f"the treatment is missing in row(s) {list_rows(list(series.index[missing]))}.")
    codes, levels = pd.factorize(series, sort=True)
    if len(levels) < 2:
        raise DataError(f"the treatment is {levels[0]!r} in every row; there is nothing to tell apart.")
    if len(levels) > _MOST_LEVELS:
        if not pd.api.types.is_numeric_dtype(series):
            raise DataError(
                f"the treatment has {len(levels):,} levels that are no numbers; at most {_MOST_LEVELS} work."
            )
        values = series.to_numpy(float)[:, None]
        return Concept(values, ("treatment",), False, np.zeros(n, np.intp))
    values = (codes[:, None] == np.arange(1, len(levels))).astype(np.float64)
    return Concept(values, tuple(str(level) for level in levels[1:]), True, codes)


def read_matrix(name: str, values: Any) -> Float:
    """Return covariates as an (n, p) float64 array, or raise DataError."""
    try:
        matrix = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be numbers: {error}") from error
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise DataError(f"{name} must be an (n, p) array or frame; it has shape {matrix.shape}.")
    bad = ~np.isfinite(matrix).all(1)
    if bad.any():
        index = values.index if isinstance(values, pd.DataFrame | pd.Series) else np.arange(len(matrix))
        raise DataError(f"{name} are missing or infinite in row(s) {list_rows(list(index[bad]))}.")
    return matrix


def folds_of(n: int, k: int, seed: int, strata: NDArray[np.intp] | None = None) -> NDArray[np.intp]:
    """Return the fold of each row, at random and balanced within `strata`."""
    if not is_whole(k) or not 2 <= k <= n:
        raise OptionError(f"{k!r} folds of {n:,} rows; a whole number from 2 on is needed.")
    order = np.random.default_rng(seed).permutation(n)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
    folds = np.empty(n, np.intp)
    folds[order] = np.arange(n) % k
    return folds


def strength_of(value: float) -> float:
    """Return a strength, a number from 0 to 1."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        raise OptionError(f"strength={value!r} is not a number from 0 (nothing is removed) to 1.")
    return float(value)

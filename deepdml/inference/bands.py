"""Uniform confidence bands of several estimates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

DRAWS = 100_000  # the simulated 95 % quantile then varies by less than half a per cent


def sup_t(matrix: Float, alpha: float, seed: int = 0, df: int | None = None) -> float:
    """Return the critical value of a band that covers all estimates at once: the quantile of the largest abs(z).

    Parameters
    ----------
    matrix : (q, q) array
        Covariance of the estimates; those without variance don't count.
    alpha : float
        One minus the level of the band.
    seed : int
        Of the simulated normal draws.
    df : int, optional
        Degrees of freedom of a multivariate t instead of the normal.

    References
    ----------
    Montiel Olea & Plagborg-Moller, "Simultaneous confidence bands: Theory, implementation, and an application to SVARs"
    (Journal of Applied Econometrics 2019), algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> round(sup_t(np.eye(1), 0.05), 1), round(sup_t(np.eye(10), 0.05), 1), round(sup_t(np.ones((10, 10)), 0.05), 1)
    (2.0, 2.8, 2.0)
    """
    scale = np.sqrt(np.diag(matrix))
    used = scale > 0
    if not used.any():
        return 0.0
    correlation = matrix[np.ix_(used, used)] / np.outer(scale[used], scale[used])
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    generator = np.random.default_rng(seed)
    draws = generator.standard_normal((DRAWS, len(root)))
    largest = np.abs(draws @ root.T).max(axis=1)
    if df is not None:
        largest /= np.sqrt(generator.chisquare(df, DRAWS) / df)
    return float(np.quantile(largest, 1 - alpha))

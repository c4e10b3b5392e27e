"""Covariance of a weighted mean of influence values.

Every estimator sees one array, the contributions w_i (psi_i - mu) / sum(w): their sum is zero and the covariance of
the estimate is a sum of outer products over rows (HC0, HC1) or over sums within clusters. An estimator is one
function entered in the registry; another one (HAC, Driscoll-Kraay, Conley) touches nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import DataError, OptionError, unknown_option

Float = NDArray[np.float64]
Codes = NDArray[np.intp]

FEW_CLUSTERS = 20
"""Below this many clusters a summary carries a warning (Cameron & Miller 2015: "few" starts between 20 and 50)."""


@dataclass(frozen=True, slots=True)
class Contributions:
    """What an estimator of the covariance reads.

    Parameters
    ----------
    values : (n, q) array
        w_i (psi_i - mu) / sum(w), in the units of the estimand.
    df : int
        Number of estimated coefficients, the k of n / (n - k).
    groups : (n, g) array of int, or None
        Cluster codes, one column for each way.
    group_names : tuple of str
        Names of the ways, for messages.
    use_correction : bool
        Whether clustered covariances get the factor G/(G-1) (n-1)/(n-k).
    """

    values: Float
    df: int
    groups: Codes | None
    group_names: tuple[str, ...]
    use_correction: bool

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class CovarianceResult:
    """The covariance of an estimate, and how it came about.

    Parameters
    ----------
    matrix : (q, q) array
        Symmetric and positive semi-definite.
    cov_type : str
        "HC0", "HC1" or "cluster".
    description : str
        One sentence for a table's notes.
    n_clusters : tuple of int
        Clusters in each way; empty without clustering.
    notes : tuple of str
        What a referee would want to know: few clusters, eigenvalues set to zero.
    """

    matrix: Float
    cov_type: str
    description: str
    n_clusters: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def covariance(
    psi: Float,
    weights: Float | None = None,
    cov_type: str = "HC1",
    groups: Codes | None = None,
    df: int = 1,
    *,
    group_names: tuple[str, ...] = (),
    use_correction: bool = True,
) -> CovarianceResult:
    """Return the covariance of the weighted mean of influence values.

    Parameters
    ----------
    psi : (n, q) array
        Influence values, in the units of the estimand.
    weights : (n,) array, optional
        Sampling weights; only their ratios matter. Rows of weight zero count as rows and clusters, as in statsmodels.
    cov_type : str
        "HC0", "HC1" or "cluster", in any case.
    groups : (n,) or (n, g) array of int, optional
        Cluster codes, one column for each way of clustering.
    df : int
        Number of estimated coefficients k in the corrections n/(n-k) and G/(G-1) (n-1)/(n-k).
    group_names : tuple of str
        Names of the ways, for messages.
    use_correction : bool
        False leaves out the small-sample factor of clustered covariances.

    Returns
    -------
    CovarianceResult

    Raises
    ------
    OptionError
        For an unknown `cov_type`, for "nonrobust", or for "cluster" without groups.
    DataError
        For fewer than two clusters, for shapes that do not fit, or for no more rows than coefficients.

    References
    ----------
    Cameron, Gelbach & Miller, "Robust inference with multiway clustering" (JBES 2011), equations 2.11 and 2.16.

    Examples
    --------
    >>> import numpy as np
    >>> float(covariance(np.array([[1.0], [2.0], [3.0], [6.0]]), cov_type="HC0").matrix[0, 0])
    0.875
    """
    estimator = _ESTIMATORS[_canonical(cov_type)]
    psi = np.asarray(psi, dtype=np.float64)
    codes = None if groups is None else np.asarray(groups, dtype=np.intp).reshape(psi.shape[0], -1)
    if psi.shape[0] <= df:
        raise DataError(
            f"{psi.shape[0]} row(s) cannot give standard errors for {df} coefficient(s); more rows are needed."
        )
    total = float(psi.shape[0]) if weights is None else float(weights.sum())
    centered = psi - weighted_mean(psi, weights)
    values = centered / total if weights is None else centered * (weights / total)[:, None]
    names = group_names or tuple(f"groups {j + 1}" for j in range(0 if codes is None else codes.shape[1]))
    return estimator(Contributions(values, df, codes, names, use_correction))


def weighted_mean(psi: Float, weights: Float | None = None) -> Float:
    """Return the weighted mean over rows: (n, q) to (q,)."""
    if weights is None:
        return np.asarray(psi.mean(axis=0))
    return np.asarray(weights @ psi / weights.sum())


def positive_part(matrix: Float) -> tuple[Float, bool]:
    """Return a symmetric matrix with its negative eigenvalues set to zero, and whether there were any.

    Eigenvalues within rounding error of zero don't count, so that a singular matrix is left as it is.
    """
    symmetric = 0.5 * (matrix + matrix.T)
    eigenvalues, vectors = np.linalg.eigh(symmetric)
    # 1e-12 of the largest eigenvalue is some thousand times the rounding error of eigh
    if eigenvalues[0] >= -1e-12 * max(abs(eigenvalues[-1]), abs(eigenvalues[0])):
        return symmetric, False
    fixed = (vectors * np.maximum(eigenvalues, 0.0)) @ vectors.T
    return 0.5 * (fixed + fixed.T), True


def combine_codes(codes: Codes) -> Codes:
    """Return one code for each distinct row of codes: (n, g) to (n,), from 0 up."""
    combined = np.unique(codes[:, 0], return_inverse=True)[1]
    for column in codes.T[1:]:
        level = np.unique(column, return_inverse=True)[1]
        # made dense again after each way, so the product of numbers of clusters can't overflow
        combined = np.unique(combined * (level.max() + 1) + level, return_inverse=True)[1]
    return np.asarray(combined, dtype=np.intp)


def _canonical(cov_type: str) -> str:
    """Return the registered spelling of a covariance type."""
    key = str(cov_type).lower()
    if key == "nonrobust":
        raise OptionError(
            "cov_type 'nonrobust' does not exist here: standard errors come from influence values, whose plain "
            "covariance is already robust to heteroskedasticity. Use 'HC0', 'HC1' (default) or 'cluster'."
        )
    names = {name.lower(): name for name in _ESTIMATORS}
    if key not in names:
        raise unknown_option("cov_type", cov_type, _ESTIMATORS)
    return names[key]


def _hc0(data: Contributions) -> CovarianceResult:
    """Sum of outer products over rows."""
    return CovarianceResult(data.values.T @ data.values, "HC0", "Standard errors are heteroskedasticity robust (HC0).")


def _hc1(data: Contributions) -> CovarianceResult:
    """HC0 times n / (n - k)."""
    matrix = data.values.T @ data.values * (data.n / (data.n - data.df))
    return CovarianceResult(matrix, "HC1", "Standard errors are heteroskedasticity robust (HC1).")


def _cluster(data: Contributions) -> CovarianceResult:
    """Inclusion and exclusion over the ways of clustering, each term with its own correction."""
    if data.groups is None:
        raise OptionError(
            "cov_type 'cluster' needs groups: one array of cluster labels, or one for each way of clustering."
        )
    n_ways = data.groups.shape[1]
    counts = tuple(int(np.unique(column).size) for column in data.groups.T)
    for name, count in zip(data.group_names, counts, strict=True):
        if count < 2:
            raise DataError(
                f"cluster variable {name!r} has {count} cluster; at least two are needed to compute standard errors."
            )
    matrix = np.zeros((data.values.shape[1],) * 2)
    for size in range(1, n_ways + 1):
        for ways in combinations(range(n_ways), size):
            matrix += (-1.0) ** (size + 1) * _one_way(data, combine_codes(data.groups[:, list(ways)]))
    notes = [
        _few_clusters(name, count) for name, count in zip(data.group_names, counts, strict=True) if count < FEW_CLUSTERS
    ]
    fixed = False
    if n_ways > 1:
        matrix, fixed = positive_part(matrix)
    if fixed:
        notes.append(
            "The multi-way clustered covariance had negative eigenvalues, which were set to zero (Cameron, Gelbach & "
            "Miller 2011); compare with clustering one way at a time."
        )
    text = f"Standard errors are clustered by {' and '.join(data.group_names)}."
    return CovarianceResult(matrix, "cluster", text, counts, tuple(notes))


def _one_way(data: Contributions, codes: Codes) -> Float:
    """Return the covariance clustered by one set of codes."""
    n_groups = int(codes.max()) + 1
    sums = np.stack([np.bincount(codes, weights=column, minlength=n_groups) for column in data.values.T], axis=1)
    matrix = np.asarray(sums.T @ sums)
    if data.use_correction:
        matrix *= n_groups / (n_groups - 1.0) * ((data.n - 1.0) / (data.n - data.df))
    return matrix


def _few_clusters(name: str, count: int) -> str:
    return (
        f"Only {count} clusters in {name!r}: clustered standard errors are too small with few clusters, and normal "
        "critical values too narrow. Compare with a coarser or finer level, and read borderline p-values with care."
    )


_ESTIMATORS: dict[str, Callable[[Contributions], CovarianceResult]] = {"HC0": _hc0, "HC1": _hc1, "cluster": _cluster}

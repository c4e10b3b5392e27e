"""Covariance of a weighted mean of influence values.

Every estimator sees one array, the contributions w_i (psi_i - mu) / sum(w): their sum is zero and the covariance of
the estimate is a sum of outer products over rows (HC0, HC1), over sums within clusters, or over pairs of rows near in
time or space. An estimator is one function entered in the registry; another one touches nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from deepdml.errors import DataError, OptionError, unknown_option
from deepdml.inference.contributions import (
    FEW_CLUSTERS,
    Codes,
    Contributions,
    Correction,
    CovarianceResult,
    Float,
    Serial,
    Space,
    combine_codes,
    positive_part,
    sum_by,
)
from deepdml.inference.serial import driscoll_kraay, hac, panel_hac
from deepdml.inference.spatial import conley

_ALIASES = {"nw-panel": "hac-panel", "nw-groupsum": "driscoll-kraay", "hac-groupsum": "driscoll-kraay"}
"""statsmodels' other names."""


def covariance(
    psi: Float,
    weights: Float | None = None,
    cov_type: str = "HC1",
    groups: Codes | None = None,
    df: int = 1,
    *,
    group_names: tuple[str, ...] = (),
    use_correction: bool | str | None = None,
    serial: Serial | None = None,
    space: Space | None = None,
) -> CovarianceResult:
    """Return the covariance of the weighted mean of influence values.

    Parameters
    ----------
    psi : (n, q) array
        Influence values, in the units of the estimand.
    weights : (n,) array, optional
        Sampling weights; only their ratios matter. Rows of weight zero count as rows and clusters, as in statsmodels.
    cov_type : str
        One of `COV_TYPES`, in any case, or statsmodels' other name of it.
    groups : (n,) or (n, g) array of int, optional
        Cluster codes, one column for each way of clustering.
    df : int
        Number of estimated coefficients k in the corrections n/(n-k) and G/(G-1) (n-1)/(n-k).
    group_names : tuple of str
        Names of the ways, for messages.
    use_correction : bool, "hac" or "cluster", optional
        Small-sample factor: none, the type's own, n/(n-k), or G/(G-1) (n-1)/(n-k). By default as statsmodels.
    serial : Serial, optional
        Time, for "HAC", "hac-panel" and "driscoll-kraay".
    space : Space, optional
        Coordinates, for "conley".

    Returns
    -------
    CovarianceResult

    Raises
    ------
    OptionError
        For an unknown `cov_type`, for "nonrobust", or for a type without what it needs.
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
    name = canonical(cov_type)
    psi = np.asarray(psi, dtype=np.float64)
    codes = None if groups is None else np.asarray(groups, dtype=np.intp).reshape(psi.shape[0], -1)
    if psi.shape[0] <= df:
        raise DataError(
            f"{psi.shape[0]} row(s) cannot give standard errors for {df} coefficient(s); more rows are needed."
        )
    values, shares = contributions(psi, weights)
    names = group_names or tuple(f"groups {j + 1}" for j in range(0 if codes is None else codes.shape[1]))
    correction = _correction(name, use_correction)
    return _ESTIMATORS[name](Contributions(values, shares, df, codes, names, correction, serial, space))


def contributions(psi: Float, weights: Float | None) -> tuple[Float, Float]:
    """Return w_i (psi_i - mu) / sum(w), (n, q), and w_i / sum(w), (n,)."""
    n = psi.shape[0]
    shares = np.full(n, 1.0 / n) if weights is None else weights / weights.sum()
    return (psi - weighted_mean(psi, weights)) * shares[:, None], shares


def weighted_mean(psi: Float, weights: Float | None = None) -> Float:
    """Return the weighted mean over rows: (n, q) to (q,)."""
    if weights is None:
        return np.asarray(psi.mean(axis=0))
    return np.asarray(weights @ psi / weights.sum())


def canonical(cov_type: str) -> str:
    """Return the registered spelling of a covariance type.

    Raises
    ------
    OptionError
        If it is unknown.
    """
    key = str(cov_type).lower()
    key = _ALIASES.get(key, key)
    if key == "nonrobust":
        raise OptionError(
            "cov_type 'nonrobust' does not exist here: standard errors come from influence values, whose plain "
            "covariance is already robust to heteroskedasticity. Use 'HC0', 'HC1' (default) or 'cluster'."
        )
    names = {name.lower(): name for name in COV_TYPES}
    if key not in names:
        raise unknown_option("cov_type", cov_type, COV_TYPES)
    return names[key]


_CORRECTIONS: dict[str, Correction] = {
    "HC1": "hac",
    "cluster": "cluster",
    "cluster-crv3": "cluster",
    "hac-panel": "hac",
    "driscoll-kraay": "cluster",
}
"""statsmodels' defaults; the other types have none."""


def _correction(cov_type: str, asked: bool | str | None) -> Correction:
    """Return the small-sample factor that was asked for; True is the type's own, and n/(n-k) where it has none."""
    if cov_type in ("HC0", "HC1") or asked is None:
        return _CORRECTIONS.get(cov_type)
    if asked is True:
        return _CORRECTIONS.get(cov_type, "hac")
    if asked is False:
        return None
    return "hac" if asked == "hac" else "cluster"


def _hc0(data: Contributions) -> CovarianceResult:
    """Sum of outer products over rows."""
    return CovarianceResult(data.values.T @ data.values, "HC0", "Standard errors are heteroskedasticity robust (HC0).")


def _hc1(data: Contributions) -> CovarianceResult:
    """HC0 times n / (n - k)."""
    matrix = data.values.T @ data.values * data.factor(data.n)
    return CovarianceResult(matrix, "HC1", "Standard errors are heteroskedasticity robust (HC1).")


def _cluster(data: Contributions) -> CovarianceResult:
    """Inclusion and exclusion over the ways of clustering, each term with its own correction."""
    groups, counts = _clusters(data, "cluster")
    n_ways = groups.shape[1]
    matrix = np.zeros((data.values.shape[1],) * 2)
    for size in range(1, n_ways + 1):
        for ways in combinations(range(n_ways), size):
            matrix += (-1.0) ** (size + 1) * _one_way(data, combine_codes(groups[:, list(ways)]))
    notes = _few_clusters(data.group_names, counts)
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
    sums = sum_by(codes, data.values, n_groups)
    return np.asarray(sums.T @ sums * data.factor(n_groups))


def _jackknife(data: Contributions) -> CovarianceResult:
    """Delete-one-cluster jackknife of the mean of psi around the estimate.

    Without cluster g the mean moves by s_g / (1 - W_g), with s_g the cluster's sum of contributions and W_g its share
    of the weights; statsmodels' factor is (G - 1) / G.
    """
    groups, counts = _clusters(data, "cluster-crv3")
    if groups.shape[1] > 1:
        raise OptionError(
            f"cov_type 'cluster-crv3' clusters in one way, and there are {groups.shape[1]} "
            f"({', '.join(data.group_names)}); use cov_type='cluster', or give one of them."
        )
    codes = combine_codes(groups)
    left = 1.0 - np.bincount(codes, weights=data.shares)
    if (left <= 0).any():
        raise DataError(f"one cluster of {data.group_names[0]!r} has all the weight, so it cannot be left out.")
    moves = sum_by(codes, data.values, counts[0]) / left[:, None]
    matrix = moves.T @ moves * (1.0 if data.correction is None else (counts[0] - 1.0) / counts[0])
    text = f"Standard errors are clustered by {data.group_names[0]}, by the delete-one-cluster jackknife (CRV3)."
    return CovarianceResult(matrix, "cluster-crv3", text, counts, tuple(_few_clusters(data.group_names, counts, True)))


def _clusters(data: Contributions, cov_type: str) -> tuple[Codes, tuple[int, ...]]:
    """Return the cluster codes and the number of clusters in each way."""
    if data.groups is None:
        raise OptionError(
            f"cov_type {cov_type!r} needs groups: one array of cluster labels, or one for each way of clustering."
        )
    counts = tuple(int(np.unique(column).size) for column in data.groups.T)
    for name, count in zip(data.group_names, counts, strict=True):
        if count < 2:
            raise DataError(
                f"cluster variable {name!r} has {count} cluster; at least two are needed to compute standard errors."
            )
    return data.groups, counts


def _few_clusters(names: tuple[str, ...], counts: tuple[int, ...], jackknife: bool = False) -> list[str]:
    """Return what to do about few clusters; the jackknife is advised where it was not taken."""
    trouble = (
        "normal critical values are too narrow with few clusters. Use use_t=True"
        if jackknife
        else "clustered standard errors are too small with few clusters, and normal critical values too narrow. "
        "Use cov_type='cluster-crv3' with use_t=True"
    )
    return [
        f"Only {count} clusters in {name!r}: {trouble}, and compare with bootstrap()."
        for name, count in zip(names, counts, strict=True)
        if count < FEW_CLUSTERS
    ]


_ESTIMATORS: dict[str, Callable[[Contributions], CovarianceResult]] = {
    "HC0": _hc0,
    "HC1": _hc1,
    "cluster": _cluster,
    "cluster-crv3": _jackknife,
    "HAC": hac,
    "hac-panel": panel_hac,
    "driscoll-kraay": driscoll_kraay,
    "conley": conley,
}

COV_TYPES = tuple(_ESTIMATORS)
"""The covariance types, as they are spelled."""

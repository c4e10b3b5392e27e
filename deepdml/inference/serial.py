"""Covariances of rows that depend on each other over time: Newey-West, panel HAC and Driscoll-Kraay.

All three are one sum over lags: of sums by period (Driscoll-Kraay), of one series, or of many series side by side. Two
sums belong together when their keys differ by the lag, so series with gaps need no filling.
"""

from __future__ import annotations

import numpy as np

from deepdml.errors import DataError, OptionError
from deepdml.inference.contributions import (
    FEW_CLUSTERS,
    Codes,
    Contributions,
    CovarianceResult,
    Float,
    Kernel,
    Serial,
    combine_codes,
    positive_part,
    sum_by,
)


def hac(data: Contributions) -> CovarianceResult:
    """Return Newey and West's covariance of one time series.

    References
    ----------
    Newey & West, "A Simple, Positive Semi-definite, Heteroskedasticity and Autocorrelation Consistent Covariance
    Matrix" (Econometrica 1987), equation 5.
    """
    serial = _need(data, "HAC")
    n_periods = np.unique(serial.periods).size
    if n_periods < data.n:
        raise DataError(
            f"cov_type 'HAC' is for one time series, but {data.n:,} rows have {n_periods:,} distinct values of "
            f"{serial.name!r}. For a panel use 'hac-panel' with groups, or 'driscoll-kraay'."
        )
    matrix, lags = _lagged(serial, serial.periods, data.values, n_periods)
    return _finish(data, "HAC", matrix, lags, "robust to autocorrelation (HAC)", data.n, ())


def panel_hac(data: Contributions) -> CovarianceResult:
    """Return the covariance of rows that depend on rows of the same group at nearby periods."""
    serial = _need(data, "hac-panel")
    if data.groups is None or data.groups.shape[1] != 1:
        raise OptionError("cov_type 'hac-panel' needs groups in one way: the unit whose rows are a time series.")
    codes = combine_codes(data.groups)
    n_groups, name = int(codes.max()) + 1, data.group_names[0]
    if n_groups < 2:
        raise DataError(f"{name!r} has one group; at least two are needed. For one time series use cov_type='HAC'.")
    twice = data.n - np.unique(combine_codes(np.stack([codes, serial.periods], axis=1))).size
    if twice:
        raise DataError(
            f"{twice:,} row(s) repeat a pair of {name!r} and {serial.name!r}, which must tell the rows of a panel "
            f"apart. Cluster by {name!r} (cov_type='cluster') instead, or give a finer time."
        )
    # the stride keeps the last period of a group and the first of the next further apart than any lag
    n_periods = np.unique(serial.periods).size
    stride = int(np.ptp(serial.periods)) + _lags(serial, n_periods) + 1
    keys = codes * stride + (serial.periods - serial.periods.min())
    matrix, lags = _lagged(serial, keys, data.values, n_periods)
    text = f"robust to autocorrelation within {name} (panel HAC)"
    return _finish(data, "hac-panel", matrix, lags, text, n_groups, (n_groups,))


def driscoll_kraay(data: Contributions) -> CovarianceResult:
    """Return the covariance of a panel whose rows depend on all rows of the same and of nearby periods.

    References
    ----------
    Driscoll & Kraay, "Consistent Covariance Matrix Estimation with Spatially Dependent Panel Data" (Review of Economics
    and Statistics 1998), equation 5.
    """
    serial = _need(data, "driscoll-kraay")
    periods, codes = np.unique(serial.periods, return_inverse=True)
    if periods.size < 2:
        raise DataError(f"{serial.name!r} has one period; at least two are needed for Driscoll-Kraay standard errors.")
    matrix, lags = _lagged(serial, periods, sum_by(codes, data.values, periods.size), periods.size)
    text = "robust to dependence within and between periods (Driscoll-Kraay)"
    notes: tuple[str, ...] = ()
    if periods.size < FEW_CLUSTERS:
        notes = (
            f"Only {periods.size} periods in {serial.name!r}: Driscoll-Kraay standard errors rest on many periods, and "
            "are too small with few. Use use_t=True, and compare with clustering.",
        )
    return _finish(data, "driscoll-kraay", matrix, lags, text, periods.size, (periods.size,), notes)


def _need(data: Contributions, cov_type: str) -> Serial:
    if data.serial is None:
        raise OptionError(f"cov_type {cov_type!r} needs time: the period of each row, as numbers or dates.")
    return data.serial


def _lags(serial: Serial, n_periods: int) -> int:
    """Return the longest lag that counts; by default statsmodels' rule."""
    if serial.maxlags is not None:
        return serial.maxlags
    return int(np.floor(4 * (n_periods / 100.0) ** (2.0 / 9.0)))


def _weights(kernel: Kernel, lags: int) -> Float:
    return np.ones(lags + 1) if kernel == "uniform" else 1.0 - np.arange(lags + 1) / (lags + 1.0)


def _lagged(serial: Serial, keys: Codes, sums: Float, n_periods: int) -> tuple[Float, int]:
    """Return the sum over lags of products of sums (m, q) whose distinct keys (m,) differ by the lag, and the lags."""
    order = np.argsort(keys)
    keys, sums = keys[order], sums[order]
    lags = _lags(serial, n_periods)
    matrix = sums.T @ sums
    for lag, weight in enumerate(_weights(serial.kernel, lags)[1:], start=1):
        found = np.minimum(np.searchsorted(keys, keys - lag), keys.size - 1)
        later = np.flatnonzero(keys[found] == keys - lag)
        product = sums[later].T @ sums[found[later]]
        matrix += weight * (product + product.T)
    return matrix, lags


def _finish(
    data: Contributions,
    cov_type: str,
    matrix: Float,
    lags: int,
    text: str,
    n_sums: int,
    counts: tuple[int, ...],
    notes: tuple[str, ...] = (),
) -> CovarianceResult:
    """Return the result, made positive semi-definite and with the small-sample factor of `n_sums` sums."""
    matrix, fixed = positive_part(matrix * data.factor(n_sums))
    kernel = "Bartlett" if data.serial is None or data.serial.kernel == "bartlett" else "uniform"
    if fixed:
        notes += (
            f"The {cov_type} covariance had negative eigenvalues, which were set to zero; the Bartlett kernel with "
            "more lags has none, or use another covariance.",
        )
    text = f"Standard errors are {text}, with {lags} lags and a {kernel} kernel."
    return CovarianceResult(matrix, cov_type, text, counts, notes)

"""Descriptive summaries of the coefficient functions over the rows of the fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.labels import KeptRows
from deepdml.errors import OptionError

Float = NDArray[np.float64]

_BARS = "▁▂▃▄▅▆▇█"
_QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95)


def describe(theta: Float, names: tuple[str, ...], weights: Float | None, bins: int = 16) -> pd.DataFrame:
    """Return mean, sd, quantiles, share positive and a text histogram of each coefficient.

    Parameters
    ----------
    theta : (n, d) array
        Cross-fitted coefficients of each row.
    names : tuple of str
        Names of the d coefficients.
    weights : (n,) array or None
        Sampling weights.
    bins : int
        Characters in the histogram.

    Returns
    -------
    DataFrame
        One row per coefficient. The histogram runs from the 1st to the 99th percentile, rows outside in its ends.
    """
    rows = [_describe_one(column, weights, bins) for column in theta.T]
    return pd.DataFrame(rows, index=pd.Index(names, name="coefficient"))


def compare(theta: Float, truth: Float, names: tuple[str, ...], weights: Float | None, bins: int = 16) -> pd.DataFrame:
    """Return what `describe` does of estimated and of true coefficients, row by row, and their correlation.

    Parameters
    ----------
    theta, truth : (n, d) array
        Cross-fitted and true coefficients of each row.
    names, weights, bins
        As in `describe`.

    Returns
    -------
    DataFrame
        Two rows per coefficient, "fit" and "truth", whose histograms run between the same ends.

    Raises
    ------
    OptionError
        For a truth of another shape.
    """
    if truth.shape != theta.shape:
        raise OptionError(f"truth has shape {truth.shape}, needs that of theta, (n, d) = {theta.shape}.")
    rows = []
    for pair in zip(theta.T, truth.T, strict=True):
        points = [_quantiles(values, weights, (0.01, 0.99)) for values in pair]
        ends = np.array([min(p[0] for p in points), max(p[1] for p in points)])
        covariance = np.cov(np.stack(pair), aweights=weights)
        scale = float(np.sqrt(covariance[0, 0] * covariance[1, 1]))
        correlation = float(covariance[0, 1]) / scale if scale else float("nan")
        rows += [_describe_one(values, weights, bins, ends) | {"correlation": correlation} for values in pair]
    table = pd.DataFrame(rows, index=pd.MultiIndex.from_product([names, ["fit", "truth"]], names=["coefficient", "of"]))
    return table[[*(c for c in table.columns if c != "histogram"), "histogram"]]


def true_theta(truth: object, kept: KeptRows) -> Float:
    """Return the true coefficients (n, d) of the rows of a fit, a frame's by their labels.

    Raises
    ------
    OptionError, DataError
        For what holds no numbers, and for other row labels than the data's.
    """
    if isinstance(truth, pd.DataFrame) and len(truth) in kept.lengths:
        truth = kept.take("truth", truth)
    try:
        return np.asarray(truth, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise OptionError(f"truth holds something other than numbers ({error}); needed are those of theta.") from error


def _describe_one(values: Float, weights: Float | None, bins: int, ends: Float | None = None) -> dict[str, float | str]:
    mean = float(np.average(values, weights=weights))
    sd = float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
    points = _quantiles(values, weights, (*_QUANTILES, 0.01, 0.99))
    quantiles = {f"{100 * q:g}%": float(v) for q, v in zip(_QUANTILES, points, strict=False)}
    share = float(np.average(values > 0, weights=weights))
    return {
        "mean": mean,
        "sd": sd,
        **quantiles,
        "share_positive": share,
        "histogram": sparkline(values, weights, points[-2:] if ends is None else ends, bins),
    }


def _quantiles(values: Float, weights: Float | None, levels: tuple[float, ...]) -> Float:
    """Return quantiles: interpolated without weights, of the weighted distribution function with them."""
    if weights is None:
        return np.asarray(np.quantile(values, levels))
    return np.asarray(np.quantile(values, levels, weights=weights, method="inverted_cdf"))


def sparkline(values: Float, weights: Float | None, ends: Float, bins: int) -> str:
    """Return a histogram in one line of text; values that are all equal fill one bar.

    Examples
    --------
    >>> import numpy as np
    >>> sparkline(np.array([0.0, 1.0, 1.0, 2.0]), None, np.array([0.0, 2.0]), 3)
    '▄█▄'
    """
    if not ends[1] > ends[0]:
        return _BARS[-1]
    counts = np.histogram(np.clip(values, *ends), bins=bins, range=(float(ends[0]), float(ends[1])), weights=weights)[0]
    heights = np.ceil(counts / counts.max() * len(_BARS)).astype(int)
    return "".join(_BARS[max(height, 1) - 1] for height in heights)

"""HAC, panel HAC and Driscoll-Kraay against statsmodels' sandwiches of a regression of psi on a constant."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.sandwich_covariance import (
    cov_hac_simple,
    cov_nw_groupsum,
    cov_nw_panel,
    weights_bartlett,
    weights_uniform,
)

from deepdml.errors import DataError, OptionError
from deepdml.inference import CovarianceResult, Serial, covariance

KERNELS = {"bartlett": weights_bartlett, "uniform": weights_uniform}
CLOSE = 1e-10  # relative: two orders of summation of some hundred doubles


def series(n: int = 150, seed: int = 0) -> np.ndarray:
    """An autocorrelated column (n,), whose covariance with lags differs from the one without."""
    noise = np.random.default_rng(seed).normal(size=n + 5)
    return 1.0 + sum(noise[j : j + n] for j in range(5))


def panel(units: int = 12, periods: int = 15, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, units and periods of an unbalanced panel stacked by unit, with shocks shared by a period."""
    rng = np.random.default_rng(seed)
    unit, period = np.repeat(np.arange(units), periods), np.tile(np.arange(periods), units)
    values = np.cumsum(rng.normal(size=periods))[period] + np.concatenate([series(periods, s) for s in range(units)])
    # the first periods of some units are missing: without gaps, statsmodels' lags by position are lags in time
    kept = period >= rng.integers(0, 5, units)[unit]
    return values[kept], unit[kept], period[kept]


def of(psi: np.ndarray, kind: str, *, weights: np.ndarray | None = None, **keywords: object) -> CovarianceResult:
    return covariance(psi[:, None], weights, kind, **keywords)  # type: ignore[arg-type]


def mean_regression(psi: np.ndarray, weights: np.ndarray | None = None) -> object:
    return sm.WLS(psi, np.ones(len(psi)), weights=1.0 if weights is None else weights).fit()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("correction", [False, True])
@pytest.mark.parametrize("kernel", ["bartlett", "uniform"])
@pytest.mark.parametrize("lags", [0, 1, 6])
def test_hac_agrees_with_statsmodels(lags: int, kernel: str, correction: bool, weighted: bool) -> None:
    psi = series()
    weights = np.random.default_rng(5).uniform(0.5, 2.0, psi.size) if weighted else None
    fit = mean_regression(psi, weights)
    expected = cov_hac_simple(fit, nlags=lags, weights_func=KERNELS[kernel], use_correction=correction)
    serial = Serial(np.arange(psi.size), "t", lags, kernel)
    found = of(psi, "HAC", weights=weights, serial=serial, use_correction=correction)
    assert found.matrix[0, 0] == pytest.approx(expected[0, 0], rel=CLOSE)


def test_default_lags_are_those_of_statsmodels() -> None:
    psi = series()
    expected = cov_hac_simple(mean_regression(psi), use_correction=False)  # floor(4 (150 / 100)^(2/9)) = 4
    found = of(psi, "HAC", serial=Serial(np.arange(psi.size)))
    assert found.matrix[0, 0] == pytest.approx(expected[0, 0], rel=CLOSE)
    assert "4 lags" in found.description


def test_rows_need_not_be_sorted_and_gaps_count() -> None:
    psi = series()
    kept = np.setdiff1d(np.arange(150), [20, 21, 70])
    psi[[20, 21, 70]] = psi[kept].mean()  # rows without a contribution: what a gap filled with zeros has
    full = of(psi, "HAC", serial=Serial(np.arange(150), "t", 5))
    order = np.random.default_rng(0).permutation(kept)
    short = of(psi[order], "HAC", serial=Serial(order, "t", 5))
    # the mean over 147 rows is not that over 150, which divides the sums
    assert short.matrix[0, 0] * 147**2 == pytest.approx(full.matrix[0, 0] * 150**2, rel=1e-8)
    closed = of(psi[kept], "HAC", serial=Serial(np.arange(147), "t", 5))
    assert closed.matrix[0, 0] != pytest.approx(short.matrix[0, 0], rel=1e-6)


@pytest.mark.parametrize("correction", [False, "hac", "cluster"])
@pytest.mark.parametrize("kernel", ["bartlett", "uniform"])
@pytest.mark.parametrize("lags", [0, 3])
def test_panel_hac_agrees_with_statsmodels(lags: int, kernel: str, correction: bool | str) -> None:
    psi, unit, period = panel()
    starts = np.flatnonzero(np.diff(unit, prepend=-1))
    bounds = list(zip(starts, [*starts[1:], psi.size], strict=True))
    expected = cov_nw_panel(mean_regression(psi), lags, bounds, KERNELS[kernel], use_correction=correction)
    order = np.random.default_rng(2).permutation(psi.size)
    found = of(
        psi[order],
        "hac-panel",
        groups=unit[order],
        serial=Serial(period[order], "t", lags, kernel),
        use_correction=correction,
    )
    assert found.matrix[0, 0] == pytest.approx(expected[0, 0], rel=CLOSE)
    assert found.n_clusters == (12,)


@pytest.mark.parametrize("correction", [False, "hac", "cluster"])
@pytest.mark.parametrize("kernel", ["bartlett", "uniform"])
@pytest.mark.parametrize("lags", [0, 1, 4])
def test_driscoll_kraay_agrees_with_statsmodels(lags: int, kernel: str, correction: bool | str) -> None:
    psi, _, period = panel()
    fit = mean_regression(psi)
    expected = cov_nw_groupsum(fit, lags, period, KERNELS[kernel], use_correction=correction)[0, 0]
    serial = Serial(period, "t", lags, kernel)
    for name in ("driscoll-kraay", "hac-groupsum", "nw-groupsum"):
        found = of(psi, name, serial=serial, use_correction=correction)
        # the uniform kernel can be negative, which statsmodels reports as it is
        assert found.matrix[0, 0] == pytest.approx(max(expected, 0.0), rel=CLOSE)
    assert (found.cov_type, found.n_clusters) == ("driscoll-kraay", (15,))


def test_defaults_of_the_correction_are_those_of_statsmodels() -> None:
    psi, unit, period = panel()
    serial = Serial(period, "t", 2)
    fit = sm.OLS(psi, np.ones(psi.size))
    one = fit.fit(cov_type="hac-panel", cov_kwds={"groups": unit, "maxlags": 2})
    two = fit.fit(cov_type="hac-groupsum", cov_kwds={"time": period, "maxlags": 2})
    assert of(psi, "nw-panel", groups=unit, serial=serial).matrix[0, 0] == pytest.approx(one.bse[0] ** 2, rel=CLOSE)
    assert of(psi, "driscoll-kraay", serial=serial).matrix[0, 0] == pytest.approx(two.bse[0] ** 2, rel=CLOSE)


def test_columns_are_treated_jointly() -> None:
    """A linear combination of estimates has the combination of their covariance."""
    psi, unit, period = panel()
    both = np.column_stack([psi, np.sin(psi)])
    serial, mix = Serial(period, "t", 3), np.array([1.0, -2.0])
    for kind, groups in (("hac-panel", unit), ("driscoll-kraay", None)):
        joint = covariance(both, None, kind, groups, serial=serial).matrix
        single = of(both @ mix, kind, groups=groups, serial=serial).matrix
        assert mix @ joint @ mix == pytest.approx(single[0, 0], rel=1e-9)


def test_few_periods_and_negative_variances_are_noted() -> None:
    psi = np.tile([1.0, -1.0], 15)
    found = of(psi, "HAC", serial=Serial(np.arange(30), "t", 1, "uniform"))
    assert found.matrix[0, 0] == 0.0  # 30 - 2 * 29 products, over 30^2
    assert "negative eigenvalues" in found.notes[0]
    values, _, period = panel()
    assert "Only 15 periods" in of(values, "driscoll-kraay", serial=Serial(period, "year", 1)).notes[0]


@pytest.mark.parametrize(
    ("kind", "groups", "serial", "error", "message"),
    [
        ("HAC", None, None, OptionError, "needs time"),
        ("HAC", None, Serial(np.repeat(np.arange(20), 2), "year"), DataError, "20 distinct values of 'year'"),
        ("hac-panel", None, Serial(np.arange(40)), OptionError, "needs groups in one way"),
        ("hac-panel", np.zeros((40, 2)), Serial(np.arange(40)), OptionError, "needs groups in one way"),
        ("hac-panel", np.zeros(40), Serial(np.arange(40)), DataError, "has one group"),
        ("hac-panel", np.arange(40) % 2, Serial(np.zeros(40, int), "year"), DataError, "38 row.* repeat a pair"),
        ("driscoll-kraay", None, Serial(np.zeros(40, int), "year"), DataError, "'year' has one period"),
    ],
)
def test_refusals(
    kind: str, groups: np.ndarray | None, serial: Serial | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        of(series(40), kind, groups=groups, serial=serial)

"""Covariances over time and space, t tests, the bootstrap and adjusted p-values through Results."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

import deepdml as dd
from deepdml.errors import DataError, InferenceWarning, OptionError
from deepdml.families import Gaussian
from deepdml.inference import Serial, Space, covariance
from deepdml.results import Results, load, make_results

QUIET = pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")  # few rows, few clusters: tested by name
PERIOD = np.arange(400) // 10
UNIT = np.arange(400) % 10
PLACES = np.column_stack([40 + np.arange(400) % 20, np.arange(400) // 20]).astype(float)

KINDS = {
    "HAC": {"time": np.arange(400)[::-1], "maxlags": 3},
    "hac-panel": {"groups": UNIT, "time": PERIOD, "maxlags": 2, "kernel": "uniform"},
    "driscoll-kraay": {"time": PERIOD, "maxlags": 2},
    "conley": {"coordinates": PLACES, "cutoff": 150},
    "cluster-crv3": {"groups": PERIOD},
}


@pytest.fixture
def clustered(build: Callable[..., Any]) -> Results:
    """Results with 40 clusters that the folds keep whole."""
    codes = np.arange(400) % 40
    known = build()
    data = replace(known.data, groups=codes[:, None], group_names=("firm",))
    return replace(known, data=data, folds=(codes % 5)[None]).results(cov_type="cluster")


def few(build: Callable[..., Any], n_clusters: int = 8) -> Results:
    codes = np.arange(400) % n_clusters
    known = build()
    data = replace(known.data, groups=codes[:, None], group_names=("state",))
    return replace(known, data=data, folds=(codes % 4)[None]).results(cov_type="cluster")


# Covariances


@QUIET
@pytest.mark.parametrize("kind", KINDS)
def test_results_pass_what_they_are_given(results: Results, kind: str) -> None:
    given = KINDS[kind]
    other = results.get_robustcov_results(kind, **given)
    serial = (
        Serial(np.asarray(given["time"]), "time", given["maxlags"], given.get("kernel", "bartlett"))
        if ("time" in given)
        else None
    )
    space = Space(PLACES, 150) if kind == "conley" else None
    expected = covariance(results.psi.to_numpy(), None, kind, given.get("groups"), df=2, serial=serial, space=space)
    np.testing.assert_allclose(other.cov_params(), expected.matrix, rtol=1e-12)
    pd.testing.assert_series_equal(other.params, results.params)
    text = " ".join(str(other.summary()).split())
    assert expected.description.replace("groups 1", "groups") in text
    assert f"Covariance Type: {kind}" in text


@QUIET
@pytest.mark.parametrize("kind", KINDS)
def test_files_keep_what_other_estimands_need(results: Results, tmp_path: Path, kind: str) -> None:
    res = results.get_robustcov_results(kind, use_t=True, **KINDS[kind])
    res.save(tmp_path / "r.deepdml")
    other = load(tmp_path / "r.deepdml")
    assert str(other.summary()) == str(res.summary())
    contrast = dd.Contrast("t", 1, 0)
    pd.testing.assert_frame_equal(other.estimate(contrast).cov_params(), res.estimate(contrast).cov_params())
    # a derived table has the covariance and the t of the table it comes from
    assert other.estimate(contrast).use_t
    assert other.estimate(contrast).bse.iloc[0] == pytest.approx(res.bse["t"], rel=1e-6)
    res.remove_data()
    assert not {"time", "groups"} & set(res.cov_kwds)


@QUIET
def test_columns_by_name_in_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"y": rng.normal(size=300), "t": rng.normal(size=300), "x": rng.normal(size=300)})
    frame["year"], frame["lat"], frame["lon"] = 2000 + np.arange(300) % 30, rng.uniform(40, 50, 300), 3.0
    frame.loc[4, "y"] = np.nan
    quick: dict[str, Any] = {"learner": "net", "epochs": 2, "seed": 1, "progress": False}
    kwds = {"time": "year", "maxlags": 2}
    res = dd.fit("y ~ t | x", frame, cov_type="driscoll-kraay", cov_kwds=kwds, use_t=True, **quick)
    later = res.get_robustcov_results("driscoll-kraay", time=frame["year"], maxlags=2)
    pd.testing.assert_frame_equal(res.cov_params(), later.cov_params())
    assert res.use_t
    assert "Periods: 30" in " ".join(str(res.summary()).split())
    model = dd.DeepDML("y ~ t | x", frame)
    conley = model.fit(cov_type="conley", cov_kwds={"coordinates": ["lat", "lon"], "cutoff": 200}, **quick)
    later = conley.get_robustcov_results("conley", coordinates=frame[["lat", "lon"]], cutoff=200)
    pd.testing.assert_frame_equal(conley.cov_params(), later.cov_params())
    # a wrong column is refused before anything is trained
    for given, error, message in (
        ({"time": "yaer"}, DataError, "no column 'yaer'.*'year'"),
        ({"time": frame["year"][:7]}, DataError, r"shape \(7,\)"),
        ({"time": frame["year"].where(frame.index != 9)}, DataError, "missing in 1 kept row.*9"),
        ({}, OptionError, "needs time, in cov_kwds"),
        ({"time": "year", "cutoff": 3}, OptionError, "has cutoff, but cov_type='HAC' does not use it; 'conley' do"),
        ({"time": "year", "lags": 3}, OptionError, "Did you mean 'maxlags'"),
        ({"time": "year", "maxlags": -1}, OptionError, "maxlags=-1"),
        ({"time": "year", "kernel": "parzen"}, OptionError, "unknown kernel 'parzen'"),
    ):
        with pytest.raises(error, match=message):
            model.fit(cov_type="HAC", cov_kwds=given, **quick)
    monkeypatch.setattr("deepdml.learn.fitting.fit", None)  # nothing below gets as far as training
    with pytest.raises(DataError, match="299 rows have 30 distinct values of 'year'"):
        model.fit(cov_type="HAC", cov_kwds={"time": "year"})
    with pytest.raises(OptionError, match="clusters in one way, and there are 2"):
        model.fit(cov_type="cluster-crv3", cov_kwds={"groups": ["year", "lat"]})
    with pytest.raises(DataError, match="'lon' has one group"):
        model.fit(cov_type="hac-panel", cov_kwds={"groups": "lon", "time": "year"})


def test_whole_numbers_with_holes_are_missing_not_zero(build: Callable[..., Any]) -> None:
    frame = pd.DataFrame({"y": [0.0, 1.0] * 20, "t": np.arange(40.0), "x": np.arange(40.0) % 7})
    frame["year"] = pd.array([None, *range(1, 40)], dtype="Int64")
    with pytest.raises(DataError, match=r"missing in 1 kept row\(s\): 0"):
        dd.DeepDML("y ~ t | x", frame).fit(cov_type="HAC", cov_kwds={"time": "year"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cov_type": "HC1", "groups": UNIT}, "has groups, but cov_type='HC1' does not use it"),
        ({"cov_type": "HAC"}, "needs time"),
        ({"cov_type": "HAC", "time": "year"}, r"data\['year'\]"),
        ({"cov_type": "conley", "coordinates": PLACES}, "needs cutoff"),
        ({"cov_type": "conley", "coordinates": PLACES, "cutoff": -1}, "cutoff=-1"),
        ({"cov_type": "conley", "coordinates": PLACES, "cutoff": 5, "metric": "miles"}, "unknown metric"),
        ({"cov_type": "cluster", "groups": PERIOD, "use_correction": "hc3"}, "unknown use_correction 'hc3'"),
        ({"cov_type": "cluster-crv3", "groups": [UNIT, PERIOD]}, "clusters in one way, and there are 2"),
    ],
)
def test_refusals_of_keywords(results: Results, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        results.get_robustcov_results(**arguments)


def test_few_clusters_advise_the_bootstrap(build: Callable[..., Any]) -> None:
    with pytest.warns(InferenceWarning, match=r"Only 8 clusters in 'state'.*'cluster-crv3'.*bootstrap\(\)"):
        few(build)


# The t distribution


def test_t_tests_have_clusters_minus_one_degrees_of_freedom(clustered: Results) -> None:
    res = clustered.get_robustcov_results("cluster", use_t=True)
    law = stats.t(39)
    np.testing.assert_allclose(res.pvalues, 2 * law.sf(np.abs(res.tvalues)), rtol=1e-12)
    reach = law.ppf(0.95) * res.bse
    np.testing.assert_allclose(res.conf_int(0.1), np.column_stack([res.params - reach, res.params + reach]), rtol=1e-12)
    assert res.t_test("t = 1").df_denom == 39
    assert res.f_test("t = 1").pvalue == pytest.approx(float(res.t_test("t = 1").pvalue), rel=1e-9)
    assert res.wald_test("t = 1", scalar=True).df_denom == 39  # an F test, as in statsmodels
    assert "P>|t|" in str(res.summary())
    assert "P>|z|" in str(clustered.summary())
    pd.testing.assert_series_equal(res.get_robustcov_results("cluster").pvalues, res.pvalues)
    back = res.get_robustcov_results("cluster", use_t=False)
    pd.testing.assert_series_equal(back.pvalues, clustered.pvalues)
    # a hundred thousand draws: the quantile varies by half a per cent
    one = res.estimate(dd.Contrast("t", 1, 0))
    np.testing.assert_allclose(one.conf_int(joint=True), one.conf_int(), rtol=0.01)
    assert (res.conf_int(joint=True)[1] > clustered.conf_int(joint=True)[1]).all()


def test_t_tests_without_clusters_have_rows_minus_coefficients(results: Results) -> None:
    res = results.get_robustcov_results("HC1", use_t=True)
    np.testing.assert_allclose(res.pvalues, 2 * stats.t(398).sf(np.abs(res.tvalues)), rtol=1e-12)
    assert res.f_test("t = 1").df_denom == 398


# The bootstrap


def test_bootstrap_of_rows_agrees_with_the_normal(results: Results) -> None:
    found = results.bootstrap(draws=4_999)
    plain = results.get_robustcov_results("HC0")
    # 5,000 draws: a standard deviation varies by one per cent, a 95 % quantile by two
    np.testing.assert_allclose(found.se, plain.bse, rtol=0.04)
    np.testing.assert_allclose(found.conf_int(), plain.conf_int(), atol=0.1 * plain.bse.max())
    np.testing.assert_allclose(found.conf_int(symmetric=False), plain.conf_int(), atol=0.15 * plain.bse.max())
    np.testing.assert_allclose(found.conf_int(joint=True), plain.conf_int(joint=True), atol=0.1 * plain.bse.max())
    pd.testing.assert_series_equal(found.draws.mean(), results.params, atol=0.05 * plain.bse.max())
    assert found.critical_value() > np.quantile(np.abs(found.statistics(0.0)[:, 0]), 0.95) * 0.9
    assert "400 rows" in repr(found)


def test_bootstrap_uses_the_clusters_of_the_covariance(clustered: Results) -> None:
    found = clustered.bootstrap(draws=1_999, seed=3)
    assert (found.n_groups, found.clustered) == (40, True)
    codes = np.arange(400) % 40
    plain = clustered.get_robustcov_results("cluster", use_correction=False)
    np.testing.assert_allclose(found.scale, plain.bse, rtol=1e-12)
    np.testing.assert_allclose(found.se, plain.bse, rtol=0.06)
    given = clustered.get_robustcov_results("HC1").bootstrap(1_999, groups=pd.Series(codes, name="firm"), seed=3)
    pd.testing.assert_frame_equal(given.to_frame(), found.to_frame())
    t_tests = clustered.get_robustcov_results("cluster-crv3", use_t=True)
    np.testing.assert_allclose(found.conf_int(), t_tests.conf_int(), atol=0.2 * t_tests.bse.max())


@pytest.mark.parametrize("symmetric", [True, False])
def test_intervals_hold_what_the_test_does_not_reject(clustered: Results, symmetric: bool) -> None:
    found = clustered.bootstrap(draws=199, weights="webb")
    low, high = found.conf_int(0.1, symmetric=symmetric).loc["t"]
    shifted = {end: replace(found, params=found.params - end) for end in (low, high)}
    width = high - low
    for end, inward in ((low, 1), (high, -1)):
        inside, outside = (found.params[1] - (end + step * width * 1e-6 * inward) for step in (1, -1))
        assert found._p(1, inside, symmetric) > 0.1 >= found._p(1, outside, symmetric)
    assert all(np.isfinite(frame.params).all() for frame in shifted.values())


def test_p_values_are_shares_of_draws_under_the_null(clustered: Results) -> None:
    found = clustered.bootstrap(draws=99)
    drawn = np.abs(found.statistics(0.0))
    observed = np.abs(found.params / found.scale)
    np.testing.assert_allclose(found.pvalues, (1 + (drawn >= observed * (1 - 1e-9)).sum(0)) / 100)


@QUIET
def test_repetitions_are_taken_together(build: Callable[..., Any]) -> None:
    known = build()
    other = replace(known.influence, theta=known.influence.theta + 0.05)
    pieces = (known.influence, other, known.influence)
    folds = np.repeat(known.folds, 3, axis=0)
    res = make_results(known.data, Gaussian(), pieces, folds, known.record, None, cov_type="HC0")
    found, single = res.bootstrap(), known.results(cov_type="HC0").bootstrap()
    np.testing.assert_array_equal(found.params, res.params)
    np.testing.assert_allclose(found.scale, res.bse, rtol=1e-12)
    # two of the three repetitions are the same, and the third nearly so
    np.testing.assert_allclose(found.conf_int(), single.conf_int(), atol=0.1 * res.bse.max())


@QUIET
def test_very_few_clusters_give_unbounded_intervals(build: Callable[..., Any]) -> None:
    res = few(build, 4)
    found = res.bootstrap()
    with pytest.warns(InferenceWarning, match="With 4 clusters and rademacher weights no value is rejected") as caught:
        assert np.isinf(found.conf_int().to_numpy()).all()  # 2 of 16 draws repeat the statistic: p is above .12
    assert caught[0].filename == __file__
    with pytest.warns(InferenceWarning, match="8 clusters normal weights") as caught:
        few(build).bootstrap(weights="normal")
    assert caught[-1].filename == __file__


@QUIET
def test_refusals_of_the_bootstrap(results: Results) -> None:
    with pytest.raises(OptionError, match="draws=0"):
        results.bootstrap(0)
    with pytest.raises(OptionError, match="Did you mean 'webb'"):
        results.bootstrap(weights="web")  # type: ignore[arg-type]
    two = results.get_robustcov_results("cluster", groups=[UNIT, PERIOD])
    with pytest.raises(OptionError, match="2 ways of clustering"):
        two.bootstrap()
    with pytest.raises(OptionError, match="'driscoll-kraay' has rows that depend"):
        results.get_robustcov_results("driscoll-kraay", time=PERIOD).bootstrap()
    assert two.bootstrap(groups=PERIOD).n_groups == 40
    with pytest.raises(OptionError, match="at least 1 / \\(draws \\+ 1\\)"):
        results.bootstrap(9).conf_int(0.05)


# Several tests at once


@pytest.mark.parametrize("method", ["bonferroni", "holm", "fdr_bh", "hommel"])
def test_adjusted_p_values_are_those_of_statsmodels(arm_results: Results, method: Any) -> None:
    found = arm_results.adjust_pvalues(method)
    np.testing.assert_allclose(found["adjusted"], multipletests(arm_results.pvalues, method=method)[1])
    some = arm_results.adjust_pvalues(method, cols=["C(arm)[T.b]", "C(arm)[T.c]"])
    np.testing.assert_allclose(some["adjusted"], multipletests(arm_results.pvalues.iloc[1:], method=method)[1])
    assert list(some.index) == ["C(arm)[T.b]", "C(arm)[T.c]"]


def test_romano_wolf(arm_results: Results) -> None:
    drawn = arm_results.bootstrap(1_999, seed=5)
    found = arm_results.adjust_pvalues("romano-wolf", draws=drawn)
    assert (found["adjusted"] >= found["pvalue"]).all()
    pd.testing.assert_series_equal(found["pvalue"], drawn.pvalues, check_names=False)
    holm = multipletests(found["pvalue"], method="holm")[1]
    assert (found["adjusted"] <= holm + 0.02).all()  # 2,000 draws: a p-value of .5 varies by .011
    alone = arm_results.adjust_pvalues("romano-wolf", cols=["C(arm)[T.b]"], draws=drawn)
    assert alone["adjusted"].iloc[0] == alone["pvalue"].iloc[0]


def test_refusals_of_adjustment(arm_results: Results, results: Results) -> None:
    with pytest.raises(OptionError, match="unknown method 'wolf'"):
        arm_results.adjust_pvalues("wolf")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="there is no estimate 'x'"):
        arm_results.adjust_pvalues(cols=["x"])
    with pytest.raises(OptionError, match="cols is empty"):
        arm_results.adjust_pvalues(cols=[])
    with pytest.raises(OptionError, match="of another table"):
        arm_results.adjust_pvalues("romano-wolf", draws=results.bootstrap(9))
    with pytest.raises(OptionError, match="draws are for method='romano-wolf'"):
        results.adjust_pvalues("holm", draws=results.bootstrap(9))


def test_values_of_another_kind(results: Results) -> None:
    for use in (lambda: results.bootstrap(seed="a"), lambda: results.conf_int(joint=True, seed=-1)):  # type: ignore[arg-type]
        with pytest.raises(OptionError, match=r"seed=.* is not a whole number of at least 0"):
            use()
    with pytest.raises(OptionError, match="draws are of another table"):
        results.adjust_pvalues("romano-wolf", draws="many")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="unknown use_t 'no'; allowed are None, True, False"):
        results.get_robustcov_results("HC0", use_t="no")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="no hypothesis was given"):
        results.t_test(None)
    with pytest.raises(OptionError, match=r"a hypothesis of shape \(5, 5\) does not fit"):
        results.cov_params(np.eye(5))


def test_nothing_is_trained_and_nothing_warns(results: Results) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results.bootstrap(99)
        results.adjust_pvalues()

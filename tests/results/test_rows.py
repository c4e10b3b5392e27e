from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

import deepdml as dd
from deepdml.errors import DataError, OptionError
from deepdml.families import Logit
from deepdml.learn.influence import TrainedNets
from deepdml.results import Results, make_results
from deepdml.results.heterogeneity import describe


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A predictor with theta = (0.5 x0, 1 + x0), in place of the learning layer's."""

    def predict_theta(nets: TrainedNets, x: np.ndarray) -> np.ndarray:
        assert x.dtype == np.float32
        return np.column_stack([nets.arrays["slope"][0, 0] * x[:, 0], 1.0 + x[:, 0]]).astype(np.float64)

    module = ModuleType("deepdml.learn.prediction")
    module.predict_theta = predict_theta  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "deepdml.learn.prediction", module)


def frame(labels: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"x0": [0.0, 1.0, 2.0], "x1": 0.0, "x2": 0.0, "t": [1.0, 0.0, 2.0]}, index=labels)


def test_theta_and_psi_carry_the_labels_of_the_data(build: Callable[..., Any]) -> None:
    known = build()
    labels = np.array([f"row {i}" for i in range(400)], dtype=object)
    res = replace(known, data=replace(known.data, index=labels)).results()
    for value in (res.theta, res.psi):
        assert list(value.index) == list(labels)
        assert list(value.columns) == ["Intercept", "t"]
    np.testing.assert_array_equal(res.theta["t"], known.beta)


def test_predictions_for_the_rows_of_the_fit(build: Callable[..., Any]) -> None:
    known = build(dropped=3)
    res = known.results()
    eta = known.alpha + known.beta * known.data.t[:, 1]
    np.testing.assert_allclose(res.predict(), eta, rtol=1e-12)
    assert res.predict().index[0] == 3
    assert res.predict().name == "y"
    pd.testing.assert_frame_equal(res.predict(which="theta"), res.theta)


@pytest.mark.usefixtures("nets")
def test_predictions_for_new_data(results: Results) -> None:
    new = frame(["a", "b", "c"])
    expected = pd.Series([1.0, 0.5, 1.0 + 2 * 3.0], index=["a", "b", "c"], name="y")
    pd.testing.assert_series_equal(results.predict(new), expected)
    pd.testing.assert_series_equal(results.predict(new, which="linear"), expected)
    theta = results.predict(new.drop(columns="t"), which="theta")
    pd.testing.assert_frame_equal(
        theta, pd.DataFrame({"Intercept": [0.0, 0.5, 1.0], "t": [1.0, 2.0, 3.0]}, index=["a", "b", "c"])
    )


@pytest.mark.usefixtures("nets")
def test_means_go_through_the_family(build: Callable[..., Any]) -> None:
    known = build()
    data = replace(known.data, y=(known.data.y > 0).astype(float))
    res = make_results(data, Logit(), (known.influence,), known.folds, known.record, known.nets)
    new = frame(["a", "b", "c"])
    np.testing.assert_allclose(res.predict(new), 1 / (1 + np.exp(-res.predict(new, which="linear"))), rtol=1e-12)


@pytest.mark.usefixtures("nets")
def test_predictions_survive_the_data(results: Results) -> None:
    before = results.predict(frame(["a", "b", "c"]))
    results.remove_data()
    pd.testing.assert_series_equal(results.predict(frame(["a", "b", "c"])), before)


def test_prediction_refusals(build: Callable[..., Any]) -> None:
    known = build()
    with pytest.raises(OptionError, match="Did you mean 'mean'"):
        known.results().predict(which="meen")
    with pytest.raises(DataError, match="no trained nets"):
        replace(known, nets=None).results().predict(frame(["a", "b", "c"]))


def test_hte_against_numpy(build: Callable[..., Any]) -> None:
    known = build()
    table = known.results().hte()
    row, beta = table.loc["t"], known.beta
    assert row["mean"] == pytest.approx(beta.mean())
    assert row["sd"] == pytest.approx(beta.std())
    assert [row[q] for q in ("5%", "25%", "50%", "75%", "95%")] == pytest.approx(
        list(np.quantile(beta, [0.05, 0.25, 0.5, 0.75, 0.95]))
    )
    assert row["share_positive"] == pytest.approx((beta > 0).mean())
    assert len(row["histogram"]) == 16
    assert set(row["histogram"]) <= set("▁▂▃▄▅▆▇█")


def test_hte_beside_the_truth(build: Callable[..., Any]) -> None:
    known = build()
    theta = np.column_stack([known.alpha, known.beta])
    truth = theta + np.array([0.0, 1.0]) * np.linspace(-3, 3, len(theta))[:, None]
    table = known.results().hte(truth)
    assert list(table.index) == [(name, of) for name in ("Intercept", "t") for of in ("fit", "truth")]
    pd.testing.assert_series_equal(
        table.loc[("t", "fit"), "mean":"share_positive"],
        known.results().hte().loc["t", "mean":"share_positive"],
        check_names=False,
    )
    assert table.loc[("t", "truth"), "sd"] == pytest.approx(truth[:, 1].std())
    assert table.loc["t", "correlation"].tolist() == pytest.approx([np.corrcoef(theta[:, 1], truth[:, 1])[0, 1]] * 2)
    # between the same ends: equal coefficients have equal bars, and a narrower distribution leaves the ends empty
    assert table.loc[("Intercept", "fit"), "histogram"] == table.loc[("Intercept", "truth"), "histogram"]
    assert table.loc[("t", "fit"), "histogram"][0] == "▁" < table.loc[("t", "fit"), "histogram"][8]
    with pytest.raises(OptionError, match=r"truth has shape .* needs that of theta"):
        known.results().hte(truth[:, 1:])


def test_hte_weights_are_repetitions_of_rows() -> None:
    rng = np.random.default_rng(0)
    theta, counts = rng.normal(size=(40, 1)), rng.integers(1, 5, 40)
    repeated = np.repeat(theta, counts, axis=0)
    weighted = describe(theta, ("a",), counts.astype(float)).loc["a"]
    plain = describe(repeated, ("a",), None).loc["a"]
    for name in ("mean", "sd", "share_positive"):
        assert weighted[name] == pytest.approx(plain[name])
    assert weighted["50%"] == np.quantile(repeated, 0.5, method="inverted_cdf")


def test_a_constant_coefficient_is_one_bar() -> None:
    row = describe(np.full((30, 1), 2.0), ("a",), None).loc["a"]
    assert (row["mean"], row["sd"], row["histogram"]) == (2.0, 0.0, "█")


def test_diagnostics(build: Callable[..., Any]) -> None:
    known = build()
    nuisances = (replace(known.record.nuisances[0], loss_perfect=0.2), known.record.nuisances[1])
    record = replace(known.record, nuisances=nuisances, history=({"step": 1.0, "loss": 2.0},))
    diagnostics = replace(known, record=record).results().diagnostics
    table = diagnostics.to_frame()
    assert list(table.index) == ["outcome", "propensity"]
    assert table.loc["outcome", "skill"] == pytest.approx(1 - (0.5 - 0.2) / (1.0 - 0.2))
    assert table.loc["propensity", "skill_vs_linear"] == pytest.approx(1 - 0.55 / 0.6)
    assert diagnostics.overlap["P(t = 1), 1 %"] == 0.12
    assert (diagnostics.min_eigenvalue, diagnostics.clipped_share, diagnostics.floored_share) == (0.07, 0.0, 0.0)
    assert diagnostics.history.loc[0, "loss"] == 2.0
    text = str(diagnostics)
    for part in ("outcome", "net 0.70, linear 0.30", "net 12", "P(t = 1), 1 %: 0.12", "0.07"):
        assert part in text


def test_skill_without_a_gap_is_undefined(build: Callable[..., Any]) -> None:
    known = build()
    flat = replace(known.record.nuisances[0], loss_constant=0.0)
    table = replace(known, record=replace(known.record, nuisances=(flat,))).results().diagnostics.to_frame()
    assert np.isnan(table.loc["outcome", "skill"])


class TestRowsByLabel:
    """What a user gives beside a fit, row for row: pandas' by label, in any order."""

    @pytest.fixture
    def labelled(self, build: Callable[..., Any]) -> tuple[Results, pd.Index]:
        known = build(dropped=3)
        names = np.array([f"row {i}" for i in range(403)], dtype=object)
        data = replace(known.data, index=names[known.data.rows])
        return replace(known, data=data).results(), pd.Index(names)

    def test_masks_groups_and_truths(self, labelled: tuple[Results, pd.Index]) -> None:
        res, names = labelled
        rng = np.random.default_rng(0)
        rows, order = pd.Series(rng.integers(0, 2, 403), index=names), rng.permutation(403)
        truth = pd.DataFrame(rng.standard_normal((403, 2)), index=names)
        mask = rows == 1
        half = dd.AverageCoefficient(subset=mask.to_numpy())
        for given in (mask, mask.iloc[order], mask.reset_index(drop=True), mask.loc[res.theta.index]):
            got = res.estimate(dd.AverageCoefficient(subset=given))
            pd.testing.assert_series_equal(got.params, res.estimate(half).params)
        for given in (rows, rows.iloc[order], rows.loc[res.theta.index]):
            np.testing.assert_array_equal(res.gate(given).params, res.gate(rows.to_numpy()).params)
        expected = res.hte(truth.to_numpy()[3:])
        for given in (truth, truth.iloc[order], truth.loc[res.theta.index]):
            pd.testing.assert_frame_equal(res.hte(given), expected)

    def test_labels_of_other_rows_are_refused(self, labelled: tuple[Results, pd.Index]) -> None:
        res, names = labelled
        other = pd.Series(np.arange(403) % 2 == 0, index=[f"person {name}" for name in names])
        for use in (lambda: res.estimate(dd.AverageCoefficient(subset=other)), lambda: res.gate(other)):
            with pytest.raises(DataError, match=r"do not match the data's: its index has no row for 400 label\(s\)"):
                use()

    def test_a_truth_that_is_no_numbers(self, results: Results) -> None:
        with pytest.raises(OptionError, match="truth holds something other than numbers"):
            results.hte([["a", "b"]] * 400)

"""Several fits of the same rows in one table: covariance between fits, tests of equality, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

import deepdml as dd
from deepdml.errors import DataError, InferenceWarning, OptionError
from deepdml.families import Gaussian
from deepdml.inference import sup_t
from deepdml.results import Results, make_results

# as another encoder would have them: nuisances a little off, so that psi of two fits differ and are correlated
OFF = {"one": 0.0, "two": 0.6, "three": -0.4}


def shifted(base: Any, by: float, **options: Any) -> Results:
    """The Results of a known design whose outcome model is off by a function of x."""
    piece = base.influence
    theta = piece.theta + by * np.column_stack([np.cos(3 * by * base.data.x[:, 0]), np.zeros(len(base.data.y))])
    score = base.data.t * (np.einsum("nd,nd->n", base.data.t, theta) - base.data.y)[:, None]
    return replace(base, influence=replace(piece, theta=theta, score=score)).results(**options)


def reordered(base: Any, order: np.ndarray) -> Any:
    """The same design with its rows in another order."""
    data, piece = base.data, base.influence
    fields = {name: getattr(data, name)[order] for name in ("y", "t", "x", "index")}
    for name in ("weights", "treatment"):
        value = getattr(data, name)
        fields[name] = None if value is None else value[order]
    law = replace(piece.law, probabilities=piece.law.probabilities[order])
    moved = {name: getattr(piece, name)[order] for name in ("theta", "score", "lambda_inverse")}
    return replace(
        base, data=replace(data, **fields), influence=replace(piece, **moved, law=law), folds=base.folds[:, order]
    )


@pytest.fixture
def models(build: Callable[..., Any]) -> dict[str, Results]:
    base = build()
    return {label: shifted(base, by) for label, by in OFF.items()}


class TestCovariance:
    def test_it_is_that_of_the_stacked_psi(self, models):
        both = dd.joint(models)
        psi = np.column_stack([res.psi["t"] for res in models.values()])
        n = len(psi)
        away = psi - psi.mean(axis=0)
        assert list(both.params.index) == ["t[one]", "t[two]", "t[three]"]
        np.testing.assert_allclose(both.params, psi.mean(axis=0), rtol=1e-12)  # the same sums
        np.testing.assert_allclose(both.cov_params(), away.T @ away / n**2 * n / (n - 2), rtol=1e-12)
        np.testing.assert_array_equal(both.psi, psi)

    def test_each_estimate_keeps_its_own_table(self, models):
        both = dd.joint(models, of=["t", "Intercept"])
        for label, res in models.items():
            for name in ("t", "Intercept"):
                assert both.params[f"{name}[{label}]"] == res.params[name]
                assert both.bse[f"{name}[{label}]"] == pytest.approx(res.bse[name], rel=1e-12)  # a matrix product
        assert list(both.params.index[:3]) == ["t[one]", "t[two]", "t[three]"]

    def test_equality_is_the_chi_squared_of_the_differences(self, models):
        both = dd.joint(models)
        psi = both.psi.to_numpy()
        differences = psi[:, [0, 0]] - psi[:, [1, 2]]
        n = len(psi)
        mean, matrix = differences.mean(axis=0), np.cov(differences.T) * (n - 1) / n**2 * n / (n - 2)
        statistic = mean @ np.linalg.solve(matrix, mean)
        test = both.wald_test("t[one] = t[two] = t[three]")
        assert test.statistic == pytest.approx(statistic, rel=1e-9)  # two ways to invert a 2 x 2 matrix
        assert test.pvalue == pytest.approx(stats.chi2.sf(statistic, 2), rel=1e-9)

    def test_joint_intervals_are_the_sup_t_band(self, models):
        both = dd.joint(models)
        wide = both.conf_int(joint=True)
        critical = sup_t(both.cov_params().to_numpy(), 0.05)
        np.testing.assert_allclose(wide[1] - both.params, critical * both.bse, rtol=1e-12)
        # strongly correlated estimates need less than independent ones: Sidak's 2.39 for three
        assert 1.96 < critical < 2.3

    def test_least_squares(self):
        """Without covariates two fits are least squares, and their covariance is that of the stacked sandwich."""
        rng = np.random.default_rng(4)
        n = 2_000
        z = rng.normal(size=n)
        data = pd.DataFrame({"t": 0.5 * z + rng.normal(size=n), "z": z})
        data["y"] = data["t"] + z + rng.normal(size=n)
        quick = {"learner": "net", "seed": 1, "cov_type": "HC0", "progress": False}
        short, long = dd.fit("y ~ t | 1", data, **quick), dd.fit("y ~ t + z | 1", data, **quick)
        both = dd.joint({"short": short, "long": long}, of="t")
        influence = []
        for names in (["t"], ["t", "z"]):
            x = sm.add_constant(data[names]).to_numpy()
            ols = sm.OLS(data["y"], x).fit()
            influence.append(n * (x * ols.resid.to_numpy()[:, None]) @ np.linalg.inv(x.T @ x)[:, 1])
        expected = np.cov(np.column_stack(influence).T, bias=True) / n
        # cross-fitted constants: each fold's coefficients are off by O(1 / sqrt(n)), the covariance by some per cent
        np.testing.assert_allclose(both.cov_params(), expected, rtol=0.03)
        # z is omitted from one: the fits must differ, by the textbook bias cov(t, z) / var(t)
        assert both.params["t[short]"] - both.params["t[long]"] == pytest.approx(0.4, abs=0.1)  # 4 standard errors
        assert both.wald_test("t[short] = t[long]").pvalue < 1e-6

    def test_rows_are_matched_by_label(self, build):
        base = build()
        order = np.random.default_rng(2).permutation(len(base.data.y))
        straight = dd.joint({"one": shifted(base, 0.0), "two": shifted(base, 0.6)})
        mixed = dd.joint({"one": shifted(base, 0.0), "two": shifted(reordered(base, order), 0.6)})
        np.testing.assert_allclose(mixed.cov_params(), straight.cov_params(), rtol=1e-12)  # sums in another order
        np.testing.assert_array_equal(mixed.psi.to_numpy(), straight.psi.to_numpy())

    def test_clusters(self, build):
        base = build()
        groups = np.arange(len(base.data.y)) % 40  # which the folds keep whole
        order = np.random.default_rng(2).permutation(len(groups))
        one = shifted(base, 0.0).get_robustcov_results("cluster", groups=groups)
        # rows in another order, with other labels of the same groups
        moved = shifted(reordered(base, order), 0.6)
        two = moved.get_robustcov_results("cluster", groups=np.array([f"g{g}" for g in groups])[order])
        both = dd.joint({"one": one, "two": two})
        sums = np.stack([both.psi.to_numpy()[groups == g].sum(axis=0) for g in range(40)])
        n = len(groups)
        sums -= np.bincount(groups)[:, None] * both.params.to_numpy()
        expected = sums.T @ sums / n**2 * 40 / 39 * (n - 1) / (n - 2)
        np.testing.assert_allclose(both.cov_params(), expected, rtol=1e-12)
        again = dd.joint({"one": shifted(base, 0.0), "two": moved}).get_robustcov_results("cluster", groups=groups)
        np.testing.assert_allclose(again.cov_params(), expected, rtol=1e-12)

    def test_folds_of_every_fit_are_looked_at(self, build):
        base = build()
        groups = np.arange(len(base.data.y)) % 40
        split = replace(base, folds=np.roll(base.folds, 200, axis=1)[:, ::-1] // 2 + np.arange(400)[None] // 40 % 2)
        both = dd.joint({"whole": shifted(base, 0.0), "split": shifted(split, 0.6)})
        with pytest.warns(InferenceWarning, match="40 of 40 clusters in 'groups' have rows in more than one fold"):
            both.get_robustcov_results("cluster", groups=groups)

    def test_weights(self, build):
        base = build(weights=True)
        both = dd.joint({"one": shifted(base, 0.0), "two": shifted(base, 0.6)})
        share = base.data.weights / base.data.weights.sum()
        psi = both.psi.to_numpy()
        np.testing.assert_allclose(both.params, share @ psi, rtol=1e-12)
        away = share[:, None] * (psi - share @ psi)
        n = len(psi)
        np.testing.assert_allclose(both.cov_params(), away.T @ away * n / (n - 2), rtol=1e-12)

    def test_repetitions_are_paired(self, build):
        base = build()
        twice = replace(base, folds=np.concatenate([base.folds] * 3))

        def fitted(by: float) -> Results:
            pieces = [shifted(base, by + extra)._fit.rows.repetitions[0] for extra in (0.0, 0.1, 0.2)]
            record = replace(base.record, n_rep=3)
            return make_results(base.data, Gaussian(), tuple(pieces), twice.folds, record, None)

        one, two = fitted(0.0), fitted(0.6)
        both = dd.joint({"one": one, "two": two})
        assert both.bse["t[two]"] == pytest.approx(two.bse["t"], rel=1e-12)
        assert both.params["t[two]"] == pytest.approx(two.params["t"], rel=1e-12)
        with pytest.raises(OptionError, match="n_rep=3 and 1"):
            dd.joint({"one": one, "single": shifted(base, 0.0)})


def test_coverage_of_joint_intervals(build):
    """Four noisy fits of one effect: joint intervals cover all at once, pointwise ones less; equality has its level."""
    joint, pointwise, equal = [], [], []
    for seed in range(200):
        base = build(n=300, seed=seed)
        both = dd.joint({str(k): shifted(base, by) for k, by in enumerate((0.0, 0.8, -0.5, 1.6))})
        for store, options in ((joint, {"joint": True}), (pointwise, {})):
            ends = both.conf_int(**options)
            store.append(bool(((ends[0] < 1) & (ends[1] > 1)).all()))
        equal.append(both.wald_test("t[0] = t[1] = t[2] = t[3]", scalar=True).pvalue)
    # 200 draws: the Monte Carlo error of .95 is .015, so that a bound at three of them fails one time in some hundred
    assert np.mean(joint) == pytest.approx(0.95, abs=0.045)
    assert np.mean(pointwise) < np.mean(joint)
    # three errors again; with three degrees of freedom and 300 rows the chi-squared is a little conservative
    assert np.mean(np.array(equal) < 0.05) < 0.095


class TestTable:
    def test_summary_names_each_fit(self, models):
        text = dd.joint(models).summary().as_text()
        for words in ("Structural DML, 3 fits", "t[two]", "average coefficient", "one: y ~ t | x*", "three: Smallest"):
            assert words in text

    def test_what_differs_stands_by_fit(self, build, models):
        base = build()
        other = replace(base, record=replace(base.record, seed=7, n_folds=10))
        text = dd.joint({"one": models["one"], "two": shifted(other, 0.6)}).summary().as_text()
        assert "by fit" in text
        assert "two: y ~ t | x*; Folds/blocks/reps: 10 x 5 x 1; Seed: 7" in text

    def test_tables_and_figures_take_it(self, models):
        both = dd.joint(models)
        table = dd.etable([both], type="md")
        assert "t[three]" in table
        assert "learner auto, 5 folds, seed 1." in table.replace("\n", " ")
        plt = pytest.importorskip("matplotlib.pyplot")
        ax = both.plot_coef(joint=True)
        assert ax.get_ylabel() == "t"
        assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two", "three"]
        plt.close(ax.figure)

    def test_other_inference(self, models):
        both = dd.joint(models)
        assert both.bootstrap(draws=99).se.index.tolist() == both.params.index.tolist()
        assert both.adjust_pvalues("holm").shape == (3, 3)
        assert both.get_robustcov_results("HC0").bse.iloc[0] == pytest.approx(
            models["one"].bse["t"] * np.sqrt(398 / 400)
        )
        both.remove_data()
        assert "t[one]" in both.summary().as_text()

    def test_diagnostics_of_all(self, models):
        found = dd.joint(models).diagnostics
        assert found.to_frame().index.tolist()[:2] == ["one: outcome", "one: propensity"]
        assert len(found.to_frame()) == 6

    def test_estimands(self, models):
        contrasts = {label: res.estimate(dd.Contrast("t", 1, 0)) for label, res in models.items()}
        both = dd.joint(contrasts)
        assert both.params.index[0] == "t: 1 vs 0[one]"
        assert "contrast" in both.summary().as_text()
        np.testing.assert_allclose(both.params, dd.joint(models).params, rtol=1e-9)  # gaussian: the coefficient
        mixed = dd.joint({"a": models["one"], "b": contrasts["two"]})
        assert list(mixed.params.index) == ["t[a]", "t: 1 vs 0[b]"]
        assert mixed._estimand.name == "several"

    def test_loaded_results_join(self, models, tmp_path: Path):
        path = tmp_path / "one.deepdml"
        models["one"].save(path)
        both = dd.joint({"one": dd.load(path), "two": models["two"]})
        np.testing.assert_array_equal(both.cov_params(), dd.joint({k: models[k] for k in ("one", "two")}).cov_params())


class TestRefusals:
    @pytest.mark.parametrize(
        "call",
        [
            lambda both: both.theta,
            lambda both: both.hte(),
            lambda both: both.predict(),
            lambda both: both.predict(pd.DataFrame({"x0": [0.0]})),
            lambda both: both.gate("x0"),
            lambda both: both.estimate(dd.AverageCoefficient()),
            lambda both: both.plot_overlap(),
            lambda both: both.plot_training(),
            lambda both: both.save("never.deepdml"),
            lambda both: both.report("never.html"),
            lambda both: both.replication_package("never"),
            lambda both: both.sensitivity(),
        ],
    )
    def test_what_is_of_one_fit(self, models, call):
        with pytest.raises(OptionError, match=r"is of one fit, and these estimates are of several \('one', 'two'"):
            call(dd.joint(models))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (lambda m: list(m.values()), "joint\\(\\) takes a dict of Results"),
            (lambda m: {"one": m["one"]}, "at least two Results under different names; got \\['one'\\]"),
            (lambda m: {1: m["one"], "1": m["two"]}, "different names; got \\[1, '1'\\]"),
            (lambda m: {"one": m["one"], "ols": sm.OLS([1.0, 2.0], [1.0, 1.0]).fit()}, "'ols' is a RegressionResults"),
        ],
    )
    def test_what_is_no_dict_of_results(self, models, given, message):
        with pytest.raises(OptionError, match=message):
            dd.joint(given(models))

    def test_estimates(self, models, arm_results):
        with pytest.raises(OptionError, match="no estimate 'tt'"):
            dd.joint(models, of="tt")
        with pytest.raises(OptionError, match="none twice"):
            dd.joint(models, of=["t", "t"])
        with pytest.raises(OptionError, match="say which one"):
            dd.joint({"a": arm_results, "b": arm_results})

    def test_other_rows(self, build, models):
        fewer = shifted(build(n=390), 0.0)
        with pytest.raises(DataError, match=r"'two' and 'one' have other rows: 10 only in 'one' \(390, 391"):
            dd.joint({"one": models["one"], "two": fewer})

    def test_other_rows_of_the_same_labels(self, build, models):
        other = shifted(build(seed=1), 0.0)
        with pytest.raises(DataError, match=r"another outcome \(y\) in 400 row"):
            dd.joint({"one": models["one"], "two": other})
        # of another outcome, the treatment must be that of the same rows
        base = build(seed=1)
        renamed = shifted(replace(base, data=replace(base.data, y_name="z")), 0.0)
        with pytest.raises(DataError, match=r"another structural row \(Intercept, t\)"):
            dd.joint({"one": models["one"], "two": renamed})

    def test_another_outcome_of_the_same_rows(self, build, models):
        base = build()
        renamed = shifted(replace(base, data=replace(base.data, y_name="z", y=base.data.y + 1)), 0.0)
        both = dd.joint({"one": models["one"], "two": renamed})
        assert both.model.endog_names == "y / z"
        assert both._estimand.name == "several"

    def test_labels_that_repeat_cannot_be_matched(self, build, models):
        base = build()
        index = np.arange(400) // 2
        double = replace(base, data=replace(base.data, index=index))
        np.testing.assert_array_equal(  # in the same order they are the same rows
            dd.joint({"one": shifted(double, 0.0), "two": shifted(double, 0.6)}).cov_params(),
            dd.joint({"one": models["one"], "two": models["two"]}).cov_params(),
        )
        turned = replace(base, data=replace(base.data, index=index[::-1].copy()))
        with pytest.raises(DataError, match="some labels twice"):
            dd.joint({"one": shifted(double, 0.0), "two": shifted(turned, 0.6)})

    def test_other_weights(self, build, models):
        with pytest.raises(DataError, match="'two' and 'one' have other sampling weights"):
            dd.joint({"one": models["one"], "two": shifted(build(weights=True), 0.0)})

    def test_other_covariances(self, models):
        n = 400
        groups, time = np.arange(n) % 40, np.arange(n)
        place = np.random.default_rng(0).uniform(size=(n, 2))
        one, two = models["one"], models["two"]
        planar = {"coordinates": place, "metric": "euclidean"}
        with pytest.warns(InferenceWarning, match="more than one fold"):
            cases = [
                (one, two.get_robustcov_results("HC0"), r"cov_type \('HC1' and 'HC0'\)"),
                (one, two.get_robustcov_results("HC1", use_t=True), r"use_t \(False and True\)"),
                (
                    one.get_robustcov_results("cluster", groups=groups),
                    two.get_robustcov_results("cluster", groups=groups // 2),
                    "differ in groups",
                ),
                (
                    one.get_robustcov_results("HAC", time=time, maxlags=2),
                    two.get_robustcov_results("HAC", time=time, maxlags=3),
                    "differ in time, maxlags",
                ),
                (
                    one.get_robustcov_results("conley", cutoff=0.1, **planar),
                    two.get_robustcov_results("conley", cutoff=0.2, **planar),
                    "differ in coordinates, cutoff",
                ),
            ]
        for a, b, message in cases:
            with pytest.raises(OptionError, match=message):
                dd.joint({"one": a, "two": b})

    def test_dropped_rows_of_the_data(self, models):
        models["two"].remove_data()
        with pytest.raises(DataError, match=r"joint\(\) of 'two' needs the arrays"):
            dd.joint(models)

"""The model and its entry points: options, weights, repetitions, missing rows, kinds of data."""

from __future__ import annotations

import warnings
import zipfile

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import statsmodels.api as sm

import deepdml as dd
from deepdml import simulate
from deepdml.errors import DataError, InferenceWarning, OverlapWarning

QUICK = {"hidden": (4,), "epochs": 2, "seed": 1}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    frame = simulate.smooth(200, seed=2).data
    rng = np.random.default_rng(0)
    frame["binary"] = (rng.random(200) < 0.5) * 1.0
    frame["count"] = rng.poisson(2, 200) * 1.0
    frame["w"] = rng.uniform(0.5, 2.0, 200)
    frame["firm"] = np.arange(200) // 5
    frame["year"] = np.arange(200) % 10
    frame["place"] = np.array(["north", "south", "west"])[np.arange(200) % 3]
    return frame


@pytest.fixture(scope="module")
def res(data):
    return dd.fit("y ~ t | x*", data, **QUICK)


def assert_same_bits(one, two) -> None:
    np.testing.assert_array_equal(one.params, two.params)
    np.testing.assert_array_equal(one.cov_params(), two.cov_params())
    np.testing.assert_array_equal(one.psi, two.psi)


class TestEntryPoints:
    def test_the_class_and_from_formula_are_the_same_as_fit(self, data, res):
        assert_same_bits(dd.DeepDML("y ~ t | x*", data).fit(**QUICK), res)
        assert_same_bits(dd.DeepDML.from_formula("y ~ t | x*", data, "linear").fit(**QUICK), res)

    @pytest.mark.parametrize(
        ("name", "family"),
        [("gaussian", sm.families.Gaussian()), ("logit", sm.families.Binomial()), ("poisson", sm.families.Poisson())],
    )
    def test_statsmodels_families(self, data, name, family):
        outcome = {"gaussian": "y", "logit": "binary", "poisson": "count"}[name]
        formula = f"{outcome} ~ t | x_1"
        assert_same_bits(dd.fit(formula, data, family, **QUICK), dd.fit(formula, data, name, **QUICK))

    def test_the_model_names_its_parts(self, data, res):
        model = res.model
        assert model.formula == "y ~ t | x*"
        assert model.endog_names == "y"
        assert model.exog_names == ["Intercept", "t"]
        assert model.arrays.x.shape == (200, 10)
        assert list(res.params.index) == model.exog_names

    def test_a_model_can_be_fit_again(self, data, res):
        model = dd.DeepDML("y ~ t | x*", data)
        other = model.fit(**{**QUICK, "seed": 2})
        assert (other.params != res.params).all()
        assert_same_bits(model.fit(**QUICK), res)

    def test_a_clustered_fit_leaves_no_trace_in_the_model(self, data, res):
        """Neither its folds nor the rows that its groups lack."""
        frame = data.assign(firm=data["firm"].where(data["firm"] > 2))
        model = dd.DeepDML("y ~ t | x*", frame)
        clustered = model.fit(cov_type="cluster", cov_kwds={"groups": "firm"}, **QUICK)
        assert clustered.nobs == 185
        assert_same_bits(model.fit(**QUICK), res)

    def test_lists_of_widths(self, data, res):
        assert_same_bits(dd.fit("y ~ t | x*", data, **{**QUICK, "hidden": [4]}), res)

    def test_the_record_says_what_was_done(self, data):
        res = dd.fit("y ~ t | x*", data, n_folds=10, n_rep=2, learner="net", **QUICK)
        record = res._fit.record
        assert (record.family, record.learner, record.strategy) == ("gaussian", "net", "moments")
        assert (record.n_folds, record.n_blocks, record.n_rep, record.hidden) == (10, 5, 2, (4,))
        assert (record.seed, record.device, record.treatment_model) == (1, "cpu", "location-scale")
        assert [fit.name for fit in record.nuisances] == ["outcome", "treatment mean", "treatment variance"]
        for fit in record.nuisances:
            assert sum(fit.weights.values()) == pytest.approx(1.0)
            assert fit.loss >= fit.loss_perfect or fit.name == "treatment variance"

    def test_the_trained_epochs_are_within_the_limit(self):
        """Seven eighths of 1,600 rows train; the last step of the last pass may run over by a batch."""
        frame = simulate.smooth(2_000, seed=2).data
        res = dd.fit("y ~ t | x*", frame, learner="net", hidden=(4,), epochs=3, lr=0.02, seed=1)
        epochs = [epoch for fit in res._fit.record.nuisances for epoch in fit.best_epochs.values()]
        assert 0 < max(epochs) <= 3 + 256 / 1_400

    @pytest.mark.parametrize("strategy", ["moments", "location-scale quadrature"])
    def test_lambda_strategies_agree_for_the_gaussian_family(self, data, res, strategy):
        """Both integrate the first two moments of T, and the nodes have mean zero and variance one."""
        other = dd.fit("y ~ t | x*", data, lambda_=strategy, **QUICK)
        assert other._fit.record.strategy == strategy
        np.testing.assert_allclose(other.params, res.params, rtol=1e-10)  # rounding
        np.testing.assert_allclose(other.bse, res.bse, rtol=1e-10)

    def test_a_binary_treatment_may_be_called_continuous(self, data):
        res = dd.fit("y ~ binary | x_1", data, treatment="continuous", **QUICK)
        assert res._fit.record.treatment_model == "location-scale"

    def test_covariates_from_a_file(self, data, tmp_path):
        matrix = np.ascontiguousarray(data.filter(regex="^x"), np.float32)
        np.save(tmp_path / "x.npy", matrix)
        held, read = ({"emb": values} for values in (matrix, np.load(tmp_path / "x.npy", mmap_mode="r")))
        one, two = (dd.fit("y ~ t | emb", data, context=context, learner="net", **QUICK) for context in (held, read))
        assert np.shares_memory(two.model.arrays.x, read["emb"])
        assert_same_bits(one, two)
        np.testing.assert_array_equal(one.predict(data, context=held), two.predict(data, context=read))

    @pytest.mark.parametrize("covariates", ["pca(x*, 2)", "standardize(x*) + C(place)"])
    def test_a_transform_is_saved_with_the_results(self, data, tmp_path, covariates):
        res = dd.fit(f"y ~ t | {covariates}", data, learner="net", **QUICK)
        res.save(tmp_path / "fit.deepdml")
        loaded = dd.load(tmp_path / "fit.deepdml")
        new = data.iloc[20:60]
        np.testing.assert_array_equal(loaded.predict(new), res.predict(new))
        with zipfile.ZipFile(tmp_path / "fit.deepdml") as archive:
            assert any(name.startswith("arrays/design/") for name in archive.namelist())

    def test_covariates_from_context_and_a_column_of_vectors(self, data, res):
        matrix = data.filter(like="x_").to_numpy()
        assert_same_bits(dd.fit("y ~ t | embedding", data, context={"embedding": matrix}, **QUICK), res)
        assert_same_bits(dd.fit("y ~ t | v", data.assign(v=list(matrix)), **QUICK), res)


class TestData:
    def test_kinds_of_tables_give_the_same_bits(self, data, res):
        for table in (pl.from_pandas(data), pa.Table.from_pandas(data), {c: data[c].to_numpy() for c in data}):
            other = dd.fit("y ~ t | x*", table, **QUICK)
            assert_same_bits(other, res)
            pd.testing.assert_series_equal(other.predict(table), res.predict(data))

    def test_kinds_of_tables_with_categories(self, data):
        one = dd.fit("y ~ C(place) | x_1", data, **QUICK)
        for table in (pl.from_pandas(data), pa.Table.from_pandas(data), {c: data[c].to_numpy() for c in data}):
            assert_same_bits(dd.fit("y ~ C(place) | x_1", table, **QUICK), one)

    def test_labels_of_rows_are_kept(self, data, res):
        named = data.set_index(np.array([f"row {i}" for i in range(200)]))
        other = dd.fit("y ~ t | x*", named, **QUICK)
        assert_same_bits(other, res)
        for frame in (other.theta, other.psi, other.predict(), other.predict(named)):
            pd.testing.assert_index_equal(frame.index, named.index)

    def test_missing_rows_are_dropped_and_counted(self, data):
        frame = data.copy()
        frame.loc[[3, 9], "x_1"] = np.nan
        frame.loc[5, "y"] = np.inf
        frame.loc[9, "t"] = np.nan
        one = dd.fit("y ~ t | x*", frame, **QUICK)
        two = dd.fit("y ~ t | x*", data.drop(index=[3, 5, 9]), **QUICK)
        assert_same_bits(one, two)
        assert one.nobs == 197
        assert one._fit.n_total == 200
        assert one._fit.missing == {"y": 1, "t": 1, "x_1": 2}
        pd.testing.assert_index_equal(one.theta.index, two.theta.index)

    def test_missing_weights_and_groups_are_dropped(self, data):
        frame = data.assign(w=data["w"].where(data.index != 4), firm=data["firm"].where(data["firm"] != 7))
        options = {"weights": "w", "cov_type": "cluster", "cov_kwds": {"groups": "firm"}, **QUICK}
        res = dd.fit("y ~ t | x*", frame, **options)
        assert res.nobs == 194
        assert_same_bits(res, dd.fit("y ~ t | x*", data.drop(index=[4, *range(35, 40)]), **options))


class TestWeights:
    def test_equal_weights_change_nothing(self, data, res):
        other = dd.fit("y ~ t | x*", data, weights=np.full(200, 2.0), **QUICK)
        np.testing.assert_array_equal(other.psi, res.psi)
        np.testing.assert_allclose(other.params, res.params, rtol=1e-12)  # a weighted mean sums in another order
        np.testing.assert_allclose(other.cov_params(), res.cov_params(), rtol=1e-10, atol=1e-15)

    def test_a_column_and_an_array_are_the_same(self, data):
        one = dd.fit("y ~ t | x*", data, weights="w", **QUICK)
        two = dd.fit("y ~ t | x*", data, weights=data["w"].to_numpy(), **QUICK)
        assert_same_bits(one, two)

    def test_only_proportions_count(self, data):
        one = dd.fit("y ~ t | x*", data, weights="w", **QUICK)
        two = dd.fit("y ~ t | x*", data, weights=8.0 * data["w"].to_numpy(), **QUICK)
        assert_same_bits(one, two)  # a power of two moves no bit

    def test_params_are_the_weighted_mean_of_psi(self, data):
        res = dd.fit("y ~ t | x*", data, weights="w", **QUICK)
        np.testing.assert_allclose(res.params, np.average(res.psi, axis=0, weights=data["w"]), rtol=1e-12)  # rounding

    @pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
    def test_whole_weights_are_copies_of_rows(self, family):
        """Without covariates both are the same weighted GLM, up to the folds: O(1/n), see test_identities."""
        frame = simulate.smooth(2_000, seed=3, family=family).data
        times = 1 + np.arange(2_000) % 3
        one = dd.fit("y ~ t | 1", frame, family, weights=times.astype(float), seed=1)
        two = dd.fit("y ~ t | 1", frame.loc[frame.index.repeat(times)], family, seed=1)
        assert ((one.params - two.params) / two.bse).abs().max() < 4 / np.sqrt(2_000)
        assert (two.bse < one.bse).all()  # copies look like more data

    def test_rows_of_no_weight_move_nothing_but_the_folds(self, data):
        """An outlier with weight zero has no influence."""
        weights = np.where(np.arange(200) == 17, 0.0, 1.0)
        wild = data.assign(y=data["y"].where(data.index != 17, 1e4))
        one, two = (dd.fit("y ~ t | x_1", frame, weights=weights, **QUICK) for frame in (data, wild))
        # the outlier moves the units of the nets' targets, and so the training, but stands for nothing
        assert ((one.params - two.params) / one.bse).abs().max() < 0.5


class TestRepetitions:
    def test_the_median_over_repetitions(self, data):
        res = dd.fit("y ~ t | x*", data, n_rep=3, **QUICK)
        means = res._psi.mean(1)
        assert means.shape == (3, 2)
        assert len({tuple(folds) for folds in res._fit.rows.folds}) == 3
        np.testing.assert_allclose(res.params, np.median(means, axis=0), rtol=1e-12)  # rounding
        centered = res._psi - means[:, None]
        each = np.einsum("rnd,rne->rde", centered, centered) / 200 / 198  # HC1
        away = means - np.median(means, axis=0)
        expected = np.median(each + away[:, :, None] * away[:, None, :], axis=0)
        np.testing.assert_allclose(res.cov_params(), expected, rtol=1e-10)  # rounding

    def test_one_repetition_is_the_first_of_three(self, data, res):
        three = dd.fit("y ~ t | x*", data, n_rep=3, **QUICK)
        np.testing.assert_array_equal(three._fit.rows.folds[0], res._fit.rows.folds[0])
        np.testing.assert_array_equal(three._fit.rows.repetitions[0].theta, res._fit.rows.repetitions[0].theta)

    @pytest.mark.parametrize(("learner", "kinds"), [("auto", 2), ("net", 1)])
    def test_an_ensemble_trains_copies_of_every_net(self, data, learner, kinds):
        options = {"learner": learner, "hidden": (8,), "epochs": 100, "lr": 0.02, "weight_decay": 0.0, "seed": 3}
        one, three = (dd.fit("y ~ t | x*", data, ensemble=ensemble, **options) for ensemble in (1, 3))
        np.testing.assert_array_equal(one._fit.rows.folds, three._fit.rows.folds)
        assert len(three._fit.nets.config["nets"]) == 3 * len(one._fit.nets.config["nets"]) <= 3 * kinds
        assert (one.params != three.params).all()
        if learner == "net":  # the mean of three copies predicts held-out outcomes better than one trained too long
            assert three._fit.record.nuisances[0].loss < one._fit.record.nuisances[0].loss


class TestStructuralDml:
    def test_the_same_as_fit(self, data):
        X = data.filter(like="x_").to_numpy()
        T, Y = data["t"].to_numpy(), data["y"].to_numpy()
        one = dd.structural_dml(Y, T, X, family="linear", hidden_dims=[4], epochs=2, n_folds=10, seed=1)
        two = dd.fit("Y ~ T | X", {"Y": Y, "T": T, "X": X}, hidden=(4,), epochs=2, n_folds=10, seed=1)
        assert_same_bits(one, two)
        assert one.mu_hat == two.params["T"]
        assert one.se == two.bse["T"]
        assert (one.ci_lower, one.ci_upper) == tuple(two.conf_int().loc["T"])
        np.testing.assert_array_equal(one.theta_hat, two.theta)
        np.testing.assert_array_equal(one.psi_values, two.psi["T"])

    def test_several_treatments_and_one_covariate(self, data):
        T = data[["t", "x_2"]].to_numpy()
        res = dd.structural_dml(data["y"], T, data["x_1"], hidden_dims=(4,), epochs=2, n_folds=5, seed=1)
        assert list(res.params.index) == ["Intercept", "T0", "T1"]
        with pytest.raises(AttributeError, match="only for a model with an intercept and one treatment"):
            _ = res.mu_hat

    def test_options_are_checked(self, data):
        with pytest.raises(ValueError, match="unknown option 'hiden'"):
            dd.structural_dml(data["y"], data["t"], data[["x_1"]], hiden=(4,))
        with pytest.raises(DataError, match="rows"):
            dd.structural_dml(data["y"], data["t"], data[["x_1"]].to_numpy()[:50])


@pytest.mark.parametrize("progress", [True, False, None])
def test_progress_is_silent_where_there_is_no_terminal(data, capsys, progress):
    dd.fit("y ~ t | x*", data, progress=progress, **QUICK)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_progress_shows_phase_folds_loss_and_time_on_a_terminal(data, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    dd.fit("y ~ t | x*", data, progress=True, n_rep=2, **QUICK)
    shown = capsys.readouterr().err
    for part in ("repetition 2 of 2", "5 folds", "still training, held-out loss", "Lambda and psi", "<"):
        assert part in shown


class TestClusters:
    @pytest.mark.parametrize(
        ("groups", "options"),
        [
            ("firm", {}),
            (["firm"], {}),
            (np.arange(200) // 5, {}),
            ("firm", {"n_folds": 3}),
            ("firm", {"n_folds": 12, "learner": "net"}),
            ("firm", {"n_rep": 2}),
        ],
        ids=["name", "list", "array", "3 folds", "12 folds", "2 repetitions"],
    )
    def test_are_never_split(self, data, groups, options):
        res = dd.fit("y ~ t | x*", data, cov_type="cluster", cov_kwds={"groups": groups}, **QUICK, **options)
        for fold in res._fit.rows.folds:
            assert (pd.Series(fold).groupby(data["firm"]).nunique() == 1).all()

    def test_are_never_split_by_a_binary_treatment(self, data):
        res = dd.fit("y ~ binary | x*", data, cov_type="cluster", cov_kwds={"groups": "firm"}, **QUICK)
        assert (pd.Series(res._fit.rows.folds[0]).groupby(data["firm"]).nunique() == 1).all()

    @pytest.mark.filterwarnings("ignore:Only .* clusters")
    def test_two_ways(self, data):
        """Firms nested in regions are joined; then neither is split."""
        frame = data.assign(region=data["firm"] // 4)
        res = dd.fit(
            "y ~ t | x*", frame, cov_type="cluster", cov_kwds={"groups": ["firm", "region"]}, n_folds=5, **QUICK
        )
        for name in ("firm", "region"):
            assert (pd.Series(res._fit.rows.folds[0]).groupby(frame[name]).nunique() == 1).all()

    @pytest.mark.filterwarnings("ignore:Only .* clusters")
    def test_two_crossed_ways_split_the_second_and_say_so(self, data):
        """Every firm meets every year, so nothing but the first way can be kept whole."""
        options = {"cov_type": "cluster", "cov_kwds": {"groups": ["firm", "year"]}, **QUICK}
        with pytest.warns(InferenceWarning, match=r"clusters in 'year' have rows in more than one fold"):
            res = dd.fit("y ~ t | x*", data, **options)
        assert (pd.Series(res._fit.rows.folds[0]).groupby(data["firm"]).nunique() == 1).all()

    def test_clustering_after_the_fit_warns_where_folds_split_clusters(self, data, res):
        with pytest.warns(InferenceWarning, match="Refit with cov_type='cluster'"):
            res.get_robustcov_results("cluster", groups=data["firm"])


def test_clipped_propensities_warn(data):
    """A covariate that nearly decides the treatment in a tenth of the rows."""
    rng = np.random.default_rng(4)
    rare = np.arange(600) % 10 == 0
    t = np.where(rare, 1.0, (rng.random(600) < 0.5) * 1.0)
    frame = pd.DataFrame({"y": t + rng.standard_normal(600), "t": t, "rare": rare * 1.0})
    with pytest.warns(OverlapWarning) as caught:
        res = dd.fit("y ~ t | rare", frame, seed=1, hidden=(4,))
    assert any("clipped" in str(w.message) for w in caught)
    assert {w.filename for w in caught} == {__file__}  # not a line of ours: users filter by module, and look there
    assert res._fit.record.clipped_share == pytest.approx(0.1, abs=0.02)


class TestPredictions:
    def test_new_rows_are_predicted_by_the_family(self, data):
        for family, outcome in (("gaussian", "y"), ("logit", "binary"), ("poisson", "count")):
            res = dd.fit(f"{outcome} ~ t | x_1", data, family, **QUICK)
            theta, eta, mean = (res.predict(data[:7], which=which) for which in ("theta", "linear", "mean"))
            expected = theta["Intercept"] + theta["t"] * data["t"][:7]
            np.testing.assert_allclose(eta, expected, rtol=1e-10, atol=1e-12)  # rounding
            np.testing.assert_allclose(mean, res._fit.family.mean(eta.to_numpy()), rtol=1e-12)
            assert mean.name == outcome

    def test_predictions_of_the_rows_of_the_fit_are_cross_fitted(self, data, res):
        eta = res.theta["Intercept"] + res.theta["t"] * data["t"]
        np.testing.assert_allclose(res.predict(), eta, rtol=1e-10, atol=1e-12)  # rounding
        assert not np.allclose(res.predict(), res.predict(data))

    def test_one_row_is_predicted_as_among_others(self, data, res):
        # single precision in the nets, products in another order
        np.testing.assert_allclose(res.predict(data[5:6]), res.predict(data)[5:6], rtol=1e-5)

    def test_no_rows(self, data, res):
        assert len(res.predict(data[:0])) == 0


def test_a_quiet_fit_warns_of_nothing(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dd.fit("y ~ t | x*", data, **QUICK)

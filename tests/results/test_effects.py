"""Heterogeneity: projections of psi, groups, sorting and policies, against statsmodels and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

import deepdml as dd
from deepdml.errors import DataError, FormulaError, OptionError
from deepdml.results.policy import learn_trees
from deepdml.results.ranking import ranks

EXACT = {"rtol": 1e-8}  # two ways to solve the same least squares


@pytest.fixture
def draw(known):
    return known("gaussian", "binary", shift=0.2)


class TestProjection:
    @pytest.mark.parametrize("cov_type", ["HC0", "HC1"])
    def test_blp_is_least_squares_of_psi(self, draw, cov_type):
        frame = draw.frame.assign(psi=draw.results.psi["t"])
        res = draw.results.get_robustcov_results(cov_type).blp("x0 + I(x1**2) + C(region)")
        ols = smf.ols("psi ~ x0 + I(x1**2) + C(region)", frame).fit(cov_type=cov_type)
        assert list(res.params.index)[:2] == ["Intercept", "x0"]
        order = ["Intercept", "x0", "I(x1 ** 2)", "C(region)[T.south]", "C(region)[T.west]"]
        np.testing.assert_allclose(res.params[order], ols.params[order], **EXACT)
        np.testing.assert_allclose(res.cov_params().loc[order, order], ols.cov_params().loc[order, order], **EXACT)
        assert (res.df_model, res.df_resid) == (ols.df_model, ols.df_resid)

    def test_clusters(self, draw):
        codes = np.arange(400) % 50
        frame = draw.frame.assign(psi=draw.results.psi["t"])
        res = draw.results.get_robustcov_results("cluster", groups=codes).blp("x0")
        ols = smf.ols("psi ~ x0", frame).fit(cov_type="cluster", cov_kwds={"groups": codes})
        np.testing.assert_allclose(res.cov_params(), ols.cov_params(), **EXACT)
        other = draw.results.blp("x0").get_robustcov_results("cluster", groups=codes)
        np.testing.assert_allclose(other.cov_params(), ols.cov_params(), **EXACT)

    def test_weights(self, known):
        res = known("gaussian", "binary", shift=0.2, weights=True)
        frame = res.frame.assign(psi=res.results.psi["t"])
        ours = res.results.get_robustcov_results("HC1").blp("x0 + x1")
        wls = smf.wls("psi ~ x0 + x1", frame, weights=frame["w"]).fit(cov_type="HC1")
        np.testing.assert_allclose(ours.params, wls.params, **EXACT)
        np.testing.assert_allclose(ours.cov_params(), wls.cov_params(), **EXACT)

    def test_groups_are_means(self, draw):
        psi, region = draw.results.psi["t"], draw.frame["region"]
        res = draw.results.gate("region")
        assert list(res.params.index) == ["region[north]", "region[south]", "region[west]"]
        np.testing.assert_allclose(res.params, psi.groupby(region).mean(), **EXACT)
        ols = sm.OLS(psi, pd.get_dummies(region, dtype=float)).fit(cov_type="HC1")
        np.testing.assert_allclose(res.bse, ols.bse, **EXACT)
        assert res.wald_test("region[north] = region[south]", scalar=True).df_denom == 1

    def test_quantile_groups_and_labels_by_row(self, draw):
        psi, x0 = draw.results.psi["t"], draw.frame["x0"]
        expected = psi.groupby(pd.qcut(x0, 4), observed=True).mean()
        by_text = draw.results.gate("qcut( x0,4)")
        np.testing.assert_allclose(by_text.params, expected, **EXACT)
        assert all(label.startswith("qcut( x0,4)[(") for label in by_text.params.index)
        np.testing.assert_allclose(draw.results.gate("C(region)").params, draw.results.gate("region").params, **EXACT)
        odd = draw.frame.rename(columns={"region": "the region"})
        assert draw.results.gate("the region", data=odd).params.index[0] == "the region[north]"
        np.testing.assert_allclose(draw.results.gate(pd.qcut(x0, 4)).params, expected, **EXACT)
        labels = draw.frame["region"].astype("string")
        np.testing.assert_array_equal(draw.results.gate(labels.array).params, draw.results.gate(labels).params)
        cut = draw.results.gate("cut(x0, [-3, 0, 3])")
        assert list(cut.params.index) == ["cut(x0, [-3, 0, 3])[(-3, 0]]", "cut(x0, [-3, 0, 3])[(0, 3]]"]

    def test_of_other_estimands(self, known):
        draw = known("logit", "binary", shift=0.1)
        effect = draw.results.get_margeff()
        expected = effect.psi["t"].groupby(draw.frame["region"]).mean()
        np.testing.assert_allclose(effect.gate("region").params, expected, **EXACT)
        both = draw.results.estimate([dd.Contrast("t", 1, 0), dd.AverageMarginalEffect()])
        np.testing.assert_allclose(both.gate("region", of="t").params, expected, **EXACT)

    def test_repetitions(self, known):
        draw = known("gaussian", "binary", shift=0.2, n_rep=3)
        each = [p[:, 1] for p in draw.results._estimates.psi]
        means = [pd.Series(p).groupby(draw.frame["region"]).mean() for p in each]
        np.testing.assert_allclose(draw.results.gate("region").params, np.median(means, axis=0), **EXACT)

    def test_saving(self, draw, tmp_path):
        res = draw.results.gate("region")
        res.save(tmp_path / "a")
        again = dd.load(tmp_path / "a")
        assert str(again.summary()) == str(res.summary())
        pd.testing.assert_frame_equal(again.get_robustcov_results("HC1").cov_params(), res.cov_params())

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda r: r.gate("regoin"), FormulaError, "Did you mean 'region'"),
            (lambda r: r.gate("t"), OptionError, "names 't', which stands left of the bar"),
            (lambda r: r.blp("x0 + y"), OptionError, "names the outcome 'y'"),
            (lambda r: r.gate("cut(x0, [-9, 9])"), OptionError, "a single group"),
            (lambda r: r.gate("x0"), OptionError, r"have one row .* gate\('qcut\(x0, 4\)'\)"),
            (lambda r: r.gate(7), OptionError, "one label per row; got int"),
            (lambda r: r.gate([1, 2]), DataError, "one value for each of the 400 rows"),
            (lambda r: r.gate(pd.Series([None, 1] * 200)), DataError, "missing or infinite in 200 row"),
            (lambda r: r.blp("x0 | x1"), FormulaError, "has a '~' or a bar"),
            (lambda r: r.blp(""), FormulaError, "a formula is a string .* not an empty one"),
            (lambda r: r.blp(["x0", "x1"]), FormulaError, "a formula is a string .* not a list"),
            (lambda r: r.blp("x0 + I(2 * x0)"), OptionError, "collinear"),
            (lambda r: r.blp("x0", of="tt"), OptionError, "there is no estimate 'tt'"),
            (lambda r: r.test_heterogeneity("1"), OptionError, "nothing but an intercept"),
            (lambda r: r.sorted_effects(1), OptionError, "n_groups is 1"),
            (lambda r: r.most_and_least_affected("x0", share=0.7), OptionError, "at most 0.5"),
            (lambda r: r.rank_curve([0.0]), OptionError, "between 0 and 1"),
            (lambda r: r.rank_curve([0.5, 0.5]), OptionError, "has a number twice"),
            (lambda r: r.rank_curve([1e-6]), OptionError, "no row is among the top 0.0001%"),
            (lambda r: r.most_and_least_affected("x0", share="a"), OptionError, "share is 'a'"),
            (lambda r: r.most_and_least_affected("x0", share=1e-6), OptionError, "no row is left in one of the groups"),
            (lambda r: r.gate("cut(x0, [-9, 0])"), DataError, "An expression needs a value in every row"),
            (
                lambda r: r.get_margeff("overall", "dydx", None, False, True),
                OptionError,
                "count=True asks for the change",
            ),
            (lambda r: r.trimming([]), OptionError, r"rules=\[\]; needed is a list of dd.Overlap"),
            (lambda r: r.trimming(3), OptionError, "rules=3; needed is a list of dd.Overlap"),
            (
                lambda r: r.estimate(dd.Contrast("t", 1, 0, "log ratio")).gate("region"),
                OptionError,
                "not a plain average",
            ),
            (lambda r: r.gate("region").gate("region"), OptionError, "not a plain average"),
        ],
        ids=range(27),
    )
    def test_refusals(self, draw, call, error, message):
        with pytest.raises(error, match=message):
            call(draw.results)

    def test_missing_covariates_are_named(self, draw):
        with pytest.raises(DataError, match=r"'x0' is missing or infinite in 1 row.*: 3"):
            draw.results.blp("x0", data=draw.frame.assign(x0=draw.frame["x0"].where(draw.frame.index != 3)))

    def test_several_coefficients_must_be_told_apart(self, known):
        with pytest.raises(OptionError, match=r"one of 'arm\[T.b\]', 'arm\[T.c\]'"):
            known("gaussian", "arms").results.gate("region")


class TestHeterogeneity:
    def test_calibration_of_a_good_prediction(self, known):
        res = known("gaussian", "binary", n=4_000).results
        slope = res.calibration()
        assert list(slope.params.index) == ["mean", "prediction"]
        assert slope.params["mean"] == pytest.approx(res.params["t"])
        assert abs(slope.params["prediction"] - 1) < 4 * slope.bse["prediction"]
        assert res.test_heterogeneity().pvalue < 1e-4  # the true sd of the effect is .2, its z about 10

    def test_levels_where_the_effect_is_constant(self, known):
        """Tests against covariates that don't matter reject as often as they say."""
        pvalues = []
        for seed in range(200):
            res = known.__wrapped__("gaussian", "binary", n=300, seed=seed).results
            piece = res._fit.rows.repetitions[0]
            psi = res.psi["t"].to_numpy() - piece.theta[:, 1]
            flat = replace(res._estimates, psi=np.stack([psi, psi], axis=1)[None])
            pvalues.append(
                float(type(res)(res._fit, res._estimand, flat, res._model).test_heterogeneity("x0 + x2").pvalue)
            )
        # 200 draws of a share of .05 have an sd of .015; three of them, and HC1's error at n = 300
        assert np.mean(np.array(pvalues) < 0.05) < 0.105

    def test_no_covariates_nothing_to_sort(self, known):
        frame = known("gaussian", "binary").frame
        res = dd.fit("y ~ t | 1", frame, seed=1)
        one = replace(res._fit.rows.repetitions[0], theta=np.ones((400, 2)))
        flat = type(res)(
            replace(res._fit, rows=replace(res._fit.rows, repetitions=(one,))), res._estimand, res._estimates
        )
        for call in (flat.test_heterogeneity, flat.sorted_effects, flat.rank_curve):
            with pytest.raises(OptionError, match="the same at every row of a fold"):
                call()
        assert np.ptp(res.theta["t"]) > 0  # folds differ: each is estimated from the other ones
        for call in (res.calibration, res.test_heterogeneity, res.sorted_effects, res.rank_curve):
            with pytest.raises(OptionError, match="the same at every row of a fold"):
                call()

    def test_sorted_effects_follow_the_prediction(self, known):
        res = known("gaussian", "binary", n=4_000).results
        groups = res.sorted_effects(4)
        fold, theta = res._fit.rows.folds[0], res.theta["t"]
        rank = theta.groupby(fold).rank(method="first")
        expected = res.psi["t"].groupby(np.minimum(((rank - 0.5) / 800 * 4).astype(int), 3)).mean()
        np.testing.assert_allclose(groups.params, expected, **EXACT)
        truth = theta.groupby(np.minimum(((rank - 0.5) / 800 * 4).astype(int), 3)).mean()
        assert (abs(groups.params.to_numpy() - truth) < 4 * groups.bse.to_numpy()).all()

    def test_ranks_are_shares_of_weight_within_folds(self):
        effects, folds = np.array([[3.0, 1.0, 2.0, 5.0]]), np.array([[0, 0, 0, 1]])
        np.testing.assert_allclose(ranks(effects, folds, None), [[5 / 6, 1 / 6, 3 / 6, 0.5]])
        np.testing.assert_allclose(ranks(effects, folds, np.array([2.0, 1, 1, 9]))[0], [0.75, 0.125, 0.375, 0.5])

    def test_effects_that_vary_with_the_treatment_cannot_sort(self, known):
        res = known("logit", "continuous").results.get_margeff()
        with pytest.raises(OptionError, match="varies with the treatment"):
            res.sorted_effects()

    def test_most_and_least_affected(self, known):
        draw = known("gaussian", "binary", n=4_000)
        res = draw.results.most_and_least_affected("x2 + C(region)", share=0.25)
        # the effect is .4 + .2 x2, so they are the quarters with the largest and smallest x2, fold by fold
        by_fold = draw.frame["x2"].groupby(np.arange(4_000) % 5)
        most = draw.frame["x2"][by_fold.rank() > 600]
        assert res.params["x2: most"] == pytest.approx(most.mean(), rel=0.01)  # rows at the cut
        assert res.bse["x2: most"] == pytest.approx(most.std() / np.sqrt(1_000), rel=0.02)
        gap = res.params["x2: most"] - res.params["x2: least"]
        assert res.params["x2: most - least"] == pytest.approx(gap)
        assert abs(res.tvalues["C(region)[north]: most - least"]) < 4

    def test_rank_curve_is_calibrated(self, known):
        """The curve of the true effect, over its standard errors, over draws."""
        shares, z = [0.2, 0.5], []
        # theta = .4 + .2 x2 with x2 normal, cut at 2.5: E[x2 | top share u] = density at the cut / u
        x = np.clip(np.random.default_rng(0).standard_normal(2_000_000), -2.5, 2.5)
        x.sort()
        truth = np.array([0.2 * x[int(-u * len(x)) :].mean() for u in shares])
        for seed in range(200):
            res = known.__wrapped__("gaussian", "binary", n=400, seed=seed).results.rank_curve(shares)
            z.append((res.params.to_numpy()[:2] - truth) / res.bse.to_numpy()[:2])
        z = np.array(z)
        # three standard errors of a mean and an sd of 200 draws
        assert np.abs(z.mean(axis=0)).max() < 0.22
        assert np.abs(z.std(axis=0) - 1).max() < 0.15
        assert list(res.params.index) == ["top 0.2", "top 0.5", "area"]
        assert res.params["area"] == pytest.approx(res.params.iloc[:2].mean())


class TestPolicy:
    def test_the_search_is_exact(self):
        """Against all trees over the same cut points, one by one."""
        rng = np.random.default_rng(0)
        z, reward = rng.integers(0, 4, (60, 3)).astype(float), rng.standard_normal(60)
        tree, by_fold = learn_trees(reward, z, ("a", "b", "c"), np.arange(60) % 3, None)
        assert len(by_fold) == 3

        def best(rows):
            total = max(reward[rows].sum(), 0.0)
            for f in range(3):
                for c in range(3):
                    side = z[rows, f] <= c
                    total = max(total, sum(max(reward[rows][s].sum(), 0) for s in (side, ~side)))
            return total

        expected = max(
            best(np.flatnonzero(z[:, f] <= c)) + best(np.flatnonzero(z[:, f] > c)) for f in range(3) for c in range(3)
        )
        assert reward[tree.decide(z)].sum() == pytest.approx(expected)
        for k, other in enumerate(by_fold):
            rows = np.arange(60) % 3 != k
            mine = learn_trees(reward[rows], z[rows], ("a", "b", "c"), np.zeros(rows.sum(), int), None)[0]
            assert reward[rows][other.decide(z[rows])].sum() == pytest.approx(reward[rows][mine.decide(z[rows])].sum())

    def test_it_finds_a_rule(self, known):
        draw = known("gaussian", "binary", n=4_000)
        policy = draw.results.policy(cost=0.4)
        # the effect is .4 + .2 x2: treat where x2 is positive
        agree = (policy.treat == (draw.frame["x2"] > 0)).mean()
        assert agree > 0.9
        assert "x2" in str(policy.tree)
        assert "gain per row" in repr(policy)
        values = policy.value.params
        assert list(values.index) == ["tree", "effect above cost", "everyone", "tree - everyone"]
        assert values["everyone"] == pytest.approx(draw.results.params["t"] - 0.4)
        best = 0.2 * np.maximum(draw.frame["x2"], 0).mean()
        assert (abs(values[["tree", "effect above cost"]] - best) < 4 * policy.value.bse.iloc[:2]).all()
        assert values["tree - everyone"] == pytest.approx(values["tree"] - values["everyone"])

    def test_everyone_and_no_one(self, known):
        res = known("gaussian", "binary", n=4_000).results
        assert str(res.policy(cost=-50).tree) == "treat everyone"
        assert str(res.policy(cost=50).tree) == "treat no one"
        assert res.policy(cost=50).value.params["tree"] == 0

    def test_covariates_by_name(self, known):
        policy = known("gaussian", "binary", n=4_000).results.policy(cost=0.4, on="x0 + C(region)")
        assert "x2" not in str(policy.tree)
        with pytest.raises(OptionError, match="1 to 40 covariates"):
            known("gaussian", "binary").results.policy(on="I(0 * x0)")

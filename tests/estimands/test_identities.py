"""Identities that must hold exactly, or up to an error that is known, whatever the draw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch

import deepdml as dd
from deepdml.estimands import AverageCoefficient
from deepdml.inference import sup_t
from deepdml.learn.influence import Influence

EXACT = {"rtol": 1e-9, "atol": 1e-9}  # the same products in another order


class TestGaussian:
    def test_the_marginal_effect_is_the_coefficient(self, known):
        for kind in ("continuous", "binary"):
            res = known("gaussian", kind, shift=0.2).results
            np.testing.assert_allclose(res.get_margeff().psi["t"], res.psi["t"], **EXACT)

    def test_the_contrast_of_a_binary_treatment_is_the_coefficient(self, known):
        res = known("gaussian", "binary", shift=0.2).results
        np.testing.assert_allclose(res.estimate(dd.Contrast("t", 1, 0)).psi.iloc[:, 0], res.psi["t"], **EXACT)

    def test_the_effect_on_the_treated_is_the_doubly_robust_score(self, known):
        draw = known("gaussian", "binary", shift=0.2)
        piece, y, t = draw.results._fit.rows.repetitions[0], draw.data.y, draw.data.t[:, 1]
        p, untreated = draw.propensity, piece.theta[:, 0]
        res = draw.results.estimate(dd.Contrast("t", 1, 0, subset="treated"))
        # Hahn (1998): the outcome under no treatment is known for the treated through the model, and weighting corrects
        moment = (t - (1 - t) * p / (1 - p)) * (y - untreated)
        effect = moment.mean() / t.mean()
        assert res.params.iloc[0] == pytest.approx(effect, rel=1e-12)
        np.testing.assert_allclose(res.psi.iloc[:, 0], effect + (moment - t * effect) / t.mean(), **EXACT)

    def test_the_effect_on_the_untreated_is_its_mirror(self, known):
        draw = known("gaussian", "binary", shift=0.2)
        piece, y, t = draw.results._fit.rows.repetitions[0], draw.data.y, draw.data.t[:, 1]
        p, treated = draw.propensity, piece.theta.sum(axis=1)
        moment = ((1 - p) / p * t - (1 - t)) * (y - treated)
        effect = moment.mean() / (1 - t).mean()
        res = draw.results.estimate(dd.Contrast("t", 1, 0, subset="untreated"))
        assert res.params.iloc[0] == pytest.approx(effect, rel=1e-12)

    def test_all_rows_are_the_treated_and_the_untreated(self, known):
        draw = known("logit", "binary", shift=0.2)
        contrasts = [dd.Contrast("t", 1, 0, subset=who) for who in (None, "treated", "untreated")]
        effect, treated, untreated = draw.results.estimate(contrasts).params
        share = draw.frame["t"].mean()
        assert effect == pytest.approx(share * treated + (1 - share) * untreated, rel=1e-9)  # rounding

    def test_a_parabola_has_the_chain_rule(self, known):
        draw = known("gaussian", "continuous", n=3_000, formula="t + I(t**2)")
        t, theta = draw.data.t[:, 1], draw.theta
        res = draw.results.get_margeff()
        assert list(res.params.index) == ["t"]
        rows = draw.results._fit.rows.repetitions[0]
        law = rows.law
        # G is 1 and twice the mean dose; the dose's law is interpolated between 2,000 observed doses
        gradient = np.column_stack([np.zeros(len(t)), np.ones(len(t)), 2 * law.mean])
        expected = rows.psi((theta[:, 1] + 2 * t * theta[:, 2])[:, None], gradient[:, None])
        np.testing.assert_allclose(res.psi, expected, atol=1e-2)
        assert res.params["t"] == pytest.approx(expected.mean(), abs=1e-3)

    def test_welfare_of_linear_demand_is_a_trapezoid(self, known):
        res = known("gaussian", "continuous").results
        curve = res.estimate(dd.DoseResponse("t", [1.0, 2.0]))
        welfare = res.estimate(dd.ConsumerWelfare("t", 2.0, 1.0))
        np.testing.assert_allclose(welfare.psi.iloc[:, 0], -curve.psi.mean(axis=1), **EXACT)

    def test_several_treatments_of_which_only_moments_were_learned(self, known):
        """Additive effects have a gradient free of the treatments, and need no law of them."""
        draw = known("gaussian", "continuous", formula="t")
        piece = draw.results._fit.rows.repetitions[0]
        fit = replace(draw.results._fit, rows=replace(draw.results._fit.rows, repetitions=(replace(piece, law=None),)))
        res = type(draw.results)(fit, AverageCoefficient(), draw.results._estimates, draw.results._model)
        np.testing.assert_allclose(res.get_margeff().psi["t"], res.psi["t"], **EXACT)
        np.testing.assert_allclose(res.estimate(dd.Contrast("t", 2, 1)).psi.iloc[:, 0], res.psi["t"], **EXACT)
        with pytest.raises(dd.errors.OptionError, match="only moments of the treatments were learned"):
            res.estimate(dd.AverageMarginalEffect(method="dyex"))


class TestSubsets:
    def test_covariates(self, known):
        """psi of a subset by covariates is s (psi - mu) / P(S), shifted to its mean."""
        draw = known("logit", "continuous", shift=0.2)
        inside = draw.frame["x0"].to_numpy() > 0.3
        whole = draw.results.get_margeff().psi["t"]
        part = draw.results.estimate(dd.AverageMarginalEffect(subset="x0 > 0.3"))
        effect = whole[inside].mean()
        assert part.params.iloc[0] == pytest.approx(effect, rel=1e-9)  # rounding
        expected = effect + inside * (whole - effect) / inside.mean()
        np.testing.assert_allclose(part.psi.iloc[:, 0], expected, **EXACT)

    def test_conditions_masks_and_groups_agree(self, known):
        draw = known("logit", "binary", shift=0.2)
        north = draw.frame["region"].to_numpy() == "north"
        texts = ["region == 'north'", "region in ['north'] and x0 < 99"]
        asked = [dd.Contrast("t", 1, 0, subset=subset) for subset in (*texts, north)]
        res = draw.results.estimate(asked)
        gates = draw.results.estimate(dd.Contrast("t", 1, 0)).gate("region")
        np.testing.assert_allclose(res.params, gates.params["region[north]"], rtol=1e-9)  # rounding
        assert res.params.index[0] == "t: 1 vs 0 | region == 'north'"
        assert res.params.index[2] == "t: 1 vs 0 | subset"

    def test_masks_follow_dropped_rows(self, known):
        draw = known("gaussian", "binary")
        frame = draw.frame.copy()
        mask = (frame["x0"] > 0).to_numpy()
        missing = pd.concat([frame.iloc[:5].assign(y=np.nan), frame])
        data = dd.DeepDML("y ~ t | x0 + x1 + x2", missing).arrays
        fit = draw.results._fit
        rows = replace(fit.rows, rows=data.rows)
        res = type(draw.results)(
            replace(fit, rows=rows, n_total=data.n_total), AverageCoefficient(), draw.results._estimates
        )
        long = np.concatenate([np.ones(5, bool), mask])
        one = res.estimate(dd.Contrast("t", 1, 0, subset=long))
        two = res.estimate(dd.Contrast("t", 1, 0, subset=mask))
        pd.testing.assert_frame_equal(one.psi, two.psi)


class TestFunctionsOfMeans:
    def test_ratios(self, known):
        res = known("logit", "binary", shift=0.1).results
        zero, one = res.estimate(dd.DoseResponse("t", [0, 1])).params
        kinds = ("ratio", "log ratio", "odds ratio")
        found = res.estimate([dd.Contrast("t", 1, 0, kind) for kind in kinds]).params
        expected = [one / zero, np.log(one / zero), one / (1 - one) / (zero / (1 - zero))]
        np.testing.assert_allclose(found, expected, rtol=1e-9)  # rounding

    def test_exponentiated_coefficients(self, known):
        for family, kind in (("poisson", dd.IncidenceRateRatio), ("logit", dd.OddsRatio)):
            res = known(family, "binary").results
            ratio = res.estimate(kind("t"))
            assert ratio.params.iloc[0] == pytest.approx(np.exp(res.params["t"]), rel=1e-12)
            # the delta method
            assert ratio.bse.iloc[0] == pytest.approx(np.exp(res.params["t"]) * res.bse["t"], rel=1e-9)

    def test_willingness_to_pay(self, known):
        res = known("gaussian", "two", n=2_000).results
        found = res.estimate(dd.WillingnessToPay("a", "b"))
        a, b = res.params["a"], res.params["b"]
        slope = np.array([-1 / b, a / b**2])
        assert found.params["WTP, a"] == pytest.approx(-a / b, rel=1e-12)
        matrix = res.cov_params().loc[["a", "b"], ["a", "b"]].to_numpy()
        assert found.bse["WTP, a"] == pytest.approx(np.sqrt(slope @ matrix @ slope), rel=1e-9)  # rounding

    def test_a_price_that_may_be_zero(self, known):
        res = known("gaussian", "two", n=100).results
        with pytest.warns(dd.errors.InferenceWarning, match=r"'a:b' covers zero.*Fieller's 95 % sets: a (below|every)"):
            found = res.estimate(dd.WillingnessToPay("a", "a:b"))
        assert "Fieller" in str(found.summary())

    def test_the_optimal_price_maximizes_profit(self, known):
        res = known("gaussian", "continuous", n=3_000, formula="I(-10 * t)").results
        found = res.estimate(dd.OptimalPrice("t", 0.7, 2.3, cost=1.0))
        best, most = found.params
        around = res.estimate(dd.Profit("t", [best - 0.05, best, best + 0.05], cost=1.0))
        assert around.params.iloc[1] == pytest.approx(most, rel=1e-6)  # ten points stand for a smooth curve
        assert around.params.iloc[1] > max(around.params.iloc[0], around.params.iloc[2])
        # at the optimum the price's error does not move profit
        assert found.bse.iloc[1] == pytest.approx(around.bse.iloc[1], rel=1e-4)
        with pytest.raises(dd.errors.OptionError, match="profit is largest at the end of the range"):
            res.estimate(dd.OptimalPrice("t", 0.8, 0.9))
        with pytest.raises(dd.errors.OptionError, match="low below high"):
            dd.OptimalPrice("t", 2, 1)

    def test_profit(self, known):
        res = known("poisson", "continuous").results
        demand = res.estimate(dd.DoseResponse("t", [1.0, 2.0])).psi
        profit = res.estimate(dd.Profit("t", [1.0, 2.0], cost=0.5)).psi
        np.testing.assert_allclose(profit, demand * [0.5, 1.5], **EXACT)

    def test_dose_response_and_contrast(self, known):
        res = known("logit", "continuous").results
        curve = res.estimate(dd.DoseResponse("t", [1.0, 2.0])).psi
        contrast = res.estimate(dd.Contrast("t", 2.0, 1.0)).psi
        np.testing.assert_allclose(curve.iloc[:, 1] - curve.iloc[:, 0], contrast.iloc[:, 0], **EXACT)


class TestJointly:
    def test_one_covariance(self, known):
        res = known("logit", "binary").results
        asked = [AverageCoefficient(), dd.Contrast("t", 1, 0), dd.AverageMarginalEffect()]
        joint = res.estimate(asked)
        assert list(joint.params.index) == [
            "Intercept",
            "average coefficient: t",
            "t: 1 vs 0",
            "average marginal effect: t",
        ]
        centered = joint.psi - joint.params
        # HC1 with the fit's two coefficients
        np.testing.assert_allclose(joint.cov_params(), centered.T @ centered / 400 / 398, rtol=1e-9)
        test = joint.wald_test("average coefficient: t = t: 1 vs 0, Intercept = 0", scalar=True)
        assert test.df_denom == 2
        assert joint._estimand.name == "several"

    @pytest.mark.parametrize("asked", [dd.OddsRatio("t"), dd.Contrast("t", 1, 0, kind="odds ratio")], ids=str)
    def test_tables_say_that_a_ratio_of_one_is_no_effect(self, known, asked):
        ratio = known("logit", "binary").results.estimate(asked)
        (remark,) = [note for note in dd.etable(ratio).notes if "A ratio of 1 is no effect" in note]
        test = ratio.t_test(remark.split("t_test('")[1].split("')")[0])
        np.testing.assert_allclose(test.tvalue.item(), ((ratio.params - 1) / ratio.bse).item(), **EXACT)
        assert "A ratio of 1 is no effect" in ratio.summary().as_text()
        plain = known("logit", "binary").results.estimate(dd.Contrast("t", 1, 0, kind="log ratio"))
        assert not any("no effect" in note for note in dd.etable(plain).notes)

    def test_tables_say_which_method_a_marginal_effect_has(self, known):
        res = known("poisson", "continuous").results
        asked = [dd.AverageMarginalEffect(method=method) for method in ("dydx", "eyex", "dyex", "eydx")]
        titles = ["average marginal effect", "elasticity", "marginal effect (dyex)", "semi-elasticity (eydx)"]
        assert list(res.estimate(asked).params.index) == [f"{title}: t" for title in titles]
        for one, title in zip(asked, titles, strict=True):
            assert f" {title} " in res.estimate(one).summary().as_text()

    def test_results_of_the_same_fit_join(self, known):
        draw = known("gaussian", "binary")
        res = draw.results
        joint = res.estimate([res, res.gate("region"), dd.Contrast("t", 1, 0)])
        assert list(joint.params.index) == [
            *("Intercept", "t", "region[north]", "region[south]", "region[west]", "t: 1 vs 0")
        ]
        # the groups' shares, a third each but for one row, make their averages the coefficient
        assert np.linalg.matrix_rank(joint.cov_params(), tol=1e-6) < 6
        assert joint.wald_test("region[north] = t, region[south] = t", scalar=True).df_denom == 2
        with pytest.raises(dd.errors.OptionError, match="of the same fit"):
            res.estimate([known("logit", "binary").results])

    def test_the_same_twice(self, known):
        res = known("logit", "binary").results.estimate([dd.Contrast("t", 1, 0), dd.Contrast("t", 1, 0)])
        assert list(res.params.index) == ["contrast: t: 1 vs 0", "contrast: t: 1 vs 0 (2)"]

    def test_covariances_carry_over(self, known):
        draw = known("logit", "binary")
        codes = np.arange(400) % 40
        clustered = draw.results.get_robustcov_results("cluster", groups=codes)
        effect = clustered.get_margeff()
        assert effect.cov_type == "cluster"
        sums = (effect.psi["t"] - effect.params["t"]).groupby(codes).sum()
        expected = np.sqrt((sums**2).sum() / 400**2 * 40 / 39 * 399 / 398)
        assert effect.bse["t"] == pytest.approx(expected, rel=1e-9)  # rounding
        assert draw.results.get_margeff().get_robustcov_results("HC0").bse["t"] == pytest.approx(
            np.sqrt(np.mean((effect.psi["t"] - effect.params["t"]) ** 2) / 400), rel=1e-9
        )

    def test_repetitions_give_medians(self, known):
        draw = known("logit", "binary", shift=0.2, n_rep=3)
        res = draw.results.get_margeff()
        single = [
            replace(draw.results._fit, rows=replace(draw.results._fit.rows, repetitions=(piece,), folds=fold[None]))
            for piece, fold in zip(draw.results._fit.rows.repetitions, draw.results._fit.rows.folds, strict=True)
        ]
        each = [
            type(draw.results)(fit, AverageCoefficient(), draw.results._estimates).get_margeff().params["t"]
            for fit in single
        ]
        assert res.params["t"] == np.median(each)

    def test_bands_are_wider_than_intervals_and_cover_jointly(self, known):
        res = known("logit", "continuous").results.estimate(dd.DoseResponse("t", np.linspace(1, 2, 9)))
        point, band = res.conf_int(), res.conf_int(joint=True)
        assert (band[0] < point[0]).all()
        assert (band[1] > point[1]).all()
        pd.testing.assert_frame_equal(band, res.conf_int(joint=True))
        critical = sup_t(res.cov_params().to_numpy(), 0.05)
        draws = np.random.default_rng(1).multivariate_normal(np.zeros(9), res.cov_params(), 40_000)
        inside = (np.abs(draws) <= critical * res.bse.to_numpy()).all(axis=1)
        assert inside.mean() == pytest.approx(0.95, abs=0.005)  # four standard errors of 40,000 draws

    def test_a_band_of_one_is_the_interval(self, known):
        res = known("logit", "binary").results.get_margeff()
        # the simulated quantile is within half a per cent
        np.testing.assert_allclose(res.conf_int(joint=True), res.conf_int(), rtol=0.005)


class TestUserFunctions:
    def test_the_papers_example(self, known):
        res = known("logit", "binary", shift=0.1).results
        found = res.estimate(lambda x, t, theta: theta[..., 0] + 40 * theta[..., 1])
        np.testing.assert_allclose(found.psi["function"], res.psi["Intercept"] + 40 * res.psi["t"], **EXACT)

    @pytest.mark.parametrize("kind", ["binary", "continuous"])
    def test_against_closed_forms(self, known, kind):
        res = known("logit", kind, shift=0.1).results

        def effect(x, t, theta):
            mean = torch.sigmoid((t * theta).sum(-1))
            return mean * (1 - mean) * theta[..., 1]

        found = res.estimate({"effect": effect, "again": effect})
        assert list(found.params.index) == ["effect", "again"]
        np.testing.assert_allclose(found.psi["effect"], res.get_margeff().psi["t"], **EXACT)

    def test_several_values_and_covariates(self, known):
        res = known("gaussian", "binary", shift=0.1).results
        found = res.estimate(lambda x, t, theta: theta * x[..., :1])
        assert list(found.params.index) == ["function[0]", "function[1]"]
        x = res._fit.rows.x[:, 0].astype(float)
        np.testing.assert_allclose(found.psi["function[1]"], res.psi["t"] * x, **EXACT)

    def test_a_step_in_t_is_seen(self, known):
        """A function that reads t only through a comparison has no derivative in t, and depends on it all the same."""
        draw = known("gaussian", "binary", shift=0.1)
        found = draw.results.estimate(lambda x, t, theta: (t[..., 1] > 0.5) * theta[..., 1])
        share = draw.frame["t"].mean()
        treated = draw.results.estimate(AverageCoefficient(subset="treated"))
        assert found.params["function"] / share == pytest.approx(treated.params["t | treated"], rel=1e-9)  # rounding


def test_the_conditional_mean_of_the_gradient_makes_the_effect_orthogonal(known) -> None:
    """method.md, section 2: with the row's own value in place of its conditional mean the error does not vanish."""
    n = 200_000
    draw, shift = known("logit", "continuous", n=n), known("logit", "continuous", n=n, shift=0.3)
    t = draw.data.t

    def effects(theta):
        mean = 1 / (1 + np.exp(-(t * theta).sum(1)))
        slope = mean * (1 - mean)
        own = (slope * (1 - 2 * mean) * theta[:, 1])[:, None] * t + slope[:, None] * [0.0, 1.0]
        return slope * theta[:, 1], own

    truth = draw.results.get_margeff().params["t"]
    piece: Influence = shift.results._fit.rows.repetitions[0]
    values, own = effects(piece.theta)
    uncorrected = values.mean() - truth
    with_own = piece.psi(values[:, None], own[:, None]).mean() - truth
    orthogonal = shift.results.get_margeff().params["t"] - truth
    # what is left is of second order in the shift
    assert abs(orthogonal) < 0.1 * abs(uncorrected)
    assert abs(orthogonal) < 0.3 * abs(with_own)
    assert abs(uncorrected) > 0.01


class TestStatsmodels:
    """`y ~ t | 1` is a GLM: effects agree up to O(1/n), and standard errors add the sampling of the rows to its own."""

    n = 3_000

    def draw(self, family, kind):
        rng = np.random.default_rng(5)
        t = 0.5 + rng.uniform(size=self.n) if kind == "continuous" else rng.integers(0, 2, self.n).astype(float)
        eta = 0.2 + 0.5 * t
        y = rng.poisson(np.exp(eta)) if family == "poisson" else rng.uniform(size=self.n) < 1 / (1 + np.exp(-eta))
        return pd.DataFrame({"y": np.asarray(y, float), "t": t})

    @pytest.mark.parametrize(
        ("family", "kind", "method", "dummy"),
        [
            *[("logit", "continuous", method, False) for method in ("dydx", "eyex", "dyex", "eydx")],
            ("logit", "binary", "dydx", True),
            ("poisson", "continuous", "eyex", False),
            ("poisson", "binary", "dydx", True),
        ],
    )
    def test_margins(self, family, kind, method, dummy):
        frame = self.draw(family, kind)
        res = dd.fit("y ~ t | 1", frame, family, seed=1, cov_type="HC0").get_margeff(method=method, dummy=dummy)
        model = {"logit": sm.Logit, "poisson": sm.Poisson}[family](frame["y"], sm.add_constant(frame["t"]))
        glm = model.fit(disp=False, cov_type="HC0")
        theirs = glm.get_margeff(method=method, dummy=dummy)
        # Newton steps from other folds' estimates: some 1 / sqrt(n) standard errors, as for the coefficients
        assert abs(res.params["t"] - theirs.margeff[0]) < 6 / np.sqrt(self.n) * theirs.margeff_se[0]
        t, mean = frame["t"], glm.predict()
        eta_slope = glm.params["t"]
        slope = mean * (1 - mean) if family == "logit" else mean
        own = {"dydx": slope, "eyex": slope * t / mean, "dyex": slope * t, "eydx": slope / mean}[method] * eta_slope
        rows = 0.0 if dummy else np.var(own) / self.n
        # the rows' own share of the variance is correlated with that of the coefficients only by chance
        assert res.bse["t"] == pytest.approx(np.sqrt(theirs.margeff_se[0] ** 2 + rows), rel=0.03)


class TestPoints:
    """Marginal effects with the variables left of the bar at one value in all rows."""

    @pytest.mark.parametrize("kind", ["binary", "continuous"])
    def test_they_are_written_out(self, known, kind):
        draw = known("logit", kind, shift=0.1, weights=True)
        t, w, theta = draw.frame["t"], draw.frame["w"], draw.results._fit.rows.repetitions[0].theta
        order = np.argsort(t.to_numpy())
        middle = t.to_numpy()[order][np.searchsorted(np.cumsum(w.to_numpy()[order]), 0.5 * w.sum())]
        for at, value in (("mean", np.average(t, weights=w)), ("median", middle), ("zero", 0.0)):
            if at == "zero" and kind == "continuous":
                continue
            share = 1 / (1 + np.exp(-theta[:, 0] - theta[:, 1] * value))
            slope = share * (1 - share)
            bend = slope * (1 - 2 * share) * theta[:, 1]
            values, gradient = slope * theta[:, 1], np.column_stack([bend, slope + bend * value])
            expected = draw.results._fit.rows.repetitions[0].psi(values[:, None], gradient[:, None])
            np.testing.assert_allclose(draw.results.get_margeff(at).psi, expected, rtol=1e-8)  # differences of rows

    def test_a_point_may_be_named(self, known):
        draw = known("poisson", "continuous", formula="t + I(t**2)", shift=0.1)
        one = draw.results.get_margeff("mean", "eyex")
        two = draw.results.get_margeff(method="eyex", atexog={"t": draw.frame["t"].mean()})
        np.testing.assert_allclose(one.psi, two.psi, **EXACT)
        assert list(one.params.index) == ["t, at mean"]

    def test_interactions_follow_their_variables(self, known):
        """The product of two means, where statsmodels takes the mean of the product."""
        draw = known("gaussian", "two", shift=0.1)
        found = draw.results.get_margeff("mean").psi["a, at mean"]
        psi = draw.results.psi
        np.testing.assert_allclose(found, psi["a"] + draw.frame["b"].mean() * psi["a:b"], rtol=1e-7)  # differences

    def test_a_variable_held_leaves_the_others_as_observed(self, known):
        draw = known("gaussian", "two", shift=0.1)
        found = draw.results.get_margeff(atexog={"b": 1}, columns="a")
        np.testing.assert_allclose(found.psi.iloc[:, 0], draw.results.psi[["a", "a:b"]].sum(axis=1), rtol=1e-7)
        assert list(found.params.index) == ["a, at b = 1"]

    def test_changes_from_zero_to_one(self, known):
        res = known("logit", "two", shift=0.1).results
        found = res.get_margeff("zero", dummy=True, columns="a")
        assert found.params.iloc[0] == pytest.approx(
            res.get_margeff(atexog={"b": 0}, dummy=True, columns="a").params.iloc[0], rel=1e-12
        )

    def test_several_treatments_of_which_only_moments_were_learned(self, known):
        """With every variable at one value nothing depends on the treatments' law."""
        draw = known("poisson", "continuous")
        piece = draw.results._fit.rows.repetitions[0]
        fit = replace(draw.results._fit, rows=replace(draw.results._fit.rows, repetitions=(replace(piece, law=None),)))
        res = type(draw.results)(fit, AverageCoefficient(), draw.results._estimates, draw.results._model)
        pd.testing.assert_frame_equal(res.get_margeff("mean").psi, draw.results.get_margeff("mean").psi)
        with pytest.raises(dd.errors.OptionError, match="only moments of the treatments were learned"):
            res.get_margeff()

    @pytest.mark.parametrize("at", ["mean", "median", "zero"])
    @pytest.mark.parametrize("method", ["dydx", "eyex", "dyex", "eydx"])
    @pytest.mark.parametrize("kind", ["continuous", "binary"])
    @pytest.mark.filterwarnings("ignore:.*lies outside the data:deepdml.errors.InferenceWarning")
    def test_they_are_those_of_statsmodels(self, known, at, method, kind):
        """At a GLM's coefficients and hessian, estimates and standard errors are its own."""
        draw = known("logit", kind)
        design = sm.add_constant(draw.frame["t"])
        glm = sm.Logit(draw.frame["y"], design).fit(disp=False, cov_type="HC0", tol=1e-12)
        n, piece = len(design), draw.results._fit.rows.repetitions[0]
        score = (glm.predict() - draw.frame["y"]).to_numpy()[:, None] * design.to_numpy()
        inverse = np.linalg.inv(-glm.model.hessian(glm.params) / n)
        same = replace(
            piece,
            theta=np.tile(glm.params, (n, 1)),
            score=score,
            lambda_inverse=np.broadcast_to(inverse, (n, 2, 2)),
        )
        fit = replace(draw.results._fit, rows=replace(draw.results._fit.rows, repetitions=(same,)))
        res = type(draw.results)(fit, AverageCoefficient(), draw.results._estimates, draw.results._model)
        if method.endswith("ex") and (at == "zero" or (draw.frame["t"].median() == 0 and at == "median")):
            with pytest.raises(dd.errors.OptionError, match="which is zero there"):
                res.get_margeff(at, method)
            return
        ours, theirs = res.get_margeff(at, method).get_robustcov_results("HC0"), glm.get_margeff(at, method)
        np.testing.assert_allclose(ours.params, theirs.margeff, rtol=1e-6)
        np.testing.assert_allclose(ours.bse, theirs.margeff_se, rtol=1e-6)

"""Averages where the treatment overlaps: the rows that rules keep, the estimands that follow, and their influence."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.optimize import brentq

import deepdml as dd
from deepdml.design.data import build_data
from deepdml.errors import OptionError
from deepdml.estimands import Arms, AverageCoefficient
from deepdml.families import Gaussian
from deepdml.learn.influence import DiscreteLaw, FitRecord, Influence
from deepdml.results import Results, make_results
from deepdml.results.overlap import trimming_table
from deepdml.results.recipe import plain

EXACT = {"rtol": 1e-9, "atol": 1e-9}  # the same sums in another order
RULES = [dd.Overlap(), dd.Overlap("optimal"), dd.Overlap("percentile"), dd.Overlap("weights")]
EFFECT = ("t", 1, 0)


def two_arms(p: np.ndarray, seed: int = 0, weights: np.ndarray | None = None) -> Arms:
    t = np.random.default_rng(seed).uniform(size=len(p)) < p
    return Arms(("t = 0", "t = 1"), np.column_stack([1 - p, p]), np.column_stack([~t, t]), False, weights)


def estimated(results: Results) -> Results:
    """The same Results with propensities that count as estimated."""
    record = replace(results._fit.record, treatment_model="propensities, 2 levels")
    fit = replace(results._fit, record=record)
    return type(results)(fit, results._estimand, results._estimates, results._model)


class TestRules:
    def test_fixed(self):
        p = np.array([0.05, 0.1, 0.5, 0.9, 0.95])
        assert dd.Overlap().keeps(two_arms(p)).tolist() == [False, True, True, True, False]
        assert dd.Overlap("fixed", 0.0).keeps(two_arms(p)).all()

    def test_several_arms_go_by_the_smallest_propensity(self):
        values = np.array([[0.05, 0.05, 0.9], [0.2, 0.2, 0.6], [0.1, 0.85, 0.05]])
        arms = Arms(("a", "b", "c"), values, np.eye(3, dtype=bool))
        assert dd.Overlap().keeps(arms).tolist() == [False, True, False]

    def test_optimal_of_a_uniform_propensity(self):
        """The condition of Crump et al. in closed form: the mean of 1 / (e (1 - e)) is a difference of log-odds."""

        def condition(a: float) -> float:
            return 1 / (a * (1 - a)) - 2 * 2 * np.log((1 - a) / a) / (1 - 2 * a)

        alpha = brentq(condition, 0.01, 0.4)
        n = 20_000
        p = (np.arange(n) + 0.5) / n
        kept = dd.Overlap("optimal").keeps(two_arms(p))
        # the bound is flat at its least, where propensities lie 1 / n apart
        assert p[kept].min() == pytest.approx(alpha, abs=2e-3)
        assert p[kept].max() == pytest.approx(1 - alpha, abs=2e-3)
        assert f"propensities in [{p[kept].min():.3g}, {p[kept].max():.3g}] (optimal)" == dd.Overlap("optimal").text(
            two_arms(p)
        )

    def test_optimal_has_the_least_bound_of_all_sets(self):
        rng = np.random.default_rng(3)
        values = rng.dirichlet([0.8, 0.8, 0.8], size=60) * 0.97 + 0.01
        at_level = np.eye(3, dtype=bool)[np.arange(60) % 3]
        share = rng.uniform(0.5, 2.0, 60)
        arms = Arms(("a", "b", "c"), values, at_level, False, share)
        g = (1 / values).sum(axis=1)

        def bound(kept: np.ndarray) -> float:
            return (share * g)[kept].sum() / share[kept].sum() ** 2

        kept = dd.Overlap("optimal").keeps(arms)
        assert kept.sum() < 60
        assert bound(kept) == min(bound(g <= c) for c in g)

    def test_good_overlap_is_left_alone(self):
        """Where sup g <= 2 E[g] the best set has all rows (Crump et al.)."""
        assert dd.Overlap("optimal").keeps(two_arms(np.linspace(0.3, 0.7, 100))).all()

    def test_weights_are_rows(self):
        p, repeated = np.linspace(0.02, 0.6, 40), np.arange(40) % 3
        heavy = two_arms(p, weights=repeated.astype(float))
        t = np.repeat(heavy.at_level, repeated, axis=0)
        long = Arms(heavy.names, np.repeat(heavy.values, repeated, axis=0), t)
        for rule in (dd.Overlap("optimal"), dd.Overlap("percentile", 0.1)):
            np.testing.assert_array_equal(np.repeat(rule.keeps(heavy), repeated), rule.keeps(long))
        tables = [trimming_table(arms, RULES)["relative se"] for arms in (heavy, long)]
        np.testing.assert_allclose(*tables, rtol=1e-12)  # the same sums

    def test_percentiles_trim_the_tails_of_the_other_arm(self):
        """Stürmer et al.: below the quantile of the treated and above that of the untreated, both go."""
        rng = np.random.default_rng(1)
        p = rng.beta(2, 2, 2_000)
        arms = two_arms(p)
        t = arms.at_level[:, 1]
        low, high = np.sort(p[t])[int(0.05 * t.sum())], np.sort(p[~t])[::-1][int(0.05 * (~t).sum())]
        np.testing.assert_array_equal(dd.Overlap("percentile").keeps(arms), (p >= low) & (p <= high))
        assert dd.Overlap("percentile").text(arms) == f"propensity in [{low:.3g}, {high:.3g}] (percentile 5)"

    def test_the_weight_has_the_derivative_it_should(self):
        """The term for estimating propensities is sum_j dh / dp_j (1{level} - p_j); differences check dh / dp_j."""
        rng = np.random.default_rng(2)
        values = rng.dirichlet([2.0, 2.0, 2.0], size=50)
        arms = Arms(("a", "b", "c"), values, np.eye(3, dtype=bool)[np.arange(50) % 3])
        field = dd.Overlap("weights").field(arms)
        step = 1e-6
        slopes = np.empty_like(values)
        for j in range(3):
            moved = values + step * np.eye(3)[j]
            back = values - step * np.eye(3)[j]
            slopes[:, j] = (1 / (1 / moved).sum(1) - 1 / (1 / back).sum(1)) / (2 * step)
        h = 1 / (1 / values).sum(axis=1)
        expected = h + (slopes * (arms.at_level - values)).sum(axis=1)
        np.testing.assert_allclose(field.own, expected, atol=1e-8)  # the error of the differences
        np.testing.assert_allclose(field.at(slice(0, 50), None)[:, 0], h, **EXACT)


class TestEstimand:
    @pytest.mark.parametrize("rule", [dd.Overlap("fixed", 0.2), *RULES[1:3]], ids=lambda rule: rule.rule)
    def test_a_set_is_the_average_of_psi_in_it(self, known, rule):
        draw = known("logit", "binary", shift=0.2)
        inside = rule.keeps(draw.results._columns().arms())
        assert 0 < inside.sum() < len(inside)
        whole = draw.results.estimate(dd.Contrast(*EFFECT)).psi.iloc[:, 0]
        part = draw.results.estimate(dd.Contrast(*EFFECT, subset=rule))
        effect = whole[inside].mean()
        assert part.params.iloc[0] == pytest.approx(effect, rel=1e-9)  # rounding
        np.testing.assert_allclose(part.psi.iloc[:, 0], effect + inside * (whole - effect) / inside.mean(), **EXACT)

    def test_a_set_agrees_with_its_mask(self, known):
        draw = known("poisson", "binary", shift=0.2)
        mask = (draw.propensity >= 0.2) & (draw.propensity <= 0.8)
        asked = [dd.AverageMarginalEffect(subset=s) for s in (dd.Overlap("fixed", 0.2), mask)]
        both = draw.results.estimate(asked)
        assert both.params.iloc[0] == both.params.iloc[1]
        assert both.params.index[0].endswith(" | propensities in [0.2, 0.8]")

    def test_weights_are_robinsons_regression(self, known):
        """Gaussian, two arms: psi of the ATO is that of least squares of y - E[y | x] on t - p, without a constant."""
        draw = known("gaussian", "binary", shift=0.3)
        res = estimated(draw.results).estimate(dd.Contrast(*EFFECT, subset=dd.Overlap("weights")))
        piece, p = draw.results._fit.rows.repetitions[0], draw.propensity
        y = draw.data.y - piece.theta[:, 0] - p * piece.theta[:, 1]
        ols = sm.OLS(y, draw.data.t[:, 1] - p).fit(cov_type="HC0")
        assert res.params.iloc[0] == pytest.approx(ols.params[0], rel=1e-9)  # rounding
        assert res.get_robustcov_results("HC0").bse.iloc[0] == pytest.approx(ols.bse[0], rel=1e-9)

    def test_known_propensities_need_no_correction(self, known):
        draw = known("gaussian", "binary", shift=0.3)
        h = draw.propensity * (1 - draw.propensity)
        whole = draw.results.psi["t"]
        effect = (h * whole).sum() / h.sum()
        res = draw.results.estimate(dd.Contrast(*EFFECT, subset=dd.Overlap("weights")))
        assert res.params.iloc[0] == pytest.approx(effect, rel=1e-9)  # rounding
        np.testing.assert_allclose(res.psi.iloc[:, 0], effect + h * (whole - effect) / h.mean(), **EXACT)

    def test_repetitions_share_one_set(self, known):
        draw = known("gaussian", "binary", shift=0.3, n_rep=3)
        res = draw.results.estimate(dd.Contrast(*EFFECT, subset=dd.Overlap("optimal")))
        away = res._psi - res._psi.mean(axis=1, keepdims=True)
        np.testing.assert_array_equal((away != 0).any(axis=2).all(axis=0), (away != 0).any(axis=2).any(axis=0))

    def test_several_at_once_are_jointly_tested(self, known):
        draw = known("gaussian", "binary", n=2_000, shift=0.2)
        both = draw.results.estimate([dd.Contrast(*EFFECT, subset=rule) for rule in RULES])
        assert both.cov_params().shape == (4, 4)
        assert both.conf_int(joint=True).shape == (4, 2)

    def test_arms(self, known):
        draw = known("gaussian", "arms")
        res = draw.results.estimate([AverageCoefficient(subset=rule) for rule in RULES])
        # propensities are a third everywhere, so that every rule keeps or weights all rows alike
        for start in (0, 3, 6, 9):
            np.testing.assert_allclose(res.params.iloc[start : start + 3], draw.results.params, **EXACT)


def cells(record: FitRecord, seed: int, n: int = 1_000) -> tuple[Results, float]:
    """Effects that vary with the propensity over eight cells; nuisances are the cells' own means. And the true ATO."""
    rng = np.random.default_rng(seed)
    cell = rng.integers(0, 8, n)
    p = np.linspace(0.1, 0.8, 8)
    effect = np.linspace(-2, 2, 8)
    t = (rng.uniform(size=n) < p[cell]).astype(float)
    y = cell / 4 + effect[cell] * t + rng.standard_normal(n)
    data = build_data("y ~ t | cell", pd.DataFrame({"y": y, "t": t, "cell": cell.astype(float)}))
    size = np.bincount(cell, minlength=8)
    share = np.bincount(cell, t, 8) / size
    treated = np.bincount(cell, t * y, 8) / np.bincount(cell, t, 8)
    untreated = np.bincount(cell, (1 - t) * y, 8) / np.bincount(cell, 1 - t, 8)
    theta, q = np.column_stack([untreated, treated - untreated])[cell], share[cell]
    lambda_ = np.stack([np.stack([np.ones(n), q], 1), np.stack([q, q], 1)], 1)
    score = data.t * ((data.t * theta).sum(axis=1) - y)[:, None]
    law = DiscreteLaw(np.array([[1.0, 0.0], [1.0, 1.0]]), np.column_stack([1 - q, q]))
    piece = Influence(theta, score, np.linalg.inv(lambda_), law)
    results = make_results(data, Gaussian(), (piece,), np.arange(n) % 5, record, None)
    return results, float((p * (1 - p) * effect).sum() / (p * (1 - p)).sum())


def test_standard_errors_of_weights_are_those_of_draws(known):
    """With the term for estimating propensities z is standard normal; without, standard errors are too small."""
    asked = dd.Contrast(*EFFECT, subset=dd.Overlap("weights"))
    record = replace(known("gaussian", "binary").results._fit.record, treatment_model="propensities, 2 levels")
    z, without = [], []
    for seed in range(400):
        results, truth = cells(record, seed)
        res = results.estimate(asked)
        z.append((res.params.iloc[0] - truth) / res.bse.iloc[0])
        fit = replace(results._fit, record=replace(record, treatment_model="known propensities"))
        bare = type(results)(fit, results._estimand, results._estimates, None).estimate(asked)
        # the same estimate: within a cell the correction adds up to zero
        assert bare.params.iloc[0] == pytest.approx(res.params.iloc[0], rel=1e-9)
        without.append((bare.params.iloc[0] - truth) / bare.bse.iloc[0])
    # the sd of 400 draws has a Monte Carlo error of 1 / sqrt(800) = .035; the bounds are three of them
    assert np.std(z) == pytest.approx(1.0, abs=0.106)
    assert abs(np.mean(z)) < 0.15  # three times 1 / sqrt(400)
    assert np.std(without) > 1.106


class TestReport:
    def test_the_foot_says_what_is_averaged(self, known, tmp_path: Path):
        draw = known("gaussian", "binary", shift=0.2)
        inside = (draw.propensity >= 0.2) & (draw.propensity <= 0.8)
        t = draw.data.t[:, 1] == 1
        sentence = (
            f"averages over {inside.sum()} of 400 rows ({inside.mean():.1%}); t = 0: {(inside & ~t).sum()} of "
            f"{(~t).sum()}, t = 1: {(inside & t).sum()} of {t.sum()}"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what was asked for is said, not warned of
            res = draw.results.estimate(dd.Contrast(*EFFECT, subset=dd.Overlap("fixed", 0.2)))
            moved = res.get_robustcov_results("HC0")
            alone = draw.results.estimate([res, dd.Contrast(*EFFECT)])
            both = dd.joint({"a": res, "b": res.get_robustcov_results("HC1")})
        res.save(tmp_path / "trimmed.deepdml")
        loaded = dd.load(tmp_path / "trimmed.deepdml")
        for each in (res, moved, alone, both, loaded):
            assert sentence in " ".join(each.summary().as_text().split())
        assert loaded._estimand == res._estimand
        np.testing.assert_array_equal(loaded.estimate(loaded._estimand).params, res.params)
        res.remove_data()
        assert sentence in " ".join(res.summary().as_text().split())

    def test_weights_say_how_many_rows_they_are_worth(self, known):
        draw = known("gaussian", "binary")
        res = draw.results.estimate(dd.Contrast(*EFFECT, subset=dd.Overlap("weights")))
        h = draw.propensity * (1 - draw.propensity)
        assert f"as good as {h.sum() ** 2 / (h**2).sum():.0f} equally" in " ".join(res.summary().as_text().split())

    def test_trimming_lists_what_rules_would_keep(self, known):
        draw = known("gaussian", "binary", shift=0.2)
        table = draw.results.trimming([dd.Overlap("fixed", 0.0), *RULES])
        g = 1 / (draw.propensity * (1 - draw.propensity))
        assert table["rows"].tolist()[0] == 400
        assert table["relative se"].iloc[0] == pytest.approx(1.0, rel=1e-12)  # rounding
        assert table["relative se"].iloc[-1] == pytest.approx(1 / np.sqrt((1 / g).mean() * g.mean()), rel=1e-9)
        sets = table.iloc[:-1]
        assert (sets["relative se"].iloc[2] <= sets["relative se"]).all()  # the optimal set
        assert table["relative se"].iloc[-1] < sets["relative se"].iloc[2]  # no set does better than the weights
        assert (table["t = 0"] + table["t = 1"] == table["rows"]).all()
        assert list(draw.results.trimming().index)[-1] == "overlap weights"

    def test_a_package_can_write_it(self):
        assert plain(dd.Overlap("percentile"), {}) == {"$code": "dd.Overlap(rule='percentile', cut=0.05)"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dd.Overlap("crump"), "unknown rule of Overlap 'crump'; allowed are fixed, optimal"),
        (lambda: dd.Overlap("fixed", 0.5), "cut is 0.5; it must be at least 0 and below .5"),
        (lambda: dd.Overlap("percentile", -0.1), "cut is -0.1"),
        (lambda: dd.Overlap("optimal", 0.1), "rule 'optimal' takes no cut, and cut is 0.1"),
    ],
)
def test_refused_rules(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize(
    ("kind", "estimand", "message"),
    [
        ("continuous", dd.Contrast("t", 2, 1, subset=dd.Overlap()), "which only a treatment with levels has"),
        ("none", AverageCoefficient(subset=dd.Overlap()), "left of the bar nothing varies"),
        ("arms", AverageCoefficient(subset=dd.Overlap("fixed", 0.4)), "keeps 0 of 400 rows and none with arm = a"),
        (
            "binary",
            dd.AverageMarginalEffect("t", subset=dd.Overlap("weights")),
            r"function of the covariates alone, .* Use Overlap\('optimal'\)",
        ),
    ],
)
def test_refused_estimands(known, kind, estimand, message):
    with pytest.raises(OptionError, match=message):
        estimated(known("logit", kind).results).estimate(estimand)


def test_no_trimming_of_a_dose(known):
    with pytest.raises(OptionError, match="which only a treatment with levels has"):
        known("gaussian", "continuous").results.trimming()

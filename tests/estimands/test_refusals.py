"""What an estimand cannot be is refused with one message that says what to do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import deepdml as dd
from deepdml.errors import DataError, InferenceWarning, OptionError
from deepdml.estimands import AverageCoefficient, Projection, Sample, Stack
from deepdml.families import Gaussian

CASES = [
    # columns, levels and values
    ("binary", dd.Contrast("treat", 1, 0), "'treat' is not a variable left of the bar; there are 't'"),
    ("binary", dd.Contrast("x0", 1, 0), "'x0' is not a variable left of the bar"),
    ("binary", dd.Contrast("t", 2, 0), "t = 2 gives structural rows that the data do not have"),
    ("binary", dd.Contrast("t", "high", 0), "'high' is not a value of 't', which is a number"),
    ("arms", dd.Contrast("arm", "z", "a"), "'arm' has no level 'z'; its levels are 'a', 'b', 'c'"),
    ("arms", dd.Elasticity("arm"), "proportional change of 'arm', which has levels"),
    ("binary", dd.AverageMarginalEffect("tt"), "'tt' is not a variable left of the bar"),
    ("binary", dd.AverageMarginalEffect(dummy=True, method="dyex"), "proportional change of 't'"),
    ("none", dd.AverageMarginalEffect(), "nothing has a marginal effect"),
    ("binary", dd.WillingnessToPay("t", "price"), "there is no coefficient 'price'; there are 'Intercept', 't'"),
    ("binary", dd.OddsRatio("t"), r"'gaussian' \(link identity\) are not the logs of odds ratios, which need the link"),
    ("arms", dd.ConsumerWelfare("arm", 2.0, 1.0), "'arm' is categorical"),
    ("arms", dd.OptimalPrice("arm", 1.0, 2.0), "'arm' is categorical"),
    ("binary", dd.IncidenceRateRatio("t"), "which need the link log"),
    ("binary", dd.Contrast("t", 1, 0, "odds ratio"), "needs means between 0 and 1"),
    ("binary", dd.Contrast("t", np.nan, 0), "nan is not a value of 't', which is a number"),
    ("continuous", dd.DoseResponse("t", [1, np.inf]), "inf is not a value of 't', which is a number"),
    # subsets
    ("binary", dd.Contrast("t", 1, 0, subset="x0 > 99"), "subset='x0 > 99' matches no rows"),
    ("binary", dd.Contrast("t", 1, 0, subset="t == 1"), "names 't', which stands left of the bar"),
    ("binary", dd.Contrast("t", 1, 0, subset="y > 0"), "names the outcome 'y'"),
    ("binary", dd.Contrast("t", 1, 0, subset="agee > 0"), "names no column of the data"),
    ("binary", dd.Contrast("t", 1, 0, subset="x0 >"), "cannot be evaluated"),
    ("binary", dd.Contrast("t", 1, 0, subset="x0 + 1"), "is not true or false for each row"),
    ("binary", dd.Contrast("t", 1, 0, subset=[True, False]), r"of shape \(2,\)"),
    ("binary", dd.Contrast("t", 1, 0, subset=np.zeros(400)), "of type float64|and type float64"),
    ("continuous", dd.Contrast("t", 2, 1, subset="treated"), "needs a treatment with levels"),
    ("continuous", AverageCoefficient(subset="treated"), "needs a treatment with two levels"),
    ("arms", AverageCoefficient(subset="treated"), r"needs a treatment with two levels.*subset=\('arm', value\)"),
    # what is not an estimand
    ("binary", dd.Contrast, "Contrast is not an estimand"),
    ("binary", 3, "3 is not an estimand"),
    ("binary", "contrast", "unknown estimand 'contrast'"),
    ("binary", [], "has nothing to estimate"),
    ("binary", Projection("t", "region"), r"made by gate\(\) and blp\(\)"),
    # functions
    ("binary", lambda x, t, theta: theta.mean(), r"returned \(\) for theta of shape \(400, 2\)"),
    ("binary", lambda x, t, theta: 1.0, "returned float"),
    ("binary", lambda x, t, theta: theta[0], r"returned \(2,\)"),
    ("binary", lambda x, t, theta: torch.ones(theta.shape[:-1]), "in a way that can be differentiated"),
    ("binary", lambda x, t, theta: (theta[..., 1] > 0).double(), "in a way that can be differentiated"),
    ("binary", lambda x, t, theta: theta[..., 1].round(), "zero at every row; is it rounded"),
    ("binary", lambda x, t, theta: np.exp(theta[..., 1]), "use torch's functions, not numpy's"),
    ("binary", lambda x, t, theta: theta[..., 7], "the function failed .IndexError"),
    ("binary", lambda x, t: theta, "the function failed .TypeError"),  # noqa: F821  # the arguments are what is wrong
]


@pytest.mark.parametrize(("kind", "asked", "message"), CASES, ids=range(len(CASES)))
def test_refusals(known, kind, asked, message) -> None:
    with pytest.raises(OptionError, match=message):
        known("gaussian", kind).results.estimate(asked)


def test_options_are_checked_at_once() -> None:
    for make, message in (
        (lambda: dd.Contrast("t", 1, 0, "rato"), "Did you mean 'ratio'"),
        (lambda: dd.AverageMarginalEffect(method="dydz"), "Did you mean 'dydx'"),
        (lambda: dd.DoseResponse("t", 3), "needed is a list of values"),
        (lambda: dd.DoseResponse("t", []), "needed is a list of values"),
        (lambda: dd.WillingnessToPay("p", "p"), "both the price and an attribute"),
        (lambda: Stack(()), "nothing to estimate"),
    ):
        with pytest.raises(OptionError, match=message):
            make()


def test_an_elasticity_of_a_negative_mean(known) -> None:
    draw = known("gaussian", "binary")
    with pytest.raises(OptionError, match=r"not positive in .*% of the rows at which that of 't'"):
        dd.fit("y ~ t | 1", draw.frame.assign(y=draw.frame["y"] - 8.3), seed=1).estimate(dd.Elasticity())
    with pytest.raises(OptionError, match="needs positive means"):
        dd.fit("y ~ t | 1", draw.frame.assign(y=draw.frame["y"] - 20.0), seed=1).estimate(
            dd.Contrast("t", 1, 0, "log ratio")
        )


def test_masks_that_follow_the_treatment(known) -> None:
    draw = known("gaussian", "binary")
    with pytest.raises(OptionError, match="no row whose structural row is 1, 0"):
        draw.results.estimate(dd.Contrast("t", 1, 0, subset=draw.frame["t"].to_numpy() == 1))


@pytest.mark.parametrize(
    "asked",
    [
        lambda res: res.calibration("t"),
        lambda res: res.sorted_effects(of="t"),
        lambda res: res.most_and_least_affected("x1", of="t"),
        lambda res: res.rank_curve(of="t"),
        lambda res: res.policy(of="t"),
        lambda res: res.estimate(res._estimand),
    ],
    ids=["calibration", "sorted_effects", "most_and_least_affected", "rank_curve", "policy", "estimate"],
)
def test_several_estimands_in_one_table_are_not_sorted_by(known, asked) -> None:
    several = known("gaussian", "binary").results.estimate([dd.AverageCoefficient(), dd.Contrast("t", 1, 0)])
    with pytest.raises(OptionError, match=r"several estimands \(average coefficient, contrast\).* alone, one = res"):
        asked(several)


def test_values_beyond_the_data_warn(known) -> None:
    res = known("logit", "continuous").results
    with pytest.warns(InferenceWarning, match=r"t = 9 lies outside the data .* extrapolates") as caught:
        res.estimate(dd.Contrast("t", 9, 1))
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("kind", "asked", "message"),
    [
        ("binary", {"at": "all"}, "asks for the effect in every row, which has no standard error"),
        ("binary", {"at": "means"}, "Did you mean 'mean'"),
        ("binary", {"atexog": {1: 0.5}}, "give values by the names of variables"),
        ("binary", {"atexog": {"tt": 0.5}}, "'tt' is not a variable left of the bar; there are 't'"),
        ("binary", {"atexog": {"t": "high"}}, "'high' is not a value of 't', which is a number"),
        ("binary", {"atexog": {"t": 2}}, r"t = 2 lies outside the data \(0 to 1\)"),
        ("binary", {"at": "zero", "method": "eyex"}, "proportional change of 't', which is zero there"),
        ("arms", {"atexog": {"arm": "z"}}, "'arm' has no level 'z'; its levels are 'a', 'b', 'c'"),
    ],
)
def test_points_at_which_nothing_can_be_said(known, kind, asked, message) -> None:
    with pytest.raises(OptionError, match=message):
        known("logit", kind).results.get_margeff(**asked)


def test_points_that_the_formula_does_not_have(known) -> None:
    res = known("logit", "continuous", formula="np.log(t)").results
    with (
        pytest.warns(InferenceWarning, match="t = 0 lies outside the data"),
        pytest.raises(OptionError, match=r"has no value at t = 0.0: 'np.log\(t\)' is missing or infinite"),
    ):
        res.get_margeff(at="zero")


def test_a_category_has_no_mean() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"arm": rng.choice(["a", "b", "c"], 300), "dose": rng.uniform(size=300)})
    frame["y"] = frame["dose"] + rng.standard_normal(300)
    res = dd.fit("y ~ arm * dose | 1", frame, seed=1, lambda_="hessian regression")
    with pytest.raises(OptionError, match="at='mean' needs a value of 'arm', which is categorical and has none"):
        res.get_margeff("mean")
    assert list(res.get_margeff("mean", columns="arm").params.index) == ["arm[T.b], at mean", "arm[T.c], at mean"]
    slope = res.get_margeff("mean", atexog={"arm": "b"}, columns="dose").params
    assert slope.index[0] == "dose, at mean, arm = b"
    # rounding, and differences of the encoding
    assert slope.iloc[0] == pytest.approx(res.params["dose"] + res.params["arm[T.b]:dose"], rel=1e-8)


def test_two_variables_in_one_column(known) -> None:
    frame = known("gaussian", "continuous").frame
    frame = frame.assign(u=frame["x0"] ** 2)
    res = dd.fit("y ~ I(t + u) | x1", frame, "poisson", seed=1, hidden=(4,), epochs=1)
    with pytest.raises(OptionError, match="several variables stand behind one column"):
        res.estimate(dd.Contrast("t", 2, 1))


def test_loaded_results_ask_for_the_data(known, tmp_path) -> None:
    draw = known("gaussian", "binary")
    draw.results.save(tmp_path / "a")
    res = dd.load(tmp_path / "a")
    res.estimate([dd.Contrast("t", 1, 0), lambda x, t, theta: theta[..., 1]])  # need no data
    for call in (
        lambda: res.estimate(dd.Contrast("t", 1, 0, subset="x0 > 0")),
        lambda: res.estimate(lambda x, t, theta: x[..., 0] * theta[..., 1]),
        lambda: res.gate("region"),
        lambda: res.blp("x0"),
        lambda: res.policy(),
    ):
        with pytest.raises(DataError, match="do not hold the data"):
            call()
    for bad, message in ((draw.frame.iloc[:7], "7 rows"), (draw.frame.set_index("w"), "other row labels")):
        with pytest.raises(DataError, match=message):
            res.gate("region", data=bad)
    shuffled = draw.frame.sample(frac=1, random_state=1)
    pd.testing.assert_series_equal(res.gate("region", data=shuffled).params, draw.results.gate("region").params)
    res.remove_data()
    with pytest.raises(DataError, match="remove_data"):
        res.estimate(dd.Contrast("t", 1, 0))


def test_samples_without_data_say_so() -> None:
    sample = Sample(np.ones((5, 1)), ("Intercept",), np.ones((5, 1)), None, Gaussian())
    for read in (lambda: sample.treatments, lambda: sample.data):
        with pytest.raises(OptionError, match=r"use it through Results.estimate"):
            read()


def test_between_the_values_of_a_dose_the_formula_speaks() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"dose": rng.integers(0, 4, 400) * 1.0, "x": rng.standard_normal(400)})
    frame["y"] = frame["x"] + 0.5 * frame["dose"] + rng.standard_normal(400)
    res = dd.fit("y ~ dose | x", frame, learner="net", hidden=(4,), epochs=5, seed=1)
    curve = res.estimate(dd.DoseResponse("dose", [1.0, 1.5, 2.0]))
    assert curve.params.iloc[1] == pytest.approx(curve.params.iloc[[0, 2]].mean())
    with pytest.raises(OptionError, match="structural rows that the data do not have"):
        res.estimate(dd.DoseResponse("dose", [3.5]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dd.OptimalPrice("t", "a", 0), "low is 'a'; it must be one number"),
        (lambda: dd.OptimalPrice("t", 0, 1, cost="a"), "cost is 'a'; it must be one number"),
        (lambda: dd.Profit("t", [1, 2], cost="a"), "cost is 'a'; it must be one number"),
        (lambda: dd.Profit("t", [1, "b"]), "a price of values is 'b'; it must be one number"),
        (lambda: dd.ConsumerWelfare("t", "a", 0), "new is 'a'; it must be one number"),
        (lambda: dd.Overlap("fixed", "a"), "cut is 'a'; it must be one number of at least 0 and below .5"),
        (lambda: dd.ConditionalQuantile("a"), "a value of shares is 'a'; it must be a number between 0 and 1"),
    ],
)
def test_numbers_of_estimands(make, message):
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dd.Contrast("t", 1, 1.0), "compares 1 with itself"),
        (lambda: dd.Contrast("arm", "a", "a", "ratio"), "compares 'a' with itself"),
        (
            lambda: dd.TailProbability(0, column="t", value=1, against=True),
            "tail probability .* compares 1 with itself",
        ),
        (lambda: dd.ConsumerWelfare("price", 2, 2), "compares 2 with itself"),
        (lambda: dd.DoseResponse("t", np.array([1, 2, 1])), "values gives 1 twice"),
        (lambda: dd.Profit("t", [1, 1.0]), "values gives 1.0 twice"),
        (lambda: dd.TailProbability([0, 0]), "cuts gives 0 twice"),
        (lambda: dd.ConditionalQuantile([0.5, 0.5]), "shares gives 0.5 twice"),
        (lambda: dd.ChoiceProbability(["a", "a"]), "levels gives 'a' twice"),
        (lambda: dd.IncidenceRateRatio(["t", "t"]), "columns gives 't' twice"),
        (lambda: dd.WillingnessToPay(["a", "a"], "price"), "attributes gives 'a' twice"),
        (lambda: dd.AverageMarginalEffect(["t", "t"]), "columns gives 't' twice"),
    ],
)
def test_what_says_the_same_twice(make, message):
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dd.AverageMarginalEffect([]), r"columns=\[\]; needed is a variable left of the bar"),
        (lambda: dd.Elasticity(3), "columns=3; needed is a variable left of the bar"),
        (lambda: dd.AverageMarginalEffect(dummy="yes"), "dummy='yes'; True takes the change"),
        (lambda: dd.AverageMarginalEffect(atexog=[1, 2]), r"atexog=\[1, 2\]; give values by the names"),
        (lambda: dd.AverageMarginalEffect(atexog=3), "atexog=3; give values by the names"),
        (lambda: dd.OddsRatio(None), "columns=None; needed is the name of a coefficient"),
        (lambda: dd.IncidenceRateRatio([]), r"columns=\[\]; needed is the name of a coefficient"),
        (lambda: dd.WillingnessToPay(3, "price"), "attributes=3; needed is the name of a coefficient"),
        (lambda: dd.Profit("t", []), r"values=\[\]; needed is a list of values of 't'"),
        (lambda: dd.TailProbability(None), "cuts=None; needed is the value above which"),
        (lambda: dd.ChoiceProbability([]), r"levels=\[\]; needed is a level of the outcome"),
    ],
)
def test_arguments_that_name_nothing(make, message):
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize("cut", ["a", np.nan, np.inf, True])
def test_cuts_are_numbers_of_an_outcome_that_is_one(known, cut):
    with pytest.raises(OptionError, match=r"a value of cuts is .* in units of the outcome"):
        known("logit", "binary").results.estimate(dd.TailProbability(cut))


@pytest.mark.parametrize("cut", [-1, 1])
def test_cuts_beyond_which_the_outcome_never_or_always_lies(known, cut):
    with pytest.raises(OptionError, match=rf"P\(y > {cut}\) is 0 or 1 in every row"):
        known("logit", "binary").results.estimate(dd.TailProbability([0, cut]))


@pytest.mark.parametrize("asked", [dd.ConsumerWelfare("t", 1, 0), dd.OptimalPrice("t", 0, 1)], ids=["welfare", "price"])
def test_a_price_with_two_values(known, asked):
    with pytest.raises(OptionError, match=r"'t' has no values but 0 and 1, .* use Contrast\('t', 1, 0\)"):
        known("logit", "binary").results.estimate(asked)


def test_a_parameter_of_the_law_has_no_ratio():
    counts = dd.simulate.outcome(n=400, seed=1, family="negbin").data
    res = dd.fit("y ~ t | 1", counts, "negbin", seed=1)
    with pytest.raises(OptionError, match=r"'log\(alpha\)' is a parameter of the outcome's law"):
        res.estimate(dd.IncidenceRateRatio("log(alpha)"))


def test_a_level_has_no_odds_ratio(known):
    frame = known("gaussian", "binary").frame
    res = dd.fit(
        "mode ~ t | 1", frame.assign(mode=np.array(["air", "bus", "car"])[np.arange(400) % 3]), "mnlogit", seed=1
    )
    with pytest.raises(OptionError, match=r"not the logs of odds ratios, .* where it is a level, ChoiceProbability"):
        res.estimate(dd.OddsRatio("t[bus]"))


def test_a_spline_beyond_the_data(known):
    res = dd.fit("y ~ bs(t, df=4) | 1", known("gaussian", "continuous").frame, seed=1)
    with pytest.raises(OptionError, match="no value at t = 99: a term cannot be computed"):
        res.estimate(dd.DoseResponse("t", [1.0, 99]))


def test_a_function_that_divides_by_zero(known):
    with pytest.raises(OptionError, match=r"the function failed \(ZeroDivisionError: division by zero\)"):
        known("gaussian", "binary").results.estimate(lambda x, t, theta: theta[..., 0] / 0 + 1 / 0)

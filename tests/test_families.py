"""Families with several indices, from formula to table: against maximum likelihood, and in what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize, stats
from statsmodels.discrete.discrete_model import MNLogit as TheirMNLogit

import deepdml as dd
from deepdml.errors import DataError, OptionError
from deepdml.simulate.outcomes import _LAWS

N = 3_000
QUICK = {"learner": "net", "hidden": (8,), "epochs": 20, "seed": 1, "progress": False}
NAMES = sorted(name for name in _LAWS if name != "probit")


def draw(name: str) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    law, t = _LAWS[name], rng.integers(0, 2, N) * 1.0
    eta = np.column_stack([law.start[0] + 0.5 * t, *(np.full(N, c) for c in law.start[1:])])
    return pd.DataFrame({"y": law.draw(rng, eta), "t": t, "x": rng.standard_normal(N)})


def maximum_likelihood(loss, start) -> tuple[np.ndarray, np.ndarray]:
    """Return the minimizer of the mean of loss(theta) (n,), and its sandwich standard errors by differences."""
    at = optimize.minimize(lambda theta: loss(theta).mean(), start, tol=1e-10).x
    h, units = 1e-4, np.eye(len(at))

    def scores(theta: np.ndarray) -> np.ndarray:
        return np.column_stack([(loss(theta + h * u) - loss(theta - h * u)) / (2 * h) for u in units])

    bread = np.linalg.inv([(scores(at + h * u) - scores(at - h * u)).mean(0) / (2 * h) for u in units])
    here = scores(at)
    return at, np.sqrt(np.diag(bread @ (here.T @ here) @ bread)) / len(here)


@pytest.mark.parametrize("name", NAMES)
def test_without_covariates_it_is_maximum_likelihood(name):
    frame = draw(name)
    res = dd.fit("y ~ t | 1", frame, name, seed=1, cov_type="HC0")
    law, y, t = _LAWS[name], frame["y"].to_numpy(), frame["t"].to_numpy()

    def loss(theta: np.ndarray) -> np.ndarray:
        eta = np.column_stack([theta[0] + theta[1] * t, *(np.full(N, c) for c in theta[2:])])
        return -law.log_density(y, eta)

    params, bse = maximum_likelihood(loss, np.array([law.start[0], 0.5, *law.start[1:]]))
    assert list(res.params.index[:2]) == ["Intercept", "t"]
    # cross-fitting moves estimates by the order of 1/n, against errors of 1/sqrt(n); four fifths of the rows
    np.testing.assert_allclose((res.params - params) / bse, 0.0, atol=0.1)
    np.testing.assert_allclose(res.bse / bse, 1.0, atol=0.05)


@pytest.mark.parametrize("name", ["gaussian_scale", "gamma"])
def test_hessian_regression_agrees_without_covariates(name):
    frame = draw(name)
    plain = dd.fit("y ~ t | 1", frame, name, seed=1)
    other = dd.fit("y ~ t | 1", frame, name, seed=1, lambda_="hessian regression")
    assert other.diagnostics.record.strategy == "hessian regression"
    np.testing.assert_allclose((other.params - plain.params) / plain.bse, 0.0, atol=0.02)  # order 1/n
    np.testing.assert_allclose(other.bse / plain.bse, 1.0, atol=0.02)


@pytest.mark.parametrize("lambda_", ["auto", "hessian regression"])
def test_a_fit_that_diverges_leaves_the_stack(lambda_):
    """The sieve of one net runs away in this sample; it has no weight, and the rest says what it can."""
    drawn = dd.simulate.outcome(n=500, seed=1, family="weibull")
    res = dd.fit(drawn.formula, drawn.data, "weibull", seed=1, epochs=20, hidden=(4,), lambda_=lambda_)
    assert np.isfinite(res.psi.to_numpy()).all()
    oracle = drawn.oracle_psi
    # a sample of 500: errors of some standard errors are not excluded, those of hundreds are
    assert (np.abs(res.params - oracle.mean(0)) < 4 * oracle.std(0) / np.sqrt(500)).all()


def choices(rng: np.random.Generator, n: int = 2_000) -> pd.DataFrame:
    t, price = rng.integers(0, 2, n) * 1.0, rng.standard_normal((n, 3))
    utility = np.column_stack([np.zeros(n), 0.4 + 0.5 * t, -0.2 + 0.8 * t]) - price + rng.gumbel(size=(n, 3))
    frame = pd.DataFrame({"t": t, "pa": price[:, 0], "pb": price[:, 1], "pc": price[:, 2]})
    return frame.assign(mode=np.array(["air", "bus", "car"])[utility.argmax(1)], x=rng.standard_normal(n))


class TestChoices:
    def test_mnlogit_is_that_of_statsmodels_without_covariates(self):
        frame = choices(np.random.default_rng(1))
        res = dd.fit("mode ~ t | 1", frame, "mnlogit", seed=1, cov_type="HC0")
        codes = pd.Categorical(frame["mode"]).codes
        theirs = TheirMNLogit(codes, sm.add_constant(frame["t"])).fit(disp=0, cov_type="HC0")
        assert list(res.params.index) == ["Intercept[bus]", "t[bus]", "Intercept[car]", "t[car]"]
        np.testing.assert_allclose((res.params - theirs.params.to_numpy().ravel("F")) / res.bse, 0.0, atol=0.1)
        np.testing.assert_allclose(res.bse / theirs.bse.to_numpy().ravel("F"), 1.0, atol=0.03)  # order 1/n

    def test_alternatives(self):
        frame = choices(np.random.default_rng(2))
        family = dd.families.MNLogit(alternatives={"price": {"air": "pa", "bus": "pb", "car": "pc"}})
        res = dd.fit("mode ~ t + pa + pb + pc | 1", frame, family, seed=1)
        truth = np.array([0.4, 0.5, -0.2, 0.8, -1.0])
        assert list(res.params.index)[-1] == "price"
        assert (np.abs(res.params - truth) / res.bse).max() < 3.5
        shares = res.estimate(dd.ChoiceProbability()) if res._fit.rows.repetitions[0].law else None
        assert shares is None  # several continuous columns: their law was not learned, and the estimand says so
        with pytest.raises(OptionError, match="whole law"):
            res.estimate(dd.ChoiceProbability())

    def test_probabilities_add_up_and_match_the_shares(self):
        frame = choices(np.random.default_rng(3))
        res = dd.fit("mode ~ t | x", frame, "mnlogit", **QUICK)
        shares = res.estimate(dd.ChoiceProbability())
        assert shares.params.sum() == pytest.approx(1.0)
        observed = frame["mode"].value_counts(normalize=True).sort_index()
        assert (np.abs(shares.params.to_numpy() - observed.to_numpy()) / shares.bse.to_numpy()).max() < 1.0

    def test_levels_follow_an_ordered_categorical(self):
        rng = np.random.default_rng(4)
        names = ["poor", "fair", "good"]
        y = pd.Categorical.from_codes(rng.integers(0, 3, 600), names, ordered=True)
        frame = pd.DataFrame({"health": y, "t": rng.integers(0, 2, 600), "x": rng.standard_normal(600)})
        res = dd.fit("health ~ t | 1", frame, "ordered_logit", seed=1)
        tail = res.estimate(dd.TailProbability(["poor", "fair"]))
        expected = [(frame["health"] > name).mean() for name in names[:2]]
        np.testing.assert_allclose(tail.params, expected, atol=0.01)  # order 1/n
        assert list(tail.params.index) == ["P(y > poor)", "P(y > fair)"]

    @pytest.fixture
    def ratings(self):
        rng = np.random.default_rng(9)
        t = rng.standard_normal(600)
        level = np.clip((1.0 + t + rng.logistic(size=600)).astype(int), 0, 2)
        return pd.DataFrame({"level": level, "health": np.array(["poor", "fair", "good"])[level], "t": t, "x": t**2})

    def test_levels_that_the_user_gives_are_those_of_the_fit(self, ratings):
        low = ["poor", "fair", "good"]
        expected = dd.fit("level ~ t | x", ratings, "ordered_logit", **QUICK)
        for family, outcome in (
            (dd.families.OrderedLogit(low), "health"),
            (dd.families.OrderedLogit([2, 1, 0]), "I(2 - level)"),
        ):
            res = dd.fit(f"{outcome} ~ t | x", ratings, family, **QUICK)
            np.testing.assert_array_equal(res.params, expected.params)
            np.testing.assert_array_equal(res.bse, expected.bse)
        named = dd.fit("health ~ t | x", ratings, dd.families.MNLogit(low), **QUICK)
        assert list(named.params.index)[::2] == ["Intercept[fair]", "Intercept[good]"]

    def test_texts_have_no_order_of_their_own(self, ratings):
        message = r"'health' holds texts, whose alphabetical order need not be theirs \(fair, good, poor\)"
        for frame in (ratings, ratings.astype({"health": "category"}), ratings.astype({"health": "string"})):
            with pytest.raises(DataError, match=message):
                dd.DeepDML("health ~ t | x", frame, "ordered_logit")
        sure = pd.Categorical(ratings["health"], ["fair", "good", "poor"], ordered=True)
        assert dd.DeepDML("health ~ t | x", ratings.assign(health=sure), "ordered_logit").arrays.y_levels[0] == "fair"

    def test_a_level_that_was_not_given(self, ratings):
        with pytest.raises(
            DataError, match=r"'health' is 'good' in row\(s\) \d+, .*, and the levels given .*'poor', 'fair'"
        ):
            dd.DeepDML("health ~ t | x", ratings, dd.families.OrderedLogit(["poor", "fair", "so-so"]))

    def test_levels_without_rows(self, ratings):
        health = pd.Categorical(ratings["health"], ["none", "poor", "fair", "good"], ordered=True)
        with pytest.raises(DataError, match=r"'none' in 0, 'poor' in .*Take out the levels without rows"):
            dd.fit("health ~ t | x", ratings.assign(health=health), "ordered_logit", **QUICK)

    def test_categories_need_a_family_of_levels(self):
        frame = choices(np.random.default_rng(5), 60)
        with pytest.raises(DataError, match="'mnlogit' or 'ordered_logit'"):
            dd.fit("mode ~ t | x", frame, "gaussian", **QUICK)

    def test_a_level_has_no_mean(self):
        res = dd.fit("mode ~ t | 1", choices(np.random.default_rng(6), 600), "mnlogit", seed=1)
        with pytest.raises(OptionError, match="has no mean"):
            res.estimate(dd.Contrast("t", 1, 0))
        with pytest.raises(OptionError, match="no mean"):
            res.predict()


class TestDurations:
    @pytest.fixture(scope="class")
    @staticmethod
    def frame():
        rng = np.random.default_rng(8)
        t = rng.integers(0, 2, N) * 1.0
        time, limit = np.exp(0.3 + 0.4 * t) * rng.weibull(1.5, N), rng.exponential(3.0, N)
        frame = pd.DataFrame({"time": np.minimum(time, limit), "ended": (time <= limit) * 1.0, "t": t})
        return frame.assign(x=rng.standard_normal(N))

    def test_censored_durations_are_maximum_likelihood(self, frame):
        res = dd.fit("Surv(time, ended) ~ t | 1", frame, "weibull", seed=1, cov_type="HC0")
        time, ended, t = (frame[c].to_numpy() for c in ("time", "ended", "t"))

        def loss(theta: np.ndarray) -> np.ndarray:
            law = stats.weibull_min(np.exp(theta[2]), scale=np.exp(theta[0] + theta[1] * t))
            return -np.where(ended == 1, law.logpdf(time), law.logsf(time))

        params, bse = maximum_likelihood(loss, np.zeros(3))
        # order 1/n: .15 standard errors are 9/n here
        np.testing.assert_allclose((res.params - params) / res.bse, 0.0, atol=0.15)
        np.testing.assert_allclose(res.bse / bse, 1.0, atol=0.05)
        assert res.diagnostics.record.strategy == "hessian regression"

    def test_saved_results_know_about_the_censoring(self, frame, tmp_path):
        res = dd.fit("Surv(time, ended) ~ t | x", frame, "weibull", **QUICK)
        res.save(tmp_path / "durations.deepdml")
        again = dd.load(tmp_path / "durations.deepdml")
        pd.testing.assert_series_equal(again.params, res.params)
        assert repr(again._fit.family) == "Weibull(censored=True)"
        chance = dd.TailProbability(1.0, column="t", value=1)
        pd.testing.assert_series_equal(again.estimate(chance).params, res.estimate(chance).params)

    def test_other_families_refuse_surv(self, frame):
        with pytest.raises(DataError, match=r"family 'gamma' has no censored outcomes.*weibull"):
            dd.fit("Surv(time, ended) ~ t | x", frame, "gamma", **QUICK)

    @pytest.mark.parametrize(
        ("outcome", "message"),
        [
            (
                "Surv(time, word)",
                r"the event of Surv\(time, event\) holds categories such as '(no|yes)'; needed are 1 where",
            ),
            (
                "Surv(text, ended)",
                r"the time of Surv\(time, event\) holds categories such as '\d.*'; needed are numbers",
            ),
            ("Surv(day, ended)", r"the time of Surv\(time, event\) holds dates or spans of time"),
            ("Surv(span, ended)", r"the time of Surv\(time, event\) holds dates or spans of time"),
            ("Surv(time, code)", r"the event of Surv\(time, event\) is 2 in some rows; it must be 0 .* status == 2\)"),
            ("Surv(time)", r"Surv has 1 column\(s\); needed are two, Surv\(time, event\)"),
            ("Surv(time, ended, code)", r"Surv has 3 column\(s\); needed are two"),
        ],
    )
    def test_what_is_no_duration(self, frame, outcome, message):
        span = pd.to_timedelta(frame["time"], "D")
        word = np.where(frame["ended"], "yes", "no")
        odd = frame.assign(word=word, text=frame["time"].astype(str), span=span, day=pd.Timestamp("2020-01-01") + span)
        with pytest.raises(DataError, match=message):
            dd.fit(f"{outcome} ~ t | x", odd.assign(code=odd["ended"] + 1), "weibull", **QUICK)

    def test_the_ways_to_write_an_end(self, frame):
        ways = frame.assign(flag=(frame["ended"] == 1).astype("boolean"), word=np.where(frame["ended"], "yes", "no"))
        expected = dd.DeepDML("Surv(time, ended) ~ t | x", frame, "weibull").arrays
        for outcome in ("Surv(time, flag)", "Surv(time, word == 'yes')"):
            built = dd.DeepDML(f"{outcome} ~ t | x", ways, "weibull").arrays
            np.testing.assert_array_equal(built.event, expected.event)
            np.testing.assert_array_equal(built.y, expected.y)
        assert dd.DeepDML("Surv(time, 1) ~ t | x", frame, "weibull").arrays.event.all()

    def test_missing_times_are_dropped_and_counted(self, frame):
        holes = frame.head(600).copy()
        holes.loc[3, "time"] = np.nan
        res = dd.fit("Surv(time, ended) ~ t | 1", holes, "weibull", seed=1)
        assert res.nobs == 599


class TestOwnLoss:
    @pytest.fixture(scope="class")
    @staticmethod
    def frame():
        rng = np.random.default_rng(9)
        x = rng.standard_normal((N, 2))
        t = (rng.random(N) < 1 / (1 + np.exp(-x[:, 0]))) * 1.0
        return pd.DataFrame(
            {"y": x[:, 0] + (1 + 0.5 * x[:, 1]) * t + rng.standard_normal(N), "t": t, "a": x[:, 0], "b": x[:, 1]}
        )

    def test_squared_errors_are_the_gaussian_family(self, frame):
        own = dd.families.CustomLoss(lambda y, t, theta: 0.5 * (y - (t * theta).sum(-1)) ** 2, ["level", "effect"])
        res = dd.fit("y ~ t | a + b", frame, own, **QUICK)
        plain = dd.fit("y ~ t | a + b", frame, "gaussian", **QUICK)
        assert list(res.params.index) == ["level", "effect"]
        # on the same rows and folds, but with a sieve of the hessians in place of a net of the propensity
        np.testing.assert_allclose((res.params.to_numpy() - plain.params.to_numpy()) / plain.bse, 0.0, atol=0.5)
        np.testing.assert_allclose(res.bse.to_numpy() / plain.bse, 1.0, atol=0.15)

    def test_a_wrong_shape_is_named(self, frame):
        own = dd.families.CustomLoss(lambda y, t, theta: ((y - theta[..., 0]) ** 2).sum(), ["level"])
        with pytest.raises(OptionError, match=r"loss returned \(\).*one number a row"):
            dd.fit("y ~ t | a", frame, own, **QUICK)

    def test_a_loss_without_a_derivative_is_named(self, frame):
        own = dd.families.CustomLoss(lambda y, t, theta: (y > theta[..., 0]) * 1.0, ["level"])
        with pytest.raises(OptionError, match="can be differentiated"):
            dd.fit("y ~ t | a", frame, own, **QUICK)

    def test_a_loss_that_fails_is_named(self, frame):
        own = dd.families.CustomLoss(lambda y, t, theta: (y - theta[..., 5]) ** 2, ["level"])
        with pytest.raises(OptionError, match=r"the loss failed.*IndexError"):
            dd.fit("y ~ t | a", frame, own, **QUICK)

    @pytest.mark.parametrize(
        "loss",
        [
            lambda y, t, theta: (y - theta[..., 0]).abs(),
            lambda y, t, theta: (y - theta[..., 0]) ** 2 + 0.0 * theta[..., 1],
            lambda y, t, theta: theta[..., 0] - y * theta[..., 0].log() + theta[..., 1] ** 2,
        ],
        ids=["a kink", "an entry without use", "infinite at the start"],
    )
    def test_a_loss_that_newton_cannot_start_on_is_refused(self, frame, loss):
        with pytest.raises(OptionError, match="not finite, or has no curvature"):
            dd.fit("y ~ t | a", frame, dd.families.CustomLoss(loss, ["level", "more"]), **QUICK)

    def test_it_has_no_mean(self, frame):
        own = dd.families.CustomLoss(lambda y, t, theta: (y - theta[..., 0]) ** 2, ["level"])
        res = dd.fit("y ~ t | 1", frame, own, seed=1)
        with pytest.raises(OptionError, match="loss of your own"):
            res.estimate(dd.Contrast("t", 1, 0))
        assert res.estimate(lambda x, t, theta: theta[..., 0] ** 2).params.iloc[0] == pytest.approx(
            res.params.iloc[0] ** 2, rel=1e-2
        )


class TestDesigns:
    def test_difference_in_differences_without_covariates(self):
        rng = np.random.default_rng(10)
        frame = pd.DataFrame({"treat": rng.integers(0, 2, N) * 1.0, "post": rng.integers(0, 2, N) * 1.0})
        frame["y"] = 1 + frame["treat"] + 0.5 * frame["post"] + 2 * frame["treat"] * frame["post"] + rng.normal(size=N)
        res = dd.fit("y ~ treat * post | 1", frame, seed=1, cov_type="HC0")
        cells = frame.groupby(["treat", "post"])["y"].mean()
        expected = cells[1, 1] - cells[1, 0] - cells[0, 1] + cells[0, 0]
        assert res.params["treat:post"] == pytest.approx(expected, abs=0.02 * res.bse["treat:post"] + 5 / N)
        att = res.estimate(dd.AverageCoefficient(subset=("treat", 1)))
        assert list(att.params.index)[-1] == "treat:post | treat = 1"
        assert att.params.iloc[-1] == pytest.approx(expected, abs=5 / N)

    def test_effects_on_the_treated_group_differ_where_effects_do(self):
        rng = np.random.default_rng(11)
        x = rng.standard_normal(4_000)
        treat = (rng.random(4_000) < 1 / (1 + np.exp(-0.8 * x))) * 1.0
        post = rng.integers(0, 2, 4_000) * 1.0
        y = x + treat + post + (1 + x) * treat * post + rng.normal(size=4_000)
        frame = pd.DataFrame({"y": y, "treat": treat, "post": post, "x": x})
        res = dd.fit("y ~ treat * post | x", frame, learner="net", seed=1)
        att = res.estimate(dd.AverageCoefficient(subset=("treat", 1)))
        truth = 1 + x[treat == 1].mean()
        assert abs(att.params.iloc[-1] - truth) < 3 * att.bse.iloc[-1]
        assert att.params.iloc[-1] - res.params["treat:post"] > 3 * att.bse.iloc[-1]

    @pytest.mark.parametrize("given", ["chance", lambda data: data["chance"], None])
    def test_known_propensities_by_column_function_or_array(self, given):
        rng = np.random.default_rng(12)
        chance = np.where(rng.random(800) < 0.5, 0.3, 0.6)
        frame = pd.DataFrame({"t": (rng.random(800) < chance) * 1.0, "chance": chance, "x": rng.standard_normal(800)})
        frame["y"] = frame["x"] + frame["t"] + rng.standard_normal(800)
        res = dd.fit("y ~ t | x", frame, treatment=chance if given is None else given, **QUICK)
        again = dd.fit("y ~ t | x", frame, treatment=frame["chance"].to_numpy(), **QUICK)
        assert res.diagnostics.record.strategy == "known design"
        pd.testing.assert_series_equal(res.params, again.params)

    def test_an_unknown_column_of_propensities_is_named(self):
        frame = pd.DataFrame({"y": [1.0, 2.0, 3.0], "t": [0, 1, 0], "chance": [0.5] * 3, "x": [1.0, 2.0, 3.0]})
        with pytest.raises(OptionError, match=r"'chanse' is none of.*Did you mean.*'chance'"):
            dd.fit("y ~ t | x", frame, treatment="chanse")

    @pytest.mark.parametrize("term", ["bs(dose, df=4)", "cr(dose, df=4, constraints='center')", "poly(dose, 2)"])
    def test_splines_of_a_dose(self, term):
        rng = np.random.default_rng(13)
        x, dose = rng.standard_normal(2_000), rng.uniform(0, 2, 2_000)
        frame = pd.DataFrame({"y": np.sin(1.5 * dose) + x + 0.3 * rng.normal(size=2_000), "dose": dose, "x": x})
        res = dd.fit(f"y ~ {term} | x", frame, learner="net", seed=1)
        curve = res.estimate(dd.DoseResponse("dose", [0.5, 1.0, 1.5]))
        truth = np.sin(1.5 * np.array([0.5, 1.0, 1.5])) + x.mean()
        # a quadratic misses the sine by up to .02, splines by less
        assert (np.abs(curve.params - truth) < 4 * curve.bse + 0.02).all()


class TestAuxiliary:
    """Scales and dispersions beside coefficients: they are in the table, and out of the way elsewhere."""

    @pytest.fixture(scope="class")
    @staticmethod
    def res():
        draw = dd.simulate.outcome(n=800, seed=1, family="negbin")
        return dd.fit(draw.formula, draw.data, "negbin", **QUICK)

    def test_they_are_in_the_table_and_in_tests(self, res):
        assert list(res.params.index) == ["Intercept", "t", "log(alpha)"]
        assert list(res.theta.columns) == list(res.hte().index) == ["Intercept", "t", "log(alpha)"]
        assert res.t_test("log(alpha) = 0").effect[0] == res.params["log(alpha)"]
        assert list(res.wald_test_terms().table.index) == ["Intercept", "t"]

    def test_the_effect_is_what_is_meant(self, res):
        groups = res.gate("qcut(x_0, 2)")
        pd.testing.assert_series_equal(groups.params, res.gate("qcut(x_0, 2)", of="t").params)
        assert res.plot_hte().get_xlabel().startswith("t: ")

    def test_functions_of_the_mean_and_of_the_law(self, res):
        ratio = res.estimate(dd.Contrast("t", 1, 0, "ratio"))
        assert ratio.params.iloc[0] > 0
        mean, variance = res.predict().mean(), res.estimate(dd.ConditionalVariance()).params.iloc[0]
        assert variance > mean  # overdispersion
        tail = res.estimate(dd.TailProbability([0, 3]))
        observed = [(res._fit.rows.y > cut).mean() for cut in (0, 3)]
        assert (np.abs(tail.params - observed) < 2 * tail.bse).all()

    def test_files_and_new_data(self, res, tmp_path):
        res.save(tmp_path / "counts")
        again = dd.load(tmp_path / "counts")
        assert str(again.summary()) == str(res.summary())
        new = res._model.user_data.head(5)
        pd.testing.assert_series_equal(again.predict(new), res.predict(new))
        assert again.predict(new, which="theta").shape == (5, 3)

"""The identities of the method (section 2) that must hold exactly or to a known order, through the public API."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

import deepdml as dd
from deepdml import simulate
from deepdml.families import resolve_family

STATSMODELS = {
    "gaussian": sm.families.Gaussian(),
    "logit": sm.families.Binomial(),
    "poisson": sm.families.Poisson(),
}


def draw(family: str, kind: str, n: int, seed: int = 0) -> pd.DataFrame:
    """Two covariates that confound a treatment with `kind` values, and an outcome of the family."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    if kind == "continuous":
        t = 0.3 + 0.4 * x[:, 0] + 0.6 * rng.standard_normal(n)
    else:
        t = (rng.random(n) < 1 / (1 + np.exp(0.4 - 0.5 * x[:, 0]))) * 1.0
    eta = 0.5 + 0.4 * t + 0.2 * x[:, 0]
    y = {
        "gaussian": eta + (1 + 0.5 * np.abs(t)) * rng.standard_normal(n),
        "logit": (rng.random(n) < 1 / (1 + np.exp(-eta))) * 1.0,
        "poisson": rng.poisson(np.exp(eta)) * 1.0,
    }[family]
    return pd.DataFrame({"y": y, "t": t, "x0": x[:, 0], "x1": x[:, 1], "w": rng.uniform(0.5, 2.0, n)})


def propensities(res, rows: list[list[float]]) -> np.ndarray:
    """The cross-fitted propensities (n, m) of some structural rows, in the first repetition."""
    law = res._fit.rows.repetitions[0].law
    return law.probabilities[:, [int(np.flatnonzero((law.levels == row).all(1))[0]) for row in rows]]


SETTINGS = [
    {"learner": "auto", "n_folds": 5},
    {"learner": "auto", "n_folds": 3},
    {"learner": "auto", "n_folds": 8},
    {"learner": "net", "n_folds": 5},
    {"learner": "net", "n_folds": 10},
]


class TestAIPW:
    """With a binary treatment Lambda is a two-by-two matrix of propensities, and psi has the textbook form."""

    @pytest.mark.parametrize("options", SETTINGS, ids=str)
    def test_gaussian(self, options):
        frame = draw("gaussian", "binary", 300)
        res = dd.fit("y ~ t | x0 + x1", frame, seed=2, hidden=(4,), epochs=3, **options)
        y, t = frame["y"].to_numpy(), frame["t"].to_numpy()
        alpha, beta = res.theta.to_numpy().T
        p = propensities(res, [[1, 1]])[:, 0]
        expected = beta + (t - p) * (y - alpha - beta * t) / (p * (1 - p))
        # Lambda is inverted by its eigenvectors: rounding, grown by its condition, some hundred
        np.testing.assert_allclose(res.psi["t"], expected, rtol=1e-8, atol=1e-8)
        assert res.params["t"] == pytest.approx(expected.mean(), rel=1e-10)  # the same sum
        assert res.bse["t"] == pytest.approx(expected.std(ddof=2) / np.sqrt(300), rel=1e-8)  # HC1 divides by n - d

    @pytest.mark.parametrize("known", [0.4, "each row's own"], ids=str)
    def test_gaussian_with_known_propensities(self, known):
        frame = draw("gaussian", "binary", 300)
        p = np.full(300, 0.4) if known == 0.4 else 1 / (1 + np.exp(0.4 - 0.5 * frame["x0"].to_numpy()))
        res = dd.fit("y ~ t | x0", frame, seed=2, hidden=(4,), epochs=3, treatment=0.4 if known == 0.4 else p)
        y, t = frame["y"].to_numpy(), frame["t"].to_numpy()
        alpha, beta = res.theta.to_numpy().T
        expected = beta + (t - p) * (y - alpha - beta * t) / (p * (1 - p))
        np.testing.assert_allclose(res.psi["t"], expected, rtol=1e-8, atol=1e-8)  # as above

    def test_gaussian_with_three_arms(self):
        rng = np.random.default_rng(3)
        frame = draw("gaussian", "binary", 300).assign(arm=rng.permutation(np.repeat(["a", "b", "c"], 100)))
        res = dd.fit("y ~ C(arm) | x0", frame, seed=2, hidden=(4,), epochs=3)
        share = propensities(res, [[1, 0, 0], [1, 1, 0], [1, 0, 1]])
        arm = frame["arm"].map({"a": 0, "b": 1, "c": 2}).to_numpy()
        theta = res.theta.to_numpy()
        means = theta @ np.array([[1, 1, 1], [0, 1, 0], [0, 0, 1]])
        residual = frame["y"].to_numpy() - means[np.arange(300), arm]
        moved = (arm[:, None] == np.arange(3)) * residual[:, None] / share
        for j, name in enumerate(res.params.index):
            expected = theta[:, j] + moved[:, j] - (moved[:, 0] if j else 0)
            np.testing.assert_allclose(res.psi[name], expected, rtol=1e-8, atol=1e-8)  # as above

    @pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
    def test_every_family_by_arm(self, family):
        """For the net learner, without second-order terms: each arm's residual over propensity and slope."""
        frame = draw(family, "binary", 300)
        res = dd.fit("y ~ t | x0 + x1", frame, family, learner="net", seed=2, hidden=(4,), epochs=3)
        model = resolve_family(family)
        y, t = frame["y"].to_numpy(), frame["t"].to_numpy()
        alpha, beta = res.theta.to_numpy().T
        p = propensities(res, [[1, 1]])[:, 0]
        control = (1 - t) * (y - model.mean(alpha)) / ((1 - p) * model.hessian(alpha))
        treated = t * (y - model.mean(alpha + beta)) / (p * model.hessian(alpha + beta))
        np.testing.assert_allclose(res.psi["Intercept"], alpha + control, rtol=1e-8, atol=1e-8)  # as above
        np.testing.assert_allclose(res.psi["t"], beta + treated - control, rtol=1e-8, atol=1e-8)


class TestWithoutCovariates:
    """``y ~ t | 1``: the coefficients of a GLM.

    Cross-fitting moves each fold's theta by 1 / sqrt(n) and one Newton step takes it back up to its square, so params
    and bse differ from the GLM's by O(1/n): in standard errors, and relative to bse, by O(1 / sqrt(n)).
    """

    @pytest.mark.parametrize("family", list(STATSMODELS))
    @pytest.mark.parametrize("kind", ["continuous", "binary"])
    @pytest.mark.parametrize(("learner", "constant"), [("auto", 3.0), ("net", 5.0)])
    def test_glm(self, family, kind, learner, constant):
        n = 2_000
        frame = draw(family, kind, n)
        res = dd.fit("y ~ t | 1", frame, family, learner=learner, cov_type="HC0", seed=1)
        glm = smf.glm("y ~ t", frame, family=STATSMODELS[family]).fit(cov_type="HC0")
        assert list(res.params.index) == list(glm.params.index)
        # the constants are some three times what ten draws gave; net uses fewer rows for each fold than auto
        assert (abs(res.params - glm.params) / glm.bse).max() < constant / np.sqrt(n)
        assert abs(res.bse / glm.bse - 1).max() < constant / np.sqrt(n)

    def test_three_arms(self):
        n = 3_000
        frame = draw("poisson", "continuous", n).assign(arm=np.array(["a", "b", "c"])[np.arange(n) % 3])
        res = dd.fit("y ~ C(arm) | 1", frame, "poisson", cov_type="HC0", seed=1)
        glm = smf.glm("y ~ C(arm)", frame, family=STATSMODELS["poisson"]).fit(cov_type="HC0")
        assert list(res.params.index) == list(glm.params.index)
        assert (abs(res.params - glm.params) / glm.bse).max() < 3 / np.sqrt(n)  # as above
        assert abs(res.bse / glm.bse - 1).max() < 3 / np.sqrt(n)

    def test_weights(self):
        n = 2_000
        frame = draw("gaussian", "continuous", n)
        res = dd.fit("y ~ t | 1", frame, weights="w", cov_type="HC0", seed=1)
        wls = smf.wls("y ~ t", frame, weights=frame["w"]).fit(cov_type="HC0")
        assert (abs(res.params - wls.params) / wls.bse).max() < 3 / np.sqrt(n)  # as above
        assert abs(res.bse / wls.bse - 1).max() < 3 / np.sqrt(n)

    @pytest.mark.parametrize("kind", ["continuous", "binary"])
    @pytest.mark.parametrize("family", list(STATSMODELS))
    def test_weights_that_depend_on_the_treatment(self, family, kind):
        """Lambda is that of the population which the weights stand for."""
        n = 3_000
        frame = draw(family, kind, n)
        frame["w"] = np.exp(0.7 * frame["t"])
        res = dd.fit("y ~ t | 1", frame, family, weights="w", cov_type="HC0", seed=1)
        exog = sm.add_constant(frame["t"])
        glm = sm.GLM(frame["y"], exog, family=STATSMODELS[family], var_weights=frame["w"]).fit(cov_type="HC0")
        bse = glm.bse.to_numpy()
        assert (abs(res.params.to_numpy() - glm.params.to_numpy()) / bse).max() < 5 / np.sqrt(n)  # as above
        # unequal weights leave fewer rows than n, and forty nodes lose some of a weighted tail
        assert abs(res.bse.to_numpy() / bse - 1).max() < 0.05

    def test_clusters(self):
        n = 2_000
        frame = draw("gaussian", "continuous", n)
        frame["g"] = np.arange(n) // 10
        frame["y"] += np.random.default_rng(5).standard_normal(n // 10)[frame["g"]] * frame["t"]
        res = dd.fit("y ~ t | 1", frame, cov_type="cluster", cov_kwds={"groups": "g"}, seed=1)
        glm = smf.glm("y ~ t", frame, family=STATSMODELS["gaussian"]).fit(
            cov_type="cluster", cov_kwds={"groups": frame["g"]}
        )
        assert (abs(res.params - glm.params) / glm.bse).max() < 3 / np.sqrt(n / 10)  # as above, with 200 clusters
        assert abs(res.bse / glm.bse - 1).max() < 3 / np.sqrt(n / 10)

    def test_the_mean_alone(self):
        """``y ~ 1 | 1`` is the sample mean: the folds' means cancel."""
        frame = draw("gaussian", "continuous", 500)
        res = dd.fit("y ~ 1 | 1", frame, seed=1)
        assert res.params["Intercept"] == pytest.approx(frame["y"].mean(), rel=1e-8)  # rounding
        assert res.bse["Intercept"] == pytest.approx(frame["y"].std() / np.sqrt(500), rel=0.01)  # O(1/n) of it

    def test_the_mean_alone_with_covariates(self):
        """``y ~ 1 | x``: psi is the outcome itself, whatever the net predicts."""
        frame = draw("gaussian", "continuous", 300)
        res = dd.fit("y ~ 1 | x0 + x1", frame, seed=1, hidden=(4,), epochs=2)
        np.testing.assert_allclose(res.psi["Intercept"], frame["y"], rtol=1e-8, atol=1e-8)  # rounding


class TestReparametrization:
    """(1, t) becomes (1, a + b t) = (1, t) M: params become M^-1 params, and the covariance follows."""

    @pytest.mark.parametrize("family", list(STATSMODELS))
    @pytest.mark.parametrize("kind", ["continuous", "binary"])
    @pytest.mark.parametrize(("a", "b"), [(0.0, 4.0), (1.0, -1.0), (2.0, 0.1)])
    @pytest.mark.parametrize("formula", ["y ~ {} | 1", "y ~ {} | x0 + x1"])
    def test_new_units_of_the_treatment(self, family, kind, a, b, formula):
        frame = draw(family, kind, 300)
        frame["u"] = a + b * frame["t"]
        options = {"seed": 4, "hidden": (4,), "epochs": 5}
        one = dd.fit(formula.format("t"), frame, family, **options)
        two = dd.fit(formula.format("u"), frame, family, **options)
        matrix = np.array([[1.0, a], [0.0, b]])
        # nets read whitened structural rows, whose last bits the new units move; training in single precision and
        # rare switches of rounding grow that, and nothing else may differ
        np.testing.assert_allclose((matrix @ two.params - one.params) / one.bse, 0.0, atol=1e-4)
        covariance = matrix @ two.cov_params().to_numpy() @ matrix.T
        np.testing.assert_allclose(covariance, one.cov_params(), rtol=1e-3, atol=1e-4 * one.bse.max() ** 2)
        np.testing.assert_allclose(two.theta.to_numpy() @ matrix.T, one.theta, rtol=1e-3, atol=1e-3)

    def test_a_power_of_two_changes_no_bit(self):
        """Doubling is exact in floating point, so everything that follows is the same."""
        frame = draw("gaussian", "continuous", 300)
        frame["u"] = 4.0 * frame["t"]
        options = {"seed": 4, "hidden": (4,), "epochs": 5}
        one = dd.fit("y ~ t | x0", frame, **options)
        two = dd.fit("y ~ u | x0", frame, **options)
        np.testing.assert_array_equal(4.0 * two.theta["u"], one.theta["t"])
        assert 4.0 * two.params["u"] == one.params["t"]

    @pytest.mark.parametrize("family", list(STATSMODELS))
    def test_another_reference_arm(self, family):
        frame = draw(family, "continuous", 600).assign(arm=np.array(["a", "b", "c"])[np.arange(600) % 3])
        one = dd.fit("y ~ C(arm) | 1", frame, family, seed=1)
        two = dd.fit("y ~ C(arm, contr.treatment('c')) | 1", frame, family, seed=1)
        # a, b - a, c - a from c, a - c, b - c
        matrix = np.array([[1.0, 1.0, 0.0], [0.0, -1.0, 1.0], [0.0, -1.0, 0.0]])
        # Newton's method stops at a relative change of 1e-6, which is squared once more
        np.testing.assert_allclose(matrix @ two.params, one.params, rtol=1e-6, atol=1e-7)
        covariance = matrix @ two.cov_params().to_numpy() @ matrix.T
        np.testing.assert_allclose(covariance, one.cov_params(), rtol=1e-5, atol=1e-8)

    def test_new_units_of_the_outcome(self):
        frame = draw("gaussian", "continuous", 300)
        frame["z"] = 10.0 + 8.0 * frame["y"]
        options = {"seed": 4, "hidden": (4,), "epochs": 5}
        one = dd.fit("y ~ t | x0", frame, **options)
        two = dd.fit("z ~ t | x0", frame, **options)
        expected = np.array([10.0 + 8.0 * one.params["Intercept"], 8.0 * one.params["t"]])
        # nets see the outcome centered and scaled by their own rows, so its units move the last bits only
        np.testing.assert_allclose((two.params - expected) / two.bse, 0.0, atol=1e-3)
        np.testing.assert_allclose(two.bse, 8.0 * one.bse, rtol=1e-3)

    @pytest.mark.parametrize("unit", [1e-3, 1e4])
    def test_new_units_of_the_covariates(self, unit):
        frame = simulate.smooth(300, seed=1).data
        options = {"seed": 4, "hidden": (4,), "epochs": 5}
        one = dd.fit("y ~ t | x_1 + x_2", frame, **options)
        two = dd.fit("y ~ t | x_1 + x_2", frame.assign(x_1=7.0 + unit * frame["x_1"]), **options)
        # covariates are standardized, in single precision: 1e-7 of their size
        np.testing.assert_allclose((two.params - one.params) / one.bse, 0.0, atol=0.02)
        np.testing.assert_allclose(two.bse, one.bse, rtol=0.02)

"""The three families against the likelihoods of scipy and statsmodels, and expectations over their distributions."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from deepdml.families import Gaussian, Logit, Poisson

ETA = np.linspace(-2.0, 2.0, 9)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(20)
COUNTS = np.arange(100.0)  # P(Poisson(e^2) > 99) is below 1e-60

# family, statsmodels' family, allowed outcomes, log density, and nodes with probabilities of y given eta
CASES = [
    pytest.param(
        Gaussian(),
        sm.families.Gaussian(),
        np.array([-2.5, 0.0, 1.3]),
        lambda y, mean: stats.norm.logpdf(y, mean),
        lambda mean: (mean + NODES, WEIGHTS / WEIGHTS.sum()),
        id="gaussian",
    ),
    pytest.param(
        Logit(),
        sm.families.Binomial(),
        np.array([0.0, 1.0]),
        lambda y, mean: stats.bernoulli.logpmf(y, mean),
        lambda mean: (np.array([0.0, 1.0]), np.array([1 - mean, mean])),
        id="logit",
    ),
    pytest.param(
        Poisson(),
        sm.families.Poisson(),
        np.array([0.0, 1.0, 4.0, 30.0]),
        lambda y, mean: stats.poisson.logpmf(y, mean),
        lambda mean: (COUNTS, stats.poisson.pmf(COUNTS, mean)),
        id="poisson",
    ),
]


@pytest.mark.parametrize(("family", "theirs", "outcomes", "log_density", "law"), CASES)
class TestLikelihood:
    def test_scipy_agrees_up_to_a_term_free_of_eta(self, family, theirs, outcomes, log_density, law):
        for y in outcomes:
            total = family.loss(y, ETA) + log_density(y, family.mean(ETA))
            np.testing.assert_allclose(total, total[0], rtol=1e-8, atol=1e-8)  # logs of factorials round

    def test_statsmodels_agrees_up_to_a_term_free_of_eta(self, family, theirs, outcomes, log_density, law):
        for y in outcomes:
            mean = theirs.link.inverse(ETA)
            total = family.loss(y, ETA) + theirs.loglike_obs(np.full_like(ETA, y), mean)
            # statsmodels keeps probabilities 1e-10 away from 0 and 1
            np.testing.assert_allclose(total, total[0], rtol=1e-8, atol=1e-8)

    def test_statsmodels_has_the_same_link(self, family, theirs, outcomes, log_density, law):
        np.testing.assert_allclose(family.mean(ETA), theirs.link.inverse(ETA), rtol=1e-12)  # rounding
        np.testing.assert_allclose(family.link_of_mean(family.mean(ETA)), theirs.link(family.mean(ETA)), atol=1e-12)

    def test_the_score_has_mean_zero(self, family, theirs, outcomes, log_density, law):
        for eta in ETA:
            y, share = law(family.mean(eta))
            assert share @ family.score(y, np.full_like(y, eta)) == pytest.approx(0.0, abs=1e-10)  # rounding

    def test_the_hessian_is_the_mean_second_derivative_and_the_variance_of_the_score(
        self, family, theirs, outcomes, log_density, law
    ):
        h = 1e-5
        for eta in ETA:
            y, share = law(family.mean(eta))
            second = (family.score(y, np.full_like(y, eta + h)) - family.score(y, np.full_like(y, eta - h))) / (2 * h)
            # differences err by some 1e-9 of the score
            assert family.hessian(eta) == pytest.approx(share @ second, rel=1e-7)
            assert family.hessian(eta) == pytest.approx(share @ family.score(y, np.full_like(y, eta)) ** 2, rel=1e-10)


@pytest.mark.parametrize(
    ("family", "inside", "outside"),
    [
        (Gaussian(), [-1e6, 0.0, 3.5], [np.nan, np.inf]),
        (Logit(), [0.0, 0.3, 1.0], [-0.01, 1.01, np.nan]),
        (Poisson(), [0.0, 0.5, 1000.0], [-1.0, np.inf, np.nan]),
    ],
)
def test_supports(family, inside, outside):
    assert family.in_support(np.array(inside)).all()
    assert not family.in_support(np.array(outside)).any()

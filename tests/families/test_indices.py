"""Families with several indices against scipy's densities, and expectations over them by quadrature."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit
from statsmodels.discrete.discrete_model import MNLogit as TheirMNLogit
from statsmodels.miscmodels.ordinal_model import OrderedModel

from deepdml.errors import DataError, OptionError
from deepdml.families import CustomLoss, Gumbel, MNLogit, OrderedLogit, Tobit, Weibull, ZeroInflatedPoisson, registered
from deepdml.families.base import Family
from deepdml.families.indices import MultiIndex
from deepdml.simulate.outcomes import _LAWS

CLOSED = sorted(
    name for name, kind in registered().items() if issubclass(kind, MultiIndex) and name not in ("custom", "mnlogit")
)
SPREAD = np.array([[-0.6, -0.5], [-0.2, 0.4], [0.0, 0.0], [0.5, 0.3], [1.0, -0.2]])


@pytest.mark.parametrize("alpha", [0.1, 2.0])
def test_the_dispersion_of_counts_starts_at_its_moments(alpha):
    rng = np.random.default_rng(1)
    eta = rng.normal(1.0, 1.0, 200_000)
    y = rng.poisson(np.exp(eta) * rng.gamma(1 / alpha, alpha, len(eta))) * 1.0
    found = registered()["negbin"]().auxiliary_start(torch.from_numpy(y), torch.from_numpy(eta))
    # the sampling error of the moments, by simulation, is .02 and below
    assert float(found[0]) == pytest.approx(np.log(alpha), abs=0.1)


def test_the_dispersion_starts_above_zero_where_counts_have_none():
    y = torch.full((50,), 3.0).double()
    assert float(registered()["negbin"]().auxiliary_start(y, y.log())[0]) == pytest.approx(np.log(0.1 / 3.0))


def make(name: str) -> MultiIndex:
    return registered()[name](*([[0, 1, 2]] if name == "ordered_logit" else []))


@pytest.fixture(params=CLOSED)
def case(request):
    """The family, its law in scipy's words, some indices (m, 2), outcomes (m, q) there and their chances."""
    law = _LAWS[request.param]
    eta = np.array(law.start) + SPREAD
    values, chances = law.nodes(eta)
    return make(request.param), law, eta, values, np.broadcast_to(chances, values.shape)


def columns(family: MultiIndex, y: np.ndarray) -> np.ndarray:
    flat = family.columns(y.ravel(), None, np.zeros((y.size, 0)))
    return flat.reshape(*y.shape, *flat.shape[1:])


class TestDensities:
    def test_loss_is_minus_the_log_density(self, case):
        family, law, eta, values, chances = case
        loss = family.loss(columns(family, values), eta[:, None])
        seen = chances > 1e-200  # beyond, densities underflow
        np.testing.assert_allclose(loss[seen], -law.log_density(values, eta[:, None])[seen], rtol=1e-8, atol=1e-8)

    def test_score_is_the_derivative_of_the_loss(self, case):
        family, _, eta, values, chances = case
        y = torch.from_numpy(columns(family, values))
        at = torch.from_numpy(np.repeat(eta[:, None], values.shape[1], 1)).requires_grad_()
        (expected,) = torch.autograd.grad(family.loss(y, at).sum(), at)
        score = family.score(y, at.detach())
        seen = torch.from_numpy(chances > 1e-12)
        # closed forms in double precision, of terms up to some thousands times the result
        torch.testing.assert_close(score[seen], expected[seen], rtol=1e-9, atol=1e-9)

    def test_score_has_mean_zero(self, case):
        family, _, eta, values, chances = case
        score = family.score(columns(family, values), eta[:, None])
        # the quadrature's error, the largest for the square of a log
        np.testing.assert_allclose(np.einsum("mq,mqr->mr", chances, score), 0.0, atol=2e-6)

    def test_canonical_says_what_it_is(self, case):
        """Where second derivatives do not depend on the outcome, a difference of scores does not depend on eta."""
        family, _, eta, values, _ = case
        ends = [columns(family, np.repeat(values[:, [j]], 2, axis=1)[:, 0]) for j in (0, -1)]
        apart = family.score(ends[1], eta) - family.score(ends[0], eta)
        moved = family.score(ends[1], eta + 0.3) - family.score(ends[0], eta + 0.3)
        assert family.canonical == np.allclose(apart, moved, rtol=1e-9, atol=1e-9)  # rounding

    def test_hessian_is_the_mean_outer_product_of_scores(self, case):
        family, _, eta, values, chances = case
        score = family.score(columns(family, values), eta[:, None])
        expected = np.einsum("mq,mqr,mqs->mrs", chances, score, score)
        # the quadrature's error relative to the matrix, the largest for powers of a log
        error = np.abs(family.hessian(eta) - expected).max((1, 2)) / np.abs(expected).max((1, 2))
        assert error.max() < 2e-6

    def test_hessian_is_the_mean_second_derivative(self, case):
        family, _, eta, values, chances = case
        h = 1e-5
        y = columns(family, values)
        second = [
            (family.score(y, eta[:, None] + step) - family.score(y, eta[:, None] - step)) / (2 * h)
            for step in h * np.eye(eta.shape[1])
        ]
        expected = np.einsum("mq,rmqs->mrs", chances, np.stack(second))
        error = np.abs(family.hessian(eta) - expected).max((1, 2)) / np.abs(expected).max((1, 2))
        assert error.max() < 2e-6  # quadrature and differences

    def test_curvature_is_positive_and_no_less_than_half_the_hessian(self, case):
        """Newton's method needs no more; a bound that is far too low would overshoot."""
        family, _, eta, values, _ = case
        y = columns(family, values[:, :1])[:, 0]
        curvature = family.curvature(y, eta)
        assert np.linalg.eigvalsh(curvature).min() > 0
        assert np.linalg.eigvalsh(2 * curvature - family.hessian(eta)).min() > -1e-10

    def test_mean_variance_and_tail_are_those_of_the_law(self, case):
        family, _, eta, values, chances = case
        if family.categorical:
            np.testing.assert_allclose(family.probabilities(eta), chances, rtol=1e-10)  # closed forms
            np.testing.assert_allclose(family.tail(0, eta), chances[:, 1:].sum(1), rtol=1e-10)
            return
        mean = (chances * values).sum(1)
        np.testing.assert_allclose(family.mean(eta), mean, rtol=2e-6)  # the quadrature's error
        variance = (chances * (values - mean[:, None]) ** 2).sum(1)
        np.testing.assert_allclose(family.variance(eta), variance, rtol=1e-5)  # the same

    def test_tails_are_those_of_scipy(self):
        for name, law in (
            ("gamma", lambda e: stats.gamma(np.exp(e[:, 1]), scale=np.exp(e[:, 0] - e[:, 1]))),
            ("negbin", lambda e: stats.nbinom(np.exp(-e[:, 1]), 1 / (1 + np.exp(e[:, 0] + e[:, 1])))),
            ("gumbel", lambda e: stats.gumbel_r(e[:, 0], np.exp(e[:, 1]))),
            ("weibull", lambda e: stats.weibull_min(np.exp(e[:, 1]), scale=np.exp(e[:, 0]))),
            ("gaussian_scale", lambda e: stats.norm(e[:, 0], np.exp(e[:, 1]))),
        ):
            for cut in (0.3, 2.0, 5.0):
                expected = law(SPREAD).sf(cut)
                np.testing.assert_allclose(make(name).tail(cut, SPREAD), expected, rtol=1e-10, err_msg=name)

    @pytest.mark.parametrize("family", [Tobit(), Tobit(-1.0, 2.0), Tobit(None, 1.0)])
    def test_slopes_of_censored_outcomes_are_derivatives(self, family):
        base = super(Tobit, family)
        # differences of fourth order, and of those
        np.testing.assert_allclose(family.mean_slope(SPREAD), base.mean_slope(SPREAD), rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(family.mean_curvature(SPREAD), base.mean_curvature(SPREAD), rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(family.variance_slope(SPREAD), base.variance_slope(SPREAD), rtol=1e-8, atol=1e-8)

    @pytest.mark.parametrize("name", ["beta", "gaussian_scale", "gumbel", "weibull"])
    def test_slopes_of_means_are_derivatives(self, name):
        family = make(name)
        # differences of fourth order, and of those
        np.testing.assert_allclose(family.mean_slope(SPREAD), family.slope(family.mean, SPREAD), rtol=1e-8, atol=1e-9)
        bend = family.slope(family.mean_slope, SPREAD)
        np.testing.assert_allclose(family.mean_curvature(SPREAD), bend, rtol=1e-8, atol=1e-9)

    @pytest.mark.parametrize("name", ["gamma", "beta", "negbin", "poisson", "zip", "tobit", "gaussian_scale"])
    def test_slopes_of_tails_are_derivatives(self, name):
        family = make(name)
        eta = SPREAD[:, 0] if name == "poisson" else SPREAD
        for cut in (-1.0, 0.0, 0.3, 2.0, 15.0, 16.0, 40.0):
            wide = family.slope(lambda at, cut=cut: family.tail(cut, at), eta)
            # a narrow step: rounding of functions of order one over it
            np.testing.assert_allclose(family.tail_slope(cut, eta), wide, rtol=1e-8, atol=1e-9, err_msg=f"{cut}")

    def test_many_quantiles_are_interpolated(self):
        """Slopes of quantiles of gamma laws with few shapes at a time are taken one by one."""
        family = make("gamma")
        log_shape = np.linspace(-2.0, 4.0, 10_000)
        eta = np.column_stack([np.ones(10_000), log_shape])
        for share in (0.05, 0.5, 0.95):
            one_by_one = np.concatenate([family.quantile_slope(share, part) for part in np.split(eta, 1_000)])
            many = family.quantile_slope(share, eta)
            scale = np.abs(one_by_one[:, 1]).max()
            np.testing.assert_allclose(many, one_by_one, rtol=1e-6, atol=1e-7 * scale)  # the table's seven digits
            assert not np.array_equal(many, one_by_one)

    def test_slopes_are_derivatives(self, case):
        family, _, eta, _, _ = case
        function = (lambda e: family.tail(1, e)) if family.categorical else family.mean
        for j in range(eta.shape[1]):
            step = np.zeros(2)
            step[j] = 1e-5
            expected = (function(eta + step) - function(eta - step)) / 2e-5
            # errors of either difference: 1e-10 of the function, whose slopes are of order one
            np.testing.assert_allclose(family.slope(function, eta)[:, j], expected, rtol=1e-7, atol=1e-8)

    def test_second_derivatives_of_the_mean(self, case):
        family, _, eta, _, _ = case
        if family.categorical:
            return
        for j in range(2):
            step = np.zeros(2)
            step[j] = 1e-4
            expected = (family.mean_slope(eta + step) - family.mean_slope(eta - step)) / 2e-4
            np.testing.assert_allclose(
                family.mean_curvature(eta)[..., j], expected, rtol=1e-6, atol=1e-6
            )  # differences

    @pytest.mark.parametrize("method", ["loss", "score", "hessian", "curvature"])
    def test_numpy_and_torch_agree(self, case, method):
        family, _, eta, values, _ = case
        y = columns(family, values[:, values.shape[1] // 2])
        args = (eta,) if method == "hessian" else (y, eta)
        theirs = getattr(family, method)(*(torch.from_numpy(np.ascontiguousarray(a)) for a in args))
        # torch's trigamma has eight digits
        np.testing.assert_allclose(theirs.numpy(), getattr(family, method)(*args), rtol=1e-8, atol=1e-8)

    def test_start_is_near_the_truth(self, case):
        """From draws at one value of the indices: as near as Newton's method needs."""
        family, law, _, _, _ = case
        y = law.draw(np.random.default_rng(1), np.tile(law.start, (4_000, 1)))
        start = np.array(family.start(torch.from_numpy(columns(family, y))), dtype=float)
        assert np.abs(start - law.start).max() < 1.0

    def test_single_precision_stays_single(self, case):
        family, _, eta, values, _ = case
        y = torch.from_numpy(columns(family, values[:, 60 % values.shape[1]])).float()
        assert family.loss(y, torch.from_numpy(eta).float()).dtype == torch.float32


class TestMaps:
    T = np.array([[1.0, 2.0], [1.0, -1.0]])

    def test_first_index_then_auxiliary_entries(self):
        family = Gumbel().bind(("Intercept", "t"))
        theta = np.array([[0.5, 2.0, -1.0], [0.1, 1.0, 0.3]])
        assert family.theta_names(("Intercept", "t")) == ("Intercept", "t", "log(scale)")
        np.testing.assert_allclose(family.indices(self.T, theta), [[4.5, -1.0], [-0.9, 0.3]])
        np.testing.assert_allclose(family.indices(self.T, theta, one=0.0), [[4.5, 0.0], [-0.9, 0.0]])

    @pytest.mark.parametrize("one", [0.0, 1.0])
    def test_pull_is_the_transpose_of_indices(self, one):
        family = MNLogit(["a", "b", "c"], {"price": ["pa", "pb", "pc"]}).bind(("Intercept", "z", "pa", "pb", "pc"))
        rng = np.random.default_rng(0)
        t, theta, slope = rng.standard_normal((7, 5)), rng.standard_normal((7, 5)), rng.standard_normal((7, 2))
        left = (family.indices(t, theta, one) * slope).sum(1)
        np.testing.assert_allclose((family.pull(t, slope, one) * theta).sum(1), left)  # rounding

    def test_alternatives_share_a_coefficient(self):
        names = ("Intercept", "z", "pa", "pb", "pc")
        family = MNLogit(["a", "b", "c"], {"price": {"a": "pa", "b": "pb", "c": "pc"}}).bind(names)
        assert family.theta_names(names) == ("Intercept[b]", "z[b]", "Intercept[c]", "z[c]", "price")
        t, theta = np.array([[1.0, 2.0, 5.0, 6.0, 8.0]]), np.array([[0.1, 0.2, 0.3, 0.4, -1.0]])
        np.testing.assert_allclose(family.indices(t, theta), [[0.1 + 0.4 - 1.0, 0.3 + 0.8 - 3.0]])

    def test_unbound_families_say_so(self):
        with pytest.raises(TypeError, match="bind"):
            Gumbel().rows(self.T)

    def test_bound_families_travel(self):
        bound = Tobit(upper=3.0).bind(("Intercept", "t"))
        again = pickle.loads(pickle.dumps(bound))
        np.testing.assert_array_equal(again.rows(self.T), bound.rows(self.T))
        assert again.options() == {"lower": 0.0, "upper": 3.0}


class TestAgainstStatsmodels:
    def test_mnlogit_is_canonical(self):
        family = MNLogit([0, 1, 2])
        eta = np.array([[0.3, -0.4], [1.3, 0.7]])
        apart = [family.score(np.full(2, 2.0), e) - family.score(np.full(2, 0.0), e) for e in (eta, eta + 0.7 * eta[0])]
        assert family.canonical
        np.testing.assert_allclose(*apart, rtol=1e-12, atol=1e-12)  # rounding

    def test_mnlogit(self):
        rng = np.random.default_rng(3)
        x, y = np.column_stack([np.ones(200), rng.standard_normal((200, 2))]), rng.integers(0, 3, 200)
        theirs = TheirMNLogit(y, x)
        params = rng.standard_normal((3, 2))
        family = MNLogit([0, 1, 2]).bind(("Intercept", "a", "b"))
        eta = family.indices(x, np.tile(params.T.ravel(), (200, 1)))
        np.testing.assert_allclose(-family.loss(y * 1.0, eta), theirs.loglikeobs(params).sum(1), rtol=1e-8)
        score = family.pull(x, family.score(y * 1.0, eta)).sum(0)
        np.testing.assert_allclose(-score, theirs.score(params.ravel("F")), rtol=1e-8, atol=1e-8)
        matrices = family.rows(x)
        hessian = np.einsum("nrk,nrs,nsl->kl", matrices, family.hessian(eta), matrices)
        np.testing.assert_allclose(-hessian, theirs.hessian(params.ravel("F")), rtol=1e-8, atol=1e-8)

    def test_ordered_logit(self):
        rng = np.random.default_rng(4)
        x, y = rng.standard_normal((300, 2)), rng.integers(0, 4, 300)
        theirs = OrderedModel(y, x, distr="logit")
        slopes, first, steps = np.array([0.4, -0.3]), -0.7, np.array([-0.2, 0.1])
        family = OrderedLogit([0, 1, 2, 3]).bind(("Intercept", "a", "b"))
        theta = np.tile([-first, *slopes, *steps], (300, 1))
        eta = family.indices(np.column_stack([np.ones(300), x]), theta)
        expected = theirs.loglikeobs(np.array([*slopes, first, *steps]))
        np.testing.assert_allclose(-family.loss(y * 1.0, eta), expected, rtol=1e-8)

    def test_ordered_logit_where_probabilities_underflow(self):
        """A Newton step may go there, so its score has to lead back: no division by a probability that is zero."""
        family = OrderedLogit([0, 1, 2]).bind(("Intercept",))
        eta = np.array([[900.0, -40.0], [-900.0, 3.0], [1.0, -45.0], [0.0, 4.0]])
        codes = np.repeat(np.arange(3.0), 4)
        everywhere = np.tile(eta, (3, 1))
        score, loss = family.score(codes, everywhere), family.loss(codes, everywhere)
        assert (family.probabilities(eta) == 0).any()
        assert np.isfinite(score).all()
        assert np.isfinite(loss).all()
        assert np.isfinite(family.hessian(eta)).all()
        np.testing.assert_allclose(score[8:, 0], -expit(-(eta[:, 0] - np.exp(eta[:, 1]))), atol=1e-15)
        # -log P(y = 1) at odds a = 900 and b = a - exp(-40) is a + 40 up to exp(-40), so its slopes are 1 and -1
        np.testing.assert_allclose([loss[4], *score[4]], [940.0, 1.0, -1.0], rtol=1e-12)


class TestClosedForms:
    """What a family overrides is what it inherits, up to the errors of differences of fourth order."""

    ETA = np.random.default_rng(0).normal(0, 0.7, (40, 2))

    @pytest.mark.parametrize("name", ["gamma", "negbin", "zip", "poisson", "logit", "probit"])
    @pytest.mark.parametrize("cut", [-1, 0, 0.4, 1, 3.5])
    def test_slopes_of_tails(self, name, cut):
        family = registered()[name]()
        eta = self.ETA if isinstance(family, MultiIndex) else self.ETA[:, 0]
        np.testing.assert_allclose(family.tail_slope(cut, eta), Family.tail_slope(family, cut, eta), atol=1e-10)

    @pytest.mark.parametrize("name", ["gamma", "negbin", "zip", "weibull"])
    def test_slopes_of_means(self, name):
        family = registered()[name]()
        expected = MultiIndex.mean_slope(family, self.ETA)
        np.testing.assert_allclose(family.mean_slope(self.ETA), expected, rtol=1e-8, atol=1e-9)
        expected = MultiIndex.mean_curvature(family, self.ETA)
        np.testing.assert_allclose(family.mean_curvature(self.ETA), expected, rtol=1e-8, atol=1e-7)  # over a step

    @pytest.mark.parametrize("name", ["mnlogit", "ordered_logit", "logit", "probit"])
    def test_slopes_of_probabilities(self, name):
        family = registered()[name](*([["a", "b", "c"]] if name in ("mnlogit", "ordered_logit") else []))
        eta = self.ETA if isinstance(family, MultiIndex) else self.ETA[:, 0]
        for level in family.outcomes():
            found, expected = family.probability_slope(level, eta), Family.probability_slope(family, level, eta)
            np.testing.assert_allclose(found, expected, atol=1e-10)
        with pytest.raises(OptionError, match="has no level 'z'"):
            family.probability_slope("z", eta)

    @pytest.mark.parametrize("method", ["quantile", "quantile_slope"])
    def test_a_shape_that_is_the_same_at_all_nodes(self, method):
        """It is then computed once a row, for the same bits."""
        function = getattr(registered()["gamma"](), method)
        eta = np.stack(np.broadcast_arrays(self.ETA[:, None, 0] + np.arange(3), self.ETA[:, None, 1]), axis=-1)
        np.testing.assert_array_equal(function(0.3, eta), np.stack([function(0.3, eta[:, j]) for j in range(3)], 1))


class TestCensoring:
    @pytest.mark.parametrize(("lower", "upper"), [(0.0, None), (None, 2.0), (-0.5, 1.5), (3.0, 9.0)])
    def test_tobit_at_any_points(self, lower, upper):
        family, eta = Tobit(lower, upper), np.array([[0.4, 0.2], [1.2, -0.3], [2.5, 0.1]])
        z = np.linspace(-8, 8, 4_001)
        chances = stats.norm.pdf(z) / stats.norm.pdf(z).sum()
        latent = eta[:, :1] + np.exp(eta[:, 1:]) * z
        values = np.clip(latent, family.lower, family.upper)
        y = columns(family, values)
        np.testing.assert_allclose(family.mean(eta), values @ chances, atol=1e-5)  # a kink on a grid of .004
        mean = family.mean(eta)[:, None]
        np.testing.assert_allclose(family.variance(eta), ((values - mean) ** 2) @ chances, atol=1e-4)  # the same
        score = family.score(y, eta[:, None])
        expected = np.einsum("q,mqr,mqs->mrs", chances, score, score)
        np.testing.assert_allclose(family.hessian(eta), expected, atol=4e-3 * np.abs(expected).max())  # jumps on it
        at = torch.from_numpy(np.repeat(eta[:, None], len(z), 1)).requires_grad_()
        (slope,) = torch.autograd.grad(family.loss(torch.from_numpy(y), at).sum(), at)
        torch.testing.assert_close(torch.from_numpy(score), slope, rtol=1e-9, atol=1e-9)  # closed forms

    def test_tobit_refuses_points_where_nothing_piles_up(self):
        y = np.array([0.0, 0.0, 1.0, 2.0])
        with pytest.raises(DataError, match=r"no outcome is 5, the upper point"):
            Tobit(upper=5.0).for_outcome(y, None, ())
        with pytest.raises(DataError, match="every outcome is censored"):
            Tobit(0.0, 1.0).for_outcome(np.array([0.0, 1.0]), None, ())
        with pytest.raises(OptionError, match="not below"):
            Tobit(lower=2.0, upper=1.0)

    def test_zip_refuses_fewer_zeros_than_any_mixture_has(self):
        rng = np.random.default_rng(0)
        for y in (rng.poisson(3, 500) + 1.0, rng.binomial(4, 0.6, 500) * 1.0):
            with pytest.raises(DataError, match=r"nothing tells what 'logit\(inflation\)' .* use family='poisson'"):
                ZeroInflatedPoisson().for_outcome(y, None, ())
        # as many as the law has are no contradiction: .368 here, up to its standard error
        for seed in range(20):
            ZeroInflatedPoisson().for_outcome(np.random.default_rng(seed).poisson(1.0, 500) * 1.0, None, ())

    @pytest.mark.parametrize("point", ["a", True, np.nan, np.inf, [1.0], np.zeros(2)])
    def test_tobit_refuses_points_that_are_no_numbers(self, point):
        with pytest.raises(OptionError, match=r"^lower is .*; it must be the point at which outcomes are censored"):
            Tobit(lower=point)

    def test_an_infinite_point_is_none(self):
        assert Tobit(-np.inf, np.inf).options() == {"lower": None, "upper": None}

    def test_censored_weibull_against_scipy(self):
        rng = np.random.default_rng(5)
        family, eta = Weibull(censored=True), np.array([[0.3, 0.5]])
        time, event = rng.weibull(1.4, 50), (rng.random(50) < 0.6) * 1.0
        law = stats.weibull_min(np.exp(0.5), scale=np.exp(0.3))
        expected = -np.where(event == 1, law.logpdf(time), law.logsf(time))
        np.testing.assert_allclose(family.loss(np.column_stack([time, event]), eta), expected, rtol=1e-8)

    @pytest.mark.parametrize("end", [0.3, 1.0, 20.0])
    def test_what_a_followed_duration_tells_has_the_mean_of_the_second_derivative(self, end):
        """Durations end at a hazard that is exponential, or are cut at `end`: Simpson's rule over its log."""
        hazard = np.exp(np.linspace(-30.0, np.log(end), 20_001))
        density = hazard * np.exp(-hazard)  # of its log
        weights = np.full(hazard.size, 2.0)
        weights[1::2], weights[[0, -1]] = 4.0, 1.0
        weights *= np.log(hazard[1] / hazard[0]) / 3.0
        chances = torch.from_numpy(np.append(weights * density, np.exp(-end)))
        eta = torch.tensor([0.3, 0.4], dtype=torch.float64).expand(len(chances), 2).clone().requires_grad_()
        time = np.exp(0.3) * np.append(hazard, end) ** np.exp(-0.4)
        y = torch.from_numpy(np.column_stack([time, np.append(np.ones_like(hazard), 0.0)]))
        family = Weibull(censored=True)
        (score,) = torch.autograd.grad(family.loss(y, eta).sum(), eta, create_graph=True)
        second = torch.stack([torch.autograd.grad(score[:, j].sum(), eta, retain_graph=True)[0] for j in (0, 1)], 1)
        told = family.second(y, eta.detach())
        torch.testing.assert_close(family.score(y, eta), score, rtol=1e-10, atol=1e-10)
        expected = torch.einsum("m,mqr->qr", chances, second)
        mean = torch.einsum("m,mqr->qr", chances, told)
        torch.testing.assert_close(mean, expected, rtol=1e-8, atol=1e-9)  # the rule's error
        assert np.linalg.eigvalsh(told).min() > 0

    def test_the_unit_of_time_is_no_part_of_what_training_sees(self):
        """Losses less their fixed terms are those of times in other units, with the logs of the units in the index."""
        y, eta = np.array([[0.5, 1.0], [2.0, 0.0]]), np.array([[0.2, 0.3], [-0.4, 0.1]])
        family = Weibull(censored=True)
        days, shifted = y * [365.0, 1.0], eta + np.array([np.log(365.0), 0.0])
        expected = family.loss(y, eta) - family.fixed_loss(y)
        np.testing.assert_allclose(family.loss(days, shifted) - family.fixed_loss(days), expected, rtol=1e-12)

    def test_events_are_flags(self):
        y = np.array([1.0, 2.0])
        with pytest.raises(DataError, match="must be 0"):
            Weibull().for_outcome(y, np.array([0.0, 2.0]), ())
        with pytest.raises(DataError, match="holds no event"):
            Weibull().for_outcome(y, np.zeros(2), ())
        with pytest.raises(DataError, match="no censored outcomes"):
            Gumbel().for_outcome(y, np.ones(2), ())


class TestChoices:
    def test_levels_without_rows_are_refused(self):
        with pytest.raises(DataError, match="'c' in 0"):
            MNLogit().for_outcome(np.array([0.0, 1.0]), None, ("a", "b", "c"))

    def test_two_levels_are_for_other_families(self):
        with pytest.raises(DataError, match="family='logit'"):
            OrderedLogit().for_outcome(np.array([0.0, 1.0]), None, ("a", "b"))

    def test_an_unknown_column_of_an_alternative_is_named(self):
        family = MNLogit(["a", "b", "c"], {"price": ["pa", "pb", "pd"]})
        with pytest.raises(OptionError, match=r"'pd'.*Did you mean"):
            family.bind(("Intercept", "pa", "pb", "pc"))

    def test_a_missing_level_of_an_alternative_is_named(self):
        with pytest.raises(OptionError, match="no column for the level"):
            MNLogit(["a", "b", "c"], {"price": {"a": "pa", "b": "pb"}}).bind(("Intercept", "pa", "pb"))

    def test_an_ordered_outcome_needs_the_intercept(self):
        with pytest.raises(OptionError, match="needs the intercept"):
            OrderedLogit([0, 1, 2]).bind(("t",))

    def test_unknown_levels_are_named(self):
        family = MNLogit(["a", "b", "c"])
        with pytest.raises(OptionError, match="no level 'd'"):
            family.probability("d", np.zeros((2, 2)))
        with pytest.raises(OptionError, match="have no order"):
            family.tail("a", np.zeros((2, 2)))

    @pytest.mark.parametrize(
        ("levels", "message"),
        [("abc", "needed is a list"), (3, "needed is a list"), (["a", "b", "a"], "a level twice")],
    )
    def test_levels_are_a_list_of_different_ones(self, levels, message):
        with pytest.raises(OptionError, match=message):
            MNLogit(levels)


class TestOwnLoss:
    def test_names_are_needed_and_differ(self):
        for names in ((), ("a", "a"), "a", 3, [1, 2], None):
            with pytest.raises(OptionError, match="names="):
                CustomLoss(lambda y, t, theta: y, names)

    def test_start_has_a_value_for_each_name(self):
        with pytest.raises(OptionError, match="start has 1"):
            CustomLoss(lambda y, t, theta: y, ["a", "b"], start=[0.0])

    @pytest.mark.parametrize("start", [["q"], 3, [None]])
    def test_start_holds_numbers(self, start):
        with pytest.raises(OptionError, match=r"start=.*; needed is a list of numbers"):
            CustomLoss(lambda y, t, theta: y, ["a"], start)
        with pytest.raises(OptionError, match=r"an entry of start is nan"):
            CustomLoss(lambda y, t, theta: y, ["a"], [np.nan])

    @pytest.mark.parametrize("function", [3, "loss", np.zeros(2)])
    def test_what_is_no_function_is_refused_when_built(self, function):
        with pytest.raises(OptionError, match=r"is not a function; needed is the loss of a row, loss\(y, t, theta\)"):
            CustomLoss(function, ["a"])

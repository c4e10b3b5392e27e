"""Ridge fits on a basis against closed forms and statsmodels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from scipy import stats

from deepdml.learn import bases, candidates
from deepdml.learn.bases import linear_basis, sieve_basis
from deepdml.learn.candidates import PENALTIES, fit_basis
from deepdml.learn.tasks import MeanTask

STATSMODELS = {"gaussian": sm.families.Gaussian, "logit": sm.families.Binomial, "poisson": sm.families.Poisson}


class TestBases:
    def test_the_linear_basis_standardizes(self, posed):
        x = posed().problem.x
        features = linear_basis(x)(x)
        assert (features[:, 0] == 1).all()
        expected = (x.double() - x.double().mean(0)) / x.double().std(0, correction=0)
        torch.testing.assert_close(features[:, 1:], expected, rtol=1e-9, atol=1e-9)  # sums over chunks

    @pytest.mark.parametrize("p", [3, 30])
    def test_the_sieve_is_standardized_and_contains_the_linear_basis(self, p):
        x = torch.randn(500, p, generator=torch.Generator().manual_seed(1)) * 3 + 2
        basis = sieve_basis(x)
        features = basis(x)
        assert features.shape == (500, basis.n_features)
        torch.testing.assert_close(features[:, 1 : 1 + p], linear_basis(x)(x)[:, 1:], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(
            features[:, 1:].mean(0), torch.zeros(basis.n_features - 1).double(), atol=1e-6, rtol=0
        )
        spread = features[:, 1:].std(0, correction=0)
        torch.testing.assert_close(spread, torch.ones_like(spread), rtol=1e-6, atol=0)  # moments of the same rows
        q = p if p <= bases.MAX_DIRECTIONS else bases.COMPONENTS
        pairs = min(q, bases.MAX_PAIRED)
        assert basis.n_features == 1 + p + 4 * q + pairs * (pairs - 1) // 2

    def test_constant_columns_do_no_harm(self):
        x = torch.cat([torch.randn(50, 2, generator=torch.Generator().manual_seed(1)), torch.full((50, 1), 3.0)], 1)
        for basis in (linear_basis(x), sieve_basis(x)):
            assert torch.isfinite(basis(x)).all()

    def test_a_basis_of_no_covariates_is_the_constant(self):
        basis = linear_basis(torch.zeros(5, 0))
        assert torch.equal(basis(torch.zeros(3, 0)), torch.ones(3, 1).double())


@pytest.fixture
def hardly_any_ridge(monkeypatch):
    """Penalties so small that they cannot be told from none."""
    monkeypatch.setattr(candidates, "PENALTIES", (1e-11,))
    monkeypatch.setattr(candidates, "NEWTON_PENALTY", 1e-11)


class TestFits:
    @pytest.mark.parametrize("family", list(STATSMODELS))
    def test_theta_on_the_linear_basis_is_a_glm_with_interactions(self, posed, hardly_any_ridge, family):
        """eta = t' theta(x) with theta linear in x is a GLM on the products of t and (1, x)."""
        p = posed(family)
        task = p.problem.outcome
        fit = fit_basis("linear", task, linear_basis(p.problem.x), p.problem.x, p.scheme, p.units(task))
        features = fit.basis(p.problem.x).numpy()
        t = p.problem.data.t @ p.problem.unit
        for v, net in enumerate(p.scheme.net):
            rows = p.scheme.train_rows()[net]
            design = np.einsum("nd,nf->ndf", t[rows], features[rows]).reshape(len(rows), -1)
            glm = sm.GLM(p.problem.data.y[rows], design, family=STATSMODELS[family]()).fit(tol=1e-12)
            expected = glm.params.reshape(2, -1).T
            # Newton's method stops at a change of 1e-6, which converges quadratically or nearly so
            np.testing.assert_allclose(fit.coefficients[v].numpy(), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("levels", [2, 3])
    def test_levels_are_a_multinomial_logit(self, posed, hardly_any_ridge, levels):
        p = posed("gaussian", "y ~ C(t) | x0 + x1 + x2", levels=levels)
        task = p.problem.treated
        fit = fit_basis("linear", task, linear_basis(p.problem.x), p.problem.x, p.scheme, p.units(task))
        features = fit.basis(p.problem.x).numpy()
        codes = p.problem.treatment.codes
        for v, net in list(enumerate(p.scheme.net))[:4]:
            rows = p.scheme.train_rows()[net]
            theirs = sm.MNLogit(codes[rows], features[rows]).fit(disp=0, tol=1e-12)
            np.testing.assert_allclose(fit.coefficients[v].numpy(), theirs.params, rtol=1e-4, atol=1e-5)  # as above

    def test_means_are_least_squares(self, posed, hardly_any_ridge):
        p = posed()
        task = p.problem.treated
        fit = fit_basis("linear", task, linear_basis(p.problem.x), p.problem.x, p.scheme, p.units(task))
        features, target = fit.basis(p.problem.x).numpy(), p.problem.standardized
        for v, net in enumerate(p.scheme.net):
            rows = p.scheme.train_rows()[net]
            expected = np.linalg.lstsq(features[rows], target[rows], rcond=None)[0]
            # hessians are summed in single precision, and Newton steps correct that
            np.testing.assert_allclose(fit.coefficients[v].numpy(), expected, rtol=1e-5, atol=1e-6)

    def test_penalties_are_chosen_on_held_out_rows(self, posed):
        """Of noise alone the largest penalty is best for most snapshots; of a clear signal a small one."""
        rng = np.random.default_rng(1)
        p = posed()
        noise = p.frame.assign(y=rng.standard_normal(len(p.frame)))
        clear = p.frame.assign(y=3 * p.frame["x0"] + 0.1 * rng.standard_normal(len(p.frame)))
        chosen = []
        for frame in (noise, clear):
            q = posed(frame=frame)
            task, basis = q.problem.outcome, sieve_basis(q.problem.x)
            fit = fit_basis("sieve", task, basis, q.problem.x, q.scheme, q.units(task))
            assert set(fit.penalties.tolist()) <= {float(torch.tensor(c)) for c in PENALTIES}
            chosen.append(float(fit.penalties.log().mean()))
        assert chosen[0] > chosen[1]

    @pytest.mark.parametrize("family", list(STATSMODELS))
    @pytest.mark.parametrize("make", [linear_basis, sieve_basis])
    def test_no_fit_depends_on_the_outcomes_it_predicts(self, posed, family, make):
        """Every outcome of block 0 changed: the fits that predict block 0 keep every bit, others don't."""
        before = posed(family)
        inside = before.plan.block == 0
        y = before.frame["y"].to_numpy().copy()
        y[inside] = {"gaussian": y[inside] + 30, "logit": 1 - y[inside], "poisson": y[inside] + 40}[family]
        after = posed(family, frame=before.frame.assign(y=y), plan=before.plan)
        one, two = (
            fit_basis("b", p.problem.outcome, make(p.problem.x), p.problem.x, p.scheme, p.units(p.problem.outcome))
            for p in (before, after)
        )
        own = torch.from_numpy(before.scheme.target == 0)
        assert torch.equal(one.coefficients[own], two.coefficients[own])
        assert (one.coefficients[~own] != two.coefficients[~own]).any(1).any(1).any()


class TestSteps:
    def test_a_last_step_that_raises_the_loss_is_taken_back(self, posed):
        """With a quarter of the curvature a step goes four times too far, and here no other follows."""
        p = posed()
        task = TooFar("treatment mean", p.problem.treated.target, None)
        task.iterations = 1
        newton = candidates._Newton(task, linear_basis(p.problem.x), p.problem.x, p.scheme, p.units(task))
        start = torch.zeros(newton.shape, dtype=torch.float64)
        gradients = newton._derivatives(start, list(range(len(start))), None, False)[0]
        for minimum, gradient in zip(newton.run(), gradients, strict=True):
            # less what rounding adds to a step and takes back
            torch.testing.assert_close(minimum.at, torch.zeros_like(minimum.at), atol=1e-12, rtol=0)
            torch.testing.assert_close(minimum.gradient, gradient)

    def test_the_dispersion_of_counts_without_any_is_found_in_few_steps(self, posed):
        """The likelihood falls by a step of one in log(alpha) at a time from a fit without regressors."""
        rng = np.random.default_rng(3)
        x, t = rng.standard_normal((600, 3)), rng.standard_normal(600)
        y = rng.poisson(np.exp(3.0 + 0.8 * x[:, 0] + (0.5 + 0.2 * x[:, 1]) * t)) * 1.0
        p = posed("negbin", frame=pd.DataFrame({"y": y, "t": t, **{f"x{j}": x[:, j] for j in range(3)}}))
        task, basis = p.problem.outcome, linear_basis(p.problem.x)
        newton = candidates._Newton(task, basis, p.problem.x, p.scheme, p.units(task))
        at = torch.stack([m.at for m in newton.run()])
        losses = newton._derivatives(at, list(range(len(at))), None, False)[1] / newton.units.multiplier
        eta = 3.0 + 0.8 * x[:, 0] + (0.5 + 0.2 * x[:, 1]) * t
        poisson = -stats.poisson.logpmf(y, np.exp(eta))
        truth = [float(poisson[rows].sum()) for rows in p.scheme.train_rows()]
        # twelve coefficients fit the training rows better than the truth does, by six nats on average
        assert (losses < torch.tensor(truth) + 1.0).all()


class TooFar(MeanTask):
    """Squared errors whose curvature is understated."""

    def derivatives(self, out, rows, units=None):
        gradient, curvature = super().derivatives(out, rows, units)
        return gradient, 0.25 * curvature


class TestFamiliesWithScales:
    @pytest.fixture
    def durations(self, posed):
        """Weibull durations, whose hazard grows with the exponential of an exponential of the outputs."""
        rng = np.random.default_rng(4)
        x, t = rng.standard_normal((400, 3)), rng.integers(0, 2, 400) * 1.0
        y = np.exp(0.3 * x[:, 0] + 0.4 * t) * rng.weibull(1.5, 400)
        return posed("weibull", frame=pd.DataFrame({"y": y, "t": t, **{f"x{j}": x[:, j] for j in range(3)}}))

    def test_gradients_alone_are_those_of_the_derivatives(self, durations):
        task, rows = durations.problem.outcome, torch.arange(30).view(2, 15)
        out = 0.3 * torch.randn(2, 15, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        assert torch.equal(task.gradient(out, rows), task.derivatives(out, rows)[0])
        loss, gradient = task.loss_and_gradient(out, rows)
        assert torch.equal(loss, task.loss(out, rows))
        assert torch.equal(gradient, task.gradient(out, rows))

    def test_features_that_are_kept_are_those_made_anew(self, durations, monkeypatch):
        task, x, units = durations.problem.outcome, durations.problem.x, durations.units(durations.problem.outcome)
        kept = fit_basis("sieve", task, sieve_basis(x), x, durations.scheme, units)
        monkeypatch.setattr(candidates, "MOST_KEPT", 0)
        again = fit_basis("sieve", task, sieve_basis(x), x, durations.scheme, units)
        assert torch.equal(kept.coefficients, again.coefficients)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_entries_of_theta_in_one_index_each_give_what_the_matrices_do(self, durations, dtype):
        task, rows = durations.problem.outcome, torch.arange(30).view(2, 15)
        out = (0.3 * torch.randn(2, 15, 3, generator=torch.Generator().manual_seed(1))).to(dtype)
        ours = task.loss(out, rows), *task.derivatives(out, rows)
        assert task._index.tolist() == [0, 0, 1]
        task._index, task._read, task._read32 = None, task.rows, task.rows.float()
        for mine, theirs in zip(ours, (task.loss(out, rows), *task.derivatives(out, rows)), strict=True):
            assert torch.equal(mine, theirs)

    def test_a_step_that_overflows_is_halved_until_it_gains(self, durations):
        task, x = durations.problem.outcome, durations.problem.x
        newton = candidates._Newton(task, linear_basis(x), x, durations.scheme, durations.units(task))
        at = torch.zeros(newton.shape, dtype=torch.float64)
        gradients, value, _ = newton._derivatives(at, [0, 1], None, False)
        # downhill, and far too far
        steps = -gradients.view(len(at), at.shape[2], at.shape[1]).transpose(1, 2)
        at += steps
        new = newton._derivatives(at, [0, 1], None, False)
        assert new[1][:2].isinf().all()
        other = at[1].clone()
        newton._retreat(0, at, steps, value, new, None)
        torch.testing.assert_close(at[0], steps[0])
        assert float(new[1][0]) <= float(value[0])
        again = newton._derivatives(at, [0], None, False)
        assert all(torch.equal(ours[0], theirs[0]) for ours, theirs in zip(new, again, strict=True))
        assert torch.equal(at[1], other)  # no net's outcomes reach another

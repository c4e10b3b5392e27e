"""The pieces below the estimands: nodes of tabulated laws, and what the noise of theta does to H."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import deepdml as dd
from deepdml.estimands import AverageCoefficient, Sample, UserFunction
from deepdml.estimands.integration import structural_row
from deepdml.families import Gaussian
from deepdml.learn.influence import Influence, Recalibrated


def test_tabulated_nodes_are_those_of_the_law(known) -> None:
    fit = known("poisson", "continuous", n=3_000, formula="t + I(t**2)").results._fit
    piece = fit.rows.repetitions[0]
    sample = Sample(fit.rows.t, fit.t_names, piece.theta, piece.law, fit.family)
    # interpolating the dose on itself rounds
    np.testing.assert_allclose(
        structural_row(sample).at(slice(5, 90), piece.law), piece.law.nodes(slice(5, 90))[0], rtol=1e-12, atol=1e-12
    )


class NoCovariates:
    """Covariates of a fit that has none."""

    def __init__(self, n: int) -> None:
        self.n = n

    def covariates(self) -> np.ndarray:
        return np.zeros((self.n, 0))


def noisy(n: int = 200) -> Sample:
    rng = np.random.default_rng(1)
    root = rng.standard_normal((n, 2, 2))
    t = np.column_stack([np.ones(n), rng.standard_normal(n)])
    theta, noise = rng.standard_normal((n, 2)), root @ root.transpose(0, 2, 1)
    return Sample(t, ("Intercept", "t"), theta, None, Gaussian(), columns=NoCovariates(n), noise=noise)


def test_noise_of_theta_bends_a_quadratic_by_half_the_trace() -> None:
    """H = theta_1^2 + 3 theta_0 theta_1 has the second derivatives 0, 3 and 2."""
    sample = noisy()

    def function(x, t, theta):
        return theta[..., 1] ** 2 + 3 * theta[..., 0] * theta[..., 1]

    expected = sample.noise[:, 1, 1] + 3 * sample.noise[:, 0, 1]
    found = UserFunction(function).evaluate(sample).bend
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-9, atol=1e-9)  # rounding of the axes


def test_a_bend_beyond_any_expansion_is_taken_near_theta() -> None:
    """H = exp(5 theta_1): differences over a standard deviation of one would be fifteen times as much."""
    sample = replace(noisy(), noise=np.broadcast_to(np.eye(2), (200, 2, 2)))
    found = UserFunction(lambda x, t, theta: torch.exp(5 * theta[..., 1])).evaluate(sample)
    np.testing.assert_allclose(found.bend[:, 0], 12.5 * found.values[:, 0], rtol=0.02)  # (5 / 16)^2 / 6 beyond
    gentle = UserFunction(lambda x, t, theta: torch.exp(theta[..., 1])).evaluate(sample)
    np.testing.assert_allclose(
        gentle.bend[:, 0], 0.5 * np.sinh(1.0) * gentle.values[:, 0], rtol=1e-9
    )  # as far as it errs


def test_nothing_bends_where_h_is_linear_or_the_noise_is_unknown() -> None:
    sample = noisy()
    assert (AverageCoefficient().evaluate(sample).bend == 0).all()
    assert UserFunction(lambda x, t, theta: theta[..., 1] ** 2).evaluate(replace(sample, noise=None)).bend == 0


def test_the_mean_of_a_square_is_unbiased_under_noise() -> None:
    """psi of E[theta_1(X)^2] at theta + noise, with a score that knows the truth, is off by the bend alone."""
    rng = np.random.default_rng(3)
    n = 40_000
    truth = np.column_stack([rng.standard_normal(n), 1 + 0.5 * rng.standard_normal(n)])
    noise = np.array([[0.3, 0.1], [0.1, 0.2]])
    theta = truth + rng.multivariate_normal(np.zeros(2), noise, n)
    sample = replace(noisy(n), theta=theta, noise=np.broadcast_to(noise, (n, 2, 2)))
    evaluation = UserFunction(lambda x, t, theta: theta[..., 1] ** 2).evaluate(sample)
    piece = Influence(theta, theta - truth, np.broadcast_to(np.eye(2), (n, 2, 2)), None)
    bare = piece.psi(evaluation.values, evaluation.gradient)[:, 0] - truth[:, 1] ** 2
    error = bare.std() / np.sqrt(n)
    assert abs(bare.mean() + noise[1, 1]) < 4 * error
    assert abs((bare + evaluation.bend[:, 0]).mean()) < 4 * error


def recalibrated(known, shift: float, family: str = "logit"):
    """Return the sample and the pieces of a fit with known nuisances whose theta is off, and of a second theta."""
    kind = "binary"
    first, second = (known(family, kind, n=500, shift=s).results._fit for s in (0.4, shift))
    other = second.rows.repetitions[0]
    piece = replace(first.rows.repetitions[0], recalibrated=Recalibrated(other.theta, other.lambda_inverse))
    sample = Sample(first.rows.t, first.t_names, piece.theta, piece.law, first.family, columns=NoCovariates(500))
    return sample, piece, first.rows.y


def test_a_second_theta_makes_the_error_of_a_square_a_product() -> None:
    """Where psi of E[theta_1^2] is off by minus its squared error, two theta are off by minus the product of theirs."""
    rng = np.random.default_rng(5)
    truth, n = rng.standard_normal((300, 2)), 300
    theta, other = truth + rng.standard_normal((n, 2)), truth + rng.standard_normal((n, 2))
    one = np.broadcast_to(np.eye(2), (n, 2, 2))
    sample, square = replace(noisy(n), theta=theta, noise=None), UserFunction(lambda x, t, theta: theta[..., 1] ** 2)
    for second, left in ((None, theta), (Recalibrated(other, one), other)):
        found = square.psi(sample, Influence(theta, theta - truth, one, None, recalibrated=second))[:, 0]
        expected = truth[:, 1] ** 2 - (theta - truth)[:, 1] * (left - truth)[:, 1]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)  # rounding


@pytest.mark.parametrize("shift", [0.1, 0.4])
def test_the_variance_of_a_binary_outcome_is_the_product_of_two_residuals(known, shift) -> None:
    """With two levels of the treatment psi is (y - p)^2, p the fitted share, and (y - p) (y - q) with a second one."""
    sample, piece, y = recalibrated(known, shift)
    p, q = (1 / (1 + np.exp(-(sample.t * theta).sum(1))) for theta in (piece.theta, piece.recalibrated.theta))
    found = dd.ConditionalVariance().psi(sample, piece)[:, 0]
    # differences of fourth order in the slope of p (1 - p), times inverse propensities
    np.testing.assert_allclose(found, (y - p) * (y - q), rtol=1e-8, atol=1e-8)


def test_a_second_theta_leaves_every_bit_of_what_is_linear(known) -> None:
    sample, piece, _ = recalibrated(known, 0.1)

    def both(x, t, theta):
        return torch.stack([2.0 * theta[..., 1] - theta[..., 0], theta[..., 1] ** 2], -1)

    for estimand, same in ((AverageCoefficient(), [True, True]), (UserFunction(both), [True, False])):
        bare = estimand.psi(sample, replace(piece, recalibrated=None))
        assert (bare == estimand.psi(sample, piece)).all(axis=0).tolist() == same

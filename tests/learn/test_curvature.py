"""Lambda by integration against sums and simulation, and its inverse."""

from __future__ import annotations

import numpy as np
import pytest

from deepdml.errors import OptionError
from deepdml.families import CustomLoss, Gaussian, Logit, Poisson
from deepdml.learn import curvature
from deepdml.learn.curvature import choose_strategy, integrate, invert, invert_near
from deepdml.learn.influence import DiscreteLaw, LocationScaleLaw
from deepdml.learn.treatment import Levels, Scalar, Vector, residual_nodes

FAMILIES = [Gaussian(), Logit(), Poisson()]


def setting(n: int = 20, seed: int = 0):
    rng = np.random.default_rng(seed)
    theta = 0.4 * rng.standard_normal((n, 2))
    half = 0.1 * rng.standard_normal((n, 2, 2))
    unit = np.array([[1.0, -0.5], [0.0, 0.8]])
    return rng, theta, half @ half.transpose(0, 2, 1), unit


def laws(rng, n):
    levels = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.5]])
    u, grid = rng.standard_normal(7), np.array([-1.0, 1.0])
    yield DiscreteLaw(levels, rng.dirichlet([2, 3, 4], n)), levels
    mean, scale = rng.standard_normal(n), rng.uniform(0.5, 1.5, n)
    yield LocationScaleLaw(mean, scale, u, np.full(7, 1 / 7), grid, np.column_stack([np.ones(2), grid]), True), None


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
@pytest.mark.parametrize("kind", [0, 1], ids=["levels", "location-scale"])
@pytest.mark.parametrize("chunk", [8192, 6])
def test_lambda_and_the_remainder_are_sums_over_nodes(monkeypatch, family, kind, chunk):
    monkeypatch.setattr(curvature, "CHUNK", chunk)
    n = 20
    rng, theta, noise, unit = setting(n)
    law, levels = list(laws(rng, n))[kind]
    found = integrate(law, family, theta, noise, unit)
    for i in range(n):
        if levels is not None:
            rows, weights = levels, law.probabilities[i]
        else:
            values = law.mean[i] + law.scale[i] * law.residuals
            rows, weights = np.column_stack([np.ones(7), values]), law.weights
        matrix, remainder = np.zeros((2, 2)), np.zeros(2)
        for row, weight in zip(rows @ unit, weights, strict=True):
            eta = np.array(row @ theta[i])
            matrix += weight * family.hessian(eta) * np.outer(row, row)
            remainder += 0.5 * weight * family.remainder_slope(eta) * (row @ noise[i] @ row) * row
        np.testing.assert_allclose(found.inverse[i], np.linalg.inv(matrix), rtol=1e-8)  # by eigenvectors
        np.testing.assert_allclose(found.remainder[i], remainder, rtol=1e-10, atol=1e-14)  # sums in another order
    assert found.floored_share == 0


def test_without_noise_there_is_no_remainder():
    rng, theta, _, unit = setting()
    law, _ = next(laws(rng, 20))
    assert not integrate(law, Logit(), theta, None, unit).remainder.any()


@pytest.mark.parametrize("family", [Logit(), Poisson()], ids=repr)
def test_the_remainder_is_the_second_order_error_of_a_newton_step(family):
    """Where theta errs by delta with E[delta delta'] = noise, E[score - hessian delta] is minus the remainder.

    psi subtracts Lambda^-1 score, with Lambda at the erring theta; the expected score at theta + delta is
    E[h delta + h' delta^2 / 2] and Lambda there E[h + h' delta]: the step falls short by E[h' delta^2] / 2.
    """
    rng = np.random.default_rng(1)
    theta = np.array([[0.3, -0.4]])
    root = np.array([[0.10, 0.02], [0.0, 0.08]])
    law = DiscreteLaw(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[0.4, 0.6]]))
    found = integrate(law, family, theta, (root @ root.T)[None], np.eye(2))
    delta = rng.standard_normal((200_000, 2)) @ root.T
    delta = np.concatenate([delta, -delta])
    left = np.zeros(2)
    for row, weight in zip(law.levels, law.probabilities[0], strict=True):
        truth, eta = theta[0] @ row, (theta[0] + delta) @ row
        score = family.mean(eta) - family.mean(np.array(truth))
        short = score - family.hessian(eta) * (eta - truth)
        left += weight * short.mean() * row
    # the fourth power of delta is left out, some per cent, and 400,000 draws err by less
    np.testing.assert_allclose(found.remainder[0], -left, atol=0.05 * np.abs(left).max())


def test_integration_matches_simulation():
    """A poisson Lambda under a normal law, by nodes of a normal quantile grid."""
    rng = np.random.default_rng(2)
    z = rng.standard_normal(400_000)
    z = (z - z.mean()) / z.std()
    nodes, weights = residual_nodes(z, None)
    grid = np.array([0.0, 1.0])
    law = LocationScaleLaw(
        np.array([0.5]), np.array([0.7]), nodes, weights, grid, np.column_stack([np.ones(2), grid]), True
    )
    theta = np.array([[0.2, 0.6]])
    t = 0.5 + 0.7 * z
    h = np.exp(0.2 + 0.6 * t)
    expected = np.array([[h.mean(), (h * t).mean()], [(h * t).mean(), (h * t**2).mean()]])
    found = np.linalg.inv(integrate(law, Poisson(), theta, None, np.eye(2)).inverse[0])
    np.testing.assert_allclose(found, expected, rtol=0.02)  # the tails within forty bins


class TestInversion:
    def test_well_conditioned_matrices_are_inverted(self):
        half = np.random.default_rng(0).standard_normal((30, 3, 5))
        matrix = half @ half.transpose(0, 2, 1)
        found = invert(matrix, np.zeros((30, 3)))
        np.testing.assert_allclose(
            found.inverse @ matrix, np.broadcast_to(np.eye(3), (30, 3, 3)), atol=1e-9
        )  # rounding
        assert found.floored_share == 0
        assert found.min_eigenvalue == pytest.approx(np.linalg.eigvalsh(matrix)[:, 0].min())

    def test_nearly_singular_rows_are_floored_and_counted(self):
        matrix = np.tile(np.eye(2), (50, 1, 1))
        matrix[:5] = np.diag([1.0, 1e-9])
        found = invert(matrix, np.zeros((50, 2)))
        assert found.floored_share == pytest.approx(0.1)
        assert found.min_eigenvalue == pytest.approx(1e-9)
        np.testing.assert_allclose(found.inverse[0], np.diag([1.0, 1e3]))  # the floor is a thousandth of the median
        np.testing.assert_allclose(found.inverse[10], np.eye(2))


LEVELS = Levels(np.array([[1.0, 0.0], [1.0, 1.0]]), np.zeros(3, int))
LINE = Scalar(np.arange(3.0), np.arange(2.0), np.ones((2, 2)), True)
CURVE = Scalar(np.arange(3.0), np.arange(2.0), np.ones((2, 3)), False)
SEVERAL = Vector(np.ones((3, 2)), np.array([1, 2]))


@pytest.mark.parametrize(
    ("family", "treatment", "known", "expected"),
    [
        (Gaussian(), LEVELS, True, ["known design"]),
        (Logit(), LEVELS, False, ["propensity plug-in"]),
        (Gaussian(), LINE, False, ["moments", "location-scale quadrature"]),
        (Gaussian(), CURVE, False, ["location-scale quadrature"]),
        (Logit(), LINE, False, ["location-scale quadrature"]),
        (Poisson(), CURVE, False, ["location-scale quadrature"]),
        (Gaussian(), SEVERAL, False, ["moments", "location-scale quadrature"]),
        (Logit(), SEVERAL, False, ["location-scale quadrature"]),
    ],
)
def test_strategies(family, treatment, known, expected):
    assert choose_strategy("auto", family, treatment, known) == expected[0]
    every = ["known design", "propensity plug-in", "moments", "location-scale quadrature"]
    for name in every:
        if name in expected:
            assert choose_strategy(name, family, treatment, known) == name
        else:
            with pytest.raises(OptionError, match=f"{name!r} does not fit this treatment and family; here it can be"):
                choose_strategy(name, family, treatment, known)


def test_losses_without_an_expected_hessian_are_regressed():
    family = CustomLoss(lambda y, t, theta: theta[..., 0] ** 2, names=["a"])
    for treatment in (LEVELS, LINE, SEVERAL):
        assert choose_strategy("auto", family, treatment, False) == "hessian regression"
    with pytest.raises(OptionError, match="here it can be 'hessian regression'"):
        choose_strategy("moments", family, SEVERAL, False)


def test_a_second_lambda_stays_only_near_the_first():
    """Tenfold in some direction, or not finite, it is out of reach, and the first one stands in its place."""
    rng = np.random.default_rng(2)
    root = rng.standard_normal((5, 2, 2)) + 2 * np.eye(2)
    first = root @ root.transpose(0, 2, 1)
    stretch = np.array([[1.0, 1.0], [9.0, 0.2], [0.09, 1.0], [1.0, 11.0], [np.nan, 1.0]])
    second = root @ (stretch[:, :, None] * root.transpose(0, 2, 1))
    second[4, 0] = np.inf, -np.inf
    inverse = np.linalg.inv(first)
    found, near = invert_near(second, inverse)
    assert near.tolist() == [True, True, False, False, False]
    np.testing.assert_allclose(found[:2] @ second[:2], np.broadcast_to(np.eye(2), (2, 2, 2)), atol=1e-9)  # rounding
    np.testing.assert_array_equal(found[2:], inverse[2:])

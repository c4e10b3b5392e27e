"""Where estimands meet families: gradients with respect to theta, for every family with a mean."""

from __future__ import annotations

import numpy as np
import pytest

from deepdml.estimands.response import gradients_of, marginal, mean, values_of
from deepdml.families import MNLogit, OrderedLogit, Tobit, registered
from deepdml.families.indices import MultiIndex

NAMES = ("Intercept", "a", "b")
RNG = np.random.default_rng(0)
T = np.column_stack([np.ones(6), RNG.uniform(-1, 1, (6, 2))])
SLOPE = np.column_stack([np.zeros(6), np.ones(6), RNG.uniform(-1, 1, 6)])
WITH_MEANS = sorted(name for name in registered() if name not in ("custom", "mnlogit", "ordered_logit"))


def theta_of(family, seed: int = 1) -> np.ndarray:
    k = len(family.theta_names(NAMES))
    return 0.4 * np.random.default_rng(seed).standard_normal((6, k))


def by_differences(function, theta: np.ndarray, h: float = 1e-5) -> np.ndarray:
    steps = h * np.eye(theta.shape[1])
    return np.stack([(function(theta + s) - function(theta - s)) / (2 * h) for s in steps], axis=-1)


@pytest.mark.parametrize("name", WITH_MEANS)
class TestGradients:
    def test_of_the_mean(self, name):
        family = registered()[name]().bind(NAMES)
        theta = theta_of(family)
        expected = by_differences(lambda at: mean(family, T, at)[0], theta)
        np.testing.assert_allclose(mean(family, T, theta)[1], expected, rtol=1e-6, atol=1e-8)  # differences

    def test_of_a_marginal_effect(self, name):
        family = registered()[name]().bind(NAMES)
        theta = theta_of(family)
        effect, gradient = marginal(family, T, SLOPE, theta)
        h = 1e-5
        moved = (mean(family, T + h * SLOPE, theta)[0] - mean(family, T - h * SLOPE, theta)[0]) / (2 * h)
        np.testing.assert_allclose(effect, moved, rtol=1e-6, atol=1e-8)  # differences
        expected = by_differences(lambda at: marginal(family, T, SLOPE, at)[0], theta)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)  # differences of differences


@pytest.mark.parametrize("family", [Tobit(), MNLogit(["x", "y", "z"]), OrderedLogit(["x", "y", "z"])])
def test_functionals(family):
    family = family.bind(NAMES)
    theta = theta_of(family)
    function = (
        (lambda eta: family.tail(0.5, eta)) if isinstance(family, Tobit) else (lambda eta: family.probability("y", eta))
    )
    expected = by_differences(lambda at: values_of(family, [function], T, at)[:, 0], theta)
    found = gradients_of(family, [(function, None)], T, theta)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_families_with_several_indices_are_among_them():
    assert sum(issubclass(registered()[name], MultiIndex) for name in WITH_MEANS) >= 8

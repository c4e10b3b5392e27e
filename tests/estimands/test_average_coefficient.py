from __future__ import annotations

import numpy as np
import pytest

from deepdml.estimands import AverageCoefficient, Evaluation, Sample
from deepdml.families import Gaussian


def test_values_are_theta_and_the_gradient_is_one_identity() -> None:
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(50, 3))
    evaluation = AverageCoefficient().evaluate(Sample(np.ones((50, 3)), ("a", "b", "c"), theta, None, Gaussian()))
    np.testing.assert_array_equal(evaluation.values, theta)
    assert evaluation.gradient.shape == (50, 3, 3)
    assert evaluation.gradient.strides[0] == 0  # seen n times, stored once
    np.testing.assert_array_equal(evaluation.gradient[7], np.eye(3))


def test_auxiliary_parameters_are_reported_after_the_coefficients() -> None:
    rng = np.random.default_rng(1)
    theta = rng.normal(size=(20, 3))
    sample = Sample(np.ones((20, 2)), ("a", "b", "log(sigma)"), theta, None, Gaussian())
    evaluation = AverageCoefficient().evaluate(sample)
    assert AverageCoefficient().labels(sample, 3) == ("a", "b", "log(sigma)")
    np.testing.assert_array_equal(evaluation.values, theta)
    np.testing.assert_array_equal(evaluation.gradient, np.broadcast_to(np.eye(3), (20, 3, 3)))


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="needed are"):
        Evaluation(np.zeros((4, 2)), np.zeros((4, 3, 2)))

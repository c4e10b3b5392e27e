from __future__ import annotations

import numpy as np
import pytest

from deepdml.estimands import AverageCoefficient, Evaluation, Sample
from deepdml.families import Gaussian
from deepdml.learn.influence import Influence


def test_values_are_theta_and_the_gradient_is_one_identity() -> None:
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(50, 3))
    evaluation = AverageCoefficient().evaluate(Sample(np.ones((50, 3)), ("a", "b", "c"), theta, None, Gaussian()))
    np.testing.assert_array_equal(evaluation.values, theta)
    assert evaluation.gradient.shape == (50, 3, 3)
    assert evaluation.gradient.strides[0] == 0  # seen n times, stored once
    np.testing.assert_array_equal(evaluation.gradient[7], np.eye(3))


def test_auxiliary_parameters_get_no_coefficient() -> None:
    """theta may carry a log-scale after the structural columns: it moves psi through Lambda but is not reported."""
    rng = np.random.default_rng(1)
    theta, score = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    half = rng.normal(size=(20, 3, 3))
    inverse = half @ half.transpose(0, 2, 1)
    evaluation = AverageCoefficient().evaluate(Sample(np.ones((20, 2)), ("a", "b"), theta, None, Gaussian()))
    psi = Influence(theta, score, inverse, None).psi(evaluation.values, evaluation.gradient)
    expected = theta - np.stack([m @ s for m, s in zip(inverse, score, strict=True)])
    # the same products in another order
    np.testing.assert_allclose(psi, expected[:, :2], rtol=1e-12, atol=1e-12)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="needed are"):
        Evaluation(np.zeros((4, 2)), np.zeros((4, 3, 2)))

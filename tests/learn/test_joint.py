"""The approximate law of several structural columns: its moments are those it was given, and products follow them."""

from __future__ import annotations

import numpy as np
import pytest

from deepdml.families import Gaussian, Poisson
from deepdml.learn.curvature import integrals
from deepdml.learn.joint import joint_law, joint_nodes, split_products

N = 400
COVARIANCE = np.array([[0.64, 0.24], [0.24, 0.49]])


def moments(law):
    """Mean (n, d) and second moments (n, d, d) of the structural row."""
    nodes, weights = law.nodes(slice(0, N))
    weights = np.broadcast_to(weights, nodes.shape[:2])
    return np.einsum("nm,nmd->nd", weights, nodes), np.einsum("nm,nmd,nme->nde", weights, nodes, nodes)


@pytest.mark.parametrize("v", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("weighted", [False, True])
def test_nodes_have_mean_zero_and_unit_covariance(v, weighted):
    rng = np.random.default_rng(v)
    residuals = rng.exponential(size=(3_000, v)) @ rng.standard_normal((v, v))
    nodes, weights = joint_nodes(residuals, rng.uniform(0.1, 3.0, 3_000) if weighted else None, 64)
    assert v < len(weights) <= 256
    assert weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(weights @ nodes, 0.0, atol=1e-12)
    np.testing.assert_allclose(nodes.T @ (weights[:, None] * nodes), np.eye(v), atol=1e-9)  # of a Cholesky factor


def test_nodes_keep_the_skewness_of_the_residuals():
    residuals = np.random.default_rng(0).exponential(size=(20_000, 2)) - 1.0
    nodes, weights = joint_nodes(residuals, None, 64)
    # 2 for the exponential, of which means of an eighth of the rows keep 1.2
    assert (weights @ nodes**3 > 1.1).all()


def test_products_of_columns_are_found():
    rng = np.random.default_rng(1)
    d, t = rng.integers(0, 2, N) * 1.0, rng.standard_normal(N)
    rows = np.column_stack([np.ones(N), d, t, d * t, t**2, t**2 * d, d * t + 1e-6])
    free = split_products(rows)
    assert free.columns.tolist() == [1, 2, 6]
    np.testing.assert_array_equal(free.values, rows[:, [1, 2, 6]])
    assert free.products == ((3, 1, 2), (4, 2, 2), (5, 1, 4))


def test_a_continuous_law_has_the_moments_it_was_given():
    rng = np.random.default_rng(2)
    mean, scale = rng.standard_normal((N, 2)), rng.uniform(0.5, 2.0, (N, 2))
    correlation = np.tile(np.eye(2), (N, 1, 1))
    correlation[:, 0, 1] = correlation[:, 1, 0] = rng.uniform(-0.8, 0.8, N)
    t = np.column_stack([np.ones(N), mean + scale * rng.standard_normal((N, 2))])
    law = joint_law(t, split_products(t), mean, scale, correlation, None)
    rows = np.column_stack([np.ones(N), mean])
    expected = rows[:, :, None] * rows[:, None, :]
    expected[:, 1:, 1:] += correlation * scale[:, :, None] * scale[:, None, :]
    np.testing.assert_allclose(moments(law)[0], rows, atol=1e-12)
    np.testing.assert_allclose(moments(law)[1], expected, rtol=1e-9, atol=1e-12)
    # so that Lambda of a gaussian outcome is what its moments give
    matrix = integrals(law, Gaussian(), np.zeros((N, 3)), None, np.eye(3))[0]
    np.testing.assert_allclose(matrix, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("values", [(0.0, 1.0), (-2.0, 3.0)])
def test_a_column_with_two_values_takes_them(values):
    """With probabilities from its mean; the other column moves with it as the correlation says."""
    rng = np.random.default_rng(3)
    low, high = values
    share, center = rng.uniform(0.1, 0.9, N), rng.standard_normal(N)
    d = np.where(rng.random(N) < share, high, low)
    t = center + 0.5 * rng.standard_normal(N)
    rows = np.column_stack([np.ones(N), t, d, d * t])
    correlation = np.tile(np.array([[1.0, 0.3], [0.3, 1.0]]), (N, 1, 1))
    mean = np.column_stack([center, low + (high - low) * share])
    # the learned scale of the column is not read: its mean says all
    law = joint_law(rows, split_products(rows), mean, np.full((N, 2), 0.5), correlation, None)
    nodes, weights = law.nodes(slice(0, N))
    assert set(np.unique(nodes[..., 2])) == {low, high}
    np.testing.assert_array_equal(nodes[..., 3], nodes[..., 2] * nodes[..., 1])
    np.testing.assert_allclose(weights.sum(1), 1.0)
    first, second = moments(law)
    np.testing.assert_allclose(first[:, 1:3], mean, atol=1e-12)
    spread = (high - low) * np.sqrt(share * (1 - share))
    np.testing.assert_allclose(second[:, 1, 2] - mean[:, 0] * mean[:, 1], 0.3 * 0.5 * spread, atol=1e-12)
    np.testing.assert_allclose(second[:, 1, 1] - mean[:, 0] ** 2, 0.25, atol=1e-9)
    assert law.clipped_share == 0


def test_probabilities_near_zero_are_raised_and_counted():
    rng = np.random.default_rng(4)
    d, t = rng.integers(0, 2, N) * 1.0, rng.standard_normal(N)
    share = np.where(np.arange(N) < 40, -0.2, 0.5)
    correlation = np.tile(np.eye(2), (N, 1, 1))
    rows = np.column_stack([np.ones(N), d, t])
    law = joint_law(
        rows, split_products(rows), np.column_stack([share, np.zeros(N)]), np.ones((N, 2)), correlation, None
    )
    assert law.clipped_share == pytest.approx(0.1)
    np.testing.assert_allclose(moments(law)[0][:40, 1], 0.01)


def test_lambda_of_counts_under_a_normal_law():
    """Closed form: E[exp(b'T) T T'] = exp(b'm + b'Sb / 2) (S + (m + Sb)(m + Sb)')."""
    rng = np.random.default_rng(5)
    n = 4_000
    t = np.column_stack([np.ones(n), rng.standard_normal((n, 2)) @ np.linalg.cholesky(COVARIANCE).T])
    scale, mean = np.sqrt(np.diag(COVARIANCE)), np.zeros((n, 2))
    correlation = np.tile(COVARIANCE / np.outer(scale, scale), (n, 1, 1))
    law = joint_law(t, split_products(t), mean, np.tile(scale, (n, 1)), correlation, None)
    theta = np.array([[0.2, -0.4, 0.3]])
    tilt = COVARIANCE @ theta[0, 1:]
    expected = np.exp(0.2 + theta[0, 1:] @ tilt / 2) * (COVARIANCE + np.outer(tilt, tilt))
    found = integrals(law, Poisson(), np.tile(theta, (n, 1)), None, np.eye(3))[0][0]
    # sampling errors of third moments are some 2.5/sqrt(n), and count by the size of the slopes
    np.testing.assert_allclose(found[1:, 1:], expected, rtol=0.05)

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.sandwich_covariance import cov_cluster, cov_cluster_2groups

from deepdml.errors import DataError, OptionError
from deepdml.inference import aggregate, covariance, weighted_mean
from deepdml.inference.covariance import combine_codes, positive_part


def sample(n: int = 120, q: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, q)) + 2.0, rng.uniform(0.2, 3.0, size=n)


def clusters(n: int, counts: tuple[int, ...], seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.integers(0, count, n) for count in counts])


# 1e-10 relative throughout: two orders of summation of a hundred doubles
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cov_type", ["HC0", "HC1"])
def test_robust_is_that_of_a_regression_on_a_constant(cov_type: str, weighted: bool) -> None:
    psi, weights = sample()
    used = weights if weighted else None
    fit = sm.WLS(psi[:, 0], np.ones(len(psi)), weights=1.0 if used is None else used).fit(cov_type=cov_type)
    assert weighted_mean(psi, used)[0] == pytest.approx(fit.params[0], rel=1e-10)
    assert covariance(psi, used, cov_type).matrix[0, 0] == pytest.approx(fit.cov_params()[0, 0], rel=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("correction", [False, True])
def test_one_way_clusters_agree_with_statsmodels(weighted: bool, correction: bool) -> None:
    psi, weights = sample()
    groups = clusters(len(psi), (25,))
    used = weights if weighted else None
    fit = sm.WLS(psi[:, 0], np.ones(len(psi)), weights=1.0 if used is None else used).fit()
    expected = cov_cluster(fit, groups[:, 0], use_correction=correction)
    result = covariance(psi, used, "cluster", groups, use_correction=correction)
    assert result.matrix[0, 0] == pytest.approx(expected[0, 0], rel=1e-10)
    assert result.n_clusters == (25,)


@pytest.mark.parametrize("weighted", [False, True])
def test_two_way_clusters_agree_with_statsmodels(weighted: bool) -> None:
    rng = np.random.default_rng(4)
    groups = clusters(600, (30, 25))
    psi = (rng.normal(size=30)[groups[:, 0]] + rng.normal(size=25)[groups[:, 1]] + rng.normal(size=600))[:, None]
    weights = rng.uniform(0.5, 2.0, 600) if weighted else None
    fit = sm.WLS(psi[:, 0], np.ones(600), weights=1.0 if weights is None else weights).fit()
    expected = cov_cluster_2groups(fit, groups[:, 0], groups[:, 1])[0]
    result = covariance(psi, weights, "cluster", groups)
    assert result.matrix[0, 0] == pytest.approx(expected[0, 0], rel=1e-10)
    assert result.notes == ()


def test_many_columns_agree_with_a_regression_in_blocks() -> None:
    """A regression of stacked psi on dummies of its columns gives the joint covariance (HC0: no factor to differ)."""
    psi, _ = sample(90, 3)
    groups = clusters(90, (12,))[:, 0]
    stacked = sm.OLS(psi.T.ravel(), np.kron(np.eye(3), np.ones((90, 1)))).fit()
    expected = cov_cluster(stacked, np.tile(groups, 3), use_correction=False)
    result = covariance(psi, None, "cluster", groups, use_correction=False)
    np.testing.assert_allclose(result.matrix, expected, rtol=1e-10)


def test_three_ways_follow_inclusion_and_exclusion() -> None:
    psi, _ = sample(3000, 2)
    groups = clusters(3000, (30, 40, 50))

    def one_way(columns: list[int]) -> np.ndarray:
        return covariance(psi, None, "cluster", combine_codes(groups[:, columns]), df=2).matrix

    singles = one_way([0]) + one_way([1]) + one_way([2])
    expected = singles - one_way([0, 1]) - one_way([0, 2]) - one_way([1, 2]) + one_way([0, 1, 2])
    result = covariance(psi, None, "cluster", groups, df=2)
    expected, _ = positive_part(expected)
    np.testing.assert_allclose(result.matrix, expected, rtol=1e-10)


def test_df_enters_the_corrections() -> None:
    psi, _ = sample(60)
    groups = np.arange(60) % 25
    base = covariance(psi, cov_type="HC0").matrix
    np.testing.assert_allclose(covariance(psi, cov_type="HC1", df=7).matrix, base * 60 / 53, rtol=1e-12)
    plain = covariance(psi, None, "cluster", groups, use_correction=False).matrix
    factor = 25 / 24 * 59 / 53
    np.testing.assert_allclose(covariance(psi, None, "cluster", groups, df=7).matrix, plain * factor, rtol=1e-12)


def test_negative_eigenvalues_are_set_to_zero_and_reported() -> None:
    """Values that cancel within each of two ways leave only the negative intersection term."""
    psi = np.array([1.0, -1.0, -1.0, 1.0] * 10)[:, None]
    first = np.tile([0, 0, 1, 1], 10) + np.repeat(np.arange(10), 4) * 2
    second = np.tile([0, 1, 0, 1], 10) + np.repeat(np.arange(10), 4) * 2
    result = covariance(psi, None, "cluster", np.column_stack([first, second]))
    assert result.matrix[0, 0] == 0.0
    assert any("negative eigenvalues" in note for note in result.notes)


@pytest.mark.parametrize("correction", [False, True])
def test_the_jackknife_agrees_with_statsmodels(correction: bool) -> None:
    psi, _ = sample()
    groups = clusters(len(psi), (25,))
    expected = cov_cluster(
        sm.OLS(psi[:, 0], np.ones(120)).fit(), groups[:, 0], use_correction=correction, crv_type="cluster-crv3"
    )
    result = covariance(psi, None, "cluster-crv3", groups, use_correction=correction)
    assert result.matrix[0, 0] == pytest.approx(expected[0, 0], rel=1e-10)


def test_the_jackknife_leaves_out_one_cluster_at_a_time() -> None:
    psi, weights = sample(q=2)
    groups = clusters(len(psi), (25,))[:, 0]
    full = weighted_mean(psi, weights)
    moves = np.array([weighted_mean(psi[groups != g], weights[groups != g]) - full for g in range(25)])
    result = covariance(psi, weights, "cluster-crv3", groups)
    np.testing.assert_allclose(result.matrix, 24 / 25 * moves.T @ moves, rtol=1e-9)
    plain = covariance(psi, weights, "cluster", groups, use_correction=False).matrix
    assert (np.diag(result.matrix) > np.diag(plain)).all()


def test_few_clusters_are_noted() -> None:
    psi, _ = sample()
    result = covariance(psi, None, "cluster", clusters(120, (8,)), group_names=("state",))
    assert len(result.notes) == 1
    assert "Only 8 clusters in 'state'" in result.notes[0]
    assert "Use cov_type='cluster-crv3' with use_t=True, and compare with bootstrap()" in result.notes[0]
    (note,) = covariance(psi, None, "cluster-crv3", clusters(120, (8,)), group_names=("state",)).notes
    assert "cluster-crv3" not in note
    assert note.endswith("Use use_t=True, and compare with bootstrap().")


@pytest.mark.parametrize("spelling", ["hc0", "Hc1", "CLUSTER"])
def test_names_in_any_case(spelling: str) -> None:
    psi, _ = sample()
    assert covariance(psi, None, spelling, clusters(120, (30,))).cov_type.lower() == spelling.lower()


@pytest.mark.parametrize(
    ("cov_type", "groups", "error", "message"),
    [
        ("nonrobust", None, OptionError, "'HC0', 'HC1' \\(default\\) or 'cluster'"),
        ("HC2", None, OptionError, "Did you mean 'HC[01]'"),
        ("clustre", None, OptionError, "Did you mean 'cluster'"),
        ("cluster", None, OptionError, "needs groups"),
        ("cluster", np.zeros(120, dtype=int), DataError, "'groups 1' has 1 cluster"),
        ("cluster-crv3", None, OptionError, "needs groups"),
        ("cluster-crv3", np.zeros(120, dtype=int), DataError, "'groups 1' has 1 cluster"),
    ],
)
def test_refusals(cov_type: str, groups: np.ndarray | None, error: type[Exception], message: str) -> None:
    psi, _ = sample()
    with pytest.raises(error, match=message):
        covariance(psi, None, cov_type, groups)


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match="3 row"):
        covariance(np.ones((3, 1)), df=3)


@st.composite
def clustered(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, q, ways = draw(st.integers(8, 60)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    groups = rng.integers(0, draw(st.integers(2, 12)), size=(n, ways))
    groups[:2] = [[0] * ways, [1] * ways]  # at least two clusters each way
    return rng.standard_t(3, size=(n, q)), groups, rng.uniform(0.1, 5.0, n)


@settings(deadline=None, max_examples=60)
@given(clustered())
def test_clustered_covariances_are_positive_semidefinite(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    psi, groups, weights = case
    matrix = covariance(psi, weights, "cluster", groups).matrix
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() >= -1e-12 * max(np.abs(matrix).max(), 1e-300)


@settings(deadline=None, max_examples=60)
@given(clustered(), st.integers(0, 1000))
def test_cluster_names_and_row_order_do_not_matter(case: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int) -> None:
    psi, groups, weights = case
    rng = np.random.default_rng(seed)
    relabelled = rng.permutation(1000)[groups] - 500
    order = rng.permutation(len(psi))
    base = covariance(psi, weights, "cluster", groups).matrix
    other = covariance(psi[order], weights[order], "cluster", relabelled[order][:, ::-1]).matrix
    # inclusion and exclusion cancels: what is left has the rounding error of the terms, not of the sum
    scale = np.abs(covariance(psi, weights, "HC0").matrix).max() * len(psi)
    np.testing.assert_allclose(other, base, rtol=1e-9, atol=1e-12 * scale)


@settings(deadline=None, max_examples=40)
@given(clustered())
def test_one_cluster_per_row_is_heteroskedasticity_robust(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    psi, _, weights = case
    alone = np.arange(len(psi))
    df = psi.shape[1]
    np.testing.assert_allclose(
        covariance(psi, weights, "cluster", alone, df, use_correction=False).matrix,
        covariance(psi, weights, "HC0").matrix,
        rtol=1e-10,
    )
    # with the correction n/(n-1) (n-1)/(n-k) is the n/(n-k) of HC1
    np.testing.assert_allclose(
        covariance(psi, weights, "cluster", alone, df).matrix, covariance(psi, weights, "HC1", df=df).matrix, rtol=1e-10
    )


@settings(deadline=None, max_examples=40)
@given(clustered(), st.floats(0.01, 100.0))
def test_only_ratios_of_weights_matter(case: tuple[np.ndarray, np.ndarray, np.ndarray], factor: float) -> None:
    psi, groups, weights = case
    for kind in ("HC0", "HC1"):
        a, b = covariance(psi, weights, kind, groups), covariance(psi, factor * weights, kind, groups)
        np.testing.assert_allclose(a.matrix, b.matrix, rtol=1e-9)


@settings(deadline=None, max_examples=40)
@given(clustered(), st.integers(0, 1000))
def test_linear_maps_carry_over(case: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int) -> None:
    psi, groups, weights = case
    q = psi.shape[1]
    mix = np.random.default_rng(seed).normal(size=(q, q))
    base = covariance(psi, weights, "cluster", groups[:, :1]).matrix
    mapped = covariance(psi @ mix.T, weights, "cluster", groups[:, :1]).matrix
    scale = np.abs(mix).max() ** 2 * np.abs(base).max()
    np.testing.assert_allclose(mapped, mix @ base @ mix.T, rtol=1e-8, atol=1e-10 * scale)


def test_one_repetition_is_left_alone() -> None:
    params, matrix = np.array([[1.0, 2.0]]), np.array([[[2.0, 1.9], [1.9, 1.0]]])
    result = aggregate(params, matrix)
    np.testing.assert_array_equal(result.params, params[0])
    np.testing.assert_array_equal(result.matrix, matrix[0])


def test_median_over_repetitions() -> None:
    params = np.array([[1.0, 0.0], [2.0, 1.0], [4.0, 5.0]])
    matrices = np.stack([np.diag([1.0, 2.0]), np.diag([3.0, 4.0]), np.diag([2.0, 1.0])])
    result = aggregate(params, matrices)
    np.testing.assert_array_equal(result.params, [2.0, 1.0])
    # V_r + (mu_r - mu)(mu_r - mu)': diagonals (2, 3, 6) and (3, 4, 17), off the diagonal (1, 0, 8)
    np.testing.assert_allclose(result.matrix, [[3.0, 1.0], [1.0, 4.0]], rtol=1e-14)
    assert result.notes == ()


def test_medians_that_are_not_a_covariance_are_made_one() -> None:
    ones = np.ones((2, 2))
    matrices = np.stack([np.array([[1.0, 9.0], [9.0, 81.0]]), np.array([[81.0, 9.0], [9.0, 1.0]]), ones])
    result = aggregate(np.zeros((3, 2)), matrices)
    assert np.linalg.eigvalsh(result.matrix).min() >= -1e-12
    assert "set to zero" in result.notes[0]


def test_singular_covariances_are_not_touched() -> None:
    vector = np.array([[1.0, 2.0, 3.0]])
    matrix, fixed = positive_part(vector.T @ vector)
    assert not fixed
    np.testing.assert_array_equal(matrix, vector.T @ vector)


def test_combined_codes_do_not_overflow() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**40, size=(50, 6))
    assert np.array_equal(np.unique(combine_codes(codes)), np.arange(50))

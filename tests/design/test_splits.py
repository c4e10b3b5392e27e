import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepdml.design.splits import MIN_TRAINING_ROWS, SplitPlan, make_plan
from deepdml.errors import DataError, OptionError


def rng(seed=0):
    return np.random.default_rng(seed)


def is_nested(plan):
    return all(len(set(plan.block[plan.fold == k])) == 1 for k in range(plan.n_folds))


def unsplit(codes, fold):
    return all(len(set(fold[codes == g])) == 1 for g in np.unique(codes))


@settings(deadline=None)
@given(st.integers(2, 30), st.integers(2, 8), st.integers(0, 200), st.integers(0, 10**6))
def test_plain_plans_are_balanced_and_nested(n_folds, n_blocks, extra, seed):
    # the largest block holds at most ceil(k / j) of the k folds; outside it enough rows must remain to train on
    n_held = -(-n_folds // min(n_blocks, n_folds))
    n = 2 * n_folds + n_folds * MIN_TRAINING_ROWS // max(n_folds - n_held, 1) + MIN_TRAINING_ROWS + extra
    plan = make_plan(n, n_folds, n_blocks=n_blocks, rng=rng(seed))
    sizes = np.bincount(plan.fold, minlength=n_folds)
    assert sizes.max() - sizes.min() <= 1
    assert plan.fold_block.shape == (n_folds,)
    assert set(plan.fold_block) == set(range(min(n_blocks, n_folds)))
    per_block = np.bincount(plan.fold_block)
    assert per_block.max() - per_block.min() <= 1
    np.testing.assert_array_equal(plan.block, plan.fold_block[plan.fold])
    assert is_nested(plan)
    assert not plan.split_clusters


@pytest.mark.parametrize(("n_folds", "n_blocks", "expected"), [(5, 5, 5), (3, 5, 3), (50, 5, 5), (7, 5, 5), (10, 2, 2)])
def test_the_number_of_blocks(n_folds, n_blocks, expected):
    plan = make_plan(500, n_folds, n_blocks=n_blocks, rng=rng())
    assert (plan.n_blocks, plan.n_folds) == (expected, n_folds)
    if n_folds <= n_blocks:
        np.testing.assert_array_equal(plan.block, plan.fold)


def test_plans_are_deterministic_in_the_generator():
    groups = rng(1).integers(0, 40, 300)
    for kwargs in ({}, {"groups": groups}, {"strata": groups % 3}, {"groups": groups, "strata": groups % 3}):
        one, two, other = (make_plan(300, 8, rng=rng(seed), **kwargs) for seed in (5, 5, 6))
        np.testing.assert_array_equal(one.fold, two.fold)
        assert (one.fold != other.fold).any()


@settings(deadline=None)
@given(st.integers(2, 12), st.lists(st.integers(0, 4), min_size=50, max_size=150), st.integers(0, 10**6))
def test_every_stratum_is_balanced(n_folds, levels, seed):
    strata = np.array(levels)
    plan = make_plan(len(strata), n_folds, strata=strata, rng=rng(seed))
    sizes = np.bincount(plan.fold, minlength=n_folds)
    assert sizes.max() - sizes.min() <= 1
    for level in np.unique(strata):
        counts = np.bincount(plan.fold[strata == level], minlength=n_folds)
        assert counts.max() - counts.min() <= 1


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(12, 60), st.booleans(), st.integers(0, 10**6))
def test_clusters_are_never_split(n_folds, n_clusters, stratified, seed):
    draw = rng(seed)
    groups = draw.permutation(np.concatenate([np.arange(n_clusters), draw.integers(0, n_clusters, 200)])) * 7 - 3
    strata = draw.integers(0, 3, len(groups)) if stratified else None
    plan = make_plan(len(groups), n_folds, groups=groups[:, None], strata=strata, rng=draw)
    assert unsplit(groups, plan.fold)
    assert is_nested(plan)
    assert set(plan.fold) == set(range(n_folds))
    # greedy assignment, largest first: no fold exceeds another by more than the largest cluster
    if not stratified:
        sizes = np.bincount(plan.fold)
        assert sizes.max() - sizes.min() <= np.bincount(groups + 3).max()
    assert not plan.split_clusters


def test_arms_assigned_by_cluster_are_balanced():
    groups = np.repeat(np.arange(60), 10)
    arm = groups % 3
    plan = make_plan(600, 5, groups=groups, strata=arm, rng=rng())
    for level in range(3):
        np.testing.assert_array_equal(np.bincount(plan.fold[arm == level]), [40] * 5)


def test_every_fold_gets_a_cluster_of_a_rare_level():
    groups = np.repeat(np.arange(6), 8)
    arm = np.repeat([0, 0, 0, 1, 1, 1], 8)
    plan = make_plan(48, 6, groups=groups, strata=arm, rng=rng())
    np.testing.assert_array_equal(np.bincount(plan.fold), [8] * 6)


def test_components_are_kept_whole_in_several_dimensions():
    firm = np.repeat(np.arange(40), 5)
    region = firm // 2  # nested, so that components are regions
    plan = make_plan(200, 5, groups=np.column_stack([firm, region]), rng=rng())
    assert unsplit(region, plan.fold)
    assert not plan.split_clusters


def test_a_chain_of_clusters_is_one_component():
    n = 120
    first, second = np.arange(n) // 4, (np.arange(n) + 2) // 4  # each cluster of one shares rows with two of the other
    plan = make_plan(n, 5, groups=np.column_stack([first, second]), rng=rng())
    assert plan.split_clusters
    assert unsplit(first, plan.fold)
    assert not unsplit(second, plan.fold)


def test_one_giant_component_is_folded_on_the_first_dimension():
    firm = np.concatenate([np.arange(100) % 20, 20 + np.arange(10)])
    year = np.concatenate([np.arange(100) // 20, 5 + np.arange(10)])
    plan = make_plan(110, 5, groups=np.column_stack([firm, year]), rng=rng())
    assert plan.split_clusters
    assert unsplit(firm, plan.fold)
    assert np.bincount(plan.fold).tolist() == [22] * 5


def test_dimensions_that_repeat_the_first_split_nothing():
    firm = np.arange(100) % 20
    assert not make_plan(100, 5, groups=np.column_stack([firm, firm]), rng=rng()).split_clusters


@pytest.mark.parametrize("n_folds", [0, 1, -3])
def test_too_few_folds(n_folds):
    with pytest.raises(OptionError, match=f"n_folds={n_folds} is too few; cross-fitting needs at least 2"):
        make_plan(100, n_folds, rng=rng())


@pytest.mark.parametrize("n_folds", [2.0, "5", None, True, 5.5])
def test_folds_that_are_no_integer(n_folds):
    with pytest.raises(OptionError, match="is not a whole number"):
        make_plan(100, n_folds, rng=rng())


def test_numpy_integers_are_integers():
    assert make_plan(100, np.int64(5), rng=rng()).n_folds == 5


def test_too_few_blocks():
    with pytest.raises(OptionError, match="n_blocks=1 is too few"):
        make_plan(100, 5, n_blocks=1, rng=rng())


@pytest.mark.parametrize(
    ("n", "kwargs", "error", "message"),
    [
        (30, {"n_folds": 20}, DataError, "20 folds of 30 rows leave fewer than 2 rows a fold; use n_folds=15 or fewer"),
        (12, {"n_folds": 5}, DataError, "only 9 of 12 rows would remain to train on"),
        (11, {"n_folds": 2}, DataError, "11 rows are too few to cross-fit; at least 12 are needed"),
        (
            60,
            {"n_folds": 5, "groups": np.arange(60) % 4},
            OptionError,
            "more than the 4 cluster.* use n_folds=4 or fewer",
        ),
        (
            60,
            {"n_folds": 5, "groups": np.zeros(60, int)},
            OptionError,
            "the 1 cluster.*cluster on something that varies",
        ),
        (60, {"n_folds": 5, "groups": np.zeros((60, 2), int)}, OptionError, "more than the 1 cluster"),
        (60, {"n_folds": 2, "groups": np.r_[np.zeros(55, int), 1:6]}, DataError, "only 5 of 60 rows would remain"),
        (60, {"n_folds": 5, "groups": np.arange(59)}, DataError, r"groups has shape \(59,\)"),
        (60, {"n_folds": 5, "groups": np.zeros((60, 0), int)}, DataError, r"groups has shape \(60, 0\)"),
        (
            60,
            {"n_folds": 5, "groups": np.ones(60) / 2},
            DataError,
            "groups holds float64 values; integer codes are needed",
        ),
        (60, {"n_folds": 5, "strata": np.arange(3)}, DataError, r"strata has shape \(3,\)"),
    ],
)
def test_refusals_say_what_to_do(n, kwargs, error, message):
    with pytest.raises(error, match=message):
        make_plan(n, rng=rng(), **kwargs)


def test_a_plan_checks_itself():
    with pytest.raises(DataError, match="inside one block"):
        SplitPlan(np.array([0, 1]), np.array([0, 0]), np.array([0]))
    with pytest.raises(DataError, match=r"both must be \(n,\)"):
        SplitPlan(np.array([0, 1]), np.array([0]), np.array([0]))


def test_global_random_state_is_not_touched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002  # the point of the test
    make_plan(200, 10, groups=np.arange(200) % 50, rng=rng())
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002  # the point of the test

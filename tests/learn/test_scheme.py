"""Which rows train, choose and are predicted: nothing that predicts a block has seen it."""

from __future__ import annotations

import numpy as np
import pytest

from deepdml.design.splits import make_plan
from deepdml.learn.scheme import Scheme, paired, single
from deepdml.learn.stacking import covered

CASES = [
    pytest.param(make, folds, blocks, clustered, id=f"{make.__name__}-{folds}-{blocks}-{'clusters' * clustered}")
    for make in (paired, single)
    for folds, blocks in ((2, 2), (3, 3), (4, 4), (5, 5), (10, 5), (23, 5))
    for clustered in (False, True)
]


def build(make, folds, clustered, n=600, seed=0):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.arange(n) // 4) if clustered else None
    plan = make_plan(n, folds, groups=groups, rng=rng)
    return plan, make(plan, rng), groups


@pytest.mark.parametrize(("make", "folds", "blocks", "clustered"), CASES)
class TestSchemes:
    def test_no_snapshot_trains_or_is_chosen_on_what_it_predicts(self, make, folds, blocks, clustered):
        plan, scheme, _ = build(make, folds, clustered)
        for v, (net, target) in enumerate(zip(scheme.net, scheme.target, strict=True)):
            trained = set(scheme.rows_of_cells(scheme.train[net]))
            chosen = set(scheme.rows_of_cells(scheme.select[v]))
            predicted = set(np.flatnonzero(plan.block == target))
            assert trained
            assert chosen
            assert predicted
            assert not trained & predicted
            assert not chosen & predicted
            assert not trained & chosen

    def test_every_block_is_predicted_by_the_same_number_of_snapshots(self, make, folds, blocks, clustered):
        _, scheme, _ = build(make, folds, clustered)
        assert scheme.n_blocks == blocks
        counts = {len(scheme.snapshots_of(a)) for a in range(blocks)}
        assert counts == ({4} if make is paired else {1})

    def test_rows_keep_their_block(self, make, folds, blocks, clustered):
        plan, scheme, _ = build(make, folds, clustered)
        np.testing.assert_array_equal(scheme.block, plan.block)
        for cell in np.unique(scheme.cell):
            assert len(np.unique(plan.block[scheme.cell == cell])) == 1

    def test_clusters_lie_in_one_cell(self, make, folds, blocks, clustered):
        """So that no net is judged on a cluster it trains on."""
        _, scheme, groups = build(make, folds, clustered)
        if groups is not None:
            for g in np.unique(groups):
                assert len(np.unique(scheme.cell[groups == g])) == 1

    def test_held_out_and_training_rows_make_up_the_complement(self, make, folds, blocks, clustered):
        plan, scheme, _ = build(make, folds, clustered)
        for v, (net, target) in enumerate(zip(scheme.net, scheme.target, strict=True)):
            together = scheme.train[net] | scheme.select[v]
            np.testing.assert_array_equal(scheme.rows_of_cells(together), np.flatnonzero(plan.block != target))

    def test_training_rows_are_listed_by_net(self, make, folds, blocks, clustered):
        _, scheme, _ = build(make, folds, clustered)
        rows = scheme.train_rows()
        assert len(rows) == scheme.n_nets
        for net, mine in enumerate(rows):
            np.testing.assert_array_equal(np.isin(scheme.cell, np.flatnonzero(scheme.train[net])).nonzero()[0], mine)


@pytest.mark.parametrize("folds", [2, 3, 4, 5, 10])
def test_every_row_outside_a_block_is_held_out_once_for_it_when_paired(folds):
    """Stacking and refining read one held-out prediction of every row outside the block."""
    plan, scheme, _ = build(paired, folds, False)
    for a in range(scheme.n_blocks):
        times = scheme.select[scheme.snapshots_of(a)].sum(0)[scheme.cell]
        np.testing.assert_array_equal(times, plan.block != a)
    np.testing.assert_array_equal(covered(scheme), plan.block != np.arange(scheme.n_blocks)[:, None])


def test_single_nets_train_on_seven_eighths_of_the_complement():
    plan, scheme, _ = build(single, 5, False, n=2_000)
    for v, net in enumerate(scheme.net):
        complement = (plan.block != scheme.target[v]).sum()
        assert len(scheme.rows_of_cells(scheme.train[net])) == pytest.approx(7 / 8 * complement, rel=0.01)  # whole rows


def test_parts_are_balanced():
    """Cells of a block differ by a row at most."""
    _, scheme, _ = build(paired, 3, False, n=601)
    sizes = np.bincount(scheme.cell)
    assert sizes.max() - sizes.min() <= 2


def test_five_blocks_have_ten_nets_whose_snapshots_are_chosen_on_the_other_block():
    _, scheme, _ = build(paired, 5, False)
    assert (scheme.n_nets, len(scheme.net)) == (10, 20)
    for net in range(10):
        first, second = np.flatnonzero(scheme.net == net)
        assert scheme.select[first].nonzero()[0].tolist() == [scheme.target[second]]
        assert scheme.select[second].nonzero()[0].tolist() == [scheme.target[first]]


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit together"):
        Scheme(
            np.zeros(3, int), np.zeros(3, int), np.ones((1, 2), bool), np.ones((2, 3), bool), np.zeros(2), np.zeros(2)
        )

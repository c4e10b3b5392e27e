"""Boosted trees against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepdml.design.splits import make_plan
from deepdml.families import resolve_family
from deepdml.learn import trees
from deepdml.learn.bases import constant_basis
from deepdml.learn.candidates import fit_basis
from deepdml.learn.tasks import MeanTask, OutcomeTask
from deepdml.learn.trees import (
    BINS,
    DEPTH,
    LEAVES,
    NODES,
    Bags,
    Bins,
    Grower,
    add_trees,
    best_splits,
    fit_trees,
    stored,
)


def fitted(p, task=None, x=None, seed=3):
    """Trees of a posed problem, by default of its outcome."""
    task, x = task or p.problem.outcome, p.problem.x if x is None else x
    start = fit_basis("constant", task, constant_basis(x), x, p.scheme, p.units(task))
    return fit_trees(start, Bins.cut(x), p.scheme, p.units(task), np.random.SeedSequence(seed))


def outputs(p, fit, x=None):
    """What every snapshot predicts for every row (v, n, o)."""
    x = p.problem.x if x is None else x
    return torch.stack([fit.predict(v, net, x) for v, net in enumerate(p.scheme.net.tolist())])


def grower(task, x, rows=None):
    rows = torch.arange(len(x)) if rows is None else rows
    return Grower(task, task.units([rows]), Bins.cut(x), rows, torch.Generator().manual_seed(1))


@pytest.fixture
def plain(monkeypatch):
    """Whole, unpenalized Newton steps."""
    monkeypatch.setattr(trees, "RATE", 1.0)
    monkeypatch.setattr(trees, "RIDGE", 1e-6)
    monkeypatch.setattr(trees, "LIMIT", 1e6)


class TestBins:
    def test_a_code_counts_the_edges_below_a_value(self):
        rng = np.random.default_rng(0)
        x = np.column_stack(
            [rng.standard_normal(300), rng.poisson(2.0, 300), rng.integers(0, 2, 300), np.full(300, 4.0)]
        ).astype(np.float32)
        bins = Bins.cut(torch.from_numpy(x))
        for column, edges, codes, size in zip(x.T, bins.edges.numpy(), bins.codes.numpy(), bins.sizes, strict=True):
            np.testing.assert_array_equal(codes, (edges[None] < column[:, None]).sum(1))
            assert (np.diff(edges[np.isfinite(edges)]) > 0).all()
            assert codes.max() == size - 1 == np.isfinite(edges).sum()

    def test_bins_are_quantiles_where_values_are_many_and_values_where_they_are_few(self):
        rng = np.random.default_rng(0)
        many, few = np.exp(rng.standard_normal(6400)), rng.poisson(2.0, 6400)
        bins = Bins.cut(torch.from_numpy(np.column_stack([many, few]).astype(np.float32)))
        counts = np.bincount(bins.codes[0].numpy(), minlength=BINS[1])
        np.testing.assert_allclose(counts, 6400 / BINS[1], atol=2)  # a row at either edge
        np.testing.assert_array_equal(np.unique(few, return_inverse=True)[1], bins.codes[1].numpy())

    @pytest.mark.parametrize(("wide", "bins"), [(1, 256), (16, 256), (32, 128), (80, 64)])
    def test_many_columns_of_many_values_have_fewer_bins(self, wide, bins):
        x = torch.rand(500, wide, generator=torch.Generator().manual_seed(1))
        dummies = (torch.rand(500, 40, generator=torch.Generator().manual_seed(2)) < 0.2).float()
        assert set(Bins.cut(torch.cat([x, dummies], 1)).sizes) == {2, bins}


def bags_of(codes, sizes):
    """Bags of all columns of codes (p, n)."""
    return Bags.gather(torch.arange(len(codes)), [Bags.of_column(*each) for each in zip(codes, sizes, strict=True)])


class TestSplits:
    @pytest.fixture
    def dealt(self):
        """Codes of three columns, the second mostly zero and the third constant, their bags, and a table of rows."""
        g = torch.Generator().manual_seed(5)
        few = torch.randint(0, 3, (300,), generator=g) * (torch.rand(300, generator=g) < 0.3)
        codes = torch.stack([torch.randint(0, 9, (300,), generator=g), few, torch.zeros(300)]).to(torch.uint8)
        table = torch.randn(300, 3, generator=g).double()
        table[:, -1] = 2 * torch.rand(300, generator=g).double()
        return codes, bags_of(codes, (9, 3, 1)), table

    def test_sums_of_bins_are_those_of_a_search(self, dealt):
        codes, bags, table = dealt
        bins = [(column, b) for column, size in zip(codes, (9, 3, 1), strict=True) for b in range(size)]
        assert len(bags.rows) < 2 * 300  # the fullest bins hold none
        torch.testing.assert_close(bags.sums(table), torch.stack([table[column == b].sum(0) for column, b in bins]))
        up_to = [table[column <= b].sum(0) for column, b in bins]
        torch.testing.assert_close(bags.up_to(bags.sums(table)), torch.stack(up_to))

    def test_the_best_split_is_that_of_a_search(self, dealt):
        """Against loops over columns, nodes and bins."""
        codes, bags, table = dealt
        inside = torch.arange(300) % 3 == 0
        sums = torch.stack([bags.sums(table * node[:, None]) for node in (inside, ~inside)], -1)
        place, split = best_splits(bags, sums, 1.0)
        for node, mine in enumerate((inside, ~inside)):
            found = {}
            for c, column in enumerate(codes):
                for b in range(9):
                    sides = [table[mine & (column <= b)].sum(0), table[mine & (column > b)].sum(0)]
                    if min(float(side[-1]) for side in sides) >= trees.LEAST:
                        found[c, b] = sum(float(side[:-1].square().sum() / (side[-1] + trees.RIDGE)) for side in sides)
            assert (int(place[node]), int(split[node])) == max(found, key=found.get)

    def test_a_node_without_enough_rows_is_not_split(self):
        bags = bags_of(torch.arange(12, dtype=torch.uint8).repeat(2, 1), (12, 12))
        table = torch.ones(12, 2) * 1.5 * trees.LEAST / 12
        assert best_splits(bags, bags.sums(table)[..., None], 1.0)[1].tolist() == [11]


class TestGrowing:
    def test_a_step_function_is_fit_exactly_by_one_tree(self, plain):
        """Three thresholds in three columns, with all their interactions, are the eight leaves of a tree."""
        rng = np.random.default_rng(2)
        x = torch.from_numpy(rng.integers(0, 4, (800, 3)).astype(np.float32))
        high = x > 1
        target = (5.0 * high[:, 0] + 2.0 * high[:, 1] + high[:, 2] * (1.0 + 0.3 * high[:, 0])).double()[:, None]
        tree, leaf = grower(MeanTask("mean", target, None), x).grow(torch.zeros(800, 1), 0)
        # single precision and a ridge of 1e-6 rows
        torch.testing.assert_close(tree.leaves[leaf], target.float(), atol=1e-5, rtol=1e-5)

    def test_leaves_are_least_squares_in_the_structural_row(self, plain):
        rng = np.random.default_rng(3)
        n = 600
        x = torch.from_numpy(rng.standard_normal((n, 2)).astype(np.float32))
        t = torch.from_numpy(np.column_stack([np.ones(n), rng.standard_normal(n)]))
        y = torch.from_numpy(rng.standard_normal(n)) + (x[:, 0] > 0) * (1 + 2 * t[:, 1])
        task = OutcomeTask(resolve_family("gaussian"), y, t, None, None)
        g = grower(task, x)
        tree, leaf = g.grow(torch.zeros(n, 2), 0)
        scaled = y / float(g.units.unit)
        for i in leaf.unique():
            expected = torch.linalg.lstsq(t[leaf == i], scaled[leaf == i, None]).solution[:, 0]
            torch.testing.assert_close(tree.leaves[i].double(), expected, atol=1e-4, rtol=1e-4)  # single precision

    @pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
    def test_the_training_loss_falls_with_every_tree(self, posed, family):
        p = posed(family, wave=1.0)
        task, rows = p.problem.outcome, torch.arange(300)
        g = grower(task, p.problem.x, rows)
        at, losses = torch.zeros(400, 2), []
        for number in range(25):
            losses.append(float(task.loss(at[rows][None], rows[None], g.units).double().mean()))
            tree, leaf = g.grow(at, number)
            at = at + tree.leaves[leaf]
        assert (np.diff(losses) < 0).all()

    def test_more_rows_are_split_in_parts(self, monkeypatch):
        monkeypatch.setattr(trees, "PART_ROWS", 100)
        x = torch.randn(450, 3, generator=torch.Generator().manual_seed(1))
        target = (x[:, :1] > 0.3).double()
        g = grower(MeanTask("mean", target, None), x)
        assert g.parts == 4
        for number in range(5):
            tree, _ = g.grow(torch.zeros(450, 1), number)
            assert tree.column[0] == 0


class TestFits:
    def test_increasing_transforms_of_covariates_change_no_bit(self, posed):
        p = posed(wave=1.0)
        x = p.problem.x.clone()
        x[:, 0] = x[:, 0].exp()
        x[:, 1] = 3 * x[:, 1] + 7
        assert torch.equal(outputs(p, fitted(p)), outputs(p, fitted(p, x=x), x))

    def test_the_seed_decides(self, posed):
        """Which covariates a tree sees is all that is drawn, so with no more than it may see nothing is."""
        p = posed(wave=1.0)
        assert torch.equal(outputs(p, fitted(p)), outputs(p, fitted(p, seed=4)))
        x = torch.cat([p.problem.x, torch.randn(400, 90, generator=torch.Generator().manual_seed(1))], 1)
        assert torch.equal(outputs(p, fitted(p, x=x), x), outputs(p, fitted(p, x=x), x))
        assert not torch.equal(outputs(p, fitted(p, x=x), x), outputs(p, fitted(p, x=x, seed=4), x))

    @pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
    def test_trees_predict_what_they_grew(self, posed, family):
        p = posed(family, wave=2.0)
        task, x = p.problem.outcome, p.problem.x
        growing = grower(task, x)
        at, grown = torch.zeros(400, task.n_out), []
        for number in range(6):
            tree, leaf = growing.grow(at, number)
            at = at + tree.leaves[leaf]
            grown.append(tree)
        ours = add_trees(x, *stored(Bins.cut(x), tuple(grown)))
        torch.testing.assert_close(ours.float(), at, atol=1e-5, rtol=1e-5)  # they grow in single precision

    @pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
    def test_snapshots_are_mixed_as_their_outputs_are(self, posed, family):
        p = posed(family, wave=2.0)
        fit, task, x = fitted(p), p.problem.outcome, p.problem.x
        assert fit.steps.max() > 5
        mixes = {v: torch.randn(2, 2, generator=torch.Generator().manual_seed(v)).double() for v in range(20)}
        each = outputs(p, fit)
        for net in range(p.scheme.n_nets):
            units, start = fit.units.select(torch.tensor([net])), fit.start.nets[net].expand(400, -1)
            mine = np.flatnonzero(p.scheme.net == net).tolist()
            found = fit.sum_of_snapshots(net, {v: mixes[v] for v in mine})
            zero = task.to_common(start[None], units)[0]
            expected = sum((each[v] - zero) @ mixes[v] for v in mine) / units.unit
            torch.testing.assert_close(add_trees(x, *found), expected, atol=1e-9, rtol=1e-9)  # order of sums

    @pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
    @pytest.mark.parametrize("n_folds", [3, 5])
    def test_no_snapshot_depends_on_the_outcomes_it_predicts(self, posed, family, n_folds):
        """Every outcome of block 0 changed: what predicts block 0 keeps every bit, and the rest does not."""
        plan = make_plan(400, n_folds, rng=np.random.default_rng(7))
        before = posed(family, wave=1.0, plan=plan)
        inside = plan.block == 0
        y = before.frame["y"].to_numpy().copy()
        y[inside] = {"gaussian": y[inside] + 30, "logit": 1 - y[inside], "poisson": y[inside] + 40}[family]
        one, two = fitted(before), fitted(posed(family, frame=before.frame.assign(y=y), plan=plan))
        own = torch.from_numpy(before.scheme.target == 0)
        outs = [outputs(before, fit) for fit in (one, two)]
        assert torch.equal(outs[0][own], outs[1][own])
        assert torch.equal(one.steps[own], two.steps[own])
        assert (outs[0][~own] != outs[1][~own]).any()

    def test_noise_gets_few_trees_and_steps_many(self, posed):
        p = posed(n=1000)
        rng = np.random.default_rng(1)
        noise, steps = (
            posed(frame=p.frame.assign(y=signal + rng.standard_normal(1000)), plan=p.plan)
            for signal in (0.0, 3.0 * (p.frame["x0"] > 0.5) + 2.0 * (p.frame["x1"] > 0) * (p.frame["x2"] > 5))
        )
        assert fitted(noise).steps.double().mean() < 4 < fitted(steps).steps.double().mean()


def test_trees_are_complete():
    assert NODES + 1 == LEAVES == 2**DEPTH

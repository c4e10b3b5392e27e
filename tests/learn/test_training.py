"""The training loop: nets together are as nets alone, and no snapshot depends on what it predicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepdml.learn.backbones import Perceptron
from deepdml.learn.bases import linear_basis
from deepdml.learn.candidates import fit_basis
from deepdml.learn.inputs import Inputs
from deepdml.learn.nuisances import _schedule
from deepdml.learn.problem import LearnOptions
from deepdml.learn.scheme import Scheme
from deepdml.learn.training import CHECK, NetGroup, Schedule, TrainedGroup, train

SEEDS = 11


def groups_of(p, activations=("silu",), hidden=(8,), linear=True, tasks=("outcome",)) -> list[NetGroup]:
    groups = []
    for name in tasks:
        task = getattr(p.problem, name)
        units = p.units(task)
        start = torch.zeros(p.scheme.n_nets, 1 + p.problem.x.shape[1], task.n_out)
        if linear:
            start = fit_basis("l", task, linear_basis(p.problem.x), p.problem.x, p.scheme, units).nets.float()
        groups += [
            NetGroup(a, task, Perceptron(p.problem.x.shape[1], hidden, task.n_out, a), units, start, 1.0)
            for a in activations
        ]
    return groups


def run(p, groups, schedule, reports=None) -> list[TrainedGroup]:
    def report(*at):
        if reports is not None:
            reports.append(at)

    return train(p.inputs, groups, p.scheme, schedule, np.random.SeedSequence(SEEDS), report)


def held_out(p, group: TrainedGroup) -> np.ndarray:
    """Mean loss of each snapshot on its own held-out rows, computed anew."""
    losses = []
    for v, net in enumerate(p.scheme.net):
        rows = torch.from_numpy(p.scheme.rows_of_cells(p.scheme.select[v]))[None]
        own = torch.tensor([int(net)])
        with torch.no_grad():
            x = p.inputs.standardized(own, rows)
            out = group.group.backbone.forward(group.parameters[v : v + 1], x)
            losses.append(float(group.group.task.loss(out, rows, group.group.units.select(own)).mean()))
    return np.array(losses)


class TestInputs:
    @pytest.mark.parametrize("learner", ["auto", "net"])
    def test_moments_are_those_of_the_training_rows(self, posed, learner):
        p = posed(learner=learner)
        x = p.problem.x.double().numpy()
        for net, rows in enumerate(p.scheme.train_rows()):
            # moments add up cell by cell, and are kept in single precision
            np.testing.assert_allclose(p.inputs.mean[net, 0], x[rows].mean(0), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(p.inputs.scale[net, 0], x[rows].std(0), rtol=1e-5)

    def test_standardized_rows_have_mean_zero_and_variance_one_where_a_net_trains(self, posed):
        p = posed()
        for net, rows in enumerate(p.scheme.train_rows()):
            z = p.inputs.standardized(torch.tensor([net]), torch.from_numpy(rows)[None])[0]
            torch.testing.assert_close(z.mean(0), torch.zeros(3), rtol=0, atol=1e-5)  # single precision
            torch.testing.assert_close(z.std(0, correction=0), torch.ones(3), rtol=1e-4, atol=0)

    def test_large_offsets_keep_their_variance(self):
        """A calendar year: mean 2000, sd of some years."""
        x = 2000 + torch.randn(500, 1, generator=torch.Generator().manual_seed(1))
        cells = np.zeros(500, dtype=np.intp)
        scheme = Scheme(cells, cells, np.ones((1, 1), bool), np.ones((1, 1), bool), np.zeros(1, int), np.zeros(1, int))
        inputs = Inputs.over_training_rows(x, scheme)
        assert float(inputs.scale) == pytest.approx(float(x.double().std(correction=0)), rel=1e-4)  # single precision

    def test_constant_columns_have_scale_one(self, posed):
        p = posed()
        x = torch.cat([p.problem.x, torch.full((len(p.problem.x), 1), 7.5)], 1)
        inputs = Inputs.over_training_rows(x, p.scheme)
        assert (inputs.scale[:, 0, 3] == 1).all()
        assert (inputs.standardized(torch.tensor([0]), torch.arange(5)[None])[..., 3] == 0).all()

    def test_the_covariates_are_not_changed(self, posed):
        p = posed()
        before = p.inputs.x.clone()
        p.inputs.standardized(torch.tensor([0]), torch.arange(5)[None])
        assert torch.equal(p.inputs.x, before)


class TestLoop:
    def test_a_wave_is_learned(self, posed):
        """On held-out rows the nets halve the linear fit's excess over the error's variance of one."""
        p = posed(n=1_500, wave=2.0)
        groups = groups_of(p, hidden=(32, 16))
        (trained,) = run(p, groups, Schedule(1e-2, 128, 100, 600))
        (start,) = run(p, groups, Schedule(1e-2, 128, 0, 0))
        noise = 0.5 / float(p.units(p.problem.outcome).unit[0]) ** 2
        assert (held_out(p, trained) - noise).mean() < 0.5 * (held_out(p, start) - noise).mean()

    def test_without_steps_nets_are_their_start(self, posed):
        p = posed()
        groups = groups_of(p)
        (trained,) = run(p, groups, Schedule(1e-2, 64, 0, 0))
        assert (trained.steps == 0).all()
        for v, net in enumerate(p.scheme.net):
            *_, bias, skip = groups[0].backbone.split(trained.parameters[v : v + 1])
            torch.testing.assert_close(torch.cat([bias[0], skip[0]]), groups[0].linear[net])

    def test_reported_losses_are_the_snapshots_held_out_losses(self, posed):
        p = posed(wave=1.0)
        (trained,) = run(p, groups_of(p), Schedule(1e-2, 64, 100, 300))
        np.testing.assert_allclose(trained.loss, held_out(p, trained), rtol=1e-4)  # single precision

    def test_looks_are_means_over_snapshots_at_every_look(self, posed):
        p = posed(wave=2.0)
        groups = groups_of(p, hidden=(32, 16))
        (start,) = run(p, groups, Schedule(1e-2, 128, 0, 0))
        (trained,) = run(p, groups, Schedule(1e-2, 128, 170, 170))
        assert [step for step, _ in trained.looks] == [0, 50, 100, 150, 170]
        assert start.looks == trained.looks[:1]
        assert trained.looks[0][1] == pytest.approx(held_out(p, start).mean(), rel=1e-4)  # single precision
        losses = np.array([loss for _, loss in trained.looks])
        # the least loss of each snapshot is no more than that of their mean
        assert float(trained.loss.mean()) <= losses.min()
        assert losses.min() < losses[0]

    def test_a_snapshot_is_no_worse_than_the_start(self, posed):
        p = posed()
        groups = groups_of(p)
        (start,) = run(p, groups, Schedule(1e-2, 64, 0, 0))
        (trained,) = run(p, groups, Schedule(1e-2, 64, 100, 300))
        assert (trained.loss <= start.loss).all()

    @pytest.mark.parametrize("most", [10, 120])
    def test_steps_stay_within_the_schedule(self, posed, most):
        p = posed(wave=2.0)
        (trained,) = run(p, groups_of(p, linear=False), Schedule(1e-2, 64, 0, most))
        assert trained.steps.max() <= most
        assert ((trained.steps % CHECK == 0) | (trained.steps == most)).all()
        size = torch.tensor([len(p.scheme.train_rows()[net]) for net in p.scheme.net])
        torch.testing.assert_close(trained.epochs, (trained.steps * 64 / size).double())

    def test_training_stops_when_nothing_is_gained(self, posed):
        """Of noise alone nothing is learned, and the loop ends long before its last step."""
        p = posed()
        rng = np.random.default_rng(0)
        noise = posed(frame=p.frame.assign(y=rng.standard_normal(len(p.frame))))
        reports = []
        run(noise, groups_of(noise), Schedule(1e-2, 64, 100, 20_000), reports)
        assert reports[-1][0] < 5_000
        assert reports[-1][1] == 0

    def test_nets_leave_one_by_one(self, posed):
        p = posed(wave=1.0)
        reports = []
        run(p, groups_of(p), Schedule(1e-2, 64, 50, 2_000), reports)
        left = [nets for _, nets, _ in reports]
        assert left == sorted(left, reverse=True)
        assert len(set(left)) > 2

    def test_nets_trained_together_are_nets_trained_alone(self, posed):
        """Not a bit differs: otherwise the number of nets still training, which outcomes decide, would show.

        Torch computes the end of a tensor that fills no vector register in another way, so this holds for batches of
        multiples of 32 rows, the only ones that a fit uses.
        """
        p = posed(wave=1.0)
        schedule = Schedule(5e-3, 64, 100, 100)
        together = run(p, groups_of(p, tasks=("outcome", "treated")), schedule)[0]
        alone = run(p, groups_of(p), schedule)[0]
        assert torch.equal(together.parameters, alone.parameters)
        assert torch.equal(together.loss, alone.loss)

    def test_one_net_trained_alone_is_the_same_net(self, posed):
        """A scheme of the first net only, whose generators come first."""
        p = posed(wave=1.0)
        schedule = Schedule(5e-3, 64, 100, 100)
        (together,) = run(p, groups_of(p), schedule)
        mine = p.scheme.net == 0
        scheme = Scheme(
            p.scheme.cell,
            p.scheme.block,
            p.scheme.train[:1],
            p.scheme.select[mine],
            p.scheme.net[mine],
            p.scheme.target[mine],
        )
        only = type(p)(p.frame, p.problem, p.plan, scheme, Inputs.over_training_rows(p.problem.x, scheme))
        (alone,) = run(only, groups_of(only), schedule)
        assert torch.equal(together.parameters[mine], alone.parameters)  # as above

    @pytest.mark.parametrize("n", [24, 61, 333, 2_000])
    def test_batches_are_multiples_of_32_rows(self, posed, n):
        p = posed(n=n, n_folds=2)
        batch = _schedule(LearnOptions(), p.scheme).batch
        assert batch % 32 == 0
        assert 32 <= batch <= 256

    @pytest.mark.parametrize(("n", "looks", "steps"), [(2_000, 3, 2_000), (16_000, 3, 2_475), (40_000, 8, 6_187)])
    def test_with_more_rows_nets_wait_for_epochs_and_may_train_longer(self, posed, n, looks, steps):
        """Three looks are 150 steps of 256 rows: four epochs of 9,600 rows, which are three fifths of 16,000."""
        p = posed(n=n)
        schedule = _schedule(LearnOptions(), p.scheme)
        assert schedule.look_back == looks
        assert schedule.max_steps == steps

    def test_a_longer_look_back_trains_longer(self, posed):
        p = posed(wave=2.0)
        groups = groups_of(p, hidden=(32, 16))
        (short,) = run(p, groups, Schedule(1e-2, 64, 0, 3_000, 2))
        (long,) = run(p, groups, Schedule(1e-2, 64, 0, 3_000, 12))
        assert len(long.looks) > len(short.looks)
        assert (long.steps >= short.steps).all()
        assert (long.loss <= short.loss).all()

    def test_copies_differ_by_their_seeds(self, posed):
        p = posed(wave=1.0)
        one, two = run(p, groups_of(p) * 2, Schedule(5e-3, 64, 100, 100))
        assert (one.parameters != two.parameters).any()


class TestSnapshotsDoNotSeeWhatTheyPredict:
    """Outcomes of a block changed, the snapshots that predict it keep every bit, however long others then train."""

    @pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
    @pytest.mark.parametrize(("learner", "n_folds"), [("auto", 5), ("auto", 3), ("net", 5)])
    def test_all_outcomes_of_a_block(self, posed, family, learner, n_folds):
        before = posed(family, learner=learner, n_folds=n_folds, wave=1.0)
        inside = before.plan.block == 0
        y = before.frame["y"].to_numpy().copy()
        y[inside] = {"gaussian": y[inside] + 30, "logit": 1 - y[inside], "poisson": y[inside] + 40}[family]
        after = posed(family, frame=before.frame.assign(y=y), plan=before.plan, learner=learner)
        np.testing.assert_array_equal(before.scheme.cell, after.scheme.cell)
        schedule = Schedule(5e-3, 64, 100, 700)
        one, two = (run(p, groups_of(p, linear=False), schedule)[0] for p in (before, after))
        own = torch.from_numpy(before.scheme.target == 0)
        assert torch.equal(one.steps[own], two.steps[own])
        assert torch.equal(one.loss[own], two.loss[own])
        assert torch.equal(one.parameters[own], two.parameters[own])
        assert (one.parameters[~own] != two.parameters[~own]).any()

    def test_an_outcome_that_overflows_single_precision(self, posed):
        before = posed(wave=1.0)
        row = int(np.flatnonzero(before.plan.block == 0)[0])
        after = posed(frame=before.frame.assign(y=before.frame["y"] + 1e30 * (np.arange(400) == row)), plan=before.plan)
        schedule = Schedule(5e-3, 64, 50, 100)
        one, two = (run(p, groups_of(p, linear=False), schedule)[0] for p in (before, after))
        own = torch.from_numpy(before.scheme.target == 0)
        assert torch.equal(one.parameters[own], two.parameters[own])

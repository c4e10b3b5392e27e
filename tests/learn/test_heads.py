"""Heads refit for every fold of a block."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepdml.learn import heads
from deepdml.learn.backbones import Perceptron
from deepdml.learn.bases import linear_basis
from deepdml.learn.candidates import fit_basis
from deepdml.learn.heads import HeadFeatures, heads_of_copies, refit_heads
from deepdml.learn.training import NetGroup, Schedule, TrainedGroup, train


def trained_for(p, name: str = "outcome", steps: int = 100, seed: int = 3) -> TrainedGroup:
    task = getattr(p.problem, name)
    units = p.units(task)
    start = fit_basis("l", task, linear_basis(p.problem.x), p.problem.x, p.scheme, units).nets.float()
    group = NetGroup("silu", task, Perceptron(3, (6, 5), task.n_out, "silu"), units, start, 1.0)
    schedule = Schedule(5e-3, 64, steps, steps)
    return train(p.inputs, [group], p.scheme, schedule, np.random.SeedSequence(seed), lambda *at: None)[0]


def refit(p, trained: TrainedGroup) -> tuple[torch.Tensor, torch.Tensor]:
    return refit_heads([trained], p.inputs, p.scheme, torch.from_numpy(p.plan.fold), p.plan.fold_block)


def features_of(p, trained: TrainedGroup, block: int) -> torch.Tensor:
    v = int(p.scheme.snapshots_of(block)[0])
    return HeadFeatures.of([trained], p.inputs, v, int(p.scheme.net[v]))[torch.arange(len(p.inputs.x))].double()


def test_features_are_one_the_hidden_layer_and_the_covariates(posed):
    p = posed(learner="net")
    trained = trained_for(p)
    features = features_of(p, trained, 2)
    v = int(p.scheme.snapshots_of(2)[0])
    parts = trained.group.backbone.split(trained.parameters[v : v + 1])
    head = torch.cat([parts[-2][0], parts[-3][0], parts[-1][0]]).double()
    x = p.inputs.standardized(torch.tensor([2]), torch.arange(400)[None])
    with torch.no_grad():
        expected = trained.group.backbone.forward(trained.parameters[v : v + 1], x)[0].double()
    assert features.shape == (400, 1 + 5 + 3)
    torch.testing.assert_close(features @ head, expected, rtol=1e-4, atol=1e-5)  # single precision


@pytest.mark.parametrize("n_folds", [5, 10])
@pytest.mark.parametrize("name", ["outcome", "treated"])
@pytest.mark.parametrize("penalty", [1e-3, 1.0])
def test_gaussian_heads_are_ridge_regressions_on_all_rows_but_the_fold(posed, monkeypatch, n_folds, name, penalty):
    monkeypatch.setattr(heads, "PENALTIES", (penalty,))
    p = posed(learner="net", n_folds=n_folds)
    trained = trained_for(p, name)
    out, found = refit(p, trained)
    task = trained.group.task
    for k, a in enumerate(p.plan.fold_block):
        features = features_of(p, trained, a)
        v = int(p.scheme.snapshots_of(a)[0])
        units = trained.group.units.select(torch.tensor([int(p.scheme.net[v])]))
        parts = trained.group.backbone.split(trained.parameters[v : v + 1])
        start = torch.cat([parts[-2][0], parts[-3][0], parts[-1][0]]).double()
        rows = torch.from_numpy(np.flatnonzero(p.plan.fold != k))
        gradient, curvature = task.derivatives((features[rows] @ start)[None], rows[None], units)
        hessian = torch.einsum("noq,nf,ng->ofqg", curvature[0], features[rows], features[rows])
        size = start.numel()
        hessian = hessian.reshape(size, size)
        slope = torch.einsum("no,nf->of", gradient[0], features[rows]).reshape(-1)
        ridge = penalty * hessian.diagonal().mean() * torch.eye(size).double()
        head = start - torch.linalg.solve(hessian + ridge, slope).view(task.n_out, -1).T
        mine = torch.from_numpy(np.flatnonzero(p.plan.fold == k))
        expected = task.to_common((features[mine] @ head)[None], units)[0]
        # hessians are summed in single precision
        torch.testing.assert_close(out[mine], expected, rtol=1e-3, atol=1e-4)
        # heads are in common units: predictions follow from them and the features
        torch.testing.assert_close(out[mine], features[mine] @ found[k], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("family", ["logit", "poisson"])
def test_other_heads_lower_the_penalized_loss(posed, monkeypatch, family):
    """Newton's method from the trained head ends where the gradient is small."""
    monkeypatch.setattr(heads, "PENALTIES", (1e-2,))
    p = posed(family, learner="net", n_folds=5, n=800)
    trained = trained_for(p)
    out, _ = refit(p, trained)
    task = trained.group.task
    rows = torch.arange(800)
    fold = torch.from_numpy(p.plan.fold)
    before = torch.zeros_like(out)
    for a in range(5):
        features, v = features_of(p, trained, a), int(p.scheme.snapshots_of(a)[0])
        parts = trained.group.backbone.split(trained.parameters[v : v + 1])
        start = torch.cat([parts[-2][0], parts[-3][0], parts[-1][0]]).double()
        before[fold == a] = features[fold == a] @ start
    # out of fold a refit with more rows moves the loss by little, and does not blow up
    assert float(task.loss(out, rows).mean()) < float(task.loss(before, rows).mean()) + 0.02


@pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
@pytest.mark.parametrize("n_folds", [5, 10])
def test_heads_do_not_see_their_fold(posed, family, n_folds):
    before = posed(family, learner="net", n_folds=n_folds)
    fold = before.plan.fold == 3
    y = before.frame["y"].to_numpy().copy()
    y[fold] = {"gaussian": y[fold] + 1e4, "logit": 1 - y[fold], "poisson": y[fold] + 40}[family]
    after = posed(family, frame=before.frame.assign(y=y), plan=before.plan, learner="net")
    (out, found), (other_out, other) = (refit(p, trained_for(p)) for p in (before, after))
    assert torch.equal(found[3], other[3])
    assert torch.equal(out[fold], other_out[fold])
    others = np.delete(np.arange(n_folds), 3)
    assert (found[others] != other[others]).flatten(1).any(1).all()  # all others learned from the fold


def test_folds_of_a_block_have_their_own_heads(posed):
    p = posed(learner="net", n_folds=10)
    _, found = refit(p, trained_for(p))
    assert found.shape == (10, 9, 2)
    same_block = np.flatnonzero(p.plan.fold_block == 0)
    assert len(same_block) == 2
    assert (found[same_block[0]] != found[same_block[1]]).any()


class TestConcatenated:
    """One head on the features of several copies of a net."""

    def test_features_are_those_of_each_copy_in_turn(self, posed):
        p = posed(learner="net")
        copies = [trained_for(p), trained_for(p, seed=4)]
        v = int(p.scheme.snapshots_of(2)[0])
        rows = torch.arange(40)
        both = HeadFeatures.of(copies, p.inputs, v, 2)[rows]
        one, two = (HeadFeatures.of([copy], p.inputs, v, 2)[rows] for copy in copies)
        assert torch.equal(both, torch.cat([one[:, :6], two[:, 1:6], one[:, 6:]], 1))

    @pytest.mark.parametrize("name", ["outcome", "treated"])
    @pytest.mark.parametrize("penalty", [1e-3, 1.0])
    def test_gaussian_heads_are_ridge_regressions_toward_the_mean_of_the_copies(
        self, posed, monkeypatch, name, penalty
    ):
        monkeypatch.setattr(heads, "PENALTIES", (penalty,))
        p = posed(learner="net")
        copies = [trained_for(p, name), trained_for(p, name, seed=4)]
        out, _ = refit_heads(copies, p.inputs, p.scheme, torch.from_numpy(p.plan.fold), p.plan.fold_block)
        task, fold = copies[0].group.task, torch.from_numpy(p.plan.fold)
        for k in range(5):
            v = int(p.scheme.snapshots_of(k)[0])
            features = HeadFeatures.of(copies, p.inputs, v, int(p.scheme.net[v]))[torch.arange(400)].double()
            units = copies[0].group.units.select(torch.tensor([int(p.scheme.net[v])]))
            one, two = (c.group.backbone.split(c.parameters[v : v + 1].double()) for c in copies)
            mean = [(a[0] + b[0]) / 2 for a, b in zip(one, two, strict=True)]
            start = torch.cat([mean[-2], one[-3][0] / 2, two[-3][0] / 2, mean[-1]])
            rows = torch.nonzero(fold != k)[:, 0]
            gradient, curvature = task.derivatives((features[rows] @ start)[None], rows[None], units)
            size = start.numel()
            hessian = torch.einsum("noq,nf,ng->ofqg", curvature[0], features[rows], features[rows]).reshape(size, size)
            slope = torch.einsum("no,nf->of", gradient[0], features[rows]).reshape(-1)
            ridge = penalty * hessian.diagonal().mean() * torch.eye(size).double()
            head = start - torch.linalg.solve(hessian + ridge, slope).view(task.n_out, -1).T
            expected = task.to_common((features[fold == k] @ head)[None], units)[0]
            torch.testing.assert_close(out[fold == k], expected, rtol=1e-3, atol=1e-4)  # hessians in single precision

    def test_the_mean_of_the_copies_heads_is_the_head_on_all(self, posed):
        p = posed(learner="net", n_folds=10)
        copies = [trained_for(p), trained_for(p, seed=4), trained_for(p, seed=5)]
        out, found = refit_heads(copies, p.inputs, p.scheme, torch.from_numpy(p.plan.fold), p.plan.fold_block)
        fold = torch.from_numpy(p.plan.fold)
        shares = heads_of_copies(found, copies)
        for k, a in enumerate(p.plan.fold_block):
            v = int(p.scheme.snapshots_of(a)[0])
            rows = torch.nonzero(fold == k)[:, 0]
            each = [
                HeadFeatures.of([copy], p.inputs, v, int(p.scheme.net[v]))[rows].double() @ own[k]
                for copy, own in zip(copies, shares, strict=True)
            ]
            torch.testing.assert_close(torch.stack(each).mean(0), out[rows], rtol=1e-9, atol=1e-9)

"""The refinements on held-out residuals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepdml.learn.backbones import Backbone
from deepdml.learn.candidates import fit_basis, linear_basis, sieve_basis
from deepdml.learn.prediction import _predict, _Writer
from deepdml.learn.refinement import boost, boost_heads
from deepdml.learn.stacking import covered, predictions_of_basis, stack
from deepdml.learn.training import NetGroup, TrainedGroup


def linear_stack(p, task):
    x = p.problem.x
    fit = fit_basis("linear", task, linear_basis(x), x, p.scheme, p.units(task))
    return stack(task, [predictions_of_basis(fit, x, p.scheme)], p.scheme)


def random_nets(p, task, hidden=(6, 5), activation="sine"):
    """Nets with random parameters, the same for every snapshot of a net."""
    backbone = Backbone(p.problem.x.shape[1], hidden, task.n_out, activation)
    generator = torch.Generator().manual_seed(3)
    parameters = torch.randn(p.scheme.n_nets, backbone.n_parameters, generator=generator)[p.scheme.net]
    nothing = torch.zeros(len(p.scheme.net))
    group = NetGroup(activation, task, backbone, p.units(task), torch.zeros(0), 0.0)
    return TrainedGroup(group, parameters, nothing, nothing, nothing)


def last_layers(p, nets, v):
    """The constant and the last hidden layers of snapshot v at all rows, by hand."""
    net, x = p.scheme.net[v], p.problem.x
    z = (x - p.inputs.mean[net]) / p.inputs.scale[net]
    columns = [torch.ones(len(x), 1)]
    for fit in nets:
        w1, b1, w2, b2, *_ = fit.group.backbone.split(fit.parameters[v : v + 1])
        activate = {"sine": torch.sin, "silu": torch.nn.functional.silu}[fit.group.backbone.activation]
        columns.append(activate(activate(z @ w1[0] + b1[0]) @ w2[0] + b2[0]))
    return torch.cat(columns, 1).double()


def test_heads_are_ridge_fits_to_the_residuals_that_their_net_never_saw(posed):
    p = posed()
    task = p.problem.treated
    stacked = linear_stack(p, task)
    nets = random_nets(p, task), random_nets(p, task, (4, 3), "silu")
    heads, refined = boost_heads(stacked, nets, p.inputs, p.scheme)
    assert heads.heads.shape == (20, 9, 1)
    members = [0] * 5
    for v, a in enumerate(p.scheme.target.tolist()):
        features = last_layers(p, nets, v)
        rows = p.scheme.rows_of_cells(p.scheme.select[v])
        used = features[rows]
        mean, scale = used.mean(0), used.std(0, correction=0)
        mean[0], scale[0] = 0.0, 1.0
        standard = (used - mean) / scale
        gram = standard.T @ standard
        ridge = torch.full((9,), 9 / len(rows)).double() * gram.diagonal().mean()
        ridge[0] = 0.0
        residual = task.target[rows] - stacked.held[a, rows].double()
        expected = torch.linalg.solve(gram + torch.diag(ridge), standard.T @ residual)
        ours = heads.heads[v] * scale[:, None]
        torch.testing.assert_close(ours[1:], expected[1:], rtol=1e-3, atol=1e-4)  # the hessian is summed in float32
        added = (features @ heads.heads[v]).float()
        torch.testing.assert_close(refined.held[a, rows], stacked.held[a, rows] + added[rows])
        inside = p.plan.block == a
        mine = refined.members[members[a], inside] - stacked.members[members[a], inside]
        torch.testing.assert_close(mine, added[inside], rtol=1e-4, atol=1e-5)  # a difference of float32
        members[a] += 1


@pytest.mark.parametrize("size", [1e2, 1e9])
def test_heads_do_not_see_their_block(posed, size):
    """Outcomes of a block, whatever their size, leave what is added to its rows bit for bit."""
    before = posed()
    mine = before.plan.block == 0
    after = posed(frame=before.frame.assign(y=before.frame["y"] + size * mine), plan=before.plan)
    added = []
    for p in (before, after):
        task = p.problem.outcome
        stacked = linear_stack(p, task)
        _, refined = boost_heads(stacked, (random_nets(p, task),), p.inputs, p.scheme)
        added.append(refined.members - stacked.members)
    assert torch.equal(added[0][:, mine], added[1][:, mine])
    assert (added[0][:, ~mine] != added[1][:, ~mine]).any()


def test_a_hidden_unit_that_is_constant_is_no_trouble(posed):
    p = posed()
    task = p.problem.treated
    nets = random_nets(p, task)
    nets.group.backbone.split(nets.parameters)[2][:, :, 0] = 0.0  # the first unit of the last layer reads nothing
    heads, _ = boost_heads(linear_stack(p, task), (nets,), p.inputs, p.scheme)
    assert torch.isfinite(heads.heads).all()


def test_stored_heads_predict_their_mean_over_snapshots(posed):
    p = posed()
    task = p.problem.outcome
    nets = random_nets(p, task), random_nets(p, task, (4, 3), "silu")
    heads, _ = boost_heads(linear_stack(p, task), nets, p.inputs, p.scheme)
    writer = _Writer()
    writer.add_heads(heads, p, share=1 / 5)
    writer.arrays["offset"] = np.zeros(2)
    config = {"n_in": p.problem.x.shape[1], "n_out": task.n_out, "nets": writer.nets, "bases": []}
    stored = type("Stored", (), {"arrays": writer.arrays, "config": config})
    expected = torch.stack([last_layers(p, nets, v) @ heads.heads[v] for v in range(20)]).mean(0)
    torch.testing.assert_close(_predict(stored, p.problem.x), expected, rtol=1e-4, atol=1e-4)  # nets are float32


@pytest.mark.parametrize("n_folds", [5, 10])
def test_boosting_is_one_ridge_fit_to_the_residuals_outside_the_fold(posed, n_folds):
    """For the treatment's mean: least squares of held-out residuals on the basis."""
    p = posed(n_folds=n_folds)
    task, x = p.problem.treated, p.problem.x
    stacked = linear_stack(p, task)
    basis = sieve_basis(x)
    penalty = basis.n_features / len(x)
    fold = torch.from_numpy(p.plan.fold)
    refined = boost(stacked, basis, x, p.scheme, fold, p.plan.fold_block)
    features = basis(x)
    for k, a in enumerate(p.plan.fold_block):
        outside = covered(p.scheme)[a]
        prediction = stacked.held[a].clone()
        siblings = (p.plan.block == a) & (p.plan.fold != k)  # of the fold, in its block
        prediction[siblings] = stacked.out[siblings]
        rows = np.flatnonzero(outside | siblings)
        residual = (task.target - prediction.double())[rows]
        gram = features[rows].T @ features[rows]
        ridge = torch.full((len(gram),), penalty).double() * gram.diagonal().mean()
        ridge[0] = 0.0
        expected = torch.linalg.solve(gram + torch.diag(ridge), features[rows].T @ residual)
        # the hessian is summed in single precision
        torch.testing.assert_close(refined.coefficients[k], expected, rtol=1e-3, atol=1e-5)
    added = refined.added(x, fold)
    for k in range(n_folds):
        mine = fold == k
        torch.testing.assert_close(added[mine], features[mine] @ refined.coefficients[k])


@pytest.mark.parametrize("n_folds", [5, 10])
@pytest.mark.parametrize("size", [1e2, 1e9])
def test_boosting_does_not_see_the_fold(posed, n_folds, size):
    """Residuals of one fold, whatever their size, leave the fold's own refinement bit for bit."""
    before = posed(n_folds=n_folds)
    mine = before.plan.fold == 0
    frame = before.frame.assign(y=before.frame["y"] + size * mine)
    after = posed(frame=frame, plan=before.plan)
    refined = []
    for p in (before, after):
        stacked = linear_stack(p, p.problem.outcome)
        fold = torch.from_numpy(p.plan.fold)
        refined.append(boost(stacked, sieve_basis(p.problem.x), p.problem.x, p.scheme, fold, p.plan.fold_block))
    assert torch.equal(refined[0].coefficients[0], refined[1].coefficients[0])
    assert (refined[0].coefficients[1] != refined[1].coefficients[1]).any()

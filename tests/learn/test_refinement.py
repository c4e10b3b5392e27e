"""The refinement of last layers on held-out residuals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepdml.learn.backbones import Backbone
from deepdml.learn.candidates import fit_basis, linear_basis
from deepdml.learn.prediction import _predict, _Writer
from deepdml.learn.refinement import refine
from deepdml.learn.stacking import predictions_of_basis, stack
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
    refined = refine(stacked, nets, p.inputs, p.scheme)
    assert refined.heads.shape == (20, 9, 1)
    added = torch.zeros(400, 1).double()
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
        ours = refined.heads[v] * scale[:, None]
        torch.testing.assert_close(ours[1:], expected[1:], rtol=1e-3, atol=1e-4)  # the hessian is summed in float32
        inside = p.plan.block == a
        added[inside] += features[inside] @ refined.heads[v] / 4
    torch.testing.assert_close(refined.out, stacked.out.double() + added, rtol=1e-5, atol=1e-5)  # nets are float32


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
        added.append(refine(stacked, (random_nets(p, task),), p.inputs, p.scheme).out - stacked.out)
    assert torch.equal(added[0][mine], added[1][mine])
    assert (added[0][~mine] != added[1][~mine]).any()


def test_a_hidden_unit_that_is_constant_is_no_trouble(posed):
    p = posed()
    task = p.problem.treated
    nets = random_nets(p, task)
    nets.group.backbone.split(nets.parameters)[2][:, :, 0] = 0.0  # the first unit of the last layer reads nothing
    refined = refine(linear_stack(p, task), (nets,), p.inputs, p.scheme)
    assert torch.isfinite(refined.heads).all()


def test_stored_heads_predict_their_mean_over_snapshots(posed):
    p = posed()
    task = p.problem.outcome
    nets = random_nets(p, task), random_nets(p, task, (4, 3), "silu")
    refined = refine(linear_stack(p, task), nets, p.inputs, p.scheme)
    writer = _Writer()
    writer.add_heads(refined, p, share=1 / 5)
    writer.arrays["offset"] = np.zeros(2)
    config = {"n_in": p.problem.x.shape[1], "n_out": task.n_out, "nets": writer.nets, "bases": []}
    stored = type("Stored", (), {"arrays": writer.arrays, "config": config})
    expected = torch.stack([last_layers(p, nets, v) @ refined.heads[v] for v in range(20)]).mean(0)
    torch.testing.assert_close(_predict(stored, p.problem.x), expected, rtol=1e-4, atol=1e-4)  # nets are float32

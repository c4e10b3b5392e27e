"""Means of clusters: found where covariates come in groups, by the covariates alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import deepdml as dd
from deepdml.learn.bases import constant_basis, linear_basis
from deepdml.learn.candidates import fit_basis, fit_groups
from deepdml.learn.clusters import NUMBERS, Clusters, find_clusters

P = 30
GROUPS = 6


def grouped(n: int, seed: int = 0, family: str = "gaussian") -> pd.DataFrame:
    """Thirty columns in six groups, apart by some twenty times their spread; effects differ between groups alone."""
    rng = np.random.default_rng(seed)
    centers = 3 * np.random.default_rng(99).standard_normal((GROUPS, P))
    group = rng.integers(0, GROUPS, n)
    x = centers[group] + 0.8 * rng.standard_normal((n, P))
    t = np.array([0.0, 1.0, -1.0, 0.5, 0.0, -0.5])[group] + rng.standard_normal(n)
    eta = np.array([0.5, 0.0, 0.3, -0.2, 0.8, 0.1])[group] + levels(group) * t
    y = eta + 0.5 * rng.standard_normal(n) if family == "gaussian" else rng.poisson(np.exp(eta)) * 1.0
    return pd.DataFrame({"y": y, "t": t, **{f"x_{j}": x[:, j] for j in range(P)}, "group": group})


def levels(group) -> np.ndarray:
    return np.array([0.2, 0.9, 0.4, -0.3, 0.6, 0.0])[group]


def columns(frame: pd.DataFrame) -> torch.Tensor:
    return torch.tensor(frame.filter(like="x_").to_numpy(np.float32))


def clustered(posed, frame: pd.DataFrame, family: str = "gaussian"):
    p = posed(family, "y ~ t | x_*", frame=frame)
    task, x = p.problem.outcome, p.problem.x
    clusters = find_clusters(linear_basis(x), x, np.random.default_rng(1))
    return p, clusters, fit_groups("clusters", task, clusters, clusters.groups, x, p.scheme, p.units(task))


def held_out_loss(p, fit) -> float:
    task, x, total = p.problem.outcome, p.problem.x, 0.0
    for v, block in enumerate(p.scheme.target):
        rows = torch.from_numpy(np.flatnonzero(p.scheme.block == block))
        total += float(task.loss(fit.basis(x[rows]) @ fit.coefficients[v], rows).mean())
    return total / len(p.scheme.target)


def test_features_are_standardized_indicators():
    x = columns(grouped(1_000))
    clusters = find_clusters(linear_basis(x), x, np.random.default_rng(1))
    features = clusters(x)
    assert features.shape == (1_000, clusters.n_features) == (1_000, 1 + sum(NUMBERS))
    torch.testing.assert_close(features[:, 1:].mean(0), torch.zeros(sum(NUMBERS)).double(), rtol=0, atol=1e-12)
    seen = clusters.share > 0
    spread = features[:, 1:][:, seen].std(0, correction=0)
    torch.testing.assert_close(spread, torch.ones_like(spread), rtol=1e-12, atol=0)
    for number, group in zip(NUMBERS, clusters.groups, strict=True):
        assert len(group) == 1 + number
        own = group[1:]
        assert ((features[:, own] > 0).sum(1) == 1).all()


def test_groups_are_found():
    """With twenty clusters or more none mixes two groups, which are much further apart than rows of one group."""
    frame = grouped(1_000)
    x = columns(frame)
    clusters = find_clusters(linear_basis(x), x, np.random.default_rng(1))
    for group in clusters.groups[2:]:
        nearest = (clusters(x)[:, group[1:]] > 0).double().argmax(1).numpy()
        assert (frame.groupby(nearest)["group"].nunique() == 1).all()


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_held_out_loss_is_nearly_that_of_the_true_groups(posed, family):
    frame = grouped(2_000, family=family)
    p, _, fit = clustered(posed, frame, family)
    task, x = p.problem.outcome, p.problem.x
    centers = columns(frame.groupby("group").mean()).double()
    share = torch.from_numpy(np.bincount(frame["group"]) / len(frame))
    truth = Clusters(torch.zeros(P), torch.ones(P), centers, share, torch.full((GROUPS,), GROUPS))
    best = fit_basis("truth", task, truth, x, p.scheme, p.units(task))
    line = fit_basis("linear", task, linear_basis(x), x, p.scheme, p.units(task))
    flat = fit_basis("constant", task, constant_basis(x), x, p.scheme, p.units(task))
    ours, least, linear, most = (held_out_loss(p, each) for each in (fit, best, line, flat))
    assert least < ours < linear < most
    # groups cut into some clusters have more means to learn: a tenth of what a line leaves over
    assert ours - least < 0.5 * (linear - least)


def test_a_group_of_features_is_fitted_as_if_it_stood_alone(posed):
    """The loss is quadratic, so that the last quadratic is the loss."""
    p, clusters, fit = clustered(posed, grouped(800))
    task, x = p.problem.outcome, p.problem.x
    kept = clusters.number == 10
    alone = Clusters(clusters.mean, clusters.scale, clusters.centers[kept], clusters.share[kept], clusters.number[kept])
    index = clusters.groups[NUMBERS.index(10)]
    only = fit_groups("ten", task, clusters, [index], x, p.scheme, p.units(task))
    direct = fit_basis("ten", task, alone, x, p.scheme, p.units(task))
    assert torch.equal(only.penalties, direct.penalties)
    # indicators of one number add up to a constant, and how the ridge deals this out is all that rounding moves
    torch.testing.assert_close(clusters(x) @ only.coefficients, alone(x) @ direct.coefficients, rtol=0, atol=1e-5)
    others = torch.ones(clusters.n_features, dtype=torch.bool)
    others[index] = False
    assert not only.coefficients[:, others].any()
    assert fit.coefficients.any(2).sum(1).max() <= 1 + max(NUMBERS)


@pytest.mark.parametrize(("n", "most"), [(60, None), (130, 5), (300, 10), (1_000, 40)])
def test_each_cluster_has_rows(n, most):
    x = columns(grouped(n))
    clusters = find_clusters(linear_basis(x), x, np.random.default_rng(1))
    assert (clusters and int(clusters.number.max())) == most


def test_there_are_no_more_clusters_than_different_rows():
    x = torch.eye(P)[torch.arange(900) % 12]
    clusters = find_clusters(linear_basis(x), x, np.random.default_rng(1))
    assert clusters is not None
    assert clusters.number.unique().tolist() == [5, 10]
    assert (
        find_clusters(linear_basis(x[:, :25]), x[:, :25], np.random.default_rng(1)) is None
    )  # few columns are left to the sieve
    ones = torch.ones(900, P)
    assert find_clusters(linear_basis(ones), ones, np.random.default_rng(1)) is None


def test_outcomes_of_a_block_do_not_reach_what_predicts_it(posed):
    frame = grouped(600)
    p, _, before = clustered(posed, frame)
    block = p.scheme.block == 0
    _, _, after = clustered(posed, frame.assign(y=np.where(block, frame["y"] + 5.0 * frame["group"], frame["y"])))
    own = p.scheme.target == 0
    assert torch.equal(before.coefficients[own], after.coefficients[own])
    assert not torch.equal(before.coefficients[~own], after.coefficients[~own])


def test_a_fit_takes_clusters_and_a_saved_one_predicts_with_them(tmp_path):
    res = dd.fit("y ~ t | x_*", grouped(1_500), seed=1, hidden=(4,), epochs=20)
    assert res._fit.record.nuisances[0].weights["clusters"] > 0.3
    new = grouped(500, seed=9)
    predicted = res.predict(new, which="theta")
    error = predicted["t"] - levels(new["group"])
    assert np.sqrt((error**2).mean()) < 0.1  # of a standard deviation of .4
    res.save(tmp_path / "groups.deepdml")
    np.testing.assert_allclose(dd.load(tmp_path / "groups.deepdml").predict(new, which="theta"), predicted)

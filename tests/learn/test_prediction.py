"""theta at new covariates, from the collected fits."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import deepdml as dd
from deepdml.learn import prediction
from deepdml.learn.prediction import predict_theta


def draw(n: int = 400, noise: float = 1.0, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    t = 0.5 * x[:, 0] + rng.standard_normal(n)
    y = 2 + x[:, 0] + (1 + 0.5 * x[:, 1]) * t + noise * rng.standard_normal(n)
    return pd.DataFrame({"y": y, "t": t, "x0": x[:, 0], "x1": x[:, 1], "x2": 50 + 3 * x[:, 2]})


LEARNERS = [
    {"learner": "auto"},
    {"learner": "net", "n_folds": 10},
    {"learner": "auto", "n_folds": 3, "n_rep": 2},
    {"learner": "net", "ensemble": 3, "ensemble_by": "concat"},
]


@pytest.mark.parametrize("options", LEARNERS, ids=str)
def test_a_linear_truth_is_recovered(options):
    """Without noise theta is linear in x, and every fit, all of which contain the linear one, finds it."""
    frame = draw(noise=1e-4)
    res = dd.fit("y ~ t | x0 + x1 + x2", frame, seed=1, hidden=(4,), epochs=5, **options)
    new = draw(50, seed=9)
    theta = res.predict(new, which="theta")
    # the least ridge of 1e-4 shrinks slopes by its share, nets in single precision add their rounding
    np.testing.assert_allclose(theta["Intercept"], 2 + new["x0"], atol=0.01)
    np.testing.assert_allclose(theta["t"], 1 + 0.5 * new["x1"], atol=0.01)


@pytest.mark.parametrize("options", LEARNERS, ids=str)
@pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
def test_predictions_for_the_training_rows_are_near_the_cross_fitted_ones(options, family):
    """The mean over blocks lies amid the blocks' predictions: nearer to theta than theta varies."""
    frame = draw(600)
    eta = 0.3 + 0.5 * frame["x0"] + 0.5 * frame["t"]
    rng = np.random.default_rng(1)
    if family == "logit":
        frame["y"] = (rng.random(600) < 1 / (1 + np.exp(-eta))) * 1.0
    elif family == "poisson":
        frame["y"] = rng.poisson(np.exp(eta)) * 1.0
    res = dd.fit("y ~ t | x0 + x1 + x2", frame, family, seed=1, hidden=(4,), epochs=5, **options)
    eta_new, eta_cross = res.predict(frame, which="linear"), res.predict(which="linear")
    assert np.corrcoef(eta_new, eta_cross)[0, 1] > 0.9
    assert (eta_new - eta_cross).abs().mean() < 0.5 * eta_cross.std()


@pytest.mark.parametrize("options", [LEARNERS[0], {"learner": "net"}, LEARNERS[3]], ids=str)
def test_a_blocks_share_of_the_prediction_is_what_predicts_its_rows(monkeypatch, options):
    """With the other blocks' snapshots left out, the stored fits give a fifth of the block's own cross-fitted theta."""
    kept = {}
    monkeypatch.setattr(prediction, "collect_nets", lambda repetitions: kept.update(r=repetitions[0]))
    monkeypatch.setattr("deepdml.learn.fitting.collect_nets", prediction.collect_nets)
    frame = draw(600)
    dd.fit("y ~ t | x0 + x1 + x2", frame, seed=1, hidden=(4,), epochs=20, **options)
    monkeypatch.undo()
    r = kept["r"]
    x = r.setting.problem.x
    for a in range(5):
        alone = torch.from_numpy(r.setting.scheme.target == a)
        real = prediction._mix
        monkeypatch.setattr(prediction, "_mix", lambda *args, m=alone, f=real: f(*args) * m[:, None, None])
        outcome = r.learned[0]
        if outcome.recalibration is not None:
            shift = outcome.recalibration.shift * (torch.arange(5) == a)[:, None]
            outcome = replace(outcome, recalibration=replace(outcome.recalibration, shift=shift))
        nets = prediction.collect_nets([replace(r, learned=(outcome, *r.learned[1:]))])
        monkeypatch.undo()
        inside = r.setting.scheme.block == a
        ours = 5 * predict_theta(nets, x.numpy()[inside]) @ np.linalg.inv(r.setting.problem.unit).T
        # nets run in single precision
        np.testing.assert_allclose(ours, r.learned[0].out[inside].numpy(), rtol=1e-4, atol=1e-4)


def test_repetitions_and_copies_are_averaged():
    """The mean over two repetitions lies between those of its parts, which a fit with one repetition shows."""
    frame, new = draw(), draw(20, seed=9)
    two = dd.fit("y ~ t | x0 + x1", frame, seed=1, hidden=(4,), epochs=2, n_rep=2, ensemble=2)
    one = dd.fit("y ~ t | x0 + x1", frame, seed=1, hidden=(4,), epochs=2, ensemble=2)
    difference = (two.predict(new, which="theta") - one.predict(new, which="theta")).abs().to_numpy()
    assert 0 < difference.max() < 0.3  # some tenths of the standard deviation of y


def test_chunks_change_nothing(monkeypatch):
    res = dd.fit("y ~ t | x0 + x1", draw(), seed=1, hidden=(4,), epochs=2)
    new = draw(30, seed=9)
    whole = res.predict(new, which="theta")
    monkeypatch.setattr("deepdml.learn.prediction.CHUNK", 7)
    np.testing.assert_allclose(res.predict(new, which="theta"), whole, rtol=1e-5)  # single precision, other batches


def test_what_was_read_of_a_file_is_let_go_chunk_by_chunk(monkeypatch):
    res = dd.fit("y ~ t | x0 + x1", draw(), seed=1, hidden=(4,), epochs=2)
    let_go = []
    monkeypatch.setattr("deepdml.learn.prediction.CHUNK", 7)
    monkeypatch.setattr("deepdml.learn.prediction.release", lambda x: let_go.append(len(x)))
    res.predict(draw(30, seed=9), which="theta")
    assert let_go == [30] * 5


def test_without_covariates_theta_is_constant():
    res = dd.fit("y ~ t | 1", draw(), seed=1)
    theta = res.predict(draw(10, seed=9), which="theta")
    assert (theta.nunique() == 1).all()
    np.testing.assert_allclose(theta.iloc[0], res.theta.mean(), atol=0.02)  # the mean over nets and that over rows


def test_no_rows_give_an_empty_matrix():
    res = dd.fit("y ~ t | x0 + x1", draw(), seed=1, hidden=(4,), epochs=2)
    assert predict_theta(res._fit.nets, np.zeros((0, 2), np.float32)).shape == (0, 2)


def test_what_is_kept_is_plain():
    """Names of arrays and a configuration of JSON values, so that a file can hold them."""
    nets = dd.fit("y ~ t | x0 + x1", draw(), seed=1, hidden=(4,), epochs=2)._fit.nets
    assert json.loads(json.dumps(nets.config)) == nets.config
    for name, array in nets.arrays.items():
        assert isinstance(name, str)
        assert isinstance(array, np.ndarray)
        assert array.dtype in (np.float32, np.float64)

"""Products that residuals ask for: found where they are, none where there are none, by training rows alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import deepdml as dd
from deepdml.learn.bases import linear_basis
from deepdml.learn.candidates import fit_basis
from deepdml.learn.screening import COLUMNS, fit_screened

P = 30


def wide(n: int, product: float = 0.6, seed: int = 0, family: str = "gaussian") -> pd.DataFrame:
    """Thirty columns; y follows a product of two of them, T times a square, and a cube."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, P))
    t = 0.5 * x[:, 0] + rng.standard_normal(n)
    extra = x[:, 4] * x[:, 7] + t * x[:, 9] ** 2 + x[:, 11] ** 3 / 3
    eta = 0.5 * t + 0.3 * x[:, 1] + product * extra
    y = eta + rng.standard_normal(n) if family == "gaussian" else rng.poisson(np.exp(np.clip(eta, -3, 2))) * 1.0
    return pd.DataFrame({"y": y, "t": t, **{f"x_{j}": x[:, j] for j in range(P)}})


def screened(posed, frame: pd.DataFrame, family: str = "gaussian"):
    p = posed(family, "y ~ t | x_*", frame=frame)
    task, x = p.problem.outcome, p.problem.x
    linear = fit_basis("linear", task, linear_basis(x), x, p.scheme, p.units(task))
    return p, linear, fit_screened(linear, x, p.scheme, p.units(task))


def terms(fit) -> set[tuple[int, ...]]:
    return {tuple(c for c in column if c < P) for column in fit.basis.terms.T.tolist()}


def test_every_net_finds_what_is_there(posed):
    p, linear, fit = screened(posed, wide(3_000))
    assert len(fit.fits) == p.scheme.n_nets
    for own in fit.fits:
        assert {(4, 7), (9, 9), (11, 11, 11)} <= terms(own)
        assert (
            len(terms(own)) < 15
        )  # of 495: a chance product now and then, and those that share a column with a true one
    rows = torch.arange(len(p.problem.x))
    for v, net in enumerate(p.scheme.net.tolist()):
        held = rows[torch.from_numpy(p.scheme.block == p.scheme.target[v])]
        outs = [fit.predict(v, net, p.problem.x[held]), linear.basis(p.problem.x[held]) @ linear.coefficients[v]]
        losses = [float(p.problem.outcome.loss(out, held).mean()) for out in outs]
        assert losses[0] < 0.7 * losses[1]  # of the residuals' variance, over half is the products'


def test_a_linear_truth_needs_no_products(posed):
    _, linear, fit = screened(posed, wide(3_000, product=0.0))
    # a bar that the largest of 990 standard normal scores passes less than once in three: some nets share a chance one
    assert np.mean([len(terms(own)) for own in fit.fits]) <= 2
    plain = [own for own in fit.fits if not terms(own)]
    assert plain
    assert plain[0].coefficients.shape[1:] == linear.coefficients.shape[1:]


def test_another_block_s_outcomes_do_not_choose_a_nets_products(posed):
    frame = wide(800)
    p, _, before = screened(posed, frame)
    block = p.scheme.block == 0
    _, _, after = screened(
        posed, frame.assign(y=np.where(block, frame["y"] + 50 * frame["x_2"] * frame["x_3"], frame["y"]))
    )
    untouched = [net for net in range(p.scheme.n_nets) if not p.scheme.train[net, 0]]
    assert 0 < len(untouched) < p.scheme.n_nets
    for net in range(p.scheme.n_nets):
        same = torch.equal(before.fits[net].basis.terms, after.fits[net].basis.terms)
        assert same == (net in untouched)
        if same:
            chosen_elsewhere = [
                i for i, v in enumerate(np.flatnonzero(p.scheme.net == net)) if not p.scheme.select[v, 0]
            ]
            ours, theirs = (f.fits[net].coefficients[chosen_elsewhere] for f in (before, after))
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
# few rows, and a poisson mean that is clipped: what the fit warns of is tested elsewhere
@pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")
def test_outcomes_of_a_fold_do_not_reach_its_nuisances(family):
    frame = wide(400, 0.3, family=family)
    one = dd.fit("y ~ t | x_*", frame, family, seed=3, hidden=(4,), epochs=20)
    fold = one._fit.rows.folds[0] == 0
    two = dd.fit("y ~ t | x_*", frame.assign(y=frame["y"] + 20.0 * fold), family, seed=3, hidden=(4,), epochs=20)
    assert one._fit.record.nuisances[0].weights["screened"] > 0
    for piece, other in zip(one._fit.rows.repetitions, two._fit.rows.repetitions, strict=True):
        np.testing.assert_array_equal(piece.theta[fold], other.theta[fold])
        assert (piece.theta[~fold] != other.theta[~fold]).any()


def test_a_saved_fit_predicts_with_its_products(tmp_path):
    frame = wide(1_500, 1.0)
    res = dd.fit("y ~ t | x_*", frame, seed=1, hidden=(4,), epochs=20)
    assert res._fit.record.nuisances[0].weights["screened"] > 0.3
    new = wide(500, 1.0, seed=9)
    predicted = res.predict(new, which="theta")
    truth = 0.3 * new["x_1"] + new["x_4"] * new["x_7"] + new["x_11"] ** 3 / 3
    assert np.corrcoef(predicted["Intercept"], truth)[0, 1] > 0.9  # .56 without products
    res.save(tmp_path / "wide.deepdml")
    np.testing.assert_allclose(dd.load(tmp_path / "wide.deepdml").predict(new, which="theta"), predicted)


def test_few_and_many_columns_are_left_to_others():
    assert 25 not in COLUMNS
    assert 26 in COLUMNS
    assert 256 in COLUMNS
    assert 257 not in COLUMNS

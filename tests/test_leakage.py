"""No row's nuisance depends on its own outcome: change it, and theta, the treatment's law and Lambda keep every bit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import deepdml as dd

# what is regularized in samples this small is no matter here, nor what outcomes moved this far leave in residuals
pytestmark = [
    pytest.mark.filterwarnings("ignore::deepdml.errors.OverlapWarning"),
    pytest.mark.filterwarnings("ignore::deepdml.errors.FitWarning"),
]

N = 160
ROW = 7
SETTINGS = [
    pytest.param({"learner": "auto", "n_folds": 2}, id="auto-2"),
    pytest.param({"learner": "auto", "n_folds": 3}, id="auto-3"),
    pytest.param({"learner": "auto", "n_folds": 5}, id="auto-5"),
    pytest.param({"learner": "auto", "n_folds": 10}, id="auto-10"),
    pytest.param({"learner": "net", "n_folds": 5}, id="net-5"),
    pytest.param({"learner": "net", "n_folds": 10}, id="net-10"),
    pytest.param({"learner": "net", "n_folds": 10, "ensemble": 2, "ensemble_by": "concat"}, id="net-10-concat"),
]


def draw(family: str, binary: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    x = rng.standard_normal((N, 3))
    t = (rng.random(N) < 0.5) * 1.0 if binary else 0.5 * x[:, 0] + rng.standard_normal(N)
    eta = 0.5 + 0.5 * t + np.sin(2 * x[:, 0])
    y = {
        "gaussian": eta + rng.standard_normal(N),
        "logit": (rng.random(N) < 1 / (1 + np.exp(-eta))) * 1.0,
        "poisson": rng.poisson(np.exp(eta)) * 1.0,
        "negbin": rng.poisson(np.exp(eta) * rng.gamma(2.0, 0.5, N)) * 1.0,
        "gaussian_scale": eta + np.exp(0.3 * x[:, 1]) * rng.standard_normal(N),
    }[family]
    return pd.DataFrame({"y": y, "t": t, "x0": x[:, 0], "x1": x[:, 1], "x2": x[:, 2], "g": np.arange(N) // 4})


def moved(frame: pd.DataFrame, family: str, rows: object) -> pd.DataFrame:
    """Change the outcomes of some rows as much as the family allows."""
    y = frame["y"].to_numpy().copy()
    y[rows] = {
        "gaussian": y[rows] + 1e3,
        "gaussian_scale": y[rows] + 10,
        "logit": 1 - y[rows],
        "poisson": y[rows] + 50,
        "negbin": y[rows] + 50,
    }[family]
    return frame.assign(y=y)


def nuisances(res) -> list[tuple[np.ndarray, ...]]:
    """Everything that psi reads beside the score, by repetition: theta, Lambda, both again, and the treatment's law."""
    pieces = []
    for piece in res._fit.rows.repetitions:
        law = piece.law
        own = () if law is None else (law.probabilities,) if hasattr(law, "probabilities") else (law.mean, law.scale)
        second = piece.recalibrated
        again = () if second is None else (second.theta, second.lambda_inverse)
        pieces.append((piece.theta, piece.lambda_inverse, *again, *own))
    return pieces


def assert_kept(one, two, rows_of_repetition) -> None:
    for r, (before, after) in enumerate(zip(nuisances(one), nuisances(two), strict=True)):
        rows = rows_of_repetition(r)
        for a, b in zip(before, after, strict=True):
            np.testing.assert_array_equal(a[rows], b[rows])
        # and the comparison can fail: other folds learned from the outcomes that changed
        assert (before[0][~rows] != after[0][~rows]).any()


@pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
@pytest.mark.parametrize("options", [SETTINGS[0], SETTINGS[2], SETTINGS[5]])
def test_one_outcome(family, options):
    """Training runs until held-out losses stop it, so a stop that depended on the row's outcome would show."""
    frame = draw(family)
    quick = {"seed": 3, "hidden": (4,)}
    one = dd.fit("y ~ t | x0 + x1 + x2", frame, family, **quick, **options)
    two = dd.fit("y ~ t | x0 + x1 + x2", moved(frame, family, ROW), family, **quick, **options)
    fold = one._fit.rows.folds
    np.testing.assert_array_equal(fold, two._fit.rows.folds)
    assert_kept(one, two, lambda r: fold[r] == fold[r, ROW])


@pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
@pytest.mark.parametrize("options", SETTINGS)
def test_all_outcomes_of_a_fold(family, options):
    frame = draw(family)
    quick = {"seed": 3, "hidden": (4,), "epochs": 60}
    one = dd.fit("y ~ t | x0 + x1 + x2", frame, family, **quick, **options)
    fold = one._fit.rows.folds[0] == one._fit.rows.folds[0, ROW]
    two = dd.fit("y ~ t | x0 + x1 + x2", moved(frame, family, np.flatnonzero(fold)), family, **quick, **options)
    assert_kept(one, two, lambda r: fold)


@pytest.mark.parametrize("family", ["gaussian", "logit", "poisson"])
def test_binary_treatment(family):
    frame = draw(family, binary=True)
    one, two = (
        dd.fit("y ~ t | x0 + x1", data, family, seed=3, hidden=(4,), epochs=60)
        for data in (frame, moved(frame, family, ROW))
    )
    fold = one._fit.rows.folds
    assert_kept(one, two, lambda r: fold[r] == fold[r, ROW])


@pytest.mark.parametrize("lambda_", ["auto", "hessian regression"])
@pytest.mark.parametrize("family", ["negbin", "gaussian_scale"])
def test_several_indices(family, lambda_):
    frame = draw(family, binary=True)
    one, two = (
        dd.fit("y ~ t | x0 + x1", data, family, seed=3, hidden=(4,), epochs=60, lambda_=lambda_)
        for data in (frame, moved(frame, family, ROW))
    )
    fold = one._fit.rows.folds
    assert_kept(one, two, lambda r: fold[r] == fold[r, ROW])


def own_loss() -> dd.families.CustomLoss:
    def loss(y, t, theta):
        eta = (t * theta).sum(-1)
        return (1 + eta.exp()).log() - y * eta

    return dd.families.CustomLoss(loss, names=["Intercept", "slope"])


@pytest.mark.parametrize(
    ("formula", "family", "lambda_"),
    [
        ("y ~ t * b | x0 + x1", "logit", "location-scale quadrature"),
        ("y ~ t * b | x0 + x1", "logit", "hessian regression"),
        ("y ~ t | x0 + x1", "logit", "hessian regression"),
        ("y ~ t | x0 + x1", None, "hessian regression"),
    ],
)
def test_lambda_of_several_treatments_and_regressed(formula, family, lambda_):
    frame = draw("logit").assign(b=(np.arange(N) % 3 == 0) * 1.0)
    quick = {"seed": 3, "hidden": (4,), "epochs": 20, "lambda_": lambda_}
    one, two = (dd.fit(formula, data, family or own_loss(), **quick) for data in (frame, moved(frame, "logit", ROW)))
    assert one._fit.record.strategy == lambda_
    fold = one._fit.rows.folds
    assert_kept(one, two, lambda r: fold[r] == fold[r, ROW])


def test_repetitions_and_copies():
    frame = draw("gaussian")
    one, two = (
        dd.fit("y ~ t | x0 + x1", data, seed=3, hidden=(4,), epochs=20, n_rep=2, ensemble=2)
        for data in (frame, moved(frame, "gaussian", ROW))
    )
    fold = one._fit.rows.folds
    assert len(fold) == 2
    assert_kept(one, two, lambda r: fold[r] == fold[r, ROW])


def test_a_cluster():
    """With clusters, the outcomes of the whole cluster are unseen."""
    frame = draw("gaussian")
    cluster = frame["g"].to_numpy() == frame["g"][ROW]
    options = {"cov_type": "cluster", "cov_kwds": {"groups": "g"}, "seed": 3, "hidden": (4,), "epochs": 20}
    one, two = (
        dd.fit("y ~ t | x0 + x1", data, **options)
        for data in (frame, moved(frame, "gaussian", np.flatnonzero(cluster)))
    )
    fold = one._fit.rows.folds[0]
    assert len(set(fold[cluster])) == 1
    assert_kept(one, two, lambda r: fold == fold[ROW])


def test_the_score_does_follow_the_outcome():
    """What may change at the row is its residual, one for one."""
    frame = draw("gaussian")
    one, two = (
        dd.fit("y ~ t | x0", data, seed=3, hidden=(4,), epochs=5) for data in (frame, moved(frame, "gaussian", ROW))
    )
    lambda_inverse = one._fit.rows.repetitions[0].lambda_inverse[ROW]
    expected = lambda_inverse @ np.array([1.0, frame["t"][ROW]]) * 1e3
    # psi is theta plus the correction: rounding at the size of the change
    np.testing.assert_allclose(two.psi.iloc[ROW] - one.psi.iloc[ROW], expected, rtol=1e-10)

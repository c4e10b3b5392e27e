"""Results built from closed forms: gaussian outcome, known nuisances, no training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepdml.design.data import ModelData, build_data
from deepdml.families import Gaussian
from deepdml.learn.influence import DiscreteLaw, FitRecord, Influence, NuisanceFit, TrainedNets
from deepdml.results import Results, make_results


@dataclass(frozen=True)
class Known:
    """A fit with everything known: what psi must be follows from textbook formulas."""

    data: ModelData
    influence: Influence
    alpha: np.ndarray
    beta: np.ndarray
    propensity: np.ndarray
    folds: np.ndarray
    record: FitRecord
    nets: TrainedNets | None = field(
        default_factory=lambda: TrainedNets({"slope": np.array([[0.5, 1.0]])}, {"kind": "known"})
    )

    def results(self, **options: Any) -> Results:
        return make_results(self.data, Gaussian(), (self.influence,), self.folds, self.record, self.nets, **options)


def make_record() -> FitRecord:
    nuisances = (
        NuisanceFit("outcome", "mean loss", 0.5, 0.6, 1.0, {"net": 0.7, "linear": 0.3}, {"net": 12.0}),
        NuisanceFit("propensity", "log loss", 0.55, 0.6, 0.69, {"net": 1.0}, {"net": 9.0}),
    )
    return FitRecord(
        family="gaussian",
        learner="auto",
        strategy="propensity plug-in",
        treatment_model="discrete (2 levels)",
        n_folds=5,
        n_blocks=5,
        n_rep=1,
        hidden=(64, 32),
        seed=1,
        device="cpu",
        threads=1,
        seconds=1.5,
        nuisances=nuisances,
        overlap={"P(t = 1), 1 %": 0.12, "P(t = 1), 99 %": 0.88},
        clipped_share=0.0,
        floored_share=0.0,
        min_eigenvalue=0.07,
    )


def known(n: int = 400, seed: int = 0, weights: bool = False, dropped: int = 0) -> Known:
    """A binary treatment confounded by x0; `dropped` rows with a missing outcome come first."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    p = 1 / (1 + np.exp(-x[:, 0].astype(float)))
    t = (rng.uniform(size=n) < p).astype(float)
    alpha, beta = np.sin(x[:, 1].astype(float)), 1.0 + 0.5 * x[:, 2].astype(float)
    y = alpha + beta * t + rng.normal(size=n)
    frame = pd.DataFrame({"y": y, "t": t, "x0": x[:, 0], "x1": x[:, 1], "x2": x[:, 2]})
    frame["w"] = rng.uniform(0.5, 2.0, size=n)
    lost = frame.iloc[:dropped].assign(y=np.nan)
    frame = pd.concat([lost, frame], ignore_index=True) if dropped else frame
    data = build_data("y ~ t | x*", frame, weights="w" if weights else None)
    lambda_ = np.stack([np.stack([np.ones(n), p], 1), np.stack([p, p], 1)], 1)
    law = DiscreteLaw(np.array([[1.0, 0.0], [1.0, 1.0]]), np.column_stack([1 - p, p]))
    score = data.t * (alpha + beta * t - y)[:, None]
    influence = Influence(np.column_stack([alpha, beta]), score, np.linalg.inv(lambda_), law)
    return Known(data, influence, alpha, beta, p, np.arange(n)[None] % 5, make_record())


def arms(n: int = 600, seed: int = 3) -> Known:
    """Three randomized arms in treatment coding, with the awkward names formulas give."""
    rng = np.random.default_rng(seed)
    base = known(n, seed)
    arm = rng.integers(0, 3, n)
    theta = np.column_stack([base.alpha, base.beta, base.beta + 0.3])
    structural = np.column_stack([np.ones(n), arm == 1, arm == 2]).astype(float)
    eta = np.einsum("nd,nd->n", structural, theta)
    frame = pd.DataFrame(
        {"y": eta + rng.normal(size=n), "arm": np.array(["a", "b", "c"])[arm], "x0": base.data.x[:, 0]}
    )
    data = build_data("y ~ C(arm) | x0", frame)
    np.testing.assert_array_equal(data.t, structural)
    levels = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    inverse = np.linalg.inv(np.einsum("md,me->de", levels, levels) / 3)
    law = DiscreteLaw(levels, np.broadcast_to(np.full(3, 1 / 3), (n, 3)))
    score = structural * (eta - data.y)[:, None]
    influence = Influence(theta, score, np.broadcast_to(inverse, (n, 3, 3)), law)
    return replace(base, data=data, influence=influence)


@pytest.fixture
def build() -> Callable[..., Known]:
    """The builder of the binary design."""
    return known


@pytest.fixture
def annotate() -> Callable[[Results, str], Results]:
    """Return a function that gives the covariance of a Results a note."""

    def annotate(res: Results, note: str) -> Results:
        covariance = replace(res._estimates.covariance, notes=(note,))
        return Results(res._fit, res._estimand, replace(res._estimates, covariance=covariance), res._model)

    return annotate


@pytest.fixture
def results() -> Results:
    """The binary design's Results."""
    return known().results()


@pytest.fixture
def arm_results() -> Results:
    """The three-arm design's Results."""
    return arms().results()

"""Fits made of known nuisances: no training, so that what is tested is the estimand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from deepdml.design.data import ModelData, build_data
from deepdml.families import registered
from deepdml.learn.curvature import integrate
from deepdml.learn.influence import DiscreteLaw, FitRecord, Influence, LocationScaleLaw
from deepdml.results import Results, make_results

FAMILIES = ("gaussian", "logit", "poisson")
# laws of families with a scale, in scipy's words, by indices (..., 2); tobit is the latent normal, censored at zero
LAWS: dict[str, Callable[[np.ndarray], Any]] = {
    "gaussian_scale": lambda e: stats.norm(e[..., 0], np.exp(e[..., 1])),
    "tobit": lambda e: stats.norm(e[..., 0], np.exp(e[..., 1])),
    "gumbel": lambda e: stats.gumbel_r(e[..., 0], np.exp(e[..., 1])),
    "weibull": lambda e: stats.weibull_min(np.exp(e[..., 1]), scale=np.exp(e[..., 0])),
    "gamma": lambda e: stats.gamma(np.exp(e[..., 1]), scale=np.exp(e[..., 0] - e[..., 1])),
    "beta": lambda e: stats.beta(*(np.exp(e[..., 1]) * special.expit(s * e[..., 0]) for s in (1, -1))),
}
ROOT3 = np.sqrt(3.0)  # a uniform dose has variance one between minus and plus this
NODES, MASS = np.polynomial.legendre.leggauss(12)


@pytest.fixture(scope="session", autouse=True)
def no_package_index() -> Iterator[None]:
    """No test asks the network for the hashes of a replication package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.delenv("PIP_FIND_LINKS", raising=False)
        yield


def make_record(family: str) -> FitRecord:
    return FitRecord(
        family=family,
        learner="auto",
        strategy="known",
        treatment_model="known",
        n_folds=5,
        n_blocks=5,
        n_rep=1,
        hidden=(),
        seed=1,
        device="cpu",
        threads=1,
        seconds=0.0,
        nuisances=(),
        overlap={},
        clipped_share=0.0,
        floored_share=0.0,
        min_eigenvalue=0.1,
    )


@dataclass(frozen=True)
class Known:
    """A draw with everything known.

    `truth` maps a structural row function to its population mean over the rows drawn: theta is the true one, `law` the
    true law, and the fit's theta is off by `shift`.
    """

    frame: pd.DataFrame
    data: ModelData
    family: str
    theta: np.ndarray
    propensity: np.ndarray
    results: Results


def draw_outcome(rng: np.random.Generator, family: str, eta: np.ndarray) -> np.ndarray:
    if family in LAWS:
        drawn = LAWS[family](eta).rvs(random_state=rng)
        return np.maximum(drawn, 0.0) if family == "tobit" else drawn
    if family == "gaussian":
        return eta + rng.standard_normal(eta.shape)
    if family == "logit":
        return (rng.uniform(size=eta.shape) < 1 / (1 + np.exp(-eta))).astype(float)
    return rng.poisson(np.exp(eta)).astype(float)


def coefficients(x: np.ndarray, d: int, family: str) -> np.ndarray:
    """Smooth coefficients; the intercept of a gaussian outcome is high, so that elasticities exist.

    After them stands a log of a scale, where the family has one.
    """
    columns = [
        (8.0 if family == "gaussian" else 0.2) + 0.3 * np.sin(x[:, 1]),
        0.4 + 0.2 * x[:, 2],
        -0.3 + 0.1 * x[:, 0],
        0.2 + 0.1 * x[:, 1],
    ]
    scale = [0.3 + 0.2 * np.tanh(x[:, 0]) - 0.1 * x[:, 1]] if family in LAWS else []
    return np.column_stack(columns[:d] + scale)


@cache
def build(
    family: str = "gaussian",
    kind: str = "continuous",
    n: int = 400,
    seed: int = 0,
    shift: float = 0.0,
    formula: str | None = None,
    weights: bool = False,
    n_rep: int = 1,
    cov_type: str = "HC1",
) -> Known:
    """Draw data and fit them with the true law, the true Lambda at the fit's theta, and theta off by `shift`.

    `kind` is "binary", "continuous", "arms" (three), "two" (two binary treatments) or "none". `formula` is the part
    left of the bar where it is not the variable itself.
    """
    rng = np.random.default_rng(seed)
    x = np.clip(rng.standard_normal((n, 3)), -2.5, 2.5).astype(np.float32).astype(np.float64)
    p = 1 / (1 + np.exp(-0.8 * x[:, 0]))
    mean, scale = 1.5 + 0.3 * x[:, 0], 0.3 + 0.1 * np.abs(x[:, 1])
    raw: dict[str, Any] = {
        "binary": {"t": (rng.uniform(size=n) < p).astype(float)},
        "continuous": {"t": mean + scale * rng.uniform(-ROOT3, ROOT3, n)},
        "arms": {"arm": np.array(["a", "b", "c"])[rng.integers(0, 3, n)]},
        "two": {"a": (rng.uniform(size=n) < p).astype(float), "b": rng.integers(0, 2, n).astype(float)},
        "none": {},
    }[kind]
    left = formula or {"arms": "arm", "two": "a * b", "none": "1"}.get(kind, "t")
    frame = pd.DataFrame({"y": rng.uniform(size=n), **raw, **{f"x{j}": x[:, j] for j in range(3)}})
    frame["region"] = np.array(["north", "south", "west"])[np.arange(n) % 3]
    frame["w"] = rng.uniform(0.5, 2.0, n)
    drawn = build_data(f"y ~ {left} | x0 + x1 + x2", frame)
    t = drawn.t
    theta = coefficients(x, t.shape[1], family)
    resolved = registered()[family]().bind(drawn.t_names)
    frame["y"] = draw_outcome(rng, family, resolved.indices(t, theta))
    data = build_data(f"y ~ {left} | x0 + x1 + x2", frame, weights="w" if weights else None)
    law: DiscreteLaw | LocationScaleLaw
    if kind == "continuous":
        positions = np.sort(raw["t"])[np.unique(np.linspace(0, n - 1, 2001).astype(int))]
        affine = t.shape[1] == 2 and np.array_equal(t[:, 1], raw["t"])
        grid = positions[[0, -1]] if affine else positions
        rows = data.design.encode_treatments({"t": grid})
        law = LocationScaleLaw(mean, scale, ROOT3 * NODES, MASS / 2, grid, rows, affine)
    else:
        levels = np.unique(t, axis=0)
        share = {
            "binary": np.column_stack([1 - p, p]),
            "arms": np.full((n, 3), 1 / 3),
            "two": np.column_stack([(1 - p) / 2, (1 - p) / 2, p / 2, p / 2]),
            "none": np.ones((n, 1)),
        }[kind]
        if kind == "two":
            own = {(a, b): np.flatnonzero((t[:, 1] == a) & (t[:, 2] == b))[0] for a in (0, 1) for b in (0, 1)}
            order = [int(np.flatnonzero((levels == t[own[a, b]]).all(1))[0]) for a in (0, 1) for b in (0, 1)]
            share = share[:, np.argsort(order)]
        assert len(levels) == share.shape[1]
        law = DiscreteLaw(levels, share)
    pieces = []
    for r in range(n_rep):
        off = theta + shift * np.column_stack([np.cos((r + 1) * x[:, j % 3]) for j in range(theta.shape[1])])
        y = resolved.columns(frame["y"].to_numpy(), None, t)
        score = resolved.pull(t, resolved.score(y, resolved.indices(t, off)))
        inverse = integrate(law, resolved, off, None, np.eye(theta.shape[1])).inverse
        pieces.append(Influence(off, score, inverse, law))
    folds = np.tile(np.arange(n) % 5, (n_rep, 1))

    class Model:
        user_data, user_context = frame, None

    res = make_results(data, resolved, tuple(pieces), folds, make_record(family), None, cov_type, model=Model())
    return Known(frame, data, family, theta, p, res)


@pytest.fixture
def known() -> Callable[..., Known]:
    """The builder of fits with known nuisances."""
    return build


@pytest.fixture
def laws() -> dict[str, Callable[[np.ndarray], Any]]:
    """The laws of the families with a scale, in scipy's words."""
    return LAWS

"""Small problems, posed as a fit poses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch

from deepdml.design.data import build_data
from deepdml.design.splits import SplitPlan, make_plan
from deepdml.families import resolve_family
from deepdml.learn.inputs import Inputs
from deepdml.learn.problem import LearnOptions, Problem, pose
from deepdml.learn.scheme import Scheme, paired, single
from deepdml.learn.tasks import Task, Units


@dataclass(frozen=True)
class Posed:
    """A problem with a plan, a scheme and standardized inputs."""

    frame: pd.DataFrame
    problem: Problem
    plan: SplitPlan
    scheme: Scheme
    inputs: Inputs

    def units(self, task: Task) -> Units:
        return task.units([torch.from_numpy(rows) for rows in self.scheme.train_rows()])


def draw(family: str = "gaussian", n: int = 400, seed: int = 0, levels: int = 0, wave: float = 0.0) -> pd.DataFrame:
    """An outcome linear in x0 and x1 (plus a wave); a treatment with `levels` values, or a continuous one."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    x[:, 2] = 5.0 + 3.0 * x[:, 2]
    odds = np.column_stack([k * 0.4 * x[:, 0] for k in range(max(levels, 1))])
    t = 0.5 * x[:, 0] + rng.standard_normal(n) if not levels else 1.0 * (odds + rng.gumbel(size=odds.shape)).argmax(1)
    eta = 0.3 + 0.4 * x[:, 0] + (0.5 - 0.2 * x[:, 1]) * t + wave * np.sin(3 * x[:, 0])
    y = {
        "gaussian": eta + rng.standard_normal(n),
        "logit": (rng.random(n) < 1 / (1 + np.exp(-eta))) * 1.0,
        "poisson": rng.poisson(np.exp(eta)) * 1.0,
    }[family]
    return pd.DataFrame({"y": y, "t": t, "x0": x[:, 0], "x1": x[:, 1], "x2": x[:, 2], "g": np.arange(n) // 4})


@pytest.fixture
def posed() -> Callable[..., Posed]:
    def make(
        family: str = "gaussian",
        formula: str = "y ~ t | x0 + x1 + x2",
        *,
        frame: pd.DataFrame | None = None,
        n_folds: int = 5,
        learner: str = "auto",
        plan: SplitPlan | None = None,
        **kwargs: object,
    ) -> Posed:
        frame = draw(family, **kwargs) if frame is None else frame
        data = build_data(formula, frame)
        problem = pose(data, resolve_family(family).bind(data.t_names), LearnOptions())
        plan = plan or make_plan(len(frame), n_folds, rng=np.random.default_rng(7))
        scheme = (paired if learner == "auto" else single)(plan, np.random.default_rng(8))
        return Posed(frame, problem, plan, scheme, Inputs.over_training_rows(problem.x, scheme))

    return make

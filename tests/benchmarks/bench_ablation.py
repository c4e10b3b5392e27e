"""What does each part of the default learner buy? `make ablation` measures it and writes docs/ablation.md.

One fit serves all variants of a draw: candidates are left out of the stack, or a correction is not made, and what
follows is computed again from the same trained candidates. Where jumps were found a second fit looks for none.
"""

from __future__ import annotations

import os

if __name__ == "__main__":  # the parallelism is over draws; workers inherit this before they import numpy
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import click
import numpy as np
import pandas as pd
import torch
from bench_speed import ROOT, machine, table
from coverage_studies import STUDIES, Study
from joblib import Parallel, delayed

from deepdml import DeepDML
from deepdml.errors import DeepDMLWarning
from deepdml.learn import nuisances
from deepdml.learn.crossfit import Repetition, assemble, crossfit
from deepdml.learn.fitting import N_BLOCKS, draw_plan
from deepdml.learn.nuisances import Learned, Setting, combine
from deepdml.learn.problem import LearnOptions, pose
from deepdml.learn.stacking import Predictions

PAGE = ROOT / "docs" / "ablation.md"
DESIGNS = (
    "wages",
    "tutorial-wages",
    "citations",
    "latent-factors",
    "digits",
    "smooth",
    "smooth-logit",
    "smooth-poisson",
    "binary",
    "binary-logit",
    "waves",
    "steps",
    "nie-wager-a",
    "doubleml-irm",
)
NETS = ("silu net", "sine net")
VARIANTS: dict[str, tuple[str, ...]] = {  # candidates left out
    "as shipped": (),
    "no sieve": ("sieve",),
    "no sparse sieve": ("sparse sieve",),
    "no screened": ("screened",),
    "no clusters": ("clusters",),
    "no trees": ("trees",),
    "no sine net": ("sine net",),
    "no silu net": ("silu net",),
    "no nets": NETS,
    "nets alone": ("constant", "linear", "sieve", "sparse sieve", "screened", "clusters", "trees"),
    "linear alone": ("sieve", "sparse sieve", "screened", "clusters", "trees", *NETS),
}


def measure(study: Study, replication: int) -> list[dict[str, Any]]:
    """Fit one draw and return a row for each variant."""
    torch.set_num_threads(1)
    drawn = study.draw(replication)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeepDMLWarning)
        model = DeepDML(drawn.formula, drawn.data, drawn.family)
        repetition = _fit(model, replication)
        variants = list(_variants(repetition))
        if repetition.setting.inputs.jumps is not None:
            with mock.patch.object(nuisances, "find_jumps", return_value=None):
                smooth = _fit(model, replication)
            variants.append(("no jumps", *_psi(smooth, smooth.learned)))
        rows = []
        for name, psi, theta in variants:
            oracle = drawn.oracle_psi[:, 1]
            error = float(psi.std() / len(psi) ** 0.5)
            rows.append(
                {
                    "design": study.name,
                    "variant": name,
                    "z": float(psi.mean() - oracle.mean()) / error,
                    "se": error / float(oracle.std() / len(psi) ** 0.5),
                    "rmse": float(np.sqrt(np.mean((theta - drawn.theta[:, 1]) ** 2))),
                }
            )
    return rows


def _fit(model: DeepDML, seed: int) -> Repetition:
    options = LearnOptions()
    problem = pose(model.arrays, model.family, options)
    plan = draw_plan(problem, N_BLOCKS, np.random.default_rng(seed))
    return crossfit(problem, plan, options, np.random.SeedSequence(seed), lambda *_: None)


def _variants(repetition: Repetition) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield each variant's name, psi and theta of the treatment's coefficient."""
    setting = repetition.setting
    predictions = [
        [c.predictions(setting.inputs, setting.scheme) for c in part.candidates] for part in repetition.learned
    ]
    present = {c.name for part in repetition.learned for c in part.candidates}
    for name, without in VARIANTS.items():
        if without and present.isdisjoint(without):
            continue
        pairs = zip(repetition.learned, predictions, strict=True)
        yield name, *_psi(repetition, tuple(_combined(setting, part, own, without) for part, own in pairs))
    plain = tuple(replace(part, out=part.stacked.out.double()) for part in repetition.learned)
    yield "no recalibration", *_psi(repetition, plain)
    if not setting.problem.outcome.quadratic:
        yield "no second-order correction", *_psi(repetition, repetition.learned, correct=False)


def _combined(setting: Setting, part: Learned, predictions: list[Predictions], without: tuple[str, ...]) -> Learned:
    kept = [(c, p) for c, p in zip(part.candidates, predictions, strict=True) if c.name not in without]
    candidates = tuple(c for c, _ in kept)
    return combine(setting, part.task, candidates, [p for _, p in kept], part.linear, part.constant)


def _psi(repetition: Repetition, learned: tuple[Learned, ...], correct: bool = True) -> tuple[np.ndarray, np.ndarray]:
    influence = assemble(repetition.setting, learned, np.random.default_rng(0), correct=correct)[0]
    theta = influence.theta
    gradient = np.broadcast_to(np.eye(theta.shape[1]), (len(theta), theta.shape[1], theta.shape[1]))
    return influence.psi(theta, gradient)[:, 1], theta[:, 1]


def page(rows: pd.DataFrame, draws: int) -> str:
    """Return the page: a table of bias, one of standard errors, one of errors of theta."""
    sections = []
    for column, title, digits in (
        ("z", "Estimate minus mean of the oracle psi, in standard errors", ".2f"),
        ("se", "Standard error over the oracle's", ".2f"),
        ("rmse", "Root mean square error of theta(x)", ".3f"),
    ):
        means = rows.pivot_table(index="design", columns="variant", values=column, sort=False)
        lines = zip(means.index, means.to_numpy().tolist(), strict=True)
        body = [[name, *("" if np.isnan(v) else v for v in line)] for name, line in lines]
        text = table(body, ["design", *means.columns], digits)
        note = ""
        if column == "z":
            spread = rows[rows["variant"] == "as shipped"].groupby("design")["z"].std().mean() / draws**0.5
            note = f"The mean over {draws} draws; its own Monte Carlo error is about {spread:.2f}.\n\n"
        sections.append(f"## {title}\n\n{note}{text}\n")
    head = (
        "# What each part of the learner buys\n\n"
        "Measured by `make ablation`: one fit a draw, whose trained candidates serve all variants. The designs are\n"
        "those of `make coverage`; a column leaves candidates out of the stack, or a correction undone. A column is\n"
        "empty where a design has nothing to leave out.\n"
        f"{machine('one a draw')}\n"
    )
    return "\n".join([head, *sections])


@click.command()
@click.option("--draws", default=4, show_default=True, help="Draws of each design.")
@click.option("--designs", default=",".join(DESIGNS), show_default=True, help="Designs, with commas between them.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Draws at a time.")
def main(draws: int, designs: str, jobs: int) -> None:
    """Measure, and write docs/ablation.md."""
    tasks = [delayed(measure)(STUDIES[name], r) for name in designs.split(",") for r in range(draws)]
    rows = pd.DataFrame([row for rows in Parallel(n_jobs=jobs)(tasks) for row in rows])
    PAGE.write_text(page(rows, draws), encoding="utf-8")
    click.echo(f"written: {PAGE.relative_to(ROOT)}", err=True)


if __name__ == "__main__":
    main()

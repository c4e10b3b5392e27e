"""What do the other representations buy? `make representations` measures it, into docs/benchmarks.md.

Fits with ``learner="net"`` unless said otherwise, so that nothing but the nets is compared, one after another on one
thread. Each is a row of docs/validation/representations.csv; a fit that has its row is not made again.
"""

from __future__ import annotations

import os

if __name__ == "__main__":  # before numpy is imported
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import click
import numpy as np
import pandas as pd
import torch
from bench_speed import PAGE, REPRESENTATIONS, ROOT, commit, machine, table

import deepdml as dd
from deepdml import simulate
from deepdml.errors import DeepDMLWarning
from deepdml.simulate.draws import Simulated

SIDE = 16  # pixels of the canvas on which digits lie anywhere


def scattered(seed: int) -> Simulated:
    """Each digit of `simulate.digits` somewhere on a larger canvas: theta is what it was, its pixels are elsewhere."""
    drawn = simulate.digits(1_797, seed)
    images = drawn.data.filter(like="pixel").to_numpy().reshape(-1, 8, 8)
    rows, columns = np.random.default_rng(seed).integers(0, SIDE - 8 + 1, (2, len(images), 1)) + np.arange(8)
    canvas = np.zeros((len(images), SIDE, SIDE), np.float32)
    canvas[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None]] = images
    pixels = pd.DataFrame(canvas.reshape(len(images), -1)).add_prefix("pixel_")
    return replace(drawn, data=pd.concat([drawn.data[["y", "t"]].reset_index(drop=True), pixels], axis=1))


ROWS = ROOT / "docs/validation/representations.csv"
DESIGNS: dict[str, Callable[[int], Simulated]] = {
    "waves, n = 6,000": lambda seed: simulate.waves(6_000, seed),
    "latent factors, n = 2,000": lambda seed: simulate.latent_factors(2_000, seed),
    "digits, n = 1,797": lambda seed: simulate.digits(1_797, seed),
    "digits anywhere on 16 x 16 pixels, n = 1,797": scattered,
}
IMAGES = {"digits, n = 1,797": 8, "digits anywhere on 16 x 16 pixels, n = 1,797": SIDE}
VARIANTS: dict[str, Mapping[str, Any]] = {
    "mlp": {},
    "residual": {"backbone": "residual"},
    "conv": {},
    "ensemble of 3, average": {"ensemble": 3},
    "ensemble of 3, concat": {"ensemble": 3, "ensemble_by": "concat"},
    "mlp, views": {},
    "conv, views": {},
    "transformer": {"backbone": "transformer"},
    "default learner": {"learner": "auto"},
    "default learner, residual": {"learner": "auto", "backbone": "residual"},
}


def redrawn(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the last three covariates of the waves anew, which theta does not depend on."""
    return np.hstack([x[:, :5], rng.uniform(-1, 1, (len(x), 3))])


def rolled(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Roll each image up or down by up to three rows of pixels: ink, side and the digit stay what they are."""
    rows = (np.arange(8) + rng.integers(-3, 4, len(x))[:, None]) % 8
    return x.reshape(-1, 8, 8)[np.arange(len(x))[:, None], rows].reshape(len(x), -1)


def moved(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Roll each canvas down and to the right by any number of pixels."""
    rows, columns = (np.arange(SIDE) + rng.integers(0, SIDE, (2, len(x), 1))) % SIDE
    image = x.reshape(-1, SIDE, SIDE)
    return image[np.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None]].reshape(len(x), -1)


VIEWS = {"waves, n = 6,000": redrawn, "digits, n = 1,797": rolled, next(reversed(DESIGNS)): moved}


def possible(design: str, variant: str) -> bool:
    """Whether a design has the images or the views that a variant needs; the slow ones are made where they may pay."""
    if variant.startswith("default"):
        return design.startswith("waves")
    if variant == "transformer":
        return not design.startswith("digits anywhere")
    return (design in IMAGES or "conv" not in variant) and (design in VIEWS or "views" not in variant)


def measure(design: str, variant: str, draw: int, version: str) -> dict[str, Any]:
    """Return one fit's figures for the treatment's coefficient."""
    drawn, options = DESIGNS[design](draw), dict(VARIANTS[variant])
    backbone = options.pop("backbone", "mlp")
    clock = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeepDMLWarning)  # signal left in residuals is what is measured here
        res = dd.fit(
            drawn.formula,
            drawn.data,
            drawn.family,
            seed=draw,
            progress=False,
            backbone=dd.Conv(IMAGES[design], IMAGES[design]) if "conv" in variant else backbone,
            augment=VIEWS[design] if "views" in variant else None,
            **{"learner": "net", **options},
        )
    seconds = time.perf_counter() - clock
    outcome, treatment = (nuisance.loss for nuisance in res._fit.record.nuisances[:2])
    away = res.theta.to_numpy()[:, 1] - drawn.theta[:, 1]
    return {
        "design": design,
        "variant": variant,
        "draw": draw,
        "seconds": round(seconds, 2),
        "loss": outcome,
        "treatment": treatment,
        "rmse": float(np.sqrt((away**2).mean())),
        "z": float((res.params.iloc[1] - drawn.oracle_psi[:, 1].mean()) / res.bse.iloc[1]),
        "commit": version,
    }


def lines_of(rows: pd.DataFrame) -> list[list[Any]]:
    """Return a table's lines for the rows of one design, each beside the perceptron of the same draws."""
    lines = []
    for name in (each for each in VARIANTS if each in set(rows["variant"])):
        mine = rows[rows["variant"] == name].set_index("draw")
        mlp = rows[rows["variant"] == "mlp"].set_index("draw").loc[mine.index]
        ratios = (mine[["seconds", "rmse"]] / mlp[["seconds", "rmse"]]).mean()
        own = mine[["seconds", "loss", "treatment", "rmse", "z"]].mean()
        texts = [f"{own['seconds']:.1f}", f"{ratios['seconds']:.1f}", *(f"{v:.3f}" for v in own[1:4])]
        lines.append([name, len(mine), *texts, f"{ratios['rmse']:.2f}", f"{own['z']:.2f}", f"{mlp['z'].mean():.2f}"])
    return lines


HEAD = [
    "",
    "draws",
    "seconds",
    "times mlp's",
    "loss of y",
    "loss of t",
    "RMSE of beta(x)",
    "over mlp's",
    "z",
    "mlp's z",
]


def page(rows: pd.DataFrame) -> str:
    """Return the section of the page that the rows make."""
    blocks = []
    for design in DESIGNS:
        lines = lines_of(rows[rows["design"] == design])
        blocks.append(f"### {design[0].upper()}{design[1:]}\n\n{table(lines, HEAD)}\n")
    commits = ", ".join(dict.fromkeys(rows["commit"]))
    return f"Measured by `make representations`; the rows are of commits {commits}.\n{machine()}\n\n" + "\n".join(
        blocks
    )


@click.command()
@click.option("--draws", default=3, show_default=True, help="Draws of each design.")
@click.option(
    "--variants", default=",".join(VARIANTS).replace(", ", "; "), help="Only these, with commas between them."
)
@click.option("--designs", default="", help="Only designs that begin with one of these, with commas between them.")
@click.option("--write/--no-write", default=True, help="Whether to write the page, beside the rows.")
def main(draws: int, variants: str, designs: str, write: bool) -> None:
    """Measure what has no row yet, and write the tables into docs/benchmarks.md."""
    torch.set_num_threads(1)
    names = [name.replace("; ", ", ") for name in variants.split(",")]
    rows = pd.read_csv(ROWS) if ROWS.exists() else pd.DataFrame(columns=["design", "variant", "draw"])
    version = commit()  # once, since the checkout may move on while this runs
    known = set(zip(rows["design"], rows["variant"], rows["draw"], strict=True))
    for draw in range(1, draws + 1):
        for name in names:
            for design in (each for each in DESIGNS if each.startswith(tuple(designs.split(",")))):
                if (design, name, draw) in known or not possible(design, name):
                    continue
                row = measure(design, name, draw, version)
                click.echo(str(row), err=True)
                rows = pd.concat([rows, pd.DataFrame([row])]) if len(rows) else pd.DataFrame([row])
                rows.to_csv(ROWS, index=False, float_format="%.5g")
    if write:
        before, _, after = PAGE.read_text(encoding="utf-8").partition(REPRESENTATIONS)
        reading = after.partition("<!-- tables -->")[0]
        PAGE.write_text(f"{before}{REPRESENTATIONS}{reading}<!-- tables -->\n\n{page(rows)}", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What distillation does to an estimate whose covariates reveal the treatment: bias, precision, rows to learn on.

Draws `simulate.leaky_text`, distils its embeddings with several methods and strengths, refits, and writes the tables
between the markers of docs/leakage.md. Rows are kept as they are made; a run with more draws goes on where the last
one stopped.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

import deepdml as dd
from deepdml.errors import DeepDMLWarning, OverlapError
from deepdml.leakage.erasure import leace

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROWS = DOCS / "validation" / "leakage.csv"
PAGE = DOCS / "leakage.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"

N = 2_000
# design: covariates, how they are distilled, and at which strengths the study looks (rounds of inlp: strength times 8)
STUDY = {
    "leak": {
        "leace": ({"method": "leace"}, (0.0, 0.5, 0.75, 0.9, 1.0)),
        "leace, cross_fit=5": ({"method": "leace", "cross_fit": 5}, (1.0,)),
        "leace, fitted on another sample": ({"method": "leace", "other": True}, (1.0,)),
        "inlp": ({"method": "inlp"}, (0.125, 0.25, 0.5, 1.0)),
        "no text": ({"method": "none"}, (1.0,)),
    },
    "leak and confounding": {
        "leace": ({"method": "leace"}, (0.0, 1.0)),
        "inlp": ({"method": "inlp"}, (0.125, 0.25, 0.375, 0.5, 1.0)),
        "inlp, given x": ({"method": "inlp", "given": True}, (0.25, 1.0)),
        "salient": ({"method": "salient"}, (0.5,)),
        "no text": ({"method": "none"}, (1.0,)),
    },
    "weak leak": {
        "as it is": ({"method": "leace"}, (0.0,)),
        "leace": ({"method": "leace"}, (0.5, 1.0)),
        "inlp": ({"method": "inlp"}, (0.125, 1.0)),
    },
    "no leak": {
        "as it is": ({"method": "leace"}, (0.0,)),
        "leace": ({"method": "leace"}, (1.0,)),
        "leace, cross_fit=5": ({"method": "leace", "cross_fit": 5}, (1.0,)),
        "leace, fitted on another sample": ({"method": "leace", "other": True}, (1.0,)),
    },
}
DESIGNS = {
    "leak": {"leak": 2.0, "confounding": 0.0},
    "leak and confounding": {"leak": 2.0, "confounding": 0.7},
    "weak leak": {"leak": 1.0, "confounding": 0.0},
    "no leak": {"leak": 0.0, "confounding": 0.0},
}


def distilled(sim, other, strength: float, options: dict) -> pd.DataFrame:
    """Return the data with distilled embeddings."""
    options = dict(options)
    method = options.pop("method")
    names = [c for c in sim.data if c.startswith("emb_")]
    rest, x = sim.data.drop(columns=names), sim.data[names]
    if method == "none":
        return rest
    if options.pop("other", False):
        erasure = leace(other.data[names].to_numpy(float), other.data[["t"]].to_numpy(float), strength)
        erased = erasure(x.to_numpy(float), np.random.default_rng(0)).astype(np.float32)
        return pd.concat([rest, pd.DataFrame(erased, columns=names)], axis=1)
    if options.pop("given", False):
        options["given"] = rest.filter(like="x_")
    return pd.concat([rest, dd.leakage.distill(x, rest["t"], method, strength, **options)], axis=1)


def one(sim, frame: pd.DataFrame) -> dict[str, float]:
    """Fit once, and probe the distilled embeddings."""
    left = frame.filter(like="emb_")
    # other folds than those of a cross-fitted erasure
    found = dd.leakage.probe(left, frame["t"], seed=1).table["value"].iloc[0] if left.shape[1] else np.nan
    formula = sim.formula if left.shape[1] else "y ~ t | x_*"
    oracle = sim.oracle_psi[:, 1]
    row = {"auc": found, "oracle": oracle.mean(), "oracle_se": oracle.std() / np.sqrt(N)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeepDMLWarning)
            res = dd.fit(formula, frame, learner="net", seed=1, progress=False)
    except OverlapError:
        return {**row, "estimate": np.nan, "se": np.nan, "clipped": np.nan}
    clipped = res.diagnostics.clipped_share
    return {**row, "estimate": res.params["t"], "se": res.bse["t"], "clipped": clipped}


def run(draws: int, minutes: float) -> pd.DataFrame:
    """Draw and fit until there are `draws` of each design or the time is up."""
    rows = pd.read_csv(ROWS).to_dict("records") if ROWS.exists() else []
    done, end = {(r["design"], r["draw"]) for r in rows}, time.monotonic() + 60 * minutes
    for draw in range(draws):
        for design, variants in STUDY.items():
            if (design, draw) in done or time.monotonic() > end:
                continue
            sim, other = (dd.simulate.leaky_text(N, seed, **DESIGNS[design]) for seed in (1_000 + draw, 9_000 + draw))
            for variant, (options, strengths) in variants.items():
                for s in strengths:
                    found = one(sim, distilled(sim, other, s, options))
                    rows.append({"design": design, "draw": draw, "variant": variant, "strength": s, **found})
            pd.DataFrame(rows).to_csv(ROWS, index=False)
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> str:
    """Return one line for each variant and strength."""
    lines = []
    for (variant, strength), part in rows.groupby(["variant", "strength"], sort=False):
        fitted = part.dropna(subset="estimate")
        share = len(fitted) / len(part)
        if fitted.empty:
            lines.append((variant, strength, part["auc"].mean(), share, *[None] * 7))
            continue
        error = fitted["estimate"] - 1.0
        sharp = (fitted["estimate"] - fitted["oracle"]) / fitted["se"]
        covered = (error.abs() < 1.96 * fitted["se"]).mean()
        mc = error.std() / np.sqrt(len(error))
        ratio = (fitted["se"] / fitted["oracle_se"]).mean()
        lines.append(
            (variant, strength, part["auc"].mean(), share, error.mean(), mc, sharp.mean(), fitted["se"].mean(), ratio,
             covered, fitted["clipped"].mean())
        )  # fmt: skip
    head = [
        "covariates",
        "strength",
        "AUC",
        "fitted",
        "bias",
        "(MC)",
        "sharp bias",
        "se",
        "se/oracle se",
        "coverage",
        "clipped",
    ]
    formats = ("", "g", ".3f", ".2f", "+.3f", ".3f", "+.2f", ".3f", ".2f", ".2f", ".3f")
    return tabulate(lines, head, tablefmt="github", floatfmt=formats, missingval="")


def tables(rows: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Yield each design, how it is drawn and how often, and its table."""
    for design, part in rows.groupby("design", sort=False):
        settings = ", ".join(f"{name}={value:g}" for name, value in DESIGNS[design].items())
        yield design, f"`leaky_text(n={N:_}, {settings})`, {part['draw'].nunique()} draws", table(part)


def write(rows: pd.DataFrame) -> None:
    """Put the tables between the markers of the page."""
    parts = [f"\n### {design[0].upper()}{design[1:]}: {drawn}\n\n{text}\n" for design, drawn, text in tables(rows)]
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{''.join(parts)}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Run the study and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    rows = run(options.draws, options.minutes)
    for _, _, text in tables(rows):
        print(text)
    if PAGE.exists():
        write(rows)


if __name__ == "__main__":
    main()

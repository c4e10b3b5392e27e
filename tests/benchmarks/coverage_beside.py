"""What stands beside the study of coverage: real data with published figures, and the study of leakage."""

from __future__ import annotations

import runpy
from pathlib import Path

import pandas as pd
from bench_leakage import ROWS as LEAKAGE
from bench_leakage import tables
from bench_speed import ROOT
from tabulate import tabulate

VIGNETTE = ROOT / "vignettes" / "02_published_studies.py"
COLUMNS = ["study", "estimate", "se", "low", "high", "published", "commit"]


def refresh(path: Path, commit: str) -> None:
    """Run the vignette of published studies again, unless the rows at `path` are of this commit."""
    if path.exists() and set(pd.read_csv(path, dtype=str)["commit"]) == {commit}:
        return
    rows = []
    for name, (results, published) in runpy.run_path(str(VIGNETTE))["studies"].items():
        label = results.params.index[-1]
        low, high = results.conf_int().loc[label]
        rows.append([name, results.params[label], results.bse[label], low, high, published, commit])
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def real_data_section(path: Path) -> str:
    """Return the table of real data beside published figures."""
    if not path.exists():
        return "Not run yet."
    rows = pd.read_csv(path)
    lines = [
        [row.study, f"{row.estimate:,.2f} ({row.se:,.2f})", f"{row.low:,.2f} to {row.high:,.2f}", row.published]
        for row in rows.itertuples()
    ]
    head = ["study", "estimate (se)", "95 % interval", "published (se)"]
    text = str(tabulate(lines, head, tablefmt="github", disable_numparse=True))
    return f"{text}\n\nCommit {rows['commit'].iloc[0]}."


def leakage_section() -> str:
    """Return the tables of the study of leakage."""
    if not LEAKAGE.exists():
        return "Not run yet."
    return "\n\n".join(f"{drawn}:\n\n{text}" for _, drawn, text in tables(pd.read_csv(LEAKAGE)))

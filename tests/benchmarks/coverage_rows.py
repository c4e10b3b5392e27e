"""The rows of the coverage study: how one is made, and the files that keep them.

A file holds one line for each coefficient of each replication, appended when the replication is done.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from bench_speed import PEER_OPTIONS, ROOT
from coverage_studies import STUDIES, Study
from numpy.typing import NDArray

from deepdml.errors import DeepDMLError, DeepDMLWarning
from deepdml.simulate import Simulated

Estimator = Literal["deepdml", "deep-inference", "DoubleML"]

SAME = 1e-6  # of an estimate or a standard error that is run again; the same bits are expected, text keeps 12 digits
MEASURES = ROOT / "tests" / "benchmarks" / "measures.py"


@dataclass(frozen=True, slots=True)
class Row:
    """One coefficient of one replication.

    Parameters
    ----------
    design : str
        Name of the study.
    n, replication : int
    coefficient : str
        Its name in the regression table.
    d : int
        Coefficients of this replication that are kept, so that a replication cut short is known.
    estimate, se : float
        NaN where the fit refused the draw.
    truth : float
        Population value.
    oracle, oracle_se : float
        Mean of the oracle psi on the same rows, and its standard error (by cluster where there are clusters).
    efficient : int
        1 where `oracle_se` is the semiparametric efficiency bound.
    rmse, correlation, spread : float
        Of theta(x) over the rows: root mean squared error, correlation with the truth, and its sd over the truth's;
        the latter two NaN where the truth is constant or the fit is not ours.
    wald : float
        Statistic of the joint test that all coefficients equal their truth, chi-squared with d degrees of freedom.
    seconds : float
        Of processor time in one thread, which other work on the machine hardly changes.
    warned : int
        Warnings of the fit.
    outcome, treatment, both : float
        The fit's diagnostics of signal left in held-out residuals; NaN where it has none.
    commit : str
        Commit, or version of the peer, that made the row.
    """

    design: str
    n: int
    replication: int
    coefficient: str
    d: int
    estimate: float
    se: float
    truth: float
    oracle: float
    oracle_se: float
    efficient: int
    rmse: float
    correlation: float
    spread: float
    wald: float
    seconds: float
    warned: int
    outcome: float
    treatment: float
    both: float
    commit: str


SIGNALS = ("outcome", "treatment", "both")
FIELDS = [column.name for column in fields(Row)]


@dataclass(frozen=True, slots=True)
class Task:
    """One replication to run: of which study, by whom and with which interpreter (of a peer) or commit (of ours)."""

    study: str
    replication: int
    estimator: Estimator = "deepdml"
    python: str = ""
    commit: str = "unknown"


def perform(task: Task) -> tuple[Task, list[Row]]:
    """Run one replication on one thread."""
    study = STUDIES[task.study]
    if task.estimator == "deepdml":
        return task, ours(study, task.replication, task.commit)
    return task, peer(study, task)


def ours(study: Study, replication: int, commit: str) -> list[Row]:
    """Fit a draw through the public API, by default unless the study says else, and return each coefficient's row."""
    import torch

    import deepdml

    for layer in ("results", "learn.fitting"):  # no import is timed
        importlib.import_module(f"deepdml.{layer}")
    torch.set_num_threads(1)
    drawn = study.draw(replication)
    names = list(drawn.truth)
    estimates = errors = rmse = correlation = spread = np.full(len(names), np.nan)
    wald = np.nan
    signal: Mapping[str, float] = {}
    clock = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DeepDMLWarning)
        try:
            results = deepdml.fit(
                drawn.formula, drawn.data, drawn.family, seed=replication, progress=False, **drawn.fit, **study.fit
            )
        except DeepDMLError as error:
            print(f"{study.name}, replication {replication}: {error}")
            results = None
    seconds = time.process_time() - clock
    if results is not None:
        estimates, errors = results.params[names].to_numpy(), results.bse[names].to_numpy()
        theta = results.theta[names].to_numpy()
        rmse = np.sqrt(((theta - drawn.theta) ** 2).mean(0))
        correlation, spread = likeness(theta, drawn.theta)
        signal = results.diagnostics.signal
        wald = joint_wald(estimates, results.cov_params().loc[names, names].to_numpy(), list(drawn.truth.values()))
    return [
        Row(
            **known(study, drawn, replication, place),
            d=len(names),
            estimate=float(estimates[place]),
            se=float(errors[place]),
            rmse=float(rmse[place]),
            correlation=float(correlation[place]),
            spread=float(spread[place]),
            wald=float(wald),
            seconds=seconds,
            warned=sum(issubclass(w.category, DeepDMLWarning) for w in caught),
            **{name: float(signal.get(name, np.nan)) for name in SIGNALS},
            commit=commit,
        )
        for place in range(len(names))
    ]


def likeness(theta: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, in two rows, the correlation of each column with the truth and its sd over the truth's.

    A truth that does not vary has neither.
    """
    varies = truth.std(0) > 1e-12 * np.abs(truth).max(0)
    found = np.full((2, truth.shape[1]), np.nan)
    for k in np.flatnonzero(varies):
        found[:, k] = np.corrcoef(theta[:, k], truth[:, k])[0, 1], theta[:, k].std() / truth[:, k].std()
    return found


def known(study: Study, drawn: Simulated, replication: int, place: int) -> dict[str, Any]:
    """Return the fields of a row that the draw alone decides."""
    return {
        "design": study.name,
        "n": study.n,
        "replication": replication,
        "coefficient": list(drawn.truth)[place],
        "truth": float(list(drawn.truth.values())[place]),
        "oracle": float(drawn.oracle_psi[:, place].mean()),
        "oracle_se": oracle_error(drawn, place),
        "efficient": int(drawn.efficient),
    }


def oracle_error(drawn: Simulated, place: int) -> float:
    """Return the standard error of the mean of the oracle psi, clustered where the fit is."""
    centred = drawn.oracle_psi[:, place] - drawn.oracle_psi[:, place].mean()
    groups = drawn.fit.get("cov_kwds", {}).get("groups")
    if groups is not None:
        centred = pd.Series(centred).groupby(drawn.data[groups].to_numpy()).sum().to_numpy()
    m = len(centred)
    return float(np.sqrt(m / (m - 1) * (centred**2).sum()) / len(drawn.data))


def joint_wald(estimates: Any, covariance: Any, truth: Any) -> float:
    """Return the Wald statistic of the hypothesis that all coefficients equal the truth."""
    difference = np.asarray(estimates) - np.asarray(truth)
    return float(difference @ np.linalg.solve(covariance, difference))


def peer(study: Study, task: Task) -> list[Row]:
    """Fit a draw with another package, in a process of its own; it reports the treatment's coefficient alone."""
    drawn = study.draw(task.replication)
    values = known(study, drawn, task.replication, 1)
    prefix = drawn.formula.split("|")[1].strip().rstrip("*")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "draw.npz"
        np.savez(
            path,
            y=drawn.data.iloc[:, 0].to_numpy(),
            t=drawn.data.iloc[:, 1].to_numpy(),
            x=drawn.data[[name for name in drawn.data if name.startswith(prefix)]].to_numpy(),
            beta=drawn.theta[:, 1],
            truth=values["truth"],
            oracle=values["oracle"],
        )
        keywords = {"path": str(path), "seed": task.replication}
        if task.estimator == "DoubleML":
            name, keywords = "doubleml", keywords | {"model": study.doubleml}
        else:
            name, keywords = "peer", keywords | {"family": drawn.family, **PEER_OPTIONS}
        command = [task.python, str(MEASURES), name, json.dumps(keywords)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{task.estimator} failed on {study.name}, {task.replication}:\n{done.stderr[-2000:]}")
    run = json.loads(done.stdout.splitlines()[-1])
    found = {name: float(run[name]) for name in ("estimate", "se", "rmse")}
    found["seconds"] = float(run["cpu_seconds"])
    unknown = dict.fromkeys(("correlation", "spread", "wald", *SIGNALS), np.nan)
    return [Row(**values, **found, **unknown, d=1, warned=0, commit=run["version"])]


def can_fit(estimator: Estimator, study: Study) -> bool:
    """Say whether a package estimates what a study is about: one treatment in gaussian, logit or poisson outcomes.

    DoubleML has to estimate the same number, too. A design with options of our own is none of theirs.
    """
    if study.fit:
        return False
    if estimator == "DoubleML":
        return study.doubleml is not None
    return study.design not in ("arms", "choices", "durations", "outcome", "two_treatments")


def read(path: Path) -> pd.DataFrame:
    """Return the rows of a file, without replications that a killed run left unfinished."""
    if not path.exists():
        return pd.DataFrame(columns=FIELDS)
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    rows = pd.read_csv(StringIO(whole), dtype={"design": str, "coefficient": str, "commit": str})
    if list(rows.columns) != FIELDS:
        raise ValueError(f"{path.name} has the columns {list(rows.columns)}; {FIELDS} are needed. Remove the file.")
    counts = rows.groupby(["design", "replication"])["coefficient"].transform("size")
    finished = rows[counts == rows["d"]].reset_index(drop=True)
    if len(finished) < len(rows) or whole != text:
        write(path, finished)
    return finished


def write(path: Path, rows: pd.DataFrame) -> None:
    """Replace a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".csv.partial")
    rows.to_csv(partial, index=False, float_format="%.12g", lineterminator="\n")
    partial.replace(path)


def append(path: Path, rows: list[Row]) -> None:
    """Add the rows of one replication in one write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = frame(rows).to_csv(index=False, header=not path.exists(), float_format="%.12g", lineterminator="\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def frame(rows: list[Row]) -> pd.DataFrame:
    """Return rows as a frame with the columns of the files."""
    return pd.DataFrame([asdict(row) for row in rows], columns=FIELDS)


def discard(path: Path, design: str) -> int:
    """Remove a design's rows from a file and return how many replications that were."""
    rows = read(path)
    gone = rows["design"] == design
    if gone.any():
        write(path, rows[~gone])
    return int(rows.loc[gone, "replication"].nunique())


def same(stored: pd.DataFrame, fresh: pd.DataFrame, columns: tuple[str, ...] = ("estimate", "se", "oracle")) -> bool:
    """Say whether a replication that was run again gives what is stored, up to `SAME` of the larger of value and se."""
    joined = stored.merge(fresh, on=["design", "replication", "coefficient"], suffixes=("", "_fresh"))
    if len(joined) != len(stored):
        return False
    for column in columns:
        old, new = (joined[name].to_numpy(float) for name in (column, f"{column}_fresh"))
        scale = np.maximum(np.abs(old), joined["oracle_se"].to_numpy(float))
        close = (np.abs(old - new) <= SAME * scale) | (np.isnan(old) & np.isnan(new))
        if not close.all():
            return False
    return True

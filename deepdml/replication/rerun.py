"""Running a package again: the end of its master script, and the comparison with what it expects."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from deepdml.errors import DataError
from deepdml.replication.artefacts import read_numbers, write_outcome
from deepdml.replication.environment import THREADS, same_machine
from deepdml.replication.manifest import OUTPUT
from deepdml.results import Results
from deepdml.terminal import shows_progress

# Elsewhere than on the machine that wrote the package, sums round differently. Training amplifies that until nets are
# as different as from another seed; orthogonal scores let such differences into the estimates only to second order.
ESTIMATE = 0.2  # standard errors
STANDARD_ERROR = 0.1  # share of itself

REPORT = "run.json"
_TICK = 0.5  # seconds between two looks at a process


def run(folder: str | Path, exhibits: Callable[[], Mapping[str, Results]]) -> None:
    """Make every exhibit again, write it below the output folder, compare, and leave with exit code 1 if one differs.

    The last call of a package's master script; ``--output`` on the command line names another folder.

    Parameters
    ----------
    folder : path
        The package.
    exhibits : callable
        Returns the Results by the name of the exhibit.
    """
    folder = Path(folder)
    parser = argparse.ArgumentParser(description="Make every table of this package again from the raw data.")
    parser.add_argument("--output", type=Path, default=folder / OUTPUT, help="where to write (default: output/)")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    made = exhibits()
    config, environment = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("config", "environment")
    )
    exact = same_machine(environment)
    failures = []
    for entry in config["exhibits"]:
        write_outcome(output, entry["slug"], made[entry["name"]])
        failure = compare(folder, output, entry["name"], entry["slug"], exact)
        click.echo(failure or f"{entry['name']}: {'the same bits' if exact else 'within the tolerance'}")
        failures += [failure] if failure else []
    report = {"seconds": time.perf_counter() - start, "megabytes": peak_memory(), "exact": exact, "failures": failures}
    (output / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if failures:
        sys.exit(1)


def compare(expected: Path, got: Path, name: str, slug: str, exact: bool) -> str | None:
    """Return how a table made again differs from the one of the package; None where it does not.

    Parameters
    ----------
    exact : bool
        Whether every bit must agree, or estimates to `ESTIMATE` standard errors and standard errors to a share of
        `STANDARD_ERROR`.
    """
    names, params, matrix = read_numbers(expected, slug)
    names_now, params_now, matrix_now = read_numbers(got, slug)
    if names != names_now:
        return f"{name}: the rerun has other rows ({', '.join(names_now)}) than the package ({', '.join(names)})"
    errors, errors_now = np.sqrt(np.diag(matrix)), np.sqrt(np.diag(matrix_now))
    away = np.abs(params_now - params) / errors
    wider = np.abs(errors_now / errors - 1)
    worst = f"an estimate by {away.max():.2g} standard errors, a standard error by {wider.max():.2%}"
    if exact:
        same = np.array_equal(params, params_now) and np.array_equal(matrix, matrix_now)
        return None if same else f"{name}: the rerun differs on the machine where every bit must agree: {worst}"
    if (away <= ESTIMATE).all() and (wider <= STANDARD_ERROR).all():
        return None
    return f"{name}: the rerun differs by more than {ESTIMATE} standard errors or {STANDARD_ERROR:.0%}: {worst}"


def peak_memory() -> float | None:
    """Return the most memory this process has held, in MB; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def rerun_script(
    folder: Path, script: str, output: Path, *, recorded: float = 0.0, progress: bool | None = None
) -> dict[str, Any]:
    """Run a package's master script in a process of its own, with the threads recorded, and return its report.

    Parameters
    ----------
    folder, script, output : path, str, path
    recorded : float
        Seconds that the fits took when the package was written, to which a progress bar runs.
    progress : bool, optional
        Whether to show that bar; by default where standard error is a terminal.

    Raises
    ------
    DataError
        If the script does not come to its end.
    """
    threads = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["threads in the environment"]
    environment = {name: value for name, value in os.environ.items() if name not in THREADS} | threads
    command = [sys.executable, str(folder.resolve() / script), "--output", str(output)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=output, env=environment, **pipes) as process:
        try:
            messages = _wait(process, script, recorded, shows_progress(progress))
        except BaseException:
            process.kill()  # an interrupted check leaves nothing that trains on
            raise
    if not (output / REPORT).is_file():
        last = (messages.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"{script} stopped with exit code {process.returncode}: {last}")
    report: dict[str, Any] = json.loads((output / REPORT).read_text(encoding="utf-8"))
    return report


def _wait(process: subprocess.Popen[str], script: str, recorded: float, show: bool) -> str:
    """Return what a process wrote to standard error; meanwhile a bar shows the time, against any recorded seconds."""
    layout = "{desc} |{bar}| {elapsed}" + (", recorded {total:.0f} s" if recorded else "")
    with tqdm(total=max(recorded, 1.0), disable=not show, bar_format=layout, leave=False) as bar:
        bar.set_description_str(f"{script} trains again")
        start = time.monotonic()
        while True:
            try:
                return process.communicate(timeout=_TICK)[1]
            except subprocess.TimeoutExpired:
                bar.n = min(time.monotonic() - start, bar.total or 0.0)
                bar.refresh()

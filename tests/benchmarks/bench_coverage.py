"""Do the intervals hold? `make coverage` runs this study, keeps its rows and writes docs/validation.md.

Every replication is one fit through the public API with default settings. Its rows are appended when it is done, so
a run that is killed goes on where it was, and the study grows run by run.
"""

from __future__ import annotations

import os

if __name__ == "__main__":  # the parallelism is over replications; workers inherit this before they import numpy
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import pandas as pd
from bench_speed import ROOT, git, machine
from coverage_beside import leakage_section, real_data_section, refresh
from coverage_page import page
from coverage_rows import (
    Estimator,
    Row,
    Task,
    append,
    can_fit,
    discard,
    frame,
    perform,
    read,
    same,
)
from coverage_studies import STUDIES
from joblib import Parallel, delayed

FOLDER = ROOT / "docs" / "validation"
PAGE = ROOT / "docs" / "validation.md"
FILES: dict[Estimator, str] = {
    "deepdml": "ours.csv",
    "deep-inference": "deep_inference.csv",
    "DoubleML": "doubleml.csv",
}
REAL = "real.csv"
Done = tuple[Task, list[Row]]
Runner = Callable[[Iterable[Task]], Iterable[Done]]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the study.

    Parameters
    ----------
    folder : Path
        Where the rows are kept.
    runner : callable
        Performs tasks, taking each only when it can start it, and yields what is done in any order.
    commit : str
        What is measured.
    pythons : mapping
        Interpreters of the peers.
    seconds : float
        After so many no task is started.
    """

    folder: Path
    runner: Runner
    commit: str
    pythons: dict[Estimator, str] = field(default_factory=dict)
    seconds: float = float("inf")
    start: float = field(default_factory=time.monotonic)

    def path(self, estimator: Estimator) -> Path:
        """Return the file of an estimator's rows."""
        return self.folder / FILES[estimator]

    def ours(self, wanted: dict[str, int]) -> None:
        """Run replications of deepdml until each design has as many as wanted."""
        path = self.path("deepdml")
        stored = read(path)
        first = {str(name): int(rows["replication"].min()) for name, rows in stored.groupby("design")}
        sure = set(wanted) - set(first)
        for task, rows in self.perform("deepdml", [(name, first[name]) for name in wanted if name in first]):
            if not self.reproduces(stored, task, rows):
                self.begin_anew(task.study, rows)
            sure.add(task.study)
        rest = self.pending(path, {name: m for name, m in wanted.items() if name in sure})
        for task, rows in self.perform("deepdml", rest):
            append(path, rows)
            report(task, rows)

    def reproduces(self, stored: pd.DataFrame, task: Task, rows: list[Row]) -> bool:
        """Say whether a replication that was run again gives what is stored."""
        mine = (stored["design"] == task.study) & (stored["replication"] == task.replication)
        return same(stored[mine], frame(rows))

    def begin_anew(self, design: str, rows: list[Row]) -> None:
        """Keep of a design only a replication that was run again."""
        gone = discard(self.path("deepdml"), design)
        append(self.path("deepdml"), rows)
        click.echo(
            f"{design}: its first replication gives other figures than those stored, so its {gone} replications are "
            "discarded and it begins anew (git has the old rows)",
            err=True,
        )
        self.check_peers(design, rows)

    def check_peers(self, design: str, rows: list[Row]) -> None:
        """Discard the peers' rows of a design whose draws are no longer the same."""
        for estimator in FILES:
            if estimator == "deepdml":
                continue
            theirs = read(self.path(estimator))
            theirs = theirs[(theirs["design"] == design) & (theirs["replication"] == rows[0].replication)]
            if len(theirs) and not same(theirs, frame(rows), ("oracle", "truth")):
                gone = discard(self.path(estimator), design)
                click.echo(f"{design}: the draws have changed; {gone} rows of {estimator} are discarded", err=True)

    def peer(self, estimator: Estimator, wanted: dict[str, int]) -> None:
        """Run replications of another package until each design has as many as wanted."""
        path = self.path(estimator)
        able = {name: m for name, m in wanted.items() if can_fit(estimator, STUDIES[name])}
        for task, rows in self.perform(estimator, self.pending(path, able)):
            append(path, rows)
            report(task, rows)

    def pending(self, path: Path, wanted: dict[str, int]) -> list[tuple[str, int]]:
        """Return what is missing, all first replications before all second ones and so on."""
        stored = read(path)
        done = set(zip(stored["design"], stored["replication"], strict=True))
        rounds = range(max(wanted.values(), default=0))
        return [(name, r) for r in rounds for name, m in wanted.items() if r < m and (name, r) not in done]

    def perform(self, estimator: Estimator, pairs: list[tuple[str, int]]) -> Iterator[Done]:
        """Perform tasks until the time is up."""
        if pairs:
            click.echo(f"{estimator}: {len(pairs):,} replications to run", err=True)
        yield from self.runner(self.tasks(estimator, pairs))

    def tasks(self, estimator: Estimator, pairs: list[tuple[str, int]]) -> Iterator[Task]:
        """Yield tasks while there is time."""
        for name, replication in pairs:
            if time.monotonic() - self.start > self.seconds:
                return
            yield Task(name, replication, estimator, self.pythons.get(estimator, ""), self.commit)

    def write_page(self, path: Path) -> None:
        """Write the page from all rows that are stored."""
        peers = {estimator: read(self.path(estimator)) for estimator in FILES if estimator != "deepdml"}
        ours, where = read(self.path("deepdml")), machine("one for each fit")
        text = page(ours, peers, where, real_data_section(self.folder / REAL), leakage_section())
        path.write_text(text, encoding="utf-8")


def report(task: Task, rows: list[Row]) -> None:
    """Say on the terminal what a replication gave."""
    row = rows[-1]
    click.echo(
        f"{time.strftime('%H:%M:%S')} {task.estimator} {task.study} {task.replication}: "
        f"{(row.estimate - row.truth) / row.se:+.2f} se off, {(row.estimate - row.oracle) / row.se:+.2f} against the "
        f"oracle, {row.seconds:.1f} s",
        err=True,
    )


def commit() -> str:
    """Return the last commit that changed the package: commits of rows or of docs don't make other figures."""
    changed = git("status", "--porcelain", "--", "deepdml")
    return (git("log", "-1", "--format=%h", "--", "deepdml") or "unknown") + (" with changes" if changed else "")


def parallel(jobs: int) -> Runner:
    """Return a runner that performs `jobs` tasks at once and takes the next only when one is done."""

    def runner(tasks: Iterable[Task]) -> Iterable[Done]:
        pool = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)
        done: Iterable[Done] = pool(delayed(perform)(task) for task in tasks)
        return done

    return runner


def chosen(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str]:
    """Read a list of designs."""
    names = [name.strip() for name in value.split(",")] if value else list(STUDIES)
    for name in names:
        if name not in STUDIES:
            raise click.BadParameter(f"{name!r} is no design; there are {', '.join(STUDIES)}.")
    return names


@click.command()
@click.option("--designs", callback=chosen, help="Only these, with commas between them; all by default.")
@click.option("--replications", type=click.IntRange(0), help="Of each design; by default its own number, mostly 100.")
@click.option("--minutes", type=float, default=float("inf"), help="Start no fit after so many minutes.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count(), show_default=True, help="Fits at once.")
@click.option("--peer-replications", default=0, show_default=True, help="Of each design, for the packages named below.")
@click.option("--peer-python", help="Interpreter that has deep-inference 0.2.0.")
@click.option("--doubleml-python", help="Interpreter that has DoubleML and scikit-learn.")
def main(
    designs: list[str],
    replications: int | None,
    minutes: float,
    jobs: int,
    peer_replications: int,
    peer_python: str | None,
    doubleml_python: str | None,
) -> None:
    """Go on with the study and write docs/validation.md; with --replications 0, write the page alone."""
    if peer_replications and not (peer_python or doubleml_python):
        raise click.UsageError("--peer-replications needs --peer-python or --doubleml-python.")
    pythons: dict[Estimator, str] = {"deep-inference": peer_python or "", "DoubleML": doubleml_python or ""}
    run = Run(FOLDER, parallel(jobs), commit(), pythons, 60 * minutes)
    wanted = {name: STUDIES[name].replications if replications is None else replications for name in designs}
    if replications != 0:
        run.ours(wanted)
        refresh(FOLDER / REAL, run.commit)
    for estimator, python in pythons.items():
        if python and peer_replications:
            run.peer(estimator, dict.fromkeys(designs, peer_replications))
    run.write_page(PAGE)
    click.echo(f"written: {PAGE.relative_to(ROOT)}", err=True)


if __name__ == "__main__":
    main()

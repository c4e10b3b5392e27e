"""Speed, accuracy and memory beside deep-inference 0.2.0: `make bench` runs this and writes docs/benchmarks.md.

Everything runs in one session, one measurement after another, each in a fresh process on one thread. deep-inference is
the optional extra `bench`; where it lives in another environment, name its interpreter with --peer-python.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from deepdml.simulate.outcomes import OUTCOMES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
REPRESENTATIONS = "## Representations\n"  # what follows is written by bench_representations.py
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Setting:
    """A seed setting: its design, its family and the speed-ups asked of learner="net" and of the default."""

    design: str
    family: str
    n: int
    net_goal: float
    default_goal: float | None


SETTINGS = (
    Setting("wages", "gaussian", 10_000, 30, 7),
    Setting("purchases", "logit", 16_000, 15, None),
    Setting("citations", "poisson", 12_000, 15, None),
)
PEER_OPTIONS = {"hidden_dims": [128, 64], "epochs": 150, "n_folds": 50}
NET_OPTIONS = {"learner": "net", "hidden": [128, 64], "n_folds": 50}
DEFAULT_OPTIONS = {"n_folds": 50}
GROWTH = (10_000, 50_000, 200_000)
WIDE = (50_000, 768)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where measurements run: the interpreters, the folder of drawn data and the seed."""

    folder: Path
    peer_python: str
    seed: int

    def measure(self, name: str, **keywords: Any) -> dict[str, Any]:
        """Run one measure of measures.py in a fresh process and return what it prints."""
        python = self.peer_python if name == "peer" else sys.executable
        command = [python, str(ROOT / "tests" / "benchmarks" / "measures.py"), name, json.dumps(keywords)]
        click.echo(f"{name} {keywords} ...", err=True)
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        if done.returncode != 0:
            raise click.ClickException(f"{name} failed:\n{done.stderr[-2000:]}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        click.echo(f"  {result}", err=True)
        return result

    def draw(self, design: str, n: int, p: int = 0) -> str:
        """Return the file that holds a drawn design, drawing it if need be."""
        path = self.folder / f"{design}-{n}-{p}.npz"
        if not path.exists():
            self.measure("draw", path=str(path), design=design, n=n, seed=self.seed, p=p)
        return str(path)

    def fit(self, design: str, family: str, n: int, p: int = 0, who: str = "ours", **options: Any) -> dict[str, Any]:
        """Fit a drawn design with deepdml ("ours") or deep-inference ("peer")."""
        return self.measure(who, path=self.draw(design, n, p), family=family, seed=self.seed, **options)

    def median_fit(self, design: str, family: str, n: int, **options: Any) -> dict[str, Any]:
        """Fit a drawn design with deepdml three times and return the run of median time: seconds are noisy."""
        runs = [self.fit(design, family, n, **options) for _ in range(3)]
        return sorted(runs, key=lambda run: float(run["seconds"]))[1]


def verdict(reached: bool) -> str:
    """Return what stands in the column of goals."""
    return "reached" if reached else "missed"


def section_speed(bench: Bench) -> str:
    """Fit each seed setting with deep-inference, with learner="net" and with the default."""
    rows, verdicts, epochs = [], [], []
    for setting in SETTINGS:
        arguments = (setting.design, setting.family, setting.n)
        theirs = bench.fit(*arguments, who="peer", **PEER_OPTIONS)
        epochs.append(f"{theirs['mean_epochs']:.0f}")
        net, default = (bench.median_fit(*arguments, **options) for options in (NET_OPTIONS, DEFAULT_OPTIONS))
        label = f"{setting.family}, n = {setting.n:,}"
        for name, run in (("deep-inference", theirs), ('deepdml, `learner="net"`', net), ("deepdml, default", default)):
            ratio = theirs["seconds"] / run["seconds"]
            rows.append(
                [
                    label,
                    name,
                    run["seconds"],
                    ratio,
                    run["rmse"],
                    run["estimate"],
                    run["se"],
                    run["z"],
                    run["z_oracle"],
                ]
            )
            goal = {'deepdml, `learner="net"`': setting.net_goal, "deepdml, default": setting.default_goal}.get(name)
            if goal is not None:
                verdicts.append([f"{label}, {name}: {goal:g} times as fast", f"{ratio:.1f}", verdict(ratio >= goal)])
            if run is not theirs:
                share = run["rmse"] / theirs["rmse"]
                verdicts.append([f"{label}, {name}: RMSE at most half", f"{share:.2f}", verdict(share <= 0.5)])
                verdicts.append(
                    [f"{label}, {name}: z of the estimate under 3", f"{run['z']:+.2f}", verdict(abs(run["z"]) < 3)]
                )
    head = [
        "setting",
        "package",
        "seconds",
        "times as fast",
        "RMSE of beta(x)",
        "estimate",
        "se",
        "z against the truth",
        "z against the oracle",
    ]
    return f"""## The seed settings

64-dimensional embeddings of five clusters, 50 folds, hidden layers (128, 64); `deepdml.simulate.wages`, `purchases`
and `citations` hold the exact formulas. deep-inference runs as in its own tutorial on embeddings
(`hidden_dims=[128, 64], epochs=150, n_folds=50`; the rest, full batches, rate 0.01 and patience 10, is its default; it
stopped by itself after {", ".join(epochs)} epochs on average). The default of deepdml chooses its layers and epochs
itself. Seconds of deepdml are the median of three runs, those of deep-inference one run. "z against the oracle" is the
estimate less the mean of the true influence values on the same rows, in standard errors: the error that the nets cause.

{table(rows, head, ".3g")}

{table(verdicts, ["goal", "measured", ""])}
"""


def section_folds(bench: Bench) -> str:
    """Compare 50 folds with 5."""
    rows = []
    for name, options in (('`learner="net"`', NET_OPTIONS), ("default", {})):
        five, fifty = (bench.fit("wages", "gaussian", 10_000, **(options | {"n_folds": k}))["seconds"] for k in (5, 50))
        rows.append([name, five, fifty, fifty / five, verdict(fifty <= 1.5 * five)])
    body = table(rows, ["learner", "5 folds, s", "50 folds, s", "ratio", ""], ".3g")
    return f"## Fifty folds for the price of five\n\nGaussian setting; the goal is a ratio of at most 1.5.\n\n{body}\n"


def section_growth(bench: Bench) -> str:
    """Time, memory and accuracy from 10,000 to 200,000 rows, and memory of a wide matrix."""
    runs = [(n, 64, bench.fit("wages", "gaussian", n)) for n in GROWTH]
    first = runs[0][2]["seconds"] / runs[0][0]
    runs.append((*WIDE, bench.fit("wages", "gaussian", WIDE[0], WIDE[1])))
    rows = []
    for n, p, run in runs:
        allowed = 3 * run["covariate_bytes"] + GIB
        linear = verdict(run["seconds"] <= first * n) if p == 64 and n > GROWTH[0] else ""
        memory = verdict(run["peak_bytes"] <= allowed)
        rows.append(
            [
                f"{n:,} x {p}",
                run["seconds"],
                1000 * run["seconds"] / n,
                linear,
                run["peak_bytes"] / GIB,
                allowed / GIB,
                memory,
                run["z"],
            ]
        )
    head = ["rows x covariates", "seconds", "ms a row", "at most linear", "peak, GiB", "allowed, GiB", "", "z"]
    return f"""## Growth

Gaussian setting, default options. Time should grow at most linearly from 10,000 to 200,000 rows; peak memory (the
largest resident set of the process: Python, torch and the data frame included) is allowed three times the covariates in
float32 plus 1 GiB.

{table(rows, head, ".3g")}
"""


def section_families(bench: Bench) -> str:
    """Time every family beside poisson on rows of the same size."""
    same = {"n": 10_000, "seed": bench.seed}
    cases = [*({"design": "outcome", "law": law} for law in OUTCOMES), {"design": "durations"}, {"design": "choices"}]
    wanted = [case | same | {"p": p} for p in (6, 64) for case in cases]
    wanted.append(same | {"design": "citations", "p": 64, "family": "negbin"})
    rows = []
    for case in wanted:
        run = bench.measure("family_time", **case)
        ratio = run["seconds"] / run["poisson"]
        label = f"`{case['design']}`"
        rows.append([label, run["family"], case["p"], run["seconds"], run["poisson"], ratio, verdict(ratio <= 1.5)])
    head = ["design", "family", "covariates", "seconds", "poisson, s", "ratio", ""]
    return f"""## Families

Default fits with 10,000 rows, six covariates of the design and normal noise up to 64, each beside a poisson fit of as
many rows and columns: of the counts of `outcome(family="negbin")`, or of the same counts for `citations`. Seconds are
of processor time. The goal is a ratio of at most 1.5.

{table(rows, head, ".3g")}
"""


def section_estimands(bench: Bench) -> str:
    """Time new estimands on fits of 100,000 rows with a continuous treatment."""
    rows = []
    for family in ("logit", "gamma", "mnlogit"):
        run = bench.measure("estimand_time", family=family, n=100_000, seed=bench.seed)
        rows += [[family, name, seconds, verdict(seconds < 1)] for name, seconds in run["seconds"].items()]
    body = table(rows, ["family", "estimand", "seconds", ""], ".2g")
    return f"""## Estimands at 100,000 rows

Of a fitted model with a continuous treatment, default learner: one call of `estimate`, in seconds of processor time.
The goal is one second.

{body}
"""


def section_loop(bench: Bench) -> str:
    """Report the training loop beside bare matrix products."""
    run = bench.measure("loop_speed")
    row = [
        run["shapes"],
        1e3 * run["loop"],
        1e3 * run["bare"],
        run["bare"] / run["loop"],
        verdict(run["loop"] <= 2 * run["bare"]),
    ]
    body = table([row], ["shapes", "a step, ms", "its products alone, ms", "share", ""], ".3g")
    goal = "A step of training beside the batched matrix products it consists of; the goal is half their speed."
    return f"## The training loop\n\n{goal}\n\n{body}\n"


def section_conversion(bench: Bench) -> str:
    """Report the time from DataFrame to arrays."""
    run = bench.measure("conversion")
    assert run is not None
    rows = [[f"{run['n']:,} x {run['p']}", run["seconds"], verdict(run["seconds"] < 0.3)]]
    body = table(rows, ["float32 columns", "seconds", ""], ".3g")
    return f"## From the data frame to the nets\n\nThe goal is 0.3 seconds.\n\n{body}\n"


SECTIONS = {
    "speed": section_speed,
    "folds": section_folds,
    "growth": section_growth,
    "families": section_families,
    "estimands": section_estimands,
    "loop": section_loop,
    "conversion": section_conversion,
}


def table(rows: list[list[Any]], head: list[str], floats: str = "g") -> str:
    """Return a Markdown table."""
    return str(tabulate(rows, head, tablefmt="github", floatfmt=floats, disable_numparse=False))


def machine(used: str = "of which one is used") -> str:
    """Describe where and with what the measurements were made; `used` says how the cores were."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    versions = ", ".join(f"{name} {version(name)}" for name in ("deepdml", "torch", "numpy"))
    return (
        f"{cpu}, {os.cpu_count()} cores {used}; Python {platform.python_version()}, {versions}; "
        f"commit {commit()}; {datetime.now(UTC):%Y-%m-%d}."
    )


def git(*arguments: str) -> str:
    """Return what git says of this checkout; nothing where there is no git."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def commit() -> str:
    """Return the commit measured, with a note if the work tree differs from it."""
    changed = git("status", "--porcelain", "--", "deepdml")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


@click.command()
@click.option(
    "--only", type=click.Choice(list(SECTIONS)), multiple=True, help="Print these sections instead of writing the page."
)
@click.option("--seed", default=1, show_default=True, help="Seed of the data and of the fits.")
@click.option("--peer-python", default=sys.executable, help="Interpreter that has deep-inference 0.2.0.")
def main(only: tuple[str, ...], seed: int, peer_python: str) -> None:
    """Measure, and write docs/benchmarks.md."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), peer_python, seed)
        sections = [SECTIONS[name](bench) for name in only or SECTIONS]
    if only:
        click.echo("\n".join(sections))
        return
    introduction = (
        "# Speed and accuracy\n\nMeasured by `make bench` in one run, one measurement after another, each in a fresh\n"
        f"process on one thread, seed {seed}; deep-inference is version 0.2.0.\n{machine()}\n"
    )
    *_, kept = PAGE.read_text(encoding="utf-8").partition(REPRESENTATIONS)
    PAGE.write_text("\n".join([introduction, *sections, REPRESENTATIONS]) + kept, encoding="utf-8")
    click.echo(f"written: {PAGE.relative_to(ROOT)}", err=True)


if __name__ == "__main__":
    main()

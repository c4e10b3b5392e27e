"""The `deepdml` command: fit a formula to a file, replication packages, a demonstration and the tutorial."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click
import pandas as pd

from deepdml.errors import DataError, DeepDMLError, OptionError, near_columns
from deepdml.files import read_data, writer

# options that messages name as Python does
_FLAGS = (
    (r"cov_kwds=\{'groups': \.\.\.\}", "--cluster"),
    (r"cov_kwds=\{'(\w+)': \.\.\.\}", r"--\1"),
    (r"cov_kwds has groups", "--cluster was given"),
    (r"cov_kwds has (\w+)", r"--\1 was given"),
    (r"cov_type=('[^']*')", r"--cov-type \1"),
    (r"\boverwrite=True\b", "--overwrite"),
    (r"\bn_folds=(\d+)", r"--folds \1"),
    (r"make it a column: (data\.reset_index\('.*'\))", r"write the file from \1"),
)


def clusters(data: pd.DataFrame, columns: tuple[str, ...]) -> dict[str, Any] | None:
    """Return `cov_kwds` for clustering by the named columns, or None without any.

    Raises
    ------
    OptionError
        For a name that is not a column.
    """
    if not columns:
        return None
    series = [_column("--cluster", data, name) for name in columns]
    return {"groups": series[0] if len(series) == 1 else pd.concat(series, axis=1)}


def cov_kwds_from(
    data: pd.DataFrame,
    cluster: tuple[str, ...],
    time: str | None,
    coordinates: tuple[str, str] | None,
    cutoff: float | None,
    maxlags: int | None,
) -> dict[str, Any] | None:
    """Return `cov_kwds` from named columns and numbers, or None where nothing was given.

    Raises
    ------
    OptionError
        For a name that is not a column.
    """
    given: dict[str, Any] = dict(clusters(data, cluster) or {})
    if time is not None:
        given["time"] = _column("--time", data, time)
    if coordinates is not None:
        given["coordinates"] = pd.concat([_column("--coordinates", data, name) for name in coordinates], axis=1)
    given |= {name: value for name, value in (("cutoff", cutoff), ("maxlags", maxlags)) if value is not None}
    return given or None


def _column(option: str, data: pd.DataFrame, name: str) -> pd.Series:
    """Return the column that an option names."""
    if name not in data.columns:
        hint = near_columns(name, data.columns, data.index.names)
        raise OptionError(f"{option} {name!r} is not a column of the data.{hint}")
    return data[name]


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"Warning: {message}", err=True)


@contextmanager
def _one_line_messages() -> Iterator[None]:
    """Show warnings as one line, and what deepdml raises on purpose as one line with exit code 1."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            yield
        except DeepDMLError as error:
            message = " ".join(str(error).split())
            for written, flag in _FLAGS:
                message = re.sub(written, flag, message)
            raise click.ClickException(message) from error


def _check_target(option: str, path: Path | None, overwrite: bool) -> None:
    """Raise before a fit that could not be written after it."""
    if path and not path.parent.is_dir():
        raise OptionError(f"{option} {str(path)!r}: there is no folder {str(path.parent)!r}.")
    if path and path.exists() and not overwrite:
        raise OptionError(f"{option} {str(path)!r} exists; choose another name, or replace it with --overwrite.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="deepdml")
def main() -> None:
    """Regression tables from deep nets: `y ~ treat | emb_*`, with standard errors that hold under confounding."""


@main.command()
@click.argument("formula")
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--family", default="gaussian", show_default=True, help="Outcome family: gaussian, logit, poisson, ...")
@click.option(
    "--cluster", multiple=True, metavar="COLUMN", help="Cluster standard errors and folds; repeat for more ways."
)
@click.option(
    "--cov-type", help="As in Python: HC0, HC1, cluster-crv3, HAC, conley, ...  [default: HC1, with --cluster cluster]"
)
@click.option("--time", metavar="COLUMN", help="Column of periods, for HAC, hac-panel and driscoll-kraay.")
@click.option("--maxlags", type=click.IntRange(min=0), help="Their longest lag.")
@click.option("--coordinates", nargs=2, metavar="COLUMN COLUMN", help="Latitude and longitude, for conley.")
@click.option("--cutoff", type=click.FloatRange(min=0), help="Its distance, in kilometres.")
@click.option("--use-t", is_flag=True, help="Tests and intervals by the t distribution.")
@click.option("--weights", metavar="COLUMN", help="Column of sampling weights.")
@click.option(
    "--missing", type=click.Choice(["drop", "raise"]), default="drop", show_default=True, help="Rows with holes."
)
@click.option(
    "--learner", default="auto", show_default=True, help='"auto", or "net": one net per block and nothing else.'
)
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Folds of the cross-fitting.")
@click.option(
    "--reps", type=click.IntRange(min=1), default=1, show_default=True, help="Repetitions, joined by the median."
)
@click.option("--seed", type=int, help="Seed of everything random; the same seed gives the same table.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Table file: .tex, .html, .md, .csv or .txt."
)
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), help="Keep the fit, for deepdml.load in Python."
)
@click.option("--overwrite", is_flag=True, help="Replace files of --out and --save that exist.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def fit(
    formula: str,
    data: Path,
    family: str,
    cluster: tuple[str, ...],
    cov_type: str | None,
    time: str | None,
    maxlags: int | None,
    coordinates: tuple[str, str] | None,
    cutoff: float | None,
    use_t: bool,
    weights: str | None,
    missing: Literal["drop", "raise"],
    learner: str,
    folds: int,
    reps: int,
    seed: int | None,
    out: Path | None,
    save: Path | None,
    overwrite: bool,
    no_progress: bool,
) -> None:
    """Fit FORMULA, such as 'wage ~ train | age + emb_*', to the table in DATA (.csv, .parquet, .dta or .feather)."""
    with _one_line_messages():
        write = writer(out) if out else None
        _check_target("--out", out, overwrite)
        _check_target("--save", save, overwrite)
        frame = read_data(data)
        cov_kwds = cov_kwds_from(frame, cluster, time, coordinates, cutoff, maxlags)

        import deepdml

        results = deepdml.fit(
            formula,
            frame,
            family=family,
            weights=_column("--weights", frame, weights) if weights else None,
            missing=missing,
            learner=learner,
            n_folds=folds,
            n_rep=reps,
            cov_type=cov_type or ("cluster" if cluster else "HC1"),
            cov_kwds=cov_kwds,
            use_t=use_t,
            seed=seed,
            progress=False if no_progress else None,
        )
        click.echo(results.summary().as_text())
        if out and write:
            out.write_text(write(results), encoding="utf-8")
            click.echo(f"table written to {out}", err=True)
        if save:
            results.save(save)
            click.echo(f"fit saved to {save}", err=True)


@main.command()
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the fit.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def demo(seed: int, no_progress: bool) -> None:
    """Estimate the effect of 401(k) eligibility on net financial assets and set it beside the published figure."""
    with _one_line_messages():
        import deepdml
        from deepdml import demo as example

        data = example.households()
        click.echo(example.INTRODUCTION.format(n=len(data)))
        results = deepdml.fit(example.FORMULA, data, seed=seed, progress=False if no_progress else None)
        click.echo(results.summary().as_text())
        click.echo()
        click.echo(example.comparison(results, data))


@main.group()
def replicate() -> None:
    """Replication packages: write one from saved fits, verify one, look for what data editors ask about."""


@replicate.command("write")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("fits", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--metadata", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON: title, authors, ..."
)
@click.option("--parquet", is_flag=True, help="Keep the data as parquet instead of CSV.")
@click.option(
    "--hashes/--no-hashes",
    default=None,
    help="Hashes in requirements.txt, from pip's index: wait for them, or stay off the network. Default: for a minute.",
)
@click.option("--overwrite", is_flag=True, help="Replace a package that stands there unchanged.")
@click.option("--no-progress", is_flag=True, help="No line that says what is being done.")
def replicate_write(
    folder: Path,
    data: Path,
    fits: tuple[Path, ...],
    metadata: Path | None,
    parquet: bool,
    hashes: bool | None,
    overwrite: bool,
    no_progress: bool,
) -> None:
    """Write to FOLDER a package of the table in DATA and of FITS (files of --save), called Table 1, Table 2, ..."""
    with _one_line_messages():
        from deepdml import replication
        from deepdml.results import load

        replication.write_package(
            folder,
            {f"Table {number}": load(path) for number, path in enumerate(fits, start=1)},
            data=read_data(data),
            metadata=None if metadata is None else _read_json(metadata),
            form="parquet" if parquet else "csv",
            hashes=hashes,
            overwrite=overwrite,
            progress=False if no_progress else None,
        )
        click.echo(f"package written to {folder}; its README lists what is left to fill")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path.name!r} cannot be read as JSON: {error}") from error


@replicate.command("verify")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rerun", is_flag=True, help="Also run the package's master script, which trains again, and compare.")
@click.option("--no-progress", is_flag=True, help="No progress bar of --rerun.")
def replicate_verify(folder: Path, rerun: bool, no_progress: bool) -> None:
    """Check the package in FOLDER: files, tables, versions. One line for each failure, and exit code 1."""
    with _one_line_messages():
        from deepdml import replication

        found = replication.verify(folder, rerun=rerun, progress=False if no_progress else None)
        for line in found.checks:
            click.echo(line)
        for line in found.failures:
            click.echo(f"Error: {line}", err=True)
        if not found.ok:
            raise click.exceptions.Exit(1)


@replicate.command("lint")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def replicate_lint(folder: Path) -> None:
    """Look in FOLDER for absolute paths, empty or double files, personal data and undeclared imports."""
    with _one_line_messages():
        from deepdml import replication

        findings = replication.lint(folder)
        for finding in findings:
            click.echo(str(finding), err=True)
        if findings:
            raise click.exceptions.Exit(1)
        click.echo("nothing to ask about")


@main.command()
@click.option("--rows", type=click.IntRange(min=200), help="Rows of each design; by default the tutorial's.")
@click.option("--learner", type=click.Choice(["auto", "net"]), default="auto", show_default=True, help="As in fit.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of draws and fits.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def gallery(rows: int | None, learner: Literal["auto", "net"], seed: int, no_progress: bool) -> None:
    """Run the embedding tutorial, wages, purchases and citations, and set what it prints beside the truth."""
    from deepdml.gallery import PIECES, closing, show

    with _one_line_messages():
        shown = {}
        for number, piece in enumerate(PIECES, 1):
            click.echo(f"{number}. {piece.title}\n")
            shown[piece.title] = show(
                piece, rows=rows, learner=learner, seed=seed, progress=False if no_progress else None
            )
            click.echo(f"{shown[piece.title].text}\n")
        click.echo(f"Average effects and heterogeneity beside the truth\n\n{closing(shown)}")


if __name__ == "__main__":
    main()

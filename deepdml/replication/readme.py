"""The README of a package, in the order of the social-science data editors' template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from deepdml.embed.cards import Card
from deepdml.replication.exhibits import Exhibit
from deepdml.replication.metadata import DataSource, Metadata
from deepdml.replication.rawdata import ENCODERS
from deepdml.replication.requirements import FILE, PLAIN, Requirements
from deepdml.replication.rerun import ESTIMATE, STANDARD_ERROR
from deepdml.replication.script import NAME, Script

EMPTY = "[to be filled by the author]"

_METHOD = (
    "Chernozhukov, V., D. Chetverikov, M. Demirer, E. Duflo, C. Hansen, W. Newey, and J. Robins (2018). "
    '"Double/Debiased Machine Learning for Treatment and Structural Parameters." The Econometrics Journal 21(1).',
    'Farrell, M. H., T. Liang, and S. Misra (2021). "Deep Neural Networks for Estimation and Inference." Econometrica '
    "89(1), 181-213.",
    'Farrell, M. H., T. Liang, and S. Misra (2025). "Deep Learning for Individual Heterogeneity: An Automatic '
    'Inference Framework." Working paper.',
    'Vilhuber, L., M. Connolly, M. Koren, J. Llull, and P. Morrow (2022). "A template README for social science '
    'replication packages." doi:10.5281/zenodo.7293838.',
)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a README tells.

    Parameters
    ----------
    metadata : Metadata
    exhibits : tuple of Exhibit
    script : Script
    datasets : DataFrame
        The list of data sets.
    environment : dict
    software : Requirements
    megabytes : float or None
        Peak memory of the process that wrote the package.
    folder : Path
        The package, for its size and its README's list of files.
    open_points : sequence of str
        What the author must still do.
    encoders : sequence of Card
        What made embeddings in the data.
    """

    metadata: Metadata
    exhibits: tuple[Exhibit, ...]
    script: Script
    datasets: pd.DataFrame
    environment: Mapping[str, Any]
    software: Requirements
    megabytes: float | None
    folder: Path
    open_points: Sequence[str]
    encoders: Sequence[Card] = ()


def readme_text(facts: Facts) -> str:
    """Return the README as Markdown."""
    title = facts.metadata.title or EMPTY
    authors = ", ".join(a.name for a in facts.metadata.authors) or EMPTY
    parts = [
        f"# Replication package for: {title}",
        f"Authors: {authors}. Contact: {facts.metadata.contact or EMPTY}.",
        "## To be done by the author\n\n" + (_bullets(facts.open_points) or "Nothing."),
        "## Overview\n\n" + _overview(facts),
        "## Data Availability and Provenance Statements\n\n" + _provenance(facts.metadata, facts.encoders),
        "## Dataset list\n\n"
        + _markdown(facts.datasets)
        + "\n\nVariables, types, labels, ranges, categories and missing "
        "values are in `data/codebook.csv`, this list in `data/dataset_list.csv`.",
        "## Computational requirements\n\n" + _computation(facts),
        "## Description of programs/code\n\n" + _programs(facts),
        "## Instructions to Replicators\n\n" + _instructions(facts),
        "## List of tables and programs\n\n" + _tables(facts),
        "## References\n\n" + _references(facts.metadata),
    ]
    if facts.metadata.acknowledgements:
        parts.append("## Acknowledgements\n\n" + facts.metadata.acknowledgements)
    return "\n\n".join(parts) + "\n"


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _markdown(table: pd.DataFrame) -> str:
    escaped = table.map(lambda value: value.replace("|", "\\|") if isinstance(value, str) else value)
    return str(tabulate(escaped, headers="keys", tablefmt="github", showindex=False))


def _overview(facts: Facts) -> str:
    seconds = sum(record.seconds for record in _records(facts).values())
    return (
        f"{facts.metadata.overview or EMPTY}\n\n"
        f"One program, `{NAME}`, reads the raw data in `data/`, fits {len(_records(facts))} model(s) with deepdml "
        f"{facts.environment['packages']['deepdml']} and writes {len(facts.exhibits)} table(s). The fits took "
        f"{_duration(seconds)} on the machine described below."
    )


def _records(facts: Facts) -> dict[str, Any]:
    return {exhibit.fit: exhibit.parts.fit.record for exhibit in facts.exhibits}


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _provenance(metadata: Metadata, encoders: Sequence[Card]) -> str:
    public = [source.public for source in metadata.sources]
    summary = EMPTY
    if public and None not in public:
        some = (
            "Some data cannot be made publicly available." if any(public) else "No data can be made publicly available."
        )
        summary = "All data are publicly available." if all(public) else some
    sources = "\n\n".join(_source(source) for source in metadata.sources) or EMPTY
    return (
        f"### Statement about Rights\n\n{metadata.rights or EMPTY}\n\n"
        f"### License for Data\n\n{_licences(metadata)}\n\n"
        f"### Summary of Availability\n\n{summary}\n\n"
        f"### Details on each Data Source\n\n{sources}"
        + (f"\n\n### Encoders of Texts and Images\n\n{_encoders(encoders)}" if encoders else "")
    )


def _encoders(encoders: Sequence[Card]) -> str:
    made = [
        f"{card.model} ({card.kind}), revision {card.revision}, licence: {card.licence}"
        + (f", run by {card.library}" if card.library else "")
        + "".join(f", {name} {value}" for name, value in card.settings.items())
        + "."
        for card in encoders
    ]
    return (
        "Columns of the data were made by frozen encoders, which the program does not run again; "
        f"`{ENCODERS}` lists them.\n\n{_bullets(made)}"
    )


def _licences(metadata: Metadata) -> str:
    return _bullets([f"{s.name}: {s.licence or EMPTY}" for s in metadata.sources]) or EMPTY


def _source(source: DataSource) -> str:
    where = f" ({source.url})" if source.url else ""
    return (
        f"**{source.name}**{where}. Citation: {source.citation or EMPTY}. Licence: {source.licence or EMPTY}. "
        f"How to obtain the data: {source.access or EMPTY}"
    )


def _computation(facts: Facts) -> str:
    env = facts.environment
    threads = ", ".join(f"{name}={value}" for name, value in env["threads in the environment"].items()) or "none set"
    packages = _bullets([f"{name} {version}" for name, version in env["packages"].items()])
    seeds = "\n".join(
        f"- [x] Random seed is set at line {facts.script.lines[label]} of `{NAME}` ({label}: {record.seed}), from "
        "`config.json`."
        for label, record in _records(facts).items()
    )
    runtimes = "\n".join(
        f"- {label}: {_duration(record.seconds)} on {record.threads} thread(s), device {record.device}."
        for label, record in _records(facts).items()
    )
    memory = "unknown" if facts.megabytes is None else f"{facts.megabytes:,.0f} MB"
    return (
        f"### Software Requirements\n\n- {env['implementation']} {env['python']}\n{packages}\n\n"
        f"{_installation(facts)}\n\n"
        "### Controlled Randomness\n\n"
        f"{seeds}\n\nAll randomness of a fit, its folds and the start of its nets included, comes from its seed "
        "through numpy's SeedSequence; nothing reads or sets a global state. The same seed gives the same bits on the "
        f"same machine with the same packages and threads. On another machine sums round differently: estimates are "
        f"expected within {ESTIMATE} standard errors and standard errors within {STANDARD_ERROR:.0%}, since "
        "orthogonal scores let errors of the nets into the estimates only to second order.\n\n"
        "### Memory, Runtime, Storage Requirements\n\n"
        f"{runtimes}\n- Memory: {memory}, the peak of the process that wrote this package.\n"
        f"- Storage: {_size(facts.folder):,.1f} MB, the whole package.\n\n"
        f"The code was last run on {env['os']}, {env['machine']}, {env['processor']}, {env['cores']} cores"
        + (f", {env['memory in GB']} GB of memory" if env["memory in GB"] else "")
        + f". Threads of torch: {env['torch threads']}; of the environment: {threads}. BLAS of numpy: {env['blas']}."
    )


def _installation(facts: Facts) -> str:
    own = f"`{FILE}` installs them; deepdml itself is the wheel in `software/`."
    if facts.software.hashed is None:
        return own
    env = facts.environment
    python = ".".join(env["python"].split(".")[:2])
    return (
        f"{own} It holds the hash of every archive, of {env['implementation']} {python} on {env['os'].split()[0]} "
        f"{env['machine']}, and pip takes no other. Another system has other archives: `{PLAIN}` has the same versions."
    )


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _programs(facts: Facts) -> str:
    fits = [
        f"`{e.fit}` in `{NAME}` fits `{e.recipe.call['formula']}`, family "
        f"{e.parts.fit.record.family}, {e.parts.fit.n:,} rows."
        for e in {exhibit.fit: exhibit for exhibit in facts.exhibits}.values()
    ]
    files = [
        f"`{NAME}` is the master script; `config.json` holds its paths, seeds and threads.",
        "`data/`: the raw data, their list and their codebook.",
        "`artefacts/fit_*/`: of each fit `fit.deepdml` (read by `deepdml.load`, without executing anything), and in "
        "forms that other programs read its formula, resolved columns and encoder state (`design.json`), options and "
        "diagnostics (`record.json`), the fold of every row (`folds.csv`), seeds that follow from the one of the fit "
        "(`seeds.csv`) and the weights of the nets (`weights.safetensors`).",
        "`artefacts/table_*/` or as the exhibit is called: estimates and covariance at full precision (`params.csv`, "
        "`covariance.csv`), the influence values psi (`psi.npy`) and the saved estimates.",
        "`tables/`: the expected tables as text, LaTeX and CSV. `exhibits.csv` maps them to programs.",
        "`environment.json` and the requirements: the software; `MANIFEST.sha256`: the hash of every file.",
    ]
    licence = facts.metadata.licence or "MIT, unless the author chooses another"
    return f"{_bullets([*fits, *files])}\n\n### License for Code\n\nSee `LICENSE` ({licence})."


def _instructions(facts: Facts) -> str:
    python = ".".join(facts.environment["python"].split(".")[:2])
    threads = "".join(f"{name}={value} " for name, value in facts.environment["threads in the environment"].items())
    elsewhere = "" if facts.software.hashed is None else f"On another system `{PLAIN}` stands for `{FILE}`.\n"
    return f"""\
From this folder, with Python {python}:

    python -m venv ../environment
    ../environment/bin/python -m pip install -r requirements.txt
    ../environment/bin/deepdml replicate verify .
    {threads}../environment/bin/python {NAME}

On Windows `../environment/Scripts` stands for `../environment/bin`.
{elsewhere}
The third line checks every file and rebuilds the tables from psi without training; with `--rerun` it trains as the
fourth does. Each failure is one line that begins with `Error`, and the exit code is then 1. The fourth writes below
`output/`, in the layout of this package, and says of each table whether it is the same. `sha256sum -c MANIFEST.sha256`
checks the files alone."""


def _tables(facts: Facts) -> str:
    return _markdown(exhibit_map(facts.exhibits, facts.script))


def exhibit_map(exhibits: Sequence[Exhibit], script: Script) -> pd.DataFrame:
    """Return one row per exhibit: program, line, fit, and the files it gives."""
    return pd.DataFrame(
        [
            {
                "exhibit": exhibit.name,
                "program": NAME,
                "line": script.lines[exhibit.name],
                "fit": exhibit.fit,
                "content": exhibit.shown,
                "output": f"tables/{exhibit.slug}.tex",
            }
            for exhibit in exhibits
        ]
    )


def _references(metadata: Metadata) -> str:
    data = [source.citation for source in metadata.sources if source.citation]
    return _bullets(sorted(dict.fromkeys([*data, *metadata.references, *_METHOD])))

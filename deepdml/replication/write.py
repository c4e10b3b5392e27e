"""Writing a replication package: whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from tqdm import tqdm

from deepdml.design.data import ModelData, OutcomeLevels, build_data
from deepdml.design.formula import parse_formula
from deepdml.embed.cards import NOT_STATED
from deepdml.errors import DataError, OptionError, list_rows, refuse_no_path, unknown_option
from deepdml.replication.artefacts import psi_file, results_file, write_exhibit, write_fit
from deepdml.replication.codebook import codebook
from deepdml.replication.environment import describe_environment
from deepdml.replication.exhibits import Exhibit, arrange
from deepdml.replication.frontmatter import citation_text, licence_text
from deepdml.replication.lint import lint
from deepdml.replication.manifest import MANIFEST, check_files, sha256, write_manifest
from deepdml.replication.metadata import Metadata, as_metadata, to_fill
from deepdml.replication.rawdata import ARRAYS, ENCODERS, Format, RawData, collect_data, read_data, write_data
from deepdml.replication.readme import Facts, exhibit_map, readme_text
from deepdml.replication.requirements import ask_notice, make_requirements
from deepdml.replication.rerun import peak_memory
from deepdml.replication.script import NAME, Script, is_code, write_script
from deepdml.replication.software import write_wheel
from deepdml.replication.verify import FORMAT, VERSION
from deepdml.results.fit import Fit, covariates_hash
from deepdml.results.recipe import Recipe
from deepdml.terminal import shows_progress


def write_package(
    folder: str | os.PathLike[str],
    exhibits: Mapping[str, object],
    *,
    data: object = None,
    metadata: object = None,
    context: Mapping[str, Any] | None = None,
    form: Format = "csv",
    hashes: bool | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Path:
    """Write a folder from which a data editor reruns a paper's tables.

    Parameters
    ----------
    folder : path
        Must not exist or be empty; see `overwrite`.
    exhibits : dict
        Results by the name of the exhibit; several may share a fit. All are of the same data.
    data : frame or dict of arrays, optional
        The raw data; by default those of the first Results' model.
    metadata : Metadata or dict, optional
        What only the author knows.
    context : dict, optional
        Arrays and functions the formulas name; by default those of the model.
    form : {"csv", "parquet"}
        Of the data file; parquet needs pyarrow, is smaller, and keeps more types.
    hashes : bool, optional
        Whether requirements.txt gets the hashes of archives, from the package index pip is configured for. By default
        pip has a minute; where it cannot answer there are exact versions alone, and the README says why. True gives
        it half an hour, in which a pip before 26 downloads all of them. With False nothing uses the network.
    overwrite : bool
        Whether a package that stands there, unchanged, is replaced. Anything else is never removed.
    progress : bool, optional
        Whether a line says what is being done; by default where standard error is a terminal.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OptionError
        If the folder exists, or Results, functions or metadata cannot be written down.
    DataError
        Without data, or with others than those of the fits.

    Examples
    --------
    >>> import tempfile, deepdml
    >>> from deepdml import replication, simulate
    >>> jobs = simulate.wages(n=500, seed=1).data
    >>> res = deepdml.fit("log_wage ~ experience | emb_*", jobs, learner="net", epochs=2, seed=1)
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     folder = replication.write_package(f"{parent}/package", {"Table 1": res}, hashes=False)
    ...     replication.verify(folder).ok
    True
    """
    refuse_no_path(folder)
    target = Path(folder)
    _check_target(target, overwrite)
    if form not in get_args(Format):
        raise unknown_option("form of the data", form, get_args(Format))
    known = as_metadata(metadata)
    shown = arrange(exhibits)
    given, outside = _sources(shown, data, context)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
        made = Path(name) / "package"
        made.mkdir()
        with _line(progress) as say:
            _fill(made, shown, collect_data(given, outside), outside, known, form, hashes, say)
        if target.exists():
            target.replace(Path(name) / "replaced")
        made.replace(target)
    return target


@contextmanager
def _line(show: bool | None) -> Iterator[Callable[[str], None]]:
    """Yield what shows a stage, on a line that is gone at the end and silent unless wanted."""
    with tqdm(disable=not shows_progress(show), bar_format="replication package: {desc}", leave=False) as line:
        yield line.set_description_str


def _check_target(target: Path, overwrite: bool) -> None:
    """Raise OptionError where writing would remove something other than an unchanged package."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise OptionError(f"{str(target)!r} exists; choose another folder, or overwrite=True to replace a package.")
    if not (target / MANIFEST).is_file():
        raise OptionError(f"{str(target)!r} is not a replication package, which is all that overwrite=True replaces.")
    wrong = list(check_files(target).values())
    if wrong:
        raise OptionError(
            f"the package in {str(target)!r} was changed by hand ({list_rows(wrong, 3)}), and overwriting would "
            "lose that; move it away."
        )


def _sources(exhibits: tuple[Exhibit, ...], data: object, context: Mapping[str, Any] | None) -> tuple[Any, Any]:
    """Return the raw data and the context: those given, or of the model."""
    model = exhibits[0].results.model
    given = getattr(model, "user_data", None) if data is None else data
    if given is None:
        raise DataError(
            "a replication package needs the raw data, and these Results do not hold them; pass data=, the table "
            "that was given to fit."
        )
    outside = getattr(model, "user_context", None) if context is None else context
    return given, dict(outside or {})


def _fill(
    folder: Path,
    exhibits: tuple[Exhibit, ...],
    raw: RawData,
    context: Mapping[str, Any],
    metadata: Metadata,
    form: Format,
    hashes: bool | None,
    say: Callable[[str], None],
) -> None:
    """Write every file of a package into an empty folder."""
    say("data and program")
    script = write_script(exhibits, raw, context)
    config = _write_config(folder, exhibits, raw, script, form)
    code = {name: value for name, value in context.items() if is_code(value)}
    built = {e.fit: _check_data(folder, e.recipe, e.parts.fit, code, form) for e in exhibits}
    _write_text(folder / NAME, script.text)
    say("fits and tables")
    for label in config["fits"]:
        write_fit(folder, label, exhibits)
    for exhibit in exhibits:
        write_exhibit(folder, exhibit, psi_file(exhibit, exhibits))
    datasets = _write_lists(folder, exhibits, raw, script, config, metadata, built, context)
    if raw.encoders:
        _write_json(folder / ENCODERS, [{**asdict(card), "settings": dict(card.settings)} for card in raw.encoders])
    points = [*to_fill(metadata), *_unlabelled(folder, metadata), *_unlicensed(raw)]
    extra = (*script.distributions, *(["pyarrow"] if form == "parquet" else []))
    environment = describe_environment(max(e.parts.fit.record.threads for e in exhibits), extra)
    _write_json(folder / "environment.json", environment)
    wheel = write_wheel(folder)
    say(ask_notice(len(environment["packages"]), hashes))
    software = make_requirements(environment["packages"], wheel, sha256(folder / wheel), hashes)
    software.write(folder)
    if software.why:
        points.append(f"requirements.txt holds exact versions without hashes of the archives: {software.why}.")
    _write_text(folder / "LICENSE", licence_text(metadata))
    _write_text(folder / "CITATION.cff", citation_text(metadata))
    say("what is left to fill, and checksums")
    points += [f"{finding}." for finding in lint(folder)]
    facts = Facts(
        metadata, exhibits, script, datasets, environment, software, peak_memory(), folder, points, raw.encoders
    )
    _write_text(folder / "README.md", readme_text(facts))
    write_manifest(folder)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _write_json(path: Path, values: Any) -> None:
    _write_text(path, json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _write_config(
    folder: Path, exhibits: tuple[Exhibit, ...], raw: RawData, script: Script, form: Format
) -> dict[str, Any]:
    """Write the data and the config that finds them."""
    entry = write_data(raw, folder, form)
    for name, array in script.arrays.items():
        (folder / ARRAYS).mkdir(exist_ok=True)
        entry["other arrays"][name] = f"{ARRAYS}/{name}.npy"
        np.save(folder / ARRAYS / f"{name}.npy", array, allow_pickle=False)
    records = {exhibit.fit: exhibit.parts.fit.record for exhibit in exhibits}
    config = {
        "format": FORMAT,
        "version": VERSION,
        "script": NAME,
        "data": entry,
        "seeds": {label: record.seed for label, record in records.items()},
        "threads": {label: record.threads for label, record in records.items()},
        "seconds": {label: record.seconds for label, record in records.items()},
        "fits": list(records),
        "exhibits": [
            {"name": e.name, "slug": e.slug, "fit": e.fit, "results": results_file(e), "psi": psi_file(e, exhibits)}
            for e in exhibits
        ],
    }
    _write_json(folder / "config.json", config)
    return config


def _check_data(folder: Path, recipe: Recipe, fit: Fit, code: Mapping[str, Any], form: Format) -> ModelData:
    """Return the arrays that the written data give, which must be those of the fit to the bit."""
    data, context, _ = read_data(folder)
    if len(data) != fit.n_total:
        raise DataError(
            f"the data have {len(data):,} rows and the fit had {fit.n_total:,}; pass the table given to fit."
        )
    call = recipe.call
    groups = (call["cov_kwds"] or {}).get("$dict", {}).get("groups")
    built = build_data(
        call["formula"],
        data,
        weights=_resolved(call["weights"], recipe),
        groups=_resolved(groups, recipe),
        missing=call["missing"],
        context={**context, **code},
        levels=OutcomeLevels.of(fit.family),
    )
    rows = fit.need_rows("a package")
    pairs: dict[str, tuple[Any, Any]] = {
        "rows kept": (built.rows, rows.rows),
        "outcome": (built.y, rows.y),
        "treatments": (built.t, rows.t),
    }
    pairs |= {} if rows.x is None else {"covariates": (built.x, rows.x)}
    for what, (ours, theirs) in pairs.items():
        if ours.shape != theirs.shape or not np.array_equal(ours, theirs):
            raise _other_data(f"{what} than the fit had: {_difference(ours, theirs, built)}", form)
    # a file of an older version does not say which covariates it had
    if rows.x is None and rows.x_sha256 not in (None, covariates_hash(built.x)):
        raise _other_data("covariates than the fit had, as their hash says", form)
    return built


def _other_data(what: str, form: Format) -> DataError:
    hint = " (form='parquet' keeps types that a CSV file loses)" if form == "csv" else ""
    return DataError(f"the data give other {what}. Pass the table that was given to fit, unchanged{hint}.")


def _resolved(value: Any, recipe: Recipe) -> Any:
    """Return a weights or groups argument from a recipe."""
    if isinstance(value, dict) and "$array" in value:
        return pd.Series(recipe.arrays[value["$array"]], name=value.get("name"))
    if isinstance(value, dict) and "$dict" in value:
        return {name: _resolved(inner, recipe) for name, inner in value["$dict"].items()}
    return value


def _difference(ours: Any, theirs: Any, built: ModelData) -> str:
    if ours.shape != theirs.shape:
        return f"shape {ours.shape} instead of {theirs.shape}"
    bad = np.flatnonzero((ours != theirs).reshape(len(ours), -1).any(axis=1))
    return f"in {bad.size:,} row(s), {list_rows(list(built.index[bad]))}"


def _write_lists(
    folder: Path,
    exhibits: tuple[Exhibit, ...],
    raw: RawData,
    script: Script,
    config: Mapping[str, Any],
    metadata: Metadata,
    built: Mapping[str, ModelData],
    context: Mapping[str, Any],
) -> pd.DataFrame:
    """Write codebook, list of data sets and exhibit map; return the list of data sets."""
    roles = {name: role for e in exhibits for name, role in _roles(e.recipe, built[e.fit], raw, context).items()}
    options: dict[str, Any] = {"index": False, "lineterminator": "\n"}
    codebook(raw, roles, metadata.labels).to_csv(folder / "data/codebook.csv", **options)
    entry = config["data"]
    source = "; ".join(s.name for s in metadata.sources)
    arrays = {**entry["context arrays"], **entry["other arrays"]}
    files = [(entry["file"], f"raw data, {len(raw.frame.columns)} variables")]
    files += [(file, f"array {name!r} beside the data") for name, file in arrays.items()]
    datasets = pd.DataFrame(
        [
            {
                "file": file,
                "content": content,
                "source": source or "[to be filled by the author]",
                "rows": len(raw.frame) if file == entry["file"] else len(np.load(folder / file, mmap_mode="r")),
                "bytes": (folder / file).stat().st_size,
                "provided": "yes",
            }
            for file, content in files
        ]
    )
    datasets.to_csv(folder / "data/dataset_list.csv", **options)
    exhibit_map(exhibits, script).to_csv(folder / "exhibits.csv", **options)
    return datasets


def _roles(recipe: Recipe, built: ModelData, raw: RawData, context: Mapping[str, Any]) -> dict[str, str]:
    """Return what a fit uses each variable for."""
    names = [*raw.frame.columns, *raw.arrays]
    parsed = parse_formula(recipe.call["formula"], names, context)
    roles = dict.fromkeys(parsed.covariate_names, "covariate") | dict.fromkeys(parsed.treatment_names, "treatment")
    roles |= dict.fromkeys(parsed.outcome_names, "outcome") | dict.fromkeys(built.group_names, "clusters")
    weights = recipe.call["weights"]
    name = weights.get("name") if isinstance(weights, dict) else weights
    return {**roles, name: "weights"} if name else roles


def _unlicensed(raw: RawData) -> list[str]:
    """Return a sentence on the encoders whose licence nobody stated."""
    bare = [card.model for card in raw.encoders if card.licence == NOT_STATED]
    return [f"The licence of the encoder(s) {list_rows(bare)} (licence= of dd.embed)."] if bare else []


def _unlabelled(folder: Path, metadata: Metadata) -> list[str]:
    """Return a sentence on the variables used that have no label."""
    table = pd.read_csv(folder / "data/codebook.csv", keep_default_na=False)
    bare = list(table["variable"][(table["role"] != "") & (table["label"] == "")])
    if not bare:
        return []
    return [f"What these variables are, for the codebook (metadata: labels): {list_rows(bare, 8)}."]

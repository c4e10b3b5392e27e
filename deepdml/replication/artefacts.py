"""What fits and tables leave in a package: saved Results, readable copies of their parts, tables to the last digit."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import InferenceWarning
from deepdml.estimands import AverageCoefficient
from deepdml.replication.exhibits import Exhibit
from deepdml.replication.rawdata import EXACT
from deepdml.results import Results, load
from deepdml.results.columns import UserColumns
from deepdml.results.estimation import CovarianceSpec, estimate, estimate_estimands
from deepdml.results.fit import Fit
from deepdml.results.plain import encode
from deepdml.results.recipe import Recipe
from deepdml.results.storage import Parts, parts_of, save

Float = NDArray[np.float64]

ARTEFACTS = "artefacts"
TABLES = "tables"
FIT = "fit.deepdml"

# where learn.fitting and learn.crossfit spawn each generator, below the repetition
_USES = {
    "folds and blocks": (0,),
    "held-out parts": (1, 0),
    "nets and trees": (1, 1),
    "starts of the nets": (1, 1, 0),
    "batches of the nets": (1, 1, 1),
    "spread of the treatment": (1, 2),
    "statistic of held-out residuals": (1, 3),
}

# Sums of n numbers round differently where another build of numpy adds them in another order, by far less than this
# share of an estimate's own scale, its value and the standard deviation of psi.
ROUNDING = 1e-10


def write_fit(folder: Path, label: str, exhibits: tuple[Exhibit, ...]) -> None:
    """Write one fit: a file that `deepdml.load` reads, and its parts in forms that other programs read."""
    target = folder / ARTEFACTS / label
    target.mkdir(parents=True)
    own = [exhibit for exhibit in exhibits if exhibit.fit == label]
    fit, recipe = own[0].parts.fit, own[0].recipe
    base = next((e.parts for e in own if not e.recipe.steps), None) or _base(fit)
    save(target / FIT, replace(base, recipe=Recipe(recipe.call, (), recipe.arrays)))
    _write_json(target / "design.json", fit.design.to_dict())
    _write_json(target / "record.json", {"call": recipe.call, "record": asdict(fit.record)})
    rows = fit.need_rows("a package")
    folds = pd.DataFrame(rows.folds.T, columns=[f"fold_{r + 1}" for r in range(len(rows.folds))])
    folds.insert(0, "position", rows.rows)
    folds.to_csv(target / "folds.csv", index=False, lineterminator="\n")
    if fit.record.seed is not None:
        derived_seeds(fit.record.seed, len(rows.folds)).to_csv(target / "seeds.csv", index=False, lineterminator="\n")
    with zipfile.ZipFile(target / FIT) as archive:
        if "nets.safetensors" in archive.namelist():
            (target / "weights.safetensors").write_bytes(archive.read("nets.safetensors"))


def derived_seeds(seed: int, n_rep: int) -> pd.DataFrame:
    """Return what numpy's SeedSequence makes of the seed of a fit, for each repetition and use of randomness.

    Parameters
    ----------
    seed : int
    n_rep : int
        Repetitions of the fit.

    Returns
    -------
    DataFrame
        `state` holds the first four words of 32 bits of ``SeedSequence(seed, spawn_key=spawn_key)``. Nets are trained
        for all folds at once: each takes a word of 64 bits of "starts of the nets" and one of "batches of the nets".
    """
    rows = []
    for r in range(n_rep):
        for use, key in _USES.items():
            state = np.random.SeedSequence(seed, spawn_key=(r, *key)).generate_state(4)
            shown = {
                name: " ".join(str(v) for v in values) for name, values in (("spawn_key", (r, *key)), ("state", state))
            }
            rows.append({"repetition": r + 1, "use": use, **shown})
    return pd.DataFrame(rows)


def _base(fit: Fit) -> Parts:
    """Return the average coefficients of a fit, where the paper shows only other estimands."""
    estimand, estimates = estimate_estimands(fit, [AverageCoefficient()], CovarianceSpec(), UserColumns(fit, None))
    return Parts(fit, estimand, estimates)


def _write_json(path: Path, values: Any) -> None:
    text = json.dumps(encode(values), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def results_file(exhibit: Exhibit) -> str:
    """Return the file of an exhibit's saved Results; the coefficients of a fit are in the file of the fit."""
    return f"{ARTEFACTS}/{exhibit.slug}/results.deepdml" if exhibit.recipe.steps else f"{ARTEFACTS}/{exhibit.fit}/{FIT}"


def psi_file(exhibit: Exhibit, exhibits: tuple[Exhibit, ...]) -> str:
    """Return the file of an exhibit's psi: that of the first exhibit with the same, as under another covariance."""
    own = exhibit.parts.psi
    first = next(e for e in exhibits if e is exhibit or np.array_equal(e.parts.psi, own))
    return f"{ARTEFACTS}/{first.slug}/psi.npy"


def write_exhibit(folder: Path, exhibit: Exhibit, psi: str) -> None:
    """Write one table: its estimates and psi, and the files a reader sees."""
    target = folder / ARTEFACTS / exhibit.slug
    target.mkdir(parents=True)
    parts = exhibit.parts
    if exhibit.recipe.steps:
        save(folder / results_file(exhibit), replace(parts, fit=replace(parts.fit, nets=None)))
    if not (folder / psi).exists():
        np.save(folder / psi, parts.psi, allow_pickle=False)
    write_outcome(folder, exhibit.slug, exhibit.results)


def write_outcome(folder: Path, slug: str, results: Results) -> None:
    """Write what a run of the master script gives: the table in three formats, and its numbers at full precision."""
    numbers, tables = folder / ARTEFACTS / slug, folder / TABLES
    numbers.mkdir(parents=True, exist_ok=True)
    tables.mkdir(exist_ok=True)
    for ending, text in table_texts(results).items():
        (tables / f"{slug}.{ending}").write_text(text, encoding="utf-8", newline="\n")
    (numbers / "params.csv").write_text(params_text(results), encoding="utf-8", newline="\n")
    (numbers / "covariance.csv").write_text(covariance_text(results), encoding="utf-8", newline="\n")


def table_texts(results: Results) -> dict[str, str]:
    """Return the table as text, LaTeX and CSV, by file ending."""
    summary = results.summary()
    return {
        "txt": summary.as_text() + "\n",
        "tex": summary.as_latex() + "\n",
        "csv": _table(results).to_csv(lineterminator="\n"),
    }


def _table(results: Results) -> pd.DataFrame:
    interval = results.conf_int()
    columns = {
        "estimate": results.params,
        "std_err": results.bse,
        "z": results.tvalues,
        "p_value": results.pvalues,
        "lower_95": interval[0],
        "upper_95": interval[1],
    }
    return pd.DataFrame(columns).rename_axis("coefficient")


def params_text(results: Results) -> str:
    """Return estimates and standard errors as CSV, with the shortest digits that give back the same bits."""
    numbers = pd.DataFrame({"estimate": results.params, "std_err": results.bse})
    return str(numbers.rename_axis("coefficient").to_csv(lineterminator="\n"))


def covariance_text(results: Results) -> str:
    """Return the covariance as CSV, with the shortest digits that give back the same bits."""
    return str(results.cov_params().rename_axis("coefficient").to_csv(lineterminator="\n"))


def read_numbers(folder: Path, slug: str) -> tuple[list[str], Float, Float]:
    """Return names, estimates (q,) and covariance (q, q) of an exhibit from its CSV files."""
    options: dict[str, Any] = {"index_col": 0, "keep_default_na": False, **EXACT}
    params = pd.read_csv(folder / ARTEFACTS / slug / "params.csv", **options)
    matrix = pd.read_csv(folder / ARTEFACTS / slug / "covariance.csv", **options)
    names = [str(name) for name in params.index]
    return names, params["estimate"].to_numpy(np.float64), matrix.to_numpy(np.float64)


def rebuild(folder: Path, entry: Mapping[str, str]) -> list[str]:
    """Return what does not follow from psi in a table of a package, one sentence each; nothing is trained.

    Parameters
    ----------
    folder : Path
        The package.
    entry : dict
        Of the config: "name", "slug", and the files "results" and "psi".
    """
    name, slug = entry["name"], entry["slug"]
    results = load(folder / entry["results"])
    parts = parts_of(results)
    estimates = parts.estimates
    psi = np.load(folder / entry["psi"], allow_pickle=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InferenceWarning)  # said when the package was written, and in the table
        again = estimate(parts.fit, estimates.labels, psi, estimates.spec)
    found = []
    if not np.array_equal(psi, parts.psi):
        found.append(f"{name}: {entry['psi']} is not the psi of {entry['results']}")
    spread = psi.std(axis=1).max(axis=0)
    if not (np.abs(again.params - estimates.params) <= ROUNDING * (np.abs(estimates.params) + spread)).all():
        found.append(f"{name}: the estimates are not the means of psi")
    errors = np.sqrt(np.diag(estimates.covariance.matrix))
    if not (np.abs(again.covariance.matrix - estimates.covariance.matrix) <= ROUNDING * np.outer(errors, errors)).all():
        found.append(f"{name}: the covariance is not that of psi")
    texts = {f"{TABLES}/{slug}.{ending}": text for ending, text in table_texts(results).items()}
    texts[f"{ARTEFACTS}/{slug}/params.csv"] = params_text(results)
    texts[f"{ARTEFACTS}/{slug}/covariance.csv"] = covariance_text(results)
    for shown, text in texts.items():
        if (folder / shown).read_text(encoding="utf-8") != text:
            found.append(f"{name}: {shown} is not what psi and the estimates give")
    return found

"""Saved Results: a zip of JSON, npy and safetensors that other programs can read too.

``meta.json`` holds names, formula, record and settings; ``arrays/*.npy`` the arrays; ``nets.safetensors`` the trained
nets. Reading never unpickles, so a file cannot run code. Of covariates there is the hash alone: they may be huge, and
no number of a Results needs them.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path as FilePath
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from deepdml.errors import DeepDMLError, ResultsFileError, refuse_lost_folder
from deepdml.estimands import Estimand, from_dict
from deepdml.families import registered
from deepdml.inference import CovarianceResult, Serial, Space
from deepdml.learn.influence import (
    DiscreteLaw,
    FitRecord,
    Influence,
    LocationScaleLaw,
    NuisanceFit,
    Recalibrated,
    TrainedNets,
    TreatmentLaw,
)
from deepdml.results import plain
from deepdml.results.estimation import CovarianceSpec, Estimates
from deepdml.results.fit import Fit, Rows
from deepdml.results.recipe import Recipe

if TYPE_CHECKING:
    from deepdml.results.results import Results

Path = str | os.PathLike[str]
Arrays = dict[str, NDArray[Any]]

FORMAT = "deepdml-results"
VERSION = 1

# what reading a damaged zip, JSON, npy or safetensors file can raise, in its bytes or in what they say
_DAMAGE = (
    zipfile.BadZipFile,
    SafetensorError,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    OSError,
    OverflowError,
    MemoryError,
)

_LAWS: dict[str, type[DiscreteLaw] | type[LocationScaleLaw]] = {
    "discrete": DiscreteLaw,
    "location-scale": LocationScaleLaw,
}
_ROW_ARRAYS = ("y", "t", "weights", "groups", "treatment", "rows", "folds")
_PIECES = ("theta", "score", "lambda_inverse")
_RECALIBRATED = ("theta", "lambda_inverse")


@dataclass(frozen=True, slots=True)
class Parts:
    """What Results consist of and a file of them holds, for the layers that write, compare and rerun them.

    Parameters
    ----------
    fit : Fit
        What the fit left behind.
    estimand : Estimand
        What is reported.
    estimates : Estimates
        The numbers.
    recipe : Recipe or None
        How they came about; files of older versions have none.
    """

    fit: Fit
    estimand: Estimand
    estimates: Estimates
    recipe: Recipe | None = None

    @property
    def psi(self) -> NDArray[np.float64]:
        """Influence values of each repetition, (n_rep, n, q); raises DataError where arrays by row were dropped."""
        self.fit.need_rows("psi", several=True)
        return cast("NDArray[np.float64]", self.estimates.psi)

    def without_rows(self) -> Parts:
        """Return the same without arrays by row."""
        recipe = None if self.recipe is None else self.recipe.without_rows()
        return Parts(self.fit.without_rows(), self.estimand, self.estimates.without_rows(), recipe)


def parts_of(results: Results) -> Parts:
    """Return what Results consist of."""
    return Parts(results._fit, results._estimand, results._estimates, results._recipe)


def save(target: Path | IO[bytes], parts: Parts) -> None:
    """Write the parts of Results; a file on disk appears whole or not at all.

    Parameters
    ----------
    target : path or binary file
    parts : Parts

    Raises
    ------
    OptionError
        For several fits together, which `joint` makes again from those saved, and a folder that does not exist.
    """
    parts.fit.need_one("a saved file")
    if hasattr(target, "write"):
        _write(target, parts)
        return
    refuse_lost_folder(target)
    path = FilePath(target)
    partial = path.with_name(path.name + ".part")
    try:
        _write(partial, parts)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(source: Path | IO[bytes]) -> Results:
    """Read saved Results, without torch and without unpickling.

    Parameters
    ----------
    source : path or binary file

    Returns
    -------
    Results

    Raises
    ------
    ResultsFileError
        If the file is damaged, of another format, or written by a newer version.
    FileNotFoundError
        If there is no such file.
    """
    if isinstance(source, str | os.PathLike):
        if os.path.isdir(source):
            raise ResultsFileError(f"{os.fspath(source)!r} is a folder; add the name of the file in it.")
        # opened apart from reading, so that "no such file" stays what it is
        with open(source, "rb") as handle:
            return _load(handle, repr(os.fspath(source)))
    if not hasattr(source, "read"):
        raise ResultsFileError(f"a file of saved Results is named by a text or a path, not by {source!r}.")
    return _load(source, "this file")


def _load(handle: IO[bytes], shown: str) -> Results:
    """Return the Results in an open file that messages call `shown`."""
    # results.py imports this module
    from deepdml.results.results import Results

    try:
        with zipfile.ZipFile(handle) as archive:
            meta = _read_meta(archive, shown)
            names = [name for name in archive.namelist() if name.startswith("arrays/")]
            arrays = {name.removeprefix("arrays/").removesuffix(".npy"): _read_array(archive, name) for name in names}
            nets = _read_nets(archive, meta)
        results = Results(_fit(meta, arrays, nets), from_dict(meta["estimand"]), _estimates(meta, arrays))
        results._recipe = _recipe(meta, arrays)
        return results
    except ResultsFileError:
        raise
    except _DAMAGE as error:
        own = isinstance(error, DeepDMLError | zipfile.BadZipFile)
        reason = str(error) if own else f"{type(error).__name__}: {error}"
        raise ResultsFileError(
            f"{shown} is damaged or not a file of saved Results ({reason}). Save it again from the fit."
        ) from error


# Writing


def _write(target: Any, parts: Parts) -> None:
    fit, recipe = parts.fit, parts.recipe
    meta, arrays = _describe(fit, parts.estimand, parts.estimates)
    if recipe is not None:
        meta["recipe"] = {"call": recipe.call, "steps": recipe.steps}
        arrays |= {f"recipe/{name}": array for name, array in recipe.arrays.items()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("meta.json", json.dumps(plain.encode(meta), indent=1, allow_nan=False), zipfile.ZIP_DEFLATED)
        for name, array in arrays.items():
            with archive.open(f"arrays/{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
        if fit.nets is not None:
            archive.writestr(
                "nets.safetensors",
                safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in fit.nets.arrays.items()}),
            )


def _describe(fit: Fit, estimand: Estimand, estimates: Estimates) -> tuple[dict[str, Any], Arrays]:
    """Return what goes to JSON and what to npy."""
    covariance, spec = estimates.covariance, estimates.spec
    meta: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "names": {key: getattr(fit, key) for key in ("y_name", "t_names", "x_names", "group_names", "treatment_names")},
        "terms": {name: [s.start, s.stop] for name, s in fit.term_columns.items()},
        "n": fit.n,
        "n_total": fit.n_total,
        "missing": fit.missing,
        "weighted": fit.weighted,
        "family": {"name": fit.family.name, **fit.family.options()},
        "record": asdict(fit.record),
        "design": fit.design.to_dict(arrays=False),
        "nets": None if fit.nets is None else fit.nets.config,
        "estimand": estimand.to_dict(),
        "labels": estimates.labels,
        "remarks": estimates.remarks,
        "covariance": {key: getattr(covariance, key) for key in ("cov_type", "description", "n_clusters", "notes")},
        "spec": {key: getattr(spec, key) for key in ("cov_type", "group_names", "use_correction", "df", "use_t")},
        "index": None,
        "laws": [],
    }
    arrays: Arrays = {"params": estimates.params, "covariance": covariance.matrix}
    arrays |= {f"design/{name}": array for name, array in fit.design.arrays().items()}
    if fit.rows is not None and estimates.psi is not None:
        arrays |= _row_arrays(fit.rows) | {"psi": estimates.psi}
        if spec.groups is not None:
            arrays["cluster_codes"] = spec.groups
        if spec.serial is not None:
            arrays["periods"] = spec.serial.periods
            meta["serial"] = {key: getattr(spec.serial, key) for key in ("name", "maxlags", "kernel")}
        if spec.space is not None:
            arrays["coordinates"] = spec.space.coordinates
            meta["space"] = {key: getattr(spec.space, key) for key in ("cutoff", "kernel", "metric")}
        meta["x_sha256"] = fit.rows.hash_covariates()
        meta["laws"] = [_law_kind(piece.law) for piece in fit.rows.repetitions]
        if fit.rows.index.dtype.kind in "iufbUM":
            arrays["index"] = fit.rows.index
        else:
            meta["index"] = [plain.label(value) for value in fit.rows.index]
    return meta, arrays


def _row_arrays(rows: Rows) -> Arrays:
    """Return the arrays by row, each repetition's pieces under its number."""
    found = {name: getattr(rows, name) for name in _ROW_ARRAYS}
    for r, piece in enumerate(rows.repetitions):
        found |= {f"{r}/{name}": getattr(piece, name) for name in (*_PIECES, "noise")}
        if piece.recalibrated is not None:
            found |= {f"{r}/recalibrated/{name}": getattr(piece.recalibrated, name) for name in _RECALIBRATED}
        if piece.law is not None:
            found |= {f"{r}/law/{f.name}": np.asarray(getattr(piece.law, f.name)) for f in fields(piece.law)}
    # object arrays would need pickle; raw treatments that are not numbers are therefore left out
    return {name: array for name, array in found.items() if array is not None and array.dtype.kind in "iufbUM"}


def _law_kind(law: TreatmentLaw | None) -> str | None:
    return next((kind for kind, cls in _LAWS.items() if isinstance(law, cls)), None)


# Reading


def _read_meta(archive: zipfile.ZipFile, shown: str) -> dict[str, Any]:
    """Return the JSON part after checking format and version."""
    if "meta.json" not in archive.namelist():
        raise ResultsFileError(f"{shown} is a zip file, but not of saved Results.")
    meta = plain.decode(json.loads(archive.read("meta.json")))
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ResultsFileError(f"{shown} is not a file of saved Results.")
    if meta["version"] > VERSION:
        raise ResultsFileError(
            f"{shown} has format version {meta['version']}, this deepdml reads up to {VERSION}. "
            "Update deepdml to read it."
        )
    return meta


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as member:
        array = np.asarray(np.lib.format.read_array(io.BytesIO(member.read()), allow_pickle=False))
    return array


def _read_nets(archive: zipfile.ZipFile, meta: dict[str, Any]) -> TrainedNets | None:
    if meta["nets"] is None:
        return None
    return TrainedNets(safetensors.numpy.load(archive.read("nets.safetensors")), meta["nets"])


def _fit(meta: dict[str, Any], arrays: Arrays, nets: TrainedNets | None) -> Fit:
    """Return the Fit of a file."""
    # design brings formulaic; nothing before this point needs it
    from deepdml.design.data import Design

    families, kind = registered(), dict(meta["family"])
    name = kind.pop("name")
    if name not in families:
        raise ResultsFileError(
            f"family {name!r} is not registered here; import the module that defines it, then load again."
        )
    names: dict[str, Any] = {
        key: value if isinstance(value, str) else tuple(value) for key, value in meta["names"].items()
    }
    return Fit(
        **names,
        term_columns={name: slice(*ends) for name, ends in meta["terms"].items()},
        n=meta["n"],
        n_total=meta["n_total"],
        missing=meta["missing"],
        weighted=meta["weighted"],
        family=families[name](**kind).bind(names["t_names"]),
        record=_record(meta["record"]),
        design=Design.from_dict(
            meta["design"], {k.removeprefix("design/"): v for k, v in arrays.items() if k.startswith("design/")}
        ),
        nets=nets,
        rows=_rows(meta, arrays) if "y" in arrays else None,
    )


def _record(values: dict[str, Any]) -> FitRecord:
    nuisances = tuple(NuisanceFit(**nuisance) for nuisance in values["nuisances"])
    known = {key: value for key, value in values.items() if key != "notes"}  # older files have them, always empty
    tuples = {key: tuple(values[key]) for key in ("hidden", "history")}
    jumps = tuple((name, cut, nets) for name, cut, nets in values.get("jumps", ()))
    return FitRecord(**{**known, **tuples, "nuisances": nuisances, "jumps": jumps})


def _recipe(meta: dict[str, Any], arrays: Arrays) -> Recipe | None:
    """Return the recipe of a file; files of older versions have none."""
    if "recipe" not in meta:
        return None
    kept = {name.removeprefix("recipe/"): value for name, value in arrays.items() if name.startswith("recipe/")}
    return Recipe(meta["recipe"]["call"], tuple(meta["recipe"]["steps"]), kept)


def _rows(meta: dict[str, Any], arrays: Arrays) -> Rows:
    """Return the arrays by row of a file."""
    pieces = []
    for r, kind in enumerate(meta["laws"]):
        law = None if kind is None else _law(_LAWS[kind], arrays, r)
        held = {name: arrays[f"{r}/{name}"] for name in _PIECES}
        other = {name: arrays[key] for name in _RECALIBRATED if (key := f"{r}/recalibrated/{name}") in arrays}
        recalibrated = Recalibrated(**other) if other else None
        pieces.append(Influence(**held, law=law, noise=arrays.get(f"{r}/noise"), recalibrated=recalibrated))
    index = arrays["index"] if meta["index"] is None else plain.labels(meta["index"])
    found: dict[str, Any] = {name: arrays.get(name) for name in _ROW_ARRAYS}
    return Rows(**found, x=None, index=index, repetitions=tuple(pieces), x_sha256=meta.get("x_sha256"))


def _law(cls: type[DiscreteLaw] | type[LocationScaleLaw], arrays: Arrays, r: int) -> TreatmentLaw:
    values: dict[str, Any] = {f.name: arrays[f"{r}/law/{f.name}"] for f in fields(cls)}
    if "affine" in values:
        values["affine"] = bool(values["affine"])
    return cls(**values)


def _estimates(meta: dict[str, Any], arrays: Arrays) -> Estimates:
    """Return the estimates of a file as they were, not computed again: the last bits depend on the machine."""
    stored = meta["covariance"]
    covariance = CovarianceResult(
        arrays["covariance"],
        stored["cov_type"],
        stored["description"],
        tuple(stored["n_clusters"]),
        tuple(stored["notes"]),
    )
    spec = CovarianceSpec(
        meta["spec"]["cov_type"],
        arrays.get("cluster_codes"),
        tuple(meta["spec"]["group_names"]),
        meta["spec"]["use_correction"],
        meta["spec"]["df"],
        Serial(arrays["periods"], **meta["serial"]) if "periods" in arrays else None,
        Space(arrays["coordinates"], **meta["space"]) if "coordinates" in arrays else None,
        meta["spec"].get("use_t", False),  # files written before it had none
    )
    remarks = tuple(meta.get("remarks", ()))  # as above
    return Estimates(tuple(meta["labels"]), arrays["params"], covariance, spec, arrays.get("psi"), remarks)

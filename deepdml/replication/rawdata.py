"""The raw data of a package: one CSV or parquet file that reads back as it was, and arrays beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.columns import Column, canonical
from deepdml.design.table import from_any, open_table
from deepdml.embed.cards import Card, cards_in
from deepdml.errors import DataError, MissingLibraryError, list_rows
from deepdml.results.recipe import storable

Format = Literal["csv", "parquet"]
Arrays = dict[str, NDArray[Any]]
ARRAYS = "data/arrays"
ENCODERS = "data/encoders.json"

# Options of read_csv that give back the bits to_csv wrote: pandas 3.1 does so itself and warns of being asked.
_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])
EXACT: dict[str, Any] = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}


@dataclass(frozen=True, slots=True)
class RawData:
    """The user's data in a form that files hold.

    Parameters
    ----------
    frame : DataFrame
        The columns with one value per row; row labels, if they are more than positions, are its first columns.
    index : tuple of (str, str or None)
        The columns that hold row labels, each with the name the labels had.
    arrays : dict
        Vectors and arrays of the context, by the name the formula knows them under.
    constants : dict
        Numbers and texts of the context.
    encoders : tuple of Card
        What made the embeddings in the data and the context, where these carry it.
    """

    frame: pd.DataFrame
    index: tuple[tuple[str, str | None], ...]
    arrays: Arrays
    constants: dict[str, Any]
    encoders: tuple[Card, ...] = ()


def collect_data(data: object, context: Mapping[str, Any]) -> RawData:
    """Return data and context in a form that files hold; functions of the context are left to the script.

    Raises
    ------
    DataError
        For columns that no file holds: complex numbers, vectors of several lengths, names that occur twice.
    """
    table = open_table(data)
    twice = [name for name in dict.fromkeys(table.names) if table.names.count(name) > 1]
    if twice:
        raise DataError(f"the data have several columns called {list_rows(twice)}; rename or drop them.")
    series: dict[str, Any] = {}
    arrays: Arrays = {}
    for name in table.names:
        own = data[name] if isinstance(data, pd.DataFrame) and name in data else None
        if own is not None and _keeps(own):
            series[name] = own.reset_index(drop=True)
            continue
        column = table.column(name)
        if column.kind == "vector":
            arrays[name] = column.values
        else:
            series[name] = _series(name, column)
    frame = pd.DataFrame(series)
    index: tuple[tuple[str, str | None], ...] = ()
    if isinstance(data, pd.DataFrame) and not data.index.equals(pd.RangeIndex(len(data))):
        frame, index = _with_labels(frame, data.index)
    held = {name: value for name, value in context.items() if not callable(value)}
    arrays |= {name: storable(from_any(name, value)) for name, value in held.items() if _is_array(value)}
    constants = {name: _scalar(value) for name, value in held.items() if not _is_array(value)}
    encoders = tuple(card for given in (data, *context.values()) for card in cards_in(given))
    return RawData(frame, index, arrays, {name: v for name, v in constants.items() if _is_plain(v)}, encoders)


def _keeps(series: pd.Series) -> bool:
    """Whether a column of pandas goes to a file as it is: numbers, dates and categories, not objects or text."""
    dtype = series.dtype
    return not (dtype.kind in "OSUc" and not isinstance(dtype, pd.CategoricalDtype)) and str(dtype) != "string"


def _series(name: str, column: Column) -> pd.Series:
    """Return a column of any library, or of objects, as numbers, dates, categories or text."""
    values = column.values
    if isinstance(values, pd.Categorical):
        return pd.Series(values)
    if column.kind == "number":
        if column.missing.any() and values.dtype.kind != "f":
            values = np.where(column.missing, np.nan, values.astype(np.float64))
        return pd.Series(values)
    if column.kind == "date":
        try:
            return pd.Series(pd.to_datetime(pd.Series(values)))
        except (TypeError, ValueError) as error:
            raise DataError(f"column {name!r} holds dates that cannot be written to a file: {error}.") from error
    return pd.Series(values, dtype=object)


def _with_labels(frame: pd.DataFrame, index: pd.Index) -> tuple[pd.DataFrame, tuple[tuple[str, str | None], ...]]:
    labels = index.to_frame(index=False)
    names = [None if name is None else str(name) for name in index.names]
    columns = [name if name and name not in frame else f"row_label_{j}" for j, name in enumerate(names)]
    labels.columns = pd.Index(columns)
    made = {
        name: labels[name] if _keeps(labels[name]) else _series(name, canonical(name, labels[name], frame.index))
        for name in columns
    }
    return pd.concat([pd.DataFrame(made), frame], axis=1), tuple(zip(columns, names, strict=True))


def _is_array(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str) and getattr(value, "shape", None) != ()


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def write_data(raw: RawData, folder: Path, form: Format) -> dict[str, Any]:
    """Write the data below `folder` and return the entry of the config that reads them back.

    Raises
    ------
    MissingLibraryError
        For parquet without pyarrow.
    """
    path = f"data/data.{form}"
    (folder / ARRAYS).mkdir(parents=True)
    if form == "csv":
        raw.frame.to_csv(folder / path, index=False, lineterminator="\n")
    else:
        _write_parquet(raw.frame, folder / path)
    for name, array in raw.arrays.items():
        np.save(folder / ARRAYS / f"{name}.npy", array, allow_pickle=False)
    if not raw.arrays:
        (folder / ARRAYS).rmdir()
    return {
        "file": path,
        "format": form,
        "rows": len(raw.frame),
        "columns": [_describe(name, raw.frame[name]) for name in raw.frame.columns],
        "row labels": [list(pair) for pair in raw.index],
        "context arrays": {name: f"{ARRAYS}/{name}.npy" for name in raw.arrays},
        "context constants": raw.constants,
        "other arrays": {},
    }


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    try:
        frame.to_parquet(path, index=False)
    except ImportError as error:
        raise MissingLibraryError("writing parquet needs pyarrow: pip install pyarrow, or form='csv'") from error


def _describe(name: str, series: pd.Series) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "type": str(series.dtype)}
    if isinstance(series.dtype, pd.CategoricalDtype):
        categories = series.cat.categories
        entry |= {
            "type": "category",
            "of": str(categories.dtype),
            "ordered": bool(series.cat.ordered),
            "categories": [_scalar(c) if _is_plain(_scalar(c)) else str(c) for c in categories],
        }
    return entry


def read_data(folder: str | Path) -> tuple[pd.DataFrame, dict[str, Any], Arrays]:
    """Read the raw data of a package with the types they had.

    Parameters
    ----------
    folder : path
        The package.

    Returns
    -------
    data : DataFrame
    context : dict
        What `dd.fit` is given as its context: arrays and constants.
    arrays : dict
        Further arrays by row: weights, labels of groups, propensities that are no column of the data.

    Raises
    ------
    DataError
        If the folder is no replication package.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise DataError(f"{str(folder)!r} is not a replication package: it has no config.json.")
    entry = json.loads((folder / "config.json").read_text(encoding="utf-8"))["data"]
    path = folder / entry["file"]
    if entry["format"] == "csv":
        numeric = {c["name"]: c["type"] if _is_numeric(c["type"]) else "object" for c in entry["columns"]}
        # only an empty field is missing: "NA" may be a value
        frame = pd.read_csv(path, dtype=numeric, keep_default_na=False, na_values=[""], **EXACT)
        frame = pd.DataFrame({c["name"]: _restored(frame[c["name"]], c) for c in entry["columns"]})
    else:
        frame = pd.read_parquet(path)
        for c in entry["columns"]:
            if c["type"] == "category":  # parquet keeps categories of text only
                frame[c["name"]] = pd.Categorical(frame[c["name"]], _categories(c), ordered=c["ordered"])
    if entry["row labels"]:
        frame = frame.set_index([column for column, _ in entry["row labels"]])
        frame.index.names = [name for _, name in entry["row labels"]]
    context = {name: np.load(folder / file, allow_pickle=False) for name, file in entry["context arrays"].items()}
    others = {name: np.load(folder / file, allow_pickle=False) for name, file in entry["other arrays"].items()}
    return frame, {**context, **entry["context constants"]}, others


def _is_numeric(kind: str) -> bool:
    return kind.lower().rstrip("0123456789") in ("int", "uint", "float", "bool", "boolean")


def _restored(series: pd.Series, entry: Mapping[str, Any]) -> pd.Series:
    """Return a column of a CSV file with the type it had."""
    kind = entry["type"]
    if _is_numeric(kind):
        return series
    if kind == "category":
        return _restored_categories(series, entry)
    if kind.startswith("datetime64"):
        zoned = "," in kind
        return pd.to_datetime(series, format="ISO8601", utc=zoned).astype(kind)
    if kind.startswith("timedelta64"):
        return pd.to_timedelta(series).astype(kind)
    return series.astype(kind) if kind.startswith("period") else series.astype(object)


def _categories(entry: Mapping[str, Any]) -> pd.Index:
    categories = pd.Index(entry["categories"])
    if _is_numeric(entry["of"]):
        categories = categories.astype(entry["of"])
    elif entry["of"].startswith("datetime64"):
        categories = pd.DatetimeIndex(categories).astype(entry["of"])
    return categories


def _restored_categories(series: pd.Series, entry: Mapping[str, Any]) -> pd.Series:
    positions = {str(category): code for code, category in enumerate(entry["categories"])}
    codes = [positions.get(value, -1) for value in series]
    return pd.Series(pd.Categorical.from_codes(codes, _categories(entry), ordered=entry["ordered"]))

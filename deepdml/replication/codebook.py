"""The codebook: what every variable is, with its type, range, categories and missing values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from deepdml.replication.rawdata import RawData

_SHOWN = 20  # categories that are listed by name


def codebook(raw: RawData, roles: Mapping[str, str], labels: Mapping[str, str]) -> pd.DataFrame:
    """Return one row per variable of the data, arrays of the context included.

    Parameters
    ----------
    raw : RawData
    roles : dict
        What the fits use a variable for, by name: "outcome", "treatment", "covariate", "weights", "clusters".
    labels : dict
        What each variable is, from the author.

    Returns
    -------
    DataFrame
        Columns variable, label, role, type, rows, missing, distinct, minimum, maximum and categories.
    """
    rows = [_describe(name, raw.frame[name]) for name in raw.frame.columns]
    rows += [_describe_array(name, array) for name, array in raw.arrays.items()]
    table = pd.DataFrame(rows)
    table.insert(1, "label", [labels.get(name, "") for name in table["variable"]])
    table.insert(2, "role", [roles.get(name, "") for name in table["variable"]])
    return table


def _describe(name: str, series: pd.Series) -> dict[str, Any]:
    present = series.dropna()
    entry = _entry(name, str(series.dtype), len(series), len(series) - len(present))
    if isinstance(series.dtype, pd.CategoricalDtype) or series.dtype == object:
        levels = series.cat.categories if isinstance(series.dtype, pd.CategoricalDtype) else pd.unique(present)
        shown = [str(level) for level in (levels if hasattr(series, "cat") else sorted(levels, key=str))]
        entry["type"] = "category" if hasattr(series, "cat") else "text"
        more = f"; and {len(shown) - _SHOWN:,} more" if len(shown) > _SHOWN else ""
        return {**entry, "distinct": present.nunique(), "categories": "; ".join(shown[:_SHOWN]) + more}
    entry["distinct"] = present.nunique()
    if len(present):
        entry |= {"minimum": str(present.min()), "maximum": str(present.max())}
    return entry


def _describe_array(name: str, array: Any) -> dict[str, Any]:
    """Return the entry of a vector or of an array of the context."""
    shape = " x ".join(str(width) for width in array.shape[1:])
    kind = f"{array.dtype} vector of {shape}" if shape else str(array.dtype)
    if array.dtype.kind not in "iuf":
        return _entry(name, kind, len(array), 0)
    holes = int((~np.isfinite(array)).reshape(len(array), -1).any(axis=1).sum())
    entry = _entry(name, kind, len(array), holes)
    return {**entry, "minimum": str(np.nanmin(array)), "maximum": str(np.nanmax(array))} if array.size else entry


def _entry(name: str, kind: str, rows: int, missing: int) -> dict[str, Any]:
    return {
        "variable": name,
        "type": kind,
        "rows": rows,
        "missing": missing,
        "distinct": "",
        "minimum": "",
        "maximum": "",
        "categories": "",
    }

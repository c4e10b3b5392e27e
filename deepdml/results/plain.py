"""Values that JSON has no form for: infinities, row labels that are times or tuples."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import ResultsFileError


def encode(value: Any) -> Any:
    """Return a value in strict JSON: numbers that are not finite become {"$float": "nan"}, numpy scalars Python's."""
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    return value


def decode(value: Any) -> Any:
    """Undo `encode`; tuples come back as lists."""
    if isinstance(value, dict):
        return (
            float(value["$float"]) if value.keys() == {"$float"} else {key: decode(item) for key, item in value.items()}
        )
    if isinstance(value, list):
        return [decode(item) for item in value]
    return value


def label(value: Any) -> Any:
    """Return a row label for JSON: texts and numbers as they are, times and tuples marked, anything else as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple):
        return {"tuple": [label(item) for item in value]}
    if isinstance(value, datetime.date):
        if not isinstance(value, datetime.datetime):
            return {"date": value.isoformat()}
        return {"timestamp": value.isoformat(), "zone": None if value.tzinfo is None else str(value.tzinfo)}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def labels(values: list[Any]) -> NDArray[Any]:
    """Return row labels from JSON as a one-dimensional object array, even where labels are tuples."""
    return np.fromiter((_label(value) for value in values), dtype=object, count=len(values))


def _label(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(_label(item) for item in value["tuple"])
    if "date" in value:
        return datetime.date.fromisoformat(value["date"])
    if "timestamp" in value:
        time = pd.Timestamp(value["timestamp"])
        return time if value["zone"] is None else time.tz_convert(value["zone"])
    raise ResultsFileError(f"row label {value!r} has no known form")

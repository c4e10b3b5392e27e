"""The leakage path of a fit: its own model, fitted again on distilled covariates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from deepdml.errors import DataError, OptionError
from deepdml.leakage import LeakagePath, path


def leakage_path(
    model: Any,
    data: pd.DataFrame,
    columns: str | Sequence[str],
    treatment: str | None,
    fit: Mapping[str, Any],
    options: Mapping[str, Any],
) -> LeakagePath:
    """Return the path of a model that can be fitted again; see `Results.leakage_path`."""
    if not hasattr(model, "refit"):
        raise DataError("these results hold no model to fit again (they were loaded); use dd.leakage.path.")
    names = [name for name in model.exog_names if name != "Intercept"]
    if treatment is None and (len(names) != 1 or names[0] not in data.columns):
        raise OptionError(f"pass treatment=, the column of the data that {', '.join(names)} come from.")
    return path(lambda frame: model.refit(frame, **fit), data, treatment or names[0], columns, **options)

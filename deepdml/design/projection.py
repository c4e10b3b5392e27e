"""Formulas without outcome or bar, evaluated on data: the regressors of projections, and groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.encoding import Encoded, encode
from deepdml.design.formula import parse_terms
from deepdml.design.source import Source
from deepdml.design.table import Table
from deepdml.errors import DataError, list_rows


def qcut(values: Any, q: int) -> pd.Categorical:
    """Return the quantile group of each value, named by its interval; repeated quantiles make one group."""
    return _named(pd.qcut(np.asarray(values, np.float64), q, duplicates="drop"))


def cut(values: Any, bins: Any) -> pd.Categorical:
    """Return the interval each value falls into, named by its ends."""
    return _named(pd.cut(np.asarray(values, np.float64), bins))


def _named(groups: Any) -> pd.Categorical:
    return groups.rename_categories([str(c) for c in groups.categories])


OUTSIDE = (
    "An expression needs a value in every row: cut points of cut() reach from -np.inf to np.inf, and "
    "qcut() is of a column that varies."
)

FUNCTIONS = {"qcut": qcut, "cut": cut}


def regressors(
    formula: str, table: Table, rows: NDArray[np.intp], context: Mapping[str, Any], *, full_rank: bool = True
) -> tuple[Encoded, tuple[str, ...]]:
    """Return the columns of a formula such as ``age + C(region)`` on the given rows, and the variables it reads.

    Parameters
    ----------
    formula : str
        One part, with an intercept unless it is taken out; ``qcut(x, 4)`` and ``cut(x, bins)`` make groups.
    table : Table
    rows : (n,) array of int
    context : dict
        Arrays and functions the formula names beside the columns.
    full_rank : bool
        Whether categories leave out a level; otherwise each level has its column.

    Raises
    ------
    FormulaError
        If it cannot be read or names something that does not exist.
    DataError
        For missing values, with their rows.
    """
    values = {**FUNCTIONS, **context}
    terms, reads = parse_terms(formula, table.names, values.keys())
    source = Source(table, values, reads)
    source.require([name for name in reads if name in table])
    columns = [name for name in reads if name in source]
    outside = {name: value for name, value in values.items() if name not in columns}
    encoded = encode(terms, source.frame(columns, outside, rows), full_rank=full_rank)
    labels = source.labels[rows]
    flags = {name: source.column(name).missing[rows] for name in columns} | dict(encoded.missing)
    for name, missing in flags.items():
        refuse_missing(repr(name), missing, labels, "" if name in columns else OUTSIDE)
    return encoded, tuple(columns)


def refuse_missing(what: str, missing: NDArray[np.bool_], labels: NDArray[Any], remedy: str = "") -> None:
    """Raise DataError naming the rows (n,) of the fit where something is missing, and what to do."""
    if missing.any():
        raise DataError(
            f"{what} is missing or infinite in {int(missing.sum()):,} row(s) of the fit: "
            f"{list_rows(list(labels[missing]))}. {remedy or 'Fill them in, and pass the frame as data=.'}"
        )

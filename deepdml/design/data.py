"""ModelData: the arrays of a fit, built from a formula and the user's data with one mask for missing rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepdml.design import checks
from deepdml.design.assembly import Piece, assemble, column_before
from deepdml.design.encoding import is_storable
from deepdml.design.formula import parse_formula
from deepdml.design.labels import KeptRows
from deepdml.design.outcome import OutcomeLevels, read_outcome, surv
from deepdml.design.plan import Flags, Kept, Plan, describe
from deepdml.design.roles import Groups, read_groups, read_weights
from deepdml.design.specification import Block, Design
from deepdml.design.table import open_table
from deepdml.errors import DataError, OptionError, unknown_option

__all__ = ["Design", "ModelData", "OutcomeLevels", "build_data"]

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ModelData:
    """The arrays of a fit, on the rows that are kept.

    Parameters
    ----------
    y : (n,) float64 array
        The outcome, in the user's units after transforms in the formula.
    t : (n, d) float64 array
        The structural row: what has a coefficient, the intercept included.
    x : (n, p) float32 array, C-contiguous
        The covariates, in the user's units.
    y_name : str
    t_names, x_names : tuple of str
    weights : (n,) float64 array or None
        Sampling weights, as given.
    groups : (n, g) intp array or None
        Cluster codes 0, 1, ... in each dimension.
    group_names : tuple of str
    rows : (n,) intp array
        Positions of the kept rows in the user's data.
    index : (n,) array
        Their labels: the pandas index, or positions for other data.
    n_total : int
        Rows before dropping.
    term_columns : dict
        Terms of the left part, each with its slice of t's columns.
    treatment : (n, v) float64 array or None
        The variables the left part is built from; None if one is not a number or is made categories of.
    treatment_names : tuple of str
    design : Design
    missing : dict
        Columns with missing values, each with the number of rows.
    event : (n,) float64 array or None
        1 where a duration of ``Surv(time, event)`` ended, 0 where it was censored.
    y_levels : tuple
        Levels of a categorical outcome, whose codes y holds.
    """

    y: Float
    t: Float
    x: NDArray[np.float32]
    y_name: str
    t_names: tuple[str, ...]
    x_names: tuple[str, ...]
    weights: Float | None
    groups: NDArray[np.intp] | None
    group_names: tuple[str, ...]
    rows: NDArray[np.intp]
    index: NDArray[Any]
    n_total: int
    term_columns: dict[str, slice]
    treatment: Float | None
    treatment_names: tuple[str, ...]
    design: Design
    missing: dict[str, int] = field(default_factory=dict)
    event: Float | None = None
    y_levels: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.y)
        shapes: dict[str, tuple[NDArray[Any] | None, tuple[int, ...]]] = {
            "y": (self.y, (n,)),
            "event": (self.event, (n,)),
            "t": (self.t, (n, len(self.t_names))),
            "x": (self.x, (n, len(self.x_names))),
            "rows": (self.rows, (n,)),
            "index": (self.index, (n,)),
            "weights": (self.weights, (n,)),
            "groups": (self.groups, (n, len(self.group_names))),
            "treatment": (self.treatment, (n, len(self.treatment_names))),
        }
        for name, (array, shape) in shapes.items():
            if array is not None and array.shape != shape:
                raise DataError(f"{name} has shape {array.shape}; {shape} is needed.")
        if not self.x.flags.c_contiguous or self.x.dtype != np.float32:
            raise DataError("x must be a C-contiguous float32 matrix.")

    @property
    def kept(self) -> KeptRows:
        """Which rows of the user's data these are."""
        return KeptRows(self.rows, self.n_total, self.index)


def build_data(
    formula: str,
    data: Any,
    *,
    weights: Any = None,
    groups: Any = None,
    missing: Literal["drop", "raise"] = "drop",
    context: Mapping[str, Any] | None = None,
    levels: OutcomeLevels | None = None,
) -> ModelData:
    """Return the arrays of a fit.

    Parameters
    ----------
    formula : str
        ``outcome ~ structural part | covariates``.
    data : pandas, polars or pyarrow frame, or dict of arrays
        Only the columns named are read; nothing is changed.
    weights : str or (n,) array, optional
        Sampling weights: a column, or values by position. Zero is allowed; ``.`` in the formula leaves the column out.
    groups : str, list of str, or array of shape (n,) or (n, g), optional
        Clusters: columns, or values by position.
    missing : {"drop", "raise"}
        What to do with rows in which a variable used is missing, infinite, or transformed into either.
    context : dict, optional
        Arrays, constants and functions the formula may name beside the data's columns.
    levels : OutcomeLevels, optional
        What the family asks of an outcome that is one of a few levels; without it the outcome is a number.

    Raises
    ------
    FormulaError
        If the formula cannot be read or names something that does not exist.
    DataError
        If the data cannot be used as the formula asks.
    OptionError
        For an unknown value of `missing`.

    Examples
    --------
    >>> data = {"y": [1.0, 2.0, 4.0, None], "arm": ["a", "b", "b", "a"], "age": [30, 41, 52, 60], "city": list("uvuv")}
    >>> built = build_data("y ~ C(arm) | age + city", data)
    >>> built.t_names, built.x_names
    (('Intercept', 'C(arm)[T.b]'), ('age', 'city[u]', 'city[v]'))
    >>> built.x.tolist(), built.missing
    ([[30.0, 1.0, 0.0], [41.0, 0.0, 1.0], [52.0, 1.0, 0.0]], {'y': 1})
    """
    if missing not in ("drop", "raise"):
        raise unknown_option("value of missing", missing, ("drop", "raise"))
    if context is not None and not isinstance(context, Mapping):
        raise OptionError(f"context is a {type(context).__name__}; needed is a dict such as {{'emb': array}}.")
    table = open_table(data)
    if not table.n:
        raise DataError("the data have no rows.")
    values = {"Surv": surv, **(context or {})}
    not_in_dot = [weights] if isinstance(weights, str) else []
    parsed = parse_formula(formula, table.names, values.keys(), not_in_dot=not_in_dot, index=table.index_names)
    plan = Plan(parsed, table, values)
    w = read_weights(weights, table)
    g = read_groups(groups, table)
    flags = plan.flags()
    if w is not None:
        flags["weights"] = ~np.isfinite(w)
    if g is not None:
        flags.update(zip((f"groups {name!r}" for name in g.names), g.missing.T, strict=True))
    kept = plan.evaluate(flags)
    if missing == "raise" and len(kept.rows) < table.n:
        raise DataError(f"missing='raise', but {describe(flags, table.labels)}. Fill them or use missing='drop'.")
    return _collect(plan, kept, w, g, flags, levels)


def add_groups(built: ModelData, data: Any, groups: Any) -> ModelData | None:
    """Return the same arrays with clusters, or None where a kept row has no cluster and they must be built anew.

    Raises
    ------
    DataError
        For an unknown column or a wrong length.
    """
    read = read_groups(groups, open_table(data))
    if read is None or read.missing[built.rows].any():
        return None
    return replace(built, groups=read.codes(built.rows), group_names=read.names)


def _collect(
    plan: Plan, kept: Kept, weights: Float | None, groups: Groups | None, flags: Flags, levels: OutcomeLevels | None
) -> ModelData:
    """Return the arrays of the kept rows, checked."""
    source, rows = plan.source, kept.rows
    outcome = read_outcome(kept.outcome, plan.outcome, source, rows, levels)
    t, t_names = kept.treatments.values, kept.treatments.names
    terms = _term_columns(plan.treatments, kept.treatments.widths)
    checks.check_categories(kept.treatments, kept.transforms)
    checks.check_treatments(t, t_names, terms)
    some = None if len(rows) == source.n else rows
    placed = list(plan.final_pieces(kept.transforms, some))
    x_names = tuple(name for _, names in placed for name in names)
    checks.check_x_names(x_names)
    pieces = tuple(piece for piece, _ in placed)
    evaluated = kept.transforms.values if kept.transforms else None
    x = assemble(pieces, source, evaluated, some)
    checks.check_resolution(x, x_names, partial(column_before, pieces, source, evaluated, some))
    raw, raw_names = (None, ()) if kept.treatments.categorical else _raw_treatments(plan, rows)
    return ModelData(
        y=outcome.y,
        t=t,
        x=x,
        y_name=outcome.name,
        t_names=t_names,
        x_names=x_names,
        weights=None if weights is None else checks.check_weights(weights[rows]),
        groups=None if groups is None else groups.codes(rows),
        group_names=() if groups is None else groups.names,
        rows=rows,
        index=source.labels[rows],
        n_total=source.n,
        term_columns=terms,
        treatment=raw,
        treatment_names=raw_names,
        design=_design(plan, kept, outcome.name, x_names, pieces),
        missing={name: int(missing.sum()) for name, missing in flags.items() if missing.any()},
        event=outcome.event,
        y_levels=outcome.levels,
    )


def _design(plan: Plan, kept: Kept, y_name: str, x_names: tuple[str, ...], pieces: tuple[Piece, ...]) -> Design:
    """Return what is needed to encode new data as these were."""
    kinds = {name: plan.source.column(name).kind for name in (*plan.treatments.reads, *plan.transforms.reads)}
    vectors = [part for piece in pieces for part in piece.read if part.origin == "vector"]
    kinds.update({part.names[0]: "vector" for part in vectors})
    constants = {name: value for name, value in plan.outside.items() if is_storable(value)}
    return Design(
        formula=plan.parsed.formula,
        y_name=y_name,
        t_names=kept.treatments.names,
        x_names=x_names,
        treatments=plan.treatments.fitted(kept.treatments),
        transforms=plan.transforms.fitted(kept.transforms) if kept.transforms else plan.transforms,
        pieces=pieces,
        kinds=kinds,
        constants=constants,
        functions={name: value for name, value in plan.outside.items() if name not in constants},
    )


def _term_columns(block: Block, widths: Sequence[int]) -> dict[str, slice]:
    stops = np.cumsum(widths)
    names = ["Intercept" if str(term) == "1" else str(term) for term in block.terms]
    return {name: slice(int(stop) - width, int(stop)) for name, stop, width in zip(names, stops, widths, strict=True)}


def _raw_treatments(plan: Plan, rows: NDArray[np.intp]) -> tuple[Float | None, tuple[str, ...]]:
    """Return the variables left of the bar as one matrix, or None if one is no number."""
    columns: list[Float] = [np.empty((len(rows), 0))]
    names: list[str] = []
    for name in plan.treatments.reads:
        column = plan.source.column(name)
        if column.kind not in ("number", "vector"):
            return None, ()
        values = np.asarray(column.values[rows], np.float64)
        columns.append(values.reshape(len(rows), -1))
        names.extend([name] if column.kind == "number" else [f"{name}_{i}" for i in range(values.shape[1])])
    return np.ascontiguousarray(np.hstack(columns)), tuple(names)

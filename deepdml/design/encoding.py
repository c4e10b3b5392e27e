"""Terms -> columns through formulaic, with the state that encodes new data in the same way.

formulaic turns an unseen category into the base level and repeats a single column to fill a block; both are errors
here. Its state (categories, polynomial coefficients, knots, means) is kept as plain JSON values, from which encodings
come out bit for bit.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from formulaic import ModelSpec, SimpleFormula
from formulaic.errors import DataMismatchWarning, FormulaicError
from formulaic.materializers import PandasMaterializer
from formulaic.materializers.types import FactorValues
from formulaic.parser.types import Factor, Term
from numpy.typing import NDArray

from deepdml.errors import DataError, list_rows

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """The rows a formula is evaluated on.

    Parameters
    ----------
    columns : dict
        Series by position, all of length `n`, and (n, k) arrays for vectors.
    context : dict
        Functions and constants.
    labels : (n,) array
        Row labels for messages.
    dates : frozenset of str
        Columns of dates or durations, which functions may read and a term may not be.
    """

    columns: Mapping[str, Any]
    context: Mapping[str, Any]
    labels: NDArray[Any]
    dates: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Encoded:
    """Evaluated terms.

    Parameters
    ----------
    values : (n, k) float64 array
    names : tuple of str
        The k column names.
    widths : tuple of int
        How many columns each term has; they sum to k.
    missing : dict
        Columns or factors that are NaN, infinite or without a category somewhere, each with its (n,) flags.
    categorical : bool
        Whether a factor is categorical.
    state : dict
        Plain JSON values that reproduce the encoding on other rows.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...]
    widths: tuple[int, ...]
    missing: Mapping[str, NDArray[np.bool_]]
    categorical: bool
    state: State

    def categories(self) -> dict[str, list[Any]]:
        """Return the categories of every categorical factor, by its expression."""
        kinds = {expr: packed for expr, (kind, packed) in self.state["encoders"].items() if kind == "categorical"}
        return {expr: _unpack(packed).get("categories") or [] for expr, packed in kinds.items()}

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names) or sum(self.widths) != len(self.names):
            raise DataError(f"encoded terms have shape {self.values.shape} for {len(self.names)} names.")


def encode(terms: Sequence[Term], frame: Frame, *, full_rank: bool, state: State | None = None) -> Encoded:
    """Return the columns of terms; with `state`, encoded exactly as when the state was made.

    Parameters
    ----------
    terms : sequence of Term
    frame : Frame
    full_rank : bool
        Whether categories leave out a level where an intercept or an earlier term spans it (left of the bar), or are
        full one-hot (right of it).
    state : dict, optional
        `Encoded.state` of an earlier call.

    Raises
    ------
    DataError
        If a transform fails, a category is unseen, or two columns get the same name.
    """
    spec = ModelSpec(
        formula=SimpleFormula(list(terms), _ordering="none"),
        ensure_full_rank=full_rank,
        na_action="ignore",
        output="pandas",
        transform_state=_unpack(state["transforms"]) if state else {},
        encoder_state=_unpack_encoders(state["encoders"]) if state else {},
    )
    materializer = _Materializer(frame)
    matrix = _materialize(materializer, spec)
    made = matrix.model_spec
    names = tuple(str(name) for part in made.structure for name in part.columns)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"several columns of the design are called {', '.join(map(repr, twice))}; rename one.")
    values = _as_float(matrix, names, len(frame.labels))
    holes = ~np.isfinite(values)
    missing = {**materializer.missing, **{names[i]: holes[:, i] for i in np.flatnonzero(holes.any(axis=0))}}
    encoders = _pack_encoders(made.encoder_state)
    return Encoded(
        values=values,
        names=names,
        widths=tuple(len(part.columns) for part in made.structure),
        missing=missing,
        categorical=any(kind == Factor.Kind.CATEGORICAL.value for kind, _ in encoders.values()),
        state={"transforms": _pack(made.transform_state), "encoders": encoders},
    )


def _as_float(matrix: Any, names: Sequence[str], n: int) -> NDArray[np.float64]:
    values = np.empty((n, len(names)))
    for i, name in enumerate(names):
        try:
            values[:, i] = matrix[name]
        except (TypeError, ValueError) as error:
            raise DataError(f"{name!r} is not a column of numbers: {error}. Convert it in the data.") from error
    return values


def _materialize(materializer: _Materializer, spec: Any) -> Any:
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error", DataMismatchWarning)
            return materializer.get_model_matrix(spec)
    except DataMismatchWarning as error:
        raise DataError("a column has categories outside the `levels` that the formula gives; extend them.") from error
    except DataError:
        raise
    except (FormulaicError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error.__cause__, DataError):
            raise error.__cause__ from None
        reason = str(error).split("\n")[0]
        raise DataError(f"a term cannot be computed: {reason}. Check the transform and its columns.") from error


class _Materializer(PandasMaterializer):  # type: ignore[misc]  # formulaic ships no types
    """formulaic's materializer over a Frame, which refuses unseen categories and reports missing ones."""

    def __init__(self, frame: Frame) -> None:
        n = len(frame.labels)
        self.vectors = {name: v for name, v in frame.columns.items() if getattr(v, "ndim", 1) == 2}
        series = {name: v for name, v in frame.columns.items() if name not in self.vectors}
        self.labels = frame.labels
        self.dates = frame.dates
        self.missing: dict[str, NDArray[np.bool_]] = {}
        super().__init__(pd.DataFrame(series, index=pd.RangeIndex(n)), {**frame.context, **self.vectors})

    @PandasMaterializer.override  # type: ignore[untyped-decorator]  # required by formulaic
    def _lookup(self, name: str) -> tuple[Any, Any]:
        values, variables = super()._lookup(name)
        if name in self.vectors:
            by_column = {i: values[:, i] for i in range(values.shape[1])}
            values = FactorValues(by_column, kind="numerical", format="{name}_{field}")
        elif name not in self.data:
            shape = getattr(values, "shape", None)
            found = f"has shape {tuple(shape)}" if shape else f"is a {type(values).__name__}"
            raise DataError(
                f"{name!r} comes from context and is not an array with one entry per row ({len(self.labels):,} rows): "
                f"it {found}."
            )
        elif name in self.dates:
            raise DataError(
                f"column {name!r} holds dates or durations; use a number, such as I({name}.dt.year), "
                f"or I({name}.dt.days) of a duration."
            )
        return values, variables

    @PandasMaterializer.override  # type: ignore[untyped-decorator]  # required by formulaic
    def _encode_evaled_factor(self, factor: Any, spec: Any, drop_rows: Any, reduced_rank: bool = False) -> Any:
        if factor.metadata.kind is Factor.Kind.CATEGORICAL:
            self._check_categories(factor, spec)
        return super()._encode_evaled_factor(factor, spec, drop_rows, reduced_rank)

    def _check_categories(self, factor: Any, spec: Any) -> None:
        values = getattr(factor.values, "__wrapped__", factor.values)
        if np.ndim(values) != 1:
            raise DataError(
                f"{factor.expr!r} makes categories of {np.ndim(values)}-dimensional values; use one column."
            )
        values = pd.Series(values).reset_index(drop=True)
        gone = values.isna().to_numpy(bool)
        if gone.any():
            self.missing[factor.expr] = gone
        known = spec.encoder_state.get(factor.expr, (None, {}))[1].get("categories")
        if known is None:
            return
        unseen = ~gone & ~values.astype(object).isin(list(known)).to_numpy(bool)
        if unseen.any():
            new = ", ".join(repr(v) for v in pd.unique(values[unseen].astype(object))[:5])
            raise DataError(
                f"{factor.expr!r} has categories the model has not seen: {new} in row(s) "
                f"{list_rows(list(self.labels[unseen]))}; known are {list_rows([repr(k) for k in known], 10)}. "
                "Drop these rows or refit."
            )


# State as JSON ------------------------------------------------------------------------------------------------------


def _pack_encoders(state: Mapping[str, Any]) -> dict[str, Any]:
    return {expr: [kind.value, _pack(_without_contrasts(inner))] for expr, (kind, inner) in state.items()}


def _unpack_encoders(state: Mapping[str, Any]) -> dict[str, Any]:
    return {expr: (Factor.Kind(kind), _unpack(inner)) for expr, (kind, inner) in state.items()}


def _without_contrasts(state: Any) -> Any:
    """Return an encoder's state without the contrasts object, which formulaic keeps for display only."""
    if not isinstance(state, dict):
        return state
    return {key: _without_contrasts(value) for key, value in state.items() if key != "contrasts"}


def _pack(value: Any) -> Any:
    """Return a value as JSON types; arrays, numpy scalars, tuples and dicts carry a tag."""
    value = getattr(value, "__wrapped__", value)
    if isinstance(value, np.generic):
        return {"scalar": value.dtype.str, "value": value.item()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        return {"array": value.dtype.str, "shape": list(value.shape), "value": _pack(value.ravel().tolist())}
    if isinstance(value, Mapping):
        return {"dict": [[_pack(k), _pack(v)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_pack(v) for v in value]}
    if isinstance(value, (list, pd.Index, pd.Series)):
        return [_pack(v) for v in value]
    if isinstance(value, pd.Timestamp | pd.Timedelta | pd.Period | datetime.date):
        raise DataError(
            "a term makes categories of dates; use texts, such as C(day.astype(str)), or numbers, such as "
            "I(day.dt.year)."
        )
    raise DataError(
        f"a transform in the formula keeps a {type(value).__name__}, which cannot be stored; "
        "compute it as a column of the data."
    )


def _unpack(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {_unpack(k): _unpack(v) for k, v in value["dict"]}
    if "tuple" in value:
        return tuple(_unpack(v) for v in value["tuple"])
    if "scalar" in value:
        return np.dtype(value["scalar"]).type(value["value"])
    return np.array([_unpack(v) for v in value["value"]], dtype=np.dtype(value["array"])).reshape(value["shape"])


def is_storable(value: Any) -> bool:
    """Return whether a constant from the user's context can be kept with a specification."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufU"
    if isinstance(value, (list, tuple)):
        return all(map(is_storable, value))
    return value is None or isinstance(value, (bool, int, float, str, np.bool_, np.integer, np.floating))


def pack_terms(terms: Sequence[Term]) -> list[Any]:
    """Return terms as JSON values."""
    return [[[factor.expr, factor.eval_method.value] for factor in term.factors] for term in terms]


def unpack_terms(packed: Sequence[Any]) -> tuple[Term, ...]:
    """Return the terms `pack_terms` was given."""
    return tuple(Term([Factor(expr, eval_method=method) for expr, method in term]) for term in packed)


def pack_constants(constants: Mapping[str, Any]) -> Any:
    """Return named constants as JSON values."""
    return _pack(dict(constants))


def unpack_constants(packed: Any) -> dict[str, Any]:
    """Return the constants `pack_constants` was given."""
    return dict(_unpack(packed))

"""Design: what is needed to encode new data as the training data were."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import numpy as np
from formulaic.parser.types import Factor, Term
from numpy.typing import NDArray

from deepdml.design.columns import Column, Kind
from deepdml.design.encoding import (
    Encoded,
    Frame,
    State,
    encode,
    pack_constants,
    pack_terms,
    unpack_constants,
    unpack_terms,
)
from deepdml.design.names import factors_of, names_in
from deepdml.design.table import ArrayTable, Table, open_table
from deepdml.errors import DataError, list_rows

_FORMAT = 1


class Source:
    """Columns of the data, and arrays of the context that stand beside them row by row."""

    def __init__(self, table: Table, context: Mapping[str, Any], names: Sequence[str]) -> None:
        beside = {v: context[v] for v in names if v not in table and v in context and _has_rows(context[v], table.n)}
        self.table = table
        self.n = table.n
        self.labels = table.labels
        self._beside = ArrayTable(beside)
        self._beside.labels = table.labels

    def __contains__(self, name: str) -> bool:
        return name in self.table or name in self._beside

    def _owner(self, name: str) -> Table:
        return self._beside if name in self._beside else self.table

    def require(self, names: Sequence[str]) -> None:
        """Raise DataError if a column is absent or ambiguous."""
        self.table.require([name for name in names if name not in self._beside])

    def column(self, name: str) -> Column:
        """Return one column in plain form."""
        return self._owner(name).column(name)

    def is_number(self, name: str) -> bool:
        """Return whether a column is a number."""
        return self._owner(name).is_number(name)

    def _runs(self, names: Sequence[str]) -> list[tuple[Table, int, int]]:
        """Return the stretches of names with the same owner."""
        if not any(name in self._beside for name in names):
            return [(self.table, 0, len(names))]
        return [(self._owner(name), i, i + 1) for i, name in enumerate(names)]

    def fill(self, out: NDArray[np.float32], names: Sequence[str], rows: NDArray[np.intp] | None) -> None:
        """Write number columns into `out`."""
        for owner, start, stop in self._runs(names):
            owner.fill(out[:, start:stop], names[start:stop], rows)

    def flag(self, names: Sequence[str], missing: dict[str, NDArray[np.bool_]]) -> None:
        """Add the number columns with missing values to `missing`."""
        for owner, start, stop in self._runs(names):
            owner.flag(names[start:stop], missing)

    def frame(
        self,
        names: Sequence[str],
        context: Mapping[str, Any],
        rows: NDArray[np.intp],
        kinds: Mapping[str, Kind] | None = None,
    ) -> Frame:
        """Return the given rows of the columns that a formula reads; `kinds` says which were categories at the fit."""
        columns = {name: self.column(name).take(rows) for name in names if name in self}
        for name in columns:
            if kinds is not None and kinds[name] == "category" and columns[name].dtype.kind in "biuf":
                columns[name] = columns[name].astype(object)
        return Frame(
            columns=columns,
            context={name: value for name, value in context.items() if name not in columns},
            labels=self.labels[rows],
            dates=frozenset(name for name in columns if self.column(name).kind == "date"),
        )


def _has_rows(value: Any, n: int) -> bool:
    shape = getattr(value, "shape", None)
    return shape is not None and len(shape) in (1, 2) and shape[0] == n


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring columns of x with one origin: number columns, one vector, or evaluated terms."""

    origin: Literal["numbers", "vector", "terms"]
    names: tuple[str, ...]
    width: int


@dataclass(frozen=True, slots=True)
class Block:
    """Terms that formulaic evaluates, with the state of their transforms.

    Parameters
    ----------
    terms : tuple of Term
    full_rank : bool
    reads : tuple of str
        The columns the terms read.
    outside : tuple of str
        The functions and constants they take from the context.
    names : tuple of str
        The columns they give.
    state : dict
        See `encoding.Encoded`.
    """

    terms: tuple[Term, ...]
    full_rank: bool
    reads: tuple[str, ...]
    outside: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    state: State = field(default_factory=dict)

    def fit(self, frame: Frame) -> Encoded:
        """Return the terms evaluated on training rows."""
        return encode(self.terms, frame, full_rank=self.full_rank)

    def fitted(self, encoded: Encoded) -> Block:
        """Return this block with the state of an evaluation."""
        return replace(self, names=encoded.names, state=encoded.state)

    def encode(self, frame: Frame) -> NDArray[np.float64]:
        """Return the terms evaluated on new rows with the stored state."""
        made = encode(self.terms, frame, full_rank=self.full_rank, state=self.state)
        refuse_missing(made.missing, frame.labels)
        if made.names != self.names:
            odd = sorted(set(made.names) ^ set(self.names))
            raise DataError(f"the new data give other design columns than the training data: {list_rows(odd)}.")
        return made.values

    def to_dict(self) -> dict[str, Any]:
        """Return the block as JSON values."""
        return {
            "terms": pack_terms(self.terms),
            "full_rank": self.full_rank,
            "reads": list(self.reads),
            "outside": list(self.outside),
            "names": list(self.names),
            "state": copy.deepcopy(self.state),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Block:
        """Return the block `to_dict` was called on."""
        return cls(
            terms=unpack_terms(stored["terms"]),
            full_rank=stored["full_rank"],
            reads=tuple(stored["reads"]),
            outside=tuple(stored["outside"]),
            names=tuple(stored["names"]),
            state=copy.deepcopy(dict(stored["state"])),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """The stored specification of a formula: new data are encoded with the training categories and statistics.

    Parameters
    ----------
    formula : str
        What the user wrote.
    y_name : str
    t_names, x_names : tuple of str
        The d structural and p covariate columns.
    treatments, transforms : Block
        The structural part, and those terms of the covariate part that are not plain columns of numbers.
    pieces : tuple of Piece
        How x is put together; globs are stored as the columns they matched.
    kinds : dict
        The kind of every variable that a block reads or that is a vector.
    constants : dict
        Numbers, strings and short arrays the formula takes from the context; stored.
    functions : dict
        Functions and modules it takes from the context; kept in memory, not stored.
    """

    formula: str
    y_name: str
    t_names: tuple[str, ...]
    x_names: tuple[str, ...]
    treatments: Block
    transforms: Block
    pieces: tuple[Piece, ...]
    kinds: Mapping[str, Kind]
    constants: Mapping[str, Any] = field(default_factory=dict)
    functions: Mapping[str, Any] = field(default_factory=dict)

    def encode_treatments(self, data: Any, *, context: Mapping[str, Any] | None = None) -> NDArray[np.float64]:
        """Return the structural rows t of new data, shape (m, d).

        Parameters
        ----------
        data : DataFrame, Table or dict of arrays
            Needs only the columns left of the bar.
        context : dict, optional
            Arrays with one entry per new row, and functions that a loaded design no longer has.

        Raises
        ------
        DataError
            For an absent column, a missing value or an unseen category.
        """
        source, values = self._open(data, self.treatments.reads, context)
        return self._encode(self.treatments, source, values)

    def encode_covariates(self, data: Any, *, context: Mapping[str, Any] | None = None) -> NDArray[np.float32]:
        """Return the covariates x of new data, shape (m, p), C-contiguous.

        Parameters and errors are those of `encode_treatments`; needs only the columns right of the bar.
        """
        plain = tuple(name for piece in self.pieces if piece.origin != "terms" for name in piece.names)
        source, values = self._open(data, tuple(dict.fromkeys([*plain, *self.transforms.reads])), context)
        missing: dict[str, NDArray[np.bool_]] = {}
        for piece in self.pieces:
            if piece.origin == "numbers":
                self._check_numbers(piece.names, source)
                source.flag(piece.names, missing)
            elif piece.origin == "vector":
                self._check_kind(piece.names[0], source.column(piece.names[0]), piece.width)
                missing[piece.names[0]] = source.column(piece.names[0]).missing
        refuse_missing(missing, source.labels)
        evaluated = self._encode(self.transforms, source, values) if self.transforms.terms else None
        return assemble(self.pieces, source, evaluated, None)

    def treatment_categories(self) -> dict[str, tuple[str, tuple[Any, ...]]]:
        """Return the variables left of the bar taken as categories: each with the factor that does so and its levels.

        A factor that makes categories of more than the variable itself, ``C(age > 40)``, has no levels of it.
        """
        found: dict[str, tuple[str, tuple[Any, ...]]] = {}
        encoders = self.treatments.state.get("encoders", {})
        for factor in dict.fromkeys(factors_of(self.treatments.terms)):
            kind, inner = encoders.get(factor.expr, ("", {}))
            if kind == Factor.Kind.CATEGORICAL.value:
                levels = tuple(unpack_constants(inner).get("categories", ()))
                for name in names_in(factor)[0]:
                    plain = factor.expr == name or re.match(rf"C\(`?{re.escape(name)}`?\s*[,)]", factor.expr)
                    if name in self.treatments.reads:
                        found[name] = (factor.expr, levels if plain else ())
        return found

    def _open(
        self, data: Any, names: Sequence[str], context: Mapping[str, Any] | None
    ) -> tuple[Source, dict[str, Any]]:
        values = {**self.constants, **self.functions, **(context or {})}
        source = Source(open_table(data), values, [name for name in names if name not in self.constants])
        source.require(names)
        return source, values

    def _encode(self, block: Block, source: Source, context: Mapping[str, Any]) -> NDArray[np.float64]:
        absent = [name for name in block.outside if name not in context]
        if absent:
            raise DataError(
                f"the formula {self.formula!r} uses {', '.join(map(repr, absent))} from the context of the fit, and "
                f"functions are not stored; pass context={{{absent[0]!r}: ...}}."
            )
        for name in block.reads:
            self._check_kind(name, source.column(name), None)
        refuse_missing({name: source.column(name).missing for name in block.reads}, source.labels)
        return block.encode(source.frame(block.reads, context, np.arange(source.n), self.kinds))

    def _check_numbers(self, names: Sequence[str], source: Source) -> None:
        for name in names:
            if not source.is_number(name):
                self._check_kind(name, source.column(name), None, expected="number")

    def _check_kind(self, name: str, column: Column, width: int | None, expected: Kind | None = None) -> None:
        expected = expected or self.kinds[name]
        if column.missing.all() and expected != "vector":
            return  # reported as missing
        if column.kind != expected and (expected, column.kind) != ("category", "number"):
            raise DataError(f"column {name!r} was a {expected} when the model was fitted, and now is a {column.kind}.")
        if width is not None and column.values.shape[1] != width:
            raise DataError(f"the vectors in {name!r} have length {column.values.shape[1]}; the model needs {width}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the design as plain JSON values; functions from the context are left out."""
        return {
            "format": _FORMAT,
            "formula": self.formula,
            "y_name": self.y_name,
            "t_names": list(self.t_names),
            "x_names": list(self.x_names),
            "treatments": self.treatments.to_dict(),
            "transforms": self.transforms.to_dict(),
            "pieces": [[piece.origin, list(piece.names), piece.width] for piece in self.pieces],
            "kinds": dict(self.kinds),
            "constants": pack_constants(self.constants),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Design:
        """Return the design `to_dict` was called on; it encodes new data to the same bits."""
        if stored.get("format") != _FORMAT:
            raise DataError(f"the stored design has format {stored.get('format')!r}; this version reads {_FORMAT}.")
        return cls(
            formula=stored["formula"],
            y_name=stored["y_name"],
            t_names=tuple(stored["t_names"]),
            x_names=tuple(stored["x_names"]),
            treatments=Block.from_dict(stored["treatments"]),
            transforms=Block.from_dict(stored["transforms"]),
            pieces=tuple(Piece(origin, tuple(names), width) for origin, names, width in stored["pieces"]),
            kinds=cast(dict[str, Kind], dict(stored["kinds"])),
            constants=unpack_constants(stored["constants"]),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Design.from_dict, (self.to_dict(),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Design:
        return replace(Design.from_dict(self.to_dict()), functions=dict(self.functions))


def assemble(
    pieces: Sequence[Piece], source: Source, evaluated: NDArray[np.float64] | None, rows: NDArray[np.intp] | None
) -> NDArray[np.float32]:
    """Return x in one C-contiguous float32 matrix, each column converted straight into its place.

    Parameters
    ----------
    pieces : sequence of Piece
    source : Source
    evaluated : (m, k) float64 array or None
        The columns of all "terms" pieces, in order.
    rows : (m,) array or None
        Rows to keep; None for all.
    """
    m = source.n if rows is None else len(rows)
    out = np.empty((m, sum(piece.width for piece in pieces)), np.float32)
    at = taken = 0
    for piece in pieces:
        target = out[:, at : at + piece.width]
        if piece.origin == "numbers":
            source.fill(target, piece.names, rows)
        elif piece.origin == "vector":
            values = source.column(piece.names[0]).values
            _narrow(target, values if rows is None else values[rows], piece)
        else:
            assert evaluated is not None  # built with the pieces
            _narrow(target, evaluated[:, taken : taken + piece.width], piece)
            taken += piece.width
        at += piece.width
    return out


def _narrow(target: NDArray[np.float32], values: NDArray[Any], piece: Piece) -> None:
    try:
        with np.errstate(over="raise"):
            target[...] = values
    except FloatingPointError as error:
        raise DataError(
            f"{', '.join(map(repr, piece.names))} gives values beyond 3.4e38, the range of float32; rescale it."
        ) from error


def refuse_missing(missing: Mapping[str, NDArray[np.bool_]], labels: NDArray[Any]) -> None:
    """Raise DataError naming the first column with missing values, and its rows."""
    for name, flags in missing.items():
        if flags.any():
            raise DataError(
                f"{name!r} is missing or infinite in {int(flags.sum()):,} row(s) of the new data: "
                f"{list_rows(list(labels[flags]))}. Rows are never dropped when predicting; drop or fill them."
            )

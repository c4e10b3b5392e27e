"""Design: what is needed to encode new data as the training data were."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from formulaic.parser.types import Factor, Term
from numpy.typing import NDArray

from deepdml.design.assembly import Piece, assemble
from deepdml.design.blocks import Step
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
from deepdml.design.source import Source
from deepdml.design.table import open_table
from deepdml.errors import DataError, list_rows

_FORMAT = 1


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
        read = [part for piece in self.pieces if piece.origin != "terms" for part in piece.read]
        plain = tuple(name for part in read for name in part.names)
        source, values = self._open(data, tuple(dict.fromkeys([*plain, *self.transforms.reads])), context)
        missing: dict[str, NDArray[np.bool_]] = {}
        for part in read:
            if part.origin == "numbers":
                self._check_numbers(part.names, source)
                source.flag(part.names, missing)
            else:
                self._check_kind(part.names[0], source.column(part.names[0]), part.width)
                missing[part.names[0]] = source.column(part.names[0]).missing
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

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return what the transforms of many columns learned, under flat names."""
        return {
            f"{i}/{j}/{name}": array
            for i, piece in enumerate(self.pieces)
            for j, step in enumerate(piece.steps)
            for name, array in step.arrays.items()
        }

    def to_dict(self, *, arrays: bool = True) -> dict[str, Any]:
        """Return the design as plain JSON values; functions from the context are left out.

        Parameters
        ----------
        arrays : bool
            Whether to put `arrays` among them, as lists of numbers.
        """
        return {
            "format": _FORMAT,
            "formula": self.formula,
            "y_name": self.y_name,
            "t_names": list(self.t_names),
            "x_names": list(self.x_names),
            "treatments": self.treatments.to_dict(),
            "transforms": self.transforms.to_dict(),
            "pieces": [_pack_piece(piece) for piece in self.pieces],
            "arrays": pack_constants(self.arrays()) if arrays else None,
            "kinds": dict(self.kinds),
            "constants": pack_constants(self.constants),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float64]] | None = None) -> Design:
        """Return the design `to_dict` was called on; it encodes new data to the same bits.

        Parameters
        ----------
        stored : dict
        arrays : dict, optional
            `Design.arrays`, where `stored` was made without them.
        """
        if stored.get("format") != _FORMAT:
            raise DataError(f"the stored design has format {stored.get('format')!r}; this version reads {_FORMAT}.")
        if arrays is None:
            arrays = unpack_constants(stored["arrays"])
        return cls(
            formula=stored["formula"],
            y_name=stored["y_name"],
            t_names=tuple(stored["t_names"]),
            x_names=tuple(stored["x_names"]),
            treatments=Block.from_dict(stored["treatments"]),
            transforms=Block.from_dict(stored["transforms"]),
            pieces=tuple(_unpack_piece(packed, f"{i}/", arrays) for i, packed in enumerate(stored["pieces"])),
            kinds=cast(dict[str, Kind], dict(stored["kinds"])),
            constants=unpack_constants(stored["constants"]),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Design.from_dict, (self.to_dict(),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Design:
        return replace(Design.from_dict(self.to_dict()), functions=dict(self.functions))


def _pack_piece(piece: Piece) -> list[Any]:
    packed: list[Any] = [piece.origin, list(piece.names), piece.width]
    if piece.steps:
        packed += [[_pack_piece(part) for part in piece.inputs], [step.function for step in piece.steps]]
    return packed


def _unpack_piece(packed: Sequence[Any], place: str, arrays: Mapping[str, NDArray[np.float64]]) -> Piece:
    origin, names, width, *more = packed
    inputs, functions = more or ((), ())
    steps = []
    for j, function in enumerate(functions):
        own = f"{place}{j}/"
        steps.append(Step(function, {key.removeprefix(own): v for key, v in arrays.items() if key.startswith(own)}))
    return Piece(origin, tuple(names), width, tuple(_unpack_piece(part, "", {}) for part in inputs), tuple(steps))


def refuse_missing(missing: Mapping[str, NDArray[np.bool_]], labels: NDArray[Any]) -> None:
    """Raise DataError naming the first column with missing values, and its rows."""
    for name, flags in missing.items():
        if flags.any():
            raise DataError(
                f"{name!r} is missing or infinite in {int(flags.sum()):,} row(s) of the new data: "
                f"{list_rows(list(labels[flags]))}. Rows are never dropped when predicting; drop or fill them."
            )

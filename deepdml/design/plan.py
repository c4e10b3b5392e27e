"""A formula against the user's data: where each term's values come from, and which rows have them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdml.design import checks
from deepdml.design.assembly import Piece, chunks, column_before, column_names
from deepdml.design.blocks import fit_steps
from deepdml.design.calls import BlockCall, as_formulaic, call_of
from deepdml.design.encoding import Encoded
from deepdml.design.formula import ParsedFormula, is_plain
from deepdml.design.names import quote
from deepdml.design.source import Source
from deepdml.design.specification import Block
from deepdml.errors import DataError, list_rows

Flags = dict[str, NDArray[np.bool_]]
_ROUNDS = 10  # of evaluating transforms and dropping the rows where they are not finite


@dataclass(frozen=True, slots=True)
class Kept:
    """The rows that are kept, and the evaluated parts on them."""

    rows: NDArray[np.intp]
    outcome: Encoded
    treatments: Encoded
    transforms: Encoded | None


class Plan:
    """A parsed formula against the data: where every term's values come from."""

    def __init__(self, parsed: ParsedFormula, table: Any, context: Mapping[str, Any]) -> None:
        names = tuple(dict.fromkeys([*parsed.outcome_names, *parsed.treatment_names, *parsed.covariate_names]))
        self.parsed = parsed
        self.source = Source(table, context, names)
        self.source.require([name for name in names if name in table])
        self.outside = {
            name: context[name] for name in parsed.names_of(parsed.terms) if name not in self.source and name in context
        }
        slow = []
        pieces: list[tuple[str, list[str]]] = []
        self.calls = {call.text: call for call in map(call_of, parsed.covariates) if call is not None}
        for term in parsed.covariates:
            origin = self._origin(term)
            name = term.factors[0].expr if origin != "terms" else str(term)
            if origin == "terms":
                slow.append(as_formulaic(term))
            if pieces and pieces[-1][0] == origin and origin in ("numbers", "terms"):
                pieces[-1][1].append(name)
            else:
                pieces.append((origin, [name]))
        self.pieces = pieces
        self.outcome = self._block([parsed.outcome], full_rank=True)
        self.treatments = self._block(parsed.treatments, full_rank=True)
        self.transforms = self._block(slow, full_rank=False)

    def _origin(self, term: Any) -> str:
        call = call_of(term)
        if call is not None:
            return "terms" if call.plain and self._is_for_formulaic(call.names[0]) else "block"
        if not is_plain(term) or term.factors[0].expr not in self.source:
            return "terms"
        name = term.factors[0].expr
        if self.source.is_number(name):
            return "numbers"
        return "vector" if self.source.column(name).kind == "vector" else "terms"

    def _is_for_formulaic(self, name: str) -> bool:
        """Whether formulaic standardizes a name: not a vector, nor a constant, for which it has no message."""
        if name not in self.source:
            return False
        column = self.source.column(name)
        if column.kind != "number":
            return column.kind != "vector"
        present = column.values[~column.missing]
        return not len(present) or bool(present.min() < present.max())

    def _inputs(self, call: BlockCall) -> tuple[Piece, ...]:
        """Return the columns that a transform reads, neighbouring numbers together."""
        inputs: list[Piece] = []
        for name in call.names:
            if name not in self.source:
                raise DataError(
                    f"{call.text!r} reads {name!r} of the context, which has no row for each row of the data."
                )
            if self.source.is_number(name):
                before = inputs.pop().names if inputs and inputs[-1].origin == "numbers" else ()
                inputs.append(Piece("numbers", (*before, name), len(before) + 1))
            elif self.source.column(name).kind == "vector":
                inputs.append(Piece("vector", (name,), self.source.column(name).values.shape[1]))
            else:
                raise DataError(
                    f"{call.text!r} needs numbers, but {name!r} is a {self.source.column(name).kind}; take it out "
                    f"there (write '- {quote(name)}' if a glob matched it) and add it as a term of its own."
                )
        return tuple(inputs)

    def _block(self, terms: Sequence[Any], *, full_rank: bool) -> Block:
        names = self.parsed.names_of(terms)
        return Block(
            terms=tuple(terms),
            full_rank=full_rank,
            reads=tuple(name for name in names if name in self.source),
            outside=tuple(name for name in names if name in self.outside),
        )

    def flags(self) -> Flags:
        """Return the variables that have missing values, each with its (n,) flags."""
        found: Flags = {}
        read = list(self._read())
        vectors = [piece.names[0] for piece in read if piece.origin == "vector"]
        for name in (*self.outcome.reads, *self.treatments.reads, *self.transforms.reads, *vectors):
            column = self.source.column(name)
            if column.missing.any():
                found[name] = column.missing
        for piece in read:
            if piece.origin == "numbers":
                self.source.flag(piece.names, found)
        return found

    def _read(self) -> Iterator[Piece]:
        """Yield the number columns and vectors of x."""
        for origin, names in self.pieces:
            if origin == "numbers":
                yield Piece("numbers", tuple(names), len(names))
            elif origin == "vector":
                yield Piece("vector", (names[0],), self.source.column(names[0]).values.shape[1])
            elif origin == "block":
                yield from self._inputs(self.calls[names[0]])

    def evaluate(self, flags: Flags) -> Kept:
        """Return the parts evaluated on the rows that are kept, adding to `flags` what transforms make missing.

        Statistics of transforms come from kept rows alone, so they are evaluated again after rows were dropped.
        """
        bad = np.zeros(self.source.n, bool)
        for missing in flags.values():
            bad |= missing
        for _ in range(_ROUNDS):
            rows = np.flatnonzero(~bad)
            if not rows.size:
                described = describe(flags, self.source.labels)
                raise DataError(f"no row is left: {described}. Leave these variables out or fill them.")
            outcome, treatments = self._fit(self.outcome, rows), self._fit(self.treatments, rows)
            transforms = self._fit(self.transforms, rows) if self.transforms.terms else None
            for part in filter(None, (outcome, treatments, transforms)):
                for name, missing in part.missing.items():
                    flags[name] = flags.get(name, np.zeros(self.source.n, bool))
                    flags[name][rows[missing]] = True
                    bad |= flags[name]
            if bad.sum() == self.source.n - rows.size:
                return Kept(rows, outcome, treatments, transforms)
        raise DataError(
            f"transforms in {self.parsed.formula!r} give new missing values however often rows are dropped; "
            "compute them as columns of the data."
        )

    def _fit(self, block: Block, rows: NDArray[np.intp]) -> Encoded:
        return block.fit(self.source.frame(block.reads, self.outside, rows))

    def final_pieces(
        self, slow: Encoded | None, rows: NDArray[np.intp] | None
    ) -> Iterator[tuple[Piece, tuple[str, ...]]]:
        """Yield the pieces of x, transforms fitted on `rows` (None for all), with their column names."""
        widths = iter(slow.widths if slow else ())
        taken = 0
        for origin, names in self.pieces:
            if origin == "numbers":
                yield Piece("numbers", tuple(names), len(names)), tuple(names)
            elif origin == "vector":
                piece = Piece("vector", (names[0],), self.source.column(names[0]).values.shape[1])
                yield piece, column_names(piece)
            elif origin == "block":
                call = self.calls[names[0]]
                inputs = self._inputs(call)
                single = [part for part in inputs if part.origin == "numbers"]  # vectors stay as they are
                before = partial(column_before, single, self.source, None, rows)
                checks.check_inputs([name for part in single for name in part.names], before)
                steps, given = fit_steps(call.text, call.functions, call.sizes, chunks(inputs, self.source, rows))
                yield Piece("block", call.names, len(given), inputs, steps), given
            else:
                assert slow is not None  # evaluated with the pieces
                width = sum(next(widths) for _ in names)
                yield Piece("terms", tuple(names), width), slow.names[taken : taken + width]
                taken += width


def describe(flags: Flags, labels: NDArray[Any]) -> str:
    """Return which variables are missing in how many rows, for a message."""
    shown = [
        f"{name} in {int(missing.sum()):,} row(s) ({list_rows(list(labels[missing]), 3)})"
        for name, missing in flags.items()
        if missing.any()
    ]
    return f"missing or infinite: {list_rows(shown, 8)}"

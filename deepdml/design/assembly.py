"""x from its pieces: one C-contiguous float32 matrix, in memory or, for covariates read from files, in a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepdml.design.blocks import CHUNK, Chunks, Step
from deepdml.design.mapped import is_mapped, release, room_for
from deepdml.design.source import Source
from deepdml.errors import DataError

Rows = NDArray[np.intp] | None


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring columns of x with one origin: number columns, one vector, evaluated terms, or a transformed block.

    Parameters
    ----------
    origin : {"numbers", "vector", "terms", "block"}
    names : tuple of str
        What it is made of: columns, or the terms.
    width : int
        How many columns of x it gives.
    inputs : tuple of Piece
        Numbers and vectors that a block transforms.
    steps : tuple of Step
        What is done to them.
    """

    origin: Literal["numbers", "vector", "terms", "block"]
    names: tuple[str, ...]
    width: int
    inputs: tuple[Piece, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def read(self) -> tuple[Piece, ...]:
        """The pieces whose columns are read from the data: the inputs of a block, or this one."""
        return self.inputs or (self,)


def assemble(
    pieces: Sequence[Piece], source: Source, evaluated: NDArray[np.float64] | None, rows: Rows
) -> NDArray[np.float32]:
    """Return x in one C-contiguous float32 matrix, each column converted straight into its place.

    A vector of float32 that is all of x and cannot be written to is x itself. Where a piece is read from a file, a
    large x is put in a file as well.

    Parameters
    ----------
    pieces : sequence of Piece
    source : Source
    evaluated : (m, k) float64 array or None
        The columns of all "terms" pieces, in order.
    rows : (m,) array or None
        Rows to keep; None for all.
    """
    if rows is None and len(pieces) == 1 and pieces[0].origin == "vector":
        values = source.column(pieces[0].names[0]).values
        if values.dtype == np.float32 and values.flags.c_contiguous and not values.flags.writeable:
            return np.asarray(values)
    m = source.n if rows is None else len(rows)
    mapped = any(_is_mapped(piece, source) for piece in pieces)
    out = room_for((m, sum(piece.width for piece in pieces)), mapped)
    at = taken = 0
    for piece in pieces:
        target = out[:, at : at + piece.width]
        if piece.origin == "numbers":
            source.fill(target, piece.names, rows)
        elif piece.origin == "vector":
            values = source.column(piece.names[0]).values
            _narrow(target, _parts(values, rows, m), piece)
        elif piece.origin == "block":
            _narrow(target, chunks(piece.inputs, source, rows).through(piece.steps), piece)
        else:
            assert evaluated is not None  # built with the pieces
            _narrow(target, [(slice(0, m), evaluated[:, taken : taken + piece.width])], piece)
            taken += piece.width
        at += piece.width
    release(out)
    return out


def column_before(
    pieces: Sequence[Piece], source: Source, evaluated: NDArray[np.float64] | None, rows: Rows, j: int
) -> NDArray[np.float64] | None:
    """Return column j of what `assemble` gives, before it becomes float32; None for one of a "block"."""
    at = taken = 0
    for piece in pieces:
        k = j - at
        if 0 <= k < piece.width:
            if piece.origin == "block":
                return None
            if piece.origin == "terms":
                assert evaluated is not None  # built with the pieces
                return evaluated[:, taken + k]
            values = source.column(piece.names[k if piece.origin == "numbers" else 0]).values
            values = values if piece.origin == "numbers" else values[:, k]
            return np.asarray(values if rows is None else values[rows], np.float64)
        at += piece.width
        taken += piece.width if piece.origin == "terms" else 0
    raise IndexError(j)


def chunks(inputs: Sequence[Piece], source: Source, rows: Rows) -> Chunks:
    """Return the rows of number columns and vectors for a transform: one vector as it is, others side by side."""
    names = tuple(name for piece in inputs for name in column_names(piece))
    labels = source.labels if rows is None else source.labels[rows]
    if len(inputs) == 1 and inputs[0].origin == "vector":
        return Chunks(source.column(inputs[0].names[0]).values, rows, names, labels)
    return Chunks(assemble(inputs, source, None, rows), None, names, labels)


def column_names(piece: Piece) -> tuple[str, ...]:
    """Return the names of the columns of number columns or of a vector."""
    if piece.origin == "numbers":
        return piece.names
    return tuple(f"{piece.names[0]}_{i}" for i in range(piece.width))


def _is_mapped(piece: Piece, source: Source) -> bool:
    if piece.origin == "block":
        return any(_is_mapped(part, source) for part in piece.inputs)
    if piece.origin == "vector":
        return is_mapped(source.column(piece.names[0]).values)
    return piece.origin == "numbers" and source.is_mapped(piece.names)


def _parts(values: NDArray[Any], rows: Rows, m: int) -> Iterator[tuple[slice, NDArray[Any]]]:
    for start in range(0, m, CHUNK):
        part = slice(start, min(start + CHUNK, m))
        yield part, values[part] if rows is None else values[rows[part]]
        release(values)


def _narrow(target: NDArray[np.float32], parts: Iterable[tuple[slice, NDArray[Any]]], piece: Piece) -> None:
    try:
        with np.errstate(over="raise"):
            for at, values in parts:
                target[at] = values
                release(target)
    except FloatingPointError as error:
        raise DataError(
            f"{', '.join(map(repr, piece.names))} gives values beyond 3.4e38, the range of float32; rescale it."
        ) from error

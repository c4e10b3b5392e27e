"""Transforms of many columns at once: what they learn from the rows of a fit, and how they are applied to any rows.

They go around formulaic: rows are read a chunk at a time, in double precision, and nothing but sums over rows is kept.
All of them look at covariates alone. Statistics over all rows of a fit, rather than over the training rows of each
fold, therefore carry no outcome and no treatment from one fold to another; they fix one set of columns, the same in
every fold, which new data can be given too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from deepdml.design.mapped import release
from deepdml.errors import DataError, list_rows

Float = NDArray[np.float64]
CHUNK = 4096  # rows held at once in double precision
_RANK = 1e-10  # share of the largest variance, below which a component is rounding error of float32 data


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One transform with what it learned.

    Parameters
    ----------
    function : {"standardize", "pca", "clr", "ilr"}
    arrays : dict
        "mean" and "scale" (k,) of ``standardize``; "mean" (k,) and "components" (k, c) of ``pca``.
    """

    function: str
    arrays: Mapping[str, Float] = field(default_factory=dict)

    def __call__(self, values: Float) -> Float:
        """Return the transform of rows (m, k)."""
        if self.function == "standardize":
            return (values - self.arrays["mean"]) / self.arrays["scale"]
        if self.function == "pca":
            return np.asarray((values - self.arrays["mean"]) @ self.arrays["components"])
        logs = np.log(values)
        logs -= logs.mean(axis=1, keepdims=True)
        return logs if self.function == "clr" else logs @ _balances(values.shape[1])


@dataclass(frozen=True, slots=True)
class Chunks:
    """Rows of some columns, read a chunk at a time.

    Parameters
    ----------
    values : (n, k) array
        Of any number type; may be mapped from a file.
    rows : (m,) array or None
        The rows that count; None for all.
    names : tuple of str
        The k columns.
    labels : (m,) array
        Labels of the rows that count, for messages.
    """

    values: NDArray[np.generic]
    rows: NDArray[np.intp] | None
    names: tuple[str, ...]
    labels: NDArray[np.generic]

    def __len__(self) -> int:
        return len(self.labels)

    def through(self, steps: Sequence[Step]) -> Iterator[tuple[slice, Float]]:
        """Yield where each chunk of rows lies, and its values (m, k) after the steps.

        Raises
        ------
        DataError
            For parts of a composition that are not positive.
        """
        for start in range(0, len(self), CHUNK):
            at = slice(start, min(start + CHUNK, len(self)))
            part = self.values[at] if self.rows is None else self.values[self.rows[at]]
            values = part.astype(np.float64)
            release(self.values)
            if steps and steps[0].function in ("clr", "ilr") and not (values > 0).all():
                self._refuse_parts(steps[0].function)
            for step in steps:
                values = step(values)
            yield at, values

    def _refuse_parts(self, function: str) -> None:
        """Raise DataError with the first column that is not positive, and all of its rows."""
        flags = np.concatenate([values <= 0 for _, values in self.through(())])
        j = int(np.flatnonzero(flags.any(axis=0))[0])
        others = int(flags.any(axis=0).sum()) - 1
        more = f", and {others} more of the parts somewhere" if others else ""
        raise DataError(
            f"{function} takes logs, but {self.names[j]!r} is zero or negative in {int(flags[:, j].sum()):,} row(s): "
            f"{list_rows(list(self.labels[flags[:, j]]))}{more}. Drop these rows, or add a small amount to every part, "
            "such as half of the smallest positive value."
        )


def fit_steps(
    text: str, functions: Sequence[str], sizes: Sequence[int | None], chunks: Chunks
) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """Return the fitted steps of a transform and the names of the columns it gives.

    Parameters
    ----------
    text : str
        The call, for names and messages.
    functions, sizes : sequences
        See `calls.BlockCall`.

    Raises
    ------
    DataError
        For columns without variance, fewer rows or columns than components, or parts that are not positive.
    """
    steps: tuple[Step, ...] = ()
    fields = chunks.names
    for function, size in zip(functions, sizes, strict=True):
        made = _FITS[function](text, size, chunks, steps, fields)
        steps = (*steps, made)
        count = {"pca": size, "ilr": len(fields) - 1}.get(function)
        fields = fields if count is None else tuple(str(j) for j in range(1, count + 1))
    return steps, tuple(f"{text}[{name}]" for name in fields)


def _fit_standardize(text: str, size: None, chunks: Chunks, steps: Sequence[Step], fields: Sequence[str]) -> Step:
    """Learn means and standard deviations, which divide by n as formulaic's ``standardize`` does."""
    k, n = len(fields), len(chunks)
    low, high = np.full(k, np.inf), np.full(k, -np.inf)
    shift, total, square = _zeros(k)
    for at, values in chunks.through(steps):
        if at.start == 0:
            shift = values.mean(axis=0)
        np.minimum(low, values.min(axis=0), out=low)
        np.maximum(high, values.max(axis=0), out=high)
        values = values - shift
        total += values.sum(axis=0)
        square += np.einsum("nk,nk->k", values, values)
    flat = [name for name, constant in zip(fields, low == high, strict=True) if constant]
    if flat:
        raise DataError(
            f"{text!r} divides by standard deviations, but {list_rows([repr(name) for name in flat])} "
            f"{'is' if len(flat) == 1 else 'are'} constant over the {n:,} rows; leave out such columns, "
            f"as in 'standardize(emb_* - {flat[0]})'."
        )
    scale = np.sqrt(np.maximum(square / n - (total / n) ** 2, np.finfo(np.float64).tiny))
    return Step("standardize", {"mean": shift + total / n, "scale": scale})


def _fit_pca(text: str, size: int, chunks: Chunks, steps: Sequence[Step], fields: Sequence[str]) -> Step:
    """Learn the leading eigenvectors of the covariance; the largest loading of each is positive."""
    k, n = len(fields), len(chunks)
    if size > k:
        raise DataError(f"{text!r} asks for {size} components of {k} column(s); ask for {k} or fewer.")
    if size >= n:
        raise DataError(
            f"{text!r} asks for {size} components, but there are {n:,} rows; more rows than components are needed."
        )
    shift, total, _ = _zeros(k)
    products = np.zeros((k, k))
    for at, values in chunks.through(steps):
        if at.start == 0:
            shift = values.mean(axis=0)
        values = values - shift
        total += values.sum(axis=0)
        products += values.T @ values
    mean = total / n
    variances, vectors = scipy.linalg.eigh(products / n - np.outer(mean, mean))
    variances, vectors = variances[::-1], vectors[:, ::-1]
    rank = int((variances > _RANK * max(variances[0], 0.0)).sum()) if variances[0] > 0 else 0
    if not rank:
        raise DataError(f"{text!r} has nothing to decompose: its {k} column(s) are constant over the {n:,} rows.")
    if size > rank:
        raise DataError(
            f"{text!r} asks for {size} components, but the {k} columns vary in {rank} direction(s) only over the "
            f"{n:,} rows; ask for {rank} or fewer."
        )
    components = vectors[:, :size]
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=0)[None], axis=0)
    return Step("pca", {"mean": shift + mean, "components": np.ascontiguousarray(components * np.sign(largest))})


def _fit_parts(function: str) -> Callable[..., Step]:
    def fit(text: str, size: None, chunks: Chunks, steps: Sequence[Step], fields: Sequence[str]) -> Step:
        """Check that there is a composition of positive parts; nothing is learned."""
        if len(fields) < 2:
            raise DataError(f"{text!r} has one part, {fields[0]!r}; a composition needs two or more.")
        made = Step(function)
        for _ in chunks.through([made]):
            pass
        return made

    return fit


_FITS: dict[str, Callable[..., Step]] = {
    "standardize": _fit_standardize,
    "pca": _fit_pca,
    "clr": _fit_parts("clr"),
    "ilr": _fit_parts("ilr"),
}


def _zeros(k: int) -> tuple[Float, Float, Float]:
    return np.zeros(k), np.zeros(k), np.zeros(k)


def _balances(k: int) -> Float:
    """Return the orthonormal basis (k, k - 1) of ilr: part j + 1 against the geometric mean of the parts before it.

    References
    ----------
    Egozcue, Pawlowsky-Glahn, Mateu-Figueras & Barcelo-Vidal, "Isometric logratio transformations for compositional
    data analysis", Mathematical Geology 35(3), 2003, equation 18.
    """
    return np.asarray(scipy.linalg.helmert(k).T)

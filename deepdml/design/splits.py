"""Plans of blocks and folds: balanced, nested, and never splitting a cluster if that is possible."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deepdml.errors import DataError, OptionError, is_whole

Codes = NDArray[np.intp]

MIN_FOLD_ROWS = 2
"""Rows a fold needs on average: below, a fold cannot be told from a single observation."""
MIN_TRAINING_ROWS = 10
"""Rows that must remain outside every block: below, no nuisance can be trained and checked."""


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Which rows are held out together.

    Parameters
    ----------
    block : (n,) intp array
        Outer block of each row, 0..J-1; trunks are trained without one block.
    fold : (n,) intp array
        Fold of each row, 0..K-1; heads are refit without one fold. Every fold lies inside one block.
    fold_block : (K,) intp array
        Block of each fold.
    split_clusters : bool
        Whether clusters of a further dimension had to be split over folds.
    cluster : (n,) intp array or None
        What was kept together: the cluster, or connected set of clusters, of each row.
    """

    block: Codes
    fold: Codes
    fold_block: Codes
    split_clusters: bool = False
    cluster: Codes | None = None

    def __post_init__(self) -> None:
        if self.block.shape != self.fold.shape or self.block.ndim != 1:
            raise DataError(f"block has shape {self.block.shape} and fold {self.fold.shape}; both must be (n,).")
        if not np.array_equal(self.fold_block[self.fold], self.block):
            raise DataError("a fold must lie inside one block.")

    @property
    def n_folds(self) -> int:
        """The number of folds K."""
        return len(self.fold_block)

    @property
    def n_blocks(self) -> int:
        """The number of blocks J."""
        return int(self.fold_block.max()) + 1


def make_plan(
    n: int,
    n_folds: int,
    *,
    n_blocks: int = 5,
    groups: Codes | None = None,
    strata: Codes | None = None,
    rng: np.random.Generator,
) -> SplitPlan:
    """Return a random plan of folds nested in blocks.

    With ``n_folds <= n_blocks`` the folds are the blocks; otherwise fold k lies in block k mod `n_blocks`. Without
    groups fold sizes differ by at most one, within every stratum too.

    Parameters
    ----------
    n : int
        Rows.
    n_folds : int
        Folds, at least 2.
    n_blocks : int
        Blocks at most.
    groups : (n,) or (n, g) integer codes, optional
        Clusters. With several dimensions whole connected components are kept together; where these cannot fill the
        folds (too few, or one with more than half of the rows) only the first dimension is, and
        `SplitPlan.split_clusters` is True.
    strata : (n,) integer codes, optional
        Levels to balance over the folds, such as treatment arms.
    rng : Generator

    Raises
    ------
    OptionError
        If `n_folds` or `n_blocks` is no integer, below 2, or above the number of clusters.
    DataError
        If there are too few rows, or codes of the wrong length.

    Examples
    --------
    >>> plan = make_plan(1_000, 20, rng=np.random.default_rng(0))
    >>> plan.n_folds, plan.n_blocks, np.bincount(plan.block).tolist()
    (20, 5, [200, 200, 200, 200, 200])
    """
    k = _whole("n_folds", n_folds)
    j = min(_whole("n_blocks", n_blocks), k)
    codes = _codes("groups", groups, n)
    levels = _codes("strata", strata, n)
    _check_rows(n, k)
    strata = np.zeros(n, np.intp) if levels is None else levels[:, 0]
    clusters, split = (None, False) if codes is None else _clusters(codes, k)
    fold = _deal(strata, k, rng) if clusters is None else _assign(clusters, strata, k, rng)
    fold_block = np.arange(k, dtype=np.intp) % j
    plan = SplitPlan(fold_block[fold], fold, fold_block, split, clusters)
    _check_training(plan)
    return plan


def _check_rows(n: int, k: int) -> None:
    """Raise DataError for fewer rows than k folds need."""
    if n < MIN_TRAINING_ROWS + MIN_FOLD_ROWS:
        raise DataError(
            f"{n:,} rows are too few to cross-fit; at least {MIN_TRAINING_ROWS + MIN_FOLD_ROWS} are needed."
        )
    if n < MIN_FOLD_ROWS * k:
        raise DataError(
            f"{k} folds of {n:,} rows leave fewer than {MIN_FOLD_ROWS} rows a fold; use "
            f"n_folds={n // MIN_FOLD_ROWS} or fewer."
        )


def _check_training(plan: SplitPlan) -> None:
    """Raise DataError where a block leaves too few rows to train on."""
    n = len(plan.block)
    training = n - int(np.bincount(plan.block).max())
    if training < MIN_TRAINING_ROWS:
        raise DataError(
            f"only {training} of {n:,} rows would remain to train on when the largest block is held out; "
            f"{MIN_TRAINING_ROWS} are needed. Use more rows, more folds or smaller clusters."
        )


def _whole(name: str, value: object) -> int:
    if not is_whole(value):
        raise OptionError(f"{name}={value!r} is not a whole number; use an integer of at least 2.")
    if value < 2:
        raise OptionError(f"{name}={value!r} is too few; cross-fitting needs at least 2.")
    return int(value)


def _codes(name: str, codes: Codes | None, n: int) -> Codes | None:
    """Return codes as an (n, g) array of 0, 1, ... in each column."""
    if codes is None:
        return None
    array = np.asarray(codes)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != n or not array.shape[1]:
        raise DataError(f"{name} has shape {np.shape(codes)}; one row of codes for each of the {n:,} rows is needed.")
    if array.dtype.kind not in "iub":
        raise DataError(f"{name} holds {array.dtype.name} values; integer codes are needed.")
    return np.column_stack([np.unique(column, return_inverse=True)[1] for column in array.T]).astype(np.intp)


def _deal(levels: Codes, k: int, rng: np.random.Generator) -> Codes:
    """Return folds dealt in turn to shuffled rows, level after level."""
    shuffled = rng.permutation(len(levels))
    order = shuffled[np.argsort(levels[shuffled], kind="stable")]
    fold = np.empty(len(levels), np.intp)
    fold[order] = np.arange(len(levels)) % k
    return fold


def _clusters(codes: Codes, k: int) -> tuple[Codes, bool]:
    """Return the unit kept together of each row, and whether that splits clusters of a further dimension."""
    first = codes[:, 0]
    n_first = int(first.max()) + 1
    if n_first < k:
        raise OptionError(
            f"n_folds={k} is more than the {n_first} cluster(s), which are never split; "
            + (f"use n_folds={n_first} or fewer." if n_first > 1 else "cluster on something that varies.")
        )
    if codes.shape[1] == 1:
        return first, False
    joined = _components(codes)
    sizes = np.bincount(joined)
    if len(sizes) >= k and sizes.max() <= len(first) / 2:
        return joined, False
    return first, bool(len(sizes) < n_first)


def _components(codes: Codes) -> Codes:
    """Return the connected component of each row: rows that share a cluster in any dimension belong together."""
    counts = codes.max(axis=0) + 1
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]])
    nodes = codes + offsets
    ends = np.repeat(nodes[:, :1], codes.shape[1] - 1, axis=1).ravel(), nodes[:, 1:].ravel()
    total = int(counts.sum())
    graph = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(total, total))
    component = connected_components(graph, directed=False)[1][nodes[:, 0]]
    return np.unique(component, return_inverse=True)[1].astype(np.intp)


def _assign(clusters: Codes, levels: Codes, k: int, rng: np.random.Generator) -> Codes:
    """Return folds of whole clusters, the largest first, each to the fold that has the least of its levels."""
    n_clusters, n_levels = int(clusters.max()) + 1, int(levels.max()) + 1
    sizes = np.bincount(clusters)
    shuffled = rng.permutation(n_clusters)
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    fold_of = np.empty(n_clusters, np.intp)
    if n_levels == 1:
        heap = [(0, f) for f in range(k)]
        for cluster in order.tolist():
            load, f = heap[0]
            fold_of[cluster] = f
            heapq.heapreplace(heap, (load + int(sizes[cluster]), f))
        return fold_of[clusters]
    counts = np.bincount(clusters * n_levels + levels, minlength=n_clusters * n_levels).reshape(n_clusters, n_levels)
    shares = counts / counts.sum(axis=0)
    loads, totals = np.zeros((k, n_levels)), np.zeros(k)
    for cluster in order.tolist():
        f = int(np.lexsort((totals, loads @ shares[cluster]))[0])
        fold_of[cluster] = f
        loads[f] += counts[cluster]
        totals[f] += sizes[cluster]
    return fold_of[clusters]

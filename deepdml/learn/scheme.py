"""Which rows train which net: the nesting of training, held-out and predicted rows inside cross-fitting.

Rows are cut into cells; a net trains on a union of cells. A snapshot is a net as it stood when it did best on its own
held-out cells, and it predicts one block that neither the net nor the choice of the snapshot has seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepdml.design.splits import SplitPlan
from deepdml.errors import DataError

Int = NDArray[np.intp]
Bool = NDArray[np.bool_]

PARTS = 4  # held-out parts of a block's complement where blocks are too few to pair
HELD_OUT_PARTS = 8  # one part in eight is held out where a block has a single net


@dataclass(frozen=True, slots=True)
class Scheme:
    """Cells, nets and snapshots of one repetition.

    Parameters
    ----------
    cell : (n,) array
        Cell of each row, 0..c-1.
    block : (n,) array
        Block of each row, 0..j-1.
    train : (s, c) array
        Whether net s trains on cell c.
    select : (v, c) array
        Whether snapshot v is chosen on cell c.
    net, target : (v,) arrays
        The net a snapshot is taken from, and the block it predicts.
    """

    cell: Int
    block: Int
    train: Bool
    select: Bool
    net: Int
    target: Int

    def __post_init__(self) -> None:
        if self.train.shape[1] != self.select.shape[1] or not len(self.net) == len(self.target) == len(self.select):
            raise ValueError("a scheme's arrays do not fit together")

    @property
    def n_blocks(self) -> int:
        """Number of blocks j."""
        return int(self.target.max()) + 1

    @property
    def n_nets(self) -> int:
        """Number of nets s."""
        return len(self.train)

    def rows_of_cells(self, cells: Bool) -> Int:
        """Return the rows in the marked cells, in increasing order."""
        return np.flatnonzero(cells[self.cell])

    def train_rows(self) -> list[Int]:
        """Return the training rows of each net."""
        return [self.rows_of_cells(cells) for cells in self.train]

    def train_sizes(self) -> Int:
        """Return the number of training rows of each net, shape (s,)."""
        return np.asarray(self.train @ np.bincount(self.cell, minlength=self.train.shape[1]))

    def of_net(self, net: int) -> Scheme:
        """Return the scheme of one net and its snapshots."""
        own = np.flatnonzero(self.net == net)
        train = self.train[net : net + 1]
        return Scheme(self.cell, self.block, train, self.select[own], np.zeros_like(own), self.target[own])

    def places(self) -> Int:
        """Return the position of each snapshot among those of its net, shape (v,)."""
        place = np.zeros_like(self.net)
        for net in range(self.n_nets):
            own = self.net == net
            place[own] = np.arange(own.sum())
        return place

    def snapshots_of(self, block: int) -> Int:
        """Return the snapshots that predict a block."""
        return np.flatnonzero(self.target == block)


def paired(plan: SplitPlan, rng: np.random.Generator) -> Scheme:
    """Return the scheme of the stacked learner: four nets predict each block.

    With five blocks there is one net per pair {a, b}, trained on the other three; its snapshot chosen on b predicts a
    and the reverse. With fewer blocks each block's complement is cut into four parts and a net leaves out one of them.
    """
    j = int(plan.block.max()) + 1
    if j - 1 == PARTS:
        first, second = np.triu_indices(j, 1)
        net = np.tile(np.arange(len(first)), 2)
        target, chosen_on = np.concatenate([first, second]), np.concatenate([second, first])
        blocks = np.arange(j)
        train = (blocks != first[:, None]) & (blocks != second[:, None])
        return Scheme(plan.block, plan.block, train, blocks == chosen_on[:, None], net, target)
    return _parted(plan, rng, PARTS, PARTS)


def single(plan: SplitPlan, rng: np.random.Generator) -> Scheme:
    """Return the scheme of ``learner="net"``: one net per block, stopped on an eighth of the block's complement."""
    return _parted(plan, rng, HELD_OUT_PARTS, 1)


def _parted(plan: SplitPlan, rng: np.random.Generator, parts: int, nets: int) -> Scheme:
    """Cut every block into `parts`; net (a, v) trains outside block a and outside the parts v of the other blocks."""
    j = int(plan.block.max()) + 1
    part, dealt = np.empty_like(plan.block), 0
    for block in range(j):
        rows = np.flatnonzero(plan.block == block)
        units = np.arange(len(rows)) if plan.cluster is None else np.unique(plan.cluster[rows], return_inverse=True)[1]
        order = rng.permutation(units.max() + 1)
        part[rows] = (dealt + order[units]) % parts
        dealt += len(order)
    cell_block, cell_part = np.divmod(np.arange(j * parts), parts)
    target, left_out = np.divmod(np.arange(j * nets), nets)
    outside = cell_block != target[:, None]
    select = outside & (cell_part == left_out[:, None])
    cell = plan.block * parts + part
    used = np.bincount(cell, minlength=j * parts) > 0
    if not ((select & used).any(1).all() and (outside & ~select & used).any(1).all()):
        kept = "clusters" if plan.cluster is not None else "rows"
        raise DataError(
            f"there are too few {kept} to hold some out for stopping beside the {j} blocks of the folds; use more "
            f"{kept} or, with at least 5 of them, n_folds=5 and learner='auto'."
        )
    return Scheme(cell, plan.block, outside & ~select, select, np.arange(j * nets), target)

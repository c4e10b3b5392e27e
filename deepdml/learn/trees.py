"""Boosted trees on a task's loss: the learner of steps and interactions among many covariates, most of no importance.

A tree's splits follow the gradients of all outputs together and its leaves are Newton steps, so one tree moves every
coefficient of theta at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.learn.candidates import BasisFit
from deepdml.learn.scheme import Scheme
from deepdml.learn.tasks import Task, Units
from deepdml.learn.training import stalled

MAX_COVARIATES = 256  # beyond, a tree would see too few of the columns
BINS = (64, 256)  # bins of a column, fewer where many columns have many values
ALL_BINS = 4096
DEPTH = 3
NODES, LEAVES = 2**DEPTH - 1, 2**DEPTH
COLUMNS = 64  # covariates that one tree may split on, drawn afresh for each where there are more
RATE = 0.25  # share of a leaf's Newton step that is taken
MAX_TREES = 200
PATIENCE = 10  # trees over which a snapshot has to gain
RIDGE = 20.0  # rows of mean curvature added to every node
LEAST = 10.0  # rows of mean curvature that a node needs
LIMIT = 3.0  # largest Newton step of a leaf
# a net's rows are dealt into parts of at least so many, and each tree is split by one of them in turn
PART_ROWS = 2_500
MAX_PARTS = 4
QUANTILE_ROWS = 20_000
TREES_AT_ONCE = 256
CHUNK = 4096  # rows predicted at once


@dataclass(frozen=True, slots=True)
class Bins:
    """The covariates cut at quantiles: a value is in bin b where b edges are less than it.

    Parameters
    ----------
    edges : Tensor (p, 1 + largest number of bins), float32
        Increasing; infinite where a column has fewer.
    codes : Tensor (p, n), uint8
    sizes : tuple of int
        Bins of each column.
    """

    edges: Tensor
    codes: Tensor
    sizes: tuple[int, ...]

    @classmethod
    def cut(cls, x: Tensor) -> Bins:
        """Cut covariates (n, p) at quantiles of all rows, between their values where those are few."""
        low, high = BINS
        sample = x[:: max(1, len(x) // QUANTILE_ROWS)].T.contiguous().sort(1).values
        values = [column.unique_consecutive() for column in sample]
        wide = sum(len(own) > low for own in values)
        most = max(low, min(high, ALL_BINS // max(1, min(wide, COLUMNS))))
        places = torch.linspace(0, sample.shape[1] - 1, most + 1, device=x.device)[1:-1].long()
        edges = torch.full((x.shape[1], most + 1), torch.inf, device=x.device)
        codes, sizes = torch.zeros(x.shape[1], len(x), dtype=torch.uint8, device=x.device), []
        for j, (column, own) in enumerate(zip(sample, values, strict=True)):
            between = own[:-1] if len(own) <= most else column[places].unique_consecutive()
            edges[j, : len(between)] = between
            codes[j] = torch.searchsorted(between, x[:, j].contiguous()).to(torch.uint8)
            sizes.append(len(between) + 1)
        return cls(edges, codes, tuple(sizes))


@dataclass(frozen=True, slots=True)
class Tree:
    """One complete tree: level l has 2^l nodes, and node i of it the children 2 i and 2 i + 1 of the next level.

    Parameters
    ----------
    column, split : Tensor (NODES,), int64
        A row goes right where its code in `column` is greater than `split`; nodes level by level.
    leaves : Tensor (LEAVES, o)
        What the tree adds, in the units of the net.
    """

    column: Tensor
    split: Tensor
    leaves: Tensor


@dataclass(frozen=True, slots=True)
class TreesFit:
    """Boosted trees of every net of a scheme, from a constant, and the number of trees of every snapshot.

    Parameters
    ----------
    start : BasisFit
        The constant that every net starts from.
    trees : tuple of tuple of Tree
        The trees of each net.
    steps : Tensor (v,)
        Trees of each snapshot.
    """

    name: str
    task: Task
    start: BasisFit
    units: Units
    bins: Bins
    trees: tuple[tuple[Tree, ...], ...]
    steps: Tensor

    def predict(self, v: int, net: int, x: Tensor) -> Tensor:
        """Return what snapshot v, a state of net `net`, predicts at covariates (r, p), in common units: (r, o)."""
        own = self.units.select(torch.tensor([net], device=x.device))
        out = self.start.nets[net, 0].expand(len(x), -1)
        trees = self.trees[net][: int(self.steps[v])]
        if trees:
            column, edge, leaves = stored(self.bins, trees)
            parts = [add_trees(part, column, edge, leaves) for part in x.split(CHUNK)]
            out = out + torch.cat(parts)
        return self.task.to_common(out[None], own)[0]

    def sum_of_snapshots(self, net: int, mixes: dict[int, Tensor]) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return columns, edges and leaves of a net's trees, mixed as its snapshots' outputs are.

        Parameters
        ----------
        mixes : dict of Tensor (o, o)
            By which the outputs of each snapshot of the net, in its units, are multiplied.
        """
        trees = self.trees[net][: max(int(self.steps[v]) for v in mixes)]
        if not trees:
            return None
        column, edge, leaves = stored(self.bins, trees)
        taken = torch.arange(len(trees), device=leaves.device)
        mix = sum((taken < int(self.steps[v]))[:, None, None] * m.to(leaves.device) for v, m in mixes.items())
        return column, edge, leaves @ mix


def stored(bins: Bins, trees: tuple[Tree, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the columns, edges (m, NODES) and leaves (m, LEAVES, o) of m trees, for `add_trees`."""
    column, split = torch.stack([tree.column for tree in trees]), torch.stack([tree.split for tree in trees])
    return column, bins.edges[column, split], torch.stack([tree.leaves for tree in trees]).double()


def fit_trees(start: BasisFit, bins: Bins, scheme: Scheme, units: Units, seeds: np.random.SeedSequence) -> TreesFit:
    """Boost every net of a scheme from a constant fit; every snapshot takes the trees best on its held-out cells."""
    task, device, n = start.task, bins.codes.device, bins.codes.shape[1]
    steps = torch.zeros(len(scheme.net), dtype=torch.long)
    trees: list[tuple[Tree, ...]] = []
    drawn = seeds.generate_state(scheme.n_nets, np.uint64) >> 1
    for net, (rows, seed) in enumerate(zip(scheme.train_rows(), drawn.tolist(), strict=True)):
        own = units.select(torch.tensor([net], device=device))
        grower = Grower(task, own, bins, torch.from_numpy(rows).to(device), torch.Generator().manual_seed(seed))
        snapshots = np.flatnonzero(scheme.net == net)
        held = [torch.from_numpy(scheme.rows_of_cells(scheme.select[v])).to(device) for v in snapshots]
        at = start.nets[net, 0].float().expand(n, -1)
        trees.append(_boost(grower, at, held, snapshots, steps))
    return TreesFit("trees", task, start, units, bins, tuple(trees), steps)


def _boost(
    grower: Grower, at: Tensor, held: list[Tensor], snapshots: NDArray[np.intp], steps: Tensor
) -> tuple[Tree, ...]:
    """Grow trees from `at` (n, o) until no snapshot looks for a lesser held-out loss; note each one's steps.

    Every snapshot stops looking on its own rows alone: the other's would carry the outcomes it predicts.
    """
    rows, sizes = torch.cat(held), [len(part) for part in held]
    history: list[list[float]] = [[] for _ in held]
    looking = [True] * len(held)
    trees: list[Tree] = []
    while True:
        losses = grower.task.loss(at[rows][None], rows[None], grower.units)[0].double().split(sizes)
        for i, v in enumerate(snapshots.tolist()):
            if looking[i]:
                history[i].append(float(losses[i].mean()))
                if history[i][-1] == min(history[i]):
                    steps[v] = len(trees)
                looking[i] = not _finished(history[i], len(at))
        if not any(looking):
            return tuple(trees)
        tree, leaf = grower.grow(at, len(trees))
        at = at + tree.leaves[leaf]
        trees.append(tree)


def _finished(history: list[float], n: int) -> bool:
    """Whether held-out losses, one per tree after the start, have stopped gaining."""
    if len(history) > MAX_TREES or not math.isfinite(history[-1]):
        return True
    return stalled(history, PATIENCE, n)


@dataclass(frozen=True, slots=True)
class Bags:
    """The training rows of a part in every bin of some columns, one column's bins after the other's.

    The fullest bin of a column is left empty, since its sums are what the other bins leave of the whole: a column that
    is mostly zero costs little.

    Parameters
    ----------
    columns : Tensor (c,)
    rows : Tensor (r,), int32
        Bin by bin, as numbers within the part.
    offsets : Tensor (b,), int32
        Where each bin's rows begin.
    first, last, fullest : Tensor (c,)
        Bins of each column, as numbers among all b.
    """

    columns: Tensor
    rows: Tensor
    offsets: Tensor
    first: Tensor
    last: Tensor
    fullest: Tensor

    @classmethod
    def of_column(cls, codes: Tensor, size: int) -> tuple[Tensor, Tensor, int]:
        """Return the rows outside the fullest of `size` bins, bin by bin, the bins' rows, and the fullest bin."""
        codes = codes.cpu()
        counts = torch.bincount(codes, minlength=size)
        fullest = int(counts.argmax())
        order = torch.from_numpy(np.argsort(codes.numpy(), kind="stable").astype(np.int32))
        start, stop = int(counts[:fullest].sum()), int(counts[: fullest + 1].sum())
        counts[fullest] = 0
        return torch.cat([order[:start], order[stop:]]), counts, fullest

    @classmethod
    def gather(cls, columns: Tensor, parts: list[tuple[Tensor, Tensor, int]]) -> Bags:
        """Put together what `of_column` returned for each of the columns (c,)."""
        device = columns.device
        rows = torch.cat([part[0] for part in parts]).to(device)
        counts = torch.cat([part[1] for part in parts]).to(device)
        bins = torch.tensor([len(part[1]) for part in parts], device=device)
        last = bins.cumsum(0) - 1
        first = last - bins + 1
        fullest = first + torch.tensor([part[2] for part in parts], device=device)
        return cls(columns, rows, (counts.cumsum(0) - counts).int(), first, last, fullest)

    def sums(self, table: Tensor) -> Tensor:
        """Return the sums of a table (rows of the part, f) in every bin, (b, f)."""
        sums = torch.nn.functional.embedding_bag(self.rows, table, self.offsets, mode="sum")
        reached = sums.cumsum(0)[self.last]
        sums[self.fullest] = table.sum(0) - reached.diff(dim=0, prepend=torch.zeros_like(reached[:1]))
        return sums

    def up_to(self, sums: Tensor) -> Tensor:
        """Return sums (b, ...) over each bin and those before it in its column."""
        left = sums.clone()
        left[self.first[1:]] -= sums[: int(self.last[0]) + 1].sum(0)  # the whole, the same in every column
        return left.cumsum(0)


class Grower:
    """Grows the trees of one net on its training rows.

    Parameters
    ----------
    rows : Tensor (r,)
        The net's training rows.
    """

    def __init__(self, task: Task, units: Units, bins: Bins, rows: Tensor, generator: torch.Generator) -> None:
        self.task, self.units, self.rows, self.generator = task, units, rows, generator
        self.codes = bins.codes
        self.parts = max(1, min(MAX_PARTS, len(rows) // PART_ROWS))
        dealt = [bins.codes[:, rows[i :: self.parts]] for i in range(self.parts)]
        self.binned = [[Bags.of_column(*each) for each in zip(codes, bins.sizes, strict=True)] for codes in dealt]
        every = torch.arange(len(self.codes), device=rows.device)
        self.all = [Bags.gather(every, binned) for binned in self.binned] if len(every) <= COLUMNS else []

    def _bags(self, part: int) -> Bags:
        """Return the bins of the columns that the next tree may split on."""
        if self.all:
            return self.all[part]
        columns = torch.randperm(len(self.codes), generator=self.generator)[:COLUMNS]
        return Bags.gather(columns.to(self.rows.device), [self.binned[part][j] for j in columns.tolist()])

    def grow(self, at: Tensor, number: int) -> tuple[Tree, Tensor]:
        """Return tree `number` for outputs `at` (n, o), and the leaf of every row (n,)."""
        gradient, curvature = (v[0] for v in self.task.derivatives(at[self.rows][None], self.rows[None], self.units))
        weight = curvature.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
        unit = float(weight.mean())
        part = slice(number % self.parts, None, self.parts)
        stats, split_rows, bags = torch.cat([gradient, weight], 1)[part], self.rows[part], self._bags(part.start)
        node = torch.zeros(len(at), dtype=torch.long, device=at.device)
        sums = bags.sums(stats)[..., None]
        chosen = []
        for level in range(DEPTH):
            if level:  # the right children are what the left ones leave of their parents
                left = (2 * torch.arange(2 ** (level - 1), device=at.device) == node[split_rows, None])[:, None]
                even = bags.sums((stats[..., None] * left).flatten(1)).view_as(sums)
                sums = torch.stack([even, sums - even], -1).flatten(2)
            place, split = best_splits(bags, sums, unit)
            column = bags.columns[place]
            chosen.append((column, split))
            node = 2 * node + (self.codes[column] > split[:, None]).gather(0, node[None])[0]
        leaves = self._leaves(node[self.rows], gradient, curvature, unit)
        column, split = (torch.cat(each) for each in zip(*chosen, strict=True))
        return Tree(column, split, leaves), node

    def _leaves(self, leaf: Tensor, gradient: Tensor, curvature: Tensor, unit: float) -> Tensor:
        """Return the leaves' penalized Newton steps (LEAVES, o), shortened by the rate."""
        members, o = _indicators(leaf, LEAVES).T, gradient.shape[1]
        hessian = (members @ curvature.flatten(1)).view(LEAVES, o, o)
        hessian.diagonal(dim1=1, dim2=2).add_(RIDGE * unit)
        step: Tensor = torch.linalg.solve(hessian, (members @ gradient)[..., None])[..., 0]
        return -RATE * step.clamp(-LIMIT, LIMIT)


def best_splits(bags: Bags, sums: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """Return the place of the column and the last bin on the left of every node's best split.

    The best split has the greatest sum, over its two sides, of squared gradients over curvature. Where no split with
    enough rows beats the whole node, it is the column's last bin, and every row goes left.

    Parameters
    ----------
    sums : Tensor (b, o + 1, nodes)
        Sums of gradients, then of curvature, in every bin and node.
    unit : float
        Curvature of a row.
    """
    left = bags.up_to(sums)
    whole = left[bags.last[0]]
    right = whole - left
    value = _score(left, unit).add_(_score(right, unit))
    value.masked_fill_(torch.minimum(left[:, -1], right[:, -1]) < LEAST * unit, -torch.inf)
    most, where = value.max(0)
    place = torch.searchsorted(bags.last, where)
    where = torch.where(most > _score(whole[None], unit)[0], where, bags.last[place])
    return place, where - bags.first[place]


def _score(sums: Tensor, unit: float) -> Tensor:
    """Return the squared gradient over the penalized curvature of sums (..., o + 1, nodes)."""
    return sums[..., :-1, :].square().sum(-2).div_(sums[..., -1, :] + RIDGE * unit)


def _indicators(node: Tensor, nodes: int) -> Tensor:
    """Return which of the nodes each row is in, (r, nodes)."""
    return torch.eye(nodes, device=node.device)[node]


def add_trees(x: Tensor, column: Tensor, edge: Tensor, leaves: Tensor) -> Tensor:
    """Return the sum (r, o) of m trees at covariates x (r, p).

    Parameters
    ----------
    column : Tensor (m, NODES), int64
        The covariate of every node.
    edge : Tensor (m, NODES)
        A row goes right where its value in `column` is greater than `edge`.
    leaves : Tensor (m, LEAVES, o)
    """
    total = torch.zeros(len(x), leaves.shape[2], dtype=leaves.dtype, device=x.device)
    for columns, edges, values in zip(*(v.split(TREES_AT_ONCE) for v in (column, edge, leaves)), strict=True):
        tree = torch.arange(len(columns), device=x.device)
        node = torch.zeros(len(x), len(columns), dtype=torch.long, device=x.device)
        for level in range(DEPTH):
            here = 2**level - 1 + node
            node = 2 * node + (x.gather(1, columns[tree, here]) > edges[tree, here])
        total += values[tree, node].sum(1)
    return total

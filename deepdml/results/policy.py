"""Who to treat: policies learned from influence values, with their value and its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import OptionError

if TYPE_CHECKING:
    from deepdml.results.results import Results

Float = NDArray[np.float64]
Int = NDArray[np.intp]

CUTS = 15  # cut points of each covariate: its quantiles at 1/16, 2/16, ...
MOST_COVARIATES = 40  # pairs of covariates are searched, so the work grows with their square


@dataclass(frozen=True, slots=True)
class Tree:
    """A policy tree of depth two: a split of the rows, then one of each side.

    Parameters
    ----------
    names : tuple of str
        Of the covariates.
    features : (3,) array of int
        The covariates split on: of all rows, of those below the first cut, of those above it.
    cuts : (3,) array
        A row at or below a cut goes left.
    treat : (2, 2) array of bool
        Decision in each leaf, by side of the first and of the second split.
    """

    names: tuple[str, ...]
    features: Int
    cuts: Float
    treat: NDArray[np.bool_]

    def decide(self, z: Float) -> NDArray[np.bool_]:
        """Return whom to treat (n,), given covariates (n, p)."""
        first = (z[:, self.features[0]] > self.cuts[0]).astype(np.intp)
        second = z[np.arange(len(z)), self.features[1:][first]] > self.cuts[1:][first]
        return np.asarray(self.treat[first, second.astype(np.intp)])

    def __str__(self) -> str:
        if self.treat.all() or not self.treat.any():
            return "treat everyone" if self.treat.all() else "treat no one"
        lines = []
        for side, sign in ((0, "<="), (1, ">")):
            lines.append(f"if {self.names[self.features[0]]} {sign} {self.cuts[0]:.4g}:")
            low, high = self.treat[side]
            if low == high:
                lines.append(f"    {_word(low)}")
                continue
            name, cut = self.names[self.features[1 + side]], self.cuts[1 + side]
            lines += [f"    if {name} <= {cut:.4g}: {_word(low)}", f"    if {name} > {cut:.4g}: {_word(high)}"]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, repr=False)
class Policy:
    """Who to treat, and what it is worth.

    Parameters
    ----------
    tree : Tree
        Learned from all rows; printed as rules.
    treat : Series of bool
        Its decision for each row of the fit.
    value : Results
        Gain over treating no one, per row and net of costs, in units of the outcome: of the tree, of treating wherever
        the cross-fitted effect exceeds the cost, of treating everyone, and of the tree over treating everyone. Rows are
        judged by trees and effects learned without them.
    """

    tree: Tree
    treat: pd.Series
    value: Results

    def __repr__(self) -> str:
        interval = self.value.conf_int()
        lines = [
            f"  {name}: {self.value.params[name]:.4g}  [{interval.loc[name, 0]:.4g}, {interval.loc[name, 1]:.4g}]"
            for name in self.value.params.index
        ]
        return "\n".join([str(self.tree), "", f"treats {self.treat.mean():.1%} of the rows; gain per row", *lines])


def learn_trees(
    reward: Float, z: Float, names: tuple[str, ...], folds: Int, weights: Float | None
) -> tuple[Tree, list[Tree]]:
    """Return the best depth-two tree on all rows, and for each fold the best one on the others.

    The search is exact over all pairs of covariates and their quantile cut points: sums of rewards over every pair of
    bins decide every tree.

    Parameters
    ----------
    reward : (n,) array
        Gain from treating each row.
    z : (n, p) array
    folds : (n,) array of int

    Raises
    ------
    OptionError
        For too many covariates, or none that varies.

    References
    ----------
    Athey & Wager, "Policy Learning with Observational Data" (Econometrica 2021), section 2.
    Zhou, Athey & Wager, "Offline Multi-Action Policy Learning" (Operations Research 2023), section 5, for exact search.
    """
    varying = np.flatnonzero(np.ptp(z, axis=0) > 0)
    if not 1 <= len(varying) <= MOST_COVARIATES:
        raise OptionError(
            f"a policy tree chooses among 1 to {MOST_COVARIATES} covariates that vary, and there are {len(varying):,}; "
            "name them, policy(on='age + tenure')."
        )
    cuts = [np.unique(np.quantile(z[:, f], np.arange(1, CUTS + 1) / (CUTS + 1))) for f in varying]
    cuts = [c[c < z[:, f].max()] if (c < z[:, f].max()).any() else c for c, f in zip(cuts, varying, strict=True)]
    codes = [np.searchsorted(c, z[:, f], side="left") for c, f in zip(cuts, varying, strict=True)]
    gain = reward if weights is None else reward * weights
    n_folds, bins, p = int(folds.max()) + 1, CUTS + 1, len(varying)
    sums = np.empty((p, p, n_folds + 1, bins, bins))
    for a in range(p):
        base = (folds * bins + codes[a]) * bins
        for b in range(a, p):
            cells = np.bincount(base + codes[b], gain, minlength=n_folds * bins * bins).reshape(n_folds, bins, bins)
            total = cells.sum(axis=0)
            sums[a, b] = np.concatenate([total[None], total - cells])
            sums[b, a] = sums[a, b].transpose(0, 2, 1)
    trees = _search(sums, cuts, varying, names)
    return trees[0], trees[1:]


def _search(sums: Float, cuts: list[Float], varying: Int, names: tuple[str, ...]) -> list[Tree]:
    """Return the best tree for each set of rows, from sums of rewards (p, p, sets, bins, bins) over pairs of bins."""
    p, n_sets = sums.shape[0], sums.shape[2]
    best = np.full(n_sets, -np.inf)
    found: list[Tree | None] = [None] * n_sets
    for a in range(p):
        n_a = len(cuts[a])
        below = sums[a].cumsum(axis=2).cumsum(axis=3)  # (p, sets, bins, bins): at or below both cuts
        side = np.stack([below, below[:, :, -1:] - below])[:, :, :, :n_a]  # (2, p, sets, n_a, bins)
        totals = side[..., -1:]
        worth = np.maximum(side, 0.0) + np.maximum(totals - side, 0.0)
        for b in range(p):
            worth[:, b, :, :, len(cuts[b]) :] = -np.inf
        flat = worth.transpose(0, 2, 3, 1, 4).reshape(2, n_sets, n_a, -1)
        value = flat.max(axis=3).sum(axis=0)
        at = value.argmax(axis=1)
        for s in np.flatnonzero(value[np.arange(n_sets), at] > best):
            j = int(at[s])
            best[s] = value[s, j]
            features, where, treat = [a], [cuts[a][j]], np.empty((2, 2), bool)
            for k in range(2):
                b, c = divmod(int(flat[k, s, j].argmax()), worth.shape[-1])
                low = side[k, b, s, j, c]
                features.append(b)
                where.append(cuts[b][c])
                treat[k] = low > 0, totals[k, b, s, j, 0] - low > 0
            found[s] = Tree(names, varying[np.array(features)], np.array(where), treat)
    return [tree for tree in found if tree is not None]


def _word(treat: bool | np.bool_) -> str:
    return "treat" if treat else "don't treat"

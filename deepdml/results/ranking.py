"""Rows sorted by their cross-fitted effect: sorted effects, most and least affected, and rank curves.

Ranks are taken within folds, where all predictions come from the same nets, none of which saw the row. Every
repetition of cross-fitting sorts anew, and the medians over them are reported.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError, refuse_no_number

Float = NDArray[np.float64]

SHARE = "a number above 0 and at most 0.5, the part of the rows in either group"
WINDOW = 0.05  # share of rows on either side of a cut from which the effect at the cut is averaged


def ranks(effects: Float, folds: NDArray[np.intp], weights: Float | None) -> Float:
    """Return each row's rank within its fold, (n_rep, n) in (0, 1): the share of the fold below it, ties in order.

    Parameters
    ----------
    effects : (n_rep, n) array
        Cross-fitted effects.
    folds : (n_rep, n) array of int
    weights : (n,) array or None
        Sampling weights; shares are then of their sum.
    """
    mass = np.ones(effects.shape[1]) if weights is None else weights
    out = np.empty_like(effects)
    for values, fold, rank in zip(effects, folds, out, strict=True):
        order = np.lexsort((values, fold))
        total = np.bincount(fold, mass)
        running = np.cumsum(mass[order])
        before = np.concatenate([[0.0], np.cumsum(total)[:-1]])
        rank[order] = (running - 0.5 * mass[order] - before[fold[order]]) / total[fold[order]]
    return out


def quantile_groups(rank: Float, n_groups: int) -> tuple[Float, tuple[str, ...]]:
    """Return the indicators (n_rep, n, g) of groups of equal size by rank, with names, least affected first."""
    if not isinstance(n_groups, int) or not 2 <= n_groups <= 100:
        raise OptionError(f"n_groups is {n_groups!r}; it must be a whole number from 2 to 100.")
    group = np.minimum((rank * n_groups).astype(np.intp), n_groups - 1)
    names = [f"group {g + 1} of {n_groups}" for g in range(n_groups)]
    names[0] += " (least)"
    names[-1] += " (most)"
    return (group[..., None] == np.arange(n_groups)).astype(np.float64), tuple(names)


def ends(rank: Float, share: float) -> tuple[Float, Float]:
    """Return the indicators (n_rep, n) of the most and the least affected share of rows."""
    refuse_no_number("share", share, SHARE)
    if not 0 < share <= 0.5:
        raise OptionError(f"share is {share!r}; it must be {SHARE}.")
    most, least = rank > 1 - share, rank < share
    if not (most.any(axis=1) & least.any(axis=1)).all():
        raise OptionError(f"share is {share!r}, so that no row is left in one of the groups; take a larger one.")
    return most.astype(np.float64), least.astype(np.float64)


def compare_ends(values: Float, rank: Float, share: float, weights: Float | None) -> Float:
    """Return influence values (n_rep, n, 3 k) of the means of k covariates among most and least affected, and the gap.

    Parameters
    ----------
    values : (n, k) array
        Covariates.
    """
    pieces = []
    for chosen in ends(rank, share):
        mass = np.average(chosen, axis=1, weights=weights)[:, None, None]
        heavy = chosen[..., None] * values
        mean = np.average(heavy, axis=1, weights=weights)[:, None] / mass
        pieces.append(mean + chosen[..., None] * (values - mean) / mass)
    most, least = pieces
    stacked = np.stack([most, least, most - least], axis=-1)
    return stacked.reshape(*stacked.shape[:2], -1)


def rank_curve(psi: Float, rank: Float, shares: Float, weights: Float | None) -> Float:
    """Return influence values (n_rep, n, g) of E[psi | among the top share u] - E[psi], for each u.

    The cut is a quantile of the sample; its error enters through the effect of rows at the cut, averaged over a window.

    References
    ----------
    Yadlowsky, Fleming, Shah, Brunskill & Wager, "Evaluating Treatment Prioritization Rules via Rank-Weighted Average
    Treatment Effects" (JASA 2025), section 2: the targeting operator characteristic.
    """
    columns = []
    for u in shares:
        top = (rank > 1 - u).astype(np.float64)
        if not top.any(axis=1).all():
            raise OptionError(f"shares has {u:g}, and no row is among the top {u:.4%}; take a larger one.")
        near = (np.abs(rank - (1 - u)) < WINDOW).astype(np.float64)
        at_cut = _mean(psi * near, weights) / np.maximum(_mean(near, weights), 1e-12)
        value = _mean(top * psi, weights) / u - _mean(psi, weights)
        part = top / u * (psi - at_cut) + at_cut - psi
        columns.append(part - _mean(part, weights) + value)
    return np.stack(columns, axis=-1)


def _mean(values: Float, weights: Float | None) -> Float:
    return np.asarray(np.average(values, axis=1, weights=weights)[:, None])

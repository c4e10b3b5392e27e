"""The treatment given the covariates: what kind it is, its cross-fitted law, and where overlap fails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepdml.design.data import ModelData
from deepdml.errors import DataError, OptionError, OverlapError, list_rows
from deepdml.learn.scheme import Scheme

Float = NDArray[np.float64]
Int = NDArray[np.intp]

LEVEL_ROWS = 5  # rows per level, on average, that a discrete treatment needs
MAX_LEVELS = 10  # a numeric treatment with more distinct rows is continuous unless the user says otherwise
NODES = 40  # residual quantiles of the quadrature
CLIP = 0.01  # propensities below it are raised to it, or to a tenth of the level's share where that is less
SCALE_FLOOR = 0.05  # the conditional sd of T is at least this share of its root mean square
DETERMINED = 1e-4  # share of T's variance left given x, below which T is a function of x
GRID = 2_001  # points at which a transformed treatment is tabulated


@dataclass(frozen=True, slots=True)
class Levels:
    """A discrete treatment: its distinct structural rows (m, d), and the level of each row (n,)."""

    rows: Float
    codes: Int


@dataclass(frozen=True, slots=True)
class Scalar:
    """One continuous treatment T (n,), and the structural row as a function of it, tabulated at `grid` (g,)."""

    values: Float
    grid: Float
    grid_rows: Float
    affine: bool


@dataclass(frozen=True, slots=True)
class Vector:
    """Several continuous structural columns: their values (n, v) and their places among the d columns.

    Columns that are `products` of others may be left out of them: the place of each, and those of its two factors.
    """

    values: Float
    columns: Int
    products: tuple[tuple[int, int, int], ...] = ()


Treatment = Levels | Scalar | Vector


def classify(data: ModelData, kind: str) -> Treatment:
    """Say what kind of treatment the structural columns are built from.

    Parameters
    ----------
    kind : {"auto", "discrete", "continuous"}

    Raises
    ------
    OptionError
        When a categorical treatment is called continuous, or one with a level per row discrete.
    """
    if kind != "continuous":
        levels = distinct_rows(data.t)
        few = len(levels.rows) <= max(len(data.y) / LEVEL_ROWS, 1)
        if kind == "discrete" and not few:
            raise OptionError(
                f"treatment='discrete', but {', '.join(data.treatment_names)} has {len(levels.rows):,} distinct values "
                f"in {len(data.y):,} rows; a level needs {LEVEL_ROWS} rows or more. Use treatment='continuous'."
            )
        if kind == "discrete" or (few and (data.treatment is None or len(levels.rows) <= MAX_LEVELS)):
            return levels
    if data.treatment is None and kind == "continuous":
        raise OptionError(
            "treatment='continuous', but the treatment is categorical; use treatment='discrete' or 'auto'."
        )
    return _continuous(data)


def distinct_rows(t: Float) -> Levels:
    """Return the distinct rows of t in the order in which they first appear.

    A sorted order would reverse with the sign of t, and the folds with it.
    """
    rows, first, codes = np.unique(t, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return Levels(rows[order], np.argsort(order)[codes.reshape(-1)])


def check_present(levels: Levels, data: ModelData, scheme: Scheme) -> None:
    """Raise DataError for a level so rare that some net trains without it and cannot tell its coefficient.

    A value of a dose that few rows have is another matter: the coefficient of the dose is learned from the others.
    """
    counts = np.zeros((len(levels.rows), scheme.train.shape[1]), np.intp)
    np.add.at(counts, (levels.codes, scheme.cell), 1)
    for present in ((counts @ scheme.train.T) > 0).T:
        if np.linalg.matrix_rank(levels.rows[present]) == data.t.shape[1]:
            continue
        raise DataError(
            f"{_rare_level(levels, int(np.flatnonzero(~present)[0]), data)}, so that some of the nets of cross-fitting "
            "train without any of them. Put this level together with another, or leave these rows out."
        )


def check_overlap(probabilities: Float, levels: Levels, data: ModelData) -> None:
    """Raise OverlapError when the propensities (n, m) of more than half of the rows are too small."""
    low = probabilities < propensity_bounds(levels.codes, len(levels.rows))
    if low.any(1).mean() <= 0.5:
        return
    rarest = int(np.argmax(low.mean(0)))
    if (levels.codes == rarest).sum() < LEVEL_ROWS:
        dose = "" if data.treatment is None else " For a dose say treatment='continuous'."
        raise OverlapError(
            f"{_rare_level(levels, rarest, data)}, too few to learn its propensity, which is estimated as next to "
            f"nothing in {low[:, rarest].mean():.0%} of the rows. Correct this value, put it together with another, or "
            f"leave these rows out.{dose}"
        )
    raise OverlapError(
        f"the covariates predict the treatment almost perfectly in {low.any(1).mean():.0%} of the rows (a level has a "
        f"propensity under {CLIP:g}), so there is no overlap to compare within. Drop covariates that are "
        "consequences or copies of the treatment, or restrict the sample to rows where every level can occur."
    )


def _rare_level(levels: Levels, code: int, data: ModelData) -> str:
    """Return which rows have a level: "arm = 3 is in 1 row(s) only, 7"."""
    held = np.flatnonzero(levels.codes == code)
    columns = zip(data.t_names, levels.rows[code], strict=True)
    value = ", ".join(f"{name} = {v:g}" for name, v in columns if v and name != "Intercept")
    return f"{value or 'the reference level'} is in {len(held):,} row(s) only, {list_rows(list(data.index[held]))}"


def _continuous(data: ModelData) -> Scalar | Vector:
    varying = np.flatnonzero(np.ptp(data.t, axis=0) > 0)
    if len(varying) == 1:
        values = data.t[:, varying[0]]
        ends = np.array([np.argmin(values), np.argmax(values)])
        return Scalar(values, values[ends], data.t[ends], True)
    if data.treatment is None or data.treatment.shape[1] != 1:
        return Vector(data.t[:, varying], varying)
    values = _base(data.treatment[:, 0], data.t[:, varying])
    unique, first = np.unique(values, return_index=True)
    pick = np.unique(np.linspace(0, len(unique) - 1, GRID).round().astype(int))
    return Scalar(values, unique[pick], data.t[first[pick]], False)


def _base(raw: Float, columns: Float) -> Float:
    """Return the first column that is strictly monotone in the raw treatment (a log, say), else the latter."""
    order = np.argsort(raw, kind="stable")
    moves = np.diff(raw[order]) > 0
    for column in columns.T:
        step = np.diff(column[order])
        if not step[~moves].any() and (np.all(step[moves] > 0) or np.all(step[moves] < 0)):
            return np.ascontiguousarray(column)
    return raw


def two_valued(values: Float) -> NDArray[np.bool_]:
    """Return which columns of (n, v) have two values (v,)."""
    return np.array([len(np.unique(column)) == 2 for column in values.T], dtype=bool)


def propensity_bounds(codes: Int, n_levels: int) -> Float:
    """Return the smallest propensity of each level (m,) that is used as it is."""
    return np.asarray(np.minimum(CLIP, 0.1 * np.bincount(codes, minlength=n_levels) / len(codes)))


def clip_propensities(probabilities: Float, codes: Int) -> tuple[Float, float]:
    """Raise small propensities to the bound and rescale rows to one; return them and the share of rows touched."""
    bound = propensity_bounds(codes, probabilities.shape[1])
    low = probabilities < bound
    clipped = np.maximum(probabilities, bound)
    return clipped / clipped.sum(1, keepdims=True), float(low.any(1).mean())


def floor_scale(scale: Float, name: str, total_variance: float) -> tuple[Float, float]:
    """Floor the conditional sd of a continuous treatment; return it and the share of rows floored.

    Raises
    ------
    OverlapError
        When the covariates explain all of the treatment's variance.
    """
    root = float(np.sqrt(np.mean(scale**2)))
    if root**2 < DETERMINED * total_variance:
        raise OverlapError(
            f"the covariates explain {1 - root**2 / total_variance:.4%} of the variance of {name!r}, so nothing of it "
            "is left to identify its coefficient. Drop covariates that are consequences or copies of the treatment."
        )
    bound = SCALE_FLOOR * root
    return np.maximum(scale, bound), float(np.mean(scale < bound))


def residual_nodes(standardized: Float, weight: Float | None) -> tuple[Float, Float]:
    """Return nodes and weights (m,) of a law with mean zero and variance one from standardized residuals (n,).

    Nodes are the weighted means of bins of (nearly) equal probability, stretched to unit variance. The bins are
    symmetric, so that the nodes of -u are minus the nodes of u.
    """
    order = np.argsort(standardized, kind="stable")
    mass = np.ones(len(order)) if weight is None else weight[order]
    below, above = np.cumsum(mass) - mass, np.cumsum(mass[::-1])[::-1] - mass
    middle = 0.5 * (below - above) / mass.sum()  # in (-1/2, 1/2), and odd to the bit under reversal
    away = 1 + np.minimum(np.floor(np.abs(middle) * NODES), NODES // 2 - 1)
    bins = (np.sign(middle) * away).astype(int) + NODES // 2  # a row right in the middle has a bin of its own
    weights = np.bincount(bins, mass, minlength=NODES + 1)
    totals = np.bincount(bins, mass * standardized[order], minlength=NODES + 1)
    used = weights > 0
    weights, nodes = weights[used] / mass.sum(), totals[used] / weights[used]
    nodes = nodes - weights @ nodes
    return nodes / np.sqrt(weights @ nodes**2), weights

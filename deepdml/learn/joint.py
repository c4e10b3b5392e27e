"""An approximate law of several structural columns given x, from their means, variances and correlations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement, product

import numpy as np
from numpy.typing import NDArray

from deepdml.learn.treatment import Vector, propensity_bounds, two_valued

Float = NDArray[np.float64]
Int = NDArray[np.intp]

NODES = 64  # of the columns together
LEAST_NODES = 16  # of the continuous ones, for each combination of the others
MOST_PAIRS = 3  # columns with two values that are taken at these; each doubles the nodes
SAME = 1e-9  # relative; a product of two columns differs from their product by rounding


@dataclass(frozen=True, slots=True)
class JointLaw:
    """Law of the structural row given x, whose free columns are mean(x) + root(x) u; the others are products of them.

    Parameters
    ----------
    row : (d,) array
        A structural row, for the columns that do not vary.
    columns : (v,) array
        Places of the free columns, those with two values first.
    products : tuple of (int, int, int)
        Columns that are products: the place of each, and those of its factors.
    values : (b, 2) array
        The two values of the first b free columns.
    least : (b,) array
        Their smallest probability that is used as it is.
    mean : (n, v) array
        Conditional means of the free columns.
    root : (n, v, v) array
        Lower triangular, with root root' their conditional covariance.
    residuals : (m, v - b) array
        Nodes u of the other free columns, with mean zero and unit covariance.
    weights : (m,) array
        Their probabilities.
    """

    row: Float
    columns: Int
    products: tuple[tuple[int, int, int], ...]
    values: Float
    least: Float
    mean: Float
    root: Float
    residuals: Float
    weights: Float

    def nodes(self, rows: slice) -> tuple[Float, Float]:
        """Return structural rows (n_rows, m, d) and their weights (n_rows, m) for the rows of a slice."""
        parts = [self._part(rows, ends) for ends in product((0, 1), repeat=len(self.values))]
        return np.concatenate([p[0] for p in parts], axis=1), np.concatenate([p[1] for p in parts], axis=1)

    @property
    def clipped_share(self) -> float:
        """Share of rows in which the probability of one of two values was raised."""
        pairs = zip(self.mean.T, self.values, self.least, strict=False)
        low = [(m < a + p * (b - a)) | (m > b - p * (b - a)) for m, (a, b), p in pairs]
        return float(np.any(low, axis=0).mean()) if low else 0.0

    def _part(self, rows: slice, ends: tuple[int, ...]) -> tuple[Float, Float]:
        """Return the nodes at which the columns with two values are at their lower (0) or upper (1) one."""
        mean, root, b = self.mean[rows], self.root[rows], len(self.values)
        share, known = np.ones(len(mean)), np.zeros((len(mean), b))
        out = np.broadcast_to(self.row, (len(mean), len(self.weights), len(self.row))).copy()
        for j, end in enumerate(ends):
            # given the columns before it
            center = mean[:, j] + np.einsum("nl,nl->n", root[:, j, :j], known[:, :j])
            upper = upper_share(center, self.values[j], self.least[j])
            share = share * (upper if end else 1.0 - upper)
            known[:, j] = (end - upper) / np.sqrt(upper * (1.0 - upper))
            out[..., self.columns[j]] = self.values[j, end]
        center = mean[:, b:] + np.einsum("nvb,nb->nv", root[:, b:, :b], known)
        out[..., self.columns[b:]] = center[:, None] + self.residuals @ root[:, b:, b:].transpose(0, 2, 1)
        for place, first, second in self.products:
            out[..., place] = out[..., first] * out[..., second]
        return out, share[:, None] * self.weights


def joint_law(t: Float, free: Vector, mean: Float, scale: Float, correlation: Float, weight: Float | None) -> JointLaw:
    """Return the law of structural rows t (n, d) whose free columns have these conditional moments.

    Parameters
    ----------
    free : Vector
        The v free columns, and the products of them.
    mean, scale : (n, v) arrays
    correlation : (n, v, v) array
    weight : (n,) array or None
        Weights of the rows, for the law of the residuals.
    """
    values, columns = free.values, free.columns
    two = np.flatnonzero(two_valued(values)).tolist()[:MOST_PAIRS]
    order = np.array([*two, *(j for j in range(len(columns)) if j not in two)])
    b, ends = len(two), np.array([np.unique(values[:, j]) for j in two]).reshape(-1, 2)
    least = np.array(
        [propensity_bounds(np.searchsorted(e, values[:, j]), 2).min() for j, e in zip(two, ends, strict=True)]
    )
    mean, scale, correlation = mean[:, order], scale[:, order].copy(), correlation[:, order[:, None], order]
    for j, pair in enumerate(ends):
        upper = upper_share(mean[:, j], pair, least[j])
        scale[:, j] = (pair[1] - pair[0]) * np.sqrt(upper * (1.0 - upper))
    root = scale[:, :, None] * np.linalg.cholesky(correlation)
    residuals = np.asarray(np.linalg.solve(root, (values[:, order] - mean)[..., None])[..., 0], np.float64)
    nodes, weights = joint_nodes(residuals[:, b:], weight, max(NODES >> b, LEAST_NODES))
    return JointLaw(t[0], columns[order], free.products, ends, least, mean, root, nodes, weights)


def upper_share(mean: Float, pair: Float, least: float) -> Float:
    """Return the probability (n,) of the upper of two values with a mean (n,), neither of them below `least`."""
    return np.asarray(np.clip((mean - pair[0]) / (pair[1] - pair[0]), least, 1.0 - least))


def split_products(t: Float) -> Vector:
    """Return the columns of t (n, d) that vary freely, beside those that are products of columns before them."""
    free: list[int] = []
    products: list[tuple[int, int, int]] = []
    varying = np.flatnonzero(np.ptp(t, axis=0) > 0).tolist()
    for i, place in enumerate(varying):
        pairs = combinations_with_replacement(varying[:i], 2)
        factors = next((pair for pair in pairs if _is_product(t, place, *pair)), None)
        if factors is None:
            free.append(place)
        else:
            products.append((place, *factors))
    places = np.array(free)
    return Vector(t[:, places], places, tuple(products))


def _is_product(t: Float, place: int, first: int, second: int) -> bool:
    for rows in (slice(50), slice(None)):  # most pairs are told by the first rows
        column = t[rows, place]
        if np.abs(t[rows, first] * t[rows, second] - column).max() > SAME * np.abs(column).max():
            return False
    return True


def joint_nodes(residuals: Float, weight: Float | None, count: int) -> tuple[Float, Float]:
    """Return nodes (m, v) and weights (m,) of a law with mean zero and unit covariance from residuals (n, v).

    Rows are halved, or cut into more parts, by one column after the other, until there are about `count` cells; nodes
    are the cells' weighted means, brought to unit covariance.
    """
    n, v = residuals.shape
    if not v:
        return np.zeros((1, 0)), np.ones(1)
    parts, cell, cells = max(2, round(count ** (1 / v))), np.zeros(n, dtype=np.intp), 1
    for column in residuals.T:
        if cells * parts > max(2 * count, 8 * v):
            break
        order = np.lexsort((column, cell))
        sorted_cell, size = cell[order], np.bincount(cell, minlength=cells)
        rank = np.arange(n) - (np.cumsum(size) - size)[sorted_cell]
        cell[order] = sorted_cell * parts + rank * parts // size[sorted_cell]
        cells *= parts
    mass = np.ones(n) if weight is None else weight
    weights = np.bincount(cell, mass, minlength=cells)
    used = weights > 0
    totals = np.stack([np.bincount(cell, mass * column, minlength=cells) for column in residuals.T], axis=1)
    nodes, weights = totals[used] / weights[used, None], weights[used] / mass.sum()
    nodes = nodes - weights @ nodes
    root = np.linalg.cholesky(nodes.T @ (weights[:, None] * nodes))
    return np.linalg.solve(root, nodes.T).T, weights

"""Conley's covariance of rows that depend on each other over distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from deepdml.errors import OptionError
from deepdml.inference.contributions import Contributions, CovarianceResult, Float, Space, positive_part, sum_by

EARTH_RADIUS = 6371.01
"""Mean radius in kilometres."""
PAIRS = 2_000_000
"""Pairs of neighbours held at once: some 100 MB."""


def conley(data: Contributions) -> CovarianceResult:
    """Return the sum over pairs of rows within the cutoff, by a tree search: all pairs are never held at once.

    References
    ----------
    Conley, "GMM Estimation with Cross Sectional Dependence" (Journal of Econometrics 1999), equation 3.9.
    """
    space = data.space
    if space is None:
        raise OptionError("cov_type 'conley' needs coordinates, (n, 2), and a cutoff.")
    places, codes = np.unique(space.coordinates, axis=0, return_inverse=True)
    # the kernel depends on distance alone, so rows at one place enter as their sum
    matrix = _neighbours(places, sum_by(codes.ravel(), data.values, len(places)), space)
    # an indefinite kernel, which neither of these is free of in two dimensions, can give negative variances
    matrix, fixed = positive_part(matrix * data.factor(data.n))
    unit = " km" if space.metric == "haversine" else ""
    text = (
        f"Standard errors are robust to dependence between rows up to {space.cutoff:g}{unit} apart (Conley, "
        f"{space.kernel.replace('bartlett', 'Bartlett')} kernel)."
    )
    notes = (
        (
            "Conley's covariance had negative eigenvalues, which were set to zero; try the Bartlett kernel or another "
            "cutoff.",
        )
        if fixed
        else ()
    )
    return CovarianceResult(matrix, "conley", text, (), notes)


def _neighbours(places: Float, sums: Float, space: Space) -> Float:
    """Return the sum over pairs of places of kernel(distance) s_i s_j', for sums s (m, q)."""
    points, reach = _embedded(places, space)
    tree = cKDTree(points)
    # counted first, so that a chunk holds PAIRS pairs whatever the density
    ends = np.cumsum(tree.query_ball_point(points, reach, return_length=True))
    matrix = np.zeros((sums.shape[1],) * 2)
    start = 0
    while start < len(points):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + PAIRS, side="right")))
        pairs = cKDTree(points[start:stop]).sparse_distance_matrix(tree, reach, output_type="ndarray")
        weights = _kernel(pairs["v"], space)
        near = csr_array((weights, (pairs["i"], pairs["j"])), shape=(stop - start, len(points)))
        matrix += sums[start:stop].T @ (near @ sums)
        start = stop
    return matrix


def _embedded(places: Float, space: Space) -> tuple[Float, float]:
    """Return points in which straight lines order distances, and the cutoff there."""
    if space.metric == "euclidean":
        return places, space.cutoff
    latitude, longitude = np.radians(places).T
    points = np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )
    # the chord under an arc; no two places are further apart than half the circumference
    return points, 2.0 * float(np.sin(min(space.cutoff / EARTH_RADIUS, np.pi) / 2.0))


def _kernel(lines: NDArray[np.float64], space: Space) -> Float:
    """Return the weights of pairs from their straight-line distances."""
    if space.kernel == "uniform" or space.cutoff == 0:
        return np.ones_like(lines)
    if space.metric == "haversine":
        lines = 2.0 * EARTH_RADIUS * np.arcsin(np.minimum(lines / 2.0, 1.0))
    # rounding may put a pair at the cutoff just beyond it
    return np.maximum(1.0 - lines / space.cutoff, 0.0)

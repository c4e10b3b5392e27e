"""What the outcome is like given the structural row and theta: the only place where estimands meet the family."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from deepdml.families import Family

Float = NDArray[np.float64]
Function = Callable[[Float], Float]


def mean(family: Family, t: Float, theta: Float) -> tuple[Float, Float]:
    """Return E[y | t, x] (...,) and its gradient (..., k), in the units of y."""
    eta = family.indices(t, theta)
    return np.asarray(family.mean(eta)), family.pull(t, np.asarray(family.mean_slope(eta)))


def marginal(family: Family, t: Float, slope: Float, theta: Float) -> tuple[Float, Float]:
    """Return dE[y | t, x] / dv (...,) and its gradient, where the structural row moves by `slope` (..., d) per unit v.

    With one index the effect is m'(eta) slope' theta; its gradient m''(eta) (slope' theta) t + m'(eta) slope.
    """
    eta, move = family.indices(t, theta), family.indices(slope, theta, one=0.0)
    first, second = np.asarray(family.mean_slope(eta)), np.asarray(family.mean_curvature(eta))
    if eta.ndim == move.ndim == t.ndim - 1:
        return first * move, family.pull(t, second * move) + family.pull(slope, first, one=0.0)
    along = (second @ move[..., None])[..., 0]
    return (first * move).sum(-1), family.pull(t, along) + family.pull(slope, first, one=0.0)


def values_of(family: Family, functions: Sequence[Function], t: Float, theta: Float) -> Float:
    """Return functions of the indices, such as tail probabilities, (..., c)."""
    eta = family.indices(t, theta)
    return np.stack([np.asarray(function(eta)) for function in functions], axis=-1)


def gradients_of(
    family: Family, functions: Sequence[tuple[Function, Function | None]], t: Float, theta: Float
) -> Float:
    """Return the gradients of functions of the indices, (..., c, k).

    Each comes with its derivative in the indices, or None for differences.
    """
    eta = family.indices(t, theta)
    moved = [family.slope(f, eta) if slope is None else np.asarray(slope(eta)) for f, slope in functions]
    axis = max(t.ndim, theta.ndim) - 1  # after the leading ones; families of several indices have one more
    return family.pull(t[..., None, :], np.stack(moved, axis=axis))

"""E[y | t, x] as a function of the structural row and theta: the only place where estimands meet the family."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepdml.families import Family

Float = NDArray[np.float64]


def predictor(t: Float, theta: Float) -> Float:
    """Return eta = t' theta (...,) for structural rows (..., d) and coefficients (..., d_theta)."""
    return np.asarray(np.einsum("...d,...d->...", t, theta[..., : t.shape[-1]]))


def padded(gradient: Float, d_theta: int) -> Float:
    """Return a derivative with respect to the first d entries of theta as one with respect to all of them."""
    extra = d_theta - gradient.shape[-1]
    if not extra:
        return gradient
    return np.concatenate([gradient, np.zeros((*gradient.shape[:-1], extra))], axis=-1)


def mean(family: Family, t: Float, theta: Float) -> tuple[Float, Float]:
    """Return E[y | t, x] (...,) and its gradient (..., d_theta), in the units of y."""
    eta = predictor(t, theta)
    gradient = np.asarray(family.mean_slope(eta))[..., None] * t
    return np.asarray(family.mean(eta)), padded(gradient, theta.shape[-1])


def marginal(family: Family, t: Float, slope: Float, theta: Float) -> tuple[Float, Float]:
    """Return dE[y | t, x] / dv (...,) and its gradient, where the structural row moves by `slope` (..., d) per unit v.

    The effect is m'(eta) slope' theta; its gradient m''(eta) (slope' theta) t + m'(eta) slope.
    """
    eta, move = predictor(t, theta), predictor(slope, theta)
    first = np.asarray(family.mean_slope(eta))
    second = np.asarray(family.mean_curvature(eta))
    gradient = (second * move)[..., None] * t + first[..., None] * slope
    return first * move, padded(gradient, theta.shape[-1])

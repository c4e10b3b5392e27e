"""The standard normal law, for the families that are built on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepdml.families.arrays import exp, log_ndtr, stack

HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


def density(z: Any) -> Any:
    """Return the standard normal density."""
    return exp(-0.5 * z * z - HALF_LOG_2PI)


def tail_slope(cut: float, eta: Any) -> Any:
    """Return d P(y > cut) / d eta (..., 2) of a normal y, whose indices are its mean and the log of its scale."""
    rate = exp(-eta[..., 1])
    z = (eta[..., 0] - cut) * rate
    return density(z)[..., None] * stack([rate, -z])


def mills(z: Any) -> Any:
    """Return the normal density over the distribution function at z, without underflow."""
    return exp(-0.5 * z * z - HALF_LOG_2PI - log_ndtr(z))

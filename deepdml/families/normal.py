"""The standard normal law, for the families that are built on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepdml.families.arrays import exp, log_ndtr

HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)


def density(z: Any) -> Any:
    """Return the standard normal density."""
    return exp(-0.5 * z * z - HALF_LOG_2PI)


def mills(z: Any) -> Any:
    """Return the normal density over the distribution function at z, without underflow."""
    return exp(-0.5 * z * z - HALF_LOG_2PI - log_ndtr(z))

"""Confidence sets of a ratio of two estimates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Float = NDArray[np.float64]


def fieller(numerator: float, denominator: float, matrix: Float, alpha: float = 0.05) -> str:
    """Return Fieller's confidence set of numerator / denominator, as text.

    The set holds the ratios r with (numerator - r denominator)**2 <= z**2 times its variance: an interval where the
    denominator differs from zero, otherwise everything outside an interval, or every number.

    Parameters
    ----------
    matrix : (2, 2) array
        Their covariance.
    alpha : float
        One minus the level.

    References
    ----------
    Fieller, "Some Problems in Interval Estimation" (Journal of the Royal Statistical Society B 1954), section 5.

    Examples
    --------
    >>> import numpy as np
    >>> fieller(2.0, 4.0, np.diag([0.04, 0.04]))
    '[0.395, 0.615]'
    >>> fieller(2.0, 0.1, np.diag([0.04, 0.04]))
    'below -6.75 or above 3.97'
    >>> fieller(0.1, 0.1, np.diag([0.04, 0.04]))
    'every number'
    """
    critical = stats.norm.ppf(1 - alpha / 2) ** 2
    a = denominator**2 - critical * matrix[1, 1]
    b = -2 * (numerator * denominator - critical * matrix[0, 1])
    c = numerator**2 - critical * matrix[0, 0]
    inside = b**2 - 4 * a * c
    if a > 0:
        low, high = ((-b + sign * np.sqrt(inside)) / (2 * a) for sign in (-1, 1))
        return f"[{low:.3g}, {high:.3g}]"
    if inside < 0 or a == 0:
        return "every number"
    high, low = ((-b + sign * np.sqrt(inside)) / (2 * a) for sign in (-1, 1))
    return f"below {low:.3g} or above {high:.3g}"

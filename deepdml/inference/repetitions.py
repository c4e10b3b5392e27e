"""Median aggregation over repeated cross-fitting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepdml.inference.contributions import positive_part

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Estimates and their covariance over all repetitions.

    Parameters
    ----------
    params : (q,) array
        In the units of the estimand.
    matrix : (q, q) array
        Symmetric and positive semi-definite.
    notes : tuple of str
        Says when negative eigenvalues were set to zero.
    """

    params: Float
    matrix: Float
    notes: tuple[str, ...] = ()


def aggregate(params: Float, matrices: Float) -> Aggregate:
    """Return median estimates and the median covariance around them.

    mu = median_r mu_r and V = median_r (V_r + (mu_r - mu)(mu_r - mu)'), element by element: the second term is the
    variation that comes from the draw of the folds. One repetition is returned as it is.

    Parameters
    ----------
    params : (r, q) array
        Estimates of each repetition.
    matrices : (r, q, q) array
        Their covariances.

    Returns
    -------
    Aggregate

    References
    ----------
    Chernozhukov et al., "Double/debiased machine learning" (Econometrics Journal 2018), definition 3.3.

    Examples
    --------
    >>> import numpy as np
    >>> both = aggregate(np.array([[1.0], [2.0], [6.0]]), np.ones((3, 1, 1)))
    >>> float(both.params[0]), float(both.matrix[0, 0])
    (2.0, 2.0)
    """
    if params.shape[0] == 1:
        return Aggregate(params[0], matrices[0])
    center = np.median(params, axis=0)
    shift = params - center
    spread = np.median(matrices + shift[:, :, None] * shift[:, None, :], axis=0)
    matrix, fixed = positive_part(spread)
    note = "The median of the repetitions' covariances had negative eigenvalues, which were set to zero."
    return Aggregate(center, matrix, (note,) if fixed else ())

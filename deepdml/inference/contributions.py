"""What an estimator of the covariance reads and returns, and the algebra that several of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import DataError

Float = NDArray[np.float64]
Codes = NDArray[np.intp]
Kernel = Literal["bartlett", "uniform"]
Metric = Literal["haversine", "euclidean"]
Correction = Literal["hac", "cluster"] | None

FEW_CLUSTERS = 20
"""Below this many clusters a summary carries a warning (Cameron & Miller 2015: "few" starts between 20 and 50)."""


@dataclass(frozen=True, slots=True)
class Serial:
    """Dependence over time.

    Parameters
    ----------
    periods : (n,) array of int
        Number of the period of each row; a lag is a difference of these.
    name : str
        Of the time variable, for messages.
    maxlags : int or None
        Longest lag that counts; None for floor(4 (T / 100)^(2/9)) with T periods, statsmodels' default.
    kernel : {"bartlett", "uniform"}
        Weights 1 - lag / (maxlags + 1), or 1.
    """

    periods: Codes
    name: str = "time"
    maxlags: int | None = None
    kernel: Kernel = "bartlett"


@dataclass(frozen=True, slots=True)
class Space:
    """Dependence over distance.

    Parameters
    ----------
    coordinates : (n, 2) array
        Latitude and longitude in degrees, or planar coordinates.
    cutoff : float
        Distance beyond which rows are independent: kilometres, or the unit of planar coordinates.
    kernel : {"uniform", "bartlett"}
        Weights 1 up to the cutoff, or 1 - distance / cutoff.
    metric : {"haversine", "euclidean"}
        Great-circle distance of latitude and longitude, or straight lines.
    """

    coordinates: Float
    cutoff: float
    kernel: Kernel = "uniform"
    metric: Metric = "haversine"

    def __post_init__(self) -> None:
        if self.coordinates.ndim != 2 or self.coordinates.shape[1] != 2:
            raise DataError(f"coordinates have shape {self.coordinates.shape}; (n, 2) is needed.")


@dataclass(frozen=True, slots=True)
class Contributions:
    """What an estimator of the covariance reads.

    Parameters
    ----------
    values : (n, q) array
        w_i (psi_i - mu) / sum(w), in the units of the estimand.
    shares : (n,) array
        w_i / sum(w).
    df : int
        Number of estimated coefficients, the k of n / (n - k).
    groups : (n, g) array of int, or None
        Cluster codes, one column for each way.
    group_names : tuple of str
        Names of the ways, for messages.
    correction : {"hac", "cluster", None}
        Small-sample factor: n/(n-k), G/(G-1) (n-1)/(n-k), or none.
    serial : Serial or None
        Dependence over time.
    space : Space or None
        Dependence over distance.
    """

    values: Float
    shares: Float
    df: int
    groups: Codes | None
    group_names: tuple[str, ...]
    correction: Correction
    serial: Serial | None = None
    space: Space | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.values)

    def factor(self, n_groups: int) -> float:
        """Return the small-sample factor of a covariance from `n_groups` sums."""
        if self.correction is None:
            return 1.0
        if self.correction == "hac":
            return self.n / (self.n - self.df)
        return n_groups / (n_groups - 1.0) * ((self.n - 1.0) / (self.n - self.df))


@dataclass(frozen=True, slots=True)
class CovarianceResult:
    """The covariance of an estimate, and how it came about.

    Parameters
    ----------
    matrix : (q, q) array
        Symmetric and positive semi-definite.
    cov_type : str
        One of the registered types, `COV_TYPES`.
    description : str
        One sentence for a table's notes.
    n_clusters : tuple of int
        Clusters in each way, or periods for "driscoll-kraay"; empty where neither counts.
    notes : tuple of str
        What a referee would want to know: few clusters, eigenvalues set to zero.
    """

    matrix: Float
    cov_type: str
    description: str
    n_clusters: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def sum_by(codes: Codes, values: Float, n_groups: int) -> Float:
    """Return sums of values (n, q) within codes: (n_groups, q)."""
    return np.stack([np.bincount(codes, weights=column, minlength=n_groups) for column in values.T], axis=1)


def positive_part(matrix: Float) -> tuple[Float, bool]:
    """Return a symmetric matrix with its negative eigenvalues set to zero, and whether there were any.

    Eigenvalues within rounding error of zero don't count, so that a singular matrix is left as it is.
    """
    symmetric = 0.5 * (matrix + matrix.T)
    eigenvalues, vectors = np.linalg.eigh(symmetric)
    # 1e-12 of the largest eigenvalue is some thousand times the rounding error of eigh
    if eigenvalues[0] >= -1e-12 * max(abs(eigenvalues[-1]), abs(eigenvalues[0])):
        return symmetric, False
    fixed = (vectors * np.maximum(eigenvalues, 0.0)) @ vectors.T
    return 0.5 * (fixed + fixed.T), True


def combine_codes(codes: Codes) -> Codes:
    """Return one code for each distinct row of codes: (n, g) to (n,), from 0 up."""
    combined = np.unique(codes[:, 0], return_inverse=True)[1]
    for column in codes.T[1:]:
        level = np.unique(column, return_inverse=True)[1]
        # made dense again after each way, so the product of numbers of clusters can't overflow
        combined = np.unique(combined * (level.max() + 1) + level, return_inverse=True)[1]
    return np.asarray(combined, dtype=np.intp)

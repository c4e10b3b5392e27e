"""From influence values to covariances: numpy only, nothing here knows about nets or formulas."""

from deepdml.inference.bands import sup_t
from deepdml.inference.covariance import CovarianceResult, covariance, weighted_mean
from deepdml.inference.groups import encode_groups, split_clusters
from deepdml.inference.ratio import fieller
from deepdml.inference.repetitions import Aggregate, aggregate

__all__ = [
    "Aggregate",
    "CovarianceResult",
    "aggregate",
    "covariance",
    "encode_groups",
    "fieller",
    "split_clusters",
    "sup_t",
    "weighted_mean",
]

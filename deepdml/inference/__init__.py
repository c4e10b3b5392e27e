"""From influence values to covariances: numpy only, nothing here knows about nets or formulas."""

from deepdml.inference.covariance import CovarianceResult, covariance, weighted_mean
from deepdml.inference.groups import encode_groups, split_clusters
from deepdml.inference.repetitions import Aggregate, aggregate

__all__ = [
    "Aggregate",
    "CovarianceResult",
    "aggregate",
    "covariance",
    "encode_groups",
    "split_clusters",
    "weighted_mean",
]

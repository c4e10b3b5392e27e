"""From influence values to covariances: numpy only, nothing here knows about nets or formulas."""

from deepdml.inference.bands import sup_t
from deepdml.inference.contributions import CovarianceResult, Serial, Space
from deepdml.inference.covariance import COV_TYPES, canonical, contributions, covariance, weighted_mean
from deepdml.inference.groups import encode_groups, split_clusters
from deepdml.inference.keywords import CovarianceKeywords
from deepdml.inference.multipliers import Moments, Weights, multiply, step_down
from deepdml.inference.ratio import fieller
from deepdml.inference.repetitions import Aggregate, aggregate

__all__ = [
    "COV_TYPES",
    "Aggregate",
    "CovarianceKeywords",
    "CovarianceResult",
    "Moments",
    "Serial",
    "Space",
    "Weights",
    "aggregate",
    "canonical",
    "contributions",
    "covariance",
    "encode_groups",
    "fieller",
    "multiply",
    "split_clusters",
    "step_down",
    "sup_t",
    "weighted_mean",
]

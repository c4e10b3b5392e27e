"""Estimands: what is averaged over rows, one kind per file."""

from deepdml.estimands.average_coefficient import AverageCoefficient
from deepdml.estimands.base import Estimand, Evaluation, Sample

__all__ = ["AverageCoefficient", "Estimand", "Evaluation", "Sample"]

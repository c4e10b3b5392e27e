"""Estimands: what is averaged over rows, one kind per file. Importing this package fills the registry."""

from deepdml.estimands.average_coefficient import AverageCoefficient
from deepdml.estimands.base import Columns, Estimand, Evaluation, Sample, from_dict, registered
from deepdml.estimands.contrast import Contrast
from deepdml.estimands.distribution import ChoiceProbability, ConditionalQuantile, ConditionalVariance, TailProbability
from deepdml.estimands.dose_response import ConsumerWelfare, DoseResponse, Profit
from deepdml.estimands.interventions import Interventions
from deepdml.estimands.marginal_effect import AverageMarginalEffect, Elasticity
from deepdml.estimands.optimal_price import OptimalPrice
from deepdml.estimands.overlap import Arms, Overlap
from deepdml.estimands.projection import Projection
from deepdml.estimands.ratios import IncidenceRateRatio, OddsRatio, WillingnessToPay
from deepdml.estimands.stack import Stack
from deepdml.estimands.user_function import UserFunction

__all__ = [
    "Arms",
    "AverageCoefficient",
    "AverageMarginalEffect",
    "ChoiceProbability",
    "Columns",
    "ConditionalQuantile",
    "ConditionalVariance",
    "ConsumerWelfare",
    "Contrast",
    "DoseResponse",
    "Elasticity",
    "Estimand",
    "Evaluation",
    "IncidenceRateRatio",
    "Interventions",
    "OddsRatio",
    "OptimalPrice",
    "Overlap",
    "Profit",
    "Projection",
    "Sample",
    "Stack",
    "TailProbability",
    "UserFunction",
    "WillingnessToPay",
    "from_dict",
    "registered",
]

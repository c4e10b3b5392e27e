"""Outcome families, one file each. Importing this package fills the registry."""

from deepdml.families.base import Family, registered, resolve_family
from deepdml.families.beta import Beta
from deepdml.families.custom import CustomLoss
from deepdml.families.gamma import Gamma
from deepdml.families.gaussian import Gaussian
from deepdml.families.gaussian_scale import GaussianScale
from deepdml.families.gumbel import Gumbel
from deepdml.families.logit import Logit
from deepdml.families.mnlogit import MNLogit
from deepdml.families.negbin import NegBin
from deepdml.families.ordered import OrderedLogit
from deepdml.families.poisson import Poisson
from deepdml.families.probit import Probit
from deepdml.families.tobit import Tobit
from deepdml.families.weibull import Weibull
from deepdml.families.zip import ZeroInflatedPoisson

__all__ = [
    "Beta",
    "CustomLoss",
    "Family",
    "Gamma",
    "Gaussian",
    "GaussianScale",
    "Gumbel",
    "Logit",
    "MNLogit",
    "NegBin",
    "OrderedLogit",
    "Poisson",
    "Probit",
    "Tobit",
    "Weibull",
    "ZeroInflatedPoisson",
    "registered",
    "resolve_family",
]

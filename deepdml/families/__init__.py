"""Outcome families, one file each. Importing this package fills the registry."""

from deepdml.families.base import Family, registered, resolve_family
from deepdml.families.gaussian import Gaussian
from deepdml.families.logit import Logit
from deepdml.families.poisson import Poisson

__all__ = ["Family", "Gaussian", "Logit", "Poisson", "registered", "resolve_family"]

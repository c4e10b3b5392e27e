"""Results and everything a reader does with them. Nothing here imports torch, except predict() for new data."""

from deepdml.results.make import make_results
from deepdml.results.results import Results
from deepdml.results.storage import load

__all__ = ["Results", "load", "make_results"]

"""Results and everything a reader does with them. Nothing here imports torch, except predict() for new data.

From the top: make turns a fit into results, the class; its methods stand in effects, inferences and figures too.

- What they work on: fit (names and arrays), columns (the user's data), estimation (psi to estimates and covariance),
  linear (statsmodels' tests).
- What they show: summary, tables/, plots/ and units, diagnostics, overlap, methods, report.
- What they answer: heterogeneity, projection, ranking, policy, prediction, sensitivity, bootstrap, pairwise, joint,
  leakage.
- How they are kept: storage and plain; recipe and source say how to make them again. Other packages: clients.
"""

from deepdml.results.make import make_results
from deepdml.results.results import Results
from deepdml.results.storage import load

__all__ = ["Results", "load", "make_results"]

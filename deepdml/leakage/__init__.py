"""Treatment leakage: text or images that reveal the treatment, how to measure it and how to take it out.

`probe` says how well covariates predict the treatment, `distill` removes what does, with a strength, and `path` refits
a model along the strengths. Removing too little leaves no overlap, removing too much removes the confounders: the path
shows both, and which strength is right is a judgement about the text, not something the data can say.
"""

from deepdml.leakage.distill import distill
from deepdml.leakage.path import LeakagePath, path
from deepdml.leakage.probe import Probe, probe

__all__ = ["LeakagePath", "Probe", "distill", "path", "probe"]

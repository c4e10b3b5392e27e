"""What a table of projected influence values reports; the results layer computes it from psi and the user's data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deepdml.errors import OptionError
from deepdml.estimands.base import Estimand, Evaluation, Sample, register


@register
@dataclass(frozen=True)
class Projection(Estimand):
    """Averages or regressions of the influence values of one estimand on functions of the covariates.

    Parameters
    ----------
    of : str
        The label whose influence values are projected.
    on : str
        Formula, grouping or method.

    References
    ----------
    Semenova & Chernozhukov, "Debiased machine learning of conditional average treatment effects and other causal
    functions" (The Econometrics Journal 2021), theorem 3.1.
    """

    name: ClassVar[str] = "projection"

    of: str
    on: str

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        raise self._refusal()

    def evaluate(self, sample: Sample) -> Evaluation:
        raise self._refusal()

    def _refusal(self) -> OptionError:
        return OptionError(
            f"a projection of {self.of!r} on {self.on!r} is made by gate() and blp(), not by estimate()."
        )

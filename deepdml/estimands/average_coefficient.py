"""The average of each coefficient function, E[theta(X)]."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from deepdml.estimands.base import Estimand, Evaluation, Sample


class AverageCoefficient(Estimand):
    """E[theta_j(X)] for each structural column, in the units of the linear predictor.

    Examples
    --------
    >>> AverageCoefficient().labels(("Intercept", "treat"))
    ('Intercept', 'treat')
    """

    name: ClassVar[str] = "average coefficient"

    def labels(self, t_names: tuple[str, ...]) -> tuple[str, ...]:
        return t_names

    def evaluate(self, sample: Sample) -> Evaluation:
        n, d_theta = sample.theta.shape
        d = len(sample.t_names)
        # one identity seen n times, not n identities
        gradient = np.broadcast_to(np.eye(d, d_theta), (n, d, d_theta))
        return Evaluation(sample.theta[:, :d], gradient)

"""Any smooth function of covariates, treatment and theta, averaged over rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import DataError, OptionError
from deepdml.estimands.averages import Averaged
from deepdml.estimands.base import Evaluation, Sample, Unstored, from_dict, register
from deepdml.estimands.fields import Field
from deepdml.estimands.integration import average, structural_row

Float = NDArray[np.float64]


@register
@dataclass(frozen=True)
class UserFunction(Averaged):
    """E[h(X, T, theta(X))] of a function the user gives, differentiated by torch.

    Parameters
    ----------
    function : callable
        ``h(x, t, theta)`` of torch tensors x (..., p), t (..., d) and theta (..., d_theta), row by row: the leading
        axes are rows and nodes of the treatment's law. It returns (...), or (..., q) for q estimands, in any units.
    label : str
        What the table calls it; with a number where there are several.
    subset : optional
        Rows to average over; see `Averaged`.
    """

    name: ClassVar[str] = "function"

    function: Callable[..., Any] | Unstored
    label: str = "function"

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        names = [self.label] if q == 1 else [f"{self.label}[{j}]" for j in range(q)]
        return tuple(name + self.suffix(sample) for name in names)

    def evaluate(self, sample: Sample) -> Evaluation:
        # torch comes in here and only here
        from deepdml.learn.autodiff import differentiate

        if isinstance(self.function, Unstored):
            raise self.function.refuse()
        function = self.function
        x, absent = _covariates(sample)
        try:
            own = differentiate(function, x, sample.t, sample.theta)[0]
        except OptionError as error:
            raise absent or error from error
        # where rows may exchange their structural rows, the function takes no notice of them
        moved = differentiate(function, x, np.roll(sample.t, 1, axis=0), sample.theta)[0]

        def terms(theta: Float, covariates: Float, t: Float) -> tuple[Float, Float]:
            return differentiate(function, covariates, t, theta, some=True)

        t = Field(sample.t) if np.array_equal(own, moved) else structural_row(sample)
        return average(sample, terms, (Field(x), t), self.indicator(sample))

    def __reduce__(self) -> tuple[Any, ...]:
        # functions written on the spot cannot be pickled
        return from_dict, (self.to_dict(),)


def _covariates(sample: Sample) -> tuple[Float, DataError | None]:
    """Return the covariates, or none of them and why: a function of theta alone works without."""
    try:
        return sample.data.covariates(), None
    except DataError as error:
        return np.zeros((len(sample.t), 0)), error

"""The price that maximizes average profit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.polynomial import Polynomial, chebyshev
from numpy.typing import NDArray

from deepdml.errors import OptionError, refuse_no_number
from deepdml.estimands.base import Sample, register
from deepdml.estimands.dose_response import Curve

Float = NDArray[np.float64]

POINTS = 10  # Chebyshev points at which demand is estimated; a polynomial through them stands for it in between


@register
@dataclass(frozen=True)
class OptimalPrice(Curve):
    """The price in [low, high] with the largest average profit (price - cost) E[y(price)], and that profit per row.

    The outcome is demand. Mean demand is a polynomial through its estimates at ten prices, so that the optimum is a
    smooth function of ten means, whose derivative the implicit function theorem gives.

    Parameters
    ----------
    column : str
        The price, a numeric variable left of the bar.
    low, high : float
        Range searched; inside that of the data nothing is extrapolated.
    cost : float
        Of a unit.
    subset : optional
        Rows to average over; see `Averaged`.

    Examples
    --------
    >>> OptimalPrice("price", 1.0, 3.0, cost=0.5).cost
    0.5
    """

    name: ClassVar[str] = "optimal price"
    between: ClassVar[bool] = True

    column: str
    low: float
    high: float
    cost: float = 0.0

    def __post_init__(self) -> None:
        for side in ("low", "high", "cost"):
            refuse_no_number(side, getattr(self, side), "one number, in units of the price")
        if not self.low < self.high:
            raise OptionError(f"low={self.low!r} and high={self.high!r}; the range of prices needs low below high.")

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return (f"optimal {self.column}{self.suffix(sample)}", f"profit at optimal {self.column}{self.suffix(sample)}")

    def doses(self) -> tuple[str, tuple[Any, ...]]:
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return self.column, tuple((middle + half * chebyshev.chebpts1(POINTS)).tolist())

    def transform(self, means: Float) -> tuple[Float, Float]:
        # in units where the range is [-1, 1]: u = (price - middle) / half
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        points = chebyshev.chebpts1(POINTS)
        basis = [Polynomial(chebyshev.cheb2poly(column)) for column in np.linalg.inv(chebyshev.chebvander(points, 9)).T]
        margin = Polynomial([middle - self.cost, half])
        profits = [margin * one for one in basis]
        profit = sum((float(m) * one for m, one in zip(means, profits, strict=True)), Polynomial([0.0]))
        roots = profit.deriv().roots()
        inside = np.real(roots[(np.abs(np.imag(roots)) < 1e-9) & (np.abs(np.real(roots)) < 1)])
        candidates = np.concatenate([inside, [-1.0, 1.0]])
        best = float(candidates[np.argmax(profit(candidates))])
        if abs(best) == 1.0:
            raise OptionError(
                f"profit is largest at the end of the range, at {self.column} = {middle + half * best:g}, so that "
                "there is no optimum inside; widen the range, or look at Profit over several prices."
            )
        bend = profit.deriv(2)(best)
        moves = np.array([-half * one.deriv()(best) / bend for one in profits])
        levels = np.array([one(best) for one in profits])
        return np.array([middle + half * best, profit(best)]), np.stack([moves, levels])

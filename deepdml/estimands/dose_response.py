"""Mean outcomes over a range of doses, and what follows from such a curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError, refuse_no_number
from deepdml.estimands.arguments import refuse_same, several
from deepdml.estimands.averages import Averaged
from deepdml.estimands.base import Sample, register
from deepdml.estimands.contrast import places
from deepdml.estimands.fields import Costly, Field, Terms
from deepdml.estimands.response import gradients_of, values_of
from deepdml.learn.influence import DiscreteLaw

Float = NDArray[np.float64]

NODES = 12  # of Gauss-Legendre between two prices; exact for polynomials of degree 23


class Curve(Averaged):
    """E[y(v)] at several values v of a variable."""

    between: ClassVar[bool] = False
    """Whether values between those of the data are needed, which categories and two prices do not have."""

    def doses(self) -> tuple[str, tuple[Any, ...]]:
        """Return the variable and its values."""
        raise NotImplementedError

    def parts(self, sample: Sample) -> tuple[Terms, tuple[Field, ...]]:
        family = sample.family
        column, values = self.doses()
        if self.between:
            _refuse_few_prices(sample, column)

        def value(theta: Float, *rows: Float) -> Float:
            return np.concatenate([values_of(family, [family.mean], t, theta) for t in rows], axis=-1)

        def slope(theta: Float, *rows: Float) -> Float:
            pair = [(family.mean, family.mean_slope)]
            return np.concatenate([gradients_of(family, pair, t, theta) for t in rows], axis=-2)

        return Costly(value, slope), places(sample, column, values)


def _refuse_few_prices(sample: Sample, column: str) -> None:
    """Raise OptionError for a price that is no number, or has two values, between which demand is unknown."""
    sample.treatments.check_number(column)
    if isinstance(sample.law, DiscreteLaw):
        seen = np.unique(sample.treatments.value(column, sample.law).own)
        if len(seen) < 3:
            raise OptionError(
                f"{column!r} has no values but {seen[0]:g} and {seen[-1]:g}, and what demand is between them nothing "
                f"tells; use Contrast({column!r}, {seen[-1]:g}, {seen[0]:g}), or Profit at the two."
            )


@register
@dataclass(frozen=True)
class DoseResponse(Curve):
    """E[y(v)] at each of several values v of a variable, in units of the outcome; a curve of q estimands.

    ``conf_int(joint=True)`` of the Results gives a band that covers the whole curve.

    Parameters
    ----------
    column : str
        A variable left of the bar.
    values : sequence
        Its values, the q points of the curve; levels of a categorical variable give their mean outcomes.
    subset : optional
        Rows to average over; see `Averaged`.

    Examples
    --------
    >>> DoseResponse("price", [1, 2]).values
    (1, 2)
    """

    name: ClassVar[str] = "dose response"

    column: str
    values: Any

    def __post_init__(self) -> None:
        values = self.values.tolist() if isinstance(self.values, np.ndarray) else self.values
        if isinstance(values, str) or not hasattr(values, "__len__") or not len(values):
            raise OptionError(f"values={self.values!r}; needed is a list of values of {self.column!r}.")
        object.__setattr__(self, "values", several("values", values, f"a list of values of {self.column!r}"))

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return tuple(
            f"{self.column} = {v if isinstance(v, str) else format(v, 'g')}{self.suffix(sample)}" for v in self.values
        )

    def doses(self) -> tuple[str, tuple[Any, ...]]:
        return self.column, self.values


@register
@dataclass(frozen=True)
class ConsumerWelfare(Curve):
    """The change of consumer surplus when a price goes from `old` to `new`: minus the area under demand between them.

    The outcome is demand; the result is in its units times those of the price, per row. It holds where income effects
    are negligible.

    Parameters
    ----------
    column : str
        The price, a numeric variable left of the bar.
    new, old : float
        Prices.
    subset : optional
        Rows to average over; see `Averaged`.

    References
    ----------
    Small & Rosen, "Applied Welfare Economics with Discrete Choice Models" (Econometrica 1981), equation 5.5.
    """

    name: ClassVar[str] = "consumer welfare"
    between: ClassVar[bool] = True

    column: str
    new: float
    old: float

    def __post_init__(self) -> None:
        for side in ("new", "old"):
            refuse_no_number(side, getattr(self, side), "one number, a price")
        refuse_same(f"ConsumerWelfare({self.column!r}, new, old)", self.new, self.old)

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return (f"welfare, {self.column}: {self.old:g} to {self.new:g}{self.suffix(sample)}",)

    def doses(self) -> tuple[str, tuple[Any, ...]]:
        nodes = np.polynomial.legendre.leggauss(NODES)[0]
        return self.column, tuple((self.old + (self.new - self.old) * (nodes + 1) / 2).tolist())

    def transform(self, means: Float) -> tuple[Float, Float]:
        weights = -(self.new - self.old) / 2 * np.polynomial.legendre.leggauss(NODES)[1]
        return np.array([weights @ means]), weights[None]


@register
@dataclass(frozen=True)
class Profit(Curve):
    """(price - cost) E[y(price)]: average profit per row at each of several prices, the outcome being demand.

    Parameters
    ----------
    column : str
        The price, a numeric variable left of the bar.
    values : sequence of float
        Prices.
    cost : float
        Of a unit.
    subset : optional
        Rows to average over; see `Averaged`.
    """

    name: ClassVar[str] = "profit"

    column: str
    values: Any
    cost: float = 0.0

    def __post_init__(self) -> None:
        values = several("values", self.values, f"a list of values of {self.column!r}")
        for value in values:
            refuse_no_number("a price of values", value, "one number")
        refuse_no_number("cost", self.cost, "one number, in units of the price")
        object.__setattr__(self, "values", tuple(float(value) for value in values))

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return tuple(f"profit, {self.column} = {v:g}{self.suffix(sample)}" for v in self.values)

    def doses(self) -> tuple[str, tuple[Any, ...]]:
        return self.column, self.values

    def transform(self, means: Float) -> tuple[Float, Float]:
        margin = np.array(self.values) - self.cost
        return margin * means, np.diag(margin)

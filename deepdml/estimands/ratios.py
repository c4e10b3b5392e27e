"""Functions of average coefficients: rate ratios, odds ratios and willingness to pay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError, near_names
from deepdml.estimands.arguments import names
from deepdml.estimands.averages import Averaged
from deepdml.estimands.base import Sample, register
from deepdml.estimands.fields import Field, Terms
from deepdml.inference.ratio import fieller

Float = NDArray[np.float64]

COLUMNS = "the name of a coefficient, as the table has it, or a list of them"


class OfCoefficients(Averaged):
    """f(E[theta_j(X)], ...) of the coefficients of some structural columns."""

    def chosen(self) -> tuple[str, ...]:
        """Return the names of the structural columns."""
        raise NotImplementedError

    def parts(self, sample: Sample) -> tuple[Terms, tuple[Field, ...]]:
        auxiliary = sample.family.auxiliary
        for name in self.chosen():
            if name in auxiliary:
                raise OptionError(
                    f"{name!r} is a parameter of the outcome's law, not a coefficient of a column left of the bar; for "
                    "its exponential use a function, estimate(lambda x, t, theta: theta[..., -1].exp())."
                )
        positions = [_position(name, sample.names) for name in self.chosen()]
        rows = np.eye(sample.theta.shape[1])[positions]

        def terms(theta: Float) -> tuple[Float, Float]:
            return theta[..., positions], np.broadcast_to(rows, (*theta.shape[:-1], *rows.shape))

        return terms, ()


@dataclass(frozen=True)
class ExponentiatedCoefficient(OfCoefficients):
    """exp(E[theta_j(X)]), where the link makes a coefficient the log of a ratio.

    Parameters
    ----------
    columns : str or sequence of str
        Structural columns, as the table names them.
    subset : optional
        Rows to average over; see `Averaged`.
    """

    link: ClassVar[str]
    meaning: ClassVar[str]
    columns: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", names("columns", self.columns, COLUMNS))

    def chosen(self) -> tuple[str, ...]:
        return tuple(self.columns)

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return tuple(f"{self.meaning}, {column}{self.suffix(sample)}" for column in self.columns)

    def parts(self, sample: Sample) -> tuple[Terms, tuple[Field, ...]]:
        if sample.family.link != self.link:
            raise OptionError(
                f"coefficients of the family {sample.family.name!r} (link {sample.family.link}) are not the logs of "
                f"{self.name}s, which need the link {self.link}. Where the outcome has a mean, use Contrast with "
                "kind='ratio' or 'odds ratio'; where it is a level, ChoiceProbability."
            )
        return OfCoefficients.parts(self, sample)

    @property
    def neutral(self) -> float:
        return 1.0

    def transform(self, means: Float) -> tuple[Float, Float]:
        ratio = np.exp(means)
        return ratio, np.diag(ratio)


@register
@dataclass(frozen=True)
class IncidenceRateRatio(ExponentiatedCoefficient):
    """exp(E[theta_j(X)]): how many times larger the rate is per unit of a column, as tables of count models report it.

    Each row has its own ratio exp(theta_j(x)); this is their geometric mean, so that its log is the coefficient of the
    table. The ratio of average rates is ``Contrast(column, new, old, kind="ratio")``.

    Parameters
    ----------
    columns : str or sequence of str
        Structural columns, as the table names them.
    subset : optional
        Rows to average over; see `Averaged`.
    """

    name: ClassVar[str] = "incidence rate ratio"
    link: ClassVar[str] = "log"
    meaning: ClassVar[str] = "IRR"


@register
@dataclass(frozen=True)
class OddsRatio(ExponentiatedCoefficient):
    """exp(E[theta_j(X)]): how many times larger the odds are per unit of a column, holding covariates fixed.

    The geometric mean of the rows' own odds ratios, whose log is the coefficient of the table. Odds ratios don't
    collapse: the one of average probabilities, ``Contrast(column, new, old, kind="odds ratio")``, is closer to 1.

    Parameters
    ----------
    columns : str or sequence of str
        Structural columns, as the table names them.
    subset : optional
        Rows to average over; see `Averaged`.
    """

    name: ClassVar[str] = "odds ratio"
    link: ClassVar[str] = "logit"
    meaning: ClassVar[str] = "OR"


@register
@dataclass(frozen=True)
class WillingnessToPay(OfCoefficients):
    """-E[theta_attribute(X)] / E[theta_price(X)]: units of the price that a unit of an attribute is worth.

    Parameters
    ----------
    attributes : str or sequence of str
        Structural columns, as the table names them.
    price : str
        The structural column of the price.
    subset : optional
        Rows to average over; see `Averaged`.

    Warns
    -----
    InferenceWarning
        Where the interval of the price's coefficient covers zero: the delta method fails there, and Fieller's interval
        is given.

    References
    ----------
    Fieller, "Some Problems in Interval Estimation" (Journal of the Royal Statistical Society B 1954).
    Hole, "A comparison of approaches to estimating confidence intervals for willingness to pay measures" (Health
    Economics 2007).
    """

    name: ClassVar[str] = "willingness to pay"

    attributes: Any
    price: str

    def __post_init__(self) -> None:
        attributes = names("attributes", self.attributes, COLUMNS)
        object.__setattr__(self, "attributes", attributes)
        if self.price in attributes:
            raise OptionError(f"{self.price!r} is both the price and an attribute.")

    def chosen(self) -> tuple[str, ...]:
        return (*self.attributes, self.price)

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        return tuple(f"WTP, {name}{self.suffix(sample)}" for name in self.attributes)

    def transform(self, means: Float) -> tuple[Float, Float]:
        value = -means[:-1] / means[-1]
        return value, np.column_stack([-np.eye(len(value)) / means[-1], -value / means[-1]])

    def notes(self, means: Float, matrix: Callable[[], Float]) -> list[str]:
        inside, jacobian = self.inside(means)
        spread = jacobian @ matrix() @ jacobian.T
        if abs(inside[-1]) > 1.96 * np.sqrt(spread[-1, -1]):
            return []
        found = []
        for j, name in enumerate(self.attributes):
            pick = [j, len(inside) - 1]
            interval = fieller(-inside[j], inside[-1], spread[np.ix_(pick, pick)] * np.array([[1, -1], [-1, 1]]))
            found.append(f"{name} {interval}")
        return [
            f"The 95 % interval of the coefficient of {self.price!r} covers zero, so that willingness to pay may be "
            f"anything and its standard error means little. Fieller's 95 % sets: {'; '.join(found)}."
        ]


def _position(name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise OptionError(
            f"there is no coefficient {name!r}; there are {', '.join(map(repr, names))}.{near_names(name, names)}"
        )
    return names.index(name)

"""The contract of an estimand mu = f(E[H(X, T, theta(X))]), and the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError, unknown_option
from deepdml.estimands.interventions import Interventions
from deepdml.estimands.overlap import Arms
from deepdml.families import Family
from deepdml.learn.influence import Influence, TreatmentLaw

Float = NDArray[np.float64]


class Columns(Protocol):
    """What an estimand may ask of the user's data; the results layer answers."""

    def covariates(self) -> Float:
        """Return the encoded covariates (n, p)."""

    def select(self, condition: object) -> NDArray[np.bool_]:
        """Return the rows (n,) for which a condition on covariates holds."""

    def arms(self) -> Arms:
        """Return the levels of the treatment with the rows' propensities."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What an estimand may read: the rows of one repetition.

    Parameters
    ----------
    t : (n, d) array
        Structural rows as observed.
    names : tuple of str
        Names of the k entries of theta.
    theta : (n, k) array
        Cross-fitted coefficients and auxiliary parameters.
    law : TreatmentLaw or None
        Law of the structural row given x, for conditional means over T; None where only moments were learned.
    family : Family
        The outcome family; estimands work through its mean.
    interventions : Interventions or None
        The structural row as a function of the variables left of the bar.
    columns : Columns or None
        The covariates and conditions on them.
    noise : (n, k, k) array or None
        Covariance of theta by estimation; None where it is not known.
    lambda_inverse : (n, k, k) array or None
        Inverse of Lambda(x), by which errors of G are judged; None where G is to be exact.
    second : (n, k) array or None
        The recalibrated theta, at which G is wanted, too; None where there is none.
    """

    t: Float
    names: tuple[str, ...]
    theta: Float
    law: TreatmentLaw | None
    family: Family
    interventions: Interventions | None = None
    columns: Columns | None = None
    noise: Float | None = None
    lambda_inverse: Float | None = None
    second: Float | None = None

    @property
    def treatments(self) -> Interventions:
        """The structural row as a function of its variables."""
        if self.interventions is None:
            raise OptionError("this estimand needs the variables left of the bar; use it through Results.estimate().")
        return self.interventions

    @property
    def data(self) -> Columns:
        """The covariates and conditions on them."""
        if self.columns is None:
            raise OptionError("this estimand needs the covariates; use it through Results.estimate().")
        return self.columns


@dataclass(frozen=True, slots=True)
class Evaluation:
    """H and G of an estimand; of several means where the estimand is a function of them.

    Parameters
    ----------
    values : (n, q) array
        H(x, t, theta(x)) of each row, in the units of the estimand.
    gradient : (n, q, d_theta) array
        G(x) = E[dH/dtheta | X = x]: the conditional mean over T, not the value at the row's own t.
    free : bool
        Whether H is a function of x alone, so that rows may be sorted by it.
    bend : (n, q) array or float
        Half the trace of d2H/dtheta2 times the covariance of theta by estimation: what the expansion of H around the
        estimated theta(x) leaves to second order, which psi adds. Zero where H is linear in theta.
    beyond : (n, q, d_theta) array or None
        G at the recalibrated theta, where that was asked for.
    """

    values: Float
    gradient: Float
    free: bool = False
    bend: Float | float = 0.0
    beyond: Float | None = None

    def __post_init__(self) -> None:
        if self.gradient.shape[:2] != self.values.shape:
            raise ValueError(
                f"gradient has shape {self.gradient.shape} and values {self.values.shape}; "
                "needed are (n, q, d_theta) and (n, q)"
            )

    def psi(self, piece: Influence) -> Float:
        """Return the influence values (n, q) of the means of H, corrected to second order."""
        return piece.psi(self.values + self.bend, self.gradient, self.beyond)


class Estimand:
    """An estimand; a subclass sets `name` and gives labels and an evaluation.

    Nothing in an estimand names a family: it reads `Sample.family` and `Sample.law`. A subclass is a frozen dataclass
    whose fields are JSON values, entered with `register`; what a file cannot hold comes back as an `Unstored`.
    """

    name: ClassVar[str]
    """Its key in a saved file, and how tables call it."""

    @property
    def title(self) -> str:
        """How tables call it: its name, where no option makes another quantity of it."""
        return self.name

    @property
    def projects(self) -> bool:
        """Whether the estimate is a plain mean of psi over all rows, which can be averaged by group."""
        return False

    def labels(self, sample: Sample, q: int) -> tuple[str, ...]:
        """Return the names of the q reported numbers; q matters only where the estimand does not know it."""
        raise NotImplementedError

    def evaluate(self, sample: Sample) -> Evaluation:
        """Return H and G over the rows of one repetition."""
        raise NotImplementedError

    def psi(self, sample: Sample, piece: Influence) -> Float:
        """Return the influence values (n, q) of the means of H over the rows of one repetition."""
        second = None if piece.recalibrated is None else piece.recalibrated.theta
        return self.evaluate(replace(sample, lambda_inverse=piece.lambda_inverse, second=second)).psi(piece)

    def combine(self, means: Float) -> tuple[Float, Float] | None:
        """Return f (q,) and its jacobian (q, c) at the c means of psi, or None where f is the identity.

        The influence values of f(means) are f + jacobian (psi - means): the delta method, row by row.
        """
        return None

    def notes(self, means: Float, matrix: Callable[[], Float]) -> list[str]:
        """Return warnings about the estimates, given the c means behind them and, when called, their covariance."""
        return []

    def remarks(self, sample: Sample) -> list[str]:
        """Return sentences for the foot of the table on what is averaged over."""
        return []

    def to_dict(self) -> dict[str, Any]:
        """Return the estimand as JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]  # subclasses are
        return {"estimand": self.name, **{name: plain_value(name, value) for name, value in values.items()}}

    @classmethod
    def build(cls, stored: Mapping[str, Any]) -> Estimand:
        """Return the estimand of this kind whose fields `to_dict` gave."""
        return cls(**{name: _tuples(value) for name, value in stored.items()})


@dataclass(frozen=True, slots=True)
class Unstored:
    """Stands for a function or an array that a file does not hold; its estimand cannot be evaluated again."""

    what: str

    def refuse(self) -> OptionError:
        """Return the error for using it."""
        return OptionError(f"{self.what} is not kept in a file of Results; pass it to estimate() again.")


def plain_value(name: str, value: Any) -> Any:
    """Return a field of an estimand as a JSON value; functions and arrays as a note of what they were."""
    if isinstance(value, Unstored):
        return {"unstored": value.what}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [plain_value(name, item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return {"unstored": f"the {name} ({type(value).__name__})"}


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping) and value.keys() == {"unstored"}:
        return Unstored(value["unstored"])
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


E = TypeVar("E", bound=type[Estimand])
_REGISTRY: dict[str, type[Estimand]] = {}


def register(estimand: E) -> E:
    """Enter a kind of estimand under its name; a class decorator."""
    _REGISTRY[estimand.name] = estimand
    return estimand


def registered() -> dict[str, type[Estimand]]:
    """Return the registered kinds by name."""
    return dict(_REGISTRY)


def from_dict(stored: Mapping[str, Any]) -> Estimand:
    """Return the estimand `to_dict` was called on.

    Raises
    ------
    OptionError
        For a kind that is not registered.
    """
    if stored["estimand"] not in _REGISTRY:
        raise unknown_option("estimand", stored["estimand"], _REGISTRY)
    return _REGISTRY[stored["estimand"]].build({name: value for name, value in stored.items() if name != "estimand"})

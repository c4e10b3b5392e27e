"""The contract of an outcome family, and the registry.

A family works on numpy arrays and torch tensors alike: its formulas use the functions of ``arrays.py``, which
follow the type of their argument. So the same file trains nets and serves a loaded Results without torch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import DataError, OptionError, list_rows, unknown_option

Float = NDArray[np.float64]
Array = Any  # a numpy array or a torch tensor; both sides of every formula are of the same kind


class Family:
    """An outcome family: loss = -log p(y | eta) up to a term free of eta, with eta = t' theta(x).

    A subclass sets `name`, `aliases`, `support` and overrides the closed forms. `eta` is the linear predictor
    and has the shape of `y`; every method is elementwise.
    """

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    support: ClassVar[str]
    link: ClassVar[str]
    categorical: ClassVar[bool] = False
    """Whether the outcome is one of a few levels, coded 0, 1, ..., and not a number."""
    constant_hessian: ClassVar[bool] = False
    """Whether the hessian with respect to eta is free of eta, so that Lambda needs moments of t only."""
    auxiliary: tuple[str, ...] = ()
    """Names of the entries of theta after the coefficients."""
    canonical: ClassVar[bool] = False
    """Whether the second derivative of the loss in eta is free of y, so that along eta its mean changes as it does."""

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        """Return which outcomes are allowed, shape (n,)."""
        raise NotImplementedError

    def loss(self, y: Array, eta: Array) -> Array:
        """Return the loss of each row, in nats."""
        raise NotImplementedError

    def score(self, y: Array, eta: Array) -> Array:
        """Return d loss / d eta."""
        raise NotImplementedError

    def hessian(self, eta: Array) -> Array:
        """Return the expected second derivative of the loss, E[d2 loss / d eta2 | t, x]."""
        raise NotImplementedError

    def remainder_slope(self, eta: Array) -> Array:
        """Return 2 d hessian / d eta - E[d3 loss / d eta3 | t, x], which drives the second-order correction.

        A Newton step with the hessian at an eta that errs by e falls short by half of it times the square of e. Where
        the link is canonical, the third derivative is the hessian's and both add up to d hessian / d eta.
        """
        raise NotImplementedError

    def perfect_loss(self, y: Float) -> Float:
        """Return the loss of each row if eta fitted it perfectly, the least it can be; zero for most families."""
        return np.zeros_like(y)

    def mean(self, eta: Array) -> Array:
        """Return E[y | t, x], in the units of y."""
        raise NotImplementedError

    def mean_slope(self, eta: Array) -> Array:
        """Return d mean / d eta, the marginal effect of the linear predictor."""
        raise NotImplementedError

    def mean_curvature(self, eta: Array) -> Array:
        """Return d2 mean / d eta2; the gradient of a marginal effect needs it."""
        raise NotImplementedError

    def link_of_mean(self, mean: Array) -> Array:
        """Return the eta whose mean is `mean`, the inverse of `mean`."""
        raise NotImplementedError

    def start_rows(self, y: Array) -> Array:
        """Return a finite eta close to each outcome, at which Newton's method starts."""
        raise NotImplementedError

    def variance(self, eta: Array) -> Array:
        """Return Var(y | t, x), in squared units of y."""
        raise OptionError(
            f"the family {self.name!r} says nothing about the variance of the outcome; choose one that does, such as "
            "'gaussian_scale'."
        )

    def variance_slope(self, eta: Array) -> Array:
        """Return d variance / d eta."""
        return self.slope(lambda at: np.asarray(self.variance(at)), eta)

    def tail(self, cut: float, eta: Array) -> Array:
        """Return P(y > cut | t, x)."""
        raise OptionError(
            f"the family {self.name!r} says nothing about the distribution of the outcome; choose one that does, such "
            "as 'gaussian_scale'."
        )

    def tail_slope(self, cut: float, eta: Array) -> Array:
        """Return d tail / d eta."""
        return self.slope(lambda at: np.asarray(self.tail(cut, at)), eta)

    def quantile(self, share: float, eta: Array) -> Array:
        """Return the value below which y lies with probability `share` given t and x, in the units of y."""
        raise OptionError(
            f"the family {self.name!r} has no quantiles: they need the whole law of the outcome, and one without "
            "steps, so that they are smooth in theta. Choose a family that has them, such as 'gaussian_scale' or "
            "'weibull'; for counts and levels use TailProbability."
        )

    def quantile_slope(self, share: float, eta: Array) -> Array:
        """Return d quantile / d eta."""
        return self.slope(lambda at: np.asarray(self.quantile(share, at)), eta)

    def probability(self, level: Any, eta: Array) -> Array:
        """Return P(y = level | t, x) of one of finitely many outcomes."""
        raise OptionError(f"the outcomes of the family {self.name!r} are no choice among a few; use TailProbability.")

    def probability_slope(self, level: Any, eta: Array) -> Array:
        """Return d probability / d eta."""
        return self.slope(lambda at: np.asarray(self.probability(level, at)), eta)

    def outcomes(self) -> tuple[Any, ...]:
        """Return the levels of the outcome, for those that are a choice among a few."""
        self.probability(None, None)
        return ()

    # The structural row and theta: one index eta = t' theta; MultiIndex has several

    def theta_names(self, t_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the entries of theta, of which the coefficients of the structural columns come first."""
        return t_names

    def bind(self, t_names: tuple[str, ...]) -> Family:
        """Return the family for structural rows of these columns."""
        return self

    def rows(self, t: Float, one: float = 1.0) -> Float:
        """Return the matrices A (..., r, k) with eta = A theta at structural rows t (..., d).

        `one` is 1, and 0 for a move of the structural row, which leaves what is free of it in place.
        """
        return t[..., None, :]

    def indices(self, t: Float, theta: Float, one: float = 1.0) -> Float:
        """Return eta at structural rows (..., d) and theta (..., k); see `rows` for `one`."""
        return np.asarray(np.einsum("...d,...d->...", t, theta))

    def pull(self, t: Float, slope: Float, one: float = 1.0) -> Float:
        """Return a derivative with respect to eta as one with respect to theta, (..., k); see `rows` for `one`."""
        return np.asarray(slope)[..., None] * t

    def slope(self, function: Callable[[Float], Float], eta: Float) -> Float:
        """Return the derivative with respect to eta of a smooth function of it, by differences of fourth order."""
        return difference(lambda step: function(eta + step))

    def for_outcome(self, y: Float, event: Float | None, levels: tuple[Any, ...]) -> Self:
        """Return the family for these outcomes, or raise DataError where it cannot have them.

        Parameters
        ----------
        y : (n,) array
            Outcomes; codes of `levels` where the family is categorical.
        event : (n,) array or None
            The second column of a ``Surv(time, event)`` outcome.
        levels : tuple
            Levels of a categorical outcome.
        """
        if event is not None:
            raise DataError(
                f"the family {self.name!r} has no censored outcomes, so Surv() cannot stand left of the '~'; use "
                "family='weibull'."
            )
        return copy.copy(self)

    def columns(self, y: Float, event: Float | None, t: Float) -> Float:
        """Return the outcome as `loss` and `score` read it: (n,), or (n, c) where there is more to it than a number."""
        return y

    def options(self) -> dict[str, Any]:
        """Return the arguments that make this family again, as JSON values."""
        return {}

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make this family again, functions included."""
        return self.options()

    def check_support(self, y: Float, y_name: str, labels: NDArray[Any]) -> None:
        """Raise DataError naming the first rows whose outcome this family cannot have."""
        bad = np.flatnonzero(~self.in_support(y))
        if bad.size:
            values = ", ".join(f"{v:g}" for v in y[bad[:5]])
            raise DataError(
                f"family {self.name!r} needs {self.support}, but {y_name!r} has {bad.size:,} other value(s) "
                f"({values}) in row(s) {list_rows(list(labels[bad]))}. Choose another family or correct the outcome."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.options().items())})"


STEP = 1e-3  # of differences of fourth order: their errors are some 1e-12 in first derivatives, 1e-9 in second


def difference(function: Callable[[float], Float]) -> Float:
    """Return the derivative at zero of a smooth function of a step, by differences of fourth order."""
    one = function(STEP) - function(-STEP)
    two = function(2 * STEP) - function(-2 * STEP)
    return np.asarray((8.0 * one - two) / (12.0 * STEP))


NARROW = 1e-5  # of differences of second order: their errors are some 1e-10, of the step's square and of rounding alike


def narrow_difference(function: Callable[[float], Float]) -> Float:
    """Return the derivative at zero of a smooth function that is slow to evaluate, by one difference."""
    return np.asarray((function(NARROW) - function(-NARROW)) / (2.0 * NARROW))


_REGISTRY: dict[str, type[Family]] = {}


def register(family: type[Family]) -> type[Family]:
    """Enter a family under its name and aliases; a class decorator."""
    for name in (family.name, *family.aliases):
        _REGISTRY[name] = family
    return family


def registered() -> dict[str, type[Family]]:
    """Return the registered families by canonical name."""
    return {cls.name: cls for cls in _REGISTRY.values()}


def resolve_family(family: object) -> Family:
    """Return the family meant by a name, a deepdml family or a statsmodels family object.

    Raises
    ------
    OptionError
        For an unknown name (with near names) or a statsmodels family with another than its canonical link.
    """
    if isinstance(family, Family):
        return family
    if isinstance(family, type) and issubclass(family, Family):
        return family()
    if isinstance(family, str):
        if family.lower() not in _REGISTRY:
            raise unknown_option("family", family, _REGISTRY)
        return _REGISTRY[family.lower()]()
    return _from_statsmodels(family)


def _from_statsmodels(family: object) -> Family:
    link = getattr(family, "link", None)
    name = type(family).__name__.lower()
    if link is None or name not in _REGISTRY:
        raise OptionError(
            f"family {family!r} is not understood; pass a name ({', '.join(_REGISTRY)}), a deepdml family "
            "or a statsmodels family with its canonical link."
        )
    ours = _REGISTRY[name]
    if type(link).__name__.lower() != ours.link:
        raise OptionError(
            f"statsmodels family {type(family).__name__} with link {type(link).__name__} is not available; "
            f"deepdml's {ours.name} uses {ours.link}."
        )
    return ours()

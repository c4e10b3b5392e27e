"""The contract of an outcome family, and the registry.

A family works on numpy arrays and torch tensors alike: its formulas use the functions of ``arrays.py``, which
follow the type of their argument. So the same file trains nets and serves a loaded Results without torch.
"""

from __future__ import annotations

from typing import Any, ClassVar

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
    constant_hessian: ClassVar[bool] = False
    """Whether the hessian with respect to eta is free of eta, so that Lambda needs moments of t only."""

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

    def hessian_slope(self, eta: Array) -> Array:
        """Return d hessian / d eta, the third derivative that drives the second-order correction."""
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
        return f"{type(self).__name__}()"


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

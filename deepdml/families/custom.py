"""A loss the user writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import DataError, OptionError, refuse_no_number
from deepdml.families.base import Float, register
from deepdml.families.indices import MultiIndex


@register
class CustomLoss(MultiIndex):
    """Any smooth loss of an outcome, a structural row and theta; what is reported is the average of theta.

    Parameters
    ----------
    function : callable
        ``loss(y, t, theta)`` of torch tensors y (...), t (..., d) and theta (..., k), row by row: it returns (...), in
        any units, and is differentiated twice. t is the row left of the bar, the intercept first.
    names : sequence of str
        Names of the k entries of theta.
    start : sequence of float, optional
        Values from which training starts; zeros by default.

    Examples
    --------
    >>> import deepdml
    >>> loss = deepdml.families.CustomLoss(lambda y, t, theta: (y - theta[..., 0] * t[..., 1]) ** 2, names=["slope"])
    >>> loss.theta_names(("Intercept", "t"))
    ('slope',)
    """

    name = "custom"
    support = "finite numbers"
    link = "custom"
    closed = False
    automatic = True

    def __init__(
        self,
        function: Callable[..., Any] | None = None,
        names: Sequence[str] = (),
        start: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if function is not None and not callable(function):
            raise OptionError(
                f"function={function!r} is not a function; needed is the loss of a row, loss(y, t, theta), such as "
                "lambda y, t, theta: (y - theta[..., 0] * t[..., 1]) ** 2."
            )
        listed = isinstance(names, Sequence) and not isinstance(names, str)
        if not listed or not names or not all(isinstance(v, str) for v in names) or len(set(names)) < len(names):
            raise OptionError(
                f"names={names!r}; needed is a list of different names, one for each entry of theta, as in "
                "families.CustomLoss(loss, names=['level', 'slope'])."
            )
        self.function, self.names = function, tuple(names)
        self.first = tuple(0.0 for _ in names) if start is None else _numbers(start)
        if len(self.first) != len(self.names):
            raise OptionError(f"start has {len(self.first)} values for the {len(self.names)} names of theta.")

    def options(self) -> dict[str, Any]:
        return {"names": list(self.names), "start": list(self.first)}

    def arguments(self) -> dict[str, Any]:
        return {"function": self.function, **self.options()}

    @property
    def n_indices(self) -> int:
        return len(self.names)

    def theta_names(self, t_names: tuple[str, ...]) -> tuple[str, ...]:
        return self.names

    def make_map(self, t_names: tuple[str, ...]) -> Float:
        k = len(self.names)
        out = np.zeros((k, k, len(t_names) + 1))
        out[np.arange(k), np.arange(k), -1] = 1.0
        return out

    def in_support(self, y: Float) -> NDArray[np.bool_]:
        return np.isfinite(y)

    def columns(self, y: Float, event: Float | None, t: Float) -> Float:
        return np.column_stack([y, t])

    def loss(self, y: Any, eta: Any) -> Any:
        if self.function is None:
            raise DataError(
                "there is no loss: give it as the first argument, families.CustomLoss(loss, names=...). A file of "
                "Results does not hold the user's."
            )
        return self.function(y[..., 0], y[..., 1:], eta)

    def start(self, y: Any) -> list[float]:
        return list(self.first)

    def mean(self, eta: Any) -> Any:
        raise OptionError(
            "a loss of your own says nothing about the mean of the outcome; pass a function h(x, t, theta) to "
            "estimate() instead."
        )


def _numbers(start: Any) -> tuple[float, ...]:
    try:
        first = tuple(float(v) for v in start)
    except (TypeError, ValueError) as error:
        raise OptionError(f"start={start!r}; needed is a list of numbers, one for each entry of theta.") from error
    for value in first:
        refuse_no_number("an entry of start", value, "a finite number, from which the training of its theta starts")
    return first

"""Arguments of estimands that name one thing or several different ones."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Any

import numpy as np

from deepdml.errors import OptionError


def several(name: str, given: Any, needed: str) -> tuple[Any, ...]:
    """Return the one or several different values of an argument, in their order.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    given : object
        A value, or a collection of them.
    needed : str
        What the argument is, "a number, or a list of them".

    Raises
    ------
    OptionError
        For None, an empty collection, or a value that is given twice.
    """
    values: tuple[Any, ...]
    if hasattr(given, "__array__") and np.ndim(given):
        values = tuple(np.asarray(given).tolist())
    elif isinstance(given, Collection) and not isinstance(given, str | bytes):
        values = tuple(given)
    else:
        values = (given,)
    if not values or given is None:
        raise OptionError(f"{name}={given!r}; needed is {needed}.")
    seen: set[Any] = set()
    for value in values:
        if isinstance(value, Hashable) and value in seen:
            raise OptionError(f"{name} gives {value!r} twice, whose estimates would be the same; give each once.")
        if isinstance(value, Hashable):
            seen.add(value)
    return values


def names(name: str, given: Any, needed: str) -> tuple[str, ...]:
    """Return the one or several different names of an argument; see `several`.

    Raises
    ------
    OptionError
        Also for what is no text.
    """
    values = several(name, given, needed)
    if not all(isinstance(value, str) for value in values):
        raise OptionError(f"{name}={given!r}; needed is {needed}.")
    return values


def refuse_same(what: str, new: Any, old: Any) -> None:
    """Raise OptionError where a value is compared with itself."""
    if isinstance(new, Hashable) and isinstance(old, Hashable) and len({new, old}) < 2:
        raise OptionError(f"{what} compares {new!r} with itself, which is zero whatever the data; give two values.")

"""The source of a user's function, where it can be run again from that alone."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any


def source_of(function: Callable[..., Any]) -> dict[str, str]:
    """Return name and source of a function, with the imports and constants it uses, or why there is none.

    Returns
    -------
    dict
        "name" and "source", or "why": half a sentence.
    """
    if not isinstance(function, FunctionType) or function.__name__ == "<lambda>":
        return {"why": "it has no name of its own; write it with def"}
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return {"why": "its source cannot be found; write it in a file and import it"}
    if not text.startswith("def "):
        return {"why": "it has a decorator; write it without"}
    used = inspect.getclosurevars(function)
    if used.nonlocals:
        return {"why": f"it uses {', '.join(used.nonlocals)} of the function around it; write the values into it"}
    lines = []
    for name, value in used.globals.items():
        line = _line(name, value)
        if line is None:
            return {
                "why": f"it uses {name!r}, which is neither a module nor a number or text; write it into the function"
            }
        lines.append(line)
    return {
        "name": function.__name__,
        "source": "\n".join([*lines, *([""] * 2 if lines else []), text.rstrip()]) + "\n",
    }


def _line(name: str, value: Any) -> str | None:
    """Return the line that makes a global name what it is."""
    if isinstance(value, ModuleType):
        return f"import {value.__name__}" if value.__name__ == name else f"import {value.__name__} as {name}"
    if value is None or isinstance(value, bool | int | float | str):
        return f"{name} = {value!r}"
    return None

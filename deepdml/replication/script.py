"""The master script: every fit and every table as the calls that made them, in plain Python."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from deepdml.errors import OptionError
from deepdml.estimands.base import registered
from deepdml.families import __all__ as family_names
from deepdml.replication.exhibits import Exhibit
from deepdml.replication.rawdata import Arrays, RawData
from deepdml.results.recipe import Recipe, storable
from deepdml.results.source import source_of

NAME = "run.py"

_HEAD = '''\
"""Master script: from the raw data to every table of the package.

python run.py                     writes below output/ and compares with the expected results
python run.py --output elsewhere  writes there

Paths, seeds and threads stand in config.json.
"""

from __future__ import annotations

import json
from pathlib import Path

'''

_CONFIG = """\
HERE = Path(__file__).resolve().parent
CONFIG = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
"""

_FIT = """\
def {fit}(data, context, arrays):
    # {formula}
    return dd.fit(
{arguments}
    )
"""

_LAST = """\
if __name__ == "__main__":
    replication.run(HERE, exhibits)
"""


_RESERVED = {"exhibits", "data", "context", "arrays", "HERE", "CONFIG", "Path", "replication"}
_ESTIMANDS = {kind.__name__ for kind in registered().values()}


@dataclass(frozen=True, slots=True)
class Script:
    """The text of run.py, and what it needs beside it.

    Parameters
    ----------
    text : str
    arrays : dict
        Arrays by row that are no column of the data.
    lines : dict
        The line at which each exhibit, by name, is made, and at which each fit, by label, gets its seed.
    distributions : tuple of str
        What it imports beside deepdml and its requirements.
    """

    text: str
    arrays: Arrays
    lines: dict[str, int]
    distributions: tuple[str, ...]


def write_script(exhibits: tuple[Exhibit, ...], raw: RawData, context: Mapping[str, Any]) -> Script:
    """Return the master script of exhibits.

    Raises
    ------
    OptionError
        For a function whose source is not enough to run it again.
    """
    code = _Code(raw)
    functions = [f"        {quoted(name)}: {code.outside(name, f)},\n" for name, f in context.items() if is_code(f)]
    first = {exhibit.fit: exhibit for exhibit in reversed(exhibits)}
    fits = [_fit(code, label, first[label].recipe) for label in dict.fromkeys(e.fit for e in exhibits)]
    tables = [f"        {quoted(e.name)}: {e.fit}_results{code.chain(e.recipe.steps, e)},\n" for e in exhibits]
    body = ["def exhibits():\n", "    data, context, arrays = replication.read_data(HERE)\n"]
    body += ["    context |= {\n", *functions, "    }\n"] if functions else []
    body += [f"    {fit}_results = {fit}(data, context, arrays)\n" for fit in first]
    body += ["    return {\n", *tables, "    }\n"]
    lines = [*sorted({*code.imports, "import deepdml as dd"}), "from deepdml import replication"]
    parts = ["\n".join(lines) + "\n\n" + _CONFIG, *code.functions.values(), *fits, "".join(body), _LAST]
    text = _HEAD + "\n\n".join(parts)
    at = {e.name: _line(text, f"        {quoted(e.name)}: {e.fit}_results") for e in exhibits}
    at |= {label: _line(text, f'        seed=CONFIG["seeds"]["{label}"]') for label in first}
    return Script(text, code.saved, at, tuple(sorted(code.distributions)))


def quoted(text: str) -> str:
    """Return a text as Python code, in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _line(text: str, start: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if line.startswith(start))


def _fit(code: _Code, label: str, recipe: Recipe) -> str:
    call = {name: code.expression(value, recipe, f"the fit of {label}") for name, value in recipe.call.items()}
    call |= {"seed": f'CONFIG["seeds"]["{label}"]', "n_jobs": f'CONFIG["threads"]["{label}"]', "progress": "False"}
    formula = call.pop("formula")
    lines = [formula, "data", *(f"{name}={value}" for name, value in call.items()), "context=context"]
    return _FIT.format(
        fit=label, formula=recipe.call["formula"], arguments="\n".join(f"        {line}," for line in lines)
    )


class _Code:
    """Expressions of what a recipe holds; collects the arrays, functions and imports they need."""

    def __init__(self, raw: RawData) -> None:
        self._raw = raw
        self._columns: dict[str, Any] = {}
        self.saved: Arrays = {}
        self.functions: dict[str, str] = {}
        self.globals: dict[str, str] = {}
        self.imports: set[str] = set()
        self.distributions: set[str] = set()

    def chain(self, steps: Any, exhibit: Exhibit) -> str:
        """Return the methods called after a fit."""
        if steps is None:
            raise OptionError(f"exhibit {exhibit.name!r} joins Results that do not hold how they were made; fit again.")
        text = ""
        for step in steps:
            given = {k: self.expression(v, exhibit.recipe, exhibit.name, exhibit) for k, v in step["arguments"].items()}
            text += f".{step['method']}({', '.join(f'{name}={value}' for name, value in given.items())})"
            text += f".{step['take']}" if "take" in step else ""
        return text

    def expression(self, value: Any, recipe: Recipe, where: str, exhibit: Exhibit | None = None) -> str:
        """Return Python for a value of a recipe."""
        if isinstance(value, list):
            return "[" + ", ".join(self.expression(item, recipe, where, exhibit) for item in value) + "]"
        if isinstance(value, float) and not np.isfinite(value):
            return f'float("{value}")'
        if not isinstance(value, dict):
            return quoted(value) if isinstance(value, str) else repr(value)
        if "$array" in value:
            return self._array(recipe.arrays[value["$array"]], value)
        if "$dict" in value:
            inside = {k: self.expression(v, recipe, where, exhibit) for k, v in value["$dict"].items()}
            return "{" + ", ".join(f"{quoted(name)}: {text}" for name, text in inside.items()) + "}"
        if "$estimand" in value:
            if value["$estimand"] not in _ESTIMANDS:
                raise OptionError(f"{where} has the estimand {value['$estimand']}, which is not one of deepdml's own.")
            inside = {k: self.expression(v, recipe, where, exhibit) for k, v in value["fields"].items()}
            return f"dd.{value['$estimand']}({', '.join(f'{name}={text}' for name, text in inside.items())})"
        if "$family" in value:
            if value["$family"] not in family_names:
                raise OptionError(f"{where} has the family {value['$family']}, which is not one of deepdml's own.")
            inside = {k: self.expression(v, recipe, where, exhibit) for k, v in value["fields"].items()}
            return f"dd.families.{value['$family']}({', '.join(f'{name}={text}' for name, text in inside.items())})"
        if "$results" in value and exhibit is not None:
            return f"{exhibit.fit}_results{self.chain(value['$results'], exhibit)}"
        return str(value["$code"]) if "$code" in value else self._function(value["$function"], where)

    def _array(self, array: Any, value: Mapping[str, Any]) -> str:
        """Return the column of the data that an array is, or the array saved beside them."""
        name = value.get("name")
        for column in self._raw.frame.columns if name is None else [name]:
            if self._is_column(array, column):
                return f"data[{quoted(column)}]" + ("" if name is not None else ".to_numpy()")
        key = f"{name or 'array'}_{value['$array']}"
        self.saved[key] = array
        if name is None:
            return f"arrays[{quoted(key)}]"
        self.imports.add("import pandas as pd")
        return f"pd.Series(arrays[{quoted(key)}], name={quoted(name)})"

    def _is_column(self, array: Any, column: str) -> bool:
        frame = self._raw.frame
        if column not in frame or array.ndim != 1 or len(array) != len(frame) or column in dict(self._raw.index):
            return False
        if column not in self._columns:
            self._columns[column] = storable(frame[column])
        own = self._columns[column]
        numbers = array.dtype.kind in "biuf" and own.dtype.kind in "biuf"
        return bool(np.array_equal(array, own, equal_nan=numbers)) and (numbers or array.dtype.kind == own.dtype.kind)

    def _function(self, found: Mapping[str, str], where: str) -> str:
        if "why" in found:
            raise OptionError(f"{where} uses a function that cannot be written down: {found['why']}.")
        name = found["name"]
        for own, line in {name: "def", **_globals(found["source"])}.items():
            if own in _RESERVED or own.startswith("fit_") or self.globals.setdefault(own, line) != line:
                raise OptionError(
                    f"{where} uses a function with the name {own!r}, which {NAME} has already; rename it."
                )
        if self.functions.setdefault(name, found["source"]) != found["source"]:
            raise OptionError(f"two functions of this package are called {name!r}; rename one.")
        return name

    def outside(self, name: str, value: Any) -> str:
        """Return Python for a function or module of the context: imported where a library has it, or written down."""
        module = str(value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None))
        owners = importlib.metadata.packages_distributions().get(module.partition(".")[0], [])
        attribute = getattr(value, "__name__", "")
        if owners and (isinstance(value, ModuleType) or getattr(sys.modules.get(module), attribute, None) is value):
            self.imports.add(f"import {module}")
            self.distributions.add(owners[0])
            return module if isinstance(value, ModuleType) else f"{module}.{attribute}"
        return self._function(source_of(value), f"the formula, as {name!r} of the context,")


def _globals(source: str) -> dict[str, str]:
    """Return the lines above a function that make the names it uses, by name."""
    lines = [line for line in source.partition("def ")[0].splitlines() if line]
    return {line.partition(" = ")[0].split(" as ")[-1].removeprefix("import "): line for line in lines}


def is_code(value: object) -> bool:
    """Whether an entry of a context is a function or a module, which no file holds."""
    return callable(value) or isinstance(value, ModuleType)

"""What the names in a formula mean: columns, values and functions of the context, functions of formulaic."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from formulaic.parser.types import Factor, Term
from formulaic.transforms import TRANSFORMS
from formulaic.utils.code import sanitize_variable_names

from deepdml.design.calls import FUNCTIONS, BlockFactor
from deepdml.errors import FormulaError, near_columns, near_names

_NUMBER = re.compile(r"\d+(\.\d*)?")


@dataclass(frozen=True, slots=True)
class Names:
    """What a name in a formula can mean."""

    columns: tuple[str, ...]
    context: frozenset[str]
    index: tuple[str, ...] = ()

    def exists(self, name: str) -> bool:
        """Return whether a name is a column, in the context, or a number."""
        return name in self.columns or name in self.context or bool(_NUMBER.fullmatch(name))

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Return the columns a glob matches, in frame order; the ``*`` stands for any characters or none."""
        matches = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL).fullmatch
        return tuple(c for c in dict.fromkeys(self.columns) if matches(c))

    def near(self, name: str) -> str:
        """Return a hint at names like this one."""
        return near_columns(name, [*dict.fromkeys(self.columns), *sorted(self.context)], self.index)

    def read_by(self, terms: Iterable[Term]) -> tuple[str, ...]:
        """Return the columns and context values that terms read; unknown names are errors."""
        known = {*self.columns, *self.context}
        found: dict[str, None] = {}
        for factor in factors_of(terms):
            values, callees = names_in(factor)
            found.update(dict.fromkeys(v for v in values if self._check_value(v, factor, known)))
            for callee in callees:
                self._check_callee(callee, factor)
        return tuple(found)

    def _check_value(self, name: str, factor: Factor, known: set[str]) -> bool:
        if name in known:
            return True
        if factor.eval_method is Factor.EvalMethod.PYTHON and (name in TRANSFORMS or hasattr(builtins, name)):
            return False
        hint = self.near(name)
        if self.matching(f"{name}*") and not hint.startswith(f" Did you mean {name!r}"):
            hint = f" As a glob, write {name + '*'!r} followed by an operator or nothing."
        raise FormulaError(f"{name!r} is not a column of the data and not in context.{hint}")

    def _check_callee(self, name: str, factor: Factor) -> None:
        if name == "lag" and name not in self.context:
            raise FormulaError(
                f"{factor.expr!r}: lag() looks at neighbouring rows, but rows are taken as they come and may be "
                "dropped. Add the lag to the data as a column of its own."
            )
        if name in FUNCTIONS and name not in (*self.context, *TRANSFORMS):
            raise FormulaError(
                f"{factor.expr!r}: {name}() makes many covariates, so it is a term of its own right of the bar of a "
                "model; elsewhere name columns."
            )
        if name in self.context or name in TRANSFORMS or hasattr(builtins, name):
            return
        raise FormulaError(
            f"the function {name!r} in {factor.expr!r} is unknown; pass it as context={{{name!r}: ...}}."
            f"{near_names(name, [*TRANSFORMS, *sorted(self.context)])}"
        )


def factors_of(terms: Iterable[Term]) -> Iterator[Factor]:
    """Yield the factors of terms, repeats included."""
    return (factor for term in terms for factor in term.factors)


def names_in(factor: Factor) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names a factor reads as values, and the roots of what it calls (``np`` for ``np.log``)."""
    if isinstance(factor, BlockFactor):
        return factor.call.names, ()
    if factor.eval_method is Factor.EvalMethod.LOOKUP:
        return (factor.expr,), ()
    if factor.eval_method is not Factor.EvalMethod.PYTHON:
        return (), ()
    aliases: dict[str, str] = {}
    tree = ast.parse(sanitize_variable_names(factor.expr, {}, aliases), mode="eval")
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    callees = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {func for func in callees if isinstance(func, ast.Name)}
    called |= {root for func in callees if isinstance(root := _root(func), ast.Name) and root.id in TRANSFORMS}
    read = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id not in bound]
    values = dict.fromkeys(aliases.get(node.id, node.id) for node in read if node not in called)
    return tuple(values), tuple(dict.fromkeys(node.id for node in read if node in called))


def _root(node: ast.AST) -> ast.AST:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def quote(name: str) -> str:
    """Return a column name as a formula spells it: in backticks unless it is a plain word."""
    return name if re.fullmatch(r"[^\W\d][\w.]*", name) else f"`{name}`"

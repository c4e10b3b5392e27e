"""Transforms of many columns right of the bar: ``pca(emb_*, 64)``, ``standardize(emb_*)``, ``clr`` and ``ilr``.

Each is a term of its own. Its arguments are columns, globs, ``.`` or sums of these; ``pca`` and ``standardize`` also
take another transform, as in ``pca(standardize(emb_*), 64)``. A function of the same name in the context goes before
ours, and ``standardize`` with options or of an expression is formulaic's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from formulaic.parser.types import Factor, Term

from deepdml.design.lexer import Lexeme, lex
from deepdml.errors import FormulaError

FUNCTIONS = ("pca", "standardize", "clr", "ilr")
_COMPOSITIONAL = ("clr", "ilr")

Resolve = Callable[[Sequence[Lexeme]], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class BlockCall:
    """A transform of many columns, as a formula calls it.

    Parameters
    ----------
    text : str
        The call as written, with blanks in order; it names the columns that the transform gives.
    functions : tuple of str
        What is done to the columns, the innermost first.
    sizes : tuple of (int or None)
        The number of components of each ``pca``.
    names : tuple of str
        The columns read, globs resolved.
    plain : bool
        Whether this is ``standardize`` of one name, which is formulaic's where the name is one column.
    """

    text: str
    functions: tuple[str, ...]
    sizes: tuple[int | None, ...]
    names: tuple[str, ...]
    plain: bool = False


class BlockFactor(Factor):  # type: ignore[misc]  # formulaic ships no types
    """A factor that stands for a transform of many columns."""

    __slots__ = ("call",)

    def __init__(self, call: BlockCall) -> None:
        super().__init__(call.text, eval_method="lookup")
        self.call = call


def call_of(term: Term) -> BlockCall | None:
    """Return the transform that a term is, if it is one."""
    first = term.factors[0]
    return first.call if isinstance(first, BlockFactor) else None


def as_formulaic(term: Term) -> Term:
    """Return a term for formulaic to evaluate: ``standardize`` of one column is its own."""
    call = call_of(term)
    return term if call is None else Term([Factor(call.text, eval_method="python")])


def refuse_products(terms: Sequence[Term]) -> None:
    """Raise FormulaError where a transform of many columns is multiplied with something."""
    for term in terms:
        inside = [factor for factor in term.factors if isinstance(factor, BlockFactor)]
        if inside and len(term.factors) > 1:
            raise FormulaError(
                f"{inside[0].expr!r} stands in the product {str(term)!r}; it is a term of its own, joined with '+'. "
                "The nets find interactions themselves."
            )


def read_call(text: str, taken: frozenset[str], exists: Callable[[str], bool], resolve: Resolve) -> BlockCall | None:
    """Return the transform that a call is; None for a call that is formulaic's or the user's.

    Parameters
    ----------
    text : str
        The call.
    taken : frozenset of str
        Names of the context, whose functions go before these.
    exists : callable
        Whether a name is a column or in the context.
    resolve : callable
        Gives the columns of an argument that is no transform.

    Raises
    ------
    FormulaError
        If the arguments are not what the transform takes.
    """
    function = text[: text.index("(")].strip()
    if function not in FUNCTIONS or function in taken:
        return None
    arguments = _arguments(text)
    if function == "standardize" and not all(_is_block(argument, taken, exists) for argument in arguments):
        return None
    size = _size(text, arguments) if function == "pca" else None
    blocks = arguments[:-1] if function == "pca" else arguments
    if not blocks or not all(blocks):
        raise FormulaError(f"{text!r} names no columns; write '{_example(function)}'.")
    shown = ", ".join("".join(item.text for item in argument) for argument in blocks)
    inner = [_nested(argument, taken, exists, resolve) for argument in blocks]
    calls = [call for call in inner if call is not None]
    if calls:
        return _around(function, size, text, calls, len(blocks))
    names = tuple(dict.fromkeys(name for argument in blocks for name in resolve(argument)))
    plain = function == "standardize" and len(blocks) == 1 and len(blocks[0]) == 1 and blocks[0][0].kind != "star"
    plain = plain and len(names) == 1 and "*" not in blocks[0][0].text
    return BlockCall(f"{function}({shown}{_tail(size)})", (function,), (size,), names, plain)


def _around(function: str, size: int | None, text: str, calls: Sequence[BlockCall], count: int) -> BlockCall:
    """Return a transform of another one."""
    if function in _COMPOSITIONAL:
        raise FormulaError(
            f"{text!r}: {function} takes the parts of a composition as columns, not what {calls[0].text!r} makes of "
            f"them. Write it innermost, as in 'standardize({function}(a, b, c))'."
        )
    if count > 1:
        raise FormulaError(f"{text!r}: beside {calls[0].text!r} nothing else can be transformed; write two terms.")
    (inner,) = calls
    shown = f"{function}({inner.text}{_tail(size)})"
    return BlockCall(shown, (*inner.functions, function), (*inner.sizes, size), inner.names)


def _tail(size: int | None) -> str:
    return "" if size is None else f", {size}"


def _example(function: str) -> str:
    return {"pca": "pca(emb_*, 64)", "standardize": "standardize(emb_*)"}.get(function, f"{function}(a, b, c)")


def _arguments(text: str) -> list[list[Lexeme]]:
    """Return the arguments of a call, each without the blanks around it."""
    arguments: list[list[Lexeme]] = [[]]
    for item in lex(text[text.index("(") + 1 : -1]):
        if item.text == "," and not item.depth:
            arguments.append([])
        elif item.kind != "space" or arguments[-1]:
            arguments[-1].append(item)
    for argument in arguments:
        while argument and argument[-1].kind == "space":
            argument.pop()
    return arguments


def _is_block(argument: Sequence[Lexeme], taken: frozenset[str], exists: Callable[[str], bool]) -> bool:
    """Whether an argument of ``standardize`` is columns or a transform of ours, not an option or an expression."""
    if len(argument) == 1 and argument[0].kind == "call":
        return argument[0].text.split("(")[0].strip() in set(FUNCTIONS) - taken
    if len(argument) == 1 and argument[0].kind == "word":
        return argument[0].text == "." or (exists(argument[0].text) and not argument[0].text[0].isdigit())
    return bool(argument) and all(
        item.kind in {"word", "tick", "star", "space"} or item.text in "+-" for item in argument
    )


def _nested(
    argument: Sequence[Lexeme], taken: frozenset[str], exists: Callable[[str], bool], resolve: Resolve
) -> BlockCall | None:
    if len(argument) != 1 or argument[0].kind != "call":
        return None
    return read_call(argument[0].text, taken, exists, resolve)


def _size(text: str, arguments: Sequence[Sequence[Lexeme]]) -> int:
    last = "".join(item.text for item in arguments[-1])
    if not last.isascii() or not last.isdigit() or int(last) < 1:
        raise FormulaError(f"{text!r} does not end in a number of components, 1 or more; write '{_example('pca')}'.")
    return int(last)

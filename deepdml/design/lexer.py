"""Formula text -> lexemes -> the three parts, aware of quotes, backticks, brackets and calls.

formulaic's own tokenizer drops white space and merges neighbouring operators, which is what tells a glob from a
product.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from deepdml.errors import FormulaError

OPERANDS = frozenset({"word", "tick", "call", "brace", "string"})

_LEXEME = re.compile(
    r"""(?P<space>\s+) | (?P<tick>`[^`]*`) | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*') | (?P<brace>\{[^}]*\})
      | (?P<percent>%[^%]*%) | (?P<power>\*\*) | (?P<star>\*) | (?P<word>[\w.]+) | (?P<open>[(\[]) | (?P<close>[)\]])
      | (?P<bar>\|) | (?P<tilde>~) | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSES = {"(": ")", "[": "]"}


@dataclass(frozen=True, slots=True)
class Lexeme:
    """A piece of formula text; a call with its arguments is one piece."""

    kind: str
    text: str
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """The lexemes of the three parts."""

    outcome: tuple[Lexeme, ...]
    treatments: tuple[Lexeme, ...]
    covariates: tuple[Lexeme, ...]


def lex(formula: str) -> list[Lexeme]:
    """Return the lexemes of a formula; joined they are the formula again.

    Raises
    ------
    FormulaError
        For quotes or brackets that do not close.
    """
    out: list[Lexeme] = []
    brackets: list[str] = []
    position = 0
    while position < len(formula):
        found = _LEXEME.match(formula, position)
        assert found is not None  # `other` matches any character
        kind, text = str(found.lastgroup), found[0]
        if kind == "open" and out and out[-1].kind in {"word", "call"}:
            text = out[-1].text + formula[position : _end_of_call(formula, position)]
            position += len(text) - len(out[-1].text)
            out[-1] = Lexeme("call", text, len(brackets))
            continue
        if kind == "other" and text in "`\"'{%":
            raise FormulaError(f"{text} at position {position + 1} of {formula!r} is never closed.")
        if kind == "open":
            brackets.append(text)
        elif kind == "close" and (not brackets or _CLOSES[brackets.pop()] != text):
            raise FormulaError(f"{text!r} at position {position + 1} of {formula!r} closes nothing.")
        out.append(Lexeme(kind, text, len(brackets)))
        position = found.end()
    if brackets:
        raise FormulaError(f"{brackets[-1]!r} in {formula!r} is never closed.")
    return out


def _end_of_call(formula: str, start: int) -> int:
    """Return the position after the bracket that closes the one at `start`."""
    depth, position = 0, start
    while position < len(formula):
        found = _LEXEME.match(formula, position)
        assert found is not None  # `other` matches any character
        depth += (found.lastgroup == "open") - (found.lastgroup == "close")
        position = found.end()
        if depth == 0:
            return position
    raise FormulaError(f"{formula[start]!r} at position {start + 1} of {formula!r} is never closed.")


def split_parts(formula: str) -> Parts:
    """Return the three parts of ``outcome ~ structural part | covariates``.

    Raises
    ------
    FormulaError
        Unless there is exactly one tilde, one bar right of it, and something in every part.
    """
    lexemes = lex(formula)
    for item in lexemes:
        if item.kind in {"bar", "tilde"} and item.depth:
            raise FormulaError(f"{item.text!r} stands inside brackets in {formula!r}; the parts cannot be nested.")
    tildes = [i for i, item in enumerate(lexemes) if item.kind == "tilde"]
    bars = [i for i, item in enumerate(lexemes) if item.kind == "bar"]
    if len(tildes) != 1:
        found = "no '~'" if not tildes else f"{len(tildes)} '~'"
        raise FormulaError(f"{formula!r} has {found}; write 'outcome ~ treatment | covariates'.")
    tilde = tildes[0]
    if any(bar < tilde for bar in bars):
        raise FormulaError(f"{formula!r} has a bar left of '~'; write 'outcome ~ treatment | covariates'.")
    if not bars:
        raise FormulaError(
            f"{formula!r} has no bar; write 'outcome ~ treatment | covariates', with '| 1' for no covariates."
        )
    if len(bars) > 1:
        raise FormulaError(
            f"{formula!r} has {len(bars)} bars; one is needed: treatments left of it, all covariates right of it. "
            "A third part is reserved for instruments and fixed effects, which do not exist yet."
        )
    parts = Parts(tuple(lexemes[:tilde]), tuple(lexemes[tilde + 1 : bars[0]]), tuple(lexemes[bars[0] + 1 :]))
    _refuse_empty(formula, parts)
    return parts


def _refuse_empty(formula: str, parts: Parts) -> None:
    advice = {
        "outcome": "left of '~' is empty; name the outcome there.",
        "treatments": "between '~' and the bar is empty; name the treatments there, or write '1' for the mean alone.",
        "covariates": "right of the bar is empty; name the covariates there, or write '1' for none.",
    }
    for name, text in advice.items():
        if all(item.kind == "space" for item in getattr(parts, name)):
            raise FormulaError(f"the part of {formula!r} {text}")

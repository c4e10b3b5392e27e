"""The grammar: ``outcome ~ structural part | covariates``, globs and the dot included.

Terms are parsed by formulaic. What formulaic accepts silently and we cannot use (no bar, a second bar, a bar left of
the tilde, an outcome among the covariates) is refused here, before any data are touched; globs are resolved here, once,
to columns in frame order.

How a ``*`` is read:

=====================  ==============================================================================
``a * b``, ``a* b``    main effects and interaction: an operand follows
``emb_*``, ``*_pc``    a glob: at the edge of a name, with no operand on its outer side
``a*b``, ``img_*_pc``  main effects and interaction if every name exists, otherwise a glob
```my emb *```         a glob in backticks, unless a column has this very name
``a*-b``               refused, since both readings are plausible
=====================  ==============================================================================

Right of the bar of a model, ``pca``, ``standardize``, ``clr`` and ``ilr`` transform many columns at once: see calls.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from formulaic.errors import FormulaicError
from formulaic.parser import DefaultFormulaParser
from formulaic.parser.types import Factor, OrderedSet, Term, Token

from deepdml.design.calls import BlockCall, BlockFactor, call_of, read_call, refuse_products
from deepdml.design.lexer import OPERANDS, Lexeme, lex, split_parts
from deepdml.design.names import Names, factors_of, names_in, quote
from deepdml.errors import FormulaError, near_names

Expansion = tuple[str | BlockCall, ...]
_PLACEHOLDER = "__deepdml_columns_{}__"
_PLACEHOLDERS = re.compile(r"__deepdml_columns_(\d+)__")


@dataclass(frozen=True, slots=True)
class ParsedFormula:
    """A formula with every glob resolved.

    Parameters
    ----------
    formula : str
        What the user wrote.
    outcome : Term
        The one term left of the tilde.
    treatments : tuple of Term
        The structural terms in the user's order, the intercept first unless it was removed.
    covariates : tuple of Term
        The terms right of the bar in the user's order, globs expanded in frame order, without an intercept.
    outcome_names, treatment_names, covariate_names : tuple of str
        Columns, or names from the context, that each part reads.
    """

    formula: str
    outcome: Term
    treatments: tuple[Term, ...]
    covariates: tuple[Term, ...]
    outcome_names: tuple[str, ...]
    treatment_names: tuple[str, ...]
    covariate_names: tuple[str, ...]

    @property
    def terms(self) -> tuple[Term, ...]:
        """All terms."""
        return (self.outcome, *self.treatments, *self.covariates)

    @staticmethod
    def names_of(terms: Iterable[Term]) -> tuple[str, ...]:
        """Return every name in terms, whether read or called."""
        return tuple(dict.fromkeys(name for factor in factors_of(terms) for part in names_in(factor) for name in part))


def parse_formula(
    formula: str,
    columns: Sequence[str],
    context_names: Collection[str] = (),
    *,
    not_in_dot: Collection[str] = (),
    index: Sequence[str] = (),
) -> ParsedFormula:
    """Return the parts of a formula with globs resolved against the columns of the data.

    Parameters
    ----------
    formula : str
        ``outcome ~ structural part | covariates``.
    columns : sequence of str
        Names of the data's columns, in their order.
    context_names : collection of str
        Names the user's context offers: arrays, constants and functions.
    not_in_dot : collection of str
        Columns that ``.`` leaves out beside outcome and treatments, such as the sampling weights.
    index : sequence of str
        Names of the index's levels, which a formula does not read.

    Raises
    ------
    FormulaError
        If a part is missing or empty, a name does not exist, a glob matches nothing, or a variable stands in two parts.

    Examples
    --------
    >>> parsed = parse_formula("log(wage) ~ treat | emb_* + age", ["wage", "treat", "age", "emb_0", "emb_1"])
    >>> parsed.outcome, parsed.treatments, parsed.covariates
    (log(wage), (1, treat), (emb_0, emb_1, age))
    """
    if not isinstance(formula, str):
        raise FormulaError(f"a formula is a string such as 'y ~ treat | x1 + x2', not a {type(formula).__name__}.")
    parts = split_parts(formula)
    names = Names(tuple(columns), frozenset(context_names), tuple(index))
    outcome = _parse_outcome(parts.outcome, names)
    outcome_names = names.read_by([outcome])
    treatments = _parse_part(parts.treatments, names, None)
    if not treatments:
        raise FormulaError(f"the part left of the bar in {formula!r} has no coefficient; write at least '1' there.")
    treatment_names = names.read_by(treatments)
    taken = {*outcome_names, *treatment_names, *not_in_dot}
    covariates = _parse_part(parts.covariates, names, [c for c in dict.fromkeys(columns) if c not in taken])
    if not covariates and not _is_constant(parts.covariates):
        raise FormulaError(f"the part right of the bar in {formula!r} cancels out; write '| 1' for no covariates.")
    covariate_names = names.read_by(covariates)
    _refuse_overlap(outcome_names, treatment_names, covariate_names)
    return ParsedFormula(
        formula=formula,
        outcome=outcome,
        treatments=tuple(treatments),
        covariates=tuple(covariates),
        outcome_names=outcome_names,
        treatment_names=treatment_names,
        covariate_names=covariate_names,
    )


def parse_terms(
    formula: str, columns: Sequence[str], context_names: Collection[str] = ()
) -> tuple[tuple[Term, ...], tuple[str, ...]]:
    """Return the terms of one part on its own, such as ``age + C(region)``, and the names it reads.

    Raises
    ------
    FormulaError
        If it cannot be read, holds a tilde or a bar, or names something that does not exist.

    Examples
    --------
    >>> parse_terms("age + C(region)", ["age", "region"])
    ((1, age, C(region)), ('age', 'region'))
    """
    if not isinstance(formula, str) or not formula.strip():
        shown = "an empty one" if isinstance(formula, str) else f"a {type(formula).__name__}"
        raise FormulaError(f"a formula is a string such as 'age + C(region)', not {shown}.")
    lexemes = lex(formula)
    if any(item.kind in {"bar", "tilde"} for item in lexemes):
        raise FormulaError(f"{formula!r} has a '~' or a bar; here only covariates are named, as in 'age + C(region)'.")
    names = Names(tuple(columns), frozenset(context_names))
    terms = tuple(_parse_part(lexemes, names, None))
    return terms, names.read_by(terms)


def is_plain(term: Term) -> bool:
    """Return whether a term is one column or context name and nothing else."""
    return len(term.factors) == 1 and term.factors[0].eval_method is Factor.EvalMethod.LOOKUP


def _is_literal(term: Term) -> bool:
    return all(factor.eval_method is Factor.EvalMethod.LITERAL for factor in term.factors)


def _is_constant(lexemes: Sequence[Lexeme]) -> bool:
    return "".join(item.text for item in lexemes).strip() in {"0", "1"}


def _refuse_overlap(outcome: Iterable[str], treatments: Iterable[str], covariates: Iterable[str]) -> None:
    for name in outcome:
        if name in treatments:
            raise FormulaError(f"the outcome {name!r} stands left of the bar as well; take it out there.")
        if name in covariates:
            raise FormulaError(
                f"the outcome {name!r} is among the covariates; take it out, "
                f"or write '- {quote(name)}' if a glob matched it."
            )
    repeated = [name for name in treatments if name in covariates]
    if repeated:
        listed = ", ".join(repr(name) for name in repeated)
        minus = " ".join(f"- {quote(name)}" for name in repeated)
        raise FormulaError(
            f"{listed} stand(s) on both sides of the bar: a coefficient cannot be a function of its own variable. "
            f"Take it out of the covariates, or write '{minus}' there if a glob matched it."
        )


# Parts --------------------------------------------------------------------------------------------------------------


def _parse_outcome(lexemes: Sequence[Lexeme], names: Names) -> Term:
    terms = _parse_part(lexemes, names, None, intercept=False)
    text = "".join(item.text for item in lexemes).strip()
    if len(terms) != 1:
        raise FormulaError(
            f"the outcome {text!r} is {len(terms)} terms; one is needed. "
            "For arithmetic write I(...), as in 'I(a + b) ~ ...'."
        )
    if _is_literal(terms[0]):
        raise FormulaError(f"the outcome {text!r} is a number; name a column.")
    return terms[0]


def _parse_part(
    lexemes: Sequence[Lexeme], names: Names, dot: Sequence[str] | None, *, intercept: bool | None = None
) -> list[Term]:
    """Return the terms of one part; `dot` is what ``.`` stands for, None where it is not allowed."""
    text, expansions = _expand(lexemes, names, dot)
    _refuse_columns_named_like_calls(lexemes, expansions)
    parser = _Parser(include_intercept=dot is None if intercept is None else intercept)
    parser.expansions = expansions
    shown = "".join(item.text for item in lexemes).strip()
    try:
        terms = list(parser.get_terms(text).root)
    except (FormulaicError, SyntaxError) as error:
        reason = _PLACEHOLDERS.sub("*", str(error).split("\n")[0])
        if any(item.kind == "call" and re.search(r"\*\s*[,)]", item.text) for item in lexemes):
            reason += ". A glob cannot stand inside a call; name the columns, or transform them in the data"
        raise FormulaError(f"{shown!r} cannot be read: {reason}.") from error
    refuse_products(terms)
    _refuse_unknown_taken_out(lexemes, terms, names)
    return terms if dot is None else [term for term in terms if not _is_literal(term)]


def _refuse_unknown_taken_out(lexemes: Sequence[Lexeme], terms: Iterable[Term], names: Names) -> None:
    """Refuse a name after a minus that does not exist: misspelt, it would leave in what was to be taken out."""
    read = {name for factor in factors_of(terms) for name in names_in(factor)[0]}
    kinds = ["", *(item.kind for item in lexemes), ""]
    for item, *beside in zip(lexemes, kinds, kinds[2:], strict=False):
        name = item.text[1:-1] if item.kind == "tick" else item.text
        whole = (item.kind == "word" and "star" not in beside) or (item.kind == "tick" and "*" not in name)
        if whole and name != "." and name not in read and not names.exists(name):
            raise FormulaError(f"{name!r} is taken out, but is not a column of the data.{names.near(name)}")


def _refuse_columns_named_like_calls(lexemes: Sequence[Lexeme], expansions: Iterable[Expansion]) -> None:
    """Refuse a column called ``log(x)`` beside the call ``log(x)``: formulaic takes them for one."""
    columns = {item.text[1:-1] for item in lexemes if item.kind == "tick"}
    columns.update(name for expansion in expansions for name in expansion if isinstance(name, str))
    named = {"".join(column.split()): column for column in columns if "(" in column or "[" in column}
    for item in lexemes:
        column = named.get("".join(item.text.split())) if item.kind == "call" else None
        if column is not None:
            raise FormulaError(
                f"{item.text!r} is both a call and the column {column!r} in this part; rename the column."
            )


class _Parser(DefaultFormulaParser):  # type: ignore[misc]  # formulaic ships no types
    """formulaic's parser, with placeholders standing for many columns at once."""

    expansions: Sequence[Expansion] = ()

    def get_tokens_from_formula(self, formula: str, *, context: Any) -> Iterable[Token]:
        for token in super().get_tokens_from_formula(formula, context=context):
            found = _PLACEHOLDERS.fullmatch(token.token) if token.kind is Token.Kind.NAME else None
            yield _Columns(token, self.expansions[int(found[1])]) if found else token


class _Columns(Token):  # type: ignore[misc]  # formulaic ships no types
    """A token that stands for several columns: set algebra then works on all of them."""

    __slots__ = ("columns",)

    def __init__(self, token: Token, columns: Expansion) -> None:
        super().__init__(
            token.token,
            kind=token.kind,
            source=token.source,
            source_start=token.source_start,
            source_end=token.source_end,
        )
        self.columns = columns

    def to_terms(self, *, context: Any = None) -> OrderedSet[Term]:
        return OrderedSet(
            Term([Factor(column, eval_method="lookup") if isinstance(column, str) else BlockFactor(column)])
            for column in self.columns
        )


# Globs --------------------------------------------------------------------------------------------------------------


def _expand(lexemes: Sequence[Lexeme], names: Names, dot: Sequence[str] | None) -> tuple[str, list[Expansion]]:
    """Return the part's text with placeholders for globs, dots and transforms, and what each one stands for."""
    expansions: list[Expansion] = []

    def placeholder(columns: Sequence[str | BlockCall]) -> str:
        expansions.append(tuple(columns))
        return _PLACEHOLDER.format(len(expansions) - 1)

    out: list[str] = []
    i = 0
    while i < len(lexemes):
        item = lexemes[i]
        if item.kind == "word" and item.text == ".":
            out.append(placeholder(_dot_columns(dot)))
        elif item.kind == "tick" and "*" in item.text and not names.exists(item.text[1:-1]):
            out.append(placeholder(_match(item.text[1:-1], names)))
        elif item.kind == "call" and dot is not None:
            call = read_call(item.text, names.context, names.exists, lambda argument: _resolve(argument, names, dot))
            out.append(item.text if call is None else placeholder([call]))
        elif item.kind in {"word", "star"}:
            start, stop = _glob_run(lexemes, i)
            out.append(_read_run(lexemes[i:start], lexemes[start:stop], names, placeholder))
            i = max(stop, i + 1) - 1
        else:
            out.append(item.text)
        i += 1
    return "".join(out), expansions


def _resolve(argument: Sequence[Lexeme], names: Names, dot: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that an argument of a transform of many columns stands for."""
    terms = _parse_part(argument, names, dot)
    odd = [str(term) for term in terms if not is_plain(term) or call_of(term) is not None]
    if odd or not terms:
        text = "".join(item.text for item in argument)
        raise FormulaError(
            f"{odd[0] if odd else text!r} inside a transform is no column; name columns and globs there, and compute "
            "anything else as a column of the data."
        )
    return names.read_by(terms)


def _dot_columns(dot: Sequence[str] | None) -> Sequence[str]:
    if dot is None:
        raise FormulaError("'.' (all other columns) is allowed right of the bar only; name the treatments left of it.")
    if not dot:
        raise FormulaError("'.' stands for all other columns, but there are none; write '1' for no covariates.")
    return dot


def _glob_run(lexemes: Sequence[Lexeme], i: int) -> tuple[int, int]:
    """Return start and stop of the run of names and stars at `i`, edge stars with an outer operand stripped."""
    start = stop = i
    while stop < len(lexemes) and lexemes[stop].kind in {"word", "star"}:
        stop += 1
    before = next((item for item in reversed(lexemes[:start]) if item.kind != "space"), None)
    after = next((item for item in lexemes[stop:] if item.kind != "space"), None)
    if lexemes[start].kind == "star" and before is not None and before.kind in OPERANDS | {"close"}:
        start += 1
    if stop > start and lexemes[stop - 1].kind == "star":
        if after is not None and after.text == "-" and lexemes[stop].kind != "space":
            _refuse_star_minus(lexemes[start:stop], lexemes[stop:])
        if after is not None and after.kind in OPERANDS | {"open"}:
            stop -= 1
    return start, stop


def _refuse_star_minus(run: Sequence[Lexeme], rest: Sequence[Lexeme]) -> None:
    name = "".join(item.text for item in run)
    other = next((item.text for item in rest[1:] if item.kind in OPERANDS), "")
    raise FormulaError(
        f"'{name}-{other}' can be read in two ways: the columns matching '{name}' without {other!r}, written "
        f"'{name} - {other}', or the product of {name[:-1]!r} and '-{other}', written '{name[:-1]} * (-{other})'. "
        "Write the one you mean."
    )


def _read_run(
    stripped: Sequence[Lexeme], run: Sequence[Lexeme], names: Names, placeholder: Callable[[Sequence[str]], str]
) -> str:
    """Return the text for a run of names and stars: as written if a product, otherwise with placeholders."""
    lead = "".join(item.text for item in stripped)
    pattern = "".join(item.text for item in run)
    words = [item.text for item in run if item.kind == "word"]
    if not any(item.kind == "star" for item in run):
        return lead + pattern
    at_edge = run[0].kind == "star" or run[-1].kind == "star"
    if not at_edge and all(map(names.exists, words)):
        return lead + pattern
    whole = names.matching(pattern)
    tail = names.matching(f"{words[-1]}*") if run[-1].kind == "star" and len(words) > 1 else ()
    product = "*".join(words[:-1]) if tail and run[0].kind != "star" and all(map(names.exists, words[:-1])) else ""
    if whole and product:
        raise FormulaError(
            f"{pattern!r} can be read in two ways: the columns matching it, or the product of {product!r} and the "
            f"columns matching '{words[-1]}*', written '{product} * {words[-1]}*'. "
            "Rename the columns, or list them by name."
        )
    if product:
        return f"{lead}{product}*{placeholder(tail)}"
    if not whole and not at_edge:
        unknown = next(word for word in words if not names.exists(word))
        raise FormulaError(
            f"{pattern!r} can be read in two ways, and neither works: as a glob it matches no column; "
            f"as a product, {unknown!r} is not a column of the data and not in context.{names.near(unknown)}"
        )
    return lead + placeholder(whole or _match(pattern, names))


def _match(pattern: str, names: Names) -> tuple[str, ...]:
    found = names.matching(pattern)
    if not found:
        near = near_names(pattern.replace("*", ""), names.columns)
        raise FormulaError(f"the glob {pattern!r} matches no column.{near}")
    return found

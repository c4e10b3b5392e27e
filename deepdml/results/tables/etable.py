"""etable: fits side by side, as a paper prints them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence, ValuesView
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from deepdml.errors import OptionError, refuse_lost_folder, unknown_option
from deepdml.results.tables.layout import Panel
from deepdml.results.tables.reading import Column, read
from deepdml.results.tables.rows import Numbers, Statistics, check_labels, coefficient_rows, select, statistic_rows
from deepdml.results.tables.table import Table, Type

_TYPES = {".tex": "tex", ".html": "html", ".htm": "html", ".md": "md", ".docx": "docx", ".typ": "typst", ".csv": "df"}
_BELOW = {
    "se": "Standard errors in parentheses.",
    "ci": "{level:g} % confidence intervals in brackets.",
    "t": "z or t statistics in parentheses.",
    "p": "p-values in parentheses.",
}


def etable(
    models: Any = None,
    type: Type | None = None,
    *,
    panels: Mapping[str, Sequence[Any]] | None = None,
    headers: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    keep: str | Sequence[str] = (),
    drop: str | Sequence[str] = (),
    below: Literal["se", "ci", "t", "p"] | None = "se",
    alpha: float = 0.05,
    digits: int = 3,
    stars: bool | Sequence[float] = True,
    stats: Statistics = ("N", "R2", "family", "se", "clusters"),
    notes: str | Sequence[str] = (),
    auto_notes: bool = True,
    title: str = "",
    label: str = "",
    file: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Any:
    r"""Return a table of fits side by side, ready for a paper.

    Fits of deepdml, statsmodels, linearmodels and pyfixest may stand beside each other, and those of packages made for
    maketables.

    Parameters
    ----------
    models : fit or sequence of fits
        One column each. A pyfixest FixestMulti gives several.
    type : {"tex", "html", "md", "docx", "typst", "df"}, optional
        By default that of the file's ending; without a file a `Table`, which prints as text, shows itself in notebooks
        and has `render(type)`. LaTeX needs the packages booktabs and threeparttable, "docx" needs maketables.
    panels : dict of title to sequence of fits, optional
        Instead of `models`: panels below each other, of equally many columns, None for an empty place.
    headers : sequence of str, optional
        One text above each column; equal neighbours are joined.
    labels : dict, optional
        What to print for the name of a coefficient or an outcome. Names without an entry stay as they are.
    keep, drop : str or sequence of str
        Coefficients to show, in this order, or to leave out: names, labels, or regular expressions searched in names.
    below : {"se", "ci", "t", "p"} or None
        What stands below an estimate: standard error, confidence interval, z or t statistic, p-value, or nothing.
    alpha : float
        One minus the level of the intervals.
    digits : int
        Decimals of estimates and of other fractions.
    stars : bool or sequence of float
        Levels of one, two and three stars, at most three; True for 0.1, 0.05 and 0.01.
    stats : sequence of str, or dict
        Rows at the foot: "N", "R2", "adj_R2", "within_R2", "pseudo_R2", "family", "learner", "folds", "estimand", "se",
        "clusters", "fixed_effects". Those that no fit has are left out. A dict maps row labels to one of these, to a
        function of a fit (an AttributeError leaves the place empty), or to a sequence of values, one for each column.
    notes : str or sequence of str
        Put after the notes that are generated: what stands in parentheses, stars, method and seed.
    auto_notes : bool
        Whether notes are generated.
    title, label : str
        Caption, and the anchor for references in LaTeX, Typst and HTML.
    file : path, optional
        Where to write the table; of type "df" as CSV.
    overwrite : bool
        Whether a file that exists may be replaced.

    Returns
    -------
    Table, str, DataFrame or docx.Document
        By `type`.

    Raises
    ------
    OptionError
        For something that is not a fit, labels that clash, patterns without a match, headers or panels of the wrong
        length, an unknown type, statistic or ending, and a file that exists.
    MissingLibraryError
        Where maketables is needed and not installed.

    Examples
    --------
    >>> import numpy as np, pandas as pd, statsmodels.formula.api as smf
    >>> data = pd.DataFrame({"y": [1.0, 2.0, 2.5, 4.5], "x": [0.0, 1.0, 2.0, 3.0]})
    >>> fit = smf.ols("y ~ x", data).fit()
    >>> print(etable([fit], "md", stats=["N"], stars=False, auto_notes=False))
    |              |    y    |
    |:-------------|:-------:|
    |              |   (1)   |
    | x            |  1.100  |
    |              | (0.212) |
    | Intercept    |  0.850  |
    |              | (0.397) |
    | Observations |    4    |
    <BLANKLINE>
    """
    path = None if file is None else Path(file)
    type = _type(type, path)
    if path is not None:
        _check_file(path, overwrite)
    if not re.fullmatch(r"[\w:.-]*", label, re.ASCII):
        raise OptionError(f"label={label!r} must be of letters, digits and _ : . - only, such as 'tab:effects'.")
    if below is not None and below not in _BELOW:
        raise unknown_option("below", below, _BELOW)
    numbers = Numbers(digits, below or "", alpha, _levels(stars))
    grid = _read(models, panels)
    names = check_labels([column for row in grid.values() for column in row if column], labels or {})
    shown = select(names, labels or {}, _listed(keep), _listed(drop))
    own, common = statistic_rows(list(grid.values()), stats, numbers)
    made = [
        Panel(panel, coefficient_rows(columns, shown, labels or {}, numbers), rows)
        for (panel, columns), rows in zip(grid.items(), own, strict=True)
    ]
    generated = _notes(grid, numbers) if auto_notes else []
    table = Table(
        headers=_headers(grid, headers, labels or {}),
        panels=tuple(made),
        stats=common,
        below=numbers.below,
        notes=(*generated, *_listed(notes)),
        title=title,
        label=label,
    )
    rendered = table if type is None else table.render(type)
    if path is not None:
        _write(rendered, path)
    return rendered


def _type(type: Type | None, path: Path | None) -> Type | None:
    """Return the type asked for, or that of the file's ending; they must not contradict each other."""
    if type is not None and type not in get_args(Type):
        raise unknown_option("type", type, get_args(Type))
    if path is None:
        return type
    ending = _TYPES.get(path.suffix.lower())
    if ending is None and type is None:
        raise OptionError(f"file {path.name!r} has no ending that names a type; allowed are {', '.join(_TYPES)}.")
    if type is not None and ending not in (None, type):
        raise OptionError(f"file {path.name!r} ends like type {ending!r}, and type={type!r}; choose one of the two.")
    return type or ending  # type: ignore[return-value]  # the values of _TYPES are types


def _check_file(path: Path, overwrite: bool) -> None:
    if path.is_file() and not overwrite:
        raise OptionError(f"file {str(path)!r} exists; choose another name, or replace it with overwrite=True.")
    refuse_lost_folder(path)


def _write(rendered: Any, path: Path) -> None:
    if isinstance(rendered, str):
        path.write_text(rendered, encoding="utf-8")
    elif hasattr(rendered, "to_csv"):
        rendered.to_csv(path)
    else:
        rendered.save(str(path))


def _levels(stars: bool | Sequence[float]) -> tuple[float, ...]:
    """Return the levels of one, two and three stars."""
    if isinstance(stars, bool):
        return (0.1, 0.05, 0.01) if stars else ()
    given: Any = stars  # anything, from users who have no type checker
    listed = list(given) if isinstance(given, Iterable) else []
    numeric = all(isinstance(level, int | float | np.number) for level in listed)
    levels = tuple(sorted((float(level) for level in listed), reverse=True)) if numeric else ()
    if not (1 <= len(set(levels)) == len(levels) <= 3 and all(0 < level < 1 for level in levels)):
        raise OptionError(
            f"stars={stars!r} must be True, False, or up to three different levels between 0 and 1, such as "
            "(0.05, 0.01, 0.001)."
        )
    return levels


def _read(models: Any, panels: Mapping[str, Sequence[Any]] | None) -> dict[str, list[Column | None]]:
    """Return the columns of each panel by its title; "" is the title of a table without panels."""
    if (models is None) == (panels is None):
        raise OptionError("give either models, a list of fits, or panels, a dict of a title to a list of fits.")
    if isinstance(models, Mapping):
        raise OptionError("models is a dict; for panels below each other use panels=, for names of columns headers=.")
    given = {"": models} if panels is None else panels
    grid = {title: [None if fit is None else read(fit) for fit in _flat(fits)] for title, fits in given.items()}
    widths = {title: len(columns) for title, columns in grid.items()}
    if panels is None and not widths[""]:
        raise OptionError("models is empty; a table needs at least one fit.")
    if len(set(widths.values())) != 1 or not all(widths.values()):
        counts = ", ".join(f"{title!r} has {width}" for title, width in widths.items())
        raise OptionError(
            f"panels need equally many fits, at least one (None for an empty place): {counts or 'there are none'}."
        )
    empty = [j + 1 for j, column in enumerate(zip(*grid.values(), strict=True)) if not any(column)]
    if empty:
        raise OptionError(f"column {empty[0]} has no fit.")
    return grid


def _flat(models: Any) -> list[Any]:
    """Return the fits of a fit, a sequence of fits, or pyfixest's FixestMulti, also inside a sequence."""
    if isinstance(models, list | tuple | ValuesView):
        return [fit for item in models for fit in ([item] if isinstance(item, list | tuple) else _flat(item))]
    several = hasattr(models, "to_list") and hasattr(models, "all_fitted_models")
    return list(models.to_list()) if several else [models]


def _listed(text: str | Sequence[str]) -> list[str]:
    if not isinstance(text, str | Sequence):
        raise OptionError(f"{text!r} is neither a text nor a list of texts.")
    return [text] if isinstance(text, str) else list(text)


def _headers(
    grid: Mapping[str, Sequence[Column | None]], headers: Sequence[str] | None, labels: Mapping[str, str]
) -> tuple[tuple[str, ...], ...]:
    """Return the header lines: the user's, the outcomes where panels agree, and numbers."""
    columns = list(zip(*grid.values(), strict=True))
    if headers is not None and (isinstance(headers, str) or len(headers) != len(columns)):
        raise OptionError(f"headers={headers!r} must be a list with one text for each of the {len(columns)} columns.")
    found = [{fit.outcome for fit in column if fit} for column in columns]
    outcomes = tuple(labels.get(name, name) for name in (names.pop() if len(names) == 1 else "" for names in found))
    levels = [() if headers is None else tuple(map(str, headers)), outcomes if any(outcomes) else ()]
    return (*(level for level in levels if level), tuple(f"({j + 1})" for j in range(len(columns))))


def _notes(grid: Mapping[str, Sequence[Column | None]], numbers: Numbers) -> list[str]:
    """Return what a reader of the table must know: parentheses, standard errors, stars, method and seed."""
    columns = list(zip(*grid.values(), strict=True))
    fits = [fit for column in columns for fit in column if fit]
    notes = [_BELOW[numbers.below].format(level=100 * (1 - numbers.alpha))] if numbers.below else []
    sentences = {fit.se for fit in fits}
    notes += [sentence for sentence in sentences if sentence and len(sentences) == 1]
    legend = [f"{'*' * (count + 1)} p < {level:g}" for count, level in enumerate(numbers.stars)]
    notes += [", ".join(legend) + "."] if legend else []
    notes += dict.fromkeys(remark for fit in fits for remark in fit.remarks)
    for method in dict.fromkeys(fit.method for fit in fits if fit.method):
        where = [j + 1 for j, column in enumerate(columns) if any(fit and fit.method == method for fit in column)]
        everywhere = all(fit.method == method for fit in fits)
        notes.append(method if everywhere else f"{_columns(where)}: {method[0].lower()}{method[1:]}")
    return notes


def _columns(numbers: list[int]) -> str:
    """Return "Column (2)" or "Columns (1), (3)"."""
    return f"Column{'s' if len(numbers) > 1 else ''} {', '.join(f'({number})' for number in numbers)}"

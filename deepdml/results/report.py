"""A fit as one self-contained web page: table, figures, diagnostics with their reading, and the methods in words."""

from __future__ import annotations

import base64
import copy
import html
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import pandas as pd

from deepdml.errors import OptionError, refuse_lost_folder, refuse_no_path
from deepdml.estimands import Estimand
from deepdml.results.diagnostics import (
    REGULARIZED_SHARE,
    Diagnostics,
    influence_notes,
    regularization_notes,
    signal_note,
)
from deepdml.results.estimation import Estimates
from deepdml.results.fit import Fit
from deepdml.results.methods import methods_text, references
from deepdml.results.overlap import Propensities, overlap_of
from deepdml.results.plots.coefficients import figure_height
from deepdml.results.plots.overlap import levels_height
from deepdml.results.plots.style import picture
from deepdml.results.summary import Summary

if TYPE_CHECKING:
    from deepdml.results.results import Results

Path = str | os.PathLike[str]

MAX_COEFFICIENTS = 6  # of which the distribution is drawn
PACKAGES = ("deepdml", "torch", "numpy", "pandas", "scipy", "statsmodels", "formulaic", "matplotlib")

_STYLE = """
body { font: 16px/1.5 Georgia, "Times New Roman", serif; color: #1a1a1a; background: #fff; max-width: 52rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin-bottom: .3rem; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc; padding-bottom: .2rem; }
code { font: .92em/1.4 ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font: .86rem/1.4 system-ui, "Segoe UI", Arial, sans-serif; margin: .8rem 0;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { padding: .22rem .7rem; text-align: right; }
th { font-weight: 600; } .frame tbody th, .simpletable th:first-child, .head th { text-align: left; }
.simpletable, .frame { border-top: 2px solid #1a1a1a; border-bottom: 2px solid #1a1a1a; }
.frame thead th { border-bottom: 1px solid #1a1a1a; }
.checks td { text-align: left; vertical-align: top; } .checks tr { border-bottom: 1px solid #ddd; }
.look { font-weight: 700; color: #b03a00; } .fine { color: #00644a; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; display: block; }
figcaption, .notes { font-size: .9rem; color: #444; }
@media print { body { margin: 0; } figure, table { break-inside: avoid; } }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p><code>{formula}</code></p>
{body}
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One diagnostic: what it is about, its figure, how to read it, and whether it asks for a look."""

    about: str
    figure: str
    reading: str
    look: bool


def write_page(path: Path, text: str, overwrite: bool) -> None:
    """Write a page to a file.

    Raises
    ------
    OptionError
        If the file exists and is not to be overwritten, or its folder does not exist.
    """
    refuse_no_path(path)
    if os.path.isfile(path) and not overwrite:
        raise OptionError(f"{os.fspath(path)!r} exists; choose another name, or pass overwrite=True to replace it.")
    refuse_lost_folder(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def page(res: Results, fit: Fit, estimand: Estimand, estimates: Estimates, title: str | None = None) -> str:
    """Return the page of a Results and its parts as text.

    Raises
    ------
    MissingLibraryError
        Without matplotlib.
    """
    fit.need_one("a report")
    sections = [
        ("Estimates", _table(res.summary()) + _coefficients(res)),
        ("Who is affected", _heterogeneity(res, fit)),
        ("Overlap", _overlap(res, fit)),
        ("Diagnostics", _diagnostics(res.diagnostics, fit, estimates)),
        ("Training", _training(res, fit)),
        ("Methods", _paragraph(methods_text(fit, estimand, estimates, bool(res.use_t)))),
        ("References", _list(references(estimand, estimates))),
        ("Software", _paragraph(f"This page was written with {', '.join(_versions())}.")),
    ]
    body = "\n".join(f"<section>\n<h2>{name}</h2>\n{content}\n</section>" for name, content in sections)
    shown = html.escape(f"{fit.y_name}: {estimand.title}" if title is None else title)
    return _PAGE.format(title=shown, style=_STYLE, formula=html.escape(fit.design.formula), body=body)


# The sections


def _coefficients(res: Results) -> str:
    several = sum(name != "Intercept" for name in res.params.index) > 1
    caption = "Estimates with 95 % intervals" + (": thick, of each alone; thin, of all at once." if several else ".")
    size = (6.8, figure_height(len(res.params), 1))
    return _figure(partial(res.plot_coef, joint=several), size, "Estimates with their intervals", caption)


def _heterogeneity(res: Results, fit: Fit) -> str:
    if fit.rows is None:
        return _dropped()
    table = res.hte().drop(columns="histogram")
    names = [name for name in fit.t_names if name != "Intercept"] or list(fit.t_names)
    note = (
        "The coefficients theta(x) of single rows are estimated and smoothed: these figures describe, and their spread "
        "is not the spread of the true effects. The average and its interval are those of inference."
    )
    figures = [
        _figure(
            partial(res.plot_hte, name),
            (6.8, 3.4),
            f"Distribution of the coefficient of {name}",
            f"Cross-fitted coefficient of {name} over the rows.",
        )
        for name in names[:MAX_COEFFICIENTS]
    ]
    return "".join([_paragraph(note), _frame(table), *figures])


def _overlap(res: Results, fit: Fit) -> str:
    if fit.rows is None:
        return _dropped()
    caption = (
        "How much the treatment varies among rows with the same covariates. Where propensities come near 0 or 1, or "
        "hardly anything of a dose is left, rows have no counterpart and the estimate leans on the model."
    )
    try:
        found = overlap_of(fit)
    except OptionError as error:
        return _paragraph(str(error))
    height = levels_height(len(found.names)) if isinstance(found, Propensities) and len(found.names) > 2 else 3.4
    return _figure(res.plot_overlap, (6.8, height), "Overlap of the treatment", caption)


def _diagnostics(diagnostics: Diagnostics, fit: Fit, estimates: Estimates) -> str:
    rows = "\n".join(
        f'<tr><td class="{"look" if check.look else "fine"}">{"look" if check.look else "fine"}</td>'
        f"<td>{html.escape(check.about)}</td><td>{html.escape(check.figure)}</td>"
        f"<td>{html.escape(check.reading)}</td></tr>"
        for check in checks(diagnostics, fit, estimates)
    )
    table = diagnostics.to_frame().drop(columns=["weights", "best_epochs"])
    return (
        f'<div class="scroll"><table class="checks"><tbody>\n{rows}\n</tbody></table></div>'
        + _paragraph("Out-of-fold loss per row of each nuisance, beside a linear fit and a constant:")
        + _frame(table)
    )


def _training(res: Results, fit: Fit) -> str:
    if not fit.record.history:
        return _paragraph(
            "No training curves were recorded: no nets were trained, or the fit is from an older version."
        )
    caption = (
        "Held-out loss of the nets, as the change from the linear fit they start at; the nets kept are those with the "
        "least loss. A curve that only rises says that the net found nothing beyond the linear fit."
    )
    return _figure(res.plot_training, (6.8, 3.6), "Training curves", caption)


def checks(diagnostics: Diagnostics, fit: Fit, estimates: Estimates) -> list[Check]:
    """Return every diagnostic with its figure and what it says, in the order in which to read them."""
    record = fit.record
    found = [_skill_check(name, row) for name, row in diagnostics.to_frame().iterrows()]
    if record.signal:
        left = signal_note(record)
        figures = ", ".join(f"{name} {value:.1f}" for name, value in record.signal.items())
        reading = (
            left[0] if left else "No signal was found in held-out residuals; over many covariates that is no proof."
        )
        found.append(Check("signal left in residuals", figures, reading, left is not None))
    for about, share, part in (
        ("propensities clipped", record.clipped_share, "clipped"),
        ("Lambda floored", record.floored_share, "floored"),
    ):
        notes = [note for note in regularization_notes(record) if part in note]
        reading = (
            notes[0] if notes else f"No more than the {REGULARIZED_SHARE:.0%} of rows from which the summary warns."
        )
        found.append(Check(about, f"{share:.1%} of rows", reading, bool(notes)))
    largest = diagnostics.largest_row
    if largest.notna().any():
        notes = influence_notes(estimates, fit.weights)
        reading = notes[0] if notes else "No single row decides a standard error."
        figure = f"at most {largest.max():.1%} of a variance"
        found.append(Check("most influential row", figure, reading, bool(notes)))
    return [*found, *(Check("note", "", note, True) for note in estimates.covariance.notes)]


def _skill_check(name: Any, row: pd.Series) -> Check:
    skill, beside = float(row["skill"]), float(row["skill_vs_linear"])
    if pd.isna(skill):
        return Check(f"fit of the {name}", "", "There is nothing to explain: a constant has no excess loss.", False)
    figure = f"{max(skill, 0.0):.0%} of a constant's excess loss removed"
    if skill <= 0:
        reading = "No better out of fold than a constant: little depends on the covariates, or it was not learned."
    elif beside > 0:
        reading = f"Better out of fold than the linear fit, by {beside:.0%} of its excess loss."
    else:
        reading = "As good out of fold as the linear fit: what depends on the covariates does so linearly."
    return Check(f"fit of the {name}", figure, reading, False)


# Parts of the page


def _table(summary: Summary) -> str:
    """Return a summary's tables and notes; statsmodels escapes nothing, and names come from users."""
    tables = copy.deepcopy(summary.tables)
    for table in tables:
        for cell in (cell for row in table for cell in row):
            cell.data = html.escape(str(cell.data))
    kinds = ["head", *[""] * (len(tables) - 1)]
    shown = "\n".join(
        f'<div class="scroll {kind}">{table.as_html()}</div>' for kind, table in zip(kinds, tables, strict=True)
    )
    notes = "<br>\n".join(html.escape(note) for note in summary.notes)
    return f'{shown}\n<p class="notes">{notes}</p>\n'


def _figure(draw: Callable[..., object], size: tuple[float, float], alt: str, caption: str) -> str:
    image = base64.b64encode(picture(draw, size)).decode("ascii")
    return (
        f'<figure><img alt="{html.escape(alt)}" src="data:image/svg+xml;base64,{image}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>\n"
    )


def _frame(frame: pd.DataFrame) -> str:
    spoken = frame.rename(columns=lambda name: str(name).replace("_", " "))
    text = spoken.to_html(classes="frame", border=0, float_format="{:.4g}".format, na_rep="", index_names=False)
    return f'<div class="scroll">{text}</div>\n'


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>\n"


def _list(items: list[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{html.escape(item)}</li>" for item in items) + "\n</ul>"


def _dropped() -> str:
    return _paragraph("The arrays by row were dropped from these Results, and with them what this section shows.")


def _versions() -> list[str]:
    """Return what computes, each with its version."""
    found = [f"Python {platform.python_version()} on {platform.system()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # torch may be absent where a fit is only loaded
            continue
    return found

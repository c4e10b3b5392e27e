"""The summary table: statsmodels' layout, with a head and a foot of our own."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from statsmodels.iolib.summary import Summary as StatsmodelsSummary
from statsmodels.iolib.summary import d_or_f, summary_return

from deepdml.errors import list_rows
from deepdml.results.diagnostics import dimension_notes, influence_notes, regularization_notes, signal_note
from deepdml.results.estimation import Estimates
from deepdml.results.fit import Fit

if TYPE_CHECKING:
    from deepdml.results.linear import LinearTests

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
)


class Summary(StatsmodelsSummary):  # type: ignore[misc]  # statsmodels ships no types
    """A statsmodels Summary whose notes are escaped in LaTeX and HTML; formulas and per cents break them otherwise.

    Parameters
    ----------
    notes : list of str
        One line each; wrapped to the table's width in text.
    apart : bool
        Whether LaTeX gets one table for each of the summary's, which statsmodels joins otherwise.
    """

    def __init__(self, notes: list[str], *, apart: bool = False) -> None:
        super().__init__()
        self.notes, self.apart = notes, apart
        self.add_extra_txt([line for note in notes for line in _wrapped(note)])

    def as_latex(self) -> str:
        """Return the tables and notes as LaTeX."""
        groups = [[table] for table in self.tables] if self.apart else [self.tables]
        tables = "\n\n".join(summary_return(group, return_fmt="latex") for group in groups)
        return tables + "\n\n" + " \\newline\n".join(note.translate(LATEX) for note in self.notes)

    def as_html(self) -> str:
        """Return the tables and notes as HTML."""
        tables: str = summary_return(self.tables, return_fmt="html")
        return tables + "<br/><br/>" + "<br/>\n".join(html.escape(note) for note in self.notes)


def _wrapped(note: str) -> list[str]:
    """Return a note in lines of the table's width; what follows a number is indented."""
    return textwrap.wrap(note, width=78, subsequent_indent="    ")


def summarize(
    tests: LinearTests,
    fit: Fit,
    estimates: Estimates,
    estimand: str,
    yname: str | None,
    xname: list[str] | None,
    title: str | None,
    alpha: float,
) -> Summary:
    """Return the summary of the parts of a Results; the other arguments are those of Results.summary."""
    left, right = _head(fit, estimates, estimand)
    summary = Summary(_foot(fit, estimates))
    summary.add_table_2cols(
        tests, gleft=left, gright=right, yname=yname, xname=xname, title=title or "Structural DML Results"
    )
    summary.add_table_params(tests, yname=yname, xname=xname, alpha=alpha, use_t=tests.use_t)
    return summary


def _head(fit: Fit, estimates: Estimates, estimand: str) -> tuple[list[tuple[str, object]], list[tuple[str, object]]]:
    """Return label and value pairs of the head's two columns; None is filled in by statsmodels."""
    did = _shared(fit)
    model = f"Structural DML, {len(fit.parts)} fits" if fit.parts else "Structural DML"
    left: list[tuple[str, object]] = [
        ("Dep. Variable:", None),
        ("Model:", [model]),
        ("Family:", [did["Family:"]]),
        ("Estimand:", [estimand]),
        ("Lambda:", [did["Lambda:"]]),
        ("Treatment model:", [did["Treatment model:"]]),
        ("Covariance Type:", [estimates.covariance.cov_type]),
    ]
    right: list[tuple[str, object]] = [
        ("No. Observations:", [d_or_f(fit.n)]),
        ("Rows dropped:", [d_or_f(fit.n_total - fit.n)]),
        ("Df Residuals:", None),
        ("Folds/blocks/reps:", [did["Folds/blocks/reps:"]]),
        ("Learner:", [did["Learner:"]]),
        ("Hidden layers:", [did["Hidden layers:"]]),
        ("Seed:", [did["Seed:"]]),
    ]
    if estimates.covariance.n_clusters:
        label = "Periods:" if estimates.covariance.cov_type == "driscoll-kraay" else "Clusters:"
        left.append((label, [" x ".join(f"{count:,}" for count in estimates.covariance.n_clusters)]))
    return left, right


BY_FIT = "by fit"
"""In the head, for what differs between fits; the foot has it."""


def _did(fit: Fit) -> dict[str, str]:
    """Return what a fit did, by the labels of the head."""
    record = fit.record
    return {
        "Family:": record.family,
        "Lambda:": record.strategy,
        "Treatment model:": record.treatment_model,
        "Folds/blocks/reps:": f"{record.n_folds} x {record.n_blocks} x {record.n_rep}",
        "Learner:": record.learner,
        "Hidden layers:": _layers(fit),
        "Seed:": str(record.seed),
    }


def _shared(fit: Fit) -> dict[str, str]:
    """Return what a fit did, or what several fits did alike."""
    each = [_did(part) for part in fit.parts.values()] or [_did(fit)]
    return {label: value if all(did[label] == value for did in each) else BY_FIT for label, value in each[0].items()}


def _layers(fit: Fit) -> str:
    """Return the nets' widths, after the name of a backbone that is not the default."""
    widths = "-".join(str(width) for width in fit.record.hidden)
    name = "" if fit.record.backbone == "mlp" else fit.record.backbone
    return f"{name} {widths}".strip() or "none"


def _foot(fit: Fit, estimates: Estimates) -> list[str]:
    """Return the formula, or that of each fit, and the numbered notes, one line each."""
    notes = [estimates.covariance.description]
    notes += estimates.remarks
    if fit.weighted:
        notes.append("Sampling weights are used in training, in the estimates and in the covariance.")
    if fit.n_total > fit.n:
        columns = list_rows([f"{name} ({count:,})" for name, count in fit.missing.items()])
        notes.append(
            f"{fit.n_total - fit.n:,} of {fit.n_total:,} rows were dropped for missing or infinite values: {columns}."
        )
    if fit.record.n_rep > 1:
        notes.append(
            f"Medians over {fit.record.n_rep} repetitions of cross-fitting; the covariance includes the variation "
            "between them."
        )
    notes += [
        *_of_each(fit, _learned),
        *influence_notes(estimates, fit.weights),
        *_of_each(fit, lambda part: [*regularization_notes(part.record), *dimension_notes(part)]),
        *estimates.covariance.notes,
    ]
    numbered = [f"[{number}] {note}" for number, note in enumerate(dict.fromkeys(notes), start=1)]
    return [*_formulas(fit), "Notes:", *numbered]


def _of_each(fit: Fit, read: Callable[[Fit], Sequence[str]]) -> list[str]:
    """Return notes on a fit; on each of several, under its name."""
    if not fit.parts:
        return list(read(fit))
    return [f"{label}: {note}" for label, part in fit.parts.items() for note in read(part)]


def _learned(fit: Fit) -> list[str]:
    """Return how sure Lambda is, and what signal was left."""
    left = signal_note(fit.record)
    smallest = f"Smallest eigenvalue of Lambda over the rows: {fit.record.min_eigenvalue:.3g}."
    return [smallest, *([left[0]] if left else [])]


def _formulas(fit: Fit) -> list[str]:
    """Return the formula of a fit; of several fits each one's, with what the head could not say of all."""
    if not fit.parts:
        return ["Formula: " + fit.design.formula]
    differ = [label for label, value in _shared(fit).items() if value == BY_FIT]
    return ["Formulas:"] + [
        f"{name}: {'; '.join([part.design.formula, *(f'{label} {_did(part)[label]}' for label in differ)])}"
        for name, part in fit.parts.items()
    ]

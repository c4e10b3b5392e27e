"""A table as text, Markdown and a DataFrame."""

from __future__ import annotations

import re
import textwrap

import pandas as pd
from tabulate import SEPARATING_LINE, tabulate

from deepdml.results.tables.layout import Layout, Line

_MARKDOWN = re.compile(r"([\\`*_|<])")
ENTRIES = {"se": "standard error", "ci": "interval", "t": "statistic", "p": "p-value"}


def text(table: Layout) -> str:
    """Return the table for a terminal."""
    rows: list[list[str] | str] = [["", *level] for level in table.headers[1:]]
    for section in table.sections():
        rows += [SEPARATING_LINE, *(_cells(line, table.n_columns) for line in section)]
    head = ["", *table.headers[0]]
    align = ("left", *["center"] * table.n_columns)
    # tabulate would read "1.00" as a number and drop its zeros, and "     " as blank
    body = tabulate(rows, head, "simple", disable_numparse=True, colalign=align, preserve_whitespace=True)
    width = max(len(line) for line in body.splitlines())
    notes = [line for note in table.notes for line in textwrap.wrap(note, max(width, 60))]
    return "\n".join([*([table.title] if table.title else []), body, "-" * width, *notes])


def markdown(table: Layout) -> str:
    """Return a pipe table; a header of several lines becomes rows below the first, since Markdown has one."""
    rows = [["", *level] for level in table.headers[1:]]
    rows += [_cells(line, table.n_columns) for section in table.sections() for line in section]
    escaped = [[_md(cell) for cell in row] for row in [["", *table.headers[0]], *rows]]
    align = ("left", *["center"] * table.n_columns)
    body = tabulate(escaped[1:], escaped[0], "pipe", disable_numparse=True, colalign=align)
    title = [f"**{_md(table.title)}**"] if table.title else []
    return "\n\n".join([*title, body, *map(_md, table.notes)]) + "\n"


def frame(table: Layout) -> pd.DataFrame:
    """Return the formatted entries, indexed by panel (where there are several), row and kind of entry."""
    index, rows = [], []
    for panel in table.panels:
        for row in panel.rows:
            index.append((panel.title, row.label, "estimate"))
            rows.append([cell.text + cell.stars for cell in row.cells])
            if any(cell.below for cell in row.cells):
                index.append((panel.title, row.label, ENTRIES[table.below]))
                rows.append([cell.below for cell in row.cells])
        for row in panel.stats:
            index.append((panel.title, row.label, "statistic of the fit"))
            rows.append([cell.text for cell in row.cells])
    for row in table.stats:
        index.append(("", row.label, "statistic of the fit"))
        rows.append([cell.text for cell in row.cells])
    columns = pd.MultiIndex.from_arrays(list(table.headers)) if len(table.headers) > 1 else list(table.headers[0])
    found = pd.DataFrame(rows, pd.MultiIndex.from_tuples(index, names=["panel", "row", "entry"]), columns)
    return found if any(panel.title for panel in table.panels) else found.droplevel("panel")


def _cells(line: Line, n_columns: int) -> list[str]:
    cells = [f"{value}{stars}" for value, stars in line.cells]
    return [line.label, *(cells or [""] * n_columns)]


def _md(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)

"""A table for Word."""

from __future__ import annotations

from typing import Any

import pandas as pd

from deepdml.errors import MissingLibraryError
from deepdml.results.tables.layout import Layout, Row
from deepdml.results.tables.markup import minus


def word(table: Layout) -> Any:
    """Return a python-docx Document with the table, its numbered caption and its notes.

    Raises
    ------
    MissingLibraryError
        Without maketables, which builds the document.
    """
    try:
        from maketables import MTable
    except ImportError as error:
        raise MissingLibraryError("type='docx' needs maketables: pip install 'deepdml[tables]'") from error
    index: list[tuple[int, str]] = []
    rows: list[list[str]] = []
    headings: list[int] = []

    def add(section: int, found: tuple[Row, ...]) -> None:
        for row in found:
            index.append((section, row.label))
            rows.append([minus(f"{cell.text}{cell.stars}\n{cell.below}").rstrip("\n") for cell in row.cells])

    for number, panel in enumerate(table.panels):
        if panel.title:
            headings.append(len(rows))
            index.append((2 * number, panel.title))
            rows.append([""] * table.n_columns)
        add(2 * number, panel.rows)
        add(2 * number + 1, panel.stats)
    add(2 * len(table.panels), table.stats)
    levels = list(table.headers)
    columns = pd.MultiIndex.from_arrays(levels) if len(levels) > 1 else levels[0]
    data = pd.DataFrame(rows, pd.MultiIndex.from_tuples(index), columns)
    made = MTable(
        data,
        notes="\n".join(table.notes),
        caption=table.title or None,
        tab_label=table.label or None,
        rgroup_display=False,
        rgroup_sep="t",
    )
    document: Any = made.make(type="docx", docx_style={"notes_align": "left"})
    _number_caption(document)
    for heading in headings:
        cells = document.tables[0].rows[len(levels) + heading].cells
        merged = cells[0].merge(cells[-1])
        # merging appends the empty paragraphs of the other cells
        for paragraph in merged.paragraphs[1:]:
            paragraph._element.getparent().remove(paragraph._element)
        for run in merged.paragraphs[0].runs:
            run.italic = True
    return document


def _number_caption(document: Any) -> None:
    """Give the field of the caption the result "1" in black: Word shows none until it is told to update fields."""
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn
    from docx.shared import RGBColor

    for code in document.element.body.iter(qn("w:instrText")):
        separator, result = OxmlElement("w:fldChar"), OxmlElement("w:t")
        separator.set(qn("w:fldCharType"), "separate")
        result.text = "1"
        code.addnext(separator)
        separator.addnext(result)
        document.styles["Caption"].font.color.rgb = RGBColor(0, 0, 0)

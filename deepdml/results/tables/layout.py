"""A table of fits before it is LaTeX, HTML or anything else: cells, rows, panels, statistics, notes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from deepdml.errors import DataError


@dataclass(frozen=True, slots=True)
class Cell:
    """One fit's entry in one row: the formatted number, its stars, and what stands below it."""

    text: str = ""
    stars: str = ""
    below: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A coefficient or a statistic across the k columns."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """Rows under a title ("" for a table without panels), and the statistics that belong to this panel alone."""

    title: str
    rows: tuple[Row, ...]
    stats: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One printed line: a label and k pairs (text, stars). A heading has a label alone."""

    label: str
    cells: tuple[tuple[str, str], ...]
    heading: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands in a table of fits, and where.

    Parameters
    ----------
    headers : tuple of tuples of str
        Header lines from top to bottom, each with k entries; equal neighbours are joined.
    panels : tuple of Panel
    stats : tuple of Row
        Statistics of the whole table.
    below : str
        What stands below an estimate: "se", "ci", "t", "p", or "" for nothing.
    notes : tuple of str
    title, label : str
        Caption, and the anchor that LaTeX, Typst and HTML refer to; "" for none.
    """

    headers: tuple[tuple[str, ...], ...]
    panels: tuple[Panel, ...]
    stats: tuple[Row, ...] = ()
    below: str = "se"
    notes: tuple[str, ...] = ()
    title: str = ""
    label: str = ""
    n_columns: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_columns", len(self.headers[-1]))
        widths = {len(level) for level in self.headers} | {len(row.cells) for row in self.all_rows()}
        if widths != {self.n_columns}:
            raise DataError(f"a table's rows and headers must have as many entries as it has columns, not {widths}")

    def all_rows(self) -> Iterator[Row]:
        """Every row from top to bottom."""
        for panel in self.panels:
            yield from panel.rows
            yield from panel.stats
        yield from self.stats

    def sections(self) -> list[list[Line]]:
        """Lines between two rules: each panel with its title, its statistics, and those of the whole table."""
        found = []
        for panel in self.panels:
            heading = [Line(panel.title, (), heading=True)] if panel.title else []
            found.append([*heading, *(line for row in panel.rows for line in _lines(row))])
            found.append([line for row in panel.stats for line in _lines(row)])
        found.append([line for row in self.stats for line in _lines(row)])
        return [section for section in found if section]


def _lines(row: Row) -> list[Line]:
    lines = [Line(row.label, tuple((cell.text, cell.stars) for cell in row.cells))]
    if any(cell.below for cell in row.cells):
        lines.append(Line("", tuple((cell.below, "") for cell in row.cells)))
    return lines

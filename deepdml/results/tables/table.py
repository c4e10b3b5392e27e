"""A table of fits that prints, shows itself in notebooks, and becomes LaTeX, HTML or whatever a paper needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from deepdml.errors import unknown_option
from deepdml.results.tables import markup, office, plain
from deepdml.results.tables.layout import Layout

Type = Literal["tex", "html", "md", "docx", "typst", "df"]
RENDERERS = {
    "tex": markup.latex,
    "html": markup.html,
    "md": plain.markdown,
    "docx": office.word,
    "typst": markup.typst,
    "df": plain.frame,
}


@dataclass(frozen=True, slots=True)
class Table(Layout):
    """A table of fits, as `etable` makes it; it prints as text and shows itself in notebooks."""

    def __str__(self) -> str:
        return plain.text(self)

    def _repr_html_(self) -> str:
        return markup.html(self)

    def render(self, type: Type) -> Any:
        """Return the table as text in a markup language, as a DataFrame ("df"), or as a python-docx Document ("docx").

        Raises
        ------
        MissingLibraryError
            For "docx" without maketables.
        """
        if type not in RENDERERS:
            raise unknown_option("type", type, RENDERERS)
        return RENDERERS[type](self)

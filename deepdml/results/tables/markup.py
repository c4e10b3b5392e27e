"""A table in LaTeX, HTML and Typst."""

from __future__ import annotations

import html as escaping
import re
from itertools import groupby

from deepdml.results.summary import LATEX
from deepdml.results.tables.layout import Layout, Line

_LATEX = LATEX | str.maketrans({"²": "$^{2}$", "\N{MULTIPLICATION SIGN}": r"$\times$"})
_TYPST = str.maketrans({char: f"\\{char}" for char in "\\[]#*_$@~`<>\"'=/-+"})
_MINUS = re.compile(r"(?<![\w.])-(?=\d|inf)")


def minus(text: str) -> str:
    """Return text with the hyphens of negative numbers replaced by minus signs."""
    return _MINUS.sub("\N{MINUS SIGN}", text)


def latex(table: Layout) -> str:
    r"""Return a table environment; it needs the packages booktabs and threeparttable."""
    lines = [
        r"% \usepackage{booktabs,threeparttable}",
        r"\begin{table}[htbp]",
        r"\centering",
        r"\begin{threeparttable}",
    ]
    lines += [rf"\caption{{{_tex(table.title)}}}"] if table.title else []
    lines += [rf"\label{{{table.label}}}"] if table.label else []
    lines += [rf"\begin{{tabular}}{{l{'c' * table.n_columns}}}", r"\toprule", *_latex_head(table)]
    for section in table.sections():
        lines += [r"\midrule", *(_latex_line(line, table.n_columns) for line in section)]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        notes = [rf"\item {_tex(note)}" for note in table.notes]
        lines += [r"\begin{tablenotes}[flushleft]", r"\footnotesize", *notes, r"\end{tablenotes}"]
    return "\n".join([*lines, r"\end{threeparttable}", r"\end{table}", ""])


def _latex_head(table: Layout) -> list[str]:
    lines = []
    for level in table.headers:
        entries, rules, start = [], [], 2
        for entry, width in _spans(level):
            entries.append(_tex(entry) if width == 1 else rf"\multicolumn{{{width}}}{{c}}{{{_tex(entry)}}}")
            rules += [rf"\cmidrule(lr){{{start}-{start + width - 1}}}"] if width > 1 and entry else []
            start += width
        lines.append(f" & {' & '.join(entries)} \\\\")
        lines += ["".join(rules)] if rules else []
    return lines


def _latex_line(line: Line, n_columns: int) -> str:
    if line.heading:
        return rf"\multicolumn{{{n_columns + 1}}}{{l}}{{\textit{{{_tex(line.label)}}}}} \\"
    cells = [_tex_number(text) + (f"$^{{{stars}}}$" if stars else "") for text, stars in line.cells]
    return f"{_tex(line.label)} & {' & '.join(cells)} \\\\"


def _tex(text: str) -> str:
    # \\ and \item would read a bracket or a star that follows as their own argument
    return ("{}" if text[:1] in ("[", "*") else "") + text.translate(_LATEX)


def _tex_number(text: str) -> str:
    return _MINUS.sub("$-$", _tex(text))


def html(table: Layout) -> str:
    """Return a table element that needs no style sheet."""
    anchor = f' id="{escaping.escape(table.label)}"' if table.label else ""
    lines = [f'<table class="deepdml-etable"{anchor} style="border-collapse:collapse;border:none;text-align:center">']
    lines += [f'<caption style="caption-side:top">{escaping.escape(table.title)}</caption>'] if table.title else []
    lines += ['<thead style="border-top:2px solid">']
    for level in table.headers:
        entries = [_th(entry, width) for entry, width in _spans(level)]
        lines.append(f"<tr><th></th>{''.join(entries)}</tr>")
    lines.append("</thead>")
    for section in table.sections():
        lines += ['<tbody style="border-top:1px solid">', *(_html_line(line, table.n_columns) for line in section)]
        lines.append("</tbody>")
    notes = "<br>".join(escaping.escape(note) for note in table.notes)
    foot = f'<td colspan="{table.n_columns + 1}" style="text-align:left;font-size:smaller">{notes}</td>'
    lines.append(f'<tfoot style="border-top:2px solid"><tr>{foot}</tr></tfoot>')
    return "\n".join([*lines, "</table>", ""])


def _th(entry: str, width: int) -> str:
    rule = "border-bottom:1px solid;" if width > 1 and entry else ""
    return (
        f'<th colspan="{width}" style="{rule}text-align:center;font-weight:normal;padding:2px 8px">'
        f"{escaping.escape(entry)}</th>"
    )


def _html_line(line: Line, n_columns: int) -> str:
    label = escaping.escape(line.label)
    left = "text-align:left;font-weight:normal;padding:1px 8px 1px 0"
    if line.heading:
        return f'<tr><th colspan="{n_columns + 1}" style="{left}"><em>{label}</em></th></tr>'
    cells = [minus(escaping.escape(text)) + (f"<sup>{stars}</sup>" if stars else "") for text, stars in line.cells]
    cells = [f'<td style="text-align:center;padding:1px 8px">{cell}</td>' for cell in cells]
    return f'<tr><th scope="row" style="{left}">{label}</th>{"".join(cells)}</tr>'


def typst(table: Layout) -> str:
    """Return a Typst figure with the rules of booktabs."""
    n = table.n_columns
    caption = f"  caption: figure.caption(position: top)[{_typ(table.title)}]," if table.title else ""
    lines = [
        "#figure(",
        *([caption] if caption else []),
        "  kind: table,",
        "  [#table(",
        f"    columns: {n + 1}, align: (left, {'center, ' * n}), stroke: none,",
        "    table.hline(),",
        *_typst_head(table),
    ]
    for section in table.sections():
        lines += ["    table.hline(stroke: 0.5pt),", *(f"    {_typst_line(line, n)}," for line in section)]
    lines += ["    table.hline(),", "  )"]
    if table.notes:
        # below the table, not in it: a wide cell would stretch the last column
        lines.append(f"  #align(left, text(size: 0.8em)[{' #linebreak() '.join(map(_typ, table.notes))}])")
    return "\n".join([*lines, "  ],", f") <{table.label}>" if table.label else ")", ""])


def _typst_head(table: Layout) -> list[str]:
    lines = []
    for level in table.headers:
        entries, rules, start = [], [], 1
        for entry, width in _spans(level):
            entries.append(f"table.cell(colspan: {width})[{_typ(entry)}]")
            if width > 1 and entry:
                rules.append(f"    table.hline(start: {start}, end: {start + width}, stroke: 0.5pt),")
            start += width
        lines += [f"    [], {', '.join(entries)},", *rules]
    return lines


def _typst_line(line: Line, n_columns: int) -> str:
    if line.heading:
        return f"table.cell(colspan: {n_columns + 1}, align: left, emph[{_typ(line.label)}])"
    cells = [f"[{_typ(minus(text) + stars)}]" for text, stars in line.cells]
    return ", ".join([f"[{_typ(line.label)}]", *cells])


def _typ(text: str) -> str:
    return text.translate(_TYPST)


def _spans(level: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return (entry, number of columns) of a header line; equal neighbours share one entry."""
    return [(entry, len(list(group))) for entry, group in groupby(level)]

"""A table in each format: awkward names survive, LaTeX compiles, Word opens."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import deepdml as dd
from deepdml.errors import DataError, OptionError
from deepdml.results import Results
from deepdml.results.tables import Table
from deepdml.results.tables.layout import Cell, Panel, Row

AWKWARD = r"50% of $x_1$ & {a} ~ <b>^2 \ #1 |c| `d` [e] *f* 'g' " + '"h" @i //j'


@pytest.fixture
def odd(frame: pd.DataFrame) -> Any:
    """A fit whose coefficients have the names formulas give."""
    odd = frame.assign(arm=np.array(["a", "b_1", "c&d"])[np.arange(len(frame)) % 3], dose_1=frame["x0"])
    return smf.ols("y ~ C(arm) + I(dose_1**2)", odd).fit()


@pytest.fixture
def table(results: Results, odd: Any) -> Table:
    """A table with everything: panels, headers, joined cells, awkward text everywhere."""
    found: Table = dd.etable(
        panels={AWKWARD: [results, odd, odd], "[B] second": [odd, None, results]},
        headers=["<b>OLS", "_net_", "_net_"],
        labels={"t": AWKWARD, "Intercept": "[constant]", "y": "*y_1*"},
        stats={"N": "N", AWKWARD: [AWKWARD] * 3},
        notes=[AWKWARD, "[n] note", "* note"],
        title=AWKWARD,
        label="tab:odd",
    )
    return found


class Reader(HTMLParser):
    """The rows of a table: (text, colspan) of each cell; and the tags left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[tuple[str, int]]] = []
        self.text = ""
        self.open: list[str] = []
        self.span = 1
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.text, self.span = "", int(dict(attrs).get("colspan") or 1)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.rows[-1].append((self.text, self.span))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_keeps_text_and_columns(table: Table, odd: Any) -> None:
    read = Reader(table.render("html"))
    assert not read.open
    assert {sum(span for _, span in row) for row in read.rows} == {4}
    assert [row[1:] for row in read.rows[:2]] == [[("<b>OLS", 1), ("_net_", 2)], [("*y_1*", 3)]]
    labels = [row[0][0] for row in read.rows]
    assert labels.count(AWKWARD) == 4  # a panel, a coefficient in both, a statistic
    b = odd.params["C(arm)[T.b_1]"]
    assert read.rows[labels.index("C(arm)[T.b_1]")][2][0] == f"{b:.3f}".replace("-", "\N{MINUS SIGN}")


def test_latex_lines_have_the_same_columns(table: Table) -> None:
    text = table.render("tex")
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    for line in body.splitlines():
        if line.endswith(r"\\"):
            spans = [int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            assert len(re.findall(r"(?<!\\)&", line)) + sum(spans) == 3, line
    for name in ("C(arm)[T.b\\_1]", "C(arm)[T.c\\&d]", "I(dose\\_1 ** 2)"):
        assert f"\n{name} & " in text
    assert "\n{}[constant] & " in text  # \\ would take the bracket for its own argument
    assert r"\begin{tabular}{lccc}" in text
    assert r"\cmidrule(lr){3-4}" in text
    assert r"\label{tab:odd}" in text


@pytest.mark.latex
def test_latex_compiles(table: Table, results: Results, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        pytest.skip("no pdflatex")
    found = subprocess.run(["kpsewhich", "booktabs.sty", "threeparttable.sty"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("no booktabs or threeparttable")
    (tmp_path / "odd.tex").write_text(table.render("tex"), encoding="utf-8")
    dd.etable(results, below="ci", file=tmp_path / "plain.tex")
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs,threeparttable}"
    document = rf"\documentclass{{article}}{packages}\begin{{document}}\input{{odd}}\input{{plain}}\end{{document}}"
    (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 0


def test_markdown_has_one_cell_for_each_column(table: Table) -> None:
    lines = [line for line in table.render("md").splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {5}
    assert any(line.startswith(r"| I(dose\_1 \*\* 2)") for line in lines)


def test_text_of_a_terminal(results: Results) -> None:
    text = str(dd.etable(results, title="Wages"))
    assert text.startswith("Wages\n")
    assert f"{results.params['t']:.3f}***" in text
    assert f"({results.bse['t']:.3f})" in text
    assert "Standard errors in parentheses." in text


def test_frame(table: Table, odd: Any) -> None:
    frame = table.render("df")
    assert frame.index.names == ["panel", "row", "entry"]
    assert frame.columns.nlevels == 3
    entry = frame.loc[("[B] second", "I(dose_1 ** 2)", "standard error")]
    assert entry.tolist() == [f"({odd.bse['I(dose_1 ** 2)']:.3f})", "", ""]


@pytest.mark.parametrize(
    ("render", "rules"),
    [
        ("tex", r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}"),
        ("typst", "table.hline(start: 1, end: 3, stroke: 0.5pt),\n    table.hline(start: 3, end: 5, stroke: 0.5pt),"),
    ],
)
def test_rules_stand_below_joined_headers(results: Results, render: Any, rules: str) -> None:
    assert rules in dd.etable([results] * 4, render, headers=["a", "a", "b", "b"])


def test_a_frame_without_panels_has_no_level_for_them(results: Results) -> None:
    frame = dd.etable(results, "df", below="ci")
    assert frame.index.names == ["row", "entry"]
    low, high = results.conf_int().loc["t"]
    assert frame.loc[("t", "interval")].item() == f"[{low:.3f}, {high:.3f}]"


def test_word_opens(table: Table, odd: Any, results: Results, tmp_path: Path) -> None:
    docx = pytest.importorskip("docx")
    path = tmp_path / "table.docx"
    table.render("docx").save(str(path))
    document = docx.Document(str(path))
    (found,) = document.tables
    rows = [[cell.text for cell in row.cells] for row in found.rows]
    assert document.paragraphs[0].text == f"Table 1: {AWKWARD}"
    assert rows[0] == ["", "<b>OLS", "_net_", "_net_"]
    assert rows[3] == [AWKWARD] * 4  # the title of a panel, merged over all columns
    value, error = results.params["t"], results.bse["t"]
    assert rows[4][:2] == [AWKWARD, f"{value:.3f}***\n({error:.3f})"]
    assert [row[0] for row in rows].count("I(dose_1 ** 2)") == 2
    assert rows[-1][0].endswith("* note")


def test_word_is_written_to_a_file(results: Results, tmp_path: Path) -> None:
    docx = pytest.importorskip("docx")
    dd.etable(results, file=tmp_path / "table.docx")
    assert len(docx.Document(str(tmp_path / "table.docx")).tables) == 1


def test_typst(table: Table) -> None:
    text = table.render("typst")
    assert r"[C(arm)\[T.b\_1\]]" in text
    assert text.endswith(") <tab:odd>\n")
    bare = re.sub(r"\\.", "", text)
    assert bare.count("[") == bare.count("]")
    assert bare.count("(") == bare.count(")")
    assert "$" not in bare


def test_typst_compiles(table: Table, tmp_path: Path) -> None:
    import typst

    (tmp_path / "table.typ").write_text(table.render("typst") + "\nSee @tab:odd.", encoding="utf-8")
    assert typst.compile(str(tmp_path / "table.typ")).startswith(b"%PDF")


def test_notebooks_show_html(results: Results) -> None:
    table = dd.etable(results)
    assert table._repr_html_() == table.render("html")


def test_an_unknown_format_is_refused(results: Results) -> None:
    with pytest.raises(OptionError, match="unknown type 'pdf'"):
        dd.etable(results).render("pdf")


def test_a_table_of_uneven_rows_is_refused() -> None:
    with pytest.raises(DataError, match="as many entries"):
        Table((("(1)", "(2)"),), (Panel("", (Row("t", (Cell("1"),)),)),))


@pytest.mark.parametrize("render", ["tex", "html", "md", "typst", "docx", "df"])
def test_one_column_and_no_notes(results: Results, render: Any) -> None:
    rendered = dd.etable(results, render, auto_notes=False, below=None, stats=(), stars=False)
    shown = str(rendered) if render != "docx" else rendered.tables[0].cell(2, 1).text
    assert f"{results.params['t']:.3f}" in shown

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from statsmodels.iolib.summary import Summary

from deepdml.results import Results


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_the_head_says_what_was_done(build: Callable[..., Any]) -> None:
    text = squeezed(str(build(dropped=3).results().summary()))
    for part in (
        "Structural DML Results",
        "Dep. Variable: y",
        "No. Observations: 400",
        "Family: gaussian",
        "Rows dropped: 3",
        "Estimand: average coefficient",
        "Lambda: propensity plug-in",
        "Treatment model: discrete (2 levels)",
        "Folds/blocks/reps: 5 x 5 x 1",
        "Covariance Type: HC1",
        "Learner: auto",
        "Hidden layers: 64-32",
        "Seed: 1",
        "coef std err z P>|z| [0.025 0.975]",
        "Formula: y ~ t | x*",
        "3 of 403 rows were dropped for missing or infinite values: y (3).",
    ):
        assert part in text


def test_the_foot_carries_warnings(build: Callable[..., Any], annotate: Callable[[Results, str], Results]) -> None:
    note = "There are 8 clusters: the interval may miss."
    text = squeezed(str(annotate(build(weights=True).results(), note).summary()))
    assert note in text
    assert "Sampling weights are used" in text
    assert "Smallest eigenvalue of Lambda over the rows: 0.07." in text


def test_no_line_is_wider_than_the_table(results: Results, annotate: Callable[[Results, str], Results]) -> None:
    lines = str(annotate(results, "a long sentence " * 20).summary()).splitlines()
    assert max(map(len, lines)) <= 80


def test_a_number_in_the_table_is_the_estimate(results: Results) -> None:
    row = next(line for line in str(results.summary()).splitlines() if line.startswith("t "))
    coef, se, z, p, low, high = map(float, row.split()[1:])
    assert coef == pytest.approx(results.params["t"], abs=5e-5)
    assert se == pytest.approx(results.bse["t"], abs=5e-4)
    assert z == pytest.approx(results.tvalues["t"], abs=5e-4)
    assert p == pytest.approx(results.pvalues["t"], abs=5e-4)
    assert [low, high] == pytest.approx(list(results.conf_int().loc["t"]), abs=5e-4)


def test_arguments(results: Results) -> None:
    text = str(results.summary(yname="log wage", xname=["const", "arm"], title="Table 1", alpha=0.1))
    for part in ("log wage", "const", "arm", "Table 1", "[0.05", "0.95]"):
        assert part in text
    with pytest.raises(ValueError, match="it must be a list of 2 names"):
        results.summary(xname=["only one"])


def test_it_is_a_statsmodels_summary_in_four_formats(arm_results: Results) -> None:
    summary = arm_results.summary()
    assert isinstance(summary, Summary)
    assert "C(arm)[T.b]" in summary.as_text()
    assert "C(arm)[T.b]" in summary.as_csv()
    assert "C(arm)[T.b]" in summary.as_html()
    assert r"\textbf{C(arm)[T.b]}" in summary.as_latex()
    assert "<table" in summary._repr_html_()


def test_notes_are_escaped(build: Callable[..., Any], annotate: Callable[[Results, str], Results]) -> None:
    known = build()
    design = replace(known.data.design, formula="y_1 ~ I(t^2) | emb_* & {a} # \\ <b>")
    note = "clipped in 2.3% of rows with P(t) < .01 & cost $5"
    summary = annotate(replace(known, data=replace(known.data, design=design)).results(), note).summary()
    latex = summary.as_latex().split(r"\end{center}")[1]
    assert not re.search(r"(?<!\\)[%&#$_]", latex)
    assert not re.search(r"[<>|~^]", latex)
    assert r"emb\_* \& \{a\} \# \textbackslash{}" in latex
    assert r"2.3\% of rows" in latex
    assert html.escape(note) in summary.as_html()
    assert "<b>" not in summary.as_html().split("<br/><br/>")[1]
    assert note in squeezed(summary.as_text())


def test_latex_tables_are_balanced(arm_results: Results) -> None:
    latex = arm_results.summary().as_latex()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 2
    for rows in re.findall(r"\\begin{tabular}{(l?[lc]*)}(.*?)\\end{tabular}", latex, re.DOTALL):
        columns, body = rows
        widths = {line.count("&") for line in body.splitlines() if line.rstrip().endswith("\\\\")}
        assert widths == {len(columns) - 1}

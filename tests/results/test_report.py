"""The report: everything in one file, nothing from elsewhere, users' strings as text; and a browser shows it."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from deepdml.errors import MissingLibraryError, OptionError
from deepdml.results import Results, make_results
from deepdml.results.methods import methods_text, references
from deepdml.results.report import checks

VOID = {"meta", "img", "br", "link", "input", "hr"}
HISTORY = (
    {"repetition": 0, "nuisance": "outcome", "candidate": "net", "copy": 0, "step": [0, 50], "loss": [2.0, 1.0]},
)
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


class Page(HTMLParser):
    """What a page holds: texts by tag, rows of tables, images, links, and whether tags are closed as they should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.images: list[dict[str, str | None]] = []
        self.links: list[tuple[str, str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [(tag, name, value) for name, value in attrs if name in ("src", "href", "data", "action")]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag
        if tag in ("td", "th"):
            self.rows[-1].append(self.texts[tag][-1].strip())

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data


def with_record(res: Results, **changes: object) -> Results:
    fit = replace(res._fit, record=replace(res._fit.record, **changes))
    return Results(fit, res._estimand, res._estimates)


@pytest.fixture
def fitted(build) -> Results:
    """The binary design with nuisances, training curves and a propensity model in its record."""
    return with_record(
        build().results(), history=HISTORY, signal={"outcome": 4.0, "treatment": 1.0, "both": 2.0}, seed=17
    )


def written(res: Results, tmp_path: Path, **options: object) -> str:
    res.report(tmp_path / "report.html", **options)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_has_every_part(fitted, tmp_path):
    page = Page(written(fitted, tmp_path))
    assert page.open == []
    assert page.texts["h1"] == ["y: average coefficient"]
    assert page.texts["code"] == ["y ~ t | x*"]
    sections = [
        "Estimates",
        "Who is affected",
        "Overlap",
        "Diagnostics",
        "Training",
        "Methods",
        "References",
        "Software",
    ]
    assert page.texts["h2"] == sections
    alts = [image["alt"] for image in page.images]
    assert alts == [
        "Estimates with their intervals",
        "Distribution of the coefficient of t",
        "Overlap of the treatment",
        "Training curves",
    ]


def test_the_tables_are_those_of_the_results(fitted, tmp_path):
    rows = Page(written(fitted, tmp_path)).rows
    head = next(row for row in rows if "std err" in row)
    coefficients = next(row for row in rows[rows.index(head) :] if row[0] == "t")
    ends = fitted.conf_int().loc["t"]
    assert coefficients[1:3] == [f"{fitted.params['t']:.4f}", f"{fitted.bse['t']:.3f}"]
    assert coefficients[-2:] == [f"{end:.3f}" for end in ends]
    spread = next(row for row in rows if "share positive" in row)
    described = next(row for row in rows[rows.index(spread) :] if row[0] == "t")
    assert described[spread.index("sd")] == f"{fitted.hte().loc['t', 'sd']:.4g}"


def test_nothing_comes_from_elsewhere(fitted, tmp_path):
    text = written(fitted, tmp_path)
    page = Page(text)
    assert all(value.startswith("data:image/svg+xml;base64,") for _, _, value in page.links)
    assert "script" not in page.texts
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    for image in page.images:
        drawing = base64.b64decode(image["src"].split(",", 1)[1])
        root = ElementTree.fromstring(drawing)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        references_ = re.findall(rb'(?:href|src)="([^"]*)"', drawing)
        assert all(reference.startswith(b"#") for reference in references_)


def test_the_same_results_make_the_same_page(fitted, tmp_path):
    assert written(fitted, tmp_path) == written(fitted, tmp_path, overwrite=True)


def test_users_strings_are_text(build, tmp_path):
    known = build()
    data = replace(known.data, y_name="<b>y</b>", t_names=("Intercept", "<script>alert(1)</script>"))
    res = make_results(data, type(known.results()._fit.family)(), (known.influence,), known.folds, known.record, None)
    text = written(res, tmp_path, title="<u>a & b</u>")
    page = Page(text)
    assert not {"script", "b", "i", "u"} & set(page.texts)
    assert page.texts["h1"] == ["<u>a & b</u>"]
    assert any("<script>alert(1)</script>" in cell for cell in page.texts["th"])
    assert any("<b>y</b>" in cell for cell in page.texts["td"])


def test_an_existing_file_is_kept_unless_told(fitted, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(OptionError, match="exists; choose another name, or pass overwrite=True"):
        fitted.report(path)
    assert path.read_text() == "mine"
    fitted.report(str(path), overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_without_matplotlib_nothing_is_written(fitted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(MissingLibraryError, match=r"deepdml\[plots\]"):
        fitted.report(tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("kind", ["arms", "continuous", "two", "none"])
def test_every_kind_of_treatment(known, tmp_path, kind):
    res = known(kind=kind).results
    page = Page(written(res, tmp_path))
    overlap = "Overlap of the treatment" in [image["alt"] for image in page.images]
    assert overlap == (kind != "none")
    assert overlap or any("nothing varies" in text for text in page.texts["p"])


def test_other_tables_and_dropped_rows(known, tmp_path):
    res = known(kind="binary").results.gate("region")
    page = Page(written(res, tmp_path))
    assert page.texts["h1"] == ["y: projection"]
    assert any("Semenova" in item for item in page.texts["li"])
    res.remove_data()
    page = Page(written(res, tmp_path, overwrite=True))
    assert len(page.images) == 1
    assert sum("were dropped" in text for text in page.texts["p"]) == 2


def test_checks_read_the_diagnostics(fitted, annotate):
    res = annotate(with_record(fitted, clipped_share=0.04), "A note of the covariance.")
    found = {check.about: check for check in checks(res.diagnostics, res._fit, res._estimates)}
    assert found["fit of the outcome"].figure == "50% of a constant's excess loss removed"
    assert not found["fit of the outcome"].look
    assert found["signal left in residuals"].look
    assert found["propensities clipped"].figure == "4.0% of rows"
    assert found["propensities clipped"].look
    assert "region of overlap" in found["propensities clipped"].reading
    assert not found["Lambda floored"].look
    assert found["note"].reading == "A note of the covariance."


@pytest.mark.parametrize(("loss", "word"), [(0.5, "Better out of fold"), (0.7, "As good"), (1.1, "No better")])
def test_the_fit_of_a_nuisance_is_read(fitted, loss, word):
    nuisance = replace(fitted._fit.record.nuisances[0], loss=loss)
    res = with_record(fitted, nuisances=(nuisance,))
    assert checks(res.diagnostics, res._fit, res._estimates)[0].reading.startswith(word)


class TestMethods:
    def test_every_candidate_is_named(self, fitted):
        names = [f"learner {k}" for k in range(12)]
        nuisance = replace(fitted._fit.record.nuisances[0], weights=dict.fromkeys(names, 1 / 12))
        res = with_record(fitted, nuisances=(nuisance,))
        text = methods_text(res._fit, res._estimand, res._estimates)
        assert f"these candidates: {', '.join(names[:-1])} and {names[-1]}. The nets are" in text

    def test_the_paragraph_says_what_was_done(self, fitted):
        text = methods_text(fitted._fit, fitted._estimand, fitted._estimates)
        for part in (
            "On 400 rows, the outcome y follows the gaussian family with identity link",
            "functions of 3 covariates",
            "cross-fitted over 5 folds so that",
            "these candidates: net and linear",
            "64 and 32 units",
            "theta(x) and the treatment is recalibrated",
            "integrates the expected hessian over the cross-fitted propensities",
            "heteroskedasticity robust (HC1)",
            "the seed 17",
            "with 1 thread.",
        ):
            assert part in text
        assert "second-order" not in text
        assert text.count("Intervals and tests are normal.") == 1
        of_t = methods_text(fitted._fit, fitted._estimand, fitted._estimates, use_t=True)
        assert "Intervals and tests are of the t distribution." in of_t

    def test_it_follows_the_record(self, fitted, known):
        clustered = replace(fitted._fit, group_names=("firm",), weighted=True, n_total=450)
        record = replace(clustered.record, n_folds=20, n_rep=3, learner="net", strategy="known design", seed=None)
        fit = replace(clustered, record=replace(record, treatment_model="known propensities, 2 levels"))
        text = methods_text(fit, fitted._estimand, fitted._estimates)
        for part in (
            "(50 with missing or infinite values were dropped), with sampling weights",
            "Theta(x) is cross-fitted over 20 folds, nested in 5 blocks, so",
            "clusters of firm whole",
            "repeated 3 times",
            "their last layer was refitted",
            "known distribution",
            "No seed was set",
        ):
            assert part in text
        logit = known("logit", "binary").results._fit
        logit = replace(logit, record=replace(record, learner="auto"))
        assert "second-order correction" in methods_text(logit, fitted._estimand, fitted._estimates)

    def test_references_follow_the_table(self, fitted):
        estimates = fitted._estimates
        assert len(references(fitted._estimand, estimates)) == 3
        twice = replace(estimates, covariance=replace(estimates.covariance, n_clusters=(10, 12)))
        assert "Multiway" in references(fitted._estimand, twice)[-1]


@pytest.mark.skipif(BROWSER is None, reason="no chromium found")
class TestInABrowser:
    """Chromium draws the page; what it prints on its console, and what a probe added to a copy measures, is read."""

    PROBE = """<script>
window.addEventListener("load", () => {
  const images = [...document.images].map(i => [i.alt, i.complete, i.naturalWidth, i.getBoundingClientRect().width]);
  const tables = [...document.querySelectorAll("table")].map(t => [t.innerText, t.getBoundingClientRect().height]);
  const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  document.documentElement.setAttribute("data-probe", btoa(unescape(encodeURIComponent(
    JSON.stringify({images, tables, wide})))));
});
</script>"""

    @staticmethod
    def browse(path: Path, width: int = 1000) -> tuple[str, str]:
        """Return the page's DOM and the messages of its console."""
        command = [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={path.parent / 'profile'}",
            f"--window-size={width},1400",
            "--virtual-time-budget=5000",
            "--dump-dom",
            path.as_uri(),
        ]
        home = {**os.environ, "HOME": str(path.parent)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=home)
        assert done.returncode == 0, done.stderr
        return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)

    def test_without_console_messages(self, fitted, tmp_path):
        fitted.report(tmp_path / "report.html")
        dom, console = self.browse(tmp_path / "report.html")
        assert console == ""
        assert "<h2>Methods</h2>" in dom

    def test_a_broken_page_is_noticed(self, fitted, tmp_path):
        """Console messages do reach the test above."""
        text = written(fitted, tmp_path).replace("</body>", '<img src="https://example.org/a.png"></body>')
        (tmp_path / "broken.html").write_text(text, encoding="utf-8")
        assert "Content Security Policy" in self.browse(tmp_path / "broken.html")[1]

    def test_table_and_figures_are_drawn(self, fitted, tmp_path):
        text = written(fitted, tmp_path)
        free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
        (tmp_path / "probe.html").write_text(free.replace("</body>", self.PROBE + "</body>"), encoding="utf-8")
        dom, console = self.browse(tmp_path / "probe.html")
        assert console == ""
        found = json.loads(base64.b64decode(re.search(r'data-probe="([^"]+)"', dom).group(1)))
        assert len(found["images"]) == 4
        for alt, complete, natural, shown in found["images"]:
            assert complete, alt
            assert natural > 300, alt
            assert 300 < shown <= 1000, alt
        coefficients = next(table for table in found["tables"] if "std err" in table[0])
        assert f"{fitted.params['t']:.4f}" in coefficients[0]
        assert all(height > 20 for _, height in found["tables"])
        assert not found["wide"]

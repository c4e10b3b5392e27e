"""The documentation as a site: every page is reached, every public name has its docstring there, and it builds."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import deepdml as dd
from deepdml.errors import OptionError
from deepdml.estimands import registered as estimands
from deepdml.families import Family, registered

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
REFERENCE = "\n".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
SHOWN = set(re.findall(r"^::: (\S+)$", REFERENCE, re.MULTILINE))
LEVELS = {"mnlogit": ("a", "b", "c"), "ordered_logit": ("a", "b", "c")}


def public_names() -> list[str]:
    """Return what `import deepdml` and its public modules offer."""
    names = [name for name in dd.__all__ if not inspect.ismodule(getattr(dd, name))]
    found = [f"deepdml.{name}" for name in names]
    for module in (getattr(dd, name) for name in dd.__all__ if inspect.ismodule(getattr(dd, name))):
        own = [n for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module.__name__]
        found += [f"{module.__name__}.{name}" for name in getattr(module, "__all__", own)]
    return found


def test_every_page_stands_in_the_navigation_once() -> None:
    listed = re.findall(r"^ +- .+: (\S+\.md)$", (ROOT / ".mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == PAGES, "list each page of docs/ once under nav: in .mkdocs.yml"


@pytest.mark.parametrize("name", public_names())
def test_the_docstring_of_every_public_name_is_shown(name: str) -> None:
    assert name in SHOWN, f"add '::: {name}' to a page of docs/reference"


def test_what_is_shown_is_public() -> None:
    assert set(public_names()) >= SHOWN


def table(heading: str, page: str = "families.md") -> list[list[str]]:
    """Return the rows of the table of a page whose head begins so, as cells."""
    lines = (DOCS / page).read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_page_of_families_has_every_name_and_alias() -> None:
    documented = {name for row in table("| family | outcome") for name in re.findall(r'"(\w+)"', row[0])}
    assert documented == {
        name for family in registered().values() for name in (family.name, *family.aliases) if name != "custom"
    }


def able(family: Family, what: str) -> bool:
    """Return whether a family has a mean, a variance, quantiles, a tail or probabilities."""
    eta = np.zeros((1, family.n_indices)) if hasattr(family, "n_indices") else np.zeros(1)
    ask = {
        "mean": lambda: family.mean(eta),
        "variance": lambda: family.variance(eta),
        "quantile": lambda: family.quantile(0.3, eta),
        "tail": lambda: family.tail(LEVELS.get(family.name, (0.5,))[0], eta),
        "probability": lambda: [family.probability(level, eta) for level in family.outcomes()],
    }[what]
    try:
        ask()
    except OptionError:
        return False
    return True


@pytest.mark.parametrize("row", table("| family | mean"), ids=lambda row: row[0].strip("`"))
def test_the_page_of_families_says_what_each_can_answer(row: list[str]) -> None:
    name = row[0].strip("`")
    cls = registered()[name]
    options = {"levels": LEVELS[name]} if name in LEVELS else {"names": ["level"]} if name == "custom" else {}
    family = cls(**options)
    for what, cell in zip(("mean", "variance", "quantile", "tail", "probability"), row[1:], strict=True):
        assert able(family, what) == cell.startswith("yes"), what


def test_the_page_of_families_answers_for_all() -> None:
    assert {row[0].strip("`") for row in table("| family | mean")} == set(registered())


def test_the_page_of_estimands_gives_each_a_formula_units_and_a_source() -> None:
    rows = table("| estimand | formula", "estimands.md")
    assert all(len(row) == 4 and all(row) for row in rows), "formula, units, source"
    named = {name for row in rows for name in re.findall(r"`(\w+)\(", row[0])}
    # of those that are not asked for by name, one stacks others, one is made by gate() and blp(), one is a function
    assert named == {kind.__name__ for kind in estimands().values()} - {"Stack", "Projection", "UserFunction"} | {"h"}


@pytest.mark.parametrize("page", PAGES)
def test_code_of_other_packages_is_python(page: str) -> None:
    """Blocks with a title are not run, since what they import need not be installed."""
    text = (DOCS / page).read_text()
    for code in re.findall(r'^```python title="[^"]+"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL):
        compile(code, page, "exec")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ".mkdocs.yml", "-d", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    for script in (ROOT / "vignettes").glob("*.py"):
        assert "<h1" in (tmp_path / "site" / "vignettes" / f"{script.stem}.html").read_text()
    page = (tmp_path / "site" / "reference" / "results.html").read_text()
    assert 'id="deepdml.Results.sensitivity"' in page
    # griffe alone would show both with the default of the first
    tobit = (tmp_path / "site" / "reference" / "families.html").read_text().split('id="deepdml.families.Tobit"')[1]
    assert "default" not in tobit.split('id="deepdml.families.Logit"')[0]

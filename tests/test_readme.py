"""README and docs run as printed, in order, with warnings as errors; the vignettes have a test of their own."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from deepdml import cli

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_A_TABLE = (ROOT / "README.md", ROOT / "docs/index.md")  # below their first example, as it is printed


def blocks(document: Path, language: str) -> list[tuple[int, str]]:
    """Return (first line, code) of the fenced blocks in a language."""
    text = document.read_text(encoding="utf-8")
    fenced = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)) + 1, match.group(1)) for match in fenced]


@pytest.fixture(autouse=True)
def survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own that holds the survey.csv of the README's examples."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    rng = np.random.default_rng(1)
    n = 1_500
    age, firm = rng.integers(20, 60, n), rng.integers(0, 150, n)
    text = rng.standard_normal((n, 8))
    region = rng.choice(["north", "south", "west"], n)
    trained = (rng.random(n) < 1 / (1 + np.exp(-0.5 * text[:, 0]))).astype(int)
    wage = 2 + 0.01 * age + text[:, 0] + (0.2 + 0.1 * text[:, 1]) * trained + 0.5 * rng.standard_normal(n)
    frame = pd.DataFrame({"wage": wage, "trained": trained, "age": age, "region": region, "firm": firm})
    embedding = pd.DataFrame(text, columns=[f"text_{j}" for j in range(8)])
    path = tmp_path / "survey.csv"
    pd.concat([frame, embedding], axis=1).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_runs_as_printed(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, (line, code) in enumerate(blocks(document, "python")):
        # the blank lines make a traceback point at the line of the document
        exec(compile("\n" * (line - 1) + code, str(document), "exec"), namespace)
        if document in WITH_A_TABLE and number == 0:
            compare(capsys.readouterr().out, blocks(document, "text")[0][1])


def compare(printed: str, shown: str) -> None:
    """Compare word by word; numbers to a fifth of a standard error, since sums round differently on other machines."""
    number = r"-?\d+\.\d+"
    words = [re.sub(rf"{number}|\d+%", "#", " ".join(text.split())) for text in (printed, shown)]
    assert words[0] == words[1]
    ours, theirs = ([float(v) for v in re.findall(number, text)] for text in (printed, shown))
    np.testing.assert_allclose(ours, theirs, rtol=0.02, atol=0.003)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_run_as_printed(document: Path) -> None:
    for _, code in blocks(document, "console"):
        for command in re.findall(r"^\$ deepdml (fit .+)$", code.replace("\\\n", " "), re.MULTILINE):
            result = CliRunner().invoke(cli.main, shlex.split(command))
            assert result.exit_code == 0, result.output


def test_the_readme_has_examples_to_run() -> None:
    assert len(blocks(ROOT / "README.md", "python")) >= 3
    assert "deepdml fit" in (ROOT / "README.md").read_text(encoding="utf-8")

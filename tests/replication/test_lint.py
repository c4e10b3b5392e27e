from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from deepdml.errors import DataError
from deepdml.replication import lint


def kinds(folder: Path) -> set[tuple[str, str]]:
    return {(finding.kind, finding.file) for finding in lint(folder)}


def test_a_package_written_here_has_nothing_to_ask_about(original: Path) -> None:
    assert lint(original) == ()


@pytest.mark.parametrize(
    "line",
    [
        'read_csv("/home/ada/data.csv")',
        "use C:\\Users\\ada\\data.dta",
        "setwd('D:/work/paper')",
        "cd ~/paper/code",
        "the data are in /mnt/share/data.",
        'path = r"\\"; x = "/Users/ada/x"',
    ],
)
@pytest.mark.parametrize("name", ["run.py", "README.md", "clean.do"])
def test_absolute_paths(tmp_path: Path, line: str, name: str) -> None:
    (tmp_path / name).write_text(f"# one\n# {line}\n")
    assert kinds(tmp_path) == {("absolute path", f"{name}:2")}
    assert "relative to the package" in str(lint(tmp_path)[0])


@pytest.mark.parametrize(
    "line",
    [
        "see https://example.org/a/b",
        "and/or",
        "data/data.csv",
        "./data/x",
        "a / b / c",
        "../environment/bin/python",
        "1/2",
    ],
)
def test_what_is_no_absolute_path(tmp_path: Path, line: str) -> None:
    (tmp_path / "README.md").write_text(line + "\n")
    assert lint(tmp_path) == ()


def test_empty_and_double_files(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "none.txt").write_text("")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/table.csv").write_text("x\n1\n")
    (tmp_path / "table.csv").write_text("x\n1\n")
    (tmp_path / "other.csv").write_text("x\n2\n")
    assert kinds(tmp_path) == {
        ("empty file", "empty.txt"),
        ("empty file", "none.txt"),
        ("duplicate file", "table.csv"),
    }
    assert "a/table.csv" in str(next(f for f in lint(tmp_path) if f.kind == "duplicate file"))


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ("first_name", "a name"),
        ("LastName", "a name"),
        ("name", "a name"),
        ("e-mail", "an email address"),
        ("work_email", "an email address"),
        ("Phone Number", "a telephone number"),
        ("ssn", "a personal number"),
        ("home_address", "an address"),
        ("zip", "an address"),
        ("latitude", "coordinates"),
        ("hh_lon", "coordinates"),
        ("birth_date", "a date of birth"),
        ("date of birth", "a date of birth"),
        ("ip", "an address of a device"),
    ],
)
def test_personal_data_by_name(tmp_path: Path, column: str, what: str) -> None:
    pd.DataFrame({column: [1, 2], "y": [1, 2]}).to_csv(tmp_path / "data.csv", index=False)
    (finding,) = lint(tmp_path)
    assert (finding.kind, finding.file) == ("personal data", "data.csv")
    assert f"{column!r} may hold {what};" in finding.message


@pytest.mark.parametrize(
    "column", ["firm_name", "birthweight", "long", "plate", "single", "phoneme", "streetlight", "emb_0"]
)
def test_names_that_are_not_personal(tmp_path: Path, column: str) -> None:
    pd.DataFrame({column: [1, 2]}).to_csv(tmp_path / "data.csv", index=False)
    assert lint(tmp_path) == ()


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (["none", "ada@example.org", "none"], "an email address"),
        (["123-45-6789", "987-65-4321"], "a personal number"),
        (["+44 20 7946 0958", "(020) 7946 0958"], "a telephone number"),
        (["40.7128, -74.0060", "51.5072, -0.1276"], "coordinates"),
        (["12 Main Street", "7 Old Mill Road"], "an address"),
        (["192.168.0.1", "10.0.0.7"], "an address of a device"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet", "dta", "feather"])
def test_personal_data_by_content(tmp_path: Path, values: list[str], what: str, ending: str) -> None:
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"c7": values})
    path = tmp_path / f"data.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "dta":
        frame.astype(object).to_stata(path, write_index=False)
    else:
        getattr(frame, f"to_{ending}")(path)
    (finding,) = lint(tmp_path)
    assert finding.message.startswith(f"'c7' may hold {what};")


@pytest.mark.parametrize("values", [["a", "b"], ["2020-01-31", "2021-02-01"], ["1.5", "2.5"], ["firm 12", "firm 7"]])
def test_contents_that_are_not_personal(tmp_path: Path, values: list[str]) -> None:
    pd.DataFrame({"c7": values}).to_csv(tmp_path / "data.csv", index=False)
    assert lint(tmp_path) == ()


def test_undeclared_imports(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "--extra-index-url https://example.org/x\n./software/deepdml-0.1.0-py3-none-any.whl --hash=sha256:00\n"
        "numpy==2.0\nscikit_learn==1.4\n"
    )
    (tmp_path / "own.py").write_text("x = 1\n")
    (tmp_path / "run.py").write_text(
        "import json\nimport own\nimport numpy as np\nfrom sklearn.svm import SVC\nimport deepdml\n"
        "def f():\n    from pandas import Series\n    import madeup.part\n"
    )
    assert [(f.kind, f.file) for f in lint(tmp_path)] == [
        ("undeclared import", "run.py:7"),
        ("undeclared import", "run.py:8"),
    ]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "broken.csv").write_bytes(b'a,b\n"1,2\n')
    assert kinds(tmp_path) == {("unreadable file", "broken.py:1"), ("unreadable file", "broken.csv")}
    with pytest.raises(DataError, match="there is no folder"):
        lint(tmp_path / "nowhere")

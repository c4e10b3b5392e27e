"""Requirements with the hashes of archives, or why there are none."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import deepdml as dd
from deepdml import replication
from deepdml.replication import environment, requirements

PINS = {"deepdml": "0.1.0", "numpy": "2.0", "typing-extensions": "4.0", "torch": "2.13.0+cpu"}
WHEEL = "software/d.whl"
# the fixture of this folder replaces it
ASK = requirements._ask_pip


@pytest.fixture(autouse=True)
def pip_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "_ask_pip", ASK)


def index(
    offers: list[str], asked: list[list[str]], code: int = 0, stderr: str = ""
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what stands for a run of pip with an index that offers some distributions."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        lines = Path(command[command.index("-r") + 1]).read_text().splitlines()
        asked.append(lines)
        wanted = {line.split("==")[0] for line in lines}
        items = [
            {"metadata": {"name": name}, "download_info": {"archive_info": {"hashes": {"sha256": f"<{name}>"}}}}
            for name in offers
            if environment.normal(name) in wanted
        ]
        Path(command[command.index("--report") + 1]).write_text(json.dumps({"install": items}))
        return subprocess.CompletedProcess(command, code, "", stderr)

    return run


def test_hashes_come_from_the_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(requirements.subprocess, "run", index(["numpy", "typing_extensions", "torch"], asked))
    made = requirements.make_requirements(PINS, WHEEL, "abc", None)
    assert made.why is None
    made.write(tmp_path)
    assert (tmp_path / "requirements.txt").read_text().splitlines() == [
        "--extra-index-url https://download.pytorch.org/whl/cpu",
        "./software/d.whl --hash=sha256:abc",
        "numpy==2.0 --hash=sha256:<numpy>",
        "typing-extensions==4.0 --hash=sha256:<typing_extensions>",
        "torch==2.13.0+cpu --hash=sha256:<torch>",
    ]
    # a Mac has no build with this label
    assert (tmp_path / "requirements-no-hashes.txt").read_text().splitlines() == [
        "--extra-index-url https://download.pytorch.org/whl/cpu",
        "./software/d.whl",
        "numpy==2.0",
        "typing-extensions==4.0",
        "torch==2.13.0",
    ]
    # the index of torch is asked for torch alone
    assert asked == [
        ["numpy==2.0", "typing-extensions==4.0"],
        ["--extra-index-url https://download.pytorch.org/whl/cpu", "torch==2.13.0+cpu"],
    ]


@pytest.mark.parametrize(
    ("offers", "code", "stderr", "why"),
    [
        (["numpy", "torch"], 0, "", "the index gives no hash for typing-extensions"),
        ([], 1, "x\nERROR: No matching distribution\nnotice", "(ERROR: No matching distribution)"),
        ([], 1, "python: No module named pip", "(python: No module named pip)"),
        ([], 1, "", "(no message)"),
    ],
)
def test_without_an_answer_there_are_versions_and_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offers: list[str], code: int, stderr: str, why: str
) -> None:
    monkeypatch.setattr(requirements.subprocess, "run", index(offers, [], code, stderr))
    made = requirements.make_requirements(PINS, WHEEL, "abc", None)
    assert why in made.why
    made.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["requirements.txt"]
    assert "--hash" not in (tmp_path / "requirements.txt").read_text()


@pytest.mark.parametrize(("hashes", "seconds"), [(None, 60), (True, 1_800)])
def test_pip_is_given_up_on_later_where_hashes_are_wanted(
    monkeypatch: pytest.MonkeyPatch, hashes: bool | None, seconds: int
) -> None:
    def run(command: list[str], timeout: int, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(requirements.subprocess, "run", run)
    made = requirements.make_requirements(PINS, WHEEL, "abc", hashes)
    assert made.why == f"pip did not answer within {seconds} seconds"


def test_both_indexes_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages, and builds of torch from its own index: what is said to take a minute must not take two."""
    given: list[float] = []
    answer = index(["numpy", "typing_extensions", "torch"], [])
    clock = iter([0.0, 0.0, 45.0])

    def run(command: list[str], timeout: float, **_: object) -> subprocess.CompletedProcess[str]:
        given.append(timeout)
        return answer(command)

    monkeypatch.setattr(requirements.subprocess, "run", run)
    monkeypatch.setattr(requirements.time, "monotonic", clock.__next__)
    assert requirements.make_requirements(PINS, WHEEL, "abc", None).why is None
    assert given == [60.0, 15.0]


def test_without_hashes_pip_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.subprocess, "run", None)
    assert requirements.make_requirements(PINS, WHEEL, "abc", hashes=False).why == "hashes=False was asked for"


def test_pip_itself_says_that_there_is_no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)  # those of make test contradict the version asked for
    made = requirements.make_requirements({"deepdml": "0.1.0", "numpy": "0.0.1"}, WHEEL, "abc", None)
    assert "pip could not find every archive (ERROR: No matching distribution found for numpy==0.0.1" in made.why


def test_the_readme_names_both_files(res: dd.Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = environment.versions(("deepdml",))
    monkeypatch.setattr(requirements.subprocess, "run", index(list(packages), []))
    # codebooks and versions ask nothing of subprocess
    folder = res.replication_package(tmp_path / "package")
    text = (folder / "README.md").read_text()
    assert "without hashes" not in text
    assert "On another system `requirements-no-hashes.txt` stands for `requirements.txt`." in text
    assert "pip takes no other" in text
    assert replication.verify(folder).ok
    assert replication.lint(folder) == ()


def test_packages_for_other_systems_are_no_part_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    class Distribution:
        version = "1.0"

        def __init__(self, requires: list[str]) -> None:
            self.requires = requires

    found = {
        "paper": Distribution(
            ['here>=1; python_version > "3"', 'there; sys_platform == "nowhere"', "more; extra == 'x'"]
        ),
        "here": Distribution(["deep-er (>2)"]),
        "deep-er": Distribution([]),
        "there": Distribution([]),
        "more": Distribution([]),
    }
    monkeypatch.setattr(environment.importlib.metadata, "distribution", found.__getitem__)
    assert environment.versions(("paper",)) == {"deep-er": "1.0", "here": "1.0", "paper": "1.0"}

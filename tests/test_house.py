"""What holds of the package as a whole: light imports, one version, documented names, modules of a readable size."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pytest

import deepdml

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = sorted((ROOT / "deepdml").rglob("*.py"))

# style.md: "modules up to about 400 lines"; the margin is what "about" means
MODULE_LINES = 450


def in_new_process(code: str) -> str:
    """Run code in a fresh interpreter, with warnings as errors, and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "module",
    [
        "deepdml",
        "deepdml.cli",
        "deepdml.design",
        "deepdml.embed",
        "deepdml.errors",
        "deepdml.estimands",
        "deepdml.families",
        "deepdml.inference",
        "deepdml.leakage",
        "deepdml.learn.architecture",
        "deepdml.learn.influence",
        "deepdml.replication",
        "deepdml.results",
        "deepdml.results.tables",
        "deepdml.simulate",
    ],
)
def test_import_leaves_torch_alone(module: str) -> None:
    assert in_new_process(f"import sys, {module}; print('torch' in sys.modules)") == "False"


def test_bits_do_not_depend_on_whether_opt_einsum_is_installed() -> None:
    """Torch asks it for an order where a product has more than two factors."""
    equations = [e for module in MODULES for e in re.findall(r'torch\.einsum\(\s*"([^"]+)"', module.read_text())]
    assert len(equations) > 5
    assert [equation for equation in equations if equation.count(",") > 1] == []


# what a fit of few rows warns of is tested elsewhere
@pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")
def test_loading_a_saved_fit_leaves_torch_alone(tmp_path: Path) -> None:
    data = deepdml.simulate.authors_example(n=500, seed=1).data
    path = tmp_path / "fit.deepdml"
    deepdml.fit("y ~ t | x_*", data, learner="net", seed=1, progress=False).save(path)
    code = f"import sys, deepdml; deepdml.load({str(path)!r}).summary().as_text(); print('torch' in sys.modules)"
    assert in_new_process(code) == "False"


@pytest.mark.parametrize("folder", ["", "design", "learn", "results"])
def test_the_docstring_of_a_large_folder_says_where_what_lives(folder: str) -> None:
    place = ROOT / "deepdml" / folder
    modules = {path.stem for path in place.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    words = set(re.findall(r"\w+", ast.get_docstring(ast.parse((place / "__init__.py").read_text())) or ""))
    assert modules - {"__init__"} - words == set()


def test_every_public_name_resolves_and_is_documented() -> None:
    reference = (ROOT / "docs" / "api.md").read_text()
    for name in deepdml.__all__:
        assert getattr(deepdml, name) is not None
        assert re.search(rf"`(dd\.)?{name}\b", reference), f"{name} is not in docs/api.md"
    assert set(deepdml.__all__) <= set(dir(deepdml))


def test_one_version_everywhere() -> None:
    declared = PYPROJECT["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert version("deepdml") == declared == deepdml.__version__
    assert re.search(rf"^version: {re.escape(declared)}$", citation, re.MULTILINE)


def test_changelog_begins_with_what_is_not_released() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"


def test_every_lint_and_type_exception_has_a_reason() -> None:
    section = False
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        section = line.startswith(("ignore = [", "[tool.ruff.lint.per-file-ignores]")) or (
            section and not line.startswith(("]", "[")) and bool(line)
        )
        if section and line.lstrip().startswith('"'):
            assert re.search(r"#\s*\S+", line), line


def test_every_requirement_is_pinned_for_the_tests() -> None:
    pins = {
        name.lower().replace("_", "-")
        for name in re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    }
    project = PYPROJECT["project"]
    requirements = [
        *project["dependencies"],
        *PYPROJECT["build-system"]["requires"],
        *chain.from_iterable(project["optional-dependencies"].values()),
    ]
    names = {re.split(r"[<>=\[]", requirement)[0].lower() for requirement in requirements} - {"deepdml"}
    assert names <= pins, names - pins


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MODULE_LINES


@pytest.mark.parametrize("layer", ["cli.py", "gallery.py", "leakage", "replication"])
def test_layers_take_nothing_private_of_another(layer: str) -> None:
    """What two layers share is public, with a docstring: `results.storage.Parts`, say, in place of `results._fit`."""
    private = re.compile(r"\b(?!self|cls)\w+\._[a-z]\w*|\bimport [\w, ]*\b_[a-z]\w*")
    modules = [path for path in MODULES if path.is_relative_to(ROOT / "deepdml" / layer)]
    assert modules
    taken = [f"{path.relative_to(ROOT)}: {found}" for path in modules for found in private.findall(path.read_text())]
    assert taken == []


def test_warnings_name_the_line_that_called_us() -> None:
    """`errors.warn` finds it; `stacklevel` counts frames that change with the code between."""
    calls = {str(path.relative_to(ROOT)) for path in MODULES if "warnings.warn(" in path.read_text()}
    assert calls == {"deepdml/errors.py"}


def test_types_are_shipped() -> None:
    assert (ROOT / "deepdml" / "py.typed").is_file()

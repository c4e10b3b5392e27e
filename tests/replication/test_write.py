from __future__ import annotations

import ast
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch

import deepdml as dd
from deepdml import replication
from deepdml.errors import DataError, OptionError
from deepdml.learn import crossfit, fitting
from deepdml.replication.artefacts import derived_seeds
from deepdml.replication.manifest import files_of
from deepdml.replication.rawdata import EXACT

LEVEL = 3
TEMPLATE = [
    "To be done by the author",
    "Overview",
    "Data Availability and Provenance Statements",
    "Dataset list",
    "Computational requirements",
    "Description of programs/code",
    "Instructions to Replicators",
    "List of tables and programs",
    "References",
]


def theta_squared(x, t, theta):
    return theta[..., 1] ** 2


def data(x, t, theta):
    return theta[..., 1]


def one_level(x, t, theta):
    return LEVEL * theta[..., 1]


def other_level():
    """The same global name with another value, as in another module."""
    return FunctionType(two_level.__code__, {**globals(), "LEVEL": 5}, "two_level")


def two_level(x, t, theta):
    return LEVEL * theta[..., 1]


def squared_again():
    def theta_squared(x, t, theta):
        return theta[..., 1] * theta[..., 1]

    return theta_squared


def todo(folder: Path) -> str:
    text = (folder / "README.md").read_text()
    return text.split("## To be done by the author\n")[1].split("\n## ")[0]


def test_the_package_holds_what_an_editor_asks_for(original: Path, res: dd.Results) -> None:
    wanted = {
        "README.md",
        "LICENSE",
        "CITATION.cff",
        "run.py",
        "config.json",
        "environment.json",
        "requirements.txt",
        "exhibits.csv",
        "data/data.csv",
        "data/codebook.csv",
        "data/dataset_list.csv",
        "artefacts/fit_1/fit.deepdml",
        "artefacts/fit_1/design.json",
        "artefacts/fit_1/record.json",
        "artefacts/fit_1/folds.csv",
        "artefacts/fit_1/seeds.csv",
        "artefacts/fit_1/weights.safetensors",
        "artefacts/table_1/psi.npy",
        *(f"artefacts/table_{j}/{name}.csv" for j in (1, 2, 3) for name in ("params", "covariance")),
        *(f"artefacts/table_{j}/results.deepdml" for j in (2, 3)),
        "artefacts/table_2/psi.npy",
        *(f"tables/table_{j}.{ending}" for j in (1, 2, 3) for ending in ("txt", "tex", "csv")),
        f"software/deepdml-{dd.__version__}-py3-none-any.whl",
    }
    assert set(files_of(original)) == wanted
    loaded = dd.load(original / "artefacts/fit_1/fit.deepdml")
    pd.testing.assert_frame_equal(loaded.cov_params(), res.cov_params(), check_exact=True)
    params = pd.read_csv(original / "artefacts/table_1/params.csv", index_col=0, **EXACT)
    np.testing.assert_array_equal(params["estimate"], res.params)
    np.testing.assert_array_equal(params["std_err"], res.bse)
    np.testing.assert_array_equal(np.load(original / "artefacts/table_1/psi.npy")[0], res.psi)
    folds = pd.read_csv(original / "artefacts/fit_1/folds.csv")
    np.testing.assert_array_equal(folds["fold_1"], res._fit.rows.folds[0])
    np.testing.assert_array_equal(folds["position"], res._fit.rows.rows)
    weights = safetensors.numpy.load((original / "artefacts/fit_1/weights.safetensors").read_bytes())
    assert weights.keys() == res._fit.nets.arrays.keys()
    design = json.loads((original / "artefacts/fit_1/design.json").read_text())
    assert design["x_names"] == list(res._fit.x_names)
    assert (original / "tables/table_1.txt").read_text() == res.summary().as_text() + "\n"


def test_seeds_are_those_that_the_fit_drew_with(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[np.random.SeedSequence]] = {"nets and trees": []}
    learn = crossfit.learn_nuisances

    def watched(setting: object, starts: object, seeds: np.random.SeedSequence, report: object) -> object:
        seen["nets and trees"].append(seeds)
        made = learn(setting, starts, seeds, report)
        assert seeds.n_children_spawned >= 2  # starts and batches are the first two
        return made

    drawn = []
    draw_plan = fitting.draw_plan
    monkeypatch.setattr(crossfit, "learn_nuisances", watched)
    monkeypatch.setattr(
        fitting,
        "draw_plan",
        lambda problem, n_folds, rng: drawn.append(rng.bit_generator.seed_seq) or draw_plan(problem, n_folds, rng),
    )
    dd.fit("y ~ t | x_*", frame, learner="net", epochs=2, seed=4, n_rep=2, n_jobs=1, progress=False)
    seen["folds and blocks"] = drawn
    table = derived_seeds(4, 2).set_index(["use", "repetition"])
    for use, sequences in seen.items():
        for repetition, sequence in enumerate(sequences, start=1):
            row = table.loc[(use, repetition)]
            assert row["spawn_key"] == " ".join(str(v) for v in sequence.spawn_key)
            assert row["state"] == " ".join(str(v) for v in sequence.generate_state(4))


def test_the_readme_follows_the_template_and_says_what_is_known(original: Path, res: dd.Results) -> None:
    text = (original / "README.md").read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == TEMPLATE
    for known in ("Returns to training", "Ada Lovelace, Emmy Noether", "All data are publicly available.", "firms"):
        assert known in text
    assert f"(fit_1: {res._fit.record.seed})" in text
    assert "[to be filled by the author]" not in text
    assert todo(original).strip().splitlines() == [
        "- requirements.txt holds exact versions without hashes of the archives: pip was not started."
    ]
    lines = (original / "run.py").read_text().splitlines()
    seed = int(re.search(r"set at line (\d+) of `run.py`", text)[1])
    assert lines[seed - 1].strip().startswith("seed=")
    for exhibit, line in re.findall(r"^\| (Table \d)\s*\| run.py\s*\|\s*(\d+)", text, re.MULTILINE):
        assert lines[int(line) - 1].strip().startswith(f'"{exhibit}":')


def test_what_the_author_left_out_is_listed(res: dd.Results, tmp_path: Path) -> None:
    folder = res.replication_package(tmp_path / "a" / "package")
    for field in ("title", "authors", "overview", "sources", "rights", "licence", "date", "contact", "labels"):
        assert f"(metadata: {field})" in todo(folder)
    assert "log_wage" not in todo(folder)
    assert "y, t, x_0, x_1, region" in todo(folder)
    assert "[to be filled by the author]" in (folder / "README.md").read_text()
    sources = [{"name": "A survey"}]
    other = res.replication_package(tmp_path / "b", metadata={"sources": sources, "licence": "CC0-1.0"})
    assert "'A survey': citation, licence, access, public" in todo(other)
    assert "creativecommons.org" in (other / "LICENSE").read_text()


def test_licence_and_citation(original: Path) -> None:
    assert "Copyright (c) 2026 Ada Lovelace, Emmy Noether" in (original / "LICENSE").read_text()
    assert "BSD 3-Clause" in (original / "LICENSE").read_text()
    citation = (original / "CITATION.cff").read_text()
    assert '  - family-names: "Lovelace"\n    given-names: "Ada"\n' in citation
    assert 'orcid: "https://orcid.org/0000-0002-1825-0097"' in citation
    assert 'date-released: "2026-01-31"' in citation


def test_codebook_and_list_of_data_sets(original: Path, frame: pd.DataFrame) -> None:
    book = pd.read_csv(original / "data/codebook.csv", keep_default_na=False).set_index("variable")
    assert list(book.index) == ["person", *frame.columns]
    assert dict(book["role"]) == {
        "person": "",
        "y": "outcome",
        "t": "treatment",
        "x_0": "covariate",
        "x_1": "covariate",
        "region": "covariate",
        "firm": "clusters",
    }
    assert book.loc["y", "label"] == "Log wage"
    assert book.loc["y", "missing"] == 2
    assert book.loc["region", "categories"] == "west; south; NA"
    assert book.loc["firm", "type"] == "text"
    assert float(book.loc["t", "maximum"]) == frame["t"].max()
    listed = pd.read_csv(original / "data/dataset_list.csv")
    assert listed.loc[0, "rows"] == len(frame)
    assert listed.loc[0, "bytes"] == (original / "data/data.csv").stat().st_size


def test_the_wheel_holds_this_deepdml(original: Path) -> None:
    (wheel,) = (original / "software").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        record = archive.read(f"deepdml-{dd.__version__}.dist-info/RECORD").decode()
        assert archive.read("deepdml/model.py") == Path(dd.__file__).with_name("model.py").read_bytes()
    assert {line.split(",")[0] for line in record.splitlines()} == names
    assert f"./software/{wheel.name}" in (original / "requirements.txt").read_text()


def test_the_environment_names_every_requirement(original: Path) -> None:
    recorded = json.loads((original / "environment.json").read_text())
    assert {"deepdml", "torch", "numpy", "pandas", "statsmodels", "patsy"} <= recorded["packages"].keys()
    assert "pytest" not in recorded["packages"]
    pins = (original / "requirements.txt").read_text()
    assert f"numpy=={np.__version__}\n" in pins
    assert "deepdml==" not in pins


# What is refused


@pytest.mark.parametrize(
    ("terminal", "progress", "shown"), [(True, None, True), (True, False, False), (False, True, False)]
)
def test_a_line_says_what_takes_long(
    res: dd.Results,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    progress: bool | None,
    shown: bool,
) -> None:
    """As fits do: on a terminal, unless it is not wanted."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    res.replication_package(tmp_path / "package", progress=progress)
    captured = capsys.readouterr()
    assert captured.out == ""
    if not shown:
        assert captured.err == ""
        return
    for stage in ("data and program", "fits and tables", r"pip is asked .* \d+ packages, for 60 seconds at most"):
        assert re.search(f"replication package: {stage}", captured.err)


def test_no_data_no_package(res: dd.Results, tmp_path: Path) -> None:
    res.save(tmp_path / "fit.deepdml")
    loaded = dd.load(tmp_path / "fit.deepdml")
    with pytest.raises(DataError, match=r"needs the raw data.*pass data="):
        loaded.replication_package(tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_a_loaded_fit_and_its_data(res: dd.Results, frame: pd.DataFrame, tmp_path: Path) -> None:
    res.gate("region").save(tmp_path / "gate.deepdml")
    loaded = dd.load(tmp_path / "gate.deepdml")
    folder = loaded.replication_package(tmp_path / "package", frame)
    assert replication.verify(folder).ok
    assert (
        'fit_1(data, context, arrays)\n    return {\n        "Table 1": fit_1_results.gate(by="region"),'
        in (folder / "run.py").read_text()
    )
    # the coefficients themselves are no exhibit, but the fit is there
    assert list(dd.load(folder / "artefacts/fit_1/fit.deepdml").params.index) == ["Intercept", "t"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(y=f["y"] + 1e-12), r"other outcome than the fit had: in 298 row\(s\), 0, 2, 4"),
        (lambda f: f.assign(t=f["t"] * 1.5), "other treatments"),
        (lambda f: f.assign(x_0=f["x_0"].where(f.index != 10, 0.0)), r"other covariates.*in 1 row\(s\), 10"),
        (lambda f: f.assign(y=f["y"].fillna(0.0)), r"other rows kept.*shape \(300,\) instead of \(298,\)"),
        (lambda f: f.iloc[:-1], "the data have 299 rows and the fit had 300"),
    ],
)
def test_other_data_than_those_of_the_fit(
    res: dd.Results, frame: pd.DataFrame, tmp_path: Path, change: Callable[..., pd.DataFrame], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        res.replication_package(tmp_path / "package", change(frame))
    assert list(tmp_path.iterdir()) == []


def test_other_covariates_than_those_of_a_loaded_fit(res: dd.Results, frame: pd.DataFrame, tmp_path: Path) -> None:
    res.save(tmp_path / "fit.deepdml")
    loaded = dd.load(tmp_path / "fit.deepdml")
    with pytest.raises(DataError, match="other covariates than the fit had, as their hash says"):
        loaded.replication_package(tmp_path / "package", frame.assign(x_0=frame["x_1"]))
    loaded.save(tmp_path / "again.deepdml")
    assert dd.load(tmp_path / "again.deepdml")._fit.rows.x_sha256 == res._fit.rows.hash_covariates()


def test_a_folder_that_stands_there(res: dd.Results, package: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="exists; choose another folder, or overwrite=True"):
        res.replication_package(package)
    res.replication_package(package, overwrite=True)
    assert "Table 2" not in (package / "exhibits.csv").read_text()
    (package / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match=r"changed by hand \(notes.txt: not of the package"):
        res.replication_package(package, overwrite=True)
    assert (package / "notes.txt").read_text() == "mine"
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("mine")
    with pytest.raises(OptionError, match="is not a replication package"):
        res.replication_package(home, overwrite=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert replication.verify(res.replication_package(empty)).ok


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"titel": "x"}, "unknown field of metadata 'titel'.*Did you mean 'title'"),
        ({"sources": [{"nam": "x"}]}, "unknown field of sources 'nam'"),
        ({"sources": [{"url": "x"}]}, "sources lacks something.*'name'"),
        ({"authors": "Ada Lovelace"}, "authors is 'Ada Lovelace'; a list is needed"),
        ({"authors": [3]}, "an entry of authors is 3"),
        ({"licence": "GPL"}, "unknown licence in metadata 'GPL'"),
        ({"title": 3}, "title is a int; a str is needed"),
        ("a title", "metadata is a str"),
    ],
)
def test_metadata_are_checked(res: dd.Results, tmp_path: Path, metadata: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        res.replication_package(tmp_path / "package", metadata=metadata)


def test_metadata_as_an_object(res: dd.Results, tmp_path: Path) -> None:
    metadata = replication.Metadata(title="A", authors=(replication.Author("Hopper", "Grace"),))
    text = (res.replication_package(tmp_path / "package", metadata=metadata) / "README.md").read_text()
    assert "Grace Hopper" in text


@pytest.mark.parametrize(
    ("exhibits", "message"),
    [
        (lambda res: {}, "exhibits is empty"),
        (lambda res: {"Table 1": res.params}, "is a Series; Results are needed"),
        (lambda res: {"Table 1": res.policy()}, "of a Policy pack its value"),
        (lambda res: {"Table 1": res, "table-1": res}, "needs a name"),
        (lambda res: {"Table 1": res.estimate(data)}, "with the name 'data', which run.py has already"),
        (lambda res: {"Table 1": res.estimate([one_level, other_level()])}, "with the name 'LEVEL', which run.py has"),
        (lambda res: {"Table 1": res.estimate([theta_squared, squared_again()])}, "two functions.*'theta_squared'"),
        (lambda res: {"Table 1": res.estimate(lambda x, t, theta: theta[..., 1])}, "write it with def"),
    ],
)
def test_exhibits_are_checked(
    res: dd.Results, tmp_path: Path, exhibits: Callable[[dd.Results], dict[str, object]], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        res.replication_package(tmp_path / "package", exhibits=exhibits(res))


def test_results_without_their_options_or_rows(res: dd.Results, frame: pd.DataFrame, tmp_path: Path) -> None:
    res.save(tmp_path / "fit.deepdml")
    old = dd.load(tmp_path / "fit.deepdml")
    old._recipe = None  # as loaded from a file of an older version
    with pytest.raises(OptionError, match="saved by an older version"):
        old.replication_package(tmp_path / "package", frame)
    res.save(tmp_path / "bare.deepdml", remove_data=True)
    with pytest.raises(DataError, match="needs the arrays of the fit"):
        dd.load(tmp_path / "bare.deepdml").replication_package(tmp_path / "package", frame)


def test_an_unknown_form(res: dd.Results, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown form of the data 'xlsx'"):
        res.replication_package(tmp_path / "package", form="xlsx")


def test_the_script_is_python_that_names_every_option(original: Path) -> None:
    tree = ast.parse((original / "run.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (fit,) = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "fit"]
    named = {keyword.arg for keyword in fit.keywords}
    assert {"family", "weights", "missing", "learner", "n_folds", "n_rep", "hidden", "epochs", "lr"} <= named
    assert {"weight_decay", "ensemble", "treatment", "lambda_", "cov_type", "cov_kwds", "seed", "n_jobs"} <= named


def test_a_function_is_kept_with_its_source(res: dd.Results, tmp_path: Path) -> None:
    exhibits = {"Curves": res.estimate({"squared": theta_squared})}
    folder = res.replication_package(tmp_path / "package", exhibits=exhibits)
    script = (folder / "run.py").read_text()
    assert "def theta_squared(x, t, theta):\n    return theta[..., 1] ** 2\n" in script
    assert 'estimate(estimands={"squared": theta_squared})' in script


def asymmetric(y, t, theta):
    return (y - (t * theta).sum(-1)) ** 2 * (1.0 + 0.5 * (y > 0))


@pytest.mark.parametrize(
    ("family", "written"),
    [
        (dd.families.Tobit(lower=None, upper=1.5), "dd.families.Tobit(lower=None, upper=1.5)"),
        (dd.families.CustomLoss(asymmetric, ["level", "effect"]), "dd.families.CustomLoss(function=asymmetric, names="),
    ],
)
def test_families_with_options_and_losses_are_written_down(family, written: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"t": rng.integers(0, 2, 300) * 1.0, "x": rng.standard_normal(300)})
    frame["y"] = np.minimum(frame["x"] + frame["t"] + rng.standard_normal(300), 1.5)
    res = dd.fit("y ~ t | x", frame, family, learner="net", hidden=(4,), epochs=2, seed=1)
    folder = res.replication_package(tmp_path / "package", data=frame)
    script = (folder / "run.py").read_text()
    assert written in script
    assert ("def asymmetric(y, t, theta):" in script) == isinstance(family, dd.families.CustomLoss)
    assert replication.verify(folder).failures == ()


def jittered(x, rng):
    return x + 0.1 * rng.standard_normal(x.shape)


@pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")  # of a sample this small
def test_backbone_and_views_are_written_down(frame: pd.DataFrame, tmp_path: Path) -> None:
    options = {"backbone": dd.Conv(1, 2, columns="x_*"), "hidden": (4,), "augment": jittered}
    made = dd.fit("y ~ t | x_* + region", frame, learner="net", epochs=1, seed=1, **options)
    folder = made.replication_package(tmp_path / "package", frame)
    script = (folder / "run.py").read_text()
    assert "backbone=dd.Conv(height=1, width=2, channels=1, columns='x_*')" in script
    assert "augment=jittered" in script
    assert "def jittered(x, rng):" in script


def test_the_default_has_neither(original: Path) -> None:
    script = (original / "run.py").read_text()
    assert 'backbone="mlp"' in script
    assert "augment=None" in script


class Net(torch.nn.Module):
    def __init__(self, p: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(p, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layer(x))


@pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")  # of a sample this small
def test_a_class_of_modules_is_refused(frame: pd.DataFrame, tmp_path: Path) -> None:
    made = dd.fit("y ~ t | x_* + region", frame, learner="net", epochs=1, seed=1, backbone=Net)
    with pytest.raises(OptionError, match=r"Net is a class, and only functions are written into a package"):
        made.replication_package(tmp_path / "package", frame)


def test_encoders_are_listed_with_revision_and_licence(frame: pd.DataFrame, tmp_path: Path) -> None:
    def lengths(texts: list[str]) -> np.ndarray:
        return np.array([[len(t), t.count("1")] for t in texts], float)

    firms = frame["firm"]
    emb = dd.embed.text(firms, model=lengths, name="lengths", revision="3", licence="CC0-1.0", cache=False)
    bare = dd.embed.text(firms, model=lengths, name="bare", revision="1", cache=False, prefix="bare")
    data = dd.embed.join(frame, emb)
    res = dd.fit("y ~ t | emb_* + z", data, learner="net", epochs=1, seed=1, progress=False, context={"z": bare})
    folder = res.replication_package(tmp_path / "package", metadata={"title": "Firms"}, hashes=False)
    listed = json.loads((folder / "data/encoders.json").read_text())
    assert [(card["model"], card["revision"], card["licence"]) for card in listed] == [
        ("lengths", "3", "CC0-1.0"),
        ("bare", "1", "not stated"),
    ]
    readme = (folder / "README.md").read_text()
    assert "- lengths (text), revision 3, licence: CC0-1.0." in readme
    assert "The licence of the encoder(s) bare (licence= of dd.embed)." in readme
    assert replication.verify(folder).ok


def test_no_encoders_no_list(original: Path) -> None:
    assert not (original / "data/encoders.json").exists()
    assert "Encoders of Texts" not in (original / "README.md").read_text()

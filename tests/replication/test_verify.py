from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import deepdml as dd
from deepdml import cli, replication
from deepdml.errors import DataError
from deepdml.replication import environment, rerun
from deepdml.replication.manifest import MANIFEST, files_of, write_manifest

pytestmark = pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")

Forge = Callable[[str, Callable[[bytes], bytes]], Path]


def theta_squared(x, t, theta):
    return theta[..., 1] ** 2


def failures(folder: Path) -> list[str]:
    return list(replication.verify(folder).failures)


def test_a_package_passes_where_it_is_copied_to(package: Path) -> None:
    found = replication.verify(package)
    assert found.ok
    assert found.failures == ()
    assert len(found.checks) == 3
    assert "3 table(s) follow from psi" in str(found)


@pytest.mark.parametrize(
    "name", ["README.md", "data/data.csv", "run.py", "artefacts/table_2/psi.npy", "tables/table_1.tex"]
)
def test_a_changed_file(package: Path, name: str) -> None:
    path = package / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert failures(package) == [f"{name}: changed since the package was written; its SHA-256 is not the manifest's"]


def test_every_file_is_watched(package: Path) -> None:
    for name in files_of(package):
        with (package / name).open("ab") as handle:
            handle.write(b"\n")
    changed = [line for line in failures(package) if "changed since" in line]
    assert len(changed) == len(files_of(package))


@pytest.mark.parametrize("name", ["data/data.csv", "artefacts/fit_1/fit.deepdml", "config.json", "tables/table_3.csv"])
def test_a_missing_file(package: Path, name: str) -> None:
    (package / name).unlink()
    assert failures(package) == [f"{name}: missing; the manifest lists it"]


def test_a_file_too_many(package: Path) -> None:
    (package / "data/more.csv").write_text("a\n1\n")
    assert failures(package) == ["data/more.csv: not of the package; the manifest does not list it"]
    (package / "data/more.csv").unlink()
    (package / "output/tables").mkdir(parents=True)
    (package / "output/tables/table_1.txt").write_text("what a run writes")
    assert replication.verify(package).ok
    (package / "data/output").mkdir()
    (package / "data/output/hidden.csv").write_text("a")
    assert failures(package) == ["data/output/hidden.csv: not of the package; the manifest does not list it"]


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("artefacts/table_1/params.csv", lambda b: b.replace(b"t,", b"t,1"), "params.csv is not what psi"),
        ("artefacts/table_2/covariance.csv", lambda b: b.replace(b"0.02", b"0.03"), "covariance.csv is not what psi"),
        ("tables/table_3.tex", lambda b: b.replace(b"HC0", b"HC1"), "table_3.tex is not what psi"),
        ("artefacts/table_2/psi.npy", lambda b: b[:-8] + np.float64(1e3).tobytes(), "psi.npy is not the psi of"),
        ("artefacts/table_2/results.deepdml", lambda b: b[:1000], "its files cannot be read"),
        ("artefacts/table_2/psi.npy", lambda b: b[:40], "its files cannot be read"),
    ],
)
def test_a_change_that_the_manifest_hides(forge: Forge, name: str, how: Callable[[bytes], bytes], message: str) -> None:
    found = failures(forge(name, how))
    assert any(message in line for line in found)
    assert all("\n" not in line for line in found)


def test_estimates_that_are_not_those_of_psi(package: Path, res: dd.Results) -> None:
    """Estimates and tables are forged alike; psi gives them away."""
    from dataclasses import replace

    from deepdml.replication.artefacts import write_outcome
    from deepdml.results.storage import parts_of, save

    parts = parts_of(res)
    estimates = parts.estimates
    covariance = replace(estimates.covariance, matrix=estimates.covariance.matrix / 4)
    forged = replace(parts, estimates=replace(estimates, params=estimates.params + 1e-6, covariance=covariance))
    save(package / "artefacts/fit_1/fit.deepdml", forged)
    write_outcome(package, "table_1", dd.Results(forged.fit, forged.estimand, forged.estimates))
    write_manifest(package)
    assert failures(package) == [
        "Table 1: the estimates are not the means of psi",
        "Table 1: the covariance is not that of psi",
    ]


def test_other_versions(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = environment.installed
    changed = {"numpy": "1.0", "torch": None}
    monkeypatch.setattr(environment, "installed", lambda name: changed.get(name, installed(name)))
    monkeypatch.setattr(environment.platform, "python_version", lambda: "3.9.1")
    recorded = json.loads((package / "environment.json").read_text())
    assert failures(package) == [
        f"Python {'.'.join(recorded['python'].split('.')[:2])} was used, 3.9 is running",
        f"numpy {np.__version__} was used, 1.0 is installed",
        f"torch {recorded['packages']['torch']} was used, none is installed",
    ]


def test_another_build_is_the_same_version(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = json.loads((package / "environment.json").read_text())
    version = recorded["packages"]["torch"]
    installed = environment.installed
    monkeypatch.setattr(environment, "installed", lambda n: f"{version}.other" if n == "torch" else installed(n))
    assert not environment.same_machine(recorded)
    if "+" not in version:
        monkeypatch.setattr(environment, "installed", lambda n: f"{version}+cu1" if n == "torch" else installed(n))
    found = replication.verify(package)
    assert found.ok
    assert f"for {version}" in found.checks[-1]


def test_what_is_no_package(tmp_path: Path, package: Path) -> None:
    with pytest.raises(DataError, match="is not a replication package"):
        replication.verify(tmp_path)
    (package / "config.json").write_text('{"format": "another"}')
    write_manifest(package)
    with pytest.raises(DataError, match="not of a replication package of deepdml"):
        replication.verify(package)
    (package / "config.json").write_text('{"format": "deepdml-replication", "version": 99}')
    write_manifest(package)
    with pytest.raises(DataError, match="format version 99"):
        replication.verify(package)
    (package / MANIFEST).write_text("nonsense")
    with pytest.raises(DataError, match="line 1 is not a hash"):
        replication.verify(package)


# Running again


def test_a_rerun_gives_the_same_bits(package: Path) -> None:
    found = replication.verify(package, rerun=True)
    assert found.ok, found
    assert "agrees to every bit" in found.checks[-1]


@pytest.mark.parametrize(
    ("terminal", "progress", "shown"), [(True, None, True), (True, False, False), (False, None, False)]
)
def test_a_rerun_shows_that_it_goes_on(
    package: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    progress: bool | None,
    shown: bool,
) -> None:
    """As fits do: on a terminal, unless it is not wanted."""
    report = "import json, sys, time; time.sleep(1.2); open(sys.argv[2] + '/run.json', 'w').write('{}')"
    (package / "slow.py").write_text(report)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    (tmp_path / "output").mkdir()
    rerun.rerun_script(package, "slow.py", tmp_path / "output", recorded=80.0, progress=progress)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("slow.py trains again" in captured.err and "recorded 80 s" in captured.err) == shown
    assert bool(captured.err) == shown


def test_the_bar_of_a_rerun_runs_to_the_recorded_time(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def script(folder: Path, name: str, output: Path, **options: object) -> dict[str, object]:
        asked.update(options)
        return {"exact": True, "seconds": 1.0, "failures": []}

    monkeypatch.setattr(sys.modules["deepdml.replication.verify"], "rerun_script", script)
    assert replication.verify(package, rerun=True, progress=False).ok
    records = [dd.load(path) for path in (package / "artefacts").rglob("*.deepdml")]
    assert asked == {"recorded": records[0].diagnostics.record.seconds, "progress": False}


def test_an_interrupted_rerun_leaves_nothing_running(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "slow.py").write_text("import time; time.sleep(600)")
    seen: list[subprocess.Popen[str]] = []

    def interrupt(process: subprocess.Popen[str], *_: object) -> str:
        seen.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(rerun, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rerun.rerun_script(package, "slow.py", tmp_path)
    assert seen[0].returncode is not None


def test_the_script_runs_with_the_deepdml_of_the_package_and_nothing_else_of_it(package: Path) -> None:
    """A wheel of pure Python is also a zip file that Python imports from."""
    (wheel,) = (package / "software").iterdir()
    recorded = json.loads((package / "environment.json").read_text())["threads in the environment"]
    bare = {name: value for name, value in os.environ.items() if name not in environment.THREADS}
    command = [sys.executable, "run.py"]
    done = subprocess.run(
        command,
        cwd=package,
        env={**bare, **recorded, "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"Table {j}: the same bits" for j in (1, 2, 3)]
    for name in ("tables/table_1.txt", "artefacts/table_2/covariance.csv"):
        assert (package / "output" / name).read_bytes() == (package / name).read_bytes()
    assert replication.verify(package).ok


def test_a_rerun_from_other_data_differs(forge: Forge) -> None:
    def swap(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        return b"".join([lines[0], *lines[2:], lines[1]])

    found = replication.verify(forge("data/data.csv", swap), rerun=True)
    assert len(found.failures) == 3
    assert "Table 1: the rerun differs on the machine where every bit must agree" in found.failures[0]


def test_a_script_that_stops(forge: Forge) -> None:
    folder = forge(
        "run.py", lambda b: b.replace(b"    return dd.fit(", b'    raise ValueError("no luck")\n    return dd.fit(')
    )
    assert failures_of_rerun(folder) == ["run.py stopped with exit code 1: ValueError: no luck"]


def test_a_changed_package_is_not_run(package: Path) -> None:
    (package / "run.py").write_text("raise SystemExit('never reached')")
    found = failures_of_rerun(package)
    assert found[-1] == "the master script was not run: its files are not those of the package"
    assert len(found) == 2


def failures_of_rerun(folder: Path) -> list[str]:
    return list(replication.verify(folder, rerun=True).failures)


@pytest.mark.parametrize(
    ("away", "wider", "message"),
    [(0.19, 1.09, None), (0.21, 1.0, "by more than 0.2 standard errors"), (0.0, 1.11, "or 10%"), (-0.21, 1.0, "0.21")],
)
def test_the_tolerance_on_another_machine(
    package: Path, tmp_path: Path, away: float, wider: float, message: str | None
) -> None:
    names, params, matrix = rerun.read_numbers(package, "table_1")
    folder = tmp_path / "artefacts/table_1"
    folder.mkdir(parents=True)
    errors = np.sqrt(np.diag(matrix))
    frame = pd.DataFrame({"estimate": params + away * errors}, index=names)
    frame.to_csv(folder / "params.csv")
    pd.DataFrame(matrix * wider**2, index=names, columns=names).to_csv(folder / "covariance.csv")
    found = rerun.compare(package, tmp_path, "Table 1", "table_1", exact=False)
    assert (found is None) if message is None else (message in found)
    frame.rename(index={"t": "u"}).to_csv(folder / "params.csv")
    assert "other rows (Intercept, u)" in rerun.compare(package, tmp_path, "Table 1", "table_1", exact=False)


def test_the_bits_are_expected_only_on_the_same_machine(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = json.loads((package / "environment.json").read_text())
    assert environment.same_machine(recorded)
    assert not environment.same_machine({**recorded, "processor": "another"})
    monkeypatch.setenv("OMP_NUM_THREADS", "17")
    assert not environment.same_machine(recorded)


def test_every_kind_of_exhibit_can_be_made_again(res: dd.Results, frame: pd.DataFrame, tmp_path: Path) -> None:
    clusters = np.arange(len(frame)) // 10
    contrast = res.estimate(
        [dd.Contrast("t", 1, 0, subset=(frame["x_0"] > 0).to_numpy()), dd.DoseResponse("t", [0.0, 1.0])]
    )
    exhibits = {
        "Effects": contrast,
        "By region": res.estimate(dd.Contrast("t", 1, 0)).gate("region"),
        "By label": res.gate(pd.Series(np.arange(len(frame)) % 2, name="half")),
        "Projection": res.blp("x_0 + C(region)", of="t"),
        "Joined": res.estimate([res.gate("region"), theta_squared]),
        "Margins": res.get_margeff(method="dyex"),
        "Clusters": res.get_robustcov_results("cluster", groups=clusters),
        "Policy": res.policy(cost=0.1, on="x_0").value,
        "Sorted": res.sorted_effects(3),
        "Calibrated": res.calibration(),
        "Curve": res.rank_curve((0.2, 0.5)),
        "Ends": res.most_and_least_affected("x_1", share=0.3),
    }
    folder = res.replication_package(tmp_path / "package", exhibits=exhibits)
    found = replication.verify(folder, rerun=True)
    assert found.ok, found
    assert "12 table(s) follow from psi" in str(found)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_several_fits_with_arrays_beside_the_data(frame: pd.DataFrame, tmp_path: Path, form: str) -> None:
    pytest.importorskip("pyarrow")
    frame = frame.dropna().reset_index(drop=True)
    rng = np.random.default_rng(0)
    n = len(frame)
    frame["arm"] = rng.integers(0, 2, n)
    options = {"learner": "net", "epochs": 2, "progress": False, "n_jobs": 1}
    context = {"emb": rng.standard_normal((n, 3)), "half": 0.5, "tanh": np.tanh}
    first = dd.fit(
        "y ~ t | emb + tanh(x_0 * half) + C(region)",
        frame,
        context=context,
        weights=rng.uniform(1, 2, n),
        seed=1,
        **options,
    )
    frame["w"] = rng.uniform(1, 2, n)
    second = dd.fit("y ~ arm | x_*", frame, weights="w", treatment=rng.uniform(0.4, 0.6, n), n_rep=2, seed=2, **options)
    groups = {"groups": pd.DataFrame({"firm": frame["firm"], "cell": np.arange(n) % 40})}
    third = dd.fit("y ~ arm | x_*", frame, cov_type="cluster", cov_kwds=groups, seed=3, **options)
    shown = {"One": first, "Two": second, "Three": third}
    folder = first.replication_package(tmp_path / "package", exhibits=shown, form=form)
    found = replication.verify(folder, rerun=True)
    assert found.ok, found
    script = (folder / "run.py").read_text()
    assert 'data["firm"]' in script
    assert "import numpy" in script
    assert not [finding for finding in replication.lint(folder) if finding.kind == "undeclared import"]


def test_arrays_of_structural_dml(tmp_path: Path) -> None:
    draw = dd.simulate.authors_example(n=300, seed=1)
    x = draw.data.filter(like="x_").to_numpy()
    res = dd.structural_dml(draw.data["y"], draw.data["t"], x, n_folds=5, epochs=2, learner="net", seed=1, n_jobs=1)
    found = replication.verify(res.replication_package(tmp_path / "package"), rerun=True)
    assert found.ok, found


# The command


def invoke(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.main, ["replicate", *(str(a) for a in arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_writes_verifies_and_lints(res: dd.Results, frame: pd.DataFrame, tmp_path: Path) -> None:
    # a csv file does not hold the type of `region`, whose levels the design has in another order
    data = frame.reset_index(drop=True).astype({"region": str})
    fit = dd.fit("y ~ t | x_*", data, learner="net", epochs=2, seed=1, n_jobs=1, progress=False)
    data.to_csv(tmp_path / "data.csv", index=False)
    fit.save(tmp_path / "fit.deepdml")
    (tmp_path / "paper.json").write_text(json.dumps({"title": "A paper"}))
    arguments = (tmp_path / "package", tmp_path / "data.csv", tmp_path / "fit.deepdml")
    code, out, _ = invoke("write", *arguments, "--metadata", tmp_path / "paper.json")
    assert (code, "package written to" in out) == (0, True)
    assert "# Replication package for: A paper" in (tmp_path / "package/README.md").read_text()
    code, out, error = invoke("verify", tmp_path / "package")
    assert (code, len(out.splitlines()), error) == (0, 3, "")
    assert invoke("lint", tmp_path / "package")[:2] == (0, "nothing to ask about\n")
    code, _, error = invoke("write", *arguments)
    assert code == 1
    assert "exists" in error
    assert invoke("write", *arguments, "--overwrite")[0] == 0
    (tmp_path / "package/LICENSE").unlink()
    shutil.copy(tmp_path / "package/run.py", tmp_path / "package/copy.py")
    code, _, error = invoke("verify", tmp_path / "package")
    assert code == 1
    assert sorted(error.splitlines()) == [
        "Error: LICENSE: missing; the manifest lists it",
        "Error: copy.py: not of the package; the manifest does not list it",
    ]
    code, _, error = invoke("lint", tmp_path / "package")
    assert code == 1
    assert "duplicate file" in error
    (tmp_path / "paper.json").write_text("{")
    assert "cannot be read as JSON" in invoke("write", *arguments, "--metadata", tmp_path / "paper.json")[2]

from __future__ import annotations

import datetime
import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepdml.errors import InferenceWarning, OptionError, ResultsFileError
from deepdml.families import Gaussian
from deepdml.learn.influence import LocationScaleLaw, Recalibrated
from deepdml.results import Results, load, make_results
from deepdml.results.plain import decode, encode


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the JSON part of a file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(members["meta.json"])
    change(meta)
    members["meta.json"] = json.dumps(meta).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("weights", [False, True])
def test_a_loaded_file_is_the_same_results(build: Callable[..., Any], tmp_path: Path, weights: bool) -> None:
    known = build(weights=weights, dropped=4)
    codes = np.arange(400) % 40
    known = replace(known, folds=(codes % 5)[None])
    known = replace(known, data=replace(known.data, groups=codes[:, None], group_names=("firm",)))
    noise = np.broadcast_to(0.1 * np.eye(2), (400, 2, 2))
    second = Recalibrated(1.5 * known.influence.theta, 2.0 * known.influence.lambda_inverse)
    known = replace(known, influence=replace(known.influence, noise=noise, recalibrated=second))
    res = known.results(cov_type="cluster")
    path = tmp_path / "wages.deepdml"
    res.save(path)
    other = load(path)
    assert type(other) is Results
    assert str(other.summary()) == str(res.summary())
    pd.testing.assert_series_equal(other.params, res.params, check_exact=True)
    pd.testing.assert_frame_equal(other.cov_params(), res.cov_params(), check_exact=True)
    assert other.t_test("t = 1").pvalue == res.t_test("t = 1").pvalue
    assert str(other.wald_test_terms()) == str(res.wald_test_terms())
    for name in ("theta", "psi"):
        pd.testing.assert_frame_equal(getattr(other, name), getattr(res, name), check_exact=True)
    pd.testing.assert_series_equal(other.predict(), res.predict(), check_exact=True)
    pd.testing.assert_frame_equal(other.hte(), res.hte())
    assert str(other.diagnostics) == str(res.diagnostics)
    for kind in ("HC0", "cluster"):
        a, b = other.get_robustcov_results(kind), res.get_robustcov_results(kind)
        pd.testing.assert_frame_equal(a.cov_params(), b.cov_params(), check_exact=True)
    piece = other._fit.rows.repetitions[0]
    np.testing.assert_array_equal(piece.noise, noise)
    np.testing.assert_array_equal(piece.recalibrated.theta, second.theta)
    np.testing.assert_array_equal(piece.recalibrated.lambda_inverse, second.lambda_inverse)
    assert other._fit.record == res._fit.record
    np.testing.assert_array_equal(other._fit.nets.arrays["slope"], known.nets.arrays["slope"])
    assert other._fit.nets.config == known.nets.config
    assert other.model.formula == "y ~ t | x*"
    # once more, from what was loaded
    other.save(tmp_path / "again.deepdml")
    assert str(load(tmp_path / "again.deepdml").summary()) == str(res.summary())


def test_handles_class_method_and_overwriting(results: Results, tmp_path: Path) -> None:
    handle = io.BytesIO()
    results.save(handle)
    handle.seek(0)
    assert load(handle).params.equals(results.params)
    path = tmp_path / "a.deepdml"
    path.write_text("old")
    results.save(str(path))
    assert Results.load(str(path)).params.equals(results.params)
    assert [p.name for p in tmp_path.iterdir()] == ["a.deepdml"]


def test_a_failed_save_leaves_the_old_file(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.deepdml"
    results.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(type(results._fit.design), "to_dict", lambda self: {"not JSON": object()})
    with pytest.raises(TypeError):
        results.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.deepdml"]


def test_without_data(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "full")
    results.save(tmp_path / "small", remove_data=True)
    assert (tmp_path / "small").stat().st_size < (tmp_path / "full").stat().st_size / 5
    assert str(load(tmp_path / "small").summary()) == str(results.summary())
    assert results.theta.shape == (400, 2)  # saving takes nothing away here


def test_repetitions_and_other_laws(build: Callable[..., Any], tmp_path: Path) -> None:
    known = build()
    law = LocationScaleLaw(
        mean=np.arange(400.0),
        scale=np.ones(400),
        residuals=np.array([-1.0, 1.0]),
        weights=np.array([0.5, 0.5]),
        grid=np.array([0.0, 1.0]),
        grid_rows=np.array([[1.0, 0.0], [1.0, 1.0]]),
        affine=True,
    )
    pieces = (replace(known.influence, law=law), replace(known.influence, law=None), known.influence)
    folds = np.repeat(known.folds, 3, axis=0)
    res = make_results(known.data, Gaussian(), pieces, folds, replace(known.record, n_rep=3), None)
    res.save(tmp_path / "a")
    other = load(tmp_path / "a")._fit.rows.repetitions
    assert [type(piece.law) for piece in other] == [type(piece.law) for piece in pieces]
    assert other[0].law.affine is True
    for mine, theirs in zip(other[0].law.nodes(slice(3, 6)), law.nodes(slice(3, 6)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert load(tmp_path / "a")._fit.nets is None


@pytest.mark.parametrize(
    "labels",
    [
        pd.RangeIndex(10, 410),
        pd.Index(np.linspace(0, 1, 400)),
        pd.Index([f"firm {i}" for i in range(400)]),
        pd.date_range("2020-01-01", periods=400, freq="h"),
        pd.date_range("2020-01-01", periods=400, freq="h", tz="Europe/Rome"),
        pd.MultiIndex.from_product([[f"f{i}" for i in range(40)], range(10)]),
        pd.Index([datetime.date(2020, 1, 1) + datetime.timedelta(days=i) for i in range(400)]),
        pd.Index([None, 1, "two", 3.5] * 100, dtype=object),
    ],
    ids=["range", "float", "text", "time", "time zone", "multi", "date", "mixed"],
)
def test_row_labels_come_back(build: Callable[..., Any], tmp_path: Path, labels: pd.Index) -> None:
    known = build()
    res = replace(known, data=replace(known.data, index=labels.to_numpy())).results()
    res.save(tmp_path / "a")
    pd.testing.assert_index_equal(load(tmp_path / "a").theta.index, res.theta.index, exact=True)


def test_notes_come_back_without_new_warnings(build: Callable[..., Any], tmp_path: Path) -> None:
    known = build()
    with pytest.warns(InferenceWarning, match="Only 5 clusters"):
        res = known.results().get_robustcov_results("cluster", groups=np.arange(400) % 5)
    res.save(tmp_path / "a")
    other = load(tmp_path / "a")  # a warning would be an error
    assert "Only 5 clusters" in str(other.summary())
    assert str(other.summary()) == str(res.summary())


def test_numbers_that_are_not_finite_stay_strict_json() -> None:
    value = {"a": [1.0, float("inf"), {"b": float("-inf")}], "c": np.float64(2.5), "d": (1, None, True, "x")}
    text = json.dumps(encode(value), allow_nan=False)
    assert decode(json.loads(text)) == {"a": [1.0, np.inf, {"b": -np.inf}], "c": 2.5, "d": [1, None, True, "x"]}
    assert np.isnan(decode(encode(float("nan"))))


def test_the_file_is_open(results: Results, tmp_path: Path) -> None:
    from safetensors.numpy import load as load_tensors

    results.save(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a") as archive:
        names = set(archive.namelist())
        meta = json.loads(archive.read("meta.json"))
        theta = np.load(io.BytesIO(archive.read("arrays/0/theta.npy")), allow_pickle=False)
        nets = load_tensors(archive.read("nets.safetensors"))
    assert {name.split(".")[-1] for name in names} == {"json", "npy", "safetensors"}
    assert (meta["format"], meta["version"], meta["family"]) == ("deepdml-results", 1, {"name": "gaussian"})
    np.testing.assert_array_equal(theta, results.theta)
    assert list(nets) == ["slope"]


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(results: Results, tmp_path: Path) -> None:
    path, proof = tmp_path / "a", tmp_path / "proof"
    results.save(path)
    evil = io.BytesIO()
    np.save(evil, np.array([Payload(proof)], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("arrays/evil.npy", evil.getvalue())
    with pytest.raises(ResultsFileError):
        load(path)
    path.write_bytes(pickle.dumps(Payload(proof)))
    with pytest.raises(ResultsFileError):
        load(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda meta: meta.update(format="other"), "not a file of saved Results"),
        (lambda meta: meta.update(version=99), "format version 99, this deepdml reads up to 1. Update"),
        (lambda meta: meta.update(family={"name": "tobit 7"}), "family 'tobit 7' is not registered"),
        (lambda meta: meta.update(estimand="unknown"), "damaged"),
        (lambda meta: meta["record"].pop("learner"), "damaged"),
        (lambda meta: meta["record"].update(novel=1), "damaged"),
        (lambda meta: meta.pop("labels"), "damaged"),
        (lambda meta: meta.update(laws=["unheard of"]), "damaged"),
        (lambda meta: meta.update(names=None), "damaged"),
    ],
)
def test_other_contents_are_refused(
    results: Results, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    results.save(tmp_path / "a")
    rewrite(tmp_path / "a", change)
    with pytest.raises(ResultsFileError, match=message):
        load(tmp_path / "a")


def test_files_with_the_notes_of_earlier_versions_are_read(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "a")
    rewrite(tmp_path / "a", lambda meta: meta["record"].update(notes=[]))
    assert load(tmp_path / "a")._fit.record == results._fit.record


def test_damaged_files_are_refused(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "a"
    results.save(path)
    whole = path.read_bytes()
    for content in (b"", b"y,t\n1,2\n", whole[: len(whole) // 2], whole[len(whole) // 2 :], whole[:-5]):
        path.write_bytes(content)
        with pytest.raises(ResultsFileError, match=r"a' is (damaged|a zip)"):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent")


def test_what_is_no_file_is_refused(results: Results, tmp_path: Path) -> None:
    with pytest.raises(ResultsFileError, match="is a folder; add the name of the file in it"):
        load(tmp_path)
    for given in (None, 3, results):
        with pytest.raises(ResultsFileError, match="is named by a text or a path, not by"):
            load(given)  # type: ignore[arg-type]
    for write in (results.save, results.report):
        with pytest.raises(OptionError, match="is a folder; add the name of the file"):
            write(tmp_path)
        for given in (None, 3):
            with pytest.raises(OptionError, match="a file is named by a text or a path, not by"):
                write(given)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_flipped_bytes_are_never_another_error(results: Results, tmp_path: Path) -> None:
    """A changed byte is found by the checksums of the zip, or sits where it changes nothing."""
    path = tmp_path / "a"
    results.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    directory = whole.rindex(b"PK\x01\x02") - 1500  # headers, where a flip does most harm
    outcomes = set()
    for position in [*rng.integers(0, len(whole), 60), *rng.integers(directory, len(whole), 60)]:
        changed = bytearray(whole)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        try:
            other = load(path)
        except ResultsFileError:
            outcomes.add("refused")
        else:
            np.testing.assert_array_equal(other.params, results.params)
            outcomes.add("same")
    assert "refused" in outcomes


def test_another_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ResultsFileError, match="a zip file, but not of saved Results"):
        load(tmp_path / "a.zip")


def test_reading_never_imports_torch(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "a"
    results.save(path)
    script = """
import sys
from deepdml.results import load
res = load(sys.argv[1])
res.summary().as_latex(), res.t_test("t = 0"), res.get_robustcov_results("HC0")
res.hte(), res.predict(), str(res.diagnostics), res.wald_test_terms()
assert "torch" not in sys.modules
print(res.summary())
"""
    run = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert not run.returncode, run.stderr
    assert run.stdout.strip() == str(results.summary()).strip()

"""Data come back from files as they were, bit by bit and type by type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepdml.errors import DataError
from deepdml.replication import read_data
from deepdml.replication.rawdata import collect_data, write_data


def there_and_back(data: Any, folder: Path, form: str, **context: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    raw = collect_data(data, context)
    folder.mkdir(parents=True, exist_ok=True)
    entry = write_data(raw, folder, form)
    (folder / "config.json").write_text(json.dumps({"data": entry}))
    return read_data(folder)[:2]


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "whole": [1, -2, 3],
            "small": np.array([1, 2, 255], np.uint8),
            "float": [0.1, np.nan, -np.inf],
            "single": np.array([0.1, 1e-30, np.nan], np.float32),
            "flag": [True, False, True],
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "maybe": pd.array([True, None, False], dtype="boolean"),
            "date": pd.to_datetime(["2020-01-31", None, "2021-02-28 12:30:00.000001"], format="ISO8601"),
            "zoned": pd.to_datetime(["2020-01-31", "2020-07-31", None]).tz_localize("Europe/Paris"),
            "span": pd.to_timedelta(["1 day", "2 hours", None]),
            "level": pd.Categorical(["b", None, "a"], categories=["b", "a", "c"]),
            "rank": pd.Categorical([2, 1, 2], categories=[2, 1], ordered=True),
        }
    )


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_types_and_values(tmp_path: Path, form: str) -> None:
    pytest.importorskip("pyarrow")
    frame = table()
    before = frame.copy(deep=True)
    data, _ = there_and_back(frame, tmp_path, form)
    pd.testing.assert_frame_equal(data, before, check_exact=True, check_freq=False)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_text_is_taken_as_it_is(tmp_path: Path, form: str) -> None:
    pytest.importorskip("pyarrow")
    values = ["NA", "nan", 'a "quoted", one', "two\nlines", None, "1", " space ", "é", "None"]
    data, _ = there_and_back(pd.DataFrame({"text": values}, dtype=object), tmp_path, form)
    assert [None if pd.isna(v) else v for v in data["text"]] == values


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([10, 5, 7], name="id"),
        pd.Index(["a", "b", "c"]),
        pd.MultiIndex.from_tuples([("x", 1), ("x", 2), ("y", 1)], names=["city", "year"]),
        pd.Index([1, 2, 3], name="whole"),
    ],
)
def test_row_labels(tmp_path: Path, index: pd.Index) -> None:
    frame = table()[["whole", "float"]].set_index(index)
    data, _ = there_and_back(frame, tmp_path, "csv")
    assert list(data.index) == list(index)
    assert data.index.names == index.names
    pd.testing.assert_frame_equal(data.reset_index(drop=True), frame.reset_index(drop=True))


def test_vectors_and_context(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    emb, image = rng.standard_normal((3, 4)), rng.standard_normal((3, 2)).astype(np.float32)
    frame = pd.DataFrame({"y": [1.0, 2.0, 3.0], "emb": list(emb)})
    data, context = there_and_back(frame, tmp_path, "csv", image=image, cut=np.float64(0.5), label="a", f=np.tanh)
    assert list(data.columns) == ["y"]
    assert context.keys() == {"emb", "image", "cut", "label"}
    np.testing.assert_array_equal(context["emb"], emb)
    np.testing.assert_array_equal(context["image"], image)
    assert context["image"].dtype == np.float32
    assert (context["cut"], context["label"]) == (0.5, "a")


@pytest.mark.parametrize("library", ["polars", "pyarrow", "dict"])
def test_other_libraries(tmp_path: Path, library: str) -> None:
    values: dict[str, Any] = {"y": [0.1, 2.5, -1.0], "n": [1, 2, 3], "s": ["a", None, "NA"]}
    if library == "polars":
        data: Any = pytest.importorskip("polars").DataFrame(values)
    elif library == "pyarrow":
        data = pytest.importorskip("pyarrow").table(values)
    else:
        data = {**values, "X": np.eye(3)}
    back, context = there_and_back(data, tmp_path, "csv")
    assert back["y"].tolist() == values["y"]
    assert back["n"].tolist() == values["n"]
    assert [None if pd.isna(v) else v for v in back["s"]] == values["s"]
    assert context.keys() == ({"X"} if library == "dict" else set())


def test_a_context_in_arrow_or_in_a_file(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    values = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "mapped.npy", values)
    context = {
        "mapped": np.load(tmp_path / "mapped.npy", mmap_mode="r"),
        "lists": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 2),
        "knots": [1.0, 2.0],
    }
    _, back = there_and_back({"y": [1.0, 2.0, 3.0]}, tmp_path / "a", "csv", **context)
    np.testing.assert_array_equal(back["mapped"], values)
    np.testing.assert_array_equal(back["lists"], values)
    np.testing.assert_array_equal(back["knots"], [1.0, 2.0])


def test_what_no_file_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="several columns called a"):
        collect_data(pd.DataFrame([[1, 2]], columns=["a", "a"]), {})
    with pytest.raises(DataError, match="complex"):
        collect_data(pd.DataFrame({"z": [1j]}), {})


@given(st.lists(st.floats(width=64), min_size=1, max_size=20))
def test_every_float_comes_back(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    data, _ = there_and_back(
        pd.DataFrame({"x": values, "row": range(len(values))}), tmp_path_factory.mktemp("d"), "csv"
    )
    np.testing.assert_array_equal(data["x"].to_numpy(), np.array(values))

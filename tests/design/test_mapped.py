"""Covariates in files: npy, Arrow and Parquet are read in chunks, and give the x that memory would."""

import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepdml.design import checks, mapped
from deepdml.design.data import build_data
from deepdml.design.mapped import is_mapped, release, room_for
from deepdml.errors import DataError

N, K = 9_000, 6  # rows of more than two chunks


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(mapped, "LEAST", 0)


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame({name: rng.normal(size=N) for name in ("y", "t", "age")})


@pytest.fixture(scope="module")
def block():
    return np.random.default_rng(1).normal(size=(N, K)).astype(np.float32)


def npy(path, block, mode="r"):
    np.save(path / "block.npy", block)
    return np.load(path / "block.npy", mmap_mode=mode)


def lists(block):
    whole = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), K)
    return pa.table({"v": pa.chunked_array([whole[:4000], whole[4000:]])})


def columns(block):
    return pa.table({f"e{j}": column for j, column in enumerate(block.T)})


def arrow(path, table):
    with pa.OSFile(str(path / "block.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_file(pa.memory_map(str(path / "block.arrow"))).read_all()


def parquet(path, table):
    pq.write_table(table, path / "block.parquet")
    return pq.ParquetFile(path / "block.parquet")


FILES = {
    "npy": npy,
    "npy, copy on write": lambda path, block: npy(path, block, "c"),
    "npy by columns": lambda path, block: npy(path, np.asfortranarray(block)),
    "arrow lists": lambda path, block: arrow(path, lists(block))["v"],
    "arrow table of lists": lambda path, block: arrow(path, lists(block)),
    "arrow columns": lambda path, block: arrow(path, columns(block)),
    "parquet lists": lambda path, block: parquet(path, lists(block)),
    "parquet columns": lambda path, block: parquet(path, columns(block)),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("formula", ["y ~ t | emb", "y ~ t | age + emb", "y ~ t | pca(emb, 3) + age"])
def test_files_give_what_memory_gives(tmp_path, frame, block, kind, formula):
    values = FILES[kind](tmp_path, block)
    held = build_data(formula, frame, context={"emb": block.copy()})
    read = build_data(formula, frame, context={"emb": values})
    np.testing.assert_array_equal(read.x, held.x)
    assert read.x_names == held.x_names
    assert is_mapped(read.x)
    assert not is_mapped(held.x)
    np.testing.assert_array_equal(read.design.encode_covariates(frame, context={"emb": values}), held.x)


def test_a_float32_file_is_x_itself_and_dropped_rows_make_a_new_one(tmp_path, frame, block):
    values = npy(tmp_path, block)
    assert np.shares_memory(build_data("y ~ t | emb", frame, context={"emb": values}).x, values)
    holes = block.copy()
    holes[[5, 8000], 3] = np.nan, np.inf
    d = build_data("y ~ t | emb", frame, context={"emb": npy(tmp_path, holes)})
    assert d.missing == {"emb": 2}
    assert is_mapped(d.x)
    np.testing.assert_array_equal(d.x, np.delete(block, [5, 8000], axis=0))


def test_half_precision(tmp_path, frame, block):
    half = block.astype(np.float16)
    half[7] = 60_000.0  # finite, but the sum over columns is beyond float16
    d = build_data("y ~ t | emb", frame, context={"emb": npy(tmp_path, half)})
    assert not d.missing
    np.testing.assert_array_equal(d.x, half.astype(np.float32))


def test_a_changed_private_mapping_keeps_its_changes(tmp_path, frame, block):
    values = npy(tmp_path, block, "c")
    values[3] = 1.5
    d = build_data("y ~ t | emb", frame, context={"emb": values})
    assert (d.x[3] == 1.5).all()
    assert (values[3] == 1.5).all()
    values[4] = 9.0
    assert (d.x[4] != 9.0).all()


def test_columns_of_a_mapped_arrow_table(tmp_path, frame, block):
    table = arrow(tmp_path, columns(block))
    for name in frame:
        table = table.append_column(name, pa.array(frame[name]))
    d = build_data("y ~ t | e* + age", table)
    assert is_mapped(d.x)
    np.testing.assert_array_equal(d.x[:, :K], block)


def test_missing_lists_drop_their_rows(frame):
    vectors = pa.array([None if i == 2 else [float(i), 1.0] for i in range(N)], pa.list_(pa.float32(), 2))
    d = build_data("y ~ t | emb", frame, context={"emb": pa.table({"v": vectors})})
    assert d.missing == {"emb": 1}
    assert d.x[2].tolist() == [3.0, 1.0]


def test_a_table_of_texts_is_refused(frame):
    table = pa.table({"e0": np.zeros(N), "e1": ["a"] * N})
    with pytest.raises(DataError, match=r"'emb' is a table whose column 'e1' holds string"):
        build_data("y ~ t | emb", frame, context={"emb": table})


@pytest.mark.parametrize(
    "formula", ["y ~ t | emb", "y ~ t | emb + age", "y ~ t | pca(emb, 2)", "y ~ t | standardize(emb)"]
)
def test_building_takes_a_fraction_of_the_block(tmp_path, formula):
    n, k = 60_000, 64
    rng = np.random.default_rng(0)
    values = npy(tmp_path, rng.standard_normal((n, k), dtype=np.float32))
    data = {"y": rng.normal(size=n), "t": rng.normal(size=n), "age": rng.normal(size=n)}
    tracemalloc.start()
    build_data(formula, data, context={"emb": values})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # the other columns, their copies and chunks of rows come to 13 MB; a copy of the block would be 15 MB more
    assert peak < values.nbytes


def test_the_check_of_covariates_holds_a_chunk_of_a_file(monkeypatch):
    """Every page that is looked at counts as memory of the process until it is released."""
    seen, x = [], np.zeros((10, 2), np.float32)
    x[:, 0], x[[2, 9], 1] = np.arange(10), (-3.0, 5.0)
    monkeypatch.setattr(checks, "CHUNK", 4)
    monkeypatch.setattr(checks, "release", lambda values: seen.append(values is x))
    low, high = checks._bounds(x)
    assert (low.tolist(), high.tolist()) == ([0.0, -3.0], [9.0, 5.0])
    assert seen == [True, True, True]


def test_parquet_is_decoded_a_row_group_at_a_time(tmp_path, frame, block, monkeypatch):
    """pyarrow holds the raw bytes of all row groups that it is asked for together."""
    pq.write_table(lists(block), tmp_path / "groups.parquet", row_group_size=2_000)
    asked, whole = [], pq.ParquetFile.iter_batches

    def watched(file, *, batch_size, row_groups):
        asked.append(row_groups)
        return whole(file, batch_size=batch_size, row_groups=row_groups)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    x = build_data("y ~ t | emb", frame, context={"emb": pq.ParquetFile(tmp_path / "groups.parquet")}).x
    np.testing.assert_array_equal(x, block)
    assert asked == [[0], [1], [2], [3], [4]]


def test_room_is_in_memory_unless_it_is_needed(monkeypatch):
    assert not is_mapped(room_for((10, 10), False))
    monkeypatch.setattr(mapped, "LEAST", 500)
    assert not is_mapped(room_for((10, 10), True))
    monkeypatch.setattr(mapped, "LEAST", 400)
    room = room_for((10, 10), True)
    room[...] = 3.0
    release(room)
    assert is_mapped(room)
    assert (room == 3.0).all()


def test_a_full_disk_is_said_so(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    with pytest.raises(DataError, match=r"No space left on device.*set TMPDIR"):
        room_for((10, 10), True)

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepdml.design.labels import KeptRows
from deepdml.errors import DataError, OptionError
from deepdml.inference import encode_groups, split_clusters

ROWS = np.array([0, 2, 3, 5])
LABELS = np.array(["r0", "r2", "r3", "r5"], dtype=object)
WHERE = KeptRows(ROWS, 6, LABELS)
FULL = ["a", "b", "a", "c", "b", "c"]
KEPT = ["a", "a", "c", "c"]


@pytest.mark.parametrize(
    "groups",
    [
        FULL,
        KEPT,
        tuple(FULL),
        np.array(FULL),
        np.array(FULL)[:, None],
        pd.Series(FULL),
        pd.Series(FULL, dtype="category"),
        pd.Categorical(FULL),
        pd.Index(FULL),
        [FULL],
        pd.DataFrame({"firm": FULL}),
        [np.array(KEPT)],
        {"firm": FULL},
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_form_gives_the_same_codes(groups: object) -> None:
    codes, names = encode_groups(groups, WHERE)
    np.testing.assert_array_equal(codes, [[0], [0], [1], [1]])
    assert len(names) == 1


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        (pd.DataFrame({"firm": FULL, "year": range(6)}), ("firm", "year")),
        ([pd.Series(FULL, name="firm"), np.arange(6)], ("firm", "groups 2")),
        (np.column_stack([np.arange(6), np.arange(6)]), ("groups 1", "groups 2")),
        (pd.Series(FULL, name="firm"), ("firm",)),
        (np.array(FULL), ("groups",)),
    ],
)
def test_names_of_the_ways(groups: object, names: tuple[str, ...]) -> None:
    assert encode_groups(groups, WHERE)[1] == names


def test_other_libraries() -> None:
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    for groups in (polars.Series("firm", FULL), polars.DataFrame({"firm": FULL}), pyarrow.table({"firm": FULL})):
        codes, names = encode_groups(groups, WHERE)
        np.testing.assert_array_equal(codes[:, 0], [0, 0, 1, 1])
        assert names == ("firm",)
    np.testing.assert_array_equal(encode_groups(pyarrow.array(FULL), WHERE)[0][:, 0], [0, 0, 1, 1])


def test_a_series_in_another_order_is_aligned_by_label() -> None:
    series = pd.Series(FULL, index=[f"r{i}" for i in range(6)])
    codes, _ = encode_groups(series.iloc[::-1], WHERE)
    np.testing.assert_array_equal(codes[:, 0], [0, 0, 1, 1])
    codes, _ = encode_groups(pd.Series(KEPT, index=LABELS).iloc[[3, 0, 1, 2]], WHERE)
    np.testing.assert_array_equal(codes[:, 0], [0, 0, 1, 1])


@pytest.mark.parametrize("form", [list, tuple, np.array, pd.Categorical, pd.Index], ids=lambda form: form.__name__)
def test_what_has_no_index_goes_by_position(form: Any) -> None:
    """The rows of a shuffled frame have numbers for labels, which are no positions."""
    codes, _ = encode_groups(form(["a", "a", "b", "b"]), KeptRows(np.arange(4), 4, np.array([3, 0, 2, 1])))
    np.testing.assert_array_equal(codes[:, 0], [0, 0, 1, 1])


def test_a_series_with_the_labels_of_other_rows_is_refused() -> None:
    series = pd.Series(FULL, index=range(100, 106))
    with pytest.raises(DataError, match=r"the rows of groups 'groups' do not match .* no row for 4 label\(s\)"):
        encode_groups(series, WHERE)
    for bare in (series.reset_index(drop=True), series.to_numpy()):
        np.testing.assert_array_equal(encode_groups(bare, WHERE)[0][:, 0], [0, 0, 1, 1])
    # a fit to arrays has positions for labels
    np.testing.assert_array_equal(encode_groups(series, KeptRows(ROWS, 6, ROWS))[0][:, 0], [0, 0, 1, 1])


def test_labels_that_stand_several_times_go_by_position_where_they_are_the_data_s() -> None:
    labels = np.array(["a", "a", "b", "b", "c", "c"])
    series = pd.Series(FULL, index=labels)
    np.testing.assert_array_equal(encode_groups(series, KeptRows(ROWS, 6, labels[ROWS]))[0][:, 0], [0, 0, 1, 1])
    with pytest.raises(DataError, match=r"the label 'c' several times, so that rows cannot be told apart"):
        encode_groups(series[::-1], KeptRows(ROWS, 6, labels[ROWS]))


@pytest.mark.parametrize(
    ("groups", "advice"), [("firm", r"data\['firm'\]"), (["firm", "year"], r"data\[\['firm', 'year'\]\]")]
)
def test_column_names_are_refused(groups: object, advice: str) -> None:
    with pytest.raises(OptionError, match=advice):
        encode_groups(groups, WHERE)


def test_wrong_length() -> None:
    with pytest.raises(
        DataError, match=r"'firm' have shape \(5,\); .* 6 rows of the data, or for each of the 4 rows kept"
    ):
        encode_groups(pd.Series(FULL[:5], name="firm"), WHERE)


@pytest.mark.parametrize("missing", [None, np.nan])
@pytest.mark.parametrize("form", [list, pd.Series, lambda values: np.array(values, dtype=object)])
def test_missing_labels_are_named(missing: object, form: Any) -> None:
    groups = form(["a", None, "a", missing, "b", "c"])  # the first is in a dropped row
    with pytest.raises(DataError, match=r"'groups' are missing in 1 kept row.*r3"):
        encode_groups(groups, WHERE)


def test_split_clusters() -> None:
    codes = np.array([0, 0, 1, 1, 2])
    assert split_clusters(codes, np.array([[0, 0, 1, 1, 0]])) == 0
    assert split_clusters(codes, np.array([[0, 0, 1, 1, 0], [0, 1, 1, 0, 1]])) == 2

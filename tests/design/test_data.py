import datetime as dt
import decimal
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepdml.design.data import ModelData, build_data
from deepdml.errors import DataError, FormulaError, OptionError

N = 60


def make_frame(n=N, seed=0):
    rng = np.random.default_rng(seed)
    columns = {
        "y": rng.normal(size=n),
        "wage": rng.exponential(size=n) + 0.1,
        "t": rng.normal(size=n),
        "arm": np.array(list("abc"))[np.arange(n) % 3],
        "level": rng.integers(0, 4, n),
        "flag": rng.random(n) > 0.5,
        "age": rng.integers(20, 60, n),
        "region": np.array(["north", "south"])[np.arange(n) % 2],
        "w": rng.random(n) + 0.5,
        "firm": np.array([f"f{i}" for i in range(10)])[np.arange(n) % 10],
        **{f"emb_{i}": rng.normal(size=n).astype(np.float32) for i in range(4)},
        "date": pd.date_range("2020-01-01", periods=n),
    }
    return pd.DataFrame(columns, index=[f"row{i}" for i in range(n)])


@pytest.fixture
def frame():
    return make_frame()


RIGHT = "age + emb_* + region + flag + poly(age, 2) + scale(wage):emb_0 + C(level)"


def test_the_arrays_of_a_fit(frame):
    d = build_data("y ~ t + C(arm) | age + emb_* + region", frame, weights="w", groups="firm")
    assert d.y_name == "y"
    assert d.t_names == ("Intercept", "t", "C(arm)[T.b]", "C(arm)[T.c]")
    assert d.x_names == ("age", "emb_0", "emb_1", "emb_2", "emb_3", "region[north]", "region[south]")
    assert d.term_columns == {"Intercept": slice(0, 1), "t": slice(1, 2), "C(arm)": slice(2, 4)}
    assert (d.y.dtype, d.t.dtype, d.x.dtype) == (np.float64, np.float64, np.float32)
    assert d.x.flags.c_contiguous
    np.testing.assert_array_equal(d.y, frame["y"])
    np.testing.assert_array_equal(d.t[:, 0], 1)
    np.testing.assert_array_equal(d.t[:, 2], frame["arm"] == "b")
    np.testing.assert_array_equal(d.x[:, 1:5], frame[[f"emb_{i}" for i in range(4)]])
    np.testing.assert_array_equal(d.x[:, 5], frame["region"] == "north")
    np.testing.assert_array_equal(d.weights, frame["w"])
    assert d.groups.shape == (N, 1)
    assert d.group_names == ("firm",)
    np.testing.assert_array_equal(d.groups[:, 0], np.arange(N) % 10)
    np.testing.assert_array_equal(d.rows, np.arange(N))
    np.testing.assert_array_equal(d.index, frame.index)
    assert d.n_total == N
    assert d.missing == {}


@pytest.mark.parametrize(
    "name", ["y", "log(wage)", "np.log(wage)", "I(wage * 2)", "flag", "I(wage > 1)", "scale(wage)"]
)
def test_outcomes(frame, name):
    d = build_data(f"{name} ~ t | age", frame)
    assert d.y_name == name
    expected = {
        "y": frame["y"],
        "log(wage)": np.log(frame["wage"]),
        "np.log(wage)": np.log(frame["wage"]),
        "I(wage * 2)": frame["wage"] * 2,
        "flag": frame["flag"],
        "I(wage > 1)": frame["wage"] > 1,
        "scale(wage)": (frame["wage"] - frame["wage"].mean()) / frame["wage"].std(),
    }[name]
    # one division more or less than pandas' own standard deviation
    np.testing.assert_allclose(d.y, expected.astype(float), rtol=1e-13)


def test_no_covariates(frame):
    d = build_data("y ~ t | 1", frame)
    assert d.x.shape == (N, 0)
    assert d.x_names == ()
    assert d.design.encode_covariates(frame.iloc[:3]).shape == (3, 0)


def test_left_parts_without_an_intercept(frame):
    assert build_data("y ~ 0 + t | age", frame).t_names == ("t",)
    d = build_data("y ~ 0 + C(arm) | age", frame)
    assert d.t_names == ("C(arm)[a]", "C(arm)[b]", "C(arm)[c]")
    np.testing.assert_array_equal(d.t.sum(axis=1), 1)


def test_the_intercept_alone(frame):
    d = build_data("y ~ 1 | age", frame)
    assert d.t_names == ("Intercept",)
    assert d.treatment.shape == (N, 0)


@pytest.mark.parametrize(
    ("left", "names", "raw"),
    [
        ("t", ("Intercept", "t"), ("t",)),
        ("t + I(t**2) + age", ("Intercept", "t", "I(t ** 2)", "age"), ("t", "age")),
        ("t*flag", ("Intercept", "t", "flag", "t:flag"), ("t", "flag")),
        ("C(arm)", ("Intercept", "C(arm)[T.b]", "C(arm)[T.c]"), None),
        ("arm", ("Intercept", "arm[T.b]", "arm[T.c]"), None),
        ("C(level)", ("Intercept", "C(level)[T.1]", "C(level)[T.2]", "C(level)[T.3]"), None),
        ("C(arm, contr.treatment('c'))",) * 2 + (None,),
        ("poly(t, 2)", ("Intercept", "poly(t, 2)[1]", "poly(t, 2)[2]"), ("t",)),
        ("t:arm", ("Intercept", "t:arm[a]", "t:arm[b]", "t:arm[c]"), None),
        ("emb_*", ("Intercept", "emb_0", "emb_1", "emb_2", "emb_3"), ("emb_0", "emb_1", "emb_2", "emb_3")),
    ],
)
def test_structural_parts(frame, left, names, raw):
    d = build_data(f"y ~ {left} | wage", frame)
    if left.startswith("C(arm, "):
        names = ("Intercept", f"{left}[T.a]", f"{left}[T.b]")
    assert d.t_names == names
    assert d.treatment_names == (raw or ())
    if raw is None:
        assert d.treatment is None
    else:
        np.testing.assert_array_equal(d.treatment, frame[list(raw)].astype(float))
    covered = np.concatenate([np.arange(len(names))[s] for s in d.term_columns.values()])
    np.testing.assert_array_equal(covered, np.arange(len(names)))


def test_covariate_categories_are_full_one_hot(frame):
    d = build_data("y ~ t | C(arm) + region + C(arm):age", frame)
    assert d.x_names == (
        *("C(arm)[a]", "C(arm)[b]", "C(arm)[c]", "region[north]", "region[south]"),
        *("C(arm)[a]:age", "C(arm)[b]:age", "C(arm)[c]:age"),
    )


def test_pieces_keep_the_users_order(frame):
    Z = np.arange(2.0 * N).reshape(N, 2)
    d = build_data("y ~ t | log(wage) + emb_* + region + Z + age", frame, context={"Z": Z})
    expected = ("log(wage)", "emb_0", "emb_1", "emb_2", "emb_3", "region[north]", "region[south]", "Z_0", "Z_1", "age")
    assert d.x_names == expected
    by_hand = [np.log(frame["wage"]), *(frame[f"emb_{i}"] for i in range(4)), frame["region"] == "north"]
    by_hand += [frame["region"] == "south", Z[:, 0], Z[:, 1], frame["age"]]
    np.testing.assert_array_equal(d.x, np.column_stack(by_hand).astype(np.float32))


def test_a_glob_one_hot_encodes_text_and_takes_booleans_as_numbers():
    frame = pd.DataFrame({"y": [1.0, 2, 3, 5], "t": [0, 1, 1, 0], "c_text": list("abab"), "c_num": [1, 2, 3, 4]})
    frame["c_flag"] = [True, False, False, True]
    frame["c_cat"] = pd.Categorical(list("xyxx"), categories=["y", "unused", "x"])
    d = build_data("y ~ t | c_*", frame)
    assert d.x_names == ("c_text[a]", "c_text[b]", "c_num", "c_flag", "c_cat[y]", "c_cat[x]")
    np.testing.assert_array_equal(d.x[:, 3], [1, 0, 0, 1])


def test_unused_categories_leave_no_column(frame):
    frame["arm"] = pd.Categorical(frame["arm"], categories=["c", "none", "b", "a"])
    assert build_data("y ~ C(arm) | age", frame).t_names == ("Intercept", "C(arm)[T.b]", "C(arm)[T.a]")
    frame.loc[frame["arm"] == "b", "y"] = np.nan
    assert build_data("y ~ C(arm) | age", frame).t_names == ("Intercept", "C(arm)[T.a]")


# Libraries -----------------------------------------------------------------------------------------------------------


def as_library(frame, library):
    return {
        "pandas": lambda: frame,
        "nullable": lambda: frame.convert_dtypes(),
        "arrow-backed": lambda: frame.convert_dtypes(dtype_backend="pyarrow"),
        "object": lambda: frame.astype(object),
        "polars": lambda: pl.from_pandas(frame),
        "pyarrow": lambda: pa.Table.from_pandas(frame),
        "batch": lambda: pa.RecordBatch.from_pandas(frame),
        "dict": lambda: {name: frame[name].to_numpy() for name in frame},
        "lists": lambda: {name: frame[name].tolist() for name in frame},
        "records": lambda: frame.drop(columns="date").to_records(index=False),
        "polars series": lambda: {name: pl.from_pandas(frame)[name] for name in frame},
    }[library]()


LIBRARIES = ["nullable", "arrow-backed", "object", "polars", "pyarrow", "batch", "dict", "lists", "records"]


@pytest.mark.parametrize("library", [*LIBRARIES, "polars series"])
def test_libraries_agree(frame, library):
    frame.loc["row3", "emb_1"] = np.nan
    frame.loc["row4", "region"] = None
    frame.loc["row5", "wage"] = np.inf
    formula = f"log(wage) ~ t + C(arm) | {RIGHT}".replace("scale(wage)", "scale(y)")
    ours = build_data(formula, frame, weights="w", groups=["firm", "region"])
    other = build_data(formula, as_library(frame, library), weights="w", groups=["firm", "region"])
    assert (other.t_names, other.x_names) == (ours.t_names, ours.x_names)
    for name in ("y", "t", "x", "weights", "groups", "rows"):
        np.testing.assert_array_equal(getattr(other, name), getattr(ours, name), err_msg=name)
    assert ours.missing == other.missing
    np.testing.assert_array_equal(ours.design.encode_covariates(as_library(frame[:3], library)), ours.x[:3])


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow", "dict"])
def test_the_index_labels_rows(frame, library):
    frame.loc["row2", "y"] = np.nan
    d = build_data("y ~ t | age", as_library(frame, library))
    kept = [i for i in range(N) if i != 2]
    assert list(d.index) == ([f"row{i}" for i in kept] if library == "pandas" else kept)
    assert list(d.rows) == kept


VECTORS = np.arange(3.0 * N).reshape(N, 3) % 17


@pytest.mark.parametrize(
    "column",
    [
        lambda: list(VECTORS),
        lambda: [row.tolist() for row in VECTORS],
        lambda: [tuple(row) for row in VECTORS],
        lambda: pd.Series(list(VECTORS.astype(np.float32))),
    ],
)
def test_object_columns_of_vectors_become_blocks(frame, column):
    values = column()
    frame["e"] = values if isinstance(values, list) else values.to_numpy()
    d = build_data("y ~ t | age + e + wage", frame)
    assert d.x_names == ("age", "e_0", "e_1", "e_2", "wage")
    np.testing.assert_array_equal(d.x[:, 1:4], VECTORS)


@pytest.mark.parametrize(
    "make",
    [
        lambda base: pl.DataFrame(base).with_columns(pl.Series("e", VECTORS, dtype=pl.Array(pl.Float64, 3))),
        lambda base: pl.DataFrame(base).with_columns(pl.Series("e", VECTORS.tolist(), dtype=pl.List(pl.Float32))),
        lambda base: pa.table({**base, "e": pa.array(VECTORS.tolist(), pa.list_(pa.float32(), 3))}),
        lambda base: pa.table({**base, "e": pa.array(VECTORS.tolist(), pa.list_(pa.float64()))}),
        lambda base: {**base, "e": VECTORS},
        lambda base: {**base, "e": list(VECTORS)},
        lambda base: {**base, "e": pd.DataFrame(VECTORS)},
    ],
)
def test_vector_columns_of_every_library(frame, make):
    d = build_data("y ~ t | e", make({name: frame[name].to_numpy() for name in ("y", "t")}))
    assert d.x_names == ("e_0", "e_1", "e_2")
    np.testing.assert_array_equal(d.x, VECTORS)


def test_vectors_of_different_lengths_name_the_rows(frame):
    vectors = [np.ones(3) for _ in range(N)]
    vectors[4] = np.ones(2)
    vectors[7] = np.float64(1)
    frame["e"] = vectors
    with pytest.raises(DataError, match=r"'e' holds vectors of length 3, but 2 row\(s\) differ: row4, row7"):
        build_data("y ~ t | e", frame)


@pytest.mark.parametrize("make", [lambda v: v, lambda v: [None if np.isnan(r).any() else list(r) for r in v]])
def test_missing_vectors_drop_rows(make, frame):
    values = VECTORS.copy()
    values[5, 1] = np.nan
    frame["e"] = list(make(values))
    d = build_data("y ~ t | e", frame)
    assert d.missing == {"e": 1}
    np.testing.assert_array_equal(d.x, np.delete(VECTORS, 5, axis=0))


def test_vectors_in_terms(frame):
    Z = VECTORS + np.random.default_rng(1).normal(size=VECTORS.shape)
    d = build_data("y ~ Z | Z2:age + scale(Z2)", frame, context={"Z": Z, "Z2": Z[:, :2]})
    assert d.t_names == ("Intercept", "Z_0", "Z_1", "Z_2")
    assert d.treatment_names == ("Z_0", "Z_1", "Z_2")
    assert d.term_columns == {"Intercept": slice(0, 1), "Z": slice(1, 4)}
    np.testing.assert_array_equal(d.t[:, 1:], Z)
    assert d.x_names[:2] == ("Z2_0:age", "Z2_1:age")
    assert d.x.shape == (N, 4)
    again = d.design.encode_covariates(frame[:9], context={"Z2": Z[:9, :2]})
    np.testing.assert_array_equal(again, d.x[:9])


def test_arrays_functions_and_constants_from_context(frame):
    z = np.linspace(0, 1, N)
    z[3] = np.nan
    context = {"z": z, "double": lambda v: 2 * v, "cut": 30, "knots": [30, 40]}
    d = build_data("y ~ t | z + double(wage) + I(age > cut) + bs(age, knots=knots)", frame, context=context)
    assert d.rows.size == N - 1
    assert d.x_names[:3] == ("z", "double(wage)", "I(age > cut)")
    np.testing.assert_array_equal(d.x[:, 1], (2 * frame["wage"]).drop("row3").astype(np.float32))
    assert d.design.constants == {"cut": 30, "knots": [30, 40]}
    assert list(d.design.functions) == ["double"]


def test_data_columns_come_before_context(frame):
    d = build_data("y ~ t | age", frame, context={"age": np.zeros(N)})
    np.testing.assert_array_equal(d.x[:, 0], frame["age"])


def test_a_frame_in_context_has_the_rows_of_the_data(frame):
    """By label where it has labels; one with the labels 0, 1, ... is taken as it stands, as an array is."""
    own = pd.DataFrame({"a": np.arange(1.0 * N)}, index=frame.index)
    for emb in (own, own[::-1], own.reset_index(drop=True), own.to_numpy()):
        np.testing.assert_array_equal(build_data("y ~ t | emb", frame, context={"emb": emb}).x[:, 0], np.arange(N))
    other = own.rename(index={"row3": "row77"})["a"]
    with pytest.raises(
        DataError, match=r"'z', from context, do not match .* no row for 1 label\(s\) of the data: row3"
    ):
        build_data("y ~ t | z", frame, context={"z": other})
    d = build_data("y ~ t | emb", frame, context={"emb": own})
    new = d.design.encode_covariates(frame[:9], context={"emb": own[:9][::-1]})
    np.testing.assert_array_equal(new[:, 0], np.arange(9))


# Missing rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf, None])
@pytest.mark.parametrize("column", ["y", "t", "age", "emb_2", "w"])
def test_one_mask_over_everything(frame, column, hole):
    frame[column] = frame[column].astype(object)
    frame.loc["row7", column] = hole
    d = build_data("y ~ t | age + emb_*", frame, weights="w")
    assert "row7" not in d.index
    assert len(d.y) == len(d.t) == len(d.x) == len(d.weights) == len(d.rows) == N - 1
    assert list(d.missing.values()) == [1]


@pytest.mark.parametrize(("column", "formula"), [("arm", "y ~ C(arm) | age"), ("region", "y ~ t | region")])
@pytest.mark.parametrize("hole", [None, np.nan, pd.NA])
def test_missing_categories(frame, column, formula, hole):
    frame[column] = frame[column].astype(object)
    frame.loc[["row1", "row8"], column] = hole
    d = build_data(formula, frame)
    assert d.missing == {column: 2}
    assert d.rows.size == N - 2


def test_groups_and_weights_of_pandas_follow_the_labels_of_the_rows(frame):
    shuffled = frame.sample(frac=1.0, random_state=1)
    assert not shuffled.index.equals(frame.index)
    expected = build_data("y ~ t | age", frame, weights="w", groups="firm")
    for groups in (shuffled["firm"], shuffled[["firm"]]):
        d = build_data("y ~ t | age", frame, weights=shuffled["w"], groups=groups)
        np.testing.assert_array_equal(d.weights, expected.weights)
        np.testing.assert_array_equal(d.groups, expected.groups)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([f"firm{i}" for i in range(N)], r"no row for 60 label\(s\) of the data: row0, row1, .*\.to_numpy\(\)"),
        (["row0"] * N, r"no row for 59 label\(s\) of the data: row1"),
    ],
)
def test_groups_weights_and_context_with_the_labels_of_other_rows_are_refused(frame, labels, message):
    odd = frame.set_axis(labels)
    for role, options in (("groups", {"groups": odd["firm"]}), ("groups", {"groups": odd[["firm"]]})):
        with pytest.raises(DataError, match=rf"the rows of {role} do not match the data's.*{message}"):
            build_data("y ~ t | age", frame, **options)
    with pytest.raises(DataError, match=rf"the rows of weights do not match the data's.*{message}"):
        build_data("y ~ t | age", frame, weights=odd["w"])
    with pytest.raises(DataError, match=rf"the rows of 'z', from context, do not match the data's.*{message}"):
        build_data("y ~ t | z", frame, context={"z": odd["w"]})
    with pytest.raises(DataError, match=rf"the rows of groups 'f' do not match the data's.*{message}"):
        build_data("y ~ t | age", frame, groups={"f": odd["firm"]})


def test_labels_that_stand_several_times_are_followed_by_nobody(frame):
    twice = frame.set_axis([f"row{i // 2}" for i in range(N)])
    expected = build_data("y ~ t | age", frame, groups="firm").groups
    np.testing.assert_array_equal(build_data("y ~ t | age", twice, groups=twice["firm"]).groups, expected)
    bare = twice["firm"].reset_index(drop=True)
    np.testing.assert_array_equal(build_data("y ~ t | age", twice, groups=bare).groups, expected)
    with pytest.raises(DataError, match=r"its index has the label 'row\d+' several times, so that rows cannot be told"):
        build_data("y ~ t | age", twice, groups=twice["firm"][::-1])


def test_data_without_labels_have_positions_only(frame):
    """Rows of a shuffled frame: their labels are no positions in arrays that were made of them."""
    shuffled = frame.reset_index(drop=True).sample(frac=1.0, random_state=1)
    bare = {name: shuffled[name].to_numpy() for name in ("y", "t", "age")}
    d = build_data("y ~ t | age", bare, groups=shuffled["firm"], weights=shuffled["w"])
    np.testing.assert_array_equal(d.groups[:, 0], pd.factorize(shuffled["firm"])[0])
    np.testing.assert_array_equal(d.weights, shuffled["w"])


def test_a_dict_of_series_is_joined_by_label(frame):
    mixed = {"y": frame["y"], "t": frame["t"][::-1], "age": frame["age"].to_numpy()}
    d = build_data("y ~ t | age", mixed, groups=frame["firm"][::-1])
    np.testing.assert_array_equal(d.t[:, 1], frame["t"])
    np.testing.assert_array_equal(d.groups[:, 0], pd.factorize(frame["firm"])[0])
    assert list(d.index) == list(frame.index)
    with pytest.raises(DataError, match=r"the rows of 't' do not match the data's.*no row for 1 label\(s\).*row0"):
        build_data("y ~ t | age", mixed | {"t": frame["t"].rename({"row0": "row99"})})


def test_missing_groups_and_dates(frame):
    frame.loc["row1", "firm"] = None
    frame.loc["row2", "date"] = pd.NaT
    d = build_data("y ~ t | I(date.dt.day)", frame, groups="firm")
    assert d.missing == {"date": 1, "groups 'firm'": 1}
    assert d.groups.max() == 9


def test_integers_stay_integers_around_missing_values(frame):
    level = pd.array(frame["level"], dtype="Int64")
    level[5] = pd.NA
    assert build_data("y ~ C(level) | age", frame.assign(level=level)).t_names[1] == "C(level)[T.1]"
    assert build_data("y ~ C(level) | age", pl.from_pandas(frame.assign(level=level))).t_names[1] == "C(level)[T.1]"


def test_transforms_that_are_not_finite_drop_rows_before_statistics(frame):
    frame.loc["row0", "wage"] = 0.0
    frame.loc["row1", "wage"] = -1.0
    frame.loc["row2", "age"] = 10**6
    frame.loc["row2", "y"] = np.nan
    d = build_data("log(wage) ~ t | scale(age) + y", frame)
    assert d.missing == {"y": 1, "log(wage)": 2}
    kept = frame["age"].iloc[3:]
    # one division more or less than pandas' own standard deviation, in float32
    np.testing.assert_allclose(d.x[:, 0], (kept - kept.mean()) / kept.std(), rtol=1e-6)


def test_two_transforms_report_their_own_rows(frame):
    frame.loc["row0", "wage"] = 0.0
    frame.loc[["row4", "row5"], "t"] = -3.0
    d = build_data("log(wage) ~ np.log(t + 3) | age", frame)
    below = int((frame["t"] <= -3).sum())
    assert d.missing == {"log(wage)": 1, "np.log(t + 3)": below}


def test_missing_raise_names_columns_counts_and_rows(frame):
    frame.loc[["row1", "row5"], "emb_2"] = np.nan
    frame.loc["row3", "y"] = np.inf
    message = r"missing='raise', but missing or infinite: y in 1 row\(s\) \(row3\), emb_2 in 2 row\(s\) \(row1, row5\)"
    with pytest.raises(DataError, match=message):
        build_data("y ~ t | emb_*", frame, missing="raise")
    assert build_data("y ~ t | age", frame.drop("row3"), missing="raise").n_total == N - 1


def test_unused_columns_may_be_anything(frame):
    frame["unused"] = np.nan
    frame["complex"] = 1j
    assert build_data("y ~ t | age", frame).rows.size == N


def test_everything_missing(frame):
    frame["age"] = np.nan
    with pytest.raises(DataError, match=r"no row is left: missing or infinite: age in 60 row\(s\) \(row0, row1, row2"):
        build_data("y ~ t | age", frame)


@settings(max_examples=25, deadline=None)
@given(
    st.sets(st.tuples(st.integers(0, N - 1), st.sampled_from(["y", "t", "age", "emb_0", "region", "w"])), max_size=15)
)
def test_the_mask_is_the_union_of_missing_cells(cells):
    frame = make_frame().astype({"age": float})
    for row, column in cells:
        frame.iloc[row, frame.columns.get_loc(column)] = None if column == "region" else np.nan
    kept = [i for i in range(N) if i not in {row for row, _ in cells}]
    d = build_data("y ~ t | age + emb_* + C(region)", frame, weights="w")
    assert list(d.rows) == kept
    clean = build_data("y ~ t | age + emb_* + C(region)", frame.iloc[kept], weights="w")
    np.testing.assert_array_equal(d.x, clean.x)
    np.testing.assert_array_equal(d.y, clean.y)


# Refusals ------------------------------------------------------------------------------------------------------------


def with_columns(**columns):
    return make_frame().assign(**columns)


REFUSALS = [
    (lambda f: build_data("y ~ t | age", pl.from_pandas(f).lazy()), "lazy polars frame; call .collect()"),
    (lambda f: build_data("y ~ t | age", f["y"]), "data is a pandas.Series; allowed are a pandas DataFrame"),
    (lambda f: build_data("y ~ t | age", np.ones((3, 3))), "data is a numpy.ndarray"),
    (lambda f: build_data("y ~ t | age", "wages.csv"), "data is 'wages.csv'; read the file first"),
    (lambda f: build_data("y ~ t | age", {"y": [1.0, 2], "t": [1.0], "age": [1, 2]}), "'y' has 2 rows, but 't' has 1"),
    (lambda f: build_data("y ~ t | age", {"y": 1.0, "t": 2.0, "age": 1}), "'y' is 1.0, not an array"),
    (lambda f: build_data("y ~ t | age", f.iloc[:0]), "the data have no rows"),
    (lambda f: build_data("y ~ t | b", {"y": [1.0], "t": [1.0], "b": np.ones((1, 1, 1))}), "'b' has 3 dimensions"),
    (lambda f: build_data("y ~ t | age", f.assign(t=1.0)), "'t' left of the bar is 1 in all 60 rows"),
    (lambda f: build_data("y ~ t + I(2*t) | age", f), "'I(2 * t)' is a combination of 't' and the intercept"),
    (lambda f: build_data("y ~ C(arm) + I(arm == 'b') | age", f), "collinear"),
    (lambda f: build_data("y ~ 0 + t + I(-t) | age", f), "is a combination of"),
    (lambda f: build_data("y ~ 0 + I(t*0) | age", f), "is 0 in all 60 rows"),
    (lambda f: build_data("y ~ C(arm) | age", f.assign(arm="a")), "'C(arm)' left of the bar has the same category"),
    (lambda f: build_data("y ~ C(arm) | age", f.iloc[::3]), "'C(arm)' left of the bar has the same category"),
    (lambda f: build_data("y ~ t | age", f.assign(y=3.0)), "the outcome 'y' is 3 in all 60 rows"),
    (
        lambda f: build_data("region ~ t | age", f),
        "the outcome 'region' holds categories, not numbers. Code it as numbers",
    ),
    (lambda f: build_data("region ~ t | age", f), "I(region == 'north')"),
    (lambda f: build_data("C(level) ~ t | age", f), "the outcome 'C(level)' holds categories"),
    (lambda f: build_data("poly(y, 2) ~ t | age", f), "the outcome 'poly(y, 2)' gives 2 columns"),
    (lambda f: build_data("date ~ t | age", f), "column 'date' holds dates or durations"),
    (lambda f: build_data("y ~ t | date", f), "column 'date' holds dates or durations"),
    (lambda f: build_data("y ~ t | log(region)", f), "Unable to evaluate factor `log(region)`"),
    (lambda f: build_data("y ~ t | C(arm, levels=['a', 'b'])", f), "categories outside the `levels`"),
    (lambda f: build_data("y ~ t | C(e)", f.assign(e=list(VECTORS))), "makes categories of 2-dimensional values"),
    (lambda f: build_data("y ~ t | z", f.assign(z=1j)), "column 'z' holds complex numbers"),
    (lambda f: build_data("y ~ t | z", f.assign(z=pd.Series([1j] * N, dtype=object).to_numpy())), "complex numbers"),
    (lambda f: build_data("y ~ t | z", f.assign(z=1e300)), "column 'z' has values beyond 3.4e38"),
    (lambda f: build_data("y ~ t | I(z * 1)", f.assign(z=1e300)), "'I(z * 1)' gives values beyond 3.4e38"),
    (lambda f: build_data("y ~ t | z", f.assign(z=[[1e300]] * N)), "'z' gives values beyond 3.4e38"),
    (lambda f: build_data("y ~ t | z", f.assign(z=[["a"]] * N)), "hold"),
    (
        lambda f: build_data("y ~ t | Z", f, context={"Z": np.ones((5, 2))}),
        "not an array with one entry per row (60 rows): it has shape (5, 2)",
    ),
    (lambda f: build_data("y ~ t | k", f, context={"k": 3}), "'k' comes from context and is not an array"),
    (lambda f: build_data("y ~ t | Z + `Z_0`", f.assign(Z_0=1), context={"Z": np.ones((N, 1))}), "called 'Z_0'"),
    (lambda f: build_data("y ~ t | age", pd.concat([f, f[["age"]]], axis=1)), "several columns called 'age'"),
    (lambda f: build_data("y ~ t | emb_*", pd.concat([f, f[["emb_1"]]], axis=1)), "several columns called 'emb_1'"),
    (
        lambda f: build_data("y ~ t | age", f, weights="ww"),
        "weights='ww' is not a column of the data. Did you mean 'w'",
    ),
    (lambda f: build_data("y ~ t | age", f, weights=[1.0, 2.0]), "weights has 2 rows, but the data have 60"),
    (lambda f: build_data("y ~ t | age", f, weights=1.0), "weights=1.0 is neither a column name nor an array"),
    (lambda f: build_data("y ~ t | age", f, weights=np.zeros(N)), "all weights are zero"),
    (
        lambda f: build_data("y ~ t | age", f.assign(w=-1.0), weights="w"),
        "weights are negative in 60 row(s): row0, row1",
    ),
    (lambda f: build_data("y ~ t | age", f, weights="arm"), "weights are a category; numbers are needed"),
    (
        lambda f: build_data("y ~ t | age", f, groups="frm"),
        "groups='frm' is not a column of the data. Did you mean 'firm'",
    ),
    (lambda f: build_data("y ~ t | age", f, groups=["firm", "x"]), "groups='x' is not a column"),
    (lambda f: build_data("y ~ t | age", f, groups=np.ones(3)), "groups has 3 rows, but the data have 60"),
    (lambda f: build_data("y ~ t | age", f, groups=np.ones((3, 2))), "groups has 3 rows"),
    (lambda f: build_data("y ~ t | age", f, groups=f[["firm"]].iloc[:5]), "groups has 5 rows"),
    (lambda f: build_data("y ~ t | age", f, groups=[]), "groups is empty"),
    (lambda f: build_data("y ~ t | age", f, groups=[[1, 2]] * N), "holds vectors; one label per row"),
]


@pytest.mark.parametrize(("call", "message"), REFUSALS, ids=[message for _, message in REFUSALS])
def test_refusals_say_what_is_wrong(frame, call, message):
    with pytest.raises(DataError, match=re.escape(message)):
        call(frame)


def test_an_unknown_value_of_missing(frame):
    message = "unknown value of missing 'dorp'; allowed are drop, raise. Did you mean 'drop'"
    with pytest.raises(OptionError, match=re.escape(message)):
        build_data("y ~ t | age", frame, missing="dorp")


def test_formula_errors_pass_through(frame):
    with pytest.raises(FormulaError, match="'agee' is not a column"):
        build_data("y ~ t | agee", frame)


def test_a_transform_that_always_loses_a_row(frame):
    context = {"shift": lambda v: v.shift(1)}
    with pytest.raises(DataError, match="give new missing values however often rows are dropped"):
        build_data("y ~ t | shift(age)", frame, context=context)


# Weights and groups --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [np.asarray, list, pd.Series, lambda v: pl.Series("w", v), lambda v: pa.array(v), lambda v: pd.array(v)]
)
def test_weights_by_position(frame, make):
    values = frame["w"].to_numpy()
    values = np.where(np.arange(N) == 4, 0.0, values)
    np.testing.assert_array_equal(build_data("y ~ t | age", frame, weights=make(values)).weights, values)


def test_a_weight_column_is_not_a_covariate_of_the_dot(frame):
    small = frame[["y", "t", "w", "firm", "age"]]
    d = build_data("y ~ t | .", small, weights="w", groups="firm")
    assert "w" not in d.x_names
    assert "firm[f0]" in d.x_names


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda f: ["firm", "level"], ("firm", "level")),
        (lambda f: ("firm", "level"), ("firm", "level")),
        (lambda f: f[["firm", "level"]], ("firm", "level")),
        (lambda f: pl.from_pandas(f[["firm", "level"]]), ("firm", "level")),
        (lambda f: f[["firm", "level"]].to_numpy(), ("group_0", "group_1")),
        (lambda f: {"firm": f["firm"], "l": f["level"]}, ("firm", "l")),
    ],
)
def test_groups_in_two_dimensions(frame, make, names):
    d = build_data("y ~ t | age", frame, groups=make(frame))
    assert d.group_names == names
    np.testing.assert_array_equal(d.groups[:, 0], pd.factorize(frame["firm"])[0])
    np.testing.assert_array_equal(d.groups[:, 1], pd.factorize(frame["level"])[0])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda s: "firm", "firm"),
        (lambda s: s, "firm"),
        (lambda s: s.iloc[::1].reset_index(drop=True), "firm"),
        (lambda s: s.to_numpy(), "group"),
        (lambda s: s.tolist(), "group"),
        (lambda s: pd.Categorical(s), "group"),
        (lambda s: pl.Series("firm", s.to_numpy()), "firm"),
    ],
)
def test_groups_in_one_dimension(frame, make, name):
    frame.loc["row0", "y"] = np.nan
    d = build_data("y ~ t | age", frame, groups=make(frame["firm"]))
    assert d.group_names == (name,)
    np.testing.assert_array_equal(d.groups[:, 0], pd.factorize(frame["firm"].iloc[1:])[0])
    assert d.groups.dtype == np.intp


# Columns of odd kinds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([decimal.Decimal("1.5"), decimal.Decimal(2)] * 30, [1.5, 2.0] * 30),
        (pd.Series([1, 2.5] * 30, dtype=object), [1, 2.5] * 30),
        (pd.Series([True, False] * 30, dtype=object), [1, 0] * 30),
        (pd.array([1, 2] * 30, dtype="UInt8"), [1, 2] * 30),
        (pd.arrays.SparseArray([0, 1] * 30), [0, 1] * 30),
        (np.array([1, 2] * 30, dtype=np.float16), [1, 2] * 30),
        (np.array([1, 2] * 30, dtype=">i4"), [1, 2] * 30),
    ],
)
def test_numbers_in_disguise(frame, values, expected):
    d = build_data("y ~ t | z", frame.assign(z=np.asarray(values) if isinstance(values, pd.Series) else values))
    assert d.x_names == ("z",)
    np.testing.assert_array_equal(d.x[:, 0], expected)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([1, "a"] * 30, ("z[1]", "z[a]")),
        ([pd.Interval(0, 1), pd.Interval(1, 2)] * 30, ("z[(0, 1]]", "z[(1, 2]]")),
        (pd.cut(np.arange(60) % 10, [-1, 4, 9]), ("z[(-1, 4]]", "z[(4, 9]]")),
        (pd.array(["a", "b"] * 30, dtype="string"), ("z[a]", "z[b]")),
        (np.array(["a", "b"] * 30), ("z[a]", "z[b]")),
    ],
)
def test_categories_in_disguise(frame, values, names):
    frame["z"] = values
    d = build_data("y ~ t | z", frame)
    assert d.x_names == names
    np.testing.assert_array_equal(d.design.encode_covariates(frame), d.x)


@pytest.mark.parametrize("value", [dt.date(2020, 1, 1), pd.Timedelta(1), pd.Period("2020-01", "M"), dt.time(3)])
def test_dates_are_no_numbers(frame, value):
    frame["z"] = [value] * N
    with pytest.raises(DataError, match=r"'z'|`z`"):
        build_data("y ~ t | z", frame)


def test_polars_categories():
    data = {"y": [1.0, 2, 4, 3], "t": [0, 1, 1, 0]}
    enum = pl.Series("g", ["b", "a", "b", "a"], dtype=pl.Enum(["b", "c", "a"]))
    assert build_data("y ~ t | g", pl.DataFrame(data).with_columns(enum)).x_names == ("g[b]", "g[a]")
    categorical = enum.cast(pl.String).cast(pl.Categorical)
    assert build_data("y ~ t | g", pl.DataFrame(data).with_columns(categorical)).x_names == ("g[a]", "g[b]")
    exact = pl.Series("g", ["1.5", "2.5", None, "0.5"]).cast(pl.Decimal(10, 2))
    assert build_data("y ~ t | g", pl.DataFrame(data).with_columns(exact)).x_names == ("g",)


def test_column_names_that_are_no_strings():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 4)))
    d = build_data("`0` ~ `1` | `2` + `3`", frame)
    np.testing.assert_array_equal(d.x, frame[[2, 3]].astype(np.float32))


def test_covariates_from_frames_of_many_blocks(frame):
    columns = [pd.DataFrame({f"e_{i}": np.arange(N) + i}) for i in range(300)]
    columns.insert(150, frame[["y", "t"]].reset_index(drop=True))
    wide = pd.concat(columns, axis=1)
    d = build_data("y ~ t | e_*", wide)
    np.testing.assert_array_equal(d.x, np.arange(N)[:, None] + np.arange(300))
    backwards = " + ".join(f"e_{i}" for i in reversed(range(300)))
    np.testing.assert_array_equal(build_data(f"y ~ t | {backwards}", wide).x, d.x[:, ::-1])


def test_constant_covariates_are_kept(frame):
    assert build_data("y ~ t | one + age", frame.assign(one=1)).x_names == ("one", "age")


def test_the_users_data_do_not_change(frame):
    before = frame.copy(deep=True)
    frame.loc["row3", "emb_1"] = before.loc["row3", "emb_1"] = np.nan
    d = build_data(f"y ~ t + C(arm) | {RIGHT}", frame, weights="w", groups="firm")
    d.x[:] = 0
    d.t[:] = 0
    d.y[:] = 0
    d.weights[:] = 0
    pd.testing.assert_frame_equal(frame, before)


def test_arrays_do_not_alias_the_users(frame):
    Z = np.ascontiguousarray(np.random.default_rng(0).normal(size=(N, 2)), dtype=np.float32)
    w = np.ones(N)
    d = build_data("y ~ t | Z", frame, context={"Z": Z}, weights=w)
    assert not np.shares_memory(d.x, Z)
    assert not np.shares_memory(d.weights, w)


def test_model_data_checks_its_shapes(frame):
    d = build_data("y ~ t | age", frame)
    values = {name: getattr(d, name) for name in ModelData.__slots__}
    with pytest.raises(DataError, match=r"t has shape \(60, 2\); \(59, 2\) is needed"):
        ModelData(**{**values, "y": d.y[1:]})
    with pytest.raises(DataError, match="C-contiguous float32"):
        ModelData(**{**values, "x": d.x.astype(np.float64)})

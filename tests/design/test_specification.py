import copy
import json
import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepdml.design.data import Design, build_data
from deepdml.errors import DataError

N = 80


def make_frame(seed=0):
    rng = np.random.default_rng(seed)
    columns = {
        "y": rng.normal(size=N),
        "t": rng.normal(size=N),
        "arm": np.array(list("abc"))[np.arange(N) % 3],
        "level": rng.integers(0, 4, N),
        "age": rng.integers(20, 60, N),
        "wage": rng.exponential(size=N).astype(np.float32) + np.float32(0.1),
        "region": pd.Categorical(np.array(["n", "s"])[np.arange(N) % 2], categories=["s", "n", "w"]),
        "flag": rng.random(N) > 0.5,
        **{f"emb_{i}": rng.normal(size=N) for i in range(3)},
    }
    return pd.DataFrame(columns)


@pytest.fixture
def frame():
    return make_frame()


def stored(design):
    return Design.from_dict(json.loads(json.dumps(design.to_dict(), allow_nan=False)))


TERMS = [
    *("age", "emb_*", "region", "C(region)", "C(level)", "flag", "C(flag)", "poly(age, 3)", "poly(age, 2, raw=True)"),
    *("bs(wage, df=5)", "bs(wage, knots=[0.5, 1.0])", "cr(age, df=4)", "cc(age, df=4)", "scale(wage)", "center(age)"),
    *("log(wage)", "np.sqrt(wage)", "I(age**2)", "region:age", "C(region):C(level)", "scale(age):scale(wage)", "1"),
    *("C(level, contr.sum)", "C(region, contr.treatment('n'))", "standardize(age)", "C(age > 40)", "I(level == 2)"),
    *("(age + wage)**2", "emb_*:flag", "C(level, levels=[3, 2, 1, 0])", "C(level, contr.poly)", "{age * wage}"),
]


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("restore", [stored, copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d)), lambda d: d])
def test_covariates_encode_as_in_training(frame, term, restore):
    d = build_data(f"y ~ t | {term}", frame)
    design = restore(d.design)
    np.testing.assert_array_equal(design.encode_covariates(frame), d.x)
    for part in (frame.iloc[:7], frame.iloc[[3]], frame.iloc[::-3]):
        np.testing.assert_array_equal(design.encode_covariates(part), d.x[part.index])


# emb_* stands right of the bar below, and the cubic bases span the intercept
LEFT = [term for term in TERMS if term not in {"1", "emb_*", "emb_*:flag", "cr(age, df=4)", "cc(age, df=4)"}]


@pytest.mark.parametrize("term", LEFT)
def test_treatments_encode_as_in_training(frame, term):
    formula = f"y ~ {term} | emb_*" if term.startswith(("(", "C(region):", "C(level):")) else f"y ~ t + {term} | emb_*"
    d = build_data(formula, frame)
    design = stored(d.design)
    np.testing.assert_array_equal(design.encode_treatments(frame), d.t)
    np.testing.assert_array_equal(design.encode_treatments(frame.iloc[5:9]), d.t[5:9])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([term for term in TERMS if term != "1"]), min_size=1, max_size=5, unique=True),
    st.sets(st.integers(0, N - 1), min_size=1, max_size=9),
)
def test_round_trip_of_any_terms_on_any_rows(terms, rows):
    frame = make_frame(1)
    d = build_data(f"y ~ t | {' + '.join(terms)}", frame)
    part = frame.iloc[sorted(rows)]
    np.testing.assert_array_equal(stored(d.design).encode_covariates(part), d.x[sorted(rows)])


def test_the_stored_form_is_plain_json_and_stable(frame):
    d = build_data(
        "log(wage) ~ t + C(arm) | emb_* + poly(age, 2) + I(age > cut)", frame, context={"cut": np.float64(40)}
    )
    once = d.design.to_dict()
    assert json.loads(json.dumps(once)) == once
    assert Design.from_dict(once).to_dict() == once
    assert stored(d.design).formula == "log(wage) ~ t + C(arm) | emb_* + poly(age, 2) + I(age > cut)"
    with pytest.raises(DataError, match="the stored design has format 99"):
        Design.from_dict({**once, "format": 99})


def test_model_data_pickle_and_copy(frame):
    d = build_data("y ~ t + C(arm) | emb_* + poly(age, 2)", frame, groups="arm")
    for other in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d)):
        np.testing.assert_array_equal(other.x, d.x)
        np.testing.assert_array_equal(other.design.encode_covariates(frame), d.x)
        assert other.term_columns == d.term_columns


def test_globs_are_not_resolved_again(frame):
    d = build_data("y ~ t | emb_*", frame)
    more = frame.assign(emb_9=1.0)
    np.testing.assert_array_equal(d.design.encode_covariates(more), d.x)
    shuffled = frame[frame.columns[::-1]]
    np.testing.assert_array_equal(d.design.encode_covariates(shuffled), d.x)


def test_each_part_needs_its_own_columns_only(frame):
    design = build_data("y ~ t + C(arm) | age + C(region)", frame).design
    assert design.encode_treatments({"t": [0.0, 1.0], "arm": ["b", "a"]}).tolist() == [[1, 0, 1, 0], [1, 1, 0, 0]]
    assert design.encode_covariates({"age": [30], "region": ["n"]}).tolist() == [[30, 0, 1]]


@pytest.mark.parametrize(
    "convert",
    [
        pl.from_pandas,
        pa.Table.from_pandas,
        lambda f: {name: f[name].tolist() for name in f},
        lambda f: f.convert_dtypes(),
        lambda f: f.astype({"region": object, "age": float, "flag": int}),
    ],
)
def test_new_data_of_another_library(frame, convert):
    d = build_data("y ~ t + arm | emb_* + region + C(level) + flag + scale(age)", frame)
    new = convert(frame.iloc[10:20])
    np.testing.assert_array_equal(d.design.encode_treatments(new), d.t[10:20])
    np.testing.assert_array_equal(d.design.encode_covariates(new), d.x[10:20])


def test_no_new_rows(frame):
    d = build_data("y ~ t + arm | emb_* + region + C(level)", frame)
    assert d.design.encode_treatments(frame.iloc[:0]).shape == (0, 4)
    assert d.design.encode_covariates(frame.iloc[:0]).shape == (0, 9)


def with_value(column, value, rows=(11, 12)):
    def change(frame):
        frame = frame.copy()
        frame[column] = frame[column].astype(object)
        frame.loc[list(rows), column] = value
        return frame

    return change


T, X = "encode_treatments", "encode_covariates"
REFUSALS = [
    (T, lambda f: f.drop(columns="t"), "the data have no column 't'"),
    (T, lambda f: f.drop(columns="arm").assign(arms="a"), "the data have no column 'arm'. Did you mean 'arms'"),
    (X, lambda f: f.drop(columns="emb_1"), "the data have no column 'emb_1'. Did you mean 'emb_"),
    (X, lambda f: f.drop(columns="age"), "the data have no column 'age'"),
    (X, lambda f: pd.concat([f, f[["emb_1"]]], axis=1), "several columns called 'emb_1'"),
    (
        T,
        with_value("arm", "z"),
        "'C(arm)' has categories the model has not seen: 'z' in row(s) 11, 12; known are 'a', 'b', 'c'",
    ),
    (T, with_value("arm", 3), "'C(arm)' has categories the model has not seen: '3'"),
    (
        X,
        with_value("region", "w"),
        "'region' has categories the model has not seen: 'w' in row(s) 11, 12; known are 's', 'n'",
    ),
    (X, with_value("level", 7, [4]), "'C(level)' has categories the model has not seen: 7 in row(s) 4"),
    (T, with_value("t", np.nan), "'t' is missing or infinite in 2 row(s) of the new data: 11, 12"),
    (T, with_value("t", -np.inf), "'t' is missing or infinite in 2 row(s)"),
    (T, with_value("arm", None), "'arm' is missing or infinite in 2 row(s)"),
    (X, with_value("emb_1", np.nan), "'emb_1' is missing or infinite in 2 row(s)"),
    (X, with_value("emb_1", np.inf), "Rows are never dropped when predicting"),
    (X, with_value("region", None), "'region' is missing or infinite in 2 row(s)"),
    (X, with_value("wage", 0.0, [5]), "'log(wage)' is missing or infinite in 1 row(s) of the new data: 5"),
    (T, lambda f: f.assign(t="high"), "column 't' was a number when the model was fitted, and now is a category"),
    (
        X,
        lambda f: f.assign(emb_1="high"),
        "column 'emb_1' was a number when the model was fitted, and now is a category",
    ),
    (X, lambda f: f.assign(region=1), "'region' has categories the model has not seen: 1"),
    (
        X,
        lambda f: f.assign(wage=pd.Timestamp(0)),
        "column 'wage' was a number when the model was fitted, and now is a date",
    ),
    (T, lambda f: f.to_numpy(), "data is a numpy.ndarray"),
    (X, lambda f: pl.from_pandas(f).lazy(), "call .collect()"),
]


@pytest.mark.parametrize(("method", "change", "message"), REFUSALS, ids=[f"{m}-{text}" for m, _, text in REFUSALS])
@pytest.mark.parametrize("restore", [stored, lambda d: d])
def test_refusals_on_new_data(frame, method, change, message, restore):
    formula = "y ~ t + C(arm) | emb_* + region + C(level) + log(wage) + age"
    design = restore(build_data(formula, frame).design)
    with pytest.raises(DataError, match=re.escape(message)):
        getattr(design, method)(change(frame))


def test_a_category_that_went_with_its_rows_is_unseen(frame):
    frame.loc[frame["arm"] == "c", "y"] = np.nan
    d = build_data("y ~ C(arm) | age", frame)
    assert d.t_names == ("Intercept", "C(arm)[T.b]")
    with pytest.raises(DataError, match="has not seen: 'c'"):
        d.design.encode_treatments(frame)


def test_statistics_come_from_training_rows(frame):
    frame.loc[0, ["y", "age"]] = [np.nan, 10**6]
    d = build_data("y ~ t | scale(age)", frame)
    kept = frame["age"].iloc[1:]
    # float32, and one division more or less than pandas' own standard deviation
    np.testing.assert_allclose(d.design.encode_covariates({"age": [kept.mean()]}), 0, atol=1e-6)
    np.testing.assert_allclose(d.design.encode_covariates({"age": [kept.mean() + kept.std()]}), 1, rtol=1e-6)


def double(values):
    return 2 * values


@pytest.mark.parametrize("restore", [stored, lambda d: pickle.loads(pickle.dumps(d))])
def test_functions_of_the_context_are_asked_for_after_loading(frame, restore):
    d = build_data("y ~ t | double(age) + I(wage > cut)", frame, context={"double": double, "cut": 0.5})
    np.testing.assert_array_equal(d.design.encode_covariates(frame), d.x)
    np.testing.assert_array_equal(copy.deepcopy(d.design).encode_covariates(frame), d.x)
    loaded = restore(d.design)
    np.testing.assert_array_equal(loaded.encode_treatments(frame), d.t)
    with pytest.raises(DataError, match=re.escape("uses 'double' from the context of the fit")):
        loaded.encode_covariates(frame)
    np.testing.assert_array_equal(loaded.encode_covariates(frame, context={"double": double}), d.x)


def test_lambdas_do_not_stop_pickling(frame):
    d = build_data("y ~ t | f(age)", frame, context={"f": lambda v: v + 1})
    loaded = pickle.loads(pickle.dumps(d.design))
    np.testing.assert_array_equal(loaded.encode_covariates(frame, context={"f": lambda v: v + 1}), d.x)


def test_arrays_of_the_context_are_given_again_or_as_columns(frame):
    Z = np.random.default_rng(0).normal(size=(N, 3))
    d = build_data("y ~ t | Z + age", frame, context={"Z": Z})
    for design in (d.design, stored(d.design)):
        np.testing.assert_array_equal(design.encode_covariates(frame[:5], context={"Z": Z[:5]}), d.x[:5])
        np.testing.assert_array_equal(design.encode_covariates({"age": frame["age"], "Z": Z}), d.x)
        with pytest.raises(DataError, match="the data have no column 'Z'"):
            design.encode_covariates(frame)
        with pytest.raises(DataError, match="the vectors in 'Z' have length 2; the model needs 3"):
            design.encode_covariates(frame, context={"Z": Z[:, :2]})
        with pytest.raises(DataError, match="'Z' was a vector when the model was fitted, and now is a number"):
            design.encode_covariates(frame, context={"Z": Z[:, 0]})


def test_array_constants_are_stored(frame):
    d = build_data("y ~ t | bs(wage, knots=knots)", frame, context={"knots": np.array([0.3, 0.9])})
    np.testing.assert_array_equal(stored(d.design).encode_covariates(frame), d.x)


def test_state_that_cannot_be_stored(frame):
    from formulaic.utils.stateful_transforms import stateful_transform

    @stateful_transform
    def keep(data, _state=None):
        _state["object"] = object()
        return data

    with pytest.raises(DataError, match="keeps a object, which cannot be stored"):
        build_data("y ~ t | keep(age)", frame, context={"keep": keep})

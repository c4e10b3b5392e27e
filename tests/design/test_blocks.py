"""Transforms of many columns: the grammar, what they compute, what they store, and what they refuse."""

import copy
import json
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from deepdml.design import blocks
from deepdml.design.data import Design, build_data
from deepdml.design.formula import parse_formula, parse_terms
from deepdml.errors import DataError, FormulaError

N = 90
# x is float32: a relative step of 6e-8, a few of which add up in a sum over columns
FLOAT32 = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([2.0, 3.0, 4.0], N)
    mixed = rng.normal(size=(N, 6)) @ rng.normal(size=(6, 6)) + 5.0
    return pd.DataFrame(
        {
            "y": rng.normal(size=N),
            "t": rng.normal(size=N),
            "age": rng.integers(20, 60, N),
            **dict(zip("abc", shares.T, strict=True)),
            **{f"emb_{i}": mixed[:, i] for i in range(6)},
            "city": np.array(list("uv"))[np.arange(N) % 2],
            "flat": 2.0,
        }
    )


def embedding(frame):
    return frame.filter(like="emb_").to_numpy(np.float32).astype(np.float64)


def log_ratios(frame):
    logs = np.log(frame[["a", "b", "c"]].to_numpy(np.float32).astype(np.float64))
    return logs - logs.mean(axis=1, keepdims=True)


def standardized(values):
    return (values - values.mean(axis=0)) / values.std(axis=0)


def components(values, size):
    found = PCA(size, svd_solver="full").fit(values)
    largest = np.take_along_axis(found.components_, np.abs(found.components_).argmax(axis=1)[:, None], axis=1)
    return found.transform(values) * np.sign(largest[:, 0])


FOUND = [
    ("pca(emb_*, 3)", lambda f: components(embedding(f), 3), ["1", "2", "3"]),
    ("standardize(emb_*)", lambda f: standardized(embedding(f)), [f"emb_{i}" for i in range(6)]),
    ("standardize(emb_* - emb_1)", lambda f: standardized(embedding(f)[:, [0, 2, 3, 4, 5]]), None),
    ("pca(standardize(emb_*), 2)", lambda f: components(standardized(embedding(f)), 2), ["1", "2"]),
    ("clr(a, b, c)", log_ratios, ["a", "b", "c"]),
    ("standardize(clr(a, b, c))", lambda f: standardized(log_ratios(f)), ["a", "b", "c"]),
    ("pca(a + b, c, 2)", lambda f: components(f[["a", "b", "c"]].to_numpy(), 2), ["1", "2"]),
]


@pytest.mark.parametrize("chunk", [7, blocks.CHUNK])
@pytest.mark.parametrize(("term", "expected", "fields"), FOUND)
def test_values_and_names(frame, term, expected, fields, chunk, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK", chunk)
    d = build_data(f"y ~ t | {term}", frame)
    np.testing.assert_allclose(d.x, expected(frame), **FLOAT32)
    if fields is not None:
        assert d.x_names == tuple(f"{term}[{name}]" for name in fields)


def test_ilr_is_an_isometry_of_the_composition(frame):
    d = build_data("y ~ t | ilr(a, b, c)", frame)
    assert d.x_names == ("ilr(a, b, c)[1]", "ilr(a, b, c)[2]")
    first = np.log(frame["a"] / frame["b"]) / np.sqrt(2)
    second = np.log(np.sqrt(frame["a"] * frame["b"]) / frame["c"]) * np.sqrt(2 / 3)
    np.testing.assert_allclose(d.x, np.column_stack([first, second]), **FLOAT32)
    lengths = (d.x.astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(lengths, (log_ratios(frame) ** 2).sum(axis=1), **FLOAT32)


def test_components_are_sorted_uncorrelated_and_signed(frame):
    d = build_data("y ~ t | pca(emb_*, 6)", frame)
    covariance = np.cov(d.x.astype(np.float64), rowvar=False)
    assert (np.diff(np.diag(covariance)) < 0).all()
    # in units of the variances, the rounding of float32 scores
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-5 * covariance[0, 0])
    loadings = d.design.pieces[0].steps[0].arrays["components"]
    assert (np.take_along_axis(loadings, np.abs(loadings).argmax(axis=0)[None], axis=0) > 0).all()


def test_a_far_mean_takes_no_digits(frame):
    # variances from sums of squares would lose them all: (1e7)^2 against a variance of one
    far = {name: frame[name].to_numpy() for name in ("y", "t")}
    vectors = 1e7 + embedding(frame)
    d = build_data("y ~ t | pca(v, 2) + standardize(v)", {**far, "v": vectors})
    expected = np.column_stack([components(vectors, 2), standardized(vectors)])
    np.testing.assert_allclose(d.x, expected, rtol=1e-4, atol=1e-4)  # 1e7 in double precision leaves 1e-9 of a unit


def test_vectors_and_columns_stand_side_by_side(frame):
    vectors = embedding(frame)[:, :4]
    data = {**{name: frame[name].to_numpy() for name in ("y", "t", "age")}, "v": vectors}
    d = build_data("y ~ t | standardize(v) + pca(age, v, 2)", data)
    assert d.x_names[:4] == tuple(f"standardize(v)[v_{i}]" for i in range(4))
    both = np.column_stack([data["age"], vectors])
    np.testing.assert_allclose(d.x, np.column_stack([standardized(vectors), components(both, 2)]), **FLOAT32)


def test_standardize_of_one_column_and_with_options_is_formulaics(frame):
    d = build_data("y ~ t | standardize(age) + standardize(log(a), rescale=False)", frame)
    assert d.x_names == ("standardize(age)", "standardize(log(a), rescale=False)")
    assert [piece.origin for piece in d.design.pieces] == ["terms"]
    age = frame["age"]
    np.testing.assert_allclose(d.x[:, 0], (age - age.mean()) / age.std(ddof=0), **FLOAT32)


def test_a_function_of_the_context_goes_first(frame):
    d = build_data("y ~ t | clr(a)", frame, context={"clr": np.log})
    np.testing.assert_allclose(d.x[:, 0], np.log(frame["a"]), **FLOAT32)


STORED = [
    "pca(emb_*, 3) + age",
    "standardize(emb_*)",
    "pca(standardize(emb_*), 2) + clr(a, b, c)",
    "ilr(a, b, c) + city",
]


@pytest.mark.parametrize("term", STORED)
@pytest.mark.parametrize(
    "restore",
    [
        lambda d: Design.from_dict(json.loads(json.dumps(d.to_dict(), allow_nan=False))),
        lambda d: Design.from_dict(json.loads(json.dumps(d.to_dict(arrays=False))), d.arrays()),
        copy.deepcopy,
        lambda d: pickle.loads(pickle.dumps(d)),
    ],
)
def test_new_data_get_the_stored_transform(frame, term, restore):
    d = build_data(f"y ~ t | {term}", frame)
    design = restore(d.design)
    np.testing.assert_array_equal(design.encode_covariates(frame), d.x)
    # a product of other rows may round differently in the last bit
    np.testing.assert_allclose(design.encode_covariates(frame.iloc[5:9]), d.x[5:9], **FLOAT32)
    assert design.to_dict() == d.design.to_dict()


def test_dropped_rows_take_no_part(frame):
    holes = frame.astype({"age": float})
    holes.loc[[3, 50], "emb_2"] = np.nan
    holes.loc[7, "y"] = np.inf
    holes.loc[[3, 7, 50], "emb_0"] = 1e6
    kept = frame.drop(index=[3, 7, 50])
    d, e = (build_data("y ~ t | pca(emb_*, 2)", each) for each in (holes, kept))
    assert d.missing == {"y": 1, "emb_2": 2}
    np.testing.assert_array_equal(d.x, e.x)


def test_the_outcome_is_not_looked_at(frame):
    shuffled = frame.assign(y=frame["y"].to_numpy()[::-1], t=frame["t"].to_numpy()[::-1])
    d, e = (build_data("y ~ t | pca(emb_*, 2) + standardize(emb_*)", each) for each in (frame, shuffled))
    np.testing.assert_array_equal(d.x, e.x)


UNREADABLE = [
    ("pca(emb_*)", "does not end in a number of components"),
    ("pca(emb_*, 0)", "does not end in a number of components"),
    ("pca(emb_*, n=2)", "does not end in a number of components"),
    ("pca(2)", "names no columns; write 'pca(emb_*, 64)'"),
    ("clr()", "names no columns; write 'clr(a, b, c)'"),
    ("clr(a, )", "names no columns"),
    ("pca(emc_*, 2)", "the glob 'emc_*' matches no column"),
    ("pca(log(a), 2)", "'log(a)' inside a transform is no column"),
    ("pca(emb_*, 2):age", "stands in the product 'pca(emb_*, 2):age'"),
    ("(pca(emb_*, 2) + age)**2", "it is a term of its own"),
    ("clr(standardize(emb_*))", "clr takes the parts of a composition as columns"),
    ("pca(standardize(emb_*), age, 2)", "beside 'standardize(emb_*)' nothing else can be transformed"),
    ("pca(emb_* + t, 2)", "'t' stand(s) on both sides of the bar"),
    ("pca(emb_*, nothing, 2)", "'nothing' is not a column"),
    ("log(pca(emb_*, 2))", "A glob cannot stand inside a call"),
    ("pca(emb_*, 2) - pca(emb_*,2)", "cancels out"),
]


@pytest.mark.parametrize(("term", "message"), UNREADABLE)
def test_formulas_that_are_refused(frame, term, message):
    with pytest.raises(FormulaError, match=re.escape(message)):
        parse_formula(f"y ~ t | {term}", list(frame.columns))


def test_a_treatment_in_a_glob_of_a_transform_is_refused_and_can_be_taken_out(frame):
    with pytest.raises(FormulaError, match=re.escape("write '- emb_0' there")):
        build_data("y ~ emb_0 | pca(emb_*, 2)", frame)
    d = build_data("y ~ emb_0 | pca(emb_* - emb_0, 2)", frame)
    assert d.design.pieces[0].names == tuple(f"emb_{i}" for i in range(1, 6))


@pytest.mark.parametrize("text", ["pca(a, b, 2)", "clr(a, b)"])
def test_transforms_stand_right_of_the_bar_only(frame, text):
    with pytest.raises(FormulaError, match="a term of its own right of the bar"):
        parse_formula(f"y ~ t + {text} | age", list(frame.columns))
    with pytest.raises(FormulaError, match="a term of its own right of the bar"):
        parse_terms(f"age + {text}", list(frame.columns))


UNUSABLE = [
    ("pca(emb_*, 7)", "asks for 7 components of 6 column(s); ask for 6 or fewer"),
    ("pca(emb_* + flat, 7)", "the 7 columns vary in 6 direction(s) only"),
    ("pca(flat, 1)", "its 1 column(s) are constant over the 90 rows"),
    ("standardize(emb_* + flat)", "'flat' is constant over the 90 rows"),
    ("standardize(flat)", "'flat' is constant over the 90 rows"),
    ("pca(standardize(flat, age), 1)", "'flat' is constant"),
    ("pca(city, age, 1)", "'city' is a category; take it out there (write '- city' if a glob matched it)"),
    ("clr(a)", "has one part, 'a'"),
    ("clr(emb_*)", "add a small amount to every part"),
]


@pytest.mark.parametrize(("term", "message"), UNUSABLE)
def test_data_that_are_refused(frame, term, message):
    with pytest.raises(DataError, match=re.escape(message)):
        build_data(f"y ~ t | {term}", frame)


def test_fewer_rows_than_components(frame):
    with pytest.raises(DataError, match="asks for 5 components, but there are 5 rows; more rows than components"):
        build_data("y ~ t | pca(emb_*, 5)", frame.iloc[:5])


@pytest.mark.parametrize("function", ["clr", "ilr"])
def test_parts_that_are_not_positive_name_column_and_rows(frame, function, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK", 16)
    bad = frame.copy()
    bad.loc[[3, 70], "b"] = 0.0
    bad.loc[9, "c"] = -0.1
    message = f"{function} takes logs, but 'b' is zero or negative in 2 row(s): 3, 70, and 1 more of the parts"
    with pytest.raises(DataError, match=re.escape(message)):
        build_data(f"y ~ t | {function}(a, b, c)", bad)
    design = build_data(f"y ~ t | {function}(a, b, c)", frame).design
    with pytest.raises(DataError, match=re.escape("'b' is zero or negative in 1 row(s): 70")):
        design.encode_covariates(bad.iloc[60:])


def test_missing_parts_of_new_data_are_named(frame):
    design = build_data("y ~ t | pca(emb_*, 2)", frame).design
    holes = frame.copy()
    holes.loc[4, "emb_3"] = np.nan
    with pytest.raises(DataError, match=re.escape("'emb_3' is missing or infinite in 1 row(s)")):
        design.encode_covariates(holes)

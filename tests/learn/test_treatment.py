"""What kind of treatment a formula has, its law, and the limits of overlap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deepdml.design.data import build_data
from deepdml.design.splits import make_plan
from deepdml.errors import DataError, OptionError, OverlapError
from deepdml.learn.influence import DiscreteLaw, LocationScaleLaw
from deepdml.learn.scheme import paired
from deepdml.learn.treatment import (
    NODES,
    Levels,
    Scalar,
    Vector,
    check_overlap,
    check_present,
    classify,
    clip_propensities,
    floor_scale,
    residual_nodes,
)

N = 400


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"y": rng.standard_normal(N), "x": rng.standard_normal(N)})
    data["t"] = rng.uniform(0.5, 3.0, N)
    data["s"] = rng.standard_normal(N)
    data["b"] = np.arange(N) % 2 * 1.0
    data["c"] = np.arange(N) % 3 // 2 * 1.0
    data["k"] = np.arange(N) % 15 * 1.0
    data["arm"] = np.array(["u", "v", "w"])[np.arange(N) % 3]
    return data


def kind(frame, treatments, asked="auto"):
    return classify(build_data(f"y ~ {treatments} | x", frame), asked)


@pytest.mark.parametrize(
    ("treatments", "levels"),
    [("1", 1), ("b", 2), ("C(arm)", 3), ("0 + C(arm)", 3), ("b * c", 4), ("b + C(arm)", 6), ("C(k)", 15), ("C(b)", 2)],
)
def test_few_values_are_levels(frame, treatments, levels):
    found = kind(frame, treatments)
    assert isinstance(found, Levels)
    assert len(found.rows) == levels
    built = build_data(f"y ~ {treatments} | x", frame)
    np.testing.assert_array_equal(found.rows[found.codes], built.t)


@pytest.mark.parametrize(("treatments", "refused"), [("dose", False), ("C(dose)", True)])
def test_a_rare_value_of_a_dose_is_no_rare_level(frame, treatments, refused):
    """Its coefficient is learned from the other values; that of a category is not."""
    rng = np.random.default_rng(0)
    dosed = frame.assign(dose=np.where(np.arange(N) == 7, 3.0, np.arange(N) % 3))
    built = build_data(f"y ~ {treatments} | x", dosed)
    levels = classify(built, "auto")
    assert isinstance(levels, Levels)
    scheme = paired(make_plan(N, 5, rng=rng), rng)
    if refused:
        with pytest.raises(DataError, match=r"^C\(dose\)\[T\.3\.0\] = 1 is in 1 row\(s\) only, 7, so that some"):
            check_present(levels, built, scheme)
    else:
        check_present(levels, built, scheme)


@pytest.mark.parametrize("treatments", ["t", "0 + t", "log(t)", "k", "I(2 * t + 1)"])
def test_one_column_is_affine(frame, treatments):
    found = kind(frame, treatments)
    assert isinstance(found, Scalar)
    assert found.affine
    built = build_data(f"y ~ {treatments} | x", frame)
    np.testing.assert_array_equal(found.values, built.t[:, -1])
    np.testing.assert_array_equal(found.grid, [found.values.min(), found.values.max()])


@pytest.mark.parametrize(
    "treatments", ["t + I(t**2)", "poly(t, 3)", "log(t) + t", "bs(t, df=4)", "s + I(s**2)", "I((s - 1) * (s > 1)) + s"]
)
def test_transforms_of_one_variable_are_a_curve(frame, treatments):
    found = kind(frame, treatments)
    assert isinstance(found, Scalar)
    assert not found.affine
    built = build_data(f"y ~ {treatments} | x", frame)
    assert (np.diff(found.grid) > 0).all()
    # with fewer rows than grid points the table holds every row
    place = np.searchsorted(found.grid, found.values)
    np.testing.assert_array_equal(found.grid_rows[place], built.t)


@pytest.mark.parametrize(("treatments", "columns"), [("t + s", [1, 2]), ("t * s", [1, 2, 3]), ("t + b", [1, 2])])
def test_several_variables_are_a_vector(frame, treatments, columns):
    found = kind(frame, treatments)
    assert isinstance(found, Vector)
    assert found.columns.tolist() == columns
    np.testing.assert_array_equal(found.values, build_data(f"y ~ {treatments} | x", frame).t[:, columns])


def test_the_user_decides(frame):
    assert isinstance(kind(frame, "b", "continuous"), Scalar)
    assert isinstance(kind(frame, "k", "discrete"), Levels)
    assert isinstance(kind(frame, "k"), Scalar)
    with pytest.raises(OptionError, match="t has 400 distinct values in 400 rows"):
        kind(frame, "t", "discrete")
    with pytest.raises(OptionError, match="categorical"):
        kind(frame, "C(arm)", "continuous")


def test_levels_are_numbered_as_they_appear(frame):
    """So that 1 - t has the same folds as t."""
    one, two = kind(frame, "b"), kind(frame.assign(b=1 - frame["b"]), "b")
    np.testing.assert_array_equal(one.codes, two.codes)
    assert one.codes[0] == 0


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 500), st.integers(0, 1000), st.sampled_from(["normal", "skewed", "tied"]), st.booleans())
def test_nodes_have_mean_zero_and_variance_one(n, seed, shape, weighted):
    rng = np.random.default_rng(seed)
    u = {"normal": rng.standard_normal, "skewed": rng.standard_exponential, "tied": lambda k: rng.integers(0, 9, k)}
    values = np.append(u[shape](n).astype(float), [-3.0, 4.0])  # never constant
    nodes, weights = residual_nodes(values, rng.uniform(0.5, 2.0, n + 2) if weighted else None)
    assert len(nodes) == len(weights) <= NODES + 1  # a middle row may have a bin of its own
    assert weights.sum() == pytest.approx(1.0)
    assert (weights > 0).all()
    assert weights @ nodes == pytest.approx(0.0, abs=1e-12)  # rounding
    assert weights @ nodes**2 == pytest.approx(1.0)
    assert (np.diff(nodes) >= -1e-12).all()


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 500), st.integers(0, 1000))
@example(20, 0)  # rows fall on the edges of bins
@example(41, 0)  # a row in the middle
def test_nodes_of_the_mirrored_residuals_are_mirrored(n, seed):
    """So that a treatment measured the other way round has the same Lambda."""
    values = np.random.default_rng(seed).standard_normal(n)
    nodes, weights = residual_nodes(values, None)
    mirrored, reversed_weights = residual_nodes(-values, None)
    np.testing.assert_allclose(mirrored, -nodes[::-1], atol=1e-12)  # rounding
    np.testing.assert_allclose(reversed_weights, weights[::-1])


def test_whole_weights_are_copies_of_residuals():
    """Up to the bins that copies of one residual straddle."""
    rng = np.random.default_rng(1)
    values, times = rng.standard_exponential(4_000), rng.integers(1, 4, 4_000)
    one = residual_nodes(values, times.astype(float))
    two = residual_nodes(np.repeat(values, times), None)
    np.testing.assert_allclose(one[0], two[0], atol=0.01)
    np.testing.assert_allclose(one[1], two[1], atol=0.001)


def test_nodes_follow_the_residuals_shape():
    """Forty bins of many residuals integrate a smooth function to a per cent."""
    u = np.random.default_rng(0).standard_exponential(100_000) - 1
    nodes, weights = residual_nodes(u, None)
    assert weights @ np.exp(0.3 * nodes) == pytest.approx(np.exp(0.3 * u).mean(), rel=0.01)
    assert weights @ nodes**3 == pytest.approx(2.0, rel=0.15)  # the third moment loses the tail within the last bin


class TestClipping:
    def test_nothing_is_touched_where_overlap_is_good(self):
        p = np.tile([0.3, 0.7], (50, 1))
        clipped, share = clip_propensities(p, np.arange(50) % 2)
        np.testing.assert_allclose(clipped, p)
        assert share == 0

    def test_small_propensities_are_raised_and_rows_add_up(self):
        p = np.tile([0.5, 0.5], (100, 1))
        p[:10] = [0.001, 0.999]
        clipped, share = clip_propensities(p, np.arange(100) % 2)
        assert share == pytest.approx(0.1)
        np.testing.assert_allclose(clipped.sum(1), 1.0)
        np.testing.assert_allclose(clipped[:10, 0], 0.01 / 1.009)
        np.testing.assert_allclose(clipped[10:], 0.5)

    def test_rare_levels_have_a_lower_bound(self):
        """A level that one row in two hundred has may have small propensities everywhere."""
        codes = (np.arange(400) % 200 == 0) * 1
        p = np.tile([0.995, 0.005], (400, 1))
        clipped, share = clip_propensities(p, codes)
        assert share == 0
        np.testing.assert_allclose(clipped, p)

    def test_no_overlap_is_an_error(self):
        p = np.tile([0.001, 0.999], (100, 1))
        p[:49] = 0.5
        data = build_data(
            "y ~ t | x", pd.DataFrame({"y": np.arange(100.0), "t": np.arange(100) % 2, "x": np.arange(100.0)})
        )
        levels = classify(data, "auto")
        with pytest.raises(OverlapError, match=r"almost perfectly in 51% of the rows.*Drop covariates"):
            check_overlap(p, levels, data)
        p[49] = 0.5
        check_overlap(p, levels, data)  # in half of the rows

    @pytest.mark.parametrize(("formula", "name"), [("dose", "dose = 9"), ("C(dose)", r"C\(dose\)\[T.9.0\] = 1")])
    def test_a_value_that_one_row_has_is_named(self, formula, name):
        frame = pd.DataFrame({"y": np.arange(100.0), "dose": np.arange(100.0) % 2, "x": np.arange(100.0)})
        frame.loc[7, "dose"] = 9.0
        data = build_data(f"y ~ {formula} | x", frame)
        levels = classify(data, "discrete")
        p = np.full((100, 3), 0.5)
        p[:, levels.codes[7]] = 1e-5
        with pytest.raises(OverlapError, match=rf"^{name} is in 1 row\(s\) only, 7, .* in 100% of the rows") as error:
            check_overlap(p, levels, data)
        assert ("treatment='continuous'" in str(error.value)) == (formula == "dose")

    def test_the_input_is_kept(self):
        p = np.tile([0.001, 0.999], (100, 1))
        p[10:] = 0.5
        before = p.copy()
        clip_propensities(p, np.arange(100) % 2)
        np.testing.assert_array_equal(p, before)


class TestFlooring:
    def test_scales_are_floored_at_a_share_of_their_root_mean_square(self):
        scale = np.append(np.ones(99), 0.001)
        floored, share = floor_scale(scale, "t", 1.0)
        assert share == pytest.approx(0.01)
        assert floored[-1] == pytest.approx(0.05 * np.sqrt(np.mean(scale**2)))
        np.testing.assert_array_equal(floored[:-1], scale[:-1])

    def test_a_determined_treatment_is_an_error(self):
        with pytest.raises(
            OverlapError, match=r"explain 99\.9999% of the variance of 'price'.*copies of the treatment"
        ):
            floor_scale(np.full(10, 0.001), "price", 1.0)

    def test_a_tight_treatment_is_not(self):
        scale, touched = floor_scale(np.full(10, 0.02), "price", 1.0)
        np.testing.assert_array_equal(scale, np.full(10, 0.02))  # a floor of 5 % of itself touches nothing
        assert touched == 0.0


class TestLaws:
    def test_levels(self):
        levels = np.array([[1.0, 0.0], [1.0, 1.0]])
        p = np.random.default_rng(0).dirichlet([1, 1], 7)
        nodes, weights = DiscreteLaw(levels, p).nodes(slice(2, 5))
        np.testing.assert_array_equal(nodes, levels[None])
        np.testing.assert_array_equal(weights, p[2:5])

    def test_an_affine_law_is_exact_inside_and_outside_the_grid(self):
        u = np.array([-2.0, 0.0, 2.0])
        grid_rows = np.array([[1.0, 3.0], [1.0, 7.0]])  # the row of T is (1, 3 + 4 T)
        law = LocationScaleLaw(
            np.array([0.0, 5.0]), np.array([1.0, 0.5]), u, np.full(3, 1 / 3), np.array([0.0, 1.0]), grid_rows, True
        )
        nodes, weights = law.nodes(slice(0, 2))
        value = np.array([[-2.0, 0.0, 2.0], [4.0, 5.0, 6.0]])
        np.testing.assert_allclose(nodes, np.stack([np.ones((2, 3)), 3 + 4 * value], -1))
        assert weights.shape == (1, 3)

    def test_a_curve_is_interpolated_and_ends_at_its_ends(self):
        grid = np.linspace(-1, 1, 2001)
        law = LocationScaleLaw(
            np.array([0.0]),
            np.array([1.0]),
            np.array([-5.0, 0.3, 5.0]),
            np.full(3, 1 / 3),
            grid,
            np.column_stack([np.ones(2001), grid, grid**2]),
            False,
        )
        nodes, _ = law.nodes(slice(0, 1))
        # linear between points 0.001 apart: an error below 0.001 squared
        np.testing.assert_allclose(nodes[0], [[1, -1, 1], [1, 0.3, 0.09], [1, 1, 1]], atol=1e-6)

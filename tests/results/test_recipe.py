"""Results know how they came about, before and after saving."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import deepdml as dd
from deepdml.learn.problem import LearnOptions
from deepdml.results import Results
from deepdml.results.recipe import Recipe, plain, record_call, storable
from deepdml.results.source import source_of

LEVEL = 3


def scaled(x, t, theta):
    return LEVEL * math.pi * theta[..., 1]


def with_recipe(results: Results, **call: Any) -> Results:
    results._recipe = record_call(LearnOptions(), formula="y ~ t | x*", **call)
    return results


def test_options_that_are_automatic_are_called_so() -> None:
    recipe = record_call(LearnOptions(hidden=(8,), lr=0.1), seed=np.int64(3), treatment="auto")
    assert recipe.call["hidden"] == [8]
    assert recipe.call["epochs"] == recipe.call["weight_decay"] == "auto"
    assert (recipe.call["lr"], recipe.call["seed"], recipe.call["learner"]) == (0.1, 3, "auto")
    assert "known" not in recipe.call


@pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")  # without a seed, any of them may come
def test_every_option_of_a_fit_is_noted() -> None:
    data = dd.simulate.authors_example(n=300, seed=1).data
    call = dd.fit("y ~ t | x_*", data, learner="net", epochs=2, progress=False)._recipe.call
    model, options = (set(inspect.signature(f).parameters) for f in (dd.DeepDML, dd.DeepDML.fit))
    # the data and context stand in a package once; the threads are in the record of the fit
    assert call.keys() == (model | options) - {"self", "data", "context", "n_jobs", "progress"}


def test_every_method_that_returns_results_is_noted() -> None:
    methods = {name: f for name, f in inspect.getmembers(Results, inspect.isfunction) if not name.startswith("_")}
    returning = {name for name, f in methods.items() if f.__annotations__.get("return") == "Results"}
    assert {"gate", "estimate", "get_robustcov_results"} <= returning
    assert {name for name in returning if not hasattr(methods[name], "__wrapped__")} == set()


@pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")  # as above
def test_a_fit_notes_its_call() -> None:
    data = dd.simulate.authors_example(n=300, seed=1).data
    groups = pd.Series(np.arange(300) % 30, name="firm")
    known = dd.fit(
        "y ~ t | x_*", data, learner="net", epochs=2, cov_type="cluster", cov_kwds={"groups": groups}, progress=False
    )
    call = known._recipe.call
    assert call["seed"] == known._fit.record.seed  # drawn, since none was given
    assert call["cov_kwds"]["$dict"]["groups"]["name"] == "firm"
    (labels,) = known._recipe.arrays.values()
    np.testing.assert_array_equal(labels, groups)


def test_steps_are_noted_in_order_and_survive_a_file(results: Results, tmp_path: Path) -> None:
    res = with_recipe(results)
    by = pd.Series(["a", "b"] * 200, name="half")
    made = res.estimate([dd.Contrast("t", 1, 0), scaled]).get_robustcov_results("HC0").gate(by, of="function")
    steps = made._recipe.steps
    assert [step["method"] for step in steps] == ["estimate", "get_robustcov_results", "gate"]
    assert res._recipe.steps == ()
    contrast, function = steps[0]["arguments"]["estimands"]
    assert contrast == {"$estimand": "Contrast", "fields": {"column": "t", "new": 1, "old": 0}}
    assert "import math\n" in function["$function"]["source"]
    assert "LEVEL = 3\n" in function["$function"]["source"]
    assert steps[2]["arguments"]["by"]["name"] == "half"
    made.save(tmp_path / "made.deepdml")
    loaded = dd.load(tmp_path / "made.deepdml")._recipe
    assert (loaded.call, loaded.steps) == (made._recipe.call, made._recipe.steps)
    for key, array in made._recipe.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[key], array)


def test_a_file_without_a_recipe_is_read(results: Results, tmp_path: Path) -> None:
    assert results._recipe is None
    results.save(tmp_path / "old.deepdml")
    loaded = dd.load(tmp_path / "old.deepdml")
    assert loaded._recipe is None
    assert loaded.estimate(dd.Contrast("t", 1, 0))._recipe is None


def test_arrays_by_row_go_with_the_data(results: Results, tmp_path: Path) -> None:
    res = with_recipe(results, weights=np.ones(400))
    res.save(tmp_path / "bare.deepdml", remove_data=True)
    assert dd.load(tmp_path / "bare.deepdml")._recipe.arrays == {}
    assert len(res._recipe.arrays) == 1
    res.remove_data()
    assert res._recipe.arrays == {}
    assert res._recipe.call["weights"].keys() == {"$array"}


def test_policies_and_parts_note_where_they_came_from(results: Results) -> None:
    res = with_recipe(results)
    assert res.policy(cost=0.5).value._recipe.steps[0] == {
        "method": "policy",
        "arguments": {"cost": 0.5, "of": None, "on": None},
        "take": "value",
    }
    gate = res.gate(np.arange(400) % 2)
    joined = res.estimate([gate])
    assert joined._recipe.steps[0]["arguments"]["estimands"] == [{"$results": list(gate._recipe.steps)}]
    assert joined._recipe.arrays.keys() == gate._recipe.arrays.keys()


def test_the_users_arrays_are_copied() -> None:
    mine = np.arange(3.0)
    recipe = Recipe({}).then("gate", {"by": mine})
    mine[0] = 9.0
    assert next(iter(recipe.arrays.values()))[0] == 0.0


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (pd.Series(["a", "b"]), "U"),
        (pd.Categorical(["a", "b"]), "U"),
        ([1, 2], "i"),
        (np.array([True]), "b"),
        (pd.Series([1.5, None]), "f"),
        (pd.Series(["a", None, "a"], dtype=object), "f"),  # codes, with NaN for the hole
        (pd.date_range("2020", periods=2), "M"),
    ],
)
def test_labels_need_no_pickle(value: Any, kind: str, tmp_path: Path) -> None:
    array = storable(value)
    assert array.dtype.kind == kind
    assert len(array) == len(value)
    np.save(tmp_path / "a.npy", array, allow_pickle=False)


def test_labels_with_holes_keep_their_groups() -> None:
    codes = storable(pd.Series(["b", None, "a", "b"], dtype=object))
    np.testing.assert_array_equal(codes, [0.0, np.nan, 1.0, 0.0])


def test_what_json_has_no_form_for() -> None:
    arrays: dict[str, Any] = {}
    assert plain({"a": (1, 2.5, None)}, arrays) == {"$dict": {"a": [1, 2.5, None]}}
    assert plain(dd.families.Gaussian(), arrays) == "gaussian"
    assert arrays == {}
    assert plain(list(range(1000)), arrays).keys() == {"$array"}


def test_sources_that_are_not_enough() -> None:
    local = 2.0

    def closure(x, t, theta):
        return local * theta

    table = {"a": 1}
    namespace = {"table": table}
    exec("def typed(x, t, theta):\n    return table['a'] * theta", namespace)
    assert "uses local of the function around it" in source_of(closure)["why"]
    assert "its source cannot be found" in source_of(namespace["typed"])["why"]
    assert "write it with def" in source_of(lambda x, t, theta: theta)["why"]
    assert "has no name" in source_of(np.tanh)["why"]
    assert "uses 'storable'" in source_of(takes_another)["why"]
    assert "decorator" in source_of(decorated)["why"]
    found = source_of(scaled)
    space: dict[str, Any] = {}
    exec(found["source"], space)
    assert space[found["name"]](None, None, np.array([0.0, 2.0])) == scaled(None, None, np.array([0.0, 2.0]))


def takes_another(x, t, theta):
    return storable(theta)


def same(function):
    return function


@same
def decorated(x, t, theta):
    return theta

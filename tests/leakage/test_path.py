"""The path: one refit for each strength, what went wrong noted, a figure."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest

import deepdml as dd
from deepdml.errors import DataError, OptionError


@pytest.fixture(scope="module")
def along(leaky):
    frames = []

    def fit(frame):
        frames.append(frame)
        return dd.fit(leaky.formula, frame, learner="net", seed=1, progress=False)

    before = leaky.data.copy()
    found = dd.leakage.path(fit, leaky.data, "t", "emb_*", strengths=(0, 0.25, 1), rounds=4)
    pd.testing.assert_frame_equal(leaky.data, before)
    return found, frames


def test_the_leak_leaves_no_estimate_and_little_of_it_a_good_one(along):
    found, frames = along
    assert len(frames) == 3
    assert found.table.index.tolist() == [0, 0.25, 1]
    assert found.table["predictability"].is_monotonic_decreasing
    first, last = found.table.loc[0], found.table.loc[1]
    assert np.isnan(first["estimate"])
    assert "no overlap" in first["note"]
    # five standard errors about the truth: the fit is one draw
    assert abs(last["estimate"] - 1) < 5 * last["se"]
    assert last["low"] < last["estimate"] < last["high"]


def test_the_other_columns_stay(along, leaky):
    for frame in along[1]:
        pd.testing.assert_frame_equal(frame[["y", "t", "x_0"]], leaky.data[["y", "t", "x_0"]])


def test_it_prints_and_draws(along):
    matplotlib.use("agg")
    found, _ = along
    assert "t by strength of inlp" in repr(found)
    upper, lower = found.plot()
    assert upper.get_ylabel() == "t"
    assert lower.get_ylabel() == "AUC"
    assert lower.get_xlabel() == "strength of inlp"
    matplotlib.pyplot.close("all")


@pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")  # few rows
def test_a_fit_has_its_own_path(leaky):
    options = {"learner": "net", "epochs": 5, "seed": 1, "progress": False}
    data = leaky.data.assign(**dd.leakage.distill(leaky.data.filter(like="emb_"), leaky.data["t"], "inlp", 0.5))
    res = dd.fit(leaky.formula, data, **options)
    found = res.leakage_path(data, "emb_*", fit=options, strengths=(0, 0.5), given=["x_0", "x_1", "x_2"])
    # strength zero is the fit itself, embeddings through double precision and back
    assert found.table.loc[0, "estimate"] == res.params["t"]
    assert found.table.loc[0.5, "estimate"] != res.params["t"]


def test_loaded_results_have_no_model_to_fit(leaky, tmp_path, known):
    res = known("gaussian", "binary").results
    res.save(tmp_path / "fit.deepdml")
    with pytest.raises(DataError, match=r"use dd\.leakage\.path"):
        dd.load(tmp_path / "fit.deepdml").leakage_path(leaky.data, "emb_*")


def test_texts_are_cut_and_embedded_again(reports, encoder):
    seen = []

    class Fitted:
        params = bse = pd.Series({"t": 0.0})

        def conf_int(self, alpha):
            return pd.DataFrame([[-1.0, 1.0]], index=["t"])

    def fit(frame):
        seen.append(dd.embed.text(frame["note"], model=encoder, name="bag"))
        return Fitted()

    found = dd.leakage.path(fit, reports, "t", "note", method="classifier", strengths=(0, 1 / 3), encoder=encoder)
    assert np.isnan(found.table["predictability"]).all()
    assert seen[0]["emb_1"].max() == 1  # "granted" is there, and then it is not
    assert seen[1]["emb_1"].max() == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"columns": "embed_*"}, DataError, "no column matches 'embed_\\*'"),
        ({"columns": ["emb_0", "emb_x"]}, DataError, "no column emb_x"),
        ({"treatment": "tt"}, DataError, "Did you mean 't'"),
        ({"strengths": ()}, OptionError, "strengths is empty"),
        ({"strengths": (2,)}, OptionError, "strength=2"),
        ({"method": "classifier"}, OptionError, "takes one column of texts, not 64"),
        ({"coefficient": "u"}, OptionError, "no coefficient 'u'"),
    ],
)
def test_refusals(leaky, change, error, message):
    class Fitted:
        params = pd.Series({"t": 0.0})

    arguments = {"treatment": "t", "columns": "emb_*", "strengths": (0,), **change}
    with pytest.raises(error, match=message):
        dd.leakage.path(lambda frame: Fitted(), leaky.data, **arguments)

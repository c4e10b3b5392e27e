"""The probe: known AUCs and R2s, intervals that cover, and the bound that overlap sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import deepdml as dd
from deepdml.errors import DataError, OptionError
from deepdml.leakage.probe import auc, most_auc


def binormal(seed: int, n: int = 400, gap: float = 1.0):
    """A binary treatment and covariates whose first column is N(+-gap / 2, 1): the AUC is Phi(gap / sqrt 2)."""
    rng = np.random.default_rng(seed)
    t = rng.integers(0, 2, n)
    x = rng.standard_normal((n, 4))
    x[:, 0] += gap * (t - 0.5)
    return x, t


def test_auc_is_the_share_of_pairs_in_order():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    z, score = rng.integers(0, 2, 200).astype(float), np.round(rng.standard_normal(200), 1)  # with ties
    value, _ = auc(z, score, np.zeros(200, int))
    np.testing.assert_allclose(value, sklearn.roc_auc_score(z, score), rtol=1e-12)


def test_intervals_cover_the_auc():
    truth = stats.norm.cdf(1 / np.sqrt(2))
    tables = [dd.leakage.probe(*binormal(seed), seed=seed).table.iloc[0] for seed in range(200)]
    covered = np.mean([row["low"] <= truth <= row["high"] for row in tables])
    # .95 give or take three Monte Carlo errors of .015; four columns cost the classifier a little of the truth
    assert 0.90 <= covered <= 0.995


def test_intervals_cover_the_r2():
    rng = np.random.default_rng(1)
    covered = []
    for seed in range(200):
        x = rng.standard_normal((400, 3))
        t = x[:, 0] + rng.standard_normal(400)
        row = dd.leakage.probe(x, t, seed=seed).table.iloc[0]
        covered.append(row["low"] <= 0.5 <= row["high"])
        assert row["metric"] == "R2"
    assert 0.90 <= np.mean(covered) <= 0.995  # as above


@pytest.mark.parametrize(("mean", "overlap"), [(0.5, 0.05), (0.3, 0.1), (0.7, 0.02)])
def test_the_most_that_overlap_allows(mean, overlap):
    """Propensities at the two ends reach the bound; any others stay below it."""
    rng = np.random.default_rng(2)
    share = (mean - overlap) / (1 - 2 * overlap)
    ends = np.where(rng.random(20_000) < share, 1 - overlap, overlap)
    between = rng.beta(2 * mean, 2 * (1 - mean), 20_000).clip(overlap, 1 - overlap)
    for propensity, reaches in ((ends, True), (between, False)):
        z = (rng.random(20_000) < propensity).astype(float)
        value, se = auc(z, propensity, np.arange(20_000) % 4)
        assert value < most_auc(z.mean(), overlap) + 3 * se
        assert (value > most_auc(z.mean(), overlap) - 3 * se) == reaches


def test_readings(embeddings, treatment, leaky):
    found = dd.leakage.probe(embeddings, treatment)
    assert found.table["low"].iloc[0] > found.table["most"].iloc[0]
    assert "no counterpart" in found.reading
    assert "AUC" in repr(found)
    assert "within what overlap" in dd.leakage.probe(leaky.data.filter(like="x_"), treatment).reading
    nothing = np.random.default_rng(0).standard_normal((1_000, 3))
    assert "finds nothing" in dd.leakage.probe(nothing, treatment).reading


def test_a_kernel_finds_what_a_line_cannot():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((1_000, 2))
    t = (np.abs(x[:, 0]) + 0.1 * rng.standard_normal(1_000) > 0.7).astype(int)
    linear, kernel = (dd.leakage.probe(x, t, kind=kind).table.iloc[0] for kind in ("linear", "kernel"))
    assert linear["high"] < 0.6
    assert kernel["low"] > 0.9


def test_levels_are_told_one_by_one():
    rng = np.random.default_rng(6)
    arm = rng.choice(["a", "b", "c"], 600)
    x = np.column_stack([(arm == "c") + 0.3 * rng.standard_normal(600), rng.standard_normal(600)])
    table = dd.leakage.probe(x, arm).table
    assert list(table.index) == ["b", "c"]
    assert table.loc["c", "value"] > 0.95 > table.loc["b", "value"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"treatment": np.zeros(50)}, DataError, "in every row"),
        ({"treatment": np.zeros(49)}, DataError, "49 rows and the covariates 50"),
        ({"treatment": [None] + [0.0, 1.0] * 24 + [1.0]}, DataError, r"missing in row\(s\) 0"),
        ({"treatment": [1] + [0] * 49}, DataError, "fewer rows than there are folds"),
        ({"treatment": [f"level {i % 12}" for i in range(50)]}, DataError, "12 levels that are no numbers"),
        ({"kind": "forest"}, OptionError, "unknown kind 'forest'"),
        ({"overlap": 0.5}, OptionError, "overlap=0.5"),
        ({"alpha": 1}, OptionError, "alpha is 1"),
        ({"n_folds": 1}, OptionError, "1 folds"),
    ],
)
def test_refusals(change, error, message):
    arguments = {"treatment": np.arange(50) % 2, **change}
    with pytest.raises(error, match=message):
        dd.leakage.probe(np.random.default_rng(0).standard_normal((50, 2)), **arguments)


def test_missing_covariates_are_named():
    x = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": 1.0}, index=["u", "v", "w"])
    with pytest.raises(DataError, match=r"missing or infinite in row\(s\) v"):
        dd.leakage.probe(x, [0, 1, 0])


def test_treatments_of_pandas_follow_the_labels_of_the_rows(embeddings, treatment):
    expected = dd.leakage.probe(embeddings, treatment.to_numpy()).table
    pd.testing.assert_frame_equal(dd.leakage.probe(embeddings, treatment[::-1]).table, expected)
    with pytest.raises(DataError, match="the rows of the treatment do not match the data's"):
        dd.leakage.probe(embeddings, treatment.add_prefix("row "))
    clean = dd.leakage.distill(embeddings, treatment, "leace", 1)
    pd.testing.assert_frame_equal(dd.leakage.distill(embeddings, treatment[::-1], "leace", 1), clean)


def test_a_seed_that_is_none(embeddings, treatment):
    for use in (dd.leakage.probe, lambda *of, seed: dd.leakage.distill(*of, "leace", 1, seed=seed)):
        with pytest.raises(OptionError, match="seed='a' is not a whole number"):
            use(embeddings, treatment, seed="a")


def test_numbers_of_the_probe_and_rounds(embeddings, treatment):
    with pytest.raises(OptionError, match="overlap is 'a'; it must be the smallest propensity"):
        dd.leakage.probe(embeddings, treatment, overlap="a")
    with pytest.raises(OptionError, match="alpha is None; it must be a number between 0 and 1"):
        dd.leakage.probe(embeddings, treatment, alpha=None)
    for rounds in ("a", 0):
        with pytest.raises(OptionError, match=r"rounds=.* is not a whole number of at least 1"):
            dd.leakage.distill(embeddings, treatment, "inlp", 1, rounds=rounds)

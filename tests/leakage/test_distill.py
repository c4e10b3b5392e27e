"""Distillation: what each method promises, and that nothing else is touched."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import deepdml as dd
from deepdml.errors import DataError, OptionError
from deepdml.leakage.erasure import leace


def linear_r2(x, z):
    """R2 of the regression of z on x in the sample, but for directions that are rounding errors of single precision."""
    design = np.column_stack([np.ones(len(x)), x])
    return 1 - np.var(z - design @ np.linalg.lstsq(design, z, rcond=1e-5)[0]) / np.var(z)


def test_leace_leaves_no_covariance(embeddings, treatment):
    clean = dd.leakage.distill(embeddings, treatment, "leace", 1)
    # exact but for single precision of the columns returned
    assert np.abs((clean - clean.mean()).T @ (treatment - treatment.mean())).max() / len(clean) < 1e-6
    assert list(clean.columns) == list(embeddings.columns)
    assert clean.index.equals(embeddings.index)
    assert linear_r2(embeddings, treatment) > 0.7


def test_leace_is_the_closest_such_map(embeddings, treatment):
    """No worse than the orthogonal projection on the complement of the covariance, which also leaves none."""
    x, z = embeddings.to_numpy(float), treatment.to_numpy(float)[:, None]
    erased = leace(x, z, 1.0)(x, np.random.default_rng(0))
    direction = (x - x.mean(0)).T @ (z - z.mean())
    direction /= np.linalg.norm(direction)
    projected = x - (x - x.mean(0)) @ direction @ direction.T
    centred = x - x.mean(0)
    for metric in (np.eye(x.shape[1]), np.linalg.inv(centred.T @ centred / len(x))):
        ours, theirs = (np.einsum("np,pq,nq->", x - other, metric, x - other) for other in (erased, projected))
        assert ours < theirs * (1 + 1e-9)  # rounding


def test_leace_of_several_levels_and_of_a_dose(embeddings):
    rng = np.random.default_rng(0)
    arm = pd.Series(rng.choice(list("abc"), len(embeddings)))
    shifted = embeddings.add(np.outer(arm == "b", np.arange(64)) + np.outer(arm == "c", np.cos(np.arange(64))))
    clean = dd.leakage.distill(shifted, arm, "leace", 1)
    for level in "bc":
        assert linear_r2(clean, (arm == level).to_numpy(float)) < 1e-6
    dose = embeddings["emb_0"] + rng.standard_normal(len(embeddings))
    assert linear_r2(dd.leakage.distill(embeddings, dose, "leace", 1), dose.to_numpy()) < 1e-6


@pytest.mark.parametrize("strength", [0.25, 0.5, 0.9])
def test_the_strength_of_leace_is_the_share_that_is_gone(embeddings, treatment, strength):
    clean = dd.leakage.distill(embeddings, treatment, "leace", strength, seed=2)
    # the noise is drawn once: its covariance with T is of the order of 1 / sqrt(1,000)
    expected = (1 - strength) * linear_r2(embeddings, treatment)
    np.testing.assert_allclose(linear_r2(clean, treatment), expected, atol=0.05)


@pytest.mark.parametrize("method", ["leace", "inlp", "salient"])
def test_strength_zero_changes_nothing(embeddings, treatment, method):
    # embeddings pass through double precision and back
    pd.testing.assert_frame_equal(dd.leakage.distill(embeddings, treatment, method, 0), embeddings)


def test_inlp_takes_one_direction_in_a_round(embeddings, treatment):
    ranks, found = [], []
    for strength in (0.125, 0.25, 1.0):
        clean = dd.leakage.distill(embeddings, treatment, "inlp", strength)
        values = np.linalg.svd((clean - clean.mean()) / embeddings.std(), compute_uv=False)
        ranks.append(int((values > 1e-4 * values[0]).sum()))
        found.append(linear_r2(clean, treatment))
    assert ranks == [63, 62, 56]
    assert found[0] > found[1] > found[2]


def test_known_confounders_keep_what_they_explain():
    """Of an embedding that repeats a known confounder and shows a leak, only the leak goes."""
    rng = np.random.default_rng(1)
    x, n = rng.standard_normal(4_000), 4_000
    t = (rng.random(n) < 1 / (1 + np.exp(-2 * x))).astype(float)
    emb = pd.DataFrame({"emb_0": x, "emb_1": t + 0.1 * rng.standard_normal(n), "emb_2": rng.standard_normal(n)})
    all_gone = dd.leakage.distill(emb, t, "leace", 1)
    kept = dd.leakage.distill(emb, t, "leace", 1, given=x)
    assert linear_r2(all_gone, t) < 1e-6
    # with the confounder partialled out nothing is left, and what the confounder explains is still there
    design = np.column_stack([np.ones(n), x])
    beyond = t - design @ np.linalg.lstsq(design, t, rcond=None)[0]
    assert abs(np.cov(kept["emb_1"], beyond)[0, 1]) < 1e-6
    assert linear_r2(kept, t) > 0.9 * linear_r2(x[:, None], t)
    assert abs(np.corrcoef(kept["emb_0"], x)[0, 1]) > 0.99


def test_salient_drops_the_column_that_tells():
    rng = np.random.default_rng(2)
    t = rng.integers(0, 2, 500)
    emb = pd.DataFrame(rng.standard_normal((500, 10)), columns=[f"emb_{j}" for j in range(10)])
    emb["emb_7"] += 3 * t
    assert list(dd.leakage.distill(emb, t, "salient", 0.1).columns) == [f"emb_{j}" for j in range(10) if j != 7]
    with pytest.raises(OptionError, match="drops all 10 columns"):
        dd.leakage.distill(emb, t, "salient", 1)


def test_rows_that_an_erasure_has_not_seen(embeddings, treatment):
    """Their treatment changes nothing; that of a row it was fitted on does."""
    learn = np.arange(len(embeddings)) % 2 == 0
    swapped = treatment.to_numpy().copy()
    swapped[1] = 1 - swapped[1]
    before, after = (dd.leakage.distill(embeddings, t, "leace", 1, learn_on=learn) for t in (treatment, swapped))
    pd.testing.assert_frame_equal(before, after)
    swapped[0] = 1 - swapped[0]
    assert not before.equals(dd.leakage.distill(embeddings, swapped, "leace", 1, learn_on=learn))


@pytest.mark.parametrize("method", ["leace", "inlp"])
def test_a_cross_fitted_row_does_not_read_its_own_treatment(embeddings, method):
    # a dose, so that the folds, which are balanced by level, stay where they are
    dose = embeddings["emb_0"].to_numpy(float) + np.random.default_rng(0).standard_normal(len(embeddings))
    moved = dose.copy()
    moved[7] += 50
    before, after = (dd.leakage.distill(embeddings, t, method, 0.25, cross_fit=5) for t in (dose, moved))
    changed = (before != after).any(axis=1).to_numpy()
    assert not changed[7]
    assert 0.75 < changed.mean() <= 0.81  # the other four folds


def test_similarity_cuts_what_is_about_the_treatment(reports, encoder):
    clean = dd.leakage.distill(
        reports["note"], reports["t"], "similarity", 1 / 3, encoder=encoder, about="the programme was granted"
    )
    assert not clean.str.contains("granted").any()
    assert clean.str.contains("weather").all()
    assert clean.index.equals(reports.index)


def test_the_classifier_flags_what_tells(reports, encoder):
    assert dd.leakage.probe(encoder(reports["note"]), reports["t"]).table["value"].iloc[0] == 1.0
    clean = dd.leakage.distill(reports["note"], reports["t"], "classifier", 1 / 3, encoder=encoder)
    assert not clean.str.contains("granted").any()
    assert clean.str.contains("Exports").all()
    found = dd.leakage.probe(encoder(clean), reports["t"]).table.iloc[0]
    assert found["low"] < 0.55


def test_a_text_keeps_a_passage(reports, encoder):
    clean = dd.leakage.distill(reports["note"], reports["t"], "classifier", 1, encoder=encoder)
    assert clean.str.len().gt(0).all()
    assert clean.str.count(r"\.").eq(1).all()


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("leece", {}, "Did you mean 'leace'"),
        ("leace", {"strength": 1.5}, "strength=1.5"),
        ("leace", {"encoder": len}, "do not belong"),
        ("salient", {"cross_fit": 5}, "does not apply"),
        ("leace", {"cross_fit": 5, "learn_on": np.ones(1_000, bool)}, "pass one"),
    ],
)
def test_options_that_are_refused(embeddings, treatment, method, options, message):
    with pytest.raises(OptionError, match=message):
        dd.leakage.distill(embeddings, treatment, method, **{"strength": 1, **options})


def test_data_that_are_refused(embeddings, treatment, reports, encoder):
    with pytest.raises(DataError, match="takes a frame of embeddings"):
        dd.leakage.distill(reports["note"], reports["t"], "leace", 1)
    with pytest.raises(DataError, match="takes a Series of texts"):
        dd.leakage.distill(embeddings, treatment, "classifier", 1, encoder=encoder)
    with pytest.raises(DataError, match="999 rows and the covariates 1,000"):
        dd.leakage.distill(embeddings, treatment[:-1], "leace", 1)
    with pytest.raises(DataError, match="needs 1,000 booleans"):
        dd.leakage.distill(embeddings, treatment, "leace", 1, learn_on=[0, 1])
    notes = reports["note"].where(reports.index != 103)
    with pytest.raises(DataError, match=r"1 of 200 texts are missing or have no passage \(row\(s\) 103\)"):
        dd.leakage.distill(notes, reports["t"], "classifier", 1, encoder=encoder)
    with pytest.raises(OptionError, match="needs about="):
        dd.leakage.distill(reports["note"], reports["t"], "similarity", 1, encoder=encoder)
    with pytest.raises(OptionError, match="pass encoder="):
        dd.leakage.distill(reports["note"], reports["t"], "classifier", 1)

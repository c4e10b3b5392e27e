"""What the diagnostics and the summary say of a fit that should not be trusted."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from deepdml.design.data import build_data
from deepdml.errors import DimensionWarning, FitWarning
from deepdml.results import make_results
from deepdml.results.diagnostics import GROSS_MISFIT, SIGNAL_LEFT, dimension_notes


def again(known, repetitions=None, **record):
    """The Results of a known fit with another record, and the warnings that making it gave."""
    res = known.results
    pieces = repetitions or res._fit.rows.repetitions
    folds = np.tile(res._fit.rows.folds[:1], (len(pieces), 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = make_results(
            known.data, res._fit.family, pieces, folds, replace(res._fit.record, **record), None, model=res.model
        )
    return made, [w for w in caught if issubclass(w.category, FitWarning)]


@pytest.mark.parametrize(
    ("outcome", "treatment", "both", "named", "warned"),
    [
        (0.2, SIGNAL_LEFT - 0.1, -1.0, False, False),
        (0.2, SIGNAL_LEFT + 0.1, -1.0, True, False),
        (0.2, GROSS_MISFIT + 9.0, -1.0, True, False),  # one nuisance missed alone biases nothing
        (GROSS_MISFIT + 0.1, GROSS_MISFIT + 9.0, -1.0, True, True),
        (0.2, 0.3, GROSS_MISFIT + 0.1, True, True),
    ],
)
def test_signal_left_in_residuals_is_said(known, outcome, treatment, both, named, warned):
    res, caught = again(known(), signal={"outcome": outcome, "treatment": treatment, "both": both})
    text = " ".join(res.summary().as_text().split())
    assert ("Held-out residuals still vary" in text) is named
    assert bool(caught) is warned
    assert (f"treatment {treatment:.1f}" in text) is (treatment > SIGNAL_LEFT)
    assert "outcome 0.2" not in text
    assert res.diagnostics.signal["treatment"] == treatment
    assert f"treatment: {treatment:.1f}" in repr(res.diagnostics)


def test_a_known_design_is_never_warned_of(known):
    """With the treatment's law known, an outcome that was missed costs precision and biases nothing."""
    res, caught = again(known(), signal={"outcome": 20.0})
    assert "Held-out residuals still vary" in " ".join(res.summary().as_text().split())
    assert not caught


def test_the_share_of_the_most_influential_row(known):
    res = known().results
    psi = res.psi.to_numpy()
    away = (psi - psi.mean(0)) ** 2
    np.testing.assert_allclose(res.diagnostics.largest_row, away.max(0) / away.sum(0))
    assert "One row makes" not in res.summary().as_text()


def test_one_row_with_most_of_the_variance_is_named(known):
    base = known()
    (piece,) = base.results._fit.rows.repetitions
    score = piece.score.copy()
    score[7] *= 300
    res, _ = again(base, (replace(piece, score=score),))
    assert res.diagnostics.largest_row.max() > 0.5
    assert "One row makes more than 10% of the variance of" in " ".join(res.summary().as_text().split())


def test_repetitions_that_disagree_are_measured(known):
    base = known(n_rep=3, shift=0.5)
    pieces = base.results._fit.rows.repetitions
    assert base.results.diagnostics.disagreement.notna().all()
    means = []
    for piece in pieces:
        one, _ = again(base, (piece,))
        means.append(one.params)
        assert one.diagnostics.disagreement.isna().all()
    expected = np.std(means, axis=0, ddof=1) / base.results.bse
    np.testing.assert_allclose(base.results.diagnostics.disagreement, expected, rtol=1e-9)
    assert "Standard deviation between repetitions" in repr(base.results.diagnostics)


def test_without_rows_the_influence_is_unknown(known):
    res, _ = again(known())
    res.remove_data()
    assert res.diagnostics.largest_row.isna().all()


@pytest.mark.parametrize("n_rep", [1, 3])
def test_sampling_weights_count(known, n_rep):
    """A row's part is its weight times its distance from the weighted mean, as in the covariance."""
    base = known(weights=True, n_rep=n_rep, shift=0.5)
    w, psi = base.frame["w"].to_numpy(), base.results._psi
    means = np.stack([w @ each / w.sum() for each in psi])
    parts = (w[:, None] * (psi - means[:, None])) ** 2
    expected = np.median(parts.max(1) / parts.sum(1), axis=0)
    np.testing.assert_allclose(base.results.diagnostics.largest_row, expected)
    if n_rep > 1:
        spread = means.std(0, ddof=1) / base.results.bse
        np.testing.assert_allclose(base.results.diagnostics.disagreement, spread)


def wide(n, k):
    rng = np.random.default_rng(0)
    columns = {
        "y": rng.normal(size=n),
        "t": rng.normal(size=n),
        "age": rng.normal(size=n),
        "city": list("uv") * (n // 2),
    }
    return pd.DataFrame({**columns, **{f"emb_{j}": column for j, column in enumerate(rng.normal(size=(k, n)))}})


@pytest.mark.parametrize(
    ("n", "covariates", "advice"),
    [
        (1000, "emb_*", "120 covariates for 1,000 rows are 8.33 rows for each"),
        (1000, "emb_*", "Consider pca(emb_*, 20) right of the bar in place of 120 columns"),
        (1000, "city + emb_*", "Consider pca(emb_*, 18)"),
        (1000, "pca(emb_*, 110)", "Consider fewer components, as in pca(emb_*, 20)"),
        (1000, "standardize(emb_*)", "Consider fewer components"),
        (1000, "pca(emb_*, 20)", None),
        (1000, "pca(emb_*, 40)", None),  # 25 rows for each, but no longer an embedding
        (6000, "emb_*", None),
        (5998, "emb_*", "Consider pca(emb_*, 64)"),
        (1000, "age + city", None),
        (1000, "1", None),
    ],
)
def test_components_are_advised_where_an_embedding_is_wide(known, n, covariates, advice):
    design = build_data(f"y ~ t | {covariates}", wide(n, 120)).design
    fit = replace(known().results._fit, design=design, x_names=design.x_names, n=n)
    notes = " ".join(dimension_notes(fit))
    assert advice in notes if advice else not notes


@pytest.mark.parametrize(("n", "p", "advised"), [(3_198, 64, True), (3_200, 64, False), (500, 49, False)])
def test_sixty_four_columns_are_an_embedding_and_some_dozens_are_not(known, n, p, advised):
    design = build_data("y ~ t | emb_*", wide(n, p)).design
    fit = replace(known().results._fit, design=design, x_names=design.x_names, n=n)
    assert bool(dimension_notes(fit)) == advised


def test_the_advice_is_a_warning_and_stands_in_the_summary(known):
    base = known()
    design = build_data("y ~ t | emb", wide(100, 0), context={"emb": np.ones((100, 150))}).design
    data = replace(base.data, design=design)
    fit = base.results._fit
    data = replace(data, x=np.ones((fit.n, 150), np.float32), x_names=design.x_names)
    with pytest.warns(DimensionWarning, match=r"Consider pca\(emb, "):
        res = make_results(data, fit.family, fit.rows.repetitions, fit.rows.folds, fit.record, None)
    assert "Consider pca(emb, " in " ".join(res.summary().as_text().split())

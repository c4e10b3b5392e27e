"""Bounds for omitted confounders: DoubleML's numbers, a confounder of known strength, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import deepdml as dd
from deepdml.design.data import build_data
from deepdml.errors import DataError, OptionError
from deepdml.families import Gaussian, Logit
from deepdml.learn.influence import Influence
from deepdml.results import Results, load, make_results

# DoubleML 0.11.4 on the rows of `build()`, with the known nuisances:
#     data = doubleml.DoubleMLData.from_arrays(x, y, t)
#     m = doubleml.DoubleMLIRM(data, LinearRegression(), LogisticRegression(), score=score, n_folds=2)
#     m.fit(external_predictions={"d": {"ml_g0": alpha[:, None], "ml_g1": (alpha + beta)[:, None], "ml_m": p[:, None]}})
#     m.sensitivity_analysis(cf_y=0.1, cf_d=0.05, rho=0.8, level=0.95, null_hypothesis=0.2)
SCENARIO: dict[str, Any] = {"cf_y": 0.1, "cf_d": 0.05, "rho": 0.8, "null": 0.2, "alpha": 0.05}
LOWER, UPPER, RV = 0.9975730361841324, 1.2791804790348407, 0.38053489281793
SIGMA2, NU2 = 1.1042319896696777, 5.330176240439928
# its scores are divided by their derivative, -1, without the minus of an influence function (double_ml.py, line 625),
# so that the covariance of estimate and bias has the opposite sign: its error of the lower bound is our upper bound's
SE_UPPER, SE_LOWER = 0.11426850828840787, 0.11196649296227731
ATTE = {"lower": 0.9722373197637513, "upper": 1.3067507572061374}


@pytest.fixture
def plain(build: Callable[..., Any]) -> Results:
    """Known nuisances, with the covariance DoubleML uses."""
    return build().results(cov_type="HC0")


# A linear model with a confounder A that the covariates leave out:
#     t = x + G A + V v,  y = THETA t + x + D A + e,  with A, v, e standard normal
THETA, G, D, V = 1.0, 0.6, 0.8, 1.2
CF_Y = D**2 * V**2 / (G**2 + V**2) / (D**2 * V**2 / (G**2 + V**2) + 1)
CF_D = G**2 / (G**2 + V**2)


def omitted(n: int = 20_000, seed: int = 0) -> tuple[Results, Results]:
    """Results with their true nuisances, without the confounder and with it."""
    rng = np.random.default_rng(seed)
    x, a, v, e = rng.normal(size=(4, n))
    t = x + G * a + V * v
    frame = pd.DataFrame({"y": THETA * t + x + D * a + e, "t": t, "x1": x, "x2": a})
    found = []
    for formula, mean, variance, slope, level in (
        ("y ~ t | x1", x, G**2 + V**2, THETA + D * G / (G**2 + V**2), None),
        ("y ~ t | x1 + x2", x + G * a, V**2, THETA, x + D * a),
    ):
        data = build_data(formula, frame)
        # without A, E[y | x] is THETA x + x, and the line in t goes through it
        level = (THETA + 1) * x - slope * x if level is None else level
        theta = np.column_stack([level, np.full(n, slope)])
        lambda_ = np.stack([np.stack([np.ones(n), mean], 1), np.stack([mean, mean**2 + variance], 1)], 1)
        score = data.t * (np.einsum("nd,nd->n", data.t, theta) - data.y)[:, None]
        piece = Influence(theta, score, np.linalg.inv(lambda_), None)
        found.append(make_results(data, Gaussian(), (piece,), np.arange(n)[None] % 5, _record(), None))
    return found[0], found[1]


def _record() -> Any:
    from deepdml.learn.influence import FitRecord

    return FitRecord(
        "gaussian", "auto", "moments", "continuous", 5, 5, 1, (8,), 1, "cpu", 1, 1.0, (), {}, 0.0, 0.0, 0.5
    )


def test_agrees_with_doubleml(plain: Results) -> None:
    found = plain.sensitivity(**SCENARIO)
    frame = found.to_frame().loc["t"]
    # 1e-10 relative: sums of 400 doubles
    assert found.elements.sigma2 == pytest.approx(SIGMA2, rel=1e-10)
    assert found.elements.nu2[1] == pytest.approx(NU2, rel=1e-10)
    assert frame["lower"] == pytest.approx(LOWER, rel=1e-10)
    assert frame["upper"] == pytest.approx(UPPER, rel=1e-10)
    assert frame["rv"] == pytest.approx(RV, abs=1e-5)  # theirs is from a search that stops at 1e-5
    quantile = stats.norm.ppf(0.95)
    assert frame["lower"] - frame["ci_lower"] == pytest.approx(quantile * SE_LOWER, rel=1e-9)
    assert frame["ci_upper"] - frame["upper"] == pytest.approx(quantile * SE_UPPER, rel=1e-9)
    contrast = plain.estimate(dd.Contrast("t", 1, 0)).sensitivity(**SCENARIO).to_frame().iloc[0]
    np.testing.assert_allclose(contrast, frame, rtol=1e-8)


def test_errors_of_the_bounds_are_their_spread_over_samples(build: Callable[..., Any]) -> None:
    """With skewed outcomes of the treated estimate and largest bias move together, so the bounds' errors differ."""
    known = build(4_000)
    bounds, errors = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        t = (rng.uniform(size=4_000) < known.propensity).astype(float)
        noise = np.where(t == 1, rng.exponential(size=4_000) - 1, 0.3 * rng.normal(size=4_000))
        data = replace(known.data, t=np.column_stack([np.ones(4_000), t]))
        data = replace(data, y=known.alpha + known.beta * t + noise)
        piece = replace(known.influence, score=-data.t * noise[:, None])
        res = make_results(data, Gaussian(), (piece,), known.folds, known.record, None, cov_type="HC0")
        found = res.sensitivity(0.5, 0.5, alpha=0.5 - 0.3413447460685429).bounds()[:, 1]  # one standard error
        bounds.append(found[1:3])
        errors.append([found[1] - found[0], found[3] - found[2]])
    spread, mean = np.std(bounds, axis=0, ddof=1), np.mean(errors, axis=0)
    np.testing.assert_allclose(mean, spread, rtol=0.15)  # 200 samples: a standard deviation varies by five per cent
    assert mean[1] > 1.4 * mean[0]


def test_effects_on_the_treated_are_close_to_doubleml(plain: Results) -> None:
    """There E[alpha^2] is estimated with the treated in place of their propensities: close, not equal."""
    found = plain.estimate(dd.Contrast("t", 1, 0, subset="treated")).sensitivity(**SCENARIO).to_frame().iloc[0]
    assert found["lower"] == pytest.approx(ATTE["lower"], abs=0.02)
    assert found["upper"] == pytest.approx(ATTE["upper"], abs=0.02)


def test_psi_is_h_plus_alpha_times_the_residual(plain: Results, build: Callable[..., Any]) -> None:
    """The representer of the average effect is t / p - (1 - t) / (1 - p); with it psi is the doubly robust score."""
    known = build()
    t = known.data.t[:, 1]
    alpha = t / known.propensity - (1 - t) / (1 - known.propensity)
    residual = known.data.y - known.alpha - known.beta * t
    np.testing.assert_allclose(plain.psi["t"], known.beta + alpha * residual, rtol=1e-9, atol=1e-9)
    made = plain.sensitivity().elements
    score = 2 * (1 / known.propensity + 1 / (1 - known.propensity)) - alpha**2
    assert made.nu2[1] == pytest.approx(score.mean(), rel=1e-10)
    moved = made.sigma2 * (score - score.mean()) + made.nu2[1] * (residual**2 - made.sigma2)
    moved /= 2 * made.scale[1]
    assert made.matrix[3, 3] == pytest.approx(moved.var() / 400, rel=1e-9)


def test_a_confounder_of_known_strength_moves_the_estimate_to_the_bound() -> None:
    short, long = omitted()
    # the bias is G D / (G^2 + V^2) = .27, some forty standard errors
    assert (short.params["t"] - THETA) / short.bse["t"] > 30
    found = short.sensitivity(CF_Y, CF_D)
    frame = found.to_frame().loc["t"]
    error = float(np.sqrt(np.diag(found.elements.matrix) @ [0, 1, 0, 1]))
    # in a linear model with one confounder the worst case is what happens: four standard errors
    assert abs(frame["lower"] - THETA) < 4 * error
    assert frame["ci_lower"] < THETA < frame["upper"]
    assert short.sensitivity(CF_Y / 2, CF_D / 2).to_frame().loc["t", "ci_lower"] > THETA
    assert abs(long.params["t"] - THETA) < 4 * long.bse["t"]


def test_benchmarks_report_the_strength_of_observed_covariates() -> None:
    short, long = omitted()
    found = long.sensitivity(benchmark={"a": short}).benchmarks.loc[("a", "t")]
    # cf_y of the parameter is a share of the shorter model's residual variance, of a benchmark the longer's
    assert found["cf_y"] == pytest.approx(CF_Y / (1 - CF_Y), rel=0.05)  # 20,000 rows: variances vary by one per cent
    assert found["cf_d"] == pytest.approx(CF_D, rel=0.05)
    assert found["rho"] == pytest.approx(1.0, abs=0.05)
    assert found["change"] == pytest.approx(D * G / (G**2 + V**2), abs=4 * long.bse["t"])
    # DoubleML gives the same strength as (nu2_long - nu2_short) / nu2_short
    nu2 = [res.sensitivity().elements.nu2[1] for res in (short, long)]
    assert found["cf_d"] / (1 - found["cf_d"]) == pytest.approx(nu2[1] / nu2[0] - 1, rel=1e-9)
    text = str(long.sensitivity(benchmark=short).summary())
    assert "Benchmarks" in text
    assert "covariates: t" in text
    both = long.sensitivity(benchmark=short).summary()
    assert both.as_latex().count(r"\begin{tabular}") == 2
    assert "Benchmarks" in both.as_html()
    assert "covariates: t" in both.as_csv()


def test_strength_zero_is_a_one_sided_interval(plain: Results) -> None:
    frame = plain.sensitivity(0.0, 0.0).to_frame()
    np.testing.assert_allclose(frame["lower"], plain.params, rtol=1e-12)
    np.testing.assert_allclose(frame["ci_upper"], plain.params + stats.norm.ppf(0.95) * plain.bse, rtol=1e-9)
    wide = plain.get_robustcov_results("HC0", use_t=True).sensitivity(0.0, 0.0).to_frame()
    np.testing.assert_allclose(wide["ci_upper"], plain.params + stats.t(398).ppf(0.95) * plain.bse, rtol=1e-9)


def test_robustness_values_are_where_bounds_meet_the_null(plain: Results) -> None:
    for null in (0.2, 3.0):
        found = plain.sensitivity(null=null)
        values = found.robustness_values.loc["t"]
        side = (0, 1) if null < 1 else (3, 2)
        assert found.bounds(values["rva"], values["rva"])[side[0], 1] == pytest.approx(null, abs=1e-8)
        assert found.bounds(values["rv"], values["rv"])[side[1], 1] == pytest.approx(null, abs=1e-8)
    near = plain.sensitivity(null=float(plain.params["t"] + 0.1 * plain.bse["t"])).robustness_values.loc["t"]
    assert 0 < near["rv"] < 0.05
    assert near["rva"] == 0.0


def test_clusters_and_weights_enter(build: Callable[..., Any]) -> None:
    known = build(weights=True)
    codes = np.arange(400) // 10
    res = known.results(cov_type="HC0")
    with pytest.warns(dd.errors.InferenceWarning, match="more than one fold"):
        by = res.get_robustcov_results("cluster", groups=codes)
    one, two = res.sensitivity(), by.sensitivity()
    np.testing.assert_allclose(one.elements.scale, two.elements.scale, rtol=1e-12)
    np.testing.assert_allclose(np.sqrt(np.diag(two.elements.matrix)[:2]), by.bse, rtol=1e-9)
    weights = known.data.weights / known.data.weights.sum()
    residual = known.data.y - known.alpha - known.beta * known.data.t[:, 1]
    assert one.elements.sigma2 == pytest.approx(weights @ residual**2, rel=1e-10)


def test_repetitions_give_medians(build: Callable[..., Any]) -> None:
    known = build()
    worse = replace(known.influence, theta=known.influence.theta + 0.3)
    eta = np.einsum("nd,nd->n", known.data.t, worse.theta)
    worse = replace(worse, score=known.data.t * (eta - known.data.y)[:, None])
    folds = np.repeat(known.folds, 3, axis=0)
    pieces = (known.influence, worse, known.influence)
    res = make_results(known.data, Gaussian(), pieces, folds, known.record, None, cov_type="HC0")
    single = known.results(cov_type="HC0").sensitivity().elements
    assert res.sensitivity().elements.sigma2 == pytest.approx(single.sigma2, rel=1e-12)
    np.testing.assert_allclose(res.sensitivity().elements.scale, single.scale, rtol=1e-12)


def test_loaded_results_give_the_same(plain: Results, tmp_path: Path) -> None:
    plain.save(tmp_path / "r.deepdml")
    other = load(tmp_path / "r.deepdml")
    pd.testing.assert_frame_equal(other.sensitivity().to_frame(), plain.sensitivity().to_frame())
    assert str(other.sensitivity()) == str(plain.sensitivity())
    plain.remove_data()
    with pytest.raises(DataError, match="remove_data"):
        plain.sensitivity()


def test_several_estimands_at_once(plain: Results) -> None:
    parts = [dd.Contrast("t", 1, 0), dd.AverageMarginalEffect(), dd.DoseResponse("t", [0, 1])]
    found = plain.estimate(parts).sensitivity().to_frame()
    assert list(found.index) == list(plain.estimate(parts).params.index)
    np.testing.assert_allclose(found.iloc[0], found.iloc[1], rtol=1e-6)  # for a 0/1 treatment the same number


def test_summary(plain: Results) -> None:
    text = str(plain.sensitivity().summary())
    for word in ("Sensitivity to omitted confounders", "ci_lower", "rva", "cf_y = 0.03", "Syrgkanis"):
        assert word in text
    assert r"\begin{" in plain.sensitivity().summary().as_latex()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cf_y": 1.0}, "cf_y=1.0"),
        ({"cf_d": -0.1}, "cf_d=-0.1"),
        ({"rho": 1.5}, "rho=1.5"),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"null": float("nan")}, "null is nan; it must be one finite number"),
    ],
)
def test_scenarios_out_of_range(plain: Results, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        plain.sensitivity(**arguments)


def test_refusals(plain: Results, build: Callable[..., Any]) -> None:
    ratio = plain.estimate(dd.Contrast("t", 1, 0, kind="ratio"))
    with pytest.raises(OptionError, match=r"linear in E.y . t, x.; the contrast"):
        ratio.sensitivity()
    with pytest.raises(OptionError, match="the projection of"):
        plain.gate(np.arange(400) % 2).sensitivity()
    known = build()
    data = replace(known.data, y=(known.data.y > 0).astype(float))
    logit = make_results(data, Logit(), (known.influence,), known.folds, known.record, None)
    with pytest.raises(OptionError, match="Fit family='gaussian'"):
        logit.sensitivity()
    with pytest.raises(OptionError, match="has all covariates"):
        plain.sensitivity(benchmark=plain)
    with pytest.raises(OptionError, match="other rows"):
        plain.sensitivity(benchmark=build(seed=5).results())
    short, long = omitted(500)
    with pytest.raises(OptionError, match="has 'x2', which this one does not"):
        short.sensitivity(benchmark=long)
    with pytest.raises(OptionError, match="same estimands"):
        long.sensitivity(benchmark=short.estimate(dd.AverageCoefficient(subset=np.arange(500) < 250)))


def test_figure(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    short, long = omitted(2_000)
    ax = plt.subplots()[1]
    assert long.plot_sensitivity(ax=ax, benchmark={"A ($)": short}) is ax
    assert any("A" in text.get_text() for text in ax.texts)
    values = long.sensitivity().robustness_values.loc["t"]
    assert values["rv"] < ax.get_xlim()[1] < 1
    # on the contour at the null the two strengths are equal at the robustness value
    at_null = ax.collections[1].get_paths()[0].vertices
    nearest = at_null[np.abs(at_null[:, 0] - at_null[:, 1]).argmin()]
    np.testing.assert_allclose(nearest, values["rv"], atol=0.01)
    # a benchmark beyond the axes stands on their edge and says where it would be
    strength = long.sensitivity(benchmark={"A": short}).benchmarks.loc["A", "cf_y"]["t"]
    beyond = long.plot_sensitivity("t", benchmark={"A": short}, limit=strength / 2)
    assert f"A (cf_y {strength:.2g}" in " ".join(text.get_text() for text in beyond.texts)
    assert max(line.get_ydata().max() for line in beyond.lines) == strength / 2
    new = long.plot_sensitivity("t", confidence=True, limit=0.5)
    assert new is not ax
    assert "confidence bound" in new.get_title()
    new.figure.savefig(tmp_path / "s.png")
    with pytest.raises(OptionError, match=r"limit=1.5"):
        long.plot_sensitivity(limit=1.5)
    plt.close("all")

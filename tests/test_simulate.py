"""The designs of deepdml.simulate: what they promise about moments, truths and the oracle psi."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest
import statsmodels.api as sm

from deepdml import DeepDML, simulate
from deepdml.errors import MissingLibraryError, OptionError
from deepdml.simulate import Simulated
from deepdml.simulate.outcomes import OUTCOMES

DESIGNS: dict[str, Callable[..., Simulated]] = {
    "wages": simulate.wages,
    "purchases": simulate.purchases,
    "citations": simulate.citations,
    "smooth gaussian": simulate.smooth,
    "smooth logit": partial(simulate.smooth, family="logit"),
    "smooth poisson": partial(simulate.smooth, family="poisson"),
    "binary": simulate.binary,
    "waves": simulate.waves,
    "FLM d=20": simulate.farrell_liang_misra_2021,
    "FLM d=100 linear": partial(simulate.farrell_liang_misra_2021, d=100, quadratic=False),
    "FLM randomized": partial(simulate.farrell_liang_misra_2021, randomized=True),
    "authors": simulate.authors_example,
    "authors randomized": partial(simulate.authors_example, randomized=True),
    "latent factors": simulate.latent_factors,
    "leaky text": simulate.leaky_text,
    "leaky text that confounds": partial(simulate.leaky_text, confounding=0.7),
    "digits": simulate.digits,
    "smooth overdispersed": partial(simulate.smooth, family="poisson", dispersion=1.0),
    "binary logit": partial(simulate.binary, family="logit"),
    "binary poisson": partial(simulate.binary, family="poisson"),
    "heteroskedastic": simulate.heteroskedastic,
    "randomized": simulate.randomized,
    "steps": simulate.steps,
    "arms": simulate.arms,
    "two treatments": simulate.two_treatments,
    "two treatments logit": partial(simulate.two_treatments, family="logit"),
    "two treatments poisson": partial(simulate.two_treatments, family="poisson"),
    "clustered errors": partial(simulate.clustered_errors, clusters=400),
    "Nie & Wager A": partial(simulate.nie_wager, setup="A"),
    "Nie & Wager B": partial(simulate.nie_wager, setup="B"),
    "Nie & Wager C": partial(simulate.nie_wager, setup="C"),
    "Nie & Wager D": partial(simulate.nie_wager, setup="D", p=12),
    "tutorial wages": simulate.tutorial_wages,
    "tutorial wages, shared": partial(simulate.tutorial_wages, confounding="shared"),
    "tutorial citations": simulate.tutorial_citations,
    "tutorial citations, shared": partial(simulate.tutorial_citations, confounding="shared"),
    "DoubleML IRM": simulate.doubleml_irm,
    "DoubleML PLR": simulate.doubleml_plr,
}
# Four standard errors: some 250 comparisons at fixed seeds; a correct set of designs would fail one with probability
# 1 in 60.
FOUR_SE = 4.0

FAMILIES = {
    **{f"outcome {family}": partial(simulate.outcome, family=family) for family in OUTCOMES},
    "choices": simulate.choices,
    "durations": simulate.durations,
}
every_family = pytest.mark.parametrize("design", FAMILIES.values(), ids=FAMILIES)
every_design = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)


def drawn(design: Callable[..., Simulated], seed: int) -> Simulated:
    """20,000 rows, or all the images there are."""
    return design(n=1_797 if design is simulate.digits else 20_000, seed=seed)


def standard_errors(values: np.ndarray, truth: np.ndarray, draw: Simulated) -> np.ndarray:
    """Distance of the column means of `values` from `truth`, in standard errors, by cluster if there are clusters."""
    if "cov_kwds" in draw.fit:
        clusters = draw.data[draw.fit["cov_kwds"]["groups"]].to_numpy()  # of equal size
        values = np.stack([values[clusters == g].mean(0) for g in np.unique(clusters)])
    return np.abs(values.mean(0) - truth) / (values.std(0) / np.sqrt(len(values)) + 1e-12)


def structural_rows(draw: Simulated) -> np.ndarray:
    """The structural rows that the fit would see, made by the formula and not by the design."""
    return DeepDML(draw.formula, draw.data, draw.family).arrays.t


@every_design
def test_means_of_theta_and_oracle_psi_are_the_truth(design: Callable[..., Simulated]) -> None:
    draw = drawn(design, seed=3)
    truth = np.array(list(draw.truth.values()))
    assert (standard_errors(draw.theta, truth, draw) < FOUR_SE).all()
    assert (standard_errors(draw.oracle_psi, truth, draw) < FOUR_SE).all()


@every_design
def test_outcome_has_the_mean_that_theta_says(design: Callable[..., Simulated]) -> None:
    draw = drawn(design, seed=4)
    rows = structural_rows(draw)
    eta = np.einsum("nd,nd->n", rows, draw.theta)
    mean = {"gaussian": eta, "logit": 1 / (1 + np.exp(-eta)), "poisson": np.exp(eta)}[draw.family]
    # the score against the whole of theta and t, not only its mean
    scores = (draw.data.iloc[:, 0].to_numpy() - mean)[:, None] * np.column_stack([rows, draw.theta])
    assert (standard_errors(scores, np.zeros(scores.shape[1]), draw) < FOUR_SE).all()


@every_design
def test_treatment_has_the_law_that_the_oracle_psi_supposes(design: Callable[..., Simulated]) -> None:
    draw = drawn(design, seed=5)
    rows = structural_rows(draw)
    # theta - psi = Lambda^{-1} t residual; the residual cancels, and E[hessian t' Lambda^{-1} t | x] = d in any family
    eta = np.einsum("nd,nd->n", rows, draw.theta)
    mean = {"gaussian": eta, "logit": 1 / (1 + np.exp(-eta)), "poisson": np.exp(eta)}[draw.family]
    hessian = {"gaussian": np.ones_like(eta), "logit": mean * (1 - mean), "poisson": mean}[draw.family]
    residual = mean - draw.data.iloc[:, 0].to_numpy()
    ratio = np.einsum("nd,nd->n", rows, draw.theta - draw.oracle_psi) / residual  # t' Lambda^{-1} t
    trace = hessian * ratio - rows.shape[1]
    weights = np.column_stack([np.ones_like(eta), np.tanh(draw.theta)])
    assert (standard_errors(trace[:, None] * weights, np.zeros(weights.shape[1]), draw) < FOUR_SE).all()


@cache
def drawn_family(design: Callable[..., Simulated]) -> Simulated:
    return design(n=4_000, seed=3)


@every_family
def test_families_have_the_truth_they_say(design: Callable[..., Simulated]) -> None:
    draw = drawn_family(design)
    truth = np.array(list(draw.truth.values()))
    assert (standard_errors(draw.theta, truth, draw) < FOUR_SE).all()
    assert (standard_errors(draw.oracle_psi, truth, draw) < FOUR_SE).all()
    # the oracle is efficient: its variance given x is the inverse information, which no other estimator beats
    assert (draw.oracle_psi.std(0) > draw.theta.std(0)).all()
    model = DeepDML(draw.formula, draw.data, draw.family)
    assert list(draw.truth) == list(model.family.for_outcome(*_outcome(model)).theta_names(model.arrays.t_names))


def _outcome(model: DeepDML) -> tuple[np.ndarray, None, tuple[object, ...]]:
    return model.arrays.y, model.arrays.event, model.arrays.y_levels


@every_family
def test_families_have_the_information_that_the_oracle_psi_supposes(design: Callable[..., Simulated]) -> None:
    """theta - psi = Lambda^{-1} score, and E[score' Lambda^{-1} score | x] is the number of entries of theta."""
    draw = drawn_family(design)
    model = DeepDML(draw.formula, draw.data, draw.family)
    y, t = model.arrays.y, model.arrays.t
    family = model.family.for_outcome(*_outcome(model)).bind(model.arrays.t_names)
    eta = family.indices(t, draw.theta)
    score = family.pull(t, family.score(family.columns(y, model.arrays.event, t), eta))
    trace = np.einsum("nk,nk->n", score, draw.theta - draw.oracle_psi) - draw.theta.shape[1]
    weights = np.column_stack([np.ones(len(y)), np.tanh(draw.theta)])
    assert (standard_errors(trace[:, None] * weights, np.zeros(weights.shape[1]), draw) < FOUR_SE).all()


def test_the_end_of_the_study_is_independent_of_durations_and_cuts_a_third() -> None:
    draw = simulate.durations(n=40_000, seed=15)
    time, event = draw.data["time"].to_numpy(), draw.data["event"].to_numpy()
    x = draw.data.filter(like="x_").to_numpy(np.float64)
    assert event.mean() == pytest.approx(2 / 3, abs=0.02)  # "two rows in three": .670 at n = 100,000
    # the cumulative hazards of either clock at the time have the means of what they count
    scale, shape = np.exp(draw.theta[:, 0] + draw.theta[:, 1] * draw.data["t"]), np.exp(draw.theta[:, 2])
    hazards = [(time / scale) ** shape, time / np.exp(1.6 + 0.3 * np.sin(x[:, 0]) - 0.2 * x[:, 1])]
    gaps = np.column_stack([hazards[0] - event, hazards[1] - (1 - event)])
    weights = np.column_stack([np.ones(len(time)), np.tanh(draw.theta)])
    for gap in gaps.T:
        assert (standard_errors(gap[:, None] * weights, np.zeros(weights.shape[1]), draw) < FOUR_SE).all()


def test_an_unknown_family_of_outcomes_is_refused() -> None:
    with pytest.raises(OptionError, match="Did you mean 'negbin'"):
        simulate.outcome(n=10, family="negbn")


@every_design
def test_same_seed_same_draw_and_no_global_state(design: Callable[..., Simulated]) -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002 -- the global generator is what must stay untouched
    one, two, other = design(n=400, seed=1), design(n=400, seed=1), design(n=400, seed=2)
    assert one.data.equals(two.data)
    assert not one.data.equals(other.data)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002 -- as above


@every_design
def test_formula_names_the_columns(design: Callable[..., Simulated]) -> None:
    draw = design(n=400, seed=1)
    outcome, treatment, globs = re.fullmatch(r"(\w+) ~ (.+) \| (\w+_\*(?: \+ \w+_\*)*)", draw.formula).groups()
    prefixes = "|".join(re.findall(r"\w+_", globs))
    covariates = draw.data.filter(regex=f"^({prefixes})[0-9]+$")
    assert draw.data.columns[0] == outcome
    assert all(name in draw.data for name in re.findall(r"\w{3,}|^t$", treatment))
    assert draw.data.columns.is_unique
    assert (covariates.dtypes == np.float32).all()
    arrays = DeepDML(draw.formula, draw.data, draw.family).arrays
    assert arrays.x.shape[1] == covariates.shape[1]
    assert list(draw.truth) == list(arrays.t_names)


@pytest.mark.parametrize(
    ("family", "sm_family"),
    [("gaussian", sm.families.Gaussian()), ("logit", sm.families.Binomial()), ("poisson", sm.families.Poisson())],
)
def test_oracle_psi_of_a_constant_model_has_the_sandwich_variance_of_its_glm(
    family: str, sm_family: sm.families.Family
) -> None:
    rng = np.random.default_rng(5)
    theta, n = np.array([0.2, 0.4]), 40_000
    t = rng.standard_normal(n)
    rows = np.column_stack([np.ones(n), t])
    eta = rows @ theta
    y = {
        "gaussian": lambda: eta + rng.standard_normal(n),
        "logit": lambda: (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float),
        "poisson": lambda: rng.poisson(np.exp(eta)).astype(float),
    }[family]()
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    law = np.column_stack([np.ones(40), nodes])[None]
    psi = simulate.oracle_psi(family, y, rows, np.broadcast_to(theta, (n, 2)), law, weights[None] / weights.sum())
    glm = sm.GLM(y, rows, family=sm_family).fit(cov_type="HC0")
    # sampling error of a variance at n = 40,000 is under 2 per cent; one Newton step from the truth differs by O(1/n)
    np.testing.assert_allclose(psi.std(0) / np.sqrt(n), glm.bse, rtol=0.05)
    np.testing.assert_allclose(psi.mean(0), glm.params, atol=0.1 * glm.bse.max())


def test_oracle_psi_of_a_binary_treatment_is_aipw() -> None:
    draw = simulate.authors_example(n=1_000, seed=6)
    y, t = draw.data["y"].to_numpy(), draw.data["t"].to_numpy()
    p = 1 / (1 + np.exp(1 + 0.5 * draw.data["x_1"].to_numpy(np.float64)))
    alpha, beta = draw.theta.T
    aipw = beta + (t - p) * (y - alpha - beta * t) / (p * (1 - p))
    # covariates come back from float32, so p is known to 1e-7
    np.testing.assert_allclose(draw.oracle_psi[:, 1], aipw, rtol=1e-5, atol=1e-5)


def test_embeddings_have_five_clusters_that_the_treatment_follows() -> None:
    draw = simulate.wages(n=5_000, seed=7)
    emb, beta = draw.data.filter(like="emb_").to_numpy(np.float64), draw.theta[:, 1]
    levels = np.unique(beta)
    np.testing.assert_allclose(levels, [0.4, 0.7, 1.0, 1.3, 1.6])
    centroids = np.array([emb[beta == level].mean(0) for level in levels])
    within = np.concatenate([emb[beta == level] - c for level, c in zip(levels, centroids, strict=True)])
    assert within.std() == pytest.approx(0.8, rel=0.01)  # 320,000 draws: se 0.1 per cent
    assert centroids.std() == pytest.approx(3, rel=0.2)  # 320 draws: se 4 per cent
    residual = draw.data["experience"].to_numpy() - beta
    assert residual.std() == pytest.approx(0.5, rel=0.05)  # 5,000 draws: se 1 per cent


@pytest.mark.parametrize("confounding", ["linear", "shared"])
def test_the_tutorials_designs_have_its_moments(confounding: str) -> None:
    wages = simulate.tutorial_wages(n=40_000, seed=14, confounding=confounding)
    citations = simulate.tutorial_citations(n=40_000, seed=14, confounding=confounding)
    years, x = wages.data["experience"].to_numpy(), wages.data.filter(like="emb_").to_numpy(np.float64)
    # standard errors of a mean and of a sd at n = 40,000 are 0.5 and some 0.5 per cent of the sd; five of them
    assert years.mean() == pytest.approx(15, abs=0.25)
    assert years.std() == pytest.approx(10, rel=0.025)
    assert wages.theta[:, 1].std() == pytest.approx(0.019, rel=0.025)
    assert citations.theta[:, 1].std() == pytest.approx(0.415, rel=0.025)
    assert citations.data["citations"].mean() == pytest.approx(4, abs=0.4)  # "about": 3.86 and 4.01 at n = 400,000
    residual = wages.data["log_wage"] - wages.theta[:, 0] - wages.theta[:, 1] * years
    assert residual.std() == pytest.approx(0.3, rel=0.025)
    g, x5 = (wages.theta[:, 1] - 0.030) / 0.019, np.tanh(x[:, 4]) / np.tanh(x[:, 4]).std()
    g_hat = (x[:, :4].sum(1) + x5 + x[:, 4] * x[:, 5]) / np.sqrt(6)
    np.testing.assert_allclose(g, g_hat, atol=0.02)  # the sd of tanh is that of the sample
    h = x[:, [0, 1, 6]].sum(1) / np.sqrt(3) if confounding == "linear" else (g + x[:, 6]) / np.sqrt(2)
    assert np.corrcoef(years, h)[0, 1] ** 2 == pytest.approx(0.3, abs=0.02)  # se 0.004
    slope = np.polyfit(wages.theta[:, 0], years, 1)[0]
    assert slope == pytest.approx(10 * np.sqrt(0.3) / 0.2, rel=0.05)  # so that leaving x out biases; se 1 per cent


def test_propensity_of_the_binary_design_keeps_off_the_ends() -> None:
    draw = simulate.binary(n=20_000, seed=8)
    x = draw.data.filter(like="x_").to_numpy(np.float64)
    correlation = np.corrcoef(x, rowvar=False)
    assert correlation[0, 1] == pytest.approx(0.5, abs=0.03)  # se 0.006
    assert correlation[0, 3] == pytest.approx(0.125, abs=0.03)
    assert 0.3 < draw.data["t"].mean() < 0.7


def test_flm_coefficients_do_not_change_with_the_seed_of_the_draw() -> None:
    truths = [simulate.farrell_liang_misra_2021(n=10, seed=seed, d=d).truth for seed in (1, 2) for d in (20, 100)]
    assert truths[0] == truths[1] == truths[2] == truths[3]


def test_clusters_share_errors_and_treatment() -> None:
    draw = simulate.clustered_errors(n=40_000, seed=9, clusters=2_000)
    assert draw.data["cluster"].value_counts().eq(20).all()
    x = draw.data.filter(like="x_").to_numpy(np.float64)
    t, cluster = draw.data["t"].to_numpy(), draw.data["cluster"].to_numpy()
    residuals = {
        "treatment": t - (0.6 * np.sin(x[:, 0]) + 0.4 * x[:, 1] + 0.3 * x[:, 2] * x[:, 3]),
        "error": draw.data["y"].to_numpy() - draw.theta[:, 0] - draw.theta[:, 1] * t,
    }
    for name, values in residuals.items():
        sums = np.bincount(cluster, values)
        pairs = (sums**2 - np.bincount(cluster, values**2)).sum() / (2_000 * 20 * 19)
        # se of the correlation: 0.3 sqrt(2 / 2,000) and a little more for the noise within
        assert pairs / values.var() == pytest.approx(0.3, abs=0.05), name
    iid = draw.oracle_psi[:, 1].std() / np.sqrt(40_000)
    centred = draw.oracle_psi[:, 1] - draw.oracle_psi[:, 1].mean()
    assert np.sqrt((np.bincount(cluster, centred) ** 2).sum()) / 40_000 > 1.2 * iid  # so clustering matters


def test_oracle_psi_of_two_treatments_uses_their_second_moments() -> None:
    draw = simulate.two_treatments(n=500, seed=10)
    x = draw.data.filter(like="x_").to_numpy(np.float64)
    mean = np.column_stack(
        [
            np.ones(500),
            0.5 * np.sin(x[:, 0]) + 0.4 * x[:, 1],
            0.4 * np.tanh(x[:, 0]) + 0.3 * x[:, 1] * x[:, 2],
        ]
    )
    moments = mean[:, :, None] * mean[:, None, :]
    moments[:, 1:, 1:] += [[0.64, 0.24], [0.24, 0.49]]
    rows = np.column_stack([np.ones(500), draw.data[["price", "ads"]]])
    residual = draw.data["y"].to_numpy() - (rows * draw.theta).sum(1)
    psi = draw.theta + np.linalg.solve(moments, (residual[:, None] * rows)[..., None])[..., 0]
    # covariates come back from float32
    np.testing.assert_allclose(draw.oracle_psi, psi, rtol=1e-5, atol=1e-5)


def test_oracle_psi_of_arms_weights_each_arm_by_its_propensity() -> None:
    draw = simulate.arms(n=300, seed=11)
    x = draw.data.filter(like="x_").to_numpy(np.float64)
    odds = np.exp(
        np.column_stack(
            [
                np.zeros(300),
                0.6 * x[:, 0] + 0.4 * (x[:, 1] ** 2 - 1),
                0.5 * x[:, 2] - 0.4 * x[:, 0] * x[:, 1],
            ]
        )
    )
    propensity = 0.05 + 0.85 * odds / odds.sum(1, keepdims=True)
    means = draw.theta @ np.array([[1, 1, 1], [0, 1, 0], [0, 0, 1]])
    taken = draw.data["arm"].to_numpy()[:, None] == np.array(["a", "b", "c"])
    values = means + taken * (draw.data["y"].to_numpy()[:, None] - means) / propensity
    contrasts = np.column_stack([values[:, 0], values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]])
    np.testing.assert_allclose(draw.oracle_psi, contrasts, rtol=1e-5, atol=1e-5)  # x comes back from float32


def test_known_propensities_are_those_of_the_draw() -> None:
    draw = simulate.randomized(n=20_000, seed=12)
    propensity = draw.fit["treatment"]
    for value in (0.3, 0.6):
        share = draw.data["t"].to_numpy()[propensity == value].mean()
        assert share == pytest.approx(value, abs=0.02)  # se 0.005


def test_digits_are_images_used_once() -> None:
    images = simulate.digits(seed=1).data.filter(like="pixel_")
    assert images.shape == (1_797, 64)
    assert images.min().min() == 0
    assert images.max().max() == 16
    assert not images.duplicated().any()


def test_digits_need_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingLibraryError, match="pip install scikit-learn"):
        simulate.digits(n=10)


def test_overdispersed_counts_have_the_variance_they_promise() -> None:
    draw = simulate.smooth(n=40_000, seed=13, family="poisson", dispersion=0.5)
    mean = np.exp(draw.theta[:, 0] + draw.theta[:, 1] * draw.data["t"].to_numpy())
    surplus = (draw.data["y"].to_numpy() - mean) ** 2 - mean
    used = mean < np.quantile(mean, 0.99)  # the largest means would decide alone
    assert surplus[used].sum() / (mean[used] ** 2).sum() == pytest.approx(0.5, rel=0.15)  # se 4 per cent
    assert not draw.efficient


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate.smooth(n=10, family="logti"), "logit"),
        (lambda: simulate.wages(n=0), "n is 0; a design needs a whole number of rows, at least one"),
        (lambda: simulate.wages(n=1e3), "n is 1000.0; a design needs a whole number"),
        (lambda: simulate.wages(n="many"), "n is 'many'"),
        (lambda: simulate.wages(n=10, seed="one"), "seed='one' is not a whole number"),
        (lambda: simulate.farrell_liang_misra_2021(d=30), "d = 20 or d = 100"),
        (lambda: simulate.binary(n=10, family="logti"), "logit"),
        (lambda: simulate.smooth(n=10, dispersion=0.5), "positive for poisson"),
        (lambda: simulate.digits(n=2_000), "1,797 images"),
        (lambda: simulate.tutorial_wages(n=10, confounding="share"), "Did you mean 'shared'"),
        (lambda: simulate.nie_wager(n=10, setup="E"), "A, B, C, D"),
        (lambda: simulate.nie_wager(n=10, p=4), "p=4 is not a whole number of at least 5"),
        (lambda: simulate.nie_wager(n=10, noise="a"), "noise is 'a'; it must be one number"),
        (lambda: simulate.nie_wager(n=10, noise=-1), "noise is -1; a standard deviation is 0 or more"),
        (lambda: simulate.nie_wager(n=10, setup=["A"]), "unknown setup"),
        (lambda: simulate.doubleml_irm(n=10, theta="a"), "theta is 'a'; it must be one number, the average effect"),
        (lambda: simulate.doubleml_plr(n=10, theta=[1]), "it must be one number, the average effect"),
        (lambda: simulate.leaky_text(n=10, leak="a"), "leak is 'a'; it must be one number"),
        (lambda: simulate.leaky_text(n=10, confounding=None), "confounding is None; it must be one number"),
        (lambda: simulate.smooth(n=10, family="poisson", dispersion="a"), "dispersion is 'a'; it must be one number"),
        (lambda: simulate.authors_example(n=10, randomized="no"), "randomized='no'; it must be True or False"),
        (lambda: simulate.farrell_liang_misra_2021(n=10, quadratic=1), "quadratic=1; it must be True or False"),
        (lambda: simulate.farrell_liang_misra_2021(n=10, d=[20]), "d = 20 or d = 100"),
        (lambda: simulate.outcome(n=10, family=["negbin"]), "unknown family"),
        (lambda: simulate.clustered_errors(n=10, clusters="a"), "clusters='a' is not a whole number"),
        (lambda: simulate.clustered_errors(n=10, clusters=11), "between 1 and the number of rows, 10"),
    ],
)
def test_refusals_say_what_is_allowed(call: Callable[[], Simulated], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        call()


def test_simulated_checks_its_shapes() -> None:
    draw = simulate.waves(n=10, seed=1)
    with pytest.raises(OptionError, match="theta has shape"):
        Simulated(draw.data, draw.formula, draw.family, draw.theta[:5], draw.truth, draw.oracle_psi)


@pytest.mark.parametrize(("leak", "expected"), [(0.0, 0.5), (1.0, 0.921), (2.0, 0.998)])
def test_the_leak_of_a_text_tells_the_treatment_as_its_docstring_says(leak, expected):
    """Along its direction, orthogonal to what texts are about, the arms are N(+-leak / 2, 1/4): Phi(leak sqrt 2)."""
    draw = simulate.leaky_text(n=20_000, seed=10, leak=leak)
    x, t = draw.data.filter(like="emb_").to_numpy(float), draw.data["t"].to_numpy()
    one, two = np.arange(20_000) < 10_000, np.arange(20_000) >= 10_000
    direction = np.linalg.solve(np.cov(x[one].T), x[one & (t == 1)].mean(0) - x[one & (t == 0)].mean(0))
    scores, t = x[two] @ direction, t[two]
    order = np.argsort(np.argsort(scores)) + 1
    treated = t.sum()
    auc = (order[t == 1].sum() - treated * (treated + 1) / 2) / (treated * (len(t) - treated))
    # three standard errors of an AUC of one half with 5,000 rows in each arm are .018
    np.testing.assert_allclose(auc, expected, atol=0.018)
    with pytest.raises(OptionError, match="leak=-1"):
        simulate.leaky_text(leak=-1)

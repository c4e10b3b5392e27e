"""The designs of simulate.py: what they promise about moments, truths and the oracle psi."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import statsmodels.api as sm

from deepdml import simulate
from deepdml.errors import OptionError
from deepdml.simulate import Simulated

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
}
# Four standard errors: some 60 comparisons at fixed seeds; a correct design would fail one with probability 1 in 250.
FOUR_SE = 4.0

every_design = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)


def standard_errors(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance of the column means of `values` from `truth`, in standard errors."""
    return np.abs(values.mean(0) - truth) / (values.std(0) / np.sqrt(len(values)) + 1e-12)


@every_design
def test_means_of_theta_and_oracle_psi_are_the_truth(design: Callable[..., Simulated]) -> None:
    draw = design(n=20_000, seed=3)
    truth = np.array(list(draw.truth.values()))
    assert (standard_errors(draw.theta, truth) < FOUR_SE).all()
    assert (standard_errors(draw.oracle_psi, truth) < FOUR_SE).all()


@every_design
def test_outcome_has_the_mean_that_theta_says(design: Callable[..., Simulated]) -> None:
    draw = design(n=20_000, seed=4)
    y, t = draw.data.iloc[:, 0].to_numpy(), draw.data.iloc[:, 1].to_numpy()
    eta = draw.theta[:, 0] + draw.theta[:, 1] * t
    mean = {"gaussian": eta, "logit": 1 / (1 + np.exp(-eta)), "poisson": np.exp(eta)}[draw.family]
    # the score against the whole of theta and t, not only its mean
    scores = (y - mean)[:, None] * np.column_stack([np.ones_like(t), t, draw.theta])
    assert (standard_errors(scores, np.zeros(4)) < FOUR_SE).all()


@every_design
def test_same_seed_same_draw_and_no_global_state(design: Callable[..., Simulated]) -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002 -- the global generator is what must stay untouched
    one, two, other = design(n=50, seed=1), design(n=50, seed=1), design(n=50, seed=2)
    assert one.data.equals(two.data)
    assert not one.data.equals(other.data)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002 -- as above


@every_design
def test_formula_names_the_columns(design: Callable[..., Simulated]) -> None:
    draw = design(n=20, seed=1)
    outcome, treatment = draw.data.columns[:2]
    prefix = draw.data.columns[2].rstrip("0123456789")
    assert draw.formula == f"{outcome} ~ {treatment} | {prefix}*"
    assert list(draw.truth) == ["Intercept", treatment]
    assert draw.data.columns.is_unique
    assert (draw.data.dtypes.iloc[2:] == np.float32).all()


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate.smooth(n=10, family="logti"), "logit"),
        (lambda: simulate.wages(n=0), "at least one row"),
        (lambda: simulate.farrell_liang_misra_2021(d=30), "d = 20 or d = 100"),
    ],
)
def test_refusals_say_what_is_allowed(call: Callable[[], Simulated], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        call()


def test_simulated_checks_its_shapes() -> None:
    draw = simulate.waves(n=10, seed=1)
    with pytest.raises(OptionError, match="theta has shape"):
        Simulated(draw.data, draw.formula, draw.family, draw.theta[:5], draw.truth, draw.oracle_psi)

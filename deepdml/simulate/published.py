"""Designs of other papers and packages, by their published formulas."""

from __future__ import annotations

from typing import Literal

import numpy as np

from deepdml.errors import OptionError, refuse_no_number, refuse_no_whole
from deepdml.simulate.draws import (
    MEAN,
    Float,
    Simulated,
    Truth,
    check_choice,
    check_flag,
    continuous,
    draw,
    generator,
    toeplitz_normal,
    two_arms,
)

_COEFFICIENT_SEED = 2021  # of the coefficients that Farrell, Liang & Misra draw once
_EFFECT = "one number, the average effect in units of the outcome"
_ROOT_TWO_PI = float(np.sqrt(2 * np.pi))


def farrell_liang_misra_2021(
    n: int = 10_000,
    seed: int | None = None,
    *,
    d: Literal[20, 100] = 20,
    randomized: bool = False,
    quadratic: bool = True,
) -> Simulated:
    """Binary treatment, uniform covariates, polynomial effects: section 6 of Farrell, Liang & Misra (2021).

    X = (1, U(0, 1)^d); P(T = 1) = 0.5, or logit with intercept 0.09 and slopes U(-0.55, 0.55);
    y = mu0(x) + tau(x) T + N(0, 1) with intercepts 0.09 and -0.05, slopes N(0.3, 0.7) and U(0.1, 0.22), and
    coefficients N(0.01, 0.3) and U(-0.05, 0.06) on the products x_j x_k, j <= k, or none. The second argument of N is
    read as a variance. With d = 100 the first 20 covariates alone have non-zero coefficients. The coefficients are
    drawn once, from a seed of their own; the population means are exact.

    Parameters
    ----------
    n, seed
        As in `wages`.
    d : {20, 100}
        Covariates.
    randomized : bool
        Whether P(T = 1) is 0.5 for all.
    quadratic : bool
        Whether mu0 and tau have second-degree terms.

    Raises
    ------
    OptionError
        For another d.

    References
    ----------
    Farrell, Liang & Misra, "Deep Neural Networks for Estimation and Inference", Econometrica 89(1), 2021, section 6.
    """
    if not isinstance(d, int | np.integer) or d not in (20, 100):
        raise OptionError(f"d is {d!r}; the published design has d = 20 or d = 100.")
    check_flag("randomized", randomized)
    check_flag("quadratic", quadratic)
    rng, fixed, active = generator(n, seed), np.random.default_rng(_COEFFICIENT_SEED), 20
    propensity_slopes = fixed.uniform(-0.55, 0.55, active)
    slopes = fixed.normal(0.3, np.sqrt(0.7), active), fixed.uniform(0.1, 0.22, active)
    products = fixed.normal(0.01, np.sqrt(0.3), (active, active)), fixed.uniform(-0.05, 0.06, (active, active))
    x = rng.uniform(0, 1, (n, d))
    used = x[:, :active]
    second_moment = np.full((active, active), 0.25) + np.eye(active) / 12  # E[x_j x_k] of uniforms
    theta, truth = [], []
    for intercept, slope, product in zip((0.09, -0.05), slopes, products, strict=True):
        upper = np.triu(product) * quadratic
        theta.append(intercept + used @ slope + np.einsum("nj,jk,nk->n", used, upper, used, optimize=True))
        truth.append(intercept + 0.5 * float(slope.sum()) + float((upper * second_moment).sum()))
    propensity = np.full(n, 0.5) if randomized else MEAN["logit"](0.09 + used @ propensity_slopes)
    model = Truth("gaussian", np.column_stack(theta), two_arms(rng, propensity), (truth[0], truth[1]))
    return draw(rng, model, x)


def authors_example(n: int = 15_000, seed: int | None = None, *, randomized: bool = False) -> Simulated:
    """Binary treatment, a cubic effect: the worked example of Farrell, Liang & Misra.

    X ~ N(0, I_5); alpha = 0.2 x1 - 1.3 x2 - 0.5 x3, beta = 2 - x2 + 0.25 x1^3;
    P(T = 1) = 1 / (1 + exp(1 + 0.5 x2)), or 0.5 if `randomized`; y = alpha + beta T + N(0, 1).
    Population means: 0 and 2.

    References
    ----------
    Farrell, Liang & Misra, "Deep Learning for Individual Heterogeneity: An Automatic Inference Framework", the example
    of the code that accompanies it.
    """
    check_flag("randomized", randomized)
    rng = generator(n, seed)
    x = rng.standard_normal((n, 5))
    alpha = 0.2 * x[:, 0] - 1.3 * x[:, 1] - 0.5 * x[:, 2]
    beta = 2 - x[:, 1] + 0.25 * x[:, 0] ** 3
    propensity = np.full(n, 0.5) if randomized else MEAN["logit"](-1 - 0.5 * x[:, 1])
    return draw(rng, Truth("gaussian", np.column_stack([alpha, beta]), two_arms(rng, propensity), (0.0, 2.0)), x)


def nie_wager(
    n: int = 4_000, seed: int | None = None, setup: Literal["A", "B", "C", "D"] = "A", *, p: int = 6, noise: float = 1.0
) -> Simulated:
    """Binary treatment: the four setups of Nie & Wager.

    y = b(x) + (T - 1/2) tau(x) + noise N(0, 1), so alpha = b - tau / 2 and beta = tau; m+ is max(m, 0).

    * A: X ~ U(0, 1)^p; P(T = 1) = sin(pi x1 x2) trimmed to [0.1, 0.9];
      b = sin(pi x1 x2) + 2 (x3 - 1/2)^2 + x4 + x5 / 2; tau = (x1 + x2) / 2. Difficult nuisances, an easy effect.
    * B: X ~ N(0, I_p); P(T = 1) = 1/2; b = max(x1 + x2, x3, 0) + (x4 + x5)+; tau = x1 + log(1 + exp(x2)).
    * C: X ~ N(0, I_p); P(T = 1) = 1 / (1 + exp(x2 + x3)); b = 2 log(1 + exp(x1 + x2 + x3)); tau = 1.
    * D: X ~ N(0, I_p); P(T = 1) = 1 / (1 + exp(-x1) + exp(-x2)); b = ((x1 + x2 + x3)+ + (x4 + x5)+) / 2;
      tau = (x1 + x2 + x3)+ - (x4 + x5)+. Unrelated arms.

    Population means of tau: 1/2; E log(1 + exp(Z)) = 0.806; 1; (sqrt(3) - sqrt(2)) / sqrt(2 pi).

    Parameters
    ----------
    n, seed
        As in `wages`.
    setup : {"A", "B", "C", "D"}
    p : int
        Covariates, at least 5; the paper has 6 and 12.
    noise : float
        Standard deviation of the error; the paper has 0.5, 1, 2 and 4.

    Raises
    ------
    OptionError
        For another setup, fewer covariates, or a noise that is no standard deviation.

    References
    ----------
    Nie & Wager, "Quasi-oracle estimation of heterogeneous treatment effects", Biometrika 108(2), 2021, section 6.
    """
    check_choice("setup", setup, _SETUPS)
    refuse_no_whole("p", p, 5)
    _check_sd("noise", noise)
    rng = generator(n, seed)
    x = rng.uniform(0, 1, (n, p)) if setup == "A" else rng.standard_normal((n, p))
    base, tau, propensity, means = _SETUPS[setup](x)
    theta = np.column_stack([base - tau / 2, tau])
    population = means[0] - means[1] / 2, means[1]
    return draw(rng, Truth("gaussian", theta, two_arms(rng, propensity), population, noise), x)


def _check_sd(name: str, value: float) -> None:
    refuse_no_number(name, value, "one number, a standard deviation")
    if value < 0:
        raise OptionError(f"{name} is {value!r}; a standard deviation is 0 or more.")


_Setup = tuple[Float, Float, Float, tuple[float, float]]  # b, tau, P(T = 1), and the means of b and tau


def _setup_a(x: Float) -> _Setup:
    wave = np.sin(np.pi * x[:, 0] * x[:, 1])
    base = wave + 2 * (x[:, 2] - 0.5) ** 2 + x[:, 3] + 0.5 * x[:, 4]
    points, weights = np.polynomial.legendre.leggauss(30)
    u = (points + 1) / 2
    mean_wave = float(weights / 2 @ ((1 - np.cos(np.pi * u)) / (np.pi * u)))  # integrated over x1 by hand
    return base, (x[:, 0] + x[:, 1]) / 2, np.clip(wave, 0.1, 0.9), (mean_wave + 1 / 6 + 0.75, 0.5)


def _setup_b(x: Float) -> _Setup:
    base = np.maximum(np.maximum(x[:, 0] + x[:, 1], x[:, 2]), 0) + _plus(x[:, 3] + x[:, 4])
    # of three centred normals, E max is the sum of the sds of their differences over 2 sqrt(2 pi)
    mean = (np.sqrt(2) + 1 + np.sqrt(3)) / (2 * _ROOT_TWO_PI) + np.sqrt(2) / _ROOT_TWO_PI
    tau = x[:, 0] + np.logaddexp(0, x[:, 1])
    return base, tau, np.full(len(x), 0.5), (float(mean), _mean_softplus(1.0))


def _setup_c(x: Float) -> _Setup:
    base = 2 * np.logaddexp(0, x[:, :3].sum(1))
    means = 2 * _mean_softplus(np.sqrt(3)), 1.0
    return base, np.ones(len(x)), MEAN["logit"](-x[:, 1] - x[:, 2]), means


def _setup_d(x: Float) -> _Setup:
    treated, control = _plus(x[:, :3].sum(1)), _plus(x[:, 3] + x[:, 4])
    means = (np.sqrt(3) + np.sqrt(2)) / (2 * _ROOT_TWO_PI), (np.sqrt(3) - np.sqrt(2)) / _ROOT_TWO_PI
    propensity = 1 / (1 + np.exp(-x[:, 0]) + np.exp(-x[:, 1]))
    return (treated + control) / 2, treated - control, propensity, (float(means[0]), float(means[1]))


_SETUPS = {"A": _setup_a, "B": _setup_b, "C": _setup_c, "D": _setup_d}


def _plus(values: Float) -> Float:
    return np.maximum(values, 0)


def _mean_softplus(sd: float) -> float:
    """E log(1 + exp(sd Z)), Z standard normal."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    return float(weights @ np.logaddexp(0, sd * nodes) / weights.sum())


def doubleml_irm(n: int = 4_000, seed: int | None = None, *, theta: float = 0.5) -> Simulated:
    """Binary treatment, a linear effect on twenty correlated covariates: `make_irm_data` of DoubleML.

    X ~ N(0, S), S_jk = 0.5^|j-k|, p = 20; b_j = 1 / j^2; q = b' S b; R^2 = 0.5 of treatment and outcome:
    P(T = 1) = 1 / (1 + exp(-c_d x'b)), c_d = sqrt((pi^2 / 3) / q); y = theta T + c_y x'b T + N(0, 1),
    c_y = sqrt(1 / q). So alpha = 0 and beta = theta + c_y x'b. Population means: 0 and theta.

    Parameters
    ----------
    n, seed
        As in `wages`.
    theta : float
        Average effect.

    References
    ----------
    Bach, Chernozhukov, Kurz & Spindler, "DoubleML", JMLR 23(53), 2022, `doubleml.irm.datasets.make_irm_data`, after
    Belloni, Chernozhukov, Fernandez-Val & Hansen, Econometrica 85, 2017.
    """
    refuse_no_number("theta", theta, _EFFECT)
    rng = generator(n, seed)
    p = 20
    x = toeplitz_normal(rng, n, p, 0.5)
    slopes = 1.0 / np.arange(1, p + 1) ** 2
    matrix = 0.5 ** np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
    index = x @ slopes / np.sqrt(slopes @ matrix @ slopes)
    law = two_arms(rng, MEAN["logit"](np.pi / np.sqrt(3) * index))
    return draw(rng, Truth("gaussian", np.column_stack([np.zeros(n), theta + index]), law, (0.0, theta)), x)


def doubleml_plr(n: int = 4_000, seed: int | None = None, *, theta: float = 0.5) -> Simulated:
    """Continuous treatment with a constant effect, partially linear: `make_plr_CCDDHNR2018` of DoubleML.

    X ~ N(0, S), S_jk = 0.7^|j-k|, p = 20; with F(z) = 1 / (1 + exp(-z)): T = x1 + 0.25 F(x3) + N(0, 1);
    y = theta T + F(x1) + 0.25 x3 + N(0, 1). Population means: 1/2 and theta. The oracle psi allows for an effect that
    varies; an estimator that knew it to be constant would have a smaller variance.

    Parameters
    ----------
    n, seed, theta
        As in `doubleml_irm`.

    References
    ----------
    Chernozhukov, Chetverikov, Demirer, Duflo, Hansen, Newey & Robins, "Double/debiased machine learning for treatment
    and structural parameters", The Econometrics Journal 21, 2018, figure 1; `doubleml.plm.datasets`.
    """
    refuse_no_number("theta", theta, _EFFECT)
    rng = generator(n, seed)
    x = toeplitz_normal(rng, n, 20, 0.7)
    alpha = MEAN["logit"](x[:, 0]) + 0.25 * x[:, 2]
    law = continuous(rng, x[:, 0] + 0.25 * MEAN["logit"](x[:, 2]), 1.0)
    return draw(rng, Truth("gaussian", np.column_stack([alpha, np.full(n, theta)]), law, (0.5, theta)), x)

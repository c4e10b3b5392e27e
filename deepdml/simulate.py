"""Designs with known truth: data, the true coefficients of every row, their population means and the oracle psi.

Each design is a function of a seed that returns a `Simulated`. Everything is drawn from one numpy generator; the global
state is never read. `oracle_psi` is what an estimator that knew every nuisance would average, so
`estimate - oracle_psi.mean()` on the same rows isolates the error of the nuisances from the sampling error.

>>> from deepdml import simulate
>>> wages = simulate.wages(n=500, seed=1)
>>> wages.formula, wages.family
('log_wage ~ experience | emb_*', 'gaussian')
>>> wages.truth["experience"]
1.0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import OptionError, unknown_option

Float = NDArray[np.float64]
FamilyName = Literal["gaussian", "logit", "poisson"]

_QUADRATURE_NODES = 60  # E[exp(a + b T) T^2] is then exact to 1e-9 for |b| sd(T) up to 2
_COEFFICIENT_SEED = 2021  # of the coefficients that Farrell, Liang & Misra draw once


@dataclass(frozen=True, slots=True)
class Simulated:
    """One draw of a design.

    Parameters
    ----------
    data : DataFrame with n rows
        Outcome, treatment and covariates (float32).
    formula, family : str
        The model that is true for these data.
    theta : (n, d) array
        True coefficients of each row, intercept first.
    truth : mapping of str to float
        Population mean of each coefficient, by the name it has in a regression table.
    oracle_psi : (n, d) array
        theta - Lambda(x)^{-1} score under the true theta and the true law of the treatment given x.
    """

    data: pd.DataFrame
    formula: str
    family: str
    theta: Float
    truth: Mapping[str, float]
    oracle_psi: Float

    def __post_init__(self) -> None:
        """Check that the arrays describe the same rows and coefficients."""
        shape = (len(self.data), len(self.truth))
        for name in ("theta", "oracle_psi"):
            if getattr(self, name).shape != shape:
                raise OptionError(f"{name} has shape {getattr(self, name).shape}, needs (n, d) = {shape}.")


# The three canonical families, by hand: a design must not lean on the code that it tests.
_MEAN: dict[str, Callable[[Float], Float]] = {
    "gaussian": lambda eta: eta,
    "logit": lambda eta: 0.5 * (1 + np.tanh(0.5 * eta)),
    "poisson": np.exp,
}
_HESSIAN: dict[str, Callable[[Float], Float]] = {
    "gaussian": np.ones_like,
    "logit": lambda eta: 0.25 / np.cosh(0.5 * eta) ** 2,
    "poisson": np.exp,
}


@dataclass(frozen=True, slots=True)
class _Truth:
    """What a design says about its rows before outcomes are drawn.

    `theta` is (n, 2): intercept and slope; `treatment` (n,); `nodes` and `weights` ((n, m) or (1, m)) are the law of
    the treatment given x, exactly or by quadrature; `noise` is the sd of a gaussian error.
    """

    family: str
    theta: Float
    treatment: Float
    nodes: Float
    weights: Float
    noise: float = 1.0


def oracle_psi(family: str, y: Float, rows: Float, theta: Float, nodes: Float, weights: Float) -> Float:
    """Return theta - Lambda(x)^{-1} score for known theta and a known law of the structural row given x.

    Parameters
    ----------
    family : {"gaussian", "logit", "poisson"}
    y : (n,) array
        Outcomes.
    rows : (n, d) array
        Structural rows t.
    theta : (n, d) array
        True coefficients.
    nodes : (n, m, d) or (1, m, d) array
        Values that the structural row takes given x.
    weights : (n, m) or (1, m) array
        Their probabilities, or quadrature weights.

    Returns
    -------
    (n, d) array
    """
    residual = _MEAN[family](np.einsum("nd,nd->n", rows, theta)) - y
    curvature = weights * _HESSIAN[family]((nodes @ theta[..., None])[..., 0])
    lambda_ = np.einsum("nm,nmd,nme->nde", curvature, nodes, nodes)
    score = residual[:, None] * rows
    return np.asarray(theta - np.linalg.solve(lambda_, score[..., None])[..., 0])


def wages(n: int = 10_000, seed: int | None = None) -> Simulated:
    """Gaussian outcome on clustered embeddings: log wage on experience, by kind of job.

    Cluster g uniform on 0..4; centroids c_g = 3 N(0, I_64); emb = c_g + 0.8 N(0, I_64);
    beta(x) = (0.4, 0.7, 1.0, 1.3, 1.6)[g]; alpha(x) = 2.5 + 0.3 sin(g); T = beta(x) + 0.5 N(0, 1);
    y = alpha + beta T + 0.3 N(0, 1). Population mean of beta: 1.

    Parameters
    ----------
    n : int
        Rows.
    seed : int or None
        Seed of the draw, centroids included; None draws afresh.

    References
    ----------
    The design of the embedding tutorial of deep-inference 0.2.0, with a treatment that the embedding confounds.
    """
    return _clustered("gaussian", n, seed, ("log_wage", "experience"), (0.4, 0.7, 1.0, 1.3, 1.6), level=2.5, noise=0.3)


def purchases(n: int = 16_000, seed: int | None = None) -> Simulated:
    """Binary outcome on clustered embeddings: purchase on discount, by kind of product.

    As `wages`, with beta(x) = (0.4, 0.8, 1.2, 1.6, 2.0)[g] in log-odds, alpha(x) = 0.5 + 0.3 sin(g),
    P(y = 1) = 1 / (1 + exp(-alpha - beta T)). Population mean of beta: 1.2.
    """
    return _clustered("logit", n, seed, ("bought", "discount"), (0.4, 0.8, 1.2, 1.6, 2.0), level=0.5)


def citations(n: int = 12_000, seed: int | None = None) -> Simulated:
    """Poisson outcome on clustered embeddings: citations on exposure, by kind of paper.

    As `wages`, with beta(x) = (0.3, 0.6, 1.0, 1.4, 1.8)[g] in log points, alpha(x) = 1 + 0.3 sin(g),
    y ~ Poisson(exp(alpha + beta T)), counts run to a thousand and are not clipped. Population mean of beta: 1.02.
    """
    return _clustered("poisson", n, seed, ("citations", "exposure"), (0.3, 0.6, 1.0, 1.4, 1.8), level=1.0)


def smooth(n: int = 5_000, seed: int | None = None, family: FamilyName = "gaussian") -> Simulated:
    """Continuous treatment with smooth confounding in ten covariates.

    X ~ N(0, I_10); T = e(x) + 0.8 N(0, 1) with e = 0.6 sin(x1) + 0.4 x2 + 0.3 x3 x4;
    alpha = a + s (0.6 sin(x1) + 0.4 x2 + 0.2 (x3^2 - 1)), beta = b + s (0.4 tanh(x1) + 0.3 cos(x2));
    (a, b, s) = (1, 1, 1) gaussian with N(0, 1) errors, (0, 0.7, 1) logit, (0.5, 0.2, 0.5) poisson.
    Population means: a, and b + 0.3 s exp(-1/2).

    Parameters
    ----------
    n, seed
        As in `wages`.
    family : {"gaussian", "logit", "poisson"}
        Outcome family.

    Raises
    ------
    OptionError
        For another family.

    References
    ----------
    Written for deepdml after the "smooth confounding" designs of its first prototype.
    """
    if family not in _MEAN:
        raise unknown_option("family", family, _MEAN)
    rng = _generator(n, seed)
    x = rng.standard_normal((n, 10))
    level, slope, scale = {"gaussian": (1.0, 1.0, 1.0), "logit": (0.0, 0.7, 1.0), "poisson": (0.5, 0.2, 0.5)}[family]
    common = 0.6 * np.sin(x[:, 0]) + 0.4 * x[:, 1]
    alpha = level + scale * (common + 0.2 * (x[:, 2] ** 2 - 1))
    beta = slope + scale * (0.4 * np.tanh(x[:, 0]) + 0.3 * np.cos(x[:, 1]))
    truth = _continuous(rng, family, alpha, beta, mean=common + 0.3 * x[:, 2] * x[:, 3], sd=0.8)
    return _draw(rng, truth, x, (level, slope + 0.3 * scale * float(np.exp(-0.5))))


def binary(n: int = 4_000, seed: int | None = None) -> Simulated:
    """Binary treatment with a non-linear propensity in (0.05, 0.95) and twenty correlated covariates.

    X ~ N(0, S), S_jk = 0.5^|j-k|, p = 20;
    P(T = 1) = 0.05 + 0.9 / (1 + exp(-g)), g = 0.8 x1 + 0.5 (x2^2 - 1) - 0.6 x3 x4;
    alpha = x1 + 0.5 x2^2 + sin(x3), beta = 1 + 0.5 x1 + 0.25 x2 x3; y = alpha + beta T + N(0, 1).
    Population means: 0.5 and 1 + 0.25 * 0.5 = 1.125.

    References
    ----------
    Written for deepdml after the "binary T, non-linear propensity" design of its first prototype.
    """
    rng = _generator(n, seed)
    p = 20
    correlation = 0.5 ** np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
    x = rng.standard_normal((n, p)) @ np.linalg.cholesky(correlation).T
    index = 0.8 * x[:, 0] + 0.5 * (x[:, 1] ** 2 - 1) - 0.6 * x[:, 2] * x[:, 3]
    alpha = x[:, 0] + 0.5 * x[:, 1] ** 2 + np.sin(x[:, 2])
    beta = 1 + 0.5 * x[:, 0] + 0.25 * x[:, 1] * x[:, 2]
    return _draw(rng, _two_arms(rng, alpha, beta, 0.05 + 0.9 * _MEAN["logit"](index)), x, (0.5, 1.125))


def waves(n: int = 8_000, seed: int | None = None) -> Simulated:
    """Confounding outside the span of low-order bases: fast waves and a three-way interaction.

    X ~ U(-1, 1)^8; T = e(x) + 0.5 N(0, 1) with e = 0.5 sin(6 x1) + x2 x3 x4;
    alpha = 1 + 0.7 sin(6 x1) + 2 x2 x3 x4, beta = 1 + 0.5 cos(5 x5); y = alpha + beta T + N(0, 1).
    Population means: 1, and 1 + 0.1 sin(5).

    References
    ----------
    Written for deepdml; linear models and polynomials cannot learn e(x), and a net must train long to learn it.
    """
    rng = _generator(n, seed)
    x = rng.uniform(-1, 1, (n, 8))
    wave, triple = np.sin(6 * x[:, 0]), x[:, 1] * x[:, 2] * x[:, 3]
    beta = 1 + 0.5 * np.cos(5 * x[:, 4])
    truth = _continuous(rng, "gaussian", 1 + 0.7 * wave + 2 * triple, beta, mean=0.5 * wave + triple, sd=0.5)
    return _draw(rng, truth, x, (1.0, 1 + 0.1 * float(np.sin(5))))


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
    if d not in (20, 100):
        raise OptionError(f"d is {d!r}; the published design has d = 20 or d = 100.")
    rng, fixed, active = _generator(n, seed), np.random.default_rng(_COEFFICIENT_SEED), 20
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
    propensity = np.full(n, 0.5) if randomized else _MEAN["logit"](0.09 + used @ propensity_slopes)
    return _draw(rng, _two_arms(rng, theta[0], theta[1], propensity), x, (truth[0], truth[1]))


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
    rng = _generator(n, seed)
    x = rng.standard_normal((n, 5))
    alpha = 0.2 * x[:, 0] - 1.3 * x[:, 1] - 0.5 * x[:, 2]
    beta = 2 - x[:, 1] + 0.25 * x[:, 0] ** 3
    propensity = np.full(n, 0.5) if randomized else _MEAN["logit"](-1 - 0.5 * x[:, 1])
    return _draw(rng, _two_arms(rng, alpha, beta, propensity), x, (0.0, 2.0))


def _generator(n: int, seed: int | None) -> np.random.Generator:
    if n < 1:
        raise OptionError(f"n is {n}; a design needs at least one row.")
    return np.random.default_rng(seed)


def _clustered(
    family: str,
    n: int,
    seed: int | None,
    names: tuple[str, str],
    effects: tuple[float, ...],
    level: float,
    noise: float = 1.0,
) -> Simulated:
    rng = _generator(n, seed)
    centroids = 3 * rng.standard_normal((5, 64))
    cluster = rng.integers(0, 5, n)
    x = centroids[cluster] + 0.8 * rng.standard_normal((n, 64))
    alpha, beta = level + 0.3 * np.sin(cluster), np.asarray(effects)[cluster]
    truth = _continuous(rng, family, alpha, beta, mean=beta, sd=0.5, noise=noise)
    population = level + 0.3 * float(np.sin(np.arange(5)).mean()), float(np.mean(effects))
    return _draw(rng, truth, x, population, names, "emb")


def _continuous(
    rng: np.random.Generator, family: str, alpha: Float, beta: Float, mean: Float, sd: float, noise: float = 1.0
) -> _Truth:
    """Draw T = mean(x) + sd N(0, 1); its law given x is integrated by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_QUADRATURE_NODES)
    treatment = mean + sd * rng.standard_normal(len(mean))
    law = mean[:, None] + sd * nodes, weights[None] / weights.sum()
    return _Truth(family, np.column_stack([alpha, beta]), treatment, *law, noise=noise)


def _two_arms(rng: np.random.Generator, alpha: Float, beta: Float, propensity: Float) -> _Truth:
    """Draw T in {0, 1} with the given P(T = 1 | x); a gaussian outcome."""
    treatment = (rng.random(len(propensity)) < propensity).astype(np.float64)
    weights = np.column_stack([1 - propensity, propensity])
    return _Truth("gaussian", np.column_stack([alpha, beta]), treatment, np.array([[0.0, 1.0]]), weights)


def _draw(
    rng: np.random.Generator,
    truth: _Truth,
    x: Float,
    population: tuple[float, float],
    names: tuple[str, str] = ("y", "t"),
    prefix: str = "x",
) -> Simulated:
    """Draw outcomes and assemble the design; `population` holds the means of intercept and slope."""
    rows = np.column_stack([np.ones(len(x)), truth.treatment])
    mean = _MEAN[truth.family](np.einsum("nd,nd->n", rows, truth.theta))
    if truth.family == "gaussian":
        y = mean + truth.noise * rng.standard_normal(len(x))
    elif truth.family == "logit":
        y = (rng.random(len(x)) < mean).astype(np.float64)
    else:
        y = rng.poisson(mean).astype(np.float64)
    outcome, treatment = names
    columns = [f"{prefix}_{j}" for j in range(x.shape[1])]
    covariates = pd.DataFrame(x.astype(np.float32), columns=columns)
    data = pd.concat([pd.DataFrame({outcome: y, treatment: truth.treatment}), covariates], axis=1)
    nodes = np.stack([np.ones_like(truth.nodes), truth.nodes], axis=-1)
    return Simulated(
        data=data,
        formula=f"{outcome} ~ {treatment} | {prefix}_*",
        family=truth.family,
        theta=truth.theta,
        truth={"Intercept": population[0], treatment: population[1]},
        oracle_psi=oracle_psi(truth.family, y, rows, truth.theta, nodes, truth.weights),
    )

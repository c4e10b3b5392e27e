"""What every design is made of: a law of the treatment given x, a truth, and the draw that joins them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import OptionError, is_whole, refuse_no_whole, unknown_option

Float = NDArray[np.float64]
FamilyName = Literal["gaussian", "logit", "poisson"]

_QUADRATURE_NODES = 60  # E[exp(a + b T) T^2] is then exact to 1e-9 for |b| sd(T) up to 2


@dataclass(frozen=True, slots=True)
class Simulated:
    """One draw of a design.

    Parameters
    ----------
    data : DataFrame with n rows
        Outcome, treatment and covariates (float32), then what else the fit needs (clusters).
    formula, family : str
        The model that is true for these data.
    theta : (n, d) array
        True coefficients of each row, intercept first.
    truth : mapping of str to float
        Population mean of each coefficient, by the name it has in a regression table.
    oracle_psi : (n, d) array
        theta - Lambda(x)^{-1} score under the true theta and the true law of the treatment given x.
    fit : mapping
        Options of `deepdml.fit` without which the fit would not match the design: clusters, known propensities.
    efficient : bool
        Whether the variance of `oracle_psi` is the semiparametric efficiency bound of the means of the coefficients.
    """

    data: pd.DataFrame
    formula: str
    family: str
    theta: Float
    truth: Mapping[str, float]
    oracle_psi: Float
    fit: Mapping[str, Any] = field(default_factory=dict)
    efficient: bool = True

    def __post_init__(self) -> None:
        """Check that the arrays describe the same rows and coefficients."""
        shape = (len(self.data), len(self.truth))
        for name in ("theta", "oracle_psi"):
            if getattr(self, name).shape != shape:
                raise OptionError(f"{name} has shape {getattr(self, name).shape}, needs (n, d) = {shape}.")


@dataclass(frozen=True, slots=True)
class Law:
    """The treatment of each row, and what it could have been given x.

    Parameters
    ----------
    columns : mapping of str to (n,) array
        The treatment as it stands in the data.
    term : str
        The structural part of the formula.
    labels : tuple of str
        Names of the coefficients after the intercept.
    rows : (n, d) array
        Structural rows, intercept first.
    nodes : (n, m, d) or (1, m, d) array
        Values that the structural row takes given x, exactly or by quadrature.
    weights : (n, m) or (1, m) array
        Their probabilities.
    """

    columns: Mapping[str, NDArray[Any]]
    term: str
    labels: tuple[str, ...]
    rows: Float
    nodes: Float
    weights: Float


@dataclass(frozen=True, slots=True)
class Truth:
    """What a design says about its rows before outcomes are drawn.

    Parameters
    ----------
    family : str
    theta : (n, d) array
    law : Law
    population : tuple of d floats
        Means of the coefficients.
    noise : float
        Standard deviation of a gaussian error.
    errors : (n,) array, optional
        Gaussian errors that the design drew itself, in place of `noise`.
    dispersion : float
        Variance of the gamma variable of mean one that multiplies the mean of a count.
    efficient : bool
        As in `Simulated`.
    """

    family: str
    theta: Float
    law: Law
    population: tuple[float, ...]
    noise: float = 1.0
    errors: Float | None = None
    dispersion: float = 0.0
    efficient: bool = True


# The three canonical families, by hand: a design must not lean on the code that it tests.
MEAN: dict[str, Callable[[Float], Float]] = {
    "gaussian": lambda eta: eta,
    "logit": lambda eta: 0.5 * (1 + np.tanh(0.5 * eta)),
    "poisson": np.exp,
}
_HESSIAN: dict[str, Callable[[Float], Float]] = {
    "gaussian": np.ones_like,
    "logit": lambda eta: 0.25 / np.cosh(0.5 * eta) ** 2,
    "poisson": np.exp,
}


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
    residual = MEAN[family](np.einsum("nd,nd->n", rows, theta)) - y
    curvature = weights * _HESSIAN[family]((nodes @ theta[..., None])[..., 0])
    lambda_ = np.einsum("nm,nmd,nme->nde", curvature, nodes, nodes)
    score = residual[:, None] * rows
    return np.asarray(theta - np.linalg.solve(lambda_, score[..., None])[..., 0])


def generator(n: int, seed: int | None) -> np.random.Generator:
    """Return the generator of a draw of n rows."""
    if not is_whole(n) or n < 1:
        raise OptionError(f"n is {n!r}; a design needs a whole number of rows, at least one.")
    if seed is not None:
        refuse_no_whole("seed", seed, 0)
    return np.random.default_rng(seed)


def check_choice(kind: str, value: object, allowed: Iterable[str]) -> None:
    """Raise OptionError for anything but one of the allowed texts."""
    if not isinstance(value, str) or value not in allowed:
        raise unknown_option(kind, value, allowed)


def check_flag(name: str, value: object) -> None:
    """Raise OptionError for anything but True or False."""
    if not isinstance(value, bool | np.bool_):
        raise OptionError(f"{name}={value!r}; it must be True or False.")


def toeplitz_normal(rng: np.random.Generator, n: int, p: int, correlation: float) -> Float:
    """Return (n, p) draws of N(0, S) with S_jk = correlation^|j-k|."""
    matrix = correlation ** np.abs(np.subtract.outer(np.arange(p), np.arange(p)))
    return np.asarray(rng.standard_normal((n, p)) @ np.linalg.cholesky(matrix).T)


def continuous(
    rng: np.random.Generator, mean: Float, sd: float | Float, name: str = "t", noise: Float | None = None
) -> Law:
    """Draw T = mean(x) + sd(x) N(0, 1); its law given x is integrated by Gauss-Hermite quadrature.

    `noise` (n,) is the N(0, 1) where a design draws it itself.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(_QUADRATURE_NODES)
    treatment = mean + sd * (rng.standard_normal(len(mean)) if noise is None else noise)
    values = mean[:, None] + np.reshape(sd, (-1, 1)) * nodes
    return Law({name: treatment}, name, (name,), _affine(treatment), _affine(values), weights[None] / weights.sum())


def two_arms(rng: np.random.Generator, propensity: Float, name: str = "t") -> Law:
    """Draw T in {0, 1} with the given P(T = 1 | x)."""
    treatment = (rng.random(len(propensity)) < propensity).astype(np.float64)
    weights = np.column_stack([1 - propensity, propensity])
    return Law({name: treatment}, name, (name,), _affine(treatment), _affine(np.array([[0.0, 1.0]])), weights)


def several_arms(rng: np.random.Generator, probabilities: Float, levels: tuple[str, ...], name: str) -> Law:
    """Draw a categorical treatment with P(level | x) = `probabilities` (n, m); the first level is the reference."""
    codes = (rng.random(len(probabilities))[:, None] > probabilities.cumsum(1)[:, :-1]).sum(1)
    dummies = np.eye(len(levels))
    dummies[:, 0] = 1.0
    labels = tuple(f"C({name})[T.{level}]" for level in levels[1:])
    return Law(
        {name: np.asarray(levels, object)[codes]}, f"C({name})", labels, dummies[codes], dummies[None], probabilities
    )


def correlated(
    rng: np.random.Generator, mean: Float, covariance: Float, names: tuple[str, ...], points: int = 2
) -> Law:
    """Draw T = mean(x) + N(0, covariance) in R^v, for `mean` (n, v).

    The nodes are mean + L s, with L L' = covariance and s in the product of `points` Gauss-Hermite nodes. With two of
    them, -1 and 1, they have the first two moments of T: the Lambda of a gaussian outcome is exact, that of another
    family needs more.
    """
    root = np.linalg.cholesky(covariance)
    treatment = mean + rng.standard_normal(mean.shape) @ root.T
    values, weights = np.polynomial.hermite_e.hermegauss(points)
    corners = np.array(list(product(values, repeat=len(names)))) @ root.T
    shares = np.array(list(product(weights / weights.sum(), repeat=len(names)))).prod(1)
    nodes = mean[:, None] + corners
    columns = dict(zip(names, treatment.T, strict=True))
    rows = np.column_stack([np.ones(len(mean)), treatment])
    nodes = np.concatenate([np.ones((*nodes.shape[:2], 1)), nodes], axis=-1)
    return Law(columns, " + ".join(names), names, rows, nodes, shares[None])


def _affine(values: Float) -> Float:
    """Return the structural rows (1, T)."""
    return np.stack([np.ones_like(values), values], axis=-1)


def draw(
    rng: np.random.Generator,
    truth: Truth,
    x: Float,
    outcome: str = "y",
    prefix: str = "x",
    fit: Mapping[str, Any] | None = None,
    more: Mapping[str, NDArray[Any]] | None = None,
) -> Simulated:
    """Draw outcomes and assemble the design; `more` are columns that are no covariates."""
    law = truth.law
    y = _outcomes(rng, truth, MEAN[truth.family](np.einsum("nd,nd->n", law.rows, truth.theta)))
    covariates = pd.DataFrame(x.astype(np.float32), columns=[f"{prefix}_{j}" for j in range(x.shape[1])])
    data = pd.concat([pd.DataFrame({outcome: y, **law.columns}), covariates, pd.DataFrame(more or {})], axis=1)
    return Simulated(
        data=data,
        formula=f"{outcome} ~ {law.term} | {prefix}_*",
        family=truth.family,
        theta=truth.theta,
        truth=dict(zip(("Intercept", *law.labels), truth.population, strict=True)),
        oracle_psi=oracle_psi(truth.family, y, law.rows, truth.theta, law.nodes, law.weights),
        fit=dict(fit or {}),
        efficient=truth.efficient,
    )


def _outcomes(rng: np.random.Generator, truth: Truth, mean: Float) -> Float:
    if truth.family == "gaussian":
        errors = truth.noise * rng.standard_normal(len(mean)) if truth.errors is None else truth.errors
        return np.asarray(mean + errors)
    if truth.family == "logit":
        return (rng.random(len(mean)) < mean).astype(np.float64)
    if truth.dispersion:
        mean = mean * rng.gamma(1 / truth.dispersion, truth.dispersion, len(mean))
    return rng.poisson(mean).astype(np.float64)

"""One confounded binary treatment and an outcome of any family.

Densities come from scipy, their derivatives from differences and their expectations from quadrature: a design must not
lean on the code that it tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from deepdml.simulate.draws import MEAN, Float, Law, Simulated, check_choice, generator, two_arms

Values = NDArray[Any]

_POINTS = 120  # of the quadrature over outcomes
_STEP = 1e-4  # of differences


@dataclass(frozen=True, slots=True)
class _Law:
    """The law of an outcome given its indices eta (..., r): the first is alpha + beta T, the rest auxiliary.

    Parameters
    ----------
    start : tuple of r floats
        Means of the indices but the treatment's part.
    draw : callable
        Takes a generator and eta (n, r), returns outcomes (n,).
    log_density : callable
        Of outcomes (..., m) given eta (..., r).
    nodes : callable
        Takes eta (m, r), returns outcomes (m, q) and their probabilities (m, q) or (q,).
    names : tuple of str
        Of the auxiliary parameters.
    """

    start: tuple[float, ...]
    draw: Callable[[np.random.Generator, Float], Values]
    log_density: Callable[[Values, Float], Float]
    nodes: Callable[[Float], tuple[Values, Float]]
    names: tuple[str, ...] = ()


def _quantiles() -> tuple[Float, Float]:
    """Return shares in (0, 1) and their weights: the trapezoid rule in the normal quantile, which likes any tail."""
    z = np.linspace(-6.5, 6.5, _POINTS)
    weights = stats.norm.pdf(z)
    return stats.norm.cdf(z), weights / weights.sum()


def _scipy(frozen: Callable[[Float], Any]) -> dict[str, Any]:
    """Return draw, log density and nodes of a continuous law of scipy."""
    shares, weights = _quantiles()

    def nodes(eta: Float) -> tuple[Values, Float]:
        values = frozen(eta[:, None]).ppf(shares)
        low, high = frozen(eta[:1]).support()
        # quantiles far out in a tail round to the end of the support, where the density is not defined
        return np.clip(values, np.nextafter(low, np.inf), np.nextafter(high, -np.inf)), weights

    return {
        "draw": lambda rng, eta: frozen(eta).rvs(random_state=rng),
        "log_density": lambda y, eta: frozen(eta).logpdf(y),
        "nodes": nodes,
    }


def _counts(frozen: Callable[[Float], Any], most: int) -> dict[str, Any]:
    """Return draw, log density and nodes of a law of counts up to `most`."""
    values = np.arange(most + 1.0)

    def nodes(eta: Float) -> tuple[Values, Float]:
        return np.broadcast_to(values, (len(eta), most + 1)), frozen(eta[:, None]).pmf(values)

    return {
        "draw": lambda rng, eta: frozen(eta).rvs(random_state=rng).astype(np.float64),
        "log_density": lambda y, eta: frozen(eta).logpmf(y),
        "nodes": nodes,
    }


def _levels(probabilities: Callable[[Float], Float], n: int) -> dict[str, Any]:
    """Return draw, log density and nodes of a choice among n levels 0, 1, ..."""

    def log_density(y: Values, eta: Float) -> Float:
        share = probabilities(eta)
        shape = np.broadcast_shapes(np.shape(y), share.shape[:-1])
        codes = np.broadcast_to(y, shape).astype(int)
        return np.log(np.take_along_axis(np.broadcast_to(share, (*shape, n)), codes[..., None], -1)[..., 0])

    return {
        "draw": lambda rng, eta: (rng.random(len(eta))[:, None] > probabilities(eta).cumsum(1)[:, :-1]).sum(1) * 1.0,
        "log_density": log_density,
        "nodes": lambda eta: (np.broadcast_to(np.arange(n), (len(eta), n)), probabilities(eta)),
    }


def _negbin(eta: Float) -> Any:
    size = np.exp(-eta[..., 1])
    return stats.nbinom(size, size / (size + np.exp(eta[..., 0])))


def _weibull(eta: Float) -> Any:
    return stats.weibull_min(np.exp(eta[..., 1]), scale=np.exp(eta[..., 0]))


def _beta(eta: Float) -> Any:
    mean, precision = special.expit(eta[..., 0]), np.exp(eta[..., 1])
    return stats.beta(mean * precision, (1 - mean) * precision)


class _Inflated:
    """A Poisson count, or zero; with the methods of a law of scipy that are used here."""

    def __init__(self, eta: Float) -> None:
        self.mean, self.share = np.exp(eta[..., 0]), special.expit(eta[..., 1])

    def pmf(self, y: Values) -> Float:
        return np.asarray(self.share * (y == 0) + (1 - self.share) * stats.poisson.pmf(y, self.mean))

    def logpmf(self, y: Values) -> Float:
        return np.log(self.pmf(y))

    def rvs(self, random_state: np.random.Generator) -> Values:
        keep = random_state.random(self.mean.shape) >= self.share
        return np.asarray(keep * random_state.poisson(self.mean))


def _tobit() -> dict[str, Any]:
    latent = _scipy(lambda eta: stats.norm(eta[..., 0], np.exp(eta[..., 1])))

    def log_density(y: Values, eta: Float) -> Float:
        law = stats.norm(eta[..., 0], np.exp(eta[..., 1]))
        return np.asarray(np.where(y > 0, law.logpdf(y), law.logcdf(0.0)))

    def nodes(eta: Float) -> tuple[Values, Float]:
        # the censored part as one point, the rest by quantiles above it
        law = stats.norm(eta[:, :1], np.exp(eta[:, 1:]))
        below = law.cdf(0.0)
        shares, weights = _quantiles()
        values = law.isf((1 - below) * (1 - shares))
        return np.hstack([np.zeros((len(eta), 1)), values]), np.hstack([below, (1 - below) * weights])

    return {
        "draw": lambda rng, eta: np.maximum(latent["draw"](rng, eta), 0.0),
        "log_density": log_density,
        "nodes": nodes,
    }


def _ordered(eta: Float) -> Float:
    above = np.stack([special.expit(eta[..., 0]), special.expit(eta[..., 0] - np.exp(eta[..., 1]))], -1)
    return np.stack([1 - above[..., 0], above[..., 0] - above[..., 1], above[..., 1]], -1)


_LAWS: dict[str, _Law] = {
    "probit": _Law((-0.2,), **_levels(lambda eta: np.concatenate([stats.norm.sf(eta), stats.norm.cdf(eta)], -1), 2)),
    "negbin": _Law((0.6, -0.7), **_counts(_negbin, 400), names=("log(alpha)",)),
    "zip": _Law((0.8, -0.8), **_counts(_Inflated, 60), names=("logit(inflation)",)),
    "gamma": _Law(
        (0.5, 0.7),
        **_scipy(lambda eta: stats.gamma(np.exp(eta[..., 1]), scale=np.exp(eta[..., 0] - eta[..., 1]))),
        names=("log(shape)",),
    ),
    "beta": _Law((0.2, 1.8), **_scipy(_beta), names=("log(precision)",)),
    "gumbel": _Law(
        (1.0, 0.0),
        **_scipy(lambda eta: stats.gumbel_r(eta[..., 0], np.exp(eta[..., 1]))),
        names=("log(scale)",),
    ),
    "weibull": _Law(
        (0.5, 0.4),
        **_scipy(_weibull),
        names=("log(shape)",),
    ),
    "gaussian_scale": _Law(
        (1.0, 0.0), **_scipy(lambda eta: stats.norm(eta[..., 0], np.exp(eta[..., 1]))), names=("log(sigma)",)
    ),
    "tobit": _Law((0.7, 0.0), **_tobit(), names=("log(sigma)",)),
    "ordered_logit": _Law((0.5, 0.3), **_levels(_ordered, 3), names=("log(cut2 - cut1)",)),
}


OUTCOMES = tuple(_LAWS)


def outcome(n: int = 6_000, seed: int | None = None, family: str = "negbin") -> Simulated:
    """Binary treatment with a smooth propensity, six covariates, and an outcome of a family with all its parameters.

    X ~ N(0, I_6); P(T = 1) = 1 / (1 + exp(-(0.7 sin(x1) + 0.5 x2 - 0.3 x1 x3)));
    the first index is a + 0.5 sin(x1) + 0.3 x2 + (0.5 + 0.3 tanh(x1) + 0.2 x3) T;
    the auxiliary parameter is c + 0.3 sin(x2) + 0.2 x4. Population means: a, 0.5 and c, with (a, c) by family:
    negbin (0.6, -0.7), zip (0.8, -0.8), gamma (0.5, 0.7), beta (0.2, 1.8), gumbel (1, 0), weibull (0.5, 0.4),
    gaussian_scale (1, 0), tobit censored at 0 (0.7, 0), ordered_logit with three levels (0.5, 0.3), probit (-0.2).

    Parameters
    ----------
    n, seed
        As in `wages`.
    family : str
        One of those.

    References
    ----------
    Written for deepdml.
    """
    check_choice("family", family, _LAWS)
    law = _LAWS[family]
    rng = generator(n, seed)
    rows = _rows(rng, n, law)
    y = law.draw(rng, _indices(rows.theta, rows.arms.rows))
    return Simulated(
        data=_frame({"y": y}, rows),
        formula="y ~ t | x_*",
        family=family,
        theta=rows.theta,
        truth=_truth(law),
        oracle_psi=_oracle(law, y, rows.theta, rows.arms.rows, rows.arms.weights),
    )


def durations(n: int = 6_000, seed: int | None = None) -> Simulated:
    """Right-censored Weibull durations: `outcome` of family "weibull", of which the end of the study cuts some.

    Covariates, treatment, duration Y and population means are those of `outcome`: 0.5 for the intercept and the
    treatment, 0.4 for log(shape). The end of the study is C = exp(1.6 + 0.3 sin(x1) - 0.2 x2) E with E standard
    exponential, independent of Y given x; time = min(Y, C), event = 1 if Y <= C, which holds for two rows in three.

    Parameters
    ----------
    n, seed
        As in `wages`.

    References
    ----------
    Written for deepdml.
    """
    law = _LAWS["weibull"]
    rng = generator(n, seed)
    rows = _rows(rng, n, law)
    duration = law.draw(rng, _indices(rows.theta, rows.arms.rows))
    mean = np.exp(1.6 + 0.3 * np.sin(rows.x[:, 0]) - 0.2 * rows.x[:, 1])
    end = mean * rng.exponential(size=n)
    time, event = np.minimum(duration, end), duration <= end
    return Simulated(
        data=_frame({"time": time, "event": event * 1.0}, rows),
        formula="Surv(time, event) ~ t | x_*",
        family="weibull",
        theta=rows.theta,
        truth=_truth(law),
        oracle_psi=_censored_oracle(time, event, mean, rows),
    )


def choices(n: int = 6_000, seed: int | None = None) -> Simulated:
    """Binary treatment with a smooth propensity, six covariates, and a choice among three by multinomial logit.

    X and T as in `outcome`; P(y = j) is proportional to exp(u_j) with u_a = 0,
    u_b = 0.3 + 0.5 sin(x1) + 0.3 x2 + (0.5 + 0.3 tanh(x1) + 0.2 x3) T and
    u_c = -0.2 + 0.4 x2 - 0.3 sin(x3) + (-0.4 + 0.3 tanh(x2) + 0.2 x1) T. Population means: 0.3, 0.5, -0.2 and -0.4.

    Parameters
    ----------
    n, seed
        As in `wages`.

    References
    ----------
    Written for deepdml.
    """
    rng = generator(n, seed)
    x = rng.standard_normal((n, 6))
    theta = np.column_stack(
        [
            0.3 + 0.5 * np.sin(x[:, 0]) + 0.3 * x[:, 1],
            0.5 + 0.3 * np.tanh(x[:, 0]) + 0.2 * x[:, 2],
            -0.2 + 0.4 * x[:, 1] - 0.3 * np.sin(x[:, 2]),
            -0.4 + 0.3 * np.tanh(x[:, 1]) + 0.2 * x[:, 0],
        ]
    )
    rows = _Rows(x, theta, _arms(rng, x))
    share = _shares(theta, rows.arms.rows)
    y = (rng.random(n)[:, None] > share.cumsum(1)[:, :-1]).sum(1)
    return Simulated(
        data=_frame({"y": np.array(["a", "b", "c"])[y]}, rows),
        formula="y ~ t | x_*",
        family="mnlogit",
        theta=theta,
        truth={"Intercept[b]": 0.3, "t[b]": 0.5, "Intercept[c]": -0.2, "t[c]": -0.4},
        oracle_psi=_choice_oracle(y, share, rows),
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """Covariates (n, 6), true theta (n, k) and the treatment of a draw."""

    x: Float
    theta: Float
    arms: Law


def _rows(rng: np.random.Generator, n: int, law: _Law) -> _Rows:
    """Draw everything but the outcome."""
    x = rng.standard_normal((n, 6))
    alpha = law.start[0] + 0.5 * np.sin(x[:, 0]) + 0.3 * x[:, 1]
    beta = 0.5 + 0.3 * np.tanh(x[:, 0]) + 0.2 * x[:, 2]
    more = [c + 0.3 * np.sin(x[:, 1]) + 0.2 * x[:, 3] for c in law.start[1:]]
    return _Rows(x, np.column_stack([alpha, beta, *more]), _arms(rng, x))


def _arms(rng: np.random.Generator, x: Float) -> Law:
    return two_arms(rng, MEAN["logit"](0.7 * np.sin(x[:, 0]) + 0.5 * x[:, 1] - 0.3 * x[:, 0] * x[:, 2]))


def _truth(law: _Law) -> dict[str, float]:
    return dict(zip(("Intercept", "t", *law.names), (law.start[0], 0.5, *law.start[1:]), strict=True))


def _frame(outcome: dict[str, Values], rows: _Rows) -> pd.DataFrame:
    covariates = pd.DataFrame(rows.x.astype(np.float32), columns=[f"x_{j}" for j in range(6)])
    return pd.concat([pd.DataFrame({**outcome, **rows.arms.columns}), covariates], axis=1)


def _indices(theta: Float, rows: Float) -> Float:
    """Return eta (n, r) at structural rows (n, 2)."""
    return np.column_stack([np.einsum("nd,nd->n", rows, theta[:, :2]), theta[:, 2:]])


def _scores(log_density: Callable[[Values, Float], Float], y: Values, eta: Float) -> Float:
    """Return the derivative (..., r) of minus the log density in eta (..., r), by central differences."""
    units = np.eye(eta.shape[-1])
    return np.stack(
        [(log_density(y, eta - _STEP * u) - log_density(y, eta + _STEP * u)) / (2 * _STEP) for u in units], -1
    )


def _oracle(law: _Law, y: Values, theta: Float, rows: Float, weights: Float) -> Float:
    """Return theta - Lambda(x)^{-1} score under the true law; the information is the mean outer product of scores."""
    n, k = theta.shape
    matrix = np.zeros((n, k, k))
    for arm, share in enumerate(weights.T):
        row = np.tile([1.0, float(arm)], (n, 1))
        eta = _indices(theta, row)
        values, mass = law.nodes(eta)
        matrix += share[:, None, None] * _outer(_scores(law.log_density, values, eta[:, None]), row, mass)
    score = _spread(_scores(law.log_density, y, _indices(theta, rows)), rows)
    return np.asarray(theta - np.linalg.solve(matrix, score[..., None])[..., 0])


def _censored_oracle(time: Float, event: Values, mean: Float, rows: _Rows) -> Float:
    """Return theta - Lambda(x)^{-1} score of durations that an exponential variable of mean `mean` (n,) censors.

    The information sums over durations that end before it, and over its own values that the duration outlasts.
    """
    theta, t = rows.theta, rows.arms.rows
    n, k = theta.shape
    shares, weights = _quantiles()
    end = stats.expon(scale=mean[:, None])
    matrix = np.zeros((n, k, k))
    for arm, share in enumerate(rows.arms.weights.T):
        row = np.tile([1.0, float(arm)], (n, 1))
        eta = _indices(theta, row)[:, None]
        values, law = (_weibull(eta).ppf(shares), end.ppf(shares)), _weibull(eta)
        parts = (
            _outer(_scores(_log_density, values[0], eta), row, weights * end.sf(values[0])),
            _outer(_scores(_log_survival, values[1], eta), row, weights * law.sf(values[1])),
        )
        matrix += share[:, None, None] * (parts[0] + parts[1])
    eta = _indices(theta, t)
    ended, lasting = (_scores(function, time, eta) for function in (_log_density, _log_survival))
    score = _spread(np.where(event[:, None], ended, lasting), t)
    return np.asarray(theta - np.linalg.solve(matrix, score[..., None])[..., 0])


def _log_density(y: Values, eta: Float) -> Float:
    return np.asarray(_weibull(eta).logpdf(y))


def _log_survival(y: Values, eta: Float) -> Float:
    return np.asarray(_weibull(eta).logsf(y))


def _shares(theta: Float, row: Float) -> Float:
    """Return the probabilities (n, 3) of three levels at structural rows (n, 2)."""
    utility = np.einsum("njd,nd->nj", theta.reshape(-1, 2, 2), row)
    return np.asarray(special.softmax(np.column_stack([np.zeros(len(row)), utility]), axis=1))


def _choice_oracle(y: Values, share: Float, rows: _Rows) -> Float:
    """Return theta - Lambda(x)^{-1} score; the hessian is (diag(s) - s s') kron t t', s the shares but the first."""
    theta = rows.theta
    matrix = np.zeros((len(theta), 4, 4))
    for arm, chance in enumerate(rows.arms.weights.T):
        row = np.tile([1.0, float(arm)], (len(theta), 1))
        s = _shares(theta, row)[:, 1:]
        second = s[:, :, None] * np.eye(2) - s[:, :, None] * s[:, None, :]
        matrix += chance[:, None, None] * np.einsum("njk,nd,ne->njdke", second, row, row).reshape(-1, 4, 4)
    residual = share[:, 1:] - (y[:, None] == [1, 2])
    score = np.einsum("nj,nd->njd", residual, rows.arms.rows).reshape(-1, 4)
    return np.asarray(theta - np.linalg.solve(matrix, score[..., None])[..., 0])


def _outer(score: Float, row: Float, mass: Float) -> Float:
    """Return the sum (n, k, k) of outer products of scores in eta (n, q, r) at structural rows (n, 2), by mass."""
    spread = _spread(score, row[:, None])
    return np.asarray(np.einsum("nqk,nql,nq->nkl", spread, spread, np.broadcast_to(mass, spread.shape[:2])))


def _spread(score: Float, rows: Float) -> Float:
    """Return scores in eta (..., r) as scores in theta (..., k)."""
    return np.concatenate([score[..., :1] * np.broadcast_to(rows, (*score.shape[:-1], 2)), score[..., 1:]], -1)

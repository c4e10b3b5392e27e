"""One treatment, confounded in ways from smooth to hard, with errors from homoskedastic to overdispersed."""

from __future__ import annotations

import numpy as np

from deepdml.errors import OptionError, refuse_no_number
from deepdml.simulate.draws import (
    MEAN,
    FamilyName,
    Simulated,
    Truth,
    check_choice,
    continuous,
    draw,
    generator,
    toeplitz_normal,
    two_arms,
)

_SMOOTH = {"gaussian": (1.0, 1.0, 1.0), "logit": (0.0, 0.7, 1.0), "poisson": (0.5, 0.2, 0.5)}
_BINARY = {"gaussian": (0.0, 1.0, 1.0), "logit": (-0.3, 0.6, 0.5), "poisson": (0.2, 0.3, 0.3)}


def smooth(
    n: int = 5_000, seed: int | None = None, family: FamilyName = "gaussian", *, dispersion: float = 0.0
) -> Simulated:
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
    dispersion : float
        Counts only: the mean is multiplied by a gamma variable of mean one and this variance, so that
        Var(y | x, T) = m + dispersion m^2 and the poisson likelihood is wrong but for its mean.

    Raises
    ------
    OptionError
        For another family, or a dispersion that is negative or of no count.

    References
    ----------
    Written for deepdml after the "smooth confounding" designs of its first prototype.
    """
    check_choice("family", family, _SMOOTH)
    refuse_no_number("dispersion", dispersion, "one number, a variance")
    if dispersion < 0 or (dispersion and family != "poisson"):
        raise OptionError(f"dispersion={dispersion!r} with family {family!r}; it is 0, or positive for poisson.")
    rng = generator(n, seed)
    x = rng.standard_normal((n, 10))
    level, slope, scale = _SMOOTH[family]
    common = 0.6 * np.sin(x[:, 0]) + 0.4 * x[:, 1]
    alpha = level + scale * (common + 0.2 * (x[:, 2] ** 2 - 1))
    beta = slope + scale * (0.4 * np.tanh(x[:, 0]) + 0.3 * np.cos(x[:, 1]))
    law = continuous(rng, common + 0.3 * x[:, 2] * x[:, 3], 0.8)
    population = level, slope + 0.3 * scale * float(np.exp(-0.5))
    theta = np.column_stack([alpha, beta])
    return draw(rng, Truth(family, theta, law, population, dispersion=dispersion, efficient=not dispersion), x)


def heteroskedastic(n: int = 5_000, seed: int | None = None) -> Simulated:
    """Errors and a treatment whose spread depends on the covariates.

    The X, e, alpha and beta of the gaussian `smooth`; T = e(x) + s(x) N(0, 1) with s = 0.4 + 0.8 / (1 + exp(-x2));
    y = alpha + beta T + v N(0, 1) with v = (0.4 + 0.6 |x1|) sqrt((1 + u^2) / 2), u = (T - e) / s.
    Population means: 1, and 1 + 0.3 exp(-1/2). The oracle psi is that of the unweighted gaussian loss, which is not
    efficient here.

    References
    ----------
    Written for deepdml.
    """
    rng = generator(n, seed)
    x = rng.standard_normal((n, 10))
    common = 0.6 * np.sin(x[:, 0]) + 0.4 * x[:, 1]
    alpha = 1 + common + 0.2 * (x[:, 2] ** 2 - 1)
    beta = 1 + 0.4 * np.tanh(x[:, 0]) + 0.3 * np.cos(x[:, 1])
    u = rng.standard_normal(n)
    law = continuous(rng, common + 0.3 * x[:, 2] * x[:, 3], 0.4 + 0.8 * MEAN["logit"](x[:, 1]), noise=u)
    spread = (0.4 + 0.6 * np.abs(x[:, 0])) * np.sqrt((1 + u**2) / 2)
    errors = spread * rng.standard_normal(n)
    population = 1.0, 1 + 0.3 * float(np.exp(-0.5))
    theta = np.column_stack([alpha, beta])
    return draw(rng, Truth("gaussian", theta, law, population, errors=errors, efficient=False), x)


def binary(n: int = 4_000, seed: int | None = None, family: FamilyName = "gaussian") -> Simulated:
    """Binary treatment with a non-linear propensity in (0.05, 0.95) and twenty correlated covariates.

    X ~ N(0, S), S_jk = 0.5^|j-k|, p = 20;
    P(T = 1) = 0.05 + 0.9 / (1 + exp(-g)), g = 0.8 x1 + 0.5 (x2^2 - 1) - 0.6 x3 x4;
    alpha = a + s (x1 + 0.5 x2^2 + sin(x3)), beta = b + s (0.5 x1 + 0.25 x2 x3);
    (a, b, s) = (0, 1, 1) gaussian with N(0, 1) errors, (-0.3, 0.6, 0.5) logit, (0.2, 0.3, 0.3) poisson.
    Population means: a + 0.5 s and b + 0.25 * 0.5 s, 0.5 and 1.125 for the gaussian.

    Parameters
    ----------
    n, seed, family
        As in `smooth`.

    Raises
    ------
    OptionError
        For another family.

    References
    ----------
    Written for deepdml after the "binary T, non-linear propensity" design of its first prototype.
    """
    check_choice("family", family, _BINARY)
    rng = generator(n, seed)
    x = toeplitz_normal(rng, n, 20, 0.5)
    level, slope, scale = _BINARY[family]
    index = 0.8 * x[:, 0] + 0.5 * (x[:, 1] ** 2 - 1) - 0.6 * x[:, 2] * x[:, 3]
    alpha = level + scale * (x[:, 0] + 0.5 * x[:, 1] ** 2 + np.sin(x[:, 2]))
    beta = slope + scale * (0.5 * x[:, 0] + 0.25 * x[:, 1] * x[:, 2])
    law = two_arms(rng, 0.05 + 0.9 * MEAN["logit"](index))
    population = level + 0.5 * scale, slope + 0.125 * scale
    return draw(rng, Truth(family, np.column_stack([alpha, beta]), law, population), x)


def randomized(n: int = 4_000, seed: int | None = None) -> Simulated:
    """Binary treatment in a stratified experiment: the propensity differs by stratum and is known.

    The X, alpha and beta of the gaussian `binary`; P(T = 1) = 0.3 where x1 > 0 and 0.6 elsewhere, handed to the fit as
    known. Population means: 0.5 and 1.125.

    References
    ----------
    Written for deepdml.
    """
    rng = generator(n, seed)
    x = toeplitz_normal(rng, n, 20, 0.5)
    alpha = x[:, 0] + 0.5 * x[:, 1] ** 2 + np.sin(x[:, 2])
    beta = 1 + 0.5 * x[:, 0] + 0.25 * x[:, 1] * x[:, 2]
    propensity = np.where(x[:, 0] > 0, 0.3, 0.6)
    truth = Truth("gaussian", np.column_stack([alpha, beta]), two_arms(rng, propensity), (0.5, 1.125))
    return draw(rng, truth, x, fit={"treatment": propensity})


def waves(n: int = 8_000, seed: int | None = None) -> Simulated:
    """Confounding outside the span of low-order bases: fast waves and a three-way interaction.

    X ~ U(-1, 1)^8; T = e(x) + 0.5 N(0, 1) with e = 0.5 sin(6 x1) + x2 x3 x4;
    alpha = 1 + 0.7 sin(6 x1) + 2 x2 x3 x4, beta = 1 + 0.5 cos(5 x5); y = alpha + beta T + N(0, 1).
    Population means: 1, and 1 + 0.1 sin(5).

    References
    ----------
    Written for deepdml; linear models and polynomials cannot learn e(x), and a net must train long to learn it.
    """
    rng = generator(n, seed)
    x = rng.uniform(-1, 1, (n, 8))
    wave, triple = np.sin(6 * x[:, 0]), x[:, 1] * x[:, 2] * x[:, 3]
    beta = 1 + 0.5 * np.cos(5 * x[:, 4])
    theta = np.column_stack([1 + 0.7 * wave + 2 * triple, beta])
    law = continuous(rng, 0.5 * wave + triple, 0.5)
    return draw(rng, Truth("gaussian", theta, law, (1.0, 1 + 0.1 * float(np.sin(5)))), x)


def steps(n: int = 8_000, seed: int | None = None) -> Simulated:
    """Harder waves: steps, triangles and minima, which no sine and no polynomial spans.

    X ~ U(-1, 1)^8; step = sign(sin(6 x1)), low = min(x2, x3, x4) + 1/2, triangle = (2 / pi) arcsin(sin(5 x5));
    T = 0.5 step + low + 0.5 N(0, 1); alpha = 1 + 0.7 step + 2 low, beta = 1 + 0.5 triangle; y = alpha + beta T +
    N(0, 1). Population means: 1 and 1.

    References
    ----------
    Written for deepdml after the design on which its prototype failed ("steps, triangle waves and minima").
    """
    rng = generator(n, seed)
    x = rng.uniform(-1, 1, (n, 8))
    step, low = np.sign(np.sin(6 * x[:, 0])), x[:, 1:4].min(1) + 0.5
    beta = 1 + np.arcsin(np.sin(5 * x[:, 4])) / np.pi
    law = continuous(rng, 0.5 * step + low, 0.5)
    theta = np.column_stack([1 + 0.7 * step + 2 * low, beta])
    return draw(rng, Truth("gaussian", theta, law, (1.0, 1.0)), x)

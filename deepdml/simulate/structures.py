"""More than one coefficient, or rows that are not independent: arms, two treatments, clusters."""

from __future__ import annotations

import numpy as np

from deepdml.errors import OptionError, refuse_no_whole
from deepdml.simulate.draws import (
    FamilyName,
    Simulated,
    Truth,
    check_choice,
    continuous,
    correlated,
    draw,
    generator,
    several_arms,
    toeplitz_normal,
)


def arms(n: int = 6_000, seed: int | None = None) -> Simulated:
    """Three arms with propensities that depend on ten correlated covariates.

    X ~ N(0, S), S_jk = 0.5^|j-k|, p = 10; P(arm) = 0.05 + 0.85 softmax(0, g_b, g_c) over a, b, c with
    g_b = 0.6 x1 + 0.4 (x2^2 - 1), g_c = 0.5 x3 - 0.4 x1 x2;
    y = alpha + beta_b 1(b) + beta_c 1(c) + N(0, 1), alpha = x1 + 0.5 sin(2 x2) + 0.3 x3^2,
    beta_b = 0.5 + 0.4 x1 + 0.2 x2^2, beta_c = 1 + 0.5 tanh(x3).
    Population means: 0.3, 0.7 and 1.

    References
    ----------
    Written for deepdml.
    """
    rng = generator(n, seed)
    x = toeplitz_normal(rng, n, 10, 0.5)
    index = np.column_stack(
        [np.zeros(n), 0.6 * x[:, 0] + 0.4 * (x[:, 1] ** 2 - 1), 0.5 * x[:, 2] - 0.4 * x[:, 0] * x[:, 1]]
    )
    odds = np.exp(index - index.max(1, keepdims=True))
    probabilities = 0.05 + 0.85 * odds / odds.sum(1, keepdims=True)
    alpha = x[:, 0] + 0.5 * np.sin(2 * x[:, 1]) + 0.3 * x[:, 2] ** 2
    b, c = 0.5 + 0.4 * x[:, 0] + 0.2 * x[:, 1] ** 2, 1 + 0.5 * np.tanh(x[:, 2])
    law = several_arms(rng, probabilities, ("a", "b", "c"), "arm")
    return draw(rng, Truth("gaussian", np.column_stack([alpha, b, c]), law, (0.3, 0.7, 1.0)), x)


_TWO = {"gaussian": (1.0, -1.0, 0.5, 1.0), "logit": (0.0, -0.7, 0.4, 1.0), "poisson": (0.5, -0.3, 0.15, 0.5)}


def two_treatments(n: int = 6_000, seed: int | None = None, family: FamilyName = "gaussian") -> Simulated:
    """Two continuous treatments that are correlated given ten covariates.

    X ~ N(0, I_10); (price, ads) = (e_1, e_2) + N(0, [[0.64, 0.24], [0.24, 0.49]]),
    e_1 = 0.5 sin(x1) + 0.4 x2, e_2 = 0.4 tanh(x1) + 0.3 x2 x3;
    alpha = a + s (0.6 sin(x1) + 0.4 x2 + 0.3 x3), beta_1 = b + 0.4 s tanh(x2), beta_2 = c + 0.3 s cos(x1);
    (a, b, c, s) = (1, -1, 0.5, 1) gaussian with N(0, 1) errors, (0, -0.7, 0.4, 1) logit, (0.5, -0.3, 0.15, 0.5)
    poisson. Population means: a, b, and c + 0.3 s exp(-1/2).

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
    Written for deepdml.
    """
    check_choice("family", family, _TWO)
    rng = generator(n, seed)
    x = rng.standard_normal((n, 10))
    level, first, second, scale = _TWO[family]
    wave = np.sin(x[:, 0])
    mean = np.column_stack([0.5 * wave + 0.4 * x[:, 1], 0.4 * np.tanh(x[:, 0]) + 0.3 * x[:, 1] * x[:, 2]])
    alpha = level + scale * 0.6 * wave + scale * 0.4 * x[:, 1] + scale * 0.3 * x[:, 2]
    beta = first + scale * 0.4 * np.tanh(x[:, 1]), second + scale * 0.3 * np.cos(x[:, 0])
    points = 2 if family == "gaussian" else 12  # E[exp(b'T) T T'] is then exact to 1e-9 for sd(b'T) up to 1
    law = correlated(rng, mean, np.array([[0.64, 0.24], [0.24, 0.49]]), ("price", "ads"), points)
    population = level, first, second + 0.3 * scale * float(np.exp(-0.5))
    return draw(rng, Truth(family, np.column_stack([alpha, *beta]), law, population), x)


def clustered_errors(n: int = 5_000, seed: int | None = None, clusters: int = 100) -> Simulated:
    """Errors and a treatment that are correlated within clusters.

    The X, e, alpha and beta of the gaussian `smooth`, drawn row by row; `clusters` clusters of (nearly) equal size;
    T = e(x) + 0.8 (sqrt(0.3) v_g + sqrt(0.7) N(0, 1)), y = alpha + beta T + sqrt(0.3) u_g + sqrt(0.7) N(0, 1) with
    v_g, u_g ~ N(0, 1) by cluster: intraclass correlation 0.3 of both. Population means: 1, and 1 + 0.3 exp(-1/2).
    The fit is told of the column `cluster`, which is no covariate. The oracle psi has the law of T given x alone, so
    its variance is not that of independent rows, and no bound.

    Parameters
    ----------
    n, seed
        As in `wages`.
    clusters : int
        Clusters, at most n.

    Raises
    ------
    OptionError
        For more clusters than rows, or none.

    References
    ----------
    Written for deepdml.
    """
    rng = generator(n, seed)
    refuse_no_whole("clusters", clusters, 1)
    if clusters > n:
        raise OptionError(f"clusters is {clusters}; it must lie between 1 and the number of rows, {n:,}.")
    x = rng.standard_normal((n, 10))
    cluster = np.arange(n) % clusters
    noise = [
        np.sqrt(0.3) * rng.standard_normal(clusters)[cluster] + np.sqrt(0.7) * rng.standard_normal(n) for _ in range(2)
    ]
    common = 0.6 * np.sin(x[:, 0]) + 0.4 * x[:, 1]
    theta = np.column_stack([1 + common + 0.2 * (x[:, 2] ** 2 - 1), 1 + 0.4 * np.tanh(x[:, 0]) + 0.3 * np.cos(x[:, 1])])
    law = continuous(rng, common + 0.3 * x[:, 2] * x[:, 3], 0.8, noise=noise[0])
    population = 1.0, 1 + 0.3 * float(np.exp(-0.5))
    truth = Truth("gaussian", theta, law, population, errors=noise[1], efficient=False)
    fit = {"cov_type": "cluster", "cov_kwds": {"groups": "cluster"}}
    return draw(rng, truth, x, fit=fit, more={"cluster": cluster})

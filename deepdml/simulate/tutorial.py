"""The embedding tutorial's designs with the moments that it prints: heterogeneity that is small against the noise."""

from __future__ import annotations

from typing import Literal

import numpy as np

from deepdml.simulate.draws import MEAN, Float, Simulated, Truth, check_choice, continuous, draw, generator, two_arms

Confounding = Literal["linear", "shared"]

_COLUMNS = 64
_TANH_SD = 0.6279287  # of tanh(Z), Z ~ N(0, 1)


def tutorial_wages(n: int = 10_000, seed: int | None = None, confounding: Confounding = "linear") -> Simulated:
    """Log wage on years of experience, with returns that differ little between jobs.

    X ~ N(0, I_64); g = (x1 + x2 + x3 + x4 + tanh(x5) / sd(tanh(x5)) + x5 x6) / sqrt(6) and
    h = (x1 + x2 + x7) / sqrt(3), of mean 0 and variance 1; T = 15 + 10 (sqrt(.3) h + sqrt(.7) N(0, 1)), so R2 of T
    given x is .3; alpha = 2 + .2 h, beta = .030 + .019 g in log points a year; y = alpha + beta T + .3 N(0, 1).
    Population means: 2 and .030. T is normal to hold its moments, and so negative in 7 per cent of the rows.

    Parameters
    ----------
    n, seed
        As in `wages`.
    confounding : {"linear", "shared"}
        With "shared", h = (g + x7) / sqrt(2): what is hard to learn of the effect, a tanh and an interaction of two of
        64 columns, moves level and treatment as well, and errors of the nuisances go together.

    Raises
    ------
    OptionError
        For another confounding.

    References
    ----------
    The moments of the tutorial of deep-inference 0.2.0: beta of mean .030 and sd .019, T of mean 15 and sd 10, error sd
    .3. Alpha, g and how T depends on x are ours.
    """
    rng = generator(n, seed)
    x = rng.standard_normal((n, _COLUMNS))
    g, h = _indices(x, confounding)
    law = continuous(rng, 15 + 10 * np.sqrt(0.3) * h, 10 * np.sqrt(0.7), "experience")
    theta = np.column_stack([2 + 0.2 * h, 0.030 + 0.019 * g])
    return draw(rng, Truth("gaussian", theta, law, (2.0, 0.030), noise=0.3), x, "log_wage", "emb")


def tutorial_citations(n: int = 12_000, seed: int | None = None, confounding: Confounding = "linear") -> Simulated:
    """Citations on open access, with multipliers that differ between papers.

    The X, g and h of `tutorial_wages`; P(T = 1) = .1 + .8 / (1 + exp(-h)); alpha = 1 + .3 h, beta = .297 + .415 g in
    log points; y ~ Poisson(exp(alpha + beta T)), about 4 on average. Population means: 1 and .297.

    Parameters
    ----------
    n, seed, confounding
        As in `tutorial_wages`.

    Raises
    ------
    OptionError
        For another confounding.

    References
    ----------
    As for `tutorial_wages`: beta of mean .297 and sd .415, a mean count of 4, propensities within (.1, .9).
    """
    rng = generator(n, seed)
    x = rng.standard_normal((n, _COLUMNS))
    g, h = _indices(x, confounding)
    law = two_arms(rng, 0.1 + 0.8 * MEAN["logit"](h), "open_access")
    theta = np.column_stack([1 + 0.3 * h, 0.297 + 0.415 * g])
    return draw(rng, Truth("poisson", theta, law, (1.0, 0.297)), x, "citations", "emb")


def _indices(x: Float, confounding: Confounding) -> tuple[Float, Float]:
    """Return g, which moves the effect, and h, which moves level and treatment."""
    check_choice("confounding", confounding, ("linear", "shared"))
    g = (x[:, :4].sum(1) + np.tanh(x[:, 4]) / _TANH_SD + x[:, 4] * x[:, 5]) / np.sqrt(6)
    if confounding == "linear":
        return g, (x[:, 0] + x[:, 1] + x[:, 6]) / np.sqrt(3)
    return g, (g + x[:, 6]) / np.sqrt(2)

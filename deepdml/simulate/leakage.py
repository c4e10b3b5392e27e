"""Embeddings that reveal the treatment: part of the vector encodes what happened, not why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deepdml.errors import OptionError, refuse_no_number
from deepdml.simulate.draws import MEAN, Simulated, Truth, draw, generator, two_arms

_MAP_SEED = 1968  # of the map from what texts are about to columns, drawn once
_WIDTH = 64


def leaky_text(n: int = 2_000, seed: int | None = None, *, leak: float = 2.0, confounding: float = 0.0) -> Simulated:
    """Binary treatment, known confounders, and text-like embeddings, part of which encodes the realized treatment.

    x ~ N(0, I_3), the known confounders; f ~ N(0, I_5), what a text is about;
    P(T = 1) = 0.1 + 0.8 / (1 + exp(-(x1 - 0.5 x2 + confounding (f1 + f2)))), within (0.1, 0.9);
    emb = f A + leak (T - 1/2) v + 0.5 N(0, I_64), A (5, 64) of N(0, 1/5) and v a direction of length one, both drawn
    once from a seed of their own. The density of emb along v is that of N(+-leak / 2, 1/4) apart from f, so a leak of 2
    tells the treatment with an AUC of .998, and one of 0 nothing.
    alpha = 1 + x1 - 0.5 x2 + f1 + f2 + 0.5 f3, beta = 1 + 0.3 tanh(x1) + 0.3 tanh(f4); y = alpha + beta T + N(0, 1).
    Population means: 1 and 1.

    The text confounds only if `confounding` is not zero; without it, leaving the text out costs precision alone. The
    oracle psi, and `theta`, are those of the law of T given x and f: what the embedding says without its leak.

    Parameters
    ----------
    n, seed
        As in `wages`.
    leak : float
        Distance of the arms along v, against a noise of 0.5.
    confounding : float
        What f1 and f2 do to the treatment, in log-odds.

    Raises
    ------
    OptionError
        For a negative leak.

    References
    ----------
    Written for deepdml. Daoud, Johansson & Jerzak, "Detecting and Mitigating Treatment Leakage in Text-Based Causal
    Inference" (2025), for the problem.
    """
    refuse_no_number("leak", leak, "one number, the distance of the arms")
    refuse_no_number("confounding", confounding, "one number, in log-odds")
    if leak < 0:
        raise OptionError(f"leak={leak!r}; it is a distance, 0 or more.")
    rng, fixed = generator(n, seed), np.random.default_rng(_MAP_SEED)
    loadings, direction = fixed.standard_normal((5, _WIDTH)) / np.sqrt(5), fixed.standard_normal(_WIDTH)
    x, f = rng.standard_normal((n, 3)), rng.standard_normal((n, 5))
    index = x[:, 0] - 0.5 * x[:, 1] + confounding * (f[:, 0] + f[:, 1])
    law = two_arms(rng, 0.1 + 0.8 * MEAN["logit"](index))
    shown = leak * (law.columns["t"] - 0.5)[:, None] * direction / np.linalg.norm(direction)
    embedding = f @ loadings + shown + 0.5 * rng.standard_normal((n, _WIDTH))
    alpha = 1 + x[:, 0] - 0.5 * x[:, 1] + f[:, 0] + f[:, 1] + 0.5 * f[:, 2]
    beta = 1 + 0.3 * np.tanh(x[:, 0]) + 0.3 * np.tanh(f[:, 3])
    truth = Truth("gaussian", np.column_stack([alpha, beta]), law, (1.0, 1.0))
    known = {f"x_{j}": column.astype(np.float32) for j, column in enumerate(x.T)}
    drawn = draw(rng, truth, embedding, prefix="emb", more=known)
    return replace(drawn, formula="y ~ t | x_* + emb_*")

"""Erasures: maps of embeddings after which the treatment is harder to predict, fitted on some rows, applied to any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepdml.leakage.concept import Float
from deepdml.leakage.ridge import fit_ridge

_RANK = 1e-10  # eigenvalues below this share of the largest are directions in which nothing varies


@dataclass(frozen=True, slots=True)
class Erasure:
    """The map x -> x - (x - mean) reading writing, with noise on the coordinates read if it is not complete.

    Parameters
    ----------
    mean : (p,) array
    reading : (p, r) array
        What the coordinates to be removed are read with.
    writing : (r, p) array
        How the embedding changes with them.
    strength : float
        Share of the variance of each coordinate that is replaced: at 1 the coordinates are set to their mean, below it
        a coordinate c becomes (1 - s) c + sqrt(s (1 - s)) e with e ~ N(0, 1), whose squared correlation with c is
        1 - s. Shrinking c alone would remove nothing: a learner undoes it by rescaling.
    """

    mean: Float
    reading: Float
    writing: Float
    strength: float = 1.0

    def __call__(self, x: Float, rng: np.random.Generator) -> Float:
        """Return the embedding (n, p) without what is erased."""
        coordinates = (x - self.mean) @ self.reading
        noise = rng.standard_normal(coordinates.shape) * np.sqrt(self.strength * (1 - self.strength))
        return np.asarray(x - (self.strength * coordinates - noise) @ self.writing)


def leace(x: Float, z: Float, strength: float) -> Erasure:
    """Fit the least-squares concept erasure of z (n, k) from x (n, p).

    With W the inverse square root of Cov(x) and P the orthogonal projection on the columns of W Cov(x, z),
    r(x) = x - W^+ P W (x - E x) has no covariance with z, so that no linear predictor of z is better than a constant,
    and is the closest such map to x in every quadratic norm.

    References
    ----------
    Belrose et al., "LEACE: Perfect linear concept erasure in closed form" (NeurIPS 2023), theorem 4.3. The strength is
    ours.
    """
    mean = x.mean(0)
    centred = x - mean
    eigenvalues, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    kept = eigenvalues > _RANK * max(eigenvalues[-1], np.finfo(float).tiny)
    roots, basis = np.sqrt(eigenvalues[kept]), vectors[:, kept]
    whitening, unwhitening = basis / roots, roots[:, None] * basis.T
    directions = _orthonormal(whitening.T @ (centred.T @ (z - z.mean(0)) / len(x)))
    return Erasure(mean, whitening @ directions, directions.T @ unwhitening, strength)


def inlp(x: Float, z: Float, strength: float, rounds: int) -> Erasure:
    """Fit iterative nullspace projection: `strength` times `rounds` times, classify z and project its weights out.

    The classifier is a ridge regression on standardized columns.

    References
    ----------
    Ravfogel et al., "Null It Out: Guarding Protected Attributes by Iterative Nullspace Projection" (ACL 2020).
    """
    mean, sd = x.mean(0), x.std(0)
    sd = np.where(sd > 0, sd, 1.0)
    u = (x - mean) / sd
    removed = np.empty((x.shape[1], 0))
    for _ in range(round(strength * rounds)):
        left = u - u @ removed @ removed.T
        classifier = fit_ridge(left, z)
        weights = classifier.coefficients / classifier.sd[:, None]
        weights -= removed @ (removed.T @ weights)
        removed = np.column_stack([removed, _orthonormal(weights)])
    return Erasure(mean, removed / sd[:, None], removed.T * sd)


def salience(x: Float, z: Float) -> Float:
    """Return how much each column (p,) says to a linear classifier of z: the norm of its standardized coefficients."""
    return np.asarray(np.linalg.norm(fit_ridge(x, z).coefficients, axis=1))


def _orthonormal(columns: Float) -> Float:
    """Return an orthonormal basis of the columns' span."""
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, values > _RANK * max(values.max(initial=0.0), np.finfo(float).tiny)])

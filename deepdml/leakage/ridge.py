"""Ridge regression with the penalty that predicts left-out rows best: the linear classifier of probes and erasures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepdml.leakage.concept import Float

_PENALTIES = np.logspace(
    -5, 2, 15
)  # times the mean eigenvalue of the Gram matrix; ends are no penalty and nothing left
_TINY = 1e-10  # a column whose standard deviation is this share of the largest does not vary


@dataclass(frozen=True, slots=True)
class Ridge:
    """Predictions ``(x - mean) / sd @ coefficients + level``.

    Parameters
    ----------
    mean, sd : (p,) arrays
        Of the columns; sd is infinite for a column that does not vary.
    coefficients : (p, k) array
    level : (k,) array
    """

    mean: Float
    sd: Float
    coefficients: Float
    level: Float

    def __call__(self, x: Float) -> Float:
        """Return predictions (n, k)."""
        return np.asarray((x - self.mean) / self.sd @ self.coefficients + self.level)


def scale_of(x: Float) -> tuple[Float, Float]:
    """Return means and standard deviations of columns, infinite where a column does not vary."""
    mean, sd = x.mean(0), x.std(0)
    return mean, np.where(sd > _TINY * sd.max(initial=0.0), sd, np.inf)


def fit_ridge(x: Float, z: Float) -> Ridge:
    """Fit z (n, k) on x (n, p), with the penalty that has the least squared error of left-out rows."""
    mean, sd = scale_of(x)
    u, level = (x - mean) / sd, z.mean(0)
    residual = z - level
    eigenvalues, vectors = np.linalg.eigh(u.T @ u)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    scores = u @ vectors
    moments = scores.T @ residual
    best, error = np.zeros_like(moments), np.inf
    for penalty in _PENALTIES * max(eigenvalues.mean(), np.finfo(float).tiny):
        shrunk = 1 / (eigenvalues + penalty)
        coefficients = shrunk[:, None] * moments
        left_out = 1 - np.einsum("np,np,p->n", scores, scores, shrunk) - 1 / len(x)
        press = float((((residual - scores @ coefficients) / np.maximum(left_out, 1e-8)[:, None]) ** 2).mean())
        if press < error:
            best, error = coefficients, press
    return Ridge(mean, sd, vectors @ best, level)

"""The orthogonal influence values psi, and what the learning layer hands over: plain float64 numpy arrays.

Nothing here imports torch: Results and everything after it compute from these arrays, also after loading.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DiscreteLaw:
    """Law of the structural row given x for a treatment with finitely many levels.

    Parameters
    ----------
    levels : (m, d) array
        The distinct structural rows.
    probabilities : (n, m) array
        Cross-fitted P(t = level | x), as used (after clipping); one row repeated by broadcasting if known and constant.
    """

    levels: Float
    probabilities: Float

    def nodes(self, rows: slice) -> tuple[Float, Float]:
        """Return structural rows (1, m, d) and their weights (n_rows, m) for the rows of a slice."""
        return self.levels[None], self.probabilities[rows]


def interpolate(value: Float, grid: Float, table: Float) -> Float:
    """Return functions tabulated at a grid (g,) as `table` (g, d) at values (...), (..., d).

    Linear between grid points and constant beyond them: what `numpy.interp` gives column by column, to the bit, with
    one search for all of them.
    """
    slopes = np.zeros_like(table)
    slopes[:-1] = np.diff(table, axis=0) / np.diff(grid)[:, None]
    inside = np.clip(value, grid[0], grid[-1])
    cell = np.searchsorted(grid, inside, side="right") - 1
    out = slopes[cell]
    out *= (inside - grid[cell])[..., None]
    out += table[cell]
    return out


@dataclass(frozen=True, slots=True)
class LocationScaleLaw:
    """Law of the structural row given x for a continuous treatment: T = mean(x) + scale(x) u.

    Parameters
    ----------
    mean, scale : (n,) arrays
        Cross-fitted conditional mean and standard deviation of T, in the units of T.
    residuals, weights : (m,) arrays
        Nodes u and their probabilities.
    grid : (g,) array
        Increasing values of T at which the structural row is tabulated.
    grid_rows : (g, d) array
        Structural rows at `grid`; between them linear interpolation, outside them the end rows where the map is
        not affine, the affine map where it is.
    affine : bool
        Whether every structural column is an affine function of T; then two grid points define it.
    """

    mean: Float
    scale: Float
    residuals: Float
    weights: Float
    grid: Float
    grid_rows: Float
    affine: bool

    def nodes(self, rows: slice) -> tuple[Float, Float]:
        """Return structural rows (n_rows, m, d) and their weights (1, m) for the rows of a slice."""
        value = self.values(rows)
        if self.affine:
            slope = (self.grid_rows[-1] - self.grid_rows[0]) / (self.grid[-1] - self.grid[0])
            return self.grid_rows[0] + (value - self.grid[0])[..., None] * slope, self.weights[None]
        out = interpolate(value, self.grid, self.grid_rows)
        for j, column in enumerate(self.grid_rows.T):  # T itself need not round
            if np.array_equal(column, self.grid):
                out[..., j] = np.clip(value, self.grid[0], self.grid[-1])
        return out, self.weights[None]

    def condensed(self, count: int) -> LocationScaleLaw:
        """Return the law with so many nodes, at which polynomials in T of degree 2 count - 1 have their exact means.

        References
        ----------
        Golub & Welsch, "Calculation of Gauss Quadrature Rules" (Mathematics of Computation 1969), with the recurrence
        of the discrete law's orthogonal polynomials by Lanczos' iteration from the roots of the weights.
        """
        if count >= len(self.residuals):
            return self
        basis = np.sqrt(self.weights / self.weights.sum())[None]
        jacobi = np.zeros((count, count))
        for j in range(count):
            rest = self.residuals * basis[j]
            jacobi[j, j] = rest @ basis[j]
            for _ in range(2):  # once leaves rounding errors that grow
                rest = rest - (basis @ rest) @ basis
            if j + 1 < count:
                jacobi[j, j + 1] = jacobi[j + 1, j] = np.linalg.norm(rest)
                basis = np.concatenate([basis, rest[None] / np.linalg.norm(rest)])
        nodes, vectors = np.linalg.eigh(jacobi)
        return replace(self, residuals=nodes, weights=vectors[0] ** 2)

    def values(self, rows: slice) -> Float:
        """Return the nodes of T itself (n_rows, m) for the rows of a slice."""
        return np.asarray(self.mean[rows, None] + self.scale[rows, None] * self.residuals)


TreatmentLaw = DiscreteLaw | LocationScaleLaw


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """theta and Lambda with what held-out residuals add to them, where theta itself is left without.

    It errs less on average over rows and has more variance: good for a second look, along which slopes are averaged.

    Parameters
    ----------
    theta : (n, d) array
        As in `Influence`, and from the same rows: none of a row's own block.
    lambda_inverse : (n, d, d) array
        At this theta.
    """

    theta: Float
    lambda_inverse: Float


@dataclass(frozen=True, slots=True)
class Influence:
    """One repetition's cross-fitted pieces of psi.

    Parameters
    ----------
    theta : (n, d) array
        Cross-fitted coefficients of each row, in the user's units.
    score : (n, d) array
        Derivative of the loss with respect to theta at the row's outcome.
    lambda_inverse : (n, d, d) array
        Inverse of Lambda(x), the conditional mean of the hessian.
    law : TreatmentLaw or None
        Law of the structural row given x; None where only its moments were learned.
    noise : (n, d, d) array or None
        Covariance of theta(x) by estimation, from the delete-block jackknife; None where it is not known.
    recalibrated : Recalibrated or None
        A second theta(x), for estimands that are not linear in it; None where there is none.
    """

    theta: Float
    score: Float
    lambda_inverse: Float
    law: TreatmentLaw | None
    noise: Float | None = None
    recalibrated: Recalibrated | None = None

    def psi(self, values: Float, gradient: Float, beyond: Float | None = None) -> Float:
        """Return the influence values of an estimand.

        Parameters
        ----------
        values : (n, q) array
            H(x, t, theta) of each row.
        gradient : (n, q, d) array
            G(x), the conditional mean of dH/dtheta given x.
        beyond : (n, q, d) array, optional
            G at the recalibrated theta.

        Returns
        -------
        (n, q) array
            H - G Lambda^{-1} score; with `beyond`, and where that differs from `gradient`, G Lambda^{-1} is the mean
            of those at both theta: the trapezoid rule between the theta that H is taken at and the nearest to the
            truth. What one of them errs is then multiplied by what is left in the other, not by itself.
        """
        weighted = self._weighted(gradient, self.lambda_inverse)
        if beyond is not None and self.recalibrated is not None:
            bent = (gradient != beyond).any(axis=(0, 2))  # where H is linear, every bit stays
            other = self._weighted(beyond[:, bent], self.recalibrated.lambda_inverse)
            weighted[:, bent] = 0.5 * (weighted[:, bent] + other)
        return np.asarray(values - weighted)

    def _weighted(self, gradient: Float, lambda_inverse: Float) -> Float:
        correction = np.einsum("nde,ne->nd", lambda_inverse, self.score)
        return np.asarray(np.einsum("nqd,nd->nq", gradient, correction))


@dataclass(frozen=True, slots=True)
class NuisanceFit:
    """How well one nuisance was learned, measured out of fold.

    Parameters
    ----------
    name : str
        "outcome", "treatment mean", "treatment variance", "propensity", ...
    metric : str
        What `loss`, `loss_linear` and `loss_constant` are: "mean loss" of the family, "mean squared error", ...
    loss, loss_linear, loss_constant : float
        Out-of-fold loss per row of the fit used, of the linear fit, and of a constant.
    loss_perfect : float
        Loss of a perfect fit, the zero point of skill: 0 for squared errors and binary outcomes, the mean of
        y - y log y for poisson, whose loss omits a term free of eta.
    weights : dict
        Average stacking weight of each candidate; they add up to 1.
    best_epochs : dict
        Median best epoch of each neural candidate.
    alpha : dict
        Mean weight of invariance that held-out loss chose for each neural candidate, where views were given.
    """

    name: str
    metric: str
    loss: float
    loss_linear: float
    loss_constant: float
    weights: dict[str, float] = field(default_factory=dict)
    best_epochs: dict[str, float] = field(default_factory=dict)
    loss_perfect: float = 0.0
    alpha: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FitRecord:
    """What a fit did, for the summary's head, the diagnostics and a saved file. All fields are plain JSON values.

    `strategy` names how Lambda was obtained, `treatment_model` the model of T given x; `hidden` the widths of the
    `backbone`; `overlap` maps a label to a share or a quantile (propensity by level, or the residual sd of T);
    `clipped_share` and `floored_share` are shares of rows in [0, 1]; `min_eigenvalue` is the smallest
    eigenvalue of Lambda over the rows; `signal` holds the statistics of what is left in held-out residuals, by name
    (learn/signal.py); `history` holds a training curve per repetition, nuisance, neural candidate and copy: lists
    "step" and "loss", the mean held-out loss over the snapshots in the standardized units of the nets; `jumps` holds
    the covariate, the cut and the share of nets of each jump that at least half of the nets found (learn/jumps.py).
    """

    family: str
    learner: str
    strategy: str
    treatment_model: str
    n_folds: int
    n_blocks: int
    n_rep: int
    hidden: tuple[int, ...]
    seed: int | None
    device: str
    threads: int
    seconds: float
    nuisances: tuple[NuisanceFit, ...]
    overlap: dict[str, float]
    clipped_share: float
    floored_share: float
    min_eigenvalue: float
    signal: dict[str, float] = field(default_factory=dict)
    history: tuple[dict[str, Any], ...] = ()
    backbone: str = "mlp"
    jumps: tuple[tuple[str, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TrainedNets:
    """The trained predictors of theta: named arrays and a plain JSON configuration, written by learn/prediction.py."""

    arrays: dict[str, NDArray[np.float64] | NDArray[np.float32]]
    config: dict[str, Any]

"""Lambda(x) = E[hessian | X = x]: one function for every strategy that integrates over a law of the treatment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError, unknown_option
from deepdml.families import Family
from deepdml.families.indices import MultiIndex
from deepdml.learn.treatment import Levels, Scalar, Treatment

Float = NDArray[np.float64]
Strategy = Literal["known design", "propensity plug-in", "moments", "location-scale quadrature", "hessian regression"]

CHUNK = 8192  # rows integrated at once
FLOOR = 1e-3  # eigenvalues of Lambda below this share of the row's largest are raised to it
NEAR = 10.0  # times the first Lambda: farther off, a second one says that its theta has run off


class Nodes(Protocol):
    """A law of the structural row given x."""

    def nodes(self, rows: slice) -> tuple[Float, Float]:
        """Return structural rows (n_rows or 1, m, d) and their weights (n_rows or 1, m) for the rows of a slice."""


@dataclass(frozen=True, slots=True)
class Curvature:
    """Lambda and what comes with it.

    Parameters
    ----------
    inverse : (n, d, d) array
    remainder : (n, d) array
        Half of E[third derivative times Var(eta_hat) t | x]. Where theta and the hessian at theta share an estimation
        error, the Newton step falls short by it; added to the score, it takes that bias out.
    min_eigenvalue : float
        Smallest eigenvalue over the rows, with t scaled to unit second moment, before flooring.
    floored_share : float
        Share of rows whose smallest eigenvalue was raised.
    """

    inverse: Float
    remainder: Float
    min_eigenvalue: float
    floored_share: float


def choose_strategy(lambda_: str, family: Family, treatment: Treatment, known: bool) -> Strategy:
    """Return the strategy asked for, or the one that fits the treatment and the family.

    Raises
    ------
    OptionError
        For an unknown strategy, or one that the treatment or the family rules out.
    """
    allowed: list[Strategy] = []
    if isinstance(family, MultiIndex) and not family.closed:
        pass
    elif isinstance(treatment, Levels):
        allowed += ["known design"] if known or len(treatment.rows) == 1 else ["propensity plug-in"]
    elif isinstance(treatment, Scalar):
        smooth: list[Strategy] = ["location-scale quadrature"]
        allowed += ["moments", *smooth] if family.constant_hessian and treatment.affine else smooth
    else:
        allowed += (
            ["moments", "location-scale quadrature"] if family.constant_hessian else ["location-scale quadrature"]
        )
    allowed += ["hessian regression"]
    if lambda_ == "auto":
        return allowed[0]
    if lambda_ not in get_args(Strategy):
        raise unknown_option("lambda_", lambda_, ("auto", *get_args(Strategy)))
    if lambda_ not in allowed:
        raise OptionError(
            f"lambda_={lambda_!r} does not fit this treatment and family; "
            f"here it can be {', '.join(map(repr, allowed))}."
        )
    return next(s for s in allowed if s == lambda_)


def integrate(law: Nodes, family: Family, theta: Float, noise: Float | None, unit: Float) -> Curvature:
    """Integrate the expected hessian over the law of the structural row, and invert it; see `integrals`."""
    return invert(*integrals(law, family, theta, noise, unit))


def integrals(
    law: Nodes,
    family: Family,
    theta: Float,
    noise: Float | None,
    unit: Float,
    hessian: Callable[[Float], Float] | None = None,
) -> tuple[Float, Float]:
    """Return Lambda (n, d, d) and its remainder (n, d), integrated over the law of the structural row.

    Parameters
    ----------
    theta : (n, d) array
        Coefficients on structural rows scaled by `unit`.
    noise : (n, d, d) array or None
        Sampling covariance of theta, for the remainder; it is zero for a family with several indices.
    unit : (d, d) array
        Maps a structural row t to the scaled one, t @ unit.
    hessian : callable, optional
        The expected hessian in the indices (..., r) of a family with several, in place of the family's own.
    """
    if isinstance(family, MultiIndex):
        return _integrate_matrices(law, family, theta, unit, hessian or family.hessian), np.zeros_like(theta)
    n, d = theta.shape
    matrix, remainder = np.empty((n, d, d)), np.zeros((n, d))
    for start in range(0, n, CHUNK):
        rows = slice(start, min(start + CHUNK, n))
        nodes, weights = law.nodes(rows)
        nodes = np.broadcast_to(nodes @ unit, (rows.stop - rows.start, *nodes.shape[1:]))
        eta = np.einsum("nmd,nd->nm", nodes, theta[rows])
        heavy = weights * family.hessian(eta)
        matrix[rows] = np.einsum("nm,nmd,nme->nde", heavy, nodes, nodes, optimize=True)
        if noise is not None:
            spread = np.einsum("nmd,nde,nme->nm", nodes, noise[rows], nodes, optimize=True)
            slope = 0.5 * weights * family.remainder_slope(eta) * spread
            remainder[rows] = np.einsum("nm,nmd->nd", slope, nodes)
    return matrix, remainder


def _integrate_matrices(
    law: Nodes, family: MultiIndex, theta: Float, unit: Float, hessian: Callable[[Float], Float]
) -> Float:
    """Integrate A' I(A theta) A over the law, for a family with several indices."""
    n, k = theta.shape
    matrix = np.empty((n, k, k))
    step = max(1, CHUNK // k)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        nodes, weights = law.nodes(rows)
        matrices = family.rows(nodes) @ unit
        eta = (matrices @ theta[rows, None, :, None])[..., 0]
        heavy = weights[..., None, None] * (hessian(eta) @ matrices)
        matrix[rows] = np.einsum("nmrk,nmrl->nkl", np.broadcast_to(matrices, heavy.shape), heavy, optimize=True)
    return matrix


def invert(matrix: Float, remainder: Float) -> Curvature:
    """Invert Lambda (n, d, d), raising eigenvalues that are small beside the row's largest.

    The bound is the row's own: one that looked at other rows would carry a row's outcome into its nuisances.
    """
    values, vectors = np.linalg.eigh(matrix)
    bound = np.maximum(FLOOR * values[:, -1], np.finfo(float).tiny)
    low = values[:, 0] < bound
    inverse = np.einsum("nde,ne,nfe->ndf", vectors, 1.0 / np.maximum(values, bound[:, None]), vectors)
    return Curvature(inverse, remainder, float(values[:, 0].min()), float(low.mean()))


def invert_near(matrix: Float, inverse: Float) -> tuple[Float, NDArray[np.bool_]]:
    """Return the inverses of matrices (n, d, d) that are near those whose inverses are given, and the others' own.

    Near are those that are between a tenth and ten times the other in every direction. One Newton step, from which the
    second theta comes, overshoots where the loss is nearly flat, such as in a dispersion that is hardly there.

    Returns
    -------
    inverse : (n, d, d) array
    near : (n,) array of bool
    """
    near = np.asarray((np.isfinite(matrix) & np.isfinite(inverse)).all(axis=(1, 2)))
    root = np.linalg.cholesky(inverse[near])
    ratio = np.linalg.eigvalsh(root.transpose(0, 2, 1) @ matrix[near] @ root)
    near[near] = (ratio[:, 0] > 1.0 / NEAR) & (ratio[:, -1] < NEAR)
    found = inverse.copy()
    found[near] = np.linalg.inv(matrix[near])
    return found, near

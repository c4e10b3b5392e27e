"""Families whose loss reads several functions of theta: an index of the structural row, a scale, a share, ..."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from deepdml.families.arrays import exp, matrix, stack, zeros_like
from deepdml.families.base import Array, Family, Float, difference, narrow_difference


class MultiIndex(Family):
    """An outcome family with r indices eta = A(t) theta(x); `eta` has one more axis than `y`, the last.

    By default the first index is t' theta, and each auxiliary parameter is an entry of theta of its own, which follow
    the coefficients. A subclass sets `auxiliary`, gives loss, score, hessian and mean, and overrides what it knows in
    closed form of the rest. Scores have the shape of eta, hessians a matrix (r, r) in the place of its last axis.
    """

    location_scale: ClassVar[bool] = False
    """Whether the outcome minus its location, over a scale, has a law of its own: nets then see it standardized.

    The location is the first index, the log of the scale the second."""
    closed: ClassVar[bool] = True
    """Whether `hessian` is known in closed form, so that Lambda needs nothing but the law of the treatment."""

    stepwise: ClassVar[bool] = False
    """Whether Newton's method fits the first index first, from `start_rows`, and then starts the others.

    For indices whose hessian with the first is zero, and that would need many steps from a fit without regressors."""
    automatic: ClassVar[bool] = False
    """Whether score and hessian are left to automatic differentiation of the loss."""

    def __init__(self) -> None:
        self._map: Float | None = None

    @property
    def n_indices(self) -> int:
        """Number r of indices."""
        return 1 + len(self.auxiliary)

    def theta_names(self, t_names: tuple[str, ...]) -> tuple[str, ...]:
        return (*t_names, *self.auxiliary)

    def make_map(self, t_names: tuple[str, ...]) -> Float:
        """Return what A(t) takes of each structural column, and last of the constant: (r, k, d + 1)."""
        d, extra = len(t_names), self.n_indices - 1
        out = np.zeros((1 + extra, d + extra, d + 1))
        out[0, np.arange(d), np.arange(d)] = 1.0
        out[1 + np.arange(extra), d + np.arange(extra), d] = 1.0
        return out

    def bind(self, t_names: tuple[str, ...]) -> Self:
        bound = copy.copy(self)
        bound._map = self.make_map(t_names)
        return bound

    def rows(self, t: Float, one: float = 1.0) -> Float:
        moving, fixed = self._parts()
        r, k, d = moving.shape
        flat = t @ moving.reshape(r * k, d).T + one * fixed.reshape(r * k)
        return np.asarray(flat.reshape(*t.shape[:-1], r, k))

    def indices(self, t: Float, theta: Float, one: float = 1.0) -> Float:
        # theta goes into the map first: the matrices of `rows` would be formed at every node of a row
        moving, fixed = self._parts()
        r, k, d = moving.shape
        flat = theta.reshape(-1, k)
        along = (flat @ moving.transpose(1, 0, 2).reshape(k, r * d)).reshape(*theta.shape[:-1], r, d)
        constant = one * (flat @ fixed.T).reshape(*theta.shape[:-1], r)
        out = np.empty((*np.broadcast_shapes(t.shape[:-1], theta.shape[:-1]), r))
        for j in range(r):
            out[..., j] = constant[..., j]
            if moving[j].any():
                out[..., j] += np.einsum("...d,...d->...", t, along[..., j, :])
        return out

    def pull(self, t: Float, slope: Float, one: float = 1.0) -> Float:
        moving, fixed = self._parts()
        k, d = moving.shape[1:]
        used = np.flatnonzero(moving.any(axis=(1, 2)))
        outer = np.asarray(slope)[..., used, None] * t[..., None, :]
        out = outer.reshape(-1, len(used) * d) @ moving[used].transpose(0, 2, 1).reshape(-1, k)
        return np.asarray(out.reshape(*outer.shape[:-2], k) + one * (slope @ fixed))

    def _parts(self) -> tuple[Float, Float]:
        """Return what A(t) takes of the structural columns (r, k, d), and of the constant (r, k)."""
        if self._map is None:
            raise TypeError("bind() the family to the structural columns first")
        return self._map[..., :-1], self._map[..., -1]

    def slope(self, function: Callable[[Float], Float], eta: Float) -> Float:
        return self._slope(difference, function, eta)

    def narrow_slope(self, function: Callable[[Float], Float], eta: Float) -> Float:
        """Return the derivative with respect to eta of a smooth function that is slow to evaluate."""
        return self._slope(narrow_difference, function, eta)

    def _slope(
        self, method: Callable[[Callable[[float], Float]], Float], function: Callable[[Float], Float], eta: Float
    ) -> Float:
        def along(unit: Float) -> Float:
            return method(lambda step: function(eta + step * unit))

        return np.stack([along(unit) for unit in np.eye(self.n_indices)], axis=-1)

    def score(self, y: Array, eta: Array) -> Array:
        """Return d loss / d eta (..., r)."""
        raise NotImplementedError

    def hessian(self, eta: Array) -> Array:
        """Return the expected second derivative of the loss in eta given t and x, (..., r, r)."""
        raise NotImplementedError

    def second(self, y: Array, eta: Array) -> Array:
        """Return the second derivative of the loss in eta (..., r, r), or a matrix of the same mean given t and x.

        It is asked of families that are not `closed`.
        """
        raise NotImplementedError

    def curvature(self, y: Array, eta: Array) -> Array:
        """Return the matrices (..., r, r) of Newton's method: the hessian, or what comes near it at less cost.

        They are positive semidefinite, and `y` are the outcome's columns.
        """
        return self.hessian(eta)

    def start(self, y: Array) -> list[float]:
        """Return the r indices of a fit without regressors to outcomes (m,) or (m, c), near enough for Newton."""
        raise NotImplementedError

    def auxiliary_start(self, y: Array, first: Array) -> list[float]:
        """Return the other indices of a fit whose `first` (m,) is known; asked of families that start `stepwise`."""
        raise NotImplementedError

    def mean_slope(self, eta: Array) -> Array:
        return self.slope(self.mean, eta)

    def mean_curvature(self, eta: Array) -> Array:
        """Return the second derivatives of the mean (..., r, r)."""
        return self.slope(self.mean_slope, eta)

    def perfect_loss(self, y: Float) -> Float:
        # a density has no greatest value, so that the skill of a fit has no zero point
        return np.full(len(y), np.nan)

    def loss(self, y: Array, eta: Array) -> Array:
        """Return -log p(y | eta) of each row, with all its terms."""
        raise NotImplementedError

    def fixed_loss(self, y: Array) -> Array:
        """Return the terms of the loss (m,) that no index moves, such as log y!, which training leaves out.

        It stops where a loss gains little of itself, and so would go on for long where such a term cancels the rest.
        """
        return zeros_like(y if y.ndim == 1 else y[:, 0])


class LogMean(MultiIndex):
    """Families of two indices of which the first is the log of the mean."""

    def mean(self, eta: Any) -> Any:
        return exp(eta[..., 0])

    def mean_slope(self, eta: Any) -> Any:
        mean = self.mean(eta)
        return stack([mean, zeros_like(mean)])

    def mean_curvature(self, eta: Any) -> Any:
        mean = self.mean(eta)
        zero = zeros_like(mean)
        return matrix([[mean, zero], [zero, zero]])

"""Quadratics in the coefficients of features: how they are summed over rows, penalized and minimized."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from deepdml.errors import DataError


@dataclass(frozen=True, slots=True)
class Quadratic:
    """The quadratic b'Hb/2 + g'b of features times outputs, summed over rows; b is flattened output by output.

    Parameters
    ----------
    hessian : Tensor (o * f, o * f), or (o, f, f)
        The latter where no two outputs curve together, and each has a matrix of its own.
    gradient : Tensor (o * f,)
    """

    hessian: Tensor
    gradient: Tensor

    def __add__(self, other: Quadratic) -> Quadratic:
        return Quadratic(self.hessian + other.hessian, self.gradient + other.gradient)

    def minimize(self, penalty: float, n_out: int, at: Tensor | None = None) -> Tensor:
        """Return the minimizer (f, o) with a ridge `penalty`, relative to the mean curvature, on all but the constants.

        `at` (f, o) is the point around which the quadratic was taken: the ridge shrinks the sum of both to zero.
        """
        return Penalized.factor(self.hessian, penalty, n_out).minimize(self.gradient, at)


@dataclass(frozen=True, slots=True)
class Penalized:
    """A penalized hessian, factored once for any number of gradients.

    Parameters
    ----------
    ridge : Tensor (o, f)
        What was added to the hessian's diagonal; next to nothing for the constants.
    lower : Tensor (o * f, o * f), or (o, f, f)
        Cholesky factor of the sum, or one for each output.
    """

    ridge: Tensor
    lower: Tensor

    @classmethod
    def factor(cls, hessian: Tensor, penalty: float, n_out: int) -> Penalized:
        """Add a ridge `penalty`, relative to the mean curvature, and factor.

        Raises
        ------
        DataError
            Where the loss has no curvature left that one could follow.
        """
        diagonal = hessian.diagonal(dim1=-2, dim2=-1)
        scale = diagonal.mean()
        ridge = (penalty * scale).expand(n_out, diagonal.numel() // n_out).clone()
        ridge[:, 0] = 1e-10 * scale
        lower, failed = torch.linalg.cholesky_ex(hessian + torch.diag_embed(ridge.reshape(diagonal.shape)))
        if bool(failed.any()):
            raise DataError(
                "A nuisance fit diverged: the curvature of its loss is not positive and finite. Look for structural "
                "columns or outcomes many times larger than the others, for nearly collinear structural columns, for "
                "levels with a handful of rows, and for a family whose further parameter the data do not show (no more "
                "zeros than the counts explain: poisson, not zip); with a loss of your own, for parameters at which it "
                "has no minimum."
            )
        return cls(ridge, lower)

    def hessian(self) -> Tensor:
        """Return the hessian, of the shape of `lower`, without the ridge."""
        return self.lower @ self.lower.mT - torch.diag_embed(self.ridge.reshape(self.lower.shape[:-1]))

    def diagonal(self) -> Tensor:
        """Return the diagonal of `hessian` (o * f,), without the product."""
        return self.lower.square().sum(-1).reshape(-1) - self.ridge.reshape(-1)

    def penalty(self, at: Tensor) -> float:
        """Return what the ridge adds to the loss at the point `at` (f, o)."""
        return 0.5 * float((self.ridge * at.T.square()).sum())

    def minimize(self, gradient: Tensor, at: Tensor | None = None) -> Tensor:
        """Return the move (f, o) for a gradient (o * f,) at the point `at` (f, o)."""
        pull = gradient if at is None else gradient + (self.ridge * at.T).reshape(-1)
        return -torch.cholesky_solve(pull.view(self.lower.shape[:-1])[..., None], self.lower).view(self.ridge.shape).T

    def length(self, step: Tensor, change: Tensor) -> float:
        """Return the length of the next move after a `step` (f, o) that changed the gradient by `change` (o * f,).

        One for a quadratic with this hessian, less where the loss was found to curve more (Barzilai and Borwein 1988,
        equation 5, in the metric of the penalized hessian).
        """
        along = step.T.reshape(-1)
        size = self.lower.shape[-1]
        blocks = zip(self.lower.view(-1, size, size), along.view(-1, size), strict=True)
        metric = sum(float((lower.T @ part).square().sum()) for lower, part in blocks)
        curvature = float(along @ change + along @ (self.ridge.reshape(-1) * along))
        return metric / curvature if curvature > 0.25 * metric else 1.0


def sums_without_each(parts: list[Quadratic], rest: Quadratic) -> list[Quadratic]:
    """Return, for each part, `rest` plus all the other parts.

    Nothing is subtracted: a rounding error of the left-out part would carry its outcomes over.
    """
    before = list(accumulate([rest, *parts[:-1]]))
    after = list(accumulate(reversed(parts[1:])))[::-1]
    return [b + a for b, a in zip(before[:-1], after, strict=True)] + [before[-1]]


def curvature_sum(features: Tensor, curvature: Tensor) -> Tensor:
    """Return the hessian (o * f, o * f), float64, of features (m, f) with row curvatures (m, o, o).

    The products run in the precision of `features`: single precision is enough for a hessian, whose error Newton's
    method corrects, and twice as fast.
    """
    f, o = features.shape[1], curvature.shape[1]
    hessian = torch.zeros(o, f, o, f, dtype=torch.float64, device=features.device)
    for j in range(o):
        for k in range(j, o):
            if not bool(curvature[:, j, k].any()):  # a scale is often orthogonal to the location
                continue
            block = (features.T @ (features * curvature[:, j, k, None].to(features.dtype))).double()
            hessian[j, :, k] = block
            hessian[k, :, j] = block.T
    return hessian.view(o * f, o * f)


def separate_sums(features: Tensor, curvature: Tensor) -> Tensor:
    """Return the blocks (o, f, f) of `curvature_sum` where the row curvatures (m, o, o) are diagonal."""
    weights, alike = curvature.diagonal(dim1=1, dim2=2).to(features.dtype).unique(dim=1, return_inverse=True)
    blocks = torch.stack([features.T @ (features * own[:, None]) for own in weights.unbind(1)])
    return blocks.double()[alike]


def gradient_sum(features: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient (o * f,) of features (m, f) with row gradients (m, o)."""
    return (features.T @ gradient).T.reshape(-1)

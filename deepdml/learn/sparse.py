"""Sparse fits on a wide basis: of many features, keep at nearly full size the few that the outcome depends on."""

from __future__ import annotations

import torch
from torch import Tensor

# penalty of a feature, in units of the noise: it stays if its squared t is over four times that
THRESHOLDS = (1.0, 2.0, 4.0, 8.0)
ROUNDS = 5  # reweighted ridge fits at each threshold
ROUNDING = 1e-10  # of the largest curvature: below it a direction is one that the rows do not tell apart
GONE = 0.01  # a feature whose share of the loss is below this part of the threshold cannot come back


def sparse_path(hessian: Tensor, gradient: Tensor, start: Tensor, noise: float) -> Tensor:
    """Minimize a quadratic with a penalty on the number of features, at every threshold.

    Reweighted ridge fits: the ridge of a coefficient is the penalty over its last value squared, so that large ones are
    hardly shrunk and small ones vanish ("broken adaptive ridge"). The thresholds go up, each from the last one's fit.

    Parameters
    ----------
    hessian : Tensor (o * f, o * f)
    gradient : Tensor (o * f,)
        At zero coefficients.
    start : Tensor (f, o)
        A ridge fit; the constants, in the first row, are not penalized.
    noise : float
        Variance of the score over its expected curvature; 1 where the likelihood is right.

    Returns
    -------
    Tensor (l, f, o)
        Coefficients at every threshold.

    References
    ----------
    Dai, Chen, Sun, Liu & Li, "Broken adaptive ridge regression and its asymptotic properties", Journal of Multivariate
    Analysis 168, 2018, equation 2.
    """
    f, o = start.shape
    free = torch.zeros(o, f, dtype=torch.bool, device=start.device)
    free[:, 0] = True
    free = free.reshape(-1)
    curvature = hessian.diagonal()
    values, kept, path = start.T.reshape(-1), torch.arange(o * f, device=start.device), []
    for threshold in THRESHOLDS:
        penalty = threshold * noise
        for _ in range(ROUNDS):
            fitted = _reweighted(hessian, gradient, values, kept, torch.where(free[kept], 0.0, penalty))
            values = torch.zeros_like(values).index_copy(0, kept, fitted)
            kept = kept[free[kept] | (fitted.square() * curvature[kept] > GONE * penalty)]
        path.append(values.view(o, f).T)
    return torch.stack(path)


def _reweighted(hessian: Tensor, gradient: Tensor, values: Tensor, kept: Tensor, penalty: Tensor) -> Tensor:
    """Return the ridge fit of the kept coefficients with ridge penalty / value squared; plain where that is zero."""
    scale = torch.where(penalty > 0, values[kept].abs(), 1.0)
    scaled = scale[:, None] * hessian[kept[:, None], kept] * scale
    scaled.diagonal().add_(penalty.clamp_min(1e-10 * float(hessian.diagonal().mean())))
    along = (scale * gradient[kept])[:, None]
    lower, failed = torch.linalg.cholesky_ex(scaled)
    if bool(failed):  # a basis wider than the rows that interpolates them: hardly any noise is left to penalize by
        curvatures, axes = torch.linalg.eigh(scaled)
        curvatures = curvatures.clamp_min(ROUNDING * float(curvatures[-1]))
        move: Tensor = (axes @ ((axes.T @ along) / curvatures[:, None]))[:, 0]
        return -scale * move
    return -scale * torch.cholesky_solve(along, lower)[:, 0]

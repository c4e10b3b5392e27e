"""Signal left in held-out residuals: a statistic that shows where a nuisance was not learned."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROWS = 800  # rows of a block whose pairs are looked at
BANDWIDTHS = 3  # the median squared distance of the pairs, a quarter and a sixteenth of it


def signal_left(
    x: Tensor,
    outcome: Tensor,
    treatment: Tensor | None,
    block: NDArray[np.intp],
    seed: np.random.SeedSequence,
    cluster: NDArray[np.intp] | None = None,
) -> dict[str, float]:
    """Return standardized kernel conditional-moment statistics of held-out residuals, each the largest it comes to.

    For residuals r and s it is the sum of r_i K(x_i, x_j) s_j over pairs of rows of one block, whose nets saw neither,
    over its standard deviation; K is a Gaussian kernel of three bandwidths. Where the residuals have mean zero given x
    it is about standard normal; signal that both leave makes it large. That of outcome and treatment is the one that
    biases an estimate. With clusters only pairs of rows of different clusters count, and the deviation is that of sums
    over pairs of clusters: what the rows of a cluster have in common is not signal.

    Parameters
    ----------
    x : Tensor (n, p)
        Covariates.
    outcome : Tensor (n,)
        Derivative of the loss in the linear predictor.
    treatment : Tensor (n, v) or None
        Residuals of the treatment or of its levels; None where its law is known.
    block : (n,) array
        Rows that the same nets predict.
    seed : SeedSequence
        Chooses the rows of large blocks.
    cluster : (n,) array, optional
        What the blocks keep together: the cluster of each row.

    Returns
    -------
    dict
        "outcome", "treatment" and "both"; the first alone where the treatment's law is known.

    References
    ----------
    Zheng, "A consistent test of functional form via nonparametric estimation techniques", Journal of Econometrics
    75(2), 1996, equation 2.3, without the density weight; Robins, Li, Tchetgen & van der Vaart, "Higher order influence
    functions and minimax estimation of nonlinear functionals", 2008, for the product of two residuals.
    """
    columns = torch.cat([outcome[:, None], *([] if treatment is None else [treatment])], 1).double()
    v = columns.shape[1]
    total, variance = (torch.zeros(BANDWIDTHS, v, v, dtype=torch.float64, device=x.device) for _ in range(2))
    rng = np.random.default_rng(seed)
    for a in range(int(block.max()) + 1):
        rows = np.flatnonzero(block == a)
        rows = np.sort(rng.permutation(rows)[:ROWS])
        part = torch.from_numpy(rows).to(x.device)
        own = None
        if cluster is not None:
            own = torch.from_numpy(np.unique(cluster[rows], return_inverse=True)[1]).to(x.device)
        sums, spreads = _pair_sums(x[part], columns[part], own)
        total += sums
        variance += spreads
    z = total / variance.clamp_min(torch.finfo(torch.float64).tiny).sqrt()
    top = z.amax(0)
    found = {"outcome": float(top[0, 0])}
    if v > 1:
        found["treatment"] = float(top.diagonal()[1:].max())
        found["both"] = float(z[:, 0, 1:].abs().max())
    return found


def _pair_sums(x: Tensor, residuals: Tensor, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the sums of r_i K_ij s_j over pairs i != j for all pairs of residuals, and their variances (b, v, v).

    With clusters the pairs are those of different clusters.
    """
    scale = x.std(0, correction=0)
    z = (x - x.mean(0)) / torch.where(scale > 0, scale, 1.0)
    distance = torch.cdist(z, z).square_()
    middle = float(distance[torch.triu(torch.ones_like(distance, dtype=torch.bool), 1)].median())
    kernel = torch.exp_(distance.div_(-2 * max(middle, 1e-12))).fill_diagonal_(0.0)
    sums, variances = [], []
    for _ in range(BANDWIDTHS):
        found = _row_sums(kernel, residuals) if groups is None else _cluster_sums(kernel, residuals, groups)
        sums.append(found[0])
        variances.append(found[1])
        kernel = kernel.square_().square_()
    return torch.stack(sums), torch.stack(variances)


def _row_sums(kernel: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums (v, v) over pairs of rows and their variances, for one bandwidth."""
    products = torch.einsum("nr,ns->nrs", residuals, residuals)
    wide = kernel.double()
    sums = residuals.T @ (wide @ residuals)
    squares = wide.square_()
    own = products.diagonal(dim1=1, dim2=2)
    crossed = products.flatten(1)
    return sums, own.T @ (squares @ own) + (crossed * (squares @ crossed)).sum(0).view(products.shape[1:])


def _cluster_sums(kernel: Tensor, residuals: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same with clusters for rows: M[g, h] sums r_i K_ij s_j over the rows i of cluster g and j of h."""
    wide, v = kernel.double(), residuals.shape[1]
    member = torch.nn.functional.one_hot(groups).T.double()
    sums, variances = (residuals.new_zeros(v, v) for _ in range(2))
    for r in range(v):
        for s in range(r + 1):
            pairs = (member * residuals[:, r]) @ wide @ (member * residuals[:, s]).T
            pairs.fill_diagonal_(0.0)
            sums[r, s] = sums[s, r] = pairs.sum()
            variances[r, s] = variances[s, r] = (pairs.square() + pairs * pairs.T).sum()
    return sums, variances

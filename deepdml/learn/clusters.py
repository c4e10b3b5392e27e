"""A mean for every cluster of the covariates.

Embeddings come in groups: kinds of jobs, topics, products. Where outcome and treatment differ between groups and not
within, a fit that is smooth in the columns takes some of the spread within a group for a difference, in both alike, and
that is bias.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from torch import Tensor
from torch.nn.functional import one_hot

from deepdml.learn.bases import MAX_DIRECTIONS, Features

NUMBERS = (5, 10, 20, 40)  # of clusters, among which held-out rows choose
LEAST_ROWS = 25  # for each cluster
ROWS = 4_000  # among which the centers are found
ROUNDS = 20  # of Lloyd's algorithm


@dataclass(frozen=True, slots=True)
class Clusters:
    """A map from covariates (m, p) to a constant and indicators of the nearest center, for several numbers of clusters.

    Only x enters the centers, never an outcome. Indicators have mean zero and unit variance.

    Parameters
    ----------
    mean, scale : Tensor (p,)
        Of the covariates.
    centers : Tensor (c, p)
        Of standardized covariates, those of all numbers of clusters.
    share : Tensor (c,)
        Share of the rows that are nearest to a center, of those of its number.
    number : Tensor (c,) of int
        How many clusters a center is one of.
    """

    mean: Tensor
    scale: Tensor
    centers: Tensor
    share: Tensor
    number: Tensor

    @property
    def n_features(self) -> int:
        """Number of features f, the constant included."""
        return 1 + len(self.centers)

    @property
    def groups(self) -> list[Tensor]:
        """The features of each number of clusters, the constant's among them."""
        constant = torch.zeros(1, dtype=torch.long, device=self.number.device)
        return [torch.cat([constant, 1 + torch.nonzero(self.number == k)[:, 0]]) for k in self.number.unique()]

    def __call__(self, x: Tensor) -> Tensor:
        """Return the features of covariates (m, p), shape (m, f), float64."""
        z = (x[:, : len(self.mean)].double() - self.mean) / self.scale
        spread = (self.share * (1.0 - self.share)).sqrt()
        hot = (_nearest(z, self.centers, self.number) - self.share) / torch.where(spread > 0, spread, 1.0)
        return torch.cat([torch.ones_like(hot[:, :1]), hot], 1)


def find_clusters(linear: Features, x: Tensor, rng: np.random.Generator) -> Clusters | None:
    """Return clusters of covariates (n, p), standardized as a linear basis does, by k-means.

    None for up to 25 columns, where the sieve and the trees follow groups, and where there are too few different rows.

    References
    ----------
    Arthur & Vassilvitskii, "k-means++: the advantages of careful seeding" (SODA 2007), section 2.2, for the starts.
    """
    if x.shape[1] <= MAX_DIRECTIONS:
        return None
    mean, scale = linear.mean, linear.scale
    sample = (x[:: max(1, len(x) // ROWS)].double() - mean) / scale
    z = sample.cpu().numpy()
    most = max((k for k in NUMBERS if k * LEAST_ROWS <= len(x)), default=0)
    starts = _spread_out(z, most, rng)
    found = [_lloyd(z, starts[:k]) for k in NUMBERS if k <= len(starts)]
    if not found:
        return None
    centers = torch.from_numpy(np.concatenate(found)).to(x.device)
    number = torch.tensor([len(own) for own in found for _ in own], device=x.device)
    return Clusters(mean, scale, centers, _nearest(sample, centers, number).mean(0), number)


def _spread_out(z: NDArray[np.float64], k: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return up to k different rows of z (m, p), each drawn by its squared distance to the others."""
    if not k:
        return z[:0]
    chosen = [int(rng.integers(len(z)))]
    far = ((z - z[chosen[0]]) ** 2).sum(1)
    while len(chosen) < k and far.any():
        chosen.append(int(rng.choice(len(z), p=far / far.sum())))
        far = np.minimum(far, ((z - z[chosen[-1]]) ** 2).sum(1))
    return z[chosen]


def _lloyd(z: NDArray[np.float64], starts: NDArray[np.float64]) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One of the clusters is empty")  # it keeps its center, and has no rows
        centers, _ = kmeans2(z, starts, iter=ROUNDS, minit="matrix")
    return np.asarray(centers)


def _nearest(z: Tensor, centers: Tensor, number: Tensor) -> Tensor:
    """Return indicators (m, c) of the center nearest to each row of z (m, p), one for every number of clusters."""
    far = centers.square().sum(1) - 2.0 * z @ centers.T
    return torch.cat([one_hot(far[:, number == k].argmin(1), int(k)) for k in number.unique()], 1).double()

"""A linear fit with the products of columns that its residuals ask for, chosen by every net for itself.

Where there are too many columns for a sieve of all their products, one pass over the rows gives the score of each: an
interaction of two of 64 columns, which a penalized net or boosted trees find slowly, stands out among two thousand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from deepdml.learn.bases import CHUNK, MAX_DIRECTIONS
from deepdml.learn.candidates import BasisFit, OwnFit, fit_basis
from deepdml.learn.scheme import Scheme
from deepdml.learn.tasks import Units

COLUMNS = range(MAX_DIRECTIONS + 1, 257)  # below, the sieve has all products; above, their scores cost too much
MOST_TERMS = 40
CLAMP = 4.0  # of standardized columns, as in the sieve


@dataclass(frozen=True, slots=True)
class Products:
    """A map from covariates (m, p) to a constant, standardized columns and chosen products of two or three of them.

    Parameters
    ----------
    mean, scale : Tensor (p,)
        Of the covariates.
    terms : Tensor (3, c) of int
        Columns whose standardized, clamped values are multiplied; p stands for a one.
    center, spread : Tensor (c,)
        Of the products.
    """

    mean: Tensor
    scale: Tensor
    terms: Tensor
    center: Tensor
    spread: Tensor

    @property
    def n_features(self) -> int:
        """Number of features f, the constant included."""
        return 1 + len(self.mean) + self.terms.shape[1]

    def __call__(self, x: Tensor) -> Tensor:
        """Return the features of covariates (m, p), shape (m, f), float64."""
        z = (x[:, : len(self.mean)].double() - self.mean) / self.scale
        return torch.cat([torch.ones_like(z[:, :1]), z, (_multiplied(z, self.terms) - self.center) / self.spread], 1)


def fit_screened(linear: BasisFit, x: Tensor, scheme: Scheme, units: Units) -> OwnFit:
    """Extend a linear fit by the products that its training residuals ask for, net by net.

    Nothing but the rows that a net trains on decides which products it takes.
    """
    fits = []
    for net, rows in enumerate(scheme.train_rows()):
        unit = units.of_net(net)
        terms = screen(linear, net, x, torch.from_numpy(rows).to(x.device), unit)
        fits.append(fit_basis("screened", linear.task, _basis(linear, x, terms), x, scheme.of_net(net), unit))
    return OwnFit.gather(fits, scheme)


def screen(linear: BasisFit, net: int, x: Tensor, rows: Tensor, units: Units) -> Tensor:
    """Return the products (3, c) whose scores stand out under a net's linear fit, on its training rows (m,).

    The score of a product, square or cube is the sum of its values times the gradient of the loss, over the root of the
    sum of their squares. It passes if it is above what the largest of as many standard normal ones would be.
    """
    task, p = linear.task, x.shape[1]
    sums, squares = torch.zeros(2, task.n_out, p, p + 2, dtype=torch.float64, device=x.device)
    for part in rows.split(CHUNK):
        features = linear.basis(x[part])
        gradient = task.derivatives((features @ linear.nets[net])[None], part[None], units)[0][0].double()
        z = features[:, 1:].clamp(-CLAMP, CLAMP)
        # the linear fit took what a square shares with the constant and a cube with its column
        own = torch.stack([z.square() - 1.0, z**3 - 3.0 * z], 2)
        for k, g in enumerate(gradient.T[:, :, None]):
            sums[k, :, :p] += z.T @ (g * z)
            sums[k, :, p:] += (g[..., None] * own).sum(0)
            squares[k, :, :p] += z.square().T @ (g * z).square()
            squares[k, :, p:] += (g[..., None] * own).square().sum(0)
    first, second = torch.triu_indices(p, p + 2, 1, device=x.device).unbind()
    scores = (sums.abs() / squares.clamp_min(1e-300).sqrt()).amax(0)[first, second]
    top = scores.topk(min(MOST_TERMS, len(scores)))
    bar = math.sqrt(2 * math.log(len(scores) * task.n_out))
    chosen = top.indices[top.values > bar].sort().values
    first, second = first[chosen], second[chosen]
    return torch.stack([first, torch.where(second < p, second, first), torch.where(second > p, first, p)])


def _basis(linear: BasisFit, x: Tensor, terms: Tensor) -> Products:
    """Return the basis of a choice of products, standardized by their moments over all rows."""
    mean, scale = linear.basis.mean, linear.basis.scale
    raw = _multiplied((x[:: max(1, len(x) // 20_000)].double() - mean) / scale, terms)
    center = raw.mean(0)
    spread = (raw - center).square().mean(0).sqrt()
    return Products(mean, scale, terms, center, torch.where(spread > 1e-6, spread, 1.0))


def _multiplied(z: Tensor, terms: Tensor) -> Tensor:
    wide = torch.cat([z.clamp(-CLAMP, CLAMP), torch.ones_like(z[:, :1])], 1)
    return wide[:, terms[0]] * wide[:, terms[1]] * wide[:, terms[2]]

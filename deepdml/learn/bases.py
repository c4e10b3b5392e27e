"""Features of the covariates that fits which are not nets are linear in; only moments of x enter them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

CHUNK = 4096  # rows whose features are held at once


class Features(Protocol):
    """A map from covariates (m, p) to features (m, f): a constant, the standardized covariates, and more."""

    @property
    def mean(self) -> Tensor:
        """Means (p,) of the covariates."""

    @property
    def scale(self) -> Tensor:
        """Standard deviations (p,) of the covariates."""

    @property
    def n_features(self) -> int:
        """Number of features f, the constant included."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return the features of covariates (m, p), shape (m, f), float64."""


@dataclass(frozen=True, slots=True)
class Basis:
    """A fixed map from covariates (m, p) to features (m, f) of mean zero and unit variance, the constant first.

    The linear basis is the standardized covariates. The sieve adds, for each of the q leading directions z (the
    covariates where p <= 25, else their principal components): z squared, z cubed, hinges at the terciles, and the
    products of pairs. Only moments of x enter, never an outcome.
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor | None
    knots: Tensor
    n_pairs: int
    center: Tensor
    spread: Tensor

    @property
    def n_features(self) -> int:
        """Number of features f, the constant included."""
        return 1 + len(self.center)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the features of covariates (m, p), shape (m, f), float64."""
        raw = self._raw(x)
        raw.sub_(self.center).div_(self.spread)
        return torch.cat([torch.ones(len(x), 1, dtype=raw.dtype, device=raw.device), raw], 1)

    def _raw(self, x: Tensor) -> Tensor:
        z = (x[:, : len(self.mean)].double() - self.mean) / self.scale
        if self.directions is None:
            return z
        lead = (z @ self.directions).clamp(-4.0, 4.0)
        first, second = torch.triu_indices(self.n_pairs, self.n_pairs, 1).unbind()
        hinges = [(lead - knot).clamp_min(0.0) for knot in self.knots]
        return torch.cat([z, lead.square(), lead**3, *hinges, lead[:, first] * lead[:, second]], 1)


MAX_DIRECTIONS = 25  # up to here the sieve expands the covariates themselves
COMPONENTS = 12  # beyond it, so many principal components
MAX_PAIRED = 20


def constant_basis(x: Tensor) -> Basis:
    """Return the basis of the constant alone, which reads none of the covariates."""
    return linear_basis(x[:, :0])


def linear_basis(x: Tensor) -> Basis:
    """Return the basis of standardized covariates."""
    mean, scale = _moments(x)
    empty = mean.new_zeros(0, 0)
    return Basis(mean, scale, None, empty, 0, torch.zeros_like(mean), torch.ones_like(mean))


def sieve_basis(x: Tensor) -> Basis:
    """Return the basis of low-order terms, on principal components where p > 25."""
    mean, scale = _moments(x)
    p = x.shape[1]
    sample = (x[:: max(1, len(x) // 20_000)].double() - mean) / scale
    directions = torch.eye(p, dtype=torch.float64, device=x.device)
    if p > MAX_DIRECTIONS:
        values, vectors = torch.linalg.eigh(sample.T @ sample / len(sample))
        values, vectors = values.flip(0)[:COMPONENTS], vectors.flip(1)[:, :COMPONENTS]
        directions = vectors / values.clamp_min(1e-8).sqrt()
    lead = (sample @ directions).clamp(-4.0, 4.0)
    knots = torch.quantile(lead, torch.tensor([1 / 3, 2 / 3], dtype=lead.dtype, device=lead.device), dim=0)
    unit = torch.ones(1, dtype=torch.float64, device=x.device)
    plain = Basis(mean, scale, directions, knots, min(lead.shape[1], MAX_PAIRED), 0 * unit, unit)
    raw = plain._raw(x[:: max(1, len(x) // 20_000)])
    spread = raw.std(0, correction=0)
    return Basis(mean, scale, directions, knots, plain.n_pairs, raw.mean(0), torch.where(spread > 1e-6, spread, 1.0))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return means and standard deviations (p,) of covariates (n, p); the latter 1 for a constant column."""
    total = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    square = torch.zeros_like(total)
    shift = x[:1000].double().mean(0)
    for part in x.split(CHUNK):
        values = part.double() - shift
        total += values.sum(0)
        square += values.square().sum(0)
    mean = total / len(x)
    variance = (square / len(x) - mean.square()).clamp_min(0.0)
    return mean + shift, torch.where(variance > 1e-12, variance.sqrt(), torch.ones_like(variance))

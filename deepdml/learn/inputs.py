"""The covariates as nets read them: standardized by each net's own moments, with the steps of its jumps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from deepdml.learn.augmentation import Augment, view
from deepdml.learn.jumps import Jumps
from deepdml.learn.scheme import Scheme

VIEWED = 1024  # rows that a user's function sees at once outside training


@dataclass(frozen=True, slots=True)
class Inputs:
    """The covariates and each net's standardization.

    Parameters
    ----------
    x : Tensor (n, p), float32
    mean, scale : Tensor (s, 1, p)
        Moments over the training rows of each net; the scale of a constant column is 1.
    jumps : Jumps, optional
        Cuts of covariates whose steps are further inputs.
    """

    x: Tensor
    mean: Tensor
    scale: Tensor
    jumps: Jumps | None = None

    @property
    def width(self) -> int:
        """Number of a net's inputs."""
        return self.x.shape[1] + (0 if self.jumps is None else self.jumps.most)

    @classmethod
    def over_training_rows(cls, x: Tensor, scheme: Scheme) -> Inputs:
        """Compute the moments of each net's training rows from one pass over the cells."""
        cells = scheme.train.shape[1]
        shift = x[: min(len(x), 1000)].double().mean(0)
        count, total, square = (
            torch.zeros(cells, 1),
            torch.zeros(cells, x.shape[1]).double(),
            torch.zeros(cells, x.shape[1]).double(),
        )
        for c in range(cells):
            rows = torch.from_numpy(np.flatnonzero(scheme.cell == c)).to(x.device)
            for part in rows.split(20_000):
                values = x[part].double() - shift
                total[c] += values.sum(0).cpu()
                square[c] += values.square().sum(0).cpu()
            count[c] = len(rows)
        train = torch.from_numpy(scheme.train).double()
        size = train @ count.double()
        mean = train @ total / size
        variance = (train @ square / size - mean.square()).clamp_min(0.0)
        scale = torch.where(variance > 1e-12 * (mean.square() + 1e-12), variance.sqrt(), torch.ones_like(variance))
        return cls(x, (mean + shift.cpu()).float()[:, None].to(x.device), scale.float()[:, None].to(x.device))

    def values(self, rows: Tensor) -> Tensor:
        """Return a copy of the covariates (s, b, p) of `rows` (s, b)."""
        return self.x[rows.reshape(-1)].view(*rows.shape, self.x.shape[1])

    def standardize(self, nets: Tensor, values: Tensor) -> Tensor:
        """Standardize covariates (s, b, p) in place, each net by its own moments, and add the steps of its jumps."""
        steps = [] if self.jumps is None else [self.jumps.select(nets).steps(values)]
        standard = values.sub_(self.mean[nets]).div_(self.scale[nets])
        return torch.cat([standard, *steps], 2) if steps else standard

    def standardized(self, nets: Tensor, rows: Tensor) -> Tensor:
        """Return the inputs (s, b, p) of `rows` (s, b), each net's standardized by its own moments."""
        return self.standardize(nets, self.values(rows))

    def view_of_all(self, augment: Augment, rng: np.random.Generator) -> Inputs:
        """Return the inputs with one view of every row in place of the covariates."""
        return replace(self, x=torch.cat([view(part, augment, rng) for part in self.x.split(VIEWED)]))

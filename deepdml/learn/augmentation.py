"""Views of the covariates that leave the outcome as it is, and how strongly theta(x) is to be the same for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.errors import OptionError
from deepdml.learn.autodiff import FAILURES

Augment = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]

ALPHAS = (0.0, 1.0, 10.0)  # weights of the squared change beside the loss, among which held-out loss chooses


class Views:
    """A view of every minibatch; each net has its own generator, so that none depends on which others still train."""

    def __init__(self, augment: Augment, nets: int, seeds: np.random.SeedSequence) -> None:
        self.augment = augment
        self.generators = [np.random.default_rng(seed) for seed in seeds.spawn(nets)]

    def of(self, values: Tensor, nets: Tensor) -> Tensor:
        """Return the views of covariates (s, b, p), minibatches of `nets` (s,)."""
        generators = [self.generators[net] for net in nets.tolist()]
        return torch.stack([view(own, self.augment, g) for own, g in zip(values, generators, strict=True)])


def view(values: Tensor, augment: Augment, rng: np.random.Generator) -> Tensor:
    """Return what a user's function makes of covariates (b, p), checked."""
    try:
        seen = np.asarray(augment(values.cpu().numpy().copy(), rng))
    except FAILURES as error:
        raise OptionError(
            f"augment failed ({type(error).__name__}: {error}). It is called as augment(x, rng) with covariates of "
            f"shape {tuple(values.shape)} and a generator of numpy, and returns a view of each row."
        ) from error
    if seen.shape != tuple(values.shape):
        raise OptionError(
            f"augment returned an array of shape {seen.shape} for covariates of shape {tuple(values.shape)}; it has to "
            "return a view of each row, with the same columns."
        )
    if seen.dtype.kind not in "fiub" or not np.isfinite(seen).all():
        raise OptionError("augment returned values that are not finite numbers.")
    return torch.from_numpy(seen.astype(np.float32)).to(values.device)

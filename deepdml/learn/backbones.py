"""Nets batched over folds: the parameters of s nets are the rows of one matrix, and a step updates them all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": torch.nn.functional.silu,
    "sine": torch.sin,
    "relu": torch.relu,
}


@dataclass(frozen=True, slots=True)
class Backbone:
    """A multilayer perceptron with a linear skip from the inputs to the outputs, for s nets at once.

    Parameters
    ----------
    n_in, n_out : int
        Covariates p and outputs o.
    hidden : tuple of int
        Widths of the hidden layers.
    activation : {"silu", "sine", "relu"}
    """

    n_in: int
    hidden: tuple[int, ...]
    n_out: int
    activation: str

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Shapes (in, out) of each layer's weights followed by its bias, then of the skip."""
        widths = (self.n_in, *self.hidden, self.n_out)
        layers = [shape for a, b in pairwise(widths) for shape in ((a, b), (1, b))]
        return [*layers, (self.n_in, self.n_out)]

    @property
    def n_parameters(self) -> int:
        """Parameters of one net."""
        return sum(a * b for a, b in self.shapes)

    @property
    def n_features(self) -> int:
        """Width of the last hidden layer."""
        return self.hidden[-1]

    def start(self, linear: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Return starting parameters (s, n_parameters).

        Hidden layers are drawn with variance 2 / fan-in; the last layer is zero, and the skip and the last bias are
        `linear`, so that every net starts as the linear fit.

        Parameters
        ----------
        linear : Tensor (s, 1 + p, o)
            Intercept and slopes of a linear fit on standardized covariates.
        generators : list of torch.Generator
            One for each net.
        """
        flat = torch.zeros(len(generators), self.n_parameters)
        parts = self.split(flat)
        for weights in parts[:-3:2]:
            fan_in = weights.shape[1]
            for net, generator in zip(weights, generators, strict=True):
                net.copy_(torch.randn(net.shape, generator=generator) * math.sqrt(2.0 / max(fan_in, 1)))
        parts[-2].copy_(linear[:, :1])
        parts[-1].copy_(linear[:, 1:])
        return flat

    def split(self, flat: Tensor) -> list[Tensor]:
        """Return the parameters (s, n_parameters) as views (s, in, out), in the order of `shapes`."""
        parts = flat.split([a * b for a, b in self.shapes], dim=1)
        return [part.view(-1, a, b) for part, (a, b) in zip(parts, self.shapes, strict=True)]

    def decayed(self) -> Tensor:
        """Return which parameters are decayed (n_parameters,): weights, but neither biases nor the skip."""
        marks = [torch.ones(a * b) for a, b in self.shapes]
        marks[-1].zero_()
        for bias in marks[1:-1:2]:
            bias.zero_()
        return torch.cat(marks)

    def features(self, parts: list[Tensor], x: Tensor) -> Tensor:
        """Return the last hidden layer (s, b, width) for standardized covariates x (s, b, p)."""
        activate = ACTIVATIONS[self.activation]
        h = x
        for weights, bias in zip(parts[:-3:2], parts[1:-3:2], strict=True):
            h = activate(torch.baddbmm(bias, h, weights))
        return h

    def forward(self, flat: Tensor, x: Tensor) -> Tensor:
        """Return the outputs (s, b, o) for standardized covariates x (s, b, p)."""
        parts = self.split(flat)
        out = torch.baddbmm(parts[-2], self.features(parts, x), parts[-3])
        return out.baddbmm(x, parts[-1])

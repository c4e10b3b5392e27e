"""What every backbone is: a trunk, a linear last layer on its features, and a linear skip from the covariates.

The parameters of s nets are the rows of one matrix, and a step updates them all.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": torch.nn.functional.silu,
    "sine": torch.sin,
    "relu": torch.relu,
}


@dataclass(frozen=True, slots=True)
class Part:
    """One array of a trunk's parameters: its shape, the standard deviation of its start, whether it is decayed."""

    shape: tuple[int, ...]
    spread: float = 0.0
    decayed: bool = True


def weights(fan_in: int, width: int, gain: float = 2.0) -> Part:
    """Return a layer's weights (fan_in, width), which start with variance gain / fan_in."""
    return Part((fan_in, width), math.sqrt(gain / max(fan_in, 1)))


def bias(width: int) -> Part:
    """Return a layer's bias (1, width), which starts at zero."""
    return Part((1, width), decayed=False)


def linear(h: Tensor, layer: Tensor, shift: Tensor) -> Tensor:
    """Return h (s, ..., a) through each net's weights (s, a, b) and bias (s, 1, b)."""
    return torch.baddbmm(shift, h.flatten(1, -2), layer).view(*h.shape[:-1], layer.shape[2])


@dataclass(frozen=True, slots=True)
class Backbone(ABC):
    """The nets of one candidate: features of the covariates, a last layer on them, a skip from the covariates.

    A subclass declares the arrays of its trunk and computes the features from them; the last three parts of every net
    are the last layer, its bias and the skip, which heads are refit on and predictions are mixed in.

    Parameters
    ----------
    n_in, n_out : int
        Covariates p and outputs o.
    hidden : tuple of int
        Widths, whose meaning each backbone says.
    activation : {"silu", "sine", "relu"}
    """

    name: ClassVar[str]
    default_hidden: ClassVar[tuple[int, ...]] = (64, 32)
    activations: ClassVar[tuple[str, ...]] = ("silu", "sine")  # those that compete in the stack; the first is for all

    n_in: int
    hidden: tuple[int, ...]
    n_out: int
    activation: str

    @property
    @abstractmethod
    def trunk(self) -> list[Part]:
        """The arrays of one net's trunk, in order."""

    @property
    @abstractmethod
    def n_features(self) -> int:
        """Width h of what the last layer reads."""

    @abstractmethod
    def features(self, parts: list[Tensor], x: Tensor) -> Tensor:
        """Return what the last layer reads (s, b, h) for standardized covariates x (s, b, p)."""

    @property
    def label(self) -> str:
        """Name of the candidate in diagnostics."""
        return f"{self.activation} {self.name}"

    @property
    def config(self) -> dict[str, Any]:
        """What `build` needs beside the sizes to make this backbone again, as JSON values."""
        return {"backbone": self.name, "hidden": list(self.hidden), "activation": self.activation}

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the trunk's arrays, then of the last layer, its bias and the skip."""
        head = [(self.n_features, self.n_out), (1, self.n_out), (self.n_in, self.n_out)]
        return [*(part.shape for part in self.trunk), *head]

    @property
    def n_parameters(self) -> int:
        """Parameters of one net."""
        return sum(math.prod(shape) for shape in self.shapes)

    def start(self, linear: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Return starting parameters (s, n_parameters).

        The last layer is zero, and the skip and the last bias are `linear`, so that every net starts as the linear fit.

        Parameters
        ----------
        linear : Tensor (s, 1 + p, o)
            Intercept and slopes of a linear fit on standardized covariates.
        generators : list of torch.Generator
            One for each net.
        """
        flat = torch.zeros(len(generators), self.n_parameters)
        parts = self.split(flat)
        self.draw(parts[:-3], generators)
        parts[-2].copy_(linear[:, :1])
        parts[-1].copy_(linear[:, 1:])
        return flat

    def draw(self, parts: list[Tensor], generators: list[torch.Generator]) -> None:
        """Draw the trunk's arrays (s, ...) in place, net by net."""
        for array, part in zip(parts, self.trunk, strict=True):
            for net, generator in zip(array, generators, strict=True) if part.spread else []:
                net.copy_(torch.randn(net.shape, generator=generator) * part.spread)

    def split(self, flat: Tensor) -> list[Tensor]:
        """Return the parameters (s, n_parameters) as views (s, *shape), in the order of `shapes`."""
        shapes = self.shapes
        parts = flat.split([math.prod(shape) for shape in shapes], dim=1)
        return [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]

    def decayed(self) -> Tensor:
        """Return which parameters are decayed (n_parameters,): weights, but neither biases nor the skip."""
        decayed = [*(part.decayed for part in self.trunk), True, False, False]
        marks = [torch.full((math.prod(shape),), float(on)) for shape, on in zip(self.shapes, decayed, strict=True)]
        return torch.cat(marks)

    def forward(self, flat: Tensor, x: Tensor) -> Tensor:
        """Return the outputs (s, b, o) for standardized covariates x (s, b, p)."""
        parts = self.split(flat)
        out = torch.baddbmm(parts[-2], self.features(parts, x), parts[-3])
        return out.baddbmm(x, parts[-1])

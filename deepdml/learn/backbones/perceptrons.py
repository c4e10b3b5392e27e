"""Backbones of dense layers: the multilayer perceptron, and one with residual blocks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from deepdml.learn.backbones.contract import ACTIVATIONS, Backbone, Part, bias, linear, weights


@dataclass(frozen=True, slots=True)
class Perceptron(Backbone):
    """A multilayer perceptron; `hidden` are the widths of its hidden layers, drawn with variance 2 / fan-in."""

    name: ClassVar[str] = "mlp"

    @property
    def label(self) -> str:
        """Name of the candidate in diagnostics."""
        return f"{self.activation} net"

    @property
    def trunk(self) -> list[Part]:
        """Each hidden layer's weights and bias."""
        return [part for a, b in pairwise((self.n_in, *self.hidden)) for part in (weights(a, b), bias(b))]

    @property
    def n_features(self) -> int:
        """Width of the last hidden layer."""
        return self.hidden[-1]

    def features(self, parts: list[Tensor], x: Tensor) -> Tensor:
        """Return the last hidden layer (s, b, h)."""
        activate = ACTIVATIONS[self.activation]
        h = x
        for layer, shift in zip(parts[:-3:2], parts[1:-3:2], strict=True):
            h = activate(torch.baddbmm(shift, h, layer))
        return h


@dataclass(frozen=True, slots=True)
class Residual(Backbone):
    """A perceptron with residual blocks: h + W2 act(W1 h), which leave what they cannot improve.

    `hidden` are the width of h, then that of the inner layer of each block. Norms are left out: nets start from the
    linear fit, and the first layer's standardized inputs keep their scale over the few blocks that tables need.

    References
    ----------
    Gorishniy, Rubachev, Khrulkov & Babenko, "Revisiting Deep Learning Models for Tabular Data" (2021), section 3.2.
    """

    name: ClassVar[str] = "residual"
    default_hidden: ClassVar[tuple[int, ...]] = (64, 32, 32)

    @property
    def trunk(self) -> list[Part]:
        """The first layer, then two layers a block; the second starts small, so that depth adds little variance."""
        width, *inner = self.hidden
        blocks = [
            part
            for m in inner
            for part in (weights(width, m), bias(m), weights(m, width, gain=1.0 / len(inner)), bias(width))
        ]
        return [weights(self.n_in, width), bias(width), *blocks]

    @property
    def n_features(self) -> int:
        """Width of h."""
        return self.hidden[0]

    def features(self, parts: list[Tensor], x: Tensor) -> Tensor:
        """Return the activated sum of the first layer and the blocks (s, b, h)."""
        activate = ACTIVATIONS[self.activation]
        h = linear(x, parts[0], parts[1])
        for i in range(2, len(parts) - 3, 4):
            h = h + linear(activate(linear(activate(h), *parts[i : i + 2])), *parts[i + 2 : i + 4])
        return activate(h)

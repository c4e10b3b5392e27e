"""A small convolutional net for covariates that are the pixels of images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from deepdml.errors import OptionError
from deepdml.learn.backbones.contract import ACTIVATIONS, Backbone, Part, bias, linear, weights

KERNEL = 3


@dataclass(frozen=True, slots=True)
class Convolution(Backbone):
    """Convolutions of 3 x 3 pixels, each halving the image, and a dense layer on what is left and other covariates.

    Parameters
    ----------
    height, width, channels : int
        Shape of an image; the channels of a pixel are neighbours, as in a flattened array (height, width, channels).
    pixels : tuple of int
        Columns of the covariates that are the image, in order; the others join at the dense layer.
    hidden : tuple of int
        Channels after each convolution, then the width of the dense layer.
    """

    name: ClassVar[str] = "conv"
    default_hidden: ClassVar[tuple[int, ...]] = (8, 16, 32)
    activations: ClassVar[tuple[str, ...]] = ("silu",)

    height: int
    width: int
    channels: int
    pixels: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that the image can be halved as often as there are convolutions."""
        count = len(self.hidden) - 1
        if min(self.height, self.width) < 2**count:
            raise OptionError(
                f"hidden={self.hidden} has {count} convolutions, each of which halves the image, and an image of "
                f"{self.height} x {self.width} pixels is too small for that; use fewer."
            )

    @property
    def config(self) -> dict[str, Any]:
        """The image's shape and columns, too."""
        image = {"height": self.height, "width": self.width, "channels": self.channels, "pixels": list(self.pixels)}
        # slots leave no class cell for a bare super()
        return super(Convolution, self).config | image

    @property
    def others(self) -> list[int]:
        """Columns of the covariates that are no pixels."""
        return sorted(set(range(self.n_in)) - set(self.pixels))

    @property
    def trunk(self) -> list[Part]:
        """Each convolution's weights (patch, channels) and bias, then those of the dense layer."""
        *filters, dense = self.hidden
        layers = [part for a, b in pairwise((self.channels, *filters)) for part in (weights(a * KERNEL**2, b), bias(b))]
        left = (self.height >> len(filters)) * (self.width >> len(filters)) * (filters or [self.channels])[-1]
        left += len(self.others)
        return [*layers, weights(left, dense), bias(dense)]

    @property
    def n_features(self) -> int:
        """Width of the dense layer."""
        return self.hidden[-1]

    def features(self, parts: list[Tensor], x: Tensor) -> Tensor:
        """Return the dense layer (s, b, h)."""
        activate = ACTIVATIONS[self.activation]
        s, b, _ = x.shape
        pixels = torch.tensor(self.pixels, device=x.device)
        image = x[..., pixels].view(s * b, self.height, self.width, self.channels).permute(0, 3, 1, 2)
        for layer, shift in zip(parts[:-5:2], parts[1:-5:2], strict=True):
            image = torch.nn.functional.avg_pool2d(activate(_convolve(image, layer, shift)), 2)
        dense = image.reshape(s, b, -1)
        if others := self.others:
            dense = torch.cat([dense, x[..., torch.tensor(others, device=x.device)]], 2)
        return activate(linear(dense, parts[-5], parts[-4]))


def _convolve(image: Tensor, layer: Tensor, shift: Tensor) -> Tensor:
    """Return each net's images (s * b, c, height, width) under its weights (s, c * 9, out), edges padded with zeros.

    As products of patches, one matrix a net: grouped convolutions may sum in an order that depends on how many nets
    there are, and nets together would not be, to the bit, nets alone.
    """
    nets, height, width = len(layer), *image.shape[2:]
    patches = torch.nn.functional.unfold(image, KERNEL, padding=KERNEL // 2)
    rows = patches.transpose(1, 2).reshape(nets, -1, layer.shape[1])
    out = torch.baddbmm(shift, rows, layer)
    return out.view(len(image), height, width, -1).permute(0, 3, 1, 2)

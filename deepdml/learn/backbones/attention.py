"""A transformer over covariate tokens, which the treatments' coefficients query."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepdml.errors import OptionError
from deepdml.learn.backbones.contract import ACTIVATIONS, Backbone, Part, bias, linear, weights

HEADS = 4
TOKENS = 16  # most tokens: attention costs their square, so more covariates share tokens


@dataclass(frozen=True, slots=True)
class Transformer(Backbone):
    """Self-attention among covariate tokens, and cross-attention from one learned query for each coefficient.

    Each covariate is a token (`TOKENS` runs of neighbouring columns where there are more): its value times a vector
    plus its own vector. Theta(x) is linear in the structural row, so a treatment enters as the query of its
    coefficient. `hidden` are the width of a token, a multiple of `HEADS`, then that of the inner layer of each block.

    References
    ----------
    Zhang, Zhang, Lipton, Li & Xing, "Exploring Transformer Backbones for Heterogeneous Treatment Effect Estimation"
    (TransTEE, 2022), arXiv 2202.01336, section 4.
    """

    name: ClassVar[str] = "transformer"
    default_hidden: ClassVar[tuple[int, ...]] = (32, 64)
    activations: ClassVar[tuple[str, ...]] = ("silu",)

    def __post_init__(self) -> None:
        """Check that attention heads share a token evenly."""
        if self.hidden[0] % HEADS:
            raise OptionError(
                f"hidden={self.hidden} gives the transformer tokens of width {self.hidden[0]}; it needs a multiple of "
                f"{HEADS}, such as {self.default_hidden}."
            )

    @property
    def n_tokens(self) -> int:
        """Number of tokens g."""
        return min(self.n_in, TOKENS)

    @property
    def trunk(self) -> list[Part]:
        """Tokens, the blocks of self-attention, the queries and the block in which they attend to the tokens."""
        width, *inner = self.hidden
        g, c = self.n_tokens, math.ceil(self.n_in / self.n_tokens)
        tokens = [Part((g, c, width), math.sqrt(1.0 / c)), Part((1, g, width), 1.0, decayed=False)]
        blocks = [part for m in inner for part in [*self._attention, *self._layers(m)]]
        queries = Part((self.n_out, width), 1.0, decayed=False)
        return [*tokens, *blocks, queries, *self._attention, *self._layers((inner or [width])[-1])]

    @property
    def _attention(self) -> list[Part]:
        width = self.hidden[0]
        return [part for _ in range(4) for part in (weights(width, width, 1.0), bias(width))]

    def _layers(self, inner: int) -> list[Part]:
        width = self.hidden[0]
        return [weights(width, inner), bias(inner), weights(inner, width, 1.0), bias(width)]

    @property
    def n_features(self) -> int:
        """One vector of a token's width for each output."""
        return self.n_out * self.hidden[0]

    def features(self, parts: list[Tensor], x: Tensor) -> Tensor:
        """Return what the queries found (s, b, o * w)."""
        h, at = self._tokens(parts, x), 2
        for _ in self.hidden[1:]:
            h = self._block(parts[at : at + 12], h, h)
            at += 12
        queries = parts[at][:, None].expand(-1, x.shape[1], -1, -1)
        found = self._block(parts[at + 1 : at + 13], queries, h)
        return _normed(found).flatten(2)

    def _tokens(self, parts: list[Tensor], x: Tensor) -> Tensor:
        """Return the tokens (s, b, g, w) of covariates (s, b, p); the last token is filled up with zeros."""
        s, b, p = x.shape
        g, c, w = parts[0].shape[1:]
        filled = torch.nn.functional.pad(x, (0, g * c - p)).view(s, b, g, c).transpose(1, 2)
        tokens = torch.bmm(filled.flatten(0, 1), parts[0].flatten(0, 1)).view(s, g, b, w).transpose(1, 2)
        return tokens.contiguous() + parts[1]

    def _block(self, parts: list[Tensor], h: Tensor, tokens: Tensor) -> Tensor:
        """Return h (s, b, m, w) after attending to tokens (s, b, g, w), and after its two layers."""
        query, key, value = (
            _heads(linear(_normed(source), *parts[2 * i : 2 * i + 2])) for i, source in enumerate((h, tokens, tokens))
        )
        shares = (query @ key.transpose(-1, -2) / math.sqrt(key.shape[-1])).softmax(-1)
        h = h + linear((shares @ value).transpose(2, 3).flatten(3), *parts[6:8])
        inner = ACTIVATIONS[self.activation](linear(_normed(h), *parts[8:10]))
        return h + linear(inner, *parts[10:12])


def _normed(h: Tensor) -> Tensor:
    return torch.nn.functional.layer_norm(h, h.shape[-1:])


def _heads(h: Tensor) -> Tensor:
    """Return (s, b, m, w) as (s, b, heads, m, w / heads)."""
    return h.view(*h.shape[:3], HEADS, -1).transpose(2, 3)

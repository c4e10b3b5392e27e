"""Backbones by name: nets batched over folds."""

from __future__ import annotations

from typing import Any

from deepdml.learn.backbones.attention import Transformer
from deepdml.learn.backbones.contract import ACTIVATIONS, Backbone
from deepdml.learn.backbones.convolution import Convolution
from deepdml.learn.backbones.modules import Module
from deepdml.learn.backbones.perceptrons import Perceptron, Residual

BACKBONES: dict[str, type[Backbone]] = {
    cls.name: cls for cls in (Perceptron, Residual, Transformer, Convolution, Module)
}


def build(config: dict[str, Any], n_in: int, n_out: int) -> Backbone:
    """Return the backbone that a `Backbone.config` describes, for p covariates and o outputs."""
    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    return BACKBONES[options.pop("backbone")](n_in=n_in, n_out=n_out, **options)


__all__ = ["ACTIVATIONS", "BACKBONES", "Backbone", "Perceptron", "build"]

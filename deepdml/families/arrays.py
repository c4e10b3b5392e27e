"""The few elementwise functions families need, for numpy arrays and torch tensors alike."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from scipy import special


def _torch(value: Any) -> Any:
    """Return the torch module when `value` is a tensor, without importing torch for anyone else."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(value, torch.Tensor) else None


def exp(value: Any) -> Any:
    """Exponential."""
    torch = _torch(value)
    return torch.exp(value) if torch else np.exp(value)


def log(value: Any) -> Any:
    """Natural logarithm."""
    torch = _torch(value)
    return torch.log(value) if torch else np.log(value)


def softplus(value: Any) -> Any:
    """log(1 + exp(value)), without overflow."""
    torch = _torch(value)
    return torch.nn.functional.softplus(value) if torch else np.logaddexp(0.0, value)


def expit(value: Any) -> Any:
    """1 / (1 + exp(-value))."""
    torch = _torch(value)
    return torch.sigmoid(value) if torch else special.expit(value)


def ones_like(value: Any) -> Any:
    """Ones of the same kind and shape."""
    torch = _torch(value)
    return torch.ones_like(value) if torch else np.ones_like(value)


def zeros_like(value: Any) -> Any:
    """Zeros of the same kind and shape."""
    torch = _torch(value)
    return torch.zeros_like(value) if torch else np.zeros_like(value)

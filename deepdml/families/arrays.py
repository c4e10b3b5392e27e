"""The few functions families need, for numpy arrays and torch tensors alike."""

from __future__ import annotations

import sys
from collections.abc import Sequence
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


def expm1(value: Any) -> Any:
    """exp(value) - 1, without cancellation."""
    torch = _torch(value)
    return torch.expm1(value) if torch else np.expm1(value)


def log1p(value: Any) -> Any:
    """log(1 + value), without cancellation."""
    torch = _torch(value)
    return torch.log1p(value) if torch else np.log1p(value)


def softplus(value: Any) -> Any:
    """log(1 + exp(value)), without overflow."""
    torch = _torch(value)
    return torch.nn.functional.softplus(value) if torch else np.logaddexp(0.0, value)


def expit(value: Any) -> Any:
    """1 / (1 + exp(-value))."""
    torch = _torch(value)
    return torch.sigmoid(value) if torch else special.expit(value)


def log_ndtr(value: Any) -> Any:
    """Log of the standard normal distribution function."""
    torch = _torch(value)
    return torch.special.log_ndtr(value) if torch else special.log_ndtr(value)


def ndtr(value: Any) -> Any:
    """Return the normal distribution function."""
    torch = _torch(value)
    return torch.special.ndtr(value) if torch else special.ndtr(value)


def ndtri(value: Any) -> Any:
    """Quantile of the normal distribution."""
    torch = _torch(value)
    return torch.special.ndtri(value) if torch else special.ndtri(value)


def lgamma(value: Any) -> Any:
    """Log of the gamma function."""
    torch = _torch(value)
    return torch.lgamma(value) if torch else special.gammaln(value)


def digamma(value: Any) -> Any:
    """First derivative of lgamma."""
    torch = _torch(value)
    return torch.digamma(value) if torch else special.digamma(value)


def trigamma(value: Any) -> Any:
    """Second derivative of lgamma."""
    torch = _torch(value)
    return torch.polygamma(1, value) if torch else special.polygamma(1, value)


def logaddexp(first: Any, second: Any) -> Any:
    """log(exp(first) + exp(second)), without overflow."""
    torch = _torch(first)
    return torch.logaddexp(first, second) if torch else np.logaddexp(first, second)


def where(condition: Any, first: Any, second: Any) -> Any:
    """`first` where a condition holds, else `second`."""
    torch = _torch(condition)
    return torch.where(condition, first, second) if torch else np.where(condition, first, second)


def stack(values: Sequence[Any]) -> Any:
    """Join arrays of one shape along a new last axis."""
    torch = _torch(values[0])
    return torch.stack(torch.broadcast_tensors(*values), -1) if torch else np.stack(np.broadcast_arrays(*values), -1)


def matrix(rows: Sequence[Sequence[Any]]) -> Any:
    """Join arrays of one shape to matrices along two new last axes."""
    flat = stack([value for row in rows for value in row])
    return flat.reshape((*flat.shape[:-1], len(rows), len(rows[0])))


def ones_like(value: Any) -> Any:
    """Ones of the same kind and shape."""
    torch = _torch(value)
    return torch.ones_like(value) if torch else np.ones_like(value)


def zeros_like(value: Any) -> Any:
    """Zeros of the same kind and shape."""
    torch = _torch(value)
    return torch.zeros_like(value) if torch else np.zeros_like(value)


def logsumexp(value: Any) -> Any:
    """Log of the sum of exponentials over the last axis, without overflow."""
    torch = _torch(value)
    return torch.logsumexp(value, -1) if torch else special.logsumexp(value, axis=-1)


def take(value: Any, codes: Any) -> Any:
    """Return the entry of the last axis that each code names, the codes being whole numbers of any type."""
    shape = np.broadcast_shapes(value.shape[:-1], codes.shape)
    torch = _torch(value)
    if torch:
        return value.expand(*shape, -1).gather(-1, codes.long().expand(shape)[..., None])[..., 0]
    places = np.broadcast_to(codes.astype(np.intp), shape)[..., None]
    return np.take_along_axis(np.broadcast_to(value, (*shape, value.shape[-1])), places, -1)[..., 0]

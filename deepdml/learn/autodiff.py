"""Derivatives of a user's function of theta, all rows and nodes in one backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepdml.errors import OptionError

Float = NDArray[np.float64]


def differentiate(
    function: Callable[[Tensor, Tensor, Tensor], Tensor], x: Float, t: Float, theta: Float, some: bool = False
) -> tuple[Float, Float]:
    """Return H (..., q) and dH/dtheta (..., q, d_theta).

    Parameters
    ----------
    function : callable
        Takes tensors x (..., p), t (..., d), theta (..., d_theta) in double precision and returns (...) or (..., q).
    x, t, theta : arrays
        With leading axes that broadcast against each other.
    some : bool
        Whether these are some rows of all, at which the function may be flat.

    Raises
    ------
    OptionError
        For a function that fails, returns something else or of another shape, or cannot be differentiated.
    """
    lead = np.broadcast_shapes(x.shape[:-1], t.shape[:-1], theta.shape[:-1])
    covariates = _expanded(x, lead)
    rows = _expanded(t, lead)
    coefficients = _expanded(theta, lead).clone().requires_grad_()
    out = _call(function, covariates, rows, coefficients)
    if not isinstance(out, Tensor) or out.shape[: len(lead)] != lead or out.ndim > len(lead) + 1:
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise OptionError(
            f"the function returned {shape} for theta of shape {tuple(coefficients.shape)}; needed is a tensor of "
            f"shape {lead}, or {lead} with one more axis for several estimands. Index the last axis, as in "
            "theta[..., 1]: the leading ones are rows and nodes."
        )
    values = out if out.ndim > len(lead) else out[..., None]
    if not values.requires_grad and not some:
        raise OptionError(
            "the function's value does not depend on theta in a way that can be differentiated; compute it from theta "
            "with torch operations, without comparisons, rounding, .detach() or numpy."
        )
    pieces = [_slope(values[..., j].sum(), coefficients) for j in range(values.shape[-1])]
    slopes = torch.stack(pieces, dim=-2).numpy()
    if not slopes.any() and not some:
        raise OptionError("the function's derivative with respect to theta is zero at every row; is it rounded?")
    return values.detach().numpy().astype(np.float64), slopes.astype(np.float64)


def loss_gradient(loss: Callable[[Tensor, Tensor], Tensor], y: Tensor, eta: Tensor) -> Tensor:
    """Return first derivatives (..., r) of a row-wise loss in its indices (..., r); errors as `loss_derivatives`."""
    leaf = eta.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = _evaluated(loss, y, leaf)
        _check_loss(value, leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return gradient


def loss_derivatives(
    loss: Callable[[Tensor, Tensor], Tensor], y: Tensor, eta: Tensor, definite: bool
) -> tuple[Tensor, Tensor]:
    """Return first (..., r) and second derivatives (..., r, r) of a row-wise loss in its indices (..., r).

    Parameters
    ----------
    loss : callable
        Takes the outcome's columns and eta, and returns the loss of each row (...).
    definite : bool
        Whether negative eigenvalues of the second derivatives change their sign, for Newton's method.

    Raises
    ------
    OptionError
        For a loss of another shape, or one that cannot be differentiated twice.
    """
    leaf = eta.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = _evaluated(loss, y, leaf)
        _check_loss(value, leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
        rows = [_slope(gradient[..., j].sum(), leaf) for j in range(eta.shape[-1])]
    second = torch.stack(rows, -2)
    if definite:
        values, vectors = torch.linalg.eigh(second)
        second = (vectors * values.abs()[..., None, :]) @ vectors.transpose(-1, -2)
    return gradient.detach(), second


FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


def _evaluated(loss: Callable[[Tensor, Tensor], Any], y: Tensor, eta: Tensor) -> Any:
    try:
        return loss(y, eta)
    except FAILURES as error:
        raise OptionError(
            f"the loss failed ({_reason(error)}). It is called as loss(y, t, theta) with torch tensors, theta of shape "
            f"{tuple(eta.shape)}; use torch's functions, not numpy's."
        ) from error


def _reason(error: Exception) -> str:
    """Return what went wrong in one line."""
    name = type(error).__name__
    return f"{name}: {str(error).splitlines()[0].rstrip('.')}" if str(error) else name


def _check_loss(value: Any, eta: Tensor) -> None:
    lead = eta.shape[:-1]
    if not isinstance(value, Tensor) or value.shape != lead:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise OptionError(
            f"the loss returned {shape} for theta of shape {tuple(eta.shape)}; needed is one number a row, a tensor of "
            f"shape {tuple(lead)}. Index the last axis, as in theta[..., 1], and don't sum over rows."
        )
    if not value.requires_grad:
        raise OptionError(
            "the loss does not depend on theta in a way that can be differentiated; compute it from theta with torch "
            "operations, without comparisons, rounding, .detach() or numpy."
        )


def _slope(total: Tensor, source: Tensor) -> Tensor:
    """Return the derivative of a number with respect to a tensor; zeros where it was not computed from it."""
    if not total.requires_grad:
        return torch.zeros_like(source)
    found: tuple[Tensor | None, ...] = torch.autograd.grad(total, (source,), retain_graph=True, allow_unused=True)
    return torch.zeros_like(source) if found[0] is None else found[0]


def _expanded(values: Float, lead: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64)).expand(*lead, values.shape[-1])


def _call(function: Callable[..., Any], x: Tensor, t: Tensor, theta: Tensor) -> Any:
    try:
        return function(x, t, theta)
    except FAILURES as error:
        raise OptionError(
            f"the function failed ({_reason(error)}). It is called as h(x, t, theta) with torch tensors of shapes "
            f"{tuple(x.shape)}, {tuple(t.shape)} and {tuple(theta.shape)}; use torch's functions, not numpy's."
        ) from error

"""H of an estimand at the observed rows, and its gradient averaged over the law of the structural row given x."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError
from deepdml.estimands.base import Evaluation, Sample
from deepdml.estimands.fields import MOMENTS_ONLY, Field, Terms, Weighting
from deepdml.learn.influence import LocationScaleLaw, TreatmentLaw

Float = NDArray[np.float64]

NEAR = 1 / 16  # of the reach of a difference, where it is taken again
CHUNK = 2**17  # numbers of a gradient at the nodes that are held at once: 1 MB stays in the processor's cache


def structural_row(sample: Sample) -> Field:
    """Return the structural row itself as a field."""
    law = sample.law
    if law is None:
        return Field(sample.t, reason=MOMENTS_ONLY)
    return Field(sample.t, lambda rows: law.nodes(rows)[0])


def average(sample: Sample, terms: Terms, fields: tuple[Field, ...], subset: Field | None = None) -> Evaluation:
    """Return H at the observed rows, its bend, and G, its gradient's mean over the law of the structural row given x.

    Parameters
    ----------
    terms : callable
        H and its gradient, given theta and the values of `fields`.
    fields : tuple of Field
        What H depends on beside theta.
    subset : Field, optional
        An indicator s. Then the components are s H and, last, s itself, whose ratio is the mean over the subset.

    Raises
    ------
    OptionError
        Where G needs the law of the structural row and only its moments were learned.
    """
    theta = sample.theta
    n, d_theta = theta.shape
    values, gradient = terms(theta, *(field.own for field in fields))
    values = np.broadcast_to(values, (n, *values.shape[1:]))
    free = all(field.free for field in fields) or (sample.law is None and _gradient_is_free(terms, theta, fields))
    if isinstance(subset, Weighting) and not free:
        raise OptionError(
            "overlap weights need an estimand that is a function of the covariates alone, such as a coefficient or a "
            "Contrast; this one varies with the treatment. Use Overlap('optimal') for it."
        )
    if free and (subset is None or subset.free):
        conditional = np.broadcast_to(gradient, (n, *gradient.shape[1:]))
        if subset is not None:
            conditional = subset.own[:, None, None] * conditional
    elif sample.law is None:
        raise OptionError(MOMENTS_ONLY)
    else:
        conditional = _integrate(sample.law, terms, theta, fields, subset, gradient.shape[-2])
    bend = 0.0 if sample.noise is None else _bend(terms, theta, sample.noise, fields, gradient)
    if subset is None:
        return Evaluation(values, conditional, all(field.free for field in fields), bend)
    share = np.broadcast_to(subset.own, (n,))
    stacked = np.concatenate([share[:, None] * values, share[:, None]], axis=1)
    if sample.noise is not None:
        bend = np.concatenate([share[:, None] * bend, np.zeros((n, 1))], axis=1)
    return Evaluation(stacked, np.concatenate([conditional, np.zeros((n, 1, d_theta))], axis=1), bend=bend)


def _bend(terms: Terms, theta: Float, noise: Float, fields: tuple[Field, ...], gradient: Float) -> Float:
    """Return half the trace of d2H/dtheta2 (n, c, d, d) times the noise, from differences of the gradient.

    The differences reach as far as theta errs, along the principal axes of its covariance. They are exact for H of
    third degree, and zero where H is linear in theta, which its gradient shows. Where they exceed the standard
    deviation of H to first order they are taken again near theta, and that is kept if it is less than half of them:
    H then grows faster within that reach than any expansion follows, as variances of laws with heavy tails do.
    """
    own = [field.own for field in fields]
    reach = np.sqrt(np.maximum(np.einsum("nkk->nk", noise), 0.0))
    if np.array_equal(gradient, terms(theta + reach, *own)[1]):
        return np.zeros((len(theta), gradient.shape[-2]))
    variances, axes = np.linalg.eigh(noise)
    steps = axes * np.sqrt(np.maximum(variances, 0.0))[:, None]
    total = _differences(terms, theta, steps, own)
    doubtful = np.flatnonzero((np.abs(total) > np.sqrt(((gradient @ steps) ** 2).sum(-1))).any(-1))
    if len(doubtful):
        there = [values if len(values) == 1 else values[doubtful] for values in own]
        near = _differences(terms, theta[doubtful], NEAR * steps[doubtful], there) / NEAR**2
        total[doubtful] = np.where(np.abs(total[doubtful]) > 2.0 * np.abs(near), near, total[doubtful])
    return total


def _differences(terms: Terms, theta: Float, steps: Float, own: list[Float]) -> Float:
    """Return half the sum of second derivatives (n, c) along the columns of `steps` (n, d, d)."""
    total = 0.0
    for step in np.moveaxis(steps, 2, 0):
        ahead, behind = (terms(theta + sign * step, *own)[1] for sign in (1.0, -1.0))
        total = total + 0.25 * ((ahead - behind) @ step[:, :, None])[..., 0]
    return np.asarray(total)


def _integrate(
    law: TreatmentLaw, terms: Terms, theta: Float, fields: tuple[Field, ...], subset: Field | None, c: int
) -> Float:
    """Return the conditional mean of the gradient (n, c, d_theta), weighted by the indicator of the subset."""
    n, d_theta = theta.shape
    m = law.nodes(slice(0, 1))[1].shape[1]
    out = np.empty((n, c, d_theta))
    step = max(1, CHUNK // (m * c * d_theta))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        # the weights of a continuous treatment don't vary, and its structural rows are slow to tabulate
        weights = law.weights[None] if isinstance(law, LocationScaleLaw) else law.nodes(rows)[1]
        if subset is not None:
            weights = weights * subset.at(rows)
        gradient = terms(theta[rows, None], *(field.at(rows) for field in fields))[1]
        shape = (rows.stop - start, m, c, d_theta)
        # a matrix product of each row's weights with its nodes; einsum over four axes is several times slower
        weights = np.broadcast_to(weights, shape[:2])[:, None]
        out[rows] = (weights @ np.broadcast_to(gradient, shape).reshape(*shape[:2], -1)).reshape(-1, c, d_theta)
    return out


def _gradient_is_free(terms: Terms, theta: Float, fields: tuple[Field, ...]) -> bool:
    """Return whether the gradient stays the same when rows exchange their structural rows."""
    own = [field.own for field in fields]
    moved = [field.own if field.free else np.roll(field.own, 1, axis=0) for field in fields]
    here, there = terms(theta, *own)[1], terms(theta, *moved)[1]
    # 1e-9: rounding, and differences of encodings where fields are derivatives
    return bool(np.allclose(here, there, rtol=1e-9, atol=1e-9 * (np.abs(here).max() or 1.0)))

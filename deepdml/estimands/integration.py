"""H of an estimand at the observed rows, and its gradient averaged over the law of the structural row given x."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError
from deepdml.estimands.base import Evaluation, Sample
from deepdml.estimands.fields import MOMENTS_ONLY, Field, Terms, Weighting, slope_of
from deepdml.learn.influence import LocationScaleLaw, TreatmentLaw

Float = NDArray[np.float64]

NEAR = 1 / 16  # of the reach of a difference, where it is taken again
ORDERS = (5, 8, 12, 16, 24)  # numbers of nodes that are tried in place of all
PILOT = 1_000  # rows on which they are tried; a tenth of all at most
NEGLIGIBLE = 1e-4  # standard errors by which an estimate may change for having fewer nodes
ROUNDING = 1e-12  # of a row's largest variance of theta: a smaller one is none, as the members of a jackknife are few
CHUNK = 2**17  # numbers of a gradient at the nodes that are held at once: 1 MB stays in the processor's cache


def structural_row(sample: Sample) -> Field:
    """Return the structural row itself as a field."""
    law = sample.law
    if law is None:
        return Field(sample.t, reason=MOMENTS_ONLY)
    return Field(sample.t, lambda rows, law: law.nodes(rows)[0])


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
    thetas = [theta] if sample.second is None else [theta, sample.second]
    if free and (subset is None or subset.free):
        slopes = [gradient, *(slope_of(terms, other, *(field.own for field in fields)) for other in thetas[1:])]
        conditional = [np.broadcast_to(slope, (n, *gradient.shape[1:])) for slope in slopes]
        if subset is not None:
            conditional = [subset.own[:, None, None] * slope for slope in conditional]
    elif sample.law is None:
        raise OptionError(MOMENTS_ONLY)
    else:
        law = _thinned(sample.law, sample, terms, fields, subset)
        conditional = _integrate(law, terms, thetas, fields, subset, gradient.shape[-2])
    bend = 0.0 if sample.noise is None else _bend(terms, theta, sample.noise, fields, gradient)
    if subset is None:
        return Evaluation(values, conditional[0], all(field.free for field in fields), bend, *conditional[1:])
    share = np.broadcast_to(subset.own, (n,))
    stacked = np.concatenate([share[:, None] * values, share[:, None]], axis=1)
    if sample.noise is not None:
        bend = np.concatenate([share[:, None] * bend, np.zeros((n, 1))], axis=1)
    conditional = [np.concatenate([slope, np.zeros((n, 1, d_theta))], axis=1) for slope in conditional]
    return Evaluation(stacked, conditional[0], False, bend, *conditional[1:])


def _bend(terms: Terms, theta: Float, noise: Float, fields: tuple[Field, ...], gradient: Float) -> Float:
    """Return half the trace of d2H/dtheta2 (n, c, d, d) times the noise, from differences of the gradient.

    The differences reach as far as theta errs, along the principal axes of its covariance. They are exact for H of
    third degree, and zero where H is linear in theta, which its gradient shows. Where they exceed the standard
    deviation of H to first order they are taken again near theta, and that is kept if it is less than half of them:
    H then grows faster within that reach than any expansion follows, as variances of laws with heavy tails do.
    """
    n, c = len(theta), gradient.shape[-2]
    step = max(1, CHUNK // gradient[0].size)
    blocks = [slice(start, min(start + step, n)) for start in range(0, n, step)]
    own = [[_of(field.own, rows) for field in fields] for rows in blocks]
    reach = np.sqrt(np.maximum(np.einsum("nkk->nk", noise), 0.0))
    pairs = list(zip(blocks, own, strict=True))
    if all(
        np.array_equal(_of(gradient, rows), slope_of(terms, (theta + reach)[rows], *there)) for rows, there in pairs
    ):
        return np.zeros((n, c))
    variances, axes = np.linalg.eigh(noise)
    steps = axes * np.sqrt(np.maximum(variances, 0.0))[:, None]
    steps = steps[..., (variances > ROUNDING * variances.max(axis=1, keepdims=True)).any(axis=0)]
    bends = [_bend_of_rows(terms, theta[rows], steps[rows], there, _of(gradient, rows)) for rows, there in pairs]
    return np.concatenate(bends)


def _bend_of_rows(terms: Terms, theta: Float, steps: Float, own: list[Float], gradient: Float) -> Float:
    """Return the bend (n, c) of a block of rows by the rule of `_bend`, along `steps` (n, d, r)."""
    total = _differences(terms, theta, steps, own)
    doubtful = np.flatnonzero((np.abs(total) > np.sqrt(((gradient @ steps) ** 2).sum(-1))).any(-1))
    if len(doubtful):
        there = [_of(values, doubtful) for values in own]
        near = _differences(terms, theta[doubtful], NEAR * steps[doubtful], there) / NEAR**2
        total[doubtful] = np.where(np.abs(total[doubtful]) > 2.0 * np.abs(near), near, total[doubtful])
    return total


def _of(values: Float, rows: Any) -> Float:
    """Return values (n, ...) in some rows; the one row that stands for all where there is one."""
    return values if len(values) == 1 else values[rows]


def _differences(terms: Terms, theta: Float, steps: Float, own: list[Float]) -> Float:
    """Return half the sum of second derivatives (n, c) along the columns of `steps` (n, d, r)."""
    total: Any = 0.0
    for step in np.moveaxis(steps, 2, 0):
        ahead, behind = (slope_of(terms, theta + sign * step, *own) for sign in (1.0, -1.0))
        total = total + 0.25 * ((ahead - behind) @ step[:, :, None])[..., 0]
    return np.asarray(total)


def _thinned(
    law: TreatmentLaw, sample: Sample, terms: Terms, fields: tuple[Field, ...], subset: Field | None
) -> TreatmentLaw:
    """Return the law with the fewest nodes that leave the estimate what it is with all; itself where rows are few.

    Gauss nodes of the law of the residuals give polynomials in T their exact means, so that a few are enough where the
    gradient is smooth in T, and none where it jumps. Which it is, every some row tells: what is added to G Lambda^{-1}
    score has the variance of g Lambda^{-1} g' given x, as G has its own, and the root of their ratio is in standard
    errors.
    """
    n, inverse = len(sample.theta), sample.lambda_inverse
    if not isinstance(law, LocationScaleLaw) or inverse is None or n < 10 * PILOT:
        return law
    rows = slice(0, n, n // PILOT)

    def over(nodes: LocationScaleLaw) -> Float:
        return _over_nodes(nodes, terms, [sample.theta], fields, subset, rows)[0]

    def variance(gradient: Float) -> Float:
        return np.asarray(np.einsum("nck,nck->c", gradient @ inverse[rows], gradient))

    exact = over(law)
    for order in ORDERS:
        fewer = law.condensed(order)
        if (variance(over(fewer) - exact) <= NEGLIGIBLE**2 * variance(exact)).all():
            return fewer
    return law


def _integrate(
    law: TreatmentLaw, terms: Terms, thetas: list[Float], fields: tuple[Field, ...], subset: Field | None, c: int
) -> list[Float]:
    """Return the conditional mean of the gradient (n, c, d_theta) at every theta, weighted by the indicator."""
    n, d_theta = thetas[0].shape
    m = law.nodes(slice(0, 1))[1].shape[1]
    out = [np.empty((n, c, d_theta)) for _ in thetas]
    step = max(1, CHUNK // (m * c * d_theta))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        for whole, part in zip(out, _over_nodes(law, terms, thetas, fields, subset, rows), strict=True):
            whole[rows] = part
    return out


def _over_nodes(
    law: TreatmentLaw, terms: Terms, thetas: list[Float], fields: tuple[Field, ...], subset: Field | None, rows: slice
) -> list[Float]:
    """Return the conditional mean of the gradient (n_rows, c, d_theta) in a slice of rows, at every theta."""
    # the weights of a continuous treatment don't vary, and its structural rows are slow to tabulate
    weights = law.weights[None] if isinstance(law, LocationScaleLaw) else law.nodes(rows)[1]
    if subset is not None:
        weights = weights * subset.at(rows, law)
    values = [field.at(rows, law) for field in fields]
    out = []
    for theta in thetas:
        gradient = slope_of(terms, theta[rows, None], *values)
        c, d_theta = gradient.shape[-2:]
        shape = (len(theta[rows]), weights.shape[1], c, d_theta)
        # a matrix product of each row's weights with its nodes; einsum over four axes is several times slower
        heavy = np.broadcast_to(weights, shape[:2])[:, None]
        out.append((heavy @ np.broadcast_to(gradient, shape).reshape(*shape[:2], -1)).reshape(-1, c, d_theta))
    return out


def _gradient_is_free(terms: Terms, theta: Float, fields: tuple[Field, ...]) -> bool:
    """Return whether the gradient stays the same when rows exchange their structural rows."""
    own = [field.own for field in fields]
    moved = [field.own if field.free else np.roll(field.own, 1, axis=0) for field in fields]
    here, there = slope_of(terms, theta, *own), slope_of(terms, theta, *moved)
    # 1e-9: rounding, and differences of encodings where fields are derivatives
    return bool(np.allclose(here, there, rtol=1e-9, atol=1e-9 * (np.abs(here).max() or 1.0)))

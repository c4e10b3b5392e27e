"""Multiplier bootstrap of a mean of influence values.

A draw multiplies the contribution of every cluster (or row) by a random number of mean zero and variance one. Testing
that the mean is mu0, contributions are taken around mu0 and each draw is studentized by its own standard error: the
wild cluster bootstrap with the null imposed, for a regression of psi on a constant. Everything it needs are sums over
clusters, so that one product of the multipliers with a narrow matrix serves every mu0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import unknown_option

Float = NDArray[np.float64]
Weights = Literal["rademacher", "mammen", "webb", "normal"]

CHUNK = 2**18
"""Multipliers held at once: 2 MB, which stay in the processor's cache."""
TIE = 1e-9
"""Relative; the draw that multiplies all by one repeats the statistic up to rounding, and counts as as large."""

_ROOT5 = np.sqrt(5.0)
_MAMMEN = np.array([-(_ROOT5 - 1) / 2, (_ROOT5 + 1) / 2])
_MAMMEN_FIRST = (_ROOT5 + 1) / (2 * _ROOT5)
_WEBB = np.sqrt(np.array([0.5, 1.0, 1.5])) * np.array([[-1.0], [1.0]])


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over clusters g of multipliers v_g, contributions s_g (q,) and shares of the weights w_g.

    Parameters
    ----------
    vs, vws : (b, q) arrays
        Sums of v s and of v w s.
    vw, vww : (b,) arrays
        Sums of v w and of v w^2.
    vvss, vvws : (b, q) or (1, q) arrays
        Sums of v^2 s^2 and of v^2 w s; one row where v^2 is 1.
    vvww : (b,) or (1,) array
        Sum of v^2 w^2.
    ww : float
        Sum of w^2.
    """

    vs: Float
    vws: Float
    vw: Float
    vww: Float
    vvss: Float
    vvws: Float
    vvww: Float
    ww: float

    def statistics(self, gap: Float) -> Float:
        """Return the t statistic (b, q) of every draw with the null imposed.

        Parameters
        ----------
        gap : (q,) array
            Estimate minus the null; zero centers the draws at the estimate.
        """
        move = self.vs + self.vw[:, None] * gap
        square = self.vvss + 2 * self.vvws * gap + self.vvww[:, None] * gap**2
        cross = self.vws + self.vww[:, None] * gap
        variance = square - 2 * move * cross + move**2 * self.ww
        # where all clusters move alike a draw has no spread and an unbounded statistic; rounding can go below zero
        with np.errstate(divide="ignore", invalid="ignore"):
            found = move / np.sqrt(np.maximum(variance, 0.0))
        return np.asarray(np.nan_to_num(found, nan=0.0, posinf=np.inf, neginf=-np.inf))


def multiply(sums: Float, shares: Float, draws: int, weights: Weights, seed: int) -> Moments:
    """Return the moments of `draws` draws of multipliers.

    Parameters
    ----------
    sums : (g, q) array
        Sums of contributions by cluster, or the contributions of rows.
    shares : (g,) array
        The clusters' shares of the weights.
    draws : int
    weights : {"rademacher", "mammen", "webb", "normal"}
    seed : int

    References
    ----------
    Mammen, "Bootstrap and Wild Bootstrap for High Dimensional Linear Models" (Annals of Statistics 1993), equation 6.
    Webb, "Reworking wild bootstrap-based inference for clustered errors" (Canadian Journal of Economics 2023), the
    six-point distribution.
    Kline & Santos, "A Score Based Approach to Wild Bootstrap Inference" (Journal of Econometric Methods 2012).

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.random.default_rng(0).standard_normal((500, 1)) / 500
    >>> found = multiply(rows - rows.mean(), np.full(500, 1 / 500), 999, "rademacher", 0).statistics(np.zeros(1))
    >>> bool(1.8 < np.quantile(np.abs(found), 0.95) < 2.1)
    True
    """
    if weights not in _DRAW:
        raise unknown_option("weights", weights, get_args(Weights))
    draw, q = _DRAW[weights], sums.shape[1]
    w = shares[:, None]
    first = np.concatenate([sums, w * sums, w, w**2], axis=1)
    second = np.concatenate([sums**2, w * sums, w**2], axis=1)
    generator = np.random.default_rng(seed)
    linear = np.zeros((2 * q + 2, draws))
    square = np.zeros((2 * q + 1, draws)) if weights != "rademacher" else second.sum(axis=0)[:, None]
    step = max(1, CHUNK // draws)
    for start in range(0, len(sums), step):
        rows = slice(start, start + step)
        v = draw(generator, min(step, len(sums) - start), draws)
        linear += first[rows].T @ v
        if weights != "rademacher":
            square += second[rows].T @ np.square(v, out=v)
    if weights == "rademacher":  # drawn as 0 and 1, which spares a pass over them
        linear = 2.0 * linear - first.sum(axis=0)[:, None]
    return Moments(
        vs=linear[:q].T,
        vws=linear[q : 2 * q].T,
        vw=linear[2 * q],
        vww=linear[2 * q + 1],
        vvss=square[:q].T,
        vvws=square[q : 2 * q].T,
        vvww=square[2 * q],
        ww=float(shares @ shares),
    )


def step_down(observed: Float, drawn: Float) -> Float:
    """Return Romano and Wolf's adjusted p-values (q,).

    The largest statistic is compared with the draws' largest of all, the next with their largest of the rest, and so
    on; an adjusted p-value is never below that of a larger statistic.

    Parameters
    ----------
    observed : (q,) array
        Statistics, whose absolute values count.
    drawn : (b, q) array
        Their draws under the null.

    References
    ----------
    Romano & Wolf, "Efficient computation of adjusted p-values for resampling-based stepdown multiple testing"
    (Statistics & Probability Letters 2016), algorithm 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> draws = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0], [2.0, 0.5, 0.0]])
    >>> step_down(np.array([2.5, -1.5, 0.5]), draws).tolist()
    [0.5, 0.75, 0.75]
    """
    size = np.abs(observed)
    order = np.argsort(-size, kind="stable")
    # the largest of the statistics that are left, from the smallest up
    largest = np.maximum.accumulate(np.abs(drawn)[:, order[::-1]], axis=1)[:, ::-1]
    beyond = (largest >= size[order] * (1 - TIE)).sum(axis=0)
    out = np.empty_like(size)
    out[order] = np.maximum.accumulate((1.0 + beyond) / (1.0 + len(drawn)))
    return out


def _signs(generator: np.random.Generator, rows: int, draws: int) -> Float:
    """Return 0 or 1 with equal probability, which stand for -1 and 1."""
    bits = generator.integers(0, 256, size=(rows, -(-draws // 8)), dtype=np.uint8)
    return np.unpackbits(bits, axis=1, count=draws).astype(np.float64)


def _mammen(generator: np.random.Generator, rows: int, draws: int) -> Float:
    return np.asarray(np.where(generator.random((rows, draws), dtype=np.float32) < _MAMMEN_FIRST, *_MAMMEN))


def _webb(generator: np.random.Generator, rows: int, draws: int) -> Float:
    return np.asarray(_WEBB.ravel()[generator.integers(0, 6, size=(rows, draws), dtype=np.uint8)])


def _normal(generator: np.random.Generator, rows: int, draws: int) -> Float:
    return np.asarray(generator.standard_normal((rows, draws), dtype=np.float32), dtype=np.float64)


_DRAW: dict[str, Callable[[np.random.Generator, int, int], Float]] = {
    "rademacher": _signs,
    "mammen": _mammen,
    "webb": _webb,
    "normal": _normal,
}

"""A choice among several alternatives, unordered."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np

from deepdml.errors import OptionError, near_names
from deepdml.families.arrays import exp, logsumexp, matrix, stack, take, zeros_like
from deepdml.families.base import Float, register
from deepdml.families.categories import Categories


@register
class MNLogit(Categories):
    """P(y = j) proportional to exp(u_j), with the utility of the first level zero: the conditional logit.

    Structural columns are individual-specific: each has a coefficient for every level but the first, named
    ``income[bus]``. Columns that `alternatives` names vary by level instead and share one coefficient.

    Parameters
    ----------
    levels : sequence, optional
        The J levels, the reference first; from the data by default.
    alternatives : dict, optional
        For each regressor that varies by level, its structural columns: ``{"price": {"air": "price_air", "bus":
        "price_bus", ...}}`` with an entry for every level, or a list in the order of the levels.

    References
    ----------
    McFadden, "Conditional logit analysis of qualitative choice behavior" (1974).
    """

    name = "mnlogit"
    canonical = True
    aliases = ("multinomial_logit", "multinomial")
    link = "multinomial logit"

    def __init__(self, levels: Any = None, alternatives: Mapping[str, Any] | None = None) -> None:
        super().__init__(levels)
        self.alternatives = {name: _plain(columns) for name, columns in (alternatives or {}).items()}

    def options(self) -> dict[str, Any]:
        return {**super().options(), **({"alternatives": self.alternatives} if self.alternatives else {})}

    @property
    def n_indices(self) -> int:
        return self.n_levels - 1

    def theta_names(self, t_names: tuple[str, ...]) -> tuple[str, ...]:
        own = self._individual(t_names)
        return (*(f"{name}[{level}]" for level in self.levels[1:] for name in own), *self.alternatives)

    def _columns_of(self, name: str, t_names: tuple[str, ...]) -> list[str]:
        """Return the structural columns of an alternative-specific regressor, one for each level."""
        given = self.alternatives[name]
        if isinstance(given, dict):
            missing = [level for level in self.levels if str(level) not in given]
            if missing:
                raise OptionError(f"alternatives[{name!r}] has no column for the level(s) {missing}.")
            given = [given[str(level)] for level in self.levels]
        if len(given) != self.n_levels:
            raise OptionError(
                f"alternatives[{name!r}] names {len(given)} columns for {self.n_levels} levels "
                f"({', '.join(map(str, self.levels))})."
            )
        for column in given:
            if column not in t_names:
                raise OptionError(
                    f"alternatives[{name!r}] names {column!r}, which is no column left of the bar; these are "
                    f"{', '.join(map(repr, t_names))}.{near_names(column, t_names)}"
                )
        return list(given)

    def _individual(self, t_names: tuple[str, ...]) -> list[str]:
        varying = {column for name in self.alternatives for column in self._columns_of(name, t_names)}
        return [name for name in t_names if name not in varying]

    def make_map(self, t_names: tuple[str, ...]) -> Float:
        own, d, r = self._individual(t_names), len(t_names), self.n_indices
        out = np.zeros((r, r * len(own) + len(self.alternatives), d + 1))
        for j in range(r):
            for c, name in enumerate(own):
                out[j, j * len(own) + c, t_names.index(name)] = 1.0
        for c, name in enumerate(self.alternatives):
            columns = [t_names.index(column) for column in self._columns_of(name, t_names)]
            out[np.arange(r), r * len(own) + c, columns[1:]] += 1.0
            out[:, r * len(own) + c, columns[0]] -= 1.0
        return out

    def loss(self, y: Any, eta: Any) -> Any:
        utility = _utilities(eta)
        return logsumexp(utility) - take(utility, y)

    def score(self, y: Any, eta: Any) -> Any:
        share = self.probabilities(eta)[..., 1:]
        return share - _hits(y, share)

    def hessian(self, eta: Any) -> Any:
        share = self.probabilities(eta)[..., 1:]
        return _diagonal(share) - share[..., :, None] * share[..., None, :]

    def start(self, y: Any) -> list[float]:
        counts = [float((y == j).sum()) + 0.5 for j in range(self.n_levels)]
        return [float(np.log(count / counts[0])) for count in counts[1:]]

    def probability(self, level: Any, eta: Any) -> Any:
        return _shares(eta)[self.place(level)]

    def probability_slope(self, level: Any, eta: Any) -> Any:
        place, share = self.place(level), _shares(eta)
        return np.stack([share[place] * ((place == j) - share[j]) for j in range(1, self.n_levels)], axis=-1)

    def probabilities(self, eta: Any) -> Any:
        utility = _utilities(eta)
        return exp(utility - logsumexp(utility)[..., None])


def _shares(eta: Float) -> list[Float]:
    """Return the probability of each level, column by column: a sum over a short last axis is slow in numpy."""
    utilities = [np.zeros_like(eta[..., 0]), *(eta[..., j] for j in range(eta.shape[-1]))]
    top = reduce(np.maximum, utilities)
    odds = [np.exp(utility - top) for utility in utilities]
    total = sum(odds[1:], odds[0])
    return [one / total for one in odds]


def _utilities(eta: Any) -> Any:
    """Return the utilities of all levels (..., J), that of the first being zero."""
    return stack([zeros_like(eta[..., 0]), *(eta[..., j] for j in range(eta.shape[-1]))])


def _plain(columns: Any) -> Any:
    if isinstance(columns, Mapping):
        return {str(level): column for level, column in columns.items()}
    return list(columns)


def _hits(y: Any, like: Any) -> Any:
    """Return which level but the first the outcome is, (..., J - 1), in the kind of `like`."""
    zero = 0.0 * like[..., 0]
    return stack([zero + (y == j) for j in range(1, like.shape[-1] + 1)])


def _diagonal(share: Any) -> Any:
    """Return the matrices with `share` on the diagonal."""
    columns = [share[..., j] for j in range(share.shape[-1])]
    zero = zeros_like(columns[0])
    return matrix([[column if i == j else zero for i in range(len(columns))] for j, column in enumerate(columns)])

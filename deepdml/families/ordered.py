"""Ordered levels: ratings, grades, self-reported health."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from deepdml.errors import OptionError
from deepdml.families.arrays import exp, expit, expm1, log, matrix, softplus, stack, take, zeros_like
from deepdml.families.base import Float, register
from deepdml.families.categories import Categories


@register
class OrderedLogit(Categories):
    """P(y > j) = 1 / (1 + exp(c_j(x) - t' theta(x))): the proportional-odds model, whose cuts c_j vary with x, too.

    The first cut is zero, its place taken by the intercept; the others follow as logs of their distances, as in
    statsmodels' OrderedModel.

    Parameters
    ----------
    levels : sequence, optional
        The J levels from low to high; from the data by default: an ordered categorical's, or numbers as they follow
        each other. Texts have no order of their own.

    References
    ----------
    McCullagh, "Regression models for ordinal data" (Journal of the Royal Statistical Society B 1980), equation 1.1.
    """

    name = "ordered_logit"
    aliases = ("ordered", "ologit")
    link = "logit"
    ordinal = True

    @property
    def auxiliary(self) -> tuple[str, ...]:  # type: ignore[override]  # as many as the levels ask for
        """Names of the logs of the distances between cuts."""
        return tuple(f"log(cut{j} - cut{j - 1})" for j in range(2, self.n_levels))

    def make_map(self, t_names: tuple[str, ...]) -> Float:
        if "Intercept" not in t_names:
            raise OptionError("family 'ordered_logit' needs the intercept, which stands for its first cut; drop '- 1'.")
        return super().make_map(t_names)

    def _above(self, eta: Any) -> list[Any]:
        """Return the log-odds of P(y > j) for each level j but the last."""
        odds = [eta[..., 0]]
        for step in self._steps(eta):
            odds.append(odds[-1] - step)
        return odds

    def _steps(self, eta: Any) -> list[Any]:
        """Return the distances between neighbouring cuts."""
        return [exp(eta[..., j]) for j in range(1, self.n_indices)]

    def probabilities(self, eta: Any) -> Any:
        odds = self._above(eta)
        inner = [_between(high, low) for high, low in pairwise(odds)]
        return stack([expit(-odds[0]), *inner, expit(odds[-1])])

    def loss(self, y: Any, eta: Any) -> Any:
        odds, steps = self._above(eta), self._steps(eta)
        inner = [
            softplus(-high) + softplus(low) - log(-expm1(-step))
            for (high, low), step in zip(pairwise(odds), steps, strict=True)
        ]
        return take(stack([softplus(odds[0]), *inner, softplus(-odds[-1])]), y)

    def _scores(self, eta: Any) -> Any:
        """Return the score at every level (..., J, r), in ratios that no small probability divides.

        P(y = level) = F(high) - F(low), F being the logistic distribution function. Where both rise together its log
        rises by F(-high) - F(low); where low alone falls, by F(-low) F(low) / P = F(low) / F(high) / (1 - exp(-step)),
        step being high - low.
        """
        odds, steps, zero = self._above(eta), self._steps(eta), zeros_like(eta[..., 0])
        below, above = [zero, *(expit(-v) for v in odds)], [*(expit(v) for v in odds), zero]
        columns = []
        for level in range(self.n_levels):
            both = below[level] - above[level]
            by_cut = [-step * both if j < level else zero for j, step in enumerate(steps, start=1)]
            if 0 < level < self.n_indices:
                ratio = eta[..., level] + softplus(-odds[level - 1]) - softplus(-odds[level])
                by_cut[level - 1] = exp(ratio) / -expm1(-steps[level - 1])
            columns.append([-v for v in (both, *by_cut)])
        return matrix(columns)

    def score(self, y: Any, eta: Any) -> Any:
        scores = self._scores(eta)
        return stack([take(scores[..., j], y) for j in range(self.n_indices)])

    def hessian(self, eta: Any) -> Any:
        scores, share = self._scores(eta), self.probabilities(eta)
        return (scores[..., :, :, None] * scores[..., :, None, :] * share[..., :, None, None]).sum(-3)

    def start(self, y: Any) -> list[float]:
        shares = np.array([float((y == j).sum()) + 0.5 for j in range(self.n_levels)])
        above = 1.0 - np.cumsum(shares / shares.sum())[:-1]
        odds = np.log(above / (1.0 - above))
        return [float(odds[0]), *(float(v) for v in np.log(-np.diff(odds)))]

    def probability(self, level: Any, eta: Any) -> Any:
        place, odds = self.place(level), self._above(eta)
        if place in (0, self.n_indices):
            return expit(-odds[0]) if place == 0 else expit(odds[-1])
        return _between(odds[place - 1], odds[place])

    def probability_slope(self, level: Any, eta: Any) -> Any:
        # P(y = level) is P(y > the level below) less P(y > level), one less of which the lowest and the highest have
        place = self.place(level)
        above = [self._above_slope(cut, eta) for cut in (place - 1, place) if 0 <= cut < self.n_indices]
        if len(above) == 2:
            return above[0] - above[1]
        return -above[0] if place == 0 else above[0]

    def _above_slope(self, cut: int, eta: Any) -> Any:
        """Return the derivative of P(y > level) of the level at a place, (..., r)."""
        odds, steps = self._above(eta)[cut], self._steps(eta)
        density = expit(odds) * expit(-odds)
        return stack([density, *(-density * s if j <= cut else 0.0 * s for j, s in enumerate(steps, start=1))])

    def tail(self, cut: Any, eta: Any) -> Any:
        place = self.place(cut)
        return np.zeros_like(eta[..., 0]) if place == self.n_indices else expit(self._above(eta)[place])

    def tail_slope(self, cut: Any, eta: Any) -> Any:
        place = self.place(cut)
        return np.zeros_like(eta) if place == self.n_indices else self._above_slope(place, eta)


def _between(high: Any, low: Any) -> Any:
    """Return F(high) - F(low) of the logistic distribution function, without cancellation."""
    return -expit(high) * expit(-low) * expm1(low - high)

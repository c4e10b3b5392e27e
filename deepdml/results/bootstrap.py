"""The multiplier bootstrap of a table: draws, standard errors, p-values and intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import InferenceWarning, OptionError, refuse_no_whole, warn
from deepdml.inference import contributions, multiply
from deepdml.inference.contributions import FEW_CLUSTERS, combine_codes, sum_by
from deepdml.inference.multipliers import TIE, Moments, Weights
from deepdml.results.estimation import CLUSTERED, CovarianceSpec, over_repetitions
from deepdml.results.fit import Fit

Float = NDArray[np.float64]

FARTHEST = 2.0**20
"""Standard errors from the estimate at which the search for the end of an interval gives up."""
HALVINGS = 40
"""Of the bracket of an end: to 1e-12 of its width."""


@dataclass(frozen=True, slots=True, repr=False)
class Bootstrap:
    """Draws of a multiplier bootstrap of influence values; nuisances are not learned again.

    Parameters
    ----------
    labels : tuple of str
        Names of the q estimates.
    params : (q,) array
        The estimates.
    scale : (q,) array
        Standard errors without small-sample factor, which studentize the estimates as the draws are.
    moments : tuple of Moments
        Of each repetition of cross-fitting.
    weights : str
        Law of the multipliers.
    n_groups : int
        Clusters, or rows.
    clustered : bool
    seed : int
    """

    labels: tuple[str, ...]
    params: Float
    scale: Float
    moments: tuple[Moments, ...]
    weights: Weights
    n_groups: int
    clustered: bool
    seed: int

    @property
    def draws(self) -> pd.DataFrame:
        """Estimates of each draw (b, q): the median over repetitions."""
        moved = np.median([m.vs for m in self.moments], axis=0)
        return pd.DataFrame(self.params + moved, columns=list(self.labels))

    @property
    def se(self) -> pd.Series:
        """Standard deviation of the draws."""
        return self.draws.std()

    @property
    def pvalues(self) -> pd.Series:
        """Two-sided p-values of zero, with the null imposed: the share of draws whose abs(t) is as large."""
        return self._series([self._p(j, float(value), True) for j, value in enumerate(self.params)])

    def statistics(self, null: float = 0.0) -> Float:
        """Return the t statistics (b, q) of the draws under the null that each estimate is `null`."""
        return self._statistics(self.params - null)

    def critical_value(self, alpha: float = 0.05) -> float:
        """Return the 1 - alpha quantile of the largest abs(t) of a draw, centered at the estimates."""
        largest = np.abs(self._statistics(np.zeros_like(self.params))[:, self.scale > 0]).max(axis=1, initial=0.0)
        return float(np.sort(largest)[self._rank(alpha)])

    def conf_int(self, alpha: float = 0.05, *, joint: bool = False, symmetric: bool = True) -> pd.DataFrame:
        """Return confidence intervals at level 1 - alpha, as a frame with columns 0 and 1.

        An interval holds the values that its test does not reject. An end is infinite where no value is rejected, which
        happens with very few clusters.

        Parameters
        ----------
        alpha : float
            Between 0 and 1.
        joint : bool
            Whether the intervals cover all estimates at once: `critical_value` standard errors to both sides.
        symmetric : bool
            Whether abs(t) is compared (symmetric-t), or both tails apart (equal-tailed percentile-t).

        Warns
        -----
        InferenceWarning
            For infinite ends.
        """
        self._rank(alpha)
        if joint:
            reach = self.critical_value(alpha) * self.scale
            return pd.DataFrame({0: self.params - reach, 1: self.params + reach}, index=list(self.labels))
        ends = [[self._end(j, side, alpha, symmetric) for side in (-1.0, 1.0)] for j in range(len(self.params))]
        frame = pd.DataFrame(ends, index=list(self.labels))
        if not np.isfinite(frame.to_numpy()).all():
            warn(
                f"With {self.n_groups} clusters and {self.weights} weights no value is rejected at {alpha:g}; use "
                "weights='webb', or cov_type='cluster-crv3' with use_t=True.",
                InferenceWarning,
            )
        return frame

    def to_frame(self, alpha: float = 0.05) -> pd.DataFrame:
        """Return estimates, bootstrap standard errors, p-values and symmetric intervals, one row per estimate."""
        frame = pd.DataFrame({"coef": self._series(self.params), "se": self.se, "pvalue": self.pvalues})
        return frame.join(self.conf_int(alpha))

    def __repr__(self) -> str:
        units = f"{self.n_groups:,} clusters" if self.clustered else f"{self.n_groups:,} rows"
        head = f"Multiplier bootstrap: {len(self.moments[0].vs):,} draws, {self.weights} weights, {units}"
        return f"{head}\n{self.to_frame().to_string(float_format=lambda v: f'{v:.4f}')}"

    def _statistics(self, gap: Float) -> Float:
        return np.asarray(np.median([m.statistics(gap) for m in self.moments], axis=0))

    def _p(self, j: int, gap: float, symmetric: bool) -> float:
        """Return the p-value of the null that estimate j is `gap` below its value."""
        if not self.scale[j] > 0:
            return float("nan")
        drawn = np.median([_column(m, j).statistics(np.array([gap]))[:, 0] for m in self.moments], axis=0)
        observed = gap / self.scale[j]
        slack = TIE * abs(observed)
        if symmetric:
            return float((1.0 + (np.abs(drawn) >= abs(observed) - slack).sum()) / (1.0 + drawn.size))
        tails = min((drawn >= observed - slack).sum(), (drawn <= observed + slack).sum())
        return float(min(1.0, 2.0 * (1.0 + tails) / (1.0 + drawn.size)))

    def _end(self, j: int, side: float, alpha: float, symmetric: bool) -> float:
        """Return the end of the interval of estimate j below (-1) or above (1) it."""
        scale = float(self.scale[j])
        if not scale > 0:
            return float(self.params[j])
        inside, outside = 0.0, 1.0
        while self._p(j, -side * outside * scale, symmetric) > alpha:
            inside, outside = outside, 2.0 * outside
            if outside > FARTHEST:
                return side * float("inf")
        for _ in range(HALVINGS):
            middle = 0.5 * (inside + outside)
            if self._p(j, -side * middle * scale, symmetric) > alpha:
                inside = middle
            else:
                outside = middle
        return float(self.params[j] + side * outside * scale)

    def _rank(self, alpha: float) -> int:
        """Return the position of the critical draw among the sorted ones."""
        draws = len(self.moments[0].vs)
        if not 1.0 / (draws + 1) <= alpha < 1:
            raise OptionError(
                f"alpha is {alpha!r}; it must be below 1 and at least 1 / (draws + 1), which is {1 / (draws + 1):.3g} "
                "here."
            )
        # 1e-9: 0.95 * 1000 is a hair above 950
        return int(np.ceil((1 - alpha) * (draws + 1) - 1e-9)) - 1

    def _series(self, values: object) -> pd.Series:
        return pd.Series(values, index=list(self.labels), dtype=float)


def _column(moments: Moments, j: int) -> Moments:
    """Return the moments of one estimate."""
    one = slice(j, j + 1)
    return Moments(
        moments.vs[:, one],
        moments.vws[:, one],
        moments.vw,
        moments.vww,
        moments.vvss[:, one],
        moments.vvws[:, one],
        moments.vvww,
        moments.ww,
    )


def bootstrap(
    fit: Fit, labels: tuple[str, ...], psi: Float, spec: CovarianceSpec, draws: int, weights: Weights, seed: int
) -> Bootstrap:
    """Return the bootstrap of psi (n_rep, n, q) by the clusters of a covariance, or by rows.

    Raises
    ------
    OptionError
        For several ways of clustering, and for dependence over time or distance, which multipliers by row would break.
    """
    refuse_no_whole("draws", draws, 1)
    if seed is not None:
        refuse_no_whole("seed", seed, 0)
    if spec.cov_type not in (*CLUSTERED, "HC0", "HC1"):
        raise OptionError(
            f"the multipliers of a bootstrap are independent, and cov_type {spec.cov_type!r} has rows that depend on "
            "each other over time or distance; pass groups= of rows, such as blocks of periods or regions, that hold "
            "the dependence."
        )
    if spec.groups is not None and spec.groups.shape[1] > 1:
        raise OptionError(
            f"one set of multipliers cannot follow {spec.groups.shape[1]} ways of clustering "
            f"({', '.join(spec.group_names)}); pass groups= of one of them, best the one with the fewest clusters "
            "(MacKinnon, Nielsen & Webb 2021)."
        )
    rows = fit.need_rows("bootstrap()", several=True)
    codes = None if spec.groups is None else combine_codes(spec.groups)
    plain = CovarianceSpec("HC0" if codes is None else "cluster", spec.groups, spec.group_names, False, spec.df)
    total, _ = over_repetitions(fit, psi, plain)
    moments = []
    for values in psi:
        sums, shares = contributions(values, rows.weights)
        if codes is not None:
            sums = sum_by(codes, sums, int(codes.max()) + 1)
            shares = np.bincount(codes, weights=shares).astype(np.float64)
        moments.append(multiply(sums, shares, int(draws), weights, seed))
    n_groups = len(sums)
    if codes is not None and n_groups < FEW_CLUSTERS and weights in ("mammen", "normal"):
        warn(
            f"With {n_groups} clusters {weights} weights give poor intervals; use 'webb' or 'rademacher'.",
            InferenceWarning,
        )
    scale = np.sqrt(np.diag(total.matrix))
    return Bootstrap(labels, total.params, scale, tuple(moments), weights, n_groups, codes is not None, seed)

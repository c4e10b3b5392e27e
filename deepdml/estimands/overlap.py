"""Averages over the rows where the treatment can have every level: trimming rules, and weights in their place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError, refuse_no_number, unknown_option
from deepdml.estimands.fields import Field, Weighting

Float = NDArray[np.float64]
Rule = Literal["fixed", "optimal", "percentile", "weights"]

CUTS = {"fixed": 0.1, "percentile": 0.05}
"""What the rules that take a cut take without one: the rules of thumb of Crump et al. and of Stürmer et al."""

ROUNDING = 1e-12
"""Of sums of shares and of one minus a propensity."""


@dataclass(frozen=True, slots=True)
class Arms:
    """The levels of a treatment, as rules of overlap see them.

    Parameters
    ----------
    names : tuple of str
        "arm = b", one for each of the m levels, the reference first.
    values : (n, m) array
        P(level | x): cross-fitted, the mean over repetitions, or known.
    at_level : (n, m) array of bool
        Which level each row has.
    known : bool
        Whether the propensities are known.
    weights : (n,) array or None
        Sampling weights.
    """

    names: tuple[str, ...]
    values: Float
    at_level: NDArray[np.bool_]
    known: bool = False
    weights: Float | None = None

    @property
    def shares(self) -> Float:
        """Sampling weights that add up to one, (n,)."""
        n = len(self.values)
        return np.full(n, 1 / n) if self.weights is None else self.weights / self.weights.sum()

    @property
    def inverse(self) -> Float:
        """The sum over levels of 1 / P(level | x), (n,): the variance bound of a row's effect, errors being alike."""
        return np.asarray((1 / self.values).sum(axis=1))


@dataclass(frozen=True)
class Overlap:
    """A `subset` of rows by the propensities of a treatment with levels: where all of them can happen.

    The estimand changes with the rule, and its label and the foot of the table say to what. The set is taken as given:
    intervals are for the average over the rows that the cross-fitted propensities choose, not for the set that the
    true propensities would, as Crump et al. advise. "weights" is no set and has no such caveat: its influence function
    has the term for estimating the propensities.

    Parameters
    ----------
    rule : {"fixed", "optimal", "percentile", "weights"}
        "fixed": every propensity is at least `cut`, of two levels the propensity lies in [cut, 1 - cut]. "optimal": the
        set whose average effect has the smallest variance bound, errors being alike; of two levels Crump et al.'s
        alpha, of more Yang et al.'s. "percentile": every propensity is at least the quantile `cut` of the rows that
        have that level, the asymmetric trimming of Stürmer et al. "weights": all rows, weighted by 1 / sum_j 1 / p_j,
        of two levels p (1 - p): the average effect in the overlap population (ATO) of Li et al. It needs an estimand
        that does not vary with the treatment given the covariates.
    cut : float, optional
        By default .1 for "fixed" and .05 for "percentile"; the others take none.

    References
    ----------
    Crump, Hotz, Imbens & Mitnik, "Dealing with limited overlap in estimation of average treatment effects" (Biometrika
    2009); on weights that depend on propensities their "Moving the goalposts" (NBER technical working paper 330, 2006).
    Yang, Imbens, Cui, Faries & Kadziola, "Propensity score matching and subclassification in observational studies with
    multi-level treatments" (Biometrics 2016).
    Stürmer, Rothman, Avorn & Glynn, "Treatment effects in the presence of unmeasured confounding: dealing with
    observations in the tails of the propensity score distribution" (American Journal of Epidemiology 2010).
    Li, Morgan & Zaslavsky, "Balancing covariates via propensity score weighting" (JASA 2018); Li & Li, "Propensity
    score weighting for causal inference with multiple treatments" (Annals of Applied Statistics 2019).

    Examples
    --------
    >>> from deepdml.estimands import Contrast
    >>> Contrast("treat", 1, 0, subset=Overlap()).subset
    Overlap(rule='fixed', cut=0.1)
    """

    rule: Rule = "fixed"
    cut: float | None = field(default=None)

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise unknown_option("rule of Overlap", self.rule, get_args(Rule))
        if self.rule not in CUTS:
            if self.cut is not None:
                raise OptionError(f"rule {self.rule!r} takes no cut, and cut is {self.cut!r}.")
            return
        cut = CUTS[self.rule] if self.cut is None else self.cut
        refuse_no_number("cut", cut, "one number of at least 0 and below .5")
        if not 0 <= cut < 0.5:
            raise OptionError(f"cut is {cut!r}; it must be at least 0 and below .5.")
        object.__setattr__(self, "cut", float(cut))

    def keeps(self, arms: Arms) -> NDArray[np.bool_]:
        """Return which rows (n,) a rule keeps; all of them where it weights."""
        if self.rule == "weights":
            return np.ones(len(arms.values), dtype=bool)
        if self.rule == "optimal":
            return np.asarray(arms.inverse <= _optimal_bound(arms))
        # a propensity of .9 leaves .1 up to rounding
        return np.asarray((arms.values >= self._floors(arms) - ROUNDING).all(axis=1))

    def field(self, arms: Arms) -> Field:
        """Return the indicator of the kept rows, or the weights.

        Raises
        ------
        OptionError
            If no row of some level is kept.
        """
        kept = self.keeps(arms)
        for name, at_level in zip(arms.names, arms.at_level.T, strict=True):
            if not (kept & at_level).any():
                raise OptionError(
                    f"{self!r} keeps {kept.sum():,} of {len(kept):,} rows and none with {name}, so that there is "
                    "nothing to compare; keep more, or use Overlap('weights')."
                )
        if self.rule != "weights":
            return Field(kept.astype(np.float64))
        h = 1 / arms.inverse
        if arms.known:
            return Field(h)
        slopes = (h[:, None] / arms.values) ** 2  # dh / dp_j
        own = h + (slopes * (arms.at_level - arms.values)).sum(axis=1)
        return Weighting(own, lambda rows, law: h[rows, None])

    def text(self, arms: Arms) -> str:
        """Return what an average is over, for labels: the rule with the cuts that it chose."""
        if self.rule == "weights":
            return "overlap weights"
        if self.rule == "fixed":
            return f"propensities in [{self.cut:g}, {1 - (self.cut or 0):g}]"
        if self.rule == "optimal" and len(arms.names) == 2:
            low = 0.5 - np.sqrt(max(0.25 - 1 / _optimal_bound(arms), 0.0))
            return f"propensities in [{low:.3g}, {1 - low:.3g}] (optimal)"
        if self.rule == "optimal":
            return f"sum of 1/propensity <= {_optimal_bound(arms):.3g} (optimal)"
        floors = self._floors(arms)
        if len(floors) == 2:
            return f"propensity in [{floors[1]:.3g}, {1 - floors[0]:.3g}] (percentile {100 * (self.cut or 0):g})"
        return f"propensities above {', '.join(f'{v:.3g}' for v in floors)} (percentile {100 * (self.cut or 0):g})"

    def remark(self, arms: Arms) -> str:
        """Return a sentence on the rows that an average is over, by level."""
        kept, n = self.keeps(arms), len(arms.values)
        if self.rule == "weights":
            h = arms.shares / arms.inverse
            size = h.sum() ** 2 / (h**2).sum()
            return (
                f"Overlap weights: all {n:,} rows are averaged over with the weight 1 / sum(1 / propensity), which "
                f"makes them as good as {size:,.0f} equally weighted rows."
            )
        by_level = [
            f"{name}: {(kept & at).sum():,} of {at.sum():,}"
            for name, at in zip(arms.names, arms.at_level.T, strict=True)
        ]
        return (
            f"Where {self.text(arms)}: averages over {kept.sum():,} of {n:,} rows ({kept.mean():.1%}); "
            f"{', '.join(by_level)}. The set is taken as given, chosen by cross-fitted propensities."
        )

    def _floors(self, arms: Arms) -> Float:
        """Return the smallest propensity of each level (m,) that is kept."""
        if self.rule == "fixed":
            return np.full(len(arms.names), self.cut)
        pairs = zip(arms.values.T, arms.at_level.T, strict=True)
        return np.array([_quantile(p[at], arms.shares[at], self.cut or 0.0) for p, at in pairs])


def _optimal_bound(arms: Arms) -> float:
    """Return the largest sum of inverse propensities g in the set whose mean effect has the smallest variance bound.

    The bound of the set {g <= c} is E[g; g <= c] / P(g <= c)^2. Where it is least, c = 2 E[g | g <= c] if rows are
    left out, which is the condition of Crump et al.; here every c that the sample has is tried.
    """
    order = np.argsort(arms.inverse, kind="stable")
    order = order[arms.shares[order] > 0]  # rows without weight decide nothing
    g, shares = arms.inverse[order], arms.shares[order]
    bounds = np.cumsum(g * shares) / np.cumsum(shares) ** 2
    last = np.append(g[1:] > g[:-1], True)  # rows of equal g stay or go together
    return float(g[last][np.argmin(bounds[last])])


def _quantile(values: Float, shares: Float, level: float) -> float:
    """Return the largest of the values below which at most a share of the weight lies."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(shares[order]) - shares[order]
    return float(values[order][below <= (level + ROUNDING) * shares.sum()][-1])

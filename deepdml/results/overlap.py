"""The treatment as the fit saw it: its levels with their propensities, or what the covariates leave of a dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import DataError, OptionError, near_names
from deepdml.estimands import Arms, Overlap
from deepdml.learn.influence import DiscreteLaw, LocationScaleLaw
from deepdml.results.fit import Fit, Rows

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Propensities:
    """A treatment with levels.

    Parameters
    ----------
    names : tuple of str
        "arm = b", one per level, the reference first.
    values : (n, m) array
        Cross-fitted P(level | x) as used, the mean over repetitions.
    at_level : (n, m) array of bool
        Which level each row has.
    bounds : (m,) array or None
        Propensities below were raised to these; None where they are known and left alone.
    """

    names: tuple[str, ...]
    values: Float
    at_level: NDArray[np.bool_]
    bounds: Float | None

    def clipping(self, j: int) -> tuple[float, ...]:
        """Return between which propensities of a level nothing was clipped: of two levels both ends, of more the lower.

        What another of several levels was raised by is not a bound on this one.
        """
        if self.bounds is None:
            return ()
        lower = float(self.bounds[j])
        return (lower, 1 - float(self.bounds[1 - j])) if len(self.bounds) == 2 else (lower,)

    def position(self, level: object) -> int:
        """Return the position of a level given by name, "arm = b", or by its value, "b" or 1."""
        values = [name.split(" = ", 1)[-1] for name in self.names]
        text = f"{level:g}" if isinstance(level, int | float) else str(level)
        for known in (list(self.names), values):
            if text in known:
                return known.index(text)
        raise OptionError(
            f"there is no level {level!r}; there are {', '.join(map(repr, self.names))}.{near_names(text, self.names)}"
        )


@dataclass(frozen=True, slots=True)
class Remainder:
    """What the covariates leave of one continuous treatment T.

    Parameters
    ----------
    name : str
        Of T.
    residuals, scale : (n_rep * n,) arrays
        (T - mean(x)) / sd(x), and sd(x) in units of T, repetition after repetition.
    floor : float
        Conditional standard deviations below were raised to it.
    """

    name: str
    residuals: Float
    scale: Float
    floor: float


def overlap_of(fit: Fit) -> Propensities | Remainder:
    """Return the law of the treatment given the covariates, with names.

    Raises
    ------
    OptionError
        Where there is no treatment, or only its moments were learned.
    """
    rows = fit.need_rows("the overlap")
    first = rows.repetitions[0].law
    if isinstance(first, DiscreteLaw):
        return _propensities(fit)
    if isinstance(first, LocationScaleLaw):
        return _remainder(fit, rows, first)
    raise OptionError(
        "of several continuous treatments only conditional means and covariances are learned, which have no propensity "
        "or residual to draw; see diagnostics.overlap."
    )


def arms_of(fit: Fit) -> Arms:
    """Return the levels of the treatment with each row's propensities, the reference first.

    Raises
    ------
    OptionError
        For a treatment without levels.
    """
    rows = fit.need_rows("the overlap")
    laws = [piece.law for piece in rows.repetitions if isinstance(piece.law, DiscreteLaw)]
    if not laws:
        raise OptionError(
            "rules of overlap are of propensities, which only a treatment with levels has. For a dose give a condition "
            "on covariates, subset='age > 40', or a mask."
        )
    levels = laws[0].levels
    if len(levels) < 2:
        raise OptionError("there is no treatment whose overlap could be looked at: left of the bar nothing varies.")
    order = sorted(range(len(levels)), key=lambda j: tuple(levels[j][::-1]))
    values = np.mean([law.probabilities for law in laws], axis=0)
    at_level = np.stack([(rows.t == level).all(axis=1) for level in levels[order]], axis=1)
    known = fit.record.treatment_model.startswith("known")
    shaped = np.broadcast_to(values, at_level.shape)[:, order]
    return Arms(level_names(fit, levels[order]), shaped, at_level, known, rows.weights)


RULES = (Overlap(), Overlap("optimal"), Overlap("percentile"), Overlap("weights"))


def trimming_table(arms: Arms, rules: Sequence[Overlap]) -> pd.DataFrame:
    """Return what each rule keeps; see Results.trimming."""
    shares, g = arms.shares, arms.inverse
    rows = []
    for rule in rules:
        kept = rule.keeps(arms)
        h = 1 / g if rule.rule == "weights" else kept
        total = (shares * h).sum()
        bound = (shares * h**2 * g).sum() / total**2 if total else np.nan
        counts = {name: int((kept & at).sum()) for name, at in zip(arms.names, arms.at_level.T, strict=True)}
        smallest = float(arms.values[kept].min()) if kept.any() else np.nan
        relative = float(np.sqrt(bound / (shares * g).sum()))
        rows.append({"rows": int(kept.sum()), **counts, "smallest propensity": smallest, "relative se": relative})
    return pd.DataFrame(rows, index=pd.Index([rule.text(arms) for rule in rules], name="rule"))


def _propensities(fit: Fit) -> Propensities:
    # design.data brings formulaic, which results need for nothing else here
    from deepdml.learn.treatment import propensity_bounds

    arms = arms_of(fit)
    bounds = None if arms.known else propensity_bounds(arms.at_level.argmax(axis=1), len(arms.names))
    return Propensities(arms.names, arms.values, arms.at_level, bounds)


def level_names(fit: Fit, levels: Float) -> tuple[str, ...]:
    """Return names of structural rows (m, d): the level of one categorical variable, or the columns' values."""
    varying = np.flatnonzero(np.ptp(levels, axis=0) > 0)
    categories = fit.design.treatment_categories()
    if len(fit.design.treatments.reads) == len(categories) == 1:
        ((variable, (_, possible)),) = categories.items()
        found = [_active(fit, level, varying, possible) for level in levels]
        rest = [value for value in possible if value not in found]
        if found.count(None) == len(rest) <= 1 and len(possible) == len(levels):
            return tuple(f"{variable} = {rest[0] if value is None else value}" for value in found)
    return tuple(", ".join(f"{fit.t_names[j]} = {level[j]:g}" for j in varying) for level in levels)


def _active(fit: Fit, level: Float, varying: NDArray[np.intp], possible: tuple[object, ...]) -> object | None:
    """Return the category whose dummy is on in a structural row; None for the reference."""
    on = [fit.t_names[j] for j in varying if level[j] == 1]
    return next((value for value in possible for name in on if name.endswith((f"[{value}]", f"[T.{value}]"))), None)


def _remainder(fit: Fit, rows: Rows, law: LocationScaleLaw) -> Remainder:
    # as above
    from deepdml.learn.treatment import SCALE_FLOOR

    name, values = _dose(fit, rows, law)
    laws = [piece.law for piece in rows.repetitions if isinstance(piece.law, LocationScaleLaw)]
    scale = np.concatenate([each.scale for each in laws])
    residuals = np.concatenate([(values - each.mean) / each.scale for each in laws])
    # of the scales before they were raised, whose root mean square is smaller by at most 0.05**2 / 2
    floor = SCALE_FLOOR * float(np.sqrt(np.mean(scale**2)))
    return Remainder(name, residuals, scale, floor)


def _dose(fit: Fit, rows: Rows, law: LocationScaleLaw) -> tuple[str, Float]:
    """Return name and values (n,) of T: the structural column that the law tabulates, else the raw variable."""
    for j, column in enumerate(law.grid_rows.T):
        if np.array_equal(column, law.grid):
            return fit.t_names[j], rows.t[:, j]
    if rows.treatment is None:
        raise DataError("the values of the treatment are not in these Results; use those of the fit itself.")
    return fit.treatment_names[0], rows.treatment[:, 0]

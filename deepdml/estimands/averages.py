"""Estimands that are averages over all rows or over a subset of them, or functions of such averages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import OptionError
from deepdml.estimands.base import Estimand, Evaluation, Sample, Unstored
from deepdml.estimands.fields import Field, Terms
from deepdml.estimands.integration import average
from deepdml.estimands.overlap import Overlap
from deepdml.learn.influence import DiscreteLaw

Float = NDArray[np.float64]

WHO = ("treated", "untreated")


@dataclass(frozen=True)
class Averaged(Estimand):
    """f(E[H | S]): a subclass gives H, its gradient and what they depend on; f is the identity unless it says more.

    With a subset S the estimate is a ratio of means, E[s H] / E[s] with s the indicator of S. For S given by covariates
    its influence value is s (psi_i - mu) / P(S). For the treated, s varies with the treatment, and

        psi_i = mu + (s_i (H_i - mu) - E[s dH/dtheta | X = x_i] Lambda(x_i)^{-1} score_i) / P(S),

    which for a gaussian outcome and a binary treatment is the doubly robust score of the average effect on the treated.

    Parameters
    ----------
    subset : {"treated", "untreated"}, (str, value), str, Overlap or (n,) array of bool, optional
        Rows to average over: by treatment, by the value of one of several variables left of the bar as ``("treat",
        1)``, by a condition on covariates such as ``"age > 40 and region == 'north'"``, by their propensities, or by a
        mask, which must not depend on the treatment or the outcome.
    """

    subset: Any = field(default=None, kw_only=True)

    def parts(self, sample: Sample) -> tuple[Terms, tuple[Field, ...]]:
        """Return H with its gradient as a function of theta and fields, and the fields."""
        raise NotImplementedError

    def transform(self, means: Float) -> tuple[Float, Float] | None:
        """Return f (q,) and its jacobian (q, c) at the means of H, or None for the identity."""
        return None

    @property
    def linear(self) -> bool:
        """Whether f is the identity."""
        return type(self).transform is Averaged.transform

    @property
    def projects(self) -> bool:
        return self.linear and self.subset is None

    def group(self, sample: Sample, treated: bool) -> Field:
        """Return the structural row that makes a row treated, or untreated."""
        who = WHO[0] if treated else WHO[1]
        return sample.treatments.treated_level(sample.law, who, treated)

    def evaluate(self, sample: Sample) -> Evaluation:
        terms, fields = self.parts(sample)
        return average(sample, terms, fields, self.indicator(sample))

    def indicator(self, sample: Sample) -> Field | None:
        """Return the indicator of the subset, or None for all rows."""
        if self.subset is None:
            return None
        if isinstance(self.subset, Unstored):
            raise self.subset.refuse()
        if isinstance(self.subset, Overlap):
            return self.subset.field(sample.data.arms())
        if isinstance(self.subset, str) and self.subset in WHO:
            place = self.group(sample, self.subset == WHO[0])
            return sample.treatments.indicator(place, sample.law, self.subset)
        if isinstance(self.subset, tuple) and len(self.subset) == 2 and isinstance(self.subset[0], str):
            place = sample.treatments.place(*self.subset, sample.law)
            return sample.treatments.indicator(place, sample.law, shown(self.subset))
        chosen = sample.data.select(self.subset).astype(np.float64)
        if not chosen.any():
            raise OptionError(f"subset={shown(self.subset)!r} matches no rows.")
        if isinstance(sample.law, DiscreteLaw):
            _refuse_single_arms(chosen, sample.t, sample.law, shown(self.subset))
        return Field(chosen)

    def combine(self, means: Float) -> tuple[Float, Float] | None:
        if self.subset is None:
            return self.transform(means)
        inside, inner = self.inside(means)
        outer = self.transform(inside)
        return (inside, inner) if outer is None else (outer[0], outer[1] @ inner)

    def inside(self, means: Float) -> tuple[Float, Float]:
        """Return the means over the subset and their jacobian at the means of psi."""
        if self.subset is None:
            return means, np.eye(len(means))
        inside = means[:-1] / means[-1]
        return inside, np.column_stack([np.eye(len(inside)), -inside]) / means[-1]

    def suffix(self, sample: Sample) -> str:
        """Return what a label says about the subset."""
        if isinstance(self.subset, Overlap):
            return f" | {self.subset.text(sample.data.arms())}"
        return "" if self.subset is None else f" | {shown(self.subset)}"

    def to_dict(self) -> dict[str, Any]:
        stored = super().to_dict()
        if isinstance(self.subset, Overlap):
            stored["subset"] = {"overlap": [self.subset.rule, self.subset.cut]}
        return stored

    @classmethod
    def build(cls, stored: Mapping[str, Any]) -> Estimand:
        subset = stored.get("subset")
        if isinstance(subset, Mapping) and subset.keys() == {"overlap"}:
            stored = {**stored, "subset": Overlap(*subset["overlap"])}
        return super().build(stored)

    @property
    def neutral(self) -> float:
        """What says "no effect": 1 of a ratio, 0 of all else."""
        return 0.0

    def remarks(self, sample: Sample) -> list[str]:
        found = [self.subset.remark(sample.data.arms())] if isinstance(self.subset, Overlap) else []
        if self.neutral:
            label = self.labels(sample, 1)[0]
            found.append(
                f"A ratio of {self.neutral:g} is no effect; z, P>|z| and stars are of a ratio of 0. For "
                f"{self.neutral:g} look at the interval, or ask t_test({f'{label} = {self.neutral:g}'!r})."
            )
        return found


def _refuse_single_arms(chosen: Float, t: Float, law: DiscreteLaw, what: str) -> None:
    """Refuse a subset without a row of some level: it depends on the treatment, or has no overlap."""
    for level in law.levels:
        if not chosen[(t == level).all(axis=1)].any():
            raise OptionError(
                f"subset={what!r} has no row whose structural row is {', '.join(f'{v:g}' for v in level)}. A subset "
                "must be given by covariates; for rows by their treatment use subset='treated' or 'untreated' of a "
                "Contrast."
            )


def shown(subset: object) -> str:
    """Return a subset for labels and messages."""
    if isinstance(subset, tuple) and len(subset) == 2 and isinstance(subset[0], str):
        return f"{subset[0]} = {subset[1]}"
    return subset if isinstance(subset, str) else "subset"

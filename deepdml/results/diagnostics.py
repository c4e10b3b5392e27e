"""What to look at before believing a table: how well each nuisance was learned, overlap, and what was regularized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from tabulate import tabulate

from deepdml.learn.influence import FitRecord, NuisanceFit

REGULARIZED_SHARE = 0.01
"""A share of clipped or floored rows above this is a warning."""


@dataclass(frozen=True, slots=True, repr=False)
class Diagnostics:
    """Diagnostics of a fit; print it, or take `to_frame()` and `overlap`.

    Parameters
    ----------
    record : FitRecord
        What the fit did.
    """

    record: FitRecord

    def to_frame(self) -> pd.DataFrame:
        """Return one row per nuisance: out-of-fold losses and skill, stacking weights and best epochs.

        `skill` is the share of the constant's excess loss that the fit removes, 1 - (loss - perfect) / (constant -
        perfect): the R2 for squared errors. `skill_vs_linear` is the same against the linear fit. Below zero the
        reference was better.
        """
        columns = ["metric", "loss", "linear", "constant", "skill", "skill_vs_linear", "weights", "best_epochs"]
        rows = [
            (
                fit.metric,
                fit.loss,
                fit.loss_linear,
                fit.loss_constant,
                _skill(fit, fit.loss_constant),
                _skill(fit, fit.loss_linear),
                _pairs(fit.weights, ".2f"),
                _pairs(fit.best_epochs, ".0f"),
            )
            for fit in self.record.nuisances
        ]
        return pd.DataFrame(
            rows, index=pd.Index([fit.name for fit in self.record.nuisances], name="nuisance"), columns=columns
        )

    @property
    def overlap(self) -> pd.Series:
        """How much the treatment varies given the covariates: shares or quantiles by label."""
        return pd.Series(self.record.overlap, dtype=float, name="overlap")

    @property
    def min_eigenvalue(self) -> float:
        """Smallest eigenvalue of Lambda over the rows; near zero some rows say nothing about some coefficient."""
        return self.record.min_eigenvalue

    @property
    def clipped_share(self) -> float:
        """Share of rows whose propensity was clipped."""
        return self.record.clipped_share

    @property
    def floored_share(self) -> float:
        """Share of rows where an eigenvalue of Lambda, or a conditional variance, was floored."""
        return self.record.floored_share

    @property
    def history(self) -> pd.DataFrame:
        """Training history, one row per recorded step."""
        return pd.DataFrame(list(self.record.history))

    def __repr__(self) -> str:
        frame = self.to_frame()
        table = tabulate(frame.drop(columns=["metric"]), headers="keys", floatfmt=".4g", missingval="")
        lines = ["Out-of-fold fit of each nuisance (loss per row)", table, "", "Overlap"]
        lines += [f"  {label}: {value:.4g}" for label, value in self.record.overlap.items()]
        lines += [
            f"  rows clipped: {self.clipped_share:.2%}",
            f"  rows floored: {self.floored_share:.2%}",
            f"  smallest eigenvalue of Lambda: {self.min_eigenvalue:.4g}",
        ]
        if self.record.notes:
            lines += ["", "Notes of the fit", *(f"  {note}" for note in self.record.notes)]
        return "\n".join(lines)


def regularization_notes(record: FitRecord) -> list[str]:
    """Return a sentence for each kind of regularization that touched more than one per cent of rows."""
    notes = []
    if record.clipped_share > REGULARIZED_SHARE:
        notes.append(
            f"Propensities were clipped in {record.clipped_share:.1%} of rows: there the treatment hardly varies given "
            "the covariates. Consider restricting the sample to the region of overlap."
        )
    if record.floored_share > REGULARIZED_SHARE:
        notes.append(
            f"Lambda was floored in {record.floored_share:.1%} of rows (smallest eigenvalue "
            f"{record.min_eigenvalue:.3g}): there some coefficient is barely identified. Consider fewer structural "
            "columns, or restricting the sample."
        )
    return notes


def _skill(fit: NuisanceFit, reference: float) -> float:
    gap = reference - fit.loss_perfect
    return 1.0 - (fit.loss - fit.loss_perfect) / gap if gap > 0 else float(np.nan)


def _pairs(values: dict[str, float], spec: str) -> str:
    return ", ".join(f"{name} {value:{spec}}" for name, value in values.items())

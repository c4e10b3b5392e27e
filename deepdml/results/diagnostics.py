"""What to look at before believing a table: how well each nuisance was learned, overlap, and what was regularized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tabulate import tabulate

from deepdml.inference import weighted_mean
from deepdml.learn.influence import FitRecord, NuisanceFit
from deepdml.results.estimation import Estimates
from deepdml.results.fit import Fit

if TYPE_CHECKING:
    from deepdml.design.assembly import Piece

Float = NDArray[np.float64]

REGULARIZED_SHARE = 0.01
"""A share of clipped or floored rows above this is a warning."""
SIGNAL_LEFT = 3.0
"""Above this a statistic of held-out residuals is named in the summary."""
GROSS_MISFIT = 6.0
"""It is a warning where what outcome and treatment have in common, or each of them, is above this."""
ONE_ROW = 0.1
"""A row with more than this share of the variance of psi is named in the summary."""


MOST_COMPONENTS = 64
"""No more components are suggested."""
WIDE = 50
"""So many neighbouring covariates of one glob, vector or transform are taken for an embedding."""
ROWS_PER_COVARIATE = 50
"""With an embedding and fewer rows for each covariate, components of it are advised."""


@dataclass(frozen=True, slots=True, repr=False)
class Diagnostics:
    """Diagnostics of a fit; print it, or take `to_frame()` and `overlap`.

    Parameters
    ----------
    record : FitRecord
        What the fit did.
    largest_row : Series
        By estimate, the share of the variance of psi that the most influential row makes; NaN without the rows.
    disagreement : Series
        By estimate, the standard deviation of the repetitions' estimates in standard errors; NaN for one repetition.
    """

    record: FitRecord
    largest_row: pd.Series
    disagreement: pd.Series

    def to_frame(self) -> pd.DataFrame:
        """Return one row per nuisance: out-of-fold losses and skill, stacking weights and best epochs.

        `skill` is the share of the constant's excess loss that the fit removes, 1 - (loss - perfect) / (constant -
        perfect): the R2 for squared errors. `skill_vs_linear` is the same against the linear fit. Below zero the
        reference was better. With `augment` there is `alpha`, the mean weight of invariance that was chosen.
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
        frame = pd.DataFrame(
            rows, index=pd.Index([fit.name for fit in self.record.nuisances], name="nuisance"), columns=columns
        )
        alphas = [_pairs(fit.alpha, ".1f") for fit in self.record.nuisances]
        return frame.assign(alpha=alphas) if any(alphas) else frame

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
    def signal(self) -> pd.Series:
        """What is left in held-out residuals: kernel statistics, about standard normal where nothing is.

        "outcome" and "treatment" show where that nuisance was not learned, "both" what the two have in common, which
        biases the estimate; a miss of one alone does not. Above 3 there is signal left, above 6 the misfit is gross.
        A low value proves nothing: over many covariates the kernels see little of what varies with one of them.
        """
        return pd.Series(self.record.signal, dtype=float, name="signal")

    @property
    def jumps(self) -> pd.DataFrame:
        """Covariates along which outcome or treatment jump, one row per jump: covariate, cut and share of the nets.

        Each net of the default learner looks for jumps on its own training rows and follows those it finds; listed are
        those that at least half of the nets found, with their median cut, in the units of the covariate.
        """
        return pd.DataFrame(list(self.record.jumps), columns=["covariate", "cut", "nets"])

    @property
    def history(self) -> pd.DataFrame:
        """Training curves, one row per look at the held-out loss, which is in the standardized units of the nets.

        Columns are repetition, nuisance, candidate, copy (of an ensemble), step and loss, the mean over the nets of the
        folds; a net that stopped counts with its last loss, and is kept as it was at its least.
        """
        columns = ["repetition", "nuisance", "candidate", "copy", "step", "loss"]
        frame = pd.DataFrame(list(self.record.history), columns=columns).explode(["step", "loss"], ignore_index=True)
        return frame.astype({"step": float, "loss": float})

    def __repr__(self) -> str:
        frame = self.to_frame()
        table = tabulate(frame.drop(columns=["metric"]), headers="keys", floatfmt=".4g", missingval="")
        lines = ["Out-of-fold fit of each nuisance (loss per row)", table, "", "Overlap"]
        lines += [f"  {label}: {value:.4g}" for label, value in self.record.overlap.items()]
        lines += [
            f"  rows clipped: {self.clipped_share:.2%}",
            f"  rows floored: {self.floored_share:.2%}",
            f"  smallest eigenvalue of Lambda: {self.min_eigenvalue:.4g}",
            "",
            "Signal left in held-out residuals (standard normal where there is none)",
            *(f"  {name}: {value:.1f}" for name, value in self.record.signal.items()),
            *self._jump_lines(),
            "",
            "Share of the variance in the most influential row",
            *(f"  {name}: {value:.2%}" for name, value in self.largest_row.items()),
        ]
        if self.disagreement.notna().any():
            lines += ["", "Standard deviation between repetitions, in standard errors"]
            lines += [f"  {name}: {value:.2f}" for name, value in self.disagreement.items()]
        return "\n".join(lines)

    def _jump_lines(self) -> list[str]:
        """Return the jumps, a line each, with a heading."""
        lines = [f"  {name}: at {cut:.4g}, in {nets:.0%} of the nets" for name, cut, nets in self.record.jumps]
        return ["", "Jumps along covariates", *lines] if lines else []


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


def signal_note(record: FitRecord) -> tuple[str, bool] | None:
    """Return a sentence on signal left in held-out residuals, and whether it is a warning; None where there is none."""
    left = {name: value for name, value in record.signal.items() if value > SIGNAL_LEFT}
    if not left:
        return None
    figures = ", ".join(f"{name} {value:.1f}" for name, value in left.items())
    each = min(record.signal["outcome"], record.signal.get("treatment", 0.0))
    text = (
        f"Held-out residuals still vary with the covariates ({figures}; about standard normal where nothing is left). "
        "What outcome and treatment both leave biases the estimate: add rows, drop covariates that do not matter or "
        "transform those that do."
    )
    return text, max(each, record.signal.get("both", 0.0)) > GROSS_MISFIT


def dimension_notes(fit: Fit) -> list[str]:
    """Return the advice to take components of an embedding where the rows are few for the covariates, if it applies.

    Only blocks as wide as embeddings count. Some dozens of columns for some hundred rows are common in tables, and the
    penalties of the learners are made for that.
    """
    n, p = fit.n, len(fit.x_names)
    widest = max((piece for piece in fit.design.pieces if piece.origin != "terms"), key=_width, default=None)
    if widest is None or widest.width < WIDE or n >= ROWS_PER_COVARIATE * p:
        return []
    size = max(2, min(MOST_COMPONENTS, n // ROWS_PER_COVARIATE - (p - widest.width)))
    stems = {name.rstrip("0123456789") for name in widest.names}
    named = widest.names[0] if len(widest.names) == 1 else f"{stems.pop() if len(stems) == 1 else 'emb_'}*"
    fewer = "fewer components, as in " if widest.origin == "block" else ""
    return [
        f"{p:,} covariates for {n:,} rows are {n / p:.3g} rows for each; with embeddings {ROWS_PER_COVARIATE} or more "
        f"are advised. Consider {fewer}pca({named}, {size}) right of the bar in place of {widest.width:,} columns."
    ]


def _width(piece: Piece) -> int:
    return piece.width


def influence_notes(estimates: Estimates, weights: Float | None) -> list[str]:
    """Return a sentence on the estimates of which one row makes much of the variance."""
    shares = largest_rows(estimates, weights)
    found = ", ".join(f"{name} ({share:.0%})" for name, share in shares.items() if share > ONE_ROW)
    return [f"One row makes more than {ONE_ROW:.0%} of the variance of {found}; see diagnostics."] if found else []


def largest_rows(estimates: Estimates, weights: Float | None) -> pd.Series:
    """Return, by estimate, the largest row's share of the (weighted) variance of psi, the median over repetitions."""
    if estimates.psi is None:
        return pd.Series(np.nan, index=list(estimates.labels))
    away = np.stack([psi - weighted_mean(psi, weights) for psi in estimates.psi])
    away = np.square(away if weights is None else away * weights[:, None])
    total = away.sum(1)
    shares = np.divide(away.max(1), total, out=np.zeros_like(total), where=total > 0)
    return pd.Series(np.median(shares, axis=0), index=list(estimates.labels))


def disagreement(estimates: Estimates, weights: Float | None) -> pd.Series:
    """Return, by estimate, the standard deviation of the repetitions' estimates over the standard error."""
    index = list(estimates.labels)
    if estimates.psi is None or len(estimates.psi) == 1:
        return pd.Series(np.nan, index=index)
    error = np.sqrt(np.diag(estimates.covariance.matrix))
    spread = np.stack([weighted_mean(psi, weights) for psi in estimates.psi]).std(0, ddof=1)
    return pd.Series(np.divide(spread, error, out=np.full_like(spread, np.nan), where=error > 0), index=index)


def _skill(fit: NuisanceFit, reference: float) -> float:
    gap = reference - fit.loss_perfect
    return 1.0 - (fit.loss - fit.loss_perfect) / gap if gap > 0 else float(np.nan)


def _pairs(values: dict[str, float], spec: str) -> str:
    return ", ".join(f"{name} {value:{spec}}" for name, value in values.items())

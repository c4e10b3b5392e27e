"""probe: how well covariates predict the treatment, out of sample, and whether overlap allows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from tabulate import tabulate

from deepdml.design.labels import in_order, labels_of
from deepdml.errors import DataError, OptionError, refuse_no_number, refuse_no_whole, unknown_option
from deepdml.leakage.concept import Concept, Float, folds_of, read_matrix, read_treatment
from deepdml.leakage.ridge import fit_ridge, scale_of

_FEATURES = 512  # random Fourier features of the kernel probe


@dataclass(frozen=True, slots=True, repr=False)
class Probe:
    """How well covariates predict the treatment in rows that were left out.

    Parameters
    ----------
    table : DataFrame
        One row for each level beyond the first, or one for a continuous treatment; columns metric ("AUC" or "R2"),
        value, se, low, high, chance, and most: the largest value that the overlap asked for allows.
    reading : str
        What that says, in words.
    """

    table: pd.DataFrame
    reading: str

    def __repr__(self) -> str:
        return f"{tabulate(self.table, headers='keys', floatfmt='.3f')}\n{self.reading}"


def probe(
    data: Any,
    treatment: Any,
    *,
    kind: Literal["linear", "kernel"] = "linear",
    overlap: float = 0.05,
    n_folds: int = 5,
    alpha: float = 0.05,
    seed: int = 0,
) -> Probe:
    """Cross-validate the prediction of the treatment from covariates and compare it with what overlap allows.

    If every propensity lies in [c, 1 - c], nothing predicts a binary treatment with share m of treated better than an
    AUC of (1 + (1 - c) h / m - c h / (1 - m)) / 2, h = (m - c) / (1 - 2c): that of propensities that are c or 1 - c. A
    value above it, outside its interval, means that some rows have no counterpart: if confounders alone cannot tell the
    treatment so well, the covariates reveal it. For a continuous treatment the R2 is compared with 1 - 4c(1 - c), what
    the same propensities would explain.

    Parameters
    ----------
    data : (n, p) array or frame
        Embeddings, or any covariates.
    treatment : (n,) array or Series
        Up to ten distinct values are levels, each compared with all others.
    kind : {"linear", "kernel"}
        A ridge regression on the columns, or on them and 512 random Fourier features: what a linear erasure leaves,
        the second may find.
    overlap : float
        c, above 0 and below a half.
    n_folds, seed
        Of the cross-validation.
    alpha : float
        One minus the level of the intervals.

    Returns
    -------
    Probe

    Raises
    ------
    DataError
        For rows that do not match or missing values.
    OptionError
        For an option out of range.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver Operating Characteristic
    Curves" (Biometrics 1988), for the interval of an AUC. Rahimi & Recht, "Random Features for Large-Scale Kernel
    Machines" (NIPS 2007). D'Amour et al., "Overlap in observational studies with high-dimensional covariates" (Journal
    of Econometrics 2021), for what overlap implies of prediction.

    Examples
    --------
    >>> import deepdml as dd
    >>> sim = dd.simulate.leaky_text(n=1000, seed=1)
    >>> found = dd.leakage.probe(sim.data.filter(like="emb_"), sim.data["t"])
    >>> bool(found.table["low"].iloc[0] > found.table["most"].iloc[0])
    True
    >>> "no counterpart" in found.reading
    True
    """
    if kind not in ("linear", "kernel"):
        raise unknown_option("kind", kind, ("linear", "kernel"))
    refuse_no_number("overlap", overlap, "the smallest propensity allowed, between 0 and 0.5")
    refuse_no_number("alpha", alpha, "a number between 0 and 1, 0.05 for 95 % intervals")
    if not 0 < overlap < 0.5:
        raise OptionError(f"overlap={overlap!r}; it is the smallest propensity allowed, between 0 and 0.5.")
    if not 0 < alpha < 1:
        raise OptionError(f"alpha is {alpha!r}; it must be between 0 and 1, 0.05 for 95 % intervals.")
    refuse_no_whole("seed", seed, 0)
    x = read_matrix("the covariates", data)
    concept = read_treatment(in_order("the treatment", treatment, labels_of(data)), len(x))
    folds = folds_of(len(x), n_folds, seed, concept.codes)
    if concept.discrete and min(np.bincount(concept.codes)) < n_folds:
        raise DataError(f"a level of the treatment has fewer rows than there are folds ({n_folds}); take fewer folds.")
    scores = _held_out(x, concept.values, folds, kind, seed)
    reach = float(stats.norm.ppf(1 - alpha / 2))
    rows = [_row(concept, j, scores[:, j], folds, overlap, reach) for j in range(len(concept.names))]
    table = pd.DataFrame(rows, index=pd.Index(concept.names, name="treatment"))
    return Probe(table, _reading(table, overlap))


def _held_out(x: Float, z: Float, folds: NDArray[np.intp], kind: str, seed: int) -> Float:
    """Return predictions (n, k) of every fold by the others."""
    if kind == "kernel":
        mean, sd = scale_of(x)
        u, rng = (x - mean) / sd, np.random.default_rng(seed)
        # a bandwidth of sqrt(2p), about the distance of two rows
        frequencies = rng.standard_normal((x.shape[1], _FEATURES)) / np.sqrt(2 * x.shape[1])
        x = np.column_stack([x, np.cos(u @ frequencies + rng.uniform(0, 2 * np.pi, _FEATURES))])
    scores = np.empty_like(z)
    for k in range(folds.max() + 1):
        held = folds == k
        scores[held] = fit_ridge(x[~held], z[~held])(x[held])
    return scores


def _row(
    concept: Concept, j: int, score: Float, folds: NDArray[np.intp], overlap: float, reach: float
) -> dict[str, Any]:
    z = concept.values[:, j]
    if concept.discrete:
        value, se = auc(z, score, folds)
        metric, chance, most, top = "AUC", 0.5, most_auc(float(z.mean()), overlap), 1.0
    else:
        value, se = r2(z, score)
        metric, chance, most, top = "R2", 0.0, 1 - 4 * overlap * (1 - overlap), 1.0
    low, high = value - reach * se, min(value + reach * se, top)
    return {"metric": metric, "value": value, "se": se, "low": low, "high": high, "chance": chance, "most": most}


def auc(z: Float, score: Float, folds: NDArray[np.intp]) -> tuple[float, float]:
    """Return the AUC and its standard error, from the pairs within each fold: scores of two folds do not compare."""
    placed = np.empty(len(z))
    for k in range(folds.max() + 1):
        held = folds == k
        treated, control = score[held & (z == 1)], score[held & (z == 0)]
        wins = (treated[:, None] > control) + 0.5 * (treated[:, None] == control)
        placed[held & (z == 1)], placed[held & (z == 0)] = wins.mean(1), wins.mean(0)
    ones, zeros = placed[z == 1], placed[z == 0]
    variance = ones.var(ddof=1) / len(ones) + zeros.var(ddof=1) / len(zeros)
    return float((ones.mean() + zeros.mean()) / 2), float(np.sqrt(variance))


def r2(z: Float, score: Float) -> tuple[float, float]:
    """Return the R2 of left-out rows and its standard error, by the delta method."""
    errors, spread = (z - score) ** 2, (z - z.mean()) ** 2
    share = errors.mean() / spread.mean()
    influence = (errors - share * spread) / spread.mean()
    return float(1 - share), float(influence.std(ddof=1) / np.sqrt(len(z)))


def most_auc(mean: float, overlap: float) -> float:
    """Return the largest AUC of a binary treatment with this mean whose propensities lie in [overlap, 1 - overlap]."""
    if not overlap < mean < 1 - overlap:
        return 0.5
    high = (mean - overlap) / (1 - 2 * overlap)  # share of rows with propensity 1 - overlap
    hit, false_alarm = high * (1 - overlap) / mean, high * overlap / (1 - mean)
    return (1 + hit - false_alarm) / 2


def _reading(table: pd.DataFrame, overlap: float) -> str:
    """Return what the table says, for the level that is told best."""
    row = table.loc[(table["value"] - table["most"]).idxmax()]
    found = f"{row['metric']} {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    most = f"{row['most']:.3f}"
    if row["low"] > row["most"]:
        return (
            f"{found} is above {most}, the most that propensities from {overlap:g} to {1 - overlap:g} allow: "
            "rows have no counterpart in the other arm. If the confounders cannot tell the treatment so well, the "
            "covariates reveal it: see dd.leakage.distill and path."
        )
    if row["high"] < row["chance"]:
        return (
            f"{found} is below chance: an erasure was fitted on these same rows, or the rows are not independent. See "
            "learn_on= of dd.leakage.distill."
        )
    if row["low"] <= row["chance"]:
        return f"{found} is no better than chance ({row['chance']:g}): this probe finds nothing about the treatment."
    if row["high"] > row["most"]:
        return f"{found} is about the most that overlap of {overlap:g} allows, {most}: look at the propensities."
    return (
        f"{found} is better than chance and within what overlap of {overlap:g} allows, up to {most}: "
        "confounding or leakage, which prediction alone cannot tell apart."
    )

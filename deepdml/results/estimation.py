"""From a fit and an estimand to estimates and their covariance."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import DataError, InferenceWarning, list_rows
from deepdml.estimands import Estimand, Sample
from deepdml.inference import CovarianceResult, aggregate, covariance, encode_groups, split_clusters, weighted_mean
from deepdml.results.fit import Fit, Rows

Float = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class CovarianceSpec:
    """A covariance that was asked for: its type, cluster codes (n, g) with names, and the small-sample factor."""

    cov_type: str = "HC1"
    groups: Codes | None = None
    group_names: tuple[str, ...] = ()
    use_correction: bool = True


@dataclass(frozen=True, slots=True)
class Estimates:
    """Estimates of one estimand.

    Parameters
    ----------
    labels : tuple of str
        Names of the q estimates.
    params : (q,) array
        In the units of the estimand.
    covariance : CovarianceResult
        Of `params`, over all repetitions.
    spec : CovarianceSpec
        What it was computed with; its codes are dropped with the data.
    psi : (n_rep, n, q) array or None
        Influence values of each repetition; None once the data are dropped.
    """

    labels: tuple[str, ...]
    params: Float
    covariance: CovarianceResult
    spec: CovarianceSpec
    psi: Float | None

    def without_rows(self) -> Estimates:
        """Return the same estimates without arrays by row."""
        spec = CovarianceSpec(self.spec.cov_type, None, self.spec.group_names, self.spec.use_correction)
        return Estimates(self.labels, self.params, self.covariance, spec, None)


def covariance_spec(fit: Fit, cov_type: str, groups: object, use_correction: bool) -> CovarianceSpec:
    """Return what a covariance needs; cluster codes are the given ones, or those the folds were drawn with."""
    if str(cov_type).lower() != "cluster":
        return CovarianceSpec(cov_type, None, (), use_correction)
    rows = fit.need_rows("a clustered covariance")
    if groups is not None:
        codes, names = encode_groups(groups, rows.rows, fit.n_total, rows.index)
        return CovarianceSpec(cov_type, codes, names, use_correction)
    return CovarianceSpec(cov_type, rows.groups, fit.group_names, use_correction)


def influence_values(fit: Fit, estimand: Estimand) -> Float:
    """Return psi of every repetition, (n_rep, n, q).

    Raises
    ------
    DataError
        Naming the first rows where psi is not finite.
    """
    rows = fit.need_rows("an estimand")
    pieces = []
    for piece in rows.repetitions:
        evaluation = estimand.evaluate(Sample(rows.t, fit.t_names, piece.theta, piece.law, fit.family))
        pieces.append(piece.psi(evaluation.values, evaluation.gradient))
    psi = np.stack(pieces)
    bad = np.flatnonzero(~np.isfinite(psi).all(axis=(0, 2)))
    if bad.size:
        raise DataError(
            f"psi is not finite in {bad.size:,} row(s): {list_rows(list(rows.index[bad]))}. Training has diverged "
            "there: look for extreme values in the covariates or the outcome, or lower the learning rate."
        )
    return psi


def estimate(fit: Fit, labels: tuple[str, ...], psi: Float, spec: CovarianceSpec) -> Estimates:
    """Return estimates and covariance from psi (n_rep, n, q), and warn of what makes the covariance fragile."""
    rows = fit.need_rows("a covariance")
    results = [
        covariance(
            values,
            rows.weights,
            spec.cov_type,
            spec.groups,
            df=len(fit.t_names),
            group_names=spec.group_names,
            use_correction=spec.use_correction,
        )
        for values in psi
    ]
    means = np.stack([weighted_mean(values, rows.weights) for values in psi])
    total = aggregate(means, np.stack([result.matrix for result in results]))
    notes = [note for result in results for note in result.notes] + list(total.notes) + _split_notes(rows, spec)
    notes = list(dict.fromkeys(notes))
    first = results[0]
    combined = CovarianceResult(total.matrix, first.cov_type, first.description, first.n_clusters, tuple(notes))
    for note in notes:
        warnings.warn(note, InferenceWarning, stacklevel=3)
    spec = CovarianceSpec(first.cov_type, spec.groups, spec.group_names, spec.use_correction)
    return Estimates(labels, total.params, combined, spec, psi)


def _split_notes(rows: Rows, spec: CovarianceSpec) -> list[str]:
    """Return one sentence for each way of clustering whose clusters the folds split."""
    if spec.groups is None or str(spec.cov_type).lower() != "cluster":
        return []
    notes = []
    for name, codes in zip(spec.group_names, spec.groups.T, strict=True):
        n_split = split_clusters(codes, rows.folds)
        if n_split:
            notes.append(
                f"{n_split:,} of {np.unique(codes).size:,} clusters in {name!r} have rows in more than one fold: their "
                "nuisances were learned from rows of the same cluster, and standard errors may be too small. Refit "
                "with cov_type='cluster' and these groups in cov_kwds, which keeps clusters whole."
            )
    return notes

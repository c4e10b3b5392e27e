"""From a fit and an estimand to estimates and their covariance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import DataError, InferenceWarning, OptionError, list_rows, warn
from deepdml.estimands import Estimand, Sample, Stack
from deepdml.inference import (
    Aggregate,
    CovarianceKeywords,
    CovarianceResult,
    Serial,
    Space,
    aggregate,
    canonical,
    covariance,
    encode_groups,
    split_clusters,
    weighted_mean,
)
from deepdml.results.columns import UserColumns
from deepdml.results.fit import Fit, Rows

Float = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class CovarianceSpec:
    """A covariance that was asked for.

    Parameters
    ----------
    cov_type : str
    groups : (n, g) array of int or None
        Cluster codes, with `group_names`.
    use_correction : bool, "hac", "cluster" or None
        Which small-sample factor the covariance gets; None for statsmodels' default.
    df : int or None
        Estimated coefficients k in the small-sample factors; None for the number of structural columns.
    serial : Serial or None
        Time, where the covariance needs it.
    space : Space or None
        Coordinates, where the covariance needs them.
    use_t : bool
        Whether tests use the t instead of the normal distribution.
    """

    cov_type: str = "HC1"
    groups: Codes | None = None
    group_names: tuple[str, ...] = ()
    use_correction: bool | str | None = None
    df: int | None = None
    serial: Serial | None = None
    space: Space | None = None
    use_t: bool = False


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
    remarks : tuple of str
        What the estimates are averaged over, for the foot of the table.
    """

    labels: tuple[str, ...]
    params: Float
    covariance: CovarianceResult
    spec: CovarianceSpec
    psi: Float | None
    remarks: tuple[str, ...] = ()

    def without_rows(self) -> Estimates:
        """Return the same estimates without arrays by row."""
        spec = replace(self.spec, groups=None, serial=None, space=None)
        return replace(self, spec=spec, psi=None)


CLUSTERED = ("cluster", "cluster-crv3", "hac-panel")
"""The covariances that take groups, which folds should keep whole."""


def covariance_spec(fit: Fit, cov_type: str, keywords: CovarianceKeywords, use_t: bool = False) -> CovarianceSpec:
    """Return what a covariance needs; cluster codes are the given ones, or those the folds were drawn with."""
    rows = fit.need_rows("another covariance", several=True)
    keywords.check(cov_type, groups_known=rows.groups is not None)
    name = canonical(cov_type)
    codes, names = (rows.groups, fit.group_names) if name in CLUSTERED else (None, ())
    if keywords.groups is not None:
        codes, names = encode_groups(keywords.groups, fit.kept)
    serial, space = keywords.serial(fit.kept), keywords.space(fit.kept)
    return CovarianceSpec(name, codes, names, keywords.use_correction, None, serial, space, use_t)


def estimate_estimands(
    fit: Fit, parts: Sequence[Estimand | Part], spec: CovarianceSpec, columns: UserColumns
) -> tuple[Estimand, Estimates]:
    """Return what is estimated, and the estimates of all parts with one covariance."""
    found = [part if isinstance(part, Part) else influence_values(fit, part, spec, columns) for part in parts]
    stack = Stack(tuple(part.estimand for part in found))
    labels = stack.distinct([part.labels for part in found])
    notes = [note for part in found for note in part.notes]
    psi = np.concatenate([part.psi for part in found], axis=2)
    remarks = tuple(dict.fromkeys(remark for part in found for remark in part.remarks))
    estimates = replace(estimate(fit, labels, psi, spec, notes), remarks=remarks)
    return stack if len(found) > 1 else found[0].estimand, estimates


def conditional_effects(fit: Fit, estimand: Estimand, columns: UserColumns) -> Float:
    """Return H of every repetition, (n_rep, n, q), where it is a function of x alone.

    Raises
    ------
    OptionError
        Where H depends on the treatment, so that sorting rows by it would select on the treatment.
    """
    found = [estimand.evaluate(sample) for sample in samples(fit, columns)]
    if not all(evaluation.free for evaluation in found):
        raise OptionError(
            f"rows cannot be sorted by the {estimand.title}, which varies with the treatment given the covariates; "
            "sort by a coefficient or a Contrast."
        )
    return np.stack([evaluation.values for evaluation in found])


def samples(fit: Fit, columns: UserColumns) -> list[Sample]:
    """Return what an estimand may read, of each repetition."""
    rows = fit.need_rows("an estimand")
    return [
        Sample(rows.t, fit.theta_names, piece.theta, piece.law, fit.family, columns.interventions, columns, piece.noise)
        for piece in rows.repetitions
    ]


@dataclass(frozen=True, slots=True)
class Part:
    """Influence values (n_rep, n, q) of one estimand, their labels, notes to warn of, and remarks."""

    estimand: Estimand
    labels: tuple[str, ...]
    psi: Float
    notes: Sequence[str] = ()
    remarks: Sequence[str] = ()


def influence_values(fit: Fit, estimand: Estimand, spec: CovarianceSpec, columns: UserColumns) -> Part:
    """Return psi of every repetition: that of the means behind the estimand, and through its function of them.

    Raises
    ------
    DataError
        Naming the first rows where psi is not finite.
    """
    rows = fit.need_rows("an estimand")
    found = samples(fit, columns)
    pieces, notes = [], []
    for sample, piece in zip(found, rows.repetitions, strict=True):
        psi = estimand.psi(sample, piece)
        _refuse_unfinite(psi, rows, estimand.title)
        means = weighted_mean(psi, rows.weights)
        combined = estimand.combine(means)
        notes += estimand.notes(means, partial(_matrix, fit, psi, spec))
        pieces.append(psi if combined is None else combined[0] + (psi - means) @ combined[1].T)
    psi = np.stack(pieces)
    return Part(estimand, estimand.labels(found[0], psi.shape[2]), psi, notes, estimand.remarks(found[0]))


def _refuse_unfinite(psi: Float, rows: Rows, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(psi).all(axis=1))
    if bad.size:
        raise DataError(
            f"psi of the {name} is not finite in {bad.size:,} row(s): {list_rows(list(rows.index[bad]))}. Unless it is "
            "a function that has no value or slope there, training has diverged: look for extreme values in the "
            "covariates or the outcome, or lower the learning rate."
        )


def _matrix(fit: Fit, psi: Float, spec: CovarianceSpec) -> Float:
    return _covariance(fit, psi, spec).matrix


def _covariance(fit: Fit, psi: Float, spec: CovarianceSpec) -> CovarianceResult:
    return covariance(
        psi,
        fit.need_rows("a covariance", several=True).weights,
        spec.cov_type,
        spec.groups,
        df=len(fit.theta_names) if spec.df is None else spec.df,
        group_names=spec.group_names,
        use_correction=spec.use_correction,
        serial=spec.serial,
        space=spec.space,
    )


def over_repetitions(fit: Fit, psi: Float, spec: CovarianceSpec) -> tuple[Aggregate, list[CovarianceResult]]:
    """Return estimates and covariance from psi (n_rep, n, q), and the covariance of each repetition."""
    rows = fit.need_rows("a covariance", several=True)
    results = [_covariance(fit, values, spec) for values in psi]
    means = np.stack([weighted_mean(values, rows.weights) for values in psi])
    return aggregate(means, np.stack([result.matrix for result in results])), results


def estimate(
    fit: Fit, labels: tuple[str, ...], psi: Float, spec: CovarianceSpec, notes: Sequence[str] = ()
) -> Estimates:
    """Return estimates and covariance from psi (n_rep, n, q), and warn of what makes the covariance fragile."""
    rows = fit.need_rows("a covariance", several=True)
    total, results = over_repetitions(fit, psi, spec)
    found = [*notes, *(note for result in results for note in result.notes), *total.notes, *_split_notes(rows, spec)]
    found = list(dict.fromkeys(found))
    first = results[0]
    combined = CovarianceResult(total.matrix, first.cov_type, first.description, first.n_clusters, tuple(found))
    for note in found:
        warn(note, InferenceWarning)
    spec = replace(spec, cov_type=first.cov_type)
    return Estimates(labels, total.params, combined, spec, psi)


def _split_notes(rows: Rows, spec: CovarianceSpec) -> list[str]:
    """Return one sentence for each way of clustering whose clusters the folds split."""
    if spec.groups is None or spec.cov_type not in CLUSTERED:
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

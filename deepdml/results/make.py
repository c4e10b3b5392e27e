"""Where a fit becomes Results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import DimensionWarning, FitWarning, OverlapWarning, warn
from deepdml.estimands import AverageCoefficient
from deepdml.families import Family
from deepdml.inference import CovarianceKeywords
from deepdml.learn.influence import FitRecord, Influence, TrainedNets
from deepdml.results.columns import UserColumns
from deepdml.results.diagnostics import dimension_notes, regularization_notes, signal_note
from deepdml.results.estimation import covariance_spec, estimate_estimands
from deepdml.results.fit import collect
from deepdml.results.recipe import Recipe
from deepdml.results.results import Results

if TYPE_CHECKING:
    from deepdml.design.data import ModelData


def make_results(
    data: ModelData,
    family: Family,
    repetitions: tuple[Influence, ...],
    folds: NDArray[np.intp],
    record: FitRecord,
    nets: TrainedNets | None,
    cov_type: str = "HC1",
    cov_kwds: CovarianceKeywords | dict[str, Any] | None = None,
    model: object = None,
    use_t: bool = False,
    recipe: Recipe | None = None,
) -> Results:
    """Return the Results of a fit: the average coefficient with its covariance.

    Parameters
    ----------
    data : ModelData
        The arrays and names of the fit.
    family : Family
        The outcome family.
    repetitions : tuple of Influence
        The cross-fitted pieces of each repetition.
    folds : (n_rep, n) or (n,) array of int
        Fold of each row.
    record : FitRecord
        What the fit did.
    nets : TrainedNets or None
        The predictors of theta for new data.
    cov_type : str
        A type of `covariance`.
    cov_kwds : CovarianceKeywords or dict, optional
        What the type needs; groups only where `data` has none.
    model : object, optional
        The model; only handed on as `Results.model`.
    use_t : bool
        Whether tests use the t distribution.
    recipe : Recipe, optional
        The call that fitted, so that a replication package can repeat it.

    Returns
    -------
    Results

    Warns
    -----
    OverlapWarning
        When propensities were clipped or Lambda floored in more than one per cent of rows.
    FitWarning
        When held-out residuals vary with the covariates so much that a nuisance was grossly missed.
    DimensionWarning
        When an embedding has many columns for the rows.
    InferenceWarning
        For few clusters, and where the folds split clusters.
    """
    keywords = cov_kwds if isinstance(cov_kwds, CovarianceKeywords) else CovarianceKeywords.of(cov_kwds)
    if data.groups is not None:
        keywords = replace(keywords, groups=None)
    fit = collect(data, family, repetitions, folds, record, nets)
    for note in regularization_notes(record):
        warn(note, OverlapWarning)
    for note in dimension_notes(fit):
        warn(note, DimensionWarning)
    left = signal_note(record)
    if left is not None and left[1]:
        warn(left[0], FitWarning)
    spec = covariance_spec(fit, cov_type, keywords, use_t)
    estimates = estimate_estimands(fit, [AverageCoefficient()], spec, UserColumns(fit, None))[1]
    results = Results(fit, AverageCoefficient(), estimates, model)
    results._recipe = recipe
    return results

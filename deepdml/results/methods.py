"""What a fit did, in plain sentences for a paper's methods section, with its references."""

from __future__ import annotations

from deepdml.estimands import AverageCoefficient, Estimand, Projection
from deepdml.learn.influence import FitRecord
from deepdml.results.estimation import Estimates
from deepdml.results.fit import Fit

_LAMBDA = {
    "known design": "integrates the expected hessian over the known distribution of the treatment",
    "propensity plug-in": "integrates the expected hessian over the cross-fitted propensities",
    "moments": "is the conditional second moment of the structural row, from cross-fitted means and variances",
    "location-scale quadrature": "integrates the expected hessian over a cross-fitted location-scale model of the "
    "treatment, with the empirical distribution of its standardized residuals",
}

REFERENCES = {
    "framework": "Farrell, M. H., Liang, T. and Misra, S. (2021). Deep Neural Networks for Estimation and Inference. "
    "Econometrica 89(1), 181-213.",
    "heterogeneity": "Farrell, M. H., Liang, T. and Misra, S. (2021/2025). Deep Learning for Individual Heterogeneity: "
    "An Automatic Inference Framework. Working paper.",
    "crossfitting": "Chernozhukov, V., Chetverikov, D., Demirer, M., Duflo, E., Hansen, C., Newey, W. and Robins, J. "
    "(2018). Double/debiased machine learning for treatment and structural parameters. The Econometrics Journal "
    "21(1), C1-C68.",
    "projection": "Semenova, V. and Chernozhukov, V. (2021). Debiased machine learning of conditional average "
    "treatment effects and other causal functions. The Econometrics Journal 24(2), 264-289.",
    "clusters": "Cameron, A. C., Gelbach, J. B. and Miller, D. L. (2011). Robust Inference With Multiway Clustering. "
    "Journal of Business & Economic Statistics 29(2), 238-249.",
}


def methods_text(fit: Fit, estimand: Estimand, estimates: Estimates, use_t: bool = False) -> str:
    """Return a paragraph on the model, cross-fitting, learner, Lambda, covariance and seed of a fit."""
    parts = [_model(fit), _crossfitting(fit), _learner(fit), _inference(fit, estimand, estimates, use_t), _seed(fit)]
    return " ".join(parts)


def references(estimand: Estimand, estimates: Estimates) -> list[str]:
    """Return the works that the paragraph leans on."""
    names = ["framework", "heterogeneity", "crossfitting"]
    names += ["projection"] if isinstance(estimand, Projection) else []
    names += ["clusters"] if len(estimates.covariance.n_clusters) > 1 else []
    return [REFERENCES[name] for name in names]


def _model(fit: Fit) -> str:
    dropped = fit.n_total - fit.n
    rows = f"{fit.n:,} rows" + (f" ({dropped:,} with missing or infinite values were dropped)" if dropped else "")
    weighted = ", with sampling weights" if fit.weighted else ""
    if not fit.x_names:
        theta = "with coefficients that are the same for all rows"
    else:
        count = f"{len(fit.x_names):,} covariate{'s' if len(fit.x_names) > 1 else ''}"
        theta = f"with coefficients theta(x) that are functions of {count}"
    return (
        f"On {rows}{weighted}, the outcome {fit.y_name} follows the {fit.family.name} family with "
        f"{fit.family.link} link and a linear predictor in {_listed(fit.t_names)}, {theta}."
    )


def _crossfitting(fit: Fit) -> str:
    record = fit.record
    nested = f", nested in {record.n_blocks} blocks," if record.n_folds > record.n_blocks else ""
    what = "Theta(x) is" if _law_is_known(record) else "Theta(x) and the law of the treatment given x are"
    text = (
        f"{what} cross-fitted over {record.n_folds} folds{nested} so that nothing that predicts a row was trained, or "
        "chosen, on rows of its fold."
    )
    if fit.group_names:
        text += f" Folds keep the clusters of {_listed(fit.group_names)} whole."
    if record.n_rep > 1:
        text += f" This was repeated {record.n_rep} times with other folds, and medians are reported."
    return text


_NETS = {
    "mlp": "nets with hidden layers of {layers} units",
    "residual": "nets with residual blocks, of {layers} units",
    "transformer": "transformers over covariate tokens, which each coefficient queries, of {layers} units",
    "conv": "convolutional nets on images, of {layers} units",
    "module": "nets of the authors' own",
}


def _learner(fit: Fit) -> str:
    record = fit.record
    if not record.hidden and record.backbone != "module":
        return "There are no covariates, and nothing but constants was learned."
    layers = " and ".join(f"{width:,}" for width in record.hidden)
    nets = (
        f"{_NETS[record.backbone].format(layers=layers)}, started at the linear fit, averaged over their last steps "
        "and stopped by held-out loss"
    )
    if record.learner == "net":
        return f"The learners are {nets}; their last layer was refitted on all rows outside the fold."
    names = list(dict.fromkeys(name for nuisance in record.nuisances for name in nuisance.weights))
    each = "It is" if _law_is_known(record) else "Each of them is"
    text = (
        f"{each} a convex combination, weighted by held-out loss, of these candidates: {_listed(names, len(names))}. "
        f"The nets are {nets}."
    )
    quadratic = fit.family.constant_hessian
    recalibrated = ["theta(x)"] * quadratic + ["the treatment"] * (not _law_is_known(record))
    if recalibrated:
        text += f" What predicts {_listed(recalibrated)} is recalibrated on held-out residuals."
    return text if quadratic else f"{text} Psi has a second-order correction for the estimation noise of theta(x)."


def _law_is_known(record: FitRecord) -> bool:
    return record.treatment_model == "none" or record.treatment_model.startswith("known")


def _inference(fit: Fit, estimand: Estimand, estimates: Estimates, use_t: bool) -> str:
    law = "of the t distribution" if use_t else "normal"
    how = _LAMBDA.get(fit.record.strategy, f"was obtained by the strategy {fit.record.strategy!r}")
    what = {AverageCoefficient.name: "average coefficients", Projection.name: "projections"}.get(
        estimand.name, f"estimates ({estimand.title})"
    )
    return (
        f"The {what} reported are means of the orthogonal influence values psi = H - G Lambda(x)^-1 score, with H the "
        f"estimand at a row and G the conditional mean of its derivative; Lambda(x), the conditional mean of the "
        f"loss's hessian, {how}. {estimates.covariance.description} Intervals and tests are {law}."
    )


def _seed(fit: Fit) -> str:
    record = fit.record
    seed = "No seed was set" if record.seed is None else f"All randomness comes from the seed {record.seed}"
    threads = f"{record.threads} thread{'s' if record.threads != 1 else ''}"
    return f"{seed}; the fit took {record.seconds:,.0f} s on the device {record.device!r} with {threads}."


def _listed(names: tuple[str, ...] | list[str], limit: int = 8) -> str:
    shown = list(names[:limit])
    if len(names) > limit:
        return f"{', '.join(shown)} and {len(names) - limit:,} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"

"""DeepDML and fit: where formula, family, learning and results meet."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from deepdml.design.data import ModelData, OutcomeLevels, add_groups, build_data
from deepdml.errors import DataError, OptionError
from deepdml.families import Family, resolve_family
from deepdml.learn.architecture import Conv
from deepdml.options import (
    KINDS,
    Auto,
    architecture,
    covariance_keywords,
    function,
    joined_by,
    known_propensities,
    one_of,
    positive,
    propensities_of,
    seed_of,
    threads_of,
    unknown_keyword,
    whole,
    widths,
    with_columns,
)
from deepdml.results.linear import model_info

if TYPE_CHECKING:
    from deepdml.learn.augmentation import Augment
    from deepdml.results import Results

Missing = Literal["drop", "raise"]


class DeepDML:
    """A model: an outcome whose coefficients are functions of covariates, learned by cross-fitted nets.

    Parameters
    ----------
    formula : str
        ``outcome ~ structural part | covariates``. Left of the bar stands what has a coefficient, right of it what the
        coefficients depend on: columns, globs such as ``emb_*``, arrays from `context`, and formulaic's transforms.
    data : pandas, polars or pyarrow frame, or dict of arrays
        Never changed.
    family : str, deepdml family or statsmodels family
        "gaussian" ("linear"), "logit" ("binomial"), "probit", "poisson", "negbin", "zip", "gamma", "beta", "tobit",
        "weibull", "gumbel", "gaussian_scale", "mnlogit" or "ordered_logit"; one with options, such as
        ``families.Tobit(upper=100)``; or a loss of your own, `families.CustomLoss`.
    weights : str or (n,) array, optional
        Sampling weights: a column of `data`, or values by position.
    missing : {"drop", "raise"}
        What to do with rows in which a variable used is missing or infinite.
    context : dict, optional
        Arrays, constants and functions that the formula names beside the columns of `data`.

    Raises
    ------
    FormulaError
        If the formula cannot be read or names something that does not exist.
    DataError
        If the data cannot be used as the formula asks, or the outcome is outside the family's support.
    OptionError
        For an unknown family or option.

    References
    ----------
    Farrell, Liang & Misra, "Deep Learning for Individual Heterogeneity: An Automatic Inference Framework" (2021/2025).
    Chernozhukov et al., "Double/Debiased Machine Learning" (Econometrics Journal 2018).

    Examples
    --------
    >>> from deepdml import DeepDML, simulate
    >>> sim = simulate.wages(n=1000, seed=1)
    >>> model = DeepDML(sim.formula, sim.data, "gaussian")
    >>> model.exog_names
    ['Intercept', 'experience']
    >>> res = model.fit(learner="net", epochs=5, seed=1)
    >>> res.nobs
    1000
    """

    def __init__(
        self,
        formula: str,
        data: Any,
        family: object = "gaussian",
        *,
        weights: str | ArrayLike | None = None,
        missing: Missing = "drop",
        context: Mapping[str, Any] | None = None,
    ) -> None:
        self.formula = formula
        self.family: Family = resolve_family(family)
        self._data, self._weights, self._missing, self._context = data, weights, missing, context
        self._built: ModelData | None = self._build(None)
        self._bind(self._built)

    @classmethod
    def from_formula(
        cls,
        formula: str,
        data: Any,
        family: object = "gaussian",
        *,
        weights: str | ArrayLike | None = None,
        missing: Missing = "drop",
        context: Mapping[str, Any] | None = None,
    ) -> DeepDML:
        """Return the model of a formula; the same as calling the class, under statsmodels' name."""
        return cls(formula, data, family, weights=weights, missing=missing, context=context)

    def _build(self, groups: Any) -> ModelData:
        if self._data is None:
            raise DataError(
                "data is None, as in a model loaded or unpickled; make the model from the formula and the data."
            )
        built = build_data(
            self.formula,
            self._data,
            weights=self._weights,
            groups=groups,
            missing=self._missing,
            context=self._context,
            levels=OutcomeLevels.of(self.family),
        )
        self.family.check_support(built.y, built.y_name, built.index)
        return built

    def _bind(self, data: ModelData) -> Family:
        """Return the family for these outcomes and structural columns."""
        return self.family.for_outcome(data.y, data.event, data.y_levels).bind(data.t_names)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the user's data out of pickles: a Results carries what it computes from."""
        return {**self.__dict__, "_data": None, "_weights": None, "_context": None, "_built": None}

    @property
    def user_data(self) -> Any:
        """The data as given; None after unpickling."""
        return self._data

    @property
    def user_context(self) -> Mapping[str, Any] | None:
        """The context as given; None after unpickling."""
        return self._context

    @property
    def arrays(self) -> ModelData:
        """The arrays of the fit: outcome, structural rows, covariates, and how they were made."""
        if self._built is None:
            self._built = self._build(None)
        return self._built

    @property
    def endog_names(self) -> str:
        """Name of the outcome."""
        return self.arrays.y_name

    @property
    def exog_names(self) -> list[str]:
        """Names of the structural columns, which have coefficients."""
        return list(self.arrays.t_names)

    @property
    def data(self) -> Any:
        """The names that table and test tools read, as statsmodels' models have them; see `arrays` for the values."""
        built = self.arrays
        return model_info(self.formula, built.y_name, built.t_names, built.term_columns).data

    def fit(
        self,
        *,
        learner: Literal["auto", "net"] = "auto",
        n_folds: int = 5,
        n_rep: int = 1,
        backbone: str | Conv | type = "mlp",
        hidden: tuple[int, ...] | Auto = "auto",
        epochs: int | Auto = "auto",
        lr: float | Auto = "auto",
        weight_decay: float | Auto = "auto",
        ensemble: int = 1,
        ensemble_by: Literal["average", "concat"] = "average",
        augment: Augment | None = None,
        treatment: str | Callable[[Any], ArrayLike] | ArrayLike = "auto",
        lambda_: str = "auto",
        cov_type: str = "HC1",
        cov_kwds: Mapping[str, Any] | None = None,
        use_t: bool | None = None,
        seed: int | None = None,
        device: str = "cpu",
        n_jobs: int | None = None,
        progress: bool | None = None,
    ) -> Results:
        """Cross-fit the model and return the average of every coefficient with its covariance.

        Parameters
        ----------
        learner : {"auto", "net"}
            "auto": nets, boosted trees, a linear fit, a sieve and means of clusters, stacked by held-out loss and
            recalibrated on held-out residuals. "net": one net per block with refit heads and nothing else, for known
            settings and comparisons.
        n_folds : int
            Folds; more than five nest in five blocks, whose nets they share.
        n_rep : int
            Repetitions of cross-fitting with new folds, aggregated by the median.
        backbone : {"mlp", "residual", "transformer"}, Conv or class of torch modules
            What computes the features that a net's last layer reads: a perceptron, one with residual blocks, a
            transformer over covariates, convolutions on images, or your own (docs/api.md has the details).
        hidden : tuple of int or "auto"
            Widths of the hidden layers, (64, 32) for "mlp"; for other backbones docs/api.md says of what.
        epochs : int or "auto"
            Most passes of a net over its training rows; held-out loss stops it earlier. "auto" bounds steps instead.
        lr : float or "auto"
            Adam's rate.
        weight_decay : float or "auto"
            Decoupled weight decay of the hidden layers; "auto" falls with the number of rows.
        ensemble, ensemble_by : int, {"average", "concat"}
            Copies of every net, by seeds, and what joins them: the mean of their predictions or, with
            ``learner="net"``, one last layer on the features of all of them.
        augment : callable, optional
            ``augment(x, rng)`` returns, for covariates (b, p) and a numpy generator, a view of each row that leaves its
            outcome unchanged. Nets are pulled toward the same theta(x); how strongly, held-out loss chooses.
        treatment : {"auto", "discrete", "continuous"}, column, function or array
            Model of the treatment; "auto" takes up to ten distinct structural rows as levels. Known propensities of an
            experiment are a column of the data, a function that computes them from the data, or an array: one number,
            or (n,) for a treatment with two levels (of the larger), or (n, d - 1) of the dummy columns of one with
            more.
        lambda_ : str
            How Lambda(x) is obtained: "auto", "known design", "propensity plug-in", "moments",
            "location-scale quadrature" or "hessian regression".
        cov_type : str
            "HC0", "HC1", "cluster", "cluster-crv3", "HAC", "hac-panel", "driscoll-kraay" or "conley".
        cov_kwds : dict, optional
            What the type needs, in statsmodels' names; columns of the data by name, or arrays of n values. Clusters are
            ``{"groups": ...}``, in one or several ways, never split by folds. "HAC", "hac-panel" (with groups) and
            "driscoll-kraay" take ``{"time": ..., "maxlags": 4, "kernel": "bartlett"}``, "conley"
            ``{"coordinates": ["lat", "lon"], "cutoff": 100}`` in kilometres, or ``"metric": "euclidean"``.
        use_t : bool, optional
            Whether tests use the t distribution, with clusters - 1 degrees of freedom where there are clusters, instead
            of the normal.
        seed : int, optional
            Makes the fit reproducible to the bit on the same machine and number of threads; without it one is drawn and
            recorded.
        device : str
            "cpu", "cuda" or another device of torch.
        n_jobs : int, optional
            Threads torch may use; by default its own setting.
        progress : bool, optional
            Whether to show a progress bar; by default where standard error is a terminal.

        Returns
        -------
        Results

        Raises
        ------
        OptionError
            For an option out of range, or options that don't fit the data.
        OverlapError
            If the covariates determine the treatment.

        Warns
        -----
        FitWarning, OverlapWarning, DimensionWarning, InferenceWarning
            For what a referee would ask about; the summary repeats it.
        """
        # torch is imported here and not before: importing deepdml and reading saved results stay fast.
        from deepdml.learn.fitting import check_device, fit, threads
        from deepdml.learn.problem import LearnOptions
        from deepdml.learn.progress import Progress
        from deepdml.results import make_results
        from deepdml.results.recipe import record_call

        check_device(device)
        keywords = covariance_keywords(cov_type, cov_kwds, use_t)
        data = self.arrays
        if keywords.groups is not None:
            data = add_groups(data, self._data, keywords.groups) or self._build(keywords.groups)
        keywords = with_columns(cov_type, keywords, self._data, data)
        given = propensities_of(treatment, self._data)
        known = None if given is None else known_propensities(given, data)
        options = LearnOptions(
            learner=one_of("learner", learner, ("auto", "net")),
            backbone=architecture(backbone, data.x_names),
            hidden=widths(hidden),
            epochs=whole("epochs", epochs),
            lr=positive("lr", lr),
            weight_decay=positive("weight_decay", weight_decay, zero=True),
            ensemble=whole("ensemble", ensemble) or 1,
            ensemble_by=joined_by(ensemble_by, learner),
            augment=function("augment", augment),
            treatment="discrete" if known is not None else one_of("treatment", treatment, KINDS),
            known=known,
            lambda_=lambda_,
            device=device,
        )
        repetitions = whole("n_rep", n_rep) or 1
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed_of(seed)
        with (
            threads(threads_of(n_jobs)),
            Progress(progress, n_folds, repetitions) as report,
        ):
            family = self._bind(data)
            fitted = fit(data, family, options, n_folds=n_folds, n_rep=repetitions, seed=seed, report=report)
        recipe = record_call(
            options,
            formula=self.formula,
            family=self.family,
            weights=self._weights,
            missing=self._missing,
            backbone=backbone,
            augment=augment,
            treatment=treatment,
            n_folds=n_folds,
            n_rep=repetitions,
            cov_type=cov_type,
            cov_kwds=cov_kwds,
            use_t=use_t,
            seed=seed,
        )
        return make_results(
            data,
            family,
            fitted.repetitions,
            fitted.folds,
            fitted.record,
            fitted.nets,
            cov_type=cov_type,
            cov_kwds=keywords,
            model=self,
            use_t=bool(use_t),
            recipe=recipe,
        )

    def refit(self, data: Any, **options: Any) -> Results:
        """Fit the same model to other data, with the options of `fit`; weights by column, not by position."""
        if self._weights is not None and not isinstance(self._weights, str):
            raise OptionError("weights were given by position and need not fit other data; name a column instead.")
        model = type(self)(
            self.formula, data, self.family, weights=self._weights, missing=self._missing, context=self._context
        )
        return model.fit(**options)


def fit(
    formula: str,
    data: Any,
    family: object = "gaussian",
    *,
    weights: str | ArrayLike | None = None,
    missing: Missing = "drop",
    context: Mapping[str, Any] | None = None,
    **options: Any,
) -> Results:
    """Fit a model in one call: ``DeepDML(formula, data, family, ...).fit(**options)``.

    Parameters
    ----------
    formula, data, family, weights, missing, context
        See `DeepDML`.
    **options
        See `DeepDML.fit`.

    Examples
    --------
    >>> import deepdml
    >>> from deepdml import simulate
    >>> jobs = simulate.wages(n=1000, seed=1).data
    >>> res = deepdml.fit("log_wage ~ experience | emb_*", data=jobs, learner="net", epochs=5, seed=1)
    >>> list(res.params.index)
    ['Intercept', 'experience']
    """
    allowed = [name for name in inspect.signature(DeepDML.fit).parameters if name != "self"]
    for name in options:
        if name not in allowed:
            raise unknown_keyword(name, allowed)
    return DeepDML(formula, data, family, weights=weights, missing=missing, context=context).fit(**options)

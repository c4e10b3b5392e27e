"""The methods of Results that ask how sure the estimates are: other covariances, bootstrap, adjustment, sensitivity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from deepdml.errors import OptionError, unknown_option
from deepdml.inference import CovarianceKeywords, Weights, step_down
from deepdml.inference.contributions import Kernel, Metric
from deepdml.results import bootstrap, sensitivity
from deepdml.results.bootstrap import Bootstrap
from deepdml.results.estimation import CovarianceSpec, covariance_spec, estimate
from deepdml.results.plots.sensitivity import draw_sensitivity
from deepdml.results.projection import choose, positions
from deepdml.results.recipe import Recorded, recorded
from deepdml.results.sensitivity import Elements, Sensitivity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deepdml.results.results import Results

Adjustment = Literal[
    "bonferroni",
    "sidak",
    "holm-sidak",
    "holm",
    "simes-hochberg",
    "hommel",
    "fdr_bh",
    "fdr_by",
    "fdr_tsbh",
    "fdr_tsbky",
    "romano-wolf",
]


class Inferences(Recorded):
    """The methods of Results on covariances, tests and assumptions; nothing is trained again."""

    _fit: Any
    _estimand: Any
    _estimates: Any
    _model: Any
    _psi: Any
    _results: Any

    @recorded
    def get_robustcov_results(
        self,
        cov_type: str = "HC1",
        use_t: bool | None = None,
        *,
        groups: object = None,
        time: object = None,
        coordinates: object = None,
        maxlags: int | None = None,
        cutoff: float | None = None,
        kernel: Kernel | None = None,
        metric: Metric | None = None,
        use_correction: bool | Literal["hac", "cluster"] | None = None,
    ) -> Results:
        """Return the same estimates with another covariance; nothing is trained again.

        Parameters
        ----------
        cov_type : str
            "HC0", "HC1"; "cluster", in any number of ways, and "cluster-crv3", the delete-one-cluster jackknife; "HAC"
            for one time series, "hac-panel" for many, "driscoll-kraay" for a panel whose units depend on each other,
            too; "conley" over distance.
        use_t : bool, optional
            Whether tests use the t distribution, with clusters - 1 degrees of freedom where there are clusters
            (periods - 1 for Driscoll-Kraay), else rows minus coefficients. By default as in this table.
        groups : array, Series, list of these, or DataFrame
            Cluster labels for each row of the data (or each row kept), several for clustering in several ways. Without
            them, those the folds were drawn with.
        time : array or Series
            Period of each row: numbers or dates. Whole numbers keep their gaps; rows need not be sorted.
        coordinates : (n, 2) array, DataFrame or pair of arrays
            Latitude and longitude in degrees, or planar coordinates.
        maxlags : int, optional
            Longest lag; by default floor(4 (T / 100)^(2/9)) with T periods.
        cutoff : float
            Distance beyond which rows are independent: kilometres, or planar units.
        kernel : {"bartlett", "uniform"}, optional
            Weights of lags (by default Bartlett) or distances (by default uniform).
        metric : {"haversine", "euclidean"}, optional
            Of the coordinates: on the globe (default), or planar.
        use_correction : bool, "hac" or "cluster", optional
            Small-sample factor, by default statsmodels': G/(G-1) (n-1)/(n-k) with clusters and for Driscoll-Kraay,
            (G-1)/G of the jackknife, n/(n-k) for panel HAC, none for HAC and Conley.

        Raises
        ------
        OptionError
            For a keyword that the covariance does not take, or one it needs.
        DataError
            For groups, time or coordinates of a wrong length or with missing values, and for fewer than two clusters.

        Warns
        -----
        InferenceWarning
            For few clusters or periods, for negative eigenvalues, and where the folds of the fit split clusters.
        """
        keywords = CovarianceKeywords(groups, time, coordinates, maxlags, cutoff, kernel, metric, use_correction)
        if use_t not in (None, True, False):
            raise unknown_option("use_t", use_t, ("None", "True", "False"))
        wanted = self._estimates.spec.use_t if use_t is None else bool(use_t)
        spec = replace(covariance_spec(self._fit, cov_type, keywords, wanted), df=self._estimates.spec.df)
        estimates = estimate(self._fit, self._estimates.labels, self._psi, spec)
        estimates = replace(estimates, remarks=self._estimates.remarks)
        return cast("type[Results]", type(self))(self._fit, self._estimand, estimates, self._model)

    def bootstrap(
        self, draws: int = 999, weights: Weights = "rademacher", groups: object = None, seed: int = 0
    ) -> Bootstrap:
        """Return a multiplier bootstrap of the influence values, by cluster where the covariance is clustered.

        The null is imposed and every draw studentized, as in the wild cluster bootstrap, which keeps tests close to
        their level with few clusters. Nuisances are not learned again.

        Parameters
        ----------
        draws : int
        weights : {"rademacher", "mammen", "webb", "normal"}
            Law of the multipliers; "webb" for fewer than about ten clusters.
        groups : array, Series, optional
            Cluster labels, in one way; by default those of the covariance.
        seed : int

        Returns
        -------
        Bootstrap
            With draws, se, pvalues, conf_int() and critical_value().

        Raises
        ------
        OptionError
            For several ways of clustering, or a covariance over time or distance, without `groups`.
        """
        spec: CovarianceSpec = self._estimates.spec
        if groups is not None:
            spec = replace(covariance_spec(self._fit, "cluster", CovarianceKeywords(groups=groups)), df=spec.df)
        return bootstrap.bootstrap(self._fit, self._estimates.labels, self._psi, spec, draws, weights, seed)

    def adjust_pvalues(
        self, method: Adjustment = "holm", cols: str | list[str] | None = None, *, draws: Bootstrap | None = None
    ) -> pd.DataFrame:
        """Return p-values of zero, adjusted for their number.

        Parameters
        ----------
        method : str
            One of statsmodels' multipletests ("bonferroni", "holm", "hommel", "fdr_bh", ...), or "romano-wolf", a
            step-down by the draws of a bootstrap, which uses the correlation of the estimates.
        cols : str or list of str, optional
            The estimates that are tested together, such as all but the intercept; by default all.
        draws : Bootstrap, optional
            For "romano-wolf"; by default ``bootstrap()``.

        Returns
        -------
        DataFrame
            Columns "coef", "pvalue" and "adjusted"; p-values are the table's, for "romano-wolf" those of the draws.
        """
        if method not in get_args(Adjustment):
            raise unknown_option("method", method, get_args(Adjustment))
        labels = list(self._estimates.labels)
        places = list(range(len(labels))) if cols is None else positions(tuple(labels), cols)
        if not places:
            raise OptionError("cols is empty; name the estimates that are tested together.")
        params = np.asarray(self._results.params)[places]
        if method == "romano-wolf":
            drawn = self.bootstrap() if draws is None else draws
            if getattr(drawn, "labels", None) != tuple(labels):
                raise OptionError("draws are of another table; use the bootstrap() of these Results.")
            pvalues = drawn.pvalues.to_numpy()[places]
            observed = (drawn.params / drawn.scale)[places]
            adjusted = step_down(observed, drawn.statistics()[:, places])
        else:
            if draws is not None:
                raise OptionError(f"draws are for method='romano-wolf'; {method!r} adjusts the table's p-values.")
            pvalues = np.asarray(self._results.pvalues)[places]
            adjusted = multipletests(pvalues, method=method)[1]
        names = [labels[j] for j in places]
        return pd.DataFrame({"coef": params, "pvalue": pvalues, "adjusted": adjusted}, index=names)

    def sensitivity(
        self,
        cf_y: float = 0.03,
        cf_d: float = 0.03,
        rho: float = 1.0,
        null: float = 0.0,
        alpha: float = 0.05,
        *,
        benchmark: Inferences | Mapping[str, Inferences] | None = None,
    ) -> Sensitivity:
        """Return bounds under omitted confounders, and how strong they must be to overturn the estimates.

        Parameters
        ----------
        cf_y : float
            Share of the residual variance of the outcome that the omitted confounder explains.
        cf_d : float
            Share of E[alpha^2] that it adds; in a partially linear model its partial R2 with the treatment.
        rho : float
            How adversely the two go together; 1 is the worst case.
        null : float
            Value that the robustness values ask about.
        alpha : float
            One minus the level of the confidence bounds, each one-sided.
        benchmark : Results, or dict of Results by name, optional
            The same model fitted without some of the covariates, whose strength is reported.

        Returns
        -------
        Sensitivity
            With summary(), to_frame(), robustness_values and benchmarks.

        Raises
        ------
        OptionError
            For families and estimands that are not linear in E[y | t, x].
        """
        sensitivity.check_scenario(cf_y, cf_d, rho, null, alpha)
        own = self._elements()
        given = benchmark if isinstance(benchmark, Mapping) else {"covariates": benchmark}
        without = {str(name): cast("Results", other) for name, other in given.items() if other is not None}
        for name, other in without.items():
            if not isinstance(other, Inferences):
                raise OptionError(
                    f"benchmark {name!r} is a {type(other).__name__}; needed are Results of the same model, fitted "
                    "without some of the covariates."
                )
        shorter = {name: other._elements() for name, other in without.items()}
        found = sensitivity.benchmarks(self._fit, self._estimates.labels, own, without, shorter)
        df = self._results.df_resid_inference if self._results.use_t else None
        return Sensitivity(self._estimates.labels, own, cf_y, cf_d, rho, null, alpha, df, found)

    def plot_sensitivity(
        self,
        of: str | None = None,
        *,
        ax: Axes | None = None,
        confidence: bool = False,
        rho: float = 1.0,
        null: float = 0.0,
        alpha: float = 0.05,
        limit: float | None = None,
        benchmark: Inferences | Mapping[str, Inferences] | None = None,
    ) -> Axes:
        """Draw contours of the bound on the null's side over the strength of an omitted confounder.

        Parameters
        ----------
        of : str, optional
            Which estimate; by default the only one beside the intercept.
        ax : matplotlib Axes, optional
        confidence : bool
            Whether to draw the confidence bound in place of the bound itself.
        rho, null, alpha, benchmark
            As for `sensitivity`; benchmarks are points.
        limit : float, optional
            Largest strength on both axes; by default a little beyond the robustness value and the benchmarks.

        Returns
        -------
        Axes

        Raises
        ------
        MissingLibraryError
            Without matplotlib.
        """
        found = self.sensitivity(rho=rho, null=null, alpha=alpha, benchmark=benchmark)
        return draw_sensitivity(found, choose(found.labels, of), ax=ax, confidence=confidence, limit=limit)

    def _elements(self) -> Elements:
        return sensitivity.sensitivity_elements(
            self._fit, self._estimand, self._psi, cast("Any", self)._columns(), self._estimates.spec
        )

"""Results: the regression table of a fit, in statsmodels' words."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.base.wrapper import ResultsWrapper
from statsmodels.stats.contrast import ContrastResults, WaldTestResults

from deepdml.errors import OptionError, refuse_no_number, refuse_no_whole, unknown_option
from deepdml.estimands import Estimand
from deepdml.inference import sup_t
from deepdml.results import pairwise, storage
from deepdml.results.clients import MarginalEffects, register
from deepdml.results.diagnostics import Diagnostics, disagreement, largest_rows
from deepdml.results.estimation import Estimates
from deepdml.results.figures import Figures
from deepdml.results.fit import Fit
from deepdml.results.heterogeneity import compare, describe, true_theta
from deepdml.results.inferences import Inferences
from deepdml.results.leakage import leakage_path
from deepdml.results.linear import LinearTests, model_info, restrictions
from deepdml.results.prediction import predict
from deepdml.results.projection import positions
from deepdml.results.summary import Summary, summarize

if TYPE_CHECKING:
    from statsmodels.stats.contrast import MultiCompResult

    from deepdml.leakage import LeakagePath


Float = NDArray[np.float64]
Path = str | os.PathLike[str]


class Results(Figures, Inferences, MarginalEffects, ResultsWrapper):  # type: ignore[misc]  # statsmodels ships no types
    """Estimates of one estimand with their covariance; statsmodels' names, types and conventions.

    Built by ``make_results`` and ``load``. Tests are normal, or t where `use_t` was asked for.

    Parameters
    ----------
    fit : Fit
        What the fit left behind.
    estimand : Estimand
        What is reported.
    estimates : Estimates
        The numbers.
    model : object, optional
        The model that was fitted; a small stand-in with names and formula otherwise.
    """

    _wrap_attrs: ClassVar[dict[str, str]] = {"normalized_cov_params": "cov"}

    def __init__(self, fit: Fit, estimand: Estimand, estimates: Estimates, model: object = None) -> None:
        terms = fit.term_columns if _are_coefficients(fit, estimates) else None
        info = model_info(fit.design.formula, fit.y_name, estimates.labels, terms)
        d = len(fit.theta_names) if estimates.spec.df is None else estimates.spec.df
        has_intercept = "Intercept" in estimates.labels
        super().__init__(LinearTests(info, estimates, nobs=fit.n, df_model=d - has_intercept, df_resid=fit.n - d))
        self.__doc__ = type(self).__doc__
        self._fit = fit
        self._estimand = estimand
        self._estimates = estimates
        self._model = model

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *dir(self._results)} - {"llf"})

    def __repr__(self) -> str:
        fit = self._fit
        return f"<Results: {self._estimand.title}, {fit.design.formula!r}, family {fit.record.family}, {fit.n:,} rows>"

    # The table

    @property
    def params(self) -> pd.Series:
        """Estimates, one per coefficient."""
        return self._series(self._results.params)

    @property
    def bse(self) -> pd.Series:
        """Standard errors."""
        return self._series(self._results.bse)

    @property
    def tvalues(self) -> pd.Series:
        """Estimates over standard errors: z values."""
        return self._series(self._results.tvalues)

    @property
    def pvalues(self) -> pd.Series:
        """Two-sided p-values of zero, from the normal distribution, or the t where `use_t`."""
        return self._series(self._results.pvalues)

    @property
    def model(self) -> Any:
        """The fitted model; after loading a stand-in with formula, endog_names, exog_names and data."""
        return self._model if self._model is not None else self._results.model

    def conf_int(
        self,
        alpha: float = 0.05,
        cols: str | list[str] | list[int] | None = None,
        *,
        joint: bool = False,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Return confidence intervals at level 1 - alpha, as a frame with columns 0 and 1.

        Parameters
        ----------
        alpha : float
            Between 0 and 1.
        cols : name, or list of names or positions, optional
            Only these coefficients.
        joint : bool
            Whether the intervals cover all estimates at once: a uniform band, by simulated quantiles of the largest z
            under the estimated correlation. `bootstrap` has one from draws of psi.
        seed : int
            Of the simulation.
        """
        _check_alpha(alpha)
        intervals = self._results.conf_int(alpha)
        if joint:
            refuse_no_whole("seed", seed, 0)
            df = self._results.df_resid_inference if self._results.use_t else None
            reach = sup_t(self._estimates.covariance.matrix, alpha, seed, df) * np.asarray(self._results.bse)
            intervals = np.column_stack([self._results.params - reach, self._results.params + reach])
        frame = pd.DataFrame(intervals, index=list(self._estimates.labels))
        return frame if cols is None else frame.iloc[positions(self._estimates.labels, cols)]

    def cov_params(
        self, r_matrix: Any = None, column: Any = None, scale: float | None = None, cov_p: Any = None, other: Any = None
    ) -> Any:
        """Return the covariance of the estimates as a frame, or an array for a contrast or a selection of columns.

        The arguments are those of statsmodels; `scale` has no effect: there is no error variance to scale.
        """
        if column is not None:
            chosen = positions(self._estimates.labels, [column] if np.ndim(column) == 0 else list(column))
            column = chosen[0] if np.ndim(column) == 0 else np.array(chosen)
        for contrast in (r_matrix, other):
            if contrast is not None:
                restrictions(contrast, list(self._estimates.labels))
        matrix = self._results.cov_params(r_matrix=r_matrix, column=column, scale=scale, cov_p=cov_p, other=other)
        return self._results.model.data.wrap_output(matrix, "cov") if r_matrix is None and column is None else matrix

    def summary(
        self, yname: str | None = None, xname: list[str] | None = None, title: str | None = None, alpha: float = 0.05
    ) -> Summary:
        """Return the table with its head and notes; it has as_text, as_latex, as_html and as_csv.

        Parameters
        ----------
        yname : str, optional
            Name of the outcome.
        xname : list of str, optional
            Names of the coefficients.
        title : str, optional
            Title of the table.
        alpha : float
            One minus the level of the intervals.
        """
        _check_alpha(alpha)
        if xname is not None and len(xname) != len(self._estimates.labels):
            raise OptionError(f"xname is {xname!r}; it must be a list of {len(self._estimates.labels)} names.")
        return summarize(self._results, self._fit, self._estimates, self._estimand.title, yname, xname, title, alpha)

    # Tests

    def t_test(self, r_matrix: Any, cov_p: Any = None, use_t: bool | None = None) -> ContrastResults:
        """Return a z (or t) test of each linear hypothesis, ``"C(arm)[T.b] = C(arm)[T.c]"``; statsmodels' arguments."""
        return self._results.t_test(self._restrictions(r_matrix), cov_p=cov_p, use_t=use_t)

    def wald_test(
        self,
        r_matrix: Any,
        cov_p: Any = None,
        invcov: Any = None,
        use_f: bool | None = None,
        df_constraints: int | None = None,
        scalar: bool = True,
    ) -> ContrastResults:
        """Return a joint chi-squared test of linear hypotheses; arguments as in statsmodels."""
        hypothesis = self._restrictions(r_matrix)
        return self._results.wald_test(
            hypothesis, cov_p=cov_p, invcov=invcov, use_f=use_f, df_constraints=df_constraints, scalar=scalar
        )

    def f_test(self, r_matrix: Any, cov_p: Any = None, invcov: Any = None) -> ContrastResults:
        """Return a joint F test of linear hypotheses; arguments as in statsmodels."""
        return self._results.f_test(self._restrictions(r_matrix), cov_p=cov_p, invcov=invcov)

    def wald_test_terms(
        self,
        skip_single: bool = False,
        extra_constraints: Any = None,
        combine_terms: list[str] | None = None,
        scalar: bool = True,
    ) -> WaldTestResults:
        """Return a joint test for each term of the formula; arguments as in statsmodels."""
        coefficients = _are_coefficients(self._fit, self._estimates)
        terms = list(self._fit.term_columns) if coefficients else list(self._estimates.labels)
        for name in combine_terms or []:
            if not any(name in term for term in terms):
                raise unknown_option("term in combine_terms", name, terms)
        return self._results.wald_test_terms(
            skip_single=skip_single, extra_constraints=extra_constraints, combine_terms=combine_terms, scalar=scalar
        )

    def t_test_pairwise(
        self,
        term_name: str,
        method: str | list[str] = "hs",
        alpha: float = 0.05,
        factor_labels: list[str] | None = None,
    ) -> MultiCompResult:
        """Return tests of all pairs of levels of a categorical term, with p-values corrected for their number.

        Parameters
        ----------
        term_name : str
            The term as in the formula, e.g. ``"C(arm)"``.
        method : str or list of str
            Corrections, as in statsmodels' multipletests.
        alpha : float
            Level of the corrected decisions.
        factor_labels : list of str, optional
            Names of all levels, the reference first if there is one.
        """
        if not _are_coefficients(self._fit, self._estimates):
            raise OptionError("t_test_pairwise() compares levels of a term, and these estimates are not coefficients.")
        return pairwise.t_test_pairwise(
            self._results, self._fit.term_columns, self._fit.t_names, term_name, method, alpha, factor_labels
        )

    # Rows

    @property
    def theta(self) -> pd.DataFrame:
        """Each row's own coefficients and auxiliary parameters, n x d: cross-fitted, without intervals."""
        rows = self._fit.need_rows("theta")
        return pd.DataFrame(rows.theta, index=pd.Index(rows.index), columns=list(self._fit.theta_names))

    @property
    def psi(self) -> pd.DataFrame:
        """Influence values of each row, n x q, the mean over repetitions; if n_rep is 1 they average to `params`."""
        rows = self._fit.need_rows("psi", several=True)
        values, labels = self._psi.mean(axis=0), list(self._estimates.labels)
        return pd.DataFrame(values, index=pd.Index(rows.index), columns=labels)

    def predict(
        self,
        new_data: object = None,
        which: Literal["mean", "linear", "theta"] = "mean",
        context: Mapping[str, Any] | None = None,
    ) -> pd.Series | pd.DataFrame:
        """Return predictions of the outcome or the coefficients.

        Parameters
        ----------
        new_data : DataFrame or other table, optional
            Encoded with the categories and statistics of the fit and passed through the nets. Without it, the
            cross-fitted predictions of the fit's own rows.
        which : {"mean", "linear", "theta"}
            E[y | t, x] in the units of the outcome, t' theta(x), or theta(x) itself (which needs no treatment columns).
        context : dict, optional
            Arrays and functions the formula names beside the columns.

        Returns
        -------
        Series, or DataFrame for "theta", with the index of the data
        """
        return predict(self._fit, new_data, which, context)

    def hte(self, truth: object = None) -> pd.DataFrame:
        """Return mean, sd, quantiles, share positive and a text histogram of theta over rows, one row per coefficient.

        Descriptive: theta is smoothed and estimated, so its spread is not the spread of the true effects, and its mean
        is not `params`. For inference on heterogeneity project psi on covariates.

        Parameters
        ----------
        truth : (n, d) array or DataFrame, optional
            True coefficients of the rows of the fit, such as `theta` of a `deepdml.simulate` design: they get a row of
            their own under each coefficient, with the correlation of both.

        Raises
        ------
        OptionError
            For a truth of another shape, or that is no numbers.
        """
        rows = self._fit.need_rows("hte()")
        if truth is None:
            return describe(rows.theta, self._fit.theta_names, rows.weights)
        return compare(rows.theta, true_theta(truth, self._fit.kept), self._fit.theta_names, rows.weights)

    @property
    def diagnostics(self) -> Diagnostics:
        """Fit of every nuisance, overlap, shares regularized, signal left in residuals, influence of single rows."""
        shares, spread = (of(self._estimates, self._fit.weights) for of in (largest_rows, disagreement))
        return Diagnostics(self._fit.record, shares, spread)

    def leakage_path(
        self,
        data: pd.DataFrame,
        columns: str | Sequence[str],
        treatment: str | None = None,
        *,
        fit: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> LeakagePath:
        """Fit the model again and again on covariates that reveal less and less of the treatment.

        Parameters
        ----------
        data : DataFrame
            As the model was fitted on; it trains anew for each strength.
        columns : str or sequence of str
            The embeddings: a glob or names.
        treatment : str, optional
            The column not to be revealed; by default the only treatment.
        fit : mapping, optional
            Options of `DeepDML.fit`, as the first fit had them: a Results does not keep them all.
        **options
            Of `deepdml.leakage.path`: method, strengths, given and others.
        """
        return leakage_path(self._model, data, columns, treatment, dict(fit or {}), options)

    # Files

    def remove_data(self) -> None:
        """Drop the arrays by row and the model, in place; the table, tests and predictions for new data stay."""
        self._fit = self._fit.without_rows()
        self._estimates = self._estimates.without_rows()
        self._model = None
        self._recipe = self._recipe and self._recipe.without_rows()
        for name in ("groups", "time"):
            self._results.cov_kwds.pop(name, None)

    def save(self, fname: Path | IO[bytes], remove_data: bool = False) -> None:
        """Write a zip of JSON, npy and safetensors that `load` reads; an existing file is replaced.

        Covariates are not saved: nothing a Results computes needs them.

        Parameters
        ----------
        fname : path or binary file
        remove_data : bool
            Whether to leave out the arrays by row.
        """
        parts = storage.parts_of(self)
        storage.save(fname, parts.without_rows() if remove_data else parts)

    @classmethod
    def load(cls, fname: Path | IO[bytes]) -> Results:
        """Read what `save` wrote; never unpickles and never imports torch."""
        return storage.load(fname)

    # The attributes of deep-inference's results; LinearTests says why they are absent where they are

    @property
    def mu_hat(self) -> float:
        """Estimate of the treatment's coefficient."""
        return float(self._results.params[self._treatment])

    @property
    def se(self) -> float:
        """Its standard error."""
        return float(self._results.bse[self._treatment])

    @property
    def ci_lower(self) -> float:
        """Lower end of its 95 % interval."""
        return float(self._results.conf_int()[self._treatment, 0])

    @property
    def ci_upper(self) -> float:
        """Upper end of its 95 % interval."""
        return float(self._results.conf_int()[self._treatment, 1])

    @property
    def theta_hat(self) -> Float:
        """Each row's coefficients, (n, 2)."""
        self._treatment  # noqa: B018  # refuses where the names don't exist
        return cast(Float, self.theta.to_numpy())

    @property
    def psi_values(self) -> Float:
        """Influence values of the treatment's coefficient, (n,)."""
        return cast(Float, self.psi.to_numpy()[:, self._treatment])

    @property
    def _treatment(self) -> int:
        """Position of the only treatment column."""
        names = self._fit.t_names
        if len(names) != 2 or names[0] != "Intercept" or self._estimates.labels != names:
            raise AttributeError("only for an intercept and one treatment")
        return 1

    def _series(self, values: Float) -> pd.Series:
        return pd.Series(values, index=list(self._estimates.labels))

    def _restrictions(self, hypothesis: Any) -> Any:
        return restrictions(hypothesis, list(self._estimates.labels))


register(Results)


def _are_coefficients(fit: Fit, estimates: Estimates) -> bool:
    """Whether the estimates are the coefficients of the structural columns, perhaps with auxiliary parameters."""
    return estimates.labels == fit.theta_names == (*fit.t_names, *fit.auxiliary)


def _check_alpha(alpha: float) -> None:
    refuse_no_number("alpha", alpha, "a number between 0 and 1, 0.05 for 95 % intervals")
    if not 0 < alpha < 1:
        raise OptionError(f"alpha is {alpha!r}; it must be between 0 and 1, 0.05 for 95 % intervals.")

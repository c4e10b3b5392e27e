"""The figures of Results, each on one Axes; what is drawn is prepared here and drawn in plots/."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import OptionError, near_names, unknown_option
from deepdml.estimands import AverageCoefficient, DoseResponse, Profit
from deepdml.results import projection, ranking
from deepdml.results.effects import Effects
from deepdml.results.overlap import Propensities, overlap_of
from deepdml.results.plots.coefficients import draw_calibration, draw_coefficients
from deepdml.results.plots.curve import draw_dose
from deepdml.results.plots.distribution import draw_distribution
from deepdml.results.plots.overlap import draw_propensities, draw_propensity, draw_residuals, draw_scale
from deepdml.results.plots.style import number
from deepdml.results.plots.training import draw_training
from deepdml.results.report import page, write_page
from deepdml.results.units import estimand_text, null_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deepdml.results.results import Results

Float = NDArray[np.float64]

GRID = 30  # points of a dose-response curve
FEW = 10  # a dose with at most so many distinct values is drawn at these
ENDS = (0.025, 0.975)  # quantiles of a dose between which its curve is drawn: beyond them few rows say anything


class Figures(Effects):
    """The methods of Results that draw; matplotlib is imported when one is called."""

    def plot_coef(
        self,
        others: Any = (),
        *,
        labels: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        alpha: float = 0.05,
        joint: bool = False,
        intercept: bool = False,
        reference: float | Literal["auto"] | None = "auto",
        seed: int = 0,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the estimates with their intervals, beside those of other models; serves any table, as gate() and blp().

        Parameters
        ----------
        others : Results or list of these, optional
            Anything with a Series `params` and `conf_int(alpha)`, statsmodels' results among them.
        labels : sequence of str, optional
            Of this model and the others; (1), (2), ... by default.
        names : sequence of str, optional
            Which estimates, in this order; by default all that any model has.
        alpha : float
            One minus the level of the intervals.
        joint : bool
            Whether a thinner, longer bar shows the band that covers all estimates of a table at once, simulated
            with `seed`.
        intercept : bool
            Whether to draw an estimate called Intercept that stands beside others.
        reference : float or None
            Where a dashed line stands; at no effect by default.
        ax : Axes, optional
            To draw on; a new figure by default.

        Returns
        -------
        Axes
        """
        others = list(others) if isinstance(others, list | tuple) else [others]
        models = [cast(Any, self), *others]
        texts = [f"({m + 1})" for m in range(len(models))] if labels is None else [str(label) for label in labels]
        if len(texts) != len(models) or len(set(texts)) < len(texts):
            raise OptionError(f"labels={labels!r}; needed are {len(models)} different ones, one for each model.")
        tables = [_intervals(model, alpha, joint and isinstance(model, Effects), seed) for model in models]
        return draw_coefficients(
            _chosen(tables, names, intercept),
            texts,
            alpha=alpha,
            xlabel=estimand_text(self._fit, self._estimand),
            reference=null_value(self._estimand) if reference == "auto" else reference,
            ax=ax,
        )

    def plot_hte(self, name: str | None = None, *, alpha: float = 0.05, bins: int = 40, ax: Axes | None = None) -> Axes:
        """Draw how a coefficient theta(x) is spread over rows, with its average and the interval of that.

        Descriptive: theta is estimated and smoothed, so that its spread is not that of the true effects.

        Parameters
        ----------
        name : str, optional
            A coefficient; by default the only one beside the intercept.
        alpha : float
            One minus the level of the average's interval.
        bins : int
            Of the histogram.
        ax : Axes, optional
            To draw on; a new figure by default.
        """
        fit = self._fit
        rows = fit.need_rows("plot_hte()")
        j = projection.choose(fit.theta_names, name, fit.auxiliary)
        average = self._coefficients()
        low, high = average.conf_int(alpha).iloc[j]
        return draw_distribution(
            rows.theta[:, j],
            rows.weights,
            float(average.params.iloc[j]),
            (float(low), float(high)),
            alpha=alpha,
            xlabel=f"{fit.theta_names[j]}: {estimand_text(fit, AverageCoefficient(), average=False)}",
            bins=bins,
            ax=ax,
        )

    def plot_dose(
        self,
        column: str | None = None,
        values: Sequence[Any] | Float | None = None,
        *,
        subset: Any = None,
        alpha: float = 0.05,
        seed: int = 0,
        data: object = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw mean outcomes by dose, with pointwise intervals and a band that covers the whole curve.

        Parameters
        ----------
        column : str, optional
            A variable left of the bar, by default the only one. Results of a DoseResponse or Profit draw themselves.
        values : sequence, optional
            Doses; by default the levels of a categorical variable, the values of a dose with few, and 30 points between
            the 2.5 % and 97.5 % quantiles of any other.
        subset, data : optional
            As for DoseResponse and `estimate`.
        alpha : float
            One minus the level of intervals and band, the latter drawn from `seed`.
        ax : Axes, optional
            To draw on; a new figure by default.
        """
        res, estimand = self, self._estimand
        if column is not None or values is not None or not isinstance(estimand, DoseResponse | Profit):
            column = self._dose_column(column)
            doses = self._doses(column, data) if values is None else values
            estimand = DoseResponse(subset=subset, column=column, values=doses)
            res = self.estimate(estimand, data=data)
        column, used = estimand.doses()
        return draw_dose(
            used,
            _intervals(res, alpha, True, seed),
            alpha=alpha,
            xlabel=column,
            ylabel=estimand_text(self._fit, estimand),
            ax=ax,
        )

    def plot_overlap(
        self,
        level: object = None,
        *,
        show: Literal["residuals", "sd"] = "residuals",
        bins: int = 40,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw how much the treatment varies given the covariates, with the bound at which it was clipped.

        Of a treatment with two levels: the propensity of the upper one, by level. Of more levels: quantiles of each
        one's propensity among the rows that have it and among the others. Of a continuous treatment: the density of
        its standardized residuals.

        Parameters
        ----------
        level : optional
            A level, as its value or "arm = b": its propensities are drawn in full.
        show : {"residuals", "sd"}
            Of a continuous treatment: standardized residuals, or the conditional standard deviation with its floor.
        bins : int
            Of the histograms.
        ax : Axes, optional
            To draw on; a new figure by default.
        """
        if show not in ("residuals", "sd"):
            raise unknown_option("show", show, ("residuals", "sd"))
        found, weights = overlap_of(self._fit), self._fit.weights
        if isinstance(found, Propensities):
            if level is None and len(found.names) > 2:
                return draw_propensities(found.values, found.at_level, weights, found.bounds, levels=found.names, ax=ax)
            j = len(found.names) - 1 if level is None else found.position(level)
            return draw_propensity(
                found.values[:, j],
                found.at_level[:, j],
                weights,
                found.clipping(j),
                level=found.names[j],
                bins=bins,
                ax=ax,
            )
        if level is not None:
            raise OptionError(f"level={level!r}, but {found.name!r} is continuous and has no levels.")
        weights = None if weights is None else np.tile(weights, len(found.scale) // len(weights))
        if show == "sd":
            return draw_scale(found.scale, weights, found.floor, treatment=found.name, bins=bins, ax=ax)
        floored = f"{self._fit.record.clipped_share:.1%}".replace("%", " %")
        note = f"conditional sd raised to {number(found.floor)} in {floored} of the rows"
        return draw_residuals(found.residuals, weights, treatment=found.name, note=note, bins=bins, ax=ax)

    def plot_training(self, nuisance: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the held-out loss of the nets while they trained, as the change from the linear fit they start at.

        Parameters
        ----------
        nuisance : str, optional
            "outcome", "treatment mean" or "treatment levels"; all that nets learned by default.
        ax : Axes, optional
            To draw on; a new figure by default.
        """
        self._fit.need_one("plot_training()")
        history = cast("Results", self).diagnostics.history
        if history.empty:
            raise OptionError(
                "there are no training curves: the fit trained no nets, or was saved before they were recorded."
            )
        known = list(dict.fromkeys(history["nuisance"]))
        if nuisance is not None and nuisance not in known:
            raise unknown_option("nuisance", nuisance, known)
        return draw_training(history if nuisance is None else history[history["nuisance"] == nuisance], ax=ax)

    def plot_calibration(
        self,
        n_groups: int = 5,
        of: str | None = None,
        *,
        alpha: float = 0.05,
        data: object = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the average effect in groups sorted by their predicted effect against the mean predictions.

        Points on the dashed line say that predicted differences between rows are right.

        Parameters
        ----------
        n_groups, of, data : optional
            As for `sorted_effects`.
        alpha : float
            One minus the level of the intervals.
        ax : Axes, optional
            To draw on; a new figure by default.
        """
        j, effects = self._effects(of, data)
        groups = ranking.quantile_groups(self._ranks(of, data)[1], n_groups)[0]
        weights = self._fit.need_rows("plot_calibration()").weights
        mass = groups if weights is None else groups * weights[:, None]
        predicted = np.median((mass * effects[..., None]).sum(axis=1) / mass.sum(axis=1), axis=0)
        table = _intervals(self.sorted_effects(n_groups, of, data=data), alpha, False, 0)
        return draw_calibration(predicted, table, alpha=alpha, effect=f"(effect: {self._estimates.labels[j]})", ax=ax)

    def report(self, path: str | os.PathLike[str], *, title: str | None = None, overwrite: bool = False) -> None:
        """Write one self-contained web page: table, figures, diagnostics with their reading, methods and references.

        Nothing in it is loaded from elsewhere, so that the file can be sent as it is.

        Parameters
        ----------
        path : path
            Of the page, "report.html".
        title : str, optional
            By default the outcome and what is estimated.
        overwrite : bool
            Whether an existing file is replaced.

        Raises
        ------
        OptionError
            If the file exists.
        """
        text = page(cast("Results", self), self._fit, self._estimand, self._estimates, title)
        write_page(path, text, overwrite)

    def _coefficients(self) -> Results:
        """Return the table of average coefficients of this fit."""
        if isinstance(self._estimand, AverageCoefficient) and self._estimates.labels == self._fit.t_names:
            return cast("Results", self)
        return self.estimate(AverageCoefficient())

    def _dose_column(self, column: str | None) -> str:
        reads = self._fit.design.treatments.reads
        if column is None and len(reads) == 1:
            return str(reads[0])
        if column not in reads:
            listed = ", ".join(map(repr, reads)) or "none"
            hint = "" if column is None else near_names(column, reads)
            raise OptionError(f"plot_dose() needs a variable left of the bar; there are {listed}.{hint}")
        return column

    def _doses(self, column: str, data: object) -> list[Any]:
        """Return the doses at which to draw a curve where none were given."""
        levels = self._fit.design.treatment_categories().get(column, ("", ()))[1]
        if levels:
            return list(levels)
        observed = np.asarray(self._columns(data).treatments()[column], dtype=np.float64)
        distinct = np.unique(observed)
        if len(distinct) <= FEW:
            return cast("list[Any]", distinct.tolist())
        low, high = np.quantile(observed, ENDS)
        return cast("list[Any]", np.linspace(low, high, GRID).tolist())


def _intervals(res: Any, alpha: float, joint: bool, seed: int) -> pd.DataFrame:
    """Return a frame of estimates and ends of intervals; with `joint` also of the uniform band."""
    params = getattr(res, "params", None)
    if not isinstance(params, pd.Series):
        raise OptionError(
            f"a {type(res).__name__} cannot be drawn beside this table: needed are Results, or others with a Series "
            "`params` and conf_int(alpha)."
        )
    ends = np.asarray(res.conf_int(alpha))
    table = pd.DataFrame({"estimate": params, "low": ends[:, 0], "high": ends[:, 1]}, index=params.index)
    if joint:
        table[["joint_low", "joint_high"]] = res.conf_int(alpha, joint=True, seed=seed).to_numpy()
    return table


def _chosen(tables: list[pd.DataFrame], names: Sequence[str] | None, intercept: bool) -> list[pd.DataFrame]:
    """Return the rows to draw of each table, in the order asked for."""
    known = list(dict.fromkeys(name for table in tables for name in table.index))
    if names is not None:
        for name in names:
            if name not in known:
                listed = ", ".join(map(repr, known))
                raise OptionError(f"there is no estimate {name!r}; there are {listed}.{near_names(name, known)}")
        wanted = list(names)
    else:
        beside = [name for name in known if intercept or name not in ("Intercept", "const")]
        wanted = beside or known
    return [table.loc[[name for name in wanted if name in table.index]] for table in tables]

"""Sensitivity to omitted confounders: bounds, robustness values, and what observed covariates would have done.

An estimand that is linear in g(t, x) = E[y | t, x] is E[y alpha] with the Riesz representer alpha. A confounder that
the covariates leave out moves it by at most strength * sqrt(E[(y - g)^2] E[alpha^2]), where the strength says how much
the confounder would add to the fit of the outcome and to the variance of alpha.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats
from statsmodels.iolib.table import SimpleTable
from statsmodels.iolib.tableformatting import fmt_params

from deepdml.errors import DataError, OptionError, refuse_no_number
from deepdml.estimands import AverageCoefficient, AverageMarginalEffect, Contrast, DoseResponse, Estimand, Stack
from deepdml.inference import weighted_mean
from deepdml.results.columns import UserColumns
from deepdml.results.estimation import CovarianceSpec, over_repetitions, samples
from deepdml.results.fit import Fit
from deepdml.results.summary import Summary

if TYPE_CHECKING:
    from deepdml.results.effects import Effects

Float = NDArray[np.float64]

COLUMNS = ("ci_lower", "lower", "coef", "upper", "ci_upper", "rv", "rva")


@dataclass(frozen=True, slots=True)
class Elements:
    """What the bounds of q estimates are made of.

    Parameters
    ----------
    sigma2 : float
        E[(y - g)^2], in squared units of the outcome.
    nu2 : (q,) array
        E[alpha^2].
    scale : (q,) array
        sqrt(sigma2 nu2): the largest bias at strength one, in the units of the estimates.
    params : (q,) array
        The estimates.
    matrix : (2 q, 2 q) array
        Covariance of the estimates and, after them, of `scale`.
    """

    sigma2: float
    nu2: Float
    scale: Float
    params: Float
    matrix: Float


@dataclass(frozen=True, slots=True, repr=False)
class Sensitivity:
    """Bounds of estimates under confounding of a given strength.

    Parameters
    ----------
    labels : tuple of str
        Names of the q estimates.
    elements : Elements
    cf_y : float
        Share of the residual variance of the outcome that the omitted confounder explains, in [0, 1).
    cf_d : float
        Share of E[alpha^2] of the model with the confounder that the covariates leave unexplained, in [0, 1). For a
        partially linear model this is the confounder's partial R2 with the treatment.
    rho : float
        Correlation of the two errors the omission makes, in [-1, 1]; 1 is the worst case.
    null : float
        Value that robustness values ask about.
    alpha : float
        One minus the level of each confidence bound, which is one-sided.
    df : int or None
        Degrees of freedom of t quantiles; None for normal ones.
    benchmarks : DataFrame
        Strength that observed covariates would have had; empty without any.
    """

    labels: tuple[str, ...]
    elements: Elements
    cf_y: float
    cf_d: float
    rho: float
    null: float
    alpha: float
    df: int | None
    benchmarks: pd.DataFrame

    def bounds(self, cf_y: object = None, cf_d: object = None) -> Float:
        """Return lower and upper bounds and their confidence bounds: ci_lower, lower, upper, ci_upper.

        Parameters
        ----------
        cf_y, cf_d : float or array of any shape, optional
            Strengths; by default those of this object.

        Returns
        -------
        (4, q, ...) array
        """
        y = np.asarray(self.cf_y if cf_y is None else cf_y, dtype=np.float64)
        d = np.asarray(self.cf_d if cf_d is None else cf_d, dtype=np.float64)
        return self._at(abs(self.rho) * np.sqrt(y * d / (1.0 - d)))

    @property
    def robustness_values(self) -> pd.DataFrame:
        """The equal strengths cf_y = cf_d at which a bound ("rv"), or its confidence bound ("rva"), meets the null."""
        names = list(self.labels)
        return pd.DataFrame({"rv": self._solve(bound=True), "rva": self._solve(bound=False)}, index=names)

    def to_frame(self) -> pd.DataFrame:
        """Return bounds, confidence bounds and robustness values, one row per estimate."""
        low, lower, upper, high = self.bounds()
        found = dict(zip(COLUMNS, (low, lower, self.elements.params, upper, high), strict=False))
        return pd.DataFrame(found, index=list(self.labels)).join(self.robustness_values)

    def summary(self) -> Summary:
        """Return the tables with their notes; it has as_text, as_latex, as_html and as_csv."""
        notes = [
            f"Scenario: cf_y = {self.cf_y:g}, cf_d = {self.cf_d:g}, rho = {self.rho:g}.",
            f"ci_lower and ci_upper are one-sided {1 - self.alpha:.4g} confidence bounds of lower and upper.",
            f"rv: strength cf_y = cf_d at which a bound reaches {self.null:g}; rva: its confidence bound.",
            "Chernozhukov, Cinelli, Newey, Sharma & Syrgkanis (2022), theorems 2 and 4.",
        ]
        if len(self.benchmarks):
            notes.append("Benchmarks: the strength of observed covariates, were they left out.")
        summary = Summary([f"[{number}] {note}" for number, note in enumerate(notes, start=1)], apart=True)
        summary.tables.append(_table(self.to_frame(), "Sensitivity to omitted confounders"))
        if len(self.benchmarks):
            flat = self.benchmarks.set_axis([": ".join(key) for key in self.benchmarks.index])
            summary.tables.append(_table(flat, "Benchmarks"))
        return summary

    def __repr__(self) -> str:
        return str(self.summary())

    def _at(self, strength: Float) -> Float:
        """Return ci_lower, lower, upper, ci_upper at strengths of any shape: (4, q, ...)."""
        made = self.elements
        q, shape = len(self.labels), (-1, *(1,) * strength.ndim)
        params, scale = made.params.reshape(shape), made.scale.reshape(shape)
        v, s = np.diag(made.matrix)[:q].reshape(shape), np.diag(made.matrix)[q:].reshape(shape)
        c = np.diag(made.matrix[:q, q:]).reshape(shape)
        # the bounds are linear in estimate and scale, and so is their variance in the joint covariance
        errors = [np.sqrt(np.maximum(v + sign * 2 * strength * c + strength**2 * s, 0.0)) for sign in (-1.0, 1.0)]
        quantile = stats.norm.ppf(1 - self.alpha) if self.df is None else stats.t.ppf(1 - self.alpha, self.df)
        lower, upper = params - strength * scale, params + strength * scale
        return np.stack([lower - quantile * errors[0], lower, upper, upper + quantile * errors[1]])

    def _solve(self, bound: bool) -> list[float]:
        """Return the strengths at which the bound on the null's side, or its confidence bound, meets the null."""
        found = []
        for j, value in enumerate(self.elements.params):
            above = value >= self.null
            line = (1 if above else 2) if bound else (0 if above else 3)

            def gap(rv: float, j: int = j, line: int = line, above: bool = above) -> float:
                reached = float(self.bounds(rv, rv)[line, j]) - self.null
                return reached if above else -reached

            if gap(0.0) <= 0:
                found.append(0.0)
            else:
                end = 1.0 - 1e-9
                found.append(float(optimize.brentq(gap, 0.0, end)) if gap(end) < 0 else 1.0)
        return found


def _table(frame: pd.DataFrame, title: str) -> SimpleTable:
    values = [[f"{value:.4g}" for value in row] for row in frame.to_numpy()]
    return SimpleTable(values, [*frame.columns], [*frame.index], title=title, txt_fmt=fmt_params)


def sensitivity_elements(
    fit: Fit, estimand: Estimand, psi: Float, columns: UserColumns, spec: CovarianceSpec
) -> Elements:
    """Return what the bounds are made of, with the covariance of the table.

    Parameters
    ----------
    psi : (n_rep, n, q) array
        Influence values of the estimates.

    Raises
    ------
    OptionError
        For an estimand or a family whose estimate is not linear in E[y | t, x].

    References
    ----------
    Chernozhukov, Cinelli, Newey, Sharma & Syrgkanis, "Long story short: omitted variable bias in causal machine
    learning" (NBER working paper 30302, 2022), theorems 2 and 4.
    """
    _refuse_nonlinear(fit, estimand)
    rows = fit.need_rows("sensitivity()")
    parts = estimand.parts if isinstance(estimand, Stack) else (estimand,)
    joint, sigmas, nus = [], [], []
    for sample, piece, values in zip(samples(fit, columns), rows.repetitions, psi, strict=True):
        squares = np.square(rows.y - np.einsum("nd,nd->n", rows.t, piece.theta))
        scores = []
        for part in parts:
            evaluation = part.evaluate(sample)
            combined = part.combine(weighted_mean(evaluation.psi(piece), rows.weights))
            gradient = evaluation.gradient
            if combined is not None:
                gradient = np.einsum("qc,ncd->nqd", combined[1], gradient)
            weighted = np.einsum("nqd,nde->nqe", gradient, piece.lambda_inverse)
            alpha = np.einsum("nqd,nd->nq", weighted, rows.t)
            # 2 m(alpha) - alpha^2 has the mean E[alpha^2], and errors of Lambda enter its mean squared only
            scores.append(2 * np.einsum("nqd,nqd->nq", weighted, gradient) - alpha**2)
        score = np.concatenate(scores, axis=1)
        sigma2, nu2 = float(weighted_mean(squares[:, None], rows.weights)[0]), weighted_mean(score, rows.weights)
        if not (nu2 > 0).all() or not sigma2 > 0:
            raise DataError(
                "E[alpha^2] or E[(y - g)^2] is estimated as zero or below: the treatment model fits too badly, or the "
                "outcome too well, for bounds. Look at the overlap in `diagnostics`."
            )
        scale = np.sqrt(sigma2 * nu2)
        moved = scale + (sigma2 * (score - nu2) + nu2 * (squares[:, None] - sigma2)) / (2 * scale)
        joint.append(np.concatenate([values, moved], axis=1))
        sigmas.append(sigma2)
        nus.append(nu2)
    total, _ = over_repetitions(fit, np.stack(joint), spec)
    q = psi.shape[2]
    return Elements(float(np.median(sigmas)), np.median(nus, axis=0), total.params[q:], total.params[:q], total.matrix)


def _refuse_nonlinear(fit: Fit, estimand: Estimand) -> None:
    if fit.family.name != "gaussian":
        raise OptionError(
            f"bounds for omitted confounders are known for estimates linear in E[y | t, x], and those of the "
            f"{fit.family.name} family go through its link. Fit family='gaussian': for a treatment with levels its "
            "Contrast is the same difference in means, whatever the outcome."
        )
    for part in estimand.parts if isinstance(estimand, Stack) else (estimand,):
        linear = (
            isinstance(part, AverageCoefficient | DoseResponse)
            or (isinstance(part, Contrast) and part.kind == "difference")
            or (isinstance(part, AverageMarginalEffect) and part.method == "dydx")
        )
        if not linear:
            raise OptionError(
                f"bounds for omitted confounders need an estimate that is linear in E[y | t, x]; the {part.title} of "
                "this table is not, or is a projection. Use average coefficients, or a Contrast(kind='difference'), "
                "with subset= for groups."
            )


def benchmarks(
    fit: Fit, labels: tuple[str, ...], long: Elements, without: Mapping[str, Effects], elements: Mapping[str, Elements]
) -> pd.DataFrame:
    """Return the strengths that observed covariates would have had, by comparison with fits without them.

    cf_y is the share of the residual variance of the outcome that they add to the fit, cf_d the share of E[alpha^2]
    that they add, rho the correlation of the two errors, and change the shorter estimate minus the longer.

    Raises
    ------
    OptionError
        For Results of other rows, another outcome, other estimates, or covariates that are not among those of the fit.
    """
    frames = {}
    for name, other in without.items():
        _refuse_other_fit(fit, labels, name, other)
        short = elements[name]
        outcome, riesz = short.sigma2 - long.sigma2, long.nu2 - short.nu2
        change = short.params - long.params
        base = np.sqrt(np.maximum(outcome * riesz, 0.0))
        base = np.where((outcome > 0) & (riesz > 0), base, np.nan)
        frames[name] = pd.DataFrame(
            {
                "cf_y": np.clip(outcome / long.sigma2, 0.0, 1.0),
                "cf_d": np.clip(riesz / long.nu2, 0.0, 1.0),
                "rho": np.sign(change) * np.minimum(np.abs(change) / base, 1.0),
                "change": change,
            },
            index=list(labels),
        )
    columns = ["cf_y", "cf_d", "rho", "change"]
    return pd.concat(frames, names=["without", "estimate"]) if frames else pd.DataFrame(columns=columns, dtype=float)


def _refuse_other_fit(fit: Fit, labels: tuple[str, ...], name: str, other: Effects) -> None:
    own, rows = fit.need_rows("benchmarks"), other._fit.need_rows("benchmarks")
    if not (np.array_equal(own.rows, rows.rows) and np.array_equal(own.y, rows.y) and np.array_equal(own.t, rows.t)):
        raise OptionError(f"benchmark {name!r} was fitted on other rows, another outcome or other treatments.")
    if other._estimates.labels != labels:
        raise OptionError(
            f"benchmark {name!r} has the estimates {', '.join(other._estimates.labels)}, this table "
            f"{', '.join(labels)}; ask both for the same estimands."
        )
    extra = [column for column in other._fit.x_names if column not in fit.x_names]
    if extra or len(other._fit.x_names) >= len(fit.x_names):
        reason = f"has {extra[0]!r}, which this one does not" if extra else "has all covariates of this one"
        raise OptionError(f"benchmark {name!r} {reason}; fit it again without the covariates in question.")


def check_scenario(cf_y: float, cf_d: float, rho: float, null: float, alpha: float) -> None:
    """Raise OptionError for a strength outside [0, 1), a correlation outside [-1, 1], or a level outside (0, 1)."""
    for name, value in (("cf_y", cf_y), ("cf_d", cf_d), ("rho", rho), ("null", null), ("alpha", alpha)):
        refuse_no_number(name, value, "one finite number")
    for name, value in (("cf_y", cf_y), ("cf_d", cf_d)):
        if not 0 <= value < 1:
            raise OptionError(f"{name}={value!r}; it is a share of at least 0 and below 1.")
    if not -1 <= rho <= 1:
        raise OptionError(f"rho={rho!r} is not a correlation between -1 and 1.")
    if not 0 < alpha < 1:
        raise OptionError(f"alpha={alpha!r}; it must be between 0 and 1, 0.05 for 95 % bounds.")

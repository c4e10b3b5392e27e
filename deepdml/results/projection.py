"""Projections of influence values on covariates: group averages, best linear projections, and what sorts rows.

psi_i of one estimand is an unbiased, if noisy, signal of its value at x_i, so that ordinary least squares of psi on
functions of the covariates estimates the best linear projection of that value, with the usual robust covariance.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.projection import refuse_missing, regressors
from deepdml.errors import FormulaError, OptionError, list_rows, near_names
from deepdml.results.columns import UserColumns
from deepdml.results.estimation import CovarianceSpec, Estimates, estimate
from deepdml.results.fit import Fit

Float = NDArray[np.float64]

GROUP_ROWS = 2  # rows a group needs: the variance within one row is zero


def choose(labels: tuple[str, ...], of: str | None, aside: Collection[str] = ()) -> int:
    """Return the position of the estimate to project: the one named, or the only one beside the intercept.

    Parameters
    ----------
    aside : collection of str
        Names that are no more what is meant than the intercept: auxiliary parameters.

    Raises
    ------
    OptionError
        For an unknown name, or none where there are several.
    """
    if of is None:
        candidates = [j for j, label in enumerate(labels) if label not in ("Intercept", *aside)] or list(
            range(len(labels))
        )
        if len(candidates) == 1:
            return candidates[0]
        listed = ", ".join(repr(labels[j]) for j in candidates)
        raise OptionError(f"there are several estimates; say which one with of=..., one of {listed}.")
    if of not in labels:
        raise OptionError(
            f"there is no estimate {of!r}; there are {', '.join(map(repr, labels))}.{near_names(str(of), labels)}"
        )
    return labels.index(of)


def project(fit: Fit, psi: Float, z: Float, names: tuple[str, ...], spec: CovarianceSpec) -> Estimates:
    """Return the weighted least squares of psi on regressors, with the robust covariance of its coefficients.

    Parameters
    ----------
    psi : (n_rep, n) array
        Influence values of one estimand.
    z : (n, k) or (n_rep, n, k) array
        Regressors.
    names : tuple of str
        Of the k coefficients.
    spec : CovarianceSpec
        Type and groups of the covariance.

    Raises
    ------
    OptionError
        If the regressors are collinear.
    """
    weights = fit.need_rows("a projection").weights
    many = z if z.ndim == 3 else np.broadcast_to(z, (len(psi), *z.shape))
    values = np.stack([_influence(y, x, weights, names) for y, x in zip(psi, many, strict=True)])
    return estimate(fit, names, values, replace(spec, df=len(names)))


def _influence(psi: Float, z: Float, weights: Float | None, names: tuple[str, ...]) -> Float:
    """Return the influence values of the coefficients (n, k); their weighted mean is the coefficients."""
    heavy = z if weights is None else z * weights[:, None]
    gram = heavy.T @ z
    scale = np.sqrt(np.diag(gram))
    if not scale.all() or np.linalg.cond(gram / np.outer(scale, scale)) > 1e12:
        raise OptionError(f"the regressors {', '.join(map(repr, names))} are collinear or constant; leave one out.")
    inverse = np.linalg.inv(gram)
    coefficients = inverse @ (heavy.T @ psi)
    total = len(psi) if weights is None else weights.sum()
    return np.asarray(coefficients + total * (psi - z @ coefficients)[:, None] * (z @ inverse))


def formula_regressors(columns: UserColumns, formula: str) -> tuple[Float, tuple[str, ...]]:
    """Return the regressors (n, k) of a formula on covariates, with their names."""
    table = columns.table
    encoded, reads = regressors(formula, table, columns.positions, columns.context)
    columns.refuse_roles(reads, f"the projection on {formula!r}")
    if not encoded.names:
        raise FormulaError(f"{formula!r} has no regressor; name at least one covariate.")
    return encoded.values, encoded.names


def positions(labels: tuple[str, ...], cols: str | Sequence[str] | Sequence[int]) -> list[int]:
    """Return the positions of estimates given by name or by position; of one name alone, too.

    Raises
    ------
    OptionError
        For a name or a position that there is not.
    """
    found = []
    for col in [cols] if isinstance(cols, str) else cols:
        if isinstance(col, str):
            found.append(choose(labels, col))
        elif isinstance(col, int | np.integer) and -len(labels) <= col < len(labels):
            found.append(int(col) % len(labels))
        else:
            raise OptionError(f"cols has {col!r}; needed are names or positions of {', '.join(map(repr, labels))}.")
    return found


def group_regressors(columns: UserColumns, by: object) -> tuple[Float, tuple[str, ...]]:
    """Return the indicators (n, g) of groups with their names.

    Raises
    ------
    OptionError
        For a single group, or groups too small for a standard error.
    """
    if isinstance(by, str):
        name = by
        table = columns.table
        plain = f"`{by}`" if by in table.names else by
        encoded, reads = regressors(f"0 + C({plain})", table, columns.positions, columns.context, full_rank=False)
        columns.refuse_roles(reads, f"the grouping by {by!r}")
        factor = next(iter(encoded.state["encoders"]))  # the expression, as the parser spells it
        levels = [label.removeprefix(factor) for label in encoded.names]
        indicators = encoded.values
    else:
        name, indicators, levels = _given_groups(columns, by)
    counts = indicators.sum(axis=0)
    kept = counts > 0
    indicators, levels, counts = indicators[:, kept], [v for v, k in zip(levels, kept, strict=True) if k], counts[kept]
    if len(levels) < 2:
        raise OptionError(
            f"{name!r} has the same value in all rows of the fit, a single group, whose average is the table itself; "
            "group by something that varies."
        )
    small = [level for level, count in zip(levels, counts, strict=True) if count < GROUP_ROWS]
    if small:
        raise OptionError(
            f"{len(small):,} of {len(levels):,} groups of {name!r} have one row ({list_rows(small)}), which gives no "
            f"standard error. Use coarser groups, such as gate('qcut({name}, 4)') for a number."
        )
    return indicators, tuple(f"{name}{level}" for level in levels)


def _given_groups(columns: UserColumns, by: object) -> tuple[str, Float, list[str]]:
    """Return name, indicators and levels of groups given as one label per row."""
    if not isinstance(by, pd.Series | np.ndarray | list | tuple | pd.Index | pd.api.extensions.ExtensionArray):
        raise OptionError(
            f"groups are a column, an expression such as 'qcut(age, 4)', or one label per row; got {type(by).__name__}."
        )
    if isinstance(by, list | tuple) and len(by) < len(columns.labels) and all(isinstance(name, str) for name in by):
        raise OptionError(
            f"groups are one column or one label per row; for groups by {list_rows(by)} together add a column of both "
            "to the data."
        )
    labels = columns.by_row(by, "the groups")
    codes, found = pd.factorize(labels, sort=True)
    refuse_missing("the group", codes < 0, columns.labels)
    indicators = (codes[:, None] == np.arange(len(found))).astype(np.float64)
    return str(getattr(by, "name", None) or "group"), indicators, [f"[{level}]" for level in found]


def prediction_regressors(effects: Float, folds: NDArray[np.intp], weights: Float | None) -> Float:
    """Return an intercept and the centered cross-fitted effect as regressors, (n_rep, n, 2)."""
    refuse_constant(effects, folds)
    centered = effects - np.stack([np.average(values, weights=weights) for values in effects])[:, None]
    return np.stack([np.ones_like(centered), centered], axis=-1)


def refuse_constant(effects: Float, folds: NDArray[np.intp]) -> None:
    """Raise OptionError where the cross-fitted effects of a repetition (n_rep, n) don't differ within any fold.

    Between folds they differ in any case: each is estimated from the other ones.
    """
    least = 1e-9 * (1 + np.abs(effects).max())  # rounding
    for values, fold in zip(effects, folds, strict=True):
        if all(np.ptp(values[fold == k]) <= least for k in np.unique(fold)):
            raise OptionError(
                "the cross-fitted effect is the same at every row of a fold: the model has no covariates, or found "
                "nothing in them. Name covariates instead, test_heterogeneity('age + C(region)')."
            )

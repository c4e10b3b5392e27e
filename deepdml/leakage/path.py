"""path: what an estimate does as more and more of the treatment is taken out of the covariates."""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate
from tqdm import tqdm

from deepdml.errors import (
    DataError,
    DeepDMLWarning,
    MissingLibraryError,
    OptionError,
    OverlapError,
    list_rows,
    near_names,
)
from deepdml.leakage.concept import strength_of
from deepdml.leakage.distill import OF_TEXTS, Method, distill
from deepdml.leakage.probe import probe
from deepdml.terminal import shows_progress

STRENGTHS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True, repr=False)
class LeakagePath:
    """An estimate along the strength of distillation; print it, take `table`, or `plot()` it.

    Parameters
    ----------
    table : DataFrame
        One row for each strength: estimate, se, low, high (of the interval), clipped (share of rows whose propensity
        was clipped), predictability (of the treatment from the distilled covariates: AUC or R2, cross-validated), and
        note: why there is no estimate, or the kinds of warnings of the fit.
    coefficient, method : str
    metric : str
        Of the predictability; empty for texts.
    """

    table: pd.DataFrame
    coefficient: str
    method: str
    metric: str

    def __repr__(self) -> str:
        head = f"{self.coefficient} by strength of {self.method}"
        shown = self.table.rename(columns={"predictability": self.metric or "predictability"})
        return f"{head}\n{tabulate(shown, headers='keys', floatfmt='.4g', missingval='')}"

    def plot(self, ax: Any = None) -> Any:
        """Draw estimate and interval by strength, and the predictability of the treatment below; return the axes.

        Parameters
        ----------
        ax : sequence of two matplotlib axes, optional

        Raises
        ------
        MissingLibraryError
            Without matplotlib.
        """
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise MissingLibraryError('figures need matplotlib: pip install "deepdml[plots]"') from error
        upper, lower = ax if ax is not None else pyplot.subplots(2, 1, sharex=True, height_ratios=(3, 1))[1]
        table, strengths = self.table, self.table.index.to_numpy()
        upper.errorbar(
            strengths,
            table["estimate"],
            [table["estimate"] - table["low"], table["high"] - table["estimate"]],
            fmt="o",
            capsize=3,
        )
        upper.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        upper.set_ylabel(self.coefficient)
        lower.plot(strengths, table["predictability"], "o-", color="0.4")
        lower.set_ylabel(self.metric or "predictability")
        lower.set_xlabel(f"strength of {self.method}")
        return upper, lower


def path(
    fit: Callable[[pd.DataFrame], Any],
    data: pd.DataFrame,
    treatment: str,
    columns: str | Sequence[str],
    *,
    method: Method = "inlp",
    strengths: Sequence[float] = STRENGTHS,
    coefficient: str | None = None,
    alpha: float = 0.05,
    progress: bool | None = None,
    **options: Any,
) -> LeakagePath:
    """Refit a model at each strength of distillation and return estimates and intervals.

    Parameters
    ----------
    fit : callable
        From a frame like `data` to Results: the model, and what it is fitted with. It runs once for each strength.
    data : DataFrame
        Never changed.
    treatment : str
        Column that is not to be revealed.
    columns : str or sequence of str
        The embeddings: a glob such as ``"emb_*"`` or names. For "similarity" and "classifier" the column of texts,
        which `fit` then embeds.
    method, options
        Of `distill`; `given` may name columns of `data`.
    strengths : sequence of float
        From 0 to 1.
    coefficient : str, optional
        Which estimate to follow; by default the one that begins with the name of the treatment.
    alpha : float
        One minus the level of the intervals.
    progress : bool, optional
        Whether to show a bar; by default, and at most, where standard error is a terminal.

    Returns
    -------
    LeakagePath

    Raises
    ------
    DataError
        For columns that are not there.
    OptionError
        For options of `distill` that are not allowed, or a coefficient that the fit does not have.

    Examples
    --------
    >>> import deepdml as dd
    >>> sim = dd.simulate.leaky_text(n=500, seed=1)
    >>> along = dd.leakage.path(
    ...     lambda frame: dd.fit(sim.formula, frame, learner="net", epochs=5, seed=1),
    ...     sim.data, "t", "emb_*", strengths=(0, 1), given=["x_0", "x_1", "x_2"],
    ... )
    >>> along.table.index.tolist()
    [0.0, 1.0]
    """
    if not isinstance(data, pd.DataFrame) or not data.index.is_unique:
        raise DataError("a leakage path needs a pandas frame whose index has no repeated labels.")
    names = _columns(data, columns)
    if treatment not in data.columns:
        raise DataError(f"there is no column {treatment!r} in the data.{near_names(treatment, data.columns)}")
    if isinstance(options.get("given"), str | list | tuple):
        options["given"] = data[_columns(data, options["given"])]
    values = [strength_of(s) for s in strengths]
    if not values:
        raise OptionError("strengths is empty; give numbers from 0 to 1.")
    rows, metric = [], ""
    for strength in tqdm(values, disable=not shows_progress(progress), desc="strengths", leave=False):
        distilled, found = _distilled(data, treatment, names, method, strength, options)
        row, name = _refit(fit, distilled, treatment, coefficient, alpha)
        coefficient, metric = name or coefficient, metric if found is None else str(found["metric"].iloc[0])
        rows.append({**row, "predictability": np.nan if found is None else float(found["value"].max())})
    table = pd.DataFrame(rows, index=pd.Index(values, name="strength"))
    ordered = ["estimate", "se", "low", "high", "clipped", "predictability", "note"]
    return LeakagePath(table[ordered], coefficient or treatment, method, metric)


def _columns(data: pd.DataFrame, columns: str | Sequence[str]) -> list[str]:
    """Return the columns that a glob or names stand for."""
    if isinstance(columns, str) and "*" in columns:
        names = [c for c in data.columns if fnmatch.fnmatchcase(str(c), columns)]
        if not names:
            raise DataError(f"no column matches {columns!r}.{near_names(columns, data.columns)}")
        return names
    names = [columns] if isinstance(columns, str) else list(columns)
    gone = [c for c in names if c not in data.columns]
    if gone or not names:
        raise DataError(f"there is no column {list_rows(gone) or 'named'} in the data.")
    return names


def _distilled(
    data: pd.DataFrame, treatment: str, names: list[str], method: Method, strength: float, options: dict[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the data with distilled columns, and the probe of these."""
    if method in OF_TEXTS:
        if len(names) != 1:
            raise OptionError(f"method={method!r} takes one column of texts, not {len(names)}.")
        texts = distill(data[names[0]], data[treatment], method, strength, **options)
        return data.assign(**{names[0]: texts}), None
    left = distill(data[names], data[treatment], method, strength, **options)
    found = probe(left, data[treatment]).table
    return pd.concat([data.drop(columns=names), left], axis=1), found


def _refit(
    fit: Callable[[pd.DataFrame], Any], frame: pd.DataFrame, treatment: str, coefficient: str | None, alpha: float
) -> tuple[dict[str, Any], str | None]:
    """Return a row of the table, and the name of the coefficient."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DeepDMLWarning)
        try:
            results = fit(frame)
        except OverlapError as error:
            nothing = dict.fromkeys(("estimate", "se", "low", "high", "clipped"), np.nan)
            return {**nothing, "note": f"no overlap: {error}"}, None
    ours = [w for w in caught if issubclass(w.category, DeepDMLWarning)]
    for other in (w for w in caught if w not in ours):
        warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    name = coefficient or next((label for label in results.params.index if str(label).startswith(treatment)), None)
    if name not in results.params.index:
        raise OptionError(
            f"the fit has no coefficient {name or treatment!r}; pass coefficient=, one of {list(results.params.index)}."
        )
    low, high = results.conf_int(alpha=alpha).loc[name]
    diagnostics = getattr(results, "diagnostics", None)
    return {
        "estimate": float(results.params[name]),
        "se": float(results.bse[name]),
        "low": float(low),
        "high": float(high),
        "clipped": getattr(diagnostics, "clipped_share", np.nan),
        "note": ", ".join(sorted({w.category.__name__ for w in ours})),
    }, name

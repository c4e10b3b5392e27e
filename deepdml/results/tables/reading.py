"""What a table reads of a fit, whichever package made it.

Fits of deepdml, statsmodels and linearmodels are read by their public attributes. Those of pyfixest, and of packages
that implement maketables' plug-in format, are read through maketables, which their makers keep up to date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepdml.errors import DataError, MissingLibraryError, OptionError
from deepdml.estimands import AverageCoefficient
from deepdml.learn.influence import FitRecord
from deepdml.results.results import Results

Float = NDArray[np.float64]

# One word per kind of standard error, since a row of a table compares them
_SE_WORDS = {
    "nonrobust": "iid",
    "unadjusted": "iid",
    "homoskedastic": "iid",
    "hetero": "robust",
    "heteroskedastic": "robust",
    "cluster": "clustered",
    "clustered": "clustered",
    "crv": "clustered",
    "crv1": "clustered",
    "by": "clustered",
}


@dataclass(frozen=True, slots=True)
class Column:
    """What stands in one column of a table.

    Parameters
    ----------
    names : tuple of str
        The q coefficients.
    params, bse, tvalues, pvalues : (q,) arrays
        Estimates, standard errors, z or t values, and two-sided p-values of zero.
    outcome : str
    stats : dict
        Statistics of the fit by the names of `STATISTICS` in etable.py; only those it has.
    method, se : str
        Sentences for the notes, about the estimator and its standard errors; "" where the fit has none.
    remarks : tuple of str
        Sentences on what the estimates are averaged over, and on how they are read.
    fit : object
        The fit itself, for the user's own statistics and for intervals.
    """

    names: tuple[str, ...]
    params: Float
    bse: Float
    tvalues: Float
    pvalues: Float
    outcome: str
    stats: dict[str, object]
    fit: Any
    method: str = ""
    se: str = ""
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.names)} | {len(getattr(self, name)) for name in ("params", "bse", "tvalues", "pvalues")}
        if len(lengths) > 1:
            raise DataError(f"a {type(self.fit).__name__} has estimates and standard errors of different lengths")

    def intervals(self, alpha: float) -> Float:
        """Return the fit's own intervals at level 1 - alpha, (q, 2)."""
        if hasattr(self.fit, "std_errors"):
            found = self.fit.conf_int(level=1 - alpha)
        elif hasattr(self.fit, "conf_int"):
            found = self.fit.conf_int(alpha)
        elif hasattr(self.fit, "confint"):
            found = self.fit.confint(alpha=alpha)
        else:
            raise OptionError(f"a {type(self.fit).__name__} has no intervals; show its standard errors: below='se'.")
        return np.asarray(found, dtype=float)[:, :2]


def read(fit: Any) -> Column:
    """Return what a table needs of a fit.

    Raises
    ------
    OptionError
        If it is not a fit, or has several equations.
    MissingLibraryError
        If only maketables can read it, and is not installed.
    """
    if hasattr(fit, "params") and (hasattr(fit, "bse") or hasattr(fit, "std_errors")):
        return _by_attributes(fit)
    if isinstance(fit, str | bytes | int | float | dict | np.ndarray) or fit is None:
        raise OptionError(f"a table needs fits, and {fit!r:.60} is none.")
    return _by_maketables(fit)


def _by_attributes(fit: Any) -> Column:
    params = fit.params
    if np.ndim(params) != 1:
        raise OptionError(
            f"a {type(fit).__name__} has {np.ndim(params)}-dimensional params, one column for each equation; a table "
            "takes fits of one equation."
        )
    names = params.index if hasattr(params, "index") else fit.model.exog_names
    bse, tvalues = (fit.std_errors, fit.tstats) if hasattr(fit, "std_errors") else (fit.bse, fit.tvalues)
    b, se, t, p = (np.asarray(values, dtype=float) for values in (params, bse, tvalues, fit.pvalues))
    method, sentence, own = _of_results(fit) if isinstance(fit, Results) else ("", "", {})
    candidates = {
        "N": getattr(fit, "nobs", None),
        "R2": getattr(fit, "rsquared", None),
        "adj_R2": getattr(fit, "rsquared_adj", None),
        "within_R2": getattr(fit, "rsquared_within", None),
        "pseudo_R2": getattr(fit, "prsquared", None),
        "se": _se_word(getattr(fit, "cov_type", None) or getattr(fit, "_cov_type", None)),
        "clusters": getattr(fit, "n_groups", None),
    }
    stats = {key: value for key, value in candidates.items() if value is not None} | own
    remarks = fit._estimates.remarks if isinstance(fit, Results) else ()
    return Column(tuple(map(str, names)), b, se, t, p, _outcome(fit.model), stats, fit, method, sentence, remarks)


def _of_results(fit: Results) -> tuple[str, str, dict[str, object]]:
    """Return the two sentences and the statistics that only a Results has."""
    record, covariance = fit._fit.record, fit._estimates.covariance
    records = [part.record for part in fit._fit.parts.values()] or [record]
    choices = " / ".join(dict.fromkeys(map(_choices, records)))
    what = "coefficients" if isinstance(fit._estimand, AverageCoefficient) else "functions of coefficients"
    method = (
        f"Averages of {what} that vary with the covariates, by cross-fitted double machine learning (Farrell, Liang & "
        f"Misra): {choices}."
    )
    stats: dict[str, object] = {
        "family": record.family,
        "learner": record.learner,
        "folds": _listed(dict.fromkeys(each.n_folds for each in records)),
        "estimand": fit._estimand.title,
    }
    if covariance.n_clusters:
        stats["clusters"] = " x ".join(f"{count:,}" for count in covariance.n_clusters)
    return method, covariance.description, stats


def _listed(counts: Iterable[int]) -> object:
    """Return the only count, or all of them in words."""
    first, *more = counts
    return " / ".join(map(str, [first, *more])) if more else first


def _choices(record: FitRecord) -> str:
    """Return learner, folds, repetitions and seed of a fit in words."""
    repetitions = [f"{record.n_rep} repetitions"] if record.n_rep > 1 else []
    seed = [] if record.seed is None else [f"seed {record.seed}"]
    return ", ".join([f"learner {record.learner}", f"{record.n_folds} folds", *repetitions, *seed])


def _outcome(model: Any) -> str:
    """Return the outcome's name, as statsmodels or linearmodels hold it, or "" without one."""
    readers: list[Callable[[], Any]] = [
        lambda: model.endog_names,
        lambda: model.dependent.dataframe.columns[0],
        lambda: model.dependent.cols[0],
    ]
    for reader in readers:
        try:
            found = reader()
        except AttributeError:
            continue
        return found if isinstance(found, str) else ""
    return ""


def _se_word(cov_type: Any) -> str | None:
    return None if cov_type is None else _SE_WORDS.get(str(cov_type).lower(), str(cov_type))


def _by_maketables(fit: Any) -> Column:
    known = "Tables take fits of deepdml, statsmodels, linearmodels and pyfixest, and of packages made for maketables"
    try:
        from maketables import get_extractor
    except ImportError as error:
        raise MissingLibraryError(
            f"a {type(fit).__name__} of {type(fit).__module__} needs maketables to be read: "
            f"pip install 'deepdml[tables]'. {known}."
        ) from error
    try:
        extractor = get_extractor(fit)
    except TypeError as error:
        raise OptionError(f"a {type(fit).__name__} of {type(fit).__module__} cannot be read. {known}.") from error
    coefficients = extractor.coef_table(fit)
    b, se, p = (coefficients[key].to_numpy(dtype=float) for key in ("b", "se", "p"))
    t = coefficients["t"].to_numpy(dtype=float) if "t" in coefficients else b / se
    kinds = {"N": "N", "R2": "r2", "adj_R2": "adj_r2", "within_R2": "r2_within", "pseudo_R2": "pseudo_r2"}
    found = {key: extractor.stat(fit, kind) for key, kind in kinds.items()}
    word = str(extractor.stat(fit, "se_type") or "")
    found |= {"se": _se_word(word.partition(":")[0]) if word else None, "fixed_effects": extractor.fixef_string(fit)}
    if word.startswith("by"):
        found["clusters"] = extractor.stat(fit, "n_clusters")
    stats = {key: value for key, value in found.items() if value is not None}
    names = tuple(map(str, coefficients.index))
    return Column(names, b, se, t, p, str(extractor.depvar(fit)), stats, fit)

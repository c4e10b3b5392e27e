"""The options of a fit, checked where the user gives them: each error says what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from deepdml.design.data import ModelData
from deepdml.design.names import Names
from deepdml.design.table import Table, open_table
from deepdml.errors import DataError, OptionError, is_whole, list_rows, near_columns, refuse_no_whole, unknown_option
from deepdml.inference import CovarianceKeywords, canonical, covariance
from deepdml.learn.architecture import Architecture, Conv
from deepdml.learn.treatment import distinct_rows

Auto = Literal["auto"]


# what other packages call it: what to write here
_ELSEWHERE = {
    **dict.fromkeys(("cluster", "clusters", "groups"), "cov_type='cluster', cov_kwds={'groups': ...}"),
    **dict.fromkeys(("vcov", "vce", "se_type", "cov"), "cov_type"),
    **dict.fromkeys(("random_state", "random_seed"), "seed"),
    **dict.fromkeys(("cv", "folds"), "n_folds"),
    **dict.fromkeys(("verbose", "quiet"), "progress"),
    "alpha": "an argument of conf_int and summary",
    "lambda_method": "lambda_",
    "is_randomized": "treatment=, the known propensities",
    **dict.fromkeys(("target", "target_fn"), "an estimand of the Results, res.estimate(...)"),
    **dict.fromkeys(("loss_fn", "theta_dim"), "family=dd.families.CustomLoss(loss, names=[...])"),
    **dict.fromkeys(("patience", "early_stopping"), "decided by held-out loss; leave it out"),
    "store_data": "always so; leave it out",
}


def unknown_keyword(name: str, allowed: Sequence[str]) -> OptionError:
    """Return the error for an option that `fit` does not have, with what it has for that of other packages."""
    if name in _ELSEWHERE:
        return OptionError(f"unknown option {name!r}; here that is {_ELSEWHERE[name]}.")
    return unknown_option("option", name, allowed)


def covariance_keywords(
    cov_type: str, cov_kwds: Mapping[str, Any] | None, use_t: bool | None = None
) -> CovarianceKeywords:
    """Return the keywords of a covariance, or raise OptionError for what it does not take, or needs."""
    one_of("use_t", use_t, (None, True, False))
    keywords = CovarianceKeywords.of(cov_kwds)
    keywords.check(cov_type)
    return keywords


def with_columns(cov_type: str, keywords: CovarianceKeywords, data: Any, built: ModelData) -> CovarianceKeywords:
    """Return the keywords with named columns of the data in place of their names.

    Raises
    ------
    OptionError, DataError
        For an unknown column, for time or coordinates that a kept row does not have, and for a covariance that groups
        or time do not allow: before anything is trained.
    """
    found, kept = keywords, built.kept
    if keywords.time is not None or keywords.coordinates is not None:
        table = open_table(data)
        found = replace(keywords, time=_named(table, keywords.time), coordinates=_named(table, keywords.coordinates))
    serial, _ = found.serial(kept), found.space(kept)
    if serial is not None or canonical(cov_type) == "cluster-crv3":
        nothing = np.zeros((len(built.y), 1))
        covariance(nothing, None, cov_type, built.groups, group_names=built.group_names, serial=serial)
    return found


def _named(table: Table, given: object) -> object:
    """Return the columns of names, or what is no name as it is."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return given
    table.require(names)
    columns = {name: table.column(name) for name in names}
    for name, column in columns.items():
        if column.kind == "vector":
            raise DataError(f"column {name!r} holds vectors; one value per row is needed.")
    # a missing whole number stands there as zero
    series = {name: pd.Series(c.values, index=table.labels).mask(c.missing) for name, c in columns.items()}
    return pd.DataFrame(series, index=table.labels)


KINDS = ("auto", "discrete", "continuous")


# what users' functions of a table raise where they are wrong
_FAILURES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
_MOST_THREADS = 1024  # the libraries under torch end the process where they cannot start as many as asked for


def threads_of(value: int | None) -> int | None:
    """Return the number of threads, None for torch's own setting."""
    count = None if value is None else whole("n_jobs", value)
    if count is not None and count > _MOST_THREADS:
        raise OptionError(
            f"n_jobs={value!r} is more than {_MOST_THREADS:,} threads; give it the processors to be used."
        )
    return count


def propensities_of(treatment: Any, user_data: Any) -> ArrayLike | None:
    """Return the known propensities that `treatment` means, or None where it names a kind of treatment.

    Parameters
    ----------
    treatment : {"auto", "discrete", "continuous"}, another str, callable or array
        A column of propensities, a function of the data that returns them, or they themselves.
    """
    if callable(treatment):
        try:
            given = treatment(user_data)
        except _FAILURES as error:
            raise OptionError(
                f"the function given as treatment failed ({type(error).__name__}: {error}). It is called with the data "
                "and returns each row's propensity."
            ) from error
        if given is None or isinstance(given, str):
            raise OptionError(f"the function given as treatment returned {given!r}; needed is each row's propensity.")
        return cast(ArrayLike, given)
    if not isinstance(treatment, str):
        return cast(ArrayLike, treatment)
    if treatment in KINDS:
        return None
    table = open_table(user_data)
    if treatment not in table:
        raise OptionError(
            f"treatment={treatment!r} is none of {', '.join(map(repr, KINDS))} and no column of the data that could "
            f"hold known propensities.{near_columns(treatment, (*KINDS, *table.names), table.index_names)}"
        )
    column = table.column(treatment)
    if column.kind != "number":
        raise DataError(f"treatment={treatment!r} is a column of {column.kind}s; known propensities are numbers.")
    return np.asarray(column.values, np.float64)


def known_propensities(treatment: ArrayLike, data: ModelData) -> NDArray[np.float64]:
    """Return known propensities (n, m) of the distinct structural rows, in the order in which they first appear."""
    rows = distinct_rows(data.t).rows
    given = _propensity_numbers(treatment)
    dummies = np.flatnonzero(np.ptp(rows, axis=0) > 0)
    width = 1 if len(rows) == 2 else len(dummies)
    if len(rows) != width + 1:
        raise OptionError(
            f"known propensities need a treatment with levels, each with its own dummy; "
            f"{', '.join(data.treatment_names)} has {len(rows):,} distinct structural rows in {len(dummies)} columns."
        )
    if given.ndim == 0:
        given = np.full((len(data.y), width), given)
    if len(given) in data.kept.lengths:
        given = data.kept.take("the known propensities", given)
    given = np.asarray(given)
    given = given[:, None] if given.ndim == 1 else given
    if given.shape != (len(data.y), width):
        raise DataError(
            f"known propensities have shape {np.shape(treatment)}; ({data.n_total:,},) or "
            f"({data.n_total:,}, {width}) is needed."
        )
    bad = ~(np.isfinite(given).all(1) & (given > 0).all(1) & (given.sum(1) < 1))
    if bad.any():
        labels = list(data.index[bad])
        raise DataError(
            "known propensities must lie between 0 and 1 and sum to less than 1; they don't in row(s) "
            f"{list_rows(labels)}."
        )
    if len(rows) == 2:
        upper = np.column_stack([1.0 - given[:, 0], given[:, 0]])
        return upper if tuple(rows[0]) < tuple(rows[1]) else upper[:, ::-1]
    on = rows[:, dummies]
    if not np.isin(on, (0.0, 1.0)).all() or (on.sum(1) > 1).any():
        raise OptionError("known propensities need dummy coding of the treatment's levels; use C(...) in the formula.")
    return np.where(on.sum(1) == 1, given @ on.T, 1.0 - given.sum(1, keepdims=True))


def _propensity_numbers(treatment: ArrayLike) -> Any:
    """Return known propensities as numbers, those of pandas with their labels."""
    try:
        if isinstance(treatment, pd.Series | pd.DataFrame):
            return treatment.astype(np.float64)
        return np.asarray(treatment, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"known propensities are numbers between 0 and 1, but a {type(treatment).__name__} was given that holds "
            f"something else ({error})."
        ) from error


BACKBONES = ("mlp", "residual", "transformer")


def architecture(backbone: str | Conv | type, x_names: Sequence[str]) -> Architecture:
    """Return the architecture that `backbone` means for these covariates."""
    if isinstance(backbone, Conv):
        return _convolution(backbone, x_names)
    if isinstance(backbone, type):
        return Architecture("module", {"path": f"{backbone.__module__}:{backbone.__qualname__}"})
    if isinstance(backbone, str) and backbone != "conv":
        return Architecture(one_of("backbone", backbone, BACKBONES))
    raise OptionError(
        f"backbone={backbone!r} is none of {', '.join(map(repr, BACKBONES))}, no Conv(height, width, channels) and no "
        "class of torch modules (the class itself, which each net is made from)."
    )


def _convolution(conv: Conv, x_names: Sequence[str]) -> Architecture:
    matched = set(Names(tuple(x_names), frozenset()).matching(conv.columns))
    pixels = [j for j, name in enumerate(x_names) if name in matched]
    if len(pixels) != conv.size:
        raise OptionError(
            f"{conv} reads {conv.height} x {conv.width} x {conv.channels} = {conv.size:,} pixels, but {len(pixels):,} "
            f"of the {len(x_names):,} covariates match {conv.columns!r}."
        )
    shape = {"height": conv.height, "width": conv.width, "channels": conv.channels}
    return Architecture("conv", {**shape, "pixels": pixels})


def joined_by(ensemble_by: str, learner: str) -> Any:
    """Return what joins the copies of an ensemble, or raise OptionError where the learner has no heads to refit."""
    if one_of("ensemble_by", ensemble_by, ("average", "concat")) == "concat" and learner != "net":
        raise OptionError(
            "ensemble_by='concat' refits one last layer on the features of all copies, which learner='net' does; the "
            "stack of learner='auto' keeps each net's own. Use learner='net' or ensemble_by='average'."
        )
    return ensemble_by


def one_of(name: str, value: Any, allowed: tuple[object, ...]) -> Any:
    """Return a value if it is allowed."""
    if value not in allowed:
        raise unknown_option(name, value, map(str, allowed))
    return value


def whole(name: str, value: int | Auto) -> int | None:
    """Return a whole number of at least 1, None for "auto"."""
    if isinstance(value, str) and value == "auto":
        return None
    refuse_no_whole(name, value, 1)
    return int(value)


def function(name: str, value: Any) -> Any:
    """Return a function, or None where there is none."""
    if value is not None and not callable(value):
        raise OptionError(f"{name}={value!r} is not a function.")
    return value


def seed_of(value: int) -> int:
    """Return a seed, a whole number of at least 0."""
    refuse_no_whole("seed", value, 0)
    return int(value)


def positive(name: str, value: float | Auto, *, zero: bool = False) -> float | None:
    """Return a positive number (or zero, where that is allowed), None for "auto"."""
    if isinstance(value, str) and value == "auto":
        return None
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool) and np.isfinite(value)
    if not number or value < 0 or (value == 0 and not zero):
        raise OptionError(f"{name}={value!r} is not a positive number{' or zero' if zero else ''}.")
    return float(value)


def widths(value: Sequence[int] | Auto, name: str = "hidden") -> tuple[int, ...] | None:
    """Return the widths of hidden layers, None for "auto"."""
    if isinstance(value, str) and value == "auto":
        return None
    widths = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if not widths or not all(is_whole(w) and w > 0 for w in widths):
        raise OptionError(f"{name}={value!r} is not a tuple of positive widths such as (64, 32), nor 'auto'.")
    return tuple(int(w) for w in widths)

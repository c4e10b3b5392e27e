"""Fits of the same rows in one table with one covariance: encoders, sizes or specifications side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import DataError, OptionError, list_rows
from deepdml.estimands import Estimand, Stack
from deepdml.inference import Serial, Space
from deepdml.inference.contributions import combine_codes
from deepdml.learn.influence import FitRecord
from deepdml.results.estimation import estimate
from deepdml.results.fit import Fit, Rows
from deepdml.results.projection import choose
from deepdml.results.results import Results

Codes = NDArray[np.intp]
D = TypeVar("D", bound=np.generic)

# relative; values that several fits took from one column differ by rounding at most, as of another order of sums
SAME = 1e-9


def joint(models: Mapping[str, Results], of: str | Sequence[str] | None = None) -> Results:
    """Return estimates of several fits on the same rows as one table with one covariance, from their stacked psi.

    What Stata calls suest. Whether encoders, sizes or specifications agree is then a Wald test, and
    ``conf_int(joint=True)`` covers all of them at once. Each estimate and its standard error are those of its own
    table; between fits with other numbers of coefficients k the factor n / (n - k) takes the largest k.

    A test of equality asks whether the fits differ by more than the sampling noise of that difference. Fits that
    learned nearly the same have little of it, so that the smoothing error of the nuisances may be what is rejected.

    Parameters
    ----------
    models : dict of str to Results
        At least two, with the same rows (in any order), sampling weights, covariance and number of repetitions. One
        fit of several estimands is what `Results.estimate` is for.
    of : str or sequence of str, optional
        Which estimates of each; by default the only one beside the intercept.

    Returns
    -------
    Results
        With the labels ``"treat[minilm]"``, ``"treat[pca 32]"``, ...: tests, intervals, bootstrap, other covariances,
        tables and plot_coef. What is of one fit, such as `theta`, is refused; it is not saved, but made again.

    Raises
    ------
    OptionError
        For fewer than two models, something other than Results, or covariances and repetitions that differ.
    DataError
        For other rows, weights or outcomes, and where the arrays by row were dropped.

    References
    ----------
    Weesie, "Seemingly unrelated estimation and the cluster-adjusted sandwich estimator" (Stata Technical Bulletin 52,
    1999).

    Examples
    --------
    >>> import deepdml as dd
    >>> jobs = dd.simulate.wages(n=500, seed=1).data
    >>> quick = {"learner": "net", "epochs": 2, "seed": 1}
    >>> sizes = {f"pca {k}": dd.fit(f"log_wage ~ experience | pca(emb_*, {k})", jobs, **quick) for k in (4, 8)}
    >>> both = dd.joint(sizes)
    >>> list(both.params.index)
    ['experience[pca 4]', 'experience[pca 8]']
    >>> equal = both.wald_test("experience[pca 4] = experience[pca 8]")
    """
    given = _checked(models)
    base = _Member(next(iter(given)), next(iter(given.values())), None)
    members = [_matched(base, label, results) for label, results in given.items()]
    for member in members:
        _refuse_other_weights(base, member)
        _refuse_other_settings(base, member)
    picked = [_picked(member.results, of) for member in members]
    places = [
        (member, j) for positions in zip(*picked, strict=True) for member, j in zip(members, positions, strict=True)
    ]
    psi = np.stack([member.take(member.results._psi[:, :, j], axis=1) for member, j in places], axis=2)
    labels = tuple(f"{member.results._estimates.labels[j]}[{member.label}]" for member, j in places)
    spec = replace(base.results._estimates.spec, df=max(member.df for member in members))
    fit = _together(members)
    remarks = [f"{m.label}: {remark}" for m in members for remark in m.results._estimates.remarks]
    estimates = replace(estimate(fit, labels, psi, spec), remarks=tuple(remarks))
    return Results(fit, _estimand(members), estimates)


@dataclass(frozen=True, slots=True)
class _Member:
    """One of the models, and where it has the rows of the first, in their order; None where they stand alike."""

    label: str
    results: Results
    order: Codes | None

    @property
    def fit(self) -> Fit:
        return self.results._fit

    @property
    def rows(self) -> Rows:
        return self.fit.need_rows(f"joint() of {self.label!r}")

    @property
    def df(self) -> int:
        """Estimated coefficients of its table, the k of small-sample factors."""
        df = self.results._estimates.spec.df
        return len(self.fit.theta_names) if df is None else df

    def take(self, values: NDArray[D], axis: int = 0) -> NDArray[D]:
        """Return values by row in the order of the first model."""
        return values if self.order is None else np.take(values, self.order, axis=axis)


def _checked(models: Mapping[str, Results]) -> dict[str, Results]:
    if not isinstance(models, Mapping):
        raise OptionError(
            "joint() takes a dict of Results by the name that each gets in the table, joint({'minilm': res, 'pca 32': "
            f"small}}); got {type(models).__name__}."
        )
    given = {str(label): results for label, results in models.items()}
    if len(given) < max(2, len(models)):
        raise OptionError(f"joint() needs at least two Results under different names; got {list(models)}.")
    for label, results in given.items():
        if not isinstance(results, Results):
            raise OptionError(
                f"{label!r} is a {type(results).__name__}, and joint() needs Results of deepdml: only these have "
                "influence values by row. dd.etable puts other fits beside them, without a joint covariance."
            )
    return given


def _picked(results: Results, of: str | Sequence[str] | None) -> list[int]:
    """Return the positions of the estimates that were asked for."""
    names = [of] if of is None or isinstance(of, str) else list(of)
    if not names or len(set(names)) < len(names):
        raise OptionError(f"of={of!r}; name at least one estimate, and none twice.")
    return [choose(results._estimates.labels, name, results._fit.auxiliary) for name in names]


# What must be the same


def _matched(base: _Member, label: str, results: Results) -> _Member:
    """Return a model with its rows matched to those of the first, by label."""
    member = _Member(label, results, None)
    if not np.array_equal(base.rows.index, member.rows.index):
        wanted, index = pd.Index(base.rows.index), pd.Index(member.rows.index)
        missing, extra = wanted.difference(index), index.difference(wanted)
        if len(missing) or len(extra):
            sides = [(base.label, list(missing)), (label, list(extra))]
            only = "; ".join(f"{len(rows):,} only in {name!r} ({list_rows(rows)})" for name, rows in sides if rows)
            raise DataError(
                f"{label!r} and {base.label!r} have other rows: {only}. Fit both on the rows they share, "
                "data.loc[a.psi.index.intersection(b.psi.index)]."
            )
        if not (wanted.is_unique and index.is_unique):
            raise DataError(
                f"{label!r} and {base.label!r} have their rows in another order and some labels twice, so that they "
                "cannot be matched; fit both on the same frame, or on one whose index has no repeated labels."
            )
        member = _Member(label, results, np.asarray(index.get_indexer(wanted), dtype=np.intp))
    _refuse_other_values(base, member)
    return member


def _refuse_other_values(base: _Member, member: _Member) -> None:
    """Refuse rows that have the same labels and are others: other values under the same names."""
    a, b = base.fit, member.fit
    if a.y_name == b.y_name:
        what, name, ours, theirs = "outcome", a.y_name, base.rows.y[:, None], member.rows.y[:, None]
    elif a.t_names == b.t_names:  # of another outcome the treatment tells rows apart
        what, name, ours, theirs = "structural row", ", ".join(a.t_names), base.rows.t, member.rows.t
    else:
        return
    other = np.flatnonzero(~np.isclose(ours, member.take(theirs), rtol=SAME, atol=0.0).all(axis=1))
    if other.size:
        raise DataError(
            f"{member.label!r} and {base.label!r} have another {what} ({name}) in {other.size:,} row(s): "
            f"{list_rows(list(base.rows.index[other]))}. Rows are matched by the labels of the data's index: fit both "
            "on data with the same index, not sorted or shuffled under another one."
        )


def _refuse_other_weights(base: _Member, member: _Member) -> None:
    ours, theirs = (np.ones(m.fit.n) if m.fit.weights is None else m.fit.weights for m in (base, member))
    if not np.allclose(ours / ours.sum(), member.take(theirs / theirs.sum()), rtol=SAME, atol=0.0):
        raise DataError(f"{member.label!r} and {base.label!r} have other sampling weights; fit both with the same.")


def _refuse_other_settings(base: _Member, member: _Member) -> None:
    repetitions = [len(m.results._psi) for m in (base, member)]
    names = f"{base.label!r} and {member.label!r}"
    if len(set(repetitions)) > 1:
        raise OptionError(f"{names} have n_rep={repetitions[0]} and {repetitions[1]}; fit both with the same.")
    a, b = base.results._estimates.spec, member.results._estimates.spec
    differ = [
        f"{name} ({getattr(a, name)!r} and {getattr(b, name)!r})"
        for name in ("cov_type", "use_correction", "use_t")
        if getattr(a, name) != getattr(b, name)
    ]
    differ += [] if _same_groups(a.groups, b.groups, member) else ["groups"]
    differ += [] if _same_time(a.serial, b.serial, member) else ["time, maxlags or kernel"]
    differ += [] if _same_space(a.space, b.space, member) else ["coordinates, cutoff, kernel or metric"]
    if differ:
        raise OptionError(
            f"the covariances of {names} differ in {', '.join(differ)}; give both the same with "
            "get_robustcov_results(), which trains nothing."
        )


def _same_groups(a: Codes | None, b: Codes | None, member: _Member) -> bool:
    """Whether two sets of cluster codes (n, g) part the rows in the same ways."""
    if a is None or b is None:
        return a is b
    if a.shape != b.shape:
        return False
    pairs = [np.stack(pair, axis=1) for pair in zip(a.T, member.take(b).T, strict=True)]
    return all(len(np.unique(combine_codes(p))) == len(np.unique(p[:, 0])) == len(np.unique(p[:, 1])) for p in pairs)


def _same_time(a: Serial | None, b: Serial | None, member: _Member) -> bool:
    if a is None or b is None:
        return a is b
    same = np.array_equal(a.periods - a.periods.min(), member.take(b.periods - b.periods.min()))
    return same and (a.maxlags, a.kernel) == (b.maxlags, b.kernel)


def _same_space(a: Space | None, b: Space | None, member: _Member) -> bool:
    if a is None or b is None:
        return a is b
    same = (a.cutoff, a.kernel, a.metric) == (b.cutoff, b.kernel, b.metric)
    return same and np.array_equal(a.coordinates, member.take(b.coordinates))


# What stands for all of them


def _estimand(members: Sequence[_Member]) -> Estimand:
    """Return what all of them estimate, in the same units, or a stack of what each does."""
    kinds = [(m.results._estimand.to_dict(), m.fit.family.name, m.fit.y_name) for m in members]
    if all(kind == kinds[0] for kind in kinds):
        return members[0].results._estimand
    return Stack(tuple(m.results._estimand for m in members))


def _together(members: Sequence[_Member]) -> Fit:
    """Return the Fit that several share: rows, weights and outcome, and what each of them did."""
    first, rows, fits = members[0].fit, members[0].rows, {m.label: m.fit for m in members}
    grouped = all(_same_groups(rows.groups, m.rows.groups, m) for m in members)
    shared = Rows(
        y=rows.y,
        t=rows.t,
        x=None,
        weights=rows.weights,
        groups=rows.groups if grouped else None,
        treatment=None,
        rows=rows.rows,
        index=rows.index,
        folds=np.concatenate([m.take(m.rows.folds, axis=1) for m in members]),
        repetitions=(),
    )
    return replace(
        first,
        y_name=_either(fit.y_name for fit in fits.values()),
        group_names=first.group_names if grouped else (),
        design=replace(first.design, formula=_either(fit.design.formula for fit in fits.values())),
        record=_record(fits),
        nets=None,
        rows=shared,
        parts={label: replace(fit, nets=None, rows=None) for label, fit in fits.items()},
    )


def _either(texts: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(texts))


def _record(fits: Mapping[str, Fit]) -> FitRecord:
    """Return what all the fits did: nuisances, overlap and notes of each under its name, and the worst shares."""
    records = {label: fit.record for label, fit in fits.items()}
    every = list(records.values())
    return replace(
        every[0],
        family=_either(r.family for r in every),
        learner=_either(r.learner for r in every),
        strategy=_either(r.strategy for r in every),
        treatment_model=_either(r.treatment_model for r in every),
        seconds=sum(r.seconds for r in every),
        nuisances=tuple(replace(n, name=f"{label}: {n.name}") for label, r in records.items() for n in r.nuisances),
        overlap={f"{label}: {name}": value for label, r in records.items() for name, value in r.overlap.items()},
        clipped_share=max(r.clipped_share for r in every),
        floored_share=max(r.floored_share for r in every),
        min_eigenvalue=min(r.min_eigenvalue for r in every),
        signal={f"{label}: {name}": value for label, r in records.items() for name, value in r.signal.items()},
        jumps=tuple((f"{label}: {name}", cut, nets) for label, r in records.items() for name, cut, nets in r.jumps),
        history=(),
    )

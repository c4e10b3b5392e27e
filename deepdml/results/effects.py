"""What a Results gives beyond its table: other estimands of the same fit, and inference on heterogeneity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.contrast import ContrastResults

from deepdml.errors import OptionError, refuse_no_number, unknown_option
from deepdml.estimands import AverageMarginalEffect, Estimand, Overlap, Projection, Stack, UserFunction
from deepdml.results import projection, ranking
from deepdml.results.columns import UserColumns
from deepdml.results.estimation import Estimates, Part, conditional_effects, estimate, estimate_estimands
from deepdml.results.fit import Fit
from deepdml.results.overlap import RULES, arms_of, trimming_table
from deepdml.results.policy import Policy, learn_trees
from deepdml.results.recipe import Recorded, note, recorded

if TYPE_CHECKING:
    from deepdml.results.results import Results

Float = NDArray[np.float64]


class Effects(Recorded):
    """The methods of Results that report other numbers of the same fit; nothing is trained again."""

    _fit: Fit
    _estimand: Estimand
    _estimates: Estimates
    _model: Any

    # Estimands

    @recorded
    def estimate(
        self,
        estimands: Estimand
        | Effects
        | Callable[..., Any]
        | Sequence[Estimand | Effects | Callable[..., Any]]
        | Mapping[str, Callable[..., Any]],
        *,
        data: object = None,
        context: Mapping[str, Any] | None = None,
    ) -> Results:
        """Return the Results of one or more estimands, jointly, with the covariance type of this table.

        Parameters
        ----------
        estimands : Estimand, function, Results, list of these, or dict of functions by label
            ``dd.Contrast("treat", 1, 0)``, ``dd.AverageMarginalEffect()``, ..., or any ``h(x, t, theta)`` of torch
            tensors whose last axis holds covariates, structural columns and coefficients, and whose other axes are rows
            and nodes; it is differentiated by torch. Results of the same fit, such as those of `gate`, join the table.
        data : frame or dict of arrays, optional
            The data of the fit, for conditions on columns after loading; by default those of the model.
        context : dict, optional
            Functions the formula names, after loading.

        Raises
        ------
        OptionError
            For an estimand that the model, its family or its treatment cannot have.
        """
        parts = [self._part(item) if isinstance(item, Effects) else item for item in _asked(estimands)]
        spec = replace(self._estimates.spec, df=None)
        return self._with(*estimate_estimands(self._fit, parts, spec, self._columns(data, context)))

    @recorded
    def get_margeff(
        self,
        at: Literal["overall", "mean", "median", "zero"] = "overall",
        method: Literal["dydx", "eyex", "dyex", "eydx"] = "dydx",
        atexog: Mapping[str, Any] | None = None,
        dummy: bool = False,
        count: bool = False,
        *,
        columns: str | Sequence[str] | None = None,
        data: object = None,
    ) -> Results:
        """Return average marginal effects on the mean outcome; the arguments are those of statsmodels.

        Parameters
        ----------
        at : {"overall", "mean", "median", "zero"}
            Where the variables left of the bar are: as observed, or all at their mean, median or zero. Effects are
            averaged over the covariates in any case: at one point of these they have no root-n estimate.
        method : {"dydx", "eyex", "dyex", "eydx"}
            See `AverageMarginalEffect`.
        atexog : dict, optional
            Values of some of the variables left of the bar, by name.
        dummy : bool
            Whether 0/1 variables get the change from 0 to 1; categorical ones always do, level by level.
        count : bool
            False: the change when a count rises by one is not available here.
        columns : str or sequence of str, optional
            Variables left of the bar; all by default.
        data : optional
            As for `estimate`.
        """
        if count:
            raise OptionError(
                "count=True asks for the change when a count rises by one; ask for it between two values, "
                "estimate(dd.Contrast('children', 2, 1)), or with a function h(x, t, theta)."
            )
        return self.estimate(AverageMarginalEffect(columns, method, dummy, at=at, atexog=atexog), data=data)

    def trimming(self, rules: Sequence[Overlap] = RULES) -> pd.DataFrame:
        """Return what rules for limited overlap would keep, and what they buy; nothing is dropped by it.

        A rule is put to use as the subset of an estimand, ``estimate(dd.Contrast("treat", 1, 0, subset=rule))``.

        Parameters
        ----------
        rules : sequence of Overlap
            By default one of each kind.

        Returns
        -------
        DataFrame
            One row for each rule: the rows kept, also by level, the smallest propensity among them, and the standard
            error of the average effect over that of all rows if errors are alike and effects the same, by the variance
            bound.

        Raises
        ------
        OptionError
            For a treatment without levels.
        """
        listed = isinstance(rules, list | tuple)
        if not listed or not rules or not all(isinstance(rule, Overlap) for rule in rules):
            raise OptionError(f"rules={rules!r}; needed is a list of dd.Overlap, [dd.Overlap('optimal')].")
        return trimming_table(arms_of(self._fit), rules)

    # Heterogeneity

    @recorded
    def gate(self, by: object, of: str | None = None, *, data: object = None) -> Results:
        """Return the average effect in each group of rows, as Results.

        Parameters
        ----------
        by : str or array of n labels
            A column of the data, an expression such as ``"qcut(age, 4)"`` or ``"cut(age, [0, 30, 60])"``, or labels.
        of : str, optional
            Which estimate of this table; by default the only one beside the intercept.
        data : optional
            As for `estimate`.
        """
        j = self._choose(of)
        z, names = projection.group_regressors(self._columns(data), by)
        return self._projected(z, names, j, by if isinstance(by, str) else "groups")

    @recorded
    def blp(self, formula: str, of: str | None = None, *, data: object = None) -> Results:
        """Return the best linear projection of the effect on functions of covariates, as Results.

        Parameters
        ----------
        formula : str
            ``"age + C(region)"``; an intercept is included.
        of, data : optional
            As for `gate`.
        """
        j = self._choose(of)
        z, names = projection.formula_regressors(self._columns(data), formula)
        return self._projected(z, names, j, formula)

    @recorded
    def calibration(self, of: str | None = None, *, data: object = None) -> Results:
        """Return the projection of the effect on its own cross-fitted prediction.

        "mean" is the average effect. "prediction" is 1 where predicted differences between rows are right on average, 0
        where they are noise.

        References
        ----------
        Chernozhukov, Demirer, Duflo & Fernandez-Val, "Fisher-Schultz Lecture: Generic machine learning inference on
        heterogeneous treatment effects in randomized experiments" (Econometrica 2025), theorem 3.1.
        """
        j, effects = self._effects(of, data)
        rows = self._fit.need_rows("calibration()")
        z = projection.prediction_regressors(effects, rows.folds, rows.weights)
        return self._projected(z, ("mean", "prediction"), j, "its prediction")

    def test_heterogeneity(
        self, formula: str | None = None, of: str | None = None, *, data: object = None
    ) -> ContrastResults:
        """Return a chi-squared test that the effect is the same for all rows.

        Parameters
        ----------
        formula : str, optional
            Covariates it may vary with; by default its own cross-fitted prediction.
        of, data : optional
            As for `gate`.
        """
        res = self.calibration(of, data=data) if formula is None else self.blp(formula, of, data=data)
        slopes = [j for j, name in enumerate(res.params.index) if name not in ("Intercept", "mean")]
        if not slopes:
            raise OptionError(f"{formula!r} has nothing but an intercept; name covariates.")
        return res.wald_test(np.eye(len(res.params))[slopes])

    @recorded
    def sorted_effects(self, n_groups: int = 5, of: str | None = None, *, data: object = None) -> Results:
        """Return the average effect in groups of equal size, sorted by the cross-fitted prediction of the effect.

        Parameters
        ----------
        n_groups : int
        of, data : optional
            As for `gate`.
        """
        j, rank = self._ranks(of, data)
        z, names = ranking.quantile_groups(rank, n_groups)
        return self._projected(z, names, j, "sorted effects")

    @recorded
    def most_and_least_affected(
        self, formula: str, share: float = 0.2, of: str | None = None, *, data: object = None
    ) -> Results:
        """Return the means of covariates among the rows with the largest and smallest predicted effects, and the gaps.

        Parameters
        ----------
        formula : str
            Covariates to compare, ``"age + C(region)"``.
        share : float
            Share of rows in each of the two groups, at most 0.5.
        of, data : optional
            As for `gate`.
        """
        j, rank = self._ranks(of, data)
        z, names = projection.formula_regressors(self._columns(data), f"0 + {formula}")
        psi = ranking.compare_ends(z, rank, share, self._fit.need_rows("a comparison").weights)
        labels = tuple(f"{name}: {part}" for name in names for part in ("most", "least", "most - least"))
        return self._from_psi(psi, labels, j, "most and least affected")

    @recorded
    def rank_curve(
        self,
        shares: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        of: str | None = None,
        *,
        data: object = None,
    ) -> Results:
        """Return by how much the effect among the top shares of rows exceeds its average; "area" is their mean.

        A curve above zero says that sorting by the predicted effect finds the rows that gain most.

        Parameters
        ----------
        shares : sequence of float
            Between 0 and 1.
        of, data : optional
            As for `gate`.
        """
        top = np.asarray(shares)
        if top.dtype.kind not in "iuf" or top.ndim != 1 or not top.size or not ((top > 0) & (top < 1)).all():
            raise OptionError(f"shares={shares!r}; a list of numbers is needed, each between 0 and 1.")
        labels = tuple(f"top {u:.4g}" for u in top)
        if len(set(labels)) < len(labels):
            raise OptionError(f"shares={shares!r} has a number twice, up to four digits; give each once.")
        j, rank = self._ranks(of, data)
        psi = ranking.rank_curve(self._psi[:, :, j], rank, top, self._fit.need_rows("a curve").weights)
        psi = np.concatenate([psi, psi.mean(axis=2, keepdims=True)], axis=2)
        return self._from_psi(psi, (*labels, "area"), j, "rank curve")

    def policy(self, cost: float = 0.0, of: str | None = None, *, on: str | None = None, data: object = None) -> Policy:
        """Return who to treat so as to gain most: a tree of depth two, its rules, and the value of policies.

        Parameters
        ----------
        cost : float
            Of treating a row, in units of the effect.
        of : str, optional
            The effect, as for `gate`; one in units of the outcome, such as a Contrast, where the link is not linear.
        on : str, optional
            Covariates the tree may split on, ``"age + tenure"``; by default all of the fit.
        data : optional
            As for `estimate`.
        """
        refuse_no_number("cost", cost, "one number, in units of the effect; which effect is said by of=")
        j, effects = self._effects(of, data)
        columns = self._columns(data)
        if on is None:
            z, names = columns.covariates(), self._fit.x_names
        else:
            z, names = projection.formula_regressors(columns, f"0 + {on}")
        rows = self._fit.need_rows("policy()")
        reward = self._psi[:, :, j] - cost
        whole, _ = learn_trees(reward.mean(axis=0), z, names, rows.folds[0], rows.weights)
        chosen = np.empty(reward.shape)
        for gain, folds, decision in zip(reward, rows.folds, chosen, strict=True):
            for k, tree in enumerate(learn_trees(gain, z, names, folds, rows.weights)[1]):
                decision[folds == k] = tree.decide(z[folds == k])
        values = [chosen * reward, (effects > cost) * reward, reward, (chosen - 1) * reward]
        labels = ("tree", "effect above cost", "everyone", "tree - everyone")
        value = self._from_psi(np.stack(values, axis=-1), labels, j, f"policy, cost {cost:g}")
        note(value, self, "policy", {"cost": cost, "of": of, "on": on}, take="value")
        return Policy(whole, pd.Series(whole.decide(z), index=pd.Index(rows.index), name="treat"), value)

    # Shared steps

    def _columns(self, data: object = None, context: Mapping[str, Any] | None = None) -> UserColumns:
        given = getattr(self._model, "user_data", None) if data is None else data
        functions = getattr(self._model, "user_context", None) if context is None else context
        return UserColumns(self._fit, given, functions)

    @property
    def _psi(self) -> Float:
        """Return the influence values of each repetition, (n_rep, n, q)."""
        self._fit.need_rows("psi", several=True)
        return cast(Float, self._estimates.psi)

    def _part(self, other: Effects) -> Part:
        """Return other Results of this fit as a part of a table."""
        if other._fit is not self._fit:
            raise OptionError("only Results of the same fit can share a table; these are of another one.")
        return Part(other._estimand, other._estimates.labels, other._psi, remarks=other._estimates.remarks)

    def _choose(self, of: str | None) -> int:
        self._fit.need_rows("heterogeneity")
        parts = self._estimand.parts if isinstance(self._estimand, Stack) else (self._estimand,)
        for part in parts:
            if not part.projects:
                raise OptionError(
                    f"the {part.title} is not a plain average over all rows, so that it cannot be averaged by group; "
                    "start from the Results of coefficients, a difference or marginal effects."
                )
        return projection.choose(self._estimates.labels, of, self._fit.auxiliary)

    def _effects(self, of: str | None, data: object) -> tuple[int, Float]:
        """Return the position of an estimate and its cross-fitted value at each row, (n_rep, n)."""
        j = self._choose(of)
        return j, conditional_effects(self._fit, self._estimand, self._columns(data))[:, :, j]

    def _ranks(self, of: str | None, data: object) -> tuple[int, Float]:
        j, effects = self._effects(of, data)
        rows = self._fit.need_rows("sorting")
        projection.refuse_constant(effects, rows.folds)
        return j, ranking.ranks(effects, rows.folds, rows.weights)

    def _projected(self, z: Float, names: tuple[str, ...], j: int, on: str) -> Results:
        estimates = projection.project(self._fit, self._psi[:, :, j], z, names, self._estimates.spec)
        return self._with(Projection(self._estimates.labels[j], on), estimates)

    def _from_psi(self, psi: Float, labels: tuple[str, ...], j: int, on: str) -> Results:
        estimates = estimate(self._fit, labels, psi, replace(self._estimates.spec, df=1))
        return self._with(Projection(self._estimates.labels[j], on), estimates)

    def _with(self, estimand: Estimand, estimates: Estimates) -> Results:
        return cast("type[Results]", type(self))(self._fit, estimand, estimates, self._model)


def _asked(asked: Any) -> list[Any]:
    """Return what estimate() was asked for as estimands and Results."""
    if isinstance(asked, Mapping):
        return [_one(function, str(label)) for label, function in asked.items()]
    items = list(asked) if isinstance(asked, list | tuple) else [asked]
    several = sum(not isinstance(item, Estimand | Effects) for item in items) > 1
    return [_one(item, f"function {j + 1}" if several else "function") for j, item in enumerate(items)]


def _one(item: Any, label: str) -> Any:
    if isinstance(item, Estimand | Effects):
        return item
    if isinstance(item, str):
        raise unknown_option("estimand", item, ("dd.Contrast(...)", "dd.AverageMarginalEffect(...)", "a function"))
    if isinstance(item, type) or not callable(item):
        shown = item.__name__ if isinstance(item, type) else repr(item)
        raise OptionError(f"{shown} is not an estimand; pass one such as dd.Contrast('treat', 1, 0), or a function.")
    return UserFunction(item, label)

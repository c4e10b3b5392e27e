"""The statsmodels side of Results: tests on a parameter vector and its covariance, nothing else.

Table and test tools read statsmodels attributes by name. The classes here carry exactly those, so that they work
unmodified; the public face is in results.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from patsy import DesignInfo, PatsyError
from statsmodels.base.model import LikelihoodModelResults

from deepdml.errors import OptionError, near_names
from deepdml.results.estimation import Estimates

Float = NDArray[np.float64]

_ABSENT = {
    **dict.fromkeys(("llf", "aic", "bic"), "there is no likelihood, the estimate is a mean of influence values"),
    "rsquared": "see `diagnostics` for the out-of-fold fit of each nuisance",
    "resid": "see `psi` for influence values and predict() for fitted means",
    "fittedvalues": "use predict()",
    "get_modeldata": "of marginaleffects there is hypotheses(); for slopes use get_margeff() and estimate()",
    **dict.fromkeys(
        ("mu_hat", "se", "ci_lower", "ci_upper", "theta_hat", "psi_values"),
        "the names of the deep-inference package exist only for a model with an intercept and one treatment column; "
        "use params, bse, conf_int(), theta and psi",
    ),
}


@dataclass(frozen=True)
class Term:
    """One term of the formula, under the name tests report."""

    label: str

    def name(self) -> str:
        """Name, as patsy's terms give it."""
        return self.label

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True)
class TermSpec:
    """Which coefficients belong to which term; answers to the calls statsmodels makes to patsy and formulaic."""

    columns: dict[str, slice]

    @property
    def terms(self) -> list[Term]:
        """The terms in the formula's order."""
        return [Term(name) for name in self.columns]

    def get_slice(self, term: Term) -> slice:
        """Coefficients of a term, asked for in formulaic's words."""
        return self.columns[str(term)]

    slice = get_slice  # and in patsy's


@dataclass(frozen=True)
class NamedFrame:
    """The `model.data` of statsmodels: names, and how to attach them. Holds no rows.

    Parameters
    ----------
    param_names, cov_names : list of str
        Names of the coefficients.
    ynames : str
        Name of the outcome.
    model_spec : TermSpec or None
        Terms, for wald_test_terms.
    frame : DataFrame
        Empty; tables look here for column labels.
    """

    param_names: list[str]
    cov_names: list[str]
    ynames: str
    model_spec: TermSpec | None
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def design_info(self) -> TermSpec | None:
        """The terms, as statsmodels before 0.15 calls them."""
        return self.model_spec

    def wrap_output(self, obj: Any, how: str = "columns", names: object = None) -> Any:
        """Attach coefficient names to an array; `how` is "columns" or "cov", anything else returns the array."""
        if how == "columns" and np.ndim(obj) == 1:
            return pd.Series(obj, index=self.param_names)
        if how == "columns":
            return pd.DataFrame(obj, index=self.param_names)
        if how == "cov":
            return pd.DataFrame(obj, index=self.cov_names, columns=self.cov_names)
        return obj


@dataclass(frozen=True)
class ModelInfo:
    """Names and formula of a model, standing in for it where the model itself is not at hand."""

    formula: str
    endog_names: str
    exog_names: list[str]
    data: NamedFrame


def model_info(formula: str, y_name: str, labels: tuple[str, ...], term_columns: dict[str, slice] | None) -> ModelInfo:
    """Return the names a table reads, for estimates with these labels."""
    names = list(labels)
    spec = TermSpec(term_columns) if term_columns else None
    return ModelInfo(formula, y_name, names, NamedFrame(names, names, y_name, spec))


class LinearTests(LikelihoodModelResults):  # type: ignore[misc]  # statsmodels ships no types
    """Normal tests of linear hypotheses on ndarray params; pandas params break statsmodels' t_test."""

    def __init__(self, model: ModelInfo, estimates: Estimates, nobs: int, df_model: int, df_resid: int) -> None:
        result = estimates.covariance
        super().__init__(model, estimates.params, normalized_cov_params=result.matrix, scale=1.0)
        self.cov_params_default = result.matrix
        self.cov_type = result.cov_type
        self.cov_kwds: dict[str, object] = {"description": result.description}
        spec, counts = estimates.spec, result.n_clusters
        if counts:
            use_correction = True if spec.use_correction is None else spec.use_correction
            self.cov_kwds |= {"n_groups": counts[0] if len(counts) == 1 else counts, "use_correction": use_correction}
            # statsmodels' name: the degrees of freedom of t and F tests, where clusters are the units
            self.df_resid_inference = min(counts) - 1
        else:
            self.df_resid_inference = df_resid
        for name, value in (("groups", spec.groups), ("time", spec.serial and spec.serial.periods)):
            if value is not None:
                self.cov_kwds[name] = value
        self.use_t = spec.use_t
        self.nobs = nobs
        self.df_model = df_model
        self.df_resid = df_resid

    @property
    def llf(self) -> NoReturn:
        """There is none; tables leave the row out on AttributeError."""
        raise AttributeError("llf")  # python goes on to __getattr__, which says why

    def __getattr__(self, name: str) -> NoReturn:
        reason = (
            f": {_ABSENT[name]}."
            if name in _ABSENT
            else f".{near_names(name, [known for known in dir(self) if not known.startswith('_')])}"
        )
        raise AttributeError(f"Results have no attribute {name!r}{reason}")


def restrictions(hypothesis: object, names: list[str]) -> object:
    """Return a linear hypothesis as statsmodels takes it: a string becomes a pair (R, q), the rest stays.

    Strings are parsed by patsy whatever statsmodels' own option says, because its other parser reads `a = b = 3` as one
    restriction. Backticks around names are dropped, and spaces inside them need not be those of the table.

    Parameters
    ----------
    hypothesis : str, list of str, array or tuple
        As for statsmodels' t_test.
    names : list of str
        The coefficients.

    Raises
    ------
    OptionError
        If a string cannot be read; lists the coefficients.
    """
    if isinstance(hypothesis, list | tuple) and hypothesis and all(isinstance(part, str) for part in hypothesis):
        hypothesis = ", ".join(hypothesis)
    if hypothesis is None:
        raise OptionError("no hypothesis was given; write it as 'a = 0', 'a = b' or 'a + 2 * b = 1, c = 0'.")
    if not isinstance(hypothesis, str):
        _check_shape(hypothesis, names)
        return hypothesis
    text = hypothesis.replace("`", "")
    bare = ["".join(name.split()) for name in names]
    problem = "it is empty"
    for written, known in ((text, names), ("".join(text.split()), bare)):
        if not written.strip() or len(set(known)) < len(known):
            continue
        try:
            parsed = DesignInfo(known).linear_constraint(written)
        except PatsyError as error:
            problem = error.message
        else:
            return parsed.coefs, parsed.constants.ravel()
    unknown = [word for word in re.findall(r"[^\W\d]\w*", text) if not any(word in name for name in names)]
    hint = near_names(unknown[0], names) if unknown else ""
    raise OptionError(
        f"hypothesis {hypothesis!r} cannot be read ({problem}); the coefficients are {', '.join(names)}.{hint} "
        "Write it as 'a = 0', 'a = b' or 'a + 2 * b = 1, c = 0'."
    )


def _check_shape(hypothesis: object, names: list[str]) -> None:
    """Raise OptionError for a matrix of restrictions that has another number of columns than there are coefficients."""
    matrix: Any = hypothesis[0] if isinstance(hypothesis, tuple) and len(hypothesis) == 2 else hypothesis
    if isinstance(matrix, np.ndarray | list | int | float) and np.shape(matrix)[-1:] != (len(names),):
        raise OptionError(
            f"a hypothesis of shape {np.shape(matrix)} does not fit; needed is a number for each of the {len(names)} "
            f"coefficients, {', '.join(names)}, in each row, or a text such as 'a = 0'."
        )

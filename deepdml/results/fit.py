"""What a fit leaves behind, in the form Results work on: names, a record, nets, and arrays by row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepdml.design.labels import KeptRows
from deepdml.errors import DataError, OptionError
from deepdml.families import Family
from deepdml.learn.influence import FitRecord, Influence, TrainedNets

if TYPE_CHECKING:
    from deepdml.design.data import Design, ModelData

Float = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Rows:
    """The arrays by row; they go when a Results drops its data.

    Parameters
    ----------
    y : (n,) array
        Outcomes in the user's units.
    t : (n, d) array
        Structural rows.
    x : (n, p) float32 array or None
        Covariates; None after loading, for a file does not hold them.
    weights : (n,) array or None
        Sampling weights.
    groups : (n, g) array of int, or None
        Cluster codes the folds were drawn with.
    treatment : (n, v) array or None
        The raw treatment variables behind `t`.
    rows : (n,) array of int
        Positions of the kept rows in the user's data.
    index : (n,) array
        Their labels.
    folds : (n_rep, n) array of int
        Fold of each row in each repetition; of several fits together, those of all of them.
    repetitions : tuple of Influence
        The cross-fitted pieces of each repetition; empty for several fits together.
    x_sha256 : str or None
        The hash of the covariates of a loaded fit; None in files of older versions, and where there is `x`.
    """

    y: Float
    t: Float
    x: NDArray[np.float32] | None
    weights: Float | None
    groups: Codes | None
    treatment: NDArray[Any] | None
    rows: Codes
    index: NDArray[Any]
    folds: Codes
    repetitions: tuple[Influence, ...]
    x_sha256: str | None = None

    def __post_init__(self) -> None:
        n = len(self.t)
        expected = {"y": (n,), "rows": (n,), "index": (n,), "folds": (len(self.repetitions or self.folds), n)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise DataError(f"{name} has shape {getattr(self, name).shape}, but {shape} is needed for {n:,} rows")
        for name in ("weights", "groups", "treatment", "x"):
            value = getattr(self, name)
            if value is not None and value.shape[0] != n:
                raise DataError(f"{name} has {value.shape[0]:,} rows, but the fit has {n:,}")
        for piece in self.repetitions:
            width = piece.theta.shape[-1]
            shapes = (piece.theta.shape, piece.score.shape, piece.lambda_inverse.shape)
            if shapes != ((n, width), (n, width), (n, width, width)):
                raise DataError(f"theta, score and lambda_inverse have shapes {shapes}, which don't fit {n:,} rows")

    def hash_covariates(self) -> str | None:
        """Return what tells these covariates from others, also after loading; None where a file does not say."""
        return self.x_sha256 if self.x is None else covariates_hash(self.x)

    @property
    def theta(self) -> Float:
        """Coefficients of each row, the mean over repetitions: (n, d)."""
        return np.asarray(np.mean([piece.theta for piece in self.repetitions], axis=0))


def covariates_hash(x: NDArray[np.float32]) -> str:
    """Return the SHA-256 of the bytes of covariates (n, p), read in pieces, for they may lie in a file."""
    digest = hashlib.sha256()
    step = max(1, 2**22 // max(1, x.shape[1]))
    for start in range(0, len(x), step):
        digest.update(x[start : start + step].tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Fit:
    """A fit without its user-facing side.

    Parameters
    ----------
    y_name, t_names, x_names, group_names, treatment_names : str or tuple of str
        Names of the outcome, structural columns, covariates, cluster variables and raw treatments.
    term_columns : dict
        Columns of `t` that belong to each term of the formula.
    n, n_total : int
        Rows used, and rows of the user's data.
    missing : dict
        Variables with missing or infinite values, each with its number of rows.
    weighted : bool
        Whether sampling weights were given.
    family : Family
        The outcome family.
    record : FitRecord
        What the fit did.
    design : Design
        Formula and encodings, for new data.
    nets : TrainedNets or None
        The predictors of theta for new data.
    rows : Rows or None
        Arrays by row; None once dropped.
    parts : mapping of str to Fit
        Where this stands for several fits on the same rows: these, without their rows, by the name of each.
    """

    y_name: str
    t_names: tuple[str, ...]
    x_names: tuple[str, ...]
    group_names: tuple[str, ...]
    treatment_names: tuple[str, ...]
    term_columns: dict[str, slice]
    n: int
    n_total: int
    missing: dict[str, int]
    weighted: bool
    family: Family
    record: FitRecord
    design: Design
    nets: TrainedNets | None
    rows: Rows | None
    parts: Mapping[str, Fit] = field(default_factory=dict)

    @property
    def theta_names(self) -> tuple[str, ...]:
        """Names of the entries of theta: coefficients, then auxiliary parameters."""
        return self.family.theta_names(self.t_names)

    @property
    def auxiliary(self) -> tuple[str, ...]:
        """Names of the entries of theta that are no coefficients: scales, dispersions, shares, cuts."""
        names, d = self.theta_names, len(self.t_names)
        return names[d:] if names[:d] == self.t_names else ()

    def need_one(self, purpose: str) -> None:
        """Raise OptionError where several fits stand together and one of them is needed."""
        if self.parts:
            listed = ", ".join(map(repr, self.parts))
            raise OptionError(
                f"{purpose} is of one fit, and these estimates are of several ({listed}); call it on one of those that "
                "were given to joint()."
            )

    def need_rows(self, purpose: str, *, several: bool = False) -> Rows:
        """Return the arrays by row, or say why they are gone; `several` says whether several fits together will do."""
        if not several:
            self.need_one(purpose)
        if self.rows is None:
            raise DataError(
                f"{purpose} needs the arrays of the fit, which remove_data() or save(remove_data=True) dropped; "
                "use the Results before that."
            )
        return self.rows

    @property
    def kept(self) -> KeptRows:
        """Which rows of the user's data these are."""
        rows = self.need_rows("what is given by row", several=True)
        return KeptRows(rows.rows, self.n_total, rows.index)

    @property
    def weights(self) -> Float | None:
        """Sampling weights of the rows (n,); None without them, and without the rows."""
        return None if self.rows is None else self.rows.weights

    def without_rows(self) -> Fit:
        """Return the same fit without its arrays by row."""
        return replace(self, rows=None)


def collect(
    data: ModelData,
    family: Family,
    repetitions: tuple[Influence, ...],
    folds: Codes,
    record: FitRecord,
    nets: TrainedNets | None,
) -> Fit:
    """Return the Fit of a model's data and what was learned from them.

    Raises
    ------
    DataError
        If shapes don't fit together.
    """
    rows = Rows(
        y=data.y,
        t=data.t,
        x=data.x,
        weights=data.weights,
        groups=data.groups,
        treatment=data.treatment,
        rows=data.rows,
        index=data.index,
        folds=np.atleast_2d(folds),
        repetitions=repetitions,
    )
    return Fit(
        y_name=data.y_name,
        t_names=tuple(data.t_names),
        x_names=tuple(data.x_names),
        group_names=tuple(data.group_names),
        treatment_names=tuple(data.treatment_names),
        term_columns=dict(data.term_columns),
        n=data.y.shape[0],
        n_total=data.n_total,
        missing=dict(data.missing),
        weighted=data.weights is not None,
        family=family,
        record=record,
        design=data.design,
        nets=nets,
        rows=rows,
    )

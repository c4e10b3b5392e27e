"""The user's data behind a fit: where columns come from when an estimand, a group or a projection names them.

A Results does not hold the data. They come from `data=`, or from the model while it is there; after loading they have
to be passed, unless what was saved is enough.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.design.table import Table, open_table
from deepdml.errors import DataError, OptionError, near_names
from deepdml.estimands import Arms, Interventions
from deepdml.results.fit import Fit
from deepdml.results.overlap import arms_of

Float = NDArray[np.float64]

_UNREADABLE = (NameError, SyntaxError, TypeError, ValueError, KeyError, AttributeError, NotImplementedError)


class UserColumns:
    """The columns of the user's data on the rows of a fit.

    Parameters
    ----------
    fit : Fit
    data : frame, dict of arrays or None
        As many rows as the data of the fit, or as the rows kept; a pandas frame in another order is aligned by label.
    context : dict, optional
        Arrays and functions the formula names beside the columns.
    """

    def __init__(self, fit: Fit, data: object, context: Mapping[str, Any] | None = None) -> None:
        self._fit, self._data, self.context = fit, data, dict(context or {})
        self._rows = fit.need_rows("an estimand")
        self._table: Table | None = None
        self.interventions = Interventions(fit.design, self._rows.t, self.treatments, context, self._rows.weights)

    @property
    def labels(self) -> NDArray[Any]:
        """The labels (n,) of the rows of the fit."""
        return self._rows.index

    @property
    def table(self) -> Table:
        """The user's data.

        Raises
        ------
        DataError
            If there are none, or they have other rows than the fit.
        """
        if self._table is None:
            if self._data is None:
                raise DataError(
                    "these Results do not hold the data (they were loaded, or the data were removed); pass data=..."
                )
            self._table = open_table(self._data)
            self.positions = self._aligned(self._table)
        return self._table

    def _aligned(self, table: Table) -> NDArray[np.intp]:
        """Return the position in the data of each row of the fit."""
        rows, total = self._rows, self._fit.n_total
        if table.n not in self._fit.kept.lengths:
            raise DataError(
                f"data has {table.n:,} rows; needed are the {total:,} rows of the data of the fit"
                + (f", or the {self._fit.n:,} that were kept." if total != self._fit.n else ".")
            )
        positions = rows.rows if table.n == total else np.arange(self._fit.n)
        if not isinstance(self._data, pd.DataFrame) or np.array_equal(table.labels[positions], rows.index):
            return positions
        index, wanted = pd.Index(table.labels), pd.Index(rows.index)
        if index.is_unique and wanted.is_unique:
            found = index.get_indexer(wanted)
            if (found >= 0).all():
                return np.asarray(found, dtype=np.intp)
        raise DataError("data has other row labels than the data of the fit; pass the frame that was fitted.")

    def covariates(self) -> Float:
        """Return the encoded covariates (n, p), from the data where a file did not hold them."""
        if self._rows.x is not None:
            return self._rows.x.astype(np.float64)
        x = self._fit.design.encode_covariates(self.table, context=self.context)
        return np.asarray(x[self.positions], np.float64)

    def arms(self) -> Arms:
        """Return the levels of the treatment with the rows' propensities."""
        return arms_of(self._fit)

    def treatments(self) -> dict[str, Any]:
        """Return the variables left of the bar, each with n values."""
        reads, rows = self._fit.design.treatments.reads, self._rows
        if rows.treatment is not None and self._fit.treatment_names == reads:
            return dict(zip(reads, rows.treatment.T, strict=True))
        return {name: self.values(name) for name in reads}

    def values(self, name: str) -> Any:
        """Return one column on the rows of the fit: a Series by position, or a 2-D array."""
        table = self.table
        if name not in table:
            raise OptionError(f"the data have no column {name!r}.{near_names(name, table.names)}")
        table.require([name])
        return table.column(name).take(self.positions)

    def select(self, condition: object) -> NDArray[np.bool_]:
        """Return the rows (n,) of a condition on covariates, or of a mask over the data."""
        if isinstance(condition, str):
            return self._condition(condition)
        given = condition if isinstance(condition, pd.Series) else np.asarray(condition)
        mask = np.asarray(given)
        if mask.dtype != bool or mask.ndim != 1 or len(mask) not in self._fit.kept.lengths:
            raise OptionError(
                f"a subset is 'treated', 'untreated', a condition on columns, or True or False for each of the "
                f"{self._fit.n_total:,} rows of the data; got {type(condition).__name__} of shape {mask.shape} and "
                f"type {mask.dtype}."
            )
        return np.asarray(self._fit.kept.take("the mask of subset", given), bool)

    def _condition(self, condition: str) -> NDArray[np.bool_]:
        names = self.named_in(condition)
        self.refuse_roles(names, f"subset={condition!r}")
        if not names:
            hint = near_names(condition.split()[0], self.table.names) if condition.split() else ""
            raise OptionError(
                f'subset={condition!r} names no column of the data. Write a condition such as "age > 40", or '
                f"'treated' or 'untreated'.{hint}"
            )
        frame = pd.DataFrame({name: self.values(name) for name in names})
        try:
            chosen = frame.eval(condition, engine="python")
        except _UNREADABLE as error:
            raise OptionError(
                f"subset={condition!r} cannot be evaluated ({error}); write it as pandas' DataFrame.query does, "
                "\"age > 40 and region == 'north'\"."
            ) from error
        if np.shape(chosen) != (self._fit.n,) or np.asarray(chosen).dtype != bool:
            raise OptionError(f"subset={condition!r} is not true or false for each row; compare with something.")
        return np.asarray(chosen)

    def named_in(self, text: str) -> list[str]:
        """Return the columns that an expression names, quoted texts aside."""
        bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
        return [name for name in self.table.names if _named(name, bare)]

    def refuse_roles(self, names: list[str] | tuple[str, ...], what: str) -> None:
        """Raise OptionError where a condition or projection on covariates names the treatment or the outcome."""
        treatments = [name for name in names if name in self._fit.design.treatments.reads]
        if treatments:
            raise OptionError(
                f"{what} names {treatments[0]!r}, which stands left of the bar. Only covariates can say which rows; "
                "for rows by their treatment use subset='treated' or 'untreated' of a Contrast."
            )
        outcome = [name for name in names if _named(name, self._fit.y_name)]
        if outcome:
            raise OptionError(f"{what} names the outcome {outcome[0]!r}; rows can only be told apart by covariates.")

    def by_row(self, values: Any, what: str) -> Any:
        """Return what is given for each row of the data, or each row kept, on the rows of the fit."""
        if np.ndim(values) != 1 or len(values) not in self._fit.kept.lengths:
            raise DataError(
                f"{what} have shape {np.shape(values)}; needed is one value for each of the {self._fit.n_total:,} rows "
                "of the data."
            )
        column = values if isinstance(values, pd.Series) else pd.Series(values).array
        return pd.Series(self._fit.kept.take(what, column))


def _named(name: str, text: str) -> bool:
    """Whether an expression names a column."""
    return re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text) is not None

"""What marginaleffects asks of a Results.

It takes any object that its ModelAbstract knows as a subclass. Results are registered there when marginaleffects is
imported, by the user and not by us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import wrapt
from numpy.typing import NDArray

from deepdml.errors import unknown_option

if TYPE_CHECKING:
    import pandas as pd

Float = NDArray[np.float64]
_ROBUST = ("HC0", "HC1")


class MarginalEffects:
    """The methods that ``marginaleffects.hypotheses`` calls; they say nothing that the table does not say."""

    params: pd.Series
    df_resid_inference: float

    def get_coef(self) -> Float:
        """Estimates (q,), for marginaleffects."""
        return np.asarray(self.params, dtype=float)

    def get_coefnames(self) -> NDArray[np.object_]:
        """Their names (q,), for marginaleffects."""
        return np.asarray(self.params.index, dtype=object)

    def get_vcov(self, vcov: bool | str | None = True) -> Float | None:
        """Covariance (q, q), for marginaleffects: this table's for True, or that of "HC0" or "HC1"."""
        if vcov is None or vcov is False:
            return None
        if vcov is True:
            found: Any = self
        elif vcov in _ROBUST:
            found = self.get_robustcov_results(vcov)  # type: ignore[attr-defined]  # of Results
        else:
            raise unknown_option("vcov", vcov, _ROBUST)
        return np.asarray(found.cov_params(), dtype=float)

    def find_predictors(self) -> list[str]:
        """Names of the estimates, for joint tests in marginaleffects."""
        return list(self.params.index)

    def get_df(self) -> float:
        """Degrees of freedom of joint F tests in marginaleffects."""
        return self.df_resid_inference


def register(results: type) -> None:
    """Have marginaleffects take a class as a model of its own, now or once it is imported."""
    wrapt.when_imported("marginaleffects.classes.model")(lambda module: module.ModelAbstract.register(results))

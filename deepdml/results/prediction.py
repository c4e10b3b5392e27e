"""Predictions for the rows of a fit, and for new data from the nets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.errors import DataError, unknown_option
from deepdml.results.fit import Fit

Float = NDArray[np.float64]
Which = Literal["mean", "linear", "theta"]


def predict(fit: Fit, new_data: object, which: Which, context: Mapping[str, Any] | None) -> pd.Series | pd.DataFrame:
    """Return predictions; see Results.predict."""
    if which not in get_args(Which):
        raise unknown_option("which", which, get_args(Which))
    fit.need_one("predict()")
    if new_data is None:
        rows = fit.need_rows("predict() without new data")
        theta, index = rows.theta, pd.Index(rows.index)
        t: Float | None = rows.t
    else:
        theta = _theta_of(fit, new_data, context)
        t = None if which == "theta" else fit.design.encode_treatments(new_data, context=context)
        labels = getattr(new_data, "index", None)
        index = labels if isinstance(labels, pd.Index) else pd.RangeIndex(theta.shape[0])
    if which == "theta" or t is None:
        return pd.DataFrame(theta, index=index, columns=list(fit.theta_names))
    eta = fit.family.indices(t, theta)
    if which == "linear" and eta.ndim > 1:
        eta = eta[:, 0]
    values = eta if which == "linear" else fit.family.mean(eta)
    return pd.Series(np.asarray(values), index=index, name=fit.y_name)


def _theta_of(fit: Fit, new_data: object, context: Mapping[str, Any] | None) -> Float:
    """Return theta (m, d) of new rows from the nets."""
    if fit.nets is None:
        raise DataError(
            "these Results hold no trained nets, so they cannot predict for new data; fit again with this version."
        )
    # torch comes in here and only here, so that loading and reading Results never imports it
    from deepdml.learn.prediction import predict_theta

    x = fit.design.encode_covariates(new_data, context=context)
    return np.asarray(predict_theta(fit.nets, x), dtype=np.float64)

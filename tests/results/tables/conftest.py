"""The same data fitted by several packages."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf


@pytest.fixture
def frame(build: Callable[..., Any]) -> pd.DataFrame:
    """The rows behind the fixture `results`, with 20 firms."""
    data = build().data
    return pd.DataFrame(
        {"y": data.y, "t": data.t[:, 1], "x0": data.x[:, 0].astype(float), "firm": np.arange(len(data.y)) % 20}
    )


@pytest.fixture
def ols(frame: pd.DataFrame) -> Any:
    """A least-squares fit of statsmodels."""
    return smf.ols("y ~ t + x0", frame).fit(cov_type="HC1")


@pytest.fixture
def fit_feols(frame: pd.DataFrame) -> Callable[..., Any]:
    """pyfixest's feols on these rows."""
    pyfixest = pytest.importorskip("pyfixest")

    def fit(formula: str, **options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its own use of pandas
            return pyfixest.feols(formula, frame, **options)

    return fit


@pytest.fixture
def feols(fit_feols: Callable[..., Any]) -> Any:
    """A fixed-effects fit of pyfixest."""
    return fit_feols("y ~ t | firm", vcov={"CRV1": "firm"})


@pytest.fixture
def iv(frame: pd.DataFrame) -> Any:
    """An instrumental-variables fit of linearmodels."""
    linearmodels = pytest.importorskip("linearmodels.iv")
    return linearmodels.IV2SLS.from_formula("y ~ 1 + [t ~ x0]", frame).fit(cov_type="robust")


@pytest.fixture
def panel(frame: pd.DataFrame) -> Any:
    """A panel fit of linearmodels."""
    linearmodels = pytest.importorskip("linearmodels.panel")
    indexed = frame.assign(year=frame.groupby("firm").cumcount()).set_index(["firm", "year"])
    model = linearmodels.PanelOLS.from_formula("y ~ t + EntityEffects", indexed)
    return model.fit(cov_type="clustered", cluster_entity=True)

"""The table and test tools that read a Results as if it were statsmodels'."""

from __future__ import annotations

import pytest
from statsmodels.iolib.summary2 import summary_col

from deepdml.results import Results


def test_summary_col(results: Results) -> None:
    info = {"N": lambda r: f"{r.nobs:d}", "R2": lambda r: f"{r.rsquared:.2f}", "Cov": lambda r: r.cov_type}
    text = str(summary_col([results, results.get_robustcov_results("HC0")], stars=True, info_dict=info))
    assert f"{results.params['t']:.4f}***" in text
    assert f"({results.bse['t']:.4f})" in text
    assert next(line for line in text.splitlines() if line.startswith("R2")).split() == ["R2"]
    assert "HC0" in text


def test_stargazer(results: Results) -> None:
    stargazer = pytest.importorskip("stargazer.stargazer")
    text = stargazer.Stargazer([results, results]).render_latex()
    assert f"{results.params['t']:.3f}$^{{***}}$" in text
    assert "Residual Std. Error" not in text
    assert "Observations & 400" in text


def test_maketables(results: Results) -> None:
    maketables = pytest.importorskip("maketables")
    table = maketables.ETable([results], model_stats=["N", "se_type"])
    text = table.make(type="tex")
    assert f"{results.params['t']:.3f}" in text

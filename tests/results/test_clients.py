"""The table and test tools that read a Results as if it were statsmodels', unmodified and as installed."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.iolib.summary2 import summary_col

from deepdml.errors import OptionError
from deepdml.results import Results

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def ols() -> Any:
    """A fit of statsmodels, to stand beside ours."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.standard_normal((50, 2)), columns=["y", "t"])
    return smf.ols("y ~ t", frame).fit()


def test_summary_col(results: Results, ols: Any) -> None:
    info = {"N": lambda r: f"{r.nobs:.0f}", "R2": lambda r: f"{r.rsquared:.2f}", "Cov": lambda r: r.cov_type}
    fits = [results, results.get_robustcov_results("HC0"), ols]
    summary = summary_col(fits, stars=True, info_dict=info, model_names=["Net", "HC0", "OLS"], regressor_order=["t"])
    text = str(summary)
    assert f"{results.params['t']:.4f}***" in text
    assert f"({results.bse['t']:.4f})" in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()}
    assert rows["N"] == ["400", "400", "50"]
    assert rows["R2"] == [f"{ols.rsquared:.2f}"]  # ours has none
    assert rows["Cov"] == ["HC1", "HC0", "nonrobust"]
    assert f"{results.params['t']:.4f}***" in summary.as_latex()


def test_summary_col_with_awkward_names(arm_results: Results) -> None:
    assert "C(arm)[T.b]" in str(summary_col([arm_results]))


def test_stargazer_latex(results: Results, ols: Any) -> None:
    stargazer = pytest.importorskip("stargazer.stargazer")
    text = stargazer.Stargazer([results, results]).render_latex()
    assert f"{results.params['t']:.3f}$^{{***}}$" in text
    assert f"({results.bse['t']:.3f})" in text
    assert "Residual Std. Error" not in text
    assert "Observations & 400" in text
    assert "Observations & 400 & 50" in stargazer.Stargazer([results, ols]).render_latex()


def test_stargazer_html(arm_results: Results) -> None:
    stargazer = pytest.importorskip("stargazer.stargazer")
    table = stargazer.Stargazer([arm_results])
    table.show_confidence_intervals(True)
    text = table.render_html()
    low, high = arm_results.conf_int().loc["C(arm)[T.b]"]
    assert f"({low:.3f} , {high:.3f})" in text
    assert "Residual Std. Error" not in text
    cells: list[str] = []
    parser = HTMLParser()
    parser.handle_data = cells.append  # type: ignore[method-assign]
    parser.feed(text)
    assert "C(arm)[T.b]" in cells
    assert "600" in cells


@pytest.mark.parametrize("type", ["tex", "typst", "gt", "docx"])
def test_maketables(results: Results, ols: Any, type: str) -> None:
    maketables = pytest.importorskip("maketables")
    made = maketables.ETable([results, ols], model_stats=["N", "se_type"]).make(type=type)
    if type == "docx":
        shown = "\n".join(cell.text for row in made.tables[0].rows for cell in row.cells)
    else:
        shown = made.as_raw_html() if type == "gt" else made
    for text in (f"{results.params['t']:.3f}", f"({results.bse['t']:.3f})", f"{ols.params['t']:.3f}", "HC1", "400"):
        assert text in shown


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pyfixest's own use of pandas
def test_maketables_beside_pyfixest(results: Results) -> None:
    maketables, pyfixest = pytest.importorskip("maketables"), pytest.importorskip("pyfixest")
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(rng.standard_normal((60, 2)), columns=["y", "t"])
    feols = pyfixest.feols("y ~ t", frame)
    shown = maketables.ETable([feols, results]).make(type="tex")
    assert f"{feols.coef()['t']:.3f}" in shown
    assert f"{results.params['t']:.3f}" in shown


def test_marginaleffects(arm_results: Results) -> None:
    import marginaleffects

    b, c = "C(arm)[T.b]", "C(arm)[T.c]"
    table = marginaleffects.hypotheses(arm_results)
    np.testing.assert_array_equal(table["term"].to_list(), list(arm_results.params.index))
    np.testing.assert_array_equal(table["estimate"].to_numpy(), arm_results.params.to_numpy())
    # its standard errors go through a Jacobian by forward differences
    np.testing.assert_allclose(table["std_error"].to_numpy(), arm_results.bse.to_numpy(), rtol=1e-5)
    test = arm_results.t_test(f"{b} = {c}")
    difference = marginaleffects.hypotheses(arm_results, "b1 = b2")
    np.testing.assert_allclose(difference["estimate"].to_numpy(), test.effect, rtol=1e-10)
    np.testing.assert_allclose(difference["std_error"].to_numpy(), test.sd.ravel(), rtol=1e-5)
    joint = marginaleffects.hypotheses(arm_results, joint=[b, c], joint_test="chisq")
    wald = arm_results.wald_test([f"{b} = 0", f"{c} = 0"])
    np.testing.assert_allclose(joint["statistic"].to_numpy(), wald.statistic, rtol=1e-8)
    hc0 = marginaleffects.hypotheses(arm_results, vcov="HC0")
    np.testing.assert_allclose(
        hc0["std_error"].to_numpy(), arm_results.get_robustcov_results("HC0").bse.to_numpy(), rtol=1e-5
    )
    with pytest.raises(AttributeError, match="use get_margeff"):
        marginaleffects.avg_slopes(arm_results)


@pytest.mark.parametrize("order", ["before", "after"])
def test_marginaleffects_may_be_imported_before_or_after(order: str) -> None:
    imports = ["import marginaleffects.classes.model as model", "from deepdml.results import Results"]
    code = "; ".join(
        [*(imports if order == "before" else imports[::-1]), "print(issubclass(Results, model.ModelAbstract))"]
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_results_import_no_client() -> None:
    code = (
        "import sys, deepdml.results.tables; "
        "print(sorted({'marginaleffects', 'maketables', 'stargazer', 'pyfixest', 'docx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_marginaleffects_reads(arm_results: Results) -> None:
    """Also where marginaleffects is not installed."""
    np.testing.assert_array_equal(arm_results.get_coef(), arm_results.params.to_numpy())
    assert arm_results.get_coefnames().tolist() == arm_results.find_predictors() == list(arm_results.params.index)
    np.testing.assert_array_equal(arm_results.get_vcov(), arm_results.cov_params().to_numpy())
    hc0 = arm_results.get_robustcov_results("HC0")
    np.testing.assert_array_equal(arm_results.get_vcov("HC0"), hc0.cov_params().to_numpy())
    assert arm_results.get_vcov(False) is None
    assert arm_results.get_df() == arm_results.df_resid
    with pytest.raises(OptionError, match="unknown vcov 'HC3'; allowed are HC0, HC1"):
        arm_results.get_vcov("HC3")


@pytest.mark.parametrize(
    ("hypothesis", "matrix", "value"),
    [
        ("C(arm)[T.b] = C(arm)[T.c]", [[0, 1, -1]], [0]),
        ("`C(arm)[T.b]` = 0.5", [[0, 1, 0]], [0.5]),
        ("C(arm)[T.b] = C(arm)[T.c] = 1", [[0, 1, -1], [0, 0, 1]], [0, 1]),
        (["C(arm)[T.b] = 0", "2 * C(arm)[T.c] - Intercept = 3"], [[0, 1, 0], [-1, 0, 2]], [0, 3]),
    ],
)
def test_string_hypotheses(arm_results: Results, hypothesis: Any, matrix: list[list[int]], value: list[float]) -> None:
    r, q = np.array(matrix, dtype=float), np.array(value, dtype=float)
    gap = r @ arm_results.params.to_numpy() - q
    statistic = gap @ np.linalg.solve(r @ arm_results.cov_params().to_numpy() @ r.T, gap)
    test = arm_results.wald_test(hypothesis)
    np.testing.assert_allclose(test.statistic, statistic, rtol=1e-8)  # another order of the same sums
    np.testing.assert_allclose(test.pvalue, stats.chi2.sf(statistic, len(r)), rtol=1e-6, atol=1e-300)


def test_the_page_names_the_versions_tested_with() -> None:
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    for name in (
        "statsmodels",
        "stargazer",
        "maketables",
        "marginaleffects",
        "pyfixest",
        "linearmodels",
        "python-docx",
    ):
        assert re.search(rf"{name}\S* \| {re.escape(pins[name])} \|", page), name

"""What a table holds: numbers, rows and their order, statistics, notes, panels; and what it refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

import deepdml as dd
from deepdml.errors import MissingLibraryError, OptionError
from deepdml.results import Results
from deepdml.results.tables import Table
from deepdml.results.tables.layout import Row


def row(table: Table, label: str) -> Row:
    return next(row for row in table.all_rows() if row.label == label)


def texts(table: Table, label: str) -> list[str]:
    return [cell.text for cell in row(table, label).cells]


def test_cells_hold_estimates_and_standard_errors(results: Results, ols: Any) -> None:
    table = dd.etable([results, ols])
    for column, fit in enumerate((results, ols)):
        cell = row(table, "t").cells[column]
        assert (cell.text, cell.below) == (f"{fit.params['t']:.3f}", f"({fit.bse['t']:.3f})")
    assert [cell.text for cell in row(table, "x0").cells] == ["", f"{ols.params['x0']:.3f}"]


@pytest.mark.parametrize("below", ["se", "ci", "t", "p", None])
def test_below_the_estimate(results: Results, below: Any) -> None:
    low, high = results.conf_int(0.1).loc["t"]
    expected = {
        "se": f"({results.bse['t']:.2f})",
        "ci": f"[{low:.2f}, {high:.2f}]",
        "t": f"({results.tvalues['t']:.2f})",
        "p": f"({results.pvalues['t']:.2f})",
        None: "",
    }
    table = dd.etable(results, below=below, alpha=0.1, digits=2)
    assert row(table, "t").cells[0].below == expected[below]
    if below == "ci":
        assert "90 % confidence intervals in brackets." in table.notes


def test_intervals_are_those_of_each_package(results: Results, ols: Any, feols: Any, iv: Any, panel: Any) -> None:
    table = dd.etable([results, ols, feols, iv, panel], below="ci", alpha=0.1)
    ends = [
        results.conf_int(0.1).loc["t"],
        ols.conf_int(0.1).loc["t"],
        feols.confint(alpha=0.1).loc["t"],
        iv.conf_int(0.9).loc["t"],
        panel.conf_int(0.9).loc["t"],
    ]
    assert [cell.below for cell in row(table, "t").cells] == [
        f"[{low:.3f}, {high:.3f}]" for low, high in map(list, ends)
    ]


def test_fits_of_four_packages_share_a_table(results: Results, ols: Any, feols: Any, iv: Any, panel: Any) -> None:
    table = dd.etable([results, ols, feols, iv, panel], stats=["N", "R2", "se", "clusters", "fixed_effects"])
    expected = [results.params["t"], ols.params["t"], feols.coef()["t"], iv.params["t"], panel.params["t"]]
    assert texts(table, "t") == [f"{value:.3f}" for value in expected]
    errors = [results.bse["t"], ols.bse["t"], feols.se()["t"], iv.std_errors["t"], panel.std_errors["t"]]
    assert [cell.below for cell in row(table, "t").cells] == [f"({value:.3f})" for value in errors]
    assert texts(table, "Observations") == ["400"] * 5
    assert texts(table, "Standard errors") == ["HC1", "HC1", "clustered", "robust", "clustered"]
    assert texts(table, "R²") == [
        "",
        f"{ols.rsquared:.3f}",
        f"{feols._r2:.3f}",
        f"{iv.rsquared:.3f}",
        f"{panel.rsquared:.3f}",
    ]
    assert texts(table, "Clusters") == ["", "", "20", "", ""]
    assert texts(table, "Fixed effects") == ["", "", "firm", "", ""]
    assert table.headers == (("y",) * 5, ("(1)", "(2)", "(3)", "(4)", "(5)"))


def test_clusters_are_those_of_the_standard_errors(feols: Any) -> None:
    assert texts(dd.etable(feols), "Clusters") == ["20"]
    feols.vcov("iid")  # pyfixest changes the fit and keeps the number of clusters
    assert [found.label for found in dd.etable(feols).stats] == ["Observations", "R²", "Standard errors"]


def test_a_set_of_pyfixest_fits_gives_a_column_each(results: Results, fit_feols: Callable[..., Any]) -> None:
    fits = fit_feols("y ~ t + csw0(x0, firm)")
    table = dd.etable([results, fits])
    assert texts(table, "t") == [
        f"{value:.3f}" for value in (results.params["t"], *(f.coef()["t"] for f in fits.to_list()))
    ]
    assert table.n_columns == 4


def test_fits_may_come_from_a_dict(results: Results, ols: Any) -> None:
    fits = {"a": results, "b": ols}
    assert dd.etable(fits.values(), headers=list(fits)) == dd.etable([results, ols], headers=["a", "b"])


def test_fits_from_arrays_and_of_other_models(frame: pd.DataFrame) -> None:
    plain = sm.OLS(frame["y"].to_numpy(), sm.add_constant(frame[["t"]].to_numpy())).fit()
    logit = smf.logit("t ~ x0", frame).fit(disp=0)
    table = dd.etable([plain, logit], labels={"const": "Constant", "Intercept": "Constant"}, stats=["pseudo_R2"])
    assert texts(table, "x1") == [f"{plain.params[1]:.3f}", ""]
    assert texts(table, "Constant") == [f"{plain.params[0]:.3f}", f"{logit.params['Intercept']:.3f}"]
    assert texts(table, "Pseudo R²") == ["", f"{logit.prsquared:.3f}"]
    assert table.headers[0] == ("y", "t")


@pytest.mark.parametrize(
    ("stars", "expected", "note"),
    [
        (True, ["***", "**", "*", ""], "* p < 0.1, ** p < 0.05, *** p < 0.01."),
        ((0.05,), ["*", "*", "", ""], "* p < 0.05."),
        ((0.001, 0.05), ["**", "*", "", ""], "* p < 0.05, ** p < 0.001."),
        (False, ["", "", "", ""], None),
    ],
)
def test_stars(stars: Any, expected: list[str], note: str | None) -> None:
    class Fit:
        params = pd.Series([1.0, 1.0, 1.0, 1.0], index=list("abcd"))
        bse = tvalues = params
        pvalues = pd.Series([0.0001, 0.04, 0.09, 0.1], index=list("abcd"))
        model = None

    table = dd.etable(Fit(), stars=stars)
    assert [found.cells[0].stars for found in table.panels[0].rows] == expected
    assert [found for found in table.notes if "p <" in found] == ([note] if note else [])


def test_labels_order_and_patterns(arm_results: Results, results: Results) -> None:
    fits, b, c = [arm_results, results], "C(arm)[T.b]", "C(arm)[T.c]"
    labels = {b: "Arm b", "y": "Wage", "unused": "Unused"}

    def shown(**options: Any) -> list[str]:
        return [found.label for found in dd.etable(fits, labels=labels, **options).panels[0].rows]

    assert shown() == ["Arm b", c, "t", "Intercept"]
    assert shown(keep=["t", "Arm b"]) == ["t", "Arm b"]  # "t" is a name: it is not searched in Intercept
    assert shown(keep=r"^C\(") == ["Arm b", c]
    assert shown(drop=[b, "Inter"]) == [c, "t"]
    assert shown(drop="no such name") == shown()
    assert dd.etable(fits, labels=labels).headers[0] == ("Wage", "Wage")


def test_one_label_joins_rows_of_different_fits(arm_results: Results, results: Results) -> None:
    table = dd.etable([arm_results, results], labels={"C(arm)[T.b]": "Effect", "t": "Effect"}, keep="Effect")
    assert texts(table, "Effect") == [f"{arm_results.params['C(arm)[T.b]']:.3f}", f"{results.params['t']:.3f}"]
    assert len(list(table.panels[0].rows)) == 1


def test_statistics_of_a_results(results: Results, frame: pd.DataFrame, ols: Any) -> None:
    clustered = results.get_robustcov_results("cluster", groups=frame["firm"])
    keys = ["N", "family", "learner", "folds", "estimand", "se", "clusters", "adj_R2"]
    table = dd.etable([clustered, ols], stats=keys)
    assert [(found.label, found.cells[0].text) for found in table.stats] == [
        ("Observations", "400"),
        ("Family", "gaussian"),
        ("Learner", "auto"),
        ("Folds", "5"),
        ("Estimand", "average coefficient"),
        ("Standard errors", "clustered"),
        ("Clusters", "20"),
        ("Adjusted R²", ""),
    ]


def test_statistics_of_the_user(results: Results, ols: Any) -> None:
    stats = {
        "Rows": "N",
        "F": lambda fit: fit.fvalue,
        "Controls": [False, True],
        "k": lambda fit: len(fit.params) * 1000,
    }
    table = dd.etable([results, ols], stats=stats, digits=1)
    found = {row.label: [cell.text for cell in row.cells] for row in table.stats}
    assert found == {
        "Rows": ["400", "400"],
        "F": ["", f"{float(ols.fvalue):.1f}"],
        "Controls": ["No", "Yes"],
        "k": ["2,000", "3,000"],
    }


def test_a_loaded_fit_gives_the_same_table(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "fit.deepdml", remove_data=True)
    assert dd.etable(dd.load(tmp_path / "fit.deepdml")) == dd.etable(results)


def test_notes(results: Results, ols: Any) -> None:
    alone, mixed = dd.etable(results, notes="Mine."), dd.etable([ols, results], notes=["a", "b"])
    assert alone.notes[1] == "Standard errors are heteroskedasticity robust (HC1)."
    assert alone.notes[-1] == "Mine."
    method = "cross-fitted double machine learning (Farrell, Liang & Misra): learner auto, 5 folds, seed 1."
    assert alone.notes[-2].startswith("Averages")
    assert mixed.notes[-3].startswith("Column (2): averages")
    assert alone.notes[-2].endswith(method)
    assert mixed.notes[-3].endswith(method)
    assert alone.notes[1] not in mixed.notes
    assert mixed.notes[-2:] == ("a", "b")
    assert dd.etable(results, auto_notes=False, notes="Mine.").notes == ("Mine.",)
    effect = dd.etable(results.estimate(dd.AverageMarginalEffect()))
    assert effect.notes[-1].startswith("Averages of functions of coefficients that vary")


def test_panels(results: Results, arm_results: Results, ols: Any) -> None:
    hc0 = results.get_robustcov_results("HC0")
    table = dd.etable(panels={"Main": [results, ols], "Arms": [arm_results, None], "HC0": [hc0, ols]})
    assert [panel.title for panel in table.panels] == ["Main", "Arms", "HC0"]
    assert [found.label for found in table.panels[1].rows] == ["C(arm)[T.b]", "C(arm)[T.c]", "Intercept"]
    # 600 rows in one panel and 400 in the others: each has its own; the family is one for all
    own = [{found.label: found.cells[0].text for found in panel.stats} for panel in table.panels]
    assert [found["Observations"] for found in own] == ["400", "600", "400"]
    assert [found["Standard errors"] for found in own] == ["HC1", "HC1", "HC0"]
    assert [found.label for found in table.stats] == ["R²", "Family"]
    assert table.headers[0] == ("y", "y")


def test_numbers_that_are_missing_or_large() -> None:
    class Fit:
        params = pd.Series([12345.678, np.nan, -0.0004], index=list("abc"))
        bse = tvalues = pvalues = pd.Series([1.0, np.nan, 0.001], index=list("abc"))
        model = None

    table = dd.etable(Fit(), stars=False)
    assert [(found.cells[0].text, found.cells[0].below) for found in table.panels[0].rows] == [
        ("12,345.678", "(1.000)"),
        ("", ""),
        ("-0.000", "(0.001)"),
    ]


def test_labels_that_clash_are_refused(arm_results: Results, results: Results) -> None:
    with pytest.raises(OptionError, match=r"'C\(arm\)\[T.b\]' and 'C\(arm\)\[T.c\]' of one fit would both be 'Arm'"):
        dd.etable(arm_results, labels={"C(arm)[T.b]": "Arm", "C(arm)[T.c]": "Arm"})
    with pytest.raises(OptionError, match="is the name of another coefficient"):
        dd.etable([arm_results, results], labels={"C(arm)[T.b]": "t"})
    both = dd.etable([arm_results, results], labels={"C(arm)[T.b]": "t", "t": "t"}, keep="t")
    assert "" not in texts(both, "t")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": None}, "either models, a list of fits, or panels"),
        ({"models": []}, "models is empty"),
        ({"models": {"a": 1}}, "models is a dict"),
        ({"models": ["y ~ x"]}, "a table needs fits, and 'y ~ x' is none"),
        ({"models": [object()]}, "a object of builtins cannot be read"),
        ({"keep": "trea"}, "keep='trea' matches no coefficient; there are t, Intercept"),
        ({"keep": "I(t**2)"}, "neither a coefficient nor a regular expression"),
        ({"drop": ["t", "Intercept"]}, "leaves no coefficient"),
        ({"headers": ["a", "b"]}, "one text for each of the 1 columns"),
        ({"headers": "a"}, "one text for each"),
        ({"labels": ["a"]}, "labels is a list; needed is a dict"),
        ({"notes": 3}, "3 is neither a text nor a list of texts"),
        ({"stars": (0.1, 0.1)}, "different levels"),
        ({"stars": (5, 1)}, "between 0 and 1"),
        ({"stars": "a"}, "must be True, False, or up to three"),
        ({"stars": 0.05}, "must be True, False, or up to three"),
        ({"digits": -1}, "digits=-1"),
        ({"alpha": 95, "below": "ci"}, "alpha is 95"),
        ({"below": "sd"}, "unknown below 'sd'"),
        ({"type": "latex"}, "unknown type 'latex'; allowed are tex"),
        ({"stats": ["r2"]}, "unknown statistic 'r2'"),
        ({"stats": {"Controls": ["Yes", "No"]}}, "1 values, one for each column"),
        ({"models": None, "panels": {}}, "there are none"),
        ({"label": "tab 1%"}, "label='tab 1%' must be of letters"),
    ],
)
def test_refusals(results: Results, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message.replace("(", r"\(").replace(")", r"\)").replace("*", r"\*")):
        dd.etable(**{"models": results} | options)


def test_panels_of_different_widths_are_refused(results: Results) -> None:
    with pytest.raises(OptionError, match="'a' has 1, 'b' has 2"):
        dd.etable(panels={"a": [results], "b": [results, results]})
    with pytest.raises(OptionError, match="column 2 has no fit"):
        dd.etable(panels={"a": [results, None], "b": [results, None]})


def test_fits_of_several_equations_are_refused(frame: pd.DataFrame) -> None:
    fit = smf.mnlogit("k ~ x0", frame.assign(k=np.arange(len(frame)) % 3)).fit(disp=0)
    with pytest.raises(OptionError, match="2-dimensional params"):
        dd.etable(fit)


def test_files(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "table.tex"
    assert dd.etable(results, file=path) == path.read_text(encoding="utf-8")
    written = path.read_text(encoding="utf-8")
    with pytest.raises(OptionError, match=r"table.tex' exists; .* overwrite=True"):
        dd.etable(results, file=path, digits=1)
    assert path.read_text(encoding="utf-8") == written
    assert dd.etable(results, file=path, digits=1, overwrite=True) == path.read_text(encoding="utf-8") != written
    assert "R²" not in written
    frame = dd.etable(results, file=str(tmp_path / "table.csv"))
    read = pd.read_csv(tmp_path / "table.csv", header=[0, 1], index_col=[0, 1], dtype=str, keep_default_na=False)
    assert read.to_numpy().tolist() == frame.to_numpy().tolist()


@pytest.mark.parametrize(
    ("name", "type", "message"),
    [
        ("table.xlsx", None, "no ending that names a type"),
        ("table.docx", "tex", "ends like type 'docx'"),
        ("missing/table.tex", None, "there is no folder"),
    ],
)
def test_files_that_cannot_be(results: Results, tmp_path: Path, name: str, type: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        dd.etable(results, type, file=tmp_path / name)


def test_without_maketables(results: Results, ols: Any, feols: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "maketables", None)
    for type in ("tex", "html", "md", "typst", "df", None):
        dd.etable([results, ols], type)
    with pytest.raises(MissingLibraryError, match=r"pip install 'deepdml\[tables\]'"):
        dd.etable([results, ols], "docx")
    with pytest.raises(MissingLibraryError, match=r"Feols of pyfixest.* needs maketables"):
        dd.etable([results, feols])

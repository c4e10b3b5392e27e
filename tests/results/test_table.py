from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from deepdml.errors import DataError, DeepDMLError, OptionError, OverlapWarning
from deepdml.families import Gaussian
from deepdml.learn.influence import Influence
from deepdml.results import Results, make_results
from deepdml.results.linear import restrictions


def test_psi_is_the_aipw_score(build: Callable[..., Any]) -> None:
    known = build()
    y, t, p = known.data.y, known.data.t[:, 1], known.propensity
    aipw = known.beta + (t - p) * (y - known.alpha - known.beta * t) / (p * (1 - p))
    # the inverse of a 2 x 2 matrix against its closed form, with propensities down to a few per cent
    np.testing.assert_allclose(known.results().psi["t"], aipw, rtol=1e-10, atol=1e-10)


def test_estimates_are_means_of_psi(build: Callable[..., Any]) -> None:
    known = build()
    res = known.results(cov_type="HC0")
    np.testing.assert_allclose(res.params, res.psi.mean(), rtol=1e-12)
    np.testing.assert_allclose(res.bse, res.psi.std(ddof=0) / np.sqrt(len(res.psi)), rtol=1e-12)
    weighted = build(weights=True)
    res = weighted.results()
    np.testing.assert_allclose(res.params, np.average(res.psi, axis=0, weights=weighted.data.weights), rtol=1e-12)


def test_a_linear_reparametrization_maps_params_and_covariance(build: Callable[..., Any]) -> None:
    """Rows A t instead of t have coefficients A^-T theta."""
    known = build()
    a = np.array([[1.0, 0.0], [2.0, -3.0]])
    back = np.linalg.inv(a).T
    piece = known.influence
    mapped = Influence(
        piece.theta @ back.T,
        piece.score @ a.T,
        np.einsum("de,nef,gf->ndg", back, piece.lambda_inverse, back),
        None,
    )
    other = replace(known, data=replace(known.data, t=known.data.t @ a.T), influence=mapped).results()
    base = known.results()
    np.testing.assert_allclose(other.params, back @ base.params, rtol=1e-10)
    np.testing.assert_allclose(other.cov_params(), back @ base.cov_params().to_numpy() @ back.T, rtol=1e-10)


def test_types_and_names(results: Results) -> None:
    names = ["Intercept", "t"]
    for name in ("params", "bse", "tvalues", "pvalues"):
        value = getattr(results, name)
        assert isinstance(value, pd.Series)
        assert list(value.index) == names
    assert list(results.conf_int().columns) == [0, 1]
    assert list(results.cov_params().index) == list(results.cov_params().columns) == names
    assert (results.nobs, results.df_model, results.df_resid) == (400, 1, 398)
    assert results.cov_type == "HC1"
    assert "HC1" in results.cov_kwds["description"]
    assert results.use_t is False
    assert results.scale == 1
    assert results.model.endog_names == "y"
    assert results.model.formula == "y ~ t | x*"
    assert repr(results) == "<Results: average coefficient, 'y ~ t | x*', family gaussian, 400 rows>"


def test_statistics_are_normal(results: Results) -> None:
    z = results.params / results.bse
    np.testing.assert_allclose(results.tvalues, z, rtol=1e-14)
    np.testing.assert_allclose(results.pvalues, 2 * stats.norm.sf(abs(z)), rtol=1e-12)
    half = stats.norm.ppf(0.95) * results.bse
    np.testing.assert_allclose(results.conf_int(0.1)[1], results.params + half, rtol=1e-12)
    np.testing.assert_allclose(results.conf_int(cols=["t"]), results.conf_int().loc[["t"]])
    np.testing.assert_allclose(results.conf_int(cols=[1]), results.conf_int().loc[["t"]])


@pytest.mark.parametrize("alpha", [0, 1, 5, -0.1])
def test_levels_are_checked(results: Results, alpha: float) -> None:
    with pytest.raises(OptionError, match="between 0 and 1"):
        results.conf_int(alpha)
    with pytest.raises(OptionError, match="between 0 and 1"):
        results.summary(alpha=alpha)


@pytest.mark.parametrize("name", ["llf", "aic", "bic", "rsquared", "resid", "fittedvalues"])
def test_what_does_not_exist_is_absent(results: Results, name: str) -> None:
    assert not hasattr(results, name)


def test_absent_names_say_why(results: Results) -> None:
    with pytest.raises(AttributeError, match="no likelihood"):
        results.llf  # noqa: B018
    with pytest.raises(AttributeError, match=r"'parms'.*Did you mean 'params'"):
        results.parms  # noqa: B018


def test_cov_params_of_contrasts(results: Results) -> None:
    v = results.cov_params().to_numpy()
    r = np.array([[1.0, 2.0]])
    np.testing.assert_allclose(results.cov_params(r_matrix=r), r @ v @ r.T)
    assert results.cov_params(column=1) == v[1, 1]


def test_t_test_against_closed_form(arm_results: Results) -> None:
    res = arm_results
    v, b = res.cov_params().to_numpy(), res.params.to_numpy()
    r = np.array([0.0, 1.0, -1.0])
    test = res.t_test("C(arm)[T.b] = C(arm)[T.c]")
    z = r @ b / np.sqrt(r @ v @ r)
    assert float(np.squeeze(test.tvalue)) == pytest.approx(z, rel=1e-12)
    assert float(test.pvalue) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-12)


@pytest.mark.parametrize(
    "hypothesis",
    [
        "C(arm)[T.b] = C(arm)[T.c] = 1",
        "C(arm)[T.b] = 1, C(arm)[T.c] = 1",
        "`C(arm)[T.b]` = 1, `C(arm)[T.c]` = 1",
        ["C(arm)[T.b] = 1", "C(arm)[T.c] = 1"],
        (np.eye(3)[1:], np.ones(2)),
    ],
)
def test_wald_and_f_test_against_closed_form(arm_results: Results, hypothesis: Any) -> None:
    res = arm_results
    gap = res.params.to_numpy()[1:] - 1
    chi2 = gap @ np.linalg.solve(res.cov_params().to_numpy()[1:, 1:], gap)
    wald = res.wald_test(hypothesis)
    assert wald.statistic == pytest.approx(chi2, rel=1e-9)  # pinv against solve
    assert float(wald.pvalue) == pytest.approx(stats.chi2.sf(chi2, 2), rel=1e-8)
    f = res.f_test(hypothesis)
    assert f.fvalue == pytest.approx(chi2 / 2, rel=1e-9)
    assert float(f.pvalue) == pytest.approx(stats.f.sf(chi2 / 2, 2, res.df_resid), rel=1e-8)


@pytest.mark.parametrize(
    "name", ["t", "t2", "I(t ** 2)", "t:z", "C(bin)[T.(0, 1]]", "np.log(x)", "poly(x, 2)[1]", "my col"]
)
@pytest.mark.parametrize("form", ["{} = 3", "`{}` = 3", "3 = {}", "2 * {} - 6"])
def test_names_of_every_kind_can_be_written(name: str, form: str) -> None:
    names = ["t", "t2", "I(t ** 2)", "t:z", "C(bin)[T.(0, 1]]", "np.log(x)", "poly(x, 2)[1]", "my col"]
    for written in (name, name.replace(" ", "")):
        r, q = restrictions(form.format(written), names)
        position = names.index(name)
        np.testing.assert_array_equal(q / r[0, position], [3.0])
        assert np.flatnonzero(r[0]).tolist() == [position]


@pytest.mark.parametrize("text", ["", " ", "t == 0", "t + ", "t * t2 = 0", "1 = 2"])
def test_bad_grammar(text: str) -> None:
    with pytest.raises(OptionError, match=r"cannot be read .* the coefficients are t, t2"):
        restrictions(text, ["t", "t2"])


def test_unreadable_hypotheses_list_the_coefficients(arm_results: Results) -> None:
    with pytest.raises(OptionError, match=r"the coefficients are Intercept, C\(arm\)\[T.b\], C\(arm\)\[T.c\]"):
        arm_results.t_test("arm_b = 0")
    with pytest.raises(OptionError, match="Did you mean 'Intercept'"):
        arm_results.t_test("intercpt = 0")


def test_wald_test_of_terms(arm_results: Results) -> None:
    table = arm_results.wald_test_terms().table
    assert list(table.index) == ["Intercept", "C(arm)"]
    joint = arm_results.wald_test("C(arm)[T.b] = 0, C(arm)[T.c] = 0")
    assert table.loc["C(arm)", "statistic"] == pytest.approx(joint.statistic, rel=1e-12)
    assert list(table["df_constraint"]) == [1, 2]
    assert list(arm_results.wald_test_terms(skip_single=True).table.index) == ["C(arm)"]


def test_pairwise_tests(arm_results: Results) -> None:
    frame = arm_results.t_test_pairwise("C(arm)").result_frame
    assert list(frame.index) == ["b-reference", "c-reference", "c-b"]
    assert frame.loc["b-reference", "coef"] == pytest.approx(arm_results.params["C(arm)[T.b]"])
    single = arm_results.t_test("C(arm)[T.c] - C(arm)[T.b] = 0")
    assert frame.loc["c-b", "P>|z|"] == pytest.approx(float(single.pvalue))
    named = arm_results.t_test_pairwise("C(arm)", factor_labels=["a", "b", "c"]).result_frame
    assert list(named.index) == ["b-a", "c-a", "c-b"]
    with pytest.raises(OptionError, match="has 3 levels"):
        arm_results.t_test_pairwise("C(arm)", factor_labels=["b", "c"])
    with pytest.raises(OptionError, match=r"Did you mean 'C\(arm\)'"):
        arm_results.t_test_pairwise("C(amr)")
    with pytest.raises(OptionError, match="not one categorical variable"):
        arm_results.t_test_pairwise("Intercept")


def test_median_over_repetitions(build: Callable[..., Any]) -> None:
    parts = [build(seed=0), build(seed=0), build(seed=0)]
    pieces = tuple(
        replace(part.influence, theta=part.influence.theta + shift)
        for part, shift in zip(parts, (0.0, 0.1, 0.5), strict=True)
    )
    known = parts[0]
    folds = np.repeat(known.folds, 3, axis=0)
    record = replace(known.record, n_rep=3)
    res = make_results(known.data, Gaussian(), pieces, folds, record, None)
    single = known.results()
    # psi shifts by the same constant as theta, so mu_r are mu, mu + .1, mu + .5 and V_r are equal
    np.testing.assert_allclose(res.params, single.params + 0.1, rtol=1e-10)
    np.testing.assert_allclose(res.cov_params(), single.cov_params() + 0.01, rtol=1e-8)
    np.testing.assert_allclose(res.theta, single.theta + 0.2, rtol=1e-10)
    np.testing.assert_allclose(res.psi, single.psi + 0.2, rtol=1e-8)
    assert "Medians over 3 repetitions" in str(res.summary())


def test_names_of_deep_inference(build: Callable[..., Any], arm_results: Results) -> None:
    known = build()
    res = known.results()
    assert (res.mu_hat, res.se) == (res.params["t"], res.bse["t"])
    assert (res.ci_lower, res.ci_upper) == tuple(res.conf_int().loc["t"])
    np.testing.assert_array_equal(res.theta_hat, known.influence.theta)
    np.testing.assert_array_equal(res.psi_values, res.psi["t"])
    for name in ("mu_hat", "se", "ci_lower", "ci_upper", "theta_hat", "psi_values"):
        assert not hasattr(arm_results, name)
    with pytest.raises(AttributeError, match="one treatment column"):
        arm_results.mu_hat  # noqa: B018


def test_pickle_and_copy(build: Callable[..., Any]) -> None:
    res = build(weights=True, dropped=2).results()
    for other in (pickle.loads(pickle.dumps(res)), copy.deepcopy(res), copy.copy(res)):
        assert type(other) is Results
        assert str(other.summary()) == str(res.summary())
        pd.testing.assert_frame_equal(other.theta, res.theta)
        assert other.t_test("t = 1").pvalue == res.t_test("t = 1").pvalue


def test_remove_data_keeps_the_table(results: Results) -> None:
    before = str(results.summary())
    results.remove_data()
    assert str(results.summary()) == before
    assert results.t_test("t = 0").pvalue < 1e-6
    for use in (lambda: results.theta, lambda: results.psi, results.hte, results.predict):
        with pytest.raises(DataError, match="remove_data"):
            use()
    with pytest.raises(DataError, match="remove_data"):
        results.get_robustcov_results("HC0")


def test_the_model_is_handed_on(build: Callable[..., Any]) -> None:
    model = ("stands for", "a model")
    res = build().results(model=model)
    assert res.model is model
    assert res.get_robustcov_results("HC0").model is model
    res.remove_data()
    assert res.model.exog_names == ["Intercept", "t"]


def test_regularized_rows_are_warned_of(build: Callable[..., Any]) -> None:
    known = build()
    known = replace(known, record=replace(known.record, clipped_share=0.03, floored_share=0.02))
    with pytest.warns(OverlapWarning) as caught:
        res = known.results()
    assert {"clipped in 3.0%" in str(w.message) or "floored in 2.0%" in str(w.message) for w in caught} == {True}
    assert "clipped in 3.0%" in str(res.summary())
    assert "floored in 2.0%" in str(res.summary())


def test_psi_that_is_not_finite_names_the_rows(build: Callable[..., Any]) -> None:
    known = build(dropped=10)
    score = known.influence.score.copy()
    score[[3, 5]] = np.nan
    with pytest.raises(DataError, match="psi of the average coefficient is not finite in 2 row\\(s\\): 13, 15"):
        replace(known, influence=replace(known.influence, score=score)).results()


def test_shapes_are_checked(build: Callable[..., Any]) -> None:
    known = build()
    with pytest.raises(DataError, match="folds"):
        replace(known, folds=known.folds[:, 1:]).results()
    with pytest.raises(DataError, match="theta, score and lambda_inverse"):
        replace(known, influence=replace(known.influence, theta=known.influence.theta[:, :1])).results()


def test_unknown_cov_kwds(build: Callable[..., Any]) -> None:
    with pytest.raises(OptionError, match="Did you mean 'groups'"):
        build().results(cov_kwds={"group": np.zeros(400)})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.conf_int("0.05"), "alpha is '0.05'; it must be a number between 0 and 1"),
        (lambda r: r.conf_int(cols=["tt"]), "there is no estimate 'tt'.*Did you mean 't'"),
        (lambda r: r.conf_int(cols=[7]), "cols has 7; needed are names or positions of 'Intercept', 't'"),
        (lambda r: r.cov_params(column="tt"), "there is no estimate 'tt'"),
        (lambda r: r.adjust_pvalues(cols="tt"), "there is no estimate 'tt'"),
        (lambda r: r.summary(xname=["a"]), r"xname is \['a'\]; it must be a list of 2 names"),
        (
            lambda r: r.t_test(1),
            r"shape \(\) does not fit; needed is a number for each of the 2 coefficients, Intercept, t",
        ),
        (lambda r: r.wald_test([1, 2, 3]), r"a hypothesis of shape \(3,\) does not fit"),
        (lambda r: r.f_test((np.eye(3), 0)), r"a hypothesis of shape \(3, 3\) does not fit"),
        (
            lambda r: r.wald_test_terms(combine_terms=["arm"]),
            "unknown term in combine_terms 'arm'; allowed are Intercept, t",
        ),
        (lambda r: r.policy("t"), "cost is 't'; it must be one number.* which effect is said by of="),
        (lambda r: r.policy(np.nan), "cost is nan"),
        (lambda r: r.policy(np.ones(400)), "cost is a ndarray; it must be one number"),
        (lambda r: r.rank_curve("t"), "shares='t'; a list of numbers is needed"),
        (lambda r: r.trimming("optimal"), r"rules='optimal'; needed is a list of dd.Overlap"),
        (lambda r: r.sensitivity("t"), "cf_y is 't'; it must be one finite number"),
        (lambda r: r.sensitivity(benchmark="x0"), "benchmark 'covariates' is a str; needed are Results"),
        (lambda r: r.gate(["region", "year"]), "for groups by region, year together add a column of both"),
        (lambda r: r.save("nowhere/fit.deepdml"), "'nowhere/fit.deepdml' cannot be written: there is no folder"),
        (lambda r: r.report("nowhere/page.html"), "'nowhere/page.html' cannot be written: there is no folder"),
        (lambda r: r.replication_package("package", exhibits=[r]), "exhibits is a list; needed is a dict"),
        (
            lambda r: r.estimate(lambda x, t, theta: (theta[..., 0] - 99.0).sqrt()),
            "Unless it is a function that has no value",
        ),
    ],
)
def test_arguments_that_cannot_be_meant(results: Results, call: Callable[[Results], Any], message: str) -> None:
    with pytest.raises(DeepDMLError, match=message):
        call(results)


def test_one_name_is_as_good_as_a_list(results: Results) -> None:
    pd.testing.assert_frame_equal(results.conf_int(cols="t"), results.conf_int(cols=["t"]))
    pd.testing.assert_frame_equal(results.adjust_pvalues(cols="t"), results.adjust_pvalues(cols=["t"]))
    assert results.cov_params(column="t") == results.cov_params(column=1) == results.bse["t"] ** 2


def test_nothing_private_is_suggested(results: Results) -> None:
    with pytest.raises(AttributeError, match=r"'get_prediction'\. Did you mean 'predict'\?$"):
        results.get_prediction()

"""What deepdml refuses, through the public entry points: the message names the culprit and says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import deepdml as dd
from deepdml.errors import DataError, FormulaError, OptionError, OverlapError

N = 200
QUICK = {"hidden": (4,), "epochs": 1, "seed": 1}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 3))
    t = x[:, 0] + rng.standard_normal(N)
    frame = pd.DataFrame(x, columns=["age", "tenure", "emb_0"])
    frame["wage"] = x[:, 0] + t + rng.standard_normal(N)
    frame["treat"] = t
    frame["arm"] = np.array(["a", "b", "c"])[np.arange(N) % 3]
    frame["binary"] = np.arange(N) % 2 * 1.0
    frame["constant"] = 1.0
    frame["firm"] = np.arange(N) // 10
    frame["minus"] = np.where(np.arange(N) == 7, -1.0, 1.0)
    return frame


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("wage ~ treat", r"'wage ~ treat' has no bar; write 'outcome ~ treatment \| covariates'"),
        ("wage ~ treat | age | tenure", r"has 2 bars; one is needed.*third part is reserved"),
        ("wage | age ~ treat", r"has a bar left of '~'"),
        ("wage ~ treat | ", r"right of the bar is empty; name the covariates there"),
        ("wage ~ | age", r"between '~' and the bar is empty; name the treatments"),
        ("wage ~ 0 | age", r"has no coefficient; write at least '1'"),
        ("wage ~ treat | tenuer", r"'tenuer' is not a column.*Did you mean 'tenure'"),
        ("wage ~ traet | age", r"'traet' is not a column.*Did you mean 'treat'"),
        ("wagee ~ treat | age", r"'wagee' is not a column.*Did you mean 'wage'"),
        ("wage ~ treat | emb*b_*", r"emb\*b_\*"),
        ("wage ~ treat | enb_*", r"the glob 'enb_\*' matches no column"),
        ("wage ~ treat | treat + age", r"'treat' stand.* on both sides of the bar.*Take it out of the covariates"),
        ("wage ~ treat | log(treat)", r"'treat' stand.* on both sides of the bar"),
        ("wage ~ treat | tre*", r"'treat' stand.* on both sides of the bar.*- treat"),
        ("wage ~ treat | age + wage", r"the outcome 'wage' is among the covariates; take it out"),
        ("wage ~ treat | w*", r"the outcome 'wage' is among the covariates.*'- wage' if a glob matched it"),
        ("wage ~ wage | age", r"the outcome 'wage' stands left of the bar as well"),
    ],
)
def test_formulas(data, formula, message):
    with pytest.raises(FormulaError, match=message):
        dd.fit(formula, data)


@pytest.mark.parametrize(
    ("formula", "options", "error"),
    [
        ("wage ~ treat | age + firm", {}, FormulaError),
        ("wage ~ treat | age - firm", {}, FormulaError),
        ("wage ~ treat | age", {"cov_type": "cluster", "cov_kwds": {"groups": "firm"}}, DataError),
        ("wage ~ treat | age", {"weights": "firm"}, DataError),
        ("wage ~ binary | age", {"treatment": "firm"}, OptionError),
    ],
)
def test_levels_of_the_index_are_no_columns(data, formula, options, error):
    frame = data.set_index(["firm", "arm"])
    with pytest.raises(error, match=r"It is a level of the index; make it a column: data.reset_index\('firm'\)\."):
        dd.fit(formula, frame, **options, **QUICK)


def test_a_glob_without_a_match_lists_near_names(data):
    with pytest.raises(FormulaError, match=r"'enb_\*' matches no column.*emb_"):
        dd.fit("wage ~ treat | enb_*", data)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("wage ~ constant | age", r"'constant' left of the bar is 1 in all 200 rows.*leave it out"),
        ("wage ~ treat + I(2 * treat) | age", r"collinear.*Leave one of them out"),
        ("constant ~ treat | age", r"the outcome 'constant' is 1 in all 200 rows; there is nothing to explain"),
        ("arm ~ treat | age", r"the outcome 'arm' holds categories, not numbers"),
    ],
)
def test_columns_that_say_nothing(data, formula, message):
    with pytest.raises(DataError, match=message):
        dd.fit(formula, data)


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("age", "age * 1e-9", r"1 covariate\(s\) vary so little .*'age' has mean .* standard deviation 1\.\d+e-09"),
        ("age", "age * 1e-60", r"vary so little that it is lost where nets compute in single precision: 'age'"),
        ("age", "age + 1e9", r"vary so little.* 'age' has mean 1e\+09 and standard deviation .*standardize\(...\)"),
        ("wage", "wage * 1e300", r"'wage' has values as large as .*e\+300; rescale it to below 1e\+100"),
        ("treat", "treat * 1e300", r"'treat' has values as large as .*e\+300; rescale it"),
    ],
)
def test_units_in_which_the_numbers_would_be_lost(data, column, change, message):
    with pytest.raises(DataError, match=message):
        dd.DeepDML("wage ~ treat | age + tenure", data.assign(**{column: data.eval(change)}))


def test_units_in_which_nothing_is_lost(data):
    """Standardized before it becomes single precision, a column is what it was; constants and noise on them pass."""
    expected = dd.DeepDML("wage ~ treat | standardize(age) + tenure", data).arrays.x
    for change in ("age * 1e-40", "age + 1e9"):
        built = dd.DeepDML("wage ~ treat | standardize(age) + tenure", data.assign(age=data.eval(change))).arrays
        np.testing.assert_allclose(built.x, expected, atol=1e-6)  # 1e9 leaves a double nine digits
    for one in (1 / 3, 1e5 + 1e-11 * data["age"]):
        dd.DeepDML("wage ~ treat | age + one", data.assign(one=one))
    for scale in (1e-5, 1e30):
        dd.DeepDML("wage ~ treat | age", data.assign(age=scale * data["age"]))


def test_a_few_dead_columns_of_an_embedding_pass(data):
    emb = np.random.default_rng(0).standard_normal((N, 200))
    emb[:, :3] *= 1e-9
    dd.DeepDML("wage ~ treat | emb", data, context={"emb": emb})
    with pytest.raises(DataError, match=r"200 covariate\(s\) vary so little.*'emb_0'"):
        dd.DeepDML("wage ~ treat | emb", data, context={"emb": 1e-9 * emb})


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("wage ~ word | age", r"'word' has 200 categories in 200 rows, .*pd\.to_numeric\(data\['word'\]\)"),
        ("wage ~ treat | word", r"'word' has 200 categories in 200 rows, .*Its texts are numbers"),
        ("wage ~ treat | person", r"'person' has 200 categories in 200 rows, .*Leave it out"),
        ("wage ~ treat | C(number)", r"'C\(number\)' has 200 categories in 200 rows"),
        ("word ~ treat | age", r"the outcome 'word' holds numbers written as texts; convert it with pd\.to_numeric"),
        ("wage ~ treat | C(day)", r"a term makes categories of dates; use texts, such as C\(day\.astype\(str\)\)"),
        ("wage ~ treat | day", r"'day' holds dates or durations; use a number, .*I\(day\.dt\.days\) of a duration"),
    ],
)
def test_columns_of_another_kind_than_they_look(data, formula, message):
    number = np.arange(N)
    odd = data.assign(
        word=data["treat"].astype(str),
        person=[f"p{i}" for i in number],
        number=number,
        day=pd.Timestamp("2020-01-01") + pd.to_timedelta(number % 5, "D"),
    )
    with pytest.raises(DataError, match=message):
        dd.DeepDML(formula, odd)


def test_columns_with_names_of_several_levels(data):
    with pytest.raises(DataError, match=r"have names of 2 levels; a formula names columns by one: data\.columns ="):
        dd.fit("wage ~ treat | age", pd.concat({"a": data}, axis=1))


@pytest.mark.parametrize(
    ("family", "support", "value"),
    [
        ("logit", "outcomes between 0 and 1", 1.25),
        ("logit", "outcomes between 0 and 1", -0.5),
        ("poisson", "non-negative outcomes", -1.0),
    ],
)
def test_outcomes_outside_the_support(data, family, support, value):
    """Before anything is trained, with the labels of the first rows."""
    frame = data.assign(out=np.where(np.arange(N) % 2, 1.0, 0.0))
    frame.loc[[11, 42], "out"] = value
    message = (
        rf"'{family}' needs {support}, but 'out' has 2 other value\(s\) \({value:g}, {value:g}\) in row\(s\) 11, 42"
    )
    with pytest.raises(DataError, match=message):
        dd.DeepDML("out ~ treat | age", frame, family)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("gausian", r"unknown family 'gausian'; allowed are .*Did you mean 'gaussian'"),
        ("poison", r"Did you mean 'poisson'"),
        (sm.families.Binomial(sm.families.links.Probit()), r"Binomial with link Probit is not available"),
        (sm.families.Tweedie(sm.families.links.Log()), r"is not understood; pass a name"),
        (7, r"family 7 is not understood"),
    ],
)
def test_families(data, family, message):
    with pytest.raises(OptionError, match=message):
        dd.fit("wage ~ treat | age", data, family)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learner": "nett"}, r"unknown learner 'nett'; allowed are auto, net\. Did you mean 'net'"),
        ({"treatment": "discret"}, r"treatment='discret' is none of .*Did you mean 'discrete'"),
        ({"lambda_": "moment"}, r"unknown lambda_ 'moment'.*Did you mean 'moments'"),
        (
            {"lambda_": "known design"},
            r"'known design' does not fit this treatment and family; here it can be 'moments'",
        ),
        ({"cov_type": "HC3"}, r"unknown cov_type 'HC3'; allowed are HC0, HC1, cluster"),
        ({"n_fold": 3}, r"unknown option 'n_fold'.*Did you mean 'n_folds'"),
        ({"epoch": 3}, r"unknown option 'epoch'.*Did you mean 'epochs'"),
        ({"n_folds": 1}, r"n_folds=1 is too few; cross-fitting needs at least 2"),
        ({"n_folds": 0}, r"n_folds=0 is too few"),
        ({"n_folds": 2.5}, r"n_folds=2.5 is not a whole number"),
        ({"n_folds": "5"}, r"n_folds='5' is not a whole number"),
        ({"n_folds": True}, r"n_folds=True is not a whole number"),
        ({"n_rep": 0}, r"n_rep=0 is not a whole number of at least 1"),
        ({"n_rep": 1.5}, r"n_rep=1.5 is not a whole number"),
        ({"epochs": 0}, r"epochs=0 is not a whole number of at least 1"),
        ({"epochs": "many"}, r"epochs='many' is not a whole number"),
        ({"hidden": ()}, r"hidden=\(\) is not a tuple of positive widths such as \(64, 32\)"),
        ({"hidden": (8, 0)}, r"hidden=\(8, 0\) is not a tuple"),
        ({"hidden": "big"}, r"hidden='big' is not a tuple"),
        ({"hidden": 64}, r"hidden=64 is not a tuple"),
        ({"hidden": (3.5,)}, r"hidden=\(3.5,\) is not a tuple"),
        ({"lr": 0}, r"lr=0 is not a positive number"),
        ({"lr": -0.1}, r"lr=-0.1 is not a positive number"),
        ({"lr": float("nan")}, r"lr=nan is not a positive number"),
        ({"lr": "fast"}, r"lr='fast' is not a positive number"),
        ({"weight_decay": -1}, r"weight_decay=-1 is not a positive number or zero"),
        ({"ensemble": 0}, r"ensemble=0 is not a whole number"),
        ({"augment": "noise"}, r"augment='noise' is not a function"),
        ({"ensemble_by": "stack"}, r"ensemble_by.*'stack'.*average"),
        ({"ensemble": 2, "ensemble_by": "concat"}, r"Use learner='net' or ensemble_by='average'"),
        ({"n_jobs": 0}, r"n_jobs=0 is not a whole number"),
        ({"seed": -1}, r"seed=-1 is not a whole number of at least 0"),
        ({"seed": 1.5}, r"seed=1.5 is not a whole number"),
        ({"seed": "a"}, r"seed='a' is not a whole number"),
        ({"use_t": "no"}, r"unknown use_t 'no'; allowed are None, True, False"),
        ({"cov_kwds": "firm"}, r"cov_kwds is a str; needed is a dict such as \{'groups': 'firm'\}"),
        ({"cov_kwds": pd.Series([1, 2])}, r"cov_kwds is a Series; needed is a dict"),
        ({"context": "emb"}, r"context is a str; needed is a dict such as \{'emb': array\}"),
        ({"cluster": "firm"}, r"unknown option 'cluster'; here that is cov_type='cluster', cov_kwds=\{'groups'"),
        ({"random_state": 1}, r"unknown option 'random_state'; here that is seed"),
        ({"is_randomized": True}, "here that is treatment=, the known propensities"),
        ({"patience": 5}, "here that is decided by held-out loss; leave it out"),
        ({"n_jobs": 10**9}, r"n_jobs=1000000000 is more than 1,024 threads"),
        ({"device": None}, r"device=None is not the name of one, such as 'cpu'"),
        ({"augment": lambda x: x}, r"augment failed \(TypeError.*It is called as augment\(x, rng\)"),
        ({"treatment": lambda data: data["p"]}, r"the function given as treatment failed \(KeyError: 'p'\)"),
        ({"treatment": lambda data: None}, r"the function given as treatment returned None; needed is each row's"),
        ({"device": "gpu"}, r"device='gpu' cannot be used here.*Use device='cpu'"),
        ({"device": "cuda:999"}, r"device='cuda:999' cannot be used here.*Use device='cpu'"),
    ],
)
def test_options(data, options, message):
    with pytest.raises(OptionError, match=message):
        dd.fit("wage ~ treat | age", data, **{**QUICK, **options})


def test_missing_values_under_raise_are_named_with_their_rows(data):
    frame = data.copy()
    frame.loc[[3, 9], "age"] = np.nan
    frame.loc[5, "wage"] = np.inf
    with pytest.raises(DataError, match=r"missing='raise'.*wage in 1 row\(s\) \(5\), age in 2 row\(s\) \(3, 9\)"):
        dd.fit("wage ~ treat | age", frame, missing="raise")


def test_an_unknown_treatment_of_missing_values(data):
    with pytest.raises(OptionError, match=r"unknown value of missing 'keep'; allowed are drop, raise"):
        dd.fit("wage ~ treat | age", data, missing="keep")


def test_no_row_left(data):
    with pytest.raises(DataError, match=r"no row is left: missing or infinite: age in 200 row\(s\)"):
        dd.fit("wage ~ treat | age", data.assign(age=np.nan))


def test_duplicate_columns(data):
    with pytest.raises(DataError, match=r"several columns called 'age'; rename or drop them"):
        dd.fit("wage ~ treat | age", pd.concat([data, data[["age"]]], axis=1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, r"data is a int; allowed are a pandas DataFrame, an eager polars DataFrame"),
        ("survey.csv", r"data is 'survey.csv'; read the file first"),
        (Path("survey.csv"), r"data is 'survey.csv'; read the file first"),
        ("wage ~ treat | age", r"the formula comes first, then the data"),
        (None, r"data is None.*make the model from the formula and the data"),
    ],
)
def test_data_that_are_no_table(given, message):
    with pytest.raises(DataError, match=message):
        dd.fit("wage ~ treat | age", given)


def test_arrays_that_are_no_numbers(data):
    with pytest.raises(DataError, match=r"T holds something other than numbers .*For categories use fit\(\) and C"):
        dd.structural_dml(data["wage"], data["arm"], data[["age"]])


def test_a_choice_among_too_many(data):
    with pytest.raises(DataError, match=r"'wage' has 200 levels; at most 50 .*use another family"):
        dd.DeepDML("wage ~ treat | age", data, "mnlogit")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(5), r"weights has 5 rows, but the data have 200"),
        ("minus", r"weights are negative in 1 row\(s\): 7\. Sampling weights are zero or positive"),
        ("minos", r"weights='minos' is not a column of the data\. Did you mean 'minus'"),
        (np.zeros(N), r"all weights are zero"),
        (np.eye(N)[3], r"only 1 row\(s\) have a positive weight, .* at least 12 are needed"),
        ("arm", r"weights are a .*; numbers are needed"),
    ],
)
def test_weights(data, weights, message):
    with pytest.raises(DataError, match=message):
        dd.fit("wage ~ treat | age", data, weights=weights)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cov_kwds": {"groups": np.arange(7)}}, DataError, r"groups has 7 rows, but the data have 200"),
        (
            {"cov_kwds": {"groups": "firn"}},
            DataError,
            r"groups='firn' is not a column of the data\. Did you mean 'firm'",
        ),
        ({}, OptionError, r"cov_type='cluster' needs groups, in cov_kwds=\{'groups': \.\.\.\}"),
        ({"cov_kwds": {"group": "firm"}}, OptionError, r"unknown key of cov_kwds 'group'.*Did you mean 'groups'"),
        ({"cov_kwds": {"groups": "firm"}, "cov_type": "HC1"}, OptionError, r"has groups, but cov_type='HC1' does not"),
        ({"cov_kwds": {"groups": "firm"}, "n_folds": 30}, OptionError, r"n_folds=30 is more than the 20 cluster"),
        (
            {"cov_kwds": {"groups": "constant"}},
            OptionError,
            r"more than the 1 cluster.*cluster on something that varies",
        ),
    ],
)
def test_groups(data, options, error, message):
    with pytest.raises(error, match=message):
        dd.fit("wage ~ treat | age", data, **{"cov_type": "cluster", **QUICK, **options})


@pytest.mark.parametrize(
    ("rows", "folds", "message"),
    [
        (40, 25, r"25 folds of 40 rows leave fewer than 2 rows a fold; use n_folds=20 or fewer"),
        (11, 2, r"11 rows are too few to cross-fit; at least 12 are needed"),
    ],
)
def test_too_few_rows(data, rows, folds, message):
    with pytest.raises(DataError, match=message):
        dd.fit("wage ~ treat | age", data[:rows], n_folds=folds, **QUICK)


def test_a_continuous_treatment_in_few_rows_is_not_called_discrete(data):
    """Ten rows have at most ten levels; the user asked for nothing discrete, so the message is about rows."""
    with pytest.raises(DataError, match=r"8 rows are too few to cross-fit"):
        dd.fit("wage ~ treat | age", data[:8], n_folds=2, **QUICK)


@pytest.mark.parametrize("learner", ["auto", "net"])
@pytest.mark.parametrize("treat", ["binary", "linear"])
def test_no_overlap(data, learner, treat):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.standard_normal((600, 2)), columns=["age", "tenure"])
    frame["treat"] = (frame["age"] > 0) * 1.0 if treat == "binary" else 3 * frame["age"] - 1
    frame["wage"] = frame["age"] + frame["treat"] + rng.standard_normal(600)
    message = {
        "binary": r"predict the treatment almost perfectly in .* of the rows.*Drop covariates that are .*copies",
        "linear": r"explain 100\.0000% of the variance of 'treat'.*Drop covariates that are .*copies",
    }[treat]
    with pytest.raises(OverlapError, match=message):
        dd.fit("wage ~ treat | age + tenure", frame, learner=learner, **QUICK)


@pytest.mark.parametrize(("learner", "rows"), [("auto", [7, 31]), ("net", [7])])
@pytest.mark.parametrize(
    ("formula", "level", "name"),
    [
        ("y ~ C(arm) | x0 + x1", "c", r"C\(arm\)\[T.c\] = 1"),
        ("y ~ C(arm) | x0 + x1", "a", "the reference level"),
        ("y ~ rare | x0 + x1", 1.0, "rare = 1"),
    ],
)
def test_a_level_that_some_net_never_sees(learner, rows, formula, level, name):
    """Nets of the stack leave out two of five blocks, those of a single net one."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((60, 3)), columns=["y", "x0", "x1"])
    others = ["a", "b", "c"] if isinstance(level, str) else [0.0, 1.0]
    others.remove(level)
    values = rng.choice(others, 60).astype(object)
    values[rows] = level
    frame["arm" if isinstance(level, str) else "rare"] = values if isinstance(level, str) else values.astype(float)
    listed = ", ".join(map(str, rows))
    with pytest.raises(
        DataError, match=rf"^{name} is in {len(rows)} row\(s\) only, {listed}, so that some of the nets"
    ):
        dd.fit(formula, frame, learner=learner, n_folds=5, seed=0, epochs=1, progress=False)


@pytest.mark.parametrize(
    ("formula", "treatment", "error", "message"),
    [
        ("wage ~ binary | age", 1.5, DataError, r"must lie between 0 and 1 and sum to less than 1.*row\(s\) 0, 1"),
        ("wage ~ binary | age", 0.0, DataError, r"must lie between 0 and 1"),
        ("wage ~ binary | age", np.full(5, 0.5), DataError, r"have shape \(5,\); \(200,\) or \(200, 1\) is needed"),
        ("wage ~ binary | age", np.full((N, 2), 0.3), DataError, r"have shape \(200, 2\); \(200,\) or \(200, 1\)"),
        ("wage ~ C(arm) | age", np.full(N, 0.3), DataError, r"have shape \(200,\); .*\(200, 2\) is needed"),
        ("wage ~ C(arm) | age", np.full((N, 2), 0.5), DataError, r"sum to less than 1; they don't in row\(s\) 0, 1"),
        ("wage ~ treat | age", 0.5, OptionError, r"need a treatment with levels.*200 distinct structural rows"),
        ("wage ~ treat | age", "discrete", OptionError, r"treat has 200 distinct values in 200 rows.*'continuous'"),
        ("wage ~ C(arm) | age", "continuous", OptionError, r"the treatment is categorical; use treatment='discrete'"),
    ],
)
def test_treatment_models(data, formula, treatment, error, message):
    with pytest.raises(error, match=message):
        dd.fit(formula, data, treatment=treatment, **QUICK)


def test_known_propensities_follow_the_labels_of_the_rows(data):
    """In another order they would be those of other people."""
    known = pd.Series(np.where(data["age"] > 0, 0.6, 0.4), index=data.index)
    fits = [
        dd.fit("wage ~ binary | age", data, treatment=given, learner="net", **QUICK)
        for given in (known.to_numpy(), known.sample(frac=1.0, random_state=1))
    ]
    pd.testing.assert_series_equal(fits[0].params, fits[1].params, check_exact=True)
    with pytest.raises(DataError, match=r"the rows of the known propensities do not match the data's"):
        dd.fit(
            "wage ~ binary | age", data.set_axis(np.arange(N) + 7), treatment=known.set_axis(np.arange(N) + 9), **QUICK
        )


def test_known_propensities_that_are_texts(data):
    with pytest.raises(DataError, match=r"known propensities are numbers between 0 and 1.*holds something else"):
        dd.fit("wage ~ binary | age", data, treatment=data["arm"], **QUICK)


def test_arrays_of_pandas_are_joined_by_label(data):
    shuffled = data.sample(frac=1.0, random_state=1)
    fits = [
        dd.structural_dml(shuffled["wage"], given["binary"], given[["age"]], n_folds=5, learner="net", epochs=1, seed=1)
        for given in (data, shuffled)
    ]
    assert fits[0].params.equals(fits[1].params)
    with pytest.raises(DataError, match=r"the rows of [YX] do not match the data's"):
        dd.structural_dml(
            data["wage"].set_axis(np.arange(N) + 9), data["binary"], data[["age"]].set_axis(np.arange(N) + 5)
        )


@pytest.mark.parametrize(("name", "here"), [("hidden", "hidden_dims"), ("progress", "verbose")])
def test_options_that_structural_dml_calls_otherwise(data, name, here):
    with pytest.raises(OptionError, match=f"structural_dml has {here} in the place of {name}"):
        dd.structural_dml(data["wage"], data["binary"], data[["age"]], **{name: (4,)})


@pytest.mark.parametrize("hidden", [5, (8, 0), None])
def test_widths_of_structural_dml(data, hidden):
    with pytest.raises(OptionError, match=r"hidden_dims=.* is not a tuple of positive widths such as \(64, 32\)"):
        dd.structural_dml(data["wage"], data["binary"], data[["age"]], hidden_dims=hidden)


def test_what_is_no_folder_of_a_package(tmp_path):
    for use in (dd.replication.verify, dd.replication.lint, lambda path: dd.replication.write_package(path, {})):
        with pytest.raises(OptionError, match="a file is named by a text or a path, not by None"):
            use(None)
    with pytest.raises(DataError, match=r"is not a replication package: it has no config\.json"):
        dd.replication.read_data(tmp_path)
    with pytest.raises(OptionError, match=r"exhibits is a int; needed is a dict, exhibits=\{'Table 1': res\}"):
        dd.replication.write_package(tmp_path / "package", 3)


def test_the_row_of_an_impossible_propensity_is_named(data):
    known = np.where(np.arange(N) == 42, 1.2, 0.5)
    with pytest.raises(DataError, match=r"row\(s\) 42\."):
        dd.fit("wage ~ binary | age", data, treatment=known, **QUICK)


@pytest.mark.parametrize("family", ["logit", "poisson"])
def test_several_continuous_treatments_outside_the_gaussian_family(data, family):
    with pytest.raises(OptionError, match="here it can be 'location-scale quadrature', 'hessian regression'"):
        dd.fit("binary ~ treat + tenure | age", data, family, lambda_="moments", **QUICK)


@pytest.mark.parametrize("family", ["logit", "poisson"])
def test_outcomes_too_rare_to_train_on(data, family):
    """Two events in 200 rows leave training sets without any: an error of ours, never one of the linear algebra."""
    frame = data.assign(event=(np.arange(N) % 150 == 3) * 1.0)
    with pytest.raises(DataError, match=r"outcome .*is 0 in all .* rows that one of the nets trains on.*too rare"):
        dd.fit("event ~ treat | age", frame, family, **QUICK)


@pytest.fixture(scope="module")
def res(data):
    return dd.fit("wage ~ treat | age + C(arm)", data, learner="net", **QUICK)


class TestPrediction:
    def test_unseen_category(self, data, res):
        new = data.assign(arm=np.where(np.arange(N) == 4, "d", data["arm"]))
        with pytest.raises(
            DataError, match=r"'C\(arm\)' has categories the model has not seen: 'd' in row\(s\) 4; known"
        ):
            res.predict(new)

    @pytest.mark.parametrize("column", ["age", "treat", "arm"])
    def test_absent_column(self, data, res, column):
        with pytest.raises(DataError, match=rf"no column '{column}'"):
            res.predict(data.drop(columns=column))

    def test_theta_needs_no_treatment(self, data, res):
        pd.testing.assert_frame_equal(
            res.predict(data.drop(columns="treat"), which="theta"), res.predict(data, which="theta")
        )

    def test_unknown_kind(self, data, res):
        with pytest.raises(OptionError, match=r"unknown which 'maen'.*Did you mean 'mean'"):
            res.predict(data, which="maen")


def test_every_refusal_is_a_value_error_or_a_type_error(data):
    """So that code that catches those goes on working."""
    for error in (DataError, FormulaError, OptionError, OverlapError):
        assert issubclass(error, ValueError | TypeError)


@pytest.mark.parametrize("term", ["standardize(age, tenure)", "pca(age + tenure, 1)"])
def test_transforms_of_many_columns_do_not_hide_what_is_lost(data, term):
    with pytest.raises(DataError, match=r"1 covariate\(s\) vary so little .*'age' has mean 1e\+09"):
        dd.DeepDML(f"wage ~ treat | {term}", data.assign(age=data["age"] + 1e9))

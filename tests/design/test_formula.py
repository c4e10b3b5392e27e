import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepdml.design.formula import parse_formula
from deepdml.design.names import names_in, quote
from deepdml.errors import FormulaError

COLUMNS = (
    *("y", "t", "a", "b", "c", "age", "emb_0", "emb_1", "emb_2", "img_1_pc", "img_2_pc", "img_meta"),
    *("my col", "my emb 1", "my emb 2", "price", "price_own", "x.1", "a b*"),
)
EMB = ["emb_0", "emb_1", "emb_2"]
PC = ["img_1_pc", "img_2_pc"]


def covariates(formula, columns=COLUMNS, context=()):
    return [str(term) for term in parse_formula(formula, columns, context).covariates]


def treatments(formula, columns=COLUMNS, context=()):
    return [str(term) for term in parse_formula(formula, columns, context).treatments]


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ("a + emb_*", ["a", *EMB]),
        ("emb_* + a", [*EMB, "a"]),
        ("emb_*+a", [*EMB, "a"]),
        ("(emb_*)", EMB),
        ("(emb_* + a)", [*EMB, "a"]),
        ("*_pc", PC),
        ("*_pc + a", [*PC, "a"]),
        ("a + *_pc", ["a", *PC]),
        ("img_*_pc", PC),
        ("img_*", [*PC, "img_meta"]),
        ("price*", ["price", "price_own"]),
        ("price* - price", ["price_own"]),
        ("emb_* - emb_1", ["emb_0", "emb_2"]),
        ("emb_0 + emb_*", EMB),
        ("emb_2 + emb_*", ["emb_2", "emb_0", "emb_1"]),
        ("emb_* - 1", EMB),
        ("emb_* + 0", EMB),
        ("emb_*:a", ["emb_0:a", "emb_1:a", "emb_2:a"]),
        ("a:emb_*", ["a:emb_0", "a:emb_1", "a:emb_2"]),
        ("a*emb_*", ["a", *EMB, "a:emb_0", "a:emb_1", "a:emb_2"]),
        ("a * emb_*", ["a", *EMB, "a:emb_0", "a:emb_1", "a:emb_2"]),
        ("`my col`*emb_*", ["my col", *EMB, "my col:emb_0", "my col:emb_1", "my col:emb_2"]),
        ("`my emb *`", ["my emb 1", "my emb 2"]),
        ("`a b*`", ["a b*"]),
        ("a*b", ["a", "b", "a:b"]),
        ("a* b", ["a", "b", "a:b"]),
        ("a *b", ["a", "b", "a:b"]),
        ("a*(b + c)", ["a", "b", "c", "a:b", "a:c"]),
        ("a*C(b)", ["a", "C(b)", "a:C(b)"]),
        ("C(b)*a", ["C(b)", "a", "C(b):a"]),
        ("(a + b)**2", ["a", "a:b", "b"]),
        ("b + a", ["b", "a"]),
        ("a:b + c", ["a:b", "c"]),
        ("1", []),
        (" 1 ", []),
        ("0", []),
        ("a + 1", ["a"]),
        ("1 + a", ["a"]),
        ("x.1", ["x.1"]),
        ("`my col`", ["my col"]),
        ("log(`my col`)", ["log(`my col`)"]),
        ("np.log(a) + poly(b, 2)", ["np.log(a)", "poly(b, 2)"]),
        ("I(a * b)", ["I(a * b)"]),
        ("I(a | b)", ["I(a | b)"]),
        ("C(a, levels=['x | y', '~'])", ["C(a, levels=['x | y', '~'])"]),
        ("{a*b}", ["a * b"]),
    ],
)
def test_covariates_are_read_in_the_users_order(right, expected):
    assert covariates(f"y ~ t | {right}") == expected


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ("t", ["1", "t"]),
        ("t + a", ["1", "t", "a"]),
        ("t + 1", ["1", "t"]),
        ("0 + t", ["t"]),
        ("t - 1", ["t"]),
        ("t + 0", ["t"]),
        ("1", ["1"]),
        ("a*t", ["1", "a", "t", "a:t"]),
        ("a:t + t", ["1", "a:t", "t"]),
        ("t + I(t**2)", ["1", "t", "I(t ** 2)"]),
        ("emb_*", ["1", *EMB]),
        ("emb_* + t", ["1", *EMB, "t"]),
    ],
)
def test_the_left_part_has_an_intercept_first_unless_it_is_removed(left, expected):
    assert treatments(f"y ~ {left} | b") == expected


def test_the_dot_is_every_other_column():
    others = [c for c in COLUMNS if c not in {"y", "t", "a"}]
    assert covariates("log(y) ~ t + C(a) | .") == others
    assert covariates("log(y) ~ t + C(a) | . - emb_*") == [c for c in others if c not in EMB]
    kept = parse_formula("y ~ t | .", ("y", "t", "a", "w"), not_in_dot=["w"]).covariates
    assert [str(term) for term in kept] == ["a"]


def test_existing_names_win_over_a_glob():
    columns = ("y", "t", "a", "b", "a_b", "axb")
    assert covariates("y ~ t | a*b", columns) == ["a", "b", "a:b"]
    assert covariates("y ~ t | a*b", ("y", "t", "a", "axb")) == ["axb"]
    assert covariates("y ~ t | a*z", columns, {"z"}) == ["a", "z", "a:z"]


def test_names_of_each_part():
    parsed = parse_formula(
        "log(y) ~ t + I(t**k) | f(a) + np.exp(b) + `my col` + sp.expit(c)", COLUMNS, {"f", "k", "sp"}
    )
    assert parsed.outcome_names == ("y",)
    assert parsed.treatment_names == ("t", "k")
    assert parsed.covariate_names == ("a", "b", "my col", "c", "sp")
    assert set(parsed.names_of(parsed.terms)) == {"log", "y", "t", "I", "k", "f", "a", "np", "b", "my col", "sp", "c"}


@pytest.mark.parametrize(
    ("text", "values", "called"),
    [
        ("log(a)", ["a"], ["log"]),
        ("np.log(a)", ["a"], ["np"]),
        ("a.fillna(0)", ["a"], []),
        ("poly(a, 2)", ["a"], ["poly"]),
        ("I([v for v in a])", ["a"], ["I"]),
        ("f(lambda v: v, a)", ["a"], ["f"]),
        ("C(a, contr.treatment('x'))", ["a"], ["C", "contr"]),
        ("log(`my col` + a)", ["my col", "a"], ["log"]),
    ],
)
def test_names_in_python_code(text, values, called):
    factor = parse_formula(f"y ~ t | {text}", COLUMNS, {"f"}).covariates[0].factors[0]
    assert [sorted(part) for part in names_in(factor)] == [sorted(values), sorted(called)]


REFUSALS = [
    ("y ~ t", "has no bar; write 'outcome ~ treatment | covariates', with '| 1' for no covariates"),
    ("y ~ t | a | b", "has 2 bars; one is needed"),
    ("y | t ~ a", "has a bar left of '~'"),
    ("y | t ~ a | b", "has a bar left of '~'"),
    ("y + t | a", "has no '~'"),
    ("t | a", "has no '~'"),
    ("", "has no '~'"),
    ("y ~ t ~ a | b", "has 2 '~'"),
    ("y ~ t | ", "right of the bar is empty; name the covariates there, or write '1' for none"),
    ("y ~ t |", "right of the bar is empty"),
    ("y ~ | a", "between '~' and the bar is empty"),
    (" ~ t | a", "left of '~' is empty; name the outcome"),
    ("y ~ (t | a)", "'|' stands inside brackets"),
    ("y ~ (t ~ a) | b", "'~' stands inside brackets"),
    ("y ~ t | (a", "'(' in 'y ~ t | (a' is never closed"),
    ("y ~ t | a)", "')' at position 10"),
    ("y ~ t | (a]", "']' at position 11"),
    ("y ~ t | log(a", "'(' at position 12"),
    ("y ~ t | `a", "is never closed"),
    ("y ~ t | C(a, 'x)", "unterminated string literal"),
    ("y ~ 0 | a", "has no coefficient"),
    ("y ~ t - t - 1 | a", "has no coefficient"),
    ("y ~ t | a - a", "cancels out; write '| 1'"),
    ("y ~ t | emb_* - emb_*", "cancels out"),
    ("y + a ~ t | b", "is 2 terms; one is needed. For arithmetic write I(...)"),
    ("emb_* ~ t | b", "the outcome 'emb_*' is 3 terms"),
    ("1 ~ t | b", "is a number; name a column"),
    ("y ~ y + t | b", "the outcome 'y' stands left of the bar as well"),
    ("y ~ t | y", "the outcome 'y' is among the covariates"),
    ("log(y) ~ t | I(y**2)", "the outcome 'y' is among the covariates"),
    ("y ~ t | *", "the outcome 'y' is among the covariates; take it out, or write '- y' if a glob matched it"),
    ("`my col` ~ t | my* + `my col`", "write '- `my col`'"),
    ("y ~ t | t", "'t' stand(s) on both sides of the bar"),
    ("y ~ t + a | b + a + t", "'t', 'a' stand(s) on both sides"),
    ("y ~ t*a | a", "'a' stand(s) on both sides"),
    ("y ~ price | price*", "write '- price' there if a glob matched it"),
    ("y ~ t | zz_*", "the glob 'zz_*' matches no column."),
    ("y ~ t | . - zz", "'zz' is taken out, but is not a column of the data."),
    ("y ~ t | emb_* - emb_o", "'emb_o' is taken out, but is not a column of the data. Did you mean 'emb_"),
    ("y ~ t | a + b - `a b`", "'a b' is taken out, but is not a column of the data."),
    ("y ~ t | enb_*", "the glob 'enb_*' matches no column. Did you mean 'emb_"),
    ("y ~ t | `zz *`", "the glob 'zz *' matches no column."),
    ("y ~ t | b_*c", "'b_*c' can be read in two ways, and neither works"),
    ("y ~ t | a*-b", "'a*-b' can be read in two ways: the columns matching 'a*' without 'b'"),
    ("y ~ t | a*-b", "or the product of 'a' and '-b', written 'a * (-b)'"),
    ("y ~ t | emb_*-1", "written 'emb_* - 1'"),
    ("y ~ t | agee", "'agee' is not a column of the data and not in context. Did you mean 'age'"),
    ("y ~ t | emb_", "As a glob, write 'emb_*' followed by an operator or nothing"),
    ("y ~ t | emb_* emb_0", "'emb_' is not a column"),
    ("y ~ tt | a", "'tt' is not a column"),
    ("yy ~ t | a", "'yy' is not a column"),
    ("y ~ t | log(agee)", "'agee' is not a column"),
    ("y ~ t | f(a)", "the function 'f' in 'f(a)' is unknown; pass it as context={'f': ...}"),
    ("y ~ t | pooly(a, 2)", "Did you mean 'poly'"),
    ("y ~ t | lag(a)", "lag() looks at neighbouring rows"),
    ("y ~ t | f(x) + `f( x )`", "'f(x)' is both a call and the column 'f( x )' in this part"),
    ("y ~ . | a", "'.' (all other columns) is allowed right of the bar only"),
    (". ~ t | a", "'.' (all other columns) is allowed right of the bar only"),
    ("y ~ t | a +", "'a +' cannot be read"),
    ("y ~ t | a b", "'a b' cannot be read: Missing operator"),
    ("y ~ t | I(a b)", "cannot be read: invalid syntax"),
    ("y ~ t | log(emb_*)", "A glob cannot stand inside a call"),
    ("y ~ t | 3*a", "Numeric literals other than `1`"),
    ("y ~ t | 'a'", "String literals are not valid"),
]


@pytest.mark.parametrize(("formula", "message"), REFUSALS)
def test_refusals_say_what_is_wrong(formula, message):
    with pytest.raises(FormulaError, match=re.escape(message)):
        parse_formula(formula, COLUMNS)


def test_a_dot_without_other_columns():
    with pytest.raises(FormulaError, match="there are none; write '1'"):
        parse_formula("y ~ t | .", ("y", "t"))


def test_a_glob_that_is_also_a_product_is_refused():
    with pytest.raises(FormulaError, match=r"can be read in two ways.*written 'a \* emb_\*'"):
        parse_formula("y ~ t | a*emb_*", ("y", "t", "a", "emb_0", "a_emb_1"))


def test_a_formula_that_is_no_string():
    with pytest.raises(FormulaError, match="not a list"):
        parse_formula(["y", "t"], COLUMNS)


TERMS = ["a", "age", "`my col`", "emb_*", "img_*_pc", "*_pc", "b:c", "log(a)", "`my emb *`", "C(b)", "x.1"]
SPACES = st.text(" \t\n", max_size=3)


@settings(deadline=None)
@given(st.permutations(TERMS), st.integers(1, len(TERMS)), st.data())
def test_any_order_and_any_spaces_give_the_same_columns(order, k, data):
    tidy = " + ".join(order[:k])
    spaced = "+".join(data.draw(SPACES) + term + data.draw(SPACES) for term in order[:k])
    assert covariates(f"y~t|{spaced}") == covariates(f"y ~ t | {tidy}")
    assert set(covariates(f"y ~ t | {tidy}")) == set(covariates(f"y ~ t | {' + '.join(sorted(order[:k]))}"))


@settings(deadline=None)
@given(st.lists(st.sampled_from([c for c in COLUMNS if c not in {"y", "t"}]), min_size=1, unique=True))
def test_quoting_changes_nothing(names):
    quoted = " + ".join(f"`{name}`" for name in names)
    assert covariates(f"`y` ~ `t` | {quoted}") == names
    assert covariates(f"y ~ t | {' + '.join(map(quote, names))}") == names


@settings(deadline=None)
@given(st.lists(st.from_regex(r"[a-z]{1,4}_[0-9]{1,3}", fullmatch=True), min_size=1, unique=True), st.data())
def test_a_glob_is_the_columns_with_its_prefix_in_frame_order(names, data):
    prefix = data.draw(st.sampled_from(names)).split("_")[0] + "_"
    found = covariates(f"Y ~ T | {prefix}*", ("Y", *names, "T"))
    assert found == [name for name in names if name.startswith(prefix)]


@settings(deadline=None)
@given(st.text(alphabet="yta|~+*-:()`'. e", max_size=25))
def test_any_text_parses_or_is_refused(text):
    try:
        parsed = parse_formula(text, ("y", "t", "a", "e"))
    except FormulaError:
        return
    assert parsed.treatments
    assert not set(parsed.covariate_names) & {*parsed.outcome_names, *parsed.treatment_names}

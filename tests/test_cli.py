"""The `deepdml` command, end to end and in its refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import deepdml
from deepdml import cli, demo, files, gallery, simulate
from deepdml.errors import OptionError

# Few rows keep the tests short; what a small sample makes the fit warn of is tested elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")

FORMULA = "y ~ t | x_*"


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    draw = simulate.authors_example(n=400, seed=1).data
    return draw.assign(firm=[f"firm {i % 40}" for i in range(len(draw))], weight=1.0)


@pytest.fixture(scope="module")
def results(data: pd.DataFrame) -> deepdml.Results:
    return deepdml.fit(FORMULA, data, learner="net", seed=1, progress=False)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


def one_line(result: Result) -> str:
    """The message of a refusal, checked to be a single line and to come with exit code 1."""
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    return lines[0]


def test_fit_prints_the_table_writes_it_and_saves_the_fit(
    data: pd.DataFrame, results: deepdml.Results, tmp_path: Path
) -> None:
    data.to_csv(tmp_path / "data.csv", index=False)
    out, save = tmp_path / "table.md", tmp_path / "fit.deepdml"
    options = ["--learner", "net", "--seed", "1", "--no-progress", "--out", out, "--save", save]
    result = run("fit", FORMULA, tmp_path / "data.csv", *options)
    assert result.exit_code == 0, result.output
    assert "Intercept" in result.stdout
    header, rule, *rows = out.read_text().splitlines()[:4]
    assert header.split("|")[2].strip() == "coef"
    assert set(rule) <= set("|:- ")
    assert [row.split("|")[1].strip() for row in rows] == ["Intercept", "t"]
    loaded = deepdml.load(save)
    # a csv of float32 covariates reads back as float64: equal to the fit in memory up to their rounding
    pd.testing.assert_series_equal(loaded.params, results.params, rtol=1e-3)


def test_fit_clusters_by_every_named_column(data: pd.DataFrame, tmp_path: Path) -> None:
    data.to_csv(tmp_path / "data.csv", index=False)
    result = run(
        "fit",
        FORMULA,
        tmp_path / "data.csv",
        "--cluster",
        "firm",
        "--weights",
        "weight",
        "--learner",
        "net",
        "--seed",
        "1",
    )
    assert result.exit_code == 0, result.output
    assert "cluster" in result.stdout


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--cov-type", "HAC", "--time", "day", "--maxlags", "2"], "HAC"),
        (["--cov-type", "cluster-crv3", "--cluster", "firm", "--use-t"], "cluster-crv3"),
        (["--cov-type", "driscoll-kraay", "--time", "day"], "driscoll-kraay"),
        (["--cov-type", "conley", "--coordinates", "lat", "lon", "--cutoff", "50"], "conley"),
    ],
    ids=lambda options: options[1] if isinstance(options, list) else "",
)
def test_fit_takes_every_covariance(data: pd.DataFrame, tmp_path: Path, options: list[str], shown: str) -> None:
    days = np.arange(len(data))
    data.assign(day=days, lat=days % 17, lon=days % 19).to_csv(tmp_path / "data.csv", index=False)
    save = tmp_path / "fit.deepdml"
    save.touch()
    command = ["fit", FORMULA, tmp_path / "data.csv", *options, "--learner", "net", "--seed", "1"]
    result = run(*command, "--save", save, "--overwrite")
    assert result.exit_code == 0, result.output
    loaded = deepdml.load(save)
    assert loaded.cov_type == shown
    assert loaded.use_t == ("--use-t" in options)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".dta", ".feather"])
def test_every_file_type_reads_back(data: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    {
        ".csv": lambda: data.to_csv(path, index=False),
        ".parquet": lambda: data.to_parquet(path),
        ".dta": lambda: data.to_stata(path, write_index=False),
        ".feather": lambda: data.to_feather(path),
    }[suffix]()
    read = files.read_data(path)
    # csv writes the shortest decimals that give back each float32, and reads them as float64
    pd.testing.assert_frame_equal(read, data, check_dtype=False, rtol=1e-6)


@pytest.mark.parametrize(
    ("suffix", "mark"),
    [(".tex", r"\begin{tabular}"), (".html", "<table"), (".csv", "Intercept"), (".txt", "coef"), (".md", "|---")],
)
def test_every_table_type_holds_the_coefficients(results: deepdml.Results, suffix: str, mark: str) -> None:
    text = files.writer(Path(f"table{suffix}"))(results)
    assert mark in text
    assert "Intercept" in text


def test_clusters_are_one_series_or_a_frame(data: pd.DataFrame) -> None:
    frame = data.assign(year=1)
    assert cli.clusters(frame, ()) is None
    one, two = cli.clusters(frame, ("firm",)), cli.clusters(frame, ("firm", "year"))
    assert one is not None
    assert one["groups"].equals(frame["firm"])
    assert two is not None
    assert list(two["groups"].columns) == ["firm", "year"]
    with pytest.raises(OptionError, match="Did you mean 'firm'"):
        cli.clusters(frame, ("frim",))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("data.xlsx", [], "allowed are .csv, .parquet, .dta, .feather"),
        ("data.csv", ["--out", "table.docx"], "allowed are .tex, .html, .csv, .txt, .md"),
        ("data.csv", ["--out", "absent/table.tex"], "no folder"),
        ("data.csv", ["--save", "absent/fit.deepdml"], "no folder"),
        ("data.csv", ["--cluster", "frim"], "Did you mean 'firm'"),
        ("data.csv", ["--family", "logti"], "Did you mean 'logit'"),
        ("data.csv", ["--weights", "absent"], "absent"),
        ("data.csv", ["--out", "table.tex"], "replace it with --overwrite"),
        ("data.csv", ["--save", "fit.deepdml"], "replace it with --overwrite"),
        ("data.csv", ["--time", "frim"], "Did you mean 'firm'"),
        ("data.csv", ["--coordinates", "x_0", "lon"], "'lon' is not a column"),
        # in the words of the command line, not of Python
        ("data.csv", ["--cov-type", "HAC"], "--cov-type 'HAC' needs time, in --time: the period"),
        ("data.csv", ["--cov-type", "cluster"], "needs groups, in --cluster: cluster labels"),
        ("data.csv", ["--cov-type", "HC1", "--cluster", "firm"], "--cluster was given, but --cov-type 'HC1' does not"),
        ("data.csv", ["--cov-type", "HC2"], "unknown cov_type 'HC2'"),
        ("data.csv", ["--cutoff", "2"], "does not use it; 'conley' do"),
    ],
)
def test_refusals_are_one_line_and_exit_code_1(
    data: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data.to_csv(name, index=False)
    for existing in ("table.tex", "fit.deepdml"):
        Path(existing).touch()
    assert message in one_line(run("fit", FORMULA, name, *options))
    assert not Path("table.tex").read_bytes()


@pytest.mark.parametrize("options", [["--cluster", "firm"], ["--weights", "firm"]])
def test_a_level_of_the_index_in_a_file(data: pd.DataFrame, tmp_path: Path, options: list[str]) -> None:
    data.set_index("firm").to_parquet(tmp_path / "data.parquet")
    told = one_line(run("fit", FORMULA, tmp_path / "data.parquet", *options))
    assert "It is a level of the index; write the file from data.reset_index('firm')." in told


@pytest.mark.parametrize(("formula", "message"), [("y ~ t", "bar"), ("y ~ t | z_*", "z_\\*"), ("y ~ tt | x_*", "tt")])
def test_a_formula_that_does_not_fit_the_file_is_refused_in_one_line(
    data: pd.DataFrame, tmp_path: Path, formula: str, message: str
) -> None:
    data.to_csv(tmp_path / "data.csv", index=False)
    assert message.replace("\\", "") in one_line(run("fit", formula, tmp_path / "data.csv"))


@pytest.mark.parametrize(
    ("suffix", "content"), [(".parquet", b"not a table"), (".feather", b""), (".dta", b"x" * 10), (".csv", b"")]
)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"data{suffix}"
    path.write_bytes(content)
    assert f"cannot be read as {suffix}" in one_line(run("fit", FORMULA, path))


@pytest.mark.parametrize(("mark", "shown"), [(";", "';'"), ("\t", r"'\t'")])
def test_a_file_with_other_separators_is_refused(data: pd.DataFrame, tmp_path: Path, mark: str, shown: str) -> None:
    data.to_csv(tmp_path / "data.csv", index=False, sep=mark)
    assert f"'data.csv' separates columns by {shown}" in one_line(run("fit", FORMULA, tmp_path / "data.csv"))


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("y,t,x_0\n")
    assert "no rows" in one_line(run("fit", FORMULA, tmp_path / "data.csv"))


def test_an_absent_file_is_a_usage_error(tmp_path: Path) -> None:
    assert run("fit", FORMULA, tmp_path / "absent.csv").exit_code == 2


def test_demo_prints_the_table_beside_the_published_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    households = demo.households().sample(1_500, random_state=1)
    monkeypatch.setattr(demo, "households", lambda: households)
    result = run("demo", "--no-progress")
    assert result.exit_code == 0, result.output
    assert "e401k" in result.stdout
    assert "Chernozhukov et al. (2018), n = 9,915" in result.stdout
    assert "this fit, n = 1,500" in result.stdout


def test_help_names_both_commands() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "demo" in result.output
    assert "fit" in result.output


def test_gallery_prints_the_tutorial_beside_the_truth() -> None:
    result = run("gallery", "--rows", 400, "--learner", "net", "--seed", "1", "--no-progress")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("Structural DML Results") == 5
    rows = result.stdout.split("Average effects and heterogeneity beside the truth")[1].strip().splitlines()
    truths = {"Wages ": "1.0000", "Purchases ": "1.2000", "Citations ": "1.0200"}
    truths |= {"Wages, the tutorial's": "0.0300", "Citations, the tutorial's": "0.2970"}
    assert len(rows) == 1 + len(truths)
    for row, (title, truth) in zip(rows[1:], truths.items(), strict=True):
        assert row.startswith(title)
        estimate, _, low, high, true, covered, correlation, sd, true_sd = row.split()[-9:]
        assert true == truth
        assert covered == ("yes" if float(low) <= float(true) <= float(high) else "no")
        assert float(low) < float(estimate) < float(high)
        assert -1 < float(correlation) < 1
        assert min(float(sd), float(true_sd)) > 0


@pytest.mark.parametrize(
    ("design", "words"),
    [("wages", "log points"), ("purchases", "high responders"), ("citations", "multiplier exp(mu)")],
)
def test_a_piece_of_the_gallery_shows_what_its_family_needs(design: str, words: str) -> None:
    (piece,) = (p for p in gallery.PIECES if p.design == design)
    shown = gallery.show(piece, rows=400, learner="net", seed=2, progress=False)
    draw = getattr(simulate, design)(n=400, seed=2)
    fit = deepdml.fit(draw.formula, draw.data, draw.family, learner="net", seed=2, progress=False)
    name = list(draw.truth)[1]
    assert words in shown.text
    assert shown.figures["estimate"] == fit.params[name]
    assert shown.figures["correlation"] == pytest.approx(np.corrcoef(fit.theta[name], draw.theta[:, 1])[0, 1])
    assert shown.figures["true sd"] == pytest.approx(draw.theta[:, 1].std())
    if draw.family == "poisson":
        assert f"exp(mu)  {np.exp(fit.params[name]):.3f}" in shown.text

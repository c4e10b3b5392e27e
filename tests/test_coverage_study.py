"""The coverage study itself: its figures, its files, and what it does when it is run again."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import deepdml
from deepdml.errors import OverlapError

sys.path.append(str(Path(__file__).resolve().parent / "benchmarks"))
bench, kept, paged, studies = (
    importlib.import_module(name) for name in ("bench_coverage", "coverage_rows", "coverage_page", "coverage_studies")
)


def row(design: str = "smooth", replication: int = 0, coefficient: str = "t", **values: Any) -> Any:
    """A row in which nothing is wrong."""
    plain = {
        "n": 5_000,
        "d": 2,
        "estimate": 1.0,
        "se": 0.1,
        "truth": 1.0,
        "oracle": 1.0,
        "oracle_se": 0.1,
        "efficient": 1,
        "rmse": 0.2,
        "correlation": 0.95,
        "spread": 1.0,
        "wald": 1.0,
        "seconds": 3.0,
        "warned": 0,
        "outcome": 0.5,
        "treatment": 0.5,
        "both": 0.5,
        "commit": "abc1234",
    }
    return kept.Row(design=design, replication=replication, coefficient=coefficient, **(plain | values))


def both(design: str, replication: int, **values: Any) -> list[Any]:
    """The rows of one replication."""
    return [row(design, replication, name, **values) for name in ("Intercept", "t")]


class Runner:
    """Performs tasks by a formula and remembers them."""

    def __init__(self, shift: float = 0.0, draw: float = 0.0) -> None:
        self.shift, self.draw, self.done = shift, draw, []

    def __call__(self, tasks: Iterable[Any]) -> Iterator[Any]:
        for task in tasks:
            self.done.append((task.study, task.replication))
            estimate = 1.0 + 0.01 * task.replication + self.shift
            d = {} if task.estimator == "deepdml" else {"d": 1}
            rows = both(task.study, task.replication, estimate=estimate, oracle=1.0 + self.draw, **d)
            yield task, rows[-1:] if d else rows


def test_figures_are_those_computed_by_hand() -> None:
    rows = kept.frame(
        [
            row(replication=0, estimate=1.1, oracle=1.05, oracle_se=0.08, rmse=0.1, seconds=1.0, warned=2),
            row(replication=1, estimate=0.9, oracle=0.95, oracle_se=0.08, rmse=0.2, seconds=2.0),
            row(replication=2, estimate=1.3, oracle=1.10, oracle_se=0.08, rmse=0.3, seconds=6.0),
            row(replication=3, estimate=1.0, oracle=1.00, oracle_se=0.08, rmse=0.4, seconds=9.0),
        ]
    )
    f = paged.figures(rows)
    # errors .1 -.1 .3 0; against the oracle .5 -.5 2 0 standard errors; only .3 is outside 1.96 * .1
    sd = np.sqrt((0.025**2 + 0.175**2 + 0.225**2 + 0.075**2) / 3)
    expected = {
        "replications": 4,
        "refused": 0,
        "bias": 0.075,
        "sd": sd,
        "se": 0.1,
        "bias_se": 0.75,
        "sharp": 0.5,
        "sharp_error": np.sqrt((0 + 1 + 2.25 + 0.25) / 3) / 2,
        "se_sd": 0.1 / sd,
        "se_sd_error": 0.1 / sd / np.sqrt(6),
        "se_oracle": 1.25,
        "bound": 1.25,
        "coverage": 0.75,
        "coverage_error": np.sqrt((4 / 6) * (2 / 6) / 4),
        "length": 2 * 1.959963985 * 0.1,
        "rmse": 0.25,
        "correlation": 0.95,
        "spread": 1.0,
        "seconds": 4.0,
        "warned": 0.25,
    }
    assert {name: getattr(f, name) for name in expected} == pytest.approx(expected, rel=1e-8)  # digits of 1.96 above


def test_a_refused_draw_is_a_miss_and_no_estimate() -> None:
    rows = kept.frame([row(replication=0, efficient=0), row(replication=1, estimate=np.nan, se=np.nan, efficient=0)])
    f = paged.figures(rows)
    assert (f.replications, f.refused, f.coverage, f.bias) == (2, 1, 0.5, 0.0)
    assert np.isnan(f.bound)
    assert "1 draws refused" in paged.shortfalls(f)


def test_joint_coverage_counts_wald_statistics_below_the_critical_value() -> None:
    walds = {0: 5.9, 1: 6.1, 2: np.nan, 3: 0.0}  # the 95 % point of chi-squared with 2 degrees of freedom is 5.99
    rows = kept.frame([r for replication, wald in walds.items() for r in both("smooth", replication, wald=wald)])
    joint = paged.joint(rows)
    assert (joint.d, joint.replications, joint.coverage) == (2, 4, 0.5)


def test_a_design_that_falls_short_is_named_with_its_figures() -> None:
    rng = np.random.default_rng(1)
    rows = []
    for replication in range(200):
        z, wald = rng.standard_normal(2) * 0.1, rng.chisquare(2)
        rows += both("smooth", replication, estimate=1 + z[0], oracle=1 + z[0], wald=wald)
        # half a standard error off
        rows += both("binary", replication, estimate=1.05 + z[1], oracle=1 + z[1], wald=wald)
    rows += [r for replication in range(3) for r in both("waves", replication, estimate=2.0)]
    text = paged.page(kept.frame(rows), {}, "a machine.", "| 401(k) |", "| leace |")
    assert text.index("## Real data\n") < text.index("| 401(k) |") < text.index("| leace |")
    assert "1 of 2 designs" in text
    assert "* **binary** (200 replications): Intercept: bias/se" in text
    assert "sharp bias +0.50 (0.00)" in text
    assert "**smooth**" not in text
    assert "**waves**" not in text  # too few draws, and said so
    assert any("waves" in line for line in text.splitlines() if "Too few draws" in line)
    assert "abc1234" in text


def test_the_diagnostics_are_set_beside_the_bias() -> None:
    """A fit counts by what both leave, or by the less of the two; an oracle one standard error away is a bias of 1."""
    rows = [
        row(replication=0, outcome=9.0, treatment=0.5, both=-1.0),
        row(replication=1, outcome=9.0, treatment=0.8, both=2.5, oracle=0.8, truth=0.7),
        row(replication=2, outcome=9.0, treatment=7.0, both=2.5, estimate=np.nan),
        row(replication=3, treatment=np.nan),
    ]
    lines = paged.diagnostics_table(kept.frame(rows)).splitlines()[2:]
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines] == [
        ["up to 1", "1", "0.00", "0.00", "0.000", "1.000"],
        ["up to 3", "1", "2.00", "2.00", "1.000", "0.000"],
    ]


def test_theta_is_compared_with_a_truth_that_varies() -> None:
    truth = np.column_stack([np.arange(5.0), np.full(5, 2.0)])
    correlation, spread = kept.likeness(np.column_stack([2 * np.arange(5.0) + 1, np.arange(5.0)]), truth)
    np.testing.assert_allclose([correlation[0], spread[0]], [1.0, 2.0])
    assert np.isnan([correlation[1], spread[1]]).all()


def test_peers_stand_beside_our_figures_from_the_same_draws() -> None:
    ours = kept.frame([r for replication in range(5) for r in both("smooth", replication)])
    theirs = kept.frame([row(replication=r, estimate=1.2, d=1, commit="peer 1") for r in (1, 3)])
    lines = [line for line in paged.peers_table(ours, {"peer": theirs}).splitlines() if "smooth" in line]
    assert [[cell.strip() for cell in line.split("|")[2:5]] for line in lines] == [
        ["deepdml", "2", "+0.00"],
        ["peer", "2", "+2.00"],
    ]


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    first, second = Runner(), Runner()
    bench.Run(tmp_path, first, "abc1234").ours({"smooth": 2, "waves": 1})
    assert first.done == [("smooth", 0), ("waves", 0), ("smooth", 1)]
    bench.Run(tmp_path, second, "abc1234").ours({"smooth": 3, "binary": 1})
    # the first replication of what is stored is checked; nothing else that is stored runs again
    assert second.done == [("smooth", 0), ("binary", 0), ("smooth", 2)]
    rows = kept.read(tmp_path / "ours.csv")
    assert rows.groupby("design")["replication"].unique().map(sorted).to_dict() == {
        "binary": [0],
        "smooth": [0, 1, 2],
        "waves": [0],
    }
    assert not rows.duplicated(["design", "replication", "coefficient"]).any()


@pytest.mark.parametrize("shift", [0.0, 1e-8, 1e-5])
def test_other_figures_discard_the_rows_of_a_design(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shift: float
) -> None:
    bench.Run(tmp_path, Runner(), "old").ours({"smooth": 2, "waves": 2})
    bench.Run(tmp_path, Runner(shift), "new").ours({"smooth": 3})
    rows = kept.read(tmp_path / "ours.csv")
    smooth = rows[rows["design"] == "smooth"]
    assert sorted(smooth["replication"].unique()) == [0, 1, 2]
    discarded = shift > kept.SAME
    assert ("begins anew" in capsys.readouterr().err) == discarded
    expected = [1.0 + 0.01 * r + (shift if discarded or r == 2 else 0) for r in range(3)]
    np.testing.assert_allclose(smooth.groupby("replication")["estimate"].first(), expected, rtol=1e-11)  # 12 digits
    assert len(rows[rows["design"] == "waves"]) == 4


def test_other_draws_discard_the_rows_of_the_peers(tmp_path: Path) -> None:
    run = bench.Run(tmp_path, Runner(), "old")
    run.ours({"smooth": 1, "waves": 1})
    run.peer("deep-inference", {"smooth": 2, "waves": 1, "arms": 1})
    assert set(kept.read(tmp_path / "deep_inference.csv")["design"]) == {"smooth", "waves"}  # one treatment only
    bench.Run(tmp_path, Runner(shift=0.1), "new").ours({"smooth": 1})  # our estimates alone have changed
    assert len(kept.read(tmp_path / "deep_inference.csv")) == 3
    bench.Run(tmp_path, Runner(shift=0.1, draw=0.1), "newer").ours({"smooth": 1})
    assert set(kept.read(tmp_path / "deep_inference.csv")["design"]) == {"waves"}


def test_no_fit_is_started_after_the_time_is_up(tmp_path: Path) -> None:
    runner = Runner()
    bench.Run(tmp_path, runner, "abc1234", seconds=-1.0).ours({"smooth": 2})
    assert runner.done == []


def test_a_replication_cut_short_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "ours.csv"
    bench.Run(tmp_path, Runner(), "abc1234").ours({"smooth": 3})
    path.write_text(path.read_text()[:-5])  # killed within the last line
    assert sorted(kept.read(path)["replication"].unique()) == [0, 1]
    runner = Runner()
    bench.Run(tmp_path, runner, "abc1234").ours({"smooth": 3})
    assert runner.done == [("smooth", 0), ("smooth", 2)]
    assert len(kept.read(path)) == 6


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ours.csv").write_text("design,estimate\nsmooth,1\n")
    with pytest.raises(ValueError, match="Remove the file"):
        kept.read(tmp_path / "ours.csv")


@pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")  # 500 rows
def test_a_row_holds_what_the_public_api_gives() -> None:
    study = replace(studies.STUDIES["randomized"], n=500)
    rows = kept.ours(study, 3, "abc1234")
    drawn = study.draw(3)
    results = deepdml.fit(drawn.formula, drawn.data, drawn.family, seed=3, progress=False, **drawn.fit)
    names = ["Intercept", "t"]
    assert [r.coefficient for r in rows] == names
    assert [r.estimate for r in rows] == list(results.params[names])
    assert [r.se for r in rows] == list(results.bse[names])
    hypothesis = ", ".join(f"{name} = {value!r}" for name, value in drawn.truth.items())
    assert rows[0].wald == pytest.approx(results.wald_test(hypothesis).statistic, rel=1e-8)  # another solver
    assert rows[1].oracle == drawn.oracle_psi[:, 1].mean()
    assert rows[1].oracle_se == pytest.approx(drawn.oracle_psi[:, 1].std(ddof=1) / np.sqrt(500))
    assert rows[1].rmse == pytest.approx(np.sqrt(((results.theta["t"] - drawn.theta[:, 1]) ** 2).mean()))


def test_a_refusal_is_kept_as_a_row_without_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OverlapError("no overlap")

    monkeypatch.setattr(deepdml, "fit", refuse)
    rows = kept.ours(replace(studies.STUDIES["smooth"], n=50), 0, "abc1234")
    assert [np.isnan(r.estimate) for r in rows] == [True, True]
    assert [r.d for r in rows] == [2, 2]


def test_oracle_errors_are_clustered_where_the_fit_is() -> None:
    drawn = studies.STUDIES["clustered-errors"].draw(0)
    sums = pd.Series(drawn.oracle_psi[:, 1] - drawn.oracle_psi[:, 1].mean()).groupby(drawn.data["cluster"]).sum()
    expected = np.sqrt(100 * sums.var(ddof=1)) / len(drawn.data)
    assert kept.oracle_error(drawn, 1) == pytest.approx(expected)


@pytest.mark.parametrize("study", studies.STUDIES.values(), ids=studies.STUDIES)
def test_every_study_can_be_drawn_and_doubleml_only_where_it_estimates_the_same(study: Any) -> None:
    small = replace(study, n=400)
    drawn = small.draw(0)
    assert len(drawn.data) == 400
    effects, treatment = drawn.theta[:, 1], drawn.data.iloc[:, 1]
    if study.doubleml == "IRM":
        assert drawn.family == "gaussian"
        assert set(treatment) == {0, 1}
    if study.doubleml == "PLR":
        assert np.ptp(effects) == 0
    one = drawn.theta.shape[1] == 2 and drawn.family in ("gaussian", "logit", "poisson")
    assert kept.can_fit("deep-inference", study) == (one and not study.fit)
    if study.same_draws:
        pd.testing.assert_frame_equal(drawn.data, replace(studies.STUDIES[study.same_draws], n=400).draw(0).data)

"""What figures show: points where the estimates are, bars where the intervals are, and nothing left behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import deepdml as dd
from deepdml.errors import MissingLibraryError, OptionError
from deepdml.results.plots.style import SETTINGS

EXACT = {"rtol": 1e-12}  # numbers handed on, not computed


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Figures draw without a screen, and leave matplotlib's settings as they were."""
    matplotlib.use("agg")
    before = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == before


def points(ax) -> np.ndarray:
    """Return the (k, 2) points of all markers that stand for estimates."""
    drawn = [line.get_xydata() for line in ax.lines if line.get_marker() not in ("None", "") and len(line.get_xdata())]
    return np.concatenate(drawn)


def bars(ax, label: str = "_intervals") -> np.ndarray:
    """Return the ends (k, 2) of the horizontal bars with a label."""
    segments = [s for c in ax.collections if c.get_label() == label for s in c.get_segments()]
    return np.array([segment[:, 0] for segment in segments])


def ticks(ax) -> list[str]:
    return [text.get_text() for text in ax.get_yticklabels()]


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


class TestCanvas:
    def test_without_ax_a_figure_is_opened(self, known):
        ax = known().results.plot_coef()
        assert plt.get_fignums() == [ax.figure.number]
        assert not ax.spines["top"].get_visible()

    def test_on_an_ax_nothing_else_is_touched(self, known):
        figure, (left, right) = plt.subplots(1, 2)
        plt.sca(right)
        assert known().results.plot_hte(ax=left) is left
        assert plt.gca() is right
        assert plt.get_fignums() == [figure.number]
        assert not right.has_data()

    @pytest.mark.parametrize("name", ["plot_coef", "plot_hte", "plot_dose", "plot_overlap", "plot_calibration"])
    def test_every_figure_takes_an_ax(self, known, name):
        ax = matplotlib.figure.Figure().add_subplot()
        assert getattr(known(kind="binary").results, name)(ax=ax) is ax
        assert ax.has_data()
        assert ax.get_xlabel()
        assert plt.get_fignums() == []

    def test_what_is_no_ax_is_refused(self, known):
        figure, both = plt.subplots(1, 2)
        for wrong in (figure, both):
            with pytest.raises(OptionError, match="must be one matplotlib Axes"):
                known().results.plot_coef(ax=wrong)

    def test_without_matplotlib_the_extra_is_named(self, known, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
        with pytest.raises(MissingLibraryError, match=r"pip install 'deepdml\[plots\]'"):
            known().results.plot_coef()

    def test_the_settings_exist(self):
        assert set(SETTINGS) <= set(matplotlib.rcParams)

    def test_dollars_are_not_mathematics(self, known):
        base = known().results
        ax = base.estimate({"cost ($) of $": lambda x, t, theta: theta[..., 1]}).plot_coef()
        ax.figure.canvas.draw()
        assert ticks(ax) == [r"cost (\$) of \$"]


class TestCoefficients:
    def test_points_and_bars_are_the_table(self, known):
        res = known(kind="arms").results
        ax = res.plot_coef(intercept=True, alpha=0.1)
        np.testing.assert_allclose(points(ax)[:, 0], res.params, **EXACT)
        np.testing.assert_allclose(points(ax)[:, 1], range(3))
        np.testing.assert_allclose(bars(ax), res.conf_int(0.1), **EXACT)
        assert ticks(ax) == list(res.params.index)
        assert ax.yaxis.get_inverted()
        assert ax.get_xlabel() == "average coefficient (units of y per unit)"
        assert ax.get_legend() is None

    def test_the_joint_band(self, known):
        res = known(kind="arms").results
        ax = res.plot_coef(joint=True, intercept=True, seed=3)
        np.testing.assert_allclose(bars(ax, "_joint"), res.conf_int(joint=True, seed=3), **EXACT)
        np.testing.assert_allclose(bars(ax), res.conf_int(), **EXACT)
        assert legend(ax) == ["95 % pointwise", "95 % jointly"]

    def test_several_models_beside_each_other(self, known):
        draw = known(kind="binary")
        ours, ols = draw.results, smf.ols("y ~ t + x0", draw.frame).fit()
        ax = ours.plot_coef([ols, ours.get_robustcov_results("HC0")], labels=["nets", "OLS", "HC0"])
        drawn = points(ax)
        assert ticks(ax) == ["t", "x0"]
        np.testing.assert_allclose(drawn[:, 0], [ours.params["t"], *ols.params[["t", "x0"]], ours.params["t"]], **EXACT)
        assert np.array_equal(drawn[:, 1].round(), [0, 0, 1, 0])
        assert len(set(drawn[:, 1])) == 4
        assert np.allclose(bars(ax)[1], ols.conf_int().loc["t"])
        assert legend(ax) == ["nets", "OLS", "HC0"]
        colors = {line.get_color() for line in ax.lines if line.get_marker() in ("o", "s", "D")}
        assert len(colors) == 3

    def test_names_choose_and_order(self, known):
        res = known(kind="arms").results
        names = ["arm[T.c]", "Intercept"]
        assert set(names) <= set(res.params.index)
        ax = res.plot_coef(names=names)
        assert ticks(ax) == names
        np.testing.assert_allclose(points(ax)[:, 0], res.params[names], **EXACT)

    def test_levels_share_their_variable(self, known):
        draw = known(kind="binary")
        res = draw.results.gate("region")
        ax = res.plot_coef()
        assert (ticks(ax), ax.get_ylabel()) == (["north", "south", "west"], "region")
        np.testing.assert_allclose(points(ax)[:, 0], res.params, **EXACT)
        assert ax.get_xlabel() == "effect: t"

    def test_any_table_draws_itself(self, known):
        res = known(kind="binary", shift=0.3).results
        for table in (res.blp("x0 + x1"), res.calibration(), res.sorted_effects(), res.rank_curve()):
            wanted = table.params.drop("Intercept", errors="ignore")
            ax = table.plot_coef()
            np.testing.assert_allclose(points(ax)[:, 0], wanted, **EXACT)
            assert ticks(ax) == list(wanted.index)

    def test_no_effect_is_one_for_ratios_and_nowhere_for_levels(self, known):
        res = known("logit", "binary").results
        for estimand, place in (
            (dd.Contrast("t", 1, 0), 0.0),
            (dd.Contrast("t", 1, 0, kind="ratio"), 1.0),
            (dd.OddsRatio("t"), 1.0),
            (dd.DoseResponse("t", [0, 1]), None),
        ):
            ax = res.estimate(estimand).plot_coef()
            dashed = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
            assert dashed == ([] if place is None else [place])

    def test_units_follow_the_link(self, known):
        assert "log-odds of y per unit" in known("logit", "binary").results.plot_coef().get_xlabel()
        assert "log of the mean of y per unit" in known("poisson", "binary").results.plot_coef().get_xlabel()
        effects = known("logit", "binary").results.get_margeff().plot_coef()
        assert effects.get_xlabel() == "average marginal effect (units of y per unit)"

    def test_what_does_not_fit_is_refused(self, known):
        res = known(kind="binary").results
        with pytest.raises(OptionError, match="needed are 2 different ones"):
            res.plot_coef(res, labels=["a", "a"])
        with pytest.raises(OptionError, match=r"no estimate 'tt'.*Did you mean 't'"):
            res.plot_coef(names=["tt"])
        with pytest.raises(OptionError, match="a dict cannot be drawn"):
            res.plot_coef([{"params": 1}])


class TestDistribution:
    def test_bars_hold_the_rows_and_the_line_is_the_estimate(self, known):
        res = known(kind="binary", shift=0.2).results
        ax = res.plot_hte("t", bins=20)
        (bars_,) = ax.patches
        expected, edges = np.histogram(res.theta["t"], bins=20)
        np.testing.assert_allclose(bars_.get_data().values, expected / 400)
        np.testing.assert_allclose(bars_.get_data().edges, edges)
        np.testing.assert_allclose(ax.lines[0].get_xdata(), res.params["t"], **EXACT)
        low, high = res.conf_int().loc["t"]
        reach = ax.collections[0].get_paths()[0].get_extents()
        np.testing.assert_allclose([reach.x0, reach.x1], [low, high])
        assert "descriptive" in legend(ax)[0]
        assert f"{res.params['t']:.4g}" in legend(ax)[1]
        assert ax.get_xlabel() == "t: coefficient (units of y per unit)"

    def test_weights_count(self, known):
        draw = known(kind="binary", shift=0.2, weights=True)
        ax = draw.results.plot_hte(bins=10)
        weights = draw.frame["w"] / draw.frame["w"].sum()
        expected = np.histogram(draw.results.theta["t"], bins=10, weights=weights)[0]
        np.testing.assert_allclose(ax.patches[0].get_data().values, expected)

    def test_of_other_estimates_it_is_still_the_coefficient(self, known):
        res = known(kind="binary", shift=0.2).results
        ax = res.estimate(dd.Contrast("t", 1, 0)).plot_hte("t")
        np.testing.assert_allclose(ax.lines[0].get_xdata(), res.params["t"], **EXACT)

    def test_far_tails_are_left_out_and_said_to_be(self, known):
        draw = known(kind="binary")
        rows = draw.results._fit.rows
        piece = rows.repetitions[0]
        theta = piece.theta.copy()
        theta[0, 1] = 1e6
        rows = replace(rows, repetitions=(replace(piece, theta=theta),))
        fit = replace(draw.results._fit, rows=rows)
        res = type(draw.results)(fit, draw.results._estimand, draw.results._estimates)
        ax = res.plot_hte()
        assert ax.patches[0].get_data().edges[-1] < 10
        shown = ax.patches[0].get_data().values.sum()
        assert f"({1 - shown:.1%} of".replace("%", " %") in legend(ax)[0]

    def test_an_unknown_coefficient_is_refused(self, known):
        with pytest.raises(OptionError, match=r"no estimate 'tt'.*Did you mean 't'"):
            known().results.plot_hte("tt")
        with pytest.raises(OptionError, match="several estimates"):
            known(kind="arms").results.plot_hte()


class TestDose:
    @staticmethod
    def band(ax, place: int) -> np.ndarray:
        """Return the lower and upper edge (q, 2) of a filled band."""
        x, y = ax.collections[place].get_paths()[0].vertices.T
        return np.array([(y[x == v].min(), y[x == v].max()) for v in np.unique(x)])

    def test_curve_and_bands_are_those_of_the_estimand(self, known):
        res = known(kind="continuous", formula="t + I(t**2)").results
        values = np.linspace(1.0, 2.0, 8)
        curve = res.estimate(dd.DoseResponse("t", values))
        ax = res.plot_dose("t", values[::-1], alpha=0.1)  # in any order
        np.testing.assert_allclose(ax.lines[0].get_xydata(), np.column_stack([values, curve.params]))
        np.testing.assert_allclose(self.band(ax, 1), curve.conf_int(0.1), rtol=1e-9)
        joint = curve.conf_int(0.1, joint=True)
        # the order of doses is that of the simulated draws: a quantile of 100,000 of them varies by half a per cent
        width = (joint[1] - joint[0]).to_numpy()
        np.testing.assert_allclose(np.diff(self.band(ax, 0))[:, 0], width, rtol=0.01)
        assert legend(ax) == ["90 % for the whole curve", "90 % pointwise", "estimate"]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("t", "mean of y")

    def test_a_curve_draws_itself(self, known):
        curve = known(kind="continuous").results.estimate(dd.DoseResponse("t", np.linspace(1, 2, 6)))
        ax = curve.plot_dose(seed=2)
        np.testing.assert_allclose(ax.lines[0].get_ydata(), curve.params, **EXACT)
        np.testing.assert_allclose(self.band(ax, 0), curve.conf_int(joint=True, seed=2), **EXACT)

    def test_doses_by_default_lie_where_the_data_are(self, known):
        draw = known(kind="continuous")
        x = draw.results.plot_dose().lines[0].get_xdata()
        np.testing.assert_allclose(x[[0, -1]], np.quantile(draw.frame["t"], [0.025, 0.975]))
        assert len(x) == 30

    @pytest.mark.parametrize(("kind", "expected"), [("binary", ["0", "1"]), ("arms", ["a", "b", "c"])])
    def test_levels_are_points(self, known, kind, expected):
        res = known(kind=kind).results
        column = "arm" if kind == "arms" else "t"
        values = expected if kind == "arms" else [0.0, 1.0]
        curve = res.estimate(dd.DoseResponse(column, values))
        ax = res.plot_dose()
        assert [text.get_text() for text in ax.get_xticklabels()] == expected
        np.testing.assert_allclose(points(ax)[:, 1], curve.params, **EXACT)
        ends = np.array([segment[:, 1] for segment in ax.collections[1].get_segments()])
        np.testing.assert_allclose(ends, curve.conf_int(), **EXACT)

    def test_a_variable_that_is_not_there_is_refused(self, known):
        with pytest.raises(OptionError, match="variable left of the bar; there are 'a', 'b'"):
            known(kind="two").results.plot_dose()
        with pytest.raises(OptionError, match="there are 't'"):
            known().results.plot_dose("x0")


class TestOverlap:
    def test_two_levels(self, known):
        draw = known(kind="binary")
        ax = draw.results.plot_overlap(bins=20)
        treated = draw.frame["t"].to_numpy() == 1
        for patch, rows in zip(ax.patches[::2], (treated, ~treated), strict=True):
            expected = np.histogram(draw.propensity[rows], bins=20, range=(0, 1))[0] / rows.sum()
            np.testing.assert_allclose(patch.get_data().values, expected)
        assert legend(ax) == [f"rows with t = 1 ({treated.sum()})", f"rows with another level ({(~treated).sum()})"]
        assert ax.get_xlabel() == "cross-fitted propensity P(t = 1 | x)"

    def test_the_clipping_bound(self, known):
        """The draw's record says that its propensities are known, which nothing clips."""
        res = known(kind="binary").results
        fit = replace(res._fit, record=replace(res._fit.record, treatment_model="propensities, 2 levels"))
        estimated = type(res)(fit, res._estimand, res._estimates)
        ax = estimated.plot_overlap()
        places = [segment[0, 0] for c in ax.collections for segment in c.get_segments()]
        np.testing.assert_allclose(places, [0.01, 0.99])
        assert legend(ax)[-1] == "clipped beyond 0.01 and 0.99"
        assert not res.plot_overlap().collections

    def test_several_levels(self, known):
        draw = known(kind="arms")
        law = draw.results._fit.rows.repetitions[0].law
        values = np.random.default_rng(0).dirichlet([4, 4, 4], len(draw.frame))
        rows = draw.results._fit.rows
        rows = replace(rows, repetitions=(replace(rows.repetitions[0], law=replace(law, probabilities=values)),))
        fit = replace(draw.results._fit, rows=rows)
        res = type(draw.results)(fit, draw.results._estimand, draw.results._estimates)
        ax = res.plot_overlap()
        assert ticks(ax) == ["arm = a", "arm = b", "arm = c"]
        place = {
            name: next(j for j, row in enumerate(law.levels) if tuple(row[1:]) == on)
            for name, on in (("a", (0, 0)), ("b", (1, 0)), ("c", (0, 1)))
        }
        expected = [
            np.quantile(values[chosen, place[arm]], 0.5, method="inverted_cdf")
            for arm in "abc"
            for chosen in (draw.frame["arm"] == arm, draw.frame["arm"] != arm)
        ]
        np.testing.assert_allclose(points(ax)[:, 0], expected)
        one = res.plot_overlap("b")
        assert one.get_xlabel() == "cross-fitted propensity P(arm = b | x)"
        with pytest.raises(OptionError, match="no level 'd'"):
            res.plot_overlap("d")

    def test_a_dose(self, known):
        draw = known(kind="continuous")
        law = draw.results._fit.rows.repetitions[0].law
        ax = draw.results.plot_overlap(bins=30)
        residuals = (draw.frame["t"] - law.mean) / law.scale
        expected, edges = np.histogram(residuals, bins=30, density=True)
        np.testing.assert_allclose(ax.patches[0].get_data().values, expected)
        np.testing.assert_allclose(ax.patches[0].get_data().edges, edges)
        assert ax.get_xlabel().startswith("t given x")
        spread = draw.results.plot_overlap(show="sd")
        (line,) = spread.lines
        np.testing.assert_allclose(line.get_xdata(), 0.05 * np.sqrt(np.mean(law.scale**2)))
        np.testing.assert_allclose(spread.patches[0].get_data().values.sum(), 1.0)

    def test_a_function_of_a_dose_finds_the_dose(self, known):
        plain, curved = (known(kind="continuous", formula=f).results.plot_overlap() for f in (None, "t + I(t**2)"))
        one, two = (ax.patches[0].get_data().values for ax in (plain, curved))
        np.testing.assert_allclose(one, two)

    def test_what_cannot_be_drawn_is_said(self, known):
        with pytest.raises(OptionError, match="nothing varies"):
            known(kind="none").results.plot_overlap()
        with pytest.raises(OptionError, match="'t' is continuous"):
            known(kind="continuous").results.plot_overlap(1)
        with pytest.raises(OptionError, match="allowed are residuals, sd"):
            known().results.plot_overlap(show="scale")


class TestTraining:
    HISTORY = (
        {
            "repetition": 0,
            "nuisance": "outcome",
            "candidate": "net",
            "copy": 0,
            "step": [0, 50, 99],
            "loss": [2.0, 1.0, 1.5],
        },
        {
            "repetition": 0,
            "nuisance": "treatment mean",
            "candidate": "net",
            "copy": 0,
            "step": [0, 50],
            "loss": [0.5, 0.7],
        },
    )

    def drawn(self, known):
        res = known().results
        fit = replace(res._fit, record=replace(res._fit.record, history=self.HISTORY))
        return type(res)(fit, res._estimand, res._estimates)

    def test_curves_are_changes_from_the_start(self, known):
        ax = self.drawn(known).plot_training()
        curves = [line for line in ax.lines if len(line.get_xdata()) > 1 and line.get_label() in legend(ax)]
        np.testing.assert_allclose(curves[0].get_xydata(), [[0, 0], [50, -1], [99, -0.5]])
        np.testing.assert_allclose(curves[1].get_ydata(), [0, 0.2])
        assert legend(ax) == ["outcome, net", "treatment mean, net"]
        np.testing.assert_allclose(points(ax), [[50, -1], [0, 0]])  # the least of each

    def test_one_nuisance(self, known):
        assert legend(self.drawn(known).plot_training("treatment mean")) == ["treatment mean, net"]
        with pytest.raises(OptionError, match="allowed are outcome, treatment mean"):
            self.drawn(known).plot_training("treatment")

    def test_history_comes_back_from_a_file(self, known, tmp_path):
        res = self.drawn(known)
        res.save(tmp_path / "fit.deepdml")
        back = dd.load(tmp_path / "fit.deepdml")
        assert back._fit.record.history == self.HISTORY
        pd.testing.assert_frame_equal(back.diagnostics.history, res.diagnostics.history)
        assert list(res.diagnostics.history["loss"]) == [2.0, 1.0, 1.5, 0.5, 0.7]

    def test_without_curves_it_says_so(self, known):
        with pytest.raises(OptionError, match="no training curves"):
            known().results.plot_training()
        assert known().results.diagnostics.history.empty


def test_calibration_sets_estimates_against_predictions(known):
    draw = known(kind="binary", shift=0.3)
    res = draw.results
    ax = res.plot_calibration(n_groups=4)
    groups = res.sorted_effects(4)
    np.testing.assert_allclose(points(ax)[:, 1], groups.params, **EXACT)
    effects, folds = res.theta["t"], np.arange(400) % 5
    rank = effects.groupby(folds).rank(method="first") - 0.5
    quarter = np.floor(4 * rank / 80)
    np.testing.assert_allclose(points(ax)[:, 0], effects.groupby(quarter.to_numpy()).mean())
    ends = np.array([segment[:, 1] for segment in ax.collections[0].get_segments()])
    np.testing.assert_allclose(ends, groups.conf_int(), **EXACT)
    (equal,) = (line for line in ax.lines if line.get_linestyle() == "--")
    np.testing.assert_array_equal(equal.get_xdata(), equal.get_ydata())


# few rows are warned of elsewhere
@pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")
def test_a_fit_keeps_its_training_curves(tmp_path):
    data = dd.simulate.authors_example(n=400, seed=1).data
    res = dd.fit("y ~ t | x_*", data, learner="net", ensemble=2, n_rep=2, seed=1, progress=False)
    curves = res.diagnostics.history.groupby(["repetition", "nuisance", "copy"])
    assert len(curves) == 2 * 2 * 2
    for _, curve in curves:
        assert curve["step"].iloc[0] == 0
        assert (curve["step"].diff().dropna() == 50).all()
        assert curve["loss"].notna().all()
    ax = res.plot_training()
    assert len(legend(ax)) == 2
    res.save(tmp_path / "fit.deepdml")
    assert dd.load(tmp_path / "fit.deepdml")._fit.record.history == res._fit.record.history

"""Jumps along covariates: found where they are, not found where there are none, and followed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import deepdml
from deepdml.learn.bases import linear_basis
from deepdml.learn.candidates import fit_basis
from deepdml.learn.jumps import MOST, WINDOW, Jumps, Stepped, agreed, best_cut, find, find_jumps, statistics

ROWS = 3_000  # nets train on three fifths, and a window of a twentieth of those has 90 rows
CUT = 0.3


def jump_frame(n: int = ROWS, seed: int = 0, height: float = 6.0) -> pd.DataFrame:
    """T and y jump where x0 passes CUT; the effect of T is one."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 3))
    above = height * (x[:, 0] > CUT)
    t = above / 2 + x[:, 1] + rng.standard_normal(n)
    y = above + np.sin(2 * x[:, 2]) + t + rng.standard_normal(n)
    return pd.DataFrame({"y": y, "t": t, "x0": x[:, 0], "x1": x[:, 1], "x2": x[:, 2]})


def lines(posed, x=None):
    """The linear fits of both tasks and the units of their nets."""
    x = posed.problem.x if x is None else x
    tasks = [(task, posed.units(task)) for task in posed.problem.tasks]
    return [(fit_basis("linear", task, linear_basis(x), x, posed.scheme, units), units) for task, units in tasks]


class TestStatistics:
    def test_are_the_gap_between_two_lines_over_its_standard_error(self) -> None:
        rng = np.random.default_rng(0)
        r, h = 400, 50
        values = rng.standard_normal((1, r, 2)) + 2.0 * (np.arange(r) >= 170)[None, :, None]
        z = statistics(torch.from_numpy(values), h)
        assert z.shape == (1, r - 2 * h + 1, 2)
        for k in (h, 170, 233, r - h):
            for out in range(2):
                left, right = values[0, k - h : k, out], values[0, k : k + h, out]
                rank = np.arange(h)
                below, above = np.polyfit(rank - h + 0.5, left, 1), np.polyfit(rank + 0.5, right, 1)
                design = np.column_stack([rank + 0.5, np.ones(h)])
                one = np.linalg.inv(design.T @ design)[1, 1]
                mean_square = np.mean(np.square(values[0, k - h : k + h, out]))
                expected = (above[1] - below[1]) / np.sqrt(2 * one * mean_square)
                assert float(z[0, k - h, out]) == pytest.approx(expected, rel=1e-9)  # the same sums in another order


class TestFind:
    @pytest.mark.parametrize("seed", range(5))
    def test_finds_nothing_where_the_mean_is_smooth(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        x = rng.uniform(-1, 1, (6_000, 6))
        wave = 2 * np.sin(3 * x[:, 0]) + np.abs(x[:, 1]) + np.exp(x[:, 2])
        gradient = torch.from_numpy(wave[:, None] + rng.standard_normal((6_000, 2)) * (1 + (x[:, 3:4] > 0)))
        assert find(torch.from_numpy(x).float(), gradient, []) == []

    def test_finds_jumps_to_a_few_rows_and_none_near_a_known_one(self) -> None:
        rng = np.random.default_rng(1)
        x = rng.uniform(-1, 1, (6_000, 40))  # in three chunks
        mean = 2.5 * (x[:, 35] > 0.2) - 3.0 * (x[:, 3] > -0.4)
        gradient = torch.from_numpy(mean + rng.standard_normal(6_000))[:, None]
        values = torch.from_numpy(x).float()
        found = find(values, gradient, [])
        assert [column for column, _ in found] == [3, 35]
        for (column, cut), truth in zip(found, (-0.4, 0.2), strict=True):
            between = np.sum((x[:, column] > min(cut, truth)) & (x[:, column] <= max(cut, truth)))
            assert between <= 5  # the maximum likelihood estimate is off by a number of rows that does not grow with n
        assert find(values, gradient, [(3, -0.41)]) == [found[1]]

    def test_leaves_columns_of_few_values_and_constants_alone(self) -> None:
        rng = np.random.default_rng(2)
        x = np.column_stack([rng.integers(0, 2, 4_000), np.ones(4_000)])
        gradient = torch.from_numpy(3.0 * x[:, :1] + rng.standard_normal((4_000, 1)))
        found = find(torch.from_numpy(x).float(), gradient, [])
        assert found in ([], [(0, 0.5)])  # the only cut of a binary column is no news, and does no harm

    def test_too_few_rows_are_not_searched(self) -> None:
        x = torch.linspace(-1, 1, 1_000)[:, None]
        assert find(x, 5.0 * (x > 0).double(), []) == []


class TestBestCut:
    def test_lies_between_the_two_values_where_the_mean_changes(self) -> None:
        values = torch.arange(100.0)
        gradient = (torch.arange(100)[:, None] >= 43).double().repeat(1, 2)
        assert best_cut(values, gradient, 50, 20) == (42.5, 43)

    def test_no_cut_divides_equal_values(self) -> None:
        values = torch.arange(100.0).div(10, rounding_mode="floor")
        gradient = (torch.arange(100)[:, None] >= 43).double()
        assert best_cut(values, gradient, 50, 30) == (3.5, 40)


class TestFindJumps:
    def test_every_net_finds_the_jump_of_its_rows(self, posed) -> None:
        p = posed(frame=jump_frame())
        jumps = find_jumps(lines(p), p.problem.x, p.scheme)
        assert jumps is not None
        assert jumps.most == MOST
        own = jumps.cut.isfinite()
        assert own.any(1).all()
        assert (jumps.column[own] == 0).all()
        assert (jumps.cut[:, 0] - CUT).abs().max() < 0.02

    def test_rows_that_a_net_does_not_train_on_decide_nothing(self, posed) -> None:
        frame = jump_frame()
        p = posed(frame=frame)
        away = np.setdiff1d(np.arange(len(frame)), p.scheme.train_rows()[0])
        other = frame.copy()
        other.loc[away, "y"] = other.loc[away, "y"].to_numpy()[::-1] * 3
        other.loc[away, "t"] = other.loc[away, "t"].to_numpy()[::-1] * 2
        q = posed(frame=other)
        np.testing.assert_array_equal(p.scheme.cell, q.scheme.cell)
        # the units of the treatment are moments over all rows, and scale every gradient alike
        mine, theirs = (find_jumps(lines(each), each.problem.x, each.scheme) for each in (p, q))
        assert mine is not None
        assert theirs is not None
        assert torch.equal(mine.column[0], theirs.column[0])
        assert torch.equal(mine.cut[0], theirs.cut[0])
        assert not torch.equal(mine.cut, theirs.cut)

    def test_none_where_there_are_none(self, posed) -> None:
        p = posed(frame=jump_frame(height=0.0))
        assert find_jumps(lines(p), p.problem.x, p.scheme) is None


class TestJumps:
    jumps = Jumps(torch.tensor([[1, 0], [0, 0]]), torch.tensor([[0.5, torch.inf], [0.0, 1.0]]), torch.full((2, 2), 0.5))

    def test_steps_are_standardized_indicators_and_zero_where_a_net_has_no_cut(self) -> None:
        values = torch.tensor([[0.0, 0.4], [2.0, 0.6]]).expand(2, 2, 2)
        steps = self.jumps.steps(values)
        assert steps.tolist() == [[[-1.0, 0.0], [1.0, 0.0]], [[-1.0, -1.0], [1.0, 1.0]]]

    def test_a_basis_has_the_steps_of_its_net(self) -> None:
        x = torch.tensor([[0.0, 0.4], [2.0, 0.6]])
        basis = Stepped(linear_basis(x), self.jumps.of_net(0))
        assert basis.n_features == 4
        assert basis(x)[:, 3].tolist() == [-1.0, 1.0]
        assert torch.equal(basis(x)[:, :3], basis.smooth(x))

    def test_agreed_are_those_of_half_of_the_nets(self) -> None:
        x = torch.linspace(0, 1, 1_001)[:, None].repeat(1, 2)
        near = 1.0 / WINDOW / 10
        cut = torch.tensor([[0.2, 0.6], [0.2 + near, torch.inf], [0.2 - near, 0.9], [torch.inf, 0.9]])
        jumps = Jumps(torch.tensor([[1, 0]] * 4), cut, torch.full((4, 2), 0.5))
        found = agreed([jumps], 4, x)
        assert [(column, nets) for column, _, nets in found] == [(0, 0.5), (1, 0.75)]
        assert [cut for _, cut, _ in found] == pytest.approx([0.9, 0.2])


@pytest.fixture(scope="module")
def fitted() -> tuple[pd.DataFrame, deepdml.Results]:
    frame = jump_frame(seed=3)
    return frame, deepdml.fit("y ~ t | x0 + x1 + x2", frame, seed=1, progress=False)


class TestFit:
    def test_the_diagnostics_name_the_jump(self, fitted) -> None:
        _, res = fitted
        (jump,) = res.diagnostics.jumps.itertuples()
        assert jump.covariate == "x0"
        assert abs(jump.cut - CUT) < 0.01
        assert jump.nets >= 0.5
        assert f"Jumps along covariates\n  x0: at {jump.cut:.4g}, in {jump.nets:.0%} of the nets" in repr(
            res.diagnostics
        )

    def test_theta_jumps_at_new_rows_and_after_loading(self, fitted, tmp_path) -> None:
        _, res = fitted
        new = pd.DataFrame({"x0": [CUT - 0.05, CUT + 0.05], "x1": 0.0, "x2": 0.0})
        below, above = res.predict(new, which="theta")["Intercept"]
        assert above - below == pytest.approx(6.0, abs=0.5)  # the truth; its standard error is about .1
        res.save(tmp_path / "fit.deepdml")
        loaded = deepdml.load(tmp_path / "fit.deepdml")
        pd.testing.assert_frame_equal(loaded.predict(new, which="theta"), res.predict(new, which="theta"))
        pd.testing.assert_frame_equal(loaded.diagnostics.jumps, res.diagnostics.jumps)

    def test_what_is_predicted_for_new_rows_is_what_the_nets_predicted(self, fitted) -> None:
        frame, res = fitted
        again = res.predict(frame, which="theta")["Intercept"].to_numpy()
        fitted_here = res.theta["Intercept"].to_numpy()
        assert np.corrcoef(again, fitted_here)[0, 1] > 0.97  # all blocks' nets instead of the one out of fold

"""Losses and derivatives of the nuisances."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepdml.design.data import build_data
from deepdml.families import resolve_family
from deepdml.learn.problem import LearnOptions, pose
from deepdml.learn.tasks import LevelTask, MeanTask, MixedTask, OutcomeTask, ScaleTask, Units

N = 60


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(kind: str, weighted: bool, posed):
    weight = (0.5 + torch.arange(N) % 3).double() if weighted else None
    if kind in ("gaussian", "logit", "poisson"):
        p = posed(kind, n=N).problem.outcome
        return OutcomeTask(p.family, p.y, p.t, p.constant, weight)
    if kind == "mean":
        return MeanTask("m", normal(N, 3, seed=1), weight)
    if kind == "mixed":
        target = normal(N, 3, seed=1)
        target[:, 1] = torch.where(target[:, 1] > 0, 1.4, -0.6)
        return MixedTask("m", target, weight, torch.tensor([False, True, False]))
    if kind == "levels":
        return LevelTask("l", torch.arange(N) % 4, 4, weight)
    return ScaleTask("s", normal(N, 2, seed=2).square(), weight)


KINDS = ["gaussian", "logit", "poisson", "mean", "mixed", "levels", "scale"]
ROWS = torch.arange(2 * 15).view(2, 15)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
class TestTasks:
    def test_gradients_are_derivatives_of_the_loss(self, posed, kind, weighted):
        task = make(kind, weighted, posed)
        out = (0.5 * normal(2, 15, task.n_out, seed=3)).requires_grad_()
        (expected,) = torch.autograd.grad(task.loss(out, ROWS).sum(), out)
        gradient, _ = task.derivatives(out.detach(), ROWS)
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)  # closed forms, rounding

    def test_hessians_are_symmetric_and_positive(self, posed, kind, weighted):
        task = make(kind, weighted, posed)
        _, curvature = task.derivatives(0.5 * normal(2, 15, task.n_out, seed=3), ROWS)
        assert curvature.shape == (2, 15, task.n_out, task.n_out)
        torch.testing.assert_close(curvature, curvature.transpose(-1, -2))
        assert torch.linalg.eigvalsh(curvature).min() > -1e-12  # of rank one for the outcome: rounding about zero

    def test_hessians_are_expected_second_derivatives(self, posed, kind, weighted):
        """They are free of the target in every task but the scale's, whose expected hessian is constant."""
        task = make(kind, weighted, posed)
        out = 0.5 * normal(2, 15, task.n_out, seed=3)
        _, curvature = task.derivatives(out, ROWS)
        h = 1e-5
        for j in range(task.n_out):
            step = torch.zeros(task.n_out, dtype=torch.float64)
            step[j] = h
            numeric = (task.derivatives(out + step, ROWS)[0] - task.derivatives(out - step, ROWS)[0]) / (2 * h)
            if kind == "scale":  # at squares equal to their variance
                numeric = numeric * (torch.exp(out) / task.squares[ROWS])[..., j, None]
            torch.testing.assert_close(curvature[..., j], numeric, rtol=1e-6, atol=1e-8)  # of differences

    def test_weights_multiply(self, posed, kind, weighted):
        task, plain = make(kind, weighted, posed), make(kind, False, posed)
        out = 0.5 * normal(2, 15, task.n_out, seed=3)
        times = 1.0 if task.weight is None else task.weight[ROWS]
        torch.testing.assert_close(task.loss(out, ROWS), plain.loss(out, ROWS) * times)

    def test_single_precision_is_close(self, posed, kind, weighted):
        task = make(kind, weighted, posed)
        out = 0.5 * normal(2, 15, task.n_out, seed=3)
        loss = task.loss(out.float(), ROWS)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss.double(), task.loss(out, ROWS), rtol=1e-4, atol=1e-5)

    def test_units_scale_the_loss_and_return_to_common_ones(self, posed, kind, weighted):
        """The loss in a net's units differs from the common loss by a factor, and for counts by a constant."""
        task = make(kind, weighted, posed)
        units = task.units([torch.arange(0, 40), torch.arange(20, 60)])
        one, two = (0.5 * normal(2, 15, task.n_out, seed=s) for s in (3, 4))
        own = task.loss(one, ROWS, units) - task.loss(two, ROWS, units)
        common = task.loss(task.to_common(one, units), ROWS) - task.loss(task.to_common(two, units), ROWS)
        factor = (units.multiplier / units.unit.square() if kind == "gaussian" else units.multiplier)[:, None]
        torch.testing.assert_close(own, common * factor.double(), rtol=1e-8, atol=1e-8)  # rounding

    def test_derivatives_at_zero_start_newtons_method(self, posed, kind, weighted):
        """The quadratic with these derivatives has its minimum near the best constant."""
        task = make(kind, weighted, posed)
        rows = torch.arange(N)[None]
        gradient, curvature = task.first_derivatives(rows)
        best = -torch.linalg.solve(curvature.sum((0, 1)), gradient.sum((0, 1)))
        nothing = task.loss(torch.zeros(1, N, task.n_out).double(), rows).sum()
        assert task.loss(best.expand(1, N, -1), rows).sum() <= nothing


def test_outcomes_that_do_not_vary_where_a_net_trains_are_refused(posed):
    p = posed("logit")
    task = p.problem.outcome
    zeros = torch.nonzero(task.y == 0)[:, 0]
    with pytest.raises(ValueError, match=r"the outcome 'y' is 0 in all .* rows that one of the nets trains on"):
        task.units([torch.arange(50), zeros])


def test_units_of_nets_come_from_their_own_rows(posed):
    task = posed().problem.outcome
    rows = torch.arange(30)
    units = task.units([rows])
    assert float(units.center) == pytest.approx(float(task.y[rows].mean()))
    assert float(units.unit) == pytest.approx(float(task.y[rows].std(correction=0)))


def test_probabilities_add_up_and_level_zero_is_the_reference():
    task = LevelTask("l", torch.tensor([0, 1, 2]), 3, None)
    out = torch.tensor([[0.0, 0.0], [1.0, -1.0]]).double()
    shares = task.probabilities(out).numpy()
    np.testing.assert_allclose(shares.sum(1), 1.0)
    np.testing.assert_allclose(np.log(shares[1] / shares[1, 0]), [0.0, 1.0, -1.0], atol=1e-12)


def test_selected_units():
    units = Units(torch.arange(3.0), torch.ones(3), torch.ones(3))
    assert units.select(torch.tensor([2, 0])).center.tolist() == [2.0, 0.0]


@pytest.mark.parametrize(("family", "least"), [("gaussian", 0.0), ("logit", 0.0)])
def test_the_loss_of_a_perfect_fit(posed, family, least):
    assert posed(family).problem.outcome.perfect_loss() == least


def test_the_loss_of_a_perfect_fit_to_counts(posed):
    task = posed("poisson").problem.outcome
    y = task.y[task.y > 0]
    assert task.perfect_loss() == pytest.approx(float((y - y * y.log()).sum() / len(task.y)))


def test_losses_of_counts_leave_out_what_no_index_moves(posed):
    """Without dispersion or inflation the loss is that of poisson, which has no log y!."""
    p = posed("poisson")
    out, rows = normal(len(p.frame), 2), torch.arange(len(p.frame))
    poisson = p.problem.outcome.loss(out, rows)
    data = build_data("y ~ t | x0 + x1 + x2", p.frame)
    for name in ("negbin", "zip"):
        task = pose(data, resolve_family(name).bind(data.t_names), LearnOptions()).outcome
        none = torch.cat([out, torch.full_like(out[:, :1], -25.0)], 1)
        torch.testing.assert_close(task.loss(none, rows), poisson, rtol=1e-6, atol=1e-6)  # exp(-25) is not zero
        assert task.perfect_loss() == pytest.approx(-float((task.y + 1).lgamma().mean()))


def test_means_of_columns_with_two_values_lie_between_them(posed):
    task, out = make("mixed", False, posed), normal(N, 3, seed=4)
    found = task.means(out)
    torch.testing.assert_close(found[:, [0, 2]], out[:, [0, 2]])
    torch.testing.assert_close(found[:, 1], -0.6 + 2.0 / (1.0 + torch.exp(-out[:, 1])))

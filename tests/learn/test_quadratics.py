"""Penalized quadratics against closed forms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepdml.errors import DataError
from deepdml.learn.quadratics import Penalized, Quadratic, curvature_sum, gradient_sum, separate_sums


def spd(size: int, seed: int) -> torch.Tensor:
    half = torch.randn(size, size + 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return half @ half.T


class TestQuadratic:
    @settings(deadline=None, max_examples=30)
    @given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 1000), st.sampled_from([1e-4, 1e-2, 1.0]))
    def test_the_minimum_is_the_ridge_solution(self, f, o, seed, penalty):
        hessian = spd(f * o, seed)
        gradient = torch.randn(f * o, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        scale = hessian.diagonal().mean()
        ridge = torch.full((o, f), penalty) * scale
        ridge[:, 0] = 1e-10 * scale  # constants are next to free
        expected = torch.linalg.solve(hessian + torch.diag(ridge.reshape(-1).double()), -gradient).view(o, f).T
        ours = Quadratic(hessian, gradient).minimize(penalty, o)
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-8)  # rounding, by the condition

    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 1000), st.sampled_from([1e-3, 1e-1]))
    def test_a_quadratic_around_a_point_has_the_same_minimum(self, seed, penalty):
        """b'Hb/2 + g'b around zero is d'Hd/2 + (g + Ha)'d around a, and the ridge shrinks a + d."""
        hessian = spd(6, seed)
        gradient, at = torch.randn(2, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        around_zero = Quadratic(hessian, gradient).minimize(penalty, 2)
        point = at.view(2, 3).T
        moved = Quadratic(hessian, gradient + hessian @ at).minimize(penalty, 2, point)
        torch.testing.assert_close(point + moved, around_zero, rtol=1e-6, atol=1e-7)  # rounding, by the condition

    def test_sums(self):
        one, two = (Quadratic(spd(4, s), torch.ones(4).double() * s) for s in (1, 2))
        total = one + two
        torch.testing.assert_close(total.hessian, one.hessian + two.hessian)
        torch.testing.assert_close(total.gradient, torch.full((4,), 3.0).double())

    @pytest.mark.parametrize("orthogonal", [False, True])
    def test_sums_over_rows(self, orthogonal):
        g = torch.Generator().manual_seed(3)
        features, gradient = torch.randn(9, 4, generator=g).double(), torch.randn(9, 2, generator=g).double()
        half = torch.randn(9, 2, 2, generator=g).double()
        curvature = half @ half.transpose(1, 2)
        if orthogonal:
            curvature = curvature * torch.eye(2)
        rows = [torch.kron(curvature[i], torch.outer(features[i], features[i])) for i in range(9)]
        torch.testing.assert_close(curvature_sum(features, curvature), torch.stack(rows).sum(0))
        each = [torch.kron(gradient[i], features[i]) for i in range(9)]
        torch.testing.assert_close(gradient_sum(features, gradient), torch.stack(each).sum(0))

    def test_blocks_of_outputs_that_do_not_curve_together(self):
        g = torch.Generator().manual_seed(4)
        features, weights = torch.randn(9, 4, generator=g).double(), torch.rand(9, 3, generator=g).double()
        weights[:, 2] = weights[:, 0]  # which share a product
        curvature = torch.diag_embed(weights)
        blocks = torch.block_diag(*separate_sums(features, curvature))
        torch.testing.assert_close(blocks, curvature_sum(features, curvature))


class TestPenalized:
    def test_blocks_give_what_their_matrix_does(self):
        blocks = torch.stack([spd(3, 1), spd(3, 2)])
        apart, whole = Penalized.factor(blocks, 1e-2, 2), Penalized.factor(torch.block_diag(*blocks), 1e-2, 2)
        gradient = torch.randn(6, generator=torch.Generator().manual_seed(5)).double()
        at, step = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(6)).double()
        torch.testing.assert_close(torch.block_diag(*apart.hessian()), whole.hessian())
        for ours, expected in (
            (apart.ridge, whole.ridge),
            (apart.diagonal(), whole.diagonal()),
            (apart.minimize(gradient, at), whole.minimize(gradient, at)),
        ):
            torch.testing.assert_close(ours, expected)
        assert apart.penalty(at) == pytest.approx(whole.penalty(at), rel=1e-12)  # rounding, here and below
        assert apart.length(step, gradient) == pytest.approx(whole.length(step, gradient), rel=1e-12)
        with pytest.raises(DataError, match="curvature of its loss is not positive"):
            Penalized.factor(torch.stack([spd(3, 1), -spd(3, 2)]), 1e-2, 2)

    def test_a_step_is_as_long_as_the_loss_curves_less_than_its_hessian(self):
        """On a quadratic that curves c times as much as the factored one, 1 / c of the move reaches the minimum."""
        hessian, step = spd(6, 1), torch.ones(3, 2).double()
        factored = Penalized.factor(hessian, 1e-12, 2)
        for times in (0.5, 1.0, 2.0):
            change = times * hessian @ step.T.reshape(-1)
            assert factored.length(step, change) == pytest.approx(1 / times, rel=1e-6)  # the next-to-zero ridge

    def test_a_loss_that_seems_flat_takes_the_plain_step(self):
        factored = Penalized.factor(spd(4, 2), 1e-3, 1)
        assert factored.length(torch.ones(4, 1).double(), torch.zeros(4).double()) == 1.0

    def test_a_hessian_without_a_minimum_is_refused(self):
        for hessian in (-spd(4, 3), torch.full((4, 4), torch.nan).double()):
            with pytest.raises(DataError, match="A nuisance fit diverged: the curvature of its loss is not positive"):
                Penalized.factor(hessian, 1e-3, 1)

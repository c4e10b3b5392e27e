"""What every registered family must satisfy; a new family is covered by entering the registry."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from deepdml.errors import DataError
from deepdml.families import Family, registered
from deepdml.families.indices import MultiIndex

ETA = np.linspace(-3.0, 3.0, 13)
OUTCOMES = np.array([-3.0, -0.4, 0.0, 0.25, 0.5, 0.9, 1.0, 2.0, 7.0])  # with the edges of the usual supports


@pytest.fixture(params=sorted(name for name, kind in registered().items() if not issubclass(kind, MultiIndex)))
def family(request) -> Family:
    return registered()[request.param]()


@pytest.fixture
def grid(family) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of an allowed outcome and an eta."""
    y, eta = np.meshgrid(OUTCOMES[family.in_support(OUTCOMES)], ETA)
    return y.ravel(), eta.ravel()


def slope(function, at, h=1e-5):
    """Central difference; its error is of order h squared, and rounding over h: some 1e-10 of the function's size."""
    return (function(at + h) - function(at - h)) / (2 * h)


class TestContract:
    def test_the_outcomes_of_this_test_include_the_support(self, family):
        assert family.in_support(OUTCOMES).sum() >= 2

    def test_score_is_the_derivative_of_the_loss_by_autodiff(self, family, grid):
        y, eta = (torch.from_numpy(v) for v in grid)
        eta.requires_grad_()
        (expected,) = torch.autograd.grad(family.loss(y, eta).sum(), eta)
        # both are closed forms in double precision; they differ by rounding
        torch.testing.assert_close(family.score(y, eta.detach()), expected, rtol=1e-12, atol=1e-12)

    def test_score_is_the_derivative_of_the_loss_by_differences(self, family, grid):
        y, eta = grid
        expected = slope(lambda e: family.loss(y, e), eta)
        np.testing.assert_allclose(family.score(y, eta), expected, rtol=1e-8, atol=1e-8)  # the difference's error

    def test_hessian_is_the_mean_second_derivative(self, family):
        """The second derivative is at most linear in y here, so its mean over y is its value at the mean."""
        expected = slope(lambda e: family.score(family.mean(ETA), e), ETA)
        np.testing.assert_allclose(family.hessian(ETA), expected, rtol=1e-8, atol=1e-8)  # the difference's error

    def test_hessian_is_positive(self, family):
        assert (family.hessian(ETA) > 0).all()

    def test_remainder_slope_is_twice_the_slope_of_the_hessian_less_the_mean_third_derivative(self, family):
        """The loss is at most linear in y here, so means over y are values at the mean."""
        eta = torch.from_numpy(ETA.copy()).requires_grad_()
        y = family.mean(eta).detach()
        third = family.loss(y, eta).sum()
        for _ in range(3):
            third = torch.autograd.grad(third.sum(), eta, create_graph=True)[0] if third.requires_grad else 0 * eta
        slope = torch.zeros_like(eta)
        if not family.constant_hessian:
            (slope,) = torch.autograd.grad(family.hessian(eta).sum(), eta)
        expected = (2 * slope - third).detach().numpy()
        # closed forms against derivatives of derivatives, whose rounding grows
        np.testing.assert_allclose(family.remainder_slope(ETA), expected, rtol=1e-8, atol=1e-10)

    def test_canonical_says_what_it_is(self, family):
        low, high = (np.full_like(ETA, y) for y in (0.0, 1.0))
        gap = slope(lambda e: family.score(high, e) - family.score(low, e), ETA)
        assert family.canonical == (np.abs(gap).max() < 1e-8)  # the difference's error

    def test_constant_hessian_says_what_it_is(self, family):
        assert family.constant_hessian == (np.ptp(family.hessian(ETA)) == 0)

    @pytest.mark.parametrize(("function", "derivative"), [("mean", "mean_slope"), ("mean_slope", "mean_curvature")])
    def test_derivatives_of_the_mean(self, family, function, derivative):
        expected = slope(getattr(family, function), ETA)
        np.testing.assert_allclose(getattr(family, derivative)(ETA), expected, rtol=1e-8, atol=1e-8)  # its error

    def test_link_inverts_the_mean(self, family):
        # rounding, grown by the slope of the link: at most 1 / (.05 * .95) here
        np.testing.assert_allclose(family.link_of_mean(family.mean(ETA)), ETA, rtol=1e-12, atol=1e-12)

    def test_mean_increases(self, family):
        assert (np.diff(family.mean(ETA)) > 0).all()

    def test_score_vanishes_and_the_loss_is_least_at_the_mean(self, family):
        y = family.mean(ETA)[:, None]
        np.testing.assert_allclose(family.score(y[:, 0], ETA), 0.0, atol=1e-12)  # rounding
        best = family.loss(y[:, 0], ETA)[:, None]
        others = family.loss(y, ETA[None])
        off = ~np.eye(len(ETA), dtype=bool)
        assert (others - best)[off].min() > 0

    def test_perfect_loss_is_the_least_loss(self, family, grid):
        y, eta = grid
        assert (family.loss(y, eta) >= family.perfect_loss(y) - 1e-12).all()  # rounding
        inside = family.mean(ETA)
        at_best = family.loss(inside, family.link_of_mean(inside))
        np.testing.assert_allclose(family.perfect_loss(inside), at_best, rtol=1e-12, atol=1e-12)  # rounding

    def test_perfect_loss_is_finite_at_the_edges(self, family):
        y = OUTCOMES[family.in_support(OUTCOMES)]
        assert np.isfinite(family.perfect_loss(y)).all()

    @pytest.mark.parametrize(
        "method",
        [
            *("loss", "score", "hessian", "remainder_slope"),
            *("mean", "mean_slope", "mean_curvature", "link_of_mean", "start_rows"),
        ],
    )
    def test_numpy_and_torch_agree(self, family, grid, method):
        y, eta = grid
        inputs = {"loss": (y, eta), "score": (y, eta), "start_rows": (y,), "link_of_mean": (family.mean(eta),)}
        args = inputs.get(method, (eta,))
        ours = getattr(family, method)(*args)
        theirs = getattr(family, method)(*(torch.from_numpy(a) for a in args))
        assert isinstance(ours, np.ndarray)
        assert isinstance(theirs, torch.Tensor)
        assert ours.dtype == np.float64
        assert theirs.dtype == torch.float64
        # exp and log of the two libraries differ in the last bits
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-12, atol=1e-12)

    def test_single_precision_stays_single(self, family):
        eta = torch.from_numpy(ETA).float()
        y = family.mean(eta)
        for value in (family.loss(y, eta), family.score(y, eta), family.hessian(eta), family.mean(eta)):
            assert value.dtype == torch.float32

    def test_any_shape_works(self, family):
        eta = ETA[:12].reshape(2, 3, 2)
        y = family.mean(eta)
        means = (family.mean(eta), family.mean_slope(eta), family.mean_curvature(eta))
        for value in (
            family.loss(y, eta),
            family.score(y, eta),
            family.hessian(eta),
            family.remainder_slope(eta),
            *means,
        ):
            assert value.shape == eta.shape
        np.testing.assert_array_equal(family.score(y, eta).ravel(), family.score(y.ravel(), eta.ravel()))

    def test_nothing_overflows_where_eta_is_large(self, family):
        eta = np.array([-30.0, 30.0])
        y = np.full(2, family.mean(np.zeros(1))[0])
        for value in (family.loss(y, eta), family.score(y, eta), family.hessian(eta), family.remainder_slope(eta)):
            assert np.isfinite(value).all()

    def test_starting_values_are_finite_up_to_the_edges(self, family):
        y = OUTCOMES[family.in_support(OUTCOMES)]
        start = family.start_rows(y)
        assert start.shape == y.shape
        assert np.isfinite(start).all()
        assert np.isfinite(family.loss(y, start)).all()
        assert (family.hessian(start) > 0).all()

    @pytest.mark.parametrize("edge", [0.0, 1.0])
    def test_starting_values_are_finite_where_all_outcomes_are_the_edge(self, family, edge):
        """A block of rare counts or events can hold nothing but zeros."""
        y = np.full(5, edge)
        assert np.isfinite(family.start_rows(y)).all()

    def test_starting_values_follow_the_outcome(self, family):
        y = np.sort(OUTCOMES[family.in_support(OUTCOMES)])
        assert (np.diff(family.start_rows(y)) > 0).all()

    def test_missing_and_infinite_outcomes_are_outside_the_support(self, family):
        assert not family.in_support(np.array([np.nan, np.inf, -np.inf])).any()

    def test_means_are_inside_the_support(self, family):
        assert family.in_support(family.mean(ETA)).all()

    def test_check_support_names_outcome_rows_values_and_support(self, family):
        y = np.array([*family.mean(ETA), np.inf, *family.mean(ETA), np.inf])
        labels = np.array([f"row {i}" for i in range(len(y))])
        with pytest.raises(DataError) as caught:
            family.check_support(y, "wage", labels)
        message = str(caught.value)
        first = len(ETA)
        for part in (
            f"{family.name!r}",
            family.support,
            "'wage'",
            "2 other",
            "inf",
            f"row {first}",
            f"row {2 * first + 1}",
        ):
            assert part in message

    def test_check_support_accepts_the_support(self, family):
        y = OUTCOMES[family.in_support(OUTCOMES)]
        family.check_support(y, "y", np.arange(len(y)))

    def test_it_declares_its_names(self, family):
        assert family.name == family.name.lower()
        assert family.support
        assert family.link
        assert repr(family) == f"{type(family).__name__}()"
        assert type(pickle.loads(pickle.dumps(family))) is type(family)

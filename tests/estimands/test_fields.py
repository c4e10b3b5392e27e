"""The pieces below the estimands: nodes of tabulated laws, and coefficients beyond the structural columns."""

from __future__ import annotations

import numpy as np

from deepdml.estimands import Sample
from deepdml.estimands.fields import structural_row
from deepdml.estimands.response import marginal, mean
from deepdml.families import registered


def test_tabulated_nodes_are_those_of_the_law(known) -> None:
    fit = known("poisson", "continuous", n=3_000, formula="t + I(t**2)").results._fit
    piece = fit.rows.repetitions[0]
    sample = Sample(fit.rows.t, fit.t_names, piece.theta, piece.law, fit.family)
    # interpolating the dose on itself rounds
    np.testing.assert_allclose(
        structural_row(sample).at(slice(5, 90)), piece.law.nodes(slice(5, 90))[0], rtol=1e-12, atol=1e-12
    )


def test_auxiliary_coefficients_have_no_part_in_the_mean() -> None:
    """theta may carry a log-scale after the structural columns; the gradient is zero there."""
    rng = np.random.default_rng(0)
    t, slope, theta = rng.normal(size=(20, 2)), rng.normal(size=(20, 2)), rng.normal(size=(20, 3))
    for name in registered():
        family = registered()[name]()
        for long, short in (
            (mean(family, t, theta), mean(family, t, theta[:, :2])),
            (marginal(family, t, slope, theta), marginal(family, t, slope, theta[:, :2])),
        ):
            np.testing.assert_array_equal(long[0], short[0])
            np.testing.assert_array_equal(long[1], np.column_stack([short[1], np.zeros(20)]))

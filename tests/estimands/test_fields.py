"""The pieces below the estimands: nodes of tabulated laws."""

from __future__ import annotations

import numpy as np

from deepdml.estimands import Sample
from deepdml.estimands.fields import structural_row


def test_tabulated_nodes_are_those_of_the_law(known) -> None:
    fit = known("poisson", "continuous", n=3_000, formula="t + I(t**2)").results._fit
    piece = fit.rows.repetitions[0]
    sample = Sample(fit.rows.t, fit.t_names, piece.theta, piece.law, fit.family)
    # interpolating the dose on itself rounds
    np.testing.assert_allclose(
        structural_row(sample).at(slice(5, 90)), piece.law.nodes(slice(5, 90))[0], rtol=1e-12, atol=1e-12
    )

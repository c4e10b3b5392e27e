"""Fieller's set against the inequality that defines it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from deepdml.inference.ratio import fieller


def distance(r: float, numerator: float, denominator: float, matrix: np.ndarray) -> float:
    """The z statistic of numerator - r denominator."""
    variance = matrix[0, 0] - 2 * r * matrix[0, 1] + r**2 * matrix[1, 1]
    return abs(numerator - r * denominator) / float(np.sqrt(variance))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_the_set_holds_what_the_test_does_not_reject(seed, alpha):
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((2, 3)) * 0.3
    matrix, (numerator, denominator) = half @ half.T, rng.standard_normal(2)
    text = fieller(numerator, denominator, matrix, alpha)
    critical = float(stats.norm.ppf(1 - alpha / 2))
    grid = np.linspace(-50, 50, 20_001)
    kept = np.array([distance(r, numerator, denominator, matrix) <= critical for r in grid])
    ends = [float(v) for v in re.findall(r"-?\d+\.?\d*(?:e[+-]?\d+)?", text)]
    if text == "every number":
        assert kept.all()
        return
    low, high = ends
    inside = (grid >= low) & (grid <= high)
    expected = inside if text.startswith("[") else ~inside
    near = (np.abs(grid - low) < 0.01 * (abs(low) + 1)) | (np.abs(grid - high) < 0.01 * (abs(high) + 1))
    assert (kept == expected)[~near].all()  # the text has three digits, the grid steps of .005


def test_all_three_shapes_occur():
    shapes = {fieller(2.0, d, np.diag([0.04, 0.04]))[0] for d in (4.0, 0.1)} | {
        fieller(0.1, 0.1, np.diag([0.04, 0.04]))[0]
    }
    assert shapes == {"[", "b", "e"}

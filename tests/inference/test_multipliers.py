"""The multiplier bootstrap against loops, theory, and its coverage with few clusters."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from deepdml.errors import OptionError
from deepdml.inference import multipliers as module
from deepdml.inference import multiply, step_down

LAWS = ("rademacher", "mammen", "webb", "normal")


def clusters(g: int = 40, q: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sums of contributions that add up to zero, and unequal shares."""
    rng = np.random.default_rng(seed)
    shares = rng.uniform(1, 3, g)
    shares /= shares.sum()
    means = rng.normal(size=(g, q))
    return shares[:, None] * (means - shares @ means), shares


@pytest.mark.parametrize("weights", LAWS)
def test_multipliers_have_mean_zero_and_variance_one(weights: str) -> None:
    v = module._DRAW[weights](np.random.default_rng(0), 1000, 500)
    v = 2 * v - 1 if weights == "rademacher" else v
    # half a million draws: standard errors of the moments are below .004; mammen's third moment is one
    assert abs(v.mean()) < 0.01
    assert np.square(v).mean() == pytest.approx(1.0, abs=0.015)
    assert (v**3).mean() == pytest.approx(1.0 if weights == "mammen" else 0.0, abs=0.04)
    assert np.unique(v).size == {"rademacher": 2, "mammen": 2, "webb": 6}.get(weights, np.unique(v).size)


@pytest.mark.parametrize("chunk", [100, 2**18])
@pytest.mark.parametrize("weights", LAWS)
def test_statistics_are_those_of_each_drawn_sample(weights: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wild bootstrap done by hand: contributions around the null, multiplied, their mean and its standard error."""
    monkeypatch.setattr(module, "CHUNK", chunk)
    sums, shares = clusters()
    gap, draws = np.array([0.3, -0.1]), 50
    moments = multiply(sums, shares, draws, weights, seed=7)  # type: ignore[arg-type]
    generator, step = np.random.default_rng(7), max(1, chunk // draws)
    parts = [module._DRAW[weights](generator, min(step, 40 - start), draws) for start in range(0, 40, step)]
    v = np.concatenate(parts)
    v = 2 * v - 1 if weights == "rademacher" else v
    around = sums + shares[:, None] * gap
    for b in range(draws):
        drawn = v[:, b, None] * around
        mean = drawn.sum(axis=0)
        error = np.sqrt(np.square(drawn - shares[:, None] * mean).sum(axis=0))
        np.testing.assert_allclose(moments.statistics(gap)[b], mean / error, rtol=1e-9)
        np.testing.assert_allclose(moments.vs[b], v[:, b] @ sums, atol=1e-12)


def test_the_same_seed_gives_the_same_draws() -> None:
    one, two, other = (multiply(*clusters(), 99, "webb", seed) for seed in (1, 1, 2))
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))
    assert not np.array_equal(one.vs, other.vs)


def test_draws_have_the_covariance_of_the_estimate() -> None:
    sums, shares = clusters(200, 3)
    drawn = multiply(sums, shares, 20_000, "rademacher", 0).vs
    expected = sums.T @ sums
    # twenty thousand draws: the relative standard error of a variance is .01
    np.testing.assert_allclose(np.cov(drawn.T, ddof=0), expected, atol=0.05 * np.diag(expected).max())


def test_unknown_weights() -> None:
    with pytest.raises(OptionError, match="Did you mean 'mammen'"):
        multiply(*clusters(), 9, "mamen", 0)  # type: ignore[arg-type]


def test_step_down_by_hand() -> None:
    drawn = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0], [2.0, 0.5, 0.0]])
    observed = np.array([2.5, -1.5, 0.5])
    # largest of all: 2, 3, 2; without the first estimate: 2, 3, 0.5; the third alone: 2, 1, 0
    np.testing.assert_allclose(step_down(observed, drawn), [2 / 4, 3 / 4, 3 / 4])
    np.testing.assert_allclose(step_down(observed[::-1], drawn[:, ::-1]), [3 / 4, 3 / 4, 2 / 4])


def test_step_down_is_between_single_and_bonferroni() -> None:
    rng = np.random.default_rng(3)
    drawn = rng.standard_normal((9_999, 6))
    observed = np.array([3.5, 2.9, 2.6, 2.0, 1.0, 0.1])
    alone = (1 + (np.abs(drawn) >= observed).sum(0)) / 10_000
    found = step_down(observed, drawn)
    assert (found >= alone).all()
    # independent statistics: Holm's is close, and never much smaller
    holm = np.maximum.accumulate(np.minimum(alone * np.arange(6, 0, -1), 1.0))
    assert (found <= holm + 0.01).all()
    assert found[0] < 6 * alone[0] + 0.002


def test_few_unbalanced_clusters_keep_the_level() -> None:
    """Eight clusters of 20 to 180 rows with common shocks: normal tests reject too often, the bootstrap does not."""
    rng = np.random.default_rng(0)
    sizes = np.array([20, 20, 30, 40, 50, 60, 100, 180])
    shares, samples = sizes / sizes.sum(), 600
    rejected = {"normal": 0, "rademacher": 0, "webb": 0}
    for sample in range(samples):
        totals = 0.6 * sizes * rng.standard_normal(8) + np.sqrt(sizes) * rng.standard_normal(8)
        mean = totals.sum() / sizes.sum()
        sums = (totals / sizes.sum() - shares * mean)[:, None]
        error = np.sqrt(np.square(sums).sum())
        rejected["normal"] += abs(mean) > 1.96 * error * np.sqrt(8 / 7)
        for weights in ("rademacher", "webb"):
            drawn = multiply(sums, shares, 399, weights, sample).statistics(np.array([mean]))  # type: ignore[arg-type]
            p = (1 + (np.abs(drawn) >= abs(mean) / error * (1 - 1e-9)).sum()) / 400
            rejected[weights] += p <= 0.05
    shares_rejected = {name: count / samples for name, count in rejected.items()}
    # 600 samples: the standard error of a rate of .05 is .009, of .15 it is .015; 3,000 samples gave .15, .046, .053
    assert shares_rejected["normal"] > 0.10
    assert 0.02 < shares_rejected["rademacher"] < 0.08
    assert 0.02 < shares_rejected["webb"] < 0.08

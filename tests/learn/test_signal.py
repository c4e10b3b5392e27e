"""The kernel statistic of held-out residuals against sums over pairs, and its law with and without signal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepdml.learn import signal
from deepdml.learn.signal import _pair_sums, signal_left
from deepdml.results.diagnostics import SIGNAL_LEFT


def draw(n: int, seed: int, wave: float = 0.0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    common = wave * np.sin(2 * x[:, 0])
    columns = [common + rng.standard_normal(n) for _ in range(2)]
    block = rng.permutation(n) % 5
    return torch.from_numpy(x).float(), *(torch.from_numpy(c) for c in columns), block


def statistics(n: int, seed: int, wave: float = 0.0) -> dict[str, float]:
    x, y, t, block = draw(n, seed, wave)
    return signal_left(x, y, t[:, None], block, np.random.SeedSequence(seed))


def test_sums_over_pairs():
    x, y, t, _ = draw(40, 1)
    residuals = torch.stack([y, t], 1)
    sums, variances = _pair_sums(x, residuals)
    z = ((x - x.mean(0)) / x.std(0, correction=0)).double().numpy()
    distance = ((z[:, None] - z[None]) ** 2).sum(2)
    upper = np.sort(distance[np.triu_indices(40, 1)])
    middle = upper[(len(upper) - 1) // 2]  # torch takes the lower of two medians
    for b in range(3):
        kernel = np.exp(-(4**b) * distance / (2 * middle))
        np.fill_diagonal(kernel, 0.0)
        for r in range(2):
            for s in range(2):
                u, v = residuals[:, r].numpy(), residuals[:, s].numpy()
                own = sum(kernel[i, j] * u[i] * v[j] for i in range(40) for j in range(40))
                spread = sum(
                    kernel[i, j] ** 2 * (u[i] ** 2 * v[j] ** 2 + u[i] * v[i] * u[j] * v[j])
                    for i in range(40)
                    for j in range(40)
                )
                assert float(sums[b, r, s]) == pytest.approx(own, rel=1e-3, abs=1e-3)  # distances in float32
                assert float(variances[b, r, s]) == pytest.approx(spread, rel=1e-3)


def test_without_signal_it_is_about_standard_normal():
    """The largest of three correlated ones, whose mean is under 1, and the larger of two signs for both."""
    drawn = [statistics(500, seed) for seed in range(60)]
    for name in ("outcome", "treatment", "both"):
        values = np.array([d[name] for d in drawn])
        assert -0.3 < values.mean() < 1.3
        assert np.mean(values > SIGNAL_LEFT) < 0.1


def test_signal_makes_it_large_and_more_rows_larger():
    small, large = (statistics(n, 1, wave=0.5) for n in (500, 4000))
    for name in ("outcome", "treatment", "both"):
        assert large[name] > 6
        assert large[name] > small[name]


def test_only_common_signal_makes_both_large():
    x, y, _, block = draw(3000, 2, wave=0.5)
    other = torch.from_numpy(np.random.default_rng(9).standard_normal(3000))
    found = signal_left(x, y, other[:, None], block, np.random.SeedSequence(1))
    assert found["outcome"] > 6
    assert abs(found["treatment"]) < 3.5
    assert found["both"] < 3.5


def test_clusters_of_one_row_are_rows():
    x, y, t, _ = draw(60, 1)
    residuals = torch.stack([y, t], 1)
    for mine, plain in zip(_pair_sums(x, residuals, torch.arange(60).flip(0)), _pair_sums(x, residuals), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-5, atol=1e-5)  # cdist in float32 is not symmetric to the bit


def test_sums_over_pairs_of_clusters():
    x, y, t, _ = draw(40, 1)
    residuals, groups = torch.stack([y, t], 1), torch.arange(40) % 7
    sums, variances = _pair_sums(x, residuals, groups)
    apart = groups[:, None] != groups[None]
    kernel = _kernel(x) * apart
    for r in range(2):
        for s in range(2):
            each = residuals[:, r, None] * kernel * residuals[None, :, s]
            by = torch.stack(
                [torch.stack([each[groups == g][:, groups == h].sum() for h in range(7)]) for g in range(7)]
            )
            assert float(sums[0, r, s]) == pytest.approx(float(each.sum()), rel=1e-3, abs=1e-3)  # distances in float32
            assert float(variances[0, r, s]) == pytest.approx(float((by**2 + by * by.T).sum()), rel=1e-3)


def _kernel(x):
    z = ((x - x.mean(0)) / x.std(0, correction=0)).double()
    distance = torch.cdist(z, z) ** 2
    return torch.exp(-distance / (2 * distance[torch.triu(torch.ones(len(x), len(x)), 1) > 0].median()))


def test_what_the_rows_of_a_cluster_have_in_common_is_no_signal():
    """Errors of outcome and treatment with intraclass correlation .5; without clusters it is taken for signal."""
    known, unknown = [], []
    for seed in range(40):
        x, y, t, _ = draw(1000, seed)
        cluster = np.arange(1000) % 50
        rng = np.random.default_rng(seed + 1000)
        y, t = (part + torch.from_numpy(rng.standard_normal(50)[cluster]) for part in (y, t))
        block, seeds = cluster % 5, np.random.SeedSequence(seed)
        known.append(signal_left(x, y, t[:, None], block, seeds, cluster))
        unknown.append(signal_left(x, y, t[:, None], block, seeds))
    for name in ("outcome", "treatment", "both"):
        values = np.array([d[name] for d in known])
        assert -0.3 < values.mean() < 1.3  # the bands of independent rows
        assert np.mean(values > SIGNAL_LEFT) < 0.1
    assert np.mean([d["outcome"] for d in unknown]) > SIGNAL_LEFT


def test_a_known_design_has_no_treatment_to_miss():
    x, y, _, block = draw(500, 3)
    assert list(signal_left(x, y, None, block, np.random.SeedSequence(1))) == ["outcome"]


def test_a_block_gives_at_most_so_many_rows(monkeypatch):
    seen = []
    real = _pair_sums
    monkeypatch.setattr(signal, "ROWS", 50)
    monkeypatch.setattr(signal, "_pair_sums", lambda x, *rest: seen.append(len(x)) or real(x, *rest))
    statistics(500, 1)
    assert seen == [50] * 5

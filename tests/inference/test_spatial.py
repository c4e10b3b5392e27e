"""Conley's covariance against a double loop over rows, and its limits."""

from __future__ import annotations

import numpy as np
import pytest

from deepdml.errors import DataError, OptionError
from deepdml.inference import Space, covariance, spatial
from deepdml.inference.spatial import EARTH_RADIUS


def places(n: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values with a spatial trend, weights, and latitude and longitude across the date line, some of them twice."""
    rng = np.random.default_rng(seed)
    coordinates = np.column_stack([rng.uniform(50, 88, n), rng.uniform(170, 190, n)])
    coordinates[::10] = coordinates[5::10]
    coordinates[:, 1] -= 360 * (coordinates[:, 1] > 180)
    psi = np.column_stack([np.cos(coordinates[:, 0] / 8), coordinates[:, 0] / 20]) + 0.5 * rng.normal(size=(n, 2))
    return psi, rng.uniform(0.5, 2.0, n), coordinates


def great_circle(a: np.ndarray, b: np.ndarray) -> float:
    """The haversine formula, in kilometres."""
    (lat, lon), (lat2, lon2) = np.radians(a), np.radians(b)
    half = np.sin((lat2 - lat) / 2) ** 2 + np.cos(lat) * np.cos(lat2) * np.sin((lon2 - lon) / 2) ** 2
    return float(2 * EARTH_RADIUS * np.arcsin(np.sqrt(half)))


def double_loop(psi: np.ndarray, weights: np.ndarray, space: Space) -> np.ndarray:
    shares = weights / weights.sum()
    values = (psi - shares @ psi) * shares[:, None]
    total = np.zeros((2, 2))
    for i, here in enumerate(space.coordinates):
        for j, there in enumerate(space.coordinates):
            gap = great_circle(here, there) if space.metric == "haversine" else float(np.hypot(*(here - there)))
            if gap <= space.cutoff:
                weight = 1.0 if space.kernel == "uniform" else 1.0 - gap / space.cutoff
                total += weight * np.outer(values[i], values[j])
    return total


@pytest.mark.parametrize("pairs", [10, 2_000_000])
@pytest.mark.parametrize("kernel", ["uniform", "bartlett"])
@pytest.mark.parametrize(("metric", "cutoff"), [("haversine", 500.0), ("euclidean", 3.0)])
def test_agrees_with_a_double_loop(
    metric: str, cutoff: float, kernel: str, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spatial, "PAIRS", pairs)  # ten: a chunk per place
    psi, weights, coordinates = places()
    space = Space(coordinates, cutoff, kernel, metric)  # type: ignore[arg-type]
    expected = double_loop(psi, weights, space)
    assert np.linalg.eigvalsh(expected)[0] > 0  # else the fix of eigenvalues would be compared
    found = covariance(psi, weights, "conley", space=space).matrix
    # 1e-9: chords near zero lose half of their digits, and the Bartlett kernel is linear in them
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    assert found[0, 0] > 1.5 * covariance(psi, weights, "HC0").matrix[0, 0]


def test_limits() -> None:
    psi, weights, coordinates = places()
    alone = np.column_stack([np.arange(150.0), np.zeros(150)])
    for kernel in ("uniform", "bartlett"):
        none = covariance(psi, weights, "conley", space=Space(alone, 0.0, kernel, "euclidean"))
        np.testing.assert_allclose(none.matrix, covariance(psi, weights, "HC0").matrix, rtol=1e-12)
        # rows at one place stay together
        codes = np.unique(coordinates, axis=0, return_inverse=True)[1].ravel()
        here = covariance(psi, weights, "conley", space=Space(coordinates, 0.0, kernel))
        same = covariance(psi, weights, "cluster", codes, use_correction=False)
        np.testing.assert_allclose(here.matrix, same.matrix, rtol=1e-9)
    # beyond the earth everything is near everything, and contributions sum to zero
    whole = covariance(psi, weights, "conley", space=Space(coordinates, 30_000.0))
    assert np.abs(whole.matrix).max() < 1e-12


def test_correction() -> None:
    psi, weights, coordinates = places()
    space = Space(coordinates, 500.0)
    plain = covariance(psi, weights, "conley", df=3, space=space)
    corrected = covariance(psi, weights, "conley", df=3, space=space, use_correction=True)
    np.testing.assert_allclose(corrected.matrix, plain.matrix * 150 / 147, rtol=1e-12)
    assert "up to 500 km apart" in plain.description


def test_negative_variances_are_noted() -> None:
    psi = np.array([1.0, -2.0, 1.0])[:, None]
    line = np.column_stack([np.arange(3.0), np.zeros(3)])
    found = covariance(psi, None, "conley", space=Space(line, 1.0, "uniform", "euclidean"))
    assert found.matrix[0, 0] == 0.0  # (6 - 8) / 9
    assert "negative eigenvalues" in found.notes[0]


def test_refusals() -> None:
    psi, weights, _ = places()
    with pytest.raises(OptionError, match="needs coordinates"):
        covariance(psi, weights, "conley")
    with pytest.raises(DataError, match=r"\(150, 3\); \(n, 2\)"):
        Space(np.zeros((150, 3)), 1.0)

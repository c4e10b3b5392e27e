"""Time and coordinates in the forms users have them."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepdml.design.labels import KeptRows
from deepdml.errors import DataError, OptionError
from deepdml.inference.positions import encode_coordinates, encode_time

ROWS = np.array([0, 2, 3, 5])
LABELS = np.array(["r0", "r2", "r3", "r5"], dtype=object)
WHERE = KeptRows(ROWS, 6, LABELS)
YEARS = [1990, 1990, 2000, 2020, 1990, 2020]
DATES = pd.to_datetime([f"{year}-01-01" for year in YEARS])


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (YEARS, [0, 1, 3, 3]),
        (np.array(YEARS, dtype=float), [0, 1, 3, 3]),
        (pd.Series(YEARS, name="year"), [0, 1, 3, 3]),
        (pd.DataFrame({"year": YEARS}), [0, 1, 3, 3]),
        ([1990, 2000, 2020, 2020], [0, 1, 3, 3]),
        (pd.Series(YEARS, index=[f"r{j}" for j in range(6)]).iloc[::-1], [0, 1, 3, 3]),
        (pd.PeriodIndex(DATES, freq="Q"), [0, 1, 3, 3]),
        (pd.Series(DATES), [0, 1, 2, 2]),
        (np.array(DATES), [0, 1, 2, 2]),
        ([datetime.date(year, 1, 1) for year in YEARS], [0, 1, 2, 2]),
        ([0.1, 0.0, 0.2, 0.5, 0.0, 0.5], [0, 1, 2, 2]),
        ([7] * 6, [0, 0, 0, 0]),
    ],
    ids=str,
)
def test_periods(time: Any, expected: list[int]) -> None:
    np.testing.assert_array_equal(encode_time(time, WHERE)[0], expected)


def test_what_has_no_index_goes_by_position() -> None:
    """The rows of a shuffled frame have numbers for labels, which are no positions."""
    shuffled = KeptRows(np.arange(4), 4, np.array([3, 0, 2, 1]))
    np.testing.assert_array_equal(encode_time([5, 6, 7, 8], shuffled)[0], [0, 1, 2, 3])
    places = np.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(encode_coordinates(places, "euclidean", shuffled), places)


def test_names() -> None:
    assert encode_time(pd.Series(YEARS, name="year"), WHERE)[1] == "year"
    assert encode_time(YEARS, WHERE)[1] == "time"


PAIRS = np.column_stack([np.arange(6.0), np.arange(10.0, 16.0)])


@pytest.mark.parametrize(
    "coordinates",
    [
        PAIRS,
        PAIRS.tolist(),
        PAIRS[ROWS],
        pd.DataFrame(PAIRS, columns=["lat", "lon"]),
        {"lat": PAIRS[:, 0], "lon": PAIRS[:, 1]},
        [PAIRS[:, 0], pd.Series(PAIRS[:, 1])],
        pd.DataFrame(PAIRS, index=[f"r{j}" for j in range(6)]).iloc[::-1],
    ],
    ids=lambda value: type(value).__name__,
)
def test_coordinates(coordinates: Any) -> None:
    np.testing.assert_array_equal(encode_coordinates(coordinates, "haversine", WHERE), PAIRS[ROWS])


def test_other_libraries() -> None:
    polars = pytest.importorskip("polars")
    np.testing.assert_array_equal(encode_time(polars.Series("year", YEARS), WHERE)[0], [0, 1, 3, 3])
    frame = polars.DataFrame({"lat": PAIRS[:, 0], "lon": PAIRS[:, 1]})
    np.testing.assert_array_equal(encode_coordinates(frame, "haversine", WHERE), PAIRS[ROWS])


@pytest.mark.parametrize(
    ("time", "error", "message"),
    [
        ("year", OptionError, r"time=data\['year'\]"),
        (YEARS[:5], DataError, r"shape \(5,\); .* 6 rows of the data, or for each of the 4 rows kept"),
        ([1990, None, 2000, None, 1, 1], DataError, "'time' are missing in 1 kept row.*r3"),
        (pd.Series(DATES).where([True] * 5 + [False]), DataError, "missing in 1 kept row.*r5"),
        (["a", "b", "c", "d", "e", "f"], DataError, "numbers or dates"),
        ([1.0, 1, np.inf, 1, 1, 1], DataError, "infinite"),
        (np.ones((6, 2)), DataError, "one column is needed"),
    ],
    ids=str,
)
def test_refusals_of_time(time: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        encode_time(time, WHERE)


@pytest.mark.parametrize(
    ("coordinates", "error", "message"),
    [
        (["lat", "lon"], OptionError, r"coordinates=data\[\['lat', 'lon'\]\]"),
        (["lat"], OptionError, r"coordinates=data\[\['lat'\]\]"),
        (np.ones(6), DataError, "2 columns are needed"),
        (np.ones((6, 3)), DataError, "2 columns are needed"),
        (np.ones((5, 2)), DataError, "6 rows of the data"),
        (np.where(np.arange(12).reshape(6, 2) == 4, np.nan, 1.0), DataError, "missing in 1 kept row.*r2"),
        (PAIRS * 30, DataError, "not degrees of latitude and longitude.*r5.*metric='euclidean'"),
    ],
    ids=["names", "a name", "one", "three", "short", "missing", "planar"],
)
def test_refusals_of_coordinates(coordinates: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        encode_coordinates(coordinates, "haversine", WHERE)

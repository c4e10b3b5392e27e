"""The measures of `make bench` that look into the package, on the package as it is."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent / "benchmarks"))
measures = importlib.import_module("measures")


def test_the_bare_products_are_those_of_the_nets() -> None:
    """Of two tasks, two activations and ten pairs: forward, of the weights, and where needed of the inputs."""
    found = measures.loop_speed(batch=32, rounds=1)
    products = [64 * 128 * 4 + 128 * 64 * 6 + 64 * outputs * 6 + 64 * outputs * 4 for outputs in (2, 1)]
    assert found["flops"] == pytest.approx(2 * 10 * 32 * sum(products))
    assert found["loop"] > 0
    assert found["bare"] > 0

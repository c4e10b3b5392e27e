"""The measures of `make bench` that look into the package, on the package as it is."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent / "benchmarks"))
measures = importlib.import_module("measures")


@pytest.mark.parametrize("family", ["logit", "gamma", "mnlogit"])
def test_estimands_are_timed_with_and_without_a_spline(family) -> None:
    found = measures.estimand_time(family, n=400, seed=1, learner="net", epochs=2)
    assert found["family"] == family
    assert len(found["seconds"]) == {"logit": 8, "gamma": 12, "mnlogit": 2}[family]
    assert min(found["seconds"].values()) > 0


def test_the_bare_products_are_those_of_the_nets() -> None:
    """Of two tasks, two activations and ten pairs: forward, of the weights, and where needed of the inputs."""
    found = measures.loop_speed(batch=32, rounds=1)
    products = [64 * 128 * 4 + 128 * 64 * 6 + 64 * outputs * 6 + 64 * outputs * 4 for outputs in (2, 1)]
    assert found["flops"] == pytest.approx(2 * 10 * 32 * sum(products))
    assert found["loop"] > 0
    assert found["bare"] > 0

"""A folder for caches, no network, and encoders that count what they are asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the cache of a test to itself."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache"


@dataclass
class Letters:
    """Counts of letters, as an encoder; remembers what it was asked to encode."""

    asked: list[str] = field(default_factory=list)
    fail_after: int = 10**9

    def __call__(self, texts: list[str]) -> np.ndarray:
        if len(self.asked) + len(texts) > self.fail_after:
            raise KeyboardInterrupt
        self.asked += texts
        return np.array([[t.count("a"), t.count("e"), len(t)] for t in texts], float)


@pytest.fixture
def letters() -> Letters:
    return Letters()

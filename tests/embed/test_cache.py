"""The cache: each text once, nothing twice, another revision refused, no half-written shard."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import deepdml as dd
from deepdml.embed import encoding
from deepdml.embed.cache import default_folder, digest
from deepdml.errors import DataError, OptionError

NOTES = pd.Series([f"note {'a' * (i % 5)} {i % 40}" for i in range(100)])


def run(letters, notes=NOTES, **options):
    return dd.embed.text(notes, model=letters, name="letters", **{"revision": "1", **options})


def test_the_second_run_encodes_nothing(letters, own_cache):
    first = run(letters)
    assert sorted(letters.asked) == sorted(set(NOTES))
    letters.asked.clear()
    assert run(letters, batch_size=3).equals(first)
    assert run(letters, batch_size=np.int64(3)).equals(first)
    assert not letters.asked
    assert default_folder() == own_cache / "deepdml" / "embed"
    assert len(list(default_folder().rglob("*.safetensors"))) == 1


def test_new_texts_are_added(letters):
    run(letters, NOTES[:10])
    letters.asked.clear()
    again = run(letters, pd.Series([NOTES[3], "a new one", NOTES[0]], index=[2, 9, 4]))
    assert letters.asked == ["a new one"]
    assert again.loc[9].tolist() == [1, 2, 9]
    np.testing.assert_array_equal(again.loc[2], run(letters, NOTES[3:4]).iloc[0])


def test_folder_none_and_false(letters, tmp_path):
    run(letters, cache=tmp_path / "mine")
    assert list((tmp_path / "mine").rglob("*.safetensors"))
    run(letters, cache=False)
    assert not default_folder().exists()
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="is a file"):
        run(letters, cache=tmp_path / "file")


def test_a_folder_that_cannot_be_is_refused_before_anything_is_encoded(letters, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match=r"cannot be used .*pass another folder, or cache=False"):
        run(letters, cache=tmp_path / "file" / "below")
    assert not letters.asked


def test_a_device_that_does_not_exist(letters):
    torch = pytest.importorskip("torch")
    with pytest.raises(OptionError, match=r"device='gpu' cannot be used here: .* Use device='cpu'"):
        dd.embed.text(NOTES, model=torch.nn.Identity(), name="nothing", device="gpu", cache=False)


def test_another_revision_is_refused(letters):
    run(letters)
    with pytest.raises(DataError, match=r"revision '1' of letters, and this is revision '2'"):
        run(letters, revision="2")


def test_other_names_and_kinds_do_not_meet(letters):
    run(letters)
    letters.asked.clear()
    dd.embed.text(NOTES, model=letters, name="other letters", revision="9")
    assert letters.asked


def test_a_callable_without_revision_is_not_cached(letters):
    run(letters, revision=None)
    assert not default_folder().exists()


def test_an_interrupted_run_keeps_what_it_did(letters, monkeypatch):
    monkeypatch.setattr(encoding, "_SHARD_ROWS", 64)
    letters.fail_after = 120
    notes = pd.Series([f"note {i}" for i in range(200)])
    with pytest.raises(KeyboardInterrupt):
        run(letters, notes, batch_size=2)
    assert len(letters.asked) == 120
    letters.fail_after, letters.asked = 10**9, []
    run(letters, notes, batch_size=2)
    assert len(letters.asked) == 200 - 96  # three calls of 16 batches of 2 were kept, the fourth failed


def test_a_damaged_shard_is_named(letters):
    run(letters)
    (shard,) = default_folder().rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(DataError, match=rf"{shard.name} cannot be read"):
        run(letters)


def test_no_file_is_left_over(letters):
    run(letters)
    assert not list(default_folder().rglob("*.part"))


def test_a_cache_of_another_width_is_refused(letters):
    run(letters, NOTES[:5])
    narrow = lambda texts: np.ones((len(texts), 2))  # noqa: E731  # one expression, used once
    with pytest.raises(DataError, match="different widths"):
        run(narrow, NOTES[:8])


def test_keys_tell_parts_apart():
    assert digest(b"ab", b"c") != digest(b"a", b"bc")
    assert digest(b"tea") == digest(b"tea")


def test_progress_is_silent_without_a_terminal(letters, capsys):
    run(letters, progress=True, cache=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("progress", [None, True, False])
def test_progress_shows_on_a_terminal_unless_refused(letters, capsys, monkeypatch, progress):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    run(letters, progress=progress, cache=False)
    assert ("letters: " in capsys.readouterr().err) == (progress is not False)

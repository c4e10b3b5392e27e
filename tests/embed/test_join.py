"""Data and embeddings side by side, with the cards of all encoders."""

from __future__ import annotations

import pandas as pd
import pytest

import deepdml as dd
from deepdml.errors import DataError, OptionError

SHOPS = pd.DataFrame({"sold": [3, 5, 4], "text": ["a tea shop", "bees", "a café"]}, index=["a", "b", "c"])


@pytest.fixture
def emb(letters):
    return dd.embed.text(SHOPS["text"], model=letters, name="letters", revision="2", licence="CC0")


def test_cards_stay_through_a_join_and_what_follows(letters, emb):
    titles = dd.embed.text(SHOPS["text"], model=letters, name="titles", revision="1", prefix="title")
    both = dd.embed.join(SHOPS, emb, titles)
    assert list(both.columns) == ["sold", "text", *emb.columns, *titles.columns]
    kept = both[both["sold"] > 3].assign(more=1).reset_index(drop=True)
    assert [card.model for card in dd.embed.card(kept)] == ["letters", "titles"]
    assert "deepdml" not in SHOPS.attrs
    again = dd.embed.join(SHOPS.drop(columns="text"), both[[*emb.columns]])
    assert [card.model for card in dd.embed.card(dd.embed.join(again, titles))] == ["letters", "titles"]


def test_rows_are_matched_by_label(emb):
    both = dd.embed.join(SHOPS, emb.iloc[::-1])
    pd.testing.assert_frame_equal(both[emb.columns], emb)


def test_frames_without_a_card_are_joined(emb):
    both = dd.embed.join(SHOPS, pd.DataFrame({"own_0": [1.0, 2.0, 3.0]}, index=SHOPS.index))
    with pytest.raises(DataError, match="does not say which encoder made it"):
        dd.embed.card(both)


def test_refusals(emb):
    with pytest.raises(DataError, match=r"the embedding has no row for 1 label\(s\): c"):
        dd.embed.join(SHOPS, emb.iloc[:2])
    with pytest.raises(DataError, match=r"the data has no row for 1 label\(s\): a"):
        dd.embed.join(SHOPS.iloc[1:], emb)
    with pytest.raises(DataError, match="columns emb_0, emb_1, emb_2; embed with another prefix="):
        dd.embed.join(SHOPS, emb, emb)
    with pytest.raises(OptionError, match="takes a pandas frame and the frames"):
        dd.embed.join(SHOPS)
    with pytest.raises(OptionError, match="takes a pandas frame and the frames"):
        dd.embed.join(SHOPS, emb.to_numpy())
    double = SHOPS.set_axis(["a", "a", "b"])
    with pytest.raises(DataError, match="labels twice and in another order"):
        dd.embed.join(double, emb.set_axis(["a", "b", "a"]))

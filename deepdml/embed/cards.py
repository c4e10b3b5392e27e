"""What made an embedding: model, revision, licence and library, kept with the frame as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import pandas as pd

from deepdml.errors import DataError, OptionError, list_rows

ATTRIBUTE = "deepdml"
"""Key of ``DataFrame.attrs``; its value is ``{"encoders": [card, ...]}``."""
NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class Card:
    """A frozen encoder, as a replication package lists it.

    Parameters
    ----------
    kind : {"text", "image"}
        What it encodes.
    model : str
        Name, or identifier on a hub.
    revision : str
        What the weights are: a commit, a package's version, the tag of published weights, or a digest.
    licence : str
        Of the weights; "not stated" where neither the model nor the user says.
    library : str
        Library and version that ran it.
    settings : mapping of str to str
        What else the numbers depend on, such as how images are resized.
    """

    kind: str
    model: str
    revision: str
    licence: str = NOT_STATED
    library: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


def attach(frame: pd.DataFrame, cards: list[Card]) -> pd.DataFrame:
    """Record in the frame which encoders made it, and return it."""
    frame.attrs[ATTRIBUTE] = {"encoders": [{**asdict(card), "settings": dict(card.settings)} for card in cards]}
    return frame


def cards_in(frame: object) -> list[Card]:
    """Return the cards that a frame carries; none where it is no frame or says nothing."""
    recorded = frame.attrs.get(ATTRIBUTE) if isinstance(frame, pd.DataFrame) else None
    entries = recorded.get("encoders", ()) if isinstance(recorded, Mapping) else ()
    return [Card(**entry) for entry in entries]


def join(data: pd.DataFrame, *embeddings: pd.DataFrame) -> pd.DataFrame:
    """Return data with the columns of embeddings beside them, by row label, and with the cards of all.

    pandas drops the cards when frames are joined, and leaves rows without a partner empty; this refuses them.

    Parameters
    ----------
    data : DataFrame
    *embeddings : DataFrame
        Of `text`, `image` or `multimodal`, with the rows of the data in any order.

    Raises
    ------
    OptionError
        For something other than frames, or without an embedding.
    DataError
        For embeddings of other rows, and columns that are there already.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import deepdml as dd
    >>> shops = pd.DataFrame({"sold": [3, 5], "text": ["a shop", "a big shop"]}, index=["a", "b"])
    >>> lengths = lambda texts: np.array([[len(t), t.count(" ")] for t in texts])
    >>> emb = dd.embed.text(shops["text"], model=lengths, name="lengths", revision="1", cache=False)
    >>> both = dd.embed.join(shops, emb)
    >>> list(both.columns), dd.embed.card(both)[0].model
    (['sold', 'text', 'emb_0', 'emb_1'], 'lengths')
    """
    frames = (data, *embeddings)
    if len(frames) < 2 or not all(isinstance(frame, pd.DataFrame) for frame in frames):
        raise OptionError("join() takes a pandas frame and the frames that dd.embed returned.")
    joined, cards = data, cards_in(data)
    for frame in embeddings:
        twice = joined.columns.intersection(frame.columns)
        if len(twice):
            raise DataError(f"both frames have columns {list_rows(list(twice))}; embed with another prefix=.")
        joined = pd.concat([joined, _matched(data.index, frame)], axis=1)
        cards += [card for card in cards_in(frame) if card not in cards]
    joined.attrs = dict(data.attrs)
    return attach(joined, cards) if cards else joined


def _matched(index: pd.Index, frame: pd.DataFrame) -> pd.DataFrame:
    """Return an embedding with the rows of an index."""
    if index.equals(frame.index):
        return frame
    for rows, where in ((index.difference(frame.index), "embedding"), (frame.index.difference(index), "data")):
        if len(rows):
            raise DataError(
                f"the {where} has no row for {len(rows):,} label(s): {list_rows(list(rows))}. Embed a column of the "
                "same frame, or take the rows that both have, frame.loc[data.index.intersection(emb.index)]."
            )
    if not (index.is_unique and frame.index.is_unique):
        raise DataError("data and embedding have labels twice and in another order, so that rows cannot be matched.")
    return frame.loc[index]


def card(frame: pd.DataFrame) -> list[Card]:
    """Return the cards of the encoders that made a frame, as `text`, `image` and `multimodal` recorded them.

    Parameters
    ----------
    frame : DataFrame
        With the ``attrs`` that it got when it was embedded. pandas keeps them through selections and copies, and drops
        them in a concat or join with other frames; `join` keeps them.

    Raises
    ------
    DataError
        If the frame says nothing about an encoder.

    Examples
    --------
    >>> import numpy as np
    >>> import deepdml as dd
    >>> lengths = lambda texts: np.array([[len(t), t.count(" ")] for t in texts])
    >>> emb = dd.embed.text(["a shop", "a big shop"], model=lengths, name="lengths", revision="1", cache=False)
    >>> emb
       emb_0  emb_1
    0    6.0    1.0
    1   10.0    2.0
    >>> dd.embed.card(emb)[0].model
    'lengths'
    """
    found = cards_in(frame)
    if not found:
        raise DataError(
            "the frame does not say which encoder made it; pass what dd.embed returned, or what dd.embed.join made of "
            "it and your data."
        )
    return found

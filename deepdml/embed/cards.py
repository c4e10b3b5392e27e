"""What made an embedding: model, revision, licence and library, kept with the frame as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import pandas as pd

from deepdml.errors import DataError

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


def card(frame: pd.DataFrame) -> list[Card]:
    """Return the cards of the encoders that made a frame, as `text`, `image` and `multimodal` recorded them.

    Parameters
    ----------
    frame : DataFrame
        With the ``attrs`` that it got when it was embedded. pandas keeps them through selections and copies, and drops
        them in a concat or join with other frames; take the cards before that.

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
    recorded = frame.attrs.get(ATTRIBUTE) if isinstance(frame, pd.DataFrame) else None
    if not isinstance(recorded, Mapping) or not recorded.get("encoders"):
        raise DataError(
            "the frame does not say which encoder made it; pass what dd.embed returned, before joining it to others."
        )
    return [Card(**entry) for entry in recorded["encoders"]]

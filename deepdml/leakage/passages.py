"""Passages of texts that give the treatment away: those near a description of it, or that a classifier flags."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.embed import text as embed_text
from deepdml.errors import DataError, OptionError, list_rows
from deepdml.leakage.concept import Concept, Float, folds_of, read_matrix
from deepdml.leakage.ridge import fit_ridge

Split = Callable[[str], list[str]]


def sentences(text: str) -> list[str]:
    """Split a text after the end of sentences and at line ends."""
    return [part for part in re.split(r"(?<=[.!?])\s+|\s*\n+\s*", text.strip()) if part]


@dataclass(frozen=True, slots=True)
class Passages:
    """All passages of n texts, in order.

    Parameters
    ----------
    values : list of m str
    text : (m,) array of int
        Position of the text that a passage belongs to.
    n : int
        Texts.
    """

    values: list[str]
    text: NDArray[np.intp]
    n: int

    def without(self, scores: Float, share: float) -> list[str]:
        """Return the n texts without the `share` of passages that score highest; each text keeps its lowest."""
        kept = np.ones(len(self.values), bool)
        kept[np.argsort(-scores, kind="stable")[: round(share * len(scores))]] = False
        lowest = pd.Series(scores).groupby(self.text).idxmin().to_numpy()
        kept[lowest] = True
        texts: list[list[str]] = [[] for _ in range(self.n)]
        for position in np.flatnonzero(kept):
            texts[self.text[position]].append(self.values[position])
        return [" ".join(parts) for parts in texts]


def read_passages(texts: Any, split: Split | None) -> Passages:
    """Split texts into passages, or raise DataError for texts that are missing or empty."""
    values = list(texts)
    parts = [(split or sentences)(value) if isinstance(value, str) else [] for value in values]
    bad = np.array([not part for part in parts])
    if bad.any():
        index = texts.index if isinstance(texts, pd.Series) else np.arange(len(values))
        raise DataError(
            f"{bad.sum():,} of {len(values):,} texts are missing or have no passage (row(s) "
            f"{list_rows(list(index[bad]))}); drop these rows."
        )
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Passages([passage for part in parts for passage in part], owners, len(parts))


def encode(passages: Sequence[str], encoder: Any) -> Float:
    """Return the embeddings of passages, with a name that `embed.text` knows or a function."""
    if isinstance(encoder, str):
        return read_matrix("the embeddings of passages", embed_text(list(passages), model=encoder))
    if not callable(encoder):
        raise OptionError(
            "passages are compared by their embeddings; pass encoder=, a model of dd.embed.text or a function from a "
            "list of texts to an array."
        )
    return read_matrix("the embeddings of passages", encoder(list(passages)))


def similarity(passages: Passages, about: Any, encoder: Any) -> Float:
    """Return the largest cosine (m,) of each passage with descriptions of the treatment."""
    descriptions = [about] if isinstance(about, str) else list(about or ())
    if not descriptions:
        raise OptionError("method='similarity' needs about=, one or more texts that describe the treatment.")
    vectors = encode([*passages.values, *descriptions], encoder)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(float).tiny)
    ours, theirs = unit[: len(passages.values)], unit[len(passages.values) :]
    return np.asarray((ours @ theirs.T).max(1))


def flagged(passages: Passages, concept: Concept, encoder: Any, n_folds: int, seed: int) -> Float:
    """Return how far a classifier of passages is from the mean treatment (m,), by texts that it did not learn from."""
    vectors = encode(passages.values, encoder)
    z = concept.values[passages.text]
    folds = folds_of(passages.n, n_folds, seed, concept.codes)[passages.text]
    scores = np.empty(len(vectors))
    for k in range(n_folds):
        held = folds == k
        classifier = fit_ridge(vectors[~held], z[~held])
        scores[held] = np.linalg.norm((classifier(vectors[held]) - classifier.level) / z[~held].std(0), axis=1)
    return scores

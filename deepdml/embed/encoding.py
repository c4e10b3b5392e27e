"""The way of every encoder: keys of items, what the cache holds, batches of the rest, a frame."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from deepdml.embed.cache import Found, Store, open_store
from deepdml.embed.cards import NOT_STATED, Card, attach
from deepdml.errors import (
    DataError,
    EmbeddingWarning,
    MissingLibraryError,
    OptionError,
    refuse_no_whole,
    warn,
)
from deepdml.terminal import shows_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

Float = NDArray[np.float32]
Encode = Callable[[list[Any]], Any]
Cache = str | os.PathLike[str] | bool | None

_BATCHES_PER_CALL = 16  # a library's own loop over batches costs less than ours; the bar moves and memory stays small
_DIGITS = 16  # of a SHA-256, as a revision
_SHARD_ROWS = 8_192  # are encoded between two writes: what an interrupted run can lose


@dataclass(frozen=True, slots=True)
class Limited:
    """A loaded text encoder that reads the beginning of a text alone.

    Parameters
    ----------
    encode : callable
        From a list of m texts to an (m, p) array.
    limit : int
        Tokens that it reads.
    is_longer : callable
        From a list of m texts to an (m,) array of bool: which have more tokens.
    """

    encode: Encode
    limit: int
    is_longer: Callable[[list[str]], NDArray[np.bool_]]

    def __call__(self, texts: list[str]) -> Any:
        """Encode texts."""
        return self.encode(texts)


@dataclass(frozen=True, slots=True)
class Encoder:
    """A frozen encoder that is loaded when the first item must be encoded.

    Parameters
    ----------
    card : Card
        What it is.
    load : callable
        Without arguments; returns the function from a list of items to an (m, p) array.
    cached : bool
        Whether the card says enough to keep its embeddings: a callable without revision does not.
    size : callable, optional
        Of an item. Items are encoded from large to small where a batch is padded to its largest.
    """

    card: Card
    load: Callable[[], Encode]
    cached: bool = True
    size: Callable[[Any], int] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """How items are encoded: the options that `text`, `image` and `multimodal` share, checked."""

    batch_size: int
    cache: Cache
    progress: bool | None
    prefix: str

    def __post_init__(self) -> None:
        """Check the options."""
        refuse_no_whole("batch_size", self.batch_size, 1)
        if not isinstance(self.prefix, str) or not self.prefix.isidentifier():
            raise OptionError(f"prefix={self.prefix!r} cannot begin the name of a column in a formula; use letters.")


def embed(items: Sequence[Any], keys: Sequence[bytes], encoder: Encoder, run: Run) -> Float:
    """Return the (n, p) embeddings of items; each distinct one is encoded once, or read from the cache.

    Parameters
    ----------
    items : sequence of n
        Checked: present and readable.
    keys : sequence of n bytes
        Digests of their content.
    encoder, run
        What to encode with, and how.

    Raises
    ------
    DataError
        If the encoder returns other rows than it was given or values that are not finite, or the cache was made by
        another revision of the model.
    """
    store = open_store(run.cache, encoder.card) if encoder.cached else None
    found = store.read(keys) if store is not None else Found()
    if len(found.places) < len(set(keys)):  # what is found was asked for
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in found.places}
        _encode(missing, encoder, store, run, found)
    try:
        return found.take(keys)
    except ValueError as error:
        raise DataError(
            f"{encoder.card.model} gave embeddings of different widths, or the cache holds others than this encoder "
            "makes; pass another revision=, or cache=False."
        ) from error


def _encode(missing: dict[bytes, Any], encoder: Encoder, store: Store | None, run: Run, found: Found) -> None:
    """Encode in batches into `found`, and write to the cache also what was done before an interruption."""
    order = list(missing)
    if encoder.size is not None:
        size = encoder.size
        order.sort(key=lambda key: size(missing[key]), reverse=True)
    if store is not None:
        store.prepare()
    encode, done, written = encoder.load(), list[Float](), 0
    if isinstance(encode, Limited):
        _warn_of_longer(encode, encoder.card.model, [missing[key] for key in order])
    step = run.batch_size * _BATCHES_PER_CALL
    hidden = not shows_progress(run.progress)
    try:
        with tqdm(total=len(order), desc=encoder.card.model, disable=hidden, leave=False) as bar:
            for start in range(0, len(order), step):
                batch = [missing[key] for key in order[start : start + step]]
                done.append(rows_of(encode(batch), len(batch), encoder.card.model))
                bar.update(len(batch))
                rows = start + len(batch)
                if store is not None and rows - written >= _SHARD_ROWS:
                    store.write(order[written:rows], _tail(done, rows - written))
                    written = rows
    finally:
        rows = sum(len(block) for block in done)
        if store is not None and rows > written:
            store.write(order[written:rows], _tail(done, rows - written))
    start = 0
    for block in done:
        found.add(order[start : start + len(block)], block)
        start += len(block)


def _warn_of_longer(encode: Limited, model: str, texts: list[str]) -> None:
    """Count the texts whose end the encoder does not read, and warn of them."""
    longer = sum(int(encode.is_longer(batch).sum()) for batch in _batches(texts, _SHARD_ROWS))
    if longer:
        warn(
            f"{model} reads the first {encode.limit:,} tokens of a text; {longer:,} of {len(texts):,} distinct texts "
            "are longer, and their ends leave no trace in the embedding. Take a model that reads more, or embed "
            "parts of the texts as columns of their own (prefix=).",
            EmbeddingWarning,
        )


def _tail(blocks: list[Float], rows: int) -> Float:
    """Return the last rows of blocks."""
    taken = list[Float]()
    while rows > 0:
        taken.append(blocks[-1 - len(taken)])
        rows -= len(taken[-1])
    return np.concatenate(taken[::-1])


def rows_of(values: Any, n: int, model: str) -> Float:
    """Return what an encoder gave for n items as (n, p) float32, or raise DataError."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{model} returned no array of numbers: {error}") from error
    if array.ndim != 2 or len(array) != n or array.shape[1] == 0:
        raise DataError(f"{model} returned an array of shape {array.shape} for {n} items; ({n}, p) is needed.")
    bad = ~np.isfinite(array).all(1)
    if bad.any():
        raise DataError(f"{model} returned values that are not finite for {bad.sum()} of {n} items.")
    return array


def to_frame(values: Float, index: pd.Index, prefix: str, cards: list[Card]) -> pd.DataFrame:
    """Return embeddings, which become the frame's own, as columns prefix_0, prefix_1, ..., with their cards."""
    columns = [f"{prefix}_{j}" for j in range(values.shape[1])]
    return attach(pd.DataFrame(values, index=index, columns=columns, copy=False), cards)


def refuse_no_column(what: str, forms: str, data: Any) -> None:
    """Refuse what is not one item for each row: a single one, or a frame or dict, whose items are its names."""
    if isinstance(data, pd.DataFrame | Mapping):
        raise DataError(
            f"{what} come as {forms}, one for each row; this is {type(data).__name__}. Pass one of its columns, "
            f"data[{str(next(iter(data), 'text'))!r}]."
        )
    if isinstance(data, str | bytes | os.PathLike) or not hasattr(data, "__len__"):
        raise DataError(f"{what} come as {forms}, one for each row; this is {type(data).__name__}.")


def row_labels(data: Any, n: int) -> pd.Index:
    """Return the index of a Series, or 0 to n - 1."""
    return data.index if isinstance(data, pd.Series) else pd.RangeIndex(n)


@dataclass(frozen=True, slots=True)
class Own:
    """What a user says of an encoder of their own: `name`, `revision` and `licence` of `Card`."""

    name: str | None
    revision: str | None
    licence: str | None


def own_encoder(kind: str, model: Any, own: Own, load: Callable[[], Encode]) -> Encoder:
    """Return the encoder of a callable or a torch module, which the user must name.

    A torch module's revision is a digest of its weights; a callable's is what the user says, and without it nothing
    is cached, since nothing tells when the callable changes.
    """
    if not isinstance(own.name, str) or not own.name.strip():
        raise OptionError(
            f"model is an object ({type(model).__name__}), which has no name to record; pass name='...', and "
            "revision='...' to have the embeddings of a callable cached."
        )
    module = is_module(model)
    revision = own.revision or (weights_digest(model) if module else NOT_STATED)
    card = Card(kind, own.name, revision, own.licence or NOT_STATED, library("torch") if module else "")
    return Encoder(card, load, cached=revision != NOT_STATED)


def is_module(model: object) -> bool:
    """Return whether this is a torch module, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def weights_digest(module: Any) -> str:
    """Return a digest of the parameters and buffers of a torch module."""
    state = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        values = tensor.detach().cpu().contiguous()
        state.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        state.update(values.reshape(-1).view(_torch().uint8).numpy().tobytes())
    return state.hexdigest()[:_DIGITS]


def file_digest(*paths: Path) -> str:
    """Return the first hexadecimal digits of the SHA-256 of a file, or of several with their names."""
    state = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256")
        if len(paths) == 1:
            return content.hexdigest()[:_DIGITS]
        state.update(f"{path.name} {content.hexdigest()}\n".encode())
    return state.hexdigest()[:_DIGITS]


def folder_digest(folder: Path) -> str:
    """Return a digest of all files of a model's folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise OptionError(f"the folder {str(folder)!r} is empty; a folder with a saved model is needed.")
    return file_digest(*paths)


def run_module(model: Any, run: Run, device: str | None, prepare: Callable[[list[Any]], Any] | None = None) -> Encode:
    """Return the function that runs a torch module, or a callable, on a list of items in batches.

    A module runs without gradients and as in use, not training. `prepare` makes its input of a batch; without it the
    module gets the list of items.
    """
    if not is_module(model):
        return lambda items: np.concatenate(
            [rows_of(model(batch), len(batch), "the model") for batch in _batches(items, run.batch_size)]
        )
    torch, place = _torch(), place_of(device)
    module = model.to(place).eval()

    def encode(items: list[Any]) -> Float:
        with torch.inference_mode():
            blocks = [
                module(batch if prepare is None else prepare(batch).to(place))
                for batch in _batches(items, run.batch_size)
            ]
            return np.concatenate([block.float().flatten(1).cpu().numpy() for block in blocks])

    return encode


def _batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def place_of(device: str | None) -> Any:
    """Return a device of torch, the CPU by default.

    Raises
    ------
    OptionError
        For one that does not exist or is not here.
    """
    torch = _torch()
    try:
        place = torch.device(device or "cpu")
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:  # the latter where torch is built without it
        raise OptionError(f"device={device!r} cannot be used here: {error}. Use device='cpu'.") from error
    return place


def _torch() -> Any:
    import torch

    return torch


def need(module: str, extra: str, also: str = "") -> Any:
    """Import an optional library, or raise MissingLibraryError with the line that installs it.

    Parameters
    ----------
    module : str
        To import.
    extra : str
        Of deepdml, that brings it.
    also : str
        A distribution to be installed beside the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingLibraryError(f"this encoder needs {module}: {error}; {_install(extra, also)}") from error
    except RuntimeError as error:
        # torchvision built for another torch fails so when it registers its operators
        raise MissingLibraryError(
            f"{module} is installed but does not fit the installed torch: {error}; install both from the same index, "
            "so that both are CPU builds or both are CUDA builds."
        ) from error


def _install(extra: str, also: str = "") -> str:
    return f'pip install "deepdml[{extra}]"' + (f" {also}" if also else "")


def library(distribution: str, extra: str = "") -> str:
    """Return a library's name and version, or raise MissingLibraryError."""
    try:
        return f"{distribution} {importlib.metadata.version(distribution)}"
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingLibraryError(f"this encoder needs {distribution}; {_install(extra)}") from error


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Turn a library's failure to find a model's files into an error that says what to do."""
    try:
        yield
    except OSError as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise OptionError(
            f"the model {model!r} cannot be loaded: {first} Pass the folder or file of its weights, or a name that the "
            "library knows; without a network it must have been downloaded before."
        ) from error

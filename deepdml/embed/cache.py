"""Embeddings on disk, found by the content of what was embedded.

One folder per model and settings holds shards, each one safetensors file with keys (m, 16) uint8 and values (m, p)
float32, and the model and revision that made it in its header. Shards are written whole under another name and then
renamed, so an interrupted or a parallel run never leaves half a shard, and none is ever changed.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from deepdml.embed.cards import Card
from deepdml.errors import DataError, OptionError

Float = NDArray[np.float32]
KEY_BYTES = 16
"""Of a digest: two of 10^12 items share one with probability 1e-15."""
_FORMAT = "1"


def default_folder() -> Path:
    """Return where embeddings are kept: ``$XDG_CACHE_HOME/deepdml/embed``, or the system's own place for caches."""
    if os.environ.get("XDG_CACHE_HOME"):
        root = Path(os.environ["XDG_CACHE_HOME"])
    elif os.name == "nt" and os.environ.get("LOCALAPPDATA"):
        root = Path(os.environ["LOCALAPPDATA"])
    else:
        root = Path.home() / ".cache"
    return root / "deepdml" / "embed"


def digest(*parts: bytes) -> bytes:
    """Return the key of an item, from the bytes that it consists of."""
    key = blake2b(digest_size=KEY_BYTES)
    for part in parts:
        key.update(len(part).to_bytes(8, "little"))
        key.update(part)
    return key.digest()


@dataclass(frozen=True, slots=True)
class Found:
    """Embeddings by key.

    Parameters
    ----------
    blocks : list of (m, p) arrays
    places : dict of bytes to int
        The row of a key, where the blocks stand one below the other.
    """

    blocks: list[Float] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=dict)

    def add(self, keys: Sequence[bytes], block: Float) -> None:
        """Add the rows of a block (m, p), which have the keys."""
        start = sum(map(len, self.blocks))
        self.blocks.append(block)
        self.places.update(zip(keys, range(start, start + len(block)), strict=True))

    def take(self, keys: Sequence[bytes]) -> Float:
        """Return the rows of keys (n, p); raise ValueError if the blocks have different widths."""
        rows = self.blocks[0] if len(self.blocks) == 1 else np.concatenate(self.blocks)
        return rows[list(map(self.places.__getitem__, keys))]


@dataclass(frozen=True, slots=True)
class Store:
    """The cached embeddings of one model.

    Parameters
    ----------
    folder : Path
        Of this model and these settings; made by `prepare`.
    card : Card
        Of the encoder that reads and writes.
    """

    folder: Path
    card: Card

    def read(self, keys: Sequence[bytes]) -> Found:
        """Return the embeddings that are there.

        Raises
        ------
        DataError
            If a shard was made by another revision of the model, or cannot be read.
        """
        wanted, found = set(keys), Found()
        for path in self._shards():
            held, values = self._read_shard(path, wanted)
            if held:
                found.add(held, values)
        return found

    def prepare(self) -> None:
        """Make the folder, so that what is encoded for an hour is not lost for want of one.

        Raises
        ------
        OptionError
            If nothing can be written there.
        """
        reason = "it must not be written to"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = str(error)
        if not (self.folder.is_dir() and os.access(self.folder, os.W_OK)):
            raise OptionError(
                f"the cache {str(self.folder)!r} cannot be used ({reason}); pass another folder, or cache=False."
            )

    def write(self, keys: Sequence[bytes], values: Float) -> None:
        """Add a shard."""
        header = {"format": _FORMAT, "model": self.card.model, "revision": self.card.revision}
        arrays: dict[str, NDArray[Any]] = {
            "keys": np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES),
            "values": np.ascontiguousarray(values, np.float32),
        }
        name = uuid.uuid4().hex
        unfinished = self.folder / f"{name}.part"
        save_file(arrays, unfinished, header)
        unfinished.replace(self.folder / f"{name}.safetensors")

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("*.safetensors")) if self.folder.is_dir() else []

    def _read_shard(self, path: Path, wanted: set[bytes]) -> tuple[list[bytes], Float]:
        """Return the keys of a shard that are wanted, and their rows (m, p)."""
        try:
            with safe_open(path, framework="numpy") as shard:
                self._check(path, shard.metadata() or {})
                held = shard.get_tensor("keys").view(f"V{KEY_BYTES}").ravel().tolist()
                every = wanted.issuperset(held)
                rows = [] if every else [i for i, key in enumerate(held) if key in wanted]
                values = shard.get_tensor("values") if every or rows else np.empty((0, 0), np.float32)
        except (OSError, SafetensorError) as error:
            raise DataError(
                f"the cached embeddings in {path} cannot be read ({error}); delete that file and embed again."
            ) from error
        return (held, values) if every else ([held[i] for i in rows], values[rows])

    def _check(self, path: Path, header: dict[str, str]) -> None:
        if header.get("format") != _FORMAT:
            raise DataError(f"{path} is no cache of embeddings of this version of deepdml; delete it or pass cache=.")
        if header["revision"] != self.card.revision:
            raise DataError(
                f"the cache {self.folder} was made by revision {header['revision']!r} of {self.card.model}, and this "
                f"is revision {self.card.revision!r}: mixing them would mix two embeddings. Delete that folder, or "
                "pass another one as cache=, or cache=False."
            )


def open_store(cache: str | os.PathLike[str] | bool | None, card: Card) -> Store | None:
    """Return the store of a model, None where `cache` is False.

    Raises
    ------
    OptionError
        If `cache` is neither a folder, None nor False.
    """
    if cache is False:
        return None
    if cache is True or cache is None:
        root = default_folder()
    elif isinstance(cache, str | os.PathLike):
        root = Path(cache).expanduser()
    else:
        raise OptionError(f"cache={cache!r}; pass a folder, None for the default one, or False for none.")
    if root.exists() and not root.is_dir():
        raise OptionError(f"cache={str(cache)!r} is a file; pass a folder.")
    settings = "".join(f"\n{name}={value}" for name, value in sorted(card.settings.items()))
    identity = digest(f"{card.kind}\n{card.model}{settings}".encode()).hex()[:12]
    readable = re.sub(r"[^\w.-]+", "-", card.model).strip("-.")[:60]
    return Store(root / f"{card.kind}-{readable}-{identity}", card)

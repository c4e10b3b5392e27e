"""Images as encoders read them: from paths or arrays, checked, with a key each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepdml.embed.cache import digest
from deepdml.embed.encoding import need, refuse_no_column, row_labels
from deepdml.errors import DataError, list_rows

_MODES = {2: "an (h, w) array", 3: "an (h, w, 3) array"}


@dataclass(frozen=True, slots=True)
class Picture:
    """One image: a path or an array, with the label of its row for errors."""

    source: Path | np.ndarray[Any, Any]
    label: object

    def open(self) -> Any:
        """Return the image decoded, in RGB."""
        pillow = need("PIL.Image", "image")
        if not isinstance(self.source, Path):
            return pillow.fromarray(self.source).convert("RGB")
        try:
            with pillow.open(self.source) as image:
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(
                f"the image of row {self.label}, {self.source}, cannot be decoded: {error}. Repair the file or drop "
                "the row; with a cache, what was encoded before it is kept."
            ) from error


@dataclass(frozen=True, slots=True)
class Pictures:
    """Checked images: n of them, the index of the data, and a key each."""

    values: list[Picture]
    index: pd.Index
    keys: list[bytes]


def check_pictures(images: Any) -> Pictures:
    """Return images, or raise DataError that counts those that cannot be read and names their rows.

    Parameters
    ----------
    images : Series or sequence of n paths, arrays or PIL images, or an (n, h, w) or (n, h, w, 3) array
        Arrays hold whole numbers from 0 to 255, or floats from 0 to 1.
    """
    refuse_no_column("images", "a Series or list of paths or arrays, or one array of all", images)
    values = list(images)
    index = row_labels(images, len(values))
    if not values:
        raise DataError("there are no images to embed.")
    pictures, keys, problems = list[Picture](), list[bytes](), list[tuple[object, str]]()
    for label, value in zip(index, values, strict=True):
        try:
            source, key = _source(value)
        except (OSError, SyntaxError, ValueError, TypeError) as error:
            problems.append((label, str(error) or type(error).__name__))
        else:
            pictures.append(Picture(source, label))
            keys.append(key)
    if problems:
        rows = list_rows([label for label, _ in problems])
        raise DataError(
            f"{len(problems):,} of {len(values):,} images cannot be read (row(s) {rows}); "
            f"the first: {problems[0][1]}. Drop these rows, or repair the files."
        )
    return Pictures(pictures, index, keys)


def _source(value: Any) -> tuple[Path | np.ndarray[Any, Any], bytes]:
    """Return what to decode and its key; raise what PIL raises, or ValueError, for what is no image."""
    if isinstance(value, str | os.PathLike):
        path = Path(value)
        content = path.read_bytes()
        # reads the head and what checksums there are; decoding shows the rest
        with need("PIL.Image", "image").open(path) as image:
            image.verify()
        return path, digest(content)
    if value is None or (np.isscalar(value) and pd.isna(value)):
        raise ValueError("missing")
    pixels = to_bytes(np.asarray(value))
    return pixels, digest(str(pixels.shape).encode(), pixels.tobytes())


def to_bytes(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return pixels as whole numbers from 0 to 255."""
    if pixels.ndim not in _MODES or (pixels.ndim == 3 and pixels.shape[2] != 3) or pixels.size == 0:
        raise ValueError(f"an array of shape {pixels.shape}, where {' or '.join(_MODES.values())} is needed")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if not np.issubdtype(pixels.dtype, np.number) or not np.isfinite(pixels).all():
        raise ValueError("pixels that are missing or no numbers")
    top = 1.0 if np.issubdtype(pixels.dtype, np.floating) else 255
    if pixels.min() < 0 or pixels.max() > top:
        raise ValueError(
            f"pixels from {pixels.min():g} to {pixels.max():g}; floats go from 0 to 1, whole numbers from 0 to 255"
        )
    return np.ascontiguousarray(np.rint(pixels * (255 / top)).astype(np.uint8))


def stack(pictures: Sequence[Picture], transform: Any) -> Any:
    """Return decoded and transformed images as one torch tensor (m, channels, h, w)."""
    import torch

    tensors = [transform(picture.open()) for picture in pictures]
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise DataError(
            f"the images have different sizes ({', '.join(map(str, sorted(shapes)))}) and cannot be stacked; pass "
            "transform=, a function from a PIL image to a tensor that resizes them."
        )
    return torch.stack(tensors)


def to_tensor(image: Any) -> Any:
    """Return a PIL image as a torch tensor (3, h, w) of floats from 0 to 1."""
    import torch

    return torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)

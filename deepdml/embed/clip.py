"""Images and texts to columns of one space: CLIP models, through open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepdml.embed.cards import NOT_STATED, Card, attach
from deepdml.embed.encoding import (
    Cache,
    Encode,
    Encoder,
    Limited,
    Run,
    embed,
    file_digest,
    library,
    loading,
    need,
    place_of,
    run_module,
    to_frame,
)
from deepdml.embed.pictures import check_pictures, stack
from deepdml.embed.texts import check_texts
from deepdml.errors import DataError, OptionError, unknown_option


def multimodal(
    text: pd.Series | Sequence[str] | None = None,
    image: pd.Series | Sequence[Any] | None = None,
    model: str = "ViT-B-32",
    weights: str | Path = "openai",
    *,
    batch_size: int = 32,
    device: str | None = None,
    cache: Cache = None,
    progress: bool | None = None,
    prefix: str = "emb",
    licence: str | None = None,
) -> pd.DataFrame:
    """Embed texts, images or both with one CLIP model; images and texts that mean the same lie close together.

    Parameters
    ----------
    text, image : Series or sequence of n, optional
        At least one; as in `deepdml.embed.text` and `deepdml.embed.image`. If both are Series they have one index.
    model : str
        A model of open_clip.
    weights : str or path
        The tag of weights that open_clip publishes for it, or a file.
    batch_size, device, cache, progress, prefix, licence
        As in `deepdml.embed.text`.

    Returns
    -------
    DataFrame, (n, 2p), or (n, p) for one of the two, float32
        Columns prefix_text_0, ... and prefix_image_0, ..., each row of length one in each.

    Raises
    ------
    DataError
        As `deepdml.embed.text` and `deepdml.embed.image`, and if texts and images are not of the same rows.
    OptionError
        For a model or weights that open_clip does not have.
    MissingLibraryError
        Without open_clip.

    Warns
    -----
    EmbeddingWarning
        As `deepdml.embed.text`; most CLIP models read 77 tokens.

    References
    ----------
    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (ICML 2021).
    """
    run = Run(batch_size, cache, progress, prefix)
    if text is None and image is None:
        raise DataError("there is nothing to embed: pass text=, image=, or both.")
    texts = None if text is None else check_texts(text)
    pictures = None if image is None else check_pictures(image)
    if texts and pictures and not texts.index.equals(pictures.index):
        raise DataError(
            f"texts ({len(texts.index):,} rows) and images ({len(pictures.index):,} rows) are not of the same rows, in "
            "the same order; pass two columns of one frame."
        )
    frames, cards = [], []
    for kind, part in (("text", texts), ("image", pictures)):
        if part is not None:
            encoder = _open_clip(kind, model, weights, run, device, licence)
            frames.append(
                to_frame(embed(part.values, part.keys, encoder, run), part.index, f"{prefix}_{kind}", [encoder.card])
            )
            cards.append(encoder.card)
    return attach(pd.concat(frames, axis=1), cards)


def _open_clip(
    kind: str, model: str, weights: str | Path, run: Run, device: str | None, licence: str | None
) -> Encoder:
    clip = need("open_clip", "multimodal")
    if model not in clip.list_models():
        raise unknown_option("open_clip model", model, clip.list_models())
    file = Path(weights)
    if not file.is_file() and str(weights) not in clip.list_pretrained_tags_by_model(model):
        raise unknown_option("weights", weights, clip.list_pretrained_tags_by_model(model))
    revision = file_digest(file) if file.is_file() else f"{weights}"
    card = Card(kind, f"open_clip/{model}", revision, licence or NOT_STATED, library("open-clip-torch", "multimodal"))
    return Encoder(card, lambda: _load(clip, kind, model, str(weights), run, device))


def _load(clip: Any, kind: str, model: str, weights: str, run: Run, device: str | None) -> Encode:
    place = str(place_of(device))
    with loading(model):
        try:
            net, _, prepare = clip.create_model_and_transforms(model, pretrained=weights, device=place)
        except RuntimeError as error:
            raise OptionError(f"the weights {weights!r} cannot be loaded into {model!r}: {error}") from error
    if kind == "image":
        tower = _tower(net, "encode_image")
        return run_module(tower, run, device, lambda batch: stack(batch, prepare))
    tokenizer, limit = clip.get_tokenizer(model), net.context_length

    def is_longer(texts: list[str]) -> NDArray[np.bool_]:
        last = np.asarray(tokenizer(["", *texts], context_length=limit + 1)[:, -1])
        longer: NDArray[np.bool_] = last[1:] != last[0]  # which is padding
        return longer

    return Limited(run_module(_tower(net, "encode_text"), run, device, tokenizer), limit, is_longer)


def _tower(net: Any, method: Literal["encode_image", "encode_text"]) -> Any:
    """Return the module that runs one half of a CLIP model, with rows of length one."""
    import torch

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, batch: Any) -> Any:
            return getattr(self.net, method)(batch, normalize=True)

    return Tower()

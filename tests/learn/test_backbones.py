from __future__ import annotations

import pytest
import torch

from deepdml.learn.backbones import ACTIVATIONS, Backbone

SHAPES = [((8,), 2), ((8, 5), 1), ((6, 5, 4), 3)]


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def drawn(backbone: Backbone, nets: int) -> torch.Tensor:
    return torch.randn(nets, backbone.n_parameters, generator=torch.Generator().manual_seed(5))


def module(backbone: Backbone, flat: torch.Tensor) -> tuple[torch.nn.Sequential, torch.nn.Linear]:
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
@pytest.mark.parametrize(("hidden", "n_out"), SHAPES)
class TestBackbone:
    def test_batched_nets_equal_torch_modules_one_by_one(self, activation, hidden, n_out):
        backbone = Backbone(7, hidden, n_out, activation)
        flat = drawn(backbone, 4)
        x = torch.randn(4, 11, 7, generator=torch.Generator().manual_seed(6))
        out = backbone.forward(flat, x)
        for net in range(4):
            perceptron, skip = module(backbone, flat[net])
            expected = (perceptron(x[net]) + skip(x[net])).detach()
            # single precision, products summed in another order
            torch.testing.assert_close(out[net], expected, rtol=1e-4, atol=1e-4)

    def test_a_net_starts_as_the_linear_fit(self, activation, hidden, n_out):
        backbone = Backbone(7, hidden, n_out, activation)
        linear = torch.randn(3, 8, n_out, generator=torch.Generator().manual_seed(7))
        x = torch.randn(3, 11, 7, generator=torch.Generator().manual_seed(6))
        out = backbone.forward(backbone.start(linear, generators(3)), x)
        torch.testing.assert_close(out, linear[:, :1] + x @ linear[:, 1:], rtol=1e-5, atol=1e-5)  # single precision

    def test_the_last_layer_reads_the_features(self, activation, hidden, n_out):
        backbone = Backbone(7, hidden, n_out, activation)
        flat = drawn(backbone, 2)
        x = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(6))
        parts = backbone.split(flat)
        features = backbone.features(parts, x)
        assert features.shape == (2, 5, backbone.n_features)
        expected = features @ parts[-3] + parts[-2] + x @ parts[-1]
        torch.testing.assert_close(backbone.forward(flat, x), expected, rtol=1e-5, atol=1e-5)  # single precision

    def test_parameters_are_views_that_cover_the_row(self, activation, hidden, n_out):
        backbone = Backbone(7, hidden, n_out, activation)
        flat = torch.zeros(2, backbone.n_parameters)
        for part, shape in zip(backbone.split(flat), backbone.shapes, strict=True):
            assert part.shape == (2, *shape)
            part += 1
        assert (flat == 1).all()

    def test_weights_are_decayed_but_neither_biases_nor_the_skip(self, activation, hidden, n_out):
        backbone = Backbone(7, hidden, n_out, activation)
        *layers, skip = backbone.split(backbone.decayed()[None])
        assert all((weights == 1).all() for weights in layers[::2])
        assert all((bias == 0).all() for bias in layers[1::2])
        assert (skip == 0).all()


def test_one_covariate_and_one_unit():
    """Weights of shape (1, 1) are weights all the same."""
    backbone = Backbone(1, (1,), 1, "silu")
    weights, bias, last, last_bias, skip = backbone.split(backbone.decayed()[None])
    assert (weights == 1).all()
    assert (last == 1).all()
    assert not any(part.any() for part in (bias, last_bias, skip))


def test_every_net_has_its_own_start():
    backbone = Backbone(3, (4,), 1, "silu")
    zero = torch.zeros(2, 4, 1)
    one, two = backbone.start(zero, generators(2))
    assert (one != two).any()
    again = backbone.start(zero[:1], generators(1, seed=1))
    assert torch.equal(two, again[0])

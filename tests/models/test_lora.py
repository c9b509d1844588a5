"""LoRA of a layer: what it adds, and which layers can have one."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.models.layers import Conv2D, Linear
from ppdiffusers_ext.models.lora import LoraLayer, can_be_adapted

LAYERS = {
    "linear": (lambda: Linear(6, 5), (2, 3, 6)),
    "plain linear": (lambda: nn.Linear(6, 5), (2, 6)),
    "convolution": (lambda: Conv2D(6, 5, 1), (2, 6, 4, 3)),
    "strided convolution": (lambda: Conv2D(6, 5, 1, stride=2), (2, 6, 4, 3)),
}


def make(layer, rank=3, scale=0.5):
    return LoraLayer(layer, rank, scale, np.random.default_rng(0))


@pytest.mark.parametrize("kind", LAYERS)
def test_output_is_that_of_the_sum_of_both_weights(kind):
    build, shape = LAYERS[kind]
    layer, x = build(), paddle.randn(shape)
    plain = layer(x).numpy()
    lora = make(layer)
    np.testing.assert_array_equal(layer(x).numpy(), plain)  # nothing is added at first
    lora.lora_up.weight.set_value(paddle.randn(lora.lora_up.weight.shape))
    down, up = (end.weight.numpy() for end in (lora.lora_down, lora.lora_up))
    if down.ndim == 2:
        product = down @ up
    else:
        product = np.einsum("orhw,rihw->oihw", up, down)
    expected = layer(x).numpy()
    fresh = build()
    fresh.weight.set_value(layer.weight.numpy() + 0.5 * product)
    fresh.bias.set_value(layer.bias.numpy())
    np.testing.assert_allclose(expected, fresh(x).numpy(), rtol=1e-5, atol=1e-5)
    assert np.abs(expected - plain).max() > 0.1


def test_down_is_uniform_within_the_root_of_the_inputs():
    lora = make(Linear(400, 8), rank=64)
    down = lora.lora_down.weight.numpy() * 400**0.5
    assert 0.99 < np.abs(down).max() <= 1 and abs(down.mean()) < 0.02 and abs(down.std() - 3**-0.5) < 0.01


def test_layer_in_halves_keeps_the_dtype_of_its_output():
    layer, x = Linear(6, 5), paddle.randn([2, 6])
    lora = make(layer)
    lora.lora_up.weight.set_value(paddle.ones([3, 5]))
    layer.to(dtype="bfloat16")
    assert layer(x).dtype == paddle.float32 and lora.lora_down.weight.dtype == paddle.float32
    lora.to(dtype="bfloat16")
    assert layer(x).dtype == paddle.float32


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Linear(2, 3), True),
        (nn.Conv2D(2, 3, 1), True),
        (nn.Conv2D(2, 3, 2), False),
        (nn.Conv2D(2, 3, (1, 3)), False),
        (nn.Conv3D(2, 3, 1), False),
        (nn.Embedding(2, 3), False),
        (nn.LayerNorm(2), False),
    ],
)
def test_linear_layers_and_convolutions_of_single_pixels_can_be_adapted(layer, expected):
    assert can_be_adapted(layer) is expected

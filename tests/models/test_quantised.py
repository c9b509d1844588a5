"""Weights in 8 bits: how far off they are, what they take, and that a layer uses them."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.models.layers import Linear
from ppdiffusers_ext.models.quantised import QuantisedLinear, quantise, use_quantised


@pytest.fixture
def matrix():
    """(64, 48) with columns of very different sizes, one of zeros, and small numbers beside large ones."""
    paddle.seed(0)
    scales = paddle.to_tensor(np.logspace(-6, 3, 48).astype(np.float32))
    matrix = paddle.randn([64, 48]) * scales
    matrix[:, 5] = 0.0
    matrix[:32, 7] = matrix[:32, 7] * 1e-3
    return matrix


def test_int8_is_off_by_half_a_step_at_most(matrix):
    stored = quantise(matrix, "int8")
    largest = np.abs(matrix.numpy()).max(axis=0)
    error = np.abs(stored.matrix("float32").numpy() - matrix.numpy())
    assert (error <= largest / 127 / 2 * (1 + 1e-5)).all() and error.max() > 0
    assert stored.codes.dtype == paddle.int8


def test_fp8_is_off_by_half_a_step_at_most(matrix):
    stored = quantise(matrix, "fp8")
    values = np.abs(matrix.numpy())
    unit = values.max(axis=0) / 448
    # Three bits of mantissa: half a step is 1/16 of the power of two below a number; the smallest step is 2^-9.
    exponent = np.floor(np.log2(np.maximum(values, 1e-30) / np.where(unit > 0, unit, 1)))
    half = 2.0 ** np.maximum(exponent - 4, -10) * unit
    error = np.abs(stored.matrix("float32").numpy() - matrix.numpy())
    assert (error <= half * (1 + 1e-5)).all() and error.max() > 0
    assert stored.codes.dtype == paddle.float8_e4m3fn


@pytest.mark.parametrize("form", ["int8", "fp8"])
def test_zeros_and_largest_numbers_stay(matrix, form):
    kept = quantise(matrix, form).matrix("float32").numpy()
    assert (kept[:, 5] == 0).all()
    rows = np.abs(matrix.numpy()).argmax(axis=0)
    columns = np.arange(48)
    np.testing.assert_allclose(kept[rows, columns], matrix.numpy()[rows, columns], rtol=1e-6)


@pytest.mark.parametrize("form", ["int8", "fp8"])
def test_memory_is_a_quarter(matrix, form):
    assert quantise(matrix, form).nbytes == 64 * 48 + 4 * 48


@pytest.mark.parametrize("form", ["int8", "fp8"])
def test_layers_of_the_named_parts_compute_with_what_is_stored(matrix, form):
    network = nn.Layer()
    network.blocks = nn.LayerList([Linear(64, 48), nn.LayerNorm(48)])
    network.out = Linear(48, 3)
    changed = use_quantised(network, ["blocks"])
    assert list(changed) == ["blocks.0.weight"] and type(network.out) is Linear
    (layer,) = changed.values()
    layer.stored = quantise(matrix, form)
    x = paddle.randn([2, 5, 64])
    expected = x.numpy() @ layer.stored.matrix("float32").numpy() + layer.bias.numpy()
    np.testing.assert_allclose(network.blocks[0](x).numpy(), expected, rtol=1e-4, atol=1e-2)
    assert isinstance(layer, QuantisedLinear)

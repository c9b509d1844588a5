"""The motion module: attention over time, per pixel."""

import math

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.models.animate_anyone import MotionModule
from tests.conftest import randomise

POSITIONS = {"temporal_position_encoding": True, "temporal_position_encoding_max_len": 12}


def randn(*shape, seed=0):
    return paddle.to_tensor(np.random.RandomState(seed).randn(*shape).astype("float32"))


def make(channels=32, seed=0, **options):
    paddle.seed(seed)
    return randomise(MotionModule(channels, **{"num_transformer_block": 1, **POSITIONS, **options}))


def largest_difference(a, b):
    return float((a - b).abs().max())


@paddle.no_grad()
def test_order_of_frames_matters():
    module, x = make(), randn(5, 32, 3, 4)
    order = paddle.to_tensor([1, 0, 2, 4, 3])
    permuted = module(paddle.index_select(x, order), 5)
    assert largest_difference(permuted, paddle.index_select(module(x, 5), order)) > 1e-2


@paddle.no_grad()
def test_without_positions_the_order_of_frames_does_not_matter():
    module, x = make(temporal_position_encoding=False), randn(5, 32, 3, 4)
    order = paddle.to_tensor([1, 0, 2, 4, 3])
    permuted = module(paddle.index_select(x, order), 5)
    assert largest_difference(permuted, paddle.index_select(module(x, 5), order)) < 1e-5


@paddle.no_grad()
def test_every_frame_sees_every_other():
    module, x = make(), randn(4, 32, 3, 3)
    other = x.clone()
    other[3] = randn(32, 3, 3, seed=1)
    change = (module(other, 4) - module(x, 4)).abs().max(axis=[1, 2, 3])
    assert float(change.min()) > 1e-3


@paddle.no_grad()
def test_samples_of_a_batch_do_not_see_each_other():
    module, x = make(), randn(6, 32, 3, 3)
    assert largest_difference(module(x, 3)[:3], module(x[:3], 3)) < 1e-5


@paddle.no_grad()
def test_single_frame_works():
    module, x = make(), randn(2, 32, 3, 4)
    out = module(x, 1)
    assert out.shape == x.shape
    assert largest_difference(out, x) > 1e-2


def test_longest_window_runs():
    assert make()(randn(12, 32, 2, 2), 12).shape == [12, 32, 2, 2]


def test_window_longer_than_the_table_names_both_numbers():
    with pytest.raises(ValueError, match=r"13 frames.* 12\b"):
        make()(randn(13, 32, 2, 2), 13)


def test_window_of_any_length_runs_without_positions():
    module = make(temporal_position_encoding=False)
    assert module(randn(40, 32, 1, 1), 40).shape == [40, 32, 1, 1]


@paddle.no_grad()
def test_fresh_module_is_the_identity():
    paddle.seed(0)
    module, x = MotionModule(32, **POSITIONS), randn(4, 32, 3, 3)
    assert largest_difference(module(x, 4), x) == 0


@paddle.no_grad()
def test_fresh_module_without_zero_initialisation_is_not_the_identity():
    paddle.seed(0)
    module, x = MotionModule(32, zero_initialize=False, **POSITIONS), randn(4, 32, 3, 3)
    assert largest_difference(module(x, 4), x) > 1e-2


@pytest.mark.parametrize(
    "options",
    [
        {"num_transformer_block": 2},
        {"temporal_attention_dim_div": 2},
        {"num_attention_heads": 1},
        {"num_attention_heads": 4, "temporal_attention_dim_div": 4},
        {"num_attention_heads": 5},  # 32 // 5 * 5 = 30 channels inside, as in the original
        {"attention_block_types": ("Temporal_Self",)},
        {"attention_block_types": ("Temporal_Self",) * 3},
    ],
    ids=str,
)
@paddle.no_grad()
def test_options_run_and_have_an_effect(options):
    module, x = make(**options), randn(4, 32, 3, 3)
    out = module(x, 4)
    assert out.shape == x.shape
    assert largest_difference(out, x) > 1e-2
    assert bool(paddle.isfinite(out).all())


def test_inner_width_is_rounded_down_head_by_head():
    assert make(num_attention_heads=5).temporal_transformer.proj_in.weight.shape == [32, 30]


@pytest.mark.parametrize("channels", [16, 48, 100])
def test_width_that_is_no_multiple_of_32_names_both_numbers(channels):
    with pytest.raises(ValueError, match=f"{channels} channels.* 32 groups"):
        MotionModule(channels)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"attention_block_types": ("Temporal_Cross",)}, "Temporal_Cross"),
        ({"cross_frame_attention_mode": "sparse"}, "cross_frame_attention_mode 'sparse'"),
    ],
)
def test_unsupported_option_is_refused_by_name(options, named):
    with pytest.raises(ValueError, match=named):
        MotionModule(32, **options)


def test_position_table_is_sine_in_even_and_cosine_in_odd_channels():
    table = make().state_dict()["temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"]
    position, channel = np.mgrid[0:12, 0:32]
    angle = position * np.exp(-math.log(10000) * (channel // 2 * 2) / 32)
    np.testing.assert_allclose(table[0], np.where(channel % 2, np.cos(angle), np.sin(angle)), atol=1e-6)


def layer_norm(x, weights, name):
    normalised = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return normalised * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def self_attention(x, weights, name, num_heads):
    x = x + weights[f"{name}.pos_encoder.pe"][:, : x.shape[1]]
    query, key, value = (x @ weights[f"{name}.{part}.weight"] for part in ("to_q", "to_k", "to_v"))
    heads = []
    for q, k, v in zip(*(np.split(a, num_heads, axis=-1) for a in (query, key, value))):
        scores = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]))
        heads.append(scores / scores.sum(-1, keepdims=True) @ v)
    return np.concatenate(heads, axis=-1) @ weights[f"{name}.to_out.0.weight"] + weights[f"{name}.to_out.0.bias"]


def feed_forward(x, weights):
    value, gate = np.split(x @ weights["ff.net.0.proj.weight"] + weights["ff.net.0.proj.bias"], 2, axis=-1)
    gate = gate * 0.5 * (1 + np.vectorize(math.erf)(gate / math.sqrt(2)))
    return (value * gate) @ weights["ff.net.2.weight"] + weights["ff.net.2.bias"]


def reference(module, x, num_frames, num_heads, norm_frames):
    """The module in float64, from the words of its description. `norm_frames`: frames that are normalised together."""
    weights = {
        name: value.numpy().astype(np.float64) for name, value in module.temporal_transformer.state_dict().items()
    }
    x = x.numpy().astype(np.float64)
    folded, channels, height, width = x.shape
    groups = x.reshape(folded // norm_frames, norm_frames, 32, -1).transpose(0, 2, 1, 3)  # 32 groups of channels
    mean, variance = groups.mean((2, 3), keepdims=True), groups.var((2, 3), keepdims=True)
    y = ((groups - mean) / np.sqrt(variance + 1e-6)).transpose(0, 2, 1, 3).reshape(folded, channels, height * width)
    y = y * weights["norm.weight"][:, None] + weights["norm.bias"][:, None]
    y = y.reshape(-1, num_frames, channels, height * width).transpose(0, 3, 1, 2)
    y = y.reshape(-1, num_frames, channels) @ weights["proj_in.weight"] + weights["proj_in.bias"]
    block = {name[len("transformer_blocks.0.") :]: value for name, value in weights.items()}
    for i in range(2):
        y = y + self_attention(layer_norm(y, block, f"norms.{i}"), block, f"attention_blocks.{i}", num_heads)
    y = y + feed_forward(layer_norm(y, block, "ff_norm"), block)
    y = y @ weights["proj_out.weight"] + weights["proj_out.bias"]
    y = y.reshape(-1, height * width, num_frames, channels).transpose(0, 2, 3, 1)
    return x + y.reshape(folded, channels, height, width)


@paddle.no_grad()
def test_module_agrees_with_its_description_in_float64_and_normalises_each_frame():
    module, x = make(channels=64, num_attention_heads=4), randn(6, 64, 2, 3)
    x[1::3] = x[1::3] * 5 + 2  # frames of other statistics
    out = module(x, 3).numpy()
    np.testing.assert_allclose(out, reference(module, x, 3, num_heads=4, norm_frames=1), atol=2e-5)
    assert np.abs(out - reference(module, x, 3, num_heads=4, norm_frames=3)).max() > 1e-2

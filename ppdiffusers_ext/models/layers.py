"""Layers that the networks of all three systems are made of.

They differ from ``paddle.nn`` in three ways:

- Parameters follow the dtype of the activations. Paddle has no bf16 or fp16 arithmetic on a CPU, so there a network
  of half-precision weights (half the memory) computes in fp32, layer by layer (`compute_dtype`).
- `Conv2D` adds its bias in the way that is quickest on a CPU: it takes a third of a small network's time otherwise.
- `LayerNorm` has the right gradient behind frozen weights, which Paddle 3.3 on a CPU has not.

Parameter names are those of diffusers, which the original checkpoints use.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers_ext.models import eager_attention
from ppdiffusers_ext.models.channels_last import FEW_PIXELS, group_norm, is_channels_last

Parameter = TypeVar("Parameter", paddle.Tensor, paddle.Tensor | None)
# Attention scores that exist at one time on a CPU: 16 M floats are 64 MB, small beside the weights and near the cache.
MAX_SCORES = 16 * 2**20
_IN_PARTS = contextvars.ContextVar("attention in parts", default=False)


@contextlib.contextmanager
def attention_in_parts(is_so: bool) -> Iterator[None]:
    """Have graphs that are traced meanwhile compute attention in parts, for engines that do not fuse it."""
    token = _IN_PARTS.set(is_so)
    try:
        yield
    finally:
        _IN_PARTS.reset(token)


def compute_dtype(parameter: paddle.Tensor) -> paddle.dtype:
    """The dtype in which a network with this parameter computes: its own, or fp32 for half precision on a CPU."""
    half = parameter.dtype in (paddle.float16, paddle.bfloat16)
    if not half:
        return parameter.dtype
    # Weights that are not in memory will be on the current device.
    is_there = parameter._is_initialized()
    on_cpu = parameter.place.is_cpu_place() if is_there else paddle.device.get_device() == "cpu"
    return paddle.float32 if on_cpu else parameter.dtype


def follow(parameter: Parameter, activations: paddle.Tensor) -> Parameter:
    """A parameter (or None) in the dtype of activations."""
    if parameter is None or parameter.dtype == activations.dtype:
        return parameter
    return parameter.astype(activations.dtype)


class Linear(nn.Linear):
    """`nn.Linear` (weight stored as (in, out)) whose parameters follow the dtype of the activations."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.linear(x, follow(self.weight, x), follow(self.bias, x))


class Conv2D(nn.Conv2D):
    """`nn.Conv2D` with zero padding whose parameters follow the dtype of the activations."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        weight, bias = follow(self.weight, x), follow(self.bias, x)
        padding: Any = self._padding if isinstance(self._padding, (list, tuple)) else [self._padding] * 2
        return convolve(x, weight, bias, self._stride, padding)


def convolve(
    x: paddle.Tensor,
    weight: paddle.Tensor,
    bias: paddle.Tensor | None = None,
    stride: tuple[int, int] | list[int] = (1, 1),
    padding: tuple[int, int] | list[int] = (0, 0),
) -> paddle.Tensor:
    """`F.conv2d`, whose bias is added in the way that is quickest on a CPU."""
    if not paddle.in_dynamic_mode():  # compiled engines add the bias in the convolution
        return F.conv2d(x, weight, bias, stride=stride, padding=padding)
    y = F.conv2d(x, weight, None, stride=stride, padding=padding)
    return y if bias is None else _add_to_channels(y, bias)


def _add_to_channels(x: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:
    """(batch, channels, h, w) + (channels,). Paddle's CPU kernel is six times quicker with a matrix and a column."""
    batch, channels, height, width = x.shape
    column = bias.unsqueeze(0).expand([batch, channels]).reshape([batch * channels, 1])
    return (x.reshape([batch * channels, height * width]) + column).reshape([batch, channels, height, width])


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` over (batch, channels, ...) whose parameters follow the dtype of the activations.

    Raises:
        ValueError: the channels do not divide into the groups.
    """

    def __init__(self, num_groups: int, num_channels: int, epsilon: float) -> None:
        if num_channels % num_groups:
            raise ValueError(f"{num_channels} channels cannot be normalised in {num_groups} groups of equal size")
        super().__init__(num_groups, num_channels, epsilon)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if is_channels_last() and x.ndim > 3 and x.shape[-2] * x.shape[-1] > FEW_PIXELS:
            return group_norm(x, self)
        return F.group_norm(x, self._num_groups, self._epsilon, follow(self.weight, x), follow(self.bias, x))


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` over the last axis whose parameters follow the dtype of the activations."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        weight, bias = follow(self.weight, x), follow(self.bias, x)
        if weight.stop_gradient and not x.stop_gradient:  # type: ignore[union-attr]  # norms here have both
            # Paddle's CPU kernel gives a gradient that is wrong by up to 86% when the weight is frozen.
            return F.layer_norm(x, self._normalized_shape, None, None, self._epsilon) * weight + bias  # type: ignore[operator]  # norms here have both
        return F.layer_norm(x, self._normalized_shape, weight, bias, self._epsilon)


def scaled_dot_product(
    query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor, num_heads: int, bias: paddle.Tensor | None = None
) -> paddle.Tensor:
    """Multi-head attention without projections: softmax(q k^T / sqrt(channels / num_heads) + bias) v.

    Args:
        query: (batch, queries, channels)
        key, value: (batch, keys, channels)
        num_heads: how many heads the channels divide into.
        bias: (batch, keys), added to the scores of each key, or None.

    Returns:
        (batch, queries, channels). On a CPU the score matrix is computed in parts (`eager_attention`), so that memory
        does not grow with the square of the picture's area; a graph that is traced for a compiled engine has it in one
        piece, which engines recognise and fuse, or in parts of at most `MAX_SCORES` as well (`attention_in_parts`).
    """
    batch, queries, channels = query.shape
    query, key, value = (x.reshape([batch, x.shape[1], num_heads, -1]) for x in (query, key, value))
    if not paddle.in_dynamic_mode():
        # Each twice, which is the same: with 2 keys, or as many queries as heads, OpenVINO (2026.4) is wrong in bf16.
        if key.shape[1] == 2 or queries == num_heads:
            key, value = (paddle.concat([x, x], axis=1) for x in (key, value))
            bias = None if bias is None else paddle.concat([bias, bias], axis=1)
        query, key, value = (x.transpose([0, 2, 1, 3]) for x in (query / math.sqrt(query.shape[3]), key, value))
        attend = _attend_in_parts if _IN_PARTS.get() else _attend
        return attend(query, key, value, bias).transpose([0, 2, 1, 3]).reshape([batch, queries, channels])
    if not query.place.is_cpu_place():
        return _attend_fused(query, key, value, bias).reshape([batch, queries, channels])

    query = query / math.sqrt(channels // num_heads)
    query, key, value = (_swap_rows(x) for x in (query, key, value))  # (batch, heads, tokens, d)
    attend = eager_attention.attend if eager_attention.is_worth_it(queries, key.shape[2]) else _attend_in_parts
    return _swap_rows(attend(query, key, value, bias)).reshape([batch, queries, channels])


def _attend_fused(
    query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor, bias: paddle.Tensor | None = None
) -> paddle.Tensor:
    """As `_attend`, of (batch, tokens, heads, d), in Paddle's own kernels: flash attention in half precision on a GPU.

    The bias has a row for each query: the kernel for fp32 (memory-efficient attention) steps over rows that a mask of
    one row for all, which others take, does not have.
    """
    if bias is not None:
        bias = bias.astype(query.dtype).unsqueeze([1, 2])  # (batch, 1, 1, keys)
        bias = bias.expand([query.shape[0], 1, query.shape[1], key.shape[1]])
    return F.scaled_dot_product_attention(query, key, value, bias)


def _swap_rows(x: paddle.Tensor) -> paddle.Tensor:
    """(batch, n, m, d) -> (batch, m, n, d), where d is small, on a CPU in eager mode.

    `transpose` makes a view there, which the next operation copies number by number; this is up to 18 times as quick.
    """
    batch, n, m, d = x.shape
    return F.channel_shuffle(x.reshape([batch, n * m, d, 1]), n).reshape([batch, m, n, d])


def _attend_in_parts(
    query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor, bias: paddle.Tensor | None = None
) -> paddle.Tensor:
    batch, heads, queries = query.shape[:3]
    scores_per_query = heads * key.shape[2]
    rows = max(1, min(queries, MAX_SCORES // scores_per_query))
    samples = max(1, MAX_SCORES // (scores_per_query * queries))
    parts = []
    given: Any = [_pieces(x, samples, axis=0) for x in (query, key, value)]
    given.append([None] * len(given[0]) if bias is None else _pieces(bias, samples, axis=0))
    for q, k, v, b in zip(*given, strict=True):
        parts.append(_join([_attend(piece, k, v, b) for piece in _pieces(q, rows, axis=2)], axis=2))
    return _join(parts, axis=0)  # (batch, heads, queries, d)


def _attend(
    query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor, bias: paddle.Tensor | None = None
) -> paddle.Tensor:
    scores = paddle.matmul(query, key, transpose_y=True)  # (batch, heads, queries, keys)
    if bias is not None:
        scores = scores + bias.astype(scores.dtype).unsqueeze([1, 2])
    return paddle.matmul(F.softmax(scores, axis=-1), value)  # (batch, heads, queries, d)


def _pieces(x: paddle.Tensor, size: int, axis: int) -> list[paddle.Tensor]:
    """Of a tensor, at most `size` of the axis each."""
    length = x.shape[axis]
    starts = range(0, length, size)
    if len(starts) == 1:
        return [x]
    if not paddle.in_dynamic_mode():  # paddle2onnx (2.1) cannot write a split
        return [paddle.slice(x, [axis], [start], [min(start + size, length)]) for start in starts]
    # Not slices: the gradient of each would fill the whole tensor.
    return x.split([min(size, length - start) for start in starts], axis)


def _join(parts: Sequence[paddle.Tensor], axis: int) -> paddle.Tensor:
    return parts[0] if len(parts) == 1 else paddle.concat(parts, axis=axis)


class Attention(nn.Layer):
    """Multi-head attention with the parameter names of diffusers: to_q, to_k, to_v (no bias) and to_out.0.

    Args:
        channels: width of the queries and of the output.
        num_heads: number of heads.
        inner_channels: width inside, `channels` unless given.
        context_channels: width of the keys' and values' source, `channels` unless given.

    Raises:
        ValueError: the inner width does not divide into the heads.
    """

    def __init__(
        self, channels: int, num_heads: int, inner_channels: int | None = None, context_channels: int | None = None
    ) -> None:
        super().__init__()
        inner_channels = inner_channels or channels
        if inner_channels % num_heads:
            raise ValueError(f"attention of {inner_channels} channels does not divide into {num_heads} heads")
        self.num_heads = num_heads
        self.to_q = Linear(channels, inner_channels, bias_attr=False)
        self.to_k = Linear(context_channels or channels, inner_channels, bias_attr=False)
        self.to_v = Linear(context_channels or channels, inner_channels, bias_attr=False)
        self.to_out = nn.LayerList([Linear(inner_channels, channels)])

    def forward(self, x: paddle.Tensor, context: paddle.Tensor | None = None) -> paddle.Tensor:
        """(batch, tokens, channels), context (batch, keys, context_channels) or None for self-attention."""
        context = x if context is None else context
        out = scaled_dot_product(self.to_q(x), self.to_k(context), self.to_v(context), self.num_heads)
        return self.to_out[0](out)  # (batch, tokens, channels)


class GEGLU(nn.Layer):
    """Linear to twice the width; one half is gated by the exact (erf) GELU of the other."""

    def __init__(self, channels: int, inner_channels: int) -> None:
        super().__init__()
        self.proj = Linear(channels, inner_channels * 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x, gate = self.proj(x).chunk(2, axis=-1)  # (batch, tokens, inner_channels) each
        return x * F.gelu(gate)


class FeedForward(nn.Layer):
    """GEGLU feed-forward of four times the width; `net.1` is the (parameterless) dropout's place in the original."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.LayerList([GEGLU(channels, channels * 4), nn.Identity(), Linear(channels * 4, channels)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.net[2](self.net[0](x))


def resize_nearest(x: paddle.Tensor, size: Sequence[int]) -> paddle.Tensor:
    """(batch, channels, h, w) -> (batch, channels, *size), each the nearest of the old pixels."""
    batch, channels, height, width = x.shape
    doubled = 2 * height, 2 * width
    is_traced = not paddle.in_dynamic_mode() and not is_channels_last()
    if is_traced and all(side in (twice - 1, twice) for side, twice in zip(size, doubled)):
        # In a traced graph by repetition: Paddle Inference cannot run the operation for resizing in oneDNN (3.3).
        x = x.unsqueeze([3, 5]).expand([batch, channels, height, 2, width, 2]).reshape([batch, channels, *doubled])
        return x[:, :, : size[0], : size[1]]
    return F.interpolate(x, size=size, mode="nearest")


def sinusoidal_embedding(
    positions: paddle.Tensor, channels: int, flip_sin_to_cos: bool = True, freq_shift: int = 0
) -> paddle.Tensor:
    """Sinusoidal embedding of timesteps: (batch,) -> (batch, channels) in fp32; `channels` is even.

    As diffusers' `get_timestep_embedding`: the cosines stand first if `flip_sin_to_cos`; `freq_shift` is subtracted
    from the number of frequencies.
    """
    half = channels // 2
    exponent = -math.log(10000) * np.arange(half, dtype=np.float32) / np.float32(half - freq_shift)
    # Rounded from the exact value: Paddle's own exponential is off by a bit, which a timestep multiplies.
    frequencies = paddle.to_tensor(np.exp(exponent.astype(np.float64)).astype(np.float32))
    angles = positions.astype("float32").unsqueeze(1) * frequencies.unsqueeze(0)  # (batch, half)
    parts = [paddle.cos(angles), paddle.sin(angles)] if flip_sin_to_cos else [paddle.sin(angles), paddle.cos(angles)]
    return paddle.concat(parts, axis=1)  # (batch, channels)


class TimestepEmbedding(nn.Layer):
    """Two linear layers with SiLU between: (batch, in_channels) -> (batch, channels)."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.linear_1 = Linear(in_channels, channels)
        self.linear_2 = Linear(channels, channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))

"""What EasyAnimate V4's transformer is told beside the video: time, sizes, what a text is about, what CLIP sees.

From aigc-apps/EasyAnimate (`easyanimate/models/embeddings.py`, `resampler.py`), after Hunyuan-DiT (Li et al. 2024,
arXiv:2405.08748) and Qwen-VL (Bai et al. 2023, arXiv:2308.12966). Names are the original's.
"""

import math

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers_ext.models.easy_animate.positions import grid_table, resize_grid
from ppdiffusers_ext.models.easy_animate.shared import EMBEDDED, Projection
from ppdiffusers_ext.models.layers import (
    LayerNorm,
    Linear,
    TimestepEmbedding,
    follow,
    scaled_dot_product,
)

_SIZES = 6  # numbers that tell of the picture's size
_POOL_HEADS = 8


class Conditioning(nn.Layer):
    """What all tokens are shifted by: the time, what the second text is about, and sizes."""

    def __init__(self, channels: int, pooled: int, text_length: int, text_channels: int) -> None:
        super().__init__()
        self.timestep_embedder = TimestepEmbedding(EMBEDDED, channels)
        self.pooler = _Pooler(text_length, text_channels, pooled)
        self.style_embedder = nn.Embedding(1, channels)  # of one style; the original means to have more some day
        self.extra_embedder = Projection(_SIZES * EMBEDDED + channels + pooled, 4 * channels, channels)

    def embed_extra(self, text: paddle.Tensor, sizes: paddle.Tensor) -> paddle.Tensor:
        """What does not depend on the time: (batch, tokens, text channels), (batch, 6 * 256) -> (batch, channels)."""
        style = follow(self.style_embedder.weight, text).expand([text.shape[0], -1])  # (batch, channels)
        return self.extra_embedder(paddle.concat([self.pooler(text), sizes.astype(text.dtype), style], axis=1))

    def forward(self, time: paddle.Tensor, extra: paddle.Tensor) -> paddle.Tensor:
        """Sinusoids (batch, 256) and what `embed_extra` gives -> (batch, channels)."""
        return self.timestep_embedder(time.astype(extra.dtype)) + extra


class _Pooler(nn.Layer):
    """Attention of a text's mean to the text, padding and all."""

    def __init__(self, length: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.positional_embedding = self.create_parameter([length + 1, channels])
        self.k_proj, self.q_proj, self.v_proj = (Linear(channels, channels) for _ in range(3))
        self.c_proj = Linear(channels, outputs)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, tokens, channels) -> (batch, outputs)."""
        x = paddle.concat([x.mean(axis=1, keepdim=True), x], axis=1) + follow(self.positional_embedding, x)
        query, key, value = self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x)
        return self.c_proj(scaled_dot_product(query, key, value, _POOL_HEADS)).squeeze(1)


class Resampler(nn.Layer):
    """Learned queries that attend to CLIP's tokens.

    Args:
        count: of queries, a square number.
        channels: width of queries and output.
        heads: of the attention.
        inputs: width of CLIP's tokens.
    """

    def __init__(self, count: int, channels: int, heads: int, inputs: int) -> None:
        super().__init__()
        self.query = self.create_parameter([count, channels])
        self.kv_proj = Linear(inputs, channels, bias_attr=False) if inputs != channels else nn.Identity()
        self.attn = _TorchAttention(channels, heads)
        self.ln_q, self.ln_kv = (LayerNorm(channels) for _ in range(2))

    def forward(self, tokens: paddle.Tensor) -> paddle.Tensor:
        """(batch, tokens, inputs), of a square of tokens -> (batch, count, channels)."""
        values = self.ln_kv(self.kv_proj(tokens))  # (batch, tokens, channels)
        side = math.isqrt(self.query.shape[0])
        places = grid_table(side, side, self.query.shape[1]).astype(values.dtype)  # (count, channels)
        query = self.ln_q(follow(self.query, values)) + places  # (count, channels)
        keys = values + resize_grid(places.astype("float32"), tokens.shape[1]).astype(values.dtype)
        return self.attn(query.unsqueeze(0).expand([tokens.shape[0], *query.shape]), keys, values)


class _TorchAttention(nn.Layer):
    """Multi-head attention with the parameters of torch's `MultiheadAttention`."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = self.create_parameter([3 * channels, channels])  # as in torch: (out, in)
        self.in_proj_bias = self.create_parameter([3 * channels], is_bias=True)
        self.out_proj = Linear(channels, channels)

    def forward(self, query: paddle.Tensor, key: paddle.Tensor, value: paddle.Tensor) -> paddle.Tensor:
        """(batch, queries, channels), (batch, keys, channels) twice -> as the first."""
        weights = follow(self.in_proj_weight, query).chunk(3, axis=0)
        biases = follow(self.in_proj_bias, query).chunk(3, axis=0)
        query, key, value = [F.linear(x, w.t(), b) for x, w, b in zip((query, key, value), weights, biases)]
        return self.out_proj(scaled_dot_product(query, key, value, self.heads))

"""Motion module: attention over time, inserted after the spatial layers of the denoising UNet.

From AnimateDiff (Guo et al. 2023, arXiv:2307.04725, github.com/guoyww/AnimateDiff), as used by
MooreThreads/Moore-AnimateAnyone (`src/models/motion_module.py`). Parameter and option names are the original's.
Differences: frames arrive folded into the batch, and time is unfolded once at the entrance instead of twice in every
attention; a window that is longer than the position table is an error instead of a broadcast failure.
"""

import math
from collections.abc import Sequence

import paddle
from paddle import nn

from ppdiffusers_ext.models.layers import Attention, FeedForward, GroupNorm, LayerNorm, Linear

NORM_GROUPS = 32  # whatever the UNet's norm_num_groups says: the original never passes it on


class PositionalEncoding(nn.Layer):
    """Adds a fixed sinusoidal table to (batch, frames, channels): even channels sine, odd channels cosine.

    The table `pe` (1, max_len, channels) is part of the checkpoint. Positions count from 0 inside the window.
    """

    def __init__(self, channels: int, max_len: int) -> None:
        super().__init__()
        position = paddle.arange(max_len, dtype="float32").unsqueeze(1)  # (max_len, 1)
        frequency = paddle.exp(paddle.arange(0, channels, 2, dtype="float32") * (-math.log(10000.0) / channels))
        table = paddle.stack([paddle.sin(position * frequency), paddle.cos(position * frequency)], axis=2)
        self.register_buffer("pe", table.reshape([1, max_len, channels]))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        num_frames, max_len = x.shape[1], self.pe.shape[1]
        if num_frames > max_len:
            raise ValueError(
                f"a window of {num_frames} frames is longer than the motion module's position table of {max_len}"
            )
        return x + self.pe[:, :num_frames].astype(x.dtype)


class TemporalAttention(Attention):
    """Self-attention over frames; the positions enter queries, keys and values, but not the residual path."""

    def __init__(self, channels: int, num_heads: int, position_encoding_max_len: int | None = None) -> None:
        super().__init__(channels, num_heads)
        self.pos_encoder = (
            PositionalEncoding(channels, position_encoding_max_len) if position_encoding_max_len else None
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # type: ignore[override]  # attends to itself alone
        return super().forward(x if self.pos_encoder is None else self.pos_encoder(x))  # (batch, frames, channels)


class TemporalTransformerBlock(nn.Layer):
    """Pre-norm temporal attentions, one for each entry of `attention_block_types`, then a GEGLU feed-forward."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        attention_block_types: Sequence[str],
        position_encoding_max_len: int | None = None,
    ) -> None:
        super().__init__()
        unknown = set(attention_block_types) - {"Temporal_Self"}
        if unknown:
            raise ValueError(f"attention_block_types {sorted(unknown)} are not supported; use Temporal_Self")
        self.attention_blocks = nn.LayerList(
            [TemporalAttention(channels, num_heads, position_encoding_max_len) for _ in attention_block_types]
        )
        self.norms = nn.LayerList([LayerNorm(channels) for _ in attention_block_types])
        self.ff = FeedForward(channels)
        self.ff_norm = LayerNorm(channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms):
            x = x + attention(norm(x))  # (batch, frames, channels)
        return x + self.ff(self.ff_norm(x))


class TemporalTransformer(nn.Layer):
    """Group norm (per frame), linear in, temporal transformer blocks, linear out, residual."""

    def __init__(
        self,
        in_channels: int,
        inner_channels: int,
        num_heads: int,
        num_blocks: int,
        attention_block_types: Sequence[str],
        max_len: int | None,
    ) -> None:
        super().__init__()
        self.norm = GroupNorm(NORM_GROUPS, in_channels, epsilon=1e-6)
        self.proj_in = Linear(in_channels, inner_channels)
        self.transformer_blocks = nn.LayerList(
            [
                TemporalTransformerBlock(inner_channels, num_heads, attention_block_types, max_len)
                for _ in range(num_blocks)
            ]
        )
        self.proj_out = Linear(inner_channels, in_channels)

    def forward(self, x: paddle.Tensor, num_frames: int) -> paddle.Tensor:
        folded, channels, height, width = x.shape
        batch, area = folded // num_frames, height * width
        y = self.norm(x)  # (batch*frames, channels, height, width)
        y = y.reshape([batch, num_frames, channels, area]).transpose([0, 3, 1, 2])  # (batch, area, frames, channels)
        y = self.proj_in(y.reshape([batch * area, num_frames, channels]))  # (batch*area, frames, inner)
        for block in self.transformer_blocks:
            y = block(y)  # (batch*area, frames, inner)
        y = self.proj_out(y).reshape([batch, area, num_frames, channels])
        y = y.transpose([0, 2, 3, 1]).reshape([folded, channels, height, width])  # (batch*frames, channels, h, w)
        return x + y


class MotionModule(nn.Layer):
    """The original's `VanillaTemporalModule`.

    Args:
        in_channels: width of the feature map, a multiple of 32.
        num_attention_heads: heads of each temporal attention.
        num_transformer_block: number of transformer blocks.
        attention_block_types: one entry for each attention in a block; "Temporal_Self" is the only kind.
        temporal_position_encoding, temporal_position_encoding_max_len: whether frame positions are added, and how many
            there are. No window can be longer.
        temporal_attention_dim_div: inner width is `in_channels` divided by this.
        zero_initialize: start as the identity (a new module must not disturb the image model).

    Raises:
        ValueError: options that the original does not support either, or widths that do not divide.
    """

    def __init__(
        self,
        in_channels: int,
        num_attention_heads: int = 8,
        num_transformer_block: int = 2,
        attention_block_types: Sequence[str] = ("Temporal_Self", "Temporal_Self"),
        cross_frame_attention_mode: str | None = None,
        temporal_position_encoding: bool = False,
        temporal_position_encoding_max_len: int = 24,
        temporal_attention_dim_div: int = 1,
        zero_initialize: bool = True,
    ) -> None:
        super().__init__()
        if cross_frame_attention_mode is not None:
            raise ValueError(f"cross_frame_attention_mode {cross_frame_attention_mode!r} is not supported; use null")
        # As in the original: the width of one head is rounded down, then multiplied by the number of heads.
        inner_channels = in_channels // num_attention_heads // temporal_attention_dim_div * num_attention_heads
        self.temporal_transformer = TemporalTransformer(
            in_channels,
            inner_channels,
            num_attention_heads,
            num_transformer_block,
            attention_block_types,
            temporal_position_encoding_max_len if temporal_position_encoding else None,
        )
        if zero_initialize:
            for parameter in self.temporal_transformer.proj_out.parameters():
                nn.initializer.Constant(0.0)(parameter)

    def forward(self, x: paddle.Tensor, num_frames: int) -> paddle.Tensor:
        """(batch*frames, channels, height, width), frames running fastest -> the same shape.

        Raises:
            ValueError: more frames than the position table holds.
        """
        return self.temporal_transformer(x, num_frames)

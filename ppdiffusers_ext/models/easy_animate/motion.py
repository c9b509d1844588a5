"""Motion modules of EasyAnimate's transformer before V4: attention across frames.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/models/motion_module.py`), after AnimateDiff (Guo et al. 2023, arXiv:2307.04725). Names are the
original's.
"""

from collections.abc import Sequence
from typing import Any

import paddle
from paddle import nn

from ppdiffusers_ext.models.easy_animate.positions import frame_table
from ppdiffusers_ext.models.layers import Attention, FeedForward, GroupNorm, LayerNorm, Linear
from ppdiffusers_ext.models.sequence import all_units, attend_to_all, own_part

_GROUPS, _EPSILON = 32, 1e-6
_GLOBAL = "Global_Self"


class Motion(nn.Layer):
    """A motion module, which adds what it finds across frames.

    Args:
        channels: of the tokens.
        is_grid: whether frames are attended to in squares of tokens, of `block_size`.
        num_attention_heads, temporal_attention_dim_div: of the attention; the second makes it less wide.
        num_transformer_block: how many transformer blocks it has.
        attention_block_types: "Temporal_Self", each place by itself over frames, or "Global_Self", all tokens as one.
        temporal_position_encoding: whether attention knows the number of the frame.
        remove_time_embedding_in_photo: not for a single frame.
        others: without effect.
    """

    def __init__(
        self,
        channels: int,
        is_grid: bool = False,
        num_attention_heads: int = 8,
        num_transformer_block: int = 2,
        attention_block_types: Sequence[str] = ("Temporal_Self", "Temporal_Self"),
        temporal_position_encoding: bool = False,
        temporal_attention_dim_div: int = 1,
        block_size: int = 1,
        remove_time_embedding_in_photo: bool = False,
        **others: Any,
    ) -> None:
        super().__init__()
        self.num_heads = num_attention_heads
        self.temporal_transformer = nn.Layer()
        body = self.temporal_transformer
        body.norm = GroupNorm(_GROUPS, channels, _EPSILON)
        inner = channels // temporal_attention_dim_div
        body.proj_in, body.proj_out = Linear(channels, inner), Linear(inner, channels)
        body.transformer_blocks = nn.LayerList(
            [
                _MotionBlock(
                    inner,
                    num_attention_heads,
                    attention_block_types,
                    block_size if is_grid else 1,
                    temporal_position_encoding,
                    remove_time_embedding_in_photo,
                )
                for _ in range(num_transformer_block)
            ]
        )

    def forward(self, x: paddle.Tensor, size: Sequence[int]) -> paddle.Tensor:
        """(batch, frames * tokens, channels), (frames, height, width) -> as the first."""
        frames, height, width = size
        body, channels = self.temporal_transformer, x.shape[2]
        y = x.reshape([-1, height * width, channels]).transpose([0, 2, 1])  # (batch * frames, channels, tokens)
        y = body.norm(y.reshape([-1, channels, height, width])).flatten(2).transpose([0, 2, 1])
        y = body.proj_in(y)  # (batch * frames, tokens, inner)
        for block in body.transformer_blocks:
            y = block(y, size)
        return x + body.proj_out(y).reshape(x.shape)


class _MotionBlock(nn.Layer):
    """Attentions across frames one after the other, and feed-forward."""

    def __init__(
        self, channels: int, heads: int, kinds: Sequence[str], square: int, knows_frames: bool, but_not_of_photos: bool
    ) -> None:
        super().__init__()
        self._kinds, self._square = tuple(kinds), square
        self._knows_frames, self._but_not_of_photos = knows_frames, but_not_of_photos
        self.attention_blocks = nn.LayerList([Attention(channels, heads) for _ in kinds])
        self.norms = nn.LayerList([LayerNorm(channels) for _ in kinds])
        self.ff, self.ff_norm = FeedForward(channels), LayerNorm(channels)

    def forward(self, x: paddle.Tensor, size: Sequence[int]) -> paddle.Tensor:
        """(batch * frames, tokens, channels), (frames, height, width) -> as the first."""
        for kind, attention, norm in zip(self._kinds, self.attention_blocks, self.norms):
            x = x + self._attend(kind, attention, norm(x), size)
        return x + self.ff(self.ff_norm(x))

    def _attend(self, kind: str, attention: nn.Layer, x: paddle.Tensor, size: Sequence[int]) -> paddle.Tensor:
        frames, height, width = size
        tokens, channels = x.shape[1:]
        shape = x.shape
        x = x.reshape([-1, frames, tokens, channels])  # (batch, frames, tokens, channels)
        count = all_units(frames)
        is_photo = count == 1 and kind != _GLOBAL and self._but_not_of_photos
        if self._knows_frames and not is_photo:
            x = x + own_part(frame_table(count, channels), 0).astype(x.dtype).unsqueeze(1)
        if kind == _GLOBAL:
            return _attend(attention, x.flatten(1, 2)).reshape(shape)
        n = self._square
        squares = [x.shape[0], frames, height // n, n, width // n, n, channels]
        x = x.reshape(squares).transpose([0, 2, 4, 1, 3, 5, 6])  # (batch, h / n, w / n, frames, n, n, channels)
        grouped = x.shape
        x = _attend(attention, x.reshape([-1, frames * n * n, channels])).reshape(grouped)
        return x.transpose([0, 3, 1, 4, 2, 5, 6]).reshape(shape)


def _attend(attention: nn.Layer, x: paddle.Tensor) -> paddle.Tensor:
    """(batch, tokens, channels), frame after frame -> the same; frames may be divided among devices."""
    x = attend_to_all(attention.to_q(x), attention.to_k(x), attention.to_v(x), attention.num_heads)
    return attention.to_out[0](x)

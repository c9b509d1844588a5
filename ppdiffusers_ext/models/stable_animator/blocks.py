"""Blocks of StableAnimator's UNet, on the layers that ppdiffusers makes for Stable Video Diffusion.

From StableAnimator (Tu et al. 2024, arXiv:2411.17697) in the form of Francis-Rings/StableAnimator
(`animation/modules/unet_3d_blocks.py`, `transformer_temporal.py`, which are diffusers' apart from the face). What
follows from the clip or from the step alone comes from outside, so that it is computed once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.distributed.fleet.utils import recompute

from ppdiffusers_ext.models.layers import follow, scaled_dot_product


class BlockConditions(NamedTuple):
    """What follows from the clip for one transformer block, with a single token of the picture.

    Attributes:
        value: (batch, 1, channels), what attention to the picture's token comes to before its output projection.
        face_key, face_value: (batch, face tokens, channels).
        shift: (batch, 1, channels), what attention to the picture's token comes to over frames.
    """

    value: paddle.Tensor
    face_key: paddle.Tensor
    face_value: paddle.Tensor
    shift: paddle.Tensor


# The projections of the time in a residual block, over pixels and over frames: (batch, channels) each.
Times = tuple[paddle.Tensor, paddle.Tensor]
# What one transformer block sees, see `Conditions.clip`: a context (batch, tokens, channels), or what follows from it.
Seen = paddle.Tensor | BlockConditions | None
# What all blocks of a transformer see.
ClipConditions = paddle.Tensor | Sequence[BlockConditions | None]


@dataclass(frozen=True)
class Conditions:
    """What a call knows beside the latents.

    Attributes:
        times: name of each residual block -> what `VideoResBlock.project` returns.
        clip: name of each transformer -> list of `BlockConditions`, one for each of its blocks, or None for no picture
            and no face; or the context (batch, tokens, channels) itself, in training.
        indicator: (batch, frames) of zeros, of which the shape counts.
    """

    times: dict[str, Times]
    clip: Mapping[str, ClipConditions]
    indicator: paddle.Tensor


class _Block(nn.Layer):
    """What `name_blocks` makes of ppdiffusers' blocks.

    With `gradient_checkpointing`, its layers keep nothing for the gradient in training but their input.
    """

    gradient_checkpointing = False

    def project(self, embedding: paddle.Tensor) -> dict[str, Times]:
        """Activated time embedding (batch, n) -> name of each residual block -> its projections."""
        return {f"{self.block_name}.resnets.{i}": resnet.project(embedding) for i, resnet in enumerate(self.resnets)}

    @property
    def transformers(self) -> "dict[str, VideoTransformer]":
        """Name -> transformer, in the order of execution."""
        return {f"{self.block_name}.attentions.{i}": x for i, x in enumerate(getattr(self, "attentions", None) or ())}

    def _unit(self, i: int, x: paddle.Tensor, conditions: Conditions) -> paddle.Tensor:
        """(batch*frames, in channels, h, w) -> (batch*frames, channels, h, w)."""
        x = self._resnet(i, x, conditions)
        name = f"{self.block_name}.attentions.{i}"
        if name not in conditions.clip:
            return x
        return self._run(self.attentions[i], x, conditions.clip[name], conditions.indicator)

    def _resnet(self, i: int, x: paddle.Tensor, conditions: Conditions) -> paddle.Tensor:
        return self._run(self.resnets[i], x, conditions.times[f"{self.block_name}.resnets.{i}"], conditions.indicator)

    def _run(self, layer: nn.Layer, x: paddle.Tensor, *conditions: Any) -> paddle.Tensor:
        if self.gradient_checkpointing and self.training:
            return recompute(layer, x, *conditions, use_reentrant=False)
        return layer(x, *conditions)


class DownBlock(_Block):
    """Units of a residual block and a transformer, each a skip connection; then half the size."""

    def forward(
        self, x: paddle.Tensor, conditions: Conditions, units: int | None = None
    ) -> tuple[paddle.Tensor, list[paddle.Tensor], dict[str, paddle.Tensor]]:
        """(batch*frames, in channels, h, w) -> (batch*frames, channels, h', w'), list of skips, {}.

        With a number of `units` only the first of them run, without down-sampling.
        """
        skips = []
        for i in range(len(self.resnets) if units is None else units):
            x = self._unit(i, x, conditions)  # (batch*frames, channels, h, w)
            skips.append(x)
        if self.downsamplers is not None and units is None:
            x = self.downsamplers[0](x)  # (batch*frames, channels, ceil(h / 2), ceil(w / 2))
            skips.append(x)
        return x, skips, {}


class MidBlock(_Block):
    """A residual block, and units of a transformer and a residual block."""

    def forward(self, x: paddle.Tensor, conditions: Conditions) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """(batch*frames, channels, h, w) -> the same shape, {}."""
        for i in range(len(self.attentions)):
            x = self._unit(i, x, conditions)
        return self._resnet(len(self.attentions), x, conditions), {}


class UpBlock(_Block):
    """Units of a residual block on a skip connection and a transformer; then twice the size."""

    def forward(
        self, x: paddle.Tensor, skips: list[paddle.Tensor], conditions: Conditions, units: range | None = None
    ) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """(batch*frames, in channels, h, w) and the list of all open skips, whose last ones are consumed ->
        (batch*frames, channels, h', w'), {}. With a range of `units` only those run, and without the last of them
        there is no up-sampling."""
        units = range(len(self.resnets)) if units is None else units
        for i in units:
            x = paddle.concat([x, skips.pop()], axis=1)  # (batch*frames, in channels + skip, h, w)
            x = self._unit(i, x, conditions)  # (batch*frames, channels, h, w)
        if self.upsamplers is not None and units.stop == len(self.resnets):
            x = self.upsamplers[0](x, skips[-1].shape[2:])  # (batch*frames, channels, h', w')
        return x, {}


def name_blocks(unet: nn.Layer) -> None:
    """Have the blocks of a UNet of ppdiffusers be those here, each with its name."""
    unet.mid_block.__class__, unet.mid_block.block_name = MidBlock, "mid_block"
    for blocks, kind, name in ((unet.down_blocks, DownBlock, "down_blocks"), (unet.up_blocks, UpBlock, "up_blocks")):
        for i, block in enumerate(blocks):
            block.__class__, block.block_name = kind, f"{name}.{i}"


class VideoTransformer(nn.Layer):
    """Over pixels with all tokens of the context, then over frames with that of the picture alone."""

    def prepare(self, context: paddle.Tensor | None) -> Sequence[BlockConditions | None]:
        """Context (batch, 1 + face tokens, channels) or None -> `BlockConditions`, or None, of each block."""
        if context is None:
            return [None] * len(self.transformer_blocks)
        picture = context[:, :1]
        conditions = []
        for spatial, over_time in zip(self.transformer_blocks, self.temporal_transformer_blocks):
            value, face_key, face_value = spatial.attn2.processor.prepare(spatial.attn2, context)
            conditions.append(BlockConditions(value, face_key, face_value, over_time.see(picture)))
        return conditions

    def forward(self, x: paddle.Tensor, clip: ClipConditions, indicator: paddle.Tensor) -> paddle.Tensor:
        """
        Args:
            x: (batch*frames, channels, height, width).
            clip: as an item of `Conditions.clip`.
            indicator: (batch, frames).

        Returns:
            As x.
        """
        count, channels, height, width = x.shape
        batch, frames = indicator.shape
        y = self.norm(x).transpose([0, 2, 3, 1]).reshape([count, height * width, channels])
        y = self.proj_in(y)  # (batch*frames, height*width, channels)
        places = self.time_pos_embed(self.time_proj(paddle.arange(frames)).astype(y.dtype))  # (frames, channels)
        places = places.unsqueeze(0).expand([batch, *places.shape]).flatten(0, 1).unsqueeze(1)  # (count, 1, channels)
        blocks = zip(self.transformer_blocks, self.temporal_transformer_blocks)
        for i, (spatial, over_time) in enumerate(blocks):
            seen = clip if paddle.is_tensor(clip) else clip[i]
            y = spatial(y, seen)
            alpha = F.sigmoid(follow(self.time_mixer.mix_factor, y))
            y = alpha * y + (1 - alpha) * over_time(y + places, frames, seen)  # (batch*frames, height*width, channels)
        y = self.proj_out(y).reshape([count, height, width, channels]).transpose([0, 3, 1, 2])
        return x + y


class PictureBlock(nn.Layer):
    """Attention over a frame's pixels, to the picture and the face, and feed-forward."""

    def forward(self, x: paddle.Tensor, seen: Seen) -> paddle.Tensor:
        """(batch*frames, pixels, channels), what attention sees -> as the first."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), encoder_hidden_states=seen)
        return x + self.ff(self.norm3(x))


class TimeBlock(nn.Layer):
    """Feed-forward, attention over frames, to the picture, and feed-forward: each pixel by itself."""

    def see(self, picture: paddle.Tensor) -> paddle.Tensor:
        """Attention to the picture's one token (batch, 1, channels), which is all that there is to attend to."""
        return self.attn2.to_out[0](self.attn2.to_v(picture))  # (batch, 1, channels)

    def forward(self, x: paddle.Tensor, frames: int, seen: Seen) -> paddle.Tensor:
        """(batch*frames, pixels, channels), what attention sees -> as the first."""
        x = x + self.ff_in(self.norm_in(x))
        x = x + self._over_frames(self.norm1(x), frames)
        x = x + self._attend(x, frames, seen)
        return x + self.ff(self.norm3(x))

    def _over_frames(self, x: paddle.Tensor, frames: int) -> paddle.Tensor:
        attention = self.attn1
        shape = [-1, frames, *x.shape[1:]]
        query, key, value = (
            to(x).reshape(shape).transpose([0, 2, 1, 3]).flatten(0, 1)  # (batch*pixels, frames, channels)
            for to in (attention.to_q, attention.to_k, attention.to_v)
        )
        y = scaled_dot_product(query, key, value, attention.heads)  # (batch*pixels, frames, channels)
        y = y.reshape([-1, x.shape[1], frames, y.shape[2]]).transpose([0, 2, 1, 3])
        return attention.to_out[0](y.reshape([*x.shape[:2], y.shape[3]]))  # (batch*frames, pixels, channels)

    def _attend(self, x: paddle.Tensor, frames: int, seen: Seen) -> paddle.Tensor:
        if seen is None:
            return follow(self.attn2.to_out[0].bias, x)
        if isinstance(seen, tuple):  # BlockConditions
            shift = seen.shift
            return shift if shift.shape[0] == 1 else paddle.repeat_interleave(shift, frames, axis=0)
        picture = seen[:, : -self.num_face_tokens]  # (batch, picture tokens, context channels)
        y = self.norm2(x).reshape([seen.shape[0], -1, x.shape[2]])  # (batch, frames*pixels, channels)
        return self.attn2(y, encoder_hidden_states=picture).reshape(x.shape)

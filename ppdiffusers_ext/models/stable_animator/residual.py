"""Residual blocks of Stable Video Diffusion, over pixels and then over frames, in few passes over the data.

From diffusers' `SpatioTemporalResBlock`, whose weights and numbers they have. What comes from the frames is added to
what comes from the pixels once, instead of being blended with it; and a convolution over frames is one over rows of
pixels, which all engines can run. Traced for an engine that keeps channels innermost, the decoder has all frames in
one tensor instead.
"""

import paddle
import paddle.nn.functional as F
from paddle import nn
from ppdiffusers.models.autoencoder_kl_temporal_decoder import TemporalDecoder
from ppdiffusers.models.resnet import SpatioTemporalResBlock

from ppdiffusers_ext.models.borrowed import Network
from ppdiffusers_ext.models.channels_last import group_norm, is_channels_last, over_pixels, twice_the_size
from ppdiffusers_ext.models.layers import convolve, follow


class TimeConv(nn.Conv3D):
    """A convolution over frames alone: kernel (k, 1, 1), zero padding."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, channels, frames, pixels) or (batch, channels, frames, height, width) -> (batch, filters, ...)."""
        weight = follow(self.weight, x).squeeze(-1)  # (filters, channels, k, 1)
        rows = x.flatten(3) if x.ndim == 5 else x  # (batch, channels, frames, pixels)
        y = convolve(rows, weight, follow(self.bias, x), padding=[weight.shape[2] // 2, 0])
        return y.reshape([*y.shape[:3], *x.shape[3:]])

    def stacked(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, channels, frames, height, width) -> (batch, filters, frames, height, width)."""
        weight = follow(self.weight, x)
        return F.conv3d(x, weight, follow(self.bias, x), padding=[weight.shape[2] // 2, 0, 0])


class VideoResBlock(SpatioTemporalResBlock):
    """A block for (batch*frames, channels, height, width), frames running fastest."""

    def project(self, embedding: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """What the block takes of the time's activated embedding (batch, n): two of (batch, channels)."""
        return tuple(block.time_emb_proj(embedding) for block in (self.spatial_res_block, self.temporal_res_block))

    def forward(
        self,
        hidden_states: paddle.Tensor,
        temb: tuple[paddle.Tensor, paddle.Tensor] | None = None,
        image_only_indicator: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """
        Args:
            hidden_states: (batch*frames, channels, height, width).
            temb: what `project` returns, or None for a block that knows no time.
            image_only_indicator: (batch, frames), of which the shape counts.

        Returns:
            (batch*frames, out channels, height, width).
        """
        batch, frames = image_only_indicator.shape  # type: ignore[union-attr]  # never left out here
        spatial_time, temporal_time = temb or (None, None)
        if temb is not None:
            spatial_time = _for_each_frame(temb[0], frames)
        x = self._over_pixels(hidden_states, spatial_time)  # (batch*frames, out channels, height, width)
        _, channels, height, width = x.shape
        y = x.reshape([batch, frames, channels, height * width]).transpose([0, 2, 1, 3])
        y = self._over_frames(y, temporal_time) * self._share(y)  # (batch, out channels, frames, height*width)
        return x + y.transpose([0, 2, 1, 3]).reshape(x.shape)

    def stacked(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, channels, frames, height, width) -> (batch, out channels, ...), of a block that knows no time."""
        block = self.spatial_res_block
        y = over_pixels(F.silu(group_norm(x, block.norm1, by_frame=True)), block.conv1)
        y = over_pixels(F.silu(group_norm(y, block.norm2, by_frame=True)), block.conv2)
        x = y + (x if block.conv_shortcut is None else over_pixels(x, block.conv_shortcut))
        block = self.temporal_res_block
        y = block.conv1.stacked(F.silu(group_norm(x, block.norm1)))
        y = block.conv2.stacked(F.silu(group_norm(y, block.norm2)))
        return x + y * self._share(y)

    def _over_pixels(self, x: paddle.Tensor, time: paddle.Tensor | None) -> paddle.Tensor:
        block = self.spatial_res_block
        y = block.conv1(F.silu(block.norm1(x)))  # (batch*frames, out channels, height, width)
        if time is not None:
            y = y + time[:, :, None, None]
        y = block.conv2(F.silu(block.norm2(y)))
        return y + (x if block.conv_shortcut is None else block.conv_shortcut(x))

    def _over_frames(self, x: paddle.Tensor, time: paddle.Tensor | None) -> paddle.Tensor:
        block = self.temporal_res_block
        y = block.conv1(F.silu(block.norm1(x)))  # (batch, channels, frames, pixels)
        if time is not None:
            y = y + time[:, :, None, None]
        return block.conv2(F.silu(block.norm2(y)))

    def _share(self, x: paddle.Tensor) -> paddle.Tensor:
        """Of what comes from the frames: a tensor of one number."""
        alpha = F.sigmoid(follow(self.time_mixer.mix_factor, x))
        return alpha if self.time_mixer.switch_spatial_to_temporal_mix else 1 - alpha


class VideoDecoder(TemporalDecoder):
    """Stable Video Diffusion's decoder of latents."""

    def forward(
        self, sample: paddle.Tensor, image_only_indicator: paddle.Tensor, num_frames: int = 1
    ) -> paddle.Tensor:
        """As `TemporalDecoder.forward`: (batch*frames, 4, height, width) -> (batch*frames, 3, height*8, width*8)."""
        if not is_channels_last():
            return super().forward(sample, image_only_indicator, num_frames)
        x = over_pixels(_stacked(sample, num_frames), self.conv_in)  # (batch, channels, frames, height, width)
        first, *others = self.mid_block.resnets
        x = first.stacked(x)
        for block, attention in zip(others, self.mid_block.attentions):
            x = block.stacked(_stacked(attention(_in_rows(x)), num_frames))
        for level in self.up_blocks:
            for block in level.resnets:
                x = block.stacked(x)
            for upsampler in level.upsamplers or ():
                x = over_pixels(twice_the_size(x), upsampler.conv)
        x = over_pixels(F.silu(group_norm(x, self.conv_norm_out, by_frame=True)), self.conv_out)
        return _in_rows(self.time_conv_out.stacked(x))


def use_video_blocks(model: "Network") -> "Network":
    """Have a network of ppdiffusers compute its blocks and its decoder as `VideoResBlock` and `VideoDecoder` do.

    Returns:
        The network, whose weights and numbers are as before.
    """
    for layer in model.sublayers():
        if type(layer) is SpatioTemporalResBlock:
            layer.__class__ = VideoResBlock
        if type(layer) is nn.Conv3D and tuple(layer._kernel_size[1:]) == (1, 1):
            layer.__class__ = TimeConv
        if type(layer) is TemporalDecoder:
            layer.__class__ = VideoDecoder
    return model


def _for_each_frame(x: paddle.Tensor, frames: int) -> paddle.Tensor:
    """(batch, channels) -> (batch*frames, channels), or as it is for a batch of one, which suits all frames."""
    if x.shape[0] == 1:
        return x
    return paddle.repeat_interleave(x, frames, axis=0)


def _stacked(x: paddle.Tensor, frames: int) -> paddle.Tensor:
    """(batch*frames, channels, height, width) -> (batch, channels, frames, height, width)."""
    return x.reshape([-1, frames, *x.shape[1:]]).transpose([0, 2, 1, 3, 4])


def _in_rows(x: paddle.Tensor) -> paddle.Tensor:
    """(batch, channels, frames, height, width) -> (batch*frames, channels, height, width)."""
    return x.transpose([0, 2, 1, 3, 4]).flatten(0, 1)

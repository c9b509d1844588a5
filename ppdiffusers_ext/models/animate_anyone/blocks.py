"""Blocks that the reference UNet (2D) and the denoising UNet (3D) of Animate Anyone are made of.

From MooreThreads/Moore-AnimateAnyone (`src/models/unet_3d_blocks.py`, `resnet.py`), which extends diffusers' Stable
Diffusion 1.5 UNet. Parameter names are the original's. What differs: frames are folded into the batch, so that every
spatial layer sees (batch*frames, channels, height, width), frames running fastest. A batch of one frame each is the
2-D case.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.distributed.fleet.utils import recompute

from ppdiffusers_ext.models.animate_anyone.motion_module import MotionModule
from ppdiffusers_ext.models.animate_anyone.transformer import SpatialTransformer, repeat_rows
from ppdiffusers_ext.models.layers import Conv2D, GroupNorm, Linear, resize_nearest


class FrameGroupNorm(GroupNorm):
    """Group norm whose statistics cover one frame (the original's "inflated" norm) or all frames of a clip."""

    def __init__(self, num_groups: int, num_channels: int, epsilon: float, per_frame: bool) -> None:
        super().__init__(num_groups, num_channels, epsilon)
        self.per_frame = per_frame

    def forward(self, x: paddle.Tensor, num_frames: int) -> paddle.Tensor:  # type: ignore[override]  # frames are in the batch
        if self.per_frame or num_frames == 1:
            return super().forward(x)  # (batch*frames, channels, height, width)
        folded, channels, height, width = x.shape
        x = x.reshape([-1, num_frames, channels, height * width]).transpose([0, 2, 1, 3])
        x = super().forward(x).transpose([0, 2, 1, 3])  # (batch, frames, channels, height*width)
        return x.reshape([folded, channels, height, width])


class ResnetBlock(nn.Layer):
    """Norm, SiLU, convolution; the time embedding is added between the two halves; residual.

    Args:
        per_frame_norm: the original's `use_inflated_groupnorm`.
        time_scale_shift: the time embedding scales and shifts instead of being added.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temb_channels: int,
        groups: int,
        epsilon: float,
        per_frame_norm: bool,
        output_scale_factor: float = 1.0,
        time_scale_shift: bool = False,
    ) -> None:
        super().__init__()
        self.output_scale_factor = output_scale_factor
        self.time_scale_shift = time_scale_shift
        self.norm1 = FrameGroupNorm(groups, in_channels, epsilon, per_frame_norm)
        self.conv1 = Conv2D(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = Linear(temb_channels, out_channels * (2 if time_scale_shift else 1))
        self.norm2 = FrameGroupNorm(groups, out_channels, epsilon, per_frame_norm)
        self.conv2 = Conv2D(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = Conv2D(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: paddle.Tensor, time: paddle.Tensor, num_frames: int) -> paddle.Tensor:
        """x (batch*frames, in_channels, h, w), time (1 or batch, out_channels or twice as many), the projection of
        the activated time embedding -> (batch*frames, out_channels, h, w)."""
        y = self.conv1(F.silu(self.norm1(x, num_frames)))  # (batch*frames, out_channels, h, w)
        time = repeat_rows(time, x.shape[0]).unsqueeze([2, 3])  # (batch*frames, ..., 1, 1)
        if self.time_scale_shift:
            scale, shift = time.chunk(2, axis=1)
            y = self.norm2(y, num_frames) * (1 + scale) + shift
        else:
            y = self.norm2(y + time, num_frames)
        y = self.conv2(F.silu(y))  # (batch*frames, out_channels, h, w)
        x = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return (x + y) / self.output_scale_factor if self.output_scale_factor != 1.0 else x + y


class Downsample(nn.Layer):
    """Convolution of stride 2."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.conv = Conv2D(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(x)  # (batch*frames, channels, ceil(h / 2), ceil(w / 2)) with padding 1


class Upsample(nn.Layer):
    """Nearest up-sampling to a given size, that of the next skip connection, and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2D(channels, channels, 3, padding=1)

    def forward(self, x: paddle.Tensor, size: Sequence[int]) -> paddle.Tensor:
        return self.conv(resize_nearest(x, size))  # (batch*frames, channels, *size)


@dataclass(frozen=True)
class BlockOptions:
    """The options of a UNet that all of its blocks share; names as in its configuration where it has one."""

    temb_channels: int
    cross_attention_dim: int
    norm_num_groups: int
    norm_eps: float
    per_frame_norm: bool
    time_scale_shift: bool
    use_linear_projection: bool
    collects_features: bool
    motion_module_kwargs: dict

    def resnet(self, in_channels: int, channels: int, output_scale_factor: float = 1.0) -> ResnetBlock:
        return ResnetBlock(
            in_channels,
            channels,
            self.temb_channels,
            self.norm_num_groups,
            self.norm_eps,
            self.per_frame_norm,
            output_scale_factor,
            self.time_scale_shift,
        )

    def transformer(self, name: str, channels: int, num_heads: int) -> SpatialTransformer:
        return SpatialTransformer(
            name,
            channels,
            num_heads,
            self.cross_attention_dim,
            self.norm_num_groups,
            self.use_linear_projection,
            self.collects_features,
        )


@dataclass(frozen=True)
class Conditions:
    """What every block of one forward pass is given besides the feature map.

    Attributes:
        times: name of a resnet block -> (1 or batch, channels), which follow from the timestep alone.
        clip: name of a transformer -> `TransformerConditions`.
        context: (batch, keys, cross_attention_dim); None where every transformer has its shift.
        num_frames: frames of each sample.
        num_unconditional: leading samples that do not see the references.
    """

    times: dict
    clip: dict
    context: paddle.Tensor | None = None
    num_frames: int = 1
    num_unconditional: int = 0


def _has_gradients(layer: nn.Layer, args: tuple[Any, ...]) -> bool:
    """Whether a backward pass comes through a layer: where none does there is nothing to compute again."""
    values = (value for arg in args for value in (arg if isinstance(arg, tuple) else (arg,)))
    tensors = (*layer.parameters(), *(value for value in values if isinstance(value, paddle.Tensor)))
    return any(not tensor.stop_gradient for tensor in tensors)


class UNetBlock(nn.Layer):
    """What down, middle and up blocks share.

    Args:
        name: path of this block in the UNet.
        channels: width of the block.
        resnets: the resnet blocks.
        num_transformers: number of units of (spatial transformer, motion module).
        num_heads: heads of the spatial attentions; 0 for a block without attention.
        has_motion_module: whether motion modules follow.
        options: the UNet's `BlockOptions`.
    """

    def __init__(
        self,
        name: str,
        channels: int,
        resnets: Sequence[ResnetBlock],
        num_transformers: int,
        num_heads: int,
        has_motion_module: bool,
        options: "BlockOptions",
    ) -> None:
        super().__init__()
        self.name = name
        self.gradient_checkpointing = False
        self.keeps_last_unit = False
        self.resnets = nn.LayerList(resnets)
        self.attentions = self.motion_modules = None
        units = range(num_transformers)
        if num_heads:
            transformers = [options.transformer(f"{name}.attentions.{i}", channels, num_heads) for i in units]
            self.attentions = nn.LayerList(transformers)
        if has_motion_module:
            motion_modules = [MotionModule(channels, **options.motion_module_kwargs) for _ in units]
            self.motion_modules = nn.LayerList(motion_modules)

    def _run(self, i: int, layer: nn.Layer, *args: Any) -> Any:
        recomputed = self.gradient_checkpointing and not (self.keeps_last_unit and i == len(self.resnets) - 1)
        if recomputed and self.training and _has_gradients(layer, args):
            # Reentrant recomputation gives no gradient to weights behind an input that needs none (stage 2).
            return recompute(layer, *args, use_reentrant=False)
        return layer(*args)

    def prepare_step(self, embedding: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """Activated time embedding (batch, temb_channels) -> name of each resnet block -> its projection."""
        return {f"{self.name}.resnets.{i}": resnet.time_emb_proj(embedding) for i, resnet in enumerate(self.resnets)}

    def _resnet(self, i: int, x: paddle.Tensor, conditions: Conditions) -> paddle.Tensor:
        return self._run(i, self.resnets[i], x, conditions.times[f"{self.name}.resnets.{i}"], conditions.num_frames)

    def _attend(
        self, i: int, x: paddle.Tensor, conditions: Conditions, features: dict[str, paddle.Tensor]
    ) -> paddle.Tensor:
        num_frames = conditions.num_frames
        if self.attentions is not None:
            attention = self.attentions[i]
            clip = conditions.clip[attention.feature_name]
            arguments = (x, conditions.context, clip.reference, clip.shift, num_frames, conditions.num_unconditional)
            x, tokens = self._run(i, attention, *arguments)
            if tokens is not None:
                features[attention.feature_name] = tokens
        return x if self.motion_modules is None else self._run(i, self.motion_modules[i], x, num_frames)


class DownBlock(UNetBlock):
    """Units of resnet, transformer and motion module, each a skip connection; then down-sampling."""

    def __init__(
        self,
        name: str,
        in_channels: int,
        channels: int,
        num_layers: int,
        num_heads: int,
        has_motion_module: bool,
        options: "BlockOptions",
        downsample_padding: int | None = None,
    ) -> None:
        resnets = [options.resnet(in_channels if i == 0 else channels, channels) for i in range(num_layers)]
        super().__init__(name, channels, resnets, num_layers, num_heads, has_motion_module, options)
        self.downsamplers = None
        if downsample_padding is not None:
            self.downsamplers = nn.LayerList([Downsample(channels, downsample_padding)])

    def forward(
        self, x: paddle.Tensor, conditions: Conditions, units: int | None = None
    ) -> tuple[paddle.Tensor, list[paddle.Tensor], dict[str, paddle.Tensor]]:
        """(batch*frames, in_channels, h, w) -> (batch*frames, channels, h', w'), list of skips, dict of features.

        With a number of `units` only the first of them run, without down-sampling.
        """
        skips: list = []
        features: dict = {}
        for i in range(len(self.resnets) if units is None else units):
            x = self._resnet(i, x, conditions)  # (batch*frames, channels, h, w)
            x = self._attend(i, x, conditions, features)
            skips.append(x)
        if self.downsamplers is not None and units is None:
            x = self.downsamplers[0](x)  # (batch*frames, channels, ceil(h / 2), ceil(w / 2))
            skips.append(x)
        return x, skips, features


class MidBlock(UNetBlock):
    """Resnet, transformer, motion module, resnet."""

    def __init__(
        self,
        name: str,
        channels: int,
        num_heads: int,
        has_motion_module: bool,
        options: "BlockOptions",
        output_scale_factor: float,
    ) -> None:
        resnets = [options.resnet(channels, channels, output_scale_factor) for _ in range(2)]
        super().__init__(name, channels, resnets, 1, num_heads, has_motion_module, options)

    def forward(self, x: paddle.Tensor, conditions: Conditions) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """(batch*frames, channels, h, w) -> the same shape, dict of features."""
        features: dict = {}
        x = self._resnet(0, x, conditions)
        x = self._attend(0, x, conditions, features)
        return self._resnet(1, x, conditions), features


class UpBlock(UNetBlock):
    """Units of resnet (on a skip connection), transformer and motion module; then up-sampling.

    Args:
        in_channels: width of the incoming feature map.
        skip_channels: widths of the skip connections, in the order of use.
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        channels: int,
        skip_channels: Sequence[int],
        num_heads: int,
        has_motion_module: bool,
        options: "BlockOptions",
        add_upsample: bool,
    ) -> None:
        incoming = [in_channels] + [channels] * (len(skip_channels) - 1)
        resnets = [options.resnet(width + skip, channels) for width, skip in zip(incoming, skip_channels)]
        super().__init__(name, channels, resnets, len(resnets), num_heads, has_motion_module, options)
        self.upsamplers = nn.LayerList([Upsample(channels)]) if add_upsample else None

    def forward(
        self, x: paddle.Tensor, skips: list[paddle.Tensor], conditions: Conditions, units: range | None = None
    ) -> tuple[paddle.Tensor, dict[str, paddle.Tensor]]:
        """(batch*frames, in_channels, h, w) and the list of all open skips, whose last ones are consumed ->
        (batch*frames, channels, h', w'), dict of features. With a range of `units` only those run."""
        features: dict = {}
        for i in range(len(self.resnets)) if units is None else units:
            x = paddle.concat([x, skips.pop()], axis=1)  # (batch*frames, in_channels + skip, h, w)
            x = self._resnet(i, x, conditions)  # (batch*frames, channels, h, w)
            x = self._attend(i, x, conditions, features)
        if self.upsamplers is not None:
            x = self.upsamplers[0](x, skips[-1].shape[2:])  # (batch*frames, channels, h', w')
        return x, features

"""Discriminators of the video autoencoder's training: of frames, and of clips.

`NLayerDiscriminator` is the PatchGAN of pix2pix (Isola et al. 2017, arXiv:1611.07004) in the form of
CompVis/taming-transformers (`taming/modules/discriminator/model.py`); `Discriminator3D` is that of
aigc-apps/EasyAnimate (`easyanimate/vae/ldm/modules/vaemodules/discriminator.py`). Both have the original's names.
"""

import math
from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.nn.initializer import Normal

from ppdiffusers_ext.models.easy_animate.checkpoint import CLIP_DISCRIMINATOR_NAMES, FRAME_DISCRIMINATOR_NAMES
from ppdiffusers_ext.models.layers import GroupNorm

_SLOPE = 0.2  # of the leaky ReLUs
_GROUPS = 32
_EPSILON = 1e-5
_STD = 0.02  # of the initial weights of convolutions, and of batch norms around 1


class NLayerDiscriminator(nn.Layer):
    """Logits of patches of frames: high for real ones. Its batch norms use the statistics of the batch in training.

    Args:
        in_channels: of the frames.
        channels: of the first layer; each layer has twice as many, up to eight times.
        num_layers: layers with stride 2.
    """

    checkpoint_names = FRAME_DISCRIMINATOR_NAMES

    def __init__(self, in_channels: int = 3, channels: int = 64, num_layers: int = 3) -> None:
        super().__init__()
        layers: list[nn.Layer] = [_convolution(nn.Conv2D, in_channels, channels, 4, 2), nn.LeakyReLU(_SLOPE)]
        inputs = channels
        for i in range(1, num_layers + 1):
            outputs = channels * min(2**i, 8)
            stride = 2 if i < num_layers else 1
            convolution = _convolution(nn.Conv2D, inputs, outputs, 4, stride, bias=False)
            layers += [convolution, _BatchNorm(outputs), nn.LeakyReLU(_SLOPE)]
            inputs = outputs
        self.main = nn.Sequential(*layers, _convolution(nn.Conv2D, inputs, 1, 4, 1))

    def forward(self, frames: paddle.Tensor) -> paddle.Tensor:
        """(frames, 3, height, width) in [-1, 1] -> (frames, 1, about height / 8 - 2, about width / 8 - 2)."""
        return self.main(frames)


class _BatchNorm(nn.BatchNorm2D):
    """`nn.BatchNorm2D` whose running variance is unbiased, as torch's: Paddle's is that of the batch itself."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, weight_attr=paddle.ParamAttr(initializer=Normal(1.0, _STD)))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(n, channels, height, width) -> the same."""
        before = self._variance.clone()
        y = super().forward(x)
        count = x.size // x.shape[1]
        if self.training and count > 1:
            with paddle.no_grad():
                kept = self._momentum * before
                self._variance.set_value(kept + (self._variance - kept) * (count / (count - 1)))
        return y


class Discriminator3D(nn.Layer):
    """Logits of patches of clips: high for real ones. Time, height and width are halved in `conv_in` and in each block
    but the last.

    Args:
        in_channels: of the clips.
        block_out_channels: of the blocks, multiples of 32.
    """

    checkpoint_names = CLIP_DISCRIMINATOR_NAMES

    def __init__(self, in_channels: int = 3, block_out_channels: Sequence[int] = (64, 128, 256)) -> None:
        super().__init__()
        first, last = block_out_channels[0], block_out_channels[-1]
        self.conv_in = _convolution(nn.Conv3D, in_channels, first, 3, 2)
        self.blocks = nn.LayerList()
        for i, (inputs, outputs) in enumerate(zip((first, *block_out_channels), block_out_channels)):
            self.blocks.append(_Block(inputs, outputs, i < len(block_out_channels) - 1))
        self.conv_norm_out = GroupNorm(_GROUPS, last, _EPSILON)  # in files of the original, which never calls it
        self.conv_out = _convolution(nn.Conv3D, last, 1, 3, 1)

    def forward(self, clips: paddle.Tensor) -> paddle.Tensor:
        """(batch, 3, frames, height, width) in [-1, 1] -> (batch, 1, frames / 8, height / 8, width / 8)."""
        x = self.conv_in(clips)
        for block in self.blocks:
            x = block(x)
        return self.conv_out(x)


class _Block(nn.Layer):
    """Two convolutions beside a shortcut; both ways end at half the size where `halves`."""

    def __init__(self, inputs: int, outputs: int, halves: bool) -> None:
        super().__init__()
        self.norm1 = GroupNorm(_GROUPS, inputs, _EPSILON)
        self.conv1 = _convolution(nn.Conv3D, inputs, outputs, 3, 1)
        self.downsampler = _BlurPooling() if halves else nn.Identity()
        self.norm2 = GroupNorm(_GROUPS, outputs, _EPSILON)
        self.conv2 = _convolution(nn.Conv3D, outputs, outputs, 3, 1)
        shortcut = [_convolution(nn.Conv3D, inputs, outputs, 1, 1)]
        self.shortcut = nn.Sequential(*([_BlurPooling()] if halves else []), *shortcut)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, inputs, frames, height, width) -> (batch, outputs, frames', height', width')."""
        y = self.conv1(F.leaky_relu(self.norm1(x), _SLOPE))
        y = self.downsampler(F.leaky_relu(self.norm2(y), _SLOPE))
        return (self.conv2(y) + self.shortcut(x)) / math.sqrt(2)


class _BlurPooling(nn.Layer):
    """Half of all three sizes, rounded up, by the filter 1-2-1 with zeros around (Zhang 2019, arXiv:1904.11486).

    Along one axis after the other: Paddle's convolutions of single channels take much longer.
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, channels, frames, height, width) -> (batch, channels, frames / 2, height / 2, width / 2)."""
        for axis in (2, 3, 4):
            x = _blur(x, axis)
        return x


def _blur(x: paddle.Tensor, axis: int) -> paddle.Tensor:
    size = x.shape[axis]
    count = (size + 1) // 2
    padding = [0] * 6
    padding[2 * (4 - axis) : 2 * (4 - axis) + 2] = [1, 2 * count - size]
    x = F.pad(x, padding, data_format="NCDHW")
    parts = [
        paddle.strided_slice(x, axes=[axis], starts=[start], ends=[start + 2 * count - 1], strides=[2])
        for start in range(3)
    ]
    return 0.25 * parts[0] + 0.5 * parts[1] + 0.25 * parts[2]


def _convolution(
    kind: type, inputs: int, outputs: int, kernel: int, stride: int, bias: bool = True
) -> nn.Conv2D | nn.Conv3D:
    """A convolution with padding and the original's initial weights: normal; biases as torch's, uniform."""
    dims = 2 if kind is nn.Conv2D else 3
    bound = 1 / math.sqrt(inputs * kernel**dims)
    start = paddle.ParamAttr(initializer=nn.initializer.Uniform(-bound, bound)) if bias else False
    weight = paddle.ParamAttr(initializer=Normal(0.0, _STD))
    return kind(
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding=kernel // 2 if kernel % 2 else 1,
        weight_attr=weight,
        bias_attr=start,
    )

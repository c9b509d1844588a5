"""Layers of EasyAnimate's video autoencoder: convolutions that know which frames stand before a chunk.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/vae/ldm/modules/vaemodules`), after MAGVIT-v2 (Yu et al. 2023, arXiv:2310.05737), under its names.
"""

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers_ext.models.layers import GroupNorm, Linear, follow, scaled_dot_product

_EPSILON = 1e-6
_BEFORE = 2  # frames that a convolution looks back
CAUSAL, PICTURE, CENTERED, FIRST, NEXT = "causal", "picture", "centered", "first", "next"


class Chunk:
    """What stands around the frames of a chunk.

    Attributes:
        place: CAUSAL: the first frame again and again before it; PICTURE: a single frame with nothing around it, which
            stays one; CENTERED: nothing before and after it; FIRST and NEXT: as CAUSAL, and what a chunk before it
            ended with.
        kept: layer -> the last frames of its input, filled by a chunk that is FIRST or NEXT for the one after it.
    """

    def __init__(self, place, kept=None):
        self.place, self.kept = place, {} if kept is None else kept


class CausalConv3d(nn.Conv3D):
    """A convolution of 3x3x3 over frames and pixels.

    Args:
        inputs, outputs: channels.
        stride: (in time, in space).
        padding: of pixels.
    """

    def __init__(self, inputs, outputs, stride=(1, 1), padding=1):
        time, space = stride
        super().__init__(inputs, outputs, 3, stride=(time, space, space), padding=(0, padding, padding))
        self._time_stride = time

    def forward(self, x, chunk):
        """(batch, inputs, frames, height, width) -> (batch, outputs, frames', height', width')."""
        if chunk.place in (PICTURE, CENTERED):
            x = F.pad(x, [0, 0, 0, 0, 1, 1], data_format="NCDHW")
        elif chunk.place == NEXT:
            before = chunk.kept[id(self)]
            x = paddle.concat([before[:, :, 1:] if self._time_stride == 2 else before, x], axis=2)
        else:
            x = paddle.concat([x[:, :, :1]] * _BEFORE + [x], axis=2)
        if chunk.place in (FIRST, NEXT):
            chunk.kept[id(self)] = x[:, :, -_BEFORE:]
        weight, bias = follow(self.weight, x), follow(self.bias, x)
        return F.conv3d(x, weight, bias, self._stride, self._padding)


class FramesNorm(GroupNorm):
    """A group norm over the frames of a chunk, or over each frame by itself.

    Args:
        groups, channels: of the norm.
        by_frame: whether each frame is by itself.
    """

    def __init__(self, groups, channels, by_frame):
        super().__init__(groups, channels, _EPSILON)
        self._by_frame = by_frame

    def forward(self, x):
        """(batch, channels, frames, height, width) -> the same."""
        if not self._by_frame:
            return super().forward(x)
        frames = x.transpose([0, 2, 1, 3, 4])  # (batch, frames, channels, height, width)
        y = super().forward(frames.flatten(0, 1)).reshape(frames.shape)
        return y.transpose([0, 2, 1, 3, 4])


class ResidualBlock3D(nn.Layer):
    """Two convolutions beside a shortcut.

    Args:
        inputs, outputs: channels.
        groups, by_frame: as of `FramesNorm`.
    """

    def __init__(self, inputs, outputs, groups, by_frame):
        super().__init__()
        self.norm1 = FramesNorm(groups, inputs, by_frame)
        self.conv1 = CausalConv3d(inputs, outputs)
        self.norm2 = FramesNorm(groups, outputs, by_frame)
        self.conv2 = CausalConv3d(outputs, outputs)
        self.shortcut = nn.Conv3D(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x, chunk):
        """(batch, inputs, frames, height, width) -> (batch, outputs, frames, height, width)."""
        y = self.conv1(F.silu(self.norm1(x)), chunk)
        y = self.conv2(F.silu(self.norm2(y)), chunk)
        return y + (x if self.shortcut is None else self.shortcut(x))


class Attention3D(nn.Layer):
    """Attention over all pixels of all frames of a chunk, or of each frame by itself, added to its input.

    Args:
        channels, heads: of the attention.
        groups: of its group norm.
        by_frame: whether each frame is by itself.
    """

    def __init__(self, channels, heads, groups, by_frame):
        super().__init__()
        self._heads, self._by_frame = heads, by_frame
        self.group_norm = GroupNorm(groups, channels, _EPSILON)
        self.to_q, self.to_k, self.to_v, self.to_out = (Linear(channels, channels) for _ in range(4))

    def forward(self, x):
        """(batch, channels, frames, height, width) -> the same."""
        y = x.transpose([0, 2, 3, 4, 1])  # (batch, frames, height, width, channels)
        shape = y.shape
        y = y.reshape([-1, (1 if self._by_frame else shape[1]) * shape[2] * shape[3], shape[4]])
        y = self.group_norm(y.transpose([0, 2, 1])).transpose([0, 2, 1])  # (batch or frames, tokens, channels)
        y = scaled_dot_product(self.to_q(y), self.to_k(y), self.to_v(y), self._heads)
        return x + self.to_out(y).reshape(shape).transpose([0, 4, 1, 2, 3])


class Downsampler(nn.Layer):
    """Half the size, and half the frames if `in_time`."""

    def __init__(self, channels, in_time):
        super().__init__()
        self.conv = CausalConv3d(channels, channels, (2 if in_time else 1, 2), padding=0)

    def forward(self, x, chunk):
        """(batch, channels, frames, height, width) -> (batch, channels, frames', height / 2, width / 2)."""
        return self.conv(F.pad(x, [0, 1, 0, 1, 0, 0], data_format="NCDHW"), chunk)


class Upsampler(nn.Layer):
    """Twice the size, and twice the frames if `in_time`: of those in between, `steps` takes the nearest."""

    def __init__(self, channels, in_time, steps):
        super().__init__()
        self._in_time, self._steps = in_time, steps
        self.conv = CausalConv3d(channels, channels)

    def forward(self, x, chunk):
        """(batch, channels, frames, height, width) -> (batch, channels, frames', height * 2, width * 2)."""
        x = x.repeat_interleave(2, axis=3).repeat_interleave(2, axis=4)
        x = self.conv(x, chunk)
        if not self._in_time or chunk.place == PICTURE:
            return x
        if chunk.place != CAUSAL:
            return self._more_frames(x)
        return paddle.concat([x[:, :, :1], self._more_frames(x[:, :, 1:])], axis=2) if x.shape[2] > 1 else x

    def _more_frames(self, x):
        if self._steps:
            return x.repeat_interleave(2, axis=2)
        before = paddle.concat([x[:, :, :1], x[:, :, :-1]], axis=2)
        after = paddle.concat([x[:, :, 1:], x[:, :, -1:]], axis=2)
        pairs = paddle.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=3)
        return pairs.flatten(2, 3)


class Level(nn.Layer):
    """Residual blocks of one size, and a change of size after them.

    Args:
        inputs, outputs: channels.
        layers: how many blocks.
        groups, by_frame: as of `FramesNorm`.
        sampler: name of what changes the size -> the layer, or an empty dict.
    """

    def __init__(self, inputs, outputs, layers, groups, by_frame, sampler):
        super().__init__()
        self.convs = nn.LayerList(
            [ResidualBlock3D(outputs if i else inputs, outputs, groups, by_frame) for i in range(layers)]
        )
        self._sampler = next(iter(sampler), None)
        for name, layer in sampler.items():
            setattr(self, name, layer)

    def forward(self, x, chunk):
        """(batch, inputs, frames, height, width) -> (batch, outputs, frames', height', width')."""
        for conv in self.convs:
            x = conv(x, chunk)
        return x if self._sampler is None else getattr(self, self._sampler)(x, chunk)


class MidBlock3D(nn.Layer):
    """Residual blocks with attention between them.

    Args:
        channels, layers, groups, by_frame: as of `Level`.
        heads: of the attention, or 0 for none.
        attention: "3d" over all frames, or "spatial" over each.
    """

    def __init__(self, channels, layers, groups, by_frame, heads, attention):
        super().__init__()
        self.convs = nn.LayerList([ResidualBlock3D(channels, channels, groups, by_frame) for _ in range(layers)])
        count = layers - 1 if heads else 0
        self.attentions = nn.LayerList(
            [Attention3D(channels, heads, groups, attention == "spatial") for _ in range(count)]
        )

    def forward(self, x, chunk):
        """(batch, channels, frames, height, width) -> the same."""
        x = self.convs[0](x, chunk)
        for i, conv in enumerate(self.convs[1:]):
            if len(self.attentions):
                x = self.attentions[i](x)
            x = conv(x, chunk)
        return x

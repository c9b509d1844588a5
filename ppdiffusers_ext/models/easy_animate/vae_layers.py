"""Layers of EasyAnimate's video autoencoder: convolutions that know which frames stand before a chunk.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/vae/ldm/modules/vaemodules`), after MAGVIT-v2 (Yu et al. 2023, arXiv:2310.05737), under its names.

A chunk is a list of frames, (batch, channels, height, width) each, which layers empty: a frame is forgotten as soon as
it has been seen, and what a layer makes of it is not there before it is needed. Compiled engines have fast
convolutions over frames: a traced graph has the frames of a chunk in one tensor, (batch, channels, frames, height,
width), for which layers have the method `stacked`.
"""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers_ext.models.channels_last import group_norm, is_channels_last, twice_the_size
from ppdiffusers_ext.models.easy_animate.frame_convolution import convolve_frames
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
        kept: layer -> the last frames of its input, filled by a chunk that is FIRST or NEXT for the one after it; in a
            traced graph (batch, channels, frames, height, width).
    """

    def __init__(self, place: str, kept: dict[int, Any] | None = None) -> None:
        self.place, self.kept = place, {} if kept is None else kept


class CausalConv3d(nn.Conv3D):
    """A convolution of 3x3x3 over frames and pixels.

    Args:
        inputs, outputs: channels.
        stride: (in time, in space).
        padding: of pixels.
    """

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int] = (1, 1), padding: int = 1) -> None:
        super().__init__(inputs, outputs, 3)
        self._step, self._around = stride, padding

    def forward(self, frames: Iterable[paddle.Tensor], count: int, chunk: Chunk) -> list[paddle.Tensor]:  # type: ignore[override]  # frame by frame
        """So many frames of (batch, inputs, height, width), an iterable -> list of (batch, outputs, height', width').

        The frames are taken one after the other, and not kept.
        """
        frames = iter(frames)
        first = next(frames)
        weight, bias = follow(self.weight, first), follow(self.bias, first)
        frames, zeros = itertools.chain([first], frames), 1
        if chunk.place not in (PICTURE, CENTERED):
            before = chunk.kept[id(self)] if chunk.place == NEXT else [first] * _BEFORE
            frames, zeros, count = self._after(before, frames, chunk), 0, _BEFORE + count
        del first
        return convolve_frames(frames, count, weight, bias, self._step, self._around, zeros)

    def _after(
        self, before: Iterable[paddle.Tensor], frames: Iterable[paddle.Tensor], chunk: Chunk
    ) -> Iterator[paddle.Tensor]:
        last: collections.deque = collections.deque(maxlen=_BEFORE)
        for frame in itertools.chain(before, frames):
            last.append(frame)
            yield frame
        if chunk.place in (FIRST, NEXT):
            chunk.kept[id(self)] = list(last)

    def stacked(self, x: paddle.Tensor, chunk: Chunk) -> paddle.Tensor:
        """(batch, inputs, frames, height, width) -> (batch, outputs, frames', height', width')."""
        zeros = 1
        if chunk.place not in (PICTURE, CENTERED):
            zeros, before = 0, chunk.kept[id(self)] if chunk.place == NEXT else [x[:, :, :1]] * _BEFORE
            x = paddle.concat([*(before if isinstance(before, list) else [before]), x], axis=2)
            if chunk.place in (FIRST, NEXT):
                chunk.kept[id(self)] = x[:, :, -_BEFORE:]
        stride, padding = [self._step[0], self._step[1], self._step[1]], [zeros, self._around, self._around]
        return F.conv3d(x, follow(self.weight, x), follow(self.bias, x), stride=stride, padding=padding)


class PointConv3d(nn.Conv3D):
    """A convolution of 1x1x1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, inputs, ...) -> (batch, outputs, ...)."""
        if is_channels_last():
            return F.conv3d(x, follow(self.weight, x), follow(self.bias, x))
        weight, bias = follow(self.weight, x).flatten(1), follow(self.bias, x).unsqueeze(1)
        return (paddle.matmul(weight, x.flatten(2)) + bias).reshape([x.shape[0], -1, *x.shape[2:]])


def taken(frames: list[paddle.Tensor]) -> Iterator[paddle.Tensor]:
    """The frames of a list, which is empty in the end."""
    while frames:
        yield frames.pop(0)


class FramesNorm(GroupNorm):
    """A group norm over the frames of a chunk, or over each frame by itself, and SiLU.

    Args:
        groups, channels: of the norm.
        by_frame: whether each frame is by itself.
    """

    def __init__(self, groups: int, channels: int, by_frame: bool) -> None:
        super().__init__(groups, channels, _EPSILON)
        self._by_frame = by_frame

    def forward(self, frames: list[paddle.Tensor], keeps: bool = False) -> Iterator[paddle.Tensor]:  # type: ignore[override]  # frame by frame
        """List of (batch, channels, height, width), emptied unless `keeps` -> iterator of the same."""
        norm = super().forward if self._by_frame or len(frames) == 1 else self._over(frames)
        return (F.silu(norm(frame)) for frame in (frames if keeps else taken(frames)))

    def stacked(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, channels, frames, height, width) -> the same."""
        batch, _, frames = x.shape[:3]
        if is_channels_last():
            return F.silu(group_norm(x, self, self._by_frame))
        if not self._by_frame or frames == 1:
            return F.silu(super().forward(x))
        y = super().forward(x.transpose([0, 2, 1, 3, 4]).flatten(0, 1))  # (batch * frames, channels, height, width)
        return F.silu(y.reshape([batch, frames, *y.shape[1:]]).transpose([0, 2, 1, 3, 4]))

    def _over(self, frames: list[paddle.Tensor]) -> Callable[[paddle.Tensor], paddle.Tensor]:
        """The function that brings each of the frames to the mean and the variance of all."""
        batch, channels = frames[0].shape[:2]
        rows = [batch * self._num_groups, -1]
        means, squares = [], []
        for frame in frames:
            frame = frame.astype("float32").reshape(rows)
            means.append(frame.mean(axis=1, keepdim=True))  # (batch * groups, 1)
            squares.append((frame - means[-1]).square().mean(axis=1, keepdim=True))
        mean: Any = sum(means) / len(means)  # tensors, as Python's sum of them is typed as a number, too
        variance: Any = sum(square + (other - mean).square() for square, other in zip(squares, means)) / len(means)

        def of_channels(x: paddle.Tensor) -> paddle.Tensor:  # (batch * groups, 1) -> (batch, channels)
            return paddle.repeat_interleave(x.reshape([batch, -1]), channels // self._num_groups, axis=1)

        scale = of_channels((variance + self._epsilon).rsqrt()) * follow(self.weight, mean)
        shift = follow(self.bias, mean) - of_channels(mean) * scale
        scale, shift = (x.reshape([batch * channels, 1]).astype(frames[0].dtype) for x in (scale, shift))
        return lambda x: (x.reshape([batch * channels, -1]) * scale + shift).reshape(x.shape)


class ResidualBlock3D(nn.Layer):
    """Two convolutions beside a shortcut.

    Args:
        inputs, outputs: channels.
        groups, by_frame: see `FramesNorm`.
    """

    def __init__(self, inputs: int, outputs: int, groups: int, by_frame: bool) -> None:
        super().__init__()
        self.norm1 = FramesNorm(groups, inputs, by_frame)
        self.conv1 = CausalConv3d(inputs, outputs)
        self.norm2 = FramesNorm(groups, outputs, by_frame)
        self.conv2 = CausalConv3d(outputs, outputs)
        self.shortcut = PointConv3d(inputs, outputs) if inputs != outputs else None

    def forward(self, frames: list[paddle.Tensor], chunk: Chunk) -> list[paddle.Tensor]:
        """List of (batch, inputs, height, width) -> list of (batch, outputs, height, width)."""
        count = len(frames)
        y = self.conv1(self.norm1(frames, keeps=True), count, chunk)
        y = self.conv2(self.norm2(y), count, chunk)
        shortcut = self.shortcut or nn.Identity()
        return [shortcut(frame) + other for frame, other in zip(taken(frames), taken(y))]

    def stacked(self, x: paddle.Tensor, chunk: Chunk) -> paddle.Tensor:
        """(batch, inputs, frames, height, width) -> (batch, outputs, frames, height, width)."""
        y = self.conv1.stacked(self.norm1.stacked(x), chunk)
        y = self.conv2.stacked(self.norm2.stacked(y), chunk)
        return (x if self.shortcut is None else self.shortcut(x)) + y


class Attention3D(nn.Layer):
    """Attention over all pixels of all frames of a chunk, or of each frame by itself, added to its input.

    Args:
        channels, heads: of the attention.
        groups: of its group norm.
        by_frame: whether each frame is by itself.
    """

    def __init__(self, channels: int, heads: int, groups: int, by_frame: bool) -> None:
        super().__init__()
        self._heads, self._by_frame = heads, by_frame
        self.group_norm = GroupNorm(groups, channels, _EPSILON)
        self.to_q, self.to_k, self.to_v, self.to_out = (Linear(channels, channels) for _ in range(4))

    def forward(self, frames: list[paddle.Tensor]) -> list[paddle.Tensor]:
        """List of (batch, channels, height, width) -> the same."""
        if self._by_frame:
            return [self._attend(frame.unsqueeze(2)).squeeze(2) for frame in taken(frames)]
        return self._attend(paddle.stack(frames, axis=2)).unbind(2)

    def stacked(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, channels, frames, height, width) -> the same."""
        if not self._by_frame:
            return self._attend(x)
        y = x.transpose([0, 2, 1, 3, 4])  # (batch, frames, channels, height, width)
        return self._attend(y.flatten(0, 1)).reshape(y.shape).transpose([0, 2, 1, 3, 4])

    def _attend(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, channels, ..., height, width) -> the same."""
        y = self.group_norm(x.flatten(2)).transpose([0, 2, 1])  # (batch, tokens, channels)
        y = scaled_dot_product(self.to_q(y), self.to_k(y), self.to_v(y), self._heads)
        return x + self.to_out(y).transpose([0, 2, 1]).reshape(x.shape)


class Downsampler(nn.Layer):
    """Half the size, and half the frames if `in_time`."""

    def __init__(self, channels: int, in_time: bool) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, channels, (2 if in_time else 1, 2), padding=0)

    def forward(self, frames: list[paddle.Tensor], chunk: Chunk) -> list[paddle.Tensor]:
        """List of (batch, channels, height, width) -> list of (batch, channels, height / 2, width / 2)."""
        count = len(frames)
        return self.conv((F.pad(frame, [0, 1, 0, 1]) for frame in taken(frames)), count, chunk)

    def stacked(self, x: paddle.Tensor, chunk: Chunk) -> paddle.Tensor:
        """(batch, channels, frames, height, width) -> (batch, channels, frames', height / 2, width / 2)."""
        return self.conv.stacked(F.pad(x, [0, 1, 0, 1, 0, 0]), chunk)


class Upsampler(nn.Layer):
    """Twice the size, and twice the frames if `in_time`: of those in between, `steps` takes the nearest."""

    def __init__(self, channels: int, in_time: bool, steps: bool) -> None:
        super().__init__()
        self._in_time, self._steps = in_time, steps
        self.conv = CausalConv3d(channels, channels)

    def forward(self, frames: list[paddle.Tensor], chunk: Chunk) -> list[paddle.Tensor]:
        """List of (batch, channels, height, width) -> list of (batch, channels, height * 2, width * 2)."""
        count = len(frames)
        y = self.conv((_twice_the_size(frame) for frame in taken(frames)), count, chunk)
        if not self._in_time or chunk.place == PICTURE:
            return y
        return self._more_frames(y) if chunk.place != CAUSAL else y[:1] + self._more_frames(y[1:])

    def _more_frames(self, frames: list[paddle.Tensor]) -> list[paddle.Tensor]:
        if self._steps:
            return [frame for frame in frames for _ in range(2)]
        neighbours = zip(frames[:1] + frames[:-1], frames, frames[1:] + frames[-1:])
        return [0.75 * frame + 0.25 * other for before, frame, after in neighbours for other in (before, after)]

    def stacked(self, x: paddle.Tensor, chunk: Chunk) -> paddle.Tensor:
        """(batch, channels, frames, height, width) -> (batch, channels, frames', height * 2, width * 2)."""
        if is_channels_last():
            y = twice_the_size(x)
        else:
            y = _twice_the_size(x.flatten(1, 2))  # (batch, channels * frames, height * 2, width * 2)
            y = y.reshape([*x.shape[:3], *y.shape[2:]])
        y = self.conv.stacked(y, chunk)
        if not self._in_time or chunk.place == PICTURE:
            return y
        if chunk.place != CAUSAL:
            return self._more_stacked(y)
        return paddle.concat([y[:, :, :1], self._more_stacked(y[:, :, 1:])], axis=2) if y.shape[2] > 1 else y

    def _more_stacked(self, x: paddle.Tensor) -> paddle.Tensor:
        first = last = x
        if not self._steps:
            first = paddle.concat([x[:, :, :1], x[:, :, :-1]], axis=2) if x.shape[2] > 1 else x
            last = paddle.concat([x[:, :, 1:], x[:, :, -1:]], axis=2) if x.shape[2] > 1 else x
            first, last = 0.75 * x + 0.25 * first, 0.75 * x + 0.25 * last
        return paddle.concat([part[:, :, i : i + 1] for i in range(x.shape[2]) for part in (first, last)], axis=2)


def _twice_the_size(x: paddle.Tensor) -> paddle.Tensor:
    """(batch, channels, height, width) -> (batch, channels, height * 2, width * 2), each pixel repeated."""
    batch, channels, height, width = x.shape
    x = x.unsqueeze([3, 5]).expand([batch, channels, height, 2, width, 2])
    return x.reshape([batch, channels, 2 * height, 2 * width])


class Level(nn.Layer):
    """Residual blocks of one size, and a change of size after them.

    Args:
        inputs, outputs: channels.
        layers: how many blocks.
        groups, by_frame: see `FramesNorm`.
        sampler: name of what changes the size -> the layer, or an empty dict.
    """

    def __init__(
        self, inputs: int, outputs: int, layers: int, groups: int, by_frame: bool, sampler: Mapping[str, nn.Layer]
    ) -> None:
        super().__init__()
        self.convs = nn.LayerList(
            [ResidualBlock3D(outputs if i else inputs, outputs, groups, by_frame) for i in range(layers)]
        )
        self._sampler = next(iter(sampler), None)
        for name, layer in sampler.items():
            setattr(self, name, layer)

    def forward(self, frames: list[paddle.Tensor], chunk: Chunk) -> list[paddle.Tensor]:
        """List of (batch, inputs, height, width) -> list of (batch, outputs, height', width')."""
        for conv in self.convs:
            frames = conv(frames, chunk)
        return frames if self._sampler is None else getattr(self, self._sampler)(frames, chunk)

    def stacked(self, x: paddle.Tensor, chunk: Chunk) -> paddle.Tensor:
        """(batch, inputs, frames, height, width) -> (batch, outputs, frames', height', width')."""
        for conv in self.convs:
            x = conv.stacked(x, chunk)
        return x if self._sampler is None else getattr(self, self._sampler).stacked(x, chunk)


class MidBlock3D(nn.Layer):
    """Residual blocks with attention between them.

    Args:
        channels, layers, groups, by_frame: see `Level`.
        heads: of the attention, or 0 for none.
        attention: "3d" over all frames, or "spatial" over each.
    """

    def __init__(self, channels: int, layers: int, groups: int, by_frame: bool, heads: int, attention: str) -> None:
        super().__init__()
        self.convs = nn.LayerList([ResidualBlock3D(channels, channels, groups, by_frame) for _ in range(layers)])
        count = layers - 1 if heads else 0
        self.attentions = nn.LayerList(
            [Attention3D(channels, heads, groups, attention == "spatial") for _ in range(count)]
        )

    def forward(self, frames: list[paddle.Tensor], chunk: Chunk) -> list[paddle.Tensor]:
        """List of (batch, channels, height, width) -> the same."""
        frames = self.convs[0](frames, chunk)
        for i, conv in enumerate(list(self.convs)[1:]):
            if len(self.attentions):
                frames = self.attentions[i](frames)
            frames = conv(frames, chunk)
        return frames

    def stacked(self, x: paddle.Tensor, chunk: Chunk) -> paddle.Tensor:
        """(batch, channels, frames, height, width) -> the same."""
        x = self.convs[0].stacked(x, chunk)
        for i, conv in enumerate(list(self.convs)[1:]):
            if len(self.attentions):
                x = self.attentions[i].stacked(x)
            x = conv.stacked(x, chunk)
        return x

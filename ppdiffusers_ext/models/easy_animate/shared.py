"""Layers that all of EasyAnimate's transformers have, under the original's names."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers_ext.models.layers import Conv2D, Linear, sinusoidal_embedding

EMBEDDED = 256  # channels of a number's sinusoids


class StepwiseTransformer:
    """A transformer whose prediction is made in parts, each a function of tensors.

    What does not depend on the step is prepared once for a clip, and handed on as a dict of tensors, the conditions.

    Attributes:
        CONDITIONS: names of the methods that prepare -> names of what they return, in order.
    """

    CONDITIONS: dict[str, tuple[str, ...]] = {}
    begin: Callable
    rest: Callable
    end: Callable
    config: Any

    def units_of(self, size: Sequence[int]) -> int:
        """How many units, by which devices can divide them, latents of frames, height and width have: tokens."""
        frames, *sides = size
        return frames * math.prod(side // self.config.patch_size for side in sides)

    @property
    def heads_to_divide(self) -> int:
        """The fewest heads of any attention to which the units of several devices come."""
        return self.config.num_attention_heads

    def denoise(
        self, latents: paddle.Tensor, time: paddle.Tensor, conditions: dict[str, paddle.Tensor]
    ) -> paddle.Tensor:
        """One prediction.

        Args:
            latents: noisy, (batch, channels, frames, height, width).
            time: (batch, 256), what `embed_numbers` makes of the timestep.
            conditions: name -> tensor.

        Returns:
            (batch, out_channels, frames, height, width).
        """
        size = latents.shape[2:]
        x, _ = self.begin(latents, time, conditions)
        return self.end(self.rest(x, time, conditions, size), time, conditions, size).astype(latents.dtype)


def embed_numbers(numbers: paddle.Tensor) -> paddle.Tensor:
    """Sinusoids of (batch, n) or (batch,) numbers: (batch, n * 256) fp32."""
    return sinusoidal_embedding(numbers.flatten(), EMBEDDED).reshape([numbers.shape[0], -1])


class PatchEmbed(nn.Layer):
    """Tokens from squares of latents, frame by frame.

    Args:
        in_channels, channels: widths of latents and tokens.
        patch_size: side of a square.
    """

    def __init__(self, in_channels: int, channels: int, patch_size: int) -> None:
        super().__init__()
        self.proj = Conv2D(in_channels, channels, patch_size, stride=patch_size)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, in channels, frames, height, width) -> (batch, frames * tokens, channels)."""
        batch, channels, frames, height, width = x.shape
        x = x.transpose([0, 2, 1, 3, 4]).reshape([batch * frames, channels, height, width])
        x = self.proj(x).flatten(2).transpose([0, 2, 1])  # (batch * frames, tokens, channels)
        return x.reshape([batch, -1, x.shape[2]])


class Projection(nn.Layer):
    """Two layers with an activation between them.

    Args:
        inputs, inner, outputs: widths.
        activation: function; SiLU if left out.
    """

    def __init__(
        self, inputs: int, inner: int, outputs: int, activation: Callable[[paddle.Tensor], paddle.Tensor] = F.silu
    ) -> None:
        super().__init__()
        self._activation = activation
        self.linear_1, self.linear_2 = Linear(inputs, inner), Linear(inner, outputs)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(..., inputs) -> (..., outputs)."""
        return self.linear_2(self._activation(self.linear_1(x)))


class FeedForward(nn.Layer):
    """Two layers with an approximate GELU between them.

    Args:
        channels, inner: widths.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.net = nn.LayerList([_Named(channels, inner), nn.Identity(), Linear(inner, channels)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(batch, tokens, channels) -> the same."""
        return self.net[2](F.gelu(self.net[0].proj(x), approximate=True))


class _Named(nn.Layer):
    """A layer under the name that the original has for it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = Linear(inputs, outputs)


def unpatch(x: paddle.Tensor, frames: int, height: int, width: int, patch: int, channels: int) -> paddle.Tensor:
    """Latents from tokens.

    Args:
        x: (batch, frames * tokens, patch * patch * channels).
        frames, height, width: of the latents.
        patch: side of a token's square.
        channels: of the latents.

    Returns:
        (batch, channels, frames, height, width).
    """
    x = x.reshape([-1, frames, height // patch, width // patch, patch, patch, channels])
    x = x.transpose([0, 6, 1, 2, 4, 3, 5])  # (batch, channels, frames, height / patch, patch, width / patch, patch)
    return x.reshape([x.shape[0], channels, frames, height, width])

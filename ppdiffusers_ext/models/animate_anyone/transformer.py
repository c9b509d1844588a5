"""Spatial transformer of Animate Anyone's UNets: self-attention that also sees the reference picture, and the rest.

From MooreThreads/Moore-AnimateAnyone (`src/models/transformer_3d.py`, `attention.py`, `mutual_self_attention.py`).
Parameter names are the original's. What differs: the reference's tokens are arguments and results instead of lists on
patched modules; and what follows from the clip alone (`TransformerConditions`) can be computed once for all steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn

from ppdiffusers_ext.models.layers import (
    Attention,
    Conv2D,
    FeedForward,
    GroupNorm,
    LayerNorm,
    Linear,
    scaled_dot_product,
)


def repeat_rows(x: paddle.Tensor, rows: int) -> paddle.Tensor:
    """(n, ...) -> (rows, ...), each repeated as often; or (1, ...) as it is, which is added to any number of rows."""
    return x if x.shape[0] == 1 else _repeat(x, rows)


def _repeat(x: paddle.Tensor, rows: int) -> paddle.Tensor:
    if x.shape[0] == rows:
        return x
    # Not repeat_interleave, which exporters do not know.
    return x.unsqueeze(1).expand([x.shape[0], rows // x.shape[0], *x.shape[1:]]).flatten(0, 1)


@dataclass(frozen=True)
class TransformerConditions:
    """What one spatial transformer is given besides the feature map: it follows from the clip alone.

    Attributes:
        reference: key and value of the reference picture's tokens, each (samples, tokens, channels), or None.
        shift: (rows, 1, channels), what the cross-attention adds where its context is a single key, or None.
    """

    reference: tuple[paddle.Tensor, paddle.Tensor] | None = None
    shift: paddle.Tensor | None = None


def beside(
    unconditional: Mapping[str, TransformerConditions], conditional: Mapping[str, TransformerConditions]
) -> dict[str, TransformerConditions]:
    """Conditions for a batch of unconditional and conditional rows, from those of each.

    Args:
        unconditional: name -> `TransformerConditions` without reference, for one row.
        conditional: the same with reference, for one row.
    """
    result = {}
    for name, conditions in conditional.items():
        shifts: Any = [unconditional[name].shift, conditions.shift]  # tensors, as contexts are of a single key
        result[name] = TransformerConditions(conditions.reference, paddle.concat(shifts))
    return result


class ReferenceAttention(Attention):
    """Spatial self-attention that also sees the tokens of the reference picture.

    Keys and values are the frame's own tokens followed by the reference's. The first `num_unconditional` samples of
    the batch see their own tokens only: guidance steers away from a picture made without the reference.
    """

    def forward(  # type: ignore[override]  # sees itself and the reference
        self,
        x: paddle.Tensor,
        reference: tuple[paddle.Tensor, paddle.Tensor] | None = None,
        num_frames: int = 1,
        num_unconditional: int = 0,
    ) -> paddle.Tensor:
        """x (batch*frames, tokens, channels); reference: key and value, each (samples, reference tokens, channels) of
        batch - num_unconditional samples or of one for all of them.

        Returns:
            (batch*frames, tokens, channels).

        Raises:
            ValueError: the reference is for another number of samples.
        """
        if reference is None:
            return super().forward(x)
        first = num_unconditional * num_frames
        query, key, value = self.to_q(x), self.to_k(x), self.to_v(x)
        key_of_all, value_of_all = (
            paddle.concat([own[first:], self._for_frames(of_reference, x.shape[0] - first, num_frames)], axis=1)
            for own, of_reference in zip((key, value), reference)
        )  # (conditional*frames, tokens + reference tokens, channels)
        out = scaled_dot_product(query[first:], key_of_all, value_of_all, self.num_heads)
        if first:
            plain = scaled_dot_product(query[:first], key[:first], value[:first], self.num_heads)
            out = paddle.concat([plain, out], axis=0)
        return self.to_out[0](out)

    @staticmethod
    def _for_frames(of_reference: paddle.Tensor, folded: int, num_frames: int) -> paddle.Tensor:
        samples = of_reference.shape[0]
        if samples not in (1, folded // num_frames):
            raise ValueError(f"reference features of {samples} samples cannot serve {folded // num_frames} samples")
        return _repeat(of_reference, folded)  # (conditional*frames, reference tokens, channels)


class SpatialTransformerBlock(nn.Layer):
    """Pre-norm self-attention (with reference), cross-attention and GEGLU feed-forward."""

    def __init__(self, channels: int, num_heads: int, cross_attention_dim: int) -> None:
        super().__init__()
        self.attn1 = ReferenceAttention(channels, num_heads)
        self.norm1 = LayerNorm(channels)
        self.attn2 = Attention(channels, num_heads, context_channels=cross_attention_dim)
        self.norm2 = LayerNorm(channels)
        self.ff = FeedForward(channels)
        self.norm3 = LayerNorm(channels)

    def forward(
        self,
        x: paddle.Tensor,
        context: paddle.Tensor | None,
        reference: tuple[paddle.Tensor, paddle.Tensor] | None,
        shift: paddle.Tensor | None,
        num_frames: int,
        num_unconditional: int,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        folded, tokens, channels = x.shape
        features = self.norm1(x)  # (batch*frames, tokens, channels): what a reference UNet hands over
        x = x + self.attn1(features, reference, num_frames, num_unconditional)
        if shift is None:
            # All frames of a sample share its context, so they can be one long row of queries.
            batch = context.shape[0]  # type: ignore[union-attr]  # given where there is no shift
            y = self.norm2(x).reshape([batch, -1, channels])  # (batch, frames*tokens, channels)
            x = x + self.attn2(y, context).reshape([folded, tokens, channels])
        else:
            x = x + repeat_rows(shift, folded)  # (batch*frames, tokens, channels)
        return x + self.ff(self.norm3(x)), features


class SpatialTransformer(nn.Layer):
    """Norm, projection in, transformer block, projection out, residual: the original's `Transformer3DModel`.

    Args:
        name: this module's path in the UNet, under which its features travel.
        use_linear_projection: projections are linear layers on tokens instead of 1x1 convolutions.
        collects_features: whether `forward` returns the tokens that its self-attention saw.
    """

    def __init__(
        self,
        name: str,
        channels: int,
        num_heads: int,
        cross_attention_dim: int,
        groups: int,
        use_linear_projection: bool,
        collects_features: bool,
    ) -> None:
        super().__init__()
        self.feature_name = f"{name}.transformer_blocks.0"
        self.use_linear_projection = use_linear_projection
        self.collects_features = collects_features
        self.norm = GroupNorm(groups, channels, epsilon=1e-6)
        self.proj_in = Linear(channels, channels) if use_linear_projection else Conv2D(channels, channels, 1)
        self.transformer_blocks = nn.LayerList([SpatialTransformerBlock(channels, num_heads, cross_attention_dim)])
        self.proj_out = Linear(channels, channels) if use_linear_projection else Conv2D(channels, channels, 1)

    def prepare(self, context: paddle.Tensor, reference: paddle.Tensor | None = None) -> TransformerConditions:
        """What this transformer's attentions make of the clip: `TransformerConditions`.

        Args:
            context: (rows, keys, cross_attention_dim).
            reference: (samples, tokens, channels) or None.
        """
        block = self.transformer_blocks[0]
        seen = None if reference is None else (block.attn1.to_k(reference), block.attn1.to_v(reference))
        # Who attends to a single key gets its value, whatever the query. Training takes the long way nevertheless:
        # there the query's weights have gradients (of zero), and so decay.
        single = context.shape[1] == 1 and not paddle.is_grad_enabled()
        return TransformerConditions(seen, block.attn2.to_out[0](block.attn2.to_v(context)) if single else None)

    def forward(
        self,
        x: paddle.Tensor,
        context: paddle.Tensor | None,
        reference: tuple[paddle.Tensor, paddle.Tensor] | None = None,
        shift: paddle.Tensor | None = None,
        num_frames: int = 1,
        num_unconditional: int = 0,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """x (batch*frames, channels, h, w), context (batch, keys, cross_attention_dim), reference and shift as in
        `TransformerConditions` -> (x of the same shape, features (batch*frames, h*w, channels) or None)."""
        folded, channels, height, width = x.shape
        y = self.norm(x)  # (batch*frames, channels, h, w)
        y = y if self.use_linear_projection else self.proj_in(y)
        y = y.flatten(2).transpose([0, 2, 1])  # (batch*frames, h*w, channels)
        y = self.proj_in(y) if self.use_linear_projection else y
        y, features = self.transformer_blocks[0](y, context, reference, shift, num_frames, num_unconditional)
        y = self.proj_out(y) if self.use_linear_projection else y
        y = y.transpose([0, 2, 1]).reshape([folded, channels, height, width])
        y = y if self.use_linear_projection else self.proj_out(y)
        return x + y, features if self.collects_features else None

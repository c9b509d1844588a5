"""Face encoder: four tokens from a face's embedding, refined by what CLIP sees of the whole picture.

From StableAnimator (Tu et al. 2024, arXiv:2411.17697) in the form of Francis-Rings/StableAnimator
(`animation/modules/face_model.py`, after IP-Adapter's FaceID Plus and OpenFlamingo's perceiver). Names are the
original's.
"""

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn
from ppdiffusers.configuration_utils import ConfigMixin, register_to_config

from ppdiffusers_ext.models.layers import LayerNorm, Linear, compute_dtype, scaled_dot_product
from ppdiffusers_ext.models.stable_animator.option_rules import FACE_ENCODER_RULES
from ppdiffusers_ext.models.strict import StrictModelMixin

_DEPTH, _HEAD_CHANNELS, _FEED_FORWARD = 4, 64, 4


class FusionFaceId(StrictModelMixin, ConfigMixin):
    """Turns a face's embedding into tokens, which then attend to CLIP's embedding of the picture.

    Args:
        cross_attention_dim: width of the tokens, a multiple of 64.
        id_embeddings_dim: numbers of a face's embedding.
        clip_embeddings_dim: width of CLIP's embedding.
        num_tokens: how many tokens there are.

    Raises:
        ValueError: the width does not divide into heads of 64.
    """

    option_rules = FACE_ENCODER_RULES

    @register_to_config
    def __init__(
        self,
        cross_attention_dim: int = 1024,
        id_embeddings_dim: int = 512,
        clip_embeddings_dim: int = 1024,
        num_tokens: int = 4,
    ) -> None:
        super().__init__()
        if cross_attention_dim % _HEAD_CHANNELS:
            raise ValueError(f"{cross_attention_dim} channels do not divide into heads of {_HEAD_CHANNELS}")
        inner = 2 * id_embeddings_dim
        tokens = Linear(inner, cross_attention_dim * num_tokens)
        self.proj = nn.LayerList([Linear(id_embeddings_dim, inner), nn.GELU(), tokens])
        self.norm = LayerNorm(cross_attention_dim)
        self.fusion_model = _Perceiver(cross_attention_dim, clip_embeddings_dim)

    def forward(
        self, id_embeds: paddle.Tensor, clip_embeds: paddle.Tensor, shortcut: bool = False, scale: float = 1.0
    ) -> paddle.Tensor:
        """Tokens of a face.

        Args:
            id_embeds: (batch, id_embeddings_dim); zeros stand for no face.
            clip_embeds: (batch, context tokens, clip_embeddings_dim).
            shortcut: whether the tokens before the fusion are added to `scale` times those after it.

        Returns:
            (batch, num_tokens, cross_attention_dim).
        """
        dtype, (first, activation, second) = compute_dtype(self.norm.weight), self.proj  # type: ignore[arg-type]  # a norm's weight
        x = second(activation(first(id_embeds.astype(dtype))))  # (batch, num_tokens * cross_attention_dim)
        x = self.norm(x.reshape([x.shape[0], self.config.num_tokens, -1]))  # (batch, num_tokens, cross_attention_dim)
        fused = self.fusion_model(x, clip_embeds.astype(dtype))
        return (x + scale * fused if shortcut else fused).astype(id_embeds.dtype)


class _Perceiver(nn.Layer):
    """Layers in which tokens attend to a context and to themselves."""

    def __init__(self, channels: int, context_channels: int) -> None:
        super().__init__()
        self.proj_in = Linear(context_channels, channels)
        self.proj_out = Linear(channels, channels)
        self.norm_out = LayerNorm(channels)
        layers = (nn.LayerList([_TokenAttention(channels), _feed_forward(channels)]) for _ in range(_DEPTH))
        self.layers = nn.LayerList(list(layers))

    def forward(self, tokens: paddle.Tensor, context: paddle.Tensor) -> paddle.Tensor:
        """(batch, tokens, channels), (batch, context tokens, context_channels) -> (batch, tokens, channels)."""
        context = self.proj_in(context)  # (batch, context tokens, channels)
        layers: Any = self.layers  # Paddle types what a list of layers holds as no list
        for attention, (norm, widen, _, narrow) in layers:
            tokens = tokens + attention(tokens, context)
            tokens = tokens + narrow(F.gelu(widen(norm(tokens))))
        return self.norm_out(self.proj_out(tokens))


def _feed_forward(channels: int) -> nn.LayerList:
    inner = channels * _FEED_FORWARD
    narrow = Linear(inner, channels, bias_attr=False)
    return nn.LayerList([LayerNorm(channels), Linear(channels, inner, bias_attr=False), nn.GELU(), narrow])


class _TokenAttention(nn.Layer):
    """Attention of tokens to a context and to themselves, each with a norm of its own before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_heads = channels // _HEAD_CHANNELS
        self.norm1, self.norm2 = LayerNorm(channels), LayerNorm(channels)
        self.to_q = Linear(channels, channels, bias_attr=False)
        self.to_kv = Linear(channels, 2 * channels, bias_attr=False)
        self.to_out = Linear(channels, channels, bias_attr=False)

    def forward(self, tokens: paddle.Tensor, context: paddle.Tensor) -> paddle.Tensor:
        """(batch, tokens, channels), (batch, context tokens, channels) -> (batch, tokens, channels)."""
        context, tokens = self.norm1(context), self.norm2(tokens)
        source = paddle.concat([context, tokens], axis=1)  # (batch, context tokens + tokens, channels)
        key, value = self.to_kv(source).chunk(2, axis=-1)
        return self.to_out(scaled_dot_product(self.to_q(tokens), key, value, self.num_heads))

"""Attention of StableAnimator's UNet, as processors of ppdiffusers' `Attention`.

From StableAnimator (Tu et al. 2024, arXiv:2411.17697) in the form of Francis-Rings/StableAnimator
(`animation/modules/attention_processor_normalized.py`). Names of weights are the original's.
"""

from typing import Any

import paddle
from paddle import nn
from ppdiffusers.models.attention_processor import Attention

from ppdiffusers_ext.models.layers import Linear, follow, scaled_dot_product

_EPSILON = 1e-5


class FaceAttention(nn.Layer):
    """Attention to tokens of the picture and, with keys and values of its own, to those of the face.

    What comes from the face is shifted and scaled to the mean and the spread of what comes from the picture, over all
    tokens and channels of a sample, and added.

    Args:
        channels: width inside the attention.
        context_channels: of the tokens.
        num_tokens: of the face; they stand last.
        scale: of what comes from the face.
    """

    def __init__(self, channels: int, context_channels: int, num_tokens: int = 4, scale: float = 1.0) -> None:
        super().__init__()
        self.num_tokens, self.scale = num_tokens, scale
        self.id_to_k = Linear(context_channels, channels, bias_attr=False)
        self.id_to_v = Linear(context_channels, channels, bias_attr=False)

    def prepare(
        self, attention: Attention, context: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """What follows from a context (batch, 1 + face tokens, context channels) with one token of the picture.

        Returns:
            The picture's value (batch, 1, channels), which is all that there is to attend to, and keys and values of
            the face, (batch, face tokens, channels).
        """
        face = context[:, 1:]
        return attention.to_v(context[:, :1]), self.id_to_k(face), self.id_to_v(face)

    def forward(
        self,
        attention: Attention,
        hidden_states: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | list[paddle.Tensor] | tuple[paddle.Tensor, ...] | None = None,
        attention_mask: paddle.Tensor | None = None,
        temb: paddle.Tensor | None = None,
        **_: Any,
    ) -> paddle.Tensor:
        """Attend.

        Args:
            hidden_states: (samples, tokens, channels).
            encoder_hidden_states: (batch, picture tokens + face tokens, context channels), or what begins with what
                `prepare` returns, each for as many samples in a row; or None for zeros.

        Returns:
            As the hidden states, or what can be added to them.
        """
        if encoder_hidden_states is None:  # keys and values of zeros are zeros
            return follow(attention.to_out[0].bias, hidden_states)
        query, samples = attention.to_q(hidden_states), hidden_states.shape[0]
        if not isinstance(encoder_hidden_states, (list, tuple)):
            picture = encoder_hidden_states[:, : -self.num_tokens]  # (batch, picture tokens, context channels)
            face = encoder_hidden_states[:, -self.num_tokens :]  # (batch, face tokens, context channels)
            key, value = (_for_each(to(picture), samples) for to in (attention.to_k, attention.to_v))
            of_picture = scaled_dot_product(query, key, value, attention.heads)  # (samples, tokens, channels)
            key, value = self.id_to_k(face), self.id_to_v(face)
        else:
            of_picture, key, value = encoder_hidden_states[:3]
            of_picture = _for_each(of_picture, samples)  # (samples, 1, channels)
        of_face = scaled_dot_product(query, _for_each(key, samples), _for_each(value, samples), attention.heads)
        return attention.to_out[0](of_picture + self.scale * match_distribution(of_face, of_picture))


def _for_each(context: paddle.Tensor, samples: int) -> paddle.Tensor:
    """(contexts, keys, channels) -> (samples, keys, channels), each for as many samples in a row."""
    count, keys, channels = context.shape
    if count == samples:
        return context
    return context.unsqueeze(1).expand([count, samples // count, keys, channels]).reshape([samples, keys, channels])


def match_distribution(x: paddle.Tensor, reference: paddle.Tensor) -> paddle.Tensor:
    """Shift and scale each sample to the mean and the spread of its reference.

    Args:
        x: (batch, tokens, channels).
        reference: as x, or (batch, 1, channels) of tokens that are all the same.

    Returns:
        As x.
    """
    (mean, deviation), (reference_mean, reference_deviation) = (_moments(y, x.shape[1]) for y in (x, reference))
    return (x - mean) * (reference_deviation / (deviation + _EPSILON)) + reference_mean


def _moments(x: paddle.Tensor, tokens: int) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Mean and standard deviation, with the unbiased estimate, of each sample: both (batch, 1, 1)."""
    mean = x.mean([1, 2], keepdim=True)
    count, times = tokens * x.shape[2], tokens // x.shape[1]
    variance = (x - mean).square().sum([1, 2], keepdim=True) * (times / (count - 1))
    return mean, _root(variance)


def _root(x: paddle.Tensor) -> paddle.Tensor:
    """The square root, whose gradient at 0 is 0: a sample whose tokens are all zeros has no spread to learn from."""
    if x.stop_gradient:
        return x.sqrt()
    is_positive = x > 0
    return paddle.where(is_positive, paddle.where(is_positive, x, paddle.ones_like(x)).sqrt(), paddle.zeros_like(x))

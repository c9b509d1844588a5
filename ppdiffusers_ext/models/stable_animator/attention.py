"""Attention of StableAnimator's UNet, as processors of ppdiffusers' `Attention`.

From StableAnimator (Tu et al. 2024, arXiv:2411.17697) in the form of Francis-Rings/StableAnimator
(`animation/modules/attention_processor_normalized.py`). Names of weights are the original's.
"""

import paddle
from paddle import nn

from ppdiffusers_ext.models.layers import Linear, scaled_dot_product

_EPSILON = 1e-5


class PlainAttention:
    """Softmax attention, without a matrix of all scores."""

    def __call__(self, attention, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **_):
        """(batch, tokens, channels), (contexts, keys, context channels) or None for itself -> as the first.

        Where there are fewer contexts than samples, each is for as many samples in a row.
        """
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        return attention.to_out[0](attend(attention, hidden_states, context))  # (batch, tokens, channels)


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

    def __init__(self, channels, context_channels, num_tokens=4, scale=1.0):
        super().__init__()
        self.num_tokens, self.scale = num_tokens, scale
        self.id_to_k = Linear(context_channels, channels, bias_attr=False)
        self.id_to_v = Linear(context_channels, channels, bias_attr=False)

    def forward(self, attention, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **_):
        """(batch, tokens, channels), (batch, image tokens + face tokens, context channels) -> as the first."""
        picture = encoder_hidden_states[:, : -self.num_tokens]  # (batch, image tokens, context channels)
        face = encoder_hidden_states[:, -self.num_tokens :]  # (batch, face tokens, context channels)
        query = attention.to_q(hidden_states)
        of_picture = attend(attention, hidden_states, picture, query)  # (batch, tokens, channels)
        of_face = scaled_dot_product(query, self.id_to_k(face), self.id_to_v(face), attention.heads)
        return attention.to_out[0](of_picture + self.scale * match_distribution(of_face, of_picture))


def attend(attention, x, context, query=None):
    """Attention before its output projection: (batch, tokens, channels)."""
    batch, tokens, _ = x.shape
    if context.shape[1] == 1 and not attention.training:  # what there is one of is all that there is to attend to
        value = attention.to_v(context)  # (contexts, 1, channels)
        return _for_each(value, batch).expand([batch, tokens, value.shape[2]])
    key, value = (_for_each(to(context), batch) for to in (attention.to_k, attention.to_v))
    return scaled_dot_product(attention.to_q(x) if query is None else query, key, value, attention.heads)


def _for_each(context, batch):
    """(contexts, keys, channels) -> (batch, keys, channels), each for as many samples in a row."""
    count, keys, channels = context.shape
    if count == batch:
        return context
    return context.unsqueeze(1).expand([count, batch // count, keys, channels]).reshape([batch, keys, channels])


def match_distribution(x, reference):
    """Shift and scale each sample to the mean and the spread of its reference: both (batch, tokens, channels)."""
    mean, reference_mean = (y.mean([1, 2], keepdim=True) for y in (x, reference))
    deviation, reference_deviation = (paddle.std(y, [1, 2], keepdim=True) for y in (x, reference))
    return (x - mean) * (reference_deviation / (deviation + _EPSILON)) + reference_mean

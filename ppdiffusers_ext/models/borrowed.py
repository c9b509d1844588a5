"""Networks of ppdiffusers, such as autoencoders of pictures, whose layers compute as those of `models.layers` do."""

from collections.abc import Sequence
from typing import Any, TypeVar

import paddle
from paddle import nn
from ppdiffusers.models.attention_processor import Attention, AttnProcessor
from ppdiffusers.models.lora import LoRACompatibleLinear
from ppdiffusers.models.resnet import Upsample2D

from ppdiffusers_ext.models.layers import Conv2D, GroupNorm, LayerNorm, Linear, resize_nearest, scaled_dot_product

# A network, which a function changes in place and returns.
Network = TypeVar("Network", bound=nn.Layer)


def use_own_layers(model: Network) -> Network:
    """Have a network of ppdiffusers compute its plain layers as those of `models.layers` do.

    Its attention then takes no memory that grows with the square of a picture's area on a CPU, and upsampling is
    `resize_nearest`.

    Returns:
        The network, whose weights and numbers are as before.
    """
    for layer in model.sublayers(include_self=True):
        if type(layer) is Upsample2D and layer.use_conv and not layer.use_conv_transpose and layer.name == "conv":
            layer.__class__ = _BorrowedUpsample2D
        is_attention = type(layer) is Attention and type(layer.processor) is AttnProcessor
        if is_attention and layer.scale_qk and layer.spatial_norm is None and layer.norm_cross is None:
            layer.set_processor(PlainAttention())
        if type(layer) in _BORROWED and layer.weight is not None and getattr(layer, "lora_layer", None) is None:
            layer.__class__ = _BORROWED[type(layer)]
        plain = (
            isinstance(layer, nn.Conv2D)
            and layer._groups == 1
            and layer._padding_mode == "zeros"
            and tuple(layer._dilation) == (1, 1)
            and layer._data_format == "NCHW"
            and getattr(layer, "lora_layer", None) is None
        )
        if plain:
            layer.__class__ = _BorrowedConv2D
    return model


def use_groups(model: Network, num_groups: int) -> Network:
    """Have all group norms of a network normalise in so many groups; ppdiffusers' for videos know 32 alone.

    Returns:
        The network.

    Raises:
        ValueError: the channels of a layer do not divide into them.
    """
    for layer in model.sublayers():
        if isinstance(layer, nn.GroupNorm):
            if layer._num_channels % num_groups:
                raise ValueError(f"{layer._num_channels} channels cannot be normalised in {num_groups} groups")
            layer._num_groups = num_groups
    return model


class PlainAttention(AttnProcessor):
    """Softmax attention of ppdiffusers' `Attention`, without a matrix of all scores; with a mask, ppdiffusers' own."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        *args: Any,
        **options: Any,
    ) -> paddle.Tensor:
        """(batch, channels, h, w) or (batch, tokens, channels), as the result.

        encoder_hidden_states: what is attended to, (batch, keys, context channels); by default the first.
        """
        if attention_mask is not None:
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, *args, **options)
        x = hidden_states
        if x.ndim == 4:
            x = x.flatten(2).transpose([0, 2, 1])  # (batch, h w, channels)
        if attn.group_norm is not None:
            x = attn.group_norm(x.transpose([0, 2, 1])).transpose([0, 2, 1])
        context = x if encoder_hidden_states is None else encoder_hidden_states
        x = scaled_dot_product(attn.to_q(x), attn.to_k(context), attn.to_v(context), attn.heads)
        x = attn.to_out[1](attn.to_out[0](x))
        if hidden_states.ndim == 4:
            x = x.transpose([0, 2, 1]).reshape(hidden_states.shape)
        if attn.residual_connection:
            x = x + hidden_states
        return x if attn.rescale_output_factor == 1 else x / attn.rescale_output_factor


class _BorrowedConv2D(Conv2D):
    """A convolution of ppdiffusers', which is called with the scale of a LoRA that it has not."""

    def forward(self, x: paddle.Tensor, scale: float = 1.0) -> paddle.Tensor:
        return super().forward(x)


class _BorrowedUpsample2D(Upsample2D):
    """Twice the size, each pixel repeated, and a convolution: in a way that all engines can run."""

    def forward(self, x: paddle.Tensor, output_size: Sequence[int] | None = None, scale: float = 1.0) -> paddle.Tensor:
        """(batch, channels, h, w) -> (batch, out_channels, 2h, 2w), or of the `output_size`."""
        return self.conv(resize_nearest(x, output_size or [2 * side for side in x.shape[2:]]))


class _BorrowedLinear(Linear):
    """A linear layer of ppdiffusers', which is called with the scale of a LoRA that it has not."""

    def forward(self, x: paddle.Tensor, scale: float = 1.0) -> paddle.Tensor:
        return super().forward(x)


_BORROWED = {
    nn.Linear: _BorrowedLinear,
    LoRACompatibleLinear: _BorrowedLinear,
    nn.LayerNorm: LayerNorm,
    nn.GroupNorm: GroupNorm,
}

"""Attention of the denoising UNet to the reference UNet's tokens, as `training.places` leads it."""

from typing import Any

from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D
from ppdiffusers_ext.models.animate_anyone.transformer import ReferenceAttention, repeat_rows
from ppdiffusers_ext.training.places import Attending, Places

_DOWN = "down_blocks."  # where few tokens have seen the border


def lead(unet: DenoisingUNet3D, weight: float, steps: int) -> Places:
    """`Places` of the mid and up blocks of a UNet."""
    layers = [
        layer
        for name, layer in unet.named_sublayers()
        if isinstance(layer, ReferenceAttention) and not name.startswith(_DOWN)
    ]
    return Places(layers, _read, weight, steps, patch=unet.config.patch_size)


def _read(layer: Any, inputs: tuple) -> Attending | None:
    tokens, reference = inputs[:2]  # (rows, tokens, channels); key and value
    if reference is None:
        return None
    key, value = (repeat_rows(tensor, tokens.shape[0]) for tensor in reference)
    return Attending(layer.to_q(tokens), key, value, layer.num_heads, layer.to_out[0])

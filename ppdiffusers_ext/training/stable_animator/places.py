"""Attention over a frame's pixels, as `training.places` leads it.

The pixels have the reference's latents beside the noisy ones. What is on the person is led to those where the
reference has the same part of the body.
"""

from typing import Any

from ppdiffusers_ext.models.stable_animator import AnimationUNet
from ppdiffusers_ext.models.stable_animator.blocks import PictureBlock
from ppdiffusers_ext.training.places import Attending, Places

_DOWN = "down_blocks."  # where few tokens know what they show


def lead(unet: AnimationUNet, weight: float, steps: int) -> Places:
    """`Places` of the mid and up blocks of a UNet; background has the reference's latents where it is."""
    layers = [
        layer.attn1
        for name, layer in unet.named_sublayers()
        if isinstance(layer, PictureBlock) and not name.startswith(_DOWN)
    ]
    return Places(layers, _read, weight, steps, background=False)


def _read(layer: Any, inputs: tuple) -> Attending:
    tokens = inputs[0]  # (batch*frames, pixels, channels)
    return Attending(layer.to_q(tokens), layer.to_k(tokens), layer.to_v(tokens), layer.heads, layer.to_out[0])

"""Weights that a UNet starts from where there are no trained ones: what it is given goes through it at once.

With the usual random weights, the sums and products of many layers leave little of the reference picture in the tokens
that the denoising UNet attends to, and training is slow to bring it back. Here the second half of each residual block
adds nothing at first (as in Dhariwal and Nichol 2021, arXiv:2105.05233), so that what is left is the shortcuts,
projections and changes of size. These are orthogonal, so they keep lengths and angles (Saxe et al. 2013,
arXiv:1312.6120), of each position alone, or of those that become one. It is no part of the original, which starts from
Stable Diffusion.
"""

import math

import paddle

from ppdiffusers_ext.models.animate_anyone.blocks import Downsample, ResnetBlock
from ppdiffusers_ext.models.animate_anyone.transformer import SpatialTransformer
from ppdiffusers_ext.models.animate_anyone.trunk import UNetTrunk

# How much of two feature maps an up block starts with: of the one from below, and of the one from the down block.
_OF_REFERENCE = (0.3, 1.0)  # its details are those of the down block
_OF_FRAME = (1.0, 0.2)  # where the down block has the noise, and attention in the blocks below has the reference
_OUTPUT_GAIN = 0.5


def draw_first_weights(unet: UNetTrunk, of_reference: bool) -> None:
    """Draw weights to start from, in the place of those that the UNet was made with; by Paddle's random state.

    Args:
        unet: `ReferenceUNet`, or `DenoisingUNet3D` without motion modules.
        of_reference: whether it is the former, whose output nobody sees: its attention then adds nothing at first.
    """
    for layer in unet.sublayers():
        if isinstance(layer, ResnetBlock):
            _silence(layer.conv2.weight)
            if layer.conv_shortcut is not None:
                _turn(layer.conv_shortcut.weight)
        elif isinstance(layer, Downsample):
            _pass(layer.conv.weight, side=2)
        elif isinstance(layer, SpatialTransformer):
            _begin_attention(layer, of_reference)
    _pass(unet.conv_in.weight)
    below = unet.mid_block.resnets[-1]
    for block in unet.up_blocks:
        for resnet in block.resnets:
            _join(resnet, below.conv2.weight.shape[0], *(_OF_REFERENCE if of_reference else _OF_FRAME))
            below = resnet
    if not of_reference:
        _pass(unet.conv_out.weight, _OUTPUT_GAIN)


def _begin_attention(transformer: SpatialTransformer, of_reference: bool) -> None:
    """Hand over what is attended to as it is; the rest of the transformer adds nothing yet."""
    (block,) = transformer.transformer_blocks
    for weight in (transformer.proj_in.weight, block.attn1.to_v.weight, block.attn1.to_out[0].weight):
        _turn(weight)
    _silence(block.attn2.to_out[0].weight)
    _silence(block.ff.net[2].weight)
    if of_reference:
        _silence(transformer.proj_out.weight)
    else:
        _turn(transformer.proj_out.weight)


def _join(resnet: ResnetBlock, width: int, of_below: float, of_beside: float) -> None:
    """Begin an up block's shortcut as a sum of two feature maps, the first of them `width` channels wide."""
    weight = resnet.conv_shortcut.weight  # type: ignore[union-attr]  # two maps are wider than one
    channels, both = weight.shape[:2]
    parts = [of_below * _orthogonal(channels, width), of_beside * _orthogonal(channels, both - width)]
    weight.set_value(paddle.concat(parts, axis=1).reshape(weight.shape))


def _turn(weight: paddle.Tensor) -> None:
    """Orthogonal: as a matrix of a row for each first index."""
    weight.set_value(_orthogonal(weight.shape[0], math.prod(weight.shape[1:])).reshape(weight.shape))


def _pass(weight: paddle.Tensor, gain: float = 1.0, side: int = 1) -> None:
    """Orthogonal from the middle of a kernel of 3x3 on, for so many positions to a side; 0 elsewhere."""
    channels, given = weight.shape[:2]
    kernel, seen = paddle.zeros(weight.shape), slice(1, 1 + side)
    kernel[:, :, seen, seen] = gain * _orthogonal(channels, given * side**2).reshape([channels, given, side, side])
    weight.set_value(kernel)


def _orthogonal(rows: int, columns: int) -> paddle.Tensor:
    """(rows, columns) with orthonormal rows or columns, whichever are fewer."""
    tall, _ = paddle.linalg.qr(paddle.randn([max(rows, columns), min(rows, columns)]))
    return tall if rows >= columns else tall.t()


def _silence(weight: paddle.Tensor) -> None:
    weight.set_value(paddle.zeros_like(weight))

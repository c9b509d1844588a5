"""Weights that Animate Anyone's UNets start from where there are no trained ones; see `training.first_weights`."""

from ppdiffusers_ext.models.animate_anyone.blocks import Downsample, ResnetBlock
from ppdiffusers_ext.models.animate_anyone.transformer import SpatialTransformer
from ppdiffusers_ext.models.animate_anyone.trunk import UNetTrunk
from ppdiffusers_ext.training.first_weights import join, pass_through, silence, turn

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
            silence(layer.conv2.weight)
            if layer.conv_shortcut is not None:
                turn(layer.conv_shortcut.weight)
        elif isinstance(layer, Downsample):
            pass_through(layer.conv.weight, side=2)
        elif isinstance(layer, SpatialTransformer):
            _begin_attention(layer, of_reference)
    pass_through(unet.conv_in.weight)
    below = unet.mid_block.resnets[-1]
    for block in unet.up_blocks:
        for resnet in block.resnets:
            assert resnet.conv_shortcut is not None  # two maps are wider than one
            parts = _OF_REFERENCE if of_reference else _OF_FRAME
            join(resnet.conv_shortcut.weight, below.conv2.weight.shape[0], *parts)
            below = resnet
    if not of_reference:
        pass_through(unet.conv_out.weight, _OUTPUT_GAIN)


def _begin_attention(transformer: SpatialTransformer, of_reference: bool) -> None:
    """Hand over what is attended to as it is; the rest of the transformer adds nothing yet."""
    (block,) = transformer.transformer_blocks
    for weight in (transformer.proj_in.weight, block.attn1.to_v.weight, block.attn1.to_out[0].weight):
        turn(weight)
    silence(block.attn2.to_out[0].weight)
    silence(block.ff.net[2].weight)
    if of_reference:
        silence(transformer.proj_out.weight)
    else:
        turn(transformer.proj_out.weight)

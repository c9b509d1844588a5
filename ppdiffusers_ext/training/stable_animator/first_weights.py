"""Weights that StableAnimator's UNet starts from where there are no trained ones; see `training.first_weights`."""

from ppdiffusers_ext.models.stable_animator import AnimationUNet
from ppdiffusers_ext.models.stable_animator.blocks import VideoTransformer
from ppdiffusers_ext.models.stable_animator.residual import VideoResBlock
from ppdiffusers_ext.training.first_weights import join, pass_through, silence, turn

# How much of two feature maps an up block starts with: of the one from below, and of the one from the down block,
# which has the reference's latents where they are.
_OF_BELOW, _OF_BESIDE = 0.3, 1.0
_OUTPUT_GAIN = 0.5


def draw_first_weights(unet: AnimationUNet) -> None:
    """Draw weights to start from, in the place of those that the UNet was made with; by Paddle's random state.

    Transformers add nothing at first.
    """
    for layer in unet.sublayers():
        if isinstance(layer, VideoResBlock):
            silence(layer.spatial_res_block.conv2.weight)
            silence(layer.temporal_res_block.conv2.weight)
            if layer.spatial_res_block.conv_shortcut is not None:
                turn(layer.spatial_res_block.conv_shortcut.weight)
        elif isinstance(layer, VideoTransformer):
            silence(layer.proj_out.weight)
    pass_through(unet.conv_in.weight)
    for block in unet.down_blocks:
        for downsampler in block.downsamplers or ():
            pass_through(downsampler.conv.weight, side=2)
    width = unet.mid_block.resnets[-1].spatial_res_block.conv2.weight.shape[0]
    for block in unet.up_blocks:
        for resnet in block.resnets:
            weight = resnet.spatial_res_block.conv_shortcut.weight
            join(weight, width, _OF_BELOW, _OF_BESIDE)
            width = weight.shape[0]
    pass_through(unet.conv_out.weight, _OUTPUT_GAIN)

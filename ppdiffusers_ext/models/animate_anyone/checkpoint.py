"""Published checkpoints of Animate Anyone and of what it starts from: names, and files that belong together."""

import os
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.assignment import load_weights
from ppdiffusers_ext.weights.conversion import names_in_model
from ppdiffusers_ext.weights.declaration import CheckpointNames
from ppdiffusers_ext.weights.loading import read_checkpoint

if TYPE_CHECKING:
    from ppdiffusers_ext.models.animate_anyone.denoising_unet import DenoisingUNet3D

# The prefixes are those of trainers that save all networks as one.
DENOISING_UNET_NAMES = CheckpointNames(wrappers=("denoising_unet.", "motion_module."))
REFERENCE_UNET_NAMES = CheckpointNames(unused=r"^(conv_norm_out|conv_out)\.", wrappers=("reference_unet.",))
POSE_GUIDER_NAMES = CheckpointNames(wrappers=("pose_guider.",))


def load_motion_module(
    model: "DenoisingUNet3D", unet_path: str | os.PathLike, motion_module_path: str | os.PathLike | None = None
) -> "DenoisingUNet3D":
    """Load a `DenoisingUNet3D` from the weights of its spatial layers and those of its motion modules.

    This is how released models come, and how Stable Diffusion 1.5's UNet and AnimateDiff's motion module initialise
    the network: AnimateDiff's files have the same names.

    Raises:
        InputError: the second file holds no motion module, or as `load_weights`.
    """
    if motion_module_path is None:
        return load_weights(model, unet_path)
    checkpoint = read_checkpoint(motion_module_path)
    names = names_in_model(model, checkpoint.tensors, checkpoint.path).values()
    if not any("motion_modules." in name for name in names):
        raise InputError(
            f"{motion_module_path} holds no motion module ({len(names)} tensors, none of them named "
            "*.motion_modules.*); a motion module of Animate Anyone or AnimateDiff is needed"
        )
    return load_weights(model, unet_path, checkpoint)

"""The two training stages of Animate Anyone: which networks run, and which of their tensors learn.

From Animate Anyone (Hu et al. 2023, arXiv:2311.17117) in the form of MooreThreads/Moore-AnimateAnyone
(`train_stage_1.py`, `train_stage_2.py`). Stage 1 learns single frames: it trains the denoising UNet without motion
modules, the pose guider, and the part of the reference UNet that reaches the loss. Stage 2 trains the motion modules.
"""

import paddle
from paddle import nn

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.animate_anyone import DenoisingUNet3D, PoseGuider, ReferenceUNet
from ppdiffusers_ext.training.parts import TrainedPart, train_only

STAGES = (1, 2)

# Of the last up block's layers only what its banks hold reaches the loss; the original freezes all of it, which
# pretrained weights allow.
_FROZEN_IN_STAGE_1 = "reference_unet.up_blocks.3."
_TRAINED_IN_STAGE_2 = "motion_modules."


class AnimateAnyoneModel(nn.Layer):
    """The three networks as one layer, with the names that the original's training gives them.

    Args:
        reference_unet: `ReferenceUNet`.
        denoising_unet: `DenoisingUNet3D`.
        pose_guider: `PoseGuider`.
    """

    def __init__(
        self, reference_unet: ReferenceUNet, denoising_unet: DenoisingUNet3D, pose_guider: PoseGuider
    ) -> None:
        super().__init__()
        self.reference_unet = reference_unet
        self.denoising_unet = denoising_unet
        self.pose_guider = pose_guider

    def forward(
        self,
        noisy_latents: paddle.Tensor,
        timesteps: paddle.Tensor,
        reference_latents: paddle.Tensor,
        image_embedding: paddle.Tensor,
        pose_pixels: paddle.Tensor,
        unconditional: bool = False,
        fp16_reference_features: bool = False,
    ) -> paddle.Tensor:
        """Predict what the objective asks for, the velocity or the clean latents.

        Args:
            noisy_latents: (batch, 4, frames, height / 8, width / 8).
            timesteps: (batch,).
            reference_latents: (batch, 4, height / 8, width / 8).
            image_embedding: (batch, 1, dim) of CLIP.
            pose_pixels: (batch, 3, frames, height, width), values in [0, 1].
            unconditional: leave the reference UNet out, as in a share of the steps.
            fp16_reference_features: round the reference features, and their gradients, as the original does.

        Returns:
            As `noisy_latents`.
        """
        features = None
        if not unconditional:
            features = self.reference_unet(reference_latents, 0, image_embedding)
            features = features.rounded_to_fp16() if fp16_reference_features else features
        pose_features = self.pose_guider(pose_pixels)  # (batch, width_0, frames, height / 8, width / 8)
        return self.denoising_unet(noisy_latents, timesteps, image_embedding, pose_features, features)


def freeze(model: AnimateAnyoneModel, stage: int, whole_reference: bool = False) -> list[str]:
    """Freeze all parameters of an `AnimateAnyoneModel` but those of the stage. Returns the names of the trained ones.

    whole_reference: train the last up block of the reference UNet in stage 1, too.

    Raises:
        InputError: there is no such stage, or the denoising UNet has motion modules in stage 1 or none in stage 2.
    """
    if stage not in STAGES:
        raise InputError(f"stage {stage!r} is unknown; 1 and 2 are accepted")
    has_motion = any(_TRAINED_IN_STAGE_2 in name for name, _ in model.denoising_unet.named_parameters())
    if has_motion != (stage == 2):
        raise InputError(
            f"the denoising UNet of stage {stage} has {'no' if has_motion else 'its'} motion modules; this one has "
            f"{'some' if has_motion else 'none'}"
        )
    if stage == 2:
        return train_only(model, lambda name: _TRAINED_IN_STAGE_2 in name)
    return train_only(model, lambda name: whole_reference or not name.startswith(_FROZEN_IN_STAGE_1))


def parts(model: AnimateAnyoneModel, stage: int) -> dict[str, TrainedPart]:
    """The `TrainedPart`s of a stage by the names of their files: what the next stage and `pose2vid` load."""
    if stage == 2:
        return {"motion_module": TrainedPart(model.denoising_unet, _TRAINED_IN_STAGE_2)}
    return {name: TrainedPart(getattr(model, name)) for name in ("reference_unet", "denoising_unet", "pose_guider")}

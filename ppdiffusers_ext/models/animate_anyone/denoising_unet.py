"""Denoising UNet: Stable Diffusion 1.5's UNet on every frame, with motion modules, pose and reference features.

From Animate Anyone (Hu et al. 2023, arXiv:2311.17117) in the form of MooreThreads/Moore-AnimateAnyone
(`src/models/unet_3d.py`). Differences from the original: reference features are an argument; frames are folded into
the batch (see `blocks.py`); an option that has no effect there (cross-frame attention, ...) is refused.
"""

from typing import TYPE_CHECKING

import paddle
import paddle.nn.functional as F
from ppdiffusers.configuration_utils import register_to_config

from ppdiffusers_ext.models.animate_anyone.blocks import Conditions, FrameGroupNorm
from ppdiffusers_ext.models.animate_anyone.checkpoint import DENOISING_UNET_NAMES
from ppdiffusers_ext.models.animate_anyone.option_rules import DENOISING_UNET_RULES
from ppdiffusers_ext.models.animate_anyone.trunk import MotionBlocks, UNetTrunk
from ppdiffusers_ext.models.depth import through_blocks
from ppdiffusers_ext.models.layers import Conv2D

if TYPE_CHECKING:
    from ppdiffusers_ext.models.animate_anyone.reference_unet import ReferenceFeatures


class DenoisingUNet3D(UNetTrunk):
    """The original's `UNet3DConditionModel` in reader mode with fusion over all blocks.

    Options are those of the original; the defaults are Stable Diffusion 1.5 without motion modules (stage 1).
    `attention_head_dim` is the number of heads.

    Args:
        use_inflated_groupnorm: resnet and output norms take their statistics from each frame instead of the whole
            clip (released models do; stage 1 trains on single frames, where it makes no difference).
        use_motion_module, motion_module_resolutions, motion_module_mid_block, motion_module_decoder_only: where
            motion modules stand; resolutions are down-sampling factors.
        motion_module_kwargs: options of `MotionModule`.
        patch_size: latents to a side of what the network takes as one position, with all their channels (not of the
            original; for latents of small pictures, which attention can then copy as they are).

    Raises:
        ValueError: options that are not supported or do not fit together.
    """

    checkpoint_names = DENOISING_UNET_NAMES
    option_rules = DENOISING_UNET_RULES

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = None,
        in_channels: int = 4,
        out_channels: int = 4,
        center_input_sample: bool = False,
        flip_sin_to_cos: bool = True,
        freq_shift: int = 0,
        down_block_types: tuple = (
            "CrossAttnDownBlock3D",
            "CrossAttnDownBlock3D",
            "CrossAttnDownBlock3D",
            "DownBlock3D",
        ),
        mid_block_type: str = "UNetMidBlock3DCrossAttn",
        up_block_types: tuple = ("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
        only_cross_attention: bool = False,
        block_out_channels: tuple = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        downsample_padding: int = 1,
        mid_block_scale_factor: float = 1,
        act_fn: str = "silu",
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        cross_attention_dim: int = 768,
        attention_head_dim: int = 8,
        dual_cross_attention: bool = False,
        use_linear_projection: bool = False,
        class_embed_type: str | None = None,
        num_class_embeds: int | None = None,
        upcast_attention: bool = False,
        resnet_time_scale_shift: str = "default",
        use_inflated_groupnorm: bool = False,
        use_motion_module: bool = False,
        motion_module_resolutions: tuple = (1, 2, 4, 8),
        motion_module_mid_block: bool = False,
        motion_module_decoder_only: bool = False,
        motion_module_type: str | None = None,
        motion_module_kwargs: dict | None = None,
        unet_use_cross_frame_attention: bool | None = None,
        unet_use_temporal_attention: bool | None = None,
        mode: str | None = None,
        task_type: str = "action",
        patch_size: int = 1,
    ) -> None:
        super().__init__()
        if use_motion_module and motion_module_type != "Vanilla":
            raise ValueError(f"motion_module_type={motion_module_type!r} is not known; use Vanilla")
        self._build(per_frame_norm=use_inflated_groupnorm, motion_blocks=self._motion_blocks())
        width = block_out_channels[0]
        self.conv_norm_out = FrameGroupNorm(norm_num_groups, width, norm_eps, use_inflated_groupnorm)
        self.conv_out = Conv2D(width, out_channels * patch_size**2, 3, padding=1)

    def _motion_blocks(self) -> MotionBlocks:
        config = self.config
        if not config.use_motion_module:
            return ()
        levels = range(len(config.block_out_channels))
        down = [("down", i) for i in levels if 2**i in config.motion_module_resolutions]
        # As in the original, which counts resolutions of up blocks from 8 downwards whatever the number of levels.
        up = [("up", i) for i in levels if 2 ** (3 - i) in config.motion_module_resolutions]
        mid = ["mid"] if config.motion_module_mid_block else []
        return (up if config.motion_module_decoder_only else down + up) + mid

    @property
    def max_frames(self) -> int | None:
        """The longest window that the motion modules can place in time, or None where any length will do."""
        options = self.config.motion_module_kwargs or {}
        if not (self.config.use_motion_module and options.get("temporal_position_encoding", False)):
            return None
        return options.get("temporal_position_encoding_max_len", 24)

    def forward(
        self,
        latents: paddle.Tensor,
        timestep: float | paddle.Tensor,
        encoder_hidden_states: paddle.Tensor,
        pose_features: paddle.Tensor | None = None,
        reference_features: "ReferenceFeatures | None" = None,
        num_unconditional: int = 0,
    ) -> paddle.Tensor:
        """One denoising call on one window.

        Args:
            latents: (batch, in_channels, frames, height, width).
            timestep: a number or (batch,).
            encoder_hidden_states: (batch, keys, cross_attention_dim), the CLIP embedding of the reference picture.
            pose_features: (batch, block_out_channels[0], frames, height, width) from `PoseGuider`, or None; of the
                latents' height and width, or of as many patches.
            reference_features: `ReferenceFeatures` of (batch - num_unconditional) samples, or of one sample for all
                of them, or None.
            num_unconditional: leading samples of the batch that do not see the reference (guidance).

        Returns:
            (batch, out_channels, frames, height, width) in the dtype of the latents.

        Raises:
            ValueError: batch sizes, frame counts or names of features that do not fit.
        """
        conditions = self._conditions(
            timestep,
            encoder_hidden_states,
            latents.shape[0],
            reference_features,
            num_frames=latents.shape[2],
            num_unconditional=num_unconditional,
        )
        prediction = self.denoise(latents, conditions, pose_features)
        return prediction  # type: ignore[return-value]  # alone, without a depth

    def denoise(
        self,
        latents: paddle.Tensor,
        conditions: Conditions,
        pose_features: paddle.Tensor | None = None,
        depth: int = 0,
        deep: paddle.Tensor | None = None,
    ) -> paddle.Tensor | tuple[paddle.Tensor, paddle.Tensor]:
        """What depends on the latents: `forward` after all that follows from the step or from the clip alone.

        Args:
            latents: (batch, in_channels, frames, height, width).
            conditions: `Conditions` made of what `prepare_step` and `prepare_clip` return.
            pose_features: as `forward`'s.
            depth: units at the network's end (1 to `max_depth`) that can run without the others; 0: all run as one.
            deep: what an earlier call returned for these units, which spares the others.

        Returns:
            As `forward`; with a depth also what entered the last units, (batch*frames, channels, height, width).
        """
        batch, _, num_frames, _, _ = latents.shape
        dtype = self._compute_dtype()
        x = self._patches(self._centre(_fold(latents.astype(dtype))))  # (batch*frames, channels * p * p, h / p, w / p)
        expected = [batch, num_frames, *x.shape[2:]]
        if pose_features is not None and _extent(pose_features) != expected:
            raise ValueError(
                f"pose features of {_extent(pose_features)} (batch, frames, height, width) do not fit latents of "
                f"{expected}"
            )
        x = self.conv_in(x)  # (batch*frames, width_0, h / p, w / p)
        if pose_features is not None:
            x = x + _fold(pose_features.astype(dtype))
        x, _, deep = through_blocks(self, x, conditions, depth, deep)  # (batch*frames, width_0, h / p, w / p)
        x = self.conv_out(F.silu(self.conv_norm_out(x, num_frames)))  # (batch*frames, out_channels * p * p, ...)
        x = self._whole(x)  # (batch*frames, out_channels, height, width)
        x = x.reshape([batch, num_frames, *x.shape[1:]]).transpose([0, 2, 1, 3, 4])
        x = x.astype(latents.dtype)
        return (x, deep) if depth else x


def _fold(x: paddle.Tensor) -> paddle.Tensor:
    """(batch, channels, frames, height, width) -> (batch*frames, channels, height, width)."""
    return x.transpose([0, 2, 1, 3, 4]).flatten(0, 1)


def _extent(x: paddle.Tensor) -> list[int]:
    return [x.shape[0], *x.shape[2:]]

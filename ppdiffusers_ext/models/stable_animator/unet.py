"""StableAnimator's denoising UNet: Stable Video Diffusion's, with attention to a face and features of the pose.

From StableAnimator (Tu et al. 2024, arXiv:2411.17697) in the form of Francis-Rings/StableAnimator
(`animation/modules/unet.py`), which is diffusers 0.31's `UNetSpatioTemporalConditionModel` apart from what is here.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import paddle
import paddle.nn.functional as F
from ppdiffusers.configuration_utils import register_to_config
from ppdiffusers.models.attention import BasicTransformerBlock, TemporalBasicTransformerBlock
from ppdiffusers.models.transformer_temporal import TransformerSpatioTemporalModel
from ppdiffusers.models.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.borrowed import PlainAttention, use_groups, use_own_layers
from ppdiffusers_ext.models.depth import through_blocks
from ppdiffusers_ext.models.layers import compute_dtype
from ppdiffusers_ext.models.stable_animator.attention import FaceAttention
from ppdiffusers_ext.models.stable_animator.blocks import (
    ClipConditions,
    Conditions,
    PictureBlock,
    TimeBlock,
    Times,
    VideoTransformer,
    name_blocks,
)
from ppdiffusers_ext.models.stable_animator.option_rules import UNET_RULES
from ppdiffusers_ext.models.stable_animator.residual import use_video_blocks
from ppdiffusers_ext.models.strict import StrictModelMixin

if TYPE_CHECKING:
    from ppdiffusers_ext.models.stable_animator.blocks import BlockConditions


class AnimationUNet(StrictModelMixin, UNetSpatioTemporalConditionModel):
    """ppdiffusers' `UNetSpatioTemporalConditionModel` whose context ends with tokens of a face.

    Args:
        num_face_tokens: of them.
        norm_num_groups: of all group norms; small networks need fewer, for a group of one channel forgets its level.
        others: see `UNetSpatioTemporalConditionModel`, with the defaults of Stable Video Diffusion.
    """

    option_rules = UNET_RULES

    @register_to_config
    def __init__(
        self,
        sample_size: int = 96,
        in_channels: int = 8,
        out_channels: int = 4,
        down_block_types: tuple = (*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"),
        up_block_types: tuple = ("UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 3),
        block_out_channels: tuple = (320, 640, 1280, 1280),
        addition_time_embed_dim: int = 256,
        projection_class_embeddings_input_dim: int = 768,
        layers_per_block: int = 2,
        cross_attention_dim: int = 1024,
        transformer_layers_per_block: int = 1,
        num_attention_heads: tuple = (5, 10, 20, 20),
        num_frames: int = 25,
        num_face_tokens: int = 4,
        norm_num_groups: int = 32,
    ) -> None:
        options = dict(self.config)
        faces, groups = options.pop("num_face_tokens"), options.pop("norm_num_groups")
        super().__init__(**{name: value for name, value in options.items() if not name.startswith("_")})
        use_groups(self, groups)
        self.set_attn_processor(PlainAttention())
        for layer in self.sublayers():
            if isinstance(layer, TransformerSpatioTemporalModel):
                layer.__class__ = VideoTransformer
            elif isinstance(layer, TemporalBasicTransformerBlock):
                layer.__class__, layer.num_face_tokens = TimeBlock, faces
            elif isinstance(layer, BasicTransformerBlock):
                layer.__class__, attention = PictureBlock, layer.attn2
                context_channels = attention.to_k.weight.shape[0]
                attention.set_processor(FaceAttention(attention.inner_dim, context_channels, faces))
        name_blocks(self)
        use_own_layers(use_video_blocks(self))

    def forward(
        self,
        sample: paddle.Tensor,
        timestep: float | paddle.Tensor,
        encoder_hidden_states: paddle.Tensor,
        added_time_ids: paddle.Tensor,
        pose_latents: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """One prediction of the noise's velocity.

        Args:
            sample: (batch, frames, 8, height, width): scaled noisy latents, and those of the picture.
            timestep: number or tensor of one for all, or of one for each sample; 0.25 ln sigma.
            encoder_hidden_states: (batch, picture tokens + face tokens, cross_attention_dim).
            added_time_ids: (batch, 3): frames per second less one, motion bucket, strength of the picture's noise.
            pose_latents: (batch*frames, block_out_channels[0], height, width) from `PoseNet`, or None.

        Returns:
            (batch, frames, 4, height, width).
        """
        times = self.prepare_step(timestep, added_time_ids)
        context = encoder_hidden_states.astype(compute_dtype(self.conv_in.weight))
        # In training also what has no say is computed, so that its weights have a gradient of zero rather than none.
        if self.training or context.shape[1] != 1 + self.config.num_face_tokens:
            clip: Mapping[str, ClipConditions] = dict.fromkeys(self.transformers, context)
        else:
            clip = self.prepare_clip(context)
        prediction = self.denoise(sample, times, clip, pose_latents)
        return prediction  # type: ignore[return-value]  # alone, without a depth

    @property
    def transformers(self) -> dict[str, VideoTransformer]:
        """Name -> transformer, in the order of execution."""
        return {name: layer for block in self._blocks for name, layer in block.transformers.items()}

    @property
    def resnet_names(self) -> list[str]:
        """What `prepare_step` returns something for, in its order."""
        return [f"{block.block_name}.resnets.{i}" for block in self._blocks for i in range(len(block.resnets))]

    @property
    def max_depth(self) -> int:
        """The largest `depth` of `denoise`: the units of the last up block."""
        return len(self.up_blocks[-1].resnets)

    @property
    def _blocks(self) -> tuple[Any, ...]:
        return (*self.down_blocks, self.mid_block, *self.up_blocks)

    def embed(
        self, timestep: float | paddle.Tensor, added_time_ids: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Sinusoidal embeddings, in fp32, of the time and of what the motion is to be like.

        Args:
            timestep, added_time_ids: see `forward`.

        Returns:
            (batch, block_out_channels[0]) and (batch, projection_class_embeddings_input_dim).
        """
        batch = added_time_ids.shape[0]
        times: Any = timestep if paddle.is_tensor(timestep) else paddle.to_tensor(timestep, dtype="float32")
        added = self.add_time_proj(added_time_ids.flatten()).reshape([batch, -1])
        return self.time_proj(times.reshape([-1]).expand([batch])), added

    def load_attn_procs(self, *_: Any, **__: Any) -> NoReturn:
        """Raises InputError: ppdiffusers would look for a name on the internet, and has no adapter for this."""
        raise InputError("an AnimationUNet takes no adapters of ppdiffusers; from_pretrained of a folder is accepted")

    def enable_gradient_checkpointing(self) -> None:
        """Have training keep little for the gradient, and compute it again."""
        for block in self._blocks:
            block.gradient_checkpointing = True

    def disable_gradient_checkpointing(self) -> None:
        """Undo `enable_gradient_checkpointing`."""
        for block in self._blocks:
            block.gradient_checkpointing = False

    def prepare_step(self, timestep: float | paddle.Tensor, added_time_ids: paddle.Tensor) -> dict[str, Times]:
        """What follows from the step and the clip's motion alone: name of each residual block -> its projections."""
        return self.project_step(*self.embed(timestep, added_time_ids))

    def project_step(self, time: paddle.Tensor, added: paddle.Tensor) -> dict[str, Times]:
        """As `prepare_step`, of what `embed` returns."""
        dtype = compute_dtype(self.conv_in.weight)
        embedding = self.time_embedding(time.astype(dtype)) + self.add_embedding(added.astype(dtype))
        embedding = F.silu(embedding)  # (batch, 4 * block_out_channels[0])
        return {name: times for block in self._blocks for name, times in block.project(embedding).items()}

    def prepare_clip(self, context: paddle.Tensor | None) -> "dict[str, Sequence[BlockConditions | None]]":
        """What follows from the clip alone: name of each transformer -> `BlockConditions` of its blocks.

        Args:
            context: (batch, 1 + face tokens, cross_attention_dim), or None for zeros.
        """
        if context is not None:
            context = context.astype(compute_dtype(self.conv_in.weight))
        return {name: transformer.prepare(context) for name, transformer in self.transformers.items()}

    def denoise(
        self,
        sample: paddle.Tensor,
        times: dict[str, Times],
        clip: Mapping[str, ClipConditions],
        pose_latents: paddle.Tensor | None = None,
        depth: int = 0,
        deep: paddle.Tensor | None = None,
    ) -> paddle.Tensor | tuple[paddle.Tensor, paddle.Tensor]:
        """What depends on the latents: `forward` after all that follows from the step or from the clip alone.

        Args:
            sample, pose_latents: as `forward`'s.
            times: what `prepare_step` returns.
            clip: what `prepare_clip` returns.
            depth: units at the network's end (1 to `max_depth`) that can run without the others; 0: all run as one.
            deep: what an earlier call returned for these units, which spares the others.

        Returns:
            As `forward`; with a depth also what entered the last units, (batch*frames, channels, height, width).
        """
        batch, frames = sample.shape[:2]
        dtype = compute_dtype(self.conv_in.weight)
        x = self.conv_in(sample.flatten(0, 1).astype(dtype))  # (batch*frames, block_out_channels[0], height, width)
        if pose_latents is not None:
            x = x + pose_latents.astype(dtype)
        conditions = Conditions(times, clip, paddle.zeros([batch, frames], dtype=dtype))
        x, _, deep = through_blocks(self, x, conditions, depth, deep)
        x = self.conv_out(F.silu(self.conv_norm_out(x)))  # (batch*frames, 4, height, width)
        x = x.reshape([batch, frames, *x.shape[1:]]).astype(sample.dtype)
        return (x, deep) if depth else x

"""The part that the reference UNet and the denoising UNet have in common: Stable Diffusion 1.5's UNet up to its head.

From diffusers' `UNet2DConditionModel` as extended by MooreThreads/Moore-AnimateAnyone
(`src/models/unet_2d_condition.py`, `unet_3d.py`). Configuration and parameter names are the original's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import paddle
import paddle.nn.functional as F
from paddle import nn
from ppdiffusers.configuration_utils import ConfigMixin

from ppdiffusers_ext.models.animate_anyone.blocks import (
    BlockOptions,
    Conditions,
    DownBlock,
    MidBlock,
    UpBlock,
)
from ppdiffusers_ext.models.layers import Conv2D, TimestepEmbedding, compute_dtype, sinusoidal_embedding
from ppdiffusers_ext.models.strict import StrictModelMixin

if TYPE_CHECKING:
    from ppdiffusers_ext.models.animate_anyone.blocks import UNetBlock
    from ppdiffusers_ext.models.animate_anyone.reference_unet import ReferenceFeatures
    from ppdiffusers_ext.models.animate_anyone.transformer import SpatialTransformer, TransformerConditions

# ("down" or "up", level), and "mid".
MotionBlocks = Sequence[str | tuple[str, int]]
# Options of the original's constructors that no released model uses, with the one value that is accepted.
_FIXED_OPTIONS = {
    "act_fn": "silu",
    "only_cross_attention": False,
    "dual_cross_attention": False,
    "class_embed_type": None,
    "num_class_embeds": None,
    "upcast_attention": False,
    "unet_use_cross_frame_attention": False,
    "unet_use_temporal_attention": False,
    "mode": None,
    "task_type": "action",
}


def _has_attention(block_type: str, name: str) -> bool:
    kind = block_type[:-2] if block_type[-2:] in ("2D", "3D") else block_type
    if kind not in (f"CrossAttn{name}", name):
        raise ValueError(f"{block_type!r} is not a known block; use CrossAttn{name}2D/3D or {name}2D/3D")
    return kind.startswith("CrossAttn")


class UNetTrunk(StrictModelMixin, ConfigMixin):
    """Input convolution, time embedding, down, middle and up blocks. Subclasses register the configuration."""

    def _build(
        self, per_frame_norm: bool = True, collects_features: bool = False, motion_blocks: MotionBlocks | None = None
    ) -> None:
        """Make the layers that `self.config` describes.

        Args:
            per_frame_norm: statistics of the resnets' group norms cover one frame.
            collects_features: return the tokens of each spatial self-attention.
            motion_blocks: which blocks have motion modules: ("down" | "up", index) and "mid". None for none.

        Raises:
            ValueError: an option that is not supported, or lengths and widths that do not fit together.
        """
        config = self.config
        for option, value in _FIXED_OPTIONS.items():
            given = config.get(option, value)
            if given != value and (given or value):
                raise ValueError(f"{option}={given!r} is not supported; use {value!r}")
        if config.mid_block_type not in ("UNetMidBlock2DCrossAttn", "UNetMidBlock3DCrossAttn"):
            raise ValueError(f"mid_block_type={config.mid_block_type!r} is not supported; use UNetMidBlock3DCrossAttn")
        if config.resnet_time_scale_shift not in ("default", "scale_shift"):
            raise ValueError(
                f"resnet_time_scale_shift={config.resnet_time_scale_shift!r} is not known; use default or scale_shift"
            )
        widths = list(config.block_out_channels)
        for option in ("down_block_types", "up_block_types"):
            if len(config[option]) != len(widths):
                raise ValueError(f"{option} has {len(config[option])} entries, block_out_channels {len(widths)}")
        heads = config.attention_head_dim  # the number of heads, in spite of its name (diffusers keeps it for SD 1.5)
        heads = [heads] * len(widths) if isinstance(heads, int) else list(heads)
        if len(heads) != len(widths):
            raise ValueError(f"attention_head_dim has {len(heads)} entries, block_out_channels {len(widths)}")

        options = BlockOptions(
            temb_channels=widths[0] * 4,
            cross_attention_dim=config.cross_attention_dim,
            norm_num_groups=config.norm_num_groups,
            norm_eps=config.norm_eps,
            per_frame_norm=per_frame_norm,
            time_scale_shift=config.resnet_time_scale_shift == "scale_shift",
            use_linear_projection=config.use_linear_projection,
            collects_features=collects_features,
            motion_module_kwargs=dict(config.get("motion_module_kwargs") or {}),
        )
        motion_blocks = motion_blocks or ()
        self.conv_in = Conv2D(config.in_channels * config.patch_size**2, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], options.temb_channels)
        self.down_blocks = self._down_blocks(widths, heads, motion_blocks, options)
        self.up_blocks = self._up_blocks(widths, heads, motion_blocks, options)
        # The backward pass begins here: computed again, these activations would exist beside all the others as well.
        self.up_blocks[-1].keeps_last_unit = True
        self.mid_block = MidBlock(
            "mid_block", widths[-1], heads[-1], "mid" in motion_blocks, options, config.mid_block_scale_factor
        )

    def _down_blocks(
        self, widths: Sequence[int], heads: Sequence[int], motion_blocks: MotionBlocks, options: BlockOptions
    ) -> nn.LayerList:
        blocks = nn.LayerList()
        for i, (block_type, width) in enumerate(zip(self.config.down_block_types, widths)):
            blocks.append(
                DownBlock(
                    f"down_blocks.{i}",
                    widths[max(i - 1, 0)],
                    width,
                    self.config.layers_per_block,
                    heads[i] if _has_attention(block_type, "DownBlock") else 0,
                    ("down", i) in motion_blocks,
                    options,
                    self.config.downsample_padding if i < len(widths) - 1 else None,
                )
            )
        return blocks

    def _up_blocks(
        self, widths: Sequence[int], heads: Sequence[int], motion_blocks: MotionBlocks, options: BlockOptions
    ) -> nn.LayerList:
        blocks = nn.LayerList()
        incoming, heads = widths[-1], heads[::-1]
        for i, (block_type, width) in enumerate(zip(self.config.up_block_types, widths[::-1])):
            lower = widths[::-1][min(i + 1, len(widths) - 1)]  # width of the level below, whose last skip comes here
            blocks.append(
                UpBlock(
                    f"up_blocks.{i}",
                    incoming,
                    width,
                    [width] * self.config.layers_per_block + [lower],
                    heads[i] if _has_attention(block_type, "UpBlock") else 0,
                    ("up", i) in motion_blocks,
                    options,
                    add_upsample=i < len(widths) - 1,
                )
            )
            incoming = width
        return blocks

    def time_projection(self, timestep: float | paddle.Tensor, batch: int) -> paddle.Tensor:
        """Sinusoidal embedding of timesteps: a number, or one for each sample -> (batch, block_out_channels[0])."""
        timestep = timestep if isinstance(timestep, paddle.Tensor) else paddle.to_tensor(timestep)
        timestep = timestep.reshape([-1]).expand([batch])
        width = self.config.block_out_channels[0]
        return sinusoidal_embedding(timestep, width, self.config.flip_sin_to_cos, self.config.freq_shift)

    @property
    def _blocks(self) -> "tuple[UNetBlock, ...]":
        return (*self.down_blocks, self.mid_block, *self.up_blocks)

    @property
    def transformers(self) -> "dict[str, SpatialTransformer]":
        """Name -> spatial transformer, in the order of execution: also the names of reference features."""
        layers: Any = [layer for block in self._blocks for layer in block.attentions or ()]
        return {layer.feature_name: layer for layer in layers}

    @property
    def resnet_names(self) -> list[str]:
        """What `prepare_step` returns something for, in its order."""
        return [f"{block.name}.resnets.{i}" for block in self._blocks for i in range(len(block.resnets))]

    def prepare_step(self, timestep: float | paddle.Tensor, batch: int = 1) -> dict[str, paddle.Tensor]:
        """What follows from the timestep alone: name of each resnet block -> (batch, channels).

        Args:
            timestep: a number or (batch,).
        """
        return self.project_step(self.time_projection(timestep, batch))

    def project_step(self, embedding: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """As `prepare_step`, of the sinusoidal embedding (batch, block_out_channels[0]) of the timestep."""
        embedding = F.silu(self.time_embedding(embedding.astype(self._compute_dtype())))  # (batch, 4 * width)
        return {name: time for block in self._blocks for name, time in block.prepare_step(embedding).items()}

    def prepare_clip(
        self, encoder_hidden_states: paddle.Tensor, reference_features: "ReferenceFeatures | None" = None
    ) -> "dict[str, TransformerConditions]":
        """What follows from the clip alone: name of each transformer -> `TransformerConditions`.

        Args:
            encoder_hidden_states: (rows, keys, cross_attention_dim).
            reference_features: `ReferenceFeatures` or None.

        Raises:
            ValueError: the features are not named as the transformers are.
        """
        transformers = self.transformers
        if reference_features is not None and set(reference_features) != set(transformers):
            raise ValueError(
                f"reference features are named {sorted(set(reference_features) ^ set(transformers))[:3]}..., which is "
                "not how the blocks of this UNet are named; both UNets must have the same block types"
            )
        dtype = self._compute_dtype()
        context = encoder_hidden_states.astype(dtype)
        features = {name: tensor.astype(dtype) for name, tensor in (reference_features or {}).items()}
        return {name: layer.prepare(context, features.get(name)) for name, layer in transformers.items()}

    def _conditions(
        self,
        timestep: float | paddle.Tensor,
        encoder_hidden_states: paddle.Tensor,
        batch: int,
        reference_features: "ReferenceFeatures | None" = None,
        **counts: int,
    ) -> Conditions:
        if encoder_hidden_states.shape[0] != batch:
            raise ValueError(
                f"encoder_hidden_states are for {encoder_hidden_states.shape[0]} samples, the latents for {batch}"
            )
        return Conditions(
            self.prepare_step(timestep, batch),
            self.prepare_clip(encoder_hidden_states, reference_features),
            encoder_hidden_states.astype(self._compute_dtype()),
            **counts,
        )

    @property
    def max_depth(self) -> int:
        """The largest `depth` of `through_blocks`: the units of the last up block."""
        return len(self.up_blocks[-1].resnets)

    def _compute_dtype(self) -> paddle.dtype:
        return compute_dtype(self.conv_in.weight)

    def _centre(self, sample: paddle.Tensor) -> paddle.Tensor:
        return 2 * sample - 1.0 if self.config.center_input_sample else sample

    def _patches(self, x: paddle.Tensor) -> paddle.Tensor:
        """(rows, channels, height, width) -> (rows, channels * p * p, height / p, width / p), p the patch size.

        Raises:
            ValueError: a side that is no multiple of the patch size.
        """
        side = self.config.patch_size
        if side == 1:
            return x
        rows, channels, height, width = x.shape
        if height % side or width % side:
            raise ValueError(f"latents of {height}x{width} do not divide into patches of {side}x{side}")
        # Not pixel_unshuffle, which exporters do not know.
        x = x.reshape([rows, channels, height // side, side, width // side, side]).transpose([0, 1, 3, 5, 2, 4])
        return x.reshape([rows, channels * side**2, height // side, width // side])

    def _whole(self, x: paddle.Tensor) -> paddle.Tensor:
        """The inverse of `_patches`: (rows, channels * p * p, h, w) -> (rows, channels, h * p, w * p)."""
        side = self.config.patch_size
        if side == 1:
            return x
        rows, channels, height, width = x.shape
        x = x.reshape([rows, channels // side**2, side, side, height, width]).transpose([0, 1, 4, 2, 5, 3])
        return x.reshape([rows, channels // side**2, height * side, width * side])

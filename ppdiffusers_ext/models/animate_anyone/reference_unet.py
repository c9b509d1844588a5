"""Reference UNet: turns the reference picture into the tokens that the denoising UNet attends to.

From Animate Anyone (Hu et al. 2023, arXiv:2311.17117) in the form of MooreThreads/Moore-AnimateAnyone
(`src/models/unet_2d_condition.py`, `src/models/mutual_self_attention.py`). It is Stable Diffusion 1.5's UNet without
output norm and output convolution. The original writes features into lists on patched modules; here they are returned.
"""

from collections import OrderedDict

import paddle
from ppdiffusers.configuration_utils import register_to_config

from ppdiffusers_ext.models.animate_anyone.checkpoint import REFERENCE_UNET_NAMES
from ppdiffusers_ext.models.animate_anyone.option_rules import REFERENCE_UNET_RULES
from ppdiffusers_ext.models.animate_anyone.trunk import UNetTrunk
from ppdiffusers_ext.models.depth import through_blocks


class ReferenceFeatures(OrderedDict):
    """Name of a spatial transformer block -> (batch, tokens, channels): what its self-attention sees.

    One entry for each such block, in the order of execution: down, middle, up. A block of the denoising UNet reads
    the entry of its own name.
    """

    def rounded_to_fp16(self) -> "ReferenceFeatures":
        """The same features after a round trip through fp16.

        The original hands features over in fp16 even in an fp32 run (an argument that nobody passes). The difference
        is about 4e-4 on one call and 3e-3 on the final latents. Gradients take the same round trip.
        """
        return ReferenceFeatures(
            (name, tensor.astype(paddle.float16).astype(tensor.dtype)) for name, tensor in self.items()
        )


class ReferenceUNet(UNetTrunk):
    """The original's `UNet2DConditionModel` in writer mode with fusion over all blocks.

    Options are those of diffusers' UNet; the defaults are Stable Diffusion 1.5. `attention_head_dim` is the number of
    heads. `out_channels` is accepted and unused: there is no output convolution. `patch_size` is as in
    `DenoisingUNet3D`.
    """

    checkpoint_names = REFERENCE_UNET_NAMES
    option_rules = REFERENCE_UNET_RULES

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
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "DownBlock2D",
        ),
        mid_block_type: str = "UNetMidBlock2DCrossAttn",
        up_block_types: tuple = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
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
        patch_size: int = 1,
    ) -> None:
        super().__init__()
        self._build(collects_features=True)

    def forward(
        self,
        latent: paddle.Tensor,
        timestep: float | paddle.Tensor,
        encoder_hidden_states: paddle.Tensor,
        return_sample: bool = False,
    ) -> ReferenceFeatures | tuple[ReferenceFeatures, paddle.Tensor]:
        """
        Args:
            latent: (batch, in_channels, height, width), the VAE latent of the reference picture.
            timestep: a number or (batch,); Animate Anyone uses 0.
            encoder_hidden_states: (batch, keys, cross_attention_dim), the CLIP embedding of the picture.
            return_sample: also return the feature map after the last up block.

        Returns:
            `ReferenceFeatures`; with `return_sample` also (batch, block_out_channels[0], height / p, width / p).

        Raises:
            ValueError: batch sizes that do not agree.
        """
        dtype = self._compute_dtype()
        conditions = self._conditions(timestep, encoder_hidden_states, latent.shape[0])
        x = self._patches(self._centre(latent.astype(dtype)))  # (batch, in_channels * p * p, height / p, width / p)
        x = self.conv_in(x)  # (batch, block_out_channels[0], height / p, width / p)
        x, features, _ = through_blocks(self, x, conditions)
        features = ReferenceFeatures(features)
        return (features, x) if return_sample else features

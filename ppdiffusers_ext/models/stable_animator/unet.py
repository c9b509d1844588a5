"""StableAnimator's denoising UNet: Stable Video Diffusion's, with attention to a face and features of the pose.

From StableAnimator (Tu et al. 2024, arXiv:2411.17697) in the form of Francis-Rings/StableAnimator
(`animation/modules/unet.py`), which is diffusers 0.31's `UNetSpatioTemporalConditionModel` apart from what is here.
"""

import paddle
from ppdiffusers.configuration_utils import register_to_config
from ppdiffusers.models.transformer_temporal import TransformerSpatioTemporalModel, TransformerTemporalModelOutput
from ppdiffusers.models.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel

from ppdiffusers_ext.models.layers import use_own_layers
from ppdiffusers_ext.models.stable_animator.attention import FaceAttention, PlainAttention
from ppdiffusers_ext.models.strict import StrictModelMixin


class AnimationUNet(StrictModelMixin, UNetSpatioTemporalConditionModel):
    """ppdiffusers' `UNetSpatioTemporalConditionModel` whose context ends with tokens of a face.

    Args:
        num_face_tokens: of them.
        others: as of `UNetSpatioTemporalConditionModel`, with the defaults of Stable Video Diffusion.
    """

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
    ):
        options = dict(self.config)
        faces = options.pop("num_face_tokens")
        super().__init__(**{name: value for name, value in options.items() if not name.startswith("_")})
        self.set_attn_processor(PlainAttention())
        for layer in self.sublayers():
            if isinstance(layer, TransformerSpatioTemporalModel):
                layer.__class__ = _FaceTransformer
                layer.num_face_tokens = faces
                for block in layer.transformer_blocks:
                    attention = block.attn2
                    context_channels = attention.to_k.weight.shape[0]
                    attention.set_processor(FaceAttention(attention.inner_dim, context_channels, faces))
        use_own_layers(self)

    def forward(self, sample, timestep, encoder_hidden_states, added_time_ids, pose_latents=None):
        """One prediction of the noise's velocity.

        Args:
            sample: (batch, frames, 8, height, width): scaled noisy latents, and those of the picture.
            timestep: number or tensor of one for all, or of one for each sample; 0.25 ln sigma.
            encoder_hidden_states: (batch, image tokens + face tokens, cross_attention_dim).
            added_time_ids: (batch, 3): frames per second less one, motion bucket, strength of the picture's noise.
            pose_latents: (batch*frames, block_out_channels[0], height, width) from `PoseNet`, or None.

        Returns:
            (batch, frames, 4, height, width).
        """
        batch, frames = sample.shape[:2]
        embedding = self._embed(timestep, added_time_ids, batch, sample.dtype)
        embedding = embedding.repeat_interleave(frames, axis=0)  # (batch*frames, 4 * block_out_channels[0])
        context = encoder_hidden_states.repeat_interleave(frames, axis=0)  # (batch*frames, tokens, channels)
        x = self.conv_in(sample.flatten(0, 1))  # (batch*frames, block_out_channels[0], height, width)
        if pose_latents is not None:
            x = x + pose_latents.astype(x.dtype)
        given = {"temb": embedding, "image_only_indicator": paddle.zeros([batch, frames], dtype=x.dtype)}
        skips = [x]
        for block in self.down_blocks:
            x, passed = block(
                x, **_with_context(block, context), **given
            )  # (batch*frames, channels, h / 2^k, w / 2^k)
            skips += passed
        x = self.mid_block(x, **_with_context(self.mid_block, context), **given)
        for block in self.up_blocks:
            count = len(block.resnets)
            passed, skips = tuple(skips[-count:]), skips[:-count]
            x = block(x, res_hidden_states_tuple=passed, **_with_context(block, context), **given)
        x = self.conv_out(self.conv_act(self.conv_norm_out(x)))  # (batch*frames, 4, height, width)
        return x.reshape([batch, frames, *x.shape[1:]])

    def _embed(self, timestep, added_time_ids, batch, dtype):
        """(batch, 4 * block_out_channels[0]): of the time, and of what the motion is to be like."""
        if not paddle.is_tensor(timestep):
            timestep = paddle.to_tensor(timestep, dtype="float32")
        timestep = timestep.reshape([-1]).expand([batch])
        embedding = self.time_embedding(self.time_proj(timestep).astype(dtype))
        added = self.add_time_proj(added_time_ids.flatten()).reshape([batch, -1])
        return embedding + self.add_embedding(added.astype(dtype))


def _with_context(block, context):
    return {"encoder_hidden_states": context} if getattr(block, "has_cross_attention", False) else {}


class _FaceTransformer(TransformerSpatioTemporalModel):
    """Over pixels with all tokens of the context, then over frames with those of the picture alone."""

    def forward(self, hidden_states, encoder_hidden_states=None, image_only_indicator=None, return_dict=True):
        """(batch*frames, channels, height, width), (batch*frames, tokens, context channels) -> as the first."""
        count, channels, height, width = hidden_states.shape
        frames = image_only_indicator.shape[-1]
        batch = count // frames
        picture = encoder_hidden_states[:, : -self.num_face_tokens]  # (batch*frames, image tokens, context channels)
        picture = picture.reshape([batch, frames, *picture.shape[1:]])[:, 0]  # that of the first frame, for all pixels
        x = self.norm(hidden_states).transpose([0, 2, 3, 1]).reshape([count, height * width, channels])
        x = self.proj_in(x)  # (batch*frames, height*width, channels)
        places = self.time_proj(paddle.arange(frames)).astype(x.dtype)  # (frames, channels)
        places = self.time_pos_embed(places).tile([batch, 1]).unsqueeze(1)  # (batch*frames, 1, channels)
        for block, over_time in zip(self.transformer_blocks, self.temporal_transformer_blocks):
            x = block(x, encoder_hidden_states=encoder_hidden_states)
            mixed = over_time(x + places, num_frames=frames, encoder_hidden_states=picture)
            x = self.time_mixer(x_spatial=x, x_temporal=mixed, image_only_indicator=image_only_indicator)
        x = self.proj_out(x).reshape([count, height, width, channels]).transpose([0, 3, 1, 2])
        x = x + hidden_states  # (batch*frames, channels, height, width)
        return TransformerTemporalModelOutput(sample=x) if return_dict else (x,)

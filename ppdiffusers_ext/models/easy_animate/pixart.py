"""EasyAnimate's transformer before V4: PixArt-alpha, with motion modules and long skips.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/models/transformer3d.py`, `attention.py`, `motion_module.py`), after PixArt-alpha (Chen et al. 2023,
arXiv:2310.00426). Names are the original's.
"""

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.distributed.fleet.utils import recompute
from ppdiffusers.configuration_utils import ConfigMixin, register_to_config

from ppdiffusers_ext.models.easy_animate.positions import frame_table, grid_table
from ppdiffusers_ext.models.easy_animate.shared import FeedForward, PatchEmbed, Projection, unpatch
from ppdiffusers_ext.models.layers import (
    Attention,
    GroupNorm,
    LayerNorm,
    Linear,
    TimestepEmbedding,
    compute_dtype,
    follow,
    scaled_dot_product,
    sinusoidal_embedding,
)
from ppdiffusers_ext.models.layers import FeedForward as GatedFeedForward
from ppdiffusers_ext.models.strict import StrictModelMixin

_EMBEDDED = 256  # channels of a number's sinusoids
_SKIPS, _FIRST_WITH_SKIP = 13, 15  # blocks whose output is kept, and the first that gets one
_CLIP_CHANNELS, _CLIP_TOKENS = 768, 8
_OF_512 = 64  # side in latents of the pictures of 512 pixels
_WITH_SIZES = 128  # the same of 1024 pixels, from which on the network is told of sizes
_MASKED = -10000.0
_GROUPS, _EPSILON = 32, 1e-6
_GLOBAL, _HYBRID, _GRID = "Global_Self", "global_motionmodule", "VanillaGrid"


class PixArtTransformer3D(StrictModelMixin, ConfigMixin):
    """Predicts the noise of a noisy video, or its velocity, from a text and, for inpainting, from known parts.

    Args:
        num_attention_heads, attention_head_dim: of the attention; their product is the width.
        in_channels: of the latents with what is known of them: 4, or 12 for inpainting.
        out_channels: twice those that are predicted.
        num_layers: blocks.
        cross_attention_dim: width of the text's tokens after their projection, that of the network.
        sample_size: side in latents of the pictures that it was trained on; from 128 on it is told of sizes.
        patch_size: side of a token in latents.
        norm_eps: of the norms.
        caption_channels: width of the text's tokens.
        basic_block_type: "motionmodule", or "global_motionmodule", in which every other block has its own kind.
        enable_uvit: whether there are long skips.
        motion_module_type: "Vanilla", or "VanillaGrid": attention over squares of tokens of all frames.
        motion_module_kwargs, motion_module_kwargs_even, motion_module_kwargs_odd: options of `_Motion`, of all blocks
            or of those with even and odd numbers.
    """

    @register_to_config
    def __init__(
        self,
        num_attention_heads: int = 16,
        attention_head_dim: int = 72,
        in_channels: int = 12,
        out_channels: int = 8,
        num_layers: int = 28,
        cross_attention_dim: int = 1152,
        sample_size: int = 64,
        patch_size: int = 2,
        norm_eps: float = 1e-6,
        caption_channels: int = 4096,
        basic_block_type: str = "motionmodule",
        enable_uvit: bool = False,
        motion_module_type: str = "Vanilla",
        motion_module_kwargs: dict = None,
        motion_module_kwargs_even: dict = None,
        motion_module_kwargs_odd: dict = None,
    ):
        super().__init__()
        channels = num_attention_heads * attention_head_dim
        self.gradient_checkpointing = False
        kinds = [motion_module_kwargs] * 2
        if basic_block_type == _HYBRID:
            kinds = [motion_module_kwargs_even, motion_module_kwargs_odd]
        is_grid = motion_module_type == _GRID
        self.pos_embed = PatchEmbed(in_channels, channels, patch_size)
        self.transformer_blocks = nn.LayerList(
            [
                _Block(channels, num_attention_heads, cross_attention_dim, norm_eps, is_grid, kinds[i % 2] or {})
                for i in range(num_layers)
            ]
        )
        if enable_uvit:
            self.long_connect_fc = nn.LayerList([Linear(channels, channels) for _ in range(_SKIPS)])
        self.scale_shift_table = self.create_parameter([2, channels])
        self.proj_out = Linear(channels, patch_size**2 * out_channels)
        self.adaln_single = _Time(channels, sample_size == _WITH_SIZES)
        self.caption_projection = Projection(caption_channels, channels, channels, _gelu)
        if in_channels == 12:
            wide = _CLIP_TOKENS * channels
            self.clip_projection = Projection(_CLIP_CHANNELS, wide, wide, _gelu)

    def forward(
        self,
        hidden_states,
        timestep,
        encoder_hidden_states,
        text_embedding_mask,
        inpaint_latents=None,
        clip_encoder_hidden_states=None,
        clip_attention_mask=None,
        resolution=None,
        aspect_ratio=None,
    ):
        """One prediction.

        Args:
            hidden_states: noisy latents, (batch, 4, frames, height, width).
            timestep: (batch,).
            encoder_hidden_states, text_embedding_mask: (batch, tokens, caption_channels), and (batch, tokens) or
                (batch, 1, tokens) of 0 and 1.
            inpaint_latents: (batch, 8, frames, height, width), mask and known parts, for inpainting.
            clip_encoder_hidden_states, clip_attention_mask: (batch, 768) of CLIP, and (batch, 8) of 0 and 1.
            resolution, aspect_ratio: (batch, 2) height and width in pixels, and (batch, 1) their ratio, where the
                network is told of sizes.

        Returns:
            (batch, 8, frames, height, width).
        """
        dtype, kept = compute_dtype(self.proj_out.weight), hidden_states.dtype
        if inpaint_latents is not None:
            hidden_states = paddle.concat(
                [hidden_states, inpaint_latents], axis=1
            )  # (batch, 12, frames, height, width)
        frames, height, width = hidden_states.shape[2:]
        patch = self.config.patch_size
        size = frames, height // patch, width // patch
        x = self.pos_embed(hidden_states.astype(dtype))  # (batch, frames * tokens, channels)
        x = x + paddle.tile(self._places(*size[1:]).astype(dtype), [frames, 1])
        modulation, time = self.adaln_single(
            timestep, resolution, aspect_ratio
        )  # (batch, 6, channels), (batch, channels)
        text = self.caption_projection(encoder_hidden_states.astype(dtype))  # (batch, tokens, channels)
        mask = text_embedding_mask.reshape([text.shape[0], -1]).astype("float32")
        if clip_encoder_hidden_states is not None:
            clip = self.clip_projection(clip_encoder_hidden_states.astype(dtype))
            text = paddle.concat([text, clip.reshape([text.shape[0], _CLIP_TOKENS, -1])], axis=1)
            mask = paddle.concat([mask, clip_attention_mask.astype("float32")], axis=1)
        skips, bias = [], (1 - mask) * _MASKED
        for i, block in enumerate(self.transformer_blocks):
            if self.config.enable_uvit and i >= _FIRST_WITH_SKIP:
                x = x + self.long_connect_fc[i - _FIRST_WITH_SKIP](skips.pop())
            x = self._run(block, x, modulation, text, bias, size)
            if self.config.enable_uvit and i < _SKIPS:
                skips.append(x)
        table = follow(self.scale_shift_table, x).unsqueeze(0) + time.unsqueeze(1)  # (batch, 2, channels)
        shift, scale = table.chunk(2, axis=1)
        x = self.proj_out(_normed(x, _EPSILON) * (1 + scale) + shift)  # (batch, frames * tokens, patch * patch * 8)
        return unpatch(x, frames, height, width, patch, self.config.out_channels).astype(kept)

    def _places(self, height, width):
        """(height * width, channels): where in the picture a token is, as a part of it."""
        base, scale = self.config.sample_size // self.config.patch_size, max(self.config.sample_size // _OF_512, 1)
        channels = self.config.num_attention_heads * self.config.attention_head_dim
        return grid_table(height, width, channels, (base / height / scale, base / width / scale))

    def _run(self, block, *inputs):
        if self.gradient_checkpointing and self.training:
            return recompute(block, *inputs, use_reentrant=False)
        return block(*inputs)


class _Block(nn.Layer):
    """Attention over a frame, motion, attention to the text, and feed-forward."""

    def __init__(self, channels, heads, context, epsilon, is_grid, motion):
        super().__init__()
        self._epsilon = epsilon
        self.attn1 = _Attention(channels, heads, channels)
        self.attn_temporal = _Motion(channels, is_grid=is_grid, **motion)
        self.attn2 = _Attention(channels, heads, context)
        self.ff = FeedForward(channels, 4 * channels)
        self.scale_shift_table = self.create_parameter([6, channels])

    def forward(self, x, modulation, text, bias, size):
        """
        Args:
            x: (batch, frames * tokens, channels).
            modulation: (batch, 6, channels).
            text: (batch, keys, context channels).
            bias: (batch, keys).
            size: frames, height and width in tokens.

        Returns:
            As x.
        """
        table = follow(self.scale_shift_table, x).unsqueeze(0) + modulation
        shift, scale, gate, ff_shift, ff_scale, ff_gate = table.chunk(6, axis=1)  # (batch, 1, channels) each
        y = _normed(x, self._epsilon) * (1 + scale) + shift
        y = y.reshape([-1, size[1] * size[2], y.shape[2]])  # (batch * frames, tokens, channels)
        x = x + gate * self.attn1(y, y).reshape(x.shape)
        x = self.attn_temporal(x, size)
        x = x + self.attn2(x, text, bias)
        return x + ff_gate * self.ff(_normed(x, self._epsilon) * (1 + ff_scale) + ff_shift)


class _Attention(nn.Layer):
    """Multi-head attention whose projections have biases."""

    def __init__(self, channels, heads, context):
        super().__init__()
        self._heads = heads
        self.to_q = Linear(channels, channels)
        self.to_k, self.to_v = (Linear(context, channels) for _ in range(2))
        self.to_out = nn.LayerList([Linear(channels, channels)])

    def forward(self, x, context, bias=None):
        """(batch, tokens, channels), (batch, keys, context channels), (batch, keys) or None -> as the first."""
        query, key, value = self.to_q(x), self.to_k(context), self.to_v(context)
        return self.to_out[0](scaled_dot_product(query, key, value, self._heads, bias))


class _Motion(nn.Layer):
    """A motion module, which adds what it finds across frames.

    Args:
        channels: of the tokens.
        is_grid: whether frames are attended to in squares of tokens, of `block_size`.
        num_attention_heads, temporal_attention_dim_div: of the attention; the second makes it less wide.
        num_transformer_block: how many transformer blocks it has.
        attention_block_types: "Temporal_Self", each place by itself over frames, or "Global_Self", all tokens as one.
        temporal_position_encoding: whether attention knows the number of the frame.
        remove_time_embedding_in_photo: not for a single frame.
        others: without effect.
    """

    def __init__(
        self,
        channels,
        is_grid=False,
        num_attention_heads=8,
        num_transformer_block=2,
        attention_block_types=("Temporal_Self", "Temporal_Self"),
        temporal_position_encoding=False,
        temporal_attention_dim_div=1,
        block_size=1,
        remove_time_embedding_in_photo=False,
        **others,
    ):
        super().__init__()
        self.temporal_transformer = nn.Layer()
        body = self.temporal_transformer
        body.norm = GroupNorm(_GROUPS, channels, _EPSILON)
        inner = channels // temporal_attention_dim_div
        body.proj_in, body.proj_out = Linear(channels, inner), Linear(inner, channels)
        body.transformer_blocks = nn.LayerList(
            [
                _MotionBlock(
                    inner,
                    num_attention_heads,
                    attention_block_types,
                    block_size if is_grid else 1,
                    temporal_position_encoding,
                    remove_time_embedding_in_photo,
                )
                for _ in range(num_transformer_block)
            ]
        )

    def forward(self, x, size):
        """(batch, frames * tokens, channels), (frames, height, width) -> as the first."""
        frames, height, width = size
        body, channels = self.temporal_transformer, x.shape[2]
        y = x.reshape([-1, height * width, channels]).transpose([0, 2, 1])  # (batch * frames, channels, tokens)
        y = body.norm(y.reshape([-1, channels, height, width])).flatten(2).transpose([0, 2, 1])
        y = body.proj_in(y)  # (batch * frames, tokens, inner)
        for block in body.transformer_blocks:
            y = block(y, size)
        return x + body.proj_out(y).reshape(x.shape)


class _MotionBlock(nn.Layer):
    """Attentions across frames one after the other, and feed-forward."""

    def __init__(self, channels, heads, kinds, square, knows_frames, but_not_of_photos):
        super().__init__()
        self._kinds, self._square = tuple(kinds), square
        self._knows_frames, self._but_not_of_photos = knows_frames, but_not_of_photos
        self.attention_blocks = nn.LayerList([Attention(channels, heads) for _ in kinds])
        self.norms = nn.LayerList([LayerNorm(channels) for _ in kinds])
        self.ff, self.ff_norm = GatedFeedForward(channels), LayerNorm(channels)

    def forward(self, x, size):
        """(batch * frames, tokens, channels), (frames, height, width) -> as the first."""
        for kind, attention, norm in zip(self._kinds, self.attention_blocks, self.norms):
            x = x + self._attend(kind, attention, norm(x), size)
        return x + self.ff(self.ff_norm(x))

    def _attend(self, kind, attention, x, size):
        frames, height, width = size
        tokens, channels = x.shape[1:]
        shape = x.shape
        x = x.reshape([-1, frames, tokens, channels])  # (batch, frames, tokens, channels)
        is_photo = frames == 1 and kind != _GLOBAL and self._but_not_of_photos
        if self._knows_frames and not is_photo:
            x = x + frame_table(frames, channels).astype(x.dtype).unsqueeze(1)
        if kind == _GLOBAL:
            return attention(x.flatten(1, 2)).reshape(shape)
        n = self._square
        squares = [x.shape[0], frames, height // n, n, width // n, n, channels]
        x = x.reshape(squares).transpose([0, 2, 4, 1, 3, 5, 6])  # (batch, h / n, w / n, frames, n, n, channels)
        grouped = x.shape
        x = attention(x.reshape([-1, frames * n * n, channels])).reshape(grouped)
        return x.transpose([0, 3, 1, 4, 2, 5, 6]).reshape(shape)


class _Time(nn.Layer):
    """What time, and sizes where the network is told of them, come to: what blocks shift, scale and gate by."""

    def __init__(self, channels, has_sizes):
        super().__init__()
        self.emb = nn.Layer()
        self.emb.timestep_embedder = TimestepEmbedding(_EMBEDDED, channels)
        self._has_sizes = has_sizes
        if has_sizes:
            self.emb.resolution_embedder = TimestepEmbedding(_EMBEDDED, channels // 3)
            self.emb.aspect_ratio_embedder = TimestepEmbedding(_EMBEDDED, channels // 3)
        self.linear = Linear(channels, 6 * channels)

    def forward(self, timestep, resolution, aspect_ratio):
        """(batch,), (batch, 2), (batch, 1) -> (batch, 6, channels) and (batch, channels)."""
        dtype, batch = compute_dtype(self.linear.weight), timestep.shape[0]
        x = self.emb.timestep_embedder(sinusoidal_embedding(timestep, _EMBEDDED).astype(dtype))  # (batch, channels)
        if self._has_sizes:
            given = ((resolution, self.emb.resolution_embedder), (aspect_ratio, self.emb.aspect_ratio_embedder))
            sizes = [
                embed(sinusoidal_embedding(values.flatten(), _EMBEDDED).astype(dtype)).reshape([batch, -1])
                for values, embed in given
            ]
            x = x + paddle.concat(sizes, axis=1)
        return self.linear(F.silu(x)).reshape([batch, 6, -1]), x


def _normed(x, epsilon):
    return F.layer_norm(x, x.shape[-1:], epsilon=epsilon)


def _gelu(x):
    return F.gelu(x, approximate=True)

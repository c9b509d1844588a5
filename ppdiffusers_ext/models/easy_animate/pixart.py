"""EasyAnimate's transformer before V4: PixArt-alpha, with motion modules and long skips.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/models/transformer3d.py`, `attention.py`, `motion_module.py`), after PixArt-alpha (Chen et al. 2023,
arXiv:2310.00426). Names are the original's.
"""

from collections.abc import Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.distributed.fleet.utils import recompute
from ppdiffusers.configuration_utils import ConfigMixin, register_to_config

from ppdiffusers_ext.models.easy_animate.checkpoint import PIXART_NAMES
from ppdiffusers_ext.models.easy_animate.motion import Motion
from ppdiffusers_ext.models.easy_animate.option_rules import PIXART_RULES
from ppdiffusers_ext.models.easy_animate.positions import grid_table
from ppdiffusers_ext.models.easy_animate.shared import (
    EMBEDDED,
    FeedForward,
    PatchEmbed,
    Projection,
    StepwiseTransformer,
    embed_numbers,
    unpatch,
)
from ppdiffusers_ext.models.layers import (
    Linear,
    TimestepEmbedding,
    compute_dtype,
    follow,
    scaled_dot_product,
)
from ppdiffusers_ext.models.sequence import own_part, whole
from ppdiffusers_ext.models.strict import StrictModelMixin

_SKIPS, _FIRST_WITH_SKIP = 13, 15  # blocks whose output is kept, and the first that gets one
WITH_CLIP = 12  # channels of what sees a picture by CLIP
_CLIP_CHANNELS, _CLIP_TOKENS = 768, 8
_OF_512 = 64  # side in latents of the pictures of 512 pixels
_WITH_SIZES = 128  # the same of 1024 pixels, from which on the network is told of sizes
_MASKED = -10000.0
_EPSILON = 1e-6
_HYBRID, _GRID = "global_motionmodule", "VanillaGrid"


class PixArtTransformer3D(StepwiseTransformer, StrictModelMixin, ConfigMixin):
    """Predicts the noise of a noisy video, or its velocity, from a text and, for inpainting, from known parts.

    Args:
        num_attention_heads, attention_head_dim: of the attention; their product is the width.
        in_channels: channels of the latents and of the conditions beside them: 4, or for inpainting 12, and 9 of V1,
            which sees no picture by CLIP.
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
        motion_module_kwargs, motion_module_kwargs_even, motion_module_kwargs_odd: options of `Motion`, of all blocks
            or of those with even and odd numbers.
    """

    CONDITIONS = {"prepare_text": ("text", "bias", "sizes"), "prepare_picture": ("clip", "clip_bias")}

    checkpoint_names = PIXART_NAMES
    option_rules = PIXART_RULES

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
        motion_module_kwargs: dict | None = None,
        motion_module_kwargs_even: dict | None = None,
        motion_module_kwargs_odd: dict | None = None,
    ) -> None:
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
        self.has_sizes = sample_size == _WITH_SIZES
        self.adaln_single = _Time(channels, self.has_sizes)
        self.caption_projection = Projection(caption_channels, channels, channels, _gelu)
        self.has_clip = in_channels == WITH_CLIP
        self.square = (motion_module_kwargs or {}).get("block_size", 1) if is_grid else 1  # side in tokens
        self.shape_of_clip, self.tokens_of_clip = [_CLIP_CHANNELS], _CLIP_TOKENS  # of the embedding, and its mask's
        if self.has_clip:
            wide = _CLIP_TOKENS * channels
            self.clip_projection = Projection(_CLIP_CHANNELS, wide, wide, _gelu)

    def forward(
        self,
        hidden_states: paddle.Tensor,
        timestep: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor,
        text_embedding_mask: paddle.Tensor,
        inpaint_latents: paddle.Tensor | None = None,
        clip_encoder_hidden_states: paddle.Tensor | None = None,
        clip_attention_mask: paddle.Tensor | None = None,
        resolution: paddle.Tensor | None = None,
        aspect_ratio: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
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
        conditions = self.prepare_tables(*hidden_states.shape[2:])
        sizes = [embed_numbers(x) for x in (resolution, aspect_ratio)] if self.has_sizes else []  # type: ignore[arg-type]  # given where needed
        conditions |= self.prepare_text(encoder_hidden_states, text_embedding_mask, *sizes)
        if clip_encoder_hidden_states is not None:
            picture: Any = (clip_encoder_hidden_states, clip_attention_mask)  # tensors, both or none
            conditions |= self.prepare_picture(*picture)
        if inpaint_latents is not None:
            conditions["known"] = inpaint_latents
        return self.denoise(hidden_states, embed_numbers(timestep), conditions)

    def prepare_text(
        self,
        states: paddle.Tensor,
        mask: paddle.Tensor,
        resolution: paddle.Tensor | None = None,
        aspect_ratio: paddle.Tensor | None = None,
    ) -> dict[str, paddle.Tensor]:
        """Conditions that a text and sizes make.

        Args:
            states, mask: see `forward`.
            resolution, aspect_ratio: (batch, 2 * 256) and (batch, 256), what `embed_numbers` makes of those of
                `forward`, where the network is told of sizes.

        Returns:
            {"text": (batch, tokens, channels); "bias": (batch, tokens); "sizes": (batch, channels), where the network
            is told of them}.
        """
        text = self.caption_projection(states.astype(compute_dtype(self.proj_out.weight)))
        mask = mask.reshape([text.shape[0], -1]).astype("float32")
        told: Any = (resolution, aspect_ratio)  # tensors, for a network that is told of sizes
        sizes = {"sizes": self.adaln_single.embed_sizes(*told)} if self.has_sizes else {}
        return {"text": text, "bias": (1 - mask) * _MASKED, **sizes}

    def prepare_picture(self, embedding: paddle.Tensor, mask: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """{"clip": CLIP's embedding as (batch, 8, channels); "clip_bias": (batch, 8)}."""
        clip = self.clip_projection(embedding.astype(compute_dtype(self.proj_out.weight)))
        clip = clip.reshape([clip.shape[0], _CLIP_TOKENS, -1])
        return {"clip": clip, "clip_bias": (1 - mask.astype("float32")) * _MASKED}

    def units_of(self, size: Sequence[int]) -> int:
        """As `StepwiseTransformer.units_of`: frames, within which blocks attend to all tokens."""
        return size[0]

    @property
    def heads_to_divide(self) -> int:
        """As `StepwiseTransformer.heads_to_divide`, of motion modules."""
        return min(block.attn_temporal.num_heads for block in self.transformer_blocks)

    def prepare_tables(self, frames: int, height: int, width: int) -> dict[str, paddle.Tensor]:
        """Conditions that the size of the latents makes.

        Returns:
            {"places": (tokens of a frame, channels), where in the picture a token is, as a part of it}.
        """
        height, width = height // self.config.patch_size, width // self.config.patch_size
        base, scale = self.config.sample_size // self.config.patch_size, max(self.config.sample_size // _OF_512, 1)
        channels = self.config.num_attention_heads * self.config.attention_head_dim
        places = grid_table(height, width, channels, (base / height / scale, base / width / scale))
        return {"places": places.astype(compute_dtype(self.proj_out.weight))}

    def begin(
        self, latents: paddle.Tensor, time: paddle.Tensor, conditions: dict[str, paddle.Tensor]
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Returns the output of the first block, (batch, frames * tokens, channels), and what the block added."""
        known = [conditions["known"]] if "known" in conditions else []
        latents = own_part(paddle.concat([latents, *known], axis=1), 2)  # (batch, in_channels, frames, height, width)
        size = self._tokens(latents.shape[2:])
        x = self.pos_embed(latents.astype(compute_dtype(self.proj_out.weight)))  # (batch, frames * tokens, channels)
        x = x + paddle.tile(conditions["places"], [size[0], 1])
        y = self._run(self.transformer_blocks[0], x, *self._see(time, conditions), size)
        return y, y - x

    def rest(
        self, x: paddle.Tensor, time: paddle.Tensor, conditions: dict[str, paddle.Tensor], size: Sequence[int]
    ) -> paddle.Tensor:
        """What leaves the first block, and frames, height and width of the latents -> what leaves the last."""
        seen, skips, (_, height, width) = self._see(time, conditions), [], self._tokens(size)
        size = x.shape[1] // (height * width), height, width
        for i, block in enumerate(list(self.transformer_blocks)[1:], 1):
            if self.config.enable_uvit and i <= _SKIPS:
                skips.append(x)
            if self.config.enable_uvit and i >= _FIRST_WITH_SKIP:
                x = x + self.long_connect_fc[i - _FIRST_WITH_SKIP](skips.pop())
            x = self._run(block, x, *seen, size)
        return x

    def end(
        self, x: paddle.Tensor, time: paddle.Tensor, conditions: dict[str, paddle.Tensor], size: Sequence[int]
    ) -> paddle.Tensor:
        """What leaves the last block -> (batch, out_channels, *size), frames, height and width of the latents."""
        _, time = self.adaln_single(time, conditions.get("sizes"))
        table = follow(self.scale_shift_table, x).unsqueeze(0) + time.unsqueeze(1)  # (batch, 2, channels)
        shift, scale = table.chunk(2, axis=1)
        x = self.proj_out(_normed(x, _EPSILON) * (1 + scale) + shift)  # (batch, frames * tokens, patch * patch * 8)
        frames, height, width = size
        x = whole(x, 1)
        return unpatch(x, frames, height, width, self.config.patch_size, self.config.out_channels)

    def _tokens(self, size: Sequence[int]) -> tuple[int, int, int]:
        return size[0], *(side // self.config.patch_size for side in size[1:])

    def _see(
        self, time: paddle.Tensor, conditions: dict[str, paddle.Tensor]
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """What blocks see: (batch, 6, channels), (batch, keys, channels), (batch, keys)."""
        modulation, _ = self.adaln_single(time, conditions.get("sizes"))
        text, bias = conditions["text"], conditions["bias"]
        if "clip" in conditions:
            text = paddle.concat([text, conditions["clip"]], axis=1)
            bias = paddle.concat([bias, conditions["clip_bias"]], axis=1)
        return modulation, text, bias

    def _run(self, block: nn.Layer, *inputs: Any) -> paddle.Tensor:
        if self.gradient_checkpointing and self.training:
            return recompute(block, *inputs, use_reentrant=False)
        return block(*inputs)


class _Block(nn.Layer):
    """Attention over a frame, motion, attention to the text, and feed-forward."""

    def __init__(
        self, channels: int, heads: int, context: int, epsilon: float, is_grid: bool, motion: dict[str, Any]
    ) -> None:
        super().__init__()
        self._epsilon = epsilon
        self.attn1 = _Attention(channels, heads, channels)
        self.attn_temporal = Motion(channels, is_grid=is_grid, **motion)
        self.attn2 = _Attention(channels, heads, context)
        self.ff = FeedForward(channels, 4 * channels)
        self.scale_shift_table = self.create_parameter([6, channels])

    def forward(
        self,
        x: paddle.Tensor,
        modulation: paddle.Tensor,
        text: paddle.Tensor,
        bias: paddle.Tensor,
        size: Sequence[int],
    ) -> paddle.Tensor:
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

    def __init__(self, channels: int, heads: int, context: int) -> None:
        super().__init__()
        self._heads = heads
        self.to_q = Linear(channels, channels)
        self.to_k, self.to_v = (Linear(context, channels) for _ in range(2))
        self.to_out = nn.LayerList([Linear(channels, channels)])

    def forward(self, x: paddle.Tensor, context: paddle.Tensor, bias: paddle.Tensor | None = None) -> paddle.Tensor:
        """(batch, tokens, channels), (batch, keys, context channels), (batch, keys) or None -> as the first."""
        query, key, value = self.to_q(x), self.to_k(context), self.to_v(context)
        return self.to_out[0](scaled_dot_product(query, key, value, self._heads, bias))


class _Time(nn.Layer):
    """What time, and sizes where the network is told of them, come to: what blocks shift, scale and gate by."""

    def __init__(self, channels: int, has_sizes: bool) -> None:
        super().__init__()
        self.emb = nn.Layer()
        self.emb.timestep_embedder = TimestepEmbedding(EMBEDDED, channels)
        if has_sizes:
            self.emb.resolution_embedder = TimestepEmbedding(EMBEDDED, channels // 3)
            self.emb.aspect_ratio_embedder = TimestepEmbedding(EMBEDDED, channels // 3)
        self.linear = Linear(channels, 6 * channels)

    def embed_sizes(self, resolution: paddle.Tensor, aspect_ratio: paddle.Tensor) -> paddle.Tensor:
        """(batch, 2 * 256) and (batch, 256) sinusoids -> (batch, channels)."""
        given = ((resolution, self.emb.resolution_embedder), (aspect_ratio, self.emb.aspect_ratio_embedder))
        dtype = compute_dtype(self.linear.weight)
        sizes = [embed(x.reshape([-1, EMBEDDED]).astype(dtype)).reshape([x.shape[0], -1]) for x, embed in given]
        return paddle.concat(sizes, axis=1)

    def forward(self, time: paddle.Tensor, sizes: paddle.Tensor | None = None) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Sinusoids (batch, 256), and what `embed_sizes` gives -> (batch, 6, channels) and (batch, channels)."""
        x = self.emb.timestep_embedder(time.astype(compute_dtype(self.linear.weight)))  # (batch, channels)
        x = x if sizes is None else x + sizes
        return self.linear(F.silu(x)).reshape([x.shape[0], 6, -1]), x


def _normed(x: paddle.Tensor, epsilon: float) -> paddle.Tensor:
    return F.layer_norm(x, x.shape[-1:], epsilon=epsilon)


def _gelu(x: paddle.Tensor) -> paddle.Tensor:
    return F.gelu(x, approximate=True)

"""EasyAnimate V4's transformer: Hunyuan-DiT over all tokens of a video.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/models/transformer3d.py`, `attention.py`, `embeddings.py`, `resampler.py`), after Hunyuan-DiT (Li et al.
2024, arXiv:2405.08748). Names are the original's.
"""

from collections.abc import Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn
from paddle.distributed.fleet.utils import recompute
from ppdiffusers.configuration_utils import ConfigMixin, register_to_config

from ppdiffusers_ext.models.easy_animate.checkpoint import HUNYUAN_NAMES
from ppdiffusers_ext.models.easy_animate.conditioning import Conditioning, Resampler
from ppdiffusers_ext.models.easy_animate.option_rules import HUNYUAN_RULES
from ppdiffusers_ext.models.easy_animate.positions import frame_table, quarter_turn, rotate, rotations
from ppdiffusers_ext.models.easy_animate.shared import (
    FeedForward,
    PatchEmbed,
    Projection,
    StepwiseTransformer,
    embed_numbers,
    unpatch,
)
from ppdiffusers_ext.models.layers import LayerNorm, Linear, compute_dtype, follow, scaled_dot_product
from ppdiffusers_ext.models.sequence import attend_to_all, own_part, whole
from ppdiffusers_ext.models.strict import StrictModelMixin

_EPSILON = 1e-6


class HunyuanTransformer3D(StepwiseTransformer, StrictModelMixin, ConfigMixin):
    """Predicts the velocity of a noisy video from two texts and, for inpainting, from known parts and a picture.

    Args:
        num_attention_heads, attention_head_dim, hidden_size: of the attention; the third is their product.
        in_channels: channels of the latents and of the conditions beside them: 4, or 12 for inpainting.
        out_channels: twice those that are predicted.
        patch_size: side of a token in latents.
        n_query, projection_dim: tokens that CLIP's become, and width of CLIP's; for inpainting.
        sample_size: side in latents of the pictures that it was trained on first; an eighth of their pixels.
        num_layers: blocks, an even number.
        mlp_ratio: inner width of the feed-forward layers.
        cross_attention_dim, text_len: width and length of the first text's tokens.
        cross_attention_dim_t5, text_len_t5: of the second's.
        pooled_projection_dim: width that the second text is pooled to.
        time_position_encoding: whether blocks know the number of the frame.
        enable_clip_in_inpaint: whether CLIP's tokens are attended to, where there is inpainting.
        rotates_first_block: whether the first block's attention to the video itself turns with the position: as when
            V4 was published; the original's newer code does not.

    Raises:
        ValueError: widths that do not fit, or an odd number of blocks.
    """

    CONDITIONS = {"prepare_text": ("text", "extra"), "prepare_picture": ("clip",)}

    checkpoint_names = HUNYUAN_NAMES
    option_rules = HUNYUAN_RULES

    @register_to_config
    def __init__(
        self,
        num_attention_heads: int = 16,
        attention_head_dim: int = 88,
        in_channels: int = 12,
        out_channels: int = 8,
        patch_size: int = 2,
        n_query: int = 16,
        projection_dim: int = 768,
        sample_size: int = 32,
        hidden_size: int = 1408,
        num_layers: int = 40,
        mlp_ratio: float = 4.3637,
        cross_attention_dim: int = 1024,
        cross_attention_dim_t5: int = 2048,
        pooled_projection_dim: int = 1024,
        text_len: int = 77,
        text_len_t5: int = 256,
        time_position_encoding: bool = True,
        after_norm: bool = False,
        enable_clip_in_inpaint: bool = True,
        rotates_first_block: bool = True,
    ) -> None:
        super().__init__()
        if num_layers % 2 or hidden_size != num_attention_heads * attention_head_dim or attention_head_dim % 4:
            raise ValueError(
                f"{num_layers} blocks of {num_attention_heads} heads of {attention_head_dim} channels do not make a "
                f"network of width {hidden_size}; an even number, a multiple of 4, and their product are needed"
            )
        is_inpainting = 2 * in_channels != out_channels
        self.has_clip = is_inpainting and enable_clip_in_inpaint
        self.shape_of_clip, self.tokens_of_clip = [1, projection_dim], n_query  # as little as it takes, and its mask's
        self.gradient_checkpointing = False
        self.text_embedder = Projection(cross_attention_dim_t5, 4 * cross_attention_dim_t5, cross_attention_dim)
        self.text_embedding_padding = self.create_parameter([text_len + text_len_t5, cross_attention_dim])
        self.pos_embed = PatchEmbed(in_channels, hidden_size, patch_size)
        self.time_extra_emb = Conditioning(hidden_size, pooled_projection_dim, text_len_t5, cross_attention_dim_t5)
        options = (hidden_size, num_attention_heads, int(hidden_size * mlp_ratio), cross_attention_dim)
        self.blocks = nn.LayerList(
            [_Block(*options, self.has_clip, after_norm, i > num_layers // 2) for i in range(num_layers)]
        )
        if self.has_clip:
            self.clip_padding = self.create_parameter([n_query, cross_attention_dim])
            self.clip_projection = Resampler(n_query, cross_attention_dim, num_attention_heads, projection_dim)
        self.norm_out = _ScaledNorm(hidden_size)
        self.proj_out = Linear(hidden_size, patch_size**2 * out_channels)

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        text_embedding_mask: Tensor,
        encoder_hidden_states_t5: Tensor,
        text_embedding_mask_t5: Tensor,
        image_meta_size: Tensor,
        rotation: tuple[Tensor, Tensor],
        inpaint_latents: Tensor | None = None,
        clip_encoder_hidden_states: Tensor | None = None,
        clip_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """One prediction.

        Args:
            hidden_states: noisy latents, (batch, 4, frames, height, width).
            timestep: (batch,) floats.
            encoder_hidden_states, text_embedding_mask: of the first text, (batch, tokens, channels), and
                (batch, tokens) of 0 and 1.
            encoder_hidden_states_t5, text_embedding_mask_t5: of the second.
            image_meta_size: (batch, 6): original height and width, those of the video in pixels, top and left of a
                crop.
            rotation: what `positions.rotations` gives for a frame's tokens.
            inpaint_latents: (batch, 8, frames, height, width), mask and known parts, for inpainting.
            clip_encoder_hidden_states, clip_attention_mask: (batch, square number of tokens, channels) of CLIP, and
                (batch, n_query) of 0 and 1.

        Returns:
            (batch, 8, frames, height, width), of which the first half is the velocity.
        """
        conditions = {
            **self.prepare_text(
                encoder_hidden_states,
                text_embedding_mask,
                encoder_hidden_states_t5,
                text_embedding_mask_t5,
                embed_numbers(image_meta_size),
            ),
            **self._tables(hidden_states.shape[2], rotation),
        }
        if self.has_clip:
            picture: Any = (clip_encoder_hidden_states, clip_attention_mask)  # tensors, for a network that sees one
            conditions |= self.prepare_picture(*picture)
        if inpaint_latents is not None:
            conditions["known"] = inpaint_latents
        return self.denoise(hidden_states, embed_numbers(timestep), conditions)

    def prepare_text(
        self, first: Tensor, first_mask: Tensor, second: Tensor, second_mask: Tensor, sizes: Tensor
    ) -> dict[str, Tensor]:
        """Conditions that texts and sizes make.

        Args:
            first, first_mask, second, second_mask: see `forward`.
            sizes: (batch, 6 * 256), what `embed_numbers` makes of those of `forward`.

        Returns:
            {"text": both as one, (batch, tokens, cross_attention_dim), with learned rows where masks are 0;
            "extra": (batch, channels)}. Not their keys and values in all blocks: these would be 300 MB for V4's size,
            and are a thousandth of the work for 12,000 tokens of video.
        """
        dtype = compute_dtype(self.proj_out.weight)
        first, second = first.astype(dtype), second.astype(dtype)
        tokens = paddle.concat([first, self.text_embedder(second)], axis=1)
        mask = paddle.concat([first_mask, second_mask], axis=1).astype("bool").unsqueeze(2)
        text = paddle.where(mask, tokens, follow(self.text_embedding_padding, tokens).expand_as(tokens))
        return {"text": text, "extra": self.time_extra_emb.embed_extra(second, sizes)}

    def prepare_picture(self, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """{"clip": CLIP's tokens as (batch, n_query, cross_attention_dim), with learned rows where the mask is 0}."""
        tokens = self.clip_projection(tokens.astype(compute_dtype(self.proj_out.weight)))
        padding = follow(self.clip_padding, tokens).expand_as(tokens)
        return {"clip": paddle.where(mask.astype("bool").unsqueeze(2), tokens, padding)}

    def prepare_tables(self, frames: int, height: int, width: int) -> dict[str, Tensor]:
        """Conditions that the size of the latents makes.

        Returns:
            {"cosines", "sines": (frames * tokens, head channels); "turn": (head channels, head channels); "frames":
            (frames, channels), but for a picture}.
        """
        rows, columns = (side // self.config.patch_size for side in (height, width))
        return self._tables(frames, rotations(rows, columns, self.config.attention_head_dim, self.config.sample_size))

    def _tables(self, frames: int, rotation: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        dtype = compute_dtype(self.proj_out.weight)
        tables = {name: paddle.tile(x, [frames, 1]) for name, x in zip(("cosines", "sines"), rotation)}
        tables["turn"] = quarter_turn(self.config.attention_head_dim)
        if frames > 1 and self.config.time_position_encoding:
            tables["frames"] = frame_table(frames, self.config.hidden_size).astype(dtype)
        return tables

    def begin(self, latents: Tensor, time: Tensor, conditions: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the output of the first block, (batch, frames * tokens, channels), and what the block added."""
        known = [conditions["known"]] if "known" in conditions else []
        latents = paddle.concat([latents, *known], axis=1)  # (batch, in_channels, frames, height, width)
        x = self.pos_embed(latents.astype(compute_dtype(self.proj_out.weight)))  # (batch, frames * tokens, channels)
        x = own_part(x, 1)
        y = self._run(0, x, self._see(time, conditions))
        return y, y - x

    def rest(self, x: Tensor, time: Tensor, conditions: dict[str, Tensor], size: Sequence[int]) -> Tensor:
        """What leaves the first block, and frames, height and width of the latents -> what leaves the last."""
        seen, skips, half = self._see(time, conditions), [], len(self.blocks) // 2
        for i in range(1, len(self.blocks)):
            if i < half:
                skips.append(x)
            x = self._run(i, x, seen, skips.pop() if i > half else None)
        return x

    def end(self, x: Tensor, time: Tensor, conditions: dict[str, Tensor], size: Sequence[int]) -> Tensor:
        """What leaves the last block -> (batch, out_channels, *size), frames, height and width of the latents."""
        x = self.norm_out(x, self.time_extra_emb(time, conditions["extra"]))
        frames, height, width = size
        return unpatch(
            whole(self.proj_out(x), 1), frames, height, width, self.config.patch_size, self.config.out_channels
        )

    def _see(self, time: Tensor, conditions: dict[str, Tensor]) -> "Conditions":
        frames = conditions.get("frames")
        if frames is not None:
            shape = [frames.shape[0], conditions["cosines"].shape[0] // frames.shape[0], frames.shape[1]]
            frames = own_part(frames.unsqueeze(1).expand(shape).flatten(0, 1), 0)  # (frames * tokens, channels)
        return Conditions(
            self.time_extra_emb(time, conditions["extra"]),
            conditions["text"],
            conditions.get("clip"),
            frames,
            (own_part(conditions["cosines"], 0), own_part(conditions["sines"], 0), conditions["turn"]),
        )

    def _run(self, i: int, x: Tensor, conditions: "Conditions", skip: Tensor | None = None) -> Tensor:
        block, turns = self.blocks[i], i > 0 or self.config.rotates_first_block
        if self.gradient_checkpointing and self.training:
            return recompute(block, x, conditions, turns, skip, use_reentrant=False)
        return block(x, conditions, turns, skip)


class Conditions:
    """What all blocks see.

    Attributes:
        time: (batch, channels).
        text: (batch, tokens, cross_attention_dim).
        clip: (batch, n_query, cross_attention_dim) or None.
        frames: (video's tokens, channels) or None.
        rotation: cosines and sines, (video's tokens, head channels), and a quarter turn.
    """

    def __init__(
        self,
        time: Tensor,
        text: Tensor,
        clip: Tensor | None,
        frames: Tensor | None,
        rotation: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        self.time, self.text, self.clip, self.frames, self.rotation = time, text, clip, frames, rotation


class _Block(nn.Layer):
    """Attention of the video to itself, to the text and to CLIP, feed-forward; with a skip from an earlier block."""

    def __init__(
        self, channels: int, heads: int, inner: int, context: int, has_clip: bool, after_norm: bool, skip: bool
    ) -> None:
        super().__init__()
        self.norm1 = _ShiftedNorm(channels)
        self.attn1 = _Attention(channels, heads)
        self.norm2 = _norm(channels)
        self.attn2 = _Attention(channels, heads, context)
        self.has_clip, self.has_skip = has_clip, skip
        if has_clip:
            self.norm_clip = _norm(channels)
            self.attn_clip = _Attention(channels, heads, context)
            self.gate_clip = _Gate(channels)
            self.norm_clip_out = _norm(channels)
        self.norm3 = _norm(channels)
        self.ff = FeedForward(channels, inner)
        self.norm4 = _norm(channels) if after_norm else None
        if skip:
            self.skip_norm = _norm(2 * channels)
            self.skip_linear = Linear(2 * channels, channels)

    def forward(self, x: Tensor, conditions: Conditions, turns: bool, skip: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (batch, tokens, channels).
            conditions: `Conditions`.
            turns: whether attention of the video to itself turns with the position.
            skip: as x.

        Returns:
            As x.
        """
        if self.has_skip:
            x = paddle.concat([x, skip], axis=-1)  # type: ignore[list-item]  # given to a block that has one
            x = self.skip_linear(self.skip_norm(x))  # (batch, tokens, channels)
        if conditions.frames is not None:
            x = x + conditions.frames
        rotation = conditions.rotation
        x = x + self.attn1(self.norm1(x, conditions.time), rotation=rotation if turns else None)
        x = x + self.attn2(self.norm2(x), conditions.text, rotation)
        if self.has_clip:
            x = x + self.norm_clip_out(self.gate_clip(self.attn_clip(self.norm_clip(x), conditions.clip, rotation)))
        y = self.ff(self.norm3(x))
        return x + (y if self.norm4 is None else self.norm4(y))


class _Attention(nn.Layer):
    """Multi-head attention of normed queries and keys, turned by their positions."""

    def __init__(self, channels: int, heads: int, context: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.norm_q, self.norm_k = (_norm(channels // heads) for _ in range(2))
        self.to_q = Linear(channels, channels)
        self.to_k, self.to_v = (Linear(context or channels, channels) for _ in range(2))
        self.to_out = nn.LayerList([Linear(channels, channels)])

    def forward(
        self, x: Tensor, context: Tensor | None = None, rotation: tuple[Tensor, Tensor, Tensor] | None = None
    ) -> Tensor:
        """(batch, tokens, channels); context (batch, keys, context channels), or None for itself -> as x."""
        seen = x if context is None else context
        query = self._split(self.norm_q, self.to_q(x))  # (batch, tokens, heads, head channels)
        key = self._split(self.norm_k, self.to_k(seen))
        if rotation is not None:
            query = rotate(query, *rotation)
            key = rotate(key, *rotation) if context is None else key
        attend = attend_to_all if context is None else scaled_dot_product
        return self.to_out[0](attend(query.flatten(2), key.flatten(2), self.to_v(seen), self.heads))

    def _split(self, norm: LayerNorm, x: Tensor) -> Tensor:
        return norm(x.reshape([x.shape[0], x.shape[1], self.heads, -1]))


class _Gate(nn.Layer):
    """A layer half of whose output gates the other half."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.proj = Linear(channels, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, channels) -> the same."""
        values, gate = self.proj(self._normed(x)).chunk(2, axis=-1)
        return values * F.gelu(gate)

    def _normed(self, x: Tensor) -> Tensor:
        """A norm whose epsilon is the width: originally the one stands where the other belongs, and was trained so."""
        centered = x - x.mean(axis=-1, keepdim=True)  # Paddle's kernel refuses such an epsilon
        variance = centered.square().mean(axis=-1, keepdim=True)
        normed = centered * (variance + x.shape[-1]).rsqrt()
        return normed * follow(self.norm.weight, x) + follow(self.norm.bias, x)


class _ShiftedNorm(nn.Layer):
    """A norm that time shifts."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = Linear(channels, channels)
        self.norm = _norm(channels)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(batch, tokens, channels) and (batch, channels) -> as the first."""
        return self.norm(x) + self.linear(F.silu(time)).unsqueeze(1).expand_as(x)


class _ScaledNorm(nn.Layer):
    """A norm that time scales and shifts."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = Linear(channels, 2 * channels)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(batch, tokens, channels) and (batch, channels) -> as the first."""
        scale, shift = self.linear(F.silu(time)).unsqueeze(1).chunk(2, axis=-1)
        return F.layer_norm(x, x.shape[-1:], epsilon=_EPSILON) * (1 + scale) + shift


def _norm(channels: int) -> LayerNorm:
    return LayerNorm(channels, epsilon=_EPSILON)

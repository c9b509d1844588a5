"""EasyAnimate's video autoencoder, in the ways of V2, V3 and V4 to take a video chunk by chunk.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/models/autoencoder_magvit.py`, `easyanimate/vae/ldm/models/omnigen_enc_dec.py`), under its names.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import paddle
from paddle import nn
from ppdiffusers.configuration_utils import ConfigMixin, register_to_config
from ppdiffusers.models.autoencoder_kl import AutoencoderKLOutput
from ppdiffusers.models.vae import DecoderOutput, DiagonalGaussianDistribution

from ppdiffusers_ext.models.easy_animate.checkpoint import VAE_NAMES
from ppdiffusers_ext.models.easy_animate.option_rules import VAE_RULES
from ppdiffusers_ext.models.easy_animate.vae_layers import (
    CAUSAL,
    CENTERED,
    FIRST,
    NEXT,
    PICTURE,
    CausalConv3d,
    Chunk,
    Downsampler,
    FramesNorm,
    Level,
    MidBlock3D,
    PointConv3d,
    Upsampler,
    taken,
)
from ppdiffusers_ext.models.easy_animate.vae_tiles import in_tiles, join_tiles, mix_corner
from ppdiffusers_ext.models.strict import StrictModelMixin

_SPATIAL = ("SpatialDownBlock3D", "SpatialUpBlock3D")


class Coder(Protocol):
    """What encodes and decodes single chunks: the autoencoder itself, or an engine that has it compiled."""

    def encode_chunk(self, x: paddle.Tensor, chunk: Chunk) -> paddle.Tensor: ...

    def decode_chunk(
        self, z: paddle.Tensor, chunk: Chunk, before: paddle.Tensor | None = None, after: paddle.Tensor | None = None
    ) -> paddle.Tensor: ...


class AutoencoderKLMagvit(StrictModelMixin, ConfigMixin):
    """Latents of a video, 8 times smaller in space and 4 times in time, and back.

    Args:
        in_channels, out_channels: of the video.
        block_out_channels: of the levels.
        down_block_types, up_block_types: of the levels, whether they change the size in time as well.
        mid_block_use_attention, mid_block_attention_type, mid_block_num_attention_heads: attention in the middle: over
            all frames of a chunk ("3d"), or over each ("spatial").
        layers_per_block: residual blocks of a level of the encoder; the decoder has one more.
        latent_channels: of the latents.
        norm_num_groups: of all group norms.
        scaling_factor: which brings latents to unit variance.
        slice_mag_vae: V2: chunks by themselves, which begin with their first frame again and again.
        slice_compression_vae: V3: the decoder sees the chunks before and after a chunk in its first half.
        cache_compression_vae: V4: the decoder goes on where the chunk before ended.
        mini_batch_encoder, mini_batch_decoder: frames, and frames of latents, of a chunk.
        spatial_group_norm: whether group norms are of each frame by itself.
        tile_sample_min_size, tile_overlap_factor: pixels of a tile, and part that tiles share, for `use_tiling`.
    """

    checkpoint_names = VAE_NAMES
    option_rules = VAE_RULES

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        block_out_channels: tuple = (128, 256, 512, 512),
        down_block_types: tuple = ("SpatialDownBlock3D", *["SpatialTemporalDownBlock3D"] * 3),
        up_block_types: tuple = ("SpatialUpBlock3D", *["SpatialTemporalUpBlock3D"] * 3),
        mid_block_use_attention: bool = True,
        mid_block_attention_type: str = "3d",
        mid_block_num_attention_heads: int = 1,
        layers_per_block: int = 2,
        latent_channels: int = 4,
        norm_num_groups: int = 32,
        scaling_factor: float = 0.1825,
        slice_mag_vae: bool = True,
        slice_compression_vae: bool = False,
        cache_compression_vae: bool = False,
        mini_batch_encoder: int = 9,
        mini_batch_decoder: int = 3,
        spatial_group_norm: bool = False,
        tile_sample_min_size: int = 384,
        tile_overlap_factor: float = 0.25,
    ) -> None:
        super().__init__()
        heads = mid_block_num_attention_heads if mid_block_use_attention else 0
        shared = (layers_per_block, norm_num_groups, spatial_group_norm, heads, mid_block_attention_type)
        self.encoder = _Encoder(in_channels, 2 * latent_channels, block_out_channels, down_block_types, *shared)
        self.decoder = _Decoder(latent_channels, out_channels, block_out_channels, up_block_types, *shared)
        self.quant_conv = PointConv3d(2 * latent_channels, 2 * latent_channels)
        self.post_quant_conv = PointConv3d(latent_channels, latent_channels)
        self.use_tiling = False

    @property
    def spatial_scale(self) -> int:
        """How many times smaller the latents are."""
        return 2 ** (len(self.config.block_out_channels) - 1)

    def encode(self, x: paddle.Tensor, coder: Coder | None = None) -> AutoencoderKLOutput:
        """A video, (batch, 3, frames, height, width) in [-1, 1] -> `AutoencoderKLOutput` with `latent_dist`.

        coder: see `decode_chunks`.
        """
        tile, overlap = self.config.tile_sample_min_size, self.config.tile_overlap_factor
        chunks = iter(x.split(self.chunks_of_frames(x.shape[2]), axis=2))
        if self.use_tiling and max(x.shape[3:]) > tile:
            latent = tile // self.spatial_scale
            encode = lambda chunks: self._encode(chunks, coder or self)  # noqa: E731
            rows = in_tiles(chunks, encode, tile, int(tile * (1 - overlap)))
            chunks = (join_tiles(tiles, int(latent * overlap), latent) for tiles, _ in rows)
        else:
            chunks = self._encode(chunks, coder or self)
        moments = paddle.concat(list(chunks), axis=2)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))

    def decode(self, z: paddle.Tensor) -> DecoderOutput:
        """Latents, (batch, 4, frames, height, width), not scaled -> `DecoderOutput` of a video, not clamped."""
        chunks = self.decode_chunks(z.split(self.chunks_of_latents(z.shape[2]), axis=2), z.shape[2])
        return DecoderOutput(sample=paddle.concat(list(chunks), axis=2))

    def decode_chunks(
        self, chunks: Iterable[paddle.Tensor], count: int, coder: Coder | None = None
    ) -> Iterator[paddle.Tensor]:
        """A video in pieces, each as soon as what it depends on is there.

        With tiles, one that goes on where the chunk before ended (V4) is made to its end before the next, for it takes
        a hundred times as much memory to go on with it as its pixels do.

        Args:
            chunks: iterable of latents, (batch, 4, frames, height, width), of `chunks_of_latents` frames.
            count: frames of all of them.
            coder: has `encode_chunk` and `decode_chunk`, as this network, which is taken if it is left out.

        Yields:
            (batch, 3, frames, height, width) of each.
        """
        tile, overlap = self.config.tile_sample_min_size, self.config.tile_overlap_factor
        latent, chunks = tile // self.spatial_scale, iter(chunks)
        first = next(chunks)
        chunks = itertools.chain([first], chunks)
        if not self.use_tiling or max(first.shape[3:]) <= latent:
            yield from self._decode(chunks, count, coder or self)
            return
        way = self._decode_at_once if self.config.cache_compression_vae else self._decode
        decode = lambda chunks: way(chunks, count, coder or self)  # noqa: E731
        for rows, corner in in_tiles(chunks, decode, latent, int(latent * (1 - overlap))):
            yield mix_corner(join_tiles(rows, int(tile * overlap), tile), corner)

    def chunks_of_frames(self, count: int) -> list[int]:
        """Frames of the chunks that so many are encoded in."""
        return _sizes(count, self.config.mini_batch_encoder, 0 if self.is_causal else count % 2)

    def chunks_of_latents(self, count: int) -> list[int]:
        """Frames of the chunks that so many frames of latents are decoded in."""
        return _sizes(count, self.config.mini_batch_decoder, count % 2 if self.sees_neighbours else 0)

    def latents_of(self, count: int) -> int:
        """Frames of latents that so many frames are encoded to."""
        scale = 2 ** sum(kind not in _SPATIAL for kind in self.config.down_block_types[:-1])
        return sum(-(-size // scale) for size in self.chunks_of_frames(count))

    def frames_of(self, count: int) -> int:
        """Frames that so many frames of latents are decoded to."""
        scale = 2 ** sum(kind not in _SPATIAL for kind in self.config.up_block_types[:-1])
        if not self._in_slices:
            return sum(scale * (size - 1) + 1 for size in self.chunks_of_latents(count))
        return scale * (count - 1) + 1 if self._is_first_alone(count) else scale * count

    def _is_first_alone(self, count: int) -> bool:
        """Whether the first of so many frames of latents is decoded to one frame; if it is a chunk that goes on, to as
        many as each of the others.
        """
        return count == 1 or (count % 2 == 1 and self.sees_neighbours)

    @property
    def _in_slices(self) -> bool:
        return self.config.slice_compression_vae or self.config.cache_compression_vae

    @property
    def is_causal(self) -> bool:
        """Whether a chunk begins with its first frame again and again (V2)."""
        return self.config.slice_mag_vae and not self._in_slices

    @property
    def sees_neighbours(self) -> bool:
        """Whether the decoder sees the chunks before and after a chunk (V3)."""
        return self.config.slice_compression_vae and not self.config.cache_compression_vae

    def encode_chunk(self, x: paddle.Tensor, chunk: Chunk) -> paddle.Tensor:
        """(batch, 3, frames, height, width) -> moments, (batch, 8, frames', height / 8, width / 8)."""
        return self.quant_conv(self.encoder(x, chunk))

    def decode_chunk(
        self, z: paddle.Tensor, chunk: Chunk, before: paddle.Tensor | None = None, after: paddle.Tensor | None = None
    ) -> paddle.Tensor:
        """(batch, 4, frames, height, width) -> (batch, 3, frames', height * 8, width * 8).

        before, after: latents that are seen beside these, or None.
        """
        parts = (None if part is None else self.post_quant_conv(part) for part in (before, after))
        return self.decoder(self.post_quant_conv(z), chunk, *parts)

    def decode_tensors(
        self,
        place: str,
        z: paddle.Tensor,
        before: paddle.Tensor | None = None,
        after: paddle.Tensor | None = None,
        kept: Sequence[paddle.Tensor] = (),
    ) -> list[paddle.Tensor]:
        """As `decode_chunk`, from tensors to tensors.

        Args:
            place: of the chunk.
            z, before, after: as there.
            kept: for NEXT what the chunk before has left, of each convolution (batch, channels, frames, h, w).

        Returns:
            For FIRST and NEXT what this one leaves, and then the frames: engines compute results in turn, and in this
            order nothing waits to the end in the gigabytes that it is a part of.
        """
        layers = [id(layer) for layer in self.decoder.sublayers() if isinstance(layer, CausalConv3d)]
        is_traced = not paddle.in_dynamic_mode()
        chunk = Chunk(place, {key: x if is_traced else x.unbind(2) for key, x in zip(layers, kept)})
        frames = self.decode_chunk(z, chunk, before, after)
        left = [chunk.kept[key] for key in layers if key in chunk.kept]
        return [*(x if is_traced else paddle.stack(x, axis=2) for x in left), frames]

    def _encode(self, chunks: Iterator[paddle.Tensor], coder: Coder) -> Iterator[paddle.Tensor]:
        for x in chunks:
            place = CAUSAL if self.is_causal else PICTURE if x.shape[2] == 1 else CENTERED
            yield coder.encode_chunk(x, Chunk(place))

    def _decode(self, chunks: Iterator[paddle.Tensor], count: int, coder: Coder) -> Iterator[paddle.Tensor]:
        if self.config.cache_compression_vae:
            return self._decode_on(chunks, self._is_first_alone(count), coder)
        if self.sees_neighbours:
            return self._decode_among(chunks, self._is_first_alone(count), coder)
        return (coder.decode_chunk(z, Chunk(CAUSAL)) for z in chunks)

    def _decode_at_once(self, chunks: Iterator[paddle.Tensor], count: int, coder: Coder) -> Iterator[paddle.Tensor]:
        """All chunks, which wait in the host's memory."""
        first = next(chunks)
        waiting = [x.cpu() for x in self._decode(itertools.chain([first], chunks), count, coder)]
        return (x.to(first.place) for x in taken(waiting))

    def _decode_on(self, chunks: Iterator[paddle.Tensor], is_picture: bool, coder: Coder) -> Iterator[paddle.Tensor]:
        """Each chunk goes on where the one before ended (V4)."""
        kept: dict = {}
        place = PICTURE if is_picture else FIRST
        for z in chunks:
            yield coder.decode_chunk(z, Chunk(place, kept))
            place = NEXT

    def _decode_among(
        self, chunks: Iterator[paddle.Tensor], begins_with_picture: bool, coder: Coder
    ) -> Iterator[paddle.Tensor]:
        """Each chunk is seen with those before and after it, but for a first picture (V3)."""
        first, before = next(chunks), None
        z: paddle.Tensor | None = first
        if begins_with_picture:
            yield coder.decode_chunk(first, Chunk(PICTURE))
            z = next(chunks, None)
        while z is not None:
            after = next(chunks, None)
            yield coder.decode_chunk(z, Chunk(CENTERED), before, after)
            before, z = z, after


def _sizes(count: int, size: int, first: int) -> list[int]:
    """Of chunks: of so many frames, after a first one of another size if there is one."""
    rest = count - first
    return [first] * bool(first) + [size] * (rest // size) + [rest % size] * bool(rest % size)


class _Encoder(nn.Layer):
    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: Sequence[int],
        kinds: Sequence[str],
        layers: int,
        groups: int,
        by_frame: bool,
        heads: int,
        attention: str,
    ) -> None:
        super().__init__()
        self.conv_in = CausalConv3d(inputs, channels[0])
        self.down_blocks = nn.LayerList()
        for i, (kind, width) in enumerate(zip(kinds, channels)):
            is_last = i == len(channels) - 1
            sampler = {} if is_last else {"downsampler": Downsampler(width, kind not in _SPATIAL)}
            self.down_blocks.append(Level(channels[max(i - 1, 0)], width, layers, groups, by_frame, sampler))
        self.mid_block = MidBlock3D(channels[-1], layers, groups, by_frame, heads, attention)
        self.conv_norm_out = FramesNorm(groups, channels[-1], by_frame)
        self.conv_out = CausalConv3d(channels[-1], outputs)

    def forward(self, x: paddle.Tensor, chunk: Chunk) -> paddle.Tensor:
        """(batch, 3, frames, height, width) -> (batch, 8, frames / 4, height / 8, width / 8)."""
        if not paddle.in_dynamic_mode():
            return self._stacked(x, chunk)
        frames = self.conv_in(x.unbind(2), x.shape[2], chunk)
        for block in self.down_blocks:
            frames = block(frames, chunk)  # of (batch, channels, height', width')
        frames = self.mid_block(frames, chunk)
        count = len(frames)
        return paddle.stack(self.conv_out(self.conv_norm_out(frames), count, chunk), axis=2)

    def _stacked(self, x: paddle.Tensor, chunk: Chunk) -> paddle.Tensor:
        x = self.conv_in.stacked(x, chunk)
        for block in self.down_blocks:
            x = block.stacked(x, chunk)  # (batch, channels, frames', height', width')
        x = self.mid_block.stacked(x, chunk)
        return self.conv_out.stacked(self.conv_norm_out.stacked(x), chunk)


class _Decoder(nn.Layer):
    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: Sequence[int],
        kinds: Sequence[str],
        layers: int,
        groups: int,
        by_frame: bool,
        heads: int,
        attention: str,
    ) -> None:
        super().__init__()
        channels = channels[::-1]
        self.conv_in = CausalConv3d(inputs, channels[0])
        self.mid_block = MidBlock3D(channels[0], layers, groups, by_frame, heads, attention)
        self.up_blocks = nn.LayerList()
        for i, (kind, width) in enumerate(zip(kinds, channels)):
            is_last = i == len(channels) - 1
            sampler = {} if is_last else {"upsampler": Upsampler(width, kind not in _SPATIAL, by_frame)}
            self.up_blocks.append(Level(channels[max(i - 1, 0)], width, layers + 1, groups, by_frame, sampler))
        self.conv_norm_out = FramesNorm(groups, channels[-1], by_frame)
        self.conv_out = CausalConv3d(channels[-1], outputs)

    def forward(
        self, z: paddle.Tensor, chunk: Chunk, before: paddle.Tensor | None = None, after: paddle.Tensor | None = None
    ) -> paddle.Tensor:
        """(batch, 4, frames, height, width) -> (batch, 3, frames * 4, height * 8, width * 8).

        before, after: latents that the first half sees beside these.
        """
        if not paddle.in_dynamic_mode():
            start = before.shape[2] if before is not None else 0
            stacked = paddle.concat([part for part in (before, z, after) if part is not None], axis=2)
            return self._stacked(stacked, chunk, start, start + z.shape[2])
        frames = self.features(z, chunk, before, after)
        count = len(frames)
        return paddle.stack(self.conv_out(self.conv_norm_out(frames), count, chunk), axis=2)

    def features(
        self, z: paddle.Tensor, chunk: Chunk, before: paddle.Tensor | None = None, after: paddle.Tensor | None = None
    ) -> list[paddle.Tensor]:
        """What the last two layers get, list of (batch, channels, height * 8, width * 8); arguments as above."""
        start = before.shape[2] if before is not None else 0
        seen = [frame for part in (before, z, after) if part is not None for frame in part.unbind(2)]
        frames = self.mid_block(self.conv_in(seen, len(seen), chunk), chunk)  # of (batch, channels, height, width)
        frames = frames[start : start + z.shape[2]]
        for block in self.up_blocks:
            frames = block(frames, chunk)  # of (batch, channels', height', width')
        return frames

    def _stacked(self, x: paddle.Tensor, chunk: Chunk, start: int, end: int) -> paddle.Tensor:
        x = self.mid_block.stacked(self.conv_in.stacked(x, chunk), chunk)[:, :, start:end]
        for block in self.up_blocks:
            x = block.stacked(x, chunk)  # (batch, channels', frames', height', width')
        return self.conv_out.stacked(self.conv_norm_out.stacked(x), chunk)

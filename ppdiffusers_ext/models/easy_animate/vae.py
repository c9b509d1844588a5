"""EasyAnimate's video autoencoder, in the ways of V2, V3 and V4 to take a video chunk by chunk.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/models/autoencoder_magvit.py`, `easyanimate/vae/ldm/models/omnigen_enc_dec.py`), under its names.
"""

import paddle
from paddle import nn
from ppdiffusers.configuration_utils import ConfigMixin, register_to_config
from ppdiffusers.models.autoencoder_kl import AutoencoderKLOutput
from ppdiffusers.models.vae import DecoderOutput, DiagonalGaussianDistribution

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
)
from ppdiffusers_ext.models.strict import StrictModelMixin

_SPATIAL = ("SpatialDownBlock3D", "SpatialUpBlock3D")


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
    ):
        super().__init__()
        heads = mid_block_num_attention_heads if mid_block_use_attention else 0
        shared = (layers_per_block, norm_num_groups, spatial_group_norm, heads, mid_block_attention_type)
        self.encoder = _Encoder(in_channels, 2 * latent_channels, block_out_channels, down_block_types, *shared)
        self.decoder = _Decoder(latent_channels, out_channels, block_out_channels, up_block_types, *shared)
        self.quant_conv = PointConv3d(2 * latent_channels, 2 * latent_channels)
        self.post_quant_conv = PointConv3d(latent_channels, latent_channels)
        self.use_tiling = False

    @property
    def spatial_scale(self):
        """How many times smaller the latents are."""
        return 2 ** (len(self.config.block_out_channels) - 1)

    def encode(self, x):
        """A video, (batch, 3, frames, height, width) in [-1, 1] -> `AutoencoderKLOutput` with `latent_dist`."""
        tile = self.config.tile_sample_min_size
        moments = self._tiled_encode(x) if self.use_tiling and max(x.shape[3:]) > tile else self._encode(x)
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))

    def decode(self, z):
        """Latents, (batch, 4, frames, height, width), not scaled -> `DecoderOutput` of a video, not clamped."""
        tile = self.config.tile_sample_min_size // self.spatial_scale
        return DecoderOutput(
            sample=self._tiled_decode(z) if self.use_tiling and max(z.shape[3:]) > tile else self._decode(z)
        )

    def _encode(self, x):
        size = self.config.mini_batch_encoder
        if self.config.slice_mag_vae and not self._in_slices:
            parts = [self.encoder(x[:, :, i : i + size], Chunk(CAUSAL)) for i in range(0, x.shape[2], size)]
        else:
            start = x.shape[2] % 2  # of an odd number the first frame is a picture of its own
            parts = [self.encoder(x[:, :, :1], Chunk(PICTURE))] if start else []
            parts += [self.encoder(x[:, :, i : i + size], Chunk(CENTERED)) for i in range(start, x.shape[2], size)]
        return self.quant_conv(paddle.concat(parts, axis=2))

    def _decode(self, z):
        z, size = self.post_quant_conv(z), self.config.mini_batch_decoder
        if self.config.cache_compression_vae:
            return paddle.concat(list(self._decode_on(z, size)), axis=2)
        if self.config.slice_compression_vae:
            return paddle.concat(list(self._decode_among(z, size)), axis=2)
        parts = [self.decoder(z[:, :, i : i + size], Chunk(CAUSAL)) for i in range(0, z.shape[2], size)]
        return paddle.concat(parts, axis=2)

    @property
    def _in_slices(self):
        return self.config.slice_compression_vae or self.config.cache_compression_vae

    def _decode_on(self, z, size):
        """Each chunk goes on where the one before ended (V4)."""
        if z.shape[2] == 1:
            yield self.decoder(z, Chunk(PICTURE))
            return
        kept = {}
        for i in range(0, z.shape[2], size):
            yield self.decoder(z[:, :, i : i + size], Chunk(NEXT if i else FIRST, kept))

    def _decode_among(self, z, size):
        """Each chunk is seen with those before and after it (V3)."""
        start = z.shape[2] % 2
        if start:
            yield self.decoder(z[:, :, :1], Chunk(PICTURE))
        for i in range(start, z.shape[2], size):
            before = z[:, :, max(start, i - size) : i]
            yield self.decoder(z[:, :, i : i + size], Chunk(CENTERED), before, z[:, :, i + size : i + 2 * size])

    def _tiled_encode(self, x):
        tile, overlap = self.config.tile_sample_min_size, self.config.tile_overlap_factor
        latent = tile // self.spatial_scale
        return _join_tiles(_tiles(x, tile, int(tile * (1 - overlap)), self._encode), int(latent * overlap), latent)

    def _tiled_decode(self, z):
        tile, overlap = self.config.tile_sample_min_size, self.config.tile_overlap_factor
        latent = tile // self.spatial_scale
        x = _join_tiles(_tiles(z, latent, int(latent * (1 - overlap)), self._decode), int(tile * overlap), tile)
        corner = self._decode(z[:, :, :, -latent:, -latent:])  # once more, by itself
        height, width = corner.shape[3:]
        weights = paddle.minimum(
            paddle.linspace(0, 1, width).unsqueeze(0), paddle.linspace(0, 1, height).unsqueeze(1)
        ).astype(x.dtype)  # (height, width)
        mixed = weights * corner + (1 - weights) * x[:, :, :, -height:, -width:]
        bottom = paddle.concat([x[:, :, :, -height:, :-width], mixed], axis=4)
        return paddle.concat([x[:, :, :, :-height], bottom], axis=3)


class _Encoder(nn.Layer):
    def __init__(self, inputs, outputs, channels, kinds, layers, groups, by_frame, heads, attention):
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

    def forward(self, x, chunk):
        """(batch, 3, frames, height, width) -> (batch, 8, frames / 4, height / 8, width / 8)."""
        frames = self.conv_in(x.unbind(2), x.shape[2], chunk)
        for block in self.down_blocks:
            frames = block(frames, chunk)  # of (batch, channels, height', width')
        frames = self.mid_block(frames, chunk)
        count = len(frames)
        return paddle.stack(self.conv_out(self.conv_norm_out(frames), count, chunk), axis=2)


class _Decoder(nn.Layer):
    def __init__(self, inputs, outputs, channels, kinds, layers, groups, by_frame, heads, attention):
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

    def forward(self, z, chunk, before=None, after=None):
        """(batch, 4, frames, height, width) -> (batch, 3, frames * 4, height * 8, width * 8).

        before, after: latents that the first half sees beside these.
        """
        start = before.shape[2] if before is not None else 0
        seen = [frame for part in (before, z, after) if part is not None for frame in part.unbind(2)]
        frames = self.mid_block(self.conv_in(seen, len(seen), chunk), chunk)  # of (batch, channels, height, width)
        frames = frames[start : start + z.shape[2]]
        for block in self.up_blocks:
            frames = block(frames, chunk)  # of (batch, channels', height', width')
        count = len(frames)
        return paddle.stack(self.conv_out(self.conv_norm_out(frames), count, chunk), axis=2)


def _tiles(x, size, step, function):
    """Rows of what a function makes of the tiles of (batch, channels, frames, height, width)."""
    height, width = x.shape[3:]
    return [
        [function(x[:, :, :, i : i + size, j : j + size]) for j in range(0, width, step)]
        for i in range(0, height, step)
    ]


def _join_tiles(rows, blended, size):
    """One picture of rows of tiles, each mixed with the one above it and the one to its left, which are mixed already.

    Args:
        blended: pixels that are mixed.
        size: pixels of a tile.
    """
    result = []
    for i, row in enumerate(rows):
        for j in range(len(row)):
            if i:
                row[j] = _blend(rows[i - 1][j], row[j], blended, axis=3)
            if j:
                row[j] = _blend(row[j - 1], row[j], blended, axis=4)
        kept = size - blended
        result.append(paddle.concat([tile[:, :, :, :kept, :kept] for tile in row], axis=4))
    return paddle.concat(result, axis=3)


def _blend(first, second, count, axis):
    """The second, whose first `count` lines fade from the last ones of the first."""
    count = min(count, first.shape[axis], second.shape[axis])
    shape = [1] * 5
    shape[axis] = count
    weights = (paddle.arange(count, dtype="float32") / count).astype(second.dtype).reshape(shape)
    length, other = first.shape[axis], second.shape[axis]
    ending = paddle.slice(first, [axis], [length - count], [length])
    beginning = paddle.slice(second, [axis], [0], [count])
    rest = paddle.slice(second, [axis], [count], [other]) if count < other else None
    mixed = ending * (1 - weights) + beginning * weights
    return mixed if rest is None else paddle.concat([mixed, rest], axis=axis)

"""Between videos and latents, for all of EasyAnimate's versions, in memory that does not grow with the video.

From EasyAnimate (Xu et al. 2024, arXiv:2405.18991) in the form of aigc-apps/EasyAnimate
(`easyanimate/pipeline/pipeline_easyanimate.py`). The autoencoder is `AutoencoderKLMagvit`, or for V1 ppdiffusers'
`AutoencoderKL`, which takes a video for so many pictures.
"""

import collections
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import paddle

from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit
from ppdiffusers_ext.models.layers import compute_dtype
from ppdiffusers_ext.pipelines.calls import chunks_without_gradients
from ppdiffusers_ext.pipelines.easy_animate.compiled_vae import CompiledCoder, EagerCoder

PICTURES = 4  # that are encoded or decoded together by V1's


def frames_multiple(vae: Any) -> int:
    """Of which a video has to have a whole number of frames, unless it is a picture."""
    return vae.config.mini_batch_encoder if isinstance(vae, AutoencoderKLMagvit) else 1


def spatial_scale(vae: Any) -> int:
    """How many times smaller the latents are."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def latents_shape(vae: Any, batch: int, num_frames: int, height: int, width: int) -> list[int]:
    """[batch, channels, frames, height, width] of the latents of a video."""
    if isinstance(vae, AutoencoderKLMagvit) and num_frames > 1:
        num_frames = num_frames // vae.config.mini_batch_encoder * vae.config.mini_batch_decoder
    scale = spatial_scale(vae)
    return [batch, vae.config.latent_channels, num_frames, height // scale, width // scale]


def shrink_masks(vae: Any, masks: paddle.Tensor) -> paddle.Tensor:
    """Masks in the size of the latents, as V1 sees them: the nearest pixel of each.

    Args:
        masks: (batch, 1, frames, height, width) -> (batch, 1, frames, height / 8, width / 8).
    """
    scale = spatial_scale(vae)
    return masks[:, :, :, ::scale, ::scale]


@paddle.no_grad()
def encode(vae: Any, pixels: paddle.Tensor, coder: EagerCoder | CompiledCoder | None = None) -> paddle.Tensor:
    """Latents of a video, the most likely ones.

    Args:
        vae: `AutoencoderKLMagvit` or `AutoencoderKL`.
        pixels: (batch, 3, frames, height, width) in [-1, 1].
        coder: what computes, see `make_coder`; Paddle as it is, with the weights of `vae`, if left out.

    Returns:
        (batch, channels, frames', height / 8, width / 8) in fp32, of unit variance.
    """
    x = pixels.astype(compute_dtype(next(iter(vae.parameters()))))
    coder = coder or EagerCoder(vae)
    if isinstance(vae, AutoencoderKLMagvit):
        latents = vae.encode(x, coder).latent_dist.mode()
    else:
        modes = (coder.encode_picture(part.squeeze(2)) for part in x.split(x.shape[2], axis=2))
        latents = paddle.stack(list(modes), axis=2)
    return latents.astype("float32") * vae.config.scaling_factor


@chunks_without_gradients
def decode(
    vae: Any, latents: paddle.Tensor, coder: EagerCoder | CompiledCoder | None = None
) -> Iterator[paddle.Tensor]:
    """A video from its latents, in pieces, each as soon as it is there.

    V2's and V3's chunks do not know enough of one another: as originally, the video is encoded and decoded once more
    in chunks that begin half a chunk later, and is the mean of both.

    Args:
        vae, coder: see `encode`.
        latents: (batch, channels, frames, height, width) of unit variance.

    Yields:
        (batch, 3, frames', height * 8, width * 8) in fp32 in [0, 1].
    """
    z = latents.astype(compute_dtype(next(iter(vae.parameters())))) / vae.config.scaling_factor
    coder = coder or EagerCoder(vae)
    is_of_videos = isinstance(vae, AutoencoderKLMagvit)
    for x in current_ranks().paced(_decode_video(vae, z, coder)) if is_of_videos else _decode_pictures(z, coder):
        yield (x.astype("float32") / 2 + 0.5).clip(0, 1)


def _decode_pictures(z: paddle.Tensor, coder: EagerCoder | CompiledCoder) -> Iterator[paddle.Tensor]:
    batch = z.shape[0]

    def decode_from(start: int) -> paddle.Tensor:
        part = z[:, :, start : start + PICTURES].transpose([0, 2, 1, 3, 4])  # (batch, frames, channels, h, w)
        part, count = part.flatten(0, 1), batch * part.shape[1]
        if coder.fixed_shapes and start and count < batch * PICTURES:  # the last few are filled up
            part = paddle.concat([part, part[-1:].expand([batch * PICTURES - count, *part.shape[1:]])])
        x = coder.decode_pictures(part)[:count]  # (batch * frames, 3, height, width)
        return x.reshape([batch, -1, *x.shape[1:]]).transpose([0, 2, 1, 3, 4])

    starts = range(0, z.shape[2], PICTURES)
    return current_ranks().stream([functools.partial(decode_from, start) for start in starts])


def _decode_video(vae: Any, z: paddle.Tensor, coder: EagerCoder | CompiledCoder) -> Iterator[paddle.Tensor]:
    chunks = vae.decode_chunks(z.split(vae.chunks_of_latents(z.shape[2]), axis=2), z.shape[2], coder)
    chunks, count, chunk = (x.clip(-1, 1) for x in chunks), vae.frames_of(z.shape[2]), vae.config.mini_batch_encoder
    if vae.config.cache_compression_vae or count <= chunk:
        return chunks
    return _smooth(vae, chunks, count, chunk, coder)


def _smooth(
    vae: Any, chunks: Iterator[paddle.Tensor], count: int, chunk: int, coder: EagerCoder | CompiledCoder
) -> Iterator[paddle.Tensor]:
    """The mean of a video in chunks, of so many frames, and of what it becomes where they begin half a one later."""
    sizes = vae.chunks_of_frames(count - chunk)
    pieces = _cut(chunks, [chunk // 2, *sizes, chunk - chunk // 2])
    yield next(pieces)
    waiting: collections.deque = collections.deque()

    def encoded() -> Iterator[paddle.Tensor]:
        for _ in sizes:
            waiting.append(next(pieces))
            yield vae.encode(waiting[-1], coder).latent_dist.mode()

    for x in vae.decode_chunks(encoded(), vae.latents_of(count - chunk), coder):
        yield ((waiting.popleft() + x) / 2).clip(-1, 1)
    yield next(pieces)


def _cut(chunks: Iterator[paddle.Tensor], sizes: Iterable[int]) -> Iterator[paddle.Tensor]:
    """Pieces of so many frames from a video in chunks."""
    held: list = []
    for size in sizes:
        while sum(part.shape[2] for part in held) < size:
            held.append(next(chunks))
        x = paddle.concat(held, axis=2)
        yield x[:, :, :size]
        held = [x[:, :, size:]] if x.shape[2] > size else []

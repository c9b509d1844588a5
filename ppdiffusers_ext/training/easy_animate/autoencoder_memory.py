"""Memory prediction for a training of EasyAnimate's video autoencoder; see `training.memory_plan`.

The activations that convolutions and norms keep for the gradient are counted layer by layer, for all slices of a clip,
or with gradient checkpointing for one. Then LPIPS looks at some frames at a time, and the discriminators at all, while
the autoencoder's activations are kept.
"""

import math
import os
from pathlib import Path
from typing import Any

from ppdiffusers_ext.models.eager_attention import kept_scores
from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit
from ppdiffusers_ext.models.easy_animate.checkpoint import options_of
from ppdiffusers_ext.models.easy_animate.frame_convolution import MAX_GATHERED
from ppdiffusers_ext.models.metrics.lpips import LPIPS
from ppdiffusers_ext.pipelines.architectures import planning_reader
from ppdiffusers_ext.pipelines.easy_animate.memory import kept_numbers
from ppdiffusers_ext.pipelines.loading import build
from ppdiffusers_ext.pipelines.memory_plan import FLOAT, resident_memory
from ppdiffusers_ext.training.easy_animate.autoencoder import check_length, freeze
from ppdiffusers_ext.training.easy_animate.autoencoder_losses import PIXELS_AT_ONCE, Discriminators
from ppdiffusers_ext.training.easy_animate.autoencoder_model import VideoVae
from ppdiffusers_ext.training.easy_animate.autoencoder_options import (
    VideoVaeArguments,
    VideoVaeDataArguments,
    VideoVaeTrainerOptions,
)
from ppdiffusers_ext.training.memory_plan import (
    Size,
    TrainingMemory,
    TrainingOptions,
    count,
    number_bytes,
    peak_memory,
    read_training,
    standing_memory,
)
from ppdiffusers_ext.weights.assignment import create

# Numbers that are kept for the gradient, for each number of what goes in: by a norm, by the last norm and convolution,
# and by the attention in the middle.
_NORM, _LAST, _ATTENTION = 3, 4, 8
# Numbers for each pixel: that LPIPS works with, of all frames and of the one whose surroundings a convolution gathers,
# and the discriminators, with gradients of clips, and of their own weights.
_PERCEPTUAL, _GATHERED, _JUDGED, _JUDGING = 800, 600, 380, 300
# What they take on a CPU, where freed memory stays in pieces between what is kept: without and with checkpointing.
_SPREAD, _SPREAD_AGAIN = 1.3, 2.2
_IN_TIME = "SpatialTemporal"  # begins the names of levels that change the number of frames


def plan_vae_file(path: str | os.PathLike, device: str, processes: int = 1) -> dict[Size, TrainingMemory]:
    """`TrainingMemory` by (width, height, frames) for a training's YAML file. See `read_training`."""
    kinds = (VideoVaeArguments, VideoVaeDataArguments, VideoVaeTrainerOptions)
    return plan_vae(*read_training(path, kinds, processes), device)


def plan_vae(
    model_arguments: VideoVaeArguments,
    data_arguments: VideoVaeDataArguments,
    options: TrainingOptions,
    device: str = "cpu",
    program: int | None = None,
) -> dict[Size, TrainingMemory]:
    """`TrainingMemory` by (width, height, frames): of clips, and of pictures where these are larger.

    Args:
        model_arguments: `VideoVaeArguments`. The configuration need not be there if its folder has a published name.
        data_arguments: `VideoVaeDataArguments`.
        options: `TrainingOptions`.
        device: "cpu" or "gpu".
        program: bytes that the program takes before (default: those of this process).

    Raises:
        InputError: a configuration or a number of frames that cannot be used.
    """
    arguments, data = model_arguments, data_arguments
    arguments.check()
    vae = _describe(arguments)
    check_length(vae, data.video_len)
    model = VideoVae(vae)
    freeze(model, arguments)
    learning = count(parameter for parameter in model.parameters() if not parameter.stop_gradient)
    perceptual = count(create(LPIPS).parameters()) * FLOAT if arguments.uses_perceptual else 0
    program = resident_memory() if program is None else program
    kept = standing_memory(count(vae.parameters()), learning, perceptual, options, device, program)
    if arguments.uses_discriminators:  # weights, gradients, and the optimiser's two moments
        kept["discriminators"] = count(create(Discriminators).parameters()) * 4 * FLOAT
    plans: dict[Size, TrainingMemory] = {}
    sizes = [(data.video_size, data.video_len), *([(data.size, 1)] if data.size > data.video_size else [])]
    for side, frames in sizes:
        encodes, pixels = not arguments.train_decoder_only, options.batch * frames * side**2
        spread, again = (_SPREAD, _SPREAD_AGAIN) if device == "cpu" else (1, 1)
        numbers = _Activations(vae, options.batch, side, device).of_clips(frames, options.checkpointing, encodes)
        before, most = (count * number_bytes(options, device) for count in numbers)
        activations = most * (again if options.checkpointing else spread)
        losses = spread * (before + _losses(arguments, pixels, side) * FLOAT)
        second = pixels * _JUDGING * FLOAT if arguments.uses_discriminators else 0
        plans[side, side, frames] = peak_memory(kept, activations, second, options, device, losses)
    return plans


def _describe(arguments: VideoVaeArguments) -> AutoencoderKLMagvit:
    source = Path(arguments.vae_config_path)
    config = planning_reader("easy_animate")(source)
    return build(AutoencoderKLMagvit, options_of(AutoencoderKLMagvit, config, source, arguments.of_config()), source)


def _losses(arguments: VideoVaeArguments, pixels: int, side: int) -> float:
    """Numbers that the losses work with, of so many pixels of square frames."""
    at_once = max(1, PIXELS_AT_ONCE // side**2) * side**2
    of_frames = min(pixels, at_once) * _PERCEPTUAL + side**2 * _GATHERED if arguments.uses_perceptual else 0
    return max(of_frames, pixels * _JUDGED if arguments.uses_discriminators else 0)


class _Activations:
    """Numbers that an autoencoder keeps for the gradient of square clips.

    Args:
        vae: without weights.
        batch: clips.
        side: pixels of their frames.
        device: "cpu" or "gpu".
    """

    def __init__(self, vae: AutoencoderKLMagvit, batch: int, side: int, device: str) -> None:
        self._vae, self._batch, self._side, self._is_cpu = vae, batch, side, device == "cpu"

    def of_clips(self, frames: int, checkpointing: bool, encodes: bool = True) -> tuple[float, float]:
        """Those of clips of so many frames before the backward pass, and at most in it.

        encodes: whether the encoder learns.
        """
        vae, width = self._vae, self._vae.config.block_out_channels[0]
        latents = vae.latents_of(frames)
        encoded = [self._encoder(size) for size in vae.chunks_of_frames(frames)] if encodes else [0.0]
        sizes = vae.chunks_of_latents(latents)
        around = [sum(sizes[max(i - 1, 0) : i + 2]) if vae.sees_neighbours else size for i, size in enumerate(sizes)]
        decoded = [self._decoder(*both) for both in zip(sizes, around)]
        last = self._numbers(frames, self._side, _LAST * width)  # which is not computed again
        if checkpointing:
            # What a slice of V4 leaves for the next is no part of what is computed again.
            leaves = kept_numbers(vae, goes_on=True) if vae.config.cache_compression_vae else 0
            last += self._numbers(len(sizes) - 1, self._side, leaves)
            return last, max(*encoded, *decoded) + last
        return (sum(encoded) + sum(decoded) + last,) * 2

    def _encoder(self, frames: int) -> float:
        encoder, side, numbers = self._vae.encoder, self._side, 0.0
        for level, kind in zip(encoder.down_blocks, self._vae.config.down_block_types):
            numbers += self._blocks(level.convs, frames, side)
            if hasattr(level, "downsampler"):
                numbers += self._convolution(level.downsampler.conv, frames, side)
                side, frames = side // 2, math.ceil(frames / (2 if kind.startswith(_IN_TIME) else 1))
        return numbers + self._middle(encoder.mid_block, frames, side)

    def _decoder(self, frames: int, around: int) -> float:
        """Of so many frames of latents, which the first half sees among those around."""
        decoder, side = self._vae.decoder, self._side // self._vae.spatial_scale
        numbers = self._middle(decoder.mid_block, around, side)
        for level, kind in zip(decoder.up_blocks, self._vae.config.up_block_types):
            numbers += self._blocks(level.convs, frames, side)
            if hasattr(level, "upsampler"):
                side *= 2
                numbers += self._convolution(level.upsampler.conv, frames, side)
                frames = self._more_frames(frames) if kind.startswith(_IN_TIME) else frames
        return numbers

    def _more_frames(self, frames: int) -> int:
        """What a level that is larger in time makes of frames: a picture stays one."""
        return 2 * frames - 1 if self._vae.is_causal or frames == 1 else 2 * frames

    def _middle(self, block: Any, frames: int, side: int) -> float:
        config = self._vae.config
        seen = side**2 * (1 if config.mid_block_attention_type == "spatial" else frames)
        scores = kept_scores(config.mid_block_num_attention_heads, seen, seen) / seen if self._is_cpu else 0
        attention = self._numbers(frames, side, _ATTENTION * config.block_out_channels[-1] + scores)
        return self._blocks(block.convs, frames, side) + len(block.attentions) * attention

    def _blocks(self, blocks: Any, frames: int, side: int) -> float:
        numbers = 0.0
        for block in blocks:
            for conv in (block.conv1, block.conv2):
                numbers += self._numbers(frames, side, _NORM * conv.weight.shape[1])
                numbers += self._convolution(conv, frames, side)
        return numbers

    def _convolution(self, conv: Any, frames: int, side: int) -> float:
        """What a convolution sees, twice where it takes it in strips, and its filters again for each frame."""
        channels = conv.weight.shape[1]
        is_in_strips = self._is_cpu and channels * 9 * side**2 > MAX_GATHERED
        filters = (frames if frames > 1 else 1 / 3) * math.prod(conv.weight.shape)  # of a picture the middle ones
        return self._numbers(frames, side, channels * (2 if is_in_strips else 1)) + filters

    def _numbers(self, frames: int, side: int, count: float) -> float:
        return self._batch * frames * side**2 * count

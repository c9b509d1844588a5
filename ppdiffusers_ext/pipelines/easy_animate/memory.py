"""How much memory EasyAnimate will take, from its configuration alone: see `memory_plan`.

Beside factors that were measured, the figures are of what the networks keep: the transformer's long skips, and what a
chunk of video leaves in the autoencoder of V4 for the next.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paddle import nn

from ppdiffusers_ext.models.easy_animate import AutoencoderKLMagvit, HunyuanTransformer3D
from ppdiffusers_ext.models.easy_animate.frame_convolution import MAX_GATHERED
from ppdiffusers_ext.models.easy_animate.vae_layers import CausalConv3d
from ppdiffusers_ext.models.layers import MAX_SCORES, Linear
from ppdiffusers_ext.models.quantised import QuantisedLinear
from ppdiffusers_ext.pipelines.easy_animate.loading import streams_blocks, uses_tiles
from ppdiffusers_ext.pipelines.easy_animate.video_coding import PICTURES, latents_shape, spatial_scale
from ppdiffusers_ext.pipelines.engines import makes_exports, weights_dtype
from ppdiffusers_ext.pipelines.memory import RUNGS, get_rung
from ppdiffusers_ext.pipelines.memory_plan import (
    BYTES,
    FLOAT,
    SCATTER,
    MemoryPlan,
    check_plan,
    highest_peak,
    resident_memory,
)
from ppdiffusers_ext.runtime import Runtime

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig


# Numbers that are alive at a network's peak: beside the skips, for each number of the transformer's tokens; and for
# each in the widest layers of the autoencoder at the size of the video.
_BLOCK, ENCODING, _DECODING = 14, 3, 1.06
_ENGINE_ENCODING, _ENGINE_DECODING = 3.2, 2.1  # in OpenVINO, which is as high in bf16 as what it is checked with
_ENGINE_COPIES = 4  # of what a chunk leaves: it, what came before, the engine's, and what it is checked with
_LATENTS = 8  # of the size of the latents: noise, what is denoised, predictions, and the sampler's
_KNOWN = 2 + 8 / 3  # of the size of the video: it and its mask, and what the autoencoder sees of both
_PIXELS = 3  # of the size of a decoded chunk, in tiles if there are: it, in fp32 and mixed, and between 0 and 1
_STORED = ("int8", "fp8")
_LINEAR = (Linear, QuantisedLinear)  # before and after the weights are to be stored


def plan_memory(
    models: dict[str, nn.Layer], config: "EasyAnimateConfig", runtime: Runtime, rungs: Sequence[str] = tuple(RUNGS)
) -> list[MemoryPlan]:
    """What a program that makes a video now takes on rungs of the memory ladder.

    Args:
        models: name -> network, which needs no weights: vae, transformer, and, where there are, text_encoder,
            text_encoder_2 and image_encoder.
        config: an `EasyAnimateConfig`.
        runtime: a `Runtime`.
        rungs: names.

    Returns:
        A list of `MemoryPlan`.
    """
    return [_plan(models, replace(config, memory=rung), runtime) for rung in rungs]


def check_memory(
    models: dict[str, nn.Layer], config: "EasyAnimateConfig", runtime: Runtime, available: int | None = None
) -> MemoryPlan:
    """The `MemoryPlan` of a configuration, if it fits into the memory of this machine; see `check_plan`."""
    plan = functools.partial(plan_memory, models, config, runtime)
    return check_plan(plan, config, "fewer --frames", available)


def _plan(models: dict[str, nn.Layer], config: "EasyAnimateConfig", runtime: Runtime) -> MemoryPlan:
    weights = {name: _weight_bytes(name, model, config, runtime) for name, model in models.items()}
    # Encoders of texts and pictures are used once, and leave the memory on every rung before others come.
    peaks: dict[str, float] = {
        name.replace("_", " "): max(weights[name]) for name in weights if name.endswith(("encoder", "encoder_2"))
    }
    of_video = _Bytes(models, config, runtime)
    stages: dict[str, tuple[str, str | None, float]] = {
        "transformer": ("transformer", "vae", of_video.transformer()),
        "decoding of frames": ("vae", "transformer", of_video.decoding()),
    }
    if of_video.is_known:
        stages["encoding of what is known"] = ("vae", None, of_video.encoding())
    for stage, (network, other, working) in stages.items():
        beside = 0 if other is None or get_rung(config.memory).releases else weights[other][1]
        peaks[stage] = beside + max(weights[network]) + of_video.kept() + working
    return highest_peak(config.memory, peaks, runtime, resident_memory())


def _weight_bytes(name: str, model: nn.Layer, config: "EasyAnimateConfig", runtime: Runtime) -> tuple[int, int]:
    """Bytes of a network's weights as they are loaded, and as they are kept."""
    dtype = runtime.dtype if name == "transformer" else runtime.encoder_dtype
    # An engine makes its own of what is loaded.
    loaded = BYTES[weights_dtype(config.chosen_engine, dtype, runtime.place)]
    kept = loaded if config.chosen_engine == "auto" else BYTES[dtype]  # which `auto` may stay with
    if name == "transformer" and streams_blocks(config):
        blocks = [_count(block) for block in _blocks(model)]
        count = _count(model) - sum(blocks) + max(blocks)
        return count * loaded, count * kept
    count, stored = _count(model), 0
    if name == "transformer" and config.weights in _STORED and config.chosen_engine == "eager":
        layers = _blocks(model).sublayers()
        stored = sum(math.prod(layer.weight.shape) for layer in layers if type(layer) in _LINEAR)
    return (count - stored) * loaded + stored, (count - stored) * kept + stored


def _count(model: nn.Layer) -> int:
    return sum(math.prod(tensor.shape) for tensor in model.state_dict().values())


def _blocks(transformer: nn.Layer) -> Any:
    return transformer.blocks if isinstance(transformer, HunyuanTransformer3D) else transformer.transformer_blocks


class _Bytes:
    """Bytes that the stages of a video work with.

    Attributes:
        is_known: whether something of the video is known.
    """

    def __init__(self, models: dict[str, nn.Layer], config: "EasyAnimateConfig", runtime: Runtime) -> None:
        self._vae, self._transformer = models["vae"], models["transformer"]
        self._config, self._is_cpu = config, runtime.device == "cpu"
        self._dtype, self._encoder_dtype = runtime.dtype, runtime.encoder_dtype
        self._is_compiled = self._is_cpu and makes_exports(config.chosen_engine, runtime.dtype, runtime.place)
        self.is_known = config.start_image is not None or config.video is not None
        self._latents = latents_shape(self._vae, 1, config.num_frames, config.height, config.width)
        self._pixels = config.height * config.width

    def kept(self) -> float:
        """What there is from the beginning to the end: latents, and the video where something of it is known."""
        video = _KNOWN * 3 * self._config.num_frames * self._pixels if self.is_known else 0
        return (_LATENTS * math.prod(self._latents) + video) * FLOAT

    def transformer(self) -> float:
        """Tokens in all layers of a block, in the skips, and scores."""
        options, patch = self._transformer.config, self._transformer.config.patch_size
        guided = self._config.guidance_scale > 1 and not get_rung(self._config.memory).computes_singly
        tokens = (2 if guided else 1) * math.prod(self._latents[2:]) // patch**2
        channels = options.num_attention_heads * options.attention_head_dim
        numbers = tokens * channels * (_skips(self._transformer) + _BLOCK)
        scores = 2 * MAX_SCORES if self._is_cpu else 0
        return self._of_numbers(numbers + scores, self._dtype)

    def encoding(self) -> float:
        """A chunk in the encoder's first layers."""
        frames = self._vae.config.mini_batch_encoder if self._is_of_videos else 1
        width = self._vae.config.block_out_channels[0]
        numbers = min(frames, self._config.num_frames) * self._area()[0] * width
        in_paddle = self._of_numbers(numbers * ENCODING + self._gathered, self._encoder_dtype)
        return max(in_paddle, self._in_engine(numbers * _ENGINE_ENCODING))

    def decoding(self) -> float:
        """A chunk in the decoder's last layers, what the chunk before has left, and pixels."""
        area, tiles = self._area()
        first, second = self._vae.config.block_out_channels[:2]
        frames, waiting = PICTURES, 0
        left: float = 0
        all_left: float = 0
        if self._is_of_videos:
            frames = self._vae.frames_of(self._vae.config.mini_batch_decoder)
            if self._vae.config.cache_compression_vae:
                left = area * kept_numbers(self._vae, goes_on=frames < self._config.num_frames)
                # A picture leaves nothing.
                all_left = area * kept_numbers(self._vae, goes_on=True) if self._config.num_frames > 1 else 0
                waiting = tiles * 3 * self._config.num_frames if tiles > area else 0
        frames = min(frames, self._config.num_frames)
        numbers = frames * area * (first + second)
        in_paddle = self._of_numbers(numbers * _DECODING + left + self._gathered, self._encoder_dtype)
        # Whatever an engine runs, Paddle has run once to check it.
        working = max(in_paddle, self._in_engine(numbers * _ENGINE_DECODING + all_left * _ENGINE_COPIES))
        pixels = _PIXELS * 3 * frames * tiles * FLOAT
        # Tiles of V4 are decoded one after the other, each to its end, and wait in the host's memory.
        waiting = waiting * FLOAT if self._is_cpu else 0
        return working + pixels + waiting

    @property
    def _is_of_videos(self) -> bool:
        return isinstance(self._vae, AutoencoderKLMagvit)

    @property
    def _gathered(self) -> int:
        """What a convolution over frames gathers at one time."""
        return MAX_GATHERED if self._is_cpu and self._is_of_videos else 0

    def _in_engine(self, count: float) -> int:
        """Bytes of so many numbers in an engine, if there is one."""
        return round(count * FLOAT) if self._is_compiled else 0

    def _area(self) -> tuple[int, int]:
        """Pixels of what is coded at one time, and of all tiles together."""
        if not (uses_tiles(self._config) and self._is_of_videos):
            return self._pixels, self._pixels
        size, overlap = self._vae.config.tile_sample_min_size, self._vae.config.tile_overlap_factor
        sides = self._config.height, self._config.width
        if max(sides) <= size:
            return self._pixels, self._pixels
        step = int(size // spatial_scale(self._vae) * (1 - overlap)) * spatial_scale(self._vae)
        largest = math.prod(min(side, size) for side in sides)
        lengths = [sum(min(side - start, size) for start in range(0, side, step)) for side in sides]
        return largest, math.prod(lengths) + largest

    def _of_numbers(self, count: float, dtype: str) -> float:
        """On a CPU halves become floats, and the C library takes more for them than they need."""
        return round(count * FLOAT * SCATTER) if self._is_cpu else count * BYTES[dtype]


def _skips(transformer: nn.Layer) -> int:
    """Tokens of earlier blocks that are kept for later ones."""
    if isinstance(transformer, HunyuanTransformer3D):
        return len(transformer.blocks) // 2 - 1
    return transformer.config.num_layers // 2 - 1 if transformer.config.enable_uvit else 0


def kept_numbers(vae: Any, goes_on: bool) -> float:
    """Numbers that V4's decoder keeps of a chunk for the next at its peak, for each pixel of a frame.

    Args:
        goes_on: whether there is a chunk before; what the last layers keep of the first one comes after its peak.
    """
    decoder, scale = vae.decoder, spatial_scale(vae)
    counts = {scale: [decoder.conv_in, *_convolutions(decoder.mid_block)]}
    *blocks, last = decoder.up_blocks
    for block in blocks:
        counts.setdefault(scale, []).extend(_convolutions(block.convs))
        scale //= 2
        counts.setdefault(scale, []).append(block.upsampler.conv)
    counts[scale] += [*_convolutions(last), decoder.conv_out] if goes_on else []
    return sum(2 * conv.weight.shape[1] / scale**2 for scale, convs in counts.items() for conv in convs)


def _convolutions(part: nn.Layer) -> list[nn.Layer]:
    return [layer for layer in part.sublayers() if isinstance(layer, CausalConv3d)]

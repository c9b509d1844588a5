"""How much memory an animation with Animate Anyone takes, from its options alone: see `memory_plan`."""

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from paddle import nn

from ppdiffusers_ext.models.layers import MAX_SCORES
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig, rung_options
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import check_window
from ppdiffusers_ext.pipelines.memory import RUNGS
from ppdiffusers_ext.pipelines.memory_plan import (
    DECODING,
    ENCODING,
    FLOAT,
    SCATTER,
    MemoryPlan,
    check_plan,
    largest_stage,
    resident_memory,
    weight_bytes,
)
from ppdiffusers_ext.pipelines.posed import POSE_CHUNK
from ppdiffusers_ext.runtime import Runtime

# Numbers that are alive at a network's peak, for each number in the activations of its first layers.
_POSE_GUIDER, _UNET = 3, 13


def plan_memory(
    models: dict[str, nn.Layer], config: Pose2VidConfig, runtime: Runtime, rungs: Sequence[str] = tuple(RUNGS)
) -> list[MemoryPlan]:
    """What a program that animates a clip now takes on rungs of the memory ladder.

    Args:
        models: name -> network of the pipeline's parts, which need no weights.
        config: `Pose2VidConfig` that says how many frames there are; on its own rung its own options count, on the
            others theirs.
        runtime: `Runtime`.
        rungs: names.

    Returns:
        A list of `MemoryPlan`.

    Raises:
        InputError: context windows that are longer than the motion modules can take.
    """
    num_frames: Any = config.num_frames
    check_window(min(num_frames, config.context_frames), models["denoising_unet"].max_frames)
    program = resident_memory()
    on_rungs = [config if rung == config.memory else _on_rung(config, rung) for rung in rungs]
    return [_plan(on_rung, runtime, models, program) for on_rung in on_rungs]


def check_memory(
    models: dict[str, nn.Layer], config: Pose2VidConfig, runtime: Runtime, available: int | None = None
) -> MemoryPlan:
    """The `MemoryPlan` of a configuration, if it fits into the memory of this machine; see `check_plan`."""
    plan = functools.partial(plan_memory, models, config, runtime)
    return check_plan(plan, config, "fewer --context-frames", available)


def _on_rung(config: Pose2VidConfig, rung: str) -> Pose2VidConfig:
    options: Any = rung_options(rung)
    return replace(config, memory=rung, **options)


def _plan(config: Pose2VidConfig, runtime: Runtime, models: dict[str, nn.Layer], program: int) -> MemoryPlan:
    weights = {name: weight_bytes(name, model, config, runtime) for name, model in models.items()}
    stages = _stages(config, models)
    return largest_stage(config.memory, weights, _kept_bytes(config, models), stages, runtime, program)


def _kept_bytes(config: Pose2VidConfig, models: dict[str, nn.Layer]) -> int:
    """What the clip has from its poses on: their features, and latents (noise, prediction, sum and counts)."""
    channels = models["denoising_unet"].config.block_out_channels[0]  # of a patch
    positions = math.prod(_latent_size(config, models["vae"]))
    features = channels // models["denoising_unet"].config.patch_size ** 2
    num_frames: Any = config.num_frames
    return num_frames * positions * (features + 4 * models["vae"].config.latent_channels) * FLOAT


def _latent_size(config: Pose2VidConfig, vae: nn.Layer) -> tuple[int, int]:
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    return config.height // scale, config.width // scale


def _stages(config: Pose2VidConfig, models: dict[str, nn.Layer]) -> dict[str, tuple[str, float]]:
    """stage -> (the network that is in memory, bytes that it works with)."""
    filled: Any = config  # fields that may be left out are filled in by the preset and the rung
    vae, unet = models["vae"].config, models["denoising_unet"].config
    height, width = _latent_size(config, models["vae"])
    scale = config.height // height
    tile = filled.vae_tile_size // scale or max(height, width)
    seen = min(tile, height) * min(tile, width)  # positions of a frame that the autoencoder's attention sees
    pixels = seen * scale**2 * vae.block_out_channels[0]
    guider = config.height * config.width * models["pose_guider"].config.block_out_channels[0]
    frames, rows = min(config.context_frames, filled.num_frames), filled.context_batch_size
    guided = config.guidance_scale > 1
    positions = height * width // unet.patch_size**2  # of the UNets
    picture = positions * unet.block_out_channels[0]
    heads = unet.attention_head_dim
    numbers = {
        "pose guider": ("pose_guider", POSE_CHUNK * guider * _POSE_GUIDER),
        "encoding of the picture": ("vae", pixels * ENCODING + _scores(seen**2) / SCATTER),
        "reference UNet": ("reference_unet", picture * _UNET + _scores(heads * positions**2)),
        "denoising UNet": (
            "denoising_unet",
            (1 if config.sequential_guidance or not guided else 2) * rows * frames * picture * _UNET
            # A frame attends to the picture's tokens beside its own.
            + _scores(rows * frames * heads * positions * 2 * positions),
        ),
        "decoding of frames": (
            "vae",
            # Scores of pictures are few, large blocks, which do not scatter: 2 of 67 MB added 127 MB to 556 MB at
            # 384x512 in chunks of 4, and nothing measurable to 156 MB at 256x256, where they are 2 of 17 MB.
            filled.decode_chunk_size * pixels * DECODING + _scores(filled.decode_chunk_size * seen**2) / SCATTER,
        ),
    }
    return {stage: (name, count * FLOAT * SCATTER) for stage, (name, count) in numbers.items()}


def _scores(count: int) -> int:
    """Numbers of attention scores: before and after the softmax."""
    return 2 * min(count, MAX_SCORES)

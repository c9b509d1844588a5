"""How much memory an animation with StableAnimator will take, from its configuration alone: see `memory_plan`."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paddle import nn

from ppdiffusers_ext.models.layers import MAX_SCORES
from ppdiffusers_ext.pipelines.memory import RUNGS, get_rung
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

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig


# Numbers that are alive at a network's peak, for each number in the activations of its first layers (for the pose net
# of its picture); with gradients, of the decoder's last ones.
_POSE_NET, _UNET, _GRADIENT = 19, 20, 35
_DENOISING, _REFINEMENT = "denoising UNet", "optimisation of faces"
_RECOGNIZER = 260e6  # bytes of its weights


def plan_memory(
    models: dict[str, nn.Layer],
    config: "StableAnimationConfig",
    num_frames: int,
    runtime: Runtime,
    rungs: Sequence[str] = tuple(RUNGS),
) -> list[MemoryPlan]:
    """What a program that animates so many frames now takes on rungs of the memory ladder.

    Args:
        models: name -> network of the pipeline's parts, which need no weights.
        config: a `StableAnimationConfig`.
        num_frames: of the clip.
        runtime: a `Runtime`.
        rungs: names.

    Returns:
        A list of `MemoryPlan`.
    """
    program = resident_memory()
    plans = []
    for rung in rungs:
        of_rung = replace(config, memory=rung)
        weights = {name: weight_bytes(name, model, of_rung, runtime) for name, model in models.items()}
        kept = _kept_bytes(config, models, num_frames)
        stages = _stages(config, models, num_frames)
        if config.refinement is not None and get_rung(rung).releases:  # these two take turns, and stay
            for one, other in (("unet", "vae"), ("vae", "unet")):
                stage = _REFINEMENT if one == "vae" else _DENOISING
                stages[stage] = (one, stages[stage][1] + max(weights[other]))
        plans.append(largest_stage(rung, weights, kept, stages, runtime, program))
    return plans


def check_memory(
    models: dict[str, nn.Layer],
    config: "StableAnimationConfig",
    num_frames: int,
    runtime: Runtime,
    available: int | None = None,
) -> MemoryPlan:
    """The `MemoryPlan` of a configuration, if it fits into the memory of this machine; see `check_plan`."""
    plan = functools.partial(plan_memory, models, config, num_frames, runtime)
    return check_plan(plan, config, "a smaller --tile_size or --decode_chunk_size", available)


def _positions(config: "StableAnimationConfig", models: dict[str, nn.Layer]) -> int:
    """Of the latents."""
    scale = 2 ** (len(models["vae"].config.block_out_channels) - 1)
    return (config.height // scale) * (config.width // scale)


def _kept_bytes(config: "StableAnimationConfig", models: dict[str, nn.Layer], num_frames: int) -> float:
    """What the clip has from its poses on: their features, and latents (noise, scaled, two predictions, sums)."""
    channels = models["unet"].config.block_out_channels[0]
    of_frame = _positions(config, models) * (channels + 6 * models["vae"].config.latent_channels) * FLOAT
    recognizer = _RECOGNIZER if config.refinement is not None else 0
    return num_frames * of_frame + recognizer


def _stages(
    config: "StableAnimationConfig", models: dict[str, nn.Layer], num_frames: int
) -> dict[str, tuple[str, float]]:
    """stage -> (the network that is in memory, bytes that it works with)."""
    pixels, positions = config.height * config.width, _positions(config, models)
    unet, vae = models["unet"].config, models["vae"].config
    chunk_size: Any = config.decode_chunk_size  # of StableAnimator's options, never left out
    window, chunk = min(config.context_frames, num_frames), min(chunk_size, num_frames)
    of_frame = pixels * vae.block_out_channels[0]
    scores = 2 * min(window * unet.num_attention_heads[0] * positions**2, MAX_SCORES)
    numbers = {
        "pose net": ("pose_net", min(POSE_CHUNK, num_frames) * pixels * _POSE_NET),
        "encoding of the picture": ("vae", of_frame * ENCODING),
        _DENOISING: ("unet", window * positions * unet.block_out_channels[0] * _UNET + scores),
        "decoding of frames": ("vae", chunk * of_frame * DECODING),
    }
    if config.refinement is not None:
        numbers[_REFINEMENT] = ("vae", chunk * of_frame * _GRADIENT)
    return {stage: (name, count * FLOAT * SCATTER) for stage, (name, count) in numbers.items()}

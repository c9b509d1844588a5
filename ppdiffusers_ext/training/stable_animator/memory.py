"""Memory prediction for a training of StableAnimator; see `training.memory_plan`.

The activations that layers keep for the gradient are proportional to the widths of the UNet's units times their
positions (`python -m benchmarks training_memory` compares predictions with peaks).
"""

import math
import os
from pathlib import Path
from typing import Any

from ppdiffusers_ext.models.eager_attention import kept_scores
from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, PoseNet
from ppdiffusers_ext.pipelines.architectures import planning_reader
from ppdiffusers_ext.pipelines.loading import describe_image_encoder, describe_video_vae, known_options
from ppdiffusers_ext.pipelines.memory_plan import ENCODING, FLOAT, resident_memory
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
from ppdiffusers_ext.training.stable_animator.model import StableAnimatorModel, freeze
from ppdiffusers_ext.training.stable_animator.objective import ENCODED_AT_ONCE
from ppdiffusers_ext.training.stable_animator.options import (
    StableDataArguments,
    StableModelArguments,
    StableTrainerOptions,
)
from ppdiffusers_ext.weights.assignment import create

# Numbers that a layer keeps for the gradient, for each number of its output: a residual block and a transformer (each
# over pixels and over frames) without and with gradient checkpointing, and the pose net for each pixel.
_RESNET, _TRANSFORMER, _CHECKPOINTED, _POSE_NET = 57, 80, 12.5, 38


def plan_training(
    model_arguments: StableModelArguments,
    data_arguments: StableDataArguments,
    options: TrainingOptions,
    device: str = "cpu",
    program: int | None = None,
) -> dict[Size, TrainingMemory]:
    """`TrainingMemory` for each size of a training's clips: a dict by (width, height).

    Args:
        model_arguments: `StableModelArguments`. The folder of Stable Video Diffusion need not be there if it has the
            name of the published one.
        data_arguments: `StableDataArguments`.
        options: `TrainingOptions`.
        device: "cpu" or "gpu".
        program: bytes that the program takes before (default: those of this process).
    """
    svd, read = Path(model_arguments.pretrained_model_name_or_path), planning_reader("stable_animator")
    vae = describe_video_vae(svd / "vae", read=read).model
    encoder = describe_image_encoder(svd / "image_encoder", read=read).model
    unet = known_options(AnimationUNet, read(svd / "unet"), svd / "unet")
    model = create(lambda: _model(unet, encoder.config.projection_dim))
    freeze(model, model_arguments.train_whole_unet)
    program = resident_memory() if program is None else program
    everything = count(model.parameters())
    learning = count(parameter for parameter in model.parameters() if not parameter.stop_gradient)
    frozen = (count(vae.parameters()) + count(encoder.parameters())) * FLOAT
    kept = standing_memory(everything, learning, frozen, options, device, program)
    plans: dict[Size, TrainingMemory] = {}
    frames = options.batch * data_arguments.sample_n_frames
    for _, width, height, _ in data_arguments.named_sets():
        numbers = frames * _activations(model.unet.config, vae.config, (width, height), options.checkpointing, device)
        pixels = min(ENCODED_AT_ONCE, frames) * width * height
        encoding = pixels * vae.config.block_out_channels[0] * ENCODING * FLOAT
        plans[width, height] = peak_memory(kept, numbers * number_bytes(options, device), encoding, options, device)
    return plans


def _model(options: dict[str, Any], clip: int) -> StableAnimatorModel:
    unet = AnimationUNet(**options)
    face_encoder = FusionFaceId(unet.config.cross_attention_dim, clip_embeddings_dim=clip)
    return StableAnimatorModel(unet, PoseNet(unet.config.block_out_channels[0]), face_encoder)


def _activations(unet: Any, vae: Any, size: tuple[int, int], checkpointing: bool, device: str) -> float:
    """Numbers that a frame has kept for the gradient when the forward pass is done, and what one unit needs again."""
    scale = 2 ** (len(vae.block_out_channels) - 1)
    width, height = (math.ceil(side / scale) for side in size)
    layers, total, largest = unet.layers_per_block, 0, 0
    heads = unet.num_attention_heads
    heads = [heads] * len(unet.block_out_channels) if isinstance(heads, int) else heads
    levels = len(unet.block_out_channels)
    for level, channels in enumerate(unet.block_out_channels):
        positions = math.ceil(width / 2**level) * math.ceil(height / 2**level)
        resnets = 2 * layers + 1 + (2 if level == levels - 1 else 0)
        transformers = resnets - 2 + 1 - 2 * layers if level == levels - 1 else resnets
        scores = kept_scores(heads[level], positions, positions) if device == "cpu" else 0
        of_transformer = _TRANSFORMER * positions * channels + scores
        if checkpointing:
            total += _CHECKPOINTED * positions * channels * (resnets + transformers)
            largest = max(largest, of_transformer)
        else:
            total += _RESNET * positions * channels * resnets + of_transformer * transformers
    return total + largest + _POSE_NET * size[0] * size[1]


def plan_file(path: str | os.PathLike, device: str, processes: int = 1) -> dict[Size, TrainingMemory]:
    """`TrainingMemory` by size for a training's YAML file. See `plan_training` and `read_training`."""
    kinds = (StableModelArguments, StableDataArguments, StableTrainerOptions)
    return plan_training(*read_training(path, kinds, processes), device)

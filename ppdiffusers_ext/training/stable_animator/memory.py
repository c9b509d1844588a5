"""Memory prediction for a training of StableAnimator, from its configuration alone: no weights are read.

The peak is in the backward pass, or in the optimiser's step if its state is offloaded between steps. The activations
that layers keep for the gradient are proportional to the widths of the UNet's units times their positions; the factors
were measured on a CPU in fp32 (`python -m benchmarks training_memory` compares predictions with peaks). Figures for a
GPU follow from the same factors and the bytes of its dtypes, and have not been measured.
"""

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppdiffusers_ext.models.stable_animator import AnimationUNet, FusionFaceId, PoseNet
from ppdiffusers_ext.pipelines.architectures import planning_reader
from ppdiffusers_ext.pipelines.loading import describe_image_encoder, describe_video_vae, known_options
from ppdiffusers_ext.pipelines.memory_plan import ENCODING, FLOAT, GB, SCATTER, resident_memory
from ppdiffusers_ext.training.bounds import check_bounds
from ppdiffusers_ext.training.parser import filled, read_options
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
_LATER = 0.5, 0.85  # part of the gradients that are there when most is kept, and of the kept when all gradients are
_CONTEXT = 500e6  # bytes that CUDA and cuDNN take on a GPU
_STARTED = 250e6  # bytes of host memory that libraries take when training starts
_HALF = 2  # bytes


@dataclass(frozen=True)
class TrainingMemory:
    """Peak memory of one process in bytes: of the GPU, or of the machine on a CPU; `parts` by name."""

    device: str
    peak: int
    parts: dict = field(default_factory=dict)

    def __str__(self) -> str:
        told = ", ".join(f"{name} {size / GB:.1f}" for name, size in self.parts.items() if size >= 0.05 * GB)
        whose = "its GPU's memory" if self.device == "gpu" else "memory"
        return f"a process takes about {self.peak / GB:.1f} GB of {whose} ({told}; not all at once)"


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a trainer that determine its memory.

    Attributes:
        batch: samples per process.
        level: "fp32", or "O1" or "O2" for halves as paddlenlp calls them; on a CPU there is fp32 alone.
        checkpointing: True for gradient checkpointing.
        sharding: stage, 0 to 3. processes: number of processes that share.
        offload: True if the optimiser's state leaves the GPU between steps.
        ema: True if an average of the weights is kept.
    """

    batch: int = 1
    level: str = "fp32"
    checkpointing: bool = False
    sharding: int = 0
    processes: int = 1
    offload: bool = False
    ema: bool = False


def plan_training(
    model_arguments: StableModelArguments,
    data_arguments: StableDataArguments,
    options: TrainingOptions,
    device: str = "cpu",
    program: int | None = None,
) -> dict[tuple[int, int], TrainingMemory]:
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
    kept = _kept(model, vae, _count(encoder.parameters()), options, device, program)
    plans = {}
    for _, width, height, _ in data_arguments.named_sets():
        size = (width, height)
        plans[size] = _plan(kept, model.unet.config, vae.config, data_arguments.sample_n_frames, size, options, device)
    return plans


def _model(options: dict[str, Any], clip: int) -> StableAnimatorModel:
    unet = AnimationUNet(**options)
    face_encoder = FusionFaceId(unet.config.cross_attention_dim, clip_embeddings_dim=clip)
    return StableAnimatorModel(unet, PoseNet(unet.config.block_out_channels[0]), face_encoder)


def _count(parameters: Iterable[Any]) -> int:
    return sum(math.prod(parameter.shape) for parameter in parameters)


def _kept(
    model: StableAnimatorModel, vae: Any, image_encoder: int, options: TrainingOptions, device: str, program: float
) -> dict[str, float]:
    """Bytes by name of what does not depend on the clips, with the gradients' and the optimiser's last."""
    everything = _count(model.parameters())
    learning = _count(parameter for parameter in model.parameters() if not parameter.stop_gradient)
    o2 = device == "gpu" and options.level == "O2"
    number = _HALF if o2 else FLOAT
    share = {stage: options.processes if options.sharding >= stage else 1 for stage in (1, 2, 3)}
    return {
        "program": _CONTEXT if device == "gpu" else program + _STARTED,
        "frozen networks": (_count(vae.parameters()) + image_encoder) * FLOAT,
        "weights": everything * number / share[3],
        "average": learning * FLOAT * options.ema,
        "gradients": learning * number / share[2],
        "optimiser": learning * (2 * FLOAT + (FLOAT if o2 else 0)) / share[1],
    }


def _plan(
    kept: dict[str, float],
    unet: Any,
    vae: Any,
    frames: int,
    size: tuple[int, int],
    options: TrainingOptions,
    device: str,
) -> TrainingMemory:
    """The `TrainingMemory` of clips of one size."""
    half = device == "gpu" and options.level != "fp32"
    number, count = _HALF if half else FLOAT, options.batch * frames
    activations = count * _activations(unet, vae, size, options.checkpointing, device) * number
    encoding = min(ENCODED_AT_ONCE, count) * size[0] * size[1] * vae.block_out_channels[0] * ENCODING * FLOAT
    kept = dict(kept)
    gradients, optimizer = kept["gradients"], kept["optimiser"]
    early, late = _LATER
    passes = max(activations + early * gradients, gradients + late * activations, encoding * SCATTER)
    always = sum(kept.values()) - gradients - optimizer
    if options.offload and device == "gpu":
        peak = always + max(passes, gradients + optimizer)
    else:
        peak = always + optimizer + passes
    return TrainingMemory(device, round(peak), {**kept, "activations": activations})


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
        # On a CPU scores are kept for the gradient; a GPU's kernels compute them again.
        scores = heads[level] * positions**2 if device == "cpu" else 0
        of_transformer = _TRANSFORMER * positions * channels + scores
        if checkpointing:
            total += _CHECKPOINTED * positions * channels * (resnets + transformers)
            largest = max(largest, of_transformer)
        else:
            total += _RESNET * positions * channels * resnets + of_transformer * transformers
    return total + largest + _POSE_NET * size[0] * size[1]


def plan_file(path: str | os.PathLike, device: str, processes: int = 1) -> dict[tuple[int, int], TrainingMemory]:
    """`TrainingMemory` by size for a training's YAML file. See `plan_training`.

    Args:
        path: YAML file of `scripts/trainer_stable_animator.py`.
        device: "cpu" or "gpu".
        processes: number of processes of the launch.

    Raises:
        MissingFileError, InputError: no such file, or values that cannot be used.
    """
    kinds = (StableModelArguments, StableDataArguments, StableTrainerOptions)
    values = read_options([str(path)], kinds)
    check_bounds(values, kinds)
    model, data = (filled(kind, values) for kind in kinds[:2])
    data.check()
    stages = [int(digit) for digit in re.findall(r"stage([123])", values["sharding"])]
    options = TrainingOptions(
        batch=values["per_device_train_batch_size"],
        level=_level(values),
        checkpointing=model.gradient_checkpointing,
        sharding=max(stages, default=0),
        processes=processes,
        offload=values["offload_optim"],
        ema=bool(values["ema_decay"]),
    )
    return plan_training(model, data, options, device)


def _level(values: dict[str, Any]) -> str:
    half = values.get("fp16") or values.get("bf16") or values.get("mixed_precision") in ("fp16", "bf16")
    return values.get("fp16_opt_level", "O1") if half else "fp32"

"""Memory prediction for trainings, from their configuration alone: no weights are read.

The peak is in the backward pass, in encoding, or in the optimiser's step if its state is offloaded between steps. The
activations that layers keep for the gradient are counted by each system's `memory`, with factors that were measured on
a CPU in fp32. Figures for a GPU follow from the same factors and the bytes of its dtypes, and have not been measured.
"""

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ppdiffusers_ext.pipelines.memory_plan import FLOAT, GB, SCATTER
from ppdiffusers_ext.training.bounds import check_bounds
from ppdiffusers_ext.training.parser import filled, read_options

_LATER = 0.5, 0.85  # part of the gradients that are there when most is kept, and of the kept when all gradients are
_CONTEXT = 500e6  # bytes that CUDA and cuDNN take on a GPU
_STARTED = 250e6  # bytes of host memory that libraries take when training starts
_HALF = 2  # bytes

Size = tuple[int, ...]  # width and height of clips, and frames where a training has several numbers of them


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
        moments: numbers that the optimiser keeps for each parameter.
    """

    batch: int = 1
    level: str = "fp32"
    checkpointing: bool = False
    sharding: int = 0
    processes: int = 1
    offload: bool = False
    ema: bool = False
    moments: int = 2


def count(parameters: Iterable[Any]) -> int:
    """Numbers in parameters, which may have no memory yet."""
    return sum(math.prod(parameter.shape) for parameter in parameters)


def standing_memory(
    everything: int, learning: int, frozen: float, options: TrainingOptions, device: str, program: float
) -> dict[str, float]:
    """Bytes by name of what does not depend on the clips, with the gradients' and the optimiser's last.

    Args:
        everything, learning: numbers of the trained model's parameters, and of those that learn.
        frozen: bytes of the frozen networks.
        options: `TrainingOptions`.
        device: "cpu" or "gpu".
        program: bytes that the program takes before.
    """
    o2 = device == "gpu" and options.level == "O2"
    number = _HALF if o2 else FLOAT
    share = {stage: options.processes if options.sharding >= stage else 1 for stage in (1, 2, 3)}
    return {
        "program": _CONTEXT if device == "gpu" else program + _STARTED,
        "frozen networks": frozen,
        "weights": everything * number / share[3],
        "average": learning * FLOAT * options.ema,
        "gradients": learning * number / share[2],
        "optimiser": learning * (options.moments * FLOAT + (FLOAT if o2 else 0)) / share[1],
    }


def number_bytes(options: TrainingOptions, device: str) -> int:
    """Bytes of a number of the activations."""
    return _HALF if device == "gpu" and options.level != "fp32" else FLOAT


def peak_memory(
    kept: dict[str, float],
    activations: float,
    encoding: float,
    options: TrainingOptions,
    device: str,
    losses: float = 0.0,
) -> TrainingMemory:
    """The `TrainingMemory` of clips of one size.

    Args:
        kept: of `standing_memory`.
        activations: bytes that layers keep for the gradient.
        encoding: bytes that the frozen networks work with, or others while nothing is kept for the gradient.
        options, device: see `standing_memory`.
        losses: bytes while the loss is computed, of what is kept for the gradient and of its own networks.
    """
    kept = dict(kept)
    gradients, optimizer = kept["gradients"], kept["optimiser"]
    early, late = _LATER
    backward = max(activations + early * gradients, gradients + late * activations)
    passes = max(backward, losses, encoding * SCATTER)
    always = sum(kept.values()) - gradients - optimizer
    if options.offload and device == "gpu":
        peak = always + max(passes, gradients + optimizer)
    else:
        peak = always + optimizer + passes
    return TrainingMemory(device, round(peak), {**kept, "activations": activations})


def read_training(
    path: str | os.PathLike, kinds: tuple[Any, Any, Any], processes: int
) -> tuple[Any, Any, TrainingOptions]:
    """The options of the model and of the data in a training's YAML file, and its `TrainingOptions`.

    Args:
        path: YAML file of a trainer.
        kinds: dataclasses of the trainer's options.
        processes: number of processes of the launch.

    Raises:
        MissingFileError, InputError: no such file, or values that cannot be used.
    """
    values = read_options([str(path)], kinds)
    check_bounds(values, kinds)
    model, data = (filled(kind, values) for kind in kinds[:2])
    data.check()
    stages = [int(digit) for digit in re.findall(r"stage([123])", values["sharding"])]
    return (
        model,
        data,
        TrainingOptions(
            batch=values["per_device_train_batch_size"],
            level=_level(values),
            checkpointing=getattr(model, "gradient_checkpointing", False),
            sharding=max(stages, default=0),
            processes=processes,
            offload=values["offload_optim"],
            ema=bool(values["ema_decay"] or values.get("use_ema")),
            moments=1 if values.get("use_came") else 2,
        ),
    )


def _level(values: dict[str, Any]) -> str:
    half = values.get("fp16") or values.get("bf16") or values.get("mixed_precision") in ("fp16", "bf16")
    return values.get("fp16_opt_level", "O1") if half else "fp32"

"""How much memory an animation will take, from its configuration alone: no weights are read.

The peak of a clip is that of its largest stage: what the program has taken before, the weights that are in memory
then, what is kept for the whole clip, and what the stage's network works with. The last is proportional to the size of
its first layers, for networks of one family; the factors were measured on a CPU (`python -m benchmarks memory_plan`
compares predictions with peaks). Figures for a GPU follow from the same factors and have not been measured.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
from paddle import nn

from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.environment import processes_here
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.pipelines.engines import weights_dtype
from ppdiffusers_ext.pipelines.memory import RUNGS, get_rung
from ppdiffusers_ext.pipelines.warm import warm_bytes
from ppdiffusers_ext.pipelines.watching import current_watch
from ppdiffusers_ext.runtime import Runtime

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.options import RunOptions


logger = logging.getLogger(__name__)

GB = 10**9
_CONTEXT = 500e6  # bytes that CUDA and cuDNN take on a GPU
FLOAT = 4  # bytes
# Numbers that are alive at the peak of an autoencoder of pictures, for each number in its first layers.
ENCODING, DECODING = 12, 10
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SCATTER = 2.0  # what the C library takes for them: freed memory stays, in pieces that not all fit what comes next


@dataclass(frozen=True)
class MemoryPlan:
    """
    Attributes:
        rung: of the memory ladder.
        stage: where the peak is.
        host, device: bytes at the peak, of the machine's memory and of the GPU's; device is 0 without a GPU.
    """

    rung: str
    stage: str
    host: int
    device: int = 0

    def __str__(self) -> str:
        device = f" and {self.device / GB:.1f} GB on the GPU" if self.device else ""
        return f"memory {self.rung} takes about {self.host / GB:.1f} GB{device}, most of all in the {self.stage}"


def resident_memory() -> int:
    """Bytes of host memory that this program has now: most are Paddle's libraries, whose share differs by machine.

    Weights that the last run has kept are not among them: the next one takes these, or frees them.
    """
    return psutil.Process().memory_info().rss - warm_bytes()


def available_memory() -> int:
    """Bytes of host memory that this program can have, those that it has now among them; of ranks one's part."""
    free = psutil.virtual_memory().available
    return free // (processes_here() if current_ranks().count > 1 else 1) + psutil.Process().memory_info().rss


def check_plan(
    plan_memory: Callable[[list[str]], list[MemoryPlan]],
    config: "RunOptions",
    fewer: str,
    available: int | None = None,
) -> MemoryPlan:
    """The `MemoryPlan` of a configuration, if it fits into the memory of this machine; it is logged.

    Args:
        plan_memory: called with names of rungs, gives a list of their `MemoryPlan`.
        config: `RunOptions`, whose rung is wanted, and which says whether it need fit.
        fewer: option of which less would do.
        available: bytes of host memory; `available_memory()` if left out.

    Raises:
        InputError: it does not fit. Names the highest rung that does, if there is one.
    """
    available = available_memory() if available is None else available
    rungs = list(RUNGS)
    (plan,) = plan_memory([config.memory])
    if plan.host <= available or config.ignore_memory:
        logger.info("%s", plan)
        current_watch().planned(plan.rung, plan.host, available)
        return plan
    lower = rungs[rungs.index(config.memory) + 1 :]
    fitting = [other for other in plan_memory(lower) if other.host <= available] if lower else []
    accepted = (
        f"--memory {fitting[0].rung}, which takes about {fitting[0].host / GB:.1f} GB, is accepted"
        if fitting
        else f"no rung of --memory fits; a smaller --width and --height, or {fewer}, are accepted"
    )
    raise InputError(f"{plan}, and {available / GB:.1f} GB are free; {accepted}; --ignore-memory tries nevertheless")


def largest_stage(
    rung: str,
    weights: Mapping[str, tuple[int, int]],
    of_clip: float,
    stages: Mapping[str, tuple[str, float]],
    runtime: Runtime,
    program: int,
) -> MemoryPlan:
    """The `MemoryPlan` of a clip.

    Args:
        rung: name.
        weights: network -> what `weight_bytes` returns.
        of_clip: bytes that are kept for the whole clip.
        stages: name -> (the network that is in memory, bytes that it works with).
        runtime: a `Runtime`.
        program: bytes of host memory that the program has taken before.
    """
    peaks, releases = {}, get_rung(rung).releases
    for stage, (network, working) in stages.items():
        others = 0 if releases else sum(kept for name, (_, kept) in weights.items() if name != network)
        peaks[stage] = others + max(weights[network]) + of_clip + working
    return highest_peak(rung, peaks, runtime, program)


def highest_peak(rung: str, peaks: Mapping[str, float], runtime: Runtime, program: int) -> MemoryPlan:
    """The `MemoryPlan` of stages: name -> bytes that they take beside the program; for others see `largest_stage`."""
    stage = max(peaks, key=lambda name: peaks[name])
    if runtime.device == "cpu":
        return MemoryPlan(rung, stage, round(program + peaks[stage]))
    return MemoryPlan(rung, stage, program, round(_CONTEXT + peaks[stage]))


def weight_bytes(name: str, model: nn.Layer, config: "RunOptions", runtime: Runtime) -> tuple[int, int]:
    """Bytes of a network's weights as they are loaded, and as they are kept."""
    kept = loaded = runtime.encoder_dtype if name in ("vae", "image_encoder") else runtime.dtype
    if weights_dtype(config.chosen_engine, runtime.dtype, runtime.place) != runtime.dtype:
        # An engine makes its own of what is loaded, and `auto` may stay with what is loaded.
        kept, loaded = runtime.dtype if config.chosen_engine != "auto" else "float32", "float32"
    elif get_rung(config.memory).halves and kept == "float32" and config.chosen_engine == "eager":
        kept = loaded = "bfloat16"
    count = sum(math.prod(tensor.shape) for tensor in model.state_dict().values())
    return count * BYTES[loaded], count * BYTES[kept]

"""How much memory an animation will take, from its configuration alone: no weights are read.

The peak of a clip is that of its largest stage: what the program has taken before, the weights that are in memory
then, what is kept for the whole clip, and what the stage's network works with. The last is proportional to the size of
its first layers, for networks of one family; the factors were measured on a CPU (`python -m benchmarks memory_plan`
compares predictions with peaks). Figures for a GPU follow from the same factors and have not been measured.
"""

import math
from dataclasses import dataclass, replace

import psutil

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.layers import MAX_SCORES
from ppdiffusers_ext.pipelines.animate_anyone import POSE_CHUNK, check_window
from ppdiffusers_ext.pipelines.engines import weights_dtype
from ppdiffusers_ext.pipelines.loading import describe_parts
from ppdiffusers_ext.pipelines.memory import RUNGS, get_rung

GB = 10**9
_CONTEXT = 500e6  # bytes that CUDA and cuDNN take on a GPU
FLOAT = 4  # bytes
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Numbers that are alive at a network's peak, for each number in the activations of its first layers.
_POSE_GUIDER, ENCODING, DECODING, _UNET = 3, 12, 10, 13
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

    def __str__(self):
        device = f" and {self.device / GB:.1f} GB on the GPU" if self.device else ""
        return f"memory {self.rung} takes about {self.host / GB:.1f} GB{device}, most of all in the {self.stage}"


def plan_memory(config, runtime, rungs=tuple(RUNGS)):
    """What a program that animates a clip now takes on rungs of the memory ladder.

    Args:
        config: `Pose2VidConfig`; on its own rung its own options count, on the others theirs.
        runtime: `Runtime`.
        rungs: names.

    Returns:
        A list of `MemoryPlan`.

    Raises:
        InputError, MissingFileError: configurations of networks that cannot be read, or context windows that are
            longer than the motion modules can take.
    """
    models = {name: part.model for name, part in describe_parts(config).items()}
    check_window(min(config.length, config.context_frames), models["denoising_unet"].max_frames)
    program = resident_memory()
    on_rungs = [config if rung == config.memory else _on_rung(config, rung) for rung in rungs]
    return [_plan(on_rung, runtime, models, program) for on_rung in on_rungs]


def resident_memory():
    """Bytes of host memory that this program has now: most are Paddle's libraries, whose share differs by machine."""
    return psutil.Process().memory_info().rss


def available_memory():
    """Bytes of host memory that this program can have, those that it has now among them."""
    return psutil.virtual_memory().available + resident_memory()


def check_memory(config, runtime, available=None):
    """The `MemoryPlan` of a configuration, if it fits into the memory of this machine.

    Args:
        config, runtime: as of `plan_memory`.
        available: bytes of host memory; `available_memory()` if left out.

    Raises:
        InputError: it does not fit. Names the highest rung that does, if there is one.
    """
    rungs = list(RUNGS)
    plans = plan_memory(config, runtime, rungs[rungs.index(config.memory) :])
    return first_fitting(plans, config.ignore_memory, "fewer --context-frames", available)


def first_fitting(plans, ignores, fewer, available=None):
    """The first of some plans, if it fits into the memory of this machine.

    Args:
        plans: list of `MemoryPlan`, that which is wanted and those of lower rungs.
        ignores: whether it need not fit.
        fewer: option of which less would do.
        available: as of `check_memory`.

    Raises:
        InputError: it does not fit.
    """
    available = available_memory() if available is None else available
    plan, *lower = plans
    if plan.host <= available or ignores:
        return plan
    fitting = [other for other in lower if other.host <= available]
    accepted = (
        f"--memory {fitting[0].rung}, which takes about {fitting[0].host / GB:.1f} GB, is accepted"
        if fitting
        else f"no rung of --memory fits; a smaller --width and --height, or {fewer}, are accepted"
    )
    raise InputError(f"{plan}, and {available / GB:.1f} GB are free; {accepted}; --ignore-memory tries nevertheless")


def _on_rung(config, rung):
    return replace(config, memory=rung, **RUNGS[rung].options)


def _plan(config, runtime, models, program):
    weights = {name: weight_bytes(name, model, config, runtime) for name, model in models.items()}
    stages = _stages(config, models)
    return largest_stage(config.memory, weights, _kept_bytes(config, models), stages, runtime, program)


def largest_stage(rung, weights, of_clip, stages, runtime, program):
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


def highest_peak(rung, peaks, runtime, program):
    """The `MemoryPlan` of stages: name -> bytes that they take beside the program; others as of `largest_stage`."""
    stage = max(peaks, key=peaks.get)
    if runtime.device == "cpu":
        return MemoryPlan(rung, stage, round(program + peaks[stage]))
    return MemoryPlan(rung, stage, program, round(_CONTEXT + peaks[stage]))


def weight_bytes(name, model, config, runtime):
    """Bytes of a network's weights as they are loaded, and as they are kept."""
    kept = loaded = runtime.encoder_dtype if name in ("vae", "image_encoder") else runtime.dtype
    if weights_dtype(config.engine, runtime.dtype) != runtime.dtype:  # an engine makes its own of what is loaded
        kept, loaded = runtime.dtype, "float32"
    elif get_rung(config.memory).halves and kept == "float32" and config.engine == "eager":
        kept = loaded = "bfloat16"
    count = sum(math.prod(tensor.shape) for tensor in model.state_dict().values())
    return count * BYTES[loaded], count * BYTES[kept]


def _kept_bytes(config, models):
    """What the clip has from its poses on: their features, and latents (noise, prediction, sum and counts)."""
    channels = models["denoising_unet"].config.block_out_channels[0]
    positions = math.prod(_latent_size(config, models["vae"]))
    return config.length * positions * (channels + 4 * models["vae"].config.latent_channels) * FLOAT


def _latent_size(config, vae):
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    return config.height // scale, config.width // scale


def _stages(config, models):
    """stage -> (the network that is in memory, bytes that it works with)."""
    vae, unet = models["vae"].config, models["denoising_unet"].config
    height, width = _latent_size(config, models["vae"])
    scale = config.height // height
    tile = config.vae_tile_size // scale or max(height, width)
    pixels = min(tile, height) * min(tile, width) * scale**2 * vae.block_out_channels[0]
    guider = config.height * config.width * models["pose_guider"].config.block_out_channels[0]
    frames, rows = min(config.context_frames, config.length), config.context_batch_size
    guided = config.cfg > 1
    positions = height * width
    picture = positions * unet.block_out_channels[0]
    heads = unet.attention_head_dim
    numbers = {
        "pose guider": ("pose_guider", POSE_CHUNK * guider * _POSE_GUIDER),
        "encoding of the picture": ("vae", pixels * ENCODING),
        "reference UNet": ("reference_unet", picture * _UNET + _scores(heads * positions**2)),
        "denoising UNet": (
            "denoising_unet",
            (1 if config.sequential_guidance or not guided else 2) * rows * frames * picture * _UNET
            # A frame attends to the picture's tokens beside its own.
            + _scores(rows * frames * heads * positions * 2 * positions),
        ),
        "decoding of frames": ("vae", config.decode_chunk_size * pixels * DECODING),
    }
    return {stage: (name, count * FLOAT * SCATTER) for stage, (name, count) in numbers.items()}


def _scores(count):
    """Numbers of attention scores: before and after the softmax."""
    return 2 * min(count, MAX_SCORES)

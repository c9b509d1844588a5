"""Which videos EasyAnimate V4 makes on GPUs of which memory, as predicted: the original's table, for our modes."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from paddle import nn

from ppdiffusers_ext.pipelines.architectures import planning_reader
from ppdiffusers_ext.pipelines.easy_animate.loading import describe_parts
from ppdiffusers_ext.pipelines.easy_animate.memory import plan_memory
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.loading import models_of
from ppdiffusers_ext.pipelines.memory_plan import GB
from ppdiffusers_ext.runtime import Runtime

MEMORIES = (12, 16, 24, 40, 80)  # GB
SIZES = tuple(
    (*size, frames)
    for size, lengths in (
        ((384, 672), (72, 144)),
        ((576, 1008), (72, 144)),
        ((768, 1344), (72, 144)),
        ((960, 1680), (48, 96)),
    )
    for frames in lengths
)  # height, width, frames
# The fastest first: options of an `EasyAnimateConfig`.
MODES: dict[str, dict[str, Any]] = {
    "high": {"memory": "high"},
    "medium": {"memory": "medium"},
    "low": {"memory": "low"},
    "tiles": {"memory": "low", "vae_tiling": True},
    "int8": {"memory": "low", "vae_tiling": True, "weights": "int8"},
    "minimal": {"memory": "minimal"},
}
_GPU = Runtime("gpu:0", "bfloat16")
_RELEASED = "EasyAnimateV4-XL-2-InP"


def released_models() -> dict[str, nn.Layer]:
    """name -> network of EasyAnimate V4 at its released size, which takes no memory."""
    read = planning_reader("easy_animate", tells=False)
    return models_of(describe_parts(EasyAnimateConfig(model=_RELEASED), read=read))


def size_table(
    models: dict[str, nn.Layer],
    memories: Iterable[int] = MEMORIES,
    sizes: Iterable[tuple[int, int, int]] = SIZES,
    runtime: Runtime = _GPU,
) -> dict[int, dict[tuple[int, int, int], str | None]]:
    """The first of `MODES` that fits, or None, for memories and sizes.

    Args:
        models: see `plan_memory`.
        memories: GB of GPUs.
        sizes: (height, width, frames) of videos of a text.
        runtime: a `Runtime` on a GPU.

    Returns:
        memory -> size -> name.
    """
    needs = {size: {name: _need(models, size, options, runtime) for name, options in MODES.items()} for size in sizes}
    return {
        memory: {
            size: next((name for name, need in needs[size].items() if need <= memory * GB), None) for size in sizes
        }
        for memory in memories
    }


def _need(models: dict[str, nn.Layer], size: tuple[int, int, int], options: dict[str, Any], runtime: Runtime) -> int:
    height, width, frames = size
    config = replace(EasyAnimateConfig(height=height, width=width, num_frames=frames), **options)
    (plan,) = plan_memory(models, config, runtime, [config.memory])
    return plan.device


def lines(table: dict[int, dict[tuple[int, int, int], str | None]]) -> Iterator[str]:
    """The table as lines of Markdown."""
    sizes = ["x".join(map(str, size)) for size in next(iter(table.values()))]
    yield f"| GPU memory | {' | '.join(sizes)} |"
    yield "|---" * (len(sizes) + 1) + "|"
    for memory, modes in table.items():
        yield f"| {memory} GB | {' | '.join(mode or 'no' for mode in modes.values())} |"

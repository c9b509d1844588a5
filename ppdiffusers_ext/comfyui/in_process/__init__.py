"""Orders made in ComfyUI's own process, which has Paddle: by the same options and pipelines as the commands.

Each system's module beside this package has `configure`, which makes and checks its options of an order without
Paddle; the one in it has `Work`, which runs its pipeline. The last pipeline stays in memory for the next order that
needs the same.
"""

import contextlib
import importlib
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from ppdiffusers_ext.comfyui import host
from ppdiffusers_ext.comfyui.files import scratch
from ppdiffusers_ext.comfyui.orders import Made, Model, Order, Report
from ppdiffusers_ext.pipelines.warm import WarmPipeline
from ppdiffusers_ext.pipelines.watching import DECODING, DENOISING, LOADING, Watch, watched_by

# Parts of the progress, from and to, of the stages of a run.
_STAGES = {LOADING: (0.0, 0.05), DENOISING: (0.05, 0.9), DECODING: (0.9, 0.99)}


class Work(Protocol):
    """A system at work on one order.

    Attributes:
        config: the options.
        fps: of the result.
    """

    config: Any
    fps: float

    def frames(self) -> Iterator[np.ndarray]:
        """An iterator over the frames, (height, width, 3) uint8; loads, and denoises, for the first one."""

    def report(self, frames: np.ndarray, folder: Path) -> Report:
        """The `Report` of the frames, written into a folder."""


class InProcess:
    """See `orders.Way`. One order is made at a time."""

    def __init__(self) -> None:
        self._lock, self._warm = threading.Lock(), WarmPipeline()

    def check(self, model: Model) -> None:
        _configuration(model.system).check_model(model)

    def make(self, order: Order, watch: host.Watch) -> Made:
        with self._lock, scratch() as folder:
            watch.tick(0.0)
            config = _configuration(order.model.system).configure(order, folder)
            module = importlib.import_module(f"{__name__}.{order.model.system}")  # imports Paddle
            with _gpu_shared(config.device), self._warm.used(), watched_by(_Told(watch)):
                work = module.Work(config, order, folder)
                frames = np.stack(list(work.frames()))
                report = work.report(frames, folder) if config.report else None
            watch.tick(1.0)
            return Made(frames, float(work.fps), report)


class _Told(Watch):
    """Tells ComfyUI of a run, and lets its exception through where the user interrupts."""

    def __init__(self, watch: host.Watch) -> None:
        self._watch = watch
        self._part, self._parts = 0, 1
        self._range, self._total, self._done = (0.0, 0.0), 1, 0

    def part(self, number: int, count: int) -> None:
        self._part, self._parts = number, count

    def stage(self, name: str, total: int) -> None:
        self._range, self._total, self._done = _STAGES.get(name, self._range), max(1, total), 0
        self.advance(0)

    def advance(self, count: int = 1) -> None:
        self._done += count
        first, last = self._range
        done = first + (last - first) * min(1.0, self._done / self._total)
        self._watch.tick((self._part + done) / self._parts)


def _configuration(system: str) -> ModuleType:
    return importlib.import_module(f"ppdiffusers_ext.comfyui.{system}")


@contextlib.contextmanager
def _gpu_shared(device: str) -> Iterator[None]:
    """Within it, ComfyUI has left a GPU to Paddle; after it, Paddle has given back what it does not use."""
    import paddle

    if device == "cpu" or not paddle.device.is_compiled_with_cuda():
        yield
        return
    host.make_room()
    try:
        yield
    finally:
        paddle.device.cuda.empty_cache()

"""EasyAnimate at work in this process, by the functions that `scripts.predict_t2v` and its like call."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppdiffusers_ext.comfyui.files import write_frames
from ppdiffusers_ext.comfyui.in_process.measuring import measured
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.metrics.result_report import Driver
from ppdiffusers_ext.options import choose_seed
from ppdiffusers_ext.pipelines.calls import as_generator
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.easy_animate.memory import check_memory
from ppdiffusers_ext.pipelines.easy_animate.run import Inputs, Knowledge, frame_maker, prepare
from ppdiffusers_ext.pipelines.loading import models_of
from ppdiffusers_ext.pipelines.reporting import OF_TEXTS
from ppdiffusers_ext.pipelines.resuming import RunState
from ppdiffusers_ext.runtime import Runtime

if TYPE_CHECKING:
    from ppdiffusers_ext.comfyui.orders import Order, Report
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig


class Work:
    """See `in_process.Work`."""

    def __init__(self, config: "EasyAnimateConfig", order: "Order", folder: Path) -> None:
        runtime, inputs = Runtime.choose(config.device, config.dtype, config.engine), _inputs(order, folder)
        config, self._parts, self._networks = prepare(config, order.task, inputs, runtime)
        self.config = dataclasses.replace(config, seed=choose_seed(config.seed))
        self._runtime, self._folder = runtime, folder
        self._knowledge = Knowledge(self.config, inputs)
        self._knowledge.of_part(self._parts[0][1], [], len(self._parts) == 1)  # refuses more pictures than frames
        self.fps = self.config.fps
        longest = dataclasses.replace(self.config, num_frames=self._parts[0][1])
        check_memory(models_of(self._networks), longest, runtime)

    def frames(self) -> Iterator[np.ndarray]:
        config, networks = self.config, self._networks
        pipeline = EasyAnimateInpaintPipeline.open_run(config, self._runtime, networks, show_progress=False)
        state = RunState(self._folder / "result", None, num_parts=len(self._parts))
        return frame_maker(pipeline, config, self._knowledge, self._parts, as_generator(config.seed), state)()

    def report(self, frames: np.ndarray, folder: Path) -> "Report":
        return measured(self.config, frames, self._knowledge.reference, Driver(reason=OF_TEXTS), folder)


def _inputs(order: "Order", folder: Path) -> Inputs:
    """The `Inputs` of an order: pictures as they are, frames of a video and masks as files at the order's rate."""
    files = order.files
    start, end = (tuple(files.get(role, ())) for role in ("start_image", "end_image"))
    if "video" not in files:
        return Inputs(start, end)
    video, mask = (
        open_frames(write_frames(files[role], folder, role), order.fps, background) if role in files else None
        for role, background in (("video", "white"), ("mask", "black"))
    )
    return Inputs(source=video, mask=mask)

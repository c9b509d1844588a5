"""StableAnimator at work in this process, by the functions that `scripts.stable_animator` calls."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppdiffusers_ext.comfyui.in_process.measuring import measured
from ppdiffusers_ext.data.colour_drift import ColourAnchor
from ppdiffusers_ext.data.frames import open_frames, resize
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.metrics.result_report import Driver
from ppdiffusers_ext.options import choose_seed
from ppdiffusers_ext.pipelines.calls import as_generator
from ppdiffusers_ext.pipelines.loading import models_of
from ppdiffusers_ext.pipelines.outputs import animated_frames, pixels_of
from ppdiffusers_ext.pipelines.reporting import driver_of_drawing
from ppdiffusers_ext.pipelines.resuming import RunState
from ppdiffusers_ext.pipelines.stable_animator import run
from ppdiffusers_ext.pipelines.stable_animator.faces import check_refinement
from ppdiffusers_ext.pipelines.stable_animator.memory import check_memory
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.pipelines.watching import DECODING, told
from ppdiffusers_ext.runtime import Runtime

if TYPE_CHECKING:
    from ppdiffusers_ext.comfyui.orders import Order, Report
    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig


class Work:
    """See `in_process.Work`."""

    def __init__(self, config: "StableAnimationConfig", order: "Order", folder: Path) -> None:
        config = self.config = dataclasses.replace(config, seed=choose_seed(config.seed))
        reference, drawing = str(config.reference_image), str(config.pose_video)
        picture, skeletons = read_image(reference), open_frames(drawing, order.fps, background="black")
        self._count = animated_frames(drawing, skeletons.num_frames, config.num_frames)
        self.fps, self._folder, self._picture = config.fps, folder, np.asarray(picture)
        run.check(config, self._count)
        if config.refinement is not None:
            check_refinement(config.refinement, self._picture, config.num_inference_steps)
        self._driver = Driver()
        if config.report:
            self._driver = driver_of_drawing(config, drawing, skeletons, self._count, "stretch")
        self._runtime = Runtime.choose(config.device, config.dtype, config.engine)
        self._parts = StableAnimatorPipeline.describe_run(config, self._runtime)
        check_memory(models_of(self._parts), config, self._count, self._runtime)
        self._clip = run.prepare(config, picture, skeletons.first(self._count))

    def frames(self) -> Iterator[np.ndarray]:
        config, state = self.config, RunState(self._folder / "result", None)
        pipeline = StableAnimatorPipeline.open_run(config, self._runtime, self._parts, show_progress=False)
        latents = run.denoise(pipeline, config, self._clip, as_generator(config.seed), state)
        chunks = pipeline.decode(latents, config.decode_chunk_size, config.vae_device)
        anchor = ColourAnchor(config.color_correction_strength, np.asarray(self._clip.picture))
        return told(anchor.correct_all(pixels_of(chunks)), DECODING, self._count)

    def report(self, frames: np.ndarray, folder: Path) -> "Report":
        reference = resize(self._picture, self.config.width, self.config.height, self.config.resize)
        return measured(self.config, frames, reference, self._driver, folder)

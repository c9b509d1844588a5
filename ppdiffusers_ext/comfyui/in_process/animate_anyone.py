"""Animate Anyone at work in this process, by the functions that `scripts.pose2vid` calls."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppdiffusers_ext.comfyui.in_process.measuring import measured
from ppdiffusers_ext.data.colour_drift import ColourAnchor
from ppdiffusers_ext.data.frames import resize
from ppdiffusers_ext.options import choose_seed
from ppdiffusers_ext.pipelines.animate_anyone.memory import check_memory
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.animate_anyone.run import denoise, prepare_cases
from ppdiffusers_ext.pipelines.calls import as_generator
from ppdiffusers_ext.pipelines.loading import models_of
from ppdiffusers_ext.pipelines.outputs import pixels_of
from ppdiffusers_ext.pipelines.watching import DECODING, told
from ppdiffusers_ext.runtime import Runtime

if TYPE_CHECKING:
    from ppdiffusers_ext.comfyui.orders import Order, Report
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig


class Work:
    """See `in_process.Work`."""

    def __init__(self, config: "Pose2VidConfig", order: "Order", folder: Path) -> None:
        self.config = dataclasses.replace(config, seed=choose_seed(config.seed))
        (self._case,) = prepare_cases(self.config)
        self.fps = float(self._case.fps or order.fps)
        self._runtime = Runtime.choose(config.device, config.dtype, config.engine)
        self._parts = Pose2VideoPipeline.describe_run(self.config, self._runtime)
        longest = dataclasses.replace(self.config, num_frames=self._case.num_frames)
        check_memory(models_of(self._parts), longest, self._runtime)

    @property
    def _reference(self) -> np.ndarray:
        config = self.config
        return resize(np.asarray(self._case.picture()), config.width, config.height, config.resize)

    def frames(self) -> Iterator[np.ndarray]:
        config = self.config
        pipeline = Pose2VideoPipeline.open_run(config, self._runtime, self._parts, show_progress=False)
        latents = denoise(pipeline, config, self._case, as_generator(config.seed))
        chunks = pipeline.decode(latents, config.decode_chunk_size, config.vae_tile_size)
        anchor = ColourAnchor(config.color_correction_strength, self._reference)
        return told(anchor.correct_all(pixels_of(chunks)), DECODING, self._case.num_frames)

    def report(self, frames: np.ndarray, folder: Path) -> "Report":
        return measured(self.config, frames, self._reference, self._case.driver, folder)

"""The systems that can animate a picture by a video of skeletons, each behind the same few calls."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers_ext.data.audio import Audio
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.outputs import beside
from ppdiffusers_ext.distributed.ranks import current_ranks
from ppdiffusers_ext.pipelines.animate_anyone import run as pose2vid
from ppdiffusers_ext.pipelines.animate_anyone.loading import describe_parts
from ppdiffusers_ext.pipelines.animate_anyone.memory import plan_memory
from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline
from ppdiffusers_ext.pipelines.architectures import planning_reader
from ppdiffusers_ext.pipelines.calls import as_generator
from ppdiffusers_ext.pipelines.easy_animate import run as easy_animation
from ppdiffusers_ext.pipelines.easy_animate.inpaint import EasyAnimateInpaintPipeline
from ppdiffusers_ext.pipelines.easy_animate.loading import describe_parts as describe_easy_parts
from ppdiffusers_ext.pipelines.easy_animate.memory import plan_memory as plan_easy_memory
from ppdiffusers_ext.pipelines.easy_animate.pipeline import EasyAnimatePipeline
from ppdiffusers_ext.pipelines.loading import models_of
from ppdiffusers_ext.pipelines.outputs import Case, Result, write_case
from ppdiffusers_ext.pipelines.reporting import ResultReport, timed
from ppdiffusers_ext.pipelines.resuming import open_state
from ppdiffusers_ext.pipelines.stable_animator import run as stable_animation
from ppdiffusers_ext.pipelines.stable_animator.faces import check_refinement
from ppdiffusers_ext.pipelines.stable_animator.loading import describe_parts as describe_stable_parts
from ppdiffusers_ext.pipelines.stable_animator.memory import check_memory as check_stable_memory
from ppdiffusers_ext.pipelines.stable_animator.memory import plan_memory as plan_stable_memory
from ppdiffusers_ext.pipelines.stable_animator.pipeline import StableAnimatorPipeline
from ppdiffusers_ext.pipelines.together import seed_of_all
from ppdiffusers_ext.runtime import Runtime

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
    from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
    from ppdiffusers_ext.pipelines.memory_plan import MemoryPlan
    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig


class AnimateAnyone:
    """
    Args:
        config: a `Pose2VidConfig`.
        show_progress: of the pipeline.

    Attributes:
        config: as given.
        width, height: of the video in pixels.
        device, dtype: see `Runtime.choose`.
        engine: what runs the networks.
    """

    channels, style = "bgr", "animate_anyone"

    def __init__(self, config: "Pose2VidConfig", show_progress: bool = True) -> None:
        self.config = config
        self.width, self.height = config.width, config.height
        self.device, self.dtype, self.engine = config.device, config.dtype, config.engine
        self._show_progress = show_progress
        self._pipeline: Pose2VideoPipeline | None = None

    def plan(self, runtime: Runtime) -> "tuple[list[MemoryPlan], int]":
        """What a clip takes on every rung: a list of `MemoryPlan`, and how many frames it has.

        Weights need not be there, nor the configurations of published networks.
        """
        length = self.config.num_frames or self.config.context_frames
        config = replace(self.config, num_frames=length)
        models = models_of(describe_parts(config, read=planning_reader("animate_anyone")))
        return plan_memory(models, config, runtime), length

    def run(self, job: "SkeletonJob", picture: Path, audio: Audio | None = None) -> Result:
        """Animate: the `Result`.

        Args:
            job: `SkeletonJob`.
            picture: path of the picture, of the video's size.
            audio: an `Audio`, or None.
        """
        seed = seed_of_all(self.config.seed if job.seed is None else job.seed)
        config = replace(
            self.config,
            reference_image=str(picture),
            pose_video=str(job.skeletons),
            driving_poses=None,
            output=str(job.output),
            num_frames=job.num_frames,
            fps=None,
            seed=seed,
        )
        (case,) = pose2vid.prepare_cases(config)
        if self._pipeline is None:
            with timed(job.report, "loading"):
                self._pipeline = pose2vid.open_pipeline(config, case.num_frames, self._show_progress)
        return pose2vid.animate_case(self._pipeline, config, case, audio, job.report)

    def outputs(self, target: str | os.PathLike) -> list[Path]:
        """Paths of all that `run` writes for a job whose output is `target`."""
        return _outputs(target, self.config.report)


def _outputs(target: str | os.PathLike, has_report: bool) -> list[Path]:
    nothing: Any = None  # only the target counts
    return [*Case(nothing, nothing, 0, 1, Path(target), has_report=has_report).result.paths]


class StableAnimator:
    """As `AnimateAnyone`, of a `StableAnimationConfig`."""

    channels, style = "rgb", "stable_animator"

    def __init__(self, config: "StableAnimationConfig", show_progress: bool = True) -> None:
        self.config = config
        self._length = config.num_frames or config.context_frames
        stable_animation.check(config, 1)
        self.width, self.height = config.width, config.height
        self.device, self.dtype, self.engine = config.device, config.dtype, config.engine
        self._show_progress = show_progress
        self._pipeline: StableAnimatorPipeline | None = None
        self._parts: dict[str, Any] | None = None

    def plan(self, runtime: Runtime) -> "tuple[list[MemoryPlan], int]":
        """As `AnimateAnyone.plan`."""
        models = models_of(describe_stable_parts(self.config, read=planning_reader("stable_animator")))
        return plan_stable_memory(models, self.config, self._length, runtime), self._length

    def run(self, job: "SkeletonJob", picture: Path, audio: Audio | None = None) -> Result:
        """As `AnimateAnyone.run`. Where faces are optimised, OUTPUT_faces.json has losses and cosines."""
        seed = seed_of_all(self.config.seed if job.seed is None else job.seed)
        config = replace(self.config, reference_image=str(picture), pose_video=str(job.skeletons), seed=seed)
        skeletons, image = open_frames(job.skeletons, background="black"), read_image(picture)
        if config.refinement is not None:
            check_refinement(config.refinement, np.asarray(image), config.num_inference_steps)
        runtime = Runtime.choose(config.device, config.dtype, config.engine)
        parts = self._parts = self._parts or StableAnimatorPipeline.describe_run(config, runtime)
        check_stable_memory(models_of(parts), config, job.num_frames, runtime)
        clip = stable_animation.prepare(config, image, skeletons)
        pipeline = self._pipeline
        if pipeline is None:
            with timed(job.report, "loading"):
                pipeline = StableAnimatorPipeline.open_run(config, runtime, parts, self._show_progress)
            self._pipeline = pipeline
        fps, has_report = skeletons.fps, job.report is not None
        case = Case(picture, job.skeletons, job.num_frames, fps, job.output, image, skeletons, has_report)
        if job.report is not None:
            job.report.seed = seed
        generator, inputs = as_generator(seed), stable_animation.inputs_of(config)
        with open_state(pipeline, job.output, "stable_animator", inputs, config, generator) as state:
            with timed(job.report, "denoising"):
                latents = stable_animation.denoise(pipeline, config, clip, generator, state)

            def decode() -> Iterator[paddle.Tensor]:
                return pipeline.decode(latents, config.decode_chunk_size, config.vae_device)

            strength = config.color_correction_strength
            result = write_case(case, decode, config.width, config.height, audio, "stretch", strength, job.report)
        if clip.refinement is not None and current_ranks().is_first:
            stable_animation.write_history(beside(job.output, "faces.json"), clip.refinement)
        return result

    def outputs(self, target: str | os.PathLike) -> list[Path]:
        """As `AnimateAnyone.outputs`."""
        return [
            *_outputs(target, self.config.report),
            *([beside(target, "faces.json")] if self.config.refinement is not None else []),
        ]


@dataclass(frozen=True)
class SkeletonJob:
    """A video of skeletons, how many frames it has, where the result goes, the seed and the report (or None)."""

    skeletons: Path
    num_frames: int
    output: Path
    seed: int | None = None
    report: ResultReport | None = None


class EasyAnimate:
    """As `AnimateAnyone`, of an `EasyAnimateConfig`, as far as plans of memory go: it knows of no skeletons."""

    def __init__(self, config: "EasyAnimateConfig") -> None:
        self._config = config
        self.width, self.height = config.width, config.height
        self.device, self.dtype, self.engine = config.device, config.dtype, config.engine

    def plan(self, runtime: Runtime) -> "tuple[list[MemoryPlan], int]":
        """As `AnimateAnyone.plan`."""
        models = models_of(describe_easy_parts(self._config, read=planning_reader("easy_animate")))
        return plan_easy_memory(models, self._config, runtime), self._config.num_frames


# What the commands run, called with the options of a system and what a video is made of.
RUNS: dict[str, Callable[[Any, str], object]] = {
    "animate_anyone": lambda config, _: pose2vid.animate(config, show_progress=False),
    "stable_animator": lambda config, _: stable_animation.animate(config, show_progress=False),
    "easy_animate": lambda config, task: easy_animation.make(config, task, show_progress=False),
}
SYSTEMS = {"animate_anyone": AnimateAnyone, "stable_animator": StableAnimator, "easy_animate": EasyAnimate}


# In the order in which a folder without an index is looked at.
PIPELINES = (Pose2VideoPipeline, StableAnimatorPipeline, EasyAnimatePipeline, EasyAnimateInpaintPipeline)

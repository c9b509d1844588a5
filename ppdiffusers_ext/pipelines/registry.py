"""The systems that can animate a picture by a video of skeletons, each behind the same few calls."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.outputs import beside
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import check_values, choose_seed
from ppdiffusers_ext.pipelines.animate_anyone import run as pose2vid
from ppdiffusers_ext.pipelines.animate_anyone.loading import describe_parts
from ppdiffusers_ext.pipelines.animate_anyone.memory import plan_memory
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig
from ppdiffusers_ext.pipelines.architectures import planning_reader
from ppdiffusers_ext.pipelines.easy_animate.loading import describe_parts as describe_easy_parts
from ppdiffusers_ext.pipelines.easy_animate.memory import plan_memory as plan_easy_memory
from ppdiffusers_ext.pipelines.easy_animate.options import EasyAnimateConfig
from ppdiffusers_ext.pipelines.loading import models_of
from ppdiffusers_ext.pipelines.stable_animator import run as stable_animation
from ppdiffusers_ext.pipelines.stable_animator.loading import check_files, describe_run
from ppdiffusers_ext.pipelines.stable_animator.loading import describe_parts as describe_stable_parts
from ppdiffusers_ext.pipelines.stable_animator.memory import plan_memory as plan_stable_memory
from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig
from ppdiffusers_ext.runtime import Runtime


class AnimateAnyone:
    """
    Args:
        path: YAML file of a `Pose2VidConfig`.
        options: its fields -> values that replace the file's; None leaves them.
        show_progress: of the pipeline.

    Attributes:
        width, height: of the video in pixels.
        device, dtype: see `Runtime.choose`.
        engine: what runs the networks.
    """

    channels, style, config_file = "bgr", "animate_anyone", "configs/inference/animation.yaml"

    def __init__(self, path, options, show_progress=True):
        self._config = config = Pose2VidConfig.load(path, **options)
        self.width, self.height = config.width, config.height
        self.device, self.dtype, self.engine = config.device, config.weight_dtype, config.engine
        self._show_progress, self._pipeline = show_progress, None

    def plan(self, runtime):
        """What a clip takes on every rung: a list of `MemoryPlan`, and how many frames it has.

        Weights need not be there, nor the configurations of published networks.
        """
        config = replace(self._config, length=self._config.length or self._config.context_frames)
        models = models_of(describe_parts(config, read=planning_reader("animate_anyone")))
        return plan_memory(models, config, runtime), config.length

    def run(self, job, picture, audio=None):
        """Animate: the `Result`.

        Args:
            job: `SkeletonJob`.
            picture: path of the picture, of the video's size.
            audio: an `Audio`, or None.
        """
        seed = choose_seed(self._config.seed if job.seed is None else job.seed)
        config = replace(
            self._config,
            test_cases={str(picture): [str(job.skeletons)]},
            output=str(job.output),
            length=job.num_frames,
            fps=None,
            seed=seed,
        )
        (case,) = pose2vid.prepare_cases(config)
        if self._pipeline is None:
            self._pipeline = pose2vid.open_pipeline(config, case.num_frames, self._show_progress)
        return pose2vid.animate_case(self._pipeline, config, case, audio)

    def outputs(self, target):
        """Paths of all that `run` writes for a job whose output is `target`."""
        return list(_outputs(target))


def _outputs(target):
    nothing: Any = None  # only the target counts
    return pose2vid.Case(nothing, nothing, 0, 1, Path(target)).result.paths


# What the same thing is called in a `StableAnimationConfig`.
_NAMES = {
    "cfg": "guidance_scale",
    "context_frames": "tile_size",
    "context_overlap": "overlap",
    "decode_chunk_size": "chunk_size",
    "weight_dtype": "dtype",
}
_SHARED = (
    *("width", "height", "seed", "steps", "device", "preset", "memory", "engine", "engine_cache"),
    *("guidance_interval", "ignore_memory"),
)
_STEP_CACHE = ("step_cache_interval", "step_cache_depth")
_OF_JOBS = ("output", "fps", "test_cases", "length")
_EASY_NAMES = {"cfg": "guidance_scale", "weight_dtype": "dtype", "scheduler": "sampler"}


def _own_options(system, kind, options, renamed, shared):
    """Options of pose2vid as fields of another system's configuration, a dict.

    Raises InputError for those that it has not, and for values that it does not take.
    """
    given = {name: value for name, value in options.items() if value is not None and name not in _OF_JOBS}
    if unknown := sorted(set(given) - set(renamed) - set(shared)):
        raise InputError(f"{system} has no {', '.join(unknown)}; {', '.join([*renamed, *shared])} it has")
    own = {renamed.get(name, name): value for name, value in given.items()}
    check_values(kind, own, names={renamed.get(name, name): f"--{name.replace('_', '-')}" for name in given})
    return own


class StableAnimator:
    """As `AnimateAnyone`, of a `StableAnimationConfig`: options that it has not are refused."""

    channels, style, config_file = "rgb", "stable_animator", "configs/inference/stable_animator.yaml"

    def __init__(self, path, options, show_progress=True):
        own = _own_options("stable_animator", StableAnimationConfig, options, _NAMES, _SHARED + _STEP_CACHE)
        self._config = config = StableAnimationConfig.load(path, **own)
        self._length = options.get("length") or config.tile_size
        stable_animation.check(config, 1)
        self.width, self.height = config.width, config.height
        self.device, self.dtype, self.engine = config.device, config.dtype, config.engine
        self._show_progress, self._pipeline, self._parts = show_progress, None, None

    def plan(self, runtime):
        """As `AnimateAnyone.plan`."""
        models = models_of(describe_stable_parts(self._config, read=planning_reader("stable_animator")))
        return plan_stable_memory(models, self._config, self._length, runtime), self._length

    def run(self, job, picture, audio=None):
        """As `AnimateAnyone.run`. Where faces are optimised, OUTPUT_faces.json has losses and cosines."""
        seed = choose_seed(self._config.seed if job.seed is None else job.seed)
        config = replace(self._config, image=str(picture), seed=seed)
        check_files(config)
        skeletons, image = open_frames(job.skeletons), read_image(picture)
        if config.refinement is not None:
            config.refinement.check(np.asarray(image), config.steps)
        runtime = Runtime.choose(config.device, config.dtype)
        parts = self._parts = self._parts or describe_run(config, runtime)
        stable_animation.check_memory(models_of(parts), config, job.num_frames, runtime)
        clip = stable_animation.prepare(config, image, skeletons)
        if self._pipeline is None:
            self._pipeline = stable_animation.open_pipeline(config, runtime, parts, self._show_progress)
        pipeline = self._pipeline
        latents = stable_animation.denoise(pipeline, config, clip)
        case = pose2vid.Case(picture, job.skeletons, job.num_frames, skeletons.fps, job.output)

        def decode():
            return pipeline.decode(latents, config.chunk_size, config.vae_device)

        result = pose2vid.write_case(case, decode, config.width, config.height, audio)
        if clip.refinement is not None:
            stable_animation.write_history(beside(job.output, "faces.json"), clip.refinement)
        return result

    def outputs(self, target):
        """As `AnimateAnyone.outputs`."""
        return [*_outputs(target), *([beside(target, "faces.json")] if self._config.refinement is not None else [])]


@dataclass(frozen=True)
class SkeletonJob:
    """A video of skeletons, how many frames of it there are, where the result goes, and the seed (or None)."""

    skeletons: object
    num_frames: int
    output: object
    seed: int | None = None


class EasyAnimate:
    """As `AnimateAnyone`, of an `EasyAnimateConfig`, as far as plans of memory go: it knows of no skeletons."""

    config_file = "configs/inference/easy_animate/v4.yaml"

    def __init__(self, path, options):
        own = _own_options("easy_animate", EasyAnimateConfig, options, _EASY_NAMES, _SHARED)
        self._config = config = EasyAnimateConfig.load(path, **own, frames=options.get("length"))
        self.width, self.height = config.width, config.height
        self.device, self.dtype, self.engine = config.device, config.dtype, config.engine

    def plan(self, runtime):
        """As `AnimateAnyone.plan`."""
        models = models_of(describe_easy_parts(self._config, read=planning_reader("easy_animate")))
        return plan_easy_memory(models, self._config, runtime), self._config.frames


SYSTEMS = {"animate_anyone": AnimateAnyone, "stable_animator": StableAnimator}
PLANNED = {**SYSTEMS, "easy_animate": EasyAnimate}


def get_system(name, systems=None):
    """The class of a system, of `SYSTEMS` if left out. Raises InputError for one that is not among them."""
    systems = SYSTEMS if systems is None else systems
    if name not in systems:
        raise InputError(f"system {shown(name)} is not known; {', '.join(systems)} is accepted")
    return systems[name]

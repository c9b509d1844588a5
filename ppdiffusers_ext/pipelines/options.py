"""Options that the three systems share, declared once; each system's `options` module adds its own.

Nothing here imports Paddle: mistakes in options are told at once, not after the seconds that this takes.
"""

import os
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from ppdiffusers_ext import packaged
from ppdiffusers_ext.errors import InputError, shown_path
from ppdiffusers_ext.files import check_all_there
from ppdiffusers_ext.options import (
    COUNTS,
    DTYPES,
    FPS,
    FRAMES,
    GUIDANCE,
    OUTPUT,
    SEEDS,
    SIDES,
    STEPS,
    ExistingOptions,
    by_field,
    merge,
    option,
    path_option,
    read_options,
)
from ppdiffusers_ext.pipelines.memory import RUNGS, get_rung

CONFIGS = packaged.FOLDER / "configs" / "inference"
AUTOMATIC = "openvino"  # which `auto` compiles networks for, and which computes in int8
ENGINES = ("auto", "eager", "inference", "onnx", "openvino")
RESIZES = ("stretch", "crop", "pad", "fit")  # fit is the old name of stretch
LEAST_TILE = 64  # pixels

INPUT, VIDEO, SAMPLING = "Input", "Video", "Sampling"
MODEL, WINDOWS, SPEED = "Model", "Windows of frames", "Speed and memory"


def read_interval(words: Iterable[str]) -> list[float | str]:
    """Two numbers of two words; words that are none stay, to be told by the check."""
    return [_number(word) for word in words]


def choose_engine(engine: str, is_only_in_paddle: bool, weights: str | None) -> str:
    """The engine; instead of "auto" the one that alone can run the networks, if there is one.

    Args:
        engine: one of `ENGINES`.
        is_only_in_paddle: whether other options leave Paddle alone.
        weights: "int8" for the engine that computes in it.
    """
    if engine != "auto" or not (is_only_in_paddle or weights == "int8"):
        return engine
    return "eager" if is_only_in_paddle else AUTOMATIC


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word


def interval_option(unset: str) -> Any:
    """Declares a part of the denoising steps: two numbers from 0 to 1."""
    return option(
        None,
        help="part of the denoising steps with guidance, such as 0.2 0.8; the other steps take half the time",
        unset=unset,
        group=SPEED,
        metavar=("FROM", "TO"),
        read=read_interval,
    )


@dataclass(frozen=True, kw_only=True)
class RunOptions(ExistingOptions):
    """What every system can be told. Every field is a key of its YAML file.

    Attributes:
        presets_of: the system of the presets, see `read_preset`.
    """

    presets_of: ClassVar[str] = ""

    output: str | None = path_option(None, help="file or folder to write", group=OUTPUT)
    report: bool = option(
        False,
        help="say how good the result is: a page and a JSON file beside it, and a line on its sheet",
        group=OUTPUT,
    )
    width: int = option(512, *SIDES, help="width of the frames in pixels", group=VIDEO, flags=("-W",))
    height: int = option(512, *SIDES, help="height of the frames in pixels", group=VIDEO, flags=("-H",))
    num_frames: int | None = option(
        None,
        *FRAMES,
        help="number of frames, at most those of the pose video",
        unset="all of the pose video",
        group=VIDEO,
        flags=("-L",),
        aliases=("length", "video_length"),
    )
    fps: float | None = option(None, *FPS, help="frames per second of the result", group=VIDEO)
    resize: str = option(
        "stretch",
        choices=RESIZES,
        help="what becomes of pictures of another shape: stretch distorts them, crop cuts off what is too much, pad "
        "adds borders (fit is the old name of stretch)",
        group=VIDEO,
    )
    color_correction_strength: float = option(
        0.0,
        0,
        1,
        help="how far the colours of a long video are brought back to the picture's (or the first frames'); 0 is off, "
        "1 all the way",
        group=VIDEO,
    )
    num_inference_steps: int = option(25, *STEPS, help="number of denoising steps", group=SAMPLING, aliases=("steps",))
    guidance_scale: float = option(
        3.5,
        *GUIDANCE,
        help="scale of classifier-free guidance; 1 is without guidance, in half the time",
        group=SAMPLING,
        aliases=("cfg",),
    )
    seed: int = option(42, *SEEDS, help="random seed of the initial noise; -1 draws one", group=SAMPLING)
    guidance_interval: list | None = interval_option("as the preset says")
    device: str = option(
        "auto",
        pattern="auto|cpu|gpu(:[0-9]{1,4})?",
        accepted="auto, cpu, gpu or gpu:N",
        help="where the networks run: auto is the first GPU, or else the CPU",
        group=SPEED,
    )
    dtype: str = option(
        "fp32", choices=tuple(DTYPES), help="precision of the networks", group=SPEED, aliases=("weight_dtype",)
    )
    engine: str = option(
        "auto",
        choices=ENGINES,
        help="what runs the networks: eager is Paddle; auto is OpenVINO on a CPU, if installed, where an export pays",
        group=SPEED,
    )
    engine_cache: str | None = path_option(
        None, help="folder of the networks that an engine exported", unset="the user's cache folder", group=SPEED
    )
    weights: str | None = option(
        None,
        choices=("int8",),
        help="int8: the denoising network and the decoder compute in 8 bits, in engine openvino",
        unset="as dtype says",
        group=SPEED,
    )
    preset: str = option(
        "exact", help="speed at the cost of exactness: exact, balanced, fast or a YAML file", group=SPEED
    )
    memory: str = option(
        "high", choices=tuple(RUNGS), help="how much is kept in memory and computed at a time", group=SPEED
    )
    resume: bool = option(
        True,
        help="keep the state of a long run beside the output, so that the same command goes on if it was stopped",
        group=OUTPUT,
        off=("--no-resume",),
    )
    ignore_memory: bool = option(False, help="start even if the memory is predicted not to suffice", group=SPEED)

    def __post_init__(self) -> None:
        if self.resize == "fit":
            object.__setattr__(self, "resize", "stretch")

    @property
    def only_in_paddle(self) -> str | None:
        """Words for what only Paddle can run the networks with, if there is something."""
        return f"memory {self.memory}" if get_rung(self.memory).halves else None

    @property
    def chosen_engine(self) -> str:
        """The engine; instead of "auto" the one that alone can run the networks, if there is one."""
        return choose_engine(self.engine, bool(self.only_in_paddle), self.weights)

    @classmethod
    def read(cls, path: str | os.PathLike | None) -> dict[str, Any]:
        """The options in a YAML file, checked: dict by field name; none of None."""
        return {} if path is None else read_options(cls, path)

    @classmethod
    def load(cls, path: str | os.PathLike | None = None, **overrides: Any) -> Any:
        """The options in a YAML file, or the defaults, and what `overrides` gives (None leaves the file's).

        An override goes before the file's key, which goes before the preset and the rung of the memory ladder,
        whoever names these. Old names are accepted.

        Raises:
            MissingFileError, InputError: no such file, or keys or values that are not accepted.
        """
        return cls.of_values(cls.read(path), overrides, path)

    @classmethod
    def of_values(
        cls, values: dict[str, Any], overrides: dict[str, Any], path: str | os.PathLike | None = None
    ) -> Any:
        """The options of a file's values, by field name, and of `overrides`; for arguments and errors see `load`."""
        given = merge(values, by_field(cls, overrides, "option")[0])
        needed = [item.name for item in fields(cls) if item.default is MISSING and item.default_factory is MISSING]
        if missing := [name for name in needed if name not in given]:
            where = "the call" if path is None else shown_path(path)
            raise InputError(f"{where} lacks {', '.join(missing)}; paths of the weights are needed")
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class PoseOptions(RunOptions):
    """What the systems can be told that animate a picture by a pose video."""

    reference_image: str | None = path_option(
        None, help="picture of the person", group=INPUT, aliases=("image", "validation_image")
    )
    pose_video: str | None = path_option(
        None,
        help="video of skeletons, or a folder of pictures of them",
        group=INPUT,
        aliases=("poses", "validation_control_folder"),
    )
    driving_poses: str | None = path_option(
        None,
        help="poses of the pose video as JSON, in its pixels, for the pose errors of a report",
        unset="NAME_poses.json beside it, or poses.json in its folder, if there is one",
        group=INPUT,
    )
    context_frames: int = option(
        24, 1, FRAMES[1], help="number of frames that are denoised together", group=WINDOWS, aliases=("tile_size",)
    )
    context_overlap: int | None = option(
        4, 0, FRAMES[1], help="number of frames that windows share", group=WINDOWS, aliases=("frames_overlap",)
    )
    decode_chunk_size: int | None = option(
        4, *COUNTS, help="number of frames that are decoded together", group=SPEED, aliases=("chunk_size",)
    )
    step_cache_interval: int | None = option(
        None,
        *COUNTS,
        help="run the whole network only in every N-th step",
        unset="as the preset says",
        group=SPEED,
    )
    step_cache_depth: int | None = option(
        None,
        *COUNTS,
        help="number of the network's last units that run in the other steps",
        unset="as the preset says",
        group=SPEED,
    )

    def check_windows(self) -> None:
        """Raises InputError for windows that share all their frames."""
        overlap: Any = self.context_overlap
        if overlap >= self.context_frames:
            raise InputError(
                f"context_overlap is {overlap}; a number below context_frames, {self.context_frames}, is accepted"
            )

    def check_driving_poses(self) -> None:
        """Raises InputError for driving poses that no report needs."""
        if self.driving_poses is not None and not self.report:
            raise InputError("driving_poses is for the report of the result; --report is accepted with it")

    def check_inputs(self) -> None:
        """Raises MissingFileError for a picture, a pose video or driving poses that are not there."""
        named = (
            ("picture", self.reference_image),
            ("pose video", self.pose_video),
            ("driving poses", self.driving_poses),
        )
        check_all_there(
            [(what, path) for what, path in named if path is not None], "files that are there are accepted"
        )


def check_tile_size(size: int | None) -> None:
    """Raises InputError for a size of tiles (pixels) that is neither 0, for none, nor large enough."""
    if size and size < LEAST_TILE:
        raise InputError(
            f"vae_tile_size is {size}; 0, for the whole picture at once, or {LEAST_TILE} or more is accepted"
        )

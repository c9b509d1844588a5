"""What EasyAnimate is to make, with what, and how: YAML files and what a command says, checked before any work."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from ppdiffusers_ext.data.easy_animate.buckets import MULTIPLE, find_bucket
from ppdiffusers_ext.data.video_writer import SUFFIXES, check_video_rate
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.files import check_all_there, check_name, parse_yaml, suffix_of
from ppdiffusers_ext.options import (
    FRAMES,
    any_of,
    check_options,
    inherited,
    is_number,
    merge,
    option,
    path_option,
)
from ppdiffusers_ext.pipelines.options import (
    CONFIGS,
    INPUT,
    MODEL,
    OUTPUT,
    SAMPLING,
    SPEED,
    VIDEO,
    RunOptions,
)
from ppdiffusers_ext.pipelines.presets import read_preset
from ppdiffusers_ext.pipelines.scheduler_names import check_scheduler_name
from ppdiffusers_ext.pipelines.steps import BlockCaching, Guidance

logger = logging.getLogger(__name__)

# What is given to make a video of, and what more is of that alone.
TASKS = {
    "text": (),
    "pictures": ("start_image", "end_image"),
    "video": ("video", "mask", "strength", "audio"),
}
# Fields that not every task has -> the tasks that have them.
_TASKS_OF: dict[str, tuple] = {name: (task,) for task, names in TASKS.items() for name in names}
_TASKS_OF |= {"segment": ("text", "pictures"), "overlap": ("text", "pictures"), "resize": ("pictures", "video")}
CONFIG = CONFIGS / "easy_animate" / "v4.yaml"
_STRENGTH = 0.7  # of a video that is made anew as a whole, as in the original


_INSTEAD = "the folder's"


def read_lora(words: Sequence[str]) -> list[str | float]:
    """[file, weight] of two words; a word that is no number stays, to be told by the check."""
    file, word = words
    try:
        return [file, float(word)]
    except ValueError:
        return [file, word]


def lora_option(help: str, **more: Any) -> Any:
    """Declaration of an option of LoRA files and their weights: pairs, `--lora FILE WEIGHT` for each."""
    pair: dict[str, Any] = {"metavar": ("FILE", "WEIGHT"), "read": lambda pairs: list(map(read_lora, pairs))}
    return option(list, help=help, flags=("--lora",), repeats=True, **pair, **more)


def read_network_options(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A dict of pairs of a name and a value in YAML."""
    accepted = "a number, a text, or a list or mapping in brackets is accepted"
    return {name: parse_yaml(text, f"transformer {shown(name)}", accepted) for name, text in pairs}


@dataclass(frozen=True, kw_only=True)
class EasyAnimateConfig(RunOptions):
    """What to make, with what, and how. Every field is a key of the YAML file."""

    presets_of: ClassVar[str] = "easy_animate"
    model: str = path_option(
        "", help="folder of a released checkpoint, or of ours", group=MODEL, aliases=("model_name",)
    )
    transformer: dict = option(
        dict,
        help="options of the transformer that go before those in its config.json",
        group=MODEL,
        metavar=("OPTION", "VALUE"),
        repeats=True,
        read=read_network_options,
    )
    transformer_path: str | None = path_option(None, help="weights of the transformer", unset=_INSTEAD, group=MODEL)
    motion_module_path: str | None = path_option(None, help="weights of V1's motion module", group=MODEL)
    vae_path: str | None = path_option(None, help="weights of the autoencoder", unset=_INSTEAD, group=MODEL)
    loras: list = lora_option("LoRA file to merge, and its weight; may be repeated", group=MODEL, aliases=("lora",))
    prompt: str = option("", help="what is to be seen, in English or, from V4 on, in Chinese", group=INPUT)
    negative_prompt: str = option("", help="what is not to be seen", group=INPUT)
    start_image: str | None = path_option(
        None, help="picture that the video begins with", group=INPUT, aliases=("validation_image_start",)
    )
    end_image: str | None = path_option(
        None, help="picture that the video ends with", group=INPUT, aliases=("validation_image_end",)
    )
    video: str | None = path_option(
        None, help="video to make anew, or a folder of pictures", group=INPUT, aliases=("validation_video",)
    )
    mask: str | None = path_option(
        None,
        help="picture or video that is white where the video is made anew",
        unset="everywhere",
        group=INPUT,
        aliases=("validation_video_mask",),
    )

    output: str = inherited(RunOptions, "output", "", help="file to write: a video, or .png for one frame")
    audio: bool = option(True, help="copy the sound of the video", group=OUTPUT)
    width: int = inherited(
        RunOptions,
        "width",
        672,
        lower=MULTIPLE,
        help="width of the frames in pixels, rounded down to a multiple of 16",
    )
    height: int = inherited(
        RunOptions,
        "height",
        384,
        lower=MULTIPLE,
        help="height of the frames in pixels, rounded down to a multiple of 16",
    )
    base: int | None = option(
        None,
        512,
        1280,
        help="instead of width and height, the nearest bucket of as many pixels as a square of this side",
        unset="width and height",
        group=VIDEO,
        aliases=("base_resolution",),
    )
    num_frames: int = inherited(
        RunOptions,
        "num_frames",
        144,
        help="number of frames, rounded down to what the autoencoder makes (multiples of 8); 1 is a picture",
        unset="",
        aliases=("frames", "length", "video_length"),
    )
    fps: float = inherited(RunOptions, "fps", 24)
    segment: int | None = option(
        None,
        *FRAMES,
        help="number of frames of the parts that a long video is made in",
        unset="one part",
        group=VIDEO,
        aliases=("partial_video_length",),
    )
    overlap: int = option(
        4, *FRAMES, help="number of frames that parts share", group=VIDEO, aliases=("overlap_video_length",)
    )
    resize: str = inherited(RunOptions, "resize", "crop")
    guidance_scale: float = inherited(RunOptions, "guidance_scale", 7.0)
    guidance_rescale: float = option(
        0.0, 0, 1, help="rescaling of the guided prediction to its spread without guidance; 0 is none", group=SAMPLING
    )
    scheduler: str = option(
        "Euler",
        help="sampler: Euler, Euler A, DPM++, PNDM, DDIM or any scheduler of ppdiffusers",
        group=SAMPLING,
        aliases=("sampler", "sampler_name"),
    )
    seed: int = inherited(RunOptions, "seed", 43)
    strength: float | None = option(
        None,
        0,
        1,
        help="part of the denoising steps that are taken from the video on",
        unset="0.7, or 1 with a mask",
        group=SAMPLING,
        aliases=("denoise_strength",),
    )
    clip_apply_ratio: float = option(
        0.4, 0, 1, help="part of the denoising steps, the last ones, in which CLIP sees the picture", group=SAMPLING
    )
    weights: str | None = inherited(
        RunOptions,
        "weights",
        None,
        choices=("int8", "fp8"),
        help="8 bits: in engine openvino, transformer and decoder compute in int8; in engine eager, the transformer's "
        "weights are kept in int8 or fp8, to save memory",
    )
    block_cache_threshold: float | None = option(
        None,
        0,
        help="how much of the first block's output may change before all blocks run again",
        unset="as the preset says",
        group=SPEED,
    )
    vae_tiling: bool | None = option(None, help="decode the frames in tiles", unset="as memory says", group=SPEED)

    def check(self, task: str) -> "EasyAnimateConfig":
        """Refuse what no video can be made of: the `EasyAnimateConfig` with the strength that counts.

        Args:
            task: one of `TASKS`.

        Raises:
            InputError: values that do not fit.
        """
        check_options(self)
        self._check_task(task)
        self._check_numbers()
        self.check_loras()
        check_scheduler_name(self.scheduler)
        endings, what = ((".png",), "a picture") if self.num_frames == 1 else (SUFFIXES, "a video")
        if suffix_of(self.output) not in endings:
            raise InputError(
                f"output {shown(self.output)} is no name of {what}; one that ends in {any_of(endings)} is accepted"
            )
        if self.num_frames > 1:
            check_video_rate(self.output, self.fps)
        return replace(self, strength=self._strength())

    def check_inputs(self) -> None:
        """Raises MissingFileError for pictures and videos that are not there."""
        named = [
            (name.replace("_", " "), getattr(self, name)) for name in ("start_image", "end_image", "video", "mask")
        ]
        check_all_there([pair for pair in named if pair[1] is not None], "files that are there are accepted")

    def _check_task(self, task: str) -> None:
        if not self.model:
            raise InputError("there is no model; the folder of a checkpoint is needed")
        for other, own in TASKS.items():
            default = {item.name: item.default for item in fields(self)}
            given = [name for name in own if getattr(self, name) != default[name]]
            if other != task and given:
                raise InputError(
                    f"a video of a {_WORDS[task]} takes no {', '.join(given)}; that is of {_WORDS[other]}s"
                )
        if task == "text" and not self.prompt.strip():
            raise InputError("the prompt is empty; a text that says what is to be seen is accepted")
        if task != "text" and not self.prompt.strip():
            logger.warning("the prompt is empty: only the %s says what is to be seen", _WORDS[task])
        if task == "pictures" and self.start_image is None:
            wrong = f"end picture {self.end_image} without a start" if self.end_image else "start picture is not given"
            raise InputError(f"{wrong}; a start picture, with or without an end picture, is accepted")
        if task == "video" and self.video is None:
            raise InputError("there is no video to be made anew; a video file or a folder of pictures is needed")
        if task == "video" and self.segment is not None:
            raise InputError("a video is made anew in one piece; segments are for texts and pictures")

    def _check_numbers(self) -> None:
        if self.strength is not None and not int(self.num_inference_steps * self.strength):
            raise InputError(
                f"a strength of {self.strength} takes none of {self.num_inference_steps} steps; more is accepted"
            )
        if self.segment is not None and not self.overlap < self.segment:
            raise InputError(
                f"segments of {self.segment} frames cannot share {self.overlap}; fewer than they have are accepted"
            )
        knobs = self.knobs
        Guidance(interval=knobs["guidance_interval"])  # refuse what is no interval, and no threshold
        BlockCaching(knobs["block_cache_threshold"])

    def check_loras(self) -> None:
        """Raise InputError unless `loras` are pairs of a file and a weight."""
        accepted = "a file and a weight, such as [style.safetensors, 0.6], is accepted"
        for entry in self.loras:
            pair = isinstance(entry, (list, tuple)) and len(entry) == 2
            if not pair or not isinstance(entry[0], str) or not is_number(entry[1]):
                raise InputError(f"loras (--lora) has {shown(entry)}; {accepted}")
            check_name(entry[0], "the file of loras,", accepted)

    def _strength(self) -> float:
        if self.video is None:
            return 1.0
        default = _STRENGTH if self.mask is None else 1.0
        return default if self.strength is None else self.strength

    def rounded(self, multiple: int) -> "EasyAnimateConfig":
        """With sides that are multiples of so many pixels; says so."""
        sides = {}
        for name in ("width", "height"):
            side = getattr(self, name)
            sides[name] = side // multiple * multiple
            if not sides[name]:
                raise InputError(f"{name} is {side}; {multiple} or more is accepted")
            if sides[name] != side:
                logger.warning("%s %d is rounded down to %d, a multiple of %d", name, side, sides[name], multiple)
        return replace(self, **sides)

    def of_shape(self, width: int, height: int) -> "EasyAnimateConfig":
        """With the size of the nearest bucket to a shape, where `base` asks for that."""
        if self.base is None:
            return self
        size = find_bucket(height, width, self.base).size
        logger.info("the size is %dx%d, the nearest of about %dx%d pixels", size[1], size[0], self.base, self.base)
        return replace(self, height=size[0], width=size[1])

    @property
    def only_in_paddle(self) -> str | None:
        return f"weights {self.weights}" if self.weights else super().only_in_paddle

    @property
    def knobs(self) -> dict[str, Any]:
        """What the preset, or the user, says of guidance and of blocks: arguments of the pipeline."""
        exact, preset = (read_preset(name, self.presets_of) for name in ("exact", self.preset))
        return merge(exact, preset, {name: getattr(self, name) for name in exact})


_WORDS = {"text": "text", "pictures": "picture", "video": "video"}


def names_of_task(task: str) -> list[str]:
    """The fields that count for one of `TASKS`, in order."""
    return [item.name for item in fields(EasyAnimateConfig) if task in _TASKS_OF.get(item.name, TASKS)]

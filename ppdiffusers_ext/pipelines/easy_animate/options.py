"""What EasyAnimate is to make, with what, and how: YAML files and what a command says, checked before any work."""

import logging
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from ppdiffusers_ext.data.easy_animate.buckets import MULTIPLE, find_bucket
from ppdiffusers_ext.errors import InputError, check_keys, shown, shown_path
from ppdiffusers_ext.files import check_name, read_yaml
from ppdiffusers_ext.options import (
    FPS,
    FRAMES,
    GUIDANCE,
    SEEDS,
    SIDES,
    STEPS,
    check_options,
    check_values,
    is_number,
    merge,
    option,
    path_option,
)
from ppdiffusers_ext.pipelines.caching import BlockCaching
from ppdiffusers_ext.pipelines.guidance import Guidance
from ppdiffusers_ext.pipelines.memory import RUNGS
from ppdiffusers_ext.pipelines.presets import read_preset
from ppdiffusers_ext.pipelines.schedulers import scheduler_class
from ppdiffusers_ext.runtime import DTYPES

logger = logging.getLogger(__name__)

# What is given to make a video of, and what more is of that alone.
TASKS = {
    "text": (),
    "pictures": ("start_image", "end_image"),
    "video": ("video", "mask", "strength", "audio"),
}
_STRENGTH = 0.7  # of a video that is made anew as a whole, as in the original


@dataclass(frozen=True)
class EasyAnimateConfig:
    """
    Attributes:
        model: folder of a released checkpoint, or one of ours.
        transformer: options of the transformer that go before those in its config.json.
        transformer_path, motion_module_path, vae_path: files whose weights go before the folder's; V1 has its motion
            module in a file of its own.
        loras: list of [file, weight].
        prompt, negative_prompt: what is wanted, and what is not.
        start_image, end_image: pictures that the video begins and ends with.
        video: what is made anew: a video, or a folder of pictures.
        mask: picture or video that is white where `video` is made anew; all of it if left out.
        output: .mp4 file, or .png for one frame.
        width, height: pixels, rounded down to multiples of 16.
        base: instead of them, the size of the nearest bucket to their shape, or to that of the picture or the video:
            the side of a square of as many pixels.
        frames: rounded down to what the autoencoder can make (multiples of 8 for V3 and V4); 1 is a picture.
        fps: frames per second.
        segment, overlap: frames of the parts that a long video is made in, and how many they share.
        steps, guidance_scale, guidance_rescale, sampler, seed: of the pipeline; samplers by name.
        strength: part of the steps that are taken from `video` on; 0.7 if left out, or 1 with a mask.
        clip_apply_ratio: part of the steps, the last ones, in which CLIP sees the picture.
        resize: what pictures of another shape become: see `data.frames.resize`.
        audio: whether the sound of `video` is copied.
        device, dtype: see `Runtime.choose`.
        weights: int8 or fp8: what the transformer's weights are kept in; as `dtype` if left out.
        engine, engine_cache: what runs the networks, see `NetworkPipeline.use_engine`.
        preset: a name or a YAML file, see `presets`.
        guidance_interval, block_cache_threshold: of the pipeline; as the preset says if left out.
        memory: rung of the memory ladder.
        vae_tiling: whether frames are decoded in tiles; as the rung says if left out.
        ignore_memory: begin even if memory will probably not do.
    """

    model: str = path_option("")
    transformer: dict = field(default_factory=dict)
    transformer_path: str | None = path_option(None)
    motion_module_path: str | None = path_option(None)
    vae_path: str | None = path_option(None)
    loras: list = field(default_factory=list)
    prompt: str = ""
    negative_prompt: str = ""
    start_image: str | None = path_option(None)
    end_image: str | None = path_option(None)
    video: str | None = path_option(None)
    mask: str | None = path_option(None)
    output: str = path_option("")
    width: int = option(672, MULTIPLE, SIDES[1])
    height: int = option(384, MULTIPLE, SIDES[1])
    base: int | None = option(None, 512, 1280)
    frames: int = option(144, *FRAMES)
    fps: float = option(24, *FPS)
    segment: int | None = option(None, *FRAMES)
    overlap: int = option(4, *FRAMES)
    steps: int = option(25, *STEPS)
    guidance_scale: float = option(7.0, *GUIDANCE)
    guidance_rescale: float = option(0.0, 0, 1)
    sampler: str = "Euler"
    seed: int = option(43, *SEEDS)
    strength: float | None = option(None, 0, 1)
    clip_apply_ratio: float = option(0.4, 0, 1)
    resize: str = option("crop", choices=("fit", "crop", "pad"))
    audio: bool = True
    device: str = "auto"
    dtype: str = option("fp32", choices=DTYPES)
    weights: str | None = option(None, choices=("int8", "fp8"))
    engine: str = "eager"
    engine_cache: str | None = path_option(None)
    preset: str = "exact"
    guidance_interval: list | None = None
    block_cache_threshold: float | None = option(None, 0)
    memory: str = option("high", choices=RUNGS)
    vae_tiling: bool | None = None
    ignore_memory: bool = False

    @classmethod
    def load(cls, path, **overrides):
        """Read a YAML file of these fields.

        Args:
            overrides: fields -> values that replace the file's; None leaves it.

        Raises:
            MissingFileError, InputError: no such file, or keys or values that are not known.
        """
        values = read_yaml(path)
        check_keys(values, names(), f"key in {shown_path(path)}")
        check_values(cls, values, path)
        return cls(**merge(values, overrides))

    def check(self, task):
        """Refuse what no video can be made of: the `EasyAnimateConfig` with the strength that counts.

        Args:
            task: one of `TASKS`.

        Raises:
            InputError: values that do not fit.
        """
        check_options(self)
        self._check_task(task)
        self._check_numbers()
        self._check_loras()
        scheduler_class(self.sampler)
        endings, what = ((".png",), "a picture") if self.frames == 1 else ((".mp4", ".mov"), "a video")
        if Path(self.output).suffix.lower() not in endings:
            accepted = " or ".join(endings)
            raise InputError(
                f"output {shown(self.output)} is no name of {what}; one that ends in {accepted} is accepted"
            )
        return replace(self, strength=self._strength())

    def _check_task(self, task):
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

    def _check_numbers(self):
        if self.strength is not None and not int(self.steps * self.strength):
            raise InputError(f"a strength of {self.strength} takes none of {self.steps} steps; more is accepted")
        if self.segment is not None and not self.overlap < self.segment:
            raise InputError(
                f"segments of {self.segment} frames cannot share {self.overlap}; fewer than they have are accepted"
            )
        knobs = self.knobs
        Guidance(interval=knobs["guidance_interval"])  # refuse what is no interval, and no threshold
        BlockCaching(knobs["block_cache_threshold"])

    def _check_loras(self):
        accepted = "a file and a weight, such as [style.safetensors, 0.6], is accepted"
        for entry in self.loras:
            pair = isinstance(entry, (list, tuple)) and len(entry) == 2
            if not pair or not isinstance(entry[0], str) or not is_number(entry[1]):
                raise InputError(f"loras has {shown(entry)}; {accepted}")
            check_name(entry[0], "the file of loras,", accepted)

    def _strength(self):
        if self.video is None:
            return 1.0
        default = _STRENGTH if self.mask is None else 1.0
        return default if self.strength is None else self.strength

    def rounded(self, multiple):
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

    def of_shape(self, width, height):
        """With the size of the nearest bucket to a shape, where `base` asks for that."""
        if self.base is None:
            return self
        size = find_bucket(height, width, self.base).size
        logger.info("the size is %dx%d, the nearest of about %dx%d pixels", size[1], size[0], self.base, self.base)
        return replace(self, height=size[0], width=size[1])

    @property
    def knobs(self):
        """What the preset, or the user, says of guidance and of blocks: arguments of the pipeline."""
        exact, preset = (read_preset(name, "easy_animate") for name in ("exact", self.preset))
        return merge(exact, preset, {name: getattr(self, name) for name in exact})


_WORDS = {"text": "text", "pictures": "picture", "video": "video"}


def names():
    """The fields of an `EasyAnimateConfig`."""
    return [item.name for item in fields(EasyAnimateConfig)]

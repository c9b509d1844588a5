"""The configuration of pose2vid: a YAML file, overridden by what the command line says, checked before any work."""

import logging
from dataclasses import dataclass, field, fields

from ppdiffusers_ext.errors import InputError, check_keys, shown, shown_path
from ppdiffusers_ext.files import check_name, read_yaml
from ppdiffusers_ext.options import (
    COUNTS,
    FPS,
    FRAMES,
    GUIDANCE,
    SEEDS,
    SIDES,
    STEPS,
    check_options,
    check_values,
    merge,
    option,
    path_option,
)
from ppdiffusers_ext.pipelines.caching import StepCaching
from ppdiffusers_ext.pipelines.guidance import Guidance
from ppdiffusers_ext.pipelines.memory import RUNGS, get_rung
from ppdiffusers_ext.pipelines.presets import read_preset
from ppdiffusers_ext.pipelines.tiling import check_tile_size
from ppdiffusers_ext.pipelines.windows import SCHEDULES
from ppdiffusers_ext.runtime import DTYPES

logger = logging.getLogger(__name__)

SIDE_MULTIPLE = 8
RESIZES = ("fit", "crop", "pad")

_CONTEXT = (1, 100_000)  # frames of a window; the network may say less
# What a preset or a rung of the memory ladder says unless the user does, where neither of them says it.
_TILE = 512  # pixels
_KNOBS = {"context_overlap": 4, "context_schedule": "uniform"}


def rung_options(memory: object) -> dict[str, int]:
    """What a rung of the memory ladder says, as options of `Pose2VideoPipeline.__call__`.

    Raises InputError for one that is not known.
    """
    rung = get_rung(memory)
    return {
        "sequential_guidance": rung.computes_singly,
        "context_batch_size": 1,
        "decode_chunk_size": 1 if rung.computes_singly else 4,
        "vae_tile_size": _TILE if rung.tiles else 0,
    }


@dataclass
class Pose2VidConfig:
    """What `pipelines.animate_anyone.run.animate` needs to know. Every field is a key of the YAML file.

    A preset and a rung of the memory ladder stand for some of the options below them (`pipelines.presets`,
    `pipelines.memory`): these are filled in where they are left out.
    """

    # The model. Paths are relative to the working directory.
    pretrained_base_model_path: str = path_option("")  # folder of Stable Diffusion 1.5; only unet/config.json is read
    pretrained_vae_path: str = path_option("")  # folder of an AutoencoderKL
    image_encoder_path: str = path_option("")  # folder of a CLIPVisionModelWithProjection
    denoising_unet_config_path: str = path_option(
        ""
    )  # config.json of the denoising UNet; the base model's if left out
    denoising_unet_path: str = path_option("")  # its spatial weights
    reference_unet_path: str = path_option("")
    pose_guider_path: str = path_option("")
    motion_module_path: str = path_option("")  # the denoising UNet's temporal weights, unless they are in its own file
    inference_config: str = path_option("")  # YAML with unet_additional_kwargs, noise_scheduler_kwargs and sampler
    weight_dtype: str = option("fp32", choices=DTYPES)

    # What to animate: picture -> pose videos (or pose pictures).
    test_cases: dict = field(default_factory=dict)

    # How.
    preset: str = "exact"  # or balanced, fast, or a YAML file of one's own
    memory: str = option("high", choices=RUNGS)
    width: int = option(512, *SIDES)  # pixels, rounded down to a multiple of 8
    height: int = option(784, *SIDES)
    length: int = option(None, *FRAMES)  # frames, at most those of the pose video; all of them if left out
    seed: int = option(42, *SEEDS)
    cfg: float = option(3.5, *GUIDANCE)  # guidance scale; 1 is without guidance and takes half the time
    steps: int = option(30, *STEPS)
    fps: float = option(None, *FPS)  # of the result; the pose video's if left out
    resize: str = option("fit", choices=RESIZES)  # of pictures and poses of another shape; fit stretches them
    scheduler: str | None = None  # instead of the inference configuration's sampler
    context_frames: int = option(24, *_CONTEXT)
    context_stride: int = option(1, *COUNTS)
    context_overlap: int = option(None, 0, _CONTEXT[1])
    context_schedule: str = option(None, choices=SCHEDULES)
    context_batch_size: int = option(None, *COUNTS)
    sequential_guidance: bool | None = None  # half the memory, one call more for each window
    guidance_interval: list | None = None  # part of the steps with guidance: from, to
    step_cache_interval: int = option(None, *COUNTS)  # every how many steps the whole network runs
    step_cache_depth: int = option(None, *COUNTS)  # how many of its last units run in the others
    fp16_reference_features: bool = False  # round the reference features as the original does
    decode_chunk_size: int = option(None, *COUNTS)
    vae_tile_size: int = option(None, upper=SIDES[1])  # pixels; 0 is for whole pictures and frames
    device: str = "auto"
    engine: str = "eager"  # or auto, inference, onnx, openvino: what runs the networks
    engine_cache: str = path_option("")  # folder of exports; the user's cache folder if left out
    ignore_memory: bool = False  # begin even if memory will probably not do

    # Where to: a folder, or a file for a single case. A dated folder under output/ if left out.
    output: str = path_option(None)

    def __post_init__(self):
        presets = (read_preset("exact"), read_preset(self.preset))
        rungs = (rung_options("high"), rung_options(self.memory))
        for name, value in merge(_KNOBS, *presets, *rungs).items():
            if getattr(self, name) is None:
                setattr(self, name, value)

    @classmethod
    def load(cls, path, **overrides):
        """Read the YAML file and replace what `overrides` gives (a value of None leaves the file's).

        An override goes before the file's key, which goes before the preset and the rung of the memory ladder,
        whoever names these.

        Raises:
            MissingFileError, InputError: no such file, not YAML, or unknown keys or values that are not accepted.
        """
        values = read_yaml(path)
        check_keys(values, [item.name for item in fields(cls)], f"key in {shown_path(path)}")
        check_values(cls, values, path)
        config = cls(**merge(values, overrides))
        config.check()
        return config

    def check(self):
        """Check every value, and round the size.

        Raises:
            InputError: a value that cannot be used.
        """
        check_options(self)
        check_tile_size(self.vae_tile_size)
        if self.context_overlap >= self.context_frames:
            raise InputError(
                f"context_overlap is {self.context_overlap}; a number below context_frames, {self.context_frames}, "
                "is accepted"
            )
        Guidance(interval=self.guidance_interval)  # type: ignore[arg-type]  # refuses what is no interval
        StepCaching(self.step_cache_interval, self.step_cache_depth)  # refuses numbers below 1
        self.test_cases = _checked_cases(self.test_cases)
        for name in ("width", "height"):
            side = getattr(self, name)
            if side % SIDE_MULTIPLE:
                setattr(self, name, side - side % SIDE_MULTIPLE)
                logger.warning("%s %d is rounded down to %d, a multiple of 8", name, side, getattr(self, name))


def _checked_cases(cases):
    checked = {}
    for picture, videos in cases.items():
        videos = [videos] if isinstance(videos, str) else videos
        if not (isinstance(picture, str) and isinstance(videos, list) and all(isinstance(v, str) for v in videos)):
            raise InputError(
                f"test_cases has {shown(picture)}: {shown(videos)}; a picture and a list of pose videos is accepted"
            )
        for name in (picture, *videos):
            check_name(name, "a file of test_cases,", "a picture and a list of pose videos is accepted")
        checked[picture] = videos
    return checked

"""Options of Animate Anyone's pose to video: what to animate, with what, and how."""

import logging
import os
from dataclasses import dataclass, replace
from typing import Any

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.files import check_all_there, check_name
from ppdiffusers_ext.options import COUNTS, SIDES, check_options, inherited, merge, option, path_option
from ppdiffusers_ext.pipelines.memory import get_rung
from ppdiffusers_ext.pipelines.options import (
    CONFIGS,
    INPUT,
    MODEL,
    SAMPLING,
    SPEED,
    WINDOWS,
    PoseOptions,
    check_tile_size,
)
from ppdiffusers_ext.pipelines.presets import read_preset
from ppdiffusers_ext.pipelines.scheduler_names import check_scheduler_name
from ppdiffusers_ext.pipelines.steps import Guidance, StepCaching
from ppdiffusers_ext.pipelines.windows import SCHEDULES

logger = logging.getLogger(__name__)

CONFIG, DEMO = CONFIGS / "animation.yaml", CONFIGS / "demo.yaml"
SIDE_MULTIPLE = 8

# What a preset or a rung of the memory ladder says unless the user does, where neither of them says it.
_TILE = 512  # pixels
_KNOBS = {"context_overlap": 4, "context_schedule": "uniform"}
_BY_RUNG = "as memory says"


def _of_model(help: str, unset: str = "") -> Any:
    return path_option("", help=help, unset=unset, group=MODEL)


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


@dataclass(frozen=True, kw_only=True)
class Pose2VidConfig(PoseOptions):
    """What `pipelines.animate_anyone.run.animate` needs to know. Every field is a key of the YAML file.

    A preset and a rung of the memory ladder stand for some of the options (`pipelines.presets`, `pipelines.memory`):
    these are filled in where they are left out. Paths are relative to the working directory.
    """

    pretrained_base_model_path: str = _of_model("folder of Stable Diffusion 1.5, of which unet/config.json is read")
    pretrained_vae_path: str = _of_model("folder of the AutoencoderKL")
    image_encoder_path: str = _of_model("folder of the CLIPVisionModelWithProjection")
    denoising_unet_config_path: str = _of_model("config.json of the denoising UNet", "the base model's")
    denoising_unet_path: str = _of_model("weights of the denoising UNet")
    reference_unet_path: str = _of_model("weights of the reference UNet")
    pose_guider_path: str = _of_model("weights of the pose guider")
    motion_module_path: str = _of_model("weights of the motion modules", "those among the denoising UNet's")
    inference_config: str = _of_model("YAML file of unet_additional_kwargs, noise_scheduler_kwargs and sampler")

    test_cases: dict = option(
        dict, help="mapping of pictures to lists of pose videos, or of pose pictures", group=INPUT, has_flag=False
    )

    output: str | None = inherited(
        PoseOptions,
        "output",
        None,
        help="folder to write, or the file for a single case",
        unset="a dated folder in output/",
    )
    width: int = inherited(
        PoseOptions, "width", 512, help="width of the frames in pixels, rounded down to a multiple of 8"
    )
    height: int = inherited(
        PoseOptions, "height", 784, help="height of the frames in pixels, rounded down to a multiple of 8"
    )
    fps: float | None = inherited(PoseOptions, "fps", None, unset="that of the pose video")
    num_inference_steps: int = inherited(PoseOptions, "num_inference_steps", 30)
    scheduler: str | None = option(
        None,
        help="sampler: DDIM, DPM-Solver++, UniPC, Euler, LCM or any scheduler of ppdiffusers",
        unset="that of inference_config",
        group=SAMPLING,
        aliases=("sampler",),
    )
    context_overlap: int | None = inherited(PoseOptions, "context_overlap", None, unset="4")
    context_stride: int = option(
        1, *COUNTS, help="number of strides, each twice the one before, that windows have", group=WINDOWS
    )
    context_schedule: str | None = option(
        None,
        choices=tuple(SCHEDULES),
        help="order of the windows: uniform wraps round to the first frame, sliding does not",
        unset="uniform",
        group=WINDOWS,
    )
    context_batch_size: int | None = option(
        None, *COUNTS, help="number of windows that are denoised in one call", unset=_BY_RUNG, group=SPEED
    )
    sequential_guidance: bool | None = option(
        None,
        help="guide in two calls instead of a batch of two, for half the memory",
        unset=_BY_RUNG,
        group=SPEED,
    )
    fp16_reference_features: bool = option(
        False, help="round the reference features to fp16 as the original does", group=SPEED
    )
    decode_chunk_size: int | None = inherited(PoseOptions, "decode_chunk_size", None, unset=_BY_RUNG)
    vae_tile_size: int | None = option(
        None,
        upper=SIDES[1],
        help="side in pixels of the tiles in which pictures pass the autoencoder; 0 is the whole picture",
        unset=_BY_RUNG,
        group=SPEED,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        presets = (read_preset("exact"), read_preset(self.preset))
        rungs = (rung_options("high"), rung_options(self.memory))
        for name, value in merge(_KNOBS, *presets, *rungs).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    @classmethod
    def load(cls, path: str | os.PathLike | None = None, **overrides: Any) -> "Pose2VidConfig":
        """As `RunOptions.load`; the values are checked, and the size is rounded."""
        return super().load(path, **overrides).check()

    def check(self) -> "Pose2VidConfig":
        """Check every value: the `Pose2VidConfig` with a size that there can be.

        Raises:
            InputError: a value that cannot be used.
        """
        check_options(self)
        check_tile_size(self.vae_tile_size)
        self.check_windows()
        Guidance(interval=self.guidance_interval)  # type: ignore[arg-type]  # refuses what is no interval
        caching: Any = (self.step_cache_interval, self.step_cache_depth)  # filled in where they were left out
        StepCaching(*caching)  # refuses numbers below 1
        if self.scheduler is not None:
            check_scheduler_name(self.scheduler)
        if (self.reference_image is None) != (self.pose_video is None):
            raise InputError(
                "reference_image and pose_video (--reference-image, --pose-video) belong together; both or neither "
                "are accepted"
            )
        self.check_driving_poses()
        if self.driving_poses is not None and self.pose_video is None:
            raise InputError(
                "driving_poses belongs to pose_video, which is not given; NAME_poses.json beside each pose video of "
                "test_cases is accepted instead"
            )
        sides: dict[str, Any] = {"width": self.width, "height": self.height}
        for name, side in sides.items():
            if side % SIDE_MULTIPLE:
                sides[name] = side - side % SIDE_MULTIPLE
                logger.warning("%s %d is rounded down to %d, a multiple of 8", name, side, sides[name])
        return replace(self, test_cases=_checked_cases(self.test_cases), **sides)

    @property
    def cases(self) -> list[tuple[str, Any]]:
        """Pairs of a picture and a pose video: the one that is named, or else those of test_cases."""
        if self.reference_image is not None:
            return [(self.reference_image, self.pose_video)]
        return [(image, pose) for image, poses in self.test_cases.items() for pose in poses]

    def check_inputs(self) -> None:
        """Raises MissingFileError for pictures, pose videos and driving poses that are not there."""
        named = [(what, path) for pair in self.cases for what, path in zip(("picture", "pose video"), pair)]
        named += [] if self.driving_poses is None else [("driving poses", self.driving_poses)]
        check_all_there(list(dict.fromkeys(named)), "files that are there are accepted")


def _checked_cases(cases: dict) -> dict[str, list[str]]:
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

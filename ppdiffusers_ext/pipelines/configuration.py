"""The configuration of pose2vid: a YAML file, overridden by what the command line says, checked before any work."""

import logging
from dataclasses import dataclass, field, fields

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.pipelines.caching import StepCaching
from ppdiffusers_ext.pipelines.guidance import Guidance
from ppdiffusers_ext.pipelines.memory import get_rung
from ppdiffusers_ext.pipelines.presets import read_preset
from ppdiffusers_ext.pipelines.tiling import check_tile_size
from ppdiffusers_ext.pipelines.windows import get_schedule
from ppdiffusers_ext.pipelines.yaml_files import check_keys, check_kinds

logger = logging.getLogger(__name__)

MIN_SIDE = 64
SIDE_MULTIPLE = 8


@dataclass
class Pose2VidConfig:
    """What `ppdiffusers_ext.pipelines.pose2vid.animate` needs to know. Every field is a key of the YAML file."""

    # The model. Paths are relative to the working directory.
    pretrained_base_model_path: str = ""  # folder of Stable Diffusion 1.5, of which only unet/config.json is read
    pretrained_vae_path: str = ""  # folder of an AutoencoderKL
    image_encoder_path: str = ""  # folder of a CLIPVisionModelWithProjection
    denoising_unet_config_path: str = ""  # config.json of the denoising UNet; the base model's if left out
    denoising_unet_path: str = ""  # its spatial weights
    reference_unet_path: str = ""
    pose_guider_path: str = ""
    motion_module_path: str = ""  # the denoising UNet's temporal weights, unless they are in its own file
    inference_config: str = ""  # YAML with unet_additional_kwargs, noise_scheduler_kwargs and sampler
    weight_dtype: str = "fp32"  # fp32, bf16 or fp16

    # What to animate: picture -> pose videos (or pose pictures).
    test_cases: dict = field(default_factory=dict)

    # How. A preset and a rung of the memory ladder stand for some of the options below them (`pipelines.presets`,
    # `pipelines.memory`); what the same file says of those goes before.
    preset: str = "exact"  # or balanced, fast, or a YAML file of one's own
    memory: str = "high"  # or medium, low, minimal
    width: int = 512  # pixels, rounded down to a multiple of 8
    height: int = 784
    length: int = 24  # frames, at most those of the pose video
    seed: int = 42
    cfg: float = 3.5  # guidance scale; 1 is without guidance and takes half the time
    steps: int = 30
    fps: float = None  # of the result; the pose video's if left out
    scheduler: str = None  # instead of the inference configuration's sampler
    context_frames: int = 24
    context_stride: int = 1
    context_overlap: int = 4
    context_schedule: str = "uniform"
    context_batch_size: int = 1
    sequential_guidance: bool = False  # half the memory, one call more for each window
    guidance_interval: list = field(default_factory=lambda: [0.0, 1.0])  # part of the steps with guidance: from, to
    step_cache_interval: int = 1  # every how many steps the whole network runs
    step_cache_depth: int = 1  # how many of its last units run in the others
    fp16_reference_features: bool = False  # round the reference features as the original does
    decode_chunk_size: int = 4
    vae_tile_size: int = 0  # pixels; 0 is for whole pictures and frames
    device: str = "auto"
    engine: str = "eager"  # or auto, inference, onnx, openvino: what runs the networks
    engine_cache: str = ""  # folder of exports; the user's cache folder if left out
    ignore_memory: bool = False  # begin even if memory will probably not do

    # Where to: a folder, or a file for a single case. A dated folder under output/ if left out.
    output: str = None

    @classmethod
    def load(cls, path, **overrides):
        """Read the YAML file and replace what `overrides` gives (a value of None leaves the file's).

        A preset or a rung of the memory ladder among the overrides replaces what the file says of its options.

        Raises:
            MissingFileError, InputError: no such file, not YAML, or unknown keys or values of another kind.
        """
        values = read_yaml(path)
        check_keys(values, [item.name for item in fields(cls)], f"key in {path}")
        overrides = {name: value for name, value in overrides.items() if value is not None}
        named = {"preset": cls.preset, "memory": cls.memory, **values}
        values = {**read_preset(named["preset"]), **get_rung(named["memory"]).options, **values}
        if "preset" in overrides:
            values.update(read_preset(overrides["preset"]))
        if "memory" in overrides:
            values.update(get_rung(overrides["memory"]).options)
        config = cls(**{**values, **overrides})
        config.check()
        return config

    def check(self):
        """Check every value, and round the size.

        Raises:
            InputError: a value that cannot be used.
        """
        check_kinds(type(self), vars(self))
        for name in ("length", "steps", "context_frames", "context_stride", "context_batch_size", "decode_chunk_size"):
            self._check_at_least(name, 1)
        check_tile_size(self.vae_tile_size)
        self._check_at_least("context_overlap", 0)
        self._check_at_least("cfg", 0)
        for name in ("width", "height"):
            self._check_at_least(name, MIN_SIDE)
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise InputError(f"fps is {self.fps}; a number above 0 and up to 1000 is accepted")
        if self.context_overlap >= self.context_frames:
            raise InputError(
                f"context_overlap is {self.context_overlap}; a number below context_frames, {self.context_frames}, "
                "is accepted"
            )
        get_schedule(self.context_schedule)
        if not all(isinstance(end, (int, float)) for end in self.guidance_interval):
            raise InputError(f"guidance_interval is {self.guidance_interval}; two numbers from 0 to 1 are accepted")
        Guidance(interval=tuple(self.guidance_interval))  # refuses what is no interval
        StepCaching(self.step_cache_interval, self.step_cache_depth)  # refuses numbers below 1
        self.test_cases = _checked_cases(self.test_cases)
        for name in ("width", "height"):
            side = getattr(self, name)
            if side % SIDE_MULTIPLE:
                setattr(self, name, side - side % SIDE_MULTIPLE)
                logger.warning("%s %d is rounded down to %d, a multiple of 8", name, side, getattr(self, name))

    def _check_at_least(self, name, least):
        value = getattr(self, name)
        if not value >= least:
            raise InputError(f"{name} is {value}; a number of {least} or more is accepted")


def _checked_cases(cases):
    checked = {}
    for picture, videos in cases.items():
        videos = [videos] if isinstance(videos, str) else videos
        if not (isinstance(picture, str) and isinstance(videos, list) and all(isinstance(v, str) for v in videos)):
            raise InputError(
                f"test_cases has {picture!r}: {videos!r}; a picture and a list of pose videos is accepted"
            )
        checked[picture] = videos
    return checked

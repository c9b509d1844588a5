"""Options of StableAnimator: what to animate, with what, and how."""

import os
from dataclasses import dataclass, replace
from typing import Any

from ppdiffusers_ext.errors import InputError, shown, shown_path
from ppdiffusers_ext.options import (
    COUNTS,
    STEPS,
    by_field,
    check_options,
    check_values,
    inherited,
    is_number,
    merge,
    option,
    path_option,
)
from ppdiffusers_ext.pipelines.options import CONFIGS, MODEL, OUTPUT, SAMPLING, SPEED, WINDOWS, PoseOptions
from ppdiffusers_ext.pipelines.presets import read_preset
from ppdiffusers_ext.pipelines.stable_animator.time_tiles import time_tiles
from ppdiffusers_ext.pipelines.steps import Guidance, StepCaching

CONFIG, DEMO = CONFIGS / "stable_animator.yaml", CONFIGS / "stable_animator" / "demo.yaml"
LAST_STEP = 20  # that is refined, if there are so many
SIDE_MULTIPLE = 64
# Flags of the original that have no effect there: windows overlap by --frames_overlap. Gradients are always computed
# in parts.
WITHOUT_EFFECT = ("--overlap", "--batch-frames", "--max-frame-num", "--gradient-checkpointing")

_KNOBS = ("guidance_interval", "step_cache_interval", "step_cache_depth")
_FACE = "Face"
_REFINEMENT = "Face optimisation"


@dataclass(frozen=True)
class RefinementConfig:
    """The optimisation of faces, see `faces.prepare_refinement`. Keys below `refinement` in a YAML file."""

    recognizer: str = path_option(
        "./pretrained_weights/stable_animator/Animation/glintr100_torch.pth",
        help="weights of the face recogniser",
        group=_REFINEMENT,
        aliases=("face_embedding_extractor_weight_path",),
    )
    picture_mask: str | None = path_option(
        None,
        help="mask that is white where the picture's face is",
        unset="found in the picture",
        group=_REFINEMENT,
        aliases=("validation_image_mask",),
    )
    masks: str | None = path_option(
        None,
        help="folder of masks of the video's size, one for each frame, that are white where its face is",
        unset="found in the skeletons",
        group=_REFINEMENT,
        aliases=("validation_control_mask_folder",),
    )
    iterations: int = option(
        3,
        *COUNTS,
        help="number of iterations in each denoising step",
        group=_REFINEMENT,
        aliases=("num_optimization_iter",),
    )
    first_step: int = option(
        0,
        0,
        STEPS[1],
        help="first denoising step that is optimised, from 0",
        group=_REFINEMENT,
        aliases=("start_refine_step",),
    )
    last_step: int | None = option(
        None,
        0,
        STEPS[1],
        help="last denoising step that is optimised",
        unset=f"{LAST_STEP}, or the last one",
        group=_REFINEMENT,
        aliases=("end_refine_step",),
    )

    def end(self, num_steps: int) -> int:
        """The last step that is refined."""
        return min(LAST_STEP, num_steps - 1) if self.last_step is None else self.last_step


@dataclass(frozen=True, kw_only=True)
class StableAnimationConfig(PoseOptions):
    """What to animate, with what, and how. Every field is a key of the YAML file; `refinement` is a mapping there."""

    svd: str = path_option(
        help="folder of Stable Video Diffusion", group=MODEL, aliases=("pretrained_model_name_or_path",)
    )
    unet: str = path_option(help="weights of the UNet", group=MODEL, aliases=("unet_model_name_or_path",))
    pose_net: str = path_option(help="weights of the pose net", group=MODEL, aliases=("posenet_model_name_or_path",))
    face_encoder: str = path_option(
        help="weights of the face encoder", group=MODEL, aliases=("face_encoder_model_name_or_path",)
    )
    faces: str | None = path_option(
        None, help="folder in which models/antelopev2 has the networks that find faces", unset="no face", group=_FACE
    )
    face_recognizer: str | None = path_option(
        None,
        help="weights of a recogniser for faces that MediaPipe's detector finds, which ships with the package: what a "
        "small model was trained with in the place of antelopev2",
        unset="that of faces",
        group=_FACE,
    )
    find_face: bool = option(True, help="look for the picture's face", group=_FACE, off=("--no-face",))
    embedding: str | None = path_option(
        None,
        help=".npy file of the embedding of the picture's face, which is not looked for then",
        group=_FACE,
        aliases=("face_embedding",),
    )
    channels: str = option(
        "rgb",
        choices=("rgb", "bgr"),
        help="order of colours in which the face is seen: rgb, as released weights expect, or bgr, as in training",
        group=_FACE,
        aliases=("face_channels",),
    )
    optimize_face: bool | None = option(
        None,
        help="make faces more like the picture's in every denoising step",
        unset="if there is refinement",
        group=_REFINEMENT,
    )
    refinement: RefinementConfig | None = option(
        None, help="mapping of the options of face optimisation, which it turns on", group=_REFINEMENT, has_flag=False
    )

    output: str = inherited(PoseOptions, "output", "", help="folder to write", aliases=("output_dir",))
    reports: bool = option(
        False,
        help="write identity.json: similarity of the frames' faces to the picture's",
        group=OUTPUT,
    )
    width: int = inherited(PoseOptions, "width", 512, help="width of the frames in pixels, a multiple of 64")
    height: int = inherited(PoseOptions, "height", 512, help="height of the frames in pixels, a multiple of 64")
    fps: float = inherited(PoseOptions, "fps", 8)
    guidance_scale: float = inherited(PoseOptions, "guidance_scale", 3.0)
    seed: int = inherited(PoseOptions, "seed", 23123134)
    noise_aug_strength: float = option(
        0.02, 0, 10, help="strength of the noise on the picture", group=SAMPLING, aliases=("noise",)
    )
    context_frames: int = inherited(PoseOptions, "context_frames", 16, lower=2)
    context_overlap: int = inherited(
        PoseOptions,
        "context_overlap",
        4,
        help="number of frames that windows share; one less if they are anchored",
        keys=("overlap",),
    )
    anchored: bool = option(
        True, help="begin each window with the clip's first frame", group=WINDOWS, off=("--no-anchor",)
    )
    repeats_noise: bool = option(
        True, help="repeat the noise of a window in all windows", group=WINDOWS, off=("--own-noise",)
    )
    vae_device: str | None = option(
        None,
        pattern="auto|cpu|gpu(:[0-9]{1,4})?",
        accepted="auto, cpu, gpu or gpu:N",
        help="where frames are decoded",
        unset="as device says",
        group=SPEED,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.find_face:
            object.__setattr__(self, "faces", None)
            object.__setattr__(self, "face_recognizer", None)

    @classmethod
    def read(cls, path: str | os.PathLike | None) -> dict[str, Any]:
        """As `RunOptions.read`; the value of `refinement` is a dict of fields of `RefinementConfig`."""
        values = super().read(path)
        if values.get("refinement") is not None:
            what = f"key under refinement in {shown_path(path)}"
            values["refinement"], used = by_field(RefinementConfig, values["refinement"], what)
            check_values(RefinementConfig, values["refinement"], path, used)
        return values

    @classmethod
    def load(
        cls, path: str | os.PathLike | None = None, refinement: dict[str, Any] | None = None, **overrides: Any
    ) -> "StableAnimationConfig":
        """As `RunOptions.load`.

        Args:
            refinement: fields of `RefinementConfig` that go before the file's; they count where faces are optimised.
        """
        values = cls.read(path)
        of_file = values.pop("refinement", None)
        config = cls.of_values(values, overrides, path)
        if config.optimize_face is False or (of_file is None and not config.optimize_face):
            return config
        return replace(config, refinement=RefinementConfig(**merge(of_file or {}, refinement or {})))

    @property
    def knobs(self) -> dict[str, Any]:
        """What the preset, or the user, says of guidance and step caching: arguments of the pipeline."""
        preset = read_preset(self.preset)
        if others := sorted(set(preset) - set(_KNOBS)):
            raise InputError(f"preset {self.preset} has {', '.join(others)}; {', '.join(_KNOBS)} are accepted")
        return merge(preset, {name: getattr(self, name) for name in _KNOBS})

    def check(self) -> None:
        """Raises InputError for what no clip can be animated with."""
        check_options(self)
        if self.refinement is not None:
            check_options(self.refinement)
            check_steps(
                self.refinement.first_step,
                self.refinement.end(self.num_inference_steps),
                self.refinement.iterations,
                self.num_inference_steps,
            )
        check_size(self.width, self.height)
        self.check_windows()
        self.check_driving_poses()
        time_tiles(1, self.context_frames, self.context_overlap, self.anchored)
        if self.faces is not None and self.face_recognizer is not None:
            raise InputError("--faces and --face-recognizer are both given; one of them is accepted")
        if self.faces is None and self.reports:
            raise InputError(
                "a report of faces needs the networks that find them; --reports without --no-face is accepted"
            )
        knobs = self.knobs
        Guidance(interval=knobs.get("guidance_interval", (0, 1)))  # refuse what is none
        StepCaching(knobs.get("step_cache_interval", 1), knobs.get("step_cache_depth", 1))

    def check_inputs(self) -> None:
        """As `PoseOptions.check_inputs`, and raises InputError where picture, pose video or output are not named."""
        needed = ("reference_image", "pose_video", "output")
        if missing := [f"--{name.replace('_', '-')}" for name in needed if getattr(self, name) is None]:
            raise InputError(
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; all three are needed"
            )
        super().check_inputs()


def check_size(width: Any, height: Any) -> None:
    """Raises InputError for sides, in pixels, that the networks cannot make."""
    if not all(
        is_number(side, is_whole=True) and side >= 64 and side % SIDE_MULTIPLE == 0 for side in (width, height)
    ):
        raise InputError(
            f"the size {shown(width)}x{shown(height)} does not fit; multiples of 64 are accepted, such as 512x512"
        )


def check_steps(first: int, last: int, iterations: int, num_steps: int) -> None:
    """Raises InputError for steps of a refinement that a clip has not."""
    if not 0 <= first <= last < num_steps:
        raise InputError(
            f"steps {first} to {last} cannot be refined, of {num_steps} that are counted from 0; a first one of 0 and "
            f"more, and a last one from there to {num_steps - 1}, are accepted"
        )
    if iterations < 1:
        raise InputError(f"num_optimization_iter {iterations} is too small; 1 and more are accepted")

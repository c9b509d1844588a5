"""Options of StableAnimator: what to animate, with what, and how."""

from dataclasses import dataclass, fields

from ppdiffusers_ext.errors import InputError, check_keys, shown_path
from ppdiffusers_ext.files import read_yaml
from ppdiffusers_ext.options import (
    COUNTS,
    FPS,
    FRAMES,
    GUIDANCE,
    SEEDS,
    SIDES,
    STEPS,
    check_values,
    merge,
    option,
    path_option,
)
from ppdiffusers_ext.pipelines.memory import RUNGS
from ppdiffusers_ext.pipelines.presets import read_preset
from ppdiffusers_ext.pipelines.stable_animator.faces import RefinementConfig
from ppdiffusers_ext.runtime import DTYPES

_KNOBS = ("guidance_interval", "step_cache_interval", "step_cache_depth")


@dataclass(frozen=True)
class StableAnimationConfig:
    """What to animate, with what, and how.

    Attributes:
        svd: folder of Stable Video Diffusion.
        unet, pose_net, face_encoder: files of StableAnimator's weights.
        faces: folder in which models/antelopev2 has the networks that find the picture's face; None for no face.
        embedding: .npy file of the embedding of the picture's face, which is not looked for then.
        image: picture of the person.
        poses: video, or folder of pictures, of skeletons.
        output: folder to write.
        width, height, guidance_scale, steps, tile_size, overlap, noise, chunk_size, seed: of
            `StableAnimatorPipeline.__call__`.
        fps: frames per second of the videos.
        device: auto, cpu, gpu or gpu:N.
        dtype: fp32, bf16 or fp16, of the UNet, the pose net and the face encoder.
        engine, engine_cache: what runs the networks, see `NetworkPipeline.use_engine`.
        preset: a name or a YAML file, see `presets`; only what is of this system counts.
        guidance_interval, step_cache_interval, step_cache_depth: of `StableAnimatorPipeline.__call__`; as the preset
            says if left out.
        memory: rung of the memory ladder, which says whether networks leave the memory, and are kept in halves; the
            two upper ones are the same here, where the size of a decoded chunk is part of what is decoded.
        ignore_memory: begin even if memory will probably not do.
        vae_device: where frames are decoded, such as cpu; where the other networks are if left out.
        resize: what a picture of another shape than the video's becomes: see `data.frames.resize`.
        channels: order of colours in which the face is seen, see `FaceAnalyzer`.
        anchored, repeats_noise: of `StableAnimatorPipeline.__call__`.
        refinement: a `RefinementConfig`, or None: the face is not optimised.
        reports: whether a report says how like the picture's face those in the frames are.
    """

    svd: str = path_option()
    unet: str = path_option()
    pose_net: str = path_option()
    face_encoder: str = path_option()
    faces: str | None = path_option(None)
    embedding: str | None = path_option(None)
    image: str = path_option("")
    poses: str = path_option("")
    output: str = path_option("")
    width: int = option(512, *SIDES)
    height: int = option(512, *SIDES)
    guidance_scale: float = option(3.0, *GUIDANCE)
    steps: int = option(25, *STEPS)
    tile_size: int = option(16, 2, FRAMES[1])
    overlap: int = option(4, 0, FRAMES[1])
    noise: float = option(0.02, 0, 10)
    chunk_size: int = option(4, *COUNTS)
    seed: int = option(23123134, *SEEDS)
    fps: float = option(8, *FPS)
    device: str = "auto"
    dtype: str = option("fp32", choices=DTYPES)
    engine: str = "eager"
    engine_cache: str | None = path_option(None)
    preset: str = "exact"
    guidance_interval: list | None = None
    step_cache_interval: int | None = option(None, *COUNTS)
    step_cache_depth: int | None = option(None, *COUNTS)
    memory: str = option("high", choices=RUNGS)
    ignore_memory: bool = False
    vae_device: str | None = None
    resize: str = option("fit", choices=("fit", "crop", "pad"))
    channels: str = option("rgb", choices=("rgb", "bgr"))
    anchored: bool = True
    repeats_noise: bool = True
    refinement: RefinementConfig | None = None
    reports: bool = False

    @classmethod
    def load(cls, path, **overrides):
        """Read a YAML file of these fields but for image, poses and output; `refinement` is a mapping.

        Args:
            overrides: fields -> values that replace the file's; None leaves it.

        Raises:
            MissingFileError, InputError: no such file, or keys or values that are not known.
        """
        values = read_yaml(path)
        name = shown_path(path)
        check_keys(values, _names(cls) - {"image", "poses", "output"}, f"key in {name}")
        if missing := {"svd", "unet", "pose_net", "face_encoder"} - set(values):
            raise InputError(f"{name} lacks {', '.join(sorted(missing))}; paths of the weights are needed")
        if (refinement := values.get("refinement")) is not None:
            check_keys(refinement, _names(RefinementConfig), f"key under refinement in {name}")
            if "recognizer" not in refinement:
                raise InputError(f"refinement in {name} lacks recognizer; the path of its weights is needed")
            check_values(RefinementConfig, refinement, path)
            values["refinement"] = RefinementConfig(**refinement)
        check_values(cls, values, path)
        return cls(**merge(values, overrides))

    @property
    def knobs(self):
        """What the preset, or the user, says of guidance and step caching: arguments of the pipeline."""
        preset = read_preset(self.preset)
        if others := sorted(set(preset) - set(_KNOBS)):
            raise InputError(f"preset {self.preset} has {', '.join(others)}; {', '.join(_KNOBS)} are accepted")
        return merge(preset, {name: getattr(self, name) for name in _KNOBS})


def _names(cls):
    return {item.name for item in fields(cls)}

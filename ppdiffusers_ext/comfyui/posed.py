"""What the nodes of the systems share that animate a picture by skeletons."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.comfyui import tensors, widgets
from ppdiffusers_ext.comfyui.host import Watch
from ppdiffusers_ext.comfyui.keypoints import to_poses
from ppdiffusers_ext.comfyui.models import check_known, configured_file, configured_names
from ppdiffusers_ext.comfyui.orders import Model, Order, Report, choose_way
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import DRAWN, FPS
from ppdiffusers_ext.pipelines.options import OUTPUT, SAMPLING, SPEED, VIDEO, WINDOWS
from ppdiffusers_ext.pipelines.presets import preset_names
from ppdiffusers_ext.pipelines.systems import SYSTEMS

# Options that a loader gives: they say how a model is run. The others are the sampler's.
LOADED = ("device", "dtype", "engine", "memory", "preset", "ignore_memory")
AUTO = "auto"  # the released weights where there are any, and else those that ship
RELEASED, SMALL = "released", "demo"
_OWN = ("fps", "resume", "overwrite", "skip_existing", "reports")  # inputs of the nodes, or of commands alone
_GROUPS = (VIDEO, SAMPLING, WINDOWS, SPEED, "Face", "Face optimisation", OUTPUT)
SERVER_INPUT = (
    "STRING",
    {
        "default": "",
        "tooltip": "address of a server (scripts.serve), such as http://127.0.0.1:7860, that does the work; empty: "
        "the one that PPDIFFUSERS_EXT_SERVER names, or this process where Paddle is installed",
    },
)
_FPS = (
    "FLOAT",
    {
        "default": 24.0,
        "min": float(FPS[0]),
        "max": float(FPS[1]),
        "step": 0.001,
        "tooltip": "frames per second of the skeletons, and so of the result",
    },
)


def loader_widgets(options_class: type, presets: str = "") -> dict[str, tuple]:
    """Inputs of a loader: how a model is run."""
    found = widgets.widgets(options_class, LOADED)
    found["preset"] = (preset_names(presets), found["preset"][1])
    return found


def sampler_names(options_class: type) -> list[str]:
    """Options of a sampler, in the order of their declaration."""
    return widgets.names(options_class, _GROUPS, (*LOADED, *_OWN))


def model_names(system: str, folder: str) -> list[str]:
    """Names of a system's models: the published one, the one that ships if there is one, and YAML files of the user.

    folder: of the latter, below ComfyUI's models.
    """
    ships = SYSTEMS[system].demo_file is not None
    return [*[AUTO] * ships, RELEASED, *[SMALL] * ships, *configured_names(folder)]


def load_options(model: Model, folder: str, load: Callable[[Any], Any]) -> Any:
    """The options of a model of a system that animates skeletons.

    Args:
        model: as a loader gives it.
        folder: as `model_names`'.
        load: function of a YAML file that returns its options.

    Raises:
        InputError: a model that is not known, or LoRAs, which no system takes here.
    """
    check_known(model.name, model_names(model.system, folder))
    of = SYSTEMS[model.system]
    if model.loras:
        raise InputError(f"{folder} takes no LoRA; a model as its loader gives it is accepted")
    if model.name == AUTO:
        released = load(of.config_file)
        return released if of.has_weights is None or of.has_weights(released) else load(of.demo_file)
    return load({RELEASED: of.config_file, SMALL: of.demo_file}.get(model.name) or configured_file(folder, model.name))


class LoadNode:
    """A loader; subclasses say of what.

    Attributes:
        system: name of the system.
        options_class: of its options.
        folder: of its models, below ComfyUI's.
    """

    RETURN_TYPES: tuple[str, ...] = ()
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("the model; its weights are read when it is used first, and stay for the next time",)
    FUNCTION = "load"
    system: str
    options_class: Any
    folder: str

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = model_names(cls.system, cls.folder)
        model = (names, {"default": names[0], "tooltip": "weights"})
        return {
            "required": {"model": model, **loader_widgets(cls.options_class)},
            "optional": {"server": SERVER_INPUT},
        }

    def load(self, model: str, server: str = "", **options: Any) -> tuple[Model]:
        """Check that the weights are there."""
        there = "" if model == AUTO else Path(str(model)).stem
        handle = Model(self.system, model, widgets.given(self.options_class, options), (), server, there)
        choose_way(handle).check(handle)
        return (handle,)


class AnimateNode:
    """A sampler of frames by skeletons; subclasses say of which system.

    Attributes:
        model_type: of the socket.
        options_class: of its options.
    """

    RETURN_TYPES = ("IMAGE", "AUDIO", "FLOAT", "PPDX_REPORT")
    RETURN_NAMES = ("images", "audio", "fps", "report")
    FUNCTION = "animate"
    model_type: str
    options_class: Any

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": (cls.model_type,),
                "reference_image": ("IMAGE", {"tooltip": "picture of the person"}),
                "pose_images": ("IMAGE", {"tooltip": "skeletons, one picture for each frame of the result"}),
                "fps": _FPS,
                **cls.own_widgets(),
            },
            "optional": {
                "audio": ("AUDIO", {"tooltip": "sound of the driving video, which the result gets as long as it is"}),
                "keypoints": ("POSE_KEYPOINT", {"tooltip": "poses of the skeletons, for the pose errors of a report"}),
                **cls.own_sockets(),
            },
        }

    @classmethod
    def own_widgets(cls) -> dict[str, tuple]:
        """Declared options that the node shows."""
        return widgets.widgets(cls.options_class, sampler_names(cls.options_class))

    @classmethod
    def own_sockets(cls) -> dict[str, tuple]:
        """Further inputs that may be connected."""
        return {}

    @classmethod
    def IS_CHANGED(cls, seed: int = 0, **_: Any) -> float | str:
        """A seed that is drawn makes another result each time."""
        return float("nan") if seed == DRAWN else ""

    def animate(
        self,
        model: Model,
        reference_image: Any,
        pose_images: Any,
        fps: float,
        audio: Any = None,
        keypoints: Any = None,
        **given: Any,
    ) -> tuple:
        """Animate: IMAGE, AUDIO, frames per second, and a `Report` or None."""
        check_model(model, self.model_type)
        if audio is not None:
            tensors.check_audio(audio, "audio")
        files = {
            "reference_image": tensors.picture_of(reference_image, "reference_image"),
            "pose_video": tensors.frames_of(pose_images, "pose_images"),
        }
        options, more = self.read(given)
        poses = None
        if keypoints is not None:
            height, width = files["pose_video"].shape[1:3]
            poses = to_poses(keypoints, len(files["pose_video"]), (width, height))
        made = choose_way(model).make(Order(model, options, {**files, **more}, fps, poses=poses), Watch())
        sound = tensors.silence() if audio is None else tensors.fit_audio(audio, len(made.frames) / made.fps)
        return tensors.to_image(made.frames), sound, made.fps, made.report

    def read(self, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Options and further files of the inputs."""
        return widgets.given(self.options_class, given), {}


def check_model(model: Any, kind: str) -> None:
    """Raises InputError for what no loader gave."""
    if not isinstance(model, Model):
        raise InputError(f"model is {shown(model)}; a model of the type {kind}, of its loader, is accepted")


def check_report(report: Any) -> Report:
    """Raises InputError for a report that was not asked for."""
    if not isinstance(report, Report):
        raise InputError("there is no report; that of a node whose input `report` is on is accepted")
    return report

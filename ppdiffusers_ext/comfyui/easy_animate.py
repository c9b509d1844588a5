"""Nodes of EasyAnimate, under the ids, input names and orders of widgets of the original's for V4, and more.

From aigc-apps/EasyAnimate at abcf42b (`comfyui/comfyui_nodes.py`), so that workflow files made for these load and run.
What they cannot say comes from the node EasyAnimate Options, on a socket of its own. Different from the original:
LoRA files are merged into clean weights; image to video says that it needs a start
picture; the version is what the model's folder says, and not what `config` says.
"""

import dataclasses
from pathlib import Path
from typing import Any

from ppdiffusers_ext import packaged
from ppdiffusers_ext.comfyui import host, tensors, widgets
from ppdiffusers_ext.comfyui.host import Watch
from ppdiffusers_ext.comfyui.orders import Model, Order, choose_way
from ppdiffusers_ext.comfyui.posed import LOADED, SERVER_INPUT
from ppdiffusers_ext.comfyui.posed import check_model as check_handle
from ppdiffusers_ext.errors import InputError, MissingFileError, shown
from ppdiffusers_ext.options import check_number
from ppdiffusers_ext.pipelines.easy_animate.check import FETCH, check_files
from ppdiffusers_ext.pipelines.easy_animate.options import CONFIG, EasyAnimateConfig, names_of_task
from ppdiffusers_ext.pipelines.options import CONFIGS, SAMPLING, SPEED, VIDEO
from ppdiffusers_ext.pipelines.presets import preset_names

CATEGORY = "EasyAnimateWrapper"
FOLDER = "EasyAnimate"  # below ComfyUI's models
SMALL = "demo"
RELEASED = (
    "EasyAnimateV3-XL-2-InP-512x512",
    "EasyAnimateV3-XL-2-InP-768x768",
    "EasyAnimateV3-XL-2-InP-960x960",
    "EasyAnimateV4-XL-2-InP",
)
_VERSIONS = (
    "easyanimate_video_slicevae_motion_module_v3.yaml",
    "easyanimate_video_slicevae_multi_text_encoder_v4.yaml",
)
_SCHEDULERS = ("Euler", "Euler A", "DPM++", "PNDM", "DDIM")
_BASES = (512, 768, 960, 1024)
_MODEL, _PROMPT, _OPTIONS = "EASYANIMATESMODEL", "STRING_PROMPT", "PPDX_EASY_ANIMATE_OPTIONS"
_MOST_SEED = 2**64 - 1  # of the original's; the 64th bit is left out here
_DEMO_FILE = CONFIGS / "easy_animate" / "demo.yaml"
# Options that the samplers have inputs for, or that are the loader's.
_HAVE_INPUTS = (
    *("width", "height", "base", "num_frames", "num_inference_steps", "guidance_scale", "seed", "scheduler"),
    *("strength", *LOADED),
)


def model_names() -> list[str]:
    """The original's names, then those of other folders in models/EasyAnimate, and the small model's."""
    others = [name for name in host.subfolders(FOLDER) if name not in RELEASED]
    return [*RELEASED, *others, SMALL]


def configure(order: Order, folder: Path) -> EasyAnimateConfig:
    """The checked options of an order. Its pictures are not written: only their names are needed."""
    config = _load(order.model, order.options)
    named: dict[str, Any] = {role: role for role in order.files}
    ending = "png" if config.num_frames == 1 else "mp4"
    config = dataclasses.replace(config, **named, output=str(folder / f"result.{ending}")).check(order.task)
    check_files(config)
    return config


def check_model(model: Model) -> None:
    """As `orders.Way.check`."""
    check_files(_load(model, {}))


def _load(model: Model, given: dict[str, Any]) -> EasyAnimateConfig:
    if model.name == SMALL:
        path, of_model = _DEMO_FILE, {}
    else:
        path, of_model = None, {"model": str(_folder_of(model.name))}
    loras = [[_path_of_lora(name), weight] for name, weight in model.loras]
    return EasyAnimateConfig.load(path, **{**of_model, **model.options, **given, "loras": loras})


def _folder_of(name: str) -> Path:
    """The folder of a model: in ComfyUI's, in EAS's, or where scripts/download_weights.py lays it."""
    if name not in model_names():
        raise InputError(f"model {shown(name)} is not known; {', '.join(model_names())} are accepted")
    released = Path(EasyAnimateConfig.read(CONFIG)["model"]).parent / name
    places = [*(folder / name for folder in host.model_folders(FOLDER)), released, packaged.FOLDER / released]
    for place in places:
        if place.is_dir():
            return place
    raise MissingFileError(f"model {name} is in none of {', '.join(str(place.parent) for place in places)}; {FETCH}")


def _name_there(name: str) -> str:
    """The name of a model on a server, which has the released ones by their YAML files."""
    for path in sorted(CONFIG.parent.glob("*.yaml")):
        if Path(EasyAnimateConfig.read(path).get("model", "")).name == name:
            return path.stem
    return name


def _path_of_lora(name: str) -> str:
    path = host.lora_path(name)
    if path is None:
        raise MissingFileError(
            f"LoRA file {shown(name)} is not in ComfyUI's folders of them; one that is, is accepted"
        )
    return path


class LoadEasyAnimateModel:
    """Chooses a model, and how it is run; the original's inputs, and `server`."""

    DESCRIPTION = "A model of EasyAnimate, read when it is used first. The folder says which version it is of."
    CATEGORY = CATEGORY
    RETURN_TYPES = (_MODEL,)
    RETURN_NAMES = ("easyanimate_model",)
    FUNCTION = "loadmodel"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": (model_names(), {"default": RELEASED[-1], "tooltip": f"folder in models/{FOLDER}"}),
                "low_gpu_memory_mode": (
                    [False, True],
                    {"default": False, "tooltip": "keep a network in memory only while it works (memory: low)"},
                ),
                "config": (
                    list(_VERSIONS),
                    {"default": _VERSIONS[-1], "tooltip": "without effect: the model's folder says what it is"},
                ),
                "precision": (["fp16", "bf16"], {"default": "fp16", "tooltip": "of the networks"}),
            },
            "optional": {"server": SERVER_INPUT},
        }

    def loadmodel(
        self, model: str, low_gpu_memory_mode: bool, config: str, precision: str, server: str = ""
    ) -> tuple[Model]:
        """Check that the model is there."""
        how = {"dtype": precision, "memory": "low" if low_gpu_memory_mode else "high"}
        options = widgets.given(EasyAnimateConfig, how)
        handle = Model("easy_animate", model, options, (), server, _name_there(model))
        choose_way(handle).check(handle)
        return (handle,)


class LoadEasyAnimateLora:
    """Adds a LoRA file to a model; it is merged into the weights as they are in the model's file."""

    DESCRIPTION = "A LoRA file that is merged into a model of EasyAnimate; several follow each other."
    CATEGORY = CATEGORY
    RETURN_TYPES = (_MODEL,)
    RETURN_NAMES = ("easyanimate_model",)
    FUNCTION = "load_lora"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        weight = {"default": 1.0, "min": -100.0, "max": 100.0, "step": 0.01, "tooltip": "weight of the LoRA"}
        return {
            "required": {
                "easyanimate_model": (_MODEL,),
                "lora_name": (host.lora_names(), {"tooltip": "file in models/loras"}),
                "strength_model": ("FLOAT", weight),
            }
        }

    def load_lora(self, easyanimate_model: Model, lora_name: str | None, strength_model: float) -> tuple[Model]:
        """The model with one more LoRA; as it is without a name."""
        check_handle(easyanimate_model, _MODEL)
        if lora_name is None:
            return (easyanimate_model,)
        check_number("strength_model", strength_model, -100, 100)
        loras = (*easyanimate_model.loras, (lora_name, float(strength_model)))
        handle = dataclasses.replace(easyanimate_model, loras=loras)
        choose_way(handle).check(handle)
        return (handle,)


class TextBox:
    """A prompt."""

    DESCRIPTION = "A prompt for EasyAnimate's samplers."
    CATEGORY = CATEGORY
    RETURN_TYPES = (_PROMPT,)
    RETURN_NAMES = ("prompt",)
    FUNCTION = "process"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"prompt": ("STRING", {"multiline": True, "default": ""})}}

    def process(self, prompt: str) -> tuple[str]:
        return (prompt,)


class EasyAnimateOptions:
    """Declared options that the original's nodes have no inputs for."""

    DESCRIPTION = "Further options of EasyAnimate's samplers: preset, memory, size of parts, guidance and more."
    CATEGORY = CATEGORY
    RETURN_TYPES = (_OPTIONS,)
    RETURN_NAMES = ("options",)
    FUNCTION = "collect"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        found = widgets.widgets(EasyAnimateConfig, cls.names())
        found["preset"] = (preset_names("easy_animate"), found["preset"][1])
        return {"required": found}

    @staticmethod
    def names() -> list[str]:
        """The options, in the order of their declaration."""
        kept = ("device", "engine", "preset", "ignore_memory")  # which the original's loader has no inputs for
        without = [name for name in (*_HAVE_INPUTS, "resume") if name not in kept]
        return widgets.names(EasyAnimateConfig, (VIDEO, SAMPLING, SPEED), without)

    def collect(self, **given: Any) -> tuple[dict[str, Any]]:
        """Options that are given -> values."""
        return (widgets.given(EasyAnimateConfig, given),)


def _sampler_inputs(size: dict[str, tuple], before_scheduler: dict[str, tuple] | None = None) -> dict[str, tuple]:
    """The inputs that the original's samplers share, in their order, with what differs in its places."""
    length = {"default": 72, "min": 8, "max": 144, "step": 8, "tooltip": "number of frames"}
    seed = {"default": 43, "min": 0, "max": _MOST_SEED, "tooltip": "random seed of the initial noise"}
    cfg = {"default": 7.0, "min": 1.0, "max": 20.0, "step": 0.01, "tooltip": "scale of classifier-free guidance"}
    return {
        "easyanimate_model": (_MODEL,),
        "prompt": (_PROMPT, {"tooltip": "what is to be seen"}),
        "negative_prompt": (_PROMPT, {"tooltip": "what is not to be seen"}),
        "video_length": ("INT", length),
        **size,
        "seed": ("INT", seed),
        "steps": ("INT", {"default": 25, "min": 1, "max": 200, "step": 1, "tooltip": "number of denoising steps"}),
        "cfg": ("FLOAT", cfg),
        **(before_scheduler or {}),
        "scheduler": (list(_SCHEDULERS), {"default": "Euler", "tooltip": "sampler"}),
    }


def _base() -> dict[str, tuple]:
    told = "the size is the nearest to the picture's shape with about as many pixels as a square of this side"
    return {"base_resolution": (list(_BASES), {"default": 768, "tooltip": told})}


class _Sampler:
    """What the three samplers share."""

    CATEGORY = CATEGORY
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    FUNCTION = "process"

    def _make(
        self,
        task: str,
        model: Model,
        files: dict[str, Any],
        further: dict[str, Any] | None,
        **inputs: Any,
    ) -> tuple[Any]:
        """The IMAGE of a task of EasyAnimate.

        Args:
            files: role -> pictures.
            further: of EasyAnimate Options, or None.
            inputs: the sampler's, by names of options.
        """
        check_handle(model, _MODEL)
        for name in ("prompt", "negative_prompt"):
            if not isinstance(inputs[name], str):
                raise InputError(f"{name} is {shown(inputs[name])}; a text, such as of the node TextBox, is accepted")
        check_number("seed", inputs["seed"], 0, _MOST_SEED, is_whole=True)
        inputs["seed"] &= 2**63 - 1
        known = names_of_task(task)  # what the node of options says of other tasks is not for this one
        further = {name: value for name, value in (further or {}).items() if name in known}
        options = {**further, **widgets.given(EasyAnimateConfig, inputs)}
        fps = options.setdefault("fps", EasyAnimateConfig.fps)
        made = choose_way(model).make(Order(model, options, files, float(fps), task), Watch())
        return (tensors.to_image(made.frames),)


_FURTHER = {"options": (_OPTIONS, {"tooltip": "of the node EasyAnimate Options"})}


class EasyAnimateT2VSampler(_Sampler):
    DESCRIPTION = "A video, or a picture, of a text."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side = {"min": 64, "max": 2048, "step": 16}
        size = {
            "width": ("INT", {"default": 1008, **side, "tooltip": "width of the frames in pixels"}),
            "height": ("INT", {"default": 576, **side, "tooltip": "height of the frames in pixels"}),
            "is_image": ([False, True], {"default": False, "tooltip": "one frame"}),
        }
        return {"required": _sampler_inputs(size), "optional": _FURTHER}

    def process(
        self, easyanimate_model: Model, prompt: str, negative_prompt: str, video_length: int, width: int, height: int,
        is_image: bool, seed: int, steps: int, cfg: float, scheduler: str, options: dict[str, Any] | None = None,
    ) -> tuple[Any]:  # fmt: skip
        return self._make(
            "text", easyanimate_model, {}, options, prompt=prompt, negative_prompt=negative_prompt, width=width,
            height=height, num_frames=1 if is_image else video_length, seed=seed, num_inference_steps=steps,
            guidance_scale=cfg, scheduler=scheduler,
        )  # fmt: skip


class EasyAnimateI2VSampler(_Sampler):
    DESCRIPTION = (
        "A video that begins with a picture, and ends with another if there is one. Of several pictures each is a "
        "frame of its own."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        sockets = {
            "start_img": ("IMAGE", {"tooltip": "pictures that the video begins with; one is needed"}),
            "end_img": ("IMAGE", {"tooltip": "pictures that the video ends with"}),
        }
        return {"required": _sampler_inputs(_base()), "optional": {**sockets, **_FURTHER}}

    def process(
        self, easyanimate_model: Model, prompt: str, negative_prompt: str, video_length: int, base_resolution: int,
        seed: int, steps: int, cfg: float, scheduler: str, start_img: Any = None, end_img: Any = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any]:  # fmt: skip
        if start_img is None:
            raise InputError(
                "start_img is not connected; a start picture, with or without an end picture, is accepted"
            )
        files = {"start_image": tensors.frames_of(start_img, "start_img")}
        if end_img is not None:
            files["end_image"] = tensors.frames_of(end_img, "end_img")
        return self._make(
            "pictures", easyanimate_model, files, options, prompt=prompt, negative_prompt=negative_prompt,
            base=base_resolution, num_frames=video_length, seed=seed, num_inference_steps=steps, guidance_scale=cfg,
            scheduler=scheduler,
        )  # fmt: skip


class EasyAnimateV2VSampler(_Sampler):
    DESCRIPTION = "A video that is made anew, as a whole or where a mask is white."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        strength = {"default": 0.70, "min": 0.05, "max": 1.00, "step": 0.01}
        told = {"tooltip": "part of the denoising steps that are taken from the video on"}
        inputs = _sampler_inputs(_base(), {"denoise_strength": ("FLOAT", {**strength, **told})})
        mask = {"mask": ("MASK", {"tooltip": "one for all frames or each its own: 1 where the video is made anew"})}
        return {
            "required": {**inputs, "validation_video": ("IMAGE", {"tooltip": "frames of the video"})},
            "optional": {**mask, **_FURTHER},
        }

    def process(
        self, easyanimate_model: Model, prompt: str, negative_prompt: str, video_length: int, base_resolution: int,
        seed: int, steps: int, cfg: float, denoise_strength: float, scheduler: str, validation_video: Any,
        mask: Any = None, options: dict[str, Any] | None = None,
    ) -> tuple[Any]:  # fmt: skip
        files = {"video": tensors.frames_of(validation_video, "validation_video")}
        if mask is not None:
            files["mask"] = tensors.masks_of(mask, "mask")
            if len(files["mask"]) not in (1, len(files["video"])):
                raise InputError(
                    f"mask has {len(files['mask'])} masks, and validation_video {len(files['video'])} frames; as "
                    "many, or one mask, are accepted"
                )
            tensors.check_same_size({"validation_video": files["video"], "mask": files["mask"]})
        return self._make(
            "video", easyanimate_model, files, options, prompt=prompt, negative_prompt=negative_prompt,
            base=base_resolution, num_frames=video_length, seed=seed, num_inference_steps=steps, guidance_scale=cfg,
            strength=denoise_strength, scheduler=scheduler,
        )  # fmt: skip

"""Nodes of StableAnimator: load a model, and animate the person in a picture, with its face optimised if asked for."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.comfyui import tensors, widgets
from ppdiffusers_ext.comfyui.files import write_frames, write_picture
from ppdiffusers_ext.comfyui.keypoints import write_poses
from ppdiffusers_ext.comfyui.models import with_found_files
from ppdiffusers_ext.comfyui.orders import Model, Order
from ppdiffusers_ext.comfyui.posed import AnimateNode, LoadNode, load_options, sampler_names
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import declaration
from ppdiffusers_ext.pipelines.stable_animator.check import check_files
from ppdiffusers_ext.pipelines.stable_animator.options import RefinementConfig, StableAnimationConfig

FOLDER = "StableAnimator"  # below ComfyUI's models
# Sockets of masks -> their roles as files, and options of `RefinementConfig`.
_MASKS = {"face_mask": "picture_mask", "frame_masks": "masks"}


def refinement_names() -> list[str]:
    """The options of face optimisation that name no files."""
    fields = dataclasses.fields(RefinementConfig)
    return [item.name for item in fields if not declaration(item).is_path]


def configure(order: Order, folder: Path) -> StableAnimationConfig:
    """The checked options of an order, whose pictures are written into a folder."""
    skeletons = write_frames(order.files["pose_video"], folder, "pose_video")
    write_poses(order.poses, skeletons)
    given = {
        "reference_image": write_picture(order.files["reference_image"], folder, "reference_image"),
        "pose_video": skeletons,
        "output": str(folder / "result"),
        "fps": order.fps,
    }
    options = {**order.options, **given}
    refinement = {name: options.pop(name) for name in refinement_names() if name in options}
    for role, write in (("picture_mask", write_picture), ("masks", write_frames)):
        if role in order.files:
            refinement[role] = write(order.files[role], folder, role)
    config = _load(order.model, options, refinement)
    config.check()
    config.check_inputs()
    check_files(config)
    return config


def check_model(model: Model) -> None:
    """As `orders.Way.check`."""
    check_files(_load(model, {}, {}))


def _load(model: Model, options: dict[str, Any], refinement: dict[str, Any]) -> StableAnimationConfig:
    given = {**model.options, **options}

    def load(path: Any) -> StableAnimationConfig:
        return with_found_files(StableAnimationConfig.load(path, refinement=refinement, **given))

    config = load_options(model, FOLDER, load)
    if config.refinement is None:
        return config
    return dataclasses.replace(config, refinement=with_found_files(config.refinement))


class LoadStableAnimator(LoadNode):
    """Chooses the weights of StableAnimator, and how they are run."""

    DESCRIPTION = f"StableAnimator's weights: the released ones, or those of a YAML file in models/{FOLDER}."
    CATEGORY = "ppdiffusers_ext/StableAnimator"
    RETURN_TYPES = ("PPDX_STABLE_ANIMATOR",)
    system, options_class, folder = "stable_animator", StableAnimationConfig, FOLDER


class StableAnimator(AnimateNode):
    """Animates the person in a picture by skeletons, and keeps the face."""

    DESCRIPTION = (
        "Animates the person in a picture by skeletons, such as the node Estimate Poses draws, and keeps the face. "
        "With optimize_face faces become more like the picture's in every denoising step."
    )
    CATEGORY = LoadStableAnimator.CATEGORY
    model_type, options_class = LoadStableAnimator.RETURN_TYPES[0], StableAnimationConfig

    @classmethod
    def own_widgets(cls) -> dict[str, tuple]:
        return {
            **widgets.widgets(StableAnimationConfig, sampler_names(StableAnimationConfig)),
            **widgets.widgets(RefinementConfig, refinement_names()),
        }

    @classmethod
    def own_sockets(cls) -> dict[str, tuple]:
        masks = {name: declaration(_field(option)).help for name, option in _MASKS.items()}
        return {name: ("MASK", {"tooltip": f"for optimize_face: {help}"}) for name, help in masks.items()}

    def read(self, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        files = {
            role: tensors.masks_of(given[name], name) for name, role in _MASKS.items() if given.get(name) is not None
        }
        if len(files.get("picture_mask", ())) > 1:
            raise InputError(f"face_mask has {len(files['picture_mask'])} masks; one, of the picture, is accepted")
        refined = refinement_names()
        values = {name: value for name, value in given.items() if name not in _MASKS}
        options = widgets.given(
            StableAnimationConfig, {name: value for name, value in values.items() if name not in refined}
        )
        if not options.get("optimize_face"):
            if files:
                raise InputError(
                    f"{', '.join(files)} is for face optimisation; optimize_face true is accepted with it"
                )
            return options, {}
        own = {name: value for name, value in values.items() if name in refined}
        return options | widgets.given(RefinementConfig, own), files


def _field(name: str) -> dataclasses.Field:
    return next(item for item in dataclasses.fields(RefinementConfig) if item.name == name)

"""Nodes of Animate Anyone: load a model, and animate the person in a picture by skeletons."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

from ppdiffusers_ext.comfyui.files import write_frames, write_picture
from ppdiffusers_ext.comfyui.keypoints import write_poses
from ppdiffusers_ext.comfyui.models import with_found_files
from ppdiffusers_ext.comfyui.orders import Model, Order
from ppdiffusers_ext.comfyui.posed import AnimateNode, LoadNode, load_options
from ppdiffusers_ext.pipelines.animate_anyone.check import check_files
from ppdiffusers_ext.pipelines.animate_anyone.options import Pose2VidConfig

FOLDER = "AnimateAnyone"  # below ComfyUI's models


def configure(order: Order, folder: Path) -> Pose2VidConfig:
    """The checked options of an order, whose pictures are written into a folder."""
    skeletons = write_frames(order.files["pose_video"], folder, "pose_video")
    write_poses(order.poses, skeletons)
    given = {
        "reference_image": write_picture(order.files["reference_image"], folder, "reference_image"),
        "pose_video": skeletons,
        "output": str(folder / "result.mp4"),
        "fps": order.fps,
    }
    config = _load(order.model, {**order.options, **given})
    check_files(config)
    return config


def check_model(model: Model) -> None:
    """As `orders.Way.check`."""
    check_files(_load(model, {}))


def _load(model: Model, given: dict[str, Any]) -> Pose2VidConfig:
    options = {"test_cases": {}, **model.options, **given}
    load = functools.partial(_of_file, options=options, num_frames=given.get("num_frames"))
    return load_options(model, FOLDER, load)


def _of_file(path: str | os.PathLike | None, options: dict[str, Any], num_frames: int | None) -> Pose2VidConfig:
    """The options of a file, but for the number of frames, which is that of an example there."""
    config = with_found_files(Pose2VidConfig.load(path, **options))
    return dataclasses.replace(config, num_frames=num_frames)


class LoadAnimateAnyone(LoadNode):
    """Chooses the weights of Animate Anyone, and how they are run."""

    DESCRIPTION = (
        "Animate Anyone's weights: the released ones, the small model that ships (demo), whichever is there (auto), "
        f"or a YAML file in models/{FOLDER}."
    )
    CATEGORY = "ppdiffusers_ext/Animate Anyone"
    RETURN_TYPES = ("PPDX_ANIMATE_ANYONE",)
    system, options_class, folder = "animate_anyone", Pose2VidConfig, FOLDER


class AnimateAnyone(AnimateNode):
    """Animates the person in a picture by skeletons."""

    DESCRIPTION = (
        "Animates the person in a picture by skeletons, such as the node Estimate Poses draws. One picture of "
        "skeletons gives one picture."
    )
    CATEGORY = LoadAnimateAnyone.CATEGORY
    model_type, options_class = LoadAnimateAnyone.RETURN_TYPES[0], Pose2VidConfig

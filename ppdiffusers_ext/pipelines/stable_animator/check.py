"""Checks of the files of StableAnimator, without Paddle: what is missing is told at once."""

from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.files import check_all_there
from ppdiffusers_ext.packaged import located

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig


PATHS = ("svd", "unet", "pose_net", "face_encoder")


def check_files(config: "StableAnimationConfig") -> None:
    """Raises MissingFileError for weights that are not there."""
    recognizer = [] if config.refinement is None else [("recognizer", config.refinement.recognizer)]
    if config.face_recognizer is not None:
        recognizer.append(("face_recognizer", config.face_recognizer))
    check_all_there(
        [(name, getattr(config, name) or "") for name in PATHS] + recognizer,
        "`python scripts/download_weights.py --system stable_animator` fetches the released weights, docs/weights.md "
        "lists them",
    )


def has_weights(config: "StableAnimationConfig") -> bool:
    """Whether any file or folder of weights that a configuration names is there."""
    return any(Path(located(getattr(config, name) or "")).exists() for name in PATHS)

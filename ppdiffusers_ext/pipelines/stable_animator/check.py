"""Checks of the files of StableAnimator, without Paddle: what is missing is told at once."""

from typing import TYPE_CHECKING

from ppdiffusers_ext.files import check_all_there

if TYPE_CHECKING:
    from ppdiffusers_ext.pipelines.stable_animator.options import StableAnimationConfig


PATHS = ("svd", "unet", "pose_net", "face_encoder")


def check_files(config: "StableAnimationConfig") -> None:
    """Raises MissingFileError for weights that are not there."""
    recognizer = [] if config.refinement is None else [("recognizer", config.refinement.recognizer)]
    check_all_there(
        [(name, getattr(config, name) or "") for name in PATHS] + recognizer,
        "`python scripts/download_weights.py --system stable_animator` fetches the released weights, docs/weights.md "
        "lists them",
    )

"""Which networks estimate poses: DWPose's, whose files are fetched, or those that ship with the package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ppdiffusers_ext.errors import InputError, shown, shown_path
from ppdiffusers_ext.options import any_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np

    from ppdiffusers_ext.data.skeletons import Pose


class Estimator(Protocol):
    """What estimates poses.

    Attributes:
        name: "dwpose" or "embedded".
    """

    name: str

    def __call__(self, frames: Iterable[np.ndarray]) -> Iterator[Pose]:
        """Iterable of (H, W, 3) uint8 RGB frames -> iterator over one `Pose` of all people per frame."""


AUTO, DWPOSE, EMBEDDED = "auto", "dwpose", "embedded"
CHOICES = (AUTO, DWPOSE, EMBEDDED)
FOLDER = "pretrained_weights/DWPose"
_TITLES = {DWPOSE: "DWPose", EMBEDDED: "MediaPipe (embedded)"}


def choose_estimator(poses: str, folder: str | os.PathLike | None = None) -> str:
    """ "dwpose" or "embedded".

    Args:
        poses: one of these, or "auto": DWPose where its folder is given or its files are in the default one.
        folder: of DWPose's files; the default one if left out.

    Raises:
        InputError: another name, or a folder for the networks that ship with the package.
    """
    if poses not in CHOICES:
        raise InputError(f"the estimator of poses {shown(poses)} is not known; {any_of(CHOICES)} is accepted")
    if poses == EMBEDDED and folder is not None:
        raise InputError(f"dwpose {shown_path(folder)} is given with poses {EMBEDDED}; one of them is accepted")
    if poses != AUTO:
        return poses
    from ppdiffusers_ext.preprocess.pose import DETECTOR, ESTIMATOR

    files = [Path(FOLDER) / name for name in (DETECTOR, ESTIMATOR)]
    return DWPOSE if folder is not None or all(path.exists() for path in files) else EMBEDDED


def describe_estimator(poses: str, folder: str | os.PathLike | None = None) -> str:
    """A line that tells a user which networks estimate, and, if they were not asked for, why. Arguments as above."""
    name = choose_estimator(poses, folder)
    why = f"; DWPose's files are not in {shown_path(FOLDER)}" if (poses, name) == (AUTO, EMBEDDED) else ""
    return f"Poses: {_TITLES[name]}{_variant(name)}{why}"


def _variant(name: str) -> str:
    from ppdiffusers_ext.preprocess.blaze.networks import has_large_body

    return " with the larger network of bodies" if name == EMBEDDED and has_large_body() else ""


def estimator_files(poses: str, folder: str | os.PathLike | None = None) -> list[Path]:
    """The files of the networks that estimate. Raises MissingFileError if they are not there."""
    if choose_estimator(poses, folder) == DWPOSE:
        from ppdiffusers_ext.preprocess import pose

        return pose.network_files(folder or FOLDER)
    from ppdiffusers_ext.preprocess.blaze import networks

    return networks.network_files()


def open_estimator(
    poses: str,
    folder: str | os.PathLike | None = None,
    device: str = "cpu",
    channels: str = "rgb",
    threads: int | None = None,
) -> Estimator:
    """The estimator of poses.

    Args:
        poses, folder: see `choose_estimator`.
        device, channels, threads: see `PoseEstimator`; the networks that ship with the package see
            RGB whatever `channels` is.

    Raises:
        InputError, MissingFileError: networks that cannot be used.
    """
    if choose_estimator(poses, folder) == DWPOSE:
        from ppdiffusers_ext.preprocess.pose import PoseEstimator

        return PoseEstimator(folder or FOLDER, device, channels, threads=threads)
    from ppdiffusers_ext.preprocess.blaze.estimator import EmbeddedEstimator
    from ppdiffusers_ext.preprocess.blaze.networks import open_networks

    return EmbeddedEstimator(open_networks(device, threads))

"""Streams of frames to poses and skeleton drawings, a few frames at a time; shared by the commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ppdiffusers_ext.data.skeletons import PLAIN, WEIGHTED, SkeletonPainter
from ppdiffusers_ext.preprocess.tracks import check_rule, fill_gaps, follow_person, smooth

if TYPE_CHECKING:
    from ppdiffusers_ext.data.skeletons import Pose, Style


# What the released weights of each system were trained with: drawings of MooreThreads/Moore-AnimateAnyone
# (`src/dwpose`) and of Francis-Rings/StableAnimator (`DWPose/skeleton_extraction.py`).
STYLES = {"animate_anyone": PLAIN, "stable_animator": WEIGHTED}
_SHORT_SIDE, _MULTIPLE = 512, 64  # of the frames on which Moore-AnimateAnyone estimates and draws


@dataclass(frozen=True)
class TrackOptions:
    """Options for following one person through a video.

    Attributes:
        person: a rule of `tracks.choose_person`.
        gap: longest gap, in frames, that is filled while the person is not detected.
        smoothing: strength of the One-Euro filter; 0 for none.
    """

    person: str = "largest"
    gap: int = 5
    smoothing: float = 1.0

    def __post_init__(self) -> None:
        check_rule(self.person)


def track(poses: Iterable[Pose], fps: float | Fraction, options: TrackOptions) -> Iterator[Pose]:
    """Iterable of `Pose` of all people in each frame -> iterator over the `Pose` of one person, or of nobody."""
    poses = fill_gaps(follow_person(poses, options.person), options.gap)
    return smooth(poses, fps, options.smoothing)


def draw(poses: Iterable[Pose], width: int, height: int, style: Style) -> Iterator[np.ndarray]:
    """Iterable of `Pose` -> iterator over (height, width, 3) uint8 RGB drawings."""
    return map(SkeletonPainter(height, width, style), poses)


def style_of(system: str, hands: bool = True, face: bool = True, compatible: bool = False) -> Style:
    """The `Style` of a system's released weights.

    Args:
        hands, face: whether these are drawn.
        compatible: see `Style`.
    """
    return replace(STYLES[system], hands=hands, face=face, compatible=compatible)


def small_size(width: int, height: int) -> tuple[int, int]:
    """The (width, height) at which Moore-AnimateAnyone estimates poses and draws them."""
    scale = _SHORT_SIDE / min(width, height)
    width, height = (round(side * scale / _MULTIPLE) * _MULTIPLE for side in (width, height))
    return width, height


def shrink(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Iterable of (H, W, 3) uint8 frames -> iterator over them at `small_size`."""
    for frame in frames:
        height, width = frame.shape[:2]
        way = cv2.INTER_LANCZOS4 if min(height, width) < _SHORT_SIDE else cv2.INTER_AREA
        yield cv2.resize(frame, small_size(width, height), interpolation=way)

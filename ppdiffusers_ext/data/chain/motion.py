"""Motion of a clip by optical flow: in pixels as the original counts it, and independent of size and frame rate.

The flow is Farnebäck's (2003, "Two-frame motion estimation based on polynomial expansion"), with the settings of
aigc-apps' `video_caption/compute_motion_score.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from ppdiffusers_ext.data.chain.sampling import grey_of
from ppdiffusers_ext.data.chain.steps import ClipFacts, Columns, Measure, Row, Watcher
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import option

_SAMPLES = 2  # a second
_STEP = 1 / 12  # seconds from one frame of a pair to the other: in which a hand does not leave what the flow reaches


@dataclass(frozen=True, kw_only=True)
class Motion(Measure):
    """Measures motion.

    Columns: `motion_score`, the original's: mean length of the flow in pixels of the clip between frames half a second
    apart, which grows with the size of the clip; `motion_speed`: mean length of the flow between frames 1/12 second
    apart, in short sides of the picture a second, whatever size and frame rate are. A camera that pans by half the
    height of the picture a second has 0.5; a face that talks before a still camera has about 0.03.

    Attributes:
        in_pixels: whether `motion_score` is measured: it takes longer than all else at 1080p.
        short_side: pixels of the frames that `motion_speed` is measured on.
    """

    name: ClassVar[str] = "motion"
    needs: ClassVar[tuple[str, ...]] = ("split",)

    in_pixels: bool = True
    short_side: int = option(256, 16, 4320)

    def choose(self, facts: ClipFacts) -> Iterable[int]:
        if facts.num_frames < 2:
            raise InputError("the clip has 1 frame; motion is measured between 2 or more")
        pairs = {index for pair in pairs_of(facts) for index in pair}
        return sorted(pairs | set(sampled(facts) if self.in_pixels else ()))

    def watch(self, row: Row, facts: ClipFacts) -> Watcher:
        return _Flows(facts, self.in_pixels, self.short_side)


class _Flows:
    def __init__(self, facts: ClipFacts, in_pixels: bool, short_side: int) -> None:
        self._facts, self._short_side = facts, short_side
        self._sampled = frozenset(sampled(facts) if in_pixels else ())
        self._first = {second: first for first, second in pairs_of(facts)}
        self._waits = set(self._first.values())
        self._large: np.ndarray | None = None
        self._small: dict[int, np.ndarray] = {}
        self._lengths: list[float] = []
        self._speeds: list[float] = []
        self._has_score = in_pixels

    def see(self, index: int, frame: np.ndarray) -> None:
        if index in self._sampled:
            grey = grey_of(frame)
            if self._large is not None:
                self._lengths.append(flow_length(self._large, grey))
            self._large = grey
        if index in self._first or index in self._waits:
            grey = grey_of(frame, self._short_side)
            if index in self._first:
                first = self._first[index]
                seconds = (index - first) / self._facts.fps
                self._speeds.append(flow_length(self._small.pop(first), grey) / min(grey.shape) / seconds)
            if index in self._waits:
                self._small[index] = grey

    def columns(self) -> Columns:
        scores = {"motion_score": motion_score(self._lengths)} if self._has_score else {}
        return scores | {"motion_speed": round(float(np.mean(self._speeds)), 5)}


def sampled(facts: ClipFacts) -> range:
    """Indices of the frames that the original looks at, about two a second."""
    rate = min(_SAMPLES, facts.fps)
    return range(0, facts.num_frames, min(int(facts.fps / rate), facts.num_frames - 1))


def pairs_of(facts: ClipFacts) -> list[tuple[int, int]]:
    """Pairs of frames, two a second, for `motion_speed`; the last of one may be the first of the next."""
    step = max(1, min(round(_STEP * facts.fps), facts.num_frames - 1))
    starts = dict.fromkeys(
        round(i * facts.fps / _SAMPLES) for i in range(int(facts.num_frames / facts.fps * _SAMPLES))
    )
    return [(start, start + step) for start in starts if start + step < facts.num_frames] or [(0, step)]


def flow_length(first: np.ndarray, second: np.ndarray) -> float:
    """Mean length of the flow between two greys, (H, W) uint8, in pixels."""
    # OpenCV's types want an array in the place of the flow to begin with, which may be None.
    flow = cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]
    magnitude, _ = cv2.cartToPolar(flow[..., 0], flow[..., 1])
    return float(np.mean(magnitude))


def motion_score(lengths: Sequence[float]) -> float:
    """The original's score of the lengths of all pairs."""
    return round(float(np.mean(lengths)), 5)

"""Sharpness and exposure of a clip, without a network: what blurred, dark, burnt or grey footage gives itself away by.

Sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy: a
comparative study").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from ppdiffusers_ext.data.chain.sampling import middles, resized
from ppdiffusers_ext.data.chain.steps import ClipFacts, Columns, Measure, Row, Watcher
from ppdiffusers_ext.options import option

_DARK, _BRIGHT = 24, 236  # luma of 0 to 255, below and from which there is no detail to be seen


@dataclass(frozen=True, kw_only=True)
class Sharpness(Measure):
    """Measures sharpness and exposure.

    Columns, means over the frames: `sharpness`, the variance of the Laplacian of the luma, 0 to 255, at a fixed size,
    so that it does not depend on the size of the video; `brightness`, the mean luma, and `saturation`, the mean of
    HSV's, both 0 to 1; `dark_share` and `bright_share`, the share of pixels that are nearly black or white.

    Attributes:
        num_frames: that are looked at.
        short_side: pixels of the frames as they are looked at.
    """

    name: ClassVar[str] = "sharpness"
    needs: ClassVar[tuple[str, ...]] = ("split",)

    num_frames: int = option(8, 1, 10_000)
    short_side: int = option(384, 16, 4320)

    def choose(self, facts: ClipFacts) -> Iterable[int]:
        return middles(facts.num_frames, self.num_frames)

    def watch(self, row: Row, facts: ClipFacts) -> Watcher:
        return _Looks(self.short_side)


class _Looks:
    def __init__(self, short_side: int) -> None:
        self._short_side, self._seen = short_side, list[dict[str, float]]()

    def see(self, index: int, frame: np.ndarray) -> None:
        self._seen.append(look_of(resized(frame, self._short_side)))

    def columns(self) -> Columns:
        return {name: round(float(np.mean([each[name] for each in self._seen])), 5) for name in self._seen[0]}


def look_of(frame: np.ndarray) -> dict[str, float]:
    """The columns of one frame, (H, W, 3) uint8 RGB, as it is."""
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return {
        "sharpness": float(cv2.Laplacian(luma, cv2.CV_32F).var()),
        "brightness": float(luma.mean()) / 255,
        "saturation": float(cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)[..., 1].mean()) / 255,
        "dark_share": float((luma < _DARK).mean()),
        "bright_share": float((luma >= _BRIGHT).mean()),
    }

"""Fingerprints of clips: hashes of frames that stay nearly the same when a clip is coded anew or resized.

pHash (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"): the signs of the lowest
frequencies of a small grey picture. `chain.duplicates` compares them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from ppdiffusers_ext.data.chain.sampling import middles
from ppdiffusers_ext.data.chain.steps import ClipFacts, Columns, Measure, Row, Watcher
from ppdiffusers_ext.options import option

BITS = 64
_SIDE, _KEPT = 32, 8  # of the small picture, and of the square of frequencies
_FLAT = 1.0  # the largest frequency, in units of luma, below which a picture is flat


@dataclass(frozen=True, kw_only=True)
class Fingerprint(Measure):
    """Takes the fingerprint of a clip.

    Columns: `fingerprint`, a hash of 64 bits, as 16 hexadecimal digits, of each frame that is looked at.

    Attributes:
        num_frames: that are looked at; shorter clips repeat them.
    """

    name: ClassVar[str] = "fingerprint"
    needs: ClassVar[tuple[str, ...]] = ("split",)

    num_frames: int = option(5, 1, 10_000)

    def choose(self, facts: ClipFacts) -> Iterable[int]:
        return middles(facts.num_frames, self.num_frames)

    def watch(self, row: Row, facts: ClipFacts) -> Watcher:
        return _Hashes(self.num_frames)


class _Hashes:
    def __init__(self, count: int) -> None:
        self._count, self._hashes = count, list[str]()

    def see(self, index: int, frame: np.ndarray) -> None:
        self._hashes.append(f"{hash_of(frame):016x}")

    def columns(self) -> Columns:
        seen = len(self._hashes)
        return {"fingerprint": [self._hashes[part * seen // self._count] for part in range(self._count)]}


def hash_of(frame: np.ndarray) -> int:
    """The hash of a frame, (H, W, 3) uint8 RGB: 64 bits; 0 of a flat one."""
    # First small, then grey: the other way round takes five times as long.
    small = cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    frequencies = cv2.dct(luma)[:_KEPT, :_KEPT].ravel()[1:]  # without the mean
    if np.abs(frequencies).max() < _FLAT * _SIDE / 2:
        return 0
    bits = frequencies > np.median(frequencies)
    return int.from_bytes(np.packbits([False, *bits]).tobytes(), "big")

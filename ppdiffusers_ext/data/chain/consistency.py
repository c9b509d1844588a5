"""How alike the frames of a clip are: what changes its subject within it was cut badly.

As aigc-apps/EasyAnimate's `compute_semantic_consistency`, with the features of CLIP ViT-L/14 of 336 pixels: of frames
that are coded on their own, and of the one after a second where the second of these comes later.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ppdiffusers_ext.data.chain.network_files import CLIP, folder_of
from ppdiffusers_ext.data.chain.network_step import NetworkStep
from ppdiffusers_ext.data.chain.steps import ClipFacts, Columns, Measure, Place, Row
from ppdiffusers_ext.errors import InputError

if TYPE_CHECKING:
    from ppdiffusers_ext.data.chain.networks import Clip

_BATCH = 8  # frames at a time


@dataclass(frozen=True, kw_only=True)
class Consistency(NetworkStep, Measure):
    """The measure `similarity_cross_frame`, cosines of successive frames, their mean, and `sample_frame_idx`."""

    name: ClassVar[str] = "consistency"
    checkpoints: ClassVar[tuple[str, ...]] = (CLIP,)

    _clip: "Clip | None" = field(default=None, init=False, repr=False, compare=False)

    def open(self, place: Place) -> None:
        from ppdiffusers_ext.data.chain.networks import Clip

        object.__setattr__(self, "_clip", Clip(folder_of(self.weights, CLIP), self.device))

    def choose(self, facts: ClipFacts) -> Iterable[int]:
        keyframes, second = sorted(facts.keyframes), round(facts.fps)
        is_late = len(keyframes) < 2 or keyframes[1] > second
        return sorted({*keyframes, *([min(second, facts.num_frames - 1)] if is_late else [])})

    def watch(self, row: Row, facts: ClipFacts) -> "_Watcher":
        assert self._clip is not None, "open() comes first"
        return _Watcher(self._clip)


class _Watcher:
    def __init__(self, clip: "Clip") -> None:
        self._clip, self._indices = clip, list[int]()
        self._waiting, self._features = list[np.ndarray](), list[np.ndarray]()

    def see(self, index: int, frame: np.ndarray) -> None:
        self._indices.append(index)
        self._waiting.append(self._clip.prepare(frame))
        if len(self._waiting) == _BATCH:
            self._embed()

    def _embed(self) -> None:
        if self._waiting:
            self._features.append(self._clip.images(np.stack(self._waiting)))
            self._waiting = []

    def columns(self) -> Columns:
        self._embed()
        features = np.concatenate(self._features)
        if len(features) < 2:
            raise InputError("a clip of one frame has none to be compared with; two frames or more are needed")
        cosines = (features[:-1] * features[1:]).sum(axis=-1, dtype=np.float64)
        return {
            "similarity_cross_frame": [round(float(cosine), 5) for cosine in cosines],
            "similarity_mean": round(float(cosines.mean()), 5),
            "sample_frame_idx": self._indices,
        }

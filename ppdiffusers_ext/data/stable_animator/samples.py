"""Samples of StableAnimator's training clips: sample n of a run follows from the seed and n alone.

Sets of clips may have different sizes; all samples of an optimisation step are of one set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppdiffusers_ext.data.retrying import RetryingClips
from ppdiffusers_ext.data.stable_animator.clips import read_embedding, read_sample

if TYPE_CHECKING:
    from ppdiffusers_ext.data.stable_animator.clips import AnimationClip


@dataclass(frozen=True)
class ClipSet:
    """Clips that are trained on at one size.

    Attributes:
        clips: list of `AnimationClip`.
        width, height: pixels.
        share: how often a step is of this set, relative to the others.
    """

    clips: list
    width: int
    height: int
    share: float = 1.0


class AnimationSamples(RetryingClips):
    """A dataset of samples, each a dict of

    pixel_values, pose_pixels: (frames, 3, height, width) fp32 in [-1, 1].
    face_masks: (frames, 1, height, width) fp32 in [0, 1].
    joints: (1 + frames, 18, 3) fp32, see `Sample`.
    reference_image: (3, height, width) in [-1, 1].
    face_embedding: (512,) fp32.
    clip: the reference's place.
    index, failures: see `RetryingClips`.

    Each epoch of a set is a shuffle of its clips.

    Args:
        sets: list of `ClipSet`.
        length, seed: see `RetryingClips`.
        samples_per_step: samples of an optimisation step.
        num_frames, stride, reference_frames: of a sample, see `choose_frames`.
        embed: called with the reference, (height, width, 3) uint8, gives its face's embedding, where the clip
            has none; not needed where all have one.
    """

    def __init__(
        self,
        sets: Sequence[ClipSet],
        length: int,
        seed: int,
        samples_per_step: int,
        num_frames: int,
        stride: int,
        embed: Any,
        reference_frames: int = 0,
    ) -> None:
        super().__init__(length, seed)
        self._sets, self._samples_per_step = list(sets), samples_per_step
        self._num_frames, self._stride, self._embed = num_frames, stride, embed
        self._reference_frames = reference_frames

    @property
    def num_clips(self) -> int:
        return sum(len(each.clips) for each in self._sets)

    def set_of(self, index: int) -> int:
        """The number of the set that a sample is of: the same for all of a step."""
        if len(self._sets) == 1:
            return 0
        shares = np.array([each.share for each in self._sets], np.float64)
        rng = np.random.default_rng([self._seed, index // self._samples_per_step, *b"set"])
        return int(rng.choice(len(self._sets), p=shares / shares.sum()))

    def _clips_of(self, index: int) -> "Sequence[AnimationClip]":
        return self._sets[self.set_of(index)].clips

    def _path_of(self, clip: "AnimationClip") -> Path:
        return clip.images

    def _read(self, clip: "AnimationClip", rng: np.random.Generator, index: int) -> dict[str, Any]:
        chosen = self._sets[self.set_of(index)]
        frames = (self._num_frames, self._stride, self._reference_frames)
        sample = read_sample(clip, rng, chosen.width, chosen.height, *frames)
        return {
            "picture": sample.picture,
            "pixel_values": sample.pixels,
            "pose_pixels": sample.poses,
            "face_masks": sample.masks,
            "joints": sample.joints,
            "reference_image": sample.reference,
            "face_embedding": read_embedding(clip.embedding) if clip.embedding is not None else None,
            "clip": sample.place,
        }

    def _finished(self, sample: dict[str, Any]) -> dict[str, Any]:
        picture = sample.pop("picture")
        if sample["face_embedding"] is None:
            sample["face_embedding"] = self._embed(picture)
        return sample

"""Samples of StableAnimator's training clips: sample n of a run follows from the seed and n alone.

Sets of clips may have different sizes; all samples of an optimisation step are of one set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppdiffusers_ext.data.animation_clips import read_embedding, read_sample
from ppdiffusers_ext.errors import InputError

_ATTEMPTS = 20  # clips that are tried for one sample before it is given up


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


class AnimationSamples:
    """A dataset (of `paddle.io`'s kind) of samples 0 to `length` - 1.

    Each epoch of a set is a shuffle of its clips. A clip that cannot be read is replaced by another, and named in the
    sample.

    Args:
        sets: list of `ClipSet`.
        length: samples of the whole run.
        seed: of everything that is drawn.
        samples_per_step: samples of an optimisation step.
        num_frames, stride: of a sample, see `choose_frames`.
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
    ) -> None:
        self._sets, self._length, self._seed, self._samples_per_step = list(sets), length, seed, samples_per_step
        self._num_frames, self._stride, self._embed = num_frames, stride, embed

    @property
    def num_clips(self) -> int:
        return sum(len(each.clips) for each in self._sets)

    def __len__(self) -> int:
        return self._length

    def set_of(self, index: int) -> int:
        """The number of the set that a sample is of: the same for all of a step."""
        if len(self._sets) == 1:
            return 0
        shares = np.array([each.share for each in self._sets], np.float64)
        rng = np.random.default_rng([self._seed, index // self._samples_per_step, *b"set"])
        return int(rng.choice(len(self._sets), p=shares / shares.sum()))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Sample `index`: a dict of

        pixel_values, pose_pixels: (frames, 3, height, width) fp32 in [-1, 1].
        face_masks: (frames, 1, height, width) fp32 in [0, 1].
        reference_image: (3, height, width) in [-1, 1].
        face_embedding: (512,) fp32.
        index: the sample's own. clip: the reference's place.
        failures: what was tried before and could not be read, as "path: reason".

        Raises:
            InputError: no clip of many that were tried can be read.
        """
        chosen, failures = self._sets[self.set_of(index)], []
        for attempt in range(_ATTEMPTS):
            rng = np.random.default_rng([self._seed, index, attempt])
            number = self._shuffled(index, len(chosen.clips)) if attempt == 0 else int(rng.integers(len(chosen.clips)))
            clip = chosen.clips[number]
            try:
                sample = read_sample(clip, rng, chosen.width, chosen.height, self._num_frames, self._stride)
                embedding = read_embedding(clip.embedding) if clip.embedding is not None else None
            except (InputError, OSError) as error:
                failures.append(f"{clip.images}: {' '.join(str(error).split())[:200]}")
                continue
            if embedding is None:
                embedding = self._embed(sample.picture)
            return {
                "pixel_values": sample.pixels,
                "pose_pixels": sample.poses,
                "face_masks": sample.masks,
                "reference_image": sample.reference,
                "face_embedding": embedding,
                "index": index,
                "clip": sample.place,
                "failures": failures,
            }
        raise InputError(f"none of {_ATTEMPTS} clips can be read, the last: {failures[-1]}")

    def _shuffled(self, index, count):
        epoch, position = divmod(index, count)
        return int(np.random.default_rng([self._seed, epoch]).permutation(count)[position])

"""Datasets of training clips, in which a clip that cannot be read is replaced by another, whoever asks for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.errors import InputError

_ATTEMPTS = 20  # clips that are tried for one sample before it is given up


class RetryingClips:
    """A dataset (of `paddle.io`'s kind) of samples 0 to `length` - 1: sample n follows from the seed and n alone.

    Each epoch is a shuffle of all clips. Subclasses have `_clips_of`, `_read` and `_path_of`.

    Args:
        length: samples of the whole run.
        seed: of everything that is drawn.
    """

    def __init__(self, length: int, seed: int) -> None:
        self._length, self._seed = length, seed

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Sample `index`: what `_read` gives, with

        index: the sample's own.
        failures: what was tried before and could not be read, as "path: reason".

        Raises:
            InputError: no clip of many that were tried can be read.
        """
        clips = self._clips_of(index)
        failures: list[str] = []
        tried: list[Any] = []
        for attempt in range(_ATTEMPTS):
            rng = np.random.default_rng([self._seed, index, attempt])
            clip = clips[self._shuffled(index, len(clips))] if attempt == 0 else self._another(clips, rng, tried)
            tried.append(clip)
            try:
                sample = self._read(clip, rng, index)
            except (InputError, OSError) as error:
                failures.append(f"{self._path_of(clip)}: {' '.join(str(error).split())[:200]}")
                continue
            return {**self._finished(sample), "index": index, "failures": failures}
        raise InputError(
            f"none of {_ATTEMPTS} clips can be read, the last: {failures[-1]}; scripts.check_dataset names them all"
        )

    def _clips_of(self, index: int) -> Sequence[Any]:
        """The list of clips that a sample is of one of."""
        raise NotImplementedError

    def _read(self, clip: Any, rng: np.random.Generator, index: int) -> dict[str, Any]:
        """A sample of a clip: a dict with `clip`, its place. Raises InputError, OSError where it cannot be read."""
        raise NotImplementedError

    def _another(self, clips: Sequence[Any], rng: np.random.Generator, tried: Sequence[Any]) -> Any:
        """The clip that is tried next.

        Args:
            clips: what `_clips_of` gave.
            tried: those that could not be read.
        """
        return clips[int(rng.integers(len(clips)))]

    def _finished(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The sample with what does not depend on the clip's files; an error of this is no fault of the clip."""
        return sample

    def _path_of(self, clip: Any) -> Path:
        raise NotImplementedError

    def _shuffled(self, index: int, count: int) -> int:
        epoch, position = divmod(index, count)
        return int(np.random.default_rng([self._seed, epoch]).permutation(count)[position])

"""Samples for the training of EasyAnimate's video autoencoder: square parts of clips and pictures.

From aigc-apps/EasyAnimate (`easyanimate/vae/ldm/data/dataset_image_video.py`), without the smaller copies that it
makes and does not use. Sample n of a run follows from the seed and n alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ppdiffusers_ext.data.easy_animate.batch_plan import BatchPlan
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.retrying import RetryingClips
from ppdiffusers_ext.errors import InputError

if TYPE_CHECKING:
    from ppdiffusers_ext.data.easy_animate.clips import CaptionedClip


@dataclass(frozen=True)
class SquareSettings:
    """What the samples are like, under the original's names.

    Attributes:
        video_size, size: pixels, side of a sample of a video, and of a picture.
        video_len: frames of a sample of a video.
        slice_interval: frames of the file from one to the next; closer in files that are shorter.
        min_crop_f, max_crop_f: bounds of a square's side, as a part of the picture's short side.
    """

    video_size: int = 256
    size: int = 256
    video_len: int = 25
    slice_interval: int = 1
    min_crop_f: float = 0.25
    max_crop_f: float = 1.0


def choose_clip(rng: np.random.Generator, num_frames: int, count: int, interval: int) -> np.ndarray:
    """Numbers of `count` frames of a file, `interval` apart, at a random place: (count,) int64.

    A shorter file gives closer frames, and some more than once if it has fewer than `count`.
    """
    length = min(num_frames, (count - 1) * interval + 1)
    start = int(rng.integers(num_frames - length + 1))
    return np.linspace(start, start + length - 1, count).astype(np.int64)


def cut_square(rng: np.random.Generator, frames: np.ndarray, side: int, smallest: float, largest: float) -> np.ndarray:
    """One square of all frames, at a random place, resized by area.

    Args:
        frames: (n, H, W, 3) uint8.
        side: pixels of the result.
        smallest, largest: bounds of the square's side, as a part of the short side of the frames.

    Returns:
        (3, n, side, side) fp32 in [-1, 1].
    """
    height, width = frames.shape[1:3]
    square = max(int(min(height, width) * rng.uniform(smallest, largest)), 1)
    top, left = int(rng.integers(height - square + 1)), int(rng.integers(width - square + 1))
    part = frames[:, top : top + square, left : left + square]
    resized = [cv2.resize(np.ascontiguousarray(frame), (side, side), interpolation=cv2.INTER_AREA) for frame in part]
    return (np.stack(resized) / 127.5 - 1.0).astype(np.float32).transpose(3, 0, 1, 2)


class SquareClips(RetryingClips):
    """A dataset of samples, each a dict of

    pixel_values: (3, frames, side, side) fp32 in [-1, 1]; one frame of a picture.
    clip: the file's path.
    index, failures: see `RetryingClips`.

    Args:
        clips: list of `CaptionedClip`, whose captions are not used.
        length, seed: see `RetryingClips`.
        settings: `SquareSettings`.
        batch_size: samples that follow each other and are all of videos or all of pictures.
    """

    def __init__(
        self, clips: Sequence["CaptionedClip"], length: int, seed: int, settings: SquareSettings, batch_size: int
    ) -> None:
        super().__init__(length, seed)
        self._clips, self._settings, self._batch_size = list(clips), settings, batch_size
        self._plan = BatchPlan([clip.is_video for clip in self._clips], batch_size, seed)

    @property
    def num_clips(self) -> int:
        return len(self._clips)

    def _clips_of(self, index: int) -> "Sequence[CaptionedClip]":
        return [self._clips[number] for number in self._plan.alike(index // self._batch_size)]

    def _shuffled(self, index: int, count: int) -> int:
        batch, place = divmod(index, self._batch_size)
        return int(np.searchsorted(self._plan.alike(batch), self._plan.batch(batch)[place]))

    def _path_of(self, clip: "CaptionedClip") -> Path:
        return clip.path

    def _read(self, clip: "CaptionedClip", rng: np.random.Generator, index: int) -> dict[str, Any]:
        settings = self._settings
        if clip.is_video:
            video = FrameReader(clip.path)
            if not len(video):
                raise InputError(f"{clip.path} has no frames; 1 or more are needed")
            frames = video.read(choose_clip(rng, len(video), settings.video_len, settings.slice_interval).tolist())
        else:
            frames = np.asarray(read_image(clip.path))[None]
        side = settings.video_size if clip.is_video else settings.size
        pixels = cut_square(rng, frames, side, settings.min_crop_f, settings.max_crop_f)
        return {"pixel_values": pixels, "clip": str(clip.path)}

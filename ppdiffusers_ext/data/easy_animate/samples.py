"""Samples of EasyAnimate's training clips, and batches of them: sample n follows from the seed and n alone.

From aigc-apps/EasyAnimate (`easyanimate/data/dataset_image_video.py`, `collate_fn` of `scripts/train.py`). There,
masks and the frame that CLIP sees are drawn before a batch is cut to its shortest sample, so that they may be of
frames that are not in it, and all samples of a batch are resized as the first one is; here neither is so. Frames are
resized once, with antialiasing, where the original first shrinks large ones without it.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.data.easy_animate.batch_plan import BatchPlan
from ppdiffusers_ext.data.easy_animate.batch_sizes import BatchSize, count_repeats, draw_batch_size, round_length
from ppdiffusers_ext.data.easy_animate.buckets import nearest_ratio
from ppdiffusers_ext.data.easy_animate.clips import CaptionedClip
from ppdiffusers_ext.data.easy_animate.frame_choice import check_length, choose_frames, shrink_size
from ppdiffusers_ext.data.easy_animate.masks import random_mask, shares_of_clip_frames
from ppdiffusers_ext.data.easy_animate.resampling import resize_middle
from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.retrying import RetryingClips
from ppdiffusers_ext.errors import InputError

_SQUARE = 1.0  # key of the shape of all clips where buckets are off
_DRAWS = 16  # of another clip of the same shape, before it is taken that there is none


_nearest_ratio = lru_cache(10_000)(nearest_ratio)  # few sizes are those of many clips


class _Numbered(Sequence):
    """The clips of some items, without a list of them: there may be a million.

    Args:
        clips, items: of all, and the number of the clip of each item.
        chosen: the items' numbers.
    """

    def __init__(self, clips: Sequence[CaptionedClip], items: np.ndarray, chosen: np.ndarray) -> None:
        self._clips, self._items, self._chosen = clips, items, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, place: Any) -> Any:
        return self._clips[self._items[self._chosen[place]]]


def ratio_of(clip: CaptionedClip, settings: SampleSettings) -> float:
    """The key of `SHAPES` that is nearest to the shape of a clip, height to width; that of squares without buckets."""
    if not settings.enable_bucket or clip.width is None or clip.height is None:
        return _SQUARE
    return _nearest_ratio(clip.height, clip.width)


def mean_side(clip: CaptionedClip, settings: SampleSettings) -> float:
    """Mean of height and width of a clip, in pixels, once it is shrunk."""
    if clip.width is None or clip.height is None:
        return settings.largest_side
    return sum(shrink_size(clip.height, clip.width, settings.largest_side)) / 2


class CaptionedSamples(RetryingClips):
    """A dataset of samples, each a dict of

    pixel_values: (frames, 3, height, width) fp32 in [-1, 1]; one frame of a picture.
    text: the caption, or "" where it is dropped.
    clip: the file's path.
    num_frames: frames that it had before the random cut.
    index, failures: see `RetryingClips`.

    Samples `batch_size` * n to `batch_size` * (n + 1) - 1 are batch n: of one kind and one size. Batches, too, are the
    same whatever the number of processes, which take them in turn.

    Args:
        clips: list of `CaptionedClip`; with sizes if `settings.enable_bucket`.
        length, seed: see `RetryingClips`.
        settings: `SampleSettings`.
        batch_size: samples of a batch of one process; or of several of them, which then are of one size.
        samples_per_step: samples of an optimisation step.

    Raises:
        InputError: there are no clips, or `settings.video_repeat` leaves all of them out.
    """

    def __init__(
        self,
        clips: Sequence[CaptionedClip],
        length: int,
        seed: int,
        settings: SampleSettings,
        batch_size: int,
        samples_per_step: int,
    ) -> None:
        super().__init__(length, seed)
        self._clips, self._settings = list(clips), settings
        self._batch_size, self._samples_per_step = batch_size, samples_per_step
        self._items = number_items([clip.is_video for clip in clips], settings.video_repeat)
        if not len(self._items):
            raise InputError(f"none of {len(clips)} clips is left with --video_repeat {settings.video_repeat}")
        self._keys = list(map(self._key_of, clips))
        self._plan = BatchPlan([self._keys[item] for item in self._items], batch_size, seed)
        of_videos = np.array([clip.is_video for clip in clips])
        self._of_kind = {kind: np.flatnonzero(of_videos == kind) for kind in (False, True)}
        self._batch_of = lru_cache(2)(self._plan_batch)

    @property
    def num_clips(self) -> int:
        return len(self._clips)

    def _key_of(self, clip: CaptionedClip) -> tuple[bool, Any]:
        """Kind and shape of a clip, of which all in a batch have the same."""
        return clip.is_video, ratio_of(clip, self._settings)

    def _plan_batch(self, number: int) -> tuple[np.ndarray, BatchSize]:
        """The items of a batch, and its `BatchSize`."""
        items = self._plan.batch(number)
        clips = [self._clips[clip] for clip in self._items[items]]
        is_video, ratio = clips[0].is_video, ratio_of(clips[0], self._settings)
        step = number * self._batch_size // self._samples_per_step
        of_batch, of_step = self._rng(number, "batch"), self._rng(step, "step")
        side = min(mean_side(clip, self._settings) for clip in clips)
        return items, draw_batch_size(of_batch, of_step, self._settings, is_video, ratio, side)

    def _rng(self, number: int, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, number, *purpose.encode()])

    def _clips_of(self, index: int) -> Sequence[CaptionedClip]:
        return _Numbered(self._clips, self._items, self._plan.alike(index // self._batch_size))

    def _shuffled(self, index: int, count: int) -> int:
        number, place = divmod(index, self._batch_size)
        items, _ = self._batch_of(number)
        return int(np.searchsorted(self._plan.alike(number), items[place]))

    def _another(self, clips: Sequence[Any], rng: np.random.Generator, tried: Sequence[Any]) -> CaptionedClip:
        """One of the same shape or, where all of these were tried, of the same kind."""
        is_video = tried[0].is_video
        for _ in range(_DRAWS):
            clip = clips[int(rng.integers(len(clips)))]
            if clip not in tried:
                return clip
        return self._clips[int(rng.choice(self._of_kind[is_video]))]

    def _path_of(self, clip: CaptionedClip) -> Path:
        return clip.path

    def _read(self, clip: CaptionedClip, rng: np.random.Generator, index: int) -> dict[str, Any]:
        _, size = self._batch_of(index // self._batch_size)
        pixels, num_frames = read_pixels(clip, rng, self._settings, size)
        return {
            "pixel_values": pixels,
            "text": self._text_of(clip, index),
            "clip": str(clip.path),
            "num_frames": num_frames,
        }

    def _text_of(self, clip: CaptionedClip, index: int) -> str:
        """The caption, or "" where it is dropped."""
        return "" if self._rng(index, "text").random() < self._settings.text_drop_ratio else clip.text


def read_pixels(
    clip: CaptionedClip, rng: np.random.Generator, settings: SampleSettings, size: BatchSize
) -> tuple[np.ndarray, int]:
    """(frames, 3, height, width) fp32 in [-1, 1] of a clip, and how many frames it had before the random cut.

    Args:
        rng: of the place in the file.
        size: `BatchSize`.

    Raises:
        MissingFileError, InputError: the file cannot be read, or is too short.
    """
    if not clip.is_video:
        picture = np.asarray(read_image(clip.path))
        return resize_middle(picture, size.bucket.size, size.bucket.cover(*picture.shape[:2]))[None], 1
    reader = FrameReader(clip.path)
    check_length(len(reader), settings)
    most, stride = settings.video_sample_n_frames, settings.video_sample_stride
    chosen = choose_frames(rng, len(reader), most, stride, settings.keeps_stride)
    length = min(round_length(len(chosen), settings.frames_multiple), size.max_frames)
    cut = min(length, size.cut_frames)
    pixels = np.empty((cut, 3, *size.bucket.size), np.float32)
    covering = size.bucket.cover(reader.info.height, reader.info.width)
    for place, (_, frame) in enumerate(reader.stream(chosen[:cut].tolist())):
        pixels[place] = resize_middle(frame, size.bucket.size, covering)
    return pixels, length


def number_items(is_video: Sequence[bool], video_repeat: int) -> np.ndarray:
    """The numbers of the clips that an epoch has: pictures once, then videos so often. (items,) int64."""
    numbers, videos = np.arange(len(is_video)), np.asarray(is_video, bool)
    return np.concatenate([numbers[~videos], *[numbers[videos]] * video_repeat])


class CaptionedCollate:
    """Makes a batch of samples: a dict of

    pixel_values: (batch, frames, 3, height, width) fp32 in [-1, 1], of as many frames as the shortest sample has.
    texts: list of str.
    repeats: int, how often the batch stands in the loss, each time with other noise (token-length batching).
    index: (batch,) int64.
    clips: list of the files' names.
    failures: list of text.
    masks: (batch, frames, 1, height, width) fp32, 1 where frames are to be generated; in the mode "inpaint" only.
    clip_pixels: (batch, height, width, 3) fp32, 0 to 255: the frame that CLIP sees; in the mode "inpaint" only.

    Args:
        settings: `SampleSettings`.
        seed: of masks and of CLIP's frames, which follow from it and the samples' numbers.
    """

    def __init__(self, settings: SampleSettings, seed: int) -> None:
        self._settings, self._seed = settings, seed

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        count = min(len(sample["pixel_values"]) for sample in samples)
        batch: dict[str, Any] = {
            "pixel_values": np.stack([sample["pixel_values"][:count] for sample in samples]),
            "texts": [sample["text"] for sample in samples],
            "index": np.array([sample["index"] for sample in samples], np.int64),
            "clips": [sample["clip"] for sample in samples],
            "failures": [failure for sample in samples for failure in sample["failures"]],
        }
        height, width = batch["pixel_values"].shape[3:]
        longest = min(sample["num_frames"] for sample in samples)
        batch["repeats"] = count_repeats(longest, (height, width), self._settings)
        if self._settings.train_mode == "inpaint":
            kinds = self._settings.mask_kinds
            masks, seen = [], []
            for sample, pixels in zip(samples, batch["pixel_values"]):
                rng = np.random.default_rng([self._seed, sample["index"], *b"mask"])
                masks.append(random_mask(rng, count, height, width, kinds))
                frame = pixels[rng.choice(count, p=shares_of_clip_frames(count, kinds))]
                seen.append((frame.transpose(1, 2, 0) + 1) * np.float32(127.5))
            batch["masks"] = np.stack(masks).astype(np.float32)
            batch["clip_pixels"] = np.stack(seen)
        return batch

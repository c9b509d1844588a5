"""What EasyAnimate's frozen networks make of training clips, computed once and kept in files.

A clip has one file for each of its variants: other frames of it and, for inpainting, other masks; where samples have
random sizes and lengths, those are drawn for each variant as a training draws them for a batch. A text has one file.
Files are named by digests of what they were made of: the content of the clip or the text, the settings of the samples,
the seed, and the files of the networks. So none that is stale is read, and making them goes on where it was stopped: a
file is there as a whole or not at all.
"""

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.data.easy_animate.batch_sizes import BatchSize, count_repeats, draw_batch_size
from ppdiffusers_ext.data.easy_animate.clips import CaptionedClip, name_some
from ppdiffusers_ext.data.easy_animate.samples import (
    CaptionedCollate,
    CaptionedSamples,
    mean_side,
    ratio_of,
    read_pixels,
)
from ppdiffusers_ext.data.easy_animate.settings import OF_BATCHES, SampleSettings
from ppdiffusers_ext.data.records import digest, digest_of
from ppdiffusers_ext.errors import InputError, MissingFileError, counted
from ppdiffusers_ext.training.kept_arrays import Arrays, contents_of, keep
from ppdiffusers_ext.weights.loading import load_arrays

logger = logging.getLogger(__name__)

# Settings that change nothing of what a file holds; the second ones only where they are off, or no size is drawn.
_OF_NO_FILE, _OF_DRAWN = ("video_repeat", "text_drop_ratio"), (*OF_BATCHES, "token_sample_size")
_LENGTH = "num_frames"  # of what is kept: frames before the random cut


class LatentCache:
    """The files of a folder.

    Args:
        folder: made where it is missing.
        settings: `SampleSettings`.
        networks: name -> digest of the files of each frozen network.
        seed: of frames and masks.
        variants: of each clip.

    Attributes:
        draws: whether variants of a clip may have different sizes.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        settings: SampleSettings,
        networks: Mapping[str, str],
        seed: int,
        variants: int = 1,
    ) -> None:
        self.settings, self.seed, self.variants = settings, seed, variants
        self.draws = any(getattr(settings, name) for name in OF_BATCHES)
        self._folder = Path(folder)
        without = _OF_NO_FILE if self.draws else (*_OF_NO_FILE, *_OF_DRAWN)
        options = {name: value for name, value in vars(settings).items() if name not in without}
        self._of_texts = digest_of(sorted(networks.items()))
        self._of_clips = digest_of([self._of_texts, sorted(options.items()), seed])
        self._contents: dict[str, str] = {}
        side = settings.largest_side
        self._size_of_all = functools.cache(
            lambda is_video, ratio: draw_batch_size(None, None, settings, is_video, ratio, side)  # which draws nothing
        )

    def look_at(self, clips: Sequence[CaptionedClip]) -> None:
        """Find out the content of clips, by which their files are named. Of files that did not change it is known.

        Raises:
            MissingFileError, InputError: a clip is missing or cannot be read, or what was found cannot be kept.
        """
        self._contents.update(contents_of([clip.path for clip in clips], self._folder))

    def path_of_clip(self, clip: CaptionedClip, variant: int) -> Path:
        """The file of a clip that was looked at."""
        name = self._name_of(clip, variant)
        if self.settings.enable_bucket:  # whose sizes depend on what is said of the clip's, beside its content
            name = digest_of([name, str(self.size_of(clip, variant))])
        return self._folder / "clips" / name[:2] / f"{name}.safetensors"

    def _name_of(self, clip: CaptionedClip, variant: int) -> str:
        kind = "video" if clip.is_video else "picture"
        return digest_of([self._of_clips, self._contents[str(clip.path)], kind, variant])

    def size_of(self, clip: CaptionedClip, variant: int) -> BatchSize:
        """What a variant of a clip that was looked at is resized and cut to: drawn as a training draws it for a batch,
        and by `keep_all_node_same_token_length` as for a step.
        """
        ratio, side = ratio_of(clip, self.settings), mean_side(clip, self.settings)
        if not self.draws:
            return self._size_of_all(clip.is_video, ratio)
        name = self._name_of(clip, variant).encode()
        of_batch, of_step = (np.random.default_rng([self.seed, *purpose, *name]) for purpose in (b"batch", b"step"))
        return draw_batch_size(of_batch, of_step, self.settings, clip.is_video, ratio, side)

    def path_of_text(self, text: str) -> Path:
        name = digest_of([self._of_texts, text])
        return self._folder / "texts" / name[:2] / f"{name}.safetensors"

    def read_clip(self, clip: CaptionedClip, variant: int) -> Arrays:
        """What was kept of a clip. Raises MissingFileError or InputError where there is nothing, or a damaged file."""
        return load_arrays(self.path_of_clip(clip, variant))

    def read_text(self, text: str) -> Arrays:
        """As `read_clip`, of a text."""
        return load_arrays(self.path_of_text(text))

    def check(self, clips: Sequence[CaptionedClip], max_bad_share: float) -> None:
        """Refuse clips, which were looked at, that lack files; a share of them, which could not be read, is told.

        Raises:
            MissingFileError: more of them, or all.
        """
        absent = [clip.path for clip in clips if any(not path.is_file() for path in self._paths_of(clip))]
        told = (
            f"{self._folder} lacks the latents of {len(absent)} of {counted(len(clips), 'clip')}: {name_some(absent)}"
        )
        if len(absent) > max_bad_share * len(clips) or len(absent) == len(clips):
            raise MissingFileError(
                f"{told}; scripts.cache_latents makes them, with the same seed, networks and options of the samples"
            )
        if absent:
            logger.warning("%s", told)

    def _paths_of(self, clip: CaptionedClip) -> Iterator[Path]:
        yield from (self.path_of_clip(clip, variant) for variant in range(self.variants))
        yield from map(self.path_of_text, ("", clip.text))


def fill(
    cache: LatentCache,
    clips: Sequence[CaptionedClip],
    encode: Callable[[dict[str, Any]], Arrays],
    embed: Callable[[str], Arrays],
    on_clip: Callable[[CaptionedClip, str | None], object] | None = None,
) -> int:
    """Make the files that a cache lacks. Returns how many clips cannot be read.

    Args:
        clips: that were looked at (`LatentCache.look_at`).
        encode: of a batch of one sample, see `CaptionedCollate`: what is kept of it.
        embed: of a text: what is kept of it.
        on_clip: called with each clip that is done, and with what is wrong with it, or None.

    Raises:
        InputError: a file cannot be written.
    """
    for text in dict.fromkeys(["", *(clip.text for clip in clips)]):
        keep(cache.path_of_text(text), functools.partial(embed, text))
    collate, bad = CaptionedCollate(cache.settings, cache.seed), 0

    def encode_variant(clip: CaptionedClip, variant: int) -> Arrays:
        sample = _sample_of(cache, clip, variant)
        arrays = encode(collate([sample]))
        return {**arrays, _LENGTH: np.array(sample["num_frames"])} if cache.draws else arrays

    for clip in clips:
        problem = None
        try:
            for variant in range(cache.variants):
                keep(cache.path_of_clip(clip, variant), functools.partial(encode_variant, clip, variant))
        except _UnreadableError as error:
            problem, bad = str(error), bad + 1
        if on_clip is not None:
            on_clip(clip, problem)
    return bad


class _UnreadableError(Exception):
    """A clip cannot be read."""


def _sample_of(cache: LatentCache, clip: CaptionedClip, variant: int) -> dict[str, Any]:
    """The sample of a variant: its draws follow from the seed, the content of the clip and the variant alone."""
    name = cache.path_of_clip(clip, variant).stem
    rng = np.random.default_rng([cache.seed, *name.encode()])
    try:
        pixels, num_frames = read_pixels(clip, rng, cache.settings, cache.size_of(clip, variant))
    except (InputError, OSError) as error:
        raise _UnreadableError(" ".join(str(error).split())) from error
    return {
        "pixel_values": pixels,
        "text": clip.text,
        "clip": str(clip.path),
        "num_frames": num_frames,
        "index": int(rng.integers(2**62)),
        "failures": [],
    }


@dataclass(frozen=True, slots=True)
class _Variant(CaptionedClip):
    """One variant of a clip: see `LatentCache`."""

    variant: int = 0


def _variant_of(clip: CaptionedClip, variant: int) -> _Variant:
    return _Variant(clip.path, clip.text, clip.is_video, clip.width, clip.height, clip.num_frames, variant)


class CachedSamples(CaptionedSamples):
    """As `CaptionedSamples`, with what a cache has of a clip and a text in the place of its pixels:

    cached: dict of what `fill`'s `encode` and `embed` gave.
    text, clip, index, failures: see `CaptionedSamples`.

    Where all variants of a clip are alike in size, each sample takes one at random. Where sizes are drawn, samples of
    a batch have variants of one size: so many epochs as there are variants have each variant of each clip once.

    Args:
        cache: `LatentCache` that has all of the clips.
        others: see `CaptionedSamples`.
        variants: of each clip, the first ones; all if left out.
    """

    def __init__(
        self, cache: LatentCache, clips: Sequence[CaptionedClip], *others: Any, variants: int | None = None
    ) -> None:
        self._cache, self._count, self._variants = cache, len(clips), variants or cache.variants
        items = [_variant_of(clip, i) for clip in clips for i in range(self._variants)] if cache.draws else clips
        super().__init__(items, *others)

    @property
    def num_clips(self) -> int:
        return self._count

    def _key_of(self, clip: CaptionedClip) -> tuple[bool, Any]:
        if isinstance(clip, _Variant):
            return clip.is_video, self._cache.size_of(clip, clip.variant)
        return super()._key_of(clip)

    def _read(self, clip: CaptionedClip, rng: np.random.Generator, index: int) -> dict[str, Any]:
        text = self._text_of(clip, index)
        variant = clip.variant if isinstance(clip, _Variant) else int(rng.integers(self._variants))
        of_clip = self._cache.read_clip(clip, variant)
        cached = {**of_clip, **self._cache.read_text(text)}
        return {
            "cached": {name: np.array(array) for name, array in cached.items()},
            "text": text,
            "clip": str(clip.path),
        }


class CachedCollate:
    """Makes a batch of `CachedSamples`: a dict of

    the arrays that were kept, of all samples, stacked; those of `along_time` cut to the shortest.
    texts, repeats, index, clips, failures: see `CaptionedCollate`.

    Args:
        along_time: name -> the axis of time of arrays of one sample that have one.
        settings: `SampleSettings`.
    """

    def __init__(self, along_time: Mapping[str, int], settings: SampleSettings) -> None:
        self._along_time, self._settings = along_time, settings

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        cached = [dict(sample["cached"]) for sample in samples]
        lengths = [each.pop(_LENGTH).item() for each in cached if _LENGTH in each]
        batch: dict[str, Any] = {name: self._stack(name, [each[name] for each in cached]) for name in cached[0]}
        if lengths:
            height, width = (int(side) for side in cached[0]["pixels"])
            batch["repeats"] = count_repeats(min(lengths), (height, width), self._settings)
        return {
            **batch,
            "texts": [sample["text"] for sample in samples],
            "index": np.array([sample["index"] for sample in samples], np.int64),
            "clips": [sample["clip"] for sample in samples],
            "failures": [failure for sample in samples for failure in sample["failures"]],
        }

    def _stack(self, name: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
        if name in self._along_time:
            axis = self._along_time[name]
            count = min(array.shape[axis] for array in arrays)
            arrays = [array.take(range(count), axis) for array in arrays]
        return np.stack(arrays)


def networks_of(paths: Mapping[str, Iterable[str | os.PathLike]]) -> dict[str, str]:
    """Name -> digest of the files of each network, as `LatentCache` takes them."""
    return {name: digest_of([digest(path) for path in files]) for name, files in paths.items()}

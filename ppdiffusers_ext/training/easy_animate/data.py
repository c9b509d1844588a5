"""Clips in EasyAnimate's training options, as samples."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppdiffusers_ext.data.easy_animate.clips import CaptionedClip, check_clips, find_captioned_clips
from ppdiffusers_ext.data.easy_animate.samples import CaptionedCollate, CaptionedSamples, number_items
from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.data.easy_animate.sizes import with_sizes
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training.check import check_held_out
from ppdiffusers_ext.training.easy_animate.options import EasyDataArguments
from ppdiffusers_ext.training.options import samples_of_a_step

if TYPE_CHECKING:
    from ppdiffusers_ext.training.easy_animate.latent_cache import CachedCollate, LatentCache

_SIZES = "sizes.json"  # of the clips, in the output folder


@dataclass(frozen=True)
class Clips:
    """Clips to train on, and those that are held out of them, which may be none."""

    training: list[CaptionedClip]
    held_out: list[CaptionedClip]


@dataclass(frozen=True)
class Samples:
    """Datasets to train on and of what is held out (None without held-out clips), and what makes batches of them."""

    training: CaptionedSamples
    held_out: CaptionedSamples | None
    collate: "CaptionedCollate | CachedCollate"


def split_clips(data: EasyDataArguments, arguments: Any) -> Clips:
    """The `Clips` of --train_data_meta.

    Raises:
        InputError, MissingFileError: clips that cannot be used, or more held-out clips than there are.
    """
    if not data.train_data_meta:
        raise InputError("--train_data_meta is missing; the JSON or CSV file of the training clips is accepted")
    clips = find_captioned_clips(data.train_data_meta, data.train_data_dir)
    check_clips(clips, data.settings(1))
    count = data.validation_clips if arguments.validation_steps else 0
    check_held_out(count, len(clips), f" in {data.train_data_meta}")
    kept = len(clips) - count
    return Clips(clips[:kept], clips[kept:])


def steps_of_epochs(clips: Clips, data: EasyDataArguments, epochs: float, samples_per_step: int) -> int:
    """Optimisation steps of so many epochs, rounded up."""
    items = len(number_items([clip.is_video for clip in clips.training], data.video_repeat))
    return max(1, -(-round(epochs * items) // samples_per_step))


def with_known_sizes(clips: Clips, settings: SampleSettings, data: EasyDataArguments, arguments: Any) -> Clips:
    """Clips with sizes, see `with_sizes`. The first process keeps those that it reads.

    Each process reads them for itself, before Paddle connects them: the others would not wait for the first forever.

    Args:
        clips: of `split_clips`.
        settings: `SampleSettings`.
        data, arguments: `EasyDataArguments`, and `EasyTrainerOptions` or `TrainingArguments`.

    Raises:
        InputError: too many clips whose size cannot be read.
    """
    cache, is_first = Path(arguments.output_dir) / _SIZES, os.environ.get("PADDLE_TRAINER_ID", "0") == "0"
    parts = (clips.training, clips.held_out)
    return Clips(*(with_sizes(part, settings, cache, data.max_bad_share, is_first) if part else [] for part in parts))


def make_samples(
    clips: Clips, settings: SampleSettings, data: EasyDataArguments, arguments: Any, cache: "LatentCache | None" = None
) -> Samples:
    """The `Samples` of clips.

    Args:
        clips: of `with_known_sizes`.
        settings, data, arguments: as there.
        cache: that has what the frozen networks make of the clips; None for clips that are read.

    Raises:
        MissingFileError: the cache lacks too many of them.
    """
    make: Any = CaptionedSamples
    make_held_out: Any = CaptionedSamples
    collate: Any = CaptionedCollate(settings, arguments.seed)
    if cache is not None:
        from ppdiffusers_ext.training.easy_animate.encoders import ALONG_TIME
        from ppdiffusers_ext.training.easy_animate.latent_cache import CachedCollate, CachedSamples

        every = [*clips.training, *clips.held_out]
        cache.look_at(every)
        cache.check(every, data.max_bad_share)
        make, collate = functools.partial(CachedSamples, cache), CachedCollate(ALONG_TIME, settings)
        make_held_out = functools.partial(make, variants=1)  # each clip counts once
    per_step = samples_of_a_step(arguments)
    # Batches of a step are alike, so that processes take as long as each other.
    length, held_out = arguments.max_steps * per_step, clips.held_out
    samples = make(clips.training, length, arguments.seed, settings, per_step, per_step)
    kept = make_held_out(held_out, len(held_out), arguments.seed, settings, 1, 1) if held_out else None
    return Samples(samples, kept, collate)


def describe_samples(data: EasyDataArguments, settings: SampleSettings) -> dict[str, Any]:
    """Description of the samples that a resumed run must share with this one."""
    kept = {"data.latent_variants": data.latent_variants} if data.latent_cache is not None else {}
    return {f"data.{name}": value for name, value in vars(settings).items()} | kept

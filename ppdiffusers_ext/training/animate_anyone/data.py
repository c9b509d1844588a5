"""The clips that Animate Anyone's trainers are told of, as samples."""

from collections.abc import Callable
from typing import Any

from ppdiffusers_ext.data.animate_anyone.clips import ClipFiles, find_clips
from ppdiffusers_ext.data.animate_anyone.samples import TrainingClips
from ppdiffusers_ext.training.animate_anyone.options import DataArguments
from ppdiffusers_ext.training.check import check_held_out
from ppdiffusers_ext.training.options import samples_of_a_step


def split_clips(data: DataArguments, arguments: Any) -> tuple[list[ClipFiles], list[ClipFiles]]:
    """Returns the clips to train on, and those that are held out.

    Raises:
        InputError: what `find_clips` raises, and more held-out clips than there are.
    """
    clips = find_clips(data.meta_paths)
    held_out = data.validation_clips if arguments.validation_steps else 0
    check_held_out(held_out, len(clips))
    return clips[: len(clips) - held_out], clips[len(clips) - held_out :]


def make_samples(
    clips: tuple[list[ClipFiles], list[ClipFiles]],
    data: DataArguments,
    arguments: Any,
    choose: Callable,
    kind: type[TrainingClips] = TrainingClips,
) -> tuple[TrainingClips, TrainingClips | None]:
    """Returns the `TrainingClips` to train on, and those that are held out (None where none are).

    Args:
        clips: of `split_clips`.
        choose: see `TrainingClips`.
        kind: of dataset.
    """
    options = (arguments.seed, data.train_width, data.train_height, choose)
    crop: dict[str, Any] = {
        "scale": (data.crop_scale_min, data.crop_scale_max),
        "ratio": (data.crop_ratio_min, data.crop_ratio_max),
    }
    training, held_out = clips
    samples = kind(training, arguments.max_steps * samples_of_a_step(arguments), *options, **crop)
    return samples, kind(held_out, len(held_out), *options, **crop) if held_out else None

"""The clips that Animate Anyone's trainers are told of, as samples."""

from typing import Any

from ppdiffusers_ext.data.animate_anyone.clips import find_clips
from ppdiffusers_ext.data.animate_anyone.samples import TrainingClips
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training.fit import samples_of_a_step


def find_samples(data_arguments, arguments, choose):
    """The `TrainingClips` to train on, and those that are held out (None where none are).

    Args:
        choose: see `TrainingClips`.

    Raises:
        InputError: what `find_clips` raises, and more held-out clips than there are.
    """
    clips = find_clips(data_arguments.meta_paths)
    held_out = data_arguments.validation_clips if arguments.validation_steps else 0
    if held_out >= len(clips):
        raise InputError(
            f"--validation_clips {held_out} of {len(clips)} leaves none to train on; fewer, or "
            "--validation_steps 0, are accepted"
        )
    options = (arguments.seed, data_arguments.train_width, data_arguments.train_height, choose)
    crop: dict[str, Any] = {
        "scale": (data_arguments.crop_scale_min, data_arguments.crop_scale_max),
        "ratio": (data_arguments.crop_ratio_min, data_arguments.crop_ratio_max),
    }
    length = arguments.max_steps * samples_of_a_step(arguments)
    training = TrainingClips(clips[: len(clips) - held_out], length, *options, **crop)
    return training, TrainingClips(clips[-held_out:], held_out, *options, **crop) if held_out else None

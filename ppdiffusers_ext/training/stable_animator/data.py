"""Samples of the clips in StableAnimator's training options."""

from ppdiffusers_ext.data.stable_animator.clips import find_animation_clips
from ppdiffusers_ext.data.stable_animator.samples import AnimationSamples, ClipSet
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training.fit import samples_of_a_step
from ppdiffusers_ext.training.stable_animator.face_embeddings import FaceEmbeddings


def find_samples(data, arguments):
    """Returns the `AnimationSamples` for training, and those of the held-out clips (None without held-out clips).

    Args:
        data: `StableDataArguments`.
        arguments: `TrainingArguments`.

    Raises:
        InputError, MissingFileError: clips or face networks that cannot be used.
    """
    sets, held_out = [], []
    count = data.validation_clips if arguments.validation_steps else 0
    for path, width, height, share in data.named_sets():
        clips = find_animation_clips(path, data.data_root_path)
        if count >= len(clips):
            raise InputError(
                f"--validation_clips {count} of the {len(clips)} in {path} leaves none to train on; fewer, or "
                "--validation_steps 0, are accepted"
            )
        kept = len(clips) - count
        sets.append(ClipSet(clips[:kept], width, height, share))
        held_out.append(ClipSet(clips[kept:], width, height, share))
    embed = None
    if any(clip.embedding is None for each in sets + held_out for clip in each.clips):
        embed = FaceEmbeddings(data.faces_path, data.face_cache)
    samples_per_step = samples_of_a_step(arguments)

    def samples(sets, length):
        of_sample = (samples_per_step, data.sample_n_frames, data.sample_stride, embed)
        return AnimationSamples(sets, length, arguments.seed, *of_sample)

    return samples(sets, arguments.max_steps * samples_per_step), samples(held_out[:1], count) if count else None


def describe_sets(data):
    """Description of the clips that a resumed run must share with this one."""
    sizes = [[width, height, share] for _, width, height, share in data.named_sets()]
    return {"sizes": sizes, "frames": [data.sample_n_frames, data.sample_stride]}

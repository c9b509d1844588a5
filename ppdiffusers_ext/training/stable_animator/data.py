"""Clips and pictures in StableAnimator's training options, as samples."""

from dataclasses import dataclass
from typing import Any

from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.stable_animator.clips import find_animation_clips
from ppdiffusers_ext.data.stable_animator.samples import AnimationSamples, ClipSet
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training.check import check_held_out
from ppdiffusers_ext.training.options import samples_of_a_step
from ppdiffusers_ext.training.stable_animator.face_embeddings import FaceEmbeddings
from ppdiffusers_ext.training.stable_animator.options import StableDataArguments


@dataclass(frozen=True)
class Clips:
    """Sets of clips to train on, and the sets of those that are held out of them, which may be empty."""

    training: list[ClipSet]
    held_out: list[ClipSet]


def split_clips(data: StableDataArguments, arguments: Any) -> Clips:
    """The `Clips` that the options name.

    Raises:
        InputError, MissingFileError: clips that cannot be used, or more held-out clips than there are.
    """
    found = Clips([], [])
    count = data.validation_clips if arguments.validation_steps else 0
    for path, width, height, share in data.named_sets():
        clips = find_animation_clips(path, data.data_root_path)
        check_held_out(count, len(clips), f" in {path}")
        kept = len(clips) - count
        found.training.append(ClipSet(clips[:kept], width, height, share))
        found.held_out.append(ClipSet(clips[kept:], width, height, share))
    return found


def needs_faces(clips: Clips) -> bool:
    """True if a clip has no embedding of its face, which has to be looked for."""
    return any(clip.embedding is None for each in clips.training + clips.held_out for clip in each.clips)


def make_samples(
    clips: Clips, data: StableDataArguments, arguments: Any
) -> tuple[AnimationSamples, AnimationSamples | None]:
    """Returns the `AnimationSamples` for training, and those of the held-out clips (None without held-out clips).

    Raises:
        MissingFileError: face networks that are needed and not there.
    """
    embed = FaceEmbeddings(data.faces_path, data.face_cache) if needs_faces(clips) else None
    samples_per_step = samples_of_a_step(arguments)

    def samples(sets: list[ClipSet], length: int) -> AnimationSamples:
        of_sample = (samples_per_step, data.sample_n_frames, data.sample_stride, embed, data.reference_frames)
        return AnimationSamples(sets, length, arguments.seed, *of_sample)

    count = len(clips.held_out[0].clips)
    training = samples(clips.training, arguments.max_steps * samples_per_step)
    return training, samples(clips.held_out[:1], count) if count else None


def open_given(data: StableDataArguments) -> list[Any]:
    """The skeletons of --validation_control_folder and the frames of --validation_image_folder, if it is given.

    Raises:
        InputError, MissingFileError: files that cannot be read, or other numbers of frames than of skeletons.
    """
    given = ((data.validation_control_folder, "black"), (data.validation_image_folder, "white"))
    sources = [open_frames(path, background=background) for path, background in given if path]
    if len({source.num_frames for source in sources}) > 1:
        raise InputError(
            f"{data.validation_image_folder} has {sources[1].num_frames} frames, {data.validation_control_folder} "
            f"{sources[0].num_frames} skeletons; as many are needed"
        )
    return sources


def describe_sets(data: StableDataArguments) -> dict[str, Any]:
    """Description of the clips that a resumed run must share with this one."""
    sizes = [[width, height, share] for _, width, height, share in data.named_sets()]
    described = {"sizes": sizes, "frames": [data.sample_n_frames, data.sample_stride]}
    return described | ({"reference_frames": data.reference_frames} if data.reference_frames else {})

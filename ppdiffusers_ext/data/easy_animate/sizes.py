"""Sizes of training clips, known before batches are planned: from the meta file, or read from the files once."""

import dataclasses
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ppdiffusers_ext.data.easy_animate.clips import CaptionedClip, name_some
from ppdiffusers_ext.data.easy_animate.frame_choice import check_length, count_frames
from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.data.file_facts import FileFacts
from ppdiffusers_ext.data.images import picture_size
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.errors import InputError, counted, printable

logger = logging.getLogger(__name__)

_MOST_NAMED = 10  # clips in a message
_MANY = 1000  # files, which take so long to read that it is told


def with_sizes(
    clips: Sequence[CaptionedClip],
    settings: SampleSettings,
    cache: str | os.PathLike | None = None,
    max_bad_share: float = 0.1,
    keeps: bool = True,
) -> list[CaptionedClip]:
    """The clips with width and height and, where files were read, the number of frames.

    Nothing is read where `settings.enable_bucket` is off, which needs no sizes. Clips that cannot be read, and videos
    that turn out to be too short, are named in the log and left out.

    Args:
        cache: JSON file of the sizes that earlier calls read, and to which those of this one are added; or None.
        max_bad_share: share of the clips that may be left out.
        keeps: False to add nothing to that file.

    Raises:
        InputError: more than that cannot be used.
    """
    unknown = list(dict.fromkeys(map(_as_file, clips if settings.enable_bucket else ())))
    unknown = [clip for clip in unknown if clip.width is None]
    if not unknown:
        return list(clips)
    facts = FileFacts(cache)
    if len(unknown) >= _MANY:
        logger.info("reading the sizes of %s", counted(len(unknown), "file"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(unknown, pool.map(lambda clip: _measured(clip, settings, facts), unknown)))
    measured = [_with_size_of(clip, found.get(_as_file(clip), clip)) for clip in clips]
    _check_share([problem for problem in measured if isinstance(problem, str)], len(clips), max_bad_share)
    if keeps:
        facts.save()  # not of clips that are refused: what is refused writes nothing
    kept = [clip for clip in measured if not isinstance(clip, str)]
    _tell_short(kept, settings)
    return kept


def _as_file(clip: CaptionedClip) -> CaptionedClip:
    """What is the same for all clips of a file."""
    return dataclasses.replace(clip, text="")


def _with_size_of(clip: CaptionedClip, measured: CaptionedClip | str) -> CaptionedClip | str:
    return measured if isinstance(measured, str) else dataclasses.replace(measured, text=clip.text)


def measure_clip(clip: CaptionedClip) -> CaptionedClip:
    """The clip with the size, and of a video the number of frames, that its file has.

    Raises:
        MissingFileError, InputError: the file cannot be read.
    """
    if clip.is_video:
        info = probe_video(clip.path)
        return dataclasses.replace(clip, width=info.width, height=info.height, num_frames=info.num_frames)
    width, height = picture_size(clip.path)
    return dataclasses.replace(clip, width=width, height=height)


def _measured(clip: CaptionedClip, settings: SampleSettings, facts: FileFacts) -> CaptionedClip | str:
    """The clip with its size, or what is wrong with it."""
    try:
        size = facts.of(clip.path)
        if _is_size(size, clip.is_video):
            clip = dataclasses.replace(clip, width=size[0], height=size[1], num_frames=size[2])
        else:
            clip = measure_clip(clip)
            facts.note(clip.path, [clip.width, clip.height, clip.num_frames])
        if clip.num_frames is not None:
            check_length(clip.num_frames, settings)
        return clip
    except (InputError, OSError) as error:
        return f"{printable(clip.path)}: {printable(' '.join(str(error).split()), 200)}"


def _is_size(size: Any, is_video: bool) -> bool:
    """True for what `with_sizes` keeps of a file: width, height, and the number of frames of a video."""
    if not (isinstance(size, list) and len(size) == 3 and (size[2] is not None) == is_video):
        return False
    return all(type(value) is int and value > 0 for value in size if value is not None) and None not in size[:2]


def _tell_short(clips: Sequence[CaptionedClip], settings: SampleSettings) -> None:
    """Tell of videos that are known to make the samples of their batches shorter."""
    most, stride = settings.video_sample_n_frames, settings.video_sample_stride
    short = [
        clip.path
        for clip in clips
        if clip.num_frames and count_frames(clip.num_frames, most, stride, settings.keeps_stride) < most
    ]
    if short:
        logger.warning("videos shorter than a sample (%d), which make their batches shorter: %d, of %s",
                       most, len(short), name_some(short))  # fmt: skip


def _check_share(problems: Sequence[str], count: int, max_bad_share: float) -> None:
    if not problems:
        return
    more = f" and {len(problems) - _MOST_NAMED:,} more" if len(problems) > _MOST_NAMED else ""
    named = f"{'; '.join(problems[:_MOST_NAMED])}{more}"
    if len(problems) > max_bad_share * count or len(problems) == count:
        raise InputError(
            f"{len(problems)} of {counted(count, 'clip')} cannot be used, which is more than --max_bad_share "
            f"{max_bad_share}: {named}; scripts.check_dataset finds them, or a larger share is accepted"
        )
    logger.warning("clips that cannot be used and are left out: %d of %d: %s", len(problems), count, named)

"""Training clips of EasyAnimate: pictures and videos with captions, in the original's meta file.

The file (`json_of_internal_datasets.json`) is a JSON list of {"file_path", "text", "type", "width", "height"}, or has
the same as JSON lines or as CSV with headings. See aigc-apps/EasyAnimate, `easyanimate/data/dataset_image_video.py`.
There, an entry without a type, or with one that is misspelt, is a picture; here a type that is not known is an error,
and the name of the file tells where there is none.
"""

import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.data.frames import VIDEOS
from ppdiffusers_ext.data.meta_files import find_path, read_entries
from ppdiffusers_ext.errors import InputError, MissingFileError, counted, shown, shown_path
from ppdiffusers_ext.files import check_folder, check_name

logger = logging.getLogger(__name__)

_ACCEPTED = (
    'a JSON list of {"file_path": ..., "text": ..., "type": "video" or "image"}, or the same as JSON lines or as CSV '
    "with headings, is accepted"
)
# What the original's versions call each.
_FIELDS = {
    "file_path": ("file_path",),
    "text": ("text",),
    "type": ("type", "data_type"),
    "width": ("width",),
    "height": ("height",),
}
_FIELD_OF = {name: field for field, names in _FIELDS.items() for name in names}
_MOST_BYTES = 2 << 30  # of a meta file: some millions of clips
_MOST_PIXELS = 1 << 16  # of a side
_MOST_NAMED = 10  # files in a message


@dataclass(frozen=True, slots=True)
class CaptionedClip:
    """A picture or a video with its caption.

    Attributes:
        path: of the file.
        text: caption, which may be empty.
        is_video: False for a picture.
        width, height: pixels, upright; None where they are not known.
        num_frames: of the file; None where it is not known.
    """

    path: Path
    text: str
    is_video: bool
    width: int | None = None
    height: int | None = None
    num_frames: int | None = None


def find_captioned_clips(
    meta: str | os.PathLike, root: str | os.PathLike | None = None, needs_text: bool = True
) -> list[CaptionedClip]:
    """The clips of a meta file, in its order.

    Args:
        meta: JSON, JSON lines or CSV.
        root: folder that relative paths are relative to; the working folder or the meta file's if left out.
        needs_text: whether an entry without a text is wrong; otherwise its text is empty.

    Raises:
        MissingFileError, InputError: the meta file or files that it names are missing, or it is wrong.
    """
    clips = read_captioned_clips(meta, root, needs_text)
    absent = [clip.path for clip in clips if not os.path.isfile(clip.path)]
    if absent:
        places = "the folder of the clips" if root is not None else "the working folder or the meta file's"
        raise MissingFileError(
            f"{len(absent)} of the {counted(len(clips), 'file')} of meta file {shown_path(meta)} "
            f"{'do' if len(absent) > 1 else 'does'} not exist: {name_some(absent)}; paths that are absolute or begin "
            f"at {places} are accepted"
        )
    return clips


def read_captioned_clips(
    meta: str | os.PathLike, root: str | os.PathLike | None = None, needs_text: bool = True
) -> list[CaptionedClip]:
    """As `find_captioned_clips`, whether the files that it names are there or not."""
    meta = check_name(meta, "meta file", _ACCEPTED)
    folders = ["", str(meta.resolve().parent)]
    if root is not None:
        accepted = "the one that paths in the meta file begin at is accepted"
        folders = [str(check_folder(root, "folder of the clips", accepted))]
    entries = read_entries(meta, _FIELDS, "meta file", _ACCEPTED, most=_MOST_BYTES)
    if not entries:
        raise InputError(f"meta file {shown_path(meta)} names no clips; {_ACCEPTED}")
    where = f"of meta file {shown_path(meta)}"
    left_out = {} if needs_text else {"text": ""}
    places = [(entry, f"{place} {where}") for place, entry in entries]
    return [_read_clip(left_out | _fields_of(entry, place), place, folders) for entry, place in places]


def name_some(paths: Sequence[object]) -> str:
    """Some paths as a message names them, and how many more there are."""
    named = ", ".join(map(shown_path, paths[:_MOST_NAMED]))
    return named if len(paths) <= _MOST_NAMED else f"{named} and {len(paths) - _MOST_NAMED:,} more"


def _fields_of(entry: Any, where: str) -> dict[str, Any]:
    """The fields of an entry by our names for them; other ones are left out, and so are empty cells."""
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(entry, dict):
        pairs = entry.items()
    elif isinstance(entry, list) and entry and all(isinstance(pair, tuple) for pair in entry):
        pairs = entry
    else:
        raise InputError(f"{where} is {shown(entry)}, which does not say which is which; {_ACCEPTED}")
    found: dict[str, Any] = {}
    for name, value in pairs:
        field = _FIELD_OF.get(name.strip()) if isinstance(name, str) else None
        if field is None:
            continue
        if field in found:
            raise InputError(f"{where} says its {field} twice; {_ACCEPTED}")
        found[field] = value
    return found


def _read_clip(fields: dict[str, Any], where: str, folders: Sequence[str]) -> CaptionedClip:
    for name in ("file_path", "text"):
        if not isinstance(fields.get(name), str):
            said = f"the {name} {shown(fields[name])}, which is no text" if name in fields else f"no {name}"
            raise InputError(f"{where} has {said}; {_ACCEPTED}")
    name, text = fields["file_path"], fields["text"]
    if not name.strip():
        raise InputError(f"{where} has an empty file_path; {_ACCEPTED}")
    check_name(name, f"file_path in {where},", _ACCEPTED)
    size = [_read_side(fields.get(side), f"{where} has the {side}") for side in ("width", "height")]
    width, height = size if None not in size else (None, None)
    return CaptionedClip(_find(name, folders), text, _is_video(fields.get("type"), name, where), width, height)


def _find(name: str, folders: Sequence[str]) -> Path:
    """As `find_path`, which takes longer: there may be a million of them."""
    for folder in folders:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return Path(path)
    return find_path(name, folders)


def _is_video(kind: Any, name: str, where: str) -> bool:
    if kind in (None, ""):
        return os.path.splitext(name.strip())[1].lower() in VIDEOS
    if kind not in ("video", "image"):
        raise InputError(f"{where} has the type {shown(kind)}, which is not known; video or image is accepted")
    return kind == "video"


def _read_side(value: Any, where: str) -> int | None:
    """Pixels of a side, or None where it is not known. Tables of numbers have it as 512.0."""
    if value in (None, ""):
        return None
    text = value.strip() if isinstance(value, str) else str(value) if type(value) in (int, float) else ""
    side = int(text.partition(".")[0]) if re.fullmatch(r"[0-9]{1,6}(\.0*)?", text) else 0
    if not 1 <= side <= _MOST_PIXELS:
        raise InputError(f"{where} {shown(value)}; whole pixels, 1 to {_MOST_PIXELS}, are accepted")
    return side


def check_clips(clips: Sequence[CaptionedClip], settings: SampleSettings) -> None:
    """Refuse clips that the settings cannot train on, and tell in the log what is to be known of the others.

    Raises:
        InputError: `video_repeat` leaves all videos out, or all captions are empty although `text_drop_ratio` is
            below 1, so that nothing would learn from texts.
    """
    videos = sum(clip.is_video for clip in clips)
    if videos and settings.video_repeat < 1:
        raise InputError(
            f"--video_repeat {settings.video_repeat} leaves out the {counted(videos, 'video')} of the meta file; 1 or "
            "more is accepted, or a meta file of pictures alone"
        )
    if not videos:
        logger.warning("the meta file has no videos: single frames are trained, and no motion")
    empty = [clip.path for clip in clips if not clip.text.strip()]
    if len(empty) == len(clips) and settings.text_drop_ratio < 1:
        raise InputError(
            f"no caption of {counted(len(clips), 'clip')} has any text, so that nothing is learnt from texts; "
            "captions are needed, or --text_drop_ratio 1 where that is meant"
        )
    if empty:
        logger.warning("captions without any text: %d of %d, of %s", len(empty), len(clips), name_some(empty))

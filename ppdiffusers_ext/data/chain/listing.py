"""The videos that a run begins with, and the first step, which says what each of them is."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ppdiffusers_ext.data.chain.steps import CLIPS, VIDEO, Columns, Place, Row, Step
from ppdiffusers_ext.data.chain.tables import natural_key
from ppdiffusers_ext.data.meta_files import NOT_LISTED, can_be_listed, find_path, read_rows
from ppdiffusers_ext.data.video import VideoInfo, probe_video
from ppdiffusers_ext.data.video_file import open_video
from ppdiffusers_ext.errors import InputError, MissingFileError, shown_path

# Those of the original, and Apple's.
ENDINGS = (".mp4", ".webm", ".mkv", ".avi", ".flv", ".mov", ".m4v")
_UNREAD = (".avi", ".flv")  # by this project's reader, which reads closed lists of formats
LISTS = (".txt", ".json", ".jsonl", ".ndjson", ".csv", ".tsv")
_ACCEPTED = f"a folder of videos ({', '.join(ENDINGS)}), a video or a list of paths ({', '.join(LISTS)}) is accepted"
_FIELDS = {"path": ("path", "video_path", "file_path", "video", "file")}


def list_videos(source: str | os.PathLike, output: str | os.PathLike) -> tuple[Path, list[dict[str, Any]]]:
    """The folder that the videos lie in, and a row for each, in the natural order of keys.

    A folder is listed with its subfolders, those that links lead to among them, each once; not what is hidden, and not
    the folder of the run.

    Args:
        source: folder, video, or list.
        output: folder of the run.

    Returns:
        The folder, and rows of {"key", "stem", "size", "mtime_ns"}; with "problem" of a file that no row can name.
        `stem` is what the names of the video's clips begin with, another one for each video.

    Raises:
        MissingFileError, InputError: there is no such thing, or there are no videos.
    """
    source = Path(source)
    if source.is_dir():
        _check_apart(source, [source], Path(output))
        folder, paths = source, [*_walk(source, Path(output))]
        if not paths:
            raise InputError(f"{shown_path(source)} has no videos; {_ACCEPTED}")
    elif not source.exists():
        raise MissingFileError(f"{shown_path(source)} does not exist; {_ACCEPTED}")
    elif source.suffix.lower() in LISTS:
        folder, paths = _read_list(source)
    else:
        folder, paths = source.parent, [source]
    _check_apart(source, {path.parent for path in paths}, Path(output))
    rows = [_row(path, folder) for path in paths]
    _make_keys_differ(rows)
    rows.sort(key=lambda row: natural_key(row["key"]))
    for row, stem in zip(rows, stems_of([row["key"] for row in rows])):
        row["stem"] = stem
    return folder.absolute(), rows


def _check_apart(source: Path, folders: Iterable[Path], output: Path) -> None:
    """Raise InputError for videos that a run would write over, or remove: those that an earlier one has made."""
    output = Path(os.path.realpath(output))
    for folder in folders:
        real = Path(os.path.realpath(folder))
        if real == output and source.is_dir():
            raise InputError(f"{shown_path(source)} is the folder of the run, too; another one for OUT is accepted")
        if real.is_relative_to(output / CLIPS):
            raise InputError(
                f"{shown_path(source)} has clips that this run makes, in {shown_path(output / CLIPS)}; videos of "
                "other folders, or another OUT, are accepted"
            )


def _make_keys_differ(rows: Sequence[dict[str, Any]]) -> None:
    """Give keys of names that no row can have, and that are written as others are, a mark."""
    keys = {row["key"] for row in rows if "problem" not in row}
    for row in rows:
        if "problem" in row:
            while row["key"] in keys:
                row["key"] += "?"
            keys.add(row["key"])


def _walk(folder: Path, output: Path) -> Iterator[Path]:
    """Videos below a folder. Folders are entered once, in order of their names, whatever links lead to them."""
    left_out = _identity(output) if output.exists() else None
    entered = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        identity = _identity(here)
        if identity in entered or identity == left_out:
            continue
        entered.add(identity)
        try:
            names = sorted((name for name in os.listdir(here) if not name.startswith(".")), key=natural_key)
        except OSError as error:
            raise InputError(
                f"folder {shown_path(here)} cannot be read ({error.strerror}); folders that can be listed are accepted"
            ) from error
        paths = [here / name for name in names]
        waiting += [path for path in reversed(paths) if path.is_dir()]
        yield from (path for path in paths if path.suffix.lower() in ENDINGS and not path.is_dir())


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _read_list(source: Path) -> tuple[Path, list[Path]]:
    rows = read_rows(source, _FIELDS, "list of videos", "a path in each line is accepted", of_lines=True)
    if not rows:
        raise InputError(f"list of videos {shown_path(source)} is empty; a path in each line is accepted")
    found = [os.path.abspath(find_path(row["path"], ["", source.parent])) for row in rows]
    paths = [Path(path) for path in dict.fromkeys(found)]
    return Path(os.path.commonpath([path.parent for path in paths])), paths


def _row(path: Path, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    row: dict[str, Any] = {"key": name}
    try:
        status = os.stat(path)
        row |= {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    except OSError:  # gone, or a link that leads nowhere: the step says so
        row |= {"size": 0, "mtime_ns": 0}
    if not can_be_listed(name):
        row["key"] = os.fsencode(name).decode("utf-8", "backslashreplace").replace("\n", "\\n").replace("\r", "\\r")
        row["problem"] = NOT_LISTED
    return row


def stems_of(keys: Sequence[str]) -> list[str]:
    """What the names of each video's clips begin with, STEM_0.mp4: its key without the ending, or if need be with it.

    Clips of a.mp4 and a.mkv, or of a.mp4 and a_0.mp4, would have the same names, for some end in two numbers.
    """
    bare = [key[: -len(Path(key).suffix)] for key in keys]
    counts = Counter(stem.lower() for stem in bare)
    beginnings = {shorter for stem in counts if (shorter := _without_number(stem)) != stem}

    def is_shared(stem: str) -> bool:
        shorter = _without_number(stem)
        return counts[stem] > 1 or (shorter != stem and shorter in counts) or stem in beginnings

    return [
        key if is_shared(stem.lower()) or _is_video_name(stem) else stem for key, stem in zip(keys, bare, strict=True)
    ]


def _without_number(stem: str) -> str:
    return re.sub(r"_[0-9]+$", "", stem)


def _is_video_name(stem: str) -> bool:
    """Whether a stem reads like the whole name of a video, with numbers behind it or not: these are others' stems."""
    while (shorter := _without_number(stem)) != stem:
        stem = shorter
    return Path(stem).suffix.lower() in ENDINGS


@dataclass(frozen=True, kw_only=True)
class Probe(Step):
    """Says of each video what it is, without decoding more than its first frame."""

    name: ClassVar[str] = "probe"
    level: ClassVar[str] = VIDEO

    def __call__(self, row: Row, place: Place) -> Columns:
        if "problem" in row:
            raise InputError(row["problem"])
        path = place.file_of(row)
        info = _probe(path)
        with open_video(path) as (container, stream):
            has_sound, codec = bool(container.streams.audio), stream.codec_context.name
        return {
            "stem": row["stem"],
            "size": row["size"],
            "num_frames": info.num_frames,
            "fps": round(float(info.fps), 5),
            "width": info.width,
            "height": info.height,
            "duration": round(info.duration, 5),
            "has_sound": has_sound,
            "codec": codec,
            "is_variable": not info.is_even,
            "rotation": info.rotation,
            "is_hdr": info.is_hdr,
        }


def _probe(path: Path) -> VideoInfo:
    try:
        return probe_video(path)
    except MissingFileError:
        raise
    except InputError as error:
        if path.suffix.lower() in _UNREAD and path.stat().st_size:
            raise InputError(
                f"{shown_path(path)} cannot be read, as no {path.suffix[1:].upper()} is; MP4, MOV, WebM and MKV are: "
                "`ffmpeg -i IN -c copy OUT.mkv` makes one of it, with the same pictures"
            ) from error
        raise

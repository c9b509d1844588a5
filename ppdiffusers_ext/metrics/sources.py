"""Input of an evaluation: finds, pairs and opens videos, folders of frames and folders of either."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.video import VideoInfo, probe_video, read_frames
from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.packaged import located

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")
_VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".gif")
_MAYBE_ANIMATED = (".png", ".webp", ".avif")
_BESIDE = ("side_by_side", "overlay")  # endings of what commands write beside a video
_ACCEPTED = (
    "a video, a folder of frames (PNG, JPEG, WebP, BMP, TIFF) or a folder of videos (MP4, MOV, MKV, WebM, GIF) "
    "or of folders of frames is accepted"
)


@dataclass(frozen=True)
class Clip:
    """A video (`info` is the result of `probe_video`) or a folder of frames (`pictures` are its files in order).

    width, height: pixels; of a folder those of its first picture, from which the others may not differ.
    """

    path: Path
    width: int
    height: int
    num_frames: int
    info: VideoInfo | None = None
    pictures: tuple = ()

    def frames(self, count: int | None = None) -> Iterator[np.ndarray]:
        """Iterate over the first `count` frames, or all: (H, W, 3) uint8 RGB arrays, read as they are asked for.

        Raises InputError for a frame that cannot be read or has another size.
        """
        if self.info is not None:
            return read_frames(self.path, count=count, info=self.info)
        return self._read_pictures(self.pictures[:count])

    def _read_pictures(self, paths: Iterable[Path]) -> Iterator[np.ndarray]:
        for path in paths:
            frame = np.asarray(read_image(path))
            if frame.shape != (self.height, self.width, 3):
                size = f"{frame.shape[1]}x{frame.shape[0]} pixels, {self.pictures[0].name} {self.width}x{self.height}"
                raise InputError(f"{path} has {size}; frames of one size are accepted")
            yield frame


@dataclass(frozen=True)
class Pair:
    """Two clips to compare, and their name in a table."""

    name: str
    prediction: Clip
    truth: Clip


@dataclass(frozen=True)
class Sets:
    """The clips of two sides, by name. `unpaired` says which lack a counterpart, and is "" where all have one."""

    predictions: dict[str, Clip]
    truths: dict[str, Clip]
    unpaired: str = ""

    def pairs(self) -> list[Pair]:
        """One for each clip, in the order of the predictions. Raises InputError where names differ."""
        if self.unpaired:
            raise InputError(self.unpaired)
        return [Pair(name, clip, self.truths[name]) for name, clip in self.predictions.items()]


def open_clip(path: str | os.PathLike) -> Clip:
    """The `Clip` at `path`: a video, or a folder of frames in natural order (frame2 before frame10).

    Raises MissingFileError if there is nothing, and InputError for anything else or unreadable files.
    """
    path = Path(located(path))
    kind, files = _look(path)
    if kind == "folder of videos":
        raise InputError(f"{path} is a folder of videos; a video or a folder of frames is accepted")
    return _open(path, files if kind == "folder of frames" else ())


def find_pairs(prediction: str | os.PathLike, truth: str | os.PathLike) -> list[Pair]:
    """The `Pair`s of two paths: one of two clips; of two folders of videos, those of the same name without suffix.

    Raises MissingFileError where there is nothing, and InputError for a folder without frames and videos or with
    both, a folder of videos against something else, names that are missing on one side, and what cannot be read.
    """
    paths = [Path(located(path)) for path in (prediction, truth)]
    found = [_look(path) for path in paths]
    folders = [kind == "folder of videos" for kind, _ in found]
    if not any(folders):
        clips = [_open(path, files) for path, (_, files) in zip(paths, found)]
        return [Pair(paths[0].resolve().name, *clips)]
    if not all(folders):
        said = ", ".join(f"{path} is a {kind}" for path, (kind, _) in zip(paths, found))
        raise InputError(f"{said}; two folders of videos are accepted, or two of a video and a folder of frames")
    videos = [_by_stem(path, files) for path, (_, files) in zip(paths, found)]
    _check_same_stems(paths, videos)
    return [Pair(stem, *(_open_either(by_stem[stem]) for by_stem in videos)) for stem in videos[0]]


def find_clips(path: str | os.PathLike) -> dict[str, Clip]:
    """The `Clip`s of results, by their names: a video, a folder of frames, or the videos of a folder.

    Sheets and reports beside videos, and videos that show the same beside something else, are no results.

    Raises MissingFileError, InputError: nothing there, neither frames nor videos, or what cannot be read.
    """
    path = Path(located(path))
    if not path.exists():
        raise MissingFileError(f"{path} does not exist; {_ACCEPTED}")
    if path.is_dir():
        pictures, found = _pictures_and_videos(path)
        if not found and not pictures:
            found = _folders_of_frames(path)
        clips = _by_stem(path, found)
        clips = {stem: file for stem, file in clips.items() if not _is_beside(stem, clips)}
        if clips:
            return {stem: _open_either(file) for stem, file in clips.items()}
    return {path.resolve().name if path.is_dir() else path.stem: open_clip(path)}


def find_sets(prediction: str | os.PathLike, truth: str | os.PathLike) -> Sets:
    """The `Sets` of two paths: each a clip, or a folder of clips. A clip against a clip is a pair, whatever its name.

    Raises MissingFileError, InputError: see `find_clips`.
    """
    sides = [find_clips(path) for path in (prediction, truth)]
    if not any(_is_of_clips(path) for path in (prediction, truth)):
        sides[1] = dict(zip(sides[0], sides[1].values()))
    said = _without_counterpart([Path(prediction), Path(truth)], sides)
    return Sets(sides[0], sides[1], f"{said}; two folders of the same names are accepted" if said else "")


def _is_of_clips(path: str | os.PathLike) -> bool:
    path = Path(located(path))
    if not path.is_dir():
        return False
    pictures, videos = _pictures_and_videos(path)
    return bool(videos or not pictures)


def companions(path: str | os.PathLike, names: Iterable[str], what: str) -> dict[str, Path]:
    """What belongs to results, by their names: one file for all, or of a folder the file of each result's name.

    what: for messages.

    Raises MissingFileError, InputError: nothing there, or a result without its file.
    """
    path = Path(located(path))
    if not path.exists():
        raise MissingFileError(
            f"{what} {path} does not exist; a file, or a folder with one for each result, is accepted"
        )
    if not path.is_dir():
        return dict.fromkeys(names, path)
    files = _by_stem(path, _files(path, _PICTURES if what == "picture" else (".json",)))
    if missing := [name for name in names if name not in files]:
        raise InputError(
            f"{path} has no {what} for {', '.join(missing[:5])}; a file of each result's name is accepted"
        )
    return {name: files[name] for name in names}


def _is_beside(stem: str, stems: Iterable[str]) -> bool:
    known = set(stems)
    return any(stem.endswith(f"_{kind}") and stem.removesuffix(f"_{kind}") in known for kind in _BESIDE)


def natural_order(path: str | os.PathLike) -> tuple[list[int | str], str]:
    """A key to sort paths by: numbers in their names by value, the rest by letters, not by case."""
    path = Path(path)
    parts = re.split(r"(\d+)", path.stem)  # every second one is a number
    return [int(part) if index % 2 else part.lower() for index, part in enumerate(parts)], path.name


def _look(path: Path) -> tuple[str, tuple[Path, ...]]:
    """What a path is, "video", "folder of frames" or "folder of videos", and the sorted files of a folder."""
    if not path.exists():
        raise MissingFileError(f"{path} does not exist; {_ACCEPTED}")
    if not path.is_dir():
        return "video", ()
    pictures, videos = _pictures_and_videos(path)
    if pictures and videos:
        raise InputError(
            f"{path} holds pictures and videos, {pictures[0].name} and {videos[0].name} among them; {_ACCEPTED}"
        )
    if not pictures and not videos and not (videos := _folders_of_frames(path)):
        raise InputError(f"{path} holds neither pictures nor videos; {_ACCEPTED}")
    return ("folder of frames", pictures) if pictures else ("folder of videos", videos)


def _folders_of_frames(path: Path) -> tuple[Path, ...]:
    """The folders in a folder that have pictures in them, in natural order."""
    folders = (each for each in sorted(path.iterdir(), key=natural_order) if each.is_dir())
    return tuple(each for each in folders if not each.name.startswith(".") and _files(each, _PICTURES))


def _pictures_and_videos(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The pictures of a folder, and its videos, of which animated pictures are some; both in natural order."""
    files = _files(folder, (*_PICTURES, *_VIDEOS))
    videos = [file for file in files if file.suffix.lower() in _VIDEOS or _is_animated(file)]
    moving = set(videos)
    return tuple(file for file in files if file not in moving), tuple(videos)


def _is_animated(path: Path) -> bool:
    """Whether a picture has more than one frame; one that cannot be opened is told of when it is read."""
    if path.suffix.lower() not in _MAYBE_ANIMATED:
        return False
    try:
        with Image.open(path) as picture:
            return getattr(picture, "n_frames", 1) > 1
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _files(folder: Path, suffixes: Sequence[str]) -> tuple[Path, ...]:
    """The files of a folder with one of these suffixes, in natural order."""
    try:
        files = [file for file in sorted(folder.iterdir(), key=natural_order) if not file.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}; {_ACCEPTED}") from error
    return tuple(file for file in files if file.suffix.lower() in suffixes)


def _open(path: Path, pictures: tuple[Path, ...]) -> Clip:
    if not pictures:
        info = probe_video(path)
        return Clip(path, info.width, info.height, info.num_frames, info=info)
    width, height = read_image(pictures[0]).size
    return Clip(path, width, height, len(pictures), pictures=pictures)


def _open_either(path: Path) -> Clip:
    return _open(path, _files(path, _PICTURES) if path.is_dir() else ())


def _by_stem(folder: Path, files: Iterable[Path]) -> dict[str, Path]:
    by_stem: dict[str, Path] = {}
    for file in files:
        other = by_stem.setdefault(file.name if file.is_dir() else file.stem, file)
        if other is not file:
            raise InputError(f"{folder} holds {other.name} and {file.name}; one video of each name is accepted")
    return by_stem


def _check_same_stems(folders: Sequence[Path], videos: Sequence[dict[str, Path]]) -> None:
    if said := _without_counterpart(folders, videos):
        raise InputError(f"{said}; two folders of the same names (suffixes may differ) are accepted")


def _without_counterpart(folders: Sequence[Path], clips: Sequence[Mapping[str, Any]]) -> str:
    """Words for names that one of two folders lacks; "" if there are none."""
    said = []
    for one, other in ((0, 1), (1, 0)):
        missing = [stem for stem in clips[one] if stem not in clips[other]]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            said.append(f"{folders[other]} has no video for {', '.join(missing[:5])}{more} of {folders[one]}")
    return "; ".join(said)

"""The split of a video into clips, each coded anew so that its frames are exact; the sound is kept.

The lengths and names are those of aigc-apps' `video_caption/video_splitting.py`, which runs FFmpeg once for each clip.
Here a source is decoded once for all its clips, and what lies between them is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from av.video.reformatter import VideoReformatter

from ppdiffusers_ext.data.audio import Audio
from ppdiffusers_ext.data.chain.pieces import Piece, plan_pieces
from ppdiffusers_ext.data.chain.steps import VIDEO, Columns, Place, Row, Step
from ppdiffusers_ext.data.pixels import is_plain, to_upright
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.video import VideoInfo
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import option

_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_SAME_TIME = 1e-4  # seconds by which a time may differ from that of the frame that is meant


@dataclass(frozen=True, kw_only=True)
class Split(Step):
    """Makes the clips of a video.

    Columns of each clip: `key`, `video`, `start` and `seconds` of the source, `num_frames`, `fps`, `width`, `height`,
    `has_sound`, and `sound_error`: why the clip has none though its source does, else null. A video whose frames come
    at uneven times becomes clips of its usual rate, which show each frame when the source does.

    Each process encodes on one thread, so that the files are the same whatever the machine: several videos at once
    take all cores, one video takes one.

    Attributes:
        min_seconds, max_seconds, margin: see `plan_pieces`.
        min_pixels: width times height of the smallest video that is split; others have no clips.
        crf: of x264, 0 (best) to 51.
        preset: of x264.
        keeps_sound: whether clips have the sound of their source.
    """

    name: ClassVar[str] = "split"
    level: ClassVar[str] = VIDEO
    needs: ClassVar[tuple[str, ...]] = ("probe", "cuts")

    min_seconds: float = option(3.0, 0, 86_400)
    max_seconds: float = option(10.0, 0.1, 86_400)
    margin: float = option(0.5, 0, 86_400)
    min_pixels: int = option(512 * 512, 1, 1 << 40)
    crf: float = option(22, 0, 51)
    preset: str = option("veryfast", choices=_PRESETS)
    keeps_sound: bool = True

    def check(self) -> None:
        """Raise InputError where no clip could have an accepted length."""
        if self.min_seconds > self.max_seconds:
            raise InputError(
                f"split.min_seconds {self.min_seconds:g} is above split.max_seconds {self.max_seconds:g}; "
                "min_seconds up to max_seconds is accepted"
            )

    def __call__(self, row: Row, place: Place) -> list[Columns]:
        path = place.file_of(row)
        reader = FrameReader(path)
        info = reader.info
        if info.width * info.height < self.min_pixels:
            return []
        pieces = plan_pieces(row["scenes"], info.duration, self.min_seconds, self.max_seconds, self.margin)
        keys = [f"{row['stem']}_{piece.number}.mp4" for piece in pieces]
        chosen = [frames_of(info, piece) for piece in pieces]
        made = [(piece, key, indices) for piece, key, indices in zip(pieces, keys, chosen) if indices]
        frames = _Frames(reader, path, sorted({index for _, _, indices in made for index in indices}))
        return [
            {"key": key, "video": row["key"], "start": piece.start, "seconds": piece.seconds}
            | self._write(place.clips / key, path, info, piece, indices, frames)
            for piece, key, indices in made
        ]

    def is_kept(self, columns: Row, place: Place) -> bool:
        """Whether the clip is there still."""
        return place.file_of(columns).is_file()

    def forget(self, columns: Row, place: Place) -> None:
        """Remove the clip."""
        place.file_of(columns).unlink(missing_ok=True)

    def _write(
        self, target: Path, source: Path, info: VideoInfo, piece: Piece, indices: list[int], frames: _Frames
    ) -> Columns:
        sound, error = self._sound(target, source, info, piece, indices)
        # What is stored as clips are is coded anew as it is: it saves two conversions, and keeps the colours.
        matrix = frames.matrix_of(indices[0])
        colors: dict[str, Any] = {} if matrix is None else {"matrix": matrix}
        with VideoWriter(target, info.fps, info.width, info.height, self.crf, sound, self.preset, **colors) as writer:
            for index in indices:
                if matrix is not None and frames.matrix_of(index) == matrix:
                    writer.write_stored(frames.stored(index))
                else:
                    writer.write(frames.rgb(index))
        return {
            "num_frames": len(indices),
            "fps": round(float(info.fps), 5),
            "width": writer.stored_size[0],
            "height": writer.stored_size[1],
            "has_sound": sound is not None and sound.is_there,
            "sound_error": error,
        }

    def _sound(
        self, target: Path, source: Path, info: VideoInfo, piece: Piece, indices: list[int]
    ) -> tuple[Audio | None, str | None]:
        """The sound of a clip, or why there is none: frames are not given up for it."""
        if not self.keeps_sound:
            return None, None
        start = info.times[indices[0]] if info.is_even else piece.start
        sound = Audio(source, start, info.start, seeks=True)
        try:
            sound.check(target, len(indices) / info.fps)
        except InputError as error:
            return None, str(error).partition(";")[0]  # behind it are options of other commands
        return sound, None


def frames_of(info: VideoInfo, piece: Piece) -> list[int]:
    """Indices of the source's frames that a clip shows, one after the other at the source's rate; they never descend.

    Where frames come at even times, these are the ones that begin within the piece, each once. Where they do not, each
    is shown as often as it takes.
    """
    times, end = np.asarray(info.times), piece.start + piece.seconds - _SAME_TIME
    if info.is_even:
        return list(range(*(int(index) for index in np.searchsorted(times, [piece.start - _SAME_TIME, end]))))
    count = max(1, round(piece.seconds * info.fps))
    wanted = piece.start + np.arange(count) / float(info.fps)
    return [int(index) for index in np.searchsorted(times, wanted + _SAME_TIME, side="right") - 1]


class _Frames:
    """Frames of a video by indices that never descend, from one decoding.

    Args:
        reader: of the video.
        path: of the video, for messages.
        indices: all that will be asked for, ascending.
    """

    def __init__(self, reader: FrameReader, path: Path, indices: list[int]) -> None:
        self._info, self._path, self._convert = reader.info, path, VideoReformatter()
        self._is_stored = reader.info.animation is None
        stream = reader.stream_stored if self._is_stored else reader.stream
        self._stream: Iterator[tuple[int, Any]] = stream(indices) if indices else iter(())
        self._last: tuple[int, Any] = (-1, None)

    def stored(self, index: int) -> Any:
        """A frame as the reader gives it."""
        while self._last[0] != index:
            self._last = next(self._stream)
        return self._last[1]

    def matrix_of(self, index: int) -> int | None:
        """The code of the colours of a frame that can be coded anew as it is; None of another."""
        frame = self.stored(index)
        return frame.colorspace if self._is_stored and is_plain(frame, self._info) else None

    def rgb(self, index: int) -> np.ndarray:
        """A frame as (H, W, 3) uint8 RGB."""
        frame = self.stored(index)
        return to_upright(frame, self._convert, self._path, index, self._info) if self._is_stored else frame

"""Single frames of a video, in any order, without decoding all that comes before them.

The same frames that `read_frames` gives, bit by bit: decoding begins at the last picture before a frame that stands on
its own.
"""

import bisect
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ppdiffusers_ext.data.decoding import decode_strictly
from ppdiffusers_ext.data.pixels import to_upright
from ppdiffusers_ext.data.video import decode_stored, probe_packets, read_frames
from ppdiffusers_ext.data.video_file import open_video
from ppdiffusers_ext.errors import InputError

_Convert = Callable[[Any, int], np.ndarray]  # of a frame of PyAV, and its number


class FrameReader:
    """Reads frames of a video by their numbers.

    Args:
        path: of the file.
        background: see `read_frames`.

    Attributes:
        info: its `VideoInfo`.

    Raises:
        MissingFileError, InputError: as `probe_video`.
    """

    def __init__(self, path: str | os.PathLike, background: str = "white") -> None:
        self.info, packets = probe_packets(path)
        self._path, self._background = path, background
        self._times: list[int] = packets.times if packets else []
        self._keys: list[int] = packets.keys if packets else []

    def __len__(self) -> int:
        return self.info.num_frames

    @property
    def keyframes(self) -> tuple[int, ...]:
        """Numbers of the frames that are coded on their own, the first among them; of an animated picture that one."""
        keys = set(self._keys)
        return (0, *(index for index, time in enumerate(self._times) if index and time in keys))

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Frames by their numbers, in the order given: (n, height, width, 3) uint8 RGB.

        Raises:
            InputError: there is no such frame, or it cannot be decoded.
        """
        frames = dict(self.stream(indices))
        return np.stack([frames[index] for index in indices])

    def stream(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """As `read`, but one by one, each with its number, in the order of the numbers, and each once."""
        return self._stream(indices, self._upright(VideoReformatter()))

    def stream_stored(self, indices: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """As `stream`, but PyAV's frames as they are stored; of no animated picture."""
        return self._stream(indices, None)

    def _upright(self, convert: Any) -> _Convert:
        return lambda frame, index: to_upright(frame, convert, self._path, index, self.info, self._background)

    def _stream(self, indices: Sequence[int], convert: _Convert | None) -> Iterator[tuple[int, Any]]:
        wanted = sorted(set(indices))
        if not wanted or not 0 <= wanted[0] <= wanted[-1] < len(self):
            raise InputError(f"{self._path} has no frames {list(indices)}; 0 to {len(self) - 1} are accepted")
        # A file whose times do not tell its frames apart is read from its beginning, and an animated picture is.
        is_timed = len(set(self._times)) == len(self) and self._keys[:1] == self._times[:1]
        return self._seek(wanted, convert) if is_timed else self._read_all(wanted, convert)

    def _seek(self, wanted: Sequence[int], convert: _Convert | None) -> Iterator[tuple[int, Any]]:
        decoded: Any = None
        last: Any = None  # time of the frame before
        with open_video(self._path) as (container, stream):
            for index in wanted:
                time = self._times[index]
                number = bisect.bisect_right(self._keys, time) - 1
                goes_on = decoded is not None and self._keys[number] <= last
                # The pictures that follow one that stands on its own may need the group before, in open groups.
                for start in [*([None] if goes_on else []), number, max(number - 1, 0)]:
                    if start is not None:
                        decoded = self._from_key(container, stream, self._keys[start])
                    frame = _find(decoded, time)
                    if frame is not None:
                        break
                if frame is None:
                    decoded = None
                    yield from self._read_all([index], convert)
                else:
                    last = time
                    yield index, frame if convert is None else convert(frame, index)

    def _from_key(self, container: av.container.InputContainer, stream: Any, key: int) -> Iterator[av.VideoFrame]:
        """Decoded frames from a picture on that stands on its own, none where it turns out not to."""
        is_entered = False
        try:
            container.seek(key, stream=stream)
        except av.error.FFmpegError:  # the file's own index does not know it
            return
        for frame in decode_strictly(container, stream, self.info.skipped, begin=key):
            # With gradual refresh, no picture stands on its own: frames come out that are only nearly right.
            is_entered |= frame.pts == key and frame.key_frame
            if not is_entered and frame.pts is not None and frame.pts >= key:
                return
            yield frame

    def _read_all(self, wanted: Sequence[int], convert: _Convert | None) -> Iterator[tuple[int, Any]]:
        count = wanted[-1] + 1
        if convert is None:
            frames = decode_stored(self._path, self.info, count)
        else:
            frames = read_frames(self._path, count=count, info=self.info, background=self._background)
        chosen = set(wanted)
        return ((index, frame) for index, frame in enumerate(frames) if index in chosen)


def _find(decoded: Iterator[av.VideoFrame], time: int) -> av.VideoFrame | None:
    """The frame of a time among decoded ones, or None if there is none or damage comes before it."""
    try:
        frame = next((frame for frame in decoded if frame.pts is not None and frame.pts >= time), None)
    except av.error.FFmpegError:
        return None
    return frame if frame is not None and frame.pts == time and not frame.is_corrupt else None

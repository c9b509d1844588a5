"""Cuts of a video: PySceneDetect's detector of changes in colour, as aigc-apps' `video_caption/cutscene_detect.py`.

PySceneDetect (Breakthrough/PySceneDetect, BSD-3) judges the frames, which this project decodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, ClassVar

import cv2
import numpy as np

from ppdiffusers_ext.data.chain.pieces import timecode_of
from ppdiffusers_ext.data.chain.steps import VIDEO, Columns, Place, Row, Step
from ppdiffusers_ext.data.video import VideoInfo, probe_video, read_frames
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import option

_WIDTH = 256  # pixels of the frames that are judged, as PySceneDetect's own manager of scenes has it
_UNIT = Fraction(1, 1_000_000)  # seconds of a tick, of frames at uneven times


@dataclass(frozen=True, kw_only=True)
class Cuts(Step):
    """Finds the scenes of a video.

    Columns: `scenes`, [start, end] of each in seconds, empty if there is no cut; and as the original writes them
    `timecode_list` (the same as "HH:MM:SS.mmm"), `fram_rate` (so spelt), `frame_size` [width, height] and `duration`.

    Attributes:
        threshold: mean change of hue, saturation and brightness, each 0 to 255, from which on there is a cut.
        min_scene_len: frames of the shortest scene; where frames come at uneven times, as long as so many last at the
            video's rate. Cuts that follow each other faster become one.
    """

    name: ClassVar[str] = "cuts"
    level: ClassVar[str] = VIDEO
    needs: ClassVar[tuple[str, ...]] = ("probe",)

    threshold: float = option(27.0, 0, 255)
    min_scene_len: int = option(15, 1, 1_000_000)

    def check(self) -> None:
        """Raise InputError where PySceneDetect is not installed."""
        _library()

    def __call__(self, row: Row, place: Place) -> Columns:
        path = place.file_of(row)
        info = probe_video(path)
        starts = [info.times[index] for index in self.find(info, read_frames(path, info=info))]
        scenes = [list(scene) for scene in zip([0.0, *starts], [*starts, info.duration])] if starts else []
        return {
            "scenes": scenes,
            "timecode_list": [[timecode_of(time) for time in scene] for scene in scenes],
            "fram_rate": int(info.fps) if info.fps.denominator == 1 else round(float(info.fps), 5),
            "frame_size": [info.width, info.height],
            "duration": timecode_of(info.duration),
        }

    def find(self, info: VideoInfo, frames: Any) -> list[int]:
        """Indices of the frames that a new scene begins with, ascending.

        Args:
            info: of the video.
            frames: all of its frames, (H, W, 3) uint8 RGB, an iterable.
        """
        library = _library()
        detector = library.ContentDetector(threshold=self.threshold, min_scene_len=self.min_scene_len)
        timecodes = _timecodes(library, info)
        number_of = {timecode.pts: index for index, timecode in reversed(list(enumerate(timecodes)))}
        found: list[Any] = []
        for timecode, frame in zip(timecodes, frames, strict=True):
            found += detector.process_frame(timecode, _small(frame))
        found += detector.post_process(timecodes[-1])
        return sorted({number_of[timecode.pts] for timecode in found})


def _timecodes(library: Any, info: VideoInfo) -> list[Any]:
    """PySceneDetect's time of each frame: its number where they are even, so that lengths in frames are exact."""
    if info.is_even:
        return [library.FrameTimecode(index, fps=info.fps) for index in range(info.num_frames)]
    ticks = [round(time / _UNIT) for time in info.times]
    return [library.FrameTimecode(library.Timecode(tick, _UNIT), fps=info.fps) for tick in ticks]


def _small(frame: np.ndarray) -> np.ndarray:
    """A frame as PySceneDetect judges it: BGR, at most 256 pixels wide."""
    height, width = frame.shape[:2]
    if width > _WIDTH:
        size = _WIDTH, max(1, round(height * _WIDTH / width))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(frame[..., ::-1])


def _library() -> Any:
    try:
        from scenedetect.common import FrameTimecode, Timecode
        from scenedetect.detectors import ContentDetector
    except ImportError as error:
        raise InputError(
            "step cuts needs scenedetect, which is not installed; `pip install 'ppdiffusers_ext[data]'` installs it"
        ) from error
    return SimpleNamespace(ContentDetector=ContentDetector, FrameTimecode=FrameTimecode, Timecode=Timecode)

"""Share of the picture that is covered by text: subtitles, captions, logos.

As aigc-apps' `video_caption/compute_text_score.py`, but for the networks: PP-OCRv4's (PaddlePaddle/PaddleOCR) by
RapidOCR (RapidAI/RapidOCR), which come with its package, where the original downloads CRAFT. A detector alone takes
faces and blots for text, so what it finds must be readable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

from ppdiffusers_ext.data.chain.sampling import resized
from ppdiffusers_ext.data.chain.steps import ClipFacts, Columns, Measure, Place, Row, Watcher
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.options import option

_LETTERS = 2  # of a text: single ones are read into blots
_readers: list[Any] = []  # of this process: none or one


@dataclass(frozen=True, kw_only=True)
class TextArea(Measure):
    """Measures the share of the picture that text covers.

    Columns: `text_score`, 0 for none, on the frame in the middle.

    Attributes:
        short_side: pixels of the frame as it is looked at.
        min_score: certainty, 0 to 1, with which a text of Latin or Chinese letters is read that counts; with 0 all
            areas count that are found, whatever the script, and faces now and then.
    """

    name: ClassVar[str] = "text"
    needs: ClassVar[tuple[str, ...]] = ("split",)
    is_network: ClassVar[bool] = True

    short_side: int = option(544, 32, 4320)
    min_score: float = option(0.6, 0, 1)

    def check(self) -> None:
        _library()

    def open(self, place: Place) -> None:
        _reader()

    def choose(self, facts: ClipFacts) -> Iterable[int]:
        return [facts.num_frames // 2]

    def watch(self, row: Row, facts: ClipFacts) -> Watcher:
        return _Areas(self.short_side, self.min_score)


class _Areas:
    def __init__(self, short_side: int, min_score: float) -> None:
        self._short_side, self._min_score, self._score = short_side, min_score, 0.0

    def see(self, index: int, frame: np.ndarray) -> None:
        small = np.ascontiguousarray(resized(frame, self._short_side)[..., ::-1])
        found, _ = _reader()(small, use_cls=False)
        quads = [np.asarray(quad, np.float32) for quad, text, score in found or () if self._counts(text, float(score))]
        self._score = text_share([], quads, *small.shape[:2])

    def _counts(self, text: str, score: float) -> bool:
        return self._min_score == 0 or (score >= self._min_score and len(text.strip()) >= _LETTERS)

    def columns(self) -> Columns:
        return {"text_score": self._score}


def text_share(
    boxes: Sequence[Sequence[float]], quads: Sequence[Sequence[Sequence[float]] | np.ndarray], height: int, width: int
) -> float:
    """Area of text over that of the picture, rounded to 5 decimals. Where areas overlap, both count.

    The original counts all quads as nothing if there is one: the area of the second triangle of each is asked of two
    points, and the error is swallowed. Here each counts with its area.

    Args:
        boxes: (left, right, top, bottom) of each level area; one that is turned inside out counts as nothing.
        quads: four corners (x, y) of each other area, in order around it.
        height, width: of the picture.
    """
    area = sum(max(0, right - left) * max(0, bottom - top) for left, right, top, bottom in boxes)
    area += sum(cv2.contourArea(np.asarray(quad, np.float32)) for quad in quads)
    return round(float(area) / (height * width), 5)


def _reader() -> Any:
    """What finds and reads text in a BGR picture, opened once in a process, on one thread: others work beside it."""
    if not _readers:
        threads = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}
        # Pictures as large as they come: by itself it enlarges small ones. What it is not sure of is left to us.
        _readers.append(_library()(**threads, det_limit_type="max", det_limit_side_len=2000, text_score=0.0))
    return _readers[0]


def _library() -> Any:
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:
        raise InputError(
            "rapidocr-onnxruntime is not installed, which finds text; `pip install 'ppdiffusers_ext[data]'` "
            "installs it"
        ) from error
    return RapidOCR

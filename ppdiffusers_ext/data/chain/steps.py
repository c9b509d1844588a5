"""A step of the chain: a function from a row to new columns.

A row is a dict of plain values (what JSON has), one for each video and, after the split, one for each clip. It holds
the columns of the steps before, and `key`, the path of its file below the folder that it lies in. A step neither
changes the row nor knows the others; `chain.run` keeps what each gives in a table of the step's name.

The steps are those of aigc-apps/EasyAnimate, `easyanimate/video_caption`, whose programs pass tables to each other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from ppdiffusers_ext.errors import InputError

Row = Mapping[str, Any]
Columns = dict[str, Any]

VIDEO, CLIP = "video", "clip"  # what a row is of
CLIPS = "clips"  # folder of a run


class StopRun(InputError):
    """Raised by a step where going on would fail every row that is left; the rows that are done are kept."""


@dataclass(frozen=True)
class Place:
    """Folders of a run.

    Attributes:
        source: of the raw videos: the key of a video is the path below it.
        output: of the run.
    """

    source: Path
    output: Path

    @property
    def clips(self) -> Path:
        """Folder of the clips: the key of a clip is the path below it."""
        return self.output / CLIPS

    def file_of(self, row: Row) -> Path:
        """The video or the clip that a row is of: a clip's row has the key of its video as `video`."""
        return (self.clips if "video" in row else self.source) / row["key"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step; its fields are the settings that its results depend on, and it is copied to the processes that work.

    Raising `InputError` from `__call__` fails this row alone, with the message as its reason; so does any other
    exception, with its type. What is costly (networks, servers) is opened by `open`, once in each process.

    Attributes:
        name: of the step and of its table.
        level: whether its rows are of videos or of clips.
        needs: steps whose columns it reads; a row that one of them failed is not given to it.
        reads: steps whose columns it reads as well, where they ran.
        version: to be raised when the results for the same settings change.
        is_network: whether it loads a network: such a step stays in its process from row to row.
        is_gated: whether it is given only those clips that passed all thresholds before it: what has to be paid for.
        is_waiting: whether it waits for a server: `concurrency` threads of one process may call it at a time.
    """

    name: ClassVar[str]
    level: ClassVar[str] = CLIP
    needs: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1
    is_network: ClassVar[bool] = False
    is_gated: ClassVar[bool] = False
    is_waiting: ClassVar[bool] = False

    def settings(self) -> dict[str, Any]:
        """What results depend on, as JSON has it, written beside the table: a change makes the table anew."""
        return {"version": self.version, **asdict(self)}

    def check(self) -> None:
        """Raise InputError where a package or a file that it needs is missing: called before anything is computed."""

    @property
    def concurrency(self) -> int:
        """Rows that it may be called with at a time, if `is_waiting`."""
        return 1

    def open(self, place: Place) -> None:
        """Prepare a process for calls."""

    def summary(self) -> list[str]:
        """Lines about the calls since `open`, told at the end: requests, tokens, cost."""
        return []

    def __call__(self, row: Row, place: Place) -> Columns | list[Columns]:
        """The new columns of a row; a step that makes rows (`split`) gives a list of columns, each with its `key`."""
        raise NotImplementedError

    def is_kept(self, columns: Row, place: Place) -> bool:
        """Whether the files that columns of an earlier run speak of are there still."""
        return True

    def forget(self, columns: Row, place: Place) -> None:
        """Remove the files that columns speak of, which others have replaced."""


@dataclass(frozen=True, kw_only=True)
class SetStep(Step):
    """A step that sees all rows at once, those that passed all thresholds before it; `__call__` is not for it."""

    is_gated: ClassVar[bool] = True

    def over(self, rows: Iterable[Row], place: Place) -> Iterable[Columns]:
        """The new columns of each row, with its `key`. Results do not depend on the order of the rows."""
        raise NotImplementedError


@dataclass(frozen=True)
class ClipFacts:
    """What a measure may know of a clip before it is decoded.

    Attributes:
        num_frames: of the clip, at least 1.
        fps: frames per second.
        width, height: pixels, upright.
        keyframes: indices of the frames that are coded on their own, the first among them.
    """

    num_frames: int
    fps: float
    width: int
    height: int
    keyframes: tuple[int, ...] = (0,)


class Watcher(Protocol):
    """Sees the frames of one clip that its measure chose."""

    def see(self, index: int, frame: np.ndarray) -> None:
        """Take a frame: uint8 (height, width, 3), RGB, not to be changed; indices ascend."""

    def columns(self) -> Columns:
        """The measured columns, after the last frame."""


@dataclass(frozen=True, kw_only=True)
class Measure(Step):
    """A step that looks at frames of a clip. All measures of a run see the frames of one decoding.

    `__call__` is not for it: `chain.look` decodes a clip once and hands each measure the frames that it chose.
    """

    def choose(self, facts: ClipFacts) -> Iterable[int]:
        """Indices of the frames that it wants to see, ascending."""
        raise NotImplementedError

    def watch(self, row: Row, facts: ClipFacts) -> Watcher:
        """A new `Watcher` for the clip of a row."""
        raise NotImplementedError

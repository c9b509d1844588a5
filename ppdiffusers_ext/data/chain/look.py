"""One decoding of a clip for all measures that look at its frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.data.chain.steps import ClipFacts, Measure, Place, Row, Watcher
from ppdiffusers_ext.data.chain.work import failure_of, outcome_of
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.workers.tasks import Outcome


@dataclass
class Pass:
    """The `Job` of several measures.

    Args:
        measures: `Measure`s.
        place: `Place` of the run.
    """

    measures: tuple[Measure, ...]
    place: Place

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(measure.name for measure in self.measures)

    @property
    def is_network(self) -> bool:
        return any(measure.is_network for measure in self.measures)

    def open(self) -> None:
        """Open all measures."""
        for measure in self.measures:
            measure.open(self.place)

    def __call__(self, row: Row, names: Sequence[str]) -> dict[str, Outcome]:
        return look(self.place.file_of(row), row, [measure for measure in self.measures if measure.name in names])


@dataclass
class _Look:
    """One measure and one clip.

    Attributes:
        chosen: numbers of the frames that it wants.
        watcher: None before it began.
        outcome: how it failed; None as long as it did not.
    """

    measure: Measure
    chosen: frozenset[int] = frozenset()
    watcher: Watcher | None = None
    outcome: Outcome | None = field(default=None)

    def attempt(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Do a part of it; an error ends this measure alone."""
        if self.outcome is None:
            try:
                work(*arguments)
            except Exception as error:
                self.outcome = failure_of(error)

    def begin(self, row: Row, facts: ClipFacts) -> None:
        self.chosen = frozenset(self.measure.choose(facts))
        self.watcher = self.measure.watch(row, facts)
        if wrong := sorted(index for index in self.chosen if not 0 <= index < facts.num_frames):
            raise IndexError(f"frame {wrong[0]} of {facts.num_frames}")

    def see(self, index: int, frame: np.ndarray) -> None:
        assert self.watcher is not None
        self.watcher.see(index, frame)

    def end(self) -> Outcome:
        if self.outcome is None:
            assert self.watcher is not None
            return outcome_of(self.watcher.columns)
        return self.outcome


def look(path: Path, row: Row, measures: Sequence[Measure]) -> dict[str, Outcome]:
    """Decode a clip once, up to the last frame that is wanted; what each measure found, or its error.

    Args:
        path: of the clip.
        row: its columns.
        measures: `Measure`s, opened.
    """
    looks = [_Look(measure) for measure in measures]
    try:
        reader = FrameReader(path)
        facts = facts_of(reader)
        for each in looks:
            each.attempt(each.begin, row, facts)
        _show(reader, looks)
    except Exception as error:  # of decoding
        failure = failure_of(error)
        return {each.measure.name: each.outcome or failure for each in looks}
    return {each.measure.name: each.end() for each in looks}


def facts_of(reader: FrameReader) -> ClipFacts:
    """The `ClipFacts` of an open video."""
    info = reader.info
    return ClipFacts(info.num_frames, float(info.fps), info.width, info.height, reader.keyframes)


def _show(reader: FrameReader, looks: Sequence[_Look]) -> None:
    wanted = sorted(set().union(*(each.chosen for each in looks if each.outcome is None)))
    for index, frame in reader.stream(wanted) if wanted else ():
        frame.flags.writeable = False
        for each in looks:
            if index in each.chosen:
                each.attempt(each.see, index, frame)

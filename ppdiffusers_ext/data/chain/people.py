"""People in a clip: how many, how much of them is seen, and how large. See `preprocess.presence`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ppdiffusers_ext.data.chain.sampling import middles, resized
from ppdiffusers_ext.data.chain.steps import ClipFacts, Columns, Measure, Place, Row, Watcher
from ppdiffusers_ext.options import option
from ppdiffusers_ext.preprocess.blaze.networks import Networks, network_files, open_networks
from ppdiffusers_ext.preprocess.presence import Presence, find_presence

_SHORT_SIDE = 720  # pixels of the largest frames that are looked at: the networks see 224 of each half
_networks: list[Networks] = []  # of this process: none or one


@dataclass(frozen=True, kw_only=True)
class People(Measure):
    """Counts people.

    Columns: `people_median` and `people_max`, people in a frame; `person_share` and `person_visibility`, medians over
    the frames with somebody in them, of the largest person: see `Presence`; 0 where there is nobody.

    Attributes:
        num_frames: that are looked at.
    """

    name: ClassVar[str] = "people"
    needs: ClassVar[tuple[str, ...]] = ("split",)
    is_network: ClassVar[bool] = True

    num_frames: int = option(5, 1, 10_000)

    def check(self) -> None:
        network_files()

    def open(self, place: Place) -> None:
        _opened()

    def choose(self, facts: ClipFacts) -> Iterable[int]:
        return middles(facts.num_frames, self.num_frames)

    def watch(self, row: Row, facts: ClipFacts) -> Watcher:
        return _Counts()


class _Counts:
    def __init__(self) -> None:
        self._seen: list[Presence] = []

    def see(self, index: int, frame: np.ndarray) -> None:
        is_large = min(frame.shape[:2]) > _SHORT_SIDE
        self._seen.append(find_presence(_opened(), resized(frame, _SHORT_SIDE if is_large else None)))

    def columns(self) -> Columns:
        counts, found = [each.count for each in self._seen], [each for each in self._seen if each.count]
        return {
            "people_median": statistics.median_low(counts),
            "people_max": max(counts),
            "person_share": _median([each.share for each in found]),
            "person_visibility": _median([each.visibility for each in found]),
        }


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 5) if values else 0.0


def _opened() -> Networks:
    """The networks, opened once in a process, on one thread: others work beside it."""
    if not _networks:
        _networks.append(open_networks(threads=1))
    return _networks[0]

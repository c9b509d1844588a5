"""One decoding serves all measures: each sees what it chose, and fails alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from ppdiffusers_ext.data.chain.look import Pass
from ppdiffusers_ext.data.chain.steps import Measure, Place
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.errors import InputError
from tests.support.odd_videos import encode

FRAMES = 12


@dataclass(frozen=True, kw_only=True)
class Grey(Measure):
    """The mean of chosen frames, and what is known of the clip."""

    name: ClassVar[str] = "grey"
    indices: tuple = (0, 3, 11)
    fails_at: int | None = None

    def choose(self, facts) -> Iterable[int]:
        return self.indices

    def watch(self, row, facts):
        return _Greys(self.fails_at, facts)


class _Greys:
    def __init__(self, fails_at, facts):
        self.fails_at, self.facts, self.seen = fails_at, facts, []

    def see(self, index, frame):
        if index == self.fails_at:
            raise InputError(f"frame {index} is not liked")
        assert frame.dtype == np.uint8 and not frame.flags.writeable
        self.seen.append((index, round(float(frame.mean()))))

    def columns(self):
        return {"seen": self.seen, "keyframes": self.facts.keyframes, "num_frames": self.facts.num_frames}


@dataclass(frozen=True, kw_only=True)
class Other(Grey):
    name: ClassVar[str] = "other"


@dataclass(frozen=True, kw_only=True)
class Third(Grey):
    name: ClassVar[str] = "third"


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path, tmp_path)
    place.clips.mkdir()
    frames = [np.full((48, 64, 3), 20 * index, np.uint8) for index in range(FRAMES)]
    encode(place.clips / "a_0.mp4", frames, g=5, bf=0, sc_threshold=0)
    return place


def look(place, *measures, key="a_0.mp4", names=("grey", "other", "third")):
    return Pass(measures, place)({"key": key, "video": "a.mp4"}, names)


def test_each_measure_sees_the_frames_that_it_chose_from_one_decoding(place, monkeypatch):
    asked, stream = [], FrameReader.stream
    monkeypatch.setattr(FrameReader, "stream", lambda self, wanted: asked.append(wanted) or stream(self, wanted))
    found = look(place, Grey(), Other(indices=(2, 3)))
    assert [index for index, _ in found["grey"]["columns"]["seen"]] == [0, 3, 11]
    assert [mean for _, mean in found["grey"]["columns"]["seen"]] == pytest.approx([0, 60, 220], abs=3)
    assert [index for index, _ in found["other"]["columns"]["seen"]] == [2, 3]
    assert found["grey"]["columns"]["keyframes"] == [0, 5, 10] and found["grey"]["columns"]["num_frames"] == FRAMES
    assert asked == [[0, 2, 3, 11]]


def test_measure_that_fails_costs_the_others_nothing(place):
    found = look(place, Grey(fails_at=3), Other(), Third(indices=(12,)))
    assert found["grey"] == {"error": "frame 3 is not liked"}
    assert found["third"] == {"error": "IndexError: frame 12 of 12"}
    assert len(found["other"]["columns"]["seen"]) == 3


def test_only_measures_that_are_wanted_look(place):
    assert look(place, Grey(), Other(), names=("other",)).keys() == {"other"}


def test_clip_that_cannot_be_decoded_fails_all(place):
    (place.clips / "b_0.mp4").write_bytes(b"")
    found = look(place, Grey(), Other(), key="b_0.mp4")
    assert found["grey"] == found["other"] and "not a video that can be read" in found["grey"]["error"]


@pytest.mark.parametrize("value", [float("nan"), object(), {1: {2}}])
def test_what_a_table_cannot_have_is_an_error(place, value, monkeypatch):
    monkeypatch.setattr(_Greys, "columns", lambda self: {"value": value})
    assert "error" in look(place, Grey())["grey"]


def test_numbers_of_numpy_are_plain(place, monkeypatch):
    monkeypatch.setattr(_Greys, "columns", lambda self: {"a": np.float32(0.5), "b": np.arange(2), "c": np.bool_(True)})
    assert look(place, Grey())["grey"] == {"columns": {"a": 0.5, "b": [0, 1], "c": True}}

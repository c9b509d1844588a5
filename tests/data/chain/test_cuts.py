"""Cuts: where the colours change, at even and uneven times, and what the columns say."""

import sys

import numpy as np
import pytest

from ppdiffusers_ext.data.chain.cuts import Cuts
from ppdiffusers_ext.data.chain.steps import Place
from ppdiffusers_ext.errors import InputError
from tests.data.chain.numbered import write_numbered
from tests.support.odd_videos import encode

COLORS = np.array([(200, 40, 40), (40, 40, 200), (240, 240, 240)], np.uint8)


def found(path, **settings):
    return Cuts(**settings)({"key": path.name}, Place(path.parent, path.parent / "out"))


def shots(*lengths, size=(32, 48)):
    """Frames of one colour each shot."""
    return [np.full((*size, 3), COLORS[i % 3], np.uint8) for i, length in enumerate(lengths) for _ in range(length)]


def test_scenes_lie_between_the_changes(tmp_path):
    columns = found(encode(tmp_path / "a.mp4", shots(30, 20, 25)))
    assert np.allclose(columns["scenes"], [[0, 1], [1, 50 / 30], [50 / 30, 2.5]])
    assert columns["timecode_list"] == [
        ["00:00:00.000", "00:00:01.000"],
        ["00:00:01.000", "00:00:01.667"],
        ["00:00:01.667", "00:00:02.500"],
    ]
    assert {name: columns[name] for name in ("fram_rate", "frame_size", "duration")} == {
        "fram_rate": 30,
        "frame_size": [48, 32],
        "duration": "00:00:02.500",
    }


def test_video_without_cuts_has_no_scenes(tmp_path):
    assert found(write_numbered(tmp_path / "a.mp4", 30))["scenes"] == []


def test_cuts_that_follow_each_other_within_a_shortest_scene_become_one(tmp_path):
    path = encode(tmp_path / "a.mp4", shots(30, 5, 5, 30))
    assert [len(found(path, min_scene_len=length)["scenes"]) for length in (5, 15)] == [4, 2]


def test_threshold_is_a_setting(tmp_path):
    path = encode(tmp_path / "a.mp4", shots(30, 30))
    assert [len(found(path, threshold=value)["scenes"]) for value in (27.0, 200.0)] == [2, 0]


def test_cuts_of_uneven_times_are_at_the_times_of_their_frames(tmp_path):
    # The first shot has 10 frames, fewer than a shortest scene has, but lasts for 2 seconds of pauses.
    times = [*range(0, 2000, 200), *range(2000, 3000, 33)]
    path = encode(tmp_path / "a.mkv", shots(10, len(times) - 10), times=times)
    ((start, end), (again, last)) = found(path)["scenes"]
    assert (start, end, again) == (0, pytest.approx(2.0, abs=1e-3), end)
    assert last == pytest.approx(3.0, abs=0.05)


def test_large_frames_are_judged_by_small_copies(tmp_path):
    columns = found(encode(tmp_path / "a.mp4", shots(16, 16, size=(300, 520))))
    assert columns["scenes"][0] == pytest.approx([0, 16 / 30])


def test_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "scenedetect.detectors", None)
    with pytest.raises(InputError, match="pip install 'ppdiffusers_ext"):
        Cuts().check()

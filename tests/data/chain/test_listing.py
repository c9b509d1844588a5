"""Videos of a folder, a list or a file; what is no video is a row with a reason."""

import itertools
import os
from pathlib import Path

import av
import numpy as np
import pytest

from ppdiffusers_ext.data.chain.listing import Probe, list_videos, stems_of
from ppdiffusers_ext.data.chain.steps import Place
from ppdiffusers_ext.errors import InputError
from tests.data.test_video import keep, noise, write
from tests.support.odd_videos import encode


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def keys_of(source, output="none"):
    return [row["key"] for row in list_videos(source, output)[1]]


def test_folder_is_listed_with_its_subfolders_in_natural_order(tmp_path):
    names = ["b10.mp4", "b2.WEBM", "a/x.mkv", "a/y.avi", "c.flv", "c.mov", "c.m4v", "note.txt", ".hidden.mp4", "d.png"]
    touch(*(tmp_path / name for name in names))
    assert keys_of(tmp_path) == ["a/x.mkv", "a/y.avi", "b2.WEBM", "b10.mp4", "c.flv", "c.m4v", "c.mov"]


def test_links_are_followed_once_and_loops_end(tmp_path):
    touch(tmp_path / "a/x.mp4", tmp_path / "other/y.mp4")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "gone.mp4").symlink_to("nowhere")
    assert keys_of(tmp_path) == ["a/x.mp4", "gone.mp4", "other/y.mp4"]


def test_folder_of_the_run_is_left_out(tmp_path):
    touch(tmp_path / "x.mp4", tmp_path / "out/clips/x_0.mp4")
    assert keys_of(tmp_path, tmp_path / "out") == ["x.mp4"]


def test_videos_that_the_run_itself_makes_are_refused(tmp_path):
    touch(tmp_path / "out/x.mp4", tmp_path / "out/clips/a/x_0.mp4")
    (tmp_path / "link").symlink_to(tmp_path / "out/clips")
    (tmp_path / "list.txt").write_text("out/x.mp4\nlink/a/x_0.mp4\n")
    for source, told in {
        "out": "is the folder of the run, too; another one for OUT is accepted",
        "out/clips/a": "has clips that this run makes",
        "link/a/x_0.mp4": "has clips that this run makes",
        "list.txt": "has clips that this run makes",
    }.items():
        with pytest.raises(InputError, match=told):
            list_videos(tmp_path / source, tmp_path / "out")
    assert keys_of(tmp_path / "out/x.mp4", tmp_path / "out") == ["x.mp4"]


def test_one_video_and_lists_of_videos(tmp_path):
    touch(tmp_path / "in/a/x.mp4", tmp_path / "in/y 1.mp4")
    assert keys_of(tmp_path / "in/y 1.mp4") == ["y 1.mp4"]
    (tmp_path / "list.txt").write_text("in/y 1.mp4\nin/a/x.mp4\n\nin/a/../a/x.mp4\n")
    assert list_videos(tmp_path / "list.txt", "out")[0] == tmp_path / "in"
    assert keys_of(tmp_path / "list.txt") == ["a/x.mp4", "y 1.mp4"]
    (tmp_path / "list.csv").write_text("video_path,other\nin/a/x.mp4,1\n")
    assert keys_of(tmp_path / "list.csv") == ["x.mp4"]


@pytest.mark.parametrize("name", ["empty", "missing", "list.txt"])
def test_nothing_to_list_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(InputError, match="accepted"):
        list_videos(tmp_path / name, tmp_path / "out")


def test_names_that_are_written_alike_have_keys_of_their_own(tmp_path):
    touch(tmp_path / "two\nlines.mp4", tmp_path / "two\\nlines.mp4")
    assert keys_of(tmp_path) == ["two\\nlines.mp4", "two\\nlines.mp4?"]


def test_names_that_lists_cannot_have_are_rows_with_a_reason(tmp_path):
    touch(tmp_path / 'it\'s "1".mp4', tmp_path / "two\nlines.mp4")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.mp4")).write_bytes(b"x")
    rows = {row["key"]: row for row in list_videos(tmp_path, "out")[1]}
    assert rows.keys() == {'it\'s "1".mp4', "two\\nlines.mp4", "b\\xff.mp4"}
    assert "problem" not in rows['it\'s "1".mp4']
    with pytest.raises(InputError, match="not text in UTF-8 on one line"):
        Probe()(rows["b\\xff.mp4"], Place(tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("keys", "stems"),
    [
        (["a.mp4", "b.mp4"], ["a", "b"]),
        (["a.mkv", "a.mp4"], ["a.mkv", "a.mp4"]),
        (["x/a.mp4", "y/a.mp4"], ["x/a", "y/a"]),
        (["a.mp4", "a_0.mp4"], ["a.mp4", "a_0.mp4"]),
        (["a_1.mp4", "a_2.mp4"], ["a_1", "a_2"]),
        (["A.mp4", "a.mkv"], ["A.mp4", "a.mkv"]),
        (["a.mp4.mp4"], ["a.mp4.mp4"]),
        (["day.2020.mp4"], ["day.2020"]),
    ],
)
def test_clips_are_named_as_their_video_unless_they_could_meet(keys, stems):
    assert stems_of(keys) == stems


def test_names_of_clips_never_meet():
    names = [f"{stem}{ending}" for stem in ("a", "a_0", "a_0_1", "a.mp4", "a.mp4_0") for ending in (".mp4", ".mkv")]
    numbers = ["0", "1", "0_0", "0_1"]
    for some in itertools.chain.from_iterable(itertools.combinations(names, count) for count in (2, 3)):
        clips = [f"{stem}_{number}" for stem in stems_of(some) for number in numbers]
        assert len(set(clips)) == len(clips), some


def frames(count, height=48, width=64):
    return [np.full((height, width, 3), 10 * index, np.uint8) for index in range(count)]


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux([*stream.encode(frame), *stream.encode(None)])


def probe(path):
    (row,) = list_videos(path, "out")[1]
    return Probe()(row, Place(path.parent, path.parent))


def test_probe_says_what_a_video_is(tmp_path):
    found = probe(encode(tmp_path / "a.mp4", frames(5)))
    assert {name: found[name] for name in ("num_frames", "width", "height", "has_sound", "codec", "is_variable")} == {
        **{"num_frames": 5, "width": 64, "height": 48, "has_sound": False, "codec": "h264", "is_variable": False}
    }
    assert found["stem"] == "a" and found["duration"] == pytest.approx(5 / found["fps"], rel=1e-4)


def test_odd_videos_have_their_columns(tmp_path):
    assert probe(encode(tmp_path / "one.mp4", frames(1)))["num_frames"] == 1
    portrait = probe(encode(tmp_path / "portrait.mp4", frames(1, 3840, 2160)))
    assert (portrait["width"], portrait["height"]) == (2160, 3840)
    uneven = probe(encode(tmp_path / "uneven.mp4", frames(5), times=[0, 40, 80, 400, 440]))
    assert uneven["is_variable"] and uneven["duration"] == pytest.approx(0.48)


def test_what_is_no_video_has_a_reason(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    keep(write(tmp_path / "cut.mp4", noise(8)), 0.7)
    write_sound(tmp_path / "sound.mp4")
    encode(tmp_path / "old.avi", frames(3))
    for name, reason in {
        "empty.mp4": "not a video that can be read",
        "cut.mp4": "cut off",
        "sound.mp4": "has no video track",
        "old.avi": "as no AVI is; MP4, MOV, WebM and MKV are",
    }.items():
        with pytest.raises(InputError, match=reason):
            probe(tmp_path / name)

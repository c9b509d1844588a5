"""What was computed is kept: by files of a limited size, in places that are lost, with real writers."""

import os
import resource
import signal

import numpy as np
import pytest

from ppdiffusers_ext.data.outputs import OutputError, output_file
from ppdiffusers_ext.data.side_outputs import SideOutputError, SideOutputs, SideVideo, keep
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 48, 48, 3), dtype=np.uint8)


def write_both(folder):
    """A video, and beside it one of three times its width."""
    sides = SideOutputs(folder / "a.mp4")
    with SideVideo(sides, folder / "b.mp4", 25, 144, 48) as beside, VideoWriter(folder / "a.mp4", 25, 48, 48) as main:
        for frame in FRAMES:
            beside.write(np.concatenate([frame] * 3, axis=1))
            main.write(frame)
    sides.attempt(lambda: (folder / "sheet").write_text("sheet"))
    sides.tell()


def in_child(limit, work):
    """Exit code of a process whose files may have so many bytes: 0, or what `work` gives for what it raised."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            work()
            code = 0
        except SideOutputError as error:
            code = 10 if "b.mp4" in str(error) and str(error).endswith("a.mp4 is complete)") else 11
        except InputError as error:
            code = 20 if "while writing" in str(error) and "a.mp4" in str(error) else 21
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_side_that_outgrows_a_limit_costs_the_result_nothing(tmp_path):
    (tmp_path / "whole").mkdir()
    write_both(tmp_path / "whole")
    small, large = ((tmp_path / "whole" / name).stat().st_size for name in ("a.mp4", "b.mp4"))
    for number, limit in enumerate(np.linspace(small, large - 1, 6, dtype=int).tolist()):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert in_child(limit, lambda folder=folder: write_both(folder)) == 10
        assert sorted(os.listdir(folder)) == ["a.mp4", "sheet"]
        assert (folder / "a.mp4").read_bytes() == (tmp_path / "whole" / "a.mp4").read_bytes()


def test_result_that_outgrows_a_limit_takes_its_side_with_it(tmp_path):
    assert in_child(2000, lambda: write_both(tmp_path)) == 20
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["folder/b.mp4", "b.avi"])
def test_side_that_cannot_begin_costs_the_result_nothing(tmp_path, name):
    (tmp_path / "folder").write_text("a file")
    sides = SideOutputs(tmp_path / "a.mp4")
    with SideVideo(sides, tmp_path / name, 25, 48, 48) as beside, VideoWriter(tmp_path / "a.mp4", 25, 48, 48) as main:
        for frame in FRAMES:
            beside.write(frame)
            main.write(frame)
    with pytest.raises(SideOutputError, match=r"cannot write .* \(.*a.mp4 is complete\)"):
        sides.tell()
    assert probe_video(tmp_path / "a.mp4").num_frames == 6


def test_sides_that_are_written_say_nothing(tmp_path):
    write_both(tmp_path)
    assert probe_video(tmp_path / "b.mp4").num_frames == 6


def write(target):
    with output_file(target) as temporary:
        temporary.write_text("computed for hours")
    return target


def test_result_whose_place_is_lost_is_kept_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write .*\(the result was kept as (.*)\)") as caught:
        keep(write, tmp_path / "file" / "out.mp4")
    (kept,) = tmp_path.glob("*/out.mp4")
    assert kept.read_text() == "computed for hours" and str(kept) in str(caught.value)


def test_earlier_result_at_a_place_that_is_lost_is_no_reason_not_to_keep_the_new_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mp4").write_text("earlier")

    def fail_first(target):
        if target.parent.name == "out":
            raise OutputError("no space left on the disk while writing a.mp4; free some space")
        return write(target)

    with pytest.raises(InputError, match="the result was kept as"):
        keep(fail_first, tmp_path / "out" / "a.mp4")
    assert [path.read_text() for path in tmp_path.glob("ppdiffusers_ext-*/a.mp4")] == ["computed for hours"]


def test_result_that_can_be_kept_nowhere_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail(target):
        raise OutputError("no space left")

    with pytest.raises(InputError, match="no space left$"):
        keep(fail, tmp_path / "out" / "a.mp4")
    assert os.listdir(tmp_path) == []


def test_what_is_no_failure_of_an_output_is_not_tried_again(tmp_path):
    tried = []

    def fail(target):
        tried.append(target)
        raise InputError("the model gave NaN; other weights are accepted")

    with pytest.raises(InputError, match="the model gave NaN"):
        keep(fail, tmp_path / "a.mp4")
    assert tried == [tmp_path / "a.mp4"]

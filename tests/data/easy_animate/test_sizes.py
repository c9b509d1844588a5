"""Sizes of clips: from the meta file, or read once and kept."""

import dataclasses
import json
import os

import pytest

from ppdiffusers_ext.data.easy_animate import sizes
from ppdiffusers_ext.data.easy_animate.clips import CaptionedClip
from ppdiffusers_ext.data.easy_animate.settings import SampleSettings
from ppdiffusers_ext.data.easy_animate.sizes import with_sizes
from ppdiffusers_ext.errors import InputError
from tests.support.captioned import write_picture, write_video

SETTINGS = SampleSettings(enable_bucket=True, video_sample_n_frames=16)


@pytest.fixture
def clips(tmp_path):
    return [
        CaptionedClip(write_video(tmp_path / "a.mp4", 12, 96, 64), "x", True),
        CaptionedClip(write_picture(tmp_path / "b.png", 40, 50), "y", False),
        CaptionedClip(tmp_path / "b.png", "z", False),
        CaptionedClip(tmp_path / "not read.mp4", "of the meta file", True, 32, 16),
    ]


def described(clips):
    return [(clip.text, clip.width, clip.height, clip.num_frames) for clip in clips]


MEASURED = [("x", 96, 64, 12), ("y", 40, 50, None), ("z", 40, 50, None), ("of the meta file", 32, 16, None)]


def test_files_without_a_size_are_measured_and_others_not_opened(clips):
    assert described(with_sizes(clips, SETTINGS)) == MEASURED


def test_nothing_is_read_where_no_sizes_are_needed(clips, tmp_path):
    for name in ("a.mp4", "b.png"):
        (tmp_path / name).write_bytes(b"")
    assert with_sizes(clips, SampleSettings()) == clips


def test_picture_that_is_stored_on_its_side_has_the_size_that_is_read(tmp_path):
    import PIL.Image

    image = PIL.Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    (clip,) = with_sizes([CaptionedClip(tmp_path / "turned.jpg", "", False)], SETTINGS)
    assert (clip.width, clip.height) == (20, 40)


def count_reads(monkeypatch):
    read = []
    measure = sizes.measure_clip
    monkeypatch.setattr(sizes, "measure_clip", lambda clip: read.append(clip.path.name) or measure(clip))
    return read


def test_kept_sizes_are_read_again_for_files_that_changed_alone(clips, tmp_path, monkeypatch):
    cache, read = tmp_path / "out" / "sizes.json", count_reads(monkeypatch)
    assert described(with_sizes(clips, SETTINGS, cache)) == MEASURED
    assert sorted(read) == ["a.mp4", "b.png"]
    assert described(with_sizes(clips, SETTINGS, cache)) == MEASURED
    assert sorted(read) == ["a.mp4", "b.png"]
    write_picture(tmp_path / "b.png", 90, 20)
    os.utime(tmp_path / "b.png", ns=(0, 12345))
    assert described(with_sizes(clips, SETTINGS, cache))[1] == ("y", 90, 20, None)
    assert sorted(read) == ["a.mp4", "b.png", "b.png"]


@pytest.mark.parametrize(
    "size", [None, 3, [], [1, 2], [-1, 2, 3], [1.5, 2, 3], [None, 1, 1], [True, 1, 1], ["1", 1, 1], [1, 1, None]]
)
def test_sizes_in_a_kept_file_that_cannot_be_are_read_again(clips, tmp_path, size):
    state = os.stat(clips[0].path)
    rows = [[str(clips[0].path), state.st_size, state.st_mtime_ns, size]]
    (tmp_path / "sizes.json").write_text(json.dumps(rows))
    assert described(with_sizes(clips, SETTINGS, tmp_path / "sizes.json")) == MEASURED
    assert json.loads((tmp_path / "sizes.json").read_text())[0][3] == [96, 64, 12]


def bad_clips(tmp_path, count):
    for number in range(count):
        (tmp_path / f"bad{number}.mp4").write_bytes(b"no video")
    return [CaptionedClip(tmp_path / f"bad{number}.mp4", "x", True) for number in range(count)]


def test_clips_that_cannot_be_read_or_are_too_short_are_named_and_left_out(clips, tmp_path, caplog):
    short = CaptionedClip(write_video(tmp_path / "short.mp4", 5), "x", True)
    kept = with_sizes([*clips, *bad_clips(tmp_path, 1), short], SETTINGS, max_bad_share=0.5)
    assert described(kept) == MEASURED
    assert "clips that cannot be used and are left out: 2 of 6: " in caplog.text and "bad0.mp4" in caplog.text
    assert "short.mp4: it has 5 frames, of which a sample can have 4" in caplog.text


def test_videos_that_are_shorter_than_a_sample_are_told(clips, caplog):
    with_sizes(clips, SETTINGS)
    assert "videos shorter than a sample (16), which make their batches shorter: 1, of" in caplog.text
    caplog.clear()
    with_sizes(clips, dataclasses.replace(SETTINGS, video_sample_n_frames=8))
    assert "too short" not in caplog.text


def test_too_many_of_them_are_refused_with_bounded_names(clips, tmp_path):
    with pytest.raises(InputError) as error:
        with_sizes([*clips, *bad_clips(tmp_path, 30)], SETTINGS, max_bad_share=0.1)
    message = str(error.value)
    assert message.startswith("30 of 34 clips cannot be used, which is more than --max_bad_share 0.1")
    assert "and 20 more" in message and "scripts.check_dataset" in message


def test_no_clip_at_all_is_refused_whatever_the_share(tmp_path):
    with pytest.raises(InputError, match="2 of 2 clips cannot be used"):
        with_sizes(bad_clips(tmp_path, 2), SETTINGS, max_bad_share=1.0)

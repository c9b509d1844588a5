"""Videos as they are written: settings, sizes, interruptions, full disks."""

import errno
from fractions import Fraction

import av
import numpy as np
import pytest

from ppdiffusers_ext.data.video import VideoInfo, probe_video, read_frames
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError
from tests.data.test_video import NTSC, clip, everything_in, write


@pytest.mark.parametrize("fps", [30, 25, NTSC, Fraction(24000, 1001), Fraction(16800, 559), Fraction(15, 2)])
def test_frame_rate_is_kept_exactly(tmp_path, fps):
    assert probe_video(write(tmp_path / "a.mp4", clip(5), fps=fps)).fps == fps


def test_clip_of_one_frame_is_a_video(tmp_path):
    assert probe_video(write(tmp_path / "a.mp4", clip(1), fps=NTSC)) == VideoInfo(64, 48, 1, NTSC, 1001 / 30000, 0)


def test_frame_rate_as_float_becomes_its_fraction(tmp_path):
    assert probe_video(write(tmp_path / "a.mp4", clip(5), fps=30000 / 1001)).fps == NTSC
    assert probe_video(write(tmp_path / "b.mp4", clip(5), fps=12.5)).fps == Fraction(25, 2)


@pytest.mark.parametrize(("width", "height"), [(63, 48), (64, 47), (63, 47), (1, 1)])
def test_odd_sizes_repeat_the_last_row_or_column(tmp_path, width, height):
    frames = np.zeros((3, height, width, 3), np.uint8)
    frames[:, -1] = frames[:, :, -1] = 255
    frame = next(read_frames(write(tmp_path / "a.mp4", frames, crf=1)))
    assert frame.shape == (height + height % 2, width + width % 2, 3)
    assert frame[height - 1 :].min() > 225 and frame[:, width - 1 :].min() > 225


def test_codec_pixel_format_colour_tags_and_index_position(tmp_path):
    path = write(tmp_path / "a.mp4", clip(3))
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_full_colours_are_as_fine_as_brightness_in_sizes_that_are_odd_too(tmp_path):
    frames = np.zeros((2, 31, 33, 3), np.uint8)
    frames[:, :, ::2, 0] = frames[:, :, 1::2, 2] = 200  # red and blue columns in turn
    found = {}
    for name, full in (("full", True), ("coarse", False)):
        with VideoWriter(tmp_path / f"{name}.mp4", 25, 33, 31, crf=4, full_colours=full) as writer:
            writer.write(frames)
        found[name] = np.stack(list(read_frames(tmp_path / f"{name}.mp4")))
    assert found["full"].shape == frames.shape and np.abs(found["full"].astype(int) - frames).mean() < 4
    assert np.abs(found["coarse"][:, :31, :33].astype(int) - frames).mean() > 20
    with pytest.raises(InputError, match="with full colours; a name in .mp4 or .mov is accepted"):
        VideoWriter(tmp_path / "a.webm", 25, 33, 31, full_colours=True)


def test_frames_can_be_given_one_by_one_or_in_chunks(tmp_path):
    frames = clip(6)
    with VideoWriter(tmp_path / "a.mp4", 30, 64, 48) as writer:
        writer.write(frames[0])
        writer.write(frames[1:5])
        writer.write(frames[5:])
        assert writer.num_frames == 6
    write(tmp_path / "b.mp4", frames)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 48, 63, 3), np.uint8),
        np.zeros((2, 64, 48, 3), np.uint8),
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((1, 2, 48, 64, 3), np.uint8),
        np.zeros((2, 48, 64, 3), np.float32),
    ],
)
def test_wrong_shape_or_type_is_an_error_with_both(tmp_path, frames):
    with pytest.raises(ValueError) as caught, VideoWriter(tmp_path / "a.mp4", 30, 64, 48) as writer:
        writer.write(frames)
    assert str(frames.shape) in str(caught.value) and str(frames.dtype) in str(caught.value)
    assert "(48, 64, 3)" in str(caught.value) and "uint8" in str(caught.value)
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize("chunks", [[], [np.zeros((0, 48, 64, 3), np.uint8)]])
def test_no_frames_is_an_input_error_and_no_file(tmp_path, chunks):
    with pytest.raises(InputError, match="no frames were given.*at least one"):
        with VideoWriter(tmp_path / "new" / "a.mp4", 30, 64, 48) as writer:
            for frames in chunks:
                writer.write(frames)
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("num_frames", [0, 4])
def test_interruption_keeps_the_earlier_file_and_leaves_nothing_else(tmp_path, interruption, num_frames):
    earlier = write(tmp_path / "a.mp4", clip(3)).read_bytes()
    with pytest.raises(interruption), VideoWriter(tmp_path / "a.mp4", 30, 64, 48) as writer:
        writer.write(clip(4)[:num_frames])
        raise interruption
    assert (tmp_path / "a.mp4").read_bytes() == earlier
    assert everything_in(tmp_path) == ["a.mp4"]


def test_nothing_at_the_target_until_the_file_is_complete(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 30, 64, 48) as writer:
        writer.write(clip(8))
        assert not (tmp_path / "a.mp4").exists()
    assert probe_video(tmp_path / "a.mp4").num_frames == 8


class FullDisk:
    """A container on a disk that is full at a call of `method`, with the error that PyAV raises then."""

    def __init__(self, container, method):
        self.container, self.method = container, method

    def fail(self, *arguments):
        if self.method == "close":
            self.container.close()
        raise av.error.OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name):
        return self.fail if name == self.method else getattr(self.container, name)


@pytest.mark.parametrize("method", ["mux", "close"])
@pytest.mark.parametrize("num_frames", [1, 60])  # the encoder keeps the first ones until the end
def test_full_disk_says_so_and_keeps_the_earlier_file(tmp_path, monkeypatch, method, num_frames):
    earlier = write(tmp_path / "a.mp4", clip(3)).read_bytes()
    real_open = av.open
    monkeypatch.setattr(av, "open", lambda *args, **options: FullDisk(real_open(*args, **options), method))
    with pytest.raises(InputError, match="no space left on the disk while writing .*a.mp4; free some space"):
        write(tmp_path / "a.mp4", clip(num_frames))
    assert (tmp_path / "a.mp4").read_bytes() == earlier
    assert everything_in(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("size", [(63, 47), (64, 48), (1, 1)])
@pytest.mark.parametrize("fps", [24, NTSC, 50, Fraction(15, 2)])
@pytest.mark.parametrize("suffix", [".webm", ".gif"])
def test_webm_and_gif_hold_the_frames_at_their_rate_and_are_the_same_each_time(tmp_path, suffix, fps, size):
    width, height = size
    frames = np.zeros((12, height, width, 3), np.uint8)
    for i, frame in enumerate(frames):
        frame[..., 0], frame[..., 1] = 20 * i, np.linspace(0, 255, width).astype(np.uint8)
    first, second = (write(tmp_path / f"{name}{suffix}", frames, fps=fps, crf=4) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    info = probe_video(first)
    assert info.num_frames == 12 and abs(info.duration - 12 / fps) < 0.03
    if suffix == ".webm":
        assert info.fps == fps
    read = np.stack(list(read_frames(first)))[:, :height, :width]
    assert np.abs(read.astype(int) - frames).mean() < 6


def test_codec_and_colour_tags_of_webm(tmp_path):
    with av.open(str(write(tmp_path / "a.webm", clip(3)))) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, container.format.name) == ("vp9", "yuv420p", "matroska,webm")
        assert (context.colorspace, context.color_range) == (1, 1)


def test_gif_repeats_for_ever_and_takes_no_more_frames_than_players_show(tmp_path):
    assert b"NETSCAPE2.0\x03\x01\x00\x00" in write(tmp_path / "a.gif", clip(3)).read_bytes()
    with pytest.raises(InputError, match="a.gif with 60 fps; up to 50 fps, or a name in .mp4, is accepted"):
        VideoWriter(tmp_path / "a.gif", 60, 64, 48)


@pytest.mark.parametrize("suffix", [".webm", ".gif"])
def test_interrupted_webm_or_gif_keeps_the_earlier_file(tmp_path, suffix):
    before = write(tmp_path / f"a{suffix}", clip(2)).read_bytes()
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / f"a{suffix}", 8, 64, 48) as writer:
        writer.write(clip(4))
        raise KeyboardInterrupt
    assert everything_in(tmp_path) == [f"a{suffix}"]
    assert (tmp_path / f"a{suffix}").read_bytes() == before


@pytest.mark.parametrize("name", ["a.avi", "a", "a.mkv"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="a name that ends in .mp4, .mov, .webm or .gif is accepted"):
        VideoWriter(tmp_path / name, 30, 64, 48)


@pytest.mark.parametrize(
    ("fps", "width", "height", "crf"),
    [(0, 64, 48, 18), (-1, 64, 48, 18), (float("nan"), 64, 48, 18), (float("inf"), 64, 48, 18), (30, 0, 48, 18)]
    + [(30, 64, 0, 18), (30, 64, 48, 52), (30, 64, 48, -1)],
)
def test_impossible_settings_are_refused(tmp_path, fps, width, height, crf):
    with pytest.raises(InputError, match="positive numbers and a crf from 0 to 51 are accepted"):
        VideoWriter(tmp_path / "a.mp4", fps, width, height, crf=crf)


def test_folder_at_the_target_is_refused_before_any_frame(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        VideoWriter(tmp_path / "a.mp4", 30, 64, 48).__enter__()


def test_missing_encoder_is_said_and_not_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"h264", "libopenh264"})
    with pytest.raises(InputError, match="no encoder libx264"):
        VideoWriter(tmp_path / "a.mp4", 30, 64, 48).__enter__()
    assert everything_in(tmp_path) == []


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def test_memory_of_reading_and_writing_does_not_grow_with_the_clip(tmp_path):
    frame, growth = clip(1, 256, 256)[0], []
    with VideoWriter(tmp_path / "a.mp4", 30, 256, 256) as writer:
        for index in range(400):
            if index == 100:  # the encoder has filled its queue
                start = resident_bytes()
            writer.write(np.roll(frame, index, axis=1))
        growth.append(resident_bytes() - start)
    for index, _ in enumerate(read_frames(tmp_path / "a.mp4")):
        if index == 100:
            start = resident_bytes()
    growth.append(resident_bytes() - start)
    assert max(growth) < 100 * frame.nbytes  # 300 frames went by

"""Animated pictures are videos: their frames, times, transparency and orientation; and single ones stay pictures."""

import logging
import struct
import sys
import zlib
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from ppdiffusers_ext.data import transparency
from ppdiffusers_ext.data.animated import is_animated
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.video import probe_video, read_frames
from ppdiffusers_ext.errors import InputError
from scripts.command import run
from scripts.extract_frames import make_parser, work
from tests.support import profiles
from tests.support.odd_videos import animation, ramp

SUFFIXES = [".gif", ".png", ".webp"]


@pytest.fixture(autouse=True)
def notes(caplog):
    transparency._told.clear()
    caplog.set_level(logging.WARNING)
    return caplog


def assert_near(frames, expected, suffix):
    assert len(frames) == len(expected)
    most = 12 if suffix == ".gif" else 0  # of a palette
    assert np.abs(np.stack(frames).astype(int) - np.stack(expected)).max() <= most


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".apng"])
def test_animation_is_read_as_a_video_wherever_one_is(tmp_path, suffix):
    frames = ramp(9)
    path = animation(tmp_path / f"a{suffix}", frames, 40)
    info = probe_video(path)
    assert (info.width, info.height, info.num_frames, info.fps, info.is_even) == (48, 32, 9, 25, True)
    source = open_frames(path)
    assert (source.num_frames, source.fps, source.names) == (9, 25, ())
    for read in (list(read_frames(path)), list(source), FrameReader(path).read(range(9))):
        assert_near(list(read), frames, suffix)
    assert np.array_equal(FrameReader(path).read([5, 0])[1], next(read_frames(path)))
    assert_near(list(read_frames(path, 2, 3, 3)), frames[[2, 5, 8]], suffix)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_single_pictures_stay_pictures(tmp_path, suffix):
    path = animation(tmp_path / f"a{suffix}", ramp(1), 40)
    assert not is_animated(path) and open_frames(path).num_frames == 1
    if suffix != ".gif":
        assert open_frames(path).names == (path.name,)
        with pytest.raises(InputError, match="is a single picture, not a video"):
            probe_video(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["a.mp4", "a.jpg", "a"])
def test_content_tells_and_not_the_name(tmp_path, suffix, name):
    animation(tmp_path / f"b{suffix}", ramp(4), 40).rename(tmp_path / name)
    assert probe_video(tmp_path / name).num_frames == 4
    assert open_frames(tmp_path / name).num_frames == 4


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_frame_is_shown_for_its_own_time(tmp_path, suffix):
    source = open_frames(animation(tmp_path / f"a{suffix}", ramp(6), [40, 40, 400, 40, 1000, 80]))
    assert source.fps == 25 and not source.info.is_even
    assert [source.start_of(i) for i in range(7)] == pytest.approx([0, 0.04, 0.08, 0.48, 0.52, 1.52, 1.6])
    assert source.resampled_count(25) == 40


@pytest.mark.parametrize("suffix, delays, fps", [
    (".gif", 0, 10), (".png", 0, 10), (".webp", 0, 10), (".gif", 10, 10), (".webp", 10, 10),  # as browsers do
    (".gif", 20, 50), (".webp", 16, Fraction(125, 2)), (".png", 500, 2), (".webp", [33, 33, 34] * 4, 30),
])  # fmt: skip
def test_rates_are_those_that_browsers_show(tmp_path, suffix, delays, fps):
    assert probe_video(animation(tmp_path / f"a{suffix}", ramp(12), delays)).fps == fps


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("background, value", [("white", 255), ("black", 0)])
def test_transparent_pixels_are_laid_over_a_ground_and_that_is_said(tmp_path, notes, suffix, background, value):
    frames = np.dstack([ramp(1)[0], np.full((32, 48), 255, np.uint8)])[np.newaxis].repeat(3, 0)
    frames[:, 20:, :, 3] = 0
    frames[1, 20:, 40:, 3] = 255
    frames[2, 0, 0, :3] = 0
    path = animation(tmp_path / f"a{suffix}", frames, 40, disposal=2) if suffix != ".webp" else animation(
        tmp_path / "a.webp", frames, 40)  # fmt: skip
    read = list(read_frames(path, background=background))
    assert (read[0][20:] == value).all() and (read[2][20:] == value).all()
    assert (read[1][20:, :40] == value).all() and (read[1][20:, 40:] != value).all()
    assert (read[0][:16, :10] == (200, 30, 30)).all()
    assert [f"laid over {background}" in note for note in notes.messages] == [True]


# Of a first frame that is red on the left, and a second one that is green above and nothing below.
@pytest.mark.parametrize("disposal, blend, below", [(0, 1, [200, 0, 0]), (1, 1, [255] * 3), (0, 0, [255] * 3)])
def test_disposal_and_blending_of_apng(tmp_path, disposal, blend, below):
    first, second = np.zeros((2, 32, 48, 4), np.uint8)
    first[:, :24], second[:16] = (200, 0, 0, 255), (0, 200, 0, 255)
    shown = list(read_frames(animation(tmp_path / "a.png", [first, second], 40, disposal=disposal, blend=blend)))
    assert shown[0][28, 4].tolist() == [200, 0, 0] and shown[0][28, 40].tolist() == [255] * 3
    assert shown[1][4, 4].tolist() == shown[1][4, 40].tolist() == [0, 200, 0]
    assert shown[1][28, 4].tolist() == below


def test_picture_before_an_animation_is_no_frame_of_it(tmp_path):
    frames = [Image.fromarray(frame) for frame in ramp(5)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=40, default_image=True)
    assert probe_video(tmp_path / "a.png").num_frames == 4
    assert np.array_equal(list(read_frames(tmp_path / "a.png")), ramp(5)[1:])


def test_deep_grey_is_scaled_and_not_cut(tmp_path):
    levels = [np.full((32, 48), value, np.uint16) for value in (0, 257 * 100, 65535)]
    path = tmp_path / "a.png"
    path.write_bytes(apng_of_grey(levels))
    assert [frame[0, 0].tolist() for frame in read_frames(path)] == [[0] * 3, [100] * 3, [255] * 3]


def apng_of_grey(frames):
    """An APNG of 16-bit grey pictures, which Pillow does not write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = frames[0].shape
    parts, number = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0))], 0
    parts.append(chunk(b"acTL", struct.pack(">II", len(frames), 0)))
    for index, frame in enumerate(frames):
        control = struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 40, 1000, 0, 0)
        parts.append(chunk(b"fcTL", control))
        rows = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in frame))
        number += 1
        parts.append(chunk(b"fdAT", struct.pack(">I", number) + rows) if index else chunk(b"IDAT", rows))
        number += index > 0
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_command_that_takes_videos_takes_animations(tmp_path, suffix, capsys):
    path = animation(tmp_path / f"a{suffix}", ramp(6), 40)
    assert run(make_parser(), work, [str(path), str(tmp_path / "frames"), "--frames", "1:4"]) == 0
    assert sorted(file.name for file in (tmp_path / "frames").glob("*.png")) == [f"frame_{i}.png" for i in range(3)]
    assert np.abs(np.asarray(read_image(tmp_path / "frames/frame_0.png")).astype(int) - ramp(6)[1]).max() <= 12


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_package_is_named(tmp_path, suffix, monkeypatch):
    path = animation(tmp_path / f"a{suffix}", ramp(3), 40)
    monkeypatch.setitem(sys.modules, "imageio.v3", None)
    with pytest.raises(InputError, match="package imageio is needed: pip install imageio"):
        probe_video(path)


# ---------------------------------------------------------------- damage


def changed(path, place, value):
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(content)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_cut_is_refused(tmp_path, suffix, share):
    path = animation(tmp_path / f"a{suffix}", ramp(6), 40)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    for read in (probe_video, read_frames, FrameReader, open_frames):
        with pytest.raises(InputError, match="a.* (is damaged or cut off|is not a picture|is not a video|single)"):
            read(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_byte_changed_anywhere_loses_a_frame(tmp_path, suffix):
    path = animation(tmp_path / f"a{suffix}", ramp(5, 16, 20), [40, 50, 60, 70, 80])
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.choice(len(content), min(len(content), 400), replace=False):
        changed(path, place, content[place] ^ int(rng.integers(1, 256)))
        try:
            frames = list(read_frames(path))
        except InputError:
            pass
        else:
            assert len(frames) == 5
        path.write_bytes(content)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_something_behind_the_end_is_refused_but_padding_is_not(tmp_path, suffix):
    path = animation(tmp_path / f"a{suffix}", ramp(3), 40)
    content = path.read_bytes()
    path.write_bytes(content + bytes(500))
    assert probe_video(path).num_frames == 3
    path.write_bytes(content + b"more")
    with pytest.raises(InputError, match="something follows its end"):
        probe_video(path)


@pytest.mark.parametrize("promised", [0, 2, 4, 2**31])
def test_apng_that_promises_other_frames_is_refused(tmp_path, promised):
    path = animation(tmp_path / "a.png", ramp(3), 40)
    content = bytearray(path.read_bytes())
    place = content.index(b"acTL")
    content[place + 4 : place + 8] = struct.pack(">I", promised)
    content[place + 12 : place + 16] = struct.pack(">I", zlib.crc32(bytes(content[place : place + 12])))
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"3 of {promised} frames are there"):
        probe_video(path)


def test_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    path = animation(tmp_path / "a.gif", ramp(3), 40)
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<HH", 65535, 65535)
    path.write_bytes(content)
    with pytest.raises(InputError, match="65535x65535 pixels; up to"):
        probe_video(path)


@pytest.mark.parametrize("name", ["a.webp", "a.png"])
@pytest.mark.parametrize("space", ["Adobe RGB", "Display P3"])
def test_colour_profile_of_an_animation_is_applied_as_to_a_picture(tmp_path, name, space):
    profile = profiles.rgb_profile(space)
    colours = [(250, 20, 20), (20, 200, 30), (128, 128, 128)]
    pictures = [Image.new("RGB", (64, 64), colour) for colour in colours]
    how = {"lossless": True} if name.endswith("webp") else {}
    pictures[0].save(
        tmp_path / name, save_all=True, append_images=pictures[1:], duration=40, icc_profile=profile, **how
    )
    frames = list(read_frames(tmp_path / name))
    assert len(frames) == 3
    for frame, picture in zip(frames, pictures):
        picture.save(tmp_path / "still.png", icc_profile=profile)
        assert np.array_equal(frame, np.asarray(read_image(tmp_path / "still.png")))
    assert not np.array_equal(frames[0][0, 0], colours[0])

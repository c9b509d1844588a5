"""Which of a file's streams is its video."""

import os

import numpy as np
import pytest

from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.video import probe_video, read_frames
from ppdiffusers_ext.errors import InputError
from tests.support.odd_videos import add_cover, attachment, box, encode, matroska, packets_of, ramp, two_tracks


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])
@pytest.mark.parametrize("is_first", [True, False])
def test_cover_picture_in_the_tags_is_no_video(tmp_path, is_first, codec, suffix):
    path = encode(tmp_path / f"a{suffix}", ramp(12), codec, pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p")
    expected = list(read_frames(path))
    add_cover(path, is_first)
    info = probe_video(path)
    assert (info.width, info.height, info.num_frames, info.fps) == (48, 32, 12, 30)
    assert np.array_equal(list(read_frames(path)), expected)
    assert np.array_equal(FrameReader(path).read([7])[0], expected[7])


@pytest.mark.parametrize("is_live", [True, False])
def test_cover_picture_attached_to_matroska_is_no_video(tmp_path, is_live):
    coded = encode(tmp_path / "b.webm", ramp(12), "libvpx")
    path = matroska(
        tmp_path / "a.mkv", b"V_VP8", (48, 32), packets_of(coded), is_live, extra=[attachment()], doc=b"matroska"
    )
    assert probe_video(path).num_frames == 12 and probe_video(path).width == 48
    assert np.array_equal(list(read_frames(path)), list(read_frames(coded)))


@pytest.mark.parametrize("name, codec", [("a.mp4", "mjpeg"), ("a.mov", "png"), ("a.mkv", "mjpeg")])
def test_cover_picture_made_a_track_is_no_video(tmp_path, name, codec):
    path = two_tracks(tmp_path / name, codec, ramp(1, 64, 64), ramp(12))
    assert (probe_video(path).width, probe_video(path).num_frames) == (48, 12)
    assert len(list(read_frames(path))) == 12


def test_first_of_two_videos_is_taken(tmp_path):
    path = two_tracks(tmp_path / "a.mp4", "mjpeg", ramp(9, 64, 64), ramp(12))
    assert (probe_video(path).width, probe_video(path).num_frames) == (64, 9)


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
def test_video_of_one_picture_is_one(tmp_path, codec):
    path = encode(tmp_path / "a.mov", ramp(1), codec, pix_fmt="yuvj420p" if codec == "mjpeg" else "rgb24")
    assert probe_video(path).num_frames == 1


def test_file_of_a_cover_alone_is_refused(tmp_path):
    path = add_cover(encode(tmp_path / "a.mp4", ramp(3)), is_first=False)
    path.write_bytes(path.read_bytes().replace(b"trak", b"free"))
    for read in (probe_video, read_frames, FrameReader):
        with pytest.raises(InputError, match="a.mp4 has no video track but a cover picture"):
            read(path)
    assert box(b"free") == b"\0\0\0\x08free"


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    for name in (tmp_path / "a.mp4", tmp_path, "/dev/zero", "/dev/null", "a\0.mp4", "a" * 5000, tmp_path / "none"):
        for read in (probe_video, read_frames, FrameReader):
            with pytest.raises(InputError):
                read(name)

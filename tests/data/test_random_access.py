"""Single frames of videos are those that reading from the beginning gives, bit by bit, in whatever order."""

import struct

import av
import numpy as np
import pytest

from ppdiffusers_ext.data import random_access
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video import read_frames
from ppdiffusers_ext.errors import InputError, MissingFileError
from tests.data.test_video import clip, encode, keep, write, write_gif
from tests.support.odd_videos import set_matrix

FRAMES = 40


def moving():
    return synthetic_clip(0, FRAMES, 64, 64).target


KINDS = {
    "few keys": lambda folder: encode(folder / "a.mp4", moving()),
    "many keys": lambda folder: encode(folder / "a.mp4", moving(), stream_options={"g": "7", "bf": "3"}),
    "open groups": lambda folder: encode(
        folder / "a.mp4", moving(), stream_options={"x264-params": "keyint=8:open-gop=1:bframes=3:b-adapt=0"}
    ),
    "matroska": lambda folder: encode(folder / "a.mkv", moving(), stream_options={"g": "7"}),
    "fragmented": lambda folder: encode(
        folder / "a.mp4",
        moving(),
        container_options={"movflags": "frag_keyframe+empty_moov"},
        stream_options={"g": "5"},
    ),
    "vp8": lambda folder: encode(folder / "a.webm", moving(), "libvpx", stream_options={"g": "9"}),
    "vp9": lambda folder: encode(folder / "a.webm", moving(), "libvpx-vp9", stream_options={"g": "9"}),
    "ours": lambda folder: write(folder / "a.mp4", moving()),
    "gif": lambda folder: write_gif(folder / "a.gif", moving()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_those_of_reading_from_the_beginning(tmp_path, kind):
    path = KINDS[kind](tmp_path)
    reader, expected = FrameReader(path), np.stack(list(read_frames(path)))
    assert len(reader) == FRAMES
    for indices in ([0], [FRAMES - 1], [17, 3, 3, 38, 16], range(FRAMES)):
        assert np.array_equal(reader.read(indices), expected[list(indices)])
    for index in range(0, FRAMES, 3):
        assert np.array_equal(reader.read([index])[0], expected[index])


def test_little_is_decoded(tmp_path, monkeypatch):
    decoded = []
    real = random_access.decode_strictly
    monkeypatch.setattr(
        random_access, "decode_strictly", lambda *p, **o: (decoded.append(1) or frame for frame in real(*p, **o))
    )
    path = encode(tmp_path / "a.mp4", moving(), stream_options={"g": "5", "sc_threshold": "0"})
    FrameReader(path).read([37, 2])
    assert len(decoded) == 3 + 3  # frames 0 to 2, and 35 to 37


def test_frames_before_the_first_one_shown_are_passed_over(tmp_path):
    path = encode(tmp_path / "a.mp4", clip(60), stream_options={"g": "10"})
    data = bytearray(path.read_bytes())
    position = data.index(b"elst") + 12
    duration, media_time = struct.unpack(">Ii", data[position : position + 8])
    data[position : position + 8] = struct.pack(">Ii", duration // 2, media_time + 15 * 512)
    path.write_bytes(data)
    expected = list(read_frames(path))
    assert np.array_equal(FrameReader(path).read([0, 11, 29]), [expected[0], expected[11], expected[29]])


def test_frames_are_upright_and_mirrored(tmp_path):
    path = set_matrix(write(tmp_path / "a.mp4", clip(3, width=64, height=32)), 0, 1, 1, 0)
    assert np.array_equal(FrameReader(path).read([1])[0], list(read_frames(path))[1])
    assert FrameReader(path).read([1]).shape == (1, 64, 32, 3)


@pytest.mark.parametrize("indices", [[], [-1], [3], [0, 7]])
def test_frames_that_are_not_there_are_refused(tmp_path, indices):
    with pytest.raises(InputError, match="has no frames .*; 0 to 2 are accepted"):
        FrameReader(write(tmp_path / "a.mp4", clip(3))).read(indices)


def test_files_that_are_missing_or_cut_off_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"):
        FrameReader(tmp_path / "a.mp4")
    with pytest.raises(InputError, match="cut off"):
        FrameReader(keep(write(tmp_path / "a.mp4", clip(30)), 0.9))


def test_damage_names_the_frame_and_spares_those_before_it(tmp_path):
    path = encode(tmp_path / "a.mov", moving(), "mjpeg", pix_fmt="yuvj420p")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        position, size = packets[20].pos, packets[20].size
    data = bytearray(path.read_bytes())
    data[position : position + size // 2] = bytes(size // 2)
    path.write_bytes(data)
    reader = FrameReader(path)
    assert reader.read([19, 21]).shape == (2, 64, 64, 3)
    with pytest.raises(InputError, match="frame 20 of .*a.mov cannot be decoded"):
        reader.read([18, 20])


# Not of open groups, of which decord gives other pixels than reading from the beginning does.
@pytest.mark.parametrize("kind", ["few keys", "many keys", "matroska", "vp8", "vp9", "ours"])
def test_frames_are_those_of_another_reader(tmp_path, kind):
    decord = pytest.importorskip("decord")
    path, indices = KINDS[kind](tmp_path), [17, 3, 38, 16, 0]
    theirs = decord.VideoReader(str(path), num_threads=1).get_batch(indices).asnumpy()
    assert np.array_equal(FrameReader(path).read(indices), theirs)

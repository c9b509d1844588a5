"""Cuts of H.264 whose groups are open: accepted whatever the encoder's settings were; damage behind one is not."""

import itertools
import random

import av
import numpy as np
import pytest

from ppdiffusers_ext.data import random_access
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video import probe_video, read_frames
from ppdiffusers_ext.errors import InputError
from tests.support.odd_videos import cut, encode, packets_of

FRAMES = 42
MORE = ("", ":cabac=0:slices=3")
GRID = itertools.product((6, 12), (1, 3, 8), ("none", "strict", "normal"), (1, 3, 6), (0, 1, 2), (0, 2), MORE)
SETTINGS = [
    f"open-gop=1:keyint={key}:min-keyint={key}:bframes={between}:b-pyramid={pyramid}:ref={references}"
    f":b-adapt={adapt}:weightp={weights}:scenecut=0{more}"
    for key, between, pyramid, references, adapt, weights, more in random.Random(0).sample(list(GRID), 14)
]
# The picture at which decoding begins strikes some off itself, and so the next one fails as well.
ENTRY = "open-gop=1:keyint=10:min-keyint=10:bframes=3:b-pyramid=strict:ref=1:scenecut=0"
# Pictures that are shown before a keyframe fail where decoding begins at it.
LEADING = "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-pyramid=normal:ref=3:b-adapt=0:weightp=0:scenecut=0"
STRUCK = "open-gop=1:keyint=12:min-keyint=12:bframes=1:b-pyramid=none:ref=3:b-adapt=2:scenecut=0"


def coded(folder, settings, size=32, num_frames=FRAMES):
    clip = synthetic_clip(0, num_frames, size, size).target
    return encode(folder / "whole.mp4", clip, **{"x264-params": settings})


def cut_to_zero(source, target, key):
    """`cut` at a keyframe, whose time becomes zero: those of pictures shown before it are below."""
    with av.open(str(source)) as whole, av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as part:
        stream = whole.streams.video[0]
        copied, keys, offset = part.add_stream(template=stream), -1, None
        for packet in (packet for packet in whole.demux(stream) if packet.size):
            keys += packet.is_keyframe
            if keys >= key:
                offset = packet.pts if offset is None else offset
                packet.pts, packet.dts, packet.stream = packet.pts - offset, packet.dts - offset, copied
                part.mux(packet)
    return target


def check_end(path, frames, count):
    """A file gives the last `count` of these frames, in order and at random."""
    read, reader = np.stack(list(read_frames(path))), FrameReader(path)
    assert probe_video(path).num_frames == len(read) == len(reader) == count
    assert np.array_equal(read, frames[-count:])
    for index in (count - 1, 0, 1, count // 2):
        assert np.array_equal(reader.read([index])[0], read[index])


@pytest.mark.parametrize("settings", SETTINGS)
def test_cuts_at_every_keyframe_give_the_frames_of_the_whole_one(tmp_path, settings):
    path = coded(tmp_path, settings)
    frames, packets = np.stack(list(read_frames(path))), packets_of(path)
    for key, begin in enumerate(time for _, time, is_key in packets if is_key):
        count = sum(time >= begin for _, time, _ in packets)
        for ending in (".mp4", ".mkv"):
            check_end(cut(path, tmp_path / f"{key}{ending}", key=key), frames, count)
        check_end(cut_to_zero(path, tmp_path / f"{key}_zero.mkv", key), frames, count)


@pytest.mark.parametrize("key", [1, 2, 3])
def test_first_picture_may_strike_references_off_itself(tmp_path, key):
    path = coded(tmp_path, ENTRY, 64, 60)
    check_end(cut(path, tmp_path / "part.mp4", key=key), np.stack(list(read_frames(path))), 60 - 10 * key)


@pytest.mark.parametrize("settings", [STRUCK, LEADING, *SETTINGS[:2]])
def test_random_frames_are_not_read_from_the_beginning(tmp_path, monkeypatch, settings):
    path = coded(tmp_path, settings)
    frames = np.stack(list(read_frames(path)))
    monkeypatch.setattr(random_access.FrameReader, "_read_all", lambda *_: pytest.fail("read from the beginning"))
    reader = FrameReader(path)
    for index in range(FRAMES):
        assert np.array_equal(reader.read([index])[0], frames[index])


@pytest.mark.parametrize("number", [0, 1, 3, 8])
def test_damage_behind_such_a_cut_is_refused(tmp_path, number):
    path = cut(coded(tmp_path, STRUCK, 64), tmp_path / "part.mkv", key=2)
    content, found = bytearray(path.read_bytes()), sorted(packets_of(path), key=lambda packet: packet[1])
    entry = next(place for place, (_, _, is_key) in enumerate(found) if is_key)
    data = found[entry + number][0]
    place = content.index(data) + len(data) // 3
    end = min(place + 20, content.index(data) + len(data))
    content[place:end] = b"\xff" * (end - place)
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be decoded|can be decoded"):
        list(read_frames(path))

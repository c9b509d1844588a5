"""Clips cut without coding them anew: what cannot be decoded is neither counted nor read, and one line says so."""

import logging

import av
import numpy as np
import pytest

from ppdiffusers_ext.data import packets as packets_module
from ppdiffusers_ext.data import transparency
from ppdiffusers_ext.data.animate_anyone.check import check_dataset
from ppdiffusers_ext.data.animate_anyone.clips import ClipFiles
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video import probe_video, read_frames
from ppdiffusers_ext.errors import InputError
from tests.support.odd_videos import cut, encode, matroska, packets_of, ramp

FRAMES = 60
# Codec, ending, options, and how many pictures cannot be decoded after a cut at the second keyframe.
KINDS = {
    "x264, open groups": ("libx264", ".mp4", {"x264-params": "keyint=12:open-gop=1:bframes=3:b-adapt=0:scenecut=0"}),
    "x264, closed groups": ("libx264", ".mp4", {"x264-params": "keyint=12:bframes=3:b-adapt=0:scenecut=0"}),
    "x264, gradual refresh": ("libx264", ".mp4", {"x264-params": "keyint=12:intra-refresh=1:bframes=0"}),
    "x265, open groups": (
        "libx265", ".mp4", {"x265-params": "keyint=12:open-gop=1:bframes=3:b-adapt=0:scenecut=0:log-level=none"}
    ),
    "x265, decodable leading": (
        "libx265", ".mp4",
        {"x265-params": "keyint=12:radl=2:open-gop=0:bframes=3:b-adapt=0:scenecut=0:log-level=none"},
    ),
    "mpeg2": ("mpeg2video", ".mp4", {"g": "12", "bf": "2"}),
    "mpeg4": ("mpeg4", ".mp4", {"g": "12", "bf": "2"}),
    "vp8": ("libvpx", ".webm", {"g": "12"}),
    "vp9": ("libvpx-vp9", ".webm", {"g": "12"}),
}  # fmt: skip
CUTS = {"at a keyframe": {"key": 1}, "behind a keyframe": {"packet": 3}, "before a keyframe": {"packet": 11}}


@pytest.fixture(autouse=True)
def notes(caplog):
    transparency._told.clear()
    caplog.set_level(logging.WARNING)
    return caplog


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Each kind, coded once: its path and its frames."""
    folder, made = tmp_path_factory.mktemp("whole"), {}

    def make(kind):
        if kind not in made:
            codec, ending, options = KINDS[kind]
            path = encode(folder / f"{len(made)}{ending}", synthetic_clip(0, FRAMES, 64, 64).target, codec, **options)
            made[kind] = path, np.stack(list(read_frames(path)))
        return made[kind]

    return make


@pytest.mark.parametrize("place", CUTS)
@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("vp")])
def test_cut_clips_give_the_frames_of_the_whole_one(tmp_path, whole, notes, kind, ending, place):
    check_cut(tmp_path / f"a{ending}", *whole(kind), CUTS[place], notes)


@pytest.mark.parametrize("place", CUTS)
@pytest.mark.parametrize("kind", ["vp8", "vp9"])
def test_cut_webm_gives_the_frames_of_the_whole_one(tmp_path, whole, notes, kind, place):
    check_cut(tmp_path / "a.webm", *whole(kind), CUTS[place], notes)


def check_cut(path, source, frames, place, notes):
    """Probing, reading in order and at random agree, and give the last frames of the whole clip."""
    cut(source, path, **place)
    info, read, reader = probe_video(path), list(read_frames(path)), FrameReader(path)
    assert FRAMES // 2 <= info.num_frames == len(read) == len(reader) == open_frames(path).num_frames
    assert np.array_equal(np.stack(read), frames[-info.num_frames :])
    for index in (info.num_frames - 1, 0, 1, info.num_frames // 2):
        assert np.array_equal(reader.read([index])[0], read[index])
    assert info.fps == 30 and info.is_even and info.duration == pytest.approx(info.num_frames / 30)
    stored = sum(1 for *_, is_hidden in packets_with_discards(path) if not is_hidden)
    told = [note for note in notes.messages if "which were cut off" in note]
    assert len(told) == (stored > info.num_frames)
    if told:
        assert f"a{path.suffix} begins with {stored - info.num_frames} pictures" in told[0]
    assert check_dataset_of(path) == ()


def packets_with_discards(path):
    with av.open(str(path)) as container:
        return [(p.pts, p.is_discard) for p in container.demux(video=0) if p.size]


def check_dataset_of(path):
    """Problems that the check of training data finds with a clip whose poses are itself."""
    folder = path.parent / "data"
    for name in ("video", "video_dwpose"):
        (folder / name).mkdir(parents=True)
        (folder / name / path.name).write_bytes(path.read_bytes())
    (report,) = check_dataset(folder)
    assert isinstance(report.files, ClipFiles)
    return report.problems


def test_open_groups_lose_their_leading_pictures_and_others_lose_none(tmp_path, whole):
    lost = {}
    for kind in KINDS:
        path = cut(whole(kind)[0], tmp_path / f"{len(lost)}{KINDS[kind][1].replace('mp4', 'mkv')}", key=1)
        lost[kind] = len(packets_of(path)) - probe_video(path).num_frames
    assert lost == {
        "x264, open groups": 3, "x264, closed groups": 0, "x264, gradual refresh": 2, "x265, open groups": 3,
        "x265, decodable leading": 0, "mpeg2": 2, "mpeg4": 2, "vp8": 0, "vp9": 0,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_random_frames_of_whole_clips_are_those_of_reading_in_order(whole, kind):
    path, frames = whole(kind)
    reader = FrameReader(path)
    for index in range(FRAMES - 1, 0, -1) if "refresh" in kind else (13, 11, 12, 25, 24, 23, 47, 0):
        assert np.array_equal(reader.read([index])[0], frames[index])


def test_damaged_first_picture_is_refused_and_not_left_out(tmp_path, whole):
    path = tmp_path / "a.mkv"
    cut(whole("x264, open groups")[0], path, key=1)
    content, (first, *_) = bytearray(path.read_bytes()), packets_of(path)
    place = content.index(first[0]) + len(first[0]) // 2
    content[place : place + 60] = np.random.default_rng(0).bytes(60)
    path.write_bytes(content)
    for read in (probe_video, read_frames, FrameReader):
        with pytest.raises(InputError, match="frame 0 of .*a.mkv cannot be decoded"):
            read(path)


@pytest.mark.parametrize("codec, name", [("libvpx", b"V_VP8"), ("libvpx-vp9", b"V_VP9")])
def test_unmarked_keyframes_are_found_by_decoding(tmp_path, notes, codec, name):
    coded = encode(tmp_path / "b.webm", ramp(20), codec)
    blocks = [(content, time, False) for content, time, _ in packets_of(coded)]
    path = matroska(tmp_path / "a.webm", name, (48, 32), blocks)
    assert probe_video(path).num_frames == 20 and notes.messages == []
    assert np.array_equal(list(read_frames(path)), list(read_frames(coded)))
    assert np.array_equal(FrameReader(path).read([7, 19, 0]), np.stack(list(read_frames(coded)))[[7, 19, 0]])


def test_stream_without_any_entry_is_refused(tmp_path, whole):
    source = whole("vp8")[0]
    blocks = [(content, time, False) for content, time, _ in packets_of(source)[1:12]]
    path = matroska(tmp_path / "a.webm", b"V_VP8", (64, 64), blocks)
    with pytest.raises(InputError, match="has no picture at which decoding can begin"):
        probe_video(path)


def test_only_the_beginning_is_decoded_to_find_out(tmp_path, whole, monkeypatch):
    decoded, real = [], packets_module.make_decoder
    monkeypatch.setattr(packets_module, "make_decoder", lambda stream: lambda p: decoded.append(p) or real(stream)(p))
    path = cut(whole("x264, open groups")[0], tmp_path / "a.mkv", key=1)
    probe_video(path)
    assert 1 <= len(decoded) <= 10


@pytest.mark.parametrize("kind", ["x264, open groups", "x265, open groups", "mpeg2", "mpeg4"])
@pytest.mark.parametrize("key", [1, 2])
def test_leading_pictures_that_would_begin_before_zero_are_counted_as_they_are_read(tmp_path, whole, kind, key):
    """Matroska has no times below zero, so that those packets come without any."""
    path = tmp_path / "part.mkv"
    with (
        av.open(str(whole(kind)[0])) as source,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as part,
    ):
        stream = source.streams.video[0]
        copied, keys, offset = part.add_stream(template=stream), -1, None
        for packet in (packet for packet in source.demux(stream) if packet.size):
            keys += packet.is_keyframe
            if keys >= key:
                offset = packet.pts if offset is None else offset
                packet.pts, packet.dts, packet.stream = packet.pts - offset, packet.dts - offset, copied
                part.mux(packet)
    frames = list(read_frames(path))
    assert probe_video(path).num_frames == len(frames) > 0
    last = len(frames) - 1
    assert np.array_equal(FrameReader(path).read([last])[0], frames[last])

"""Clips of a video: the very frames, the sound in time, names, and what fails alone."""

from fractions import Fraction

import av
import numpy as np
import pytest

from ppdiffusers_ext.data.chain.pieces import Piece
from ppdiffusers_ext.data.chain.split import Split, frames_of
from ppdiffusers_ext.data.chain.steps import Place
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.video import probe_video, read_frames
from ppdiffusers_ext.errors import InputError
from tests.data.chain.numbered import numbered, numbers_in, write_numbered
from tests.data.test_audio import heard
from tests.support.odd_videos import encode, set_matrix


def split(source, place, scenes, **settings):
    key = source.relative_to(place.source).as_posix()
    row = {"key": key, "stem": key.removesuffix(source.suffix), "scenes": scenes}
    return Split(min_pixels=1, **settings)(row, place)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "in", tmp_path / "out")


def test_clips_have_the_frames_of_their_scenes_and_no_other(place):
    source = write_numbered(place.source / "day" / "a.mp4", 150)
    clips = split(source, place, [[0, 20 / 12], [20 / 12, 68 / 12], [68 / 12, 150 / 12]], max_seconds=4.0)
    assert [clip["key"] for clip in clips] == ["day/a_1.mp4", "day/a_2_0.mp4"]
    assert numbers_in(place.clips / "day/a_1.mp4") == list(range(20, 62))  # without the last half second
    assert numbers_in(place.clips / "day/a_2_0.mp4") == list(range(68, 116))
    assert clips[0] == {
        **{"key": "day/a_1.mp4", "video": "day/a.mp4", "start": 1.666667, "seconds": 3.5, "num_frames": 42},
        **{"fps": 12.0, "width": 160, "height": 48, "has_sound": False, "sound_error": None},
    }
    info = probe_video(place.clips / "day/a_1.mp4")
    assert (info.num_frames, float(info.fps), info.is_even) == (42, 12.0, True)


def test_pieces_that_begin_between_frames_share_none(place):
    source = write_numbered(place.source / "a.mp4", 100, fps=Fraction(24000, 1001))
    clips = split(source, place, [], min_seconds=0.6, max_seconds=1.3)
    numbers = [numbers_in(place.clips / clip["key"]) for clip in clips]
    assert sum(numbers, []) == list(range(sum(map(len, numbers)))) and len(numbers) == 3


def test_source_is_decoded_once_for_all_its_clips(place, monkeypatch):
    source = write_numbered(place.source / "a.mp4", 60)
    asked = []
    read = FrameReader.stream_stored
    monkeypatch.setattr(FrameReader, "stream_stored", lambda self, wanted: asked.append(wanted) or read(self, wanted))
    assert len(split(source, place, [], min_seconds=1.0, max_seconds=1.5)) == 3
    assert asked == [list(range(54))]


def test_uneven_times_become_the_usual_rate(place):
    # Frame 5 is shown for half a second; the piece begins within it.
    times = [*range(0, 200, 40), 200, *range(700, 2000, 40)]
    place.source.mkdir()
    source = encode(place.source / "a.mkv", [numbered(i) for i in range(len(times))], times=times)
    (clip,) = split(source, place, [[0, 0.4], [0.4, 1.6]], min_seconds=1.0, margin=0.0)
    shown = numbers_in(place.clips / clip["key"])
    assert clip["fps"] == 25 and shown == [5] * 8 + list(range(6, 28))


def test_frames_of_uneven_times_last_as_long_as_in_the_source(place):
    place.source.mkdir()
    source = encode(place.source / "a.mkv", [numbered(i) for i in range(4)], times=[0, 40, 80, 200])
    assert frames_of(probe_video(source), Piece(0, 0.24, "0")) == [0, 1, 2, 2, 2, 3]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "flac")])
def test_sound_is_cut_to_the_clip(place, name, codec):
    source = write_numbered(place.source / name, 96, click=5.5, codec=codec)
    first, second = split(source, place, [], min_seconds=3.0, max_seconds=4.0)
    assert (first["has_sound"], second["has_sound"]) == (True, True)
    assert heard(place.clips / first["key"])[3] == pytest.approx(4.0, abs=0.15)
    *_, when, end = heard(place.clips / second["key"])
    assert when == pytest.approx(1.5, abs=0.07)
    assert end == pytest.approx(4.0, abs=0.15)


def damage_sound(path, seconds):
    """Overwrite the packets of sound from a time on, one second long."""
    with av.open(str(path)) as container:
        stored = [packet for packet in container.demux(audio=0) if packet.size]
        packets = [bytes(packet) for packet in stored if 0 <= packet.pts * packet.time_base - seconds < 1]
    content = bytearray(path.read_bytes())
    for packet in packets:
        position = content.index(packet)
        content[position : position + len(packet)] = b"\xff\x00" * (len(packet) // 2) + b"\x01" * (len(packet) % 2)
    path.write_bytes(content)
    return path


def test_damaged_sound_costs_the_clip_its_sound_alone(place):
    source = damage_sound(write_numbered(place.source / "a.mkv", 96, click=1.0, codec="flac"), 4.2)
    clips = split(source, place, [], min_seconds=1.0, max_seconds=2.0)
    assert len(clips) == 4
    assert [clip["has_sound"] for clip in clips] == [True, True, False, True]
    for clip in clips:
        assert (clip["sound_error"] is None) == clip["has_sound"]
        assert (heard(place.clips / clip["key"]) is None) != clip["has_sound"]
        assert clip["num_frames"] == probe_video(place.clips / clip["key"]).num_frames == 24
    assert clips[2]["sound_error"].endswith("a.mkv is damaged")


def test_sound_can_be_left_out(place):
    source = write_numbered(place.source / "a.mp4", 48, click=1.0)
    (clip,) = split(source, place, [], keeps_sound=False)
    assert not clip["has_sound"] and heard(place.clips / clip["key"]) is None


def test_name_with_quotes_and_a_newline_is_kept(place):
    source = write_numbered(place.source / 'it\'s "1"\n.mp4', 40)
    (clip,) = split(source, place, [])
    assert (place.clips / clip["key"]).is_file() and clip["key"] == 'it\'s "1"\n_0.mp4'


def test_small_videos_have_no_clips(place):
    source = write_numbered(place.source / "a.mp4", 40)
    row = {"key": source.name, "stem": "a", "scenes": []}
    assert Split()(row, place) == []
    assert Split(min_pixels=160 * 48 + 1)(row, place) == []
    assert len(Split(min_pixels=160 * 48)(row, place)) == 1


def test_damaged_frame_fails_the_video_and_leaves_no_half_clip(place):
    source = write_numbered(place.source / "a.mp4", 80)
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        position, size = packets[40].pos, packets[40].size
    content = bytearray(source.read_bytes())
    content[position + 5 : position + size] = bytes(size - 5)
    source.write_bytes(content)
    with pytest.raises(InputError, match="cannot be decoded"):
        split(source, place, [])
    assert list(place.clips.rglob("*.mp4")) == []


def test_same_video_gives_the_same_bytes(place):
    source = write_numbered(place.source / "a.mp4", 40, click=1.0)
    contents = []
    for _ in range(2):
        (clip,) = split(source, place, [])
        contents.append((place.clips / clip["key"]).read_bytes())
    assert contents[0] == contents[1]


def patches(height=48, width=64):
    """Frames of plain colours, which every conversion between colour spaces would change."""
    frame = np.zeros((height, width, 3), np.uint8)
    for i, color in enumerate([(230, 40, 40), (40, 200, 60), (60, 60, 220), (240, 220, 60)]):
        frame[:, i * width // 4 : (i + 1) * width // 4] = color
    return [frame] * 40


@pytest.mark.parametrize(
    ("pix_fmt", "size", "options"),
    [
        ("yuv420p", (48, 64), {"x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709"}),
        ("yuv420p", (48, 64), {"x264-params": "colormatrix=smpte170m"}),
        ("yuv420p", (48, 64), {}),
        ("yuv444p", (48, 64), {}),
        ("yuv444p", (47, 61), {}),
    ],
)
def test_colours_are_kept_however_they_are_stored(place, pix_fmt, size, options):
    place.source.mkdir()
    source = encode(place.source / "a.mp4", patches(*size), pix_fmt=pix_fmt, crf=5, **options)
    (clip,) = split(source, place, [], min_seconds=1.0, crf=5)
    first, again = (next(read_frames(path)) for path in (source, place.clips / clip["key"]))
    assert (clip["height"], clip["width"]) == again.shape[:2] == (48, 2 * ((size[1] + 1) // 2))
    inner = (slice(8, 40), slice(4, 10))  # within a colour, whose edges 4:2:0 blurs
    assert np.abs(first[inner].astype(int) - again[inner]).max() <= 4


@pytest.mark.parametrize(("matrix", "size"), [((0, 1, -1, 0), (64, 48)), ((-1, 0, 0, -1), (48, 64))])
def test_frames_are_upright(place, matrix, size):
    place.source.mkdir()
    source = set_matrix(encode(place.source / "a.mp4", patches(), crf=5), *matrix)
    (clip,) = split(source, place, [], min_seconds=1.0)
    first, again = (next(read_frames(path)) for path in (source, place.clips / clip["key"]))
    assert (clip["height"], clip["width"]) == size and again.shape == first.shape == (*size, 3)
    assert np.abs(first.astype(int) - again).mean() < 6


def test_quality_is_a_setting(place):
    noise = np.random.default_rng(0).integers(0, 255, (48, 48, 160, 3), np.uint8)
    place.source.mkdir()
    source = encode(place.source / "a.mp4", list(noise), crf=1)
    sizes = []
    for crf in (10, 40):
        (clip,) = split(source, place, [], min_seconds=1.0, crf=crf)
        sizes.append((place.clips / clip["key"]).stat().st_size)
    assert sizes[0] > 2 * sizes[1]

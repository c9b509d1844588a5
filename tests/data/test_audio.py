"""Sound of many kinds beside frames: rates, channels, codecs, beginnings, gaps and damage."""

import contextlib
import logging
from fractions import Fraction

import av
import numpy as np
import pytest

from ppdiffusers_ext.data.audio import Audio
from ppdiffusers_ext.data.video import probe_video
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError

CLICK = 1.0  # seconds at which it is heard


def channels_of(layout):
    return len(av.AudioLayout(layout).channels)


def with_sound(path, codec="pcm_s16le", rate=48000, layout="stereo", seconds=2.0, delay=0.0, gap=(0, 0)):
    """A video of 25 frames a second with a click in all channels.

    Args:
        seconds: of sound and frames.
        delay: of the sound; the click is heard at the same time.
        gap: seconds from and to which no sound is stored.
    """
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("libx264", rate=25), container.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound.codec_context.layout = layout
        for i in range(int(25 * seconds)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 100, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        samples = np.zeros((int(seconds * rate), channels_of(layout)), np.float32)
        samples[int(CLICK * rate) : int(CLICK * rate) + max(1, rate // 200)] = 0.9
        for start in range(int(delay * rate), len(samples), 1024):
            if not gap[0] * rate <= start < gap[1] * rate:
                part = np.ascontiguousarray(samples[start : start + 1024]).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def heard(path):
    """The rate, the layout, the second at which the click begins and the one at which the sound ends; None without."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        packed = av.AudioResampler(format="flt")  # PyAV 12 makes no arrays of eight planes
        levels, first, end = [], None, 0
        for decoded in container.decode(stream):
            first = decoded.time if first is None else first
            end = decoded.time + decoded.samples / decoded.sample_rate
            for frame in packed.resample(decoded):
                levels.append(np.abs(frame.to_ndarray()).reshape(-1, channels_of(stream.layout.name)).max(1))
        levels = np.concatenate(levels)
        when = first + np.argmax(levels > 0.5 * levels.max()) / stream.rate
        return stream.rate, stream.layout.name, when, end


def copy(source, target, start=0.0, count=35):
    """Frames with the sound of another video, which is checked first as commands do."""
    audio = Audio(source, start)
    audio.check(target, count / 25)
    with VideoWriter(target, 25, 64, 48, audio=audio) as writer:
        writer.write(np.zeros((count, 48, 64, 3), np.uint8))
    return target


def assert_in_time(path, start=0.0):
    rate, layout, when, end = heard(path)
    assert when == pytest.approx(CLICK - start, abs=0.03)
    assert end == pytest.approx(35 / 25, abs=0.2)
    assert probe_video(path).num_frames == 35
    return rate, layout


@pytest.mark.parametrize("start", [0.0, 0.4])
@pytest.mark.parametrize(
    "rate, written",
    [(5512, 7350), (6000, 7350), (8000, 8000), (11025, 11025), (22050, 22050), (37800, 44100), (96000, 96000),
     (176400, 96000), (192000, 96000), (384000, 96000)],
)  # fmt: skip
def test_any_rate_is_resampled_to_one_that_aac_has(tmp_path, rate, written, start):
    source = with_sound(tmp_path / "a.mov", rate=rate)
    assert assert_in_time(copy(source, tmp_path / "b.mp4", start), start) == (written, "stereo")


@pytest.mark.parametrize("layout", ["mono", "2.1", "3.0", "quad", "4.0", "5.0", "5.1", "5.1(side)", "6.1", "7.1"])
def test_any_layout_gets_one_that_aac_has(tmp_path, layout):
    source = with_sound(tmp_path / "a.mkv", layout=layout, rate=192000)
    if layout == "6.1":  # which PyAV 12 writes and does not resample, so that the test cannot hear it
        assert probe_video(copy(source, tmp_path / "b.mp4")).num_frames == 35
    else:
        rate, written = assert_in_time(copy(source, tmp_path / "b.mp4"))
        assert rate == 96000 and channels_of(written) == channels_of(layout)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "written"),
    [("a.mov", "pcm_s16le", 8000, 8000), ("a.mp4", "aac", 44100, 48000), ("a.mkv", "flac", 96000, 48000)],
)
def test_sound_in_webm_becomes_opus(tmp_path, name, codec, rate, written):
    target = copy(with_sound(tmp_path / name, codec, rate=rate), tmp_path / "b.webm")
    with av.open(str(target)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "opus"
    assert assert_in_time(target)[1] == "stereo"


@pytest.mark.parametrize("layout", ["mono", "2.1", "5.1", "5.1(side)", "7.1"])
def test_channels_in_webm_stay_or_become_the_nearest(tmp_path, layout):
    target = copy(with_sound(tmp_path / "a.mkv", layout=layout), tmp_path / "b.webm")
    assert assert_in_time(target)[0] == 48000


@pytest.mark.parametrize("codec", ["libopus", "libvorbis"])
def test_opus_and_vorbis_are_copied_into_webm(tmp_path, codec):
    source = with_sound(tmp_path / "a.mkv", codec)
    target = copy(source, tmp_path / "b.webm")
    packets = []
    for path in (source, target):
        with av.open(str(path)) as container:
            packets.append([bytes(packet) for packet in container.demux(audio=0) if packet.size])
    begin = packets[0].index(packets[1][0])
    assert begin <= 1 and packets[0][begin : begin + len(packets[1])] == packets[1]
    assert assert_in_time(target) == (48000, "stereo")


def test_gif_has_no_sound_and_a_note_says_so(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        target = copy(with_sound(tmp_path / "a.mp4", "aac"), tmp_path / "b.gif")
    assert "no sound, which a GIF cannot hold" in caplog.text and caplog.text.count("\n") == 1
    assert probe_video(target).num_frames == 35


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize(
    "name, codec",
    [("a.mov", f"pcm_{kind}") for kind in ("u8", "s16be", "s24le", "s32le", "f32le", "f64le", "alaw", "mulaw")]
    + [("a.mov", "alac"), ("a.mp4", "aac"), ("a.mp4", "libmp3lame"), ("a.mkv", "ac3")]
    + [("a.mkv", codec) for codec in ("flac", "mp2", "eac3", "libopus", "libvorbis", "wavpack")],
)
def test_any_codec_is_copied_or_becomes_aac(tmp_path, name, codec, suffix):
    source = with_sound(tmp_path / name, codec)
    assert_in_time(copy(source, tmp_path / f"b.{suffix}", 0.4), 0.4)


def test_channels_that_aac_has_not_are_refused_before_any_work(tmp_path):
    source = with_sound(tmp_path / "a.mkv", layout="hexadecagonal")
    with pytest.raises(InputError, match="the sound of .*a.mkv cannot be put into .*; sound in AAC, or --no-audio"):
        Audio(source).check(tmp_path / "b.mp4")


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac", "flac"])
@pytest.mark.parametrize("delay", [0.3, 0.7])
@pytest.mark.parametrize("start", [0.0, 0.5])
def test_sound_that_begins_later_than_the_frames_stays_in_time(tmp_path, codec, delay, start):
    source = with_sound(tmp_path / "a.mkv", codec, delay=delay)
    assert_in_time(copy(source, tmp_path / "b.mp4", start), start)


@pytest.mark.parametrize("codec", ["pcm_s16le", "flac", "libvorbis"])
def test_gap_in_the_sound_becomes_silence(tmp_path, codec):
    source = with_sound(tmp_path / "a.mkv", codec, gap=(0.3, 0.8))
    assert_in_time(copy(source, tmp_path / "b.mp4"))


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac", "libopus"])
def test_sound_that_is_empty_or_ends_before_the_frames_is_none(tmp_path, codec):
    source = with_sound(tmp_path / "a.mkv", codec, delay=3.0)
    assert heard(copy(source, tmp_path / "b.mp4")) is None
    source = with_sound(tmp_path / "c.mkv", codec)
    assert heard(copy(source, tmp_path / "d.mp4", start=10.0)) is None


def damage(path):
    """Overwrite the payload of audio packets in the middle of a file."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.size]
        places = [(packet.pos, packet.size) for packet in packets[len(packets) // 2 :][:20]]
    content = bytearray(path.read_bytes())
    for position, size in places:
        content[position : position + size] = b"\xff\x00" * (size // 2) + b"\x01" * (size % 2)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "name, codec", [("a.mov", "alac"), ("a.mkv", "flac"), ("a.mkv", "libvorbis"), ("a.mp4", "aac")]
)
def test_damage_in_the_middle_is_told_before_any_work(tmp_path, caplog, name, codec):
    source = damage(with_sound(tmp_path / name, codec, seconds=4))
    try:
        with caplog.at_level(logging.WARNING):
            Audio(source).check(tmp_path / "b.mp4")
    except InputError as error:
        assert "the sound of" in str(error) and "--no-audio, is accepted" in str(error)
    else:
        assert "is cut off" in caplog.text or codec in ("aac", "alac")  # whose packets are copied as they are
    with contextlib.suppress(InputError):
        assert probe_video(copy(source, tmp_path / "b.mp4")).num_frames == 35


def test_damage_that_comes_after_the_check_costs_no_frames(tmp_path, caplog):
    source = with_sound(tmp_path / "a.mkv", "flac", seconds=4)
    audio = Audio(source)
    audio.check(tmp_path / "b.mp4")
    damage(source)
    with caplog.at_level(logging.WARNING), VideoWriter(tmp_path / "b.mp4", 25, 64, 48, audio=audio) as writer:
        writer.write(np.zeros((100, 48, 64, 3), np.uint8))
    assert probe_video(tmp_path / "b.mp4").num_frames == 100
    assert heard(tmp_path / "b.mp4") is not None


def test_only_what_is_wanted_of_a_long_sound_is_looked_at(tmp_path):
    source = damage(with_sound(tmp_path / "a.mkv", "flac", seconds=8))
    Audio(source).check(tmp_path / "b.mp4", 1.0)

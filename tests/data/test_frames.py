"""Frames from videos and folders, and into folders; the sound of videos."""

from fractions import Fraction

import av
import numpy as np
import pytest

from ppdiffusers_ext.data.audio import Audio
from ppdiffusers_ext.data.frames import FolderWriter, open_frames, parse_range, resize
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.video import probe_video, read_frames
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError, MissingFileError
from tests.data.test_video import encode_ten_bits
from tests.support.odd_videos import animation, ramp


def grey(level, height=48, width=64):
    return np.full((height, width, 3), level, np.uint8)


def folder_of(path, numbers, **size):
    for number in numbers:
        write_image(path / f"frame_{number}.png", grey(number, **size))
    return path


def video_of(path, levels, fps=25, audio=None):
    with VideoWriter(path, fps, 64, 48, audio=audio) as writer:
        for level in levels:
            writer.write(grey(level))
    return path


def levels(frames):
    return [round(float(frame.mean())) for frame in frames]


def test_pictures_of_a_folder_come_by_their_numbers(tmp_path, caplog):
    source = open_frames(folder_of(tmp_path / "a", [10, 2, 0, 1, 100]))
    assert levels(source) == [0, 1, 2, 10, 100] and (source.num_frames, source.width, source.height) == (5, 64, 48)
    assert "lacks the pictures of 96 numbers (3, 4, 5, 6, 7, ...)" in caplog.text


def test_folder_without_gaps_says_nothing(tmp_path, caplog):
    assert levels(open_frames(folder_of(tmp_path / "a", range(12)))) == list(range(12))
    assert caplog.text == ""


def test_names_may_have_spaces_and_other_letters(tmp_path):
    folder = folder_of(tmp_path / "мои кадры 3", range(3))
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no picture")
    assert levels(open_frames(folder)) == [0, 1, 2]


def test_pictures_of_other_sizes_are_refused_by_name(tmp_path):
    folder = folder_of(folder_of(tmp_path / "a", [0, 1]), [2], height=50)
    with pytest.raises(InputError, match="frame_2.png has 64x50 pixels, the first picture 64x48; .* of one size"):
        list(open_frames(folder))


def test_damaged_picture_is_named(tmp_path):
    folder = folder_of(tmp_path / "a", [0, 1])
    (folder / "frame_2.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="frame_2.png is not a picture"):
        list(open_frames(folder))


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(MissingFileError, match="a video file or a folder of pictures is accepted"):
        open_frames(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="has no pictures"):
        open_frames(tmp_path)


def test_video_picture_and_folder_are_read_alike(tmp_path):
    video = open_frames(video_of(tmp_path / "a.mp4", range(0, 200, 20), fps=Fraction(30000, 1001)))
    assert levels(video.read(3, 6)) == pytest.approx([60, 80, 100], abs=1) and video.fps == Fraction(30000, 1001)
    assert levels(video) == pytest.approx(list(range(0, 200, 20)), abs=1)  # a second time from the start
    picture = open_frames(folder_of(tmp_path / "b", [7]) / "frame_7.png")
    assert levels(picture) == [7] and picture.num_frames == 1


@pytest.mark.parametrize("bounds", [(3, 3), (0, 11), (-1, 2), (5, 2)])
def test_frames_that_are_not_there_are_refused(tmp_path, bounds):
    with pytest.raises(InputError, match="A:B with 0 <= A < B <= 10 is accepted"):
        open_frames(folder_of(tmp_path / "a", range(10))).read(*bounds)


@pytest.mark.parametrize("text, expected", [(None, (0, 10)), ("2:", (2, 10)), (":4", (0, 4)), ("3:5", (3, 5))])
def test_range_is_read(tmp_path, text, expected):
    assert parse_range(text, open_frames(folder_of(tmp_path / "a", range(10)))) == expected


@pytest.mark.parametrize("text", ["4", "5:5", "0:11", "a:b", "-2:3", "1:2:3"])
def test_range_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(InputError, match="A:B with 0 <= A < B <= 10 is accepted"):
        parse_range(text, open_frames(folder_of(tmp_path / "a", range(10))))


@pytest.mark.parametrize(
    "fps, expected",
    [
        (25, list(range(10))),
        (50, [i // 2 for i in range(20)]),
        (12.5, [1, 3, 5, 7, 9]),
        (5, [2, 7]),
        (1, [0]),
    ],
)
def test_resampling_shows_what_is_shown_then(tmp_path, fps, expected):
    source = open_frames(folder_of(tmp_path / "a", range(10)), fps=25)
    assert len(expected) == source.resampled_count(fps)
    assert levels(source.resampled(fps)) == expected


def test_resampling_at_the_videos_own_rate_changes_nothing(tmp_path):
    for fps in (24, 30, Fraction(30000, 1001)):
        source = open_frames(video_of(tmp_path / "a.mp4", range(0, 240, 8), fps))
        assert levels(source.resampled(source.fps)) == levels(source)
        assert levels(source.resampled(source.fps, 5, 9)) == levels(source.read(5, 9))


def test_frames_of_uneven_length_last_as_long_as_they_should(tmp_path):
    path = tmp_path / "uneven.mkv"
    starts = [0, 40, 80, 480, 520]  # milliseconds
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for start, level in zip(starts, (0, 50, 100, 150, 200)):
            frame = av.VideoFrame.from_ndarray(grey(level), format="rgb24")
            frame.pts, frame.time_base = start, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert probe_video(path).times == pytest.approx([start / 1000 for start in starts], abs=0.002)
    shown = levels(open_frames(path).resampled(25))
    assert shown[:13] == pytest.approx([0, 50, *[100] * 10, 150], abs=2) and shown[-1] == pytest.approx(200, abs=2)


@pytest.mark.parametrize("transfer, notices", [(1, 0), (16, 1)])
def test_video_in_hdr_is_told_of(tmp_path, caplog, transfer, notices):
    open_frames(encode_ten_bits(tmp_path / "a.mp4", (9, 99, 199), 9, transfer))
    assert caplog.text.count("a.mp4 is tagged as HDR: its brightness is taken as it is stored") == notices


def test_folder_writer_writes_frames_in_order(tmp_path):
    writer = FolderWriter(tmp_path / "a")
    for level in (200, 1, 100):
        writer.write(grey(level))
    assert levels(open_frames(tmp_path / "a")) == [200, 1, 100]


@pytest.mark.parametrize("way", ["fit", "crop", "pad"])
def test_ways_to_resize(way):
    frame = grey(0, height=40, width=80)
    frame[:, 20:60] = 200
    resized = resize(frame, 40, 40, way)
    assert resized.shape == (40, 40, 3)
    column, row = resized[20, :, 0], resized[:, 20, 0]
    if way == "fit":  # all of it, squeezed
        assert column[2] == 0 and column[20] == 200 and row[0] == 200
    elif way == "crop":  # its middle
        assert column[3] == 200 and row[0] == 200
    else:  # all of it, between borders
        assert row[2] == 0 and row[20] == 200 and column[2] == 0


def test_way_to_resize_that_is_not_known_is_refused():
    with pytest.raises(InputError, match="stretch, crop or pad is accepted"):
        resize(grey(0), 10, 10, "squeeze")


RATE = 16000


def with_sound(path, codec, seconds=2.0, click=1.0, container=None):
    """A video of 25 frames a second with a click after `click` seconds, and silence around it."""
    with av.open(str(path), "w", format=container) as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = output.add_stream(codec, rate=RATE, layout="mono")
        samples = np.zeros(int(seconds * RATE), np.float32)
        samples[int(click * RATE) : int(click * RATE) + 400] = np.sin(np.arange(400) * 0.3) * 0.9
        for i in range(int(seconds * 25)):
            output.mux(video.encode(av.VideoFrame.from_ndarray(grey(i), format="rgb24")))
        kind = sound.format.name
        for start in range(0, len(samples), 1024):
            part = samples[None, start : start + 1024]
            values = part if kind.startswith("flt") else (part * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(values, format=kind, layout="mono")
            frame.rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            output.mux(sound.encode(frame))
        for stream in (video, sound):
            output.mux(stream.encode())
    return path


def sound_of(path):
    """(seconds at which the click is heard, seconds of sound), or None without sound."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        loudest, when, end = 0, None, 0
        for frame in container.decode(container.streams.audio[0]):
            values = np.abs(frame.to_ndarray().astype(float))[0]
            end = max(end, frame.time + frame.samples / frame.sample_rate)
            if values.max() > 1.5 * loudest:
                loudest = values.max()
                when = frame.time + values.argmax() / frame.sample_rate
        return when, end


@pytest.mark.parametrize("name, codec", [("a.mp4", "aac"), ("a.mkv", "pcm_s16le")])
@pytest.mark.parametrize("start", [0.0, 0.4])
def test_sound_stays_in_sync(tmp_path, name, codec, start):
    source = with_sound(tmp_path / name, codec)
    result = video_of(tmp_path / "b.mp4", range(40), audio=Audio(source, start))
    when, end = sound_of(result)
    assert when == pytest.approx(1.0 - start, abs=0.07)  # an AAC packet of 16 kHz lasts 64 ms
    assert end == pytest.approx(40 / 25, abs=0.15)  # as long as the frames, not as the source
    assert probe_video(result).num_frames == 40


def test_sound_that_is_copied_is_the_same_bytes(tmp_path):
    def packets(path):
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]

    source = with_sound(tmp_path / "a.mp4", "aac")
    copied = packets(video_of(tmp_path / "b.mp4", range(40), audio=Audio(source)))
    assert len(copied) > 20 and copied == packets(source)[: len(copied)]


def test_silent_video_stays_silent(tmp_path):
    source = video_of(tmp_path / "a.mp4", range(10))
    assert sound_of(video_of(tmp_path / "b.mp4", range(10), audio=Audio(source))) is None


def test_sound_that_is_shorter_ends_earlier(tmp_path):
    source = with_sound(tmp_path / "a.mp4", "aac", seconds=1.0, click=0.5)
    result = video_of(tmp_path / "b.mp4", range(50), audio=Audio(source))
    when, end = sound_of(result)
    assert when == pytest.approx(0.5, abs=0.07) and end < 1.2 and probe_video(result).num_frames == 50


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
@pytest.mark.parametrize("first", [0, 5])
def test_sound_stays_in_sync_with_a_clip_that_was_cut_in_an_open_group(tmp_path, ending, first):
    """The whole clip turns white when it clicks, after 1 second; so must what is made of a part of it."""
    whole, part = tmp_path / "whole.mp4", tmp_path / f"part{ending}"
    with av.open(str(whole), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options = {"x264-params": "keyint=12:open-gop=1:bframes=3:b-adapt=0:scenecut=0"}
        sound = output.add_stream("aac", rate=RATE, layout="mono")
        samples = np.zeros(2 * RATE, np.float32)
        samples[RATE : RATE + 400] = np.sin(np.arange(400) * 0.3) * 0.9
        for i in range(50):
            output.mux(video.encode(av.VideoFrame.from_ndarray(grey(255 if i >= 25 else 40 + i), format="rgb24")))
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
            frame.rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            output.mux(sound.encode(frame))
        for stream in (video, sound):
            output.mux(stream.encode())
    with av.open(str(whole)) as source, av.open(str(part), "w") as target:
        copies, is_open = {s.index: target.add_stream(template=s) for s in source.streams}, False
        for packet in source.demux():
            if packet.size == 0:
                continue
            is_video = packet.stream.type == "video"
            is_open |= is_video and packet.is_keyframe and packet.pts > 0
            if is_open:
                packet.stream = copies[packet.stream_index]
                target.mux(packet)
    source = open_frames(part)
    made = tmp_path / "made.mp4"
    with VideoWriter(made, source.fps, 64, 48, audio=Audio(part, source.start_of(first))) as writer:
        for frame in source.resampled(source.fps, first):
            writer.write(frame)
    turned = next(i for i, level in enumerate(levels(read_frames(made))) if level > 200) / 25
    assert sound_of(made)[0] == pytest.approx(turned, abs=0.07)


def test_sound_of_an_animated_picture_is_none(tmp_path):
    path = animation(tmp_path / "a.gif", ramp(5), 40)
    assert sound_of(video_of(tmp_path / "b.mp4", range(10), audio=Audio(path))) is None

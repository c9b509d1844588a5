import errno
import struct
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from ppdiffusers_ext.data import video
from ppdiffusers_ext.data.synthetic import synthetic_clip
from ppdiffusers_ext.data.video import VideoInfo, probe_video, read_frames
from ppdiffusers_ext.data.video_writer import VideoWriter
from ppdiffusers_ext.errors import InputError, MissingFileError

NTSC = Fraction(30000, 1001)


def clip(num_frames=8, width=64, height=48):
    """(N, H, W, 3) uint8: frame i is grey 20 + 5 * i with a red square in the top left corner."""
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    frames[:] = 20 + 5 * np.arange(num_frames)[:, None, None, None] % 230
    frames[:, : height // 2, : width // 2] = (200, 30, 30)
    return frames


def noise(num_frames=30, width=64, height=48):
    """Frames that compress badly, so that each one takes a few kilobytes."""
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def write(path, frames, fps=30, **options):
    with VideoWriter(path, fps, frames.shape[2], frames.shape[1], **options) as writer:
        writer.write(frames)
    return path


def encode(path, frames, codec="libx264", container_options=None, stream_options=None, pix_fmt="yuv420p"):
    """A file that `VideoWriter` would not write, straight from PyAV."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = pix_fmt
        stream.options = stream_options or {}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_gif(path, frames):
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40, loop=0)
    return path


def add_silence(container):
    stream = container.add_stream("aac", rate=16000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 16000
    container.mux(stream.encode(frame))
    container.mux(stream.encode())


def keep(path, share):
    """Cut the file off."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def everything_in(folder):
    return sorted(path.name for path in folder.rglob("*"))


# ---------------------------------------------------------------- reading


def test_probe_says_what_was_written(tmp_path):
    path = write(tmp_path / "a.mp4", clip(9), fps=NTSC)
    assert probe_video(path) == VideoInfo(64, 48, 9, NTSC, pytest.approx(9 * 1001 / 30000), 0)


def test_frames_read_back_in_order_and_colour(tmp_path):
    frames = clip(12)
    read = list(read_frames(write(tmp_path / "a.mp4", frames)))
    assert len(read) == 12
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 and frame.flags.c_contiguous for frame in read)
    difference = np.abs(np.stack(read).astype(int) - frames)
    assert difference[:, :, 40:].max() <= 3  # grey
    assert difference[:, 4:20, 4:28].max() <= 5  # red, away from the edge of the square


@pytest.mark.parametrize(
    ("start", "count", "stride", "expected"),
    [
        (0, None, 1, range(12)),
        (5, None, 1, range(5, 12)),
        (2, 3, 4, (2, 6, 10)),
        (0, None, 5, (0, 5, 10)),
        (11, 1, 9, (11,)),
    ],
)
def test_start_count_and_stride_choose_frames(tmp_path, start, count, stride, expected):
    path = write(tmp_path / "a.mp4", clip(12))
    read = list(read_frames(path, start, count, stride))
    assert [round((int(frame[-1, -1, 0]) - 20) / 5) for frame in read] == list(expected)


@pytest.mark.parametrize(
    ("start", "count", "stride"), [(12, None, 1), (0, 13, 1), (10, 3, 1), (0, 4, 4), (40, None, 9)]
)
def test_frames_beyond_the_end_are_refused_at_the_call(tmp_path, start, count, stride):
    path = write(tmp_path / "a.mp4", clip(12))
    with pytest.raises(InputError, match="a.mp4 has 12 frames.*frames 0 to 11 are accepted"):
        read_frames(path, start, count, stride)


@pytest.mark.parametrize(("start", "count", "stride"), [(-1, None, 1), (0, 0, 1), (0, None, 0)])
def test_impossible_choices_of_frames_are_refused(tmp_path, start, count, stride):
    path = write(tmp_path / "a.mp4", clip(4))
    with pytest.raises(InputError, match="start from 0, count and stride from 1 are accepted"):
        read_frames(path, start, count, stride)


def test_given_info_saves_the_probing(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mp4", clip(4))
    info = probe_video(path)
    monkeypatch.setattr(video, "probe_video", None)
    assert len(list(read_frames(path, info=info))) == 4


def test_reading_twice_gives_the_same_bits(tmp_path):
    path = write(tmp_path / "a.mp4", noise(6))
    np.testing.assert_array_equal(list(read_frames(path)), list(read_frames(path)))


def test_stopping_early_closes_the_file(tmp_path, monkeypatch):
    closed = []

    class Watched:
        def __init__(self, container):
            self.container = container

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.container.close()
            closed.append(True)

        def __getattr__(self, name):
            return getattr(self.container, name)

    path = write(tmp_path / "a.mp4", clip(8))
    info, real_open = probe_video(path), av.open
    monkeypatch.setattr(av, "open", lambda *arguments, **options: Watched(real_open(*arguments, **options)))
    frames = read_frames(path, info=info)
    next(frames)
    assert closed == []
    frames.close()
    assert closed == [True]


def test_bt709_and_bt601_files_give_the_same_colours(tmp_path):
    color = (200, 30, 90)
    ours = write(tmp_path / "709.mp4", np.full((2, 48, 64, 3), color, np.uint8))
    other = encode(tmp_path / "601.mp4", np.full((2, 48, 64, 3), color, np.uint8))  # PyAV's default, without a tag
    for path in (ours, other):
        np.testing.assert_allclose(next(read_frames(path))[20, 20], color, atol=3)


def test_full_range_file_is_not_stretched(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.color_range, stream.codec_context.colorspace = 2, 1
        frame = av.VideoFrame(64, 48, "yuv420p")
        for plane, value in zip(frame.planes, (60, 128, 128)):
            plane.update(bytes([value]) * plane.buffer_size)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    np.testing.assert_allclose(next(read_frames(tmp_path / "a.mp4"))[20, 20], 60, atol=1)


MATRICES = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}  # code of BT.709 and BT.2020: shares of red and blue in luma


def encode_ten_bits(path, color, matrix, transfer):
    """A 10-bit video of one colour, whose matrix and transfer curve are told."""
    (red, blue), (r, g, b) = MATRICES[matrix], (value / 255 for value in color)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = ((b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red))
    levels = (64 + 876 * luma, *(512 + 896 * part for part in chroma))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_trc, context.color_primaries = (
            1,
            matrix,
            transfer,
            matrix,
        )
        for _ in range(3):
            frame = av.VideoFrame(64, 48, "yuv420p10le")
            for plane, level in zip(frame.planes, levels):
                plane.update(np.full(plane.buffer_size // 2, round(level), np.uint16).tobytes())
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("transfer, is_hdr", [(1, False), (16, True), (18, True)])
def test_ten_bits_and_tags_of_hdr_are_read(tmp_path, matrix, transfer, is_hdr):
    color = (200, 30, 90)
    path = encode_ten_bits(tmp_path / "a.mp4", color, matrix, transfer)
    assert probe_video(path).is_hdr == is_hdr
    frames = list(read_frames(path))
    assert len(frames) == 3
    np.testing.assert_allclose(frames[1][20, 20], color, atol=3)


def test_frames_left_out_by_an_edit_list_are_no_damage(tmp_path):
    path = encode(tmp_path / "a.mp4", clip(60), stream_options={"g": "10"})
    data = bytearray(path.read_bytes())
    position = data.index(b"elst") + 12
    duration, media_time = struct.unpack(">Ii", data[position : position + 8])
    ticks_of_a_frame = 512
    data[position : position + 8] = struct.pack(">Ii", duration // 2, media_time + 15 * ticks_of_a_frame)
    path.write_bytes(data)
    assert probe_video(path).num_frames == 30
    read = list(read_frames(path))
    assert len(read) == 30
    assert [round((int(frame[-1, -1, 0]) - 20) / 5) for frame in read[:3]] == [15, 16, 17]


def test_hidden_pictures_of_vp8_are_not_counted(tmp_path):
    path = encode(tmp_path / "a.webm", noise(6), codec="libvpx")
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.webm"), "w") as target:
        stream = target.add_stream(template=source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                data = bytearray(bytes(packet))
                if packet.pts and packet.pts > 100 and packet.pts < 150:
                    data[0] &= ~0x10  # not to be shown
                hidden = av.Packet(bytes(data))
                hidden.pts, hidden.dts, hidden.time_base = packet.pts, packet.dts, packet.time_base
                hidden.stream = stream
                target.mux(hidden)
    assert probe_video(path).num_frames == len(list(read_frames(path))) == 6
    path = tmp_path / "b.webm"
    assert probe_video(path).num_frames == len(list(read_frames(path))) == 5


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mov", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.webm", "libvpx-vp9")]
)
def test_accepted_containers_are_read(tmp_path, name, codec):
    path = encode(tmp_path / name, clip(20), codec=codec)
    info = probe_video(path)
    assert (info.width, info.height, info.num_frames, info.fps) == (64, 48, 20, 30)
    assert len(list(read_frames(path))) == 20


def test_fragmented_mp4_is_read(tmp_path):
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = encode(tmp_path / "a.mp4", noise(20), container_options=options, stream_options={"g": "5"})
    assert probe_video(path).num_frames == len(list(read_frames(path))) == 20
    with pytest.raises(InputError, match="damaged or cut off after [0-9]+ frames"):
        probe_video(keep(path, 0.5))


def test_gif_is_read_with_transparency_over_white(tmp_path):
    path = write_gif(tmp_path / "a.gif", clip(5))
    assert (probe_video(path).num_frames, probe_video(path).fps) == (5, 25)
    assert len(list(read_frames(path))) == 5
    picture = Image.new("P", (32, 32), 0)
    picture.putpalette([9, 9, 9, 0, 0, 200])
    picture.paste(1, (0, 16, 32, 32))
    picture.save(tmp_path / "b.gif", save_all=True, append_images=[picture.rotate(180)], duration=40, transparency=0)
    frame = next(read_frames(tmp_path / "b.gif"))
    assert (frame[:16] == 255).all() and (frame[16:] == (0, 0, 200)).all()


def test_half_transparent_video_is_laid_over_white(tmp_path):
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgba"
        for _ in range(3):
            pixels = np.full((48, 64, 4), (100, 0, 200, 102), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        container.mux(stream.encode())
    assert next(read_frames(tmp_path / "a.mov"))[20, 20].tolist() == [193, 153, 233]


# ---------------------------------------------------------------- refusing to read


def assert_refused(path, words):
    """Both entrances refuse, at the call."""
    for function in (probe_video, read_frames):
        with pytest.raises(InputError, match=words) as caught:
            function(path)
        assert str(path) in str(caught.value)
        assert "(MP4, MOV, WebM, MKV, GIF, WebP, APNG) is accepted" in str(caught.value)
    return caught.value


def test_missing_video_says_so(tmp_path):
    assert isinstance(assert_refused(tmp_path / "nothing.mp4", "does not exist"), MissingFileError)


def test_folder_is_refused(tmp_path):
    assert_refused(tmp_path, "is a folder")


@pytest.mark.parametrize(
    "content", [b"", b"hello world\n" * 50, b"#EXTM3U\n#EXTINF:1,\nother.mp4\n", b"ffconcat version 1.0\n"]
)
def test_text_renamed_to_mp4_is_refused(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    assert_refused(tmp_path / "a.mp4", "is not a video that can be read")


def test_playlist_is_refused_although_ffmpeg_would_follow_it(tmp_path):
    write(tmp_path / "secret.mp4", clip(4))
    (tmp_path / "a.ffconcat").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with av.open(str(tmp_path / "a.ffconcat")) as container:
        assert container.streams.video
    assert_refused(tmp_path / "a.ffconcat", "is not a video that can be read")


def test_picture_is_refused(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert_refused(tmp_path / "a.png", "is a single picture, not a video that can be read")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.jpg")
    assert_refused(tmp_path / "a.jpg", "is not a video that can be read")


def test_audio_only_file_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        add_silence(container)
    assert_refused(tmp_path / "a.mp4", "has no video track")


def test_header_without_frames_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    assert_refused(tmp_path / "a.mp4", "is a video without frames")


def test_sound_beside_an_empty_video_track_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        add_silence(container)
    assert_refused(tmp_path / "a.mkv", "is a video without frames")


def test_mp4_without_its_index_is_refused(tmp_path):
    path = encode(tmp_path / "a.mp4", noise(20))
    assert path.read_bytes().index(b"moov") > path.read_bytes().index(b"mdat")
    assert_refused(keep(path, 0.7), "is not a video that can be read, or it is cut off")


@pytest.mark.parametrize(("share", "present"), [(0.3, range(6, 12)), (0.9, range(25, 29)), (0.999, [29])])
def test_cut_off_mp4_says_how_many_frames_are_there(tmp_path, share, present):
    path = write(tmp_path / "a.mp4", noise(30))
    assert path.read_bytes().index(b"moov") < path.read_bytes().index(b"mdat")
    error = assert_refused(keep(path, share), "is cut off: [0-9]+ of 30 frames are there")
    assert int(str(error).split("cut off: ")[1].split()[0]) in present


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
@pytest.mark.parametrize("share", [0.5, 0.96])
def test_cut_off_matroska_says_how_many_frames_are_there(tmp_path, name, share):
    path = encode(tmp_path / name, noise(30), codec="libvpx" if name == "a.webm" else "libx264")
    assert_refused(keep(path, share), "is cut off: [0-9]+ of 30 frames are there")


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_cut_off_gif_is_refused(tmp_path, share):
    assert_refused(keep(write_gif(tmp_path / "a.gif", noise(5)), share), "cut off after [0-9]+ frames")


@pytest.mark.parametrize("length", [40, 1000])
@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
def test_damage_in_the_middle_names_the_frame(tmp_path, codec, length):
    # H.264 has no checksums: damage shows only where it makes no sense, and in pure noise most things do.
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode(tmp_path / "a.mov", synthetic_clip(0, 60, 128, 128).target, codec, pix_fmt=pixels)
    data = bytearray(path.read_bytes())
    middle = len(data) * 55 // 100
    data[middle : middle + length] = np.random.default_rng(1).bytes(length)
    path.write_bytes(data)
    assert probe_video(path).num_frames == 60
    indices = []
    for _ in range(2):
        read = 0
        with pytest.raises(InputError, match="frame [0-9]+ of .*a.mov cannot be decoded") as caught:
            for _frame in read_frames(path):
                read += 1
        indices.append(int(str(caught.value).split("frame ")[1].split()[0]))
        assert indices[-1] == read > 0
    assert indices[0] == indices[1]


def test_frame_that_the_decoder_patched_up_is_refused(tmp_path, monkeypatch):
    frames = read_frames(write(tmp_path / "a.mp4", clip(2)))
    monkeypatch.setattr(video, "decode_strictly", lambda *_: iter([SimpleNamespace(is_corrupt=True)]))
    with pytest.raises(InputError, match="frame 0 of .*a.mp4 cannot be decoded"):
        next(frames)


def test_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def deny(*arguments, **options):
        raise av.error.PermissionError(errno.EACCES, "Permission denied")

    path = write(tmp_path / "a.mp4", clip(2))
    monkeypatch.setattr(av, "open", deny)
    with pytest.raises(InputError, match="a.mp4 may not be read by this user"):
        probe_video(path)


def test_name_with_a_colon_is_a_file_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("http:clip.mp4", clip(3))
    assert probe_video("http:clip.mp4").num_frames == 3

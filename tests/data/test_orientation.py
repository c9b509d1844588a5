"""Pictures are laid as their files say, however they say it: FFmpeg's own filters are the measure."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from ppdiffusers_ext.data.orientation import EXIF, of_matrix
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.video import probe_video, read_frames
from ppdiffusers_ext.errors import InputError
from tests.support.odd_videos import animation, box, element, encode, matroska, number, packets_of, ramp, set_matrix

# The eight matrices, and the filters that FFmpeg puts before its output for each (`-autorotate`).
MATRICES = {
    (1, 0, 0, 1): [],
    (-1, 0, 0, 1): ["hflip"],
    # FFmpeg takes "vflip" and "hflip,vflip", of which PyAV cannot make arrays; these are the same.
    (1, 0, 0, -1): ["hflip", "transpose=clock", "transpose=clock"],
    (-1, 0, 0, -1): ["transpose=clock", "transpose=clock"],
    (0, 1, -1, 0): ["transpose=clock"],
    (0, -1, 1, 0): ["transpose=cclock"],
    (0, 1, 1, 0): ["transpose=cclock_flip"],
    (0, -1, -1, 0): ["transpose=clock_flip"],
}


def filtered(frame, filters):
    """A frame, (H, W, 3), after FFmpeg's filters."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.shape[1], height=frame.shape[0], format="rgb24", time_base=Fraction(1, 30))
    chain = [source]
    for text in filters:
        name, _, argument = text.partition("=")
        chain.append(graph.add(name, argument) if argument else graph.add(name))
    chain.append(graph.add("buffersink"))
    for before, after in zip(chain, chain[1:]):
        before.link_to(after)
    graph.configure()
    graph.push(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
    return graph.pull().to_ndarray()


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_eight_matrices_of_tracks_are_applied_as_ffmpeg_does(tmp_path, matrix, suffix):
    path = encode(tmp_path / f"a{suffix}", ramp(3))
    (stored, *_), expected_size = read_frames(path), None
    set_matrix(path, *matrix)
    info, frames = probe_video(path), list(read_frames(path))
    expected = filtered(stored, MATRICES[matrix])
    expected_size = expected.shape[1], expected.shape[0]
    assert np.array_equal(frames[0], expected) and (info.width, info.height) == expected_size
    assert np.array_equal(FrameReader(path).read([2])[0], frames[2])


@pytest.mark.parametrize("scale", [0.5, 3])
@pytest.mark.parametrize("matrix", MATRICES)
def test_length_of_a_matrix_is_no_part_of_it(matrix, scale):
    assert of_matrix(_nine(*(scale * value for value in matrix)), "a") == of_matrix(_nine(*matrix), "a")


def _nine(a, b, c, d):
    return [a, b, 0, c, d, 0, 7, 9, 1]


def test_eight_matrices_are_eight_orientations():
    found = {of_matrix(_nine(*matrix), "a") for matrix in MATRICES}
    assert found == set(EXIF) and len(found) == 8


@pytest.mark.parametrize(
    "matrix, words",
    [
        ((0.7071, 0.7071, -0.7071, 0.7071), "rotated by 45 degrees"),
        ((0.7071, -0.7071, 0.7071, 0.7071), "rotated by 315 degrees"),
        ((0.9962, 0.0872, -0.0872, 0.9962), "rotated by 5 degrees"),
        ((-0.7071, 0.7071, 0.7071, 0.7071), "rotated by 135 degrees"),
        ((1, 0, 1, 1), "slants"),
        ((1, 1, 1, 1), "slants"),
        ((0, 0, 0, 0), "shows nothing"),
        ((1, 0, 0, 0), "shows nothing"),
        ((0, 0, 1, 0), "shows nothing"),
    ],
)
def test_other_matrices_are_refused(tmp_path, matrix, words):
    path = set_matrix(encode(tmp_path / "a.mp4", ramp(2)), *matrix)
    for read in (probe_video, read_frames, FrameReader):
        with pytest.raises(InputError, match=f"a.mp4 .*{words}"):
            read(path)


@pytest.mark.parametrize("roll, filters", [(0, []), (90, ["transpose=cclock"]), (-90, ["transpose=clock"]),
                                           (180, ["transpose=clock", "transpose=clock"])])  # fmt: skip
def test_roll_of_matroska_is_applied(tmp_path, roll, filters):
    packets = packets_of(encode(tmp_path / "b.webm", ramp(3), "libvpx"))
    pose = element(0x7670, element(0x7671, number(0)), element(0x7675, struct.pack(">d", roll)))
    path = matroska(tmp_path / "a.webm", b"V_VP8", (48, 32), packets, video=[pose])
    stored = next(read_frames(tmp_path / "b.webm"))
    assert np.array_equal(next(read_frames(path)), filtered(stored, filters))


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_eight_orientations_of_exif_are_applied(tmp_path, suffix, tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    path = animation(tmp_path / f"a{suffix}", ramp(3), 40, exif=exif)
    picture = Image.fromarray(ramp(3)[1])
    picture.getexif()[0x0112] = tag
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Pillow's own numbers of transpositions
    expected = picture.transpose(turn[tag]) if tag > 1 else picture
    info = probe_video(path)
    assert (info.width, info.height) == expected.size
    assert np.array_equal(list(read_frames(path))[1], np.asarray(expected))


# ---------------------------------------------------------------- pixels that are not square


def with_aspect(path, frames, aspect, codec="libx264"):
    """A file that says of its pixels that they have this shape, in the container."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


ASPECTS = [Fraction(*each) for each in ((2, 1), (1, 2), (16, 11), (12, 11), (64, 45), (8, 9), (4, 1))]


@pytest.mark.parametrize("name, codec", [("a.mp4", "libx264"), ("a.mov", "mpeg4"), ("a.mkv", "libx264")])
@pytest.mark.parametrize("aspect", ASPECTS)
def test_frames_have_the_shape_of_the_display(tmp_path, name, codec, aspect):
    square = with_aspect(tmp_path / f"square{name}", ramp(3), Fraction(1), codec)
    path = with_aspect(tmp_path / name, ramp(3), aspect, codec)
    info, frames = probe_video(path), list(read_frames(path))
    width = round(48 * aspect)
    assert (info.width, info.height, info.aspect) == (width, 32, aspect)
    assert {frame.shape for frame in frames} == {(32, width, 3)}
    expected = Image.fromarray(next(read_frames(square))).resize((width, 32), Image.Resampling.LANCZOS)
    assert np.abs(frames[0].astype(int) - np.asarray(expected)).max() <= 8
    assert np.array_equal(FrameReader(path).read([2])[0], frames[2])


@pytest.mark.parametrize("shown", [(96, 32), (24, 32), (48, 64), (50, 32), (16, 9), (4, 3)])
def test_display_size_of_matroska_is_a_shape_of_pixels(tmp_path, shown):
    packets = packets_of(encode(tmp_path / "b.webm", ramp(3), "libvpx"))
    display = [element(0x54B0, number(shown[0])), element(0x54BA, number(shown[1]))]
    path = matroska(tmp_path / "a.webm", b"V_VP8", (48, 32), packets, video=display)
    (frame, *_), info = read_frames(path), probe_video(path)
    assert frame.shape == (32, info.width, 3) and info.width == round(32 * shown[0] / shown[1])


@pytest.mark.parametrize("matrix", MATRICES)
def test_pixels_are_stretched_before_they_are_turned(tmp_path, matrix):
    path = with_aspect(tmp_path / "a.mp4", ramp(2), Fraction(2))
    stored = next(read_frames(path))
    set_matrix(path, *matrix)
    assert np.array_equal(next(read_frames(path)), filtered(stored, MATRICES[matrix]))


@pytest.mark.parametrize("aspect", [Fraction(1, 1000), Fraction(1000), Fraction(1, 9), Fraction(9), Fraction(255, 2)])
def test_shapes_that_no_pixel_has_are_refused(tmp_path, aspect):
    path = with_aspect(tmp_path / "a.mov", ramp(2), Fraction(2), "mpeg4")
    content = bytearray(path.read_bytes())
    place = content.index(b"pasp") + 4
    content[place : place + 8] = struct.pack(">II", aspect.numerator, aspect.denominator)
    path.write_bytes(content)
    for read in (probe_video, read_frames, FrameReader):
        with pytest.raises(InputError, match="a.mov has 48x32 pixels of the shape .*; up to 8:1 .* are accepted"):
            read(path)


def test_almost_square_pixels_are_left_alone(tmp_path):
    path = with_aspect(tmp_path / "a.mp4", ramp(2), Fraction(400, 399))
    square = with_aspect(tmp_path / "b.mp4", ramp(2), Fraction(1))
    assert np.array_equal(list(read_frames(path)), list(read_frames(square)))


# ---------------------------------------------------------------- parts of pictures


def with_aperture(path, frames, values):
    """An MP4 file, its index at its end, with a clean aperture: eight numbers."""
    content = encode(path, frames, "mpeg4").read_bytes()
    clap = box(b"clap", struct.pack(">IIIIiIiI", *values))
    place = content.index(b"esds") - 4  # a box of the description of the picture
    content = content[:place] + clap + content[place:]
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"mp4v"):
        at = content.index(kind) - 4
        content = (
            content[:at] + struct.pack(">I", struct.unpack(">I", content[at : at + 4])[0] + 40) + content[at + 4 :]
        )
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("values, part", [
    ((48, 1, 32, 1, 0, 1, 0, 1), (0, 0, 48, 32)), ((40, 1, 24, 1, 0, 1, 0, 1), (4, 4, 44, 28)),
    ((40, 1, 24, 1, 4, 1, -4, 1), (8, 0, 48, 24)), ((81, 2, 24, 1, 7, 2, 2, 2), (7, 5, 47, 29))])  # fmt: skip
def test_clean_aperture_of_mp4_is_what_is_shown(tmp_path, values, part):
    left, top, right, bottom = part
    path = with_aperture(tmp_path / "a.mp4", ramp(3), values)
    whole = next(read_frames(encode(tmp_path / "b.mp4", ramp(3), "mpeg4")))
    info, frames = probe_video(path), list(read_frames(path))
    assert np.array_equal(frames[0], whole[top:bottom, left:right])
    assert (info.width, info.height) == (right - left, bottom - top)
    assert np.array_equal(FrameReader(path).read([2])[0], frames[2])
    set_matrix(path, 0, 1, -1, 0)
    assert np.array_equal(next(read_frames(path)), filtered(whole[top:bottom, left:right], ["transpose=clock"]))


@pytest.mark.parametrize(
    "values",
    [
        (50, 1, 32, 1, 0, 1, 0, 1),
        (0, 1, 32, 1, 0, 1, 0, 1),
        (40, 1, 24, 1, 9, 1, 0, 1),
        (40, 0, 24, 1, 0, 1, 0, 1),
    ],
)
def test_apertures_outside_of_the_picture_are_refused(tmp_path, values):
    with pytest.raises(InputError, match="a.mp4 .*(not in it|aperture that is none)"):
        probe_video(with_aperture(tmp_path / "a.mp4", ramp(2), values))


@pytest.mark.parametrize("display, width", [((), 30), ((30, 26), 30), ((60, 26), 60)])
def test_cropping_of_matroska_is_applied(tmp_path, display, width):
    coded = encode(tmp_path / "b.webm", ramp(3), "libvpx")
    sides = {0x54CC: 8, 0x54BB: 4, 0x54DD: 10, 0x54AA: 2}
    video = [element(name, number(value)) for name, value in sides.items()]
    video += [element(name, number(value)) for name, value in zip((0x54B0, 0x54BA), display)]
    path = matroska(tmp_path / "a.webm", b"V_VP8", (48, 32), packets_of(coded), video=video)
    frame, part = next(read_frames(path)), next(read_frames(coded))[4:30, 8:38]
    assert frame.shape == (26, width, 3) == (probe_video(path).height, probe_video(path).width, 3)
    assert width != 30 or np.array_equal(frame, part)


def test_cropping_that_leaves_nothing_is_refused(tmp_path):
    packets = packets_of(encode(tmp_path / "b.webm", ramp(3), "libvpx"))
    video = [element(0x54CC, number(24)), element(0x54DD, number(24))]
    with pytest.raises(InputError, match="not in it"):
        probe_video(matroska(tmp_path / "a.webm", b"V_VP8", (48, 32), packets, video=video))


def test_pixels_that_are_not_square_are_told_of_once(tmp_path, caplog):
    path = with_aspect(tmp_path / "a.mp4", ramp(2), Fraction(2))
    probe_video(path), list(read_frames(path)), FrameReader(path)
    assert [note for note in caplog.messages if "pixels of the shape 2:1" in note] == [
        f"{path} has pixels of the shape 2:1: its frames of 48x32 pixels are read as 96x32"
    ]

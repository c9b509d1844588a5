"""Transparent pixels of pictures and videos: people stand on white, poses on black, and one note says so."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from ppdiffusers_ext.data import transparency
from ppdiffusers_ext.data.frames import open_frames
from ppdiffusers_ext.data.images import read_image
from ppdiffusers_ext.data.random_access import FrameReader
from ppdiffusers_ext.data.stable_animator.clips import Frames
from ppdiffusers_ext.data.video import read_frames

GROUNDS = {"white": 255, "black": 0}
COLOUR = np.array([200, 30, 30])
# Name of a file, codec, pixel format, and how far its colours may be off.
VIDEOS = [
    ("a.mov", "prores_ks", "yuva444p10le", 3),
    ("a.mov", "png", "rgba", 0),
    ("a.mov", "qtrle", "argb", 0),
    ("a.mkv", "ffv1", "yuva420p", 4),
    ("a.webm", "libvpx-vp9", "yuva420p", 8),
    ("a.webm", "libvpx", "yuva420p", 8),
]


@pytest.fixture(autouse=True)
def notes(caplog):
    transparency._told.clear()
    caplog.set_level(logging.WARNING)
    return caplog


def drawing(count=5):
    """(count, 48, 64, 4) uint8: left a colour, in the middle the same half transparent, right nothing."""
    frames = np.zeros((count, 48, 64, 4), np.uint8)
    frames[:, :, :48, :3] = COLOUR
    frames[:, :, :16, 3], frames[:, :, 16:48, 3] = 255, 102
    return frames


def write_video(path, codec, pix_fmt):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        stream.options = {"auto-alt-ref": "0", "crf": "4", "b": "0"} if "vpx" in codec else {}
        for i, pixels in enumerate(drawing()):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format=pix_fmt)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_folder(path, suffix):
    path.mkdir()
    for i, pixels in enumerate(drawing()):
        Image.fromarray(pixels).save(path / f"frame_{i}.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    return path


def assert_laid_over(frame, background, most=1):
    ground = GROUNDS[background]
    frame = np.asarray(frame).astype(float)
    assert np.abs(frame[:, :12] - COLOUR).max() <= most
    assert np.abs(frame[8:40, 22:42] - (0.4 * COLOUR + 0.6 * ground)).max() <= most + 1
    assert np.abs(frame[:, 54:] - ground).max() <= most


@pytest.mark.parametrize("background", GROUNDS)
@pytest.mark.parametrize("name, codec, pix_fmt, most", VIDEOS)
def test_videos_with_transparency(tmp_path, notes, background, name, codec, pix_fmt, most):
    path = write_video(tmp_path / name, codec, pix_fmt)
    frames = [*read_frames(path, background=background), *open_frames(path, background=background)]
    frames += [*FrameReader(path, background).read([3, 0, 4]), *Frames(path, background).read([1])]
    assert len(frames) == 14
    for frame in frames:
        assert_laid_over(frame, background, most)
    assert [f"laid over {background}" in note for note in notes.messages] == [True]


@pytest.mark.parametrize("background", GROUNDS)
@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_folders_of_transparent_pictures_share_one_note(tmp_path, notes, background, suffix):
    folder = write_folder(tmp_path / "poses", suffix)
    source = open_frames(folder, background=background)
    for frame in [*source, *source.read(2, 4), *Frames(folder, background).read([0, 3])]:
        assert_laid_over(frame, background)
    assert [f"{folder} has transparent" in note for note in notes.messages] == [True]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("background", GROUNDS)
def test_pictures_of_all_modes_with_transparency(tmp_path, mode, background):
    picture = Image.fromarray(drawing(1)[0]).convert("LA" if mode == "LA" else "RGBA")
    if mode == "P":
        picture = picture.quantize(8)
    wanted = picture.convert("RGBA")
    picture.save(tmp_path / "a.png")
    ground = Image.new("RGBA", wanted.size, background)
    wanted = np.asarray(Image.alpha_composite(ground, wanted).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png", background)), wanted)
    assert (wanted[:, 54:] == GROUNDS[background]).all()


def test_pictures_without_a_transparent_pixel_are_no_matter_for_a_note(tmp_path, notes):
    pixels = drawing(1)[0]
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png", "black")), pixels[..., :3])
    assert notes.messages == []


def test_gif_with_transparency(tmp_path):
    pictures = [Image.fromarray(pixels) for pixels in np.where(drawing() > 120, drawing(), 0)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=40, disposal=2)
    for background, ground in GROUNDS.items():
        frames = list(read_frames(tmp_path / "a.gif", background=background))
        assert all((frame[:, 54:] == ground).all() for frame in frames)

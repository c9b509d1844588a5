"""What uploads are: found by their content, within limits, and refused in words."""

import io
import itertools
import struct

import numpy as np
import PIL.Image
import pytest

from ppdiffusers_ext.data import images
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.server import probing
from ppdiffusers_ext.server.probing import look, probe
from ppdiffusers_ext.server.refusals import NotMedia, TooLarge
from ppdiffusers_ext.server.settings import ServerSettings
from tests.support.odd_videos import animation, encode, jpeg, ramp

MOST = 10**6


def picture(kind, size=(96, 64)):
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(buffer, kind)
    return buffer.getvalue()


SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}


@pytest.mark.parametrize("kind, suffix", SUFFIXES.items())
def test_pictures_are_known_by_their_content(tmp_path, kind, suffix):
    path = tmp_path / "named_something_else.mp4"
    path.write_bytes(picture(kind))
    assert look(path, MOST) == {"kind": "image", "suffix": suffix, "width": 96, "height": 64, "frames": 1,
                                "seconds": None, "fps": None, "has_audio": False}  # fmt: skip


def test_videos_and_animations_are_known_by_their_content(tmp_path):
    frames = ramp(8, 32, 48)
    encode(tmp_path / "a.mp4", frames)
    encode(tmp_path / "a.mkv", frames)
    animation(tmp_path / "a.gif", frames, [100] * 8)
    animation(tmp_path / "a.webp", frames, [100] * 8)
    for name, fps in (("a.mp4", 30), ("a.mkv", 30), ("a.gif", 10), ("a.webp", 10)):
        path = (tmp_path / name).rename(tmp_path / f"random_{name}.upload")
        found = look(path, MOST)
        assert (found["kind"], found["suffix"], found["has_audio"]) == ("video", name[1:], False)
        assert (found["width"], found["height"], found["frames"]) == (48, 32, 8)
        assert found["fps"] == pytest.approx(fps) and found["seconds"] == pytest.approx(8 / fps)


def bad_files():
    """Content of files that are neither pictures nor videos that can be read."""
    good = picture("PNG")
    yield b"just a text that somebody has renamed\n" * 20
    yield b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    yield b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/secret.ts\n"
    yield b"ffconcat version 1.0\nfile /etc/passwd\n"
    yield b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield b"%PDF-1.4\n1 0 obj"
    yield b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n"
    yield b"PK\x03\x04" + bytes(100)
    yield b"\x80\x04\x95"
    yield bytes(1000)
    yield from (good[:length] for length in (4, 8, 20, 40, len(good) // 2))
    yield picture("JPEG")[:200]
    yield jpeg()[:40]
    yield b"GIF89a" + bytes(20)
    yield picture("GIF")
    yield b"RIFF\xff\xff\xff\x7fWEBPVP8 " + bytes(30)
    for size, brand in itertools.product((0, 8, 24, 2**31), (b"isom", b"avif", b"heic", b"qt  ")):
        yield struct.pack(">I", size) + b"ftyp" + brand + bytes(40)
    yield b"\x1a\x45\xdf\xa3" + bytes(100)


def test_what_is_no_picture_and_no_video_is_refused(tmp_path):
    path = tmp_path / "upload"
    for content in bad_files():
        path.write_bytes(content)
        with pytest.raises(InputError):
            look(path, MOST)


def test_a_process_with_limits_looks_and_tells_in_words_without_the_path(tmp_path):
    settings = ServerSettings()
    path = tmp_path / "0123456789abcdef"
    for content in (b"just a text\n" * 20, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"):
        path.write_bytes(content)
        with pytest.raises(NotMedia, match=r"dance\.mp4 is .*; a picture .* or a video .* is accepted") as refused:
            probe(path, "dance.mp4", settings)
        assert str(tmp_path) not in str(refused.value) and "0123456789abcdef" not in str(refused.value)
    path.write_bytes(picture("PNG"))
    assert probe(path, "me.png", settings)["kind"] == "image"


def test_a_file_that_takes_too_much_time_or_memory_ends_the_process_alone(tmp_path):
    path = tmp_path / "upload"
    frame = b"\x2c" + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    path.write_bytes(b"GIF89a" + struct.pack("<2H3B", 1, 1, 0x80, 0, 0) + bytes(6) + frame * 1_500_000 + b";")
    with pytest.raises(NotMedia, match="limits of time and memory"):
        probe(path, "endless.gif", ServerSettings(probe_seconds=1))
    path.write_bytes(picture("PNG", (8000, 5000)))
    with pytest.raises(NotMedia, match="memory"):
        probe(path, "large.png", ServerSettings(probe_memory=400 << 20))


def test_bounds_are_of_pixels_frames_and_seconds(tmp_path, monkeypatch):
    path = tmp_path / "upload"
    path.write_bytes(picture("PNG", (1000, 1000)))
    monkeypatch.setattr(images, "read_image", lambda *_: pytest.fail("it is decoded"))
    assert look(path, 999_999)["width"] == 1000
    found = {"kind": "video", "width": 100, "height": 100, "frames": 100, "seconds": 10.0}
    fitting = {"max_video_pixels": 10_000, "max_video_frames": 100, "max_video_seconds": 10.0}
    probing._check_bounds(found, "a.mp4", ServerSettings(**fitting))
    for name, value in {"max_video_pixels": 9_999, "max_video_frames": 99, "max_video_seconds": 9.5}.items():
        with pytest.raises(TooLarge, match=r"a\.mp4 .*accepted"):
            probing._check_bounds(found, "a.mp4", ServerSettings(**{**fitting, name: value}))
    with pytest.raises(TooLarge, match="of a picture"):
        probing._check_bounds({**found, "kind": "image"}, "a.png", ServerSettings(max_picture_pixels=9_999))

"""Pictures with changed, lost and added bytes, with any colour profile, and of sizes that no memory holds."""

import functools
import io
import struct
import zlib

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from ppdiffusers_ext.data.images import read_image
from tests.support import profiles
from tests.support.fuzzing import fuzz, refused_or_read

KINDS = ("png", "png16", "png palette", "jpeg", "webp", "bmp", "tiff", "tiff lzw", "gif", "heif", "avif")
WORDS = st.sampled_from(
    [b"\0", b"\xff", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 8, b"IHDR", b"iCCP", b"eXIf", b"acsp"]
)


@functools.cache
def encoded(kind):
    """A small picture, with a profile and EXIF where the format has these."""
    y, x = np.mgrid[0:24, 0:32]
    pixels = np.stack([x * 8, y * 10, x + y, 255 - x], -1).astype(np.uint8)
    picture = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112], exif[0x8769] = 6, {0xA001: 0xFFFF, 0xA005: {1: "R03"}}
    options = {"icc_profile": profiles.rgb_profile("Display P3"), "exif": exif.tobytes()}
    if kind == "png16":
        picture, options = Image.fromarray(np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16)), {}
    elif kind == "png palette":
        picture = picture.quantize(16)
    elif kind in ("jpeg", "bmp"):
        picture = picture.convert("RGB")
    elif kind == "gif":
        picture, options = picture.convert("RGB").quantize(16), {}
    if kind == "heif":
        import pillow_heif

        pillow_heif.register_heif_opener()
    if kind == "tiff lzw":
        options = {"icc_profile": options["icc_profile"], "compression": "tiff_lzw"}
    buffer = io.BytesIO()
    picture.save(buffer, kind.partition(" ")[0].removesuffix("16").upper(), **options)
    return buffer.getvalue()


@st.composite
def changed(draw, content):
    """Some bytes replaced, inserted, cut out or repeated; the checksums of a PNG are made good again, mostly."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        piece = draw(st.one_of(st.binary(min_size=1, max_size=8), WORDS))
        how = draw(st.sampled_from(["replace", "replace", "replace", "insert", "cut", "end", "repeat"]))
        if how == "replace":
            content[place : place + len(piece)] = piece
        elif how == "insert":
            content[place:place] = piece
        elif how == "cut":
            del content[place : place + len(piece) * 4]
        elif how == "end":
            del content[place:]
        else:
            content[place:place] = content[max(0, place - 64) : place]
    return with_checksums(bytes(content)) if draw(st.booleans()) else bytes(content)


def with_checksums(content):
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    made, place = content[:8], 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunk = content[place + 4 : place + 8 + length]
        made += struct.pack(">I", length) + chunk + struct.pack(">I", zlib.crc32(chunk))
        place += 12 + length
    return made


def read(tmp_path, content):
    path = tmp_path / "picture"
    path.write_bytes(content)
    with refused_or_read():
        picture = read_image(path)
        assert picture.mode == "RGB" and min(picture.size) >= 16 and np.asarray(picture).dtype == np.uint8


@fuzz(content=st.sampled_from(KINDS).flatmap(lambda kind: changed(encoded(kind))))
def test_changed_bytes(tmp_path, content):
    read(tmp_path, content)


HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0", b"MM\0*", b"GIF89a", b"")
HEADS += (b"\0\0\0\x18ftypheic", b"\0\0\0\x1cftypavif")


@fuzz(head=st.sampled_from(HEADS), rest=st.binary(max_size=300))
def test_any_bytes(tmp_path, head, rest):
    read(tmp_path, head + rest)


@fuzz(
    profile=st.one_of(
        st.binary(max_size=600),
        st.sampled_from(["Adobe RGB", "grey", "printer"]).flatmap(
            lambda name: changed(
                {"grey": profiles.grey_profile(1.8), "printer": profiles.cmyk_profile()[:4000]}.get(name)
                or profiles.rgb_profile("Adobe RGB")
            )
        ),
    ),
    mode=st.sampled_from(["RGB", "RGBA", "L", "P", "LA", "CMYK"]),
)
def test_any_profile(tmp_path, profile, mode):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 100, 50)).convert(mode).save(
        buffer, "TIFF" if mode == "CMYK" else "PNG", icc_profile=profile
    )
    path = tmp_path / "picture"
    path.write_bytes(buffer.getvalue())
    with refused_or_read():
        assert read_image(path).size == (16, 16)


@fuzz(
    sides=st.tuples(*[st.integers(0, 2**31 - 1)] * 2),
    kind=st.sampled_from(["png", "bmp", "gif", "webp"]),
)
def test_any_size_in_a_header(tmp_path, sides, kind):
    """A few bytes that claim to be a picture of any size."""
    content = bytearray(encoded(kind))
    if kind == "png":
        content[16:24] = struct.pack(">II", *sides)
    elif kind == "bmp":
        content[18:26] = struct.pack("<II", *sides)
    elif kind == "gif":
        content[6:10] = struct.pack("<HH", *(side % 65536 for side in sides))
    else:
        place = content.find(b"VP8X")
        content[place + 12 : place + 18] = b"".join((side % 2**24).to_bytes(3, "little") for side in sides)
    read(tmp_path, with_checksums(bytes(content)))

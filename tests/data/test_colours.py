"""What pictures say about their colours, against the formulas of the colour spaces."""

import logging
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from ppdiffusers_ext.data import transparency
from ppdiffusers_ext.data.images import read_image, write_image
from tests.support import profiles

WIDE = ["Adobe RGB", "Display P3", "ProPhoto", "BT.2020"]


@pytest.fixture(autouse=True)
def notes(caplog):
    """The notes of a test, none of which has been told before."""
    transparency._told.clear()
    caplog.set_level(logging.WARNING)
    return caplog


def colours(count=1600, seed=0):
    """(40, count / 40, 3) uint8: all kinds of colours, greys among them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3), dtype=np.uint8)
    pixels[::5] = pixels[::5, :1]
    return pixels.reshape(40, -1, 3)


def levels(path, **options):
    return np.asarray(read_image(path, **options)).astype(float)


def assert_near(read, wanted, most=1.6):
    """Within rounding to whole levels and the 8-bit tables of lcms; dark levels of wide spaces are steep."""
    difference = np.abs(read - wanted)
    assert difference.max() <= most and difference.mean() < 0.5


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
@pytest.mark.parametrize("name", WIDE)
def test_embedded_profile_is_converted_to_srgb(tmp_path, name, suffix):
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(colours()).save(path, icc_profile=profiles.rgb_profile(name), **options)
    assert_near(levels(path), profiles.expected(name, colours()), 2.5)
    assert np.abs(levels(path) - colours()).max() > 30  # it is not what was stored


@pytest.mark.parametrize("name", WIDE)
def test_profile_of_a_jpeg_is_converted(tmp_path, name):
    patches = np.repeat(np.repeat(colours(200)[::8], 16, 0), 16, 1)
    Image.fromarray(patches).save(tmp_path / "plain.jpg", quality=98, subsampling=0)
    Image.fromarray(patches).save(
        tmp_path / "a.jpg", quality=98, subsampling=0, icc_profile=profiles.rgb_profile(name)
    )
    assert_near(levels(tmp_path / "a.jpg"), profiles.expected(name, levels(tmp_path / "plain.jpg")), 2.5)


def srgb_profiles():
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {"of lcms": own, "of a table": profiles.rgb_profile("sRGB")}


@pytest.mark.parametrize("which", srgb_profiles())
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_picture_tagged_as_srgb_stays_bit_for_bit(tmp_path, which, mode):
    picture = Image.fromarray(colours()).convert(mode)
    picture.save(tmp_path / "tagged.png", icc_profile=srgb_profiles()[which])
    picture.save(tmp_path / "plain.png")
    np.testing.assert_array_equal(levels(tmp_path / "tagged.png"), levels(tmp_path / "plain.png"))


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2, 2.6])
@pytest.mark.parametrize("mode", ["L", "LA", "I;16", "1"])
def test_grey_profile_is_converted(tmp_path, gamma, mode):
    greys = np.arange(256, dtype=np.uint8)[None].repeat(20, 0)
    picture = {
        "L": lambda: Image.fromarray(greys),
        "LA": lambda: Image.fromarray(np.stack([greys, np.full_like(greys, 255)], -1)),
        "I;16": lambda: Image.fromarray(greys.astype(np.uint16) * 257),
        "1": lambda: Image.fromarray(greys > 128),
    }[mode]()
    picture.save(tmp_path / "a.png", icc_profile=profiles.grey_profile(gamma))
    stored = (greys > 128) * 255.0 if mode == "1" else greys.astype(float)
    wanted = profiles.light_to_srgb((stored / 255) ** gamma) * 255
    assert_near(levels(tmp_path / "a.png"), wanted[..., None].repeat(3, -1))


@pytest.mark.parametrize("suffix", ["tiff", "jpg"])
def test_cmyk_is_converted_by_its_profile(tmp_path, suffix):
    inks = (np.random.default_rng(1).integers(0, 9, (5, 5, 4)) * 255 // 8).astype(np.uint8)  # steps of the table
    inks = np.repeat(np.repeat(inks, 16, 0), 16, 1)
    options = {"quality": 98, "subsampling": 0} if suffix == "jpg" else {}
    profile = profiles.cmyk_profile()
    Image.fromarray(inks, "CMYK").save(tmp_path / f"a.{suffix}", icc_profile=profile, **options)
    middle = (slice(8, None, 16), slice(8, None, 16))
    assert_near(levels(tmp_path / f"a.{suffix}")[middle], profiles.cmyk_in_srgb(inks[middle]), 5)


def test_lab_is_converted(tmp_path):
    wanted = colours().astype(float)
    xyz = profiles.srgb_to_light(wanted / 255) @ profiles.to_xyz_d50(profiles.PRIMARIES["sRGB"]).T
    lab = profiles.xyz_to_lab(xyz)
    stored = np.stack([lab[..., 0] * 2.55, lab[..., 1], lab[..., 2]], -1).round()
    pixels = np.concatenate([stored[..., :1], stored[..., 1:] % 256], -1).astype(np.uint8)
    write_lab(tmp_path / "a.tif", pixels)
    read = levels(tmp_path / "a.tif")
    assert np.abs(read - wanted).mean() < 2  # a step of Lab is some levels of a dark colour


def write_lab(path, pixels):
    """A TIFF of CIELab, (H, W, 3) uint8 with signed a and b."""
    height, width = pixels.shape[:2]
    tags = {256: width, 257: height, 259: 1, 262: 8, 277: 3, 278: height, 279: pixels.size}
    end = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags |= {258: end, 273: end + 6}
    entries = b"".join(
        struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, value)
        for tag, value in sorted(tags.items())
    )
    content = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + struct.pack("<3H", 8, 8, 8)
    path.write_bytes(content + pixels.tobytes())


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_colours_are_converted_before_they_are_laid_over_a_ground(tmp_path, mode):
    pixels = np.dstack([colours(), np.full((40, 40), 255, np.uint8)])
    pixels[:20, :, 3] = 0
    picture = Image.fromarray(pixels)
    if mode == "P":
        picture = picture.quantize(64)
    picture.save(tmp_path / "a.png", icc_profile=profiles.rgb_profile("Adobe RGB"))
    read, stored = levels(tmp_path / "a.png"), np.asarray(picture.convert("RGBA"))
    assert (read[:20] == 255).all()
    is_whole = stored[..., 3] == 255
    assert is_whole[20:].mean() > 0.9
    assert_near(read[is_whole], profiles.expected("Adobe RGB", stored[is_whole][:, :3]))


def damaged_profiles():
    good = profiles.rgb_profile("Adobe RGB")
    rng = np.random.default_rng(0)
    random = rng.integers(0, 256, 600, dtype=np.uint8).tobytes()
    zeros = good[:132] + bytes(len(good) - 132)
    return {"short": good[:100], "cut": good[:200], "text": b"no profile", "random": random, "no tags": zeros,
            "of another kind": profiles.cmyk_profile(), "grey": profiles.grey_profile(1.8)}  # fmt: skip


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
@pytest.mark.parametrize("which", damaged_profiles())
def test_damaged_profile_is_said_and_colours_are_taken_as_srgb(tmp_path, notes, which, suffix):
    Image.fromarray(colours()).save(tmp_path / f"plain.{suffix}")
    Image.fromarray(colours()).save(tmp_path / f"a.{suffix}", icc_profile=damaged_profiles()[which])
    for _ in range(2):
        np.testing.assert_array_equal(levels(tmp_path / f"a.{suffix}"), levels(tmp_path / f"plain.{suffix}"))
    (note,) = notes.messages
    assert f"a.{suffix}" in note and "profile" in note and "taken as sRGB" in note


def test_profile_whose_compression_is_damaged_is_said(tmp_path, notes):
    Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=profiles.rgb_profile("Adobe RGB"))
    content = (tmp_path / "a.png").read_bytes()
    start = content.index(b"iCCP")
    length = int.from_bytes(content[start - 4 : start], "big")
    chunk = content[start : start + 20] + b"\xff" * (length - 16)
    chunk += struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(content[:start] + chunk + content[start + length + 8 :])
    np.testing.assert_array_equal(levels(tmp_path / "a.png"), colours())
    assert "taken as sRGB" in notes.text


def png_with(path, pixels, *chunks):
    """A PNG with more chunks before its pixels."""
    Image.fromarray(pixels).save(path)
    content = path.read_bytes()
    more = b""
    for kind, data in chunks:
        more += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content[:33] + more + content[33:])
    return path


def gama(gamma):
    return b"gAMA", struct.pack(">I", round(gamma * 1e5))


def chrm(name):
    red, green, blue, white = profiles.PRIMARIES[name]
    return b"cHRM", struct.pack(">8I", *(round(value * 1e5) for point in (white, red, green, blue) for value in point))


@pytest.mark.parametrize("name", ["Adobe RGB", "Display P3", "BT.2020", "ProPhoto"])
def test_primaries_and_gamma_of_a_png_are_applied(tmp_path, name):
    for gamma in (0.45455, 0.5556, 1.0):
        path = png_with(tmp_path / "a.png", colours(), gama(gamma), chrm(name))
        assert_near(levels(path), profiles.expected(name, colours(), 1 / gamma))


def test_primaries_alone_of_a_png_come_with_the_curve_of_srgb(tmp_path):
    path = png_with(tmp_path / "a.png", colours(), chrm("Display P3"))
    assert_near(levels(path), profiles.expected("Display P3", colours()))


@pytest.mark.parametrize("gamma", [1.0, 0.55556, 0.625])
def test_gamma_of_a_png_is_applied(tmp_path, gamma):
    path = png_with(tmp_path / "a.png", colours(), gama(gamma))
    assert_near(levels(path), profiles.light_to_srgb((colours() / 255) ** (1 / gamma)) * 255)


@pytest.mark.parametrize(
    "chunks",
    [[gama(0.45455)], [chrm("sRGB")], [gama(0.45455), chrm("sRGB")], [(b"sRGB", b"\0")],
     [(b"sRGB", b"\1"), gama(0.45455), chrm("Adobe RGB")]],
)  # fmt: skip
def test_png_that_says_srgb_in_other_ways_stays_bit_for_bit(tmp_path, chunks):
    np.testing.assert_array_equal(levels(png_with(tmp_path / "a.png", colours(), *chunks)), colours())


@pytest.mark.parametrize("chunks", [[gama(0)], [gama(40000)], [(b"cHRM", bytes(32))], [(b"cHRM", b"\0\0\x80\0" * 8)]])
def test_impossible_gamma_and_primaries_are_said(tmp_path, notes, chunks):
    np.testing.assert_array_equal(levels(png_with(tmp_path / "a.png", colours(), *chunks)), colours())
    assert "taken as sRGB" in notes.text


def test_adobe_rgb_of_a_camera_is_converted(tmp_path):
    exif = Image.Exif()
    exif[0x8769] = {0xA001: 0xFFFF, 0xA005: {1: "R03", 2: b"0100"}}
    Image.fromarray(colours()).save(tmp_path / "a.png", exif=exif.tobytes())
    assert_near(levels(tmp_path / "a.png"), profiles.expected("Adobe RGB", colours()), 2.5)


def test_what_was_converted_is_not_written_with_its_old_profile(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=profiles.rgb_profile("Adobe RGB"))
    read = read_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png", read)
    np.testing.assert_array_equal(levels(tmp_path / "b.png"), np.asarray(read))

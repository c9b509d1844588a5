import errno
import os
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, features

from ppdiffusers_ext.data.images import (
    MIN_IMAGE_SIDE,
    contact_sheet,
    read_image,
    side_by_side,
    with_caption,
    write_image,
)
from ppdiffusers_ext.errors import InputError, MissingFileError
from tests.data.test_video import clip
from tests.support import profiles


def gradient(width=40, height=24):
    """(height, width, 3) uint8, another value in every corner and channel."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 2], axis=-1).astype(np.uint8)


def test_rgb_png_is_read_as_it_is(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), gradient())


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff"])
def test_accepted_formats_are_read(tmp_path, suffix):
    Image.fromarray(gradient()).save(tmp_path / f"a.{suffix}")
    difference = np.asarray(read_image(tmp_path / f"a.{suffix}")).astype(int) - gradient()
    assert np.abs(difference).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    undo = {  # how a camera that says this orientation stores the upright picture
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a),
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(undo[orientation](gradient()))).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png")), gradient())


def test_rgba_is_laid_over_white(tmp_path):
    pixels = np.zeros((20, 20, 4), np.uint8)
    pixels[..., 3] = 255  # black
    pixels[:10, :, 3] = 0
    pixels[10:12, :, 3] = 102
    Image.fromarray(pixels).save(tmp_path / "a.png")
    read = np.asarray(read_image(tmp_path / "a.png"))
    assert (read[:10] == 255).all() and (read[10:12] == 153).all() and (read[12:] == 0).all()


def test_grey_with_alpha_is_laid_over_white(tmp_path):
    pixels = np.full((20, 20, 2), 60, np.uint8)
    pixels[:10, :, 1], pixels[10:, :, 1] = 0, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    read = np.asarray(read_image(tmp_path / "a.png"))
    assert (read[:10] == 255).all() and (read[10:] == 60).all()


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_transparent_palette_entry_is_laid_over_white(tmp_path, transparency):
    image = Image.new("P", (20, 20), 0)
    image.paste(1, (0, 10, 20, 20))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.save(tmp_path / "a.png", transparency=transparency)
    read = np.asarray(read_image(tmp_path / "a.png"))
    assert (read[:10] == 255).all() and (read[10:] == (0, 0, 200)).all()


def test_transparent_colour_of_an_rgb_png_is_laid_over_white(tmp_path):
    image = Image.new("RGB", (20, 20), (200, 0, 0))
    image.save(tmp_path / "a.png", transparency=(200, 0, 0))
    assert (np.asarray(read_image(tmp_path / "a.png")) == 255).all()


def test_palette_and_greyscale_become_rgb(tmp_path):
    Image.new("RGB", (20, 20), (0, 0, 204)).convert("P").save(tmp_path / "p.png")
    Image.new("L", (20, 20), 77).save(tmp_path / "l.png")
    Image.new("1", (20, 20), 1).save(tmp_path / "1.png")
    assert read_image(tmp_path / "p.png").getpixel((3, 3)) == (0, 0, 204)
    assert read_image(tmp_path / "l.png").getpixel((3, 3)) == (77, 77, 77)
    assert read_image(tmp_path / "1.png").getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_greyscale_is_scaled_not_clipped(tmp_path, suffix):
    values = np.repeat(np.array([0, 257, 128 * 257, 40000, 65535], np.uint16), 4)[None].repeat(20, 0)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    assert list(np.asarray(read_image(tmp_path / f"a.{suffix}"))[0, ::4, 0]) == [0, 1, 128, 156, 255]


def test_floating_point_picture_is_refused(tmp_path):
    Image.fromarray(np.ones((20, 20), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match="floating-point .* 8 or 16 bits a channel are accepted"):
        read_image(tmp_path / "a.tiff")


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.new("RGB", (20, 20), (200, 40, 90)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg").getpixel((9, 9)), (200, 40, 90), atol=4)


def test_jpeg_of_several_pictures_from_a_telephone_is_read(tmp_path):
    image = Image.fromarray(gradient())
    image.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[image])
    assert read_image(tmp_path / "a.jpg").size == image.size


def test_missing_file_says_so(tmp_path):
    with pytest.raises(MissingFileError, match="nobody.png does not exist.*PNG, JPEG"):
        read_image(tmp_path / "nobody.png")


def test_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder; PNG"):
        read_image(tmp_path)


def test_text_is_not_a_picture(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(
        InputError, match="a.png is not a picture that can be read; PNG, JPEG, WebP, BMP, TIFF, AVIF or HEIC"
    ):
        read_image(tmp_path / "a.png")


def test_format_outside_the_list_is_refused(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.png", format="PPM")
    with pytest.raises(InputError, match="not a picture that can be read"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff"])
@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_truncated_picture_is_refused(tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match="not a picture that can be read"):
        read_image(path)


def test_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    def deny(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "a.png").touch()
    monkeypatch.setattr(Image, "open", deny)
    with pytest.raises(InputError, match="a.png may not be read by this user"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(1, 1), (MIN_IMAGE_SIDE - 1, 100), (100, MIN_IMAGE_SIDE - 1)])
def test_tiny_picture_is_refused_with_its_size(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=f"a.png is {size[0]}x{size[1]} pixels.*at least 16x16 is accepted"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("side", [10_000, 30_000])  # above Pillow's warning, above its error
def test_decompression_bomb_is_refused(tmp_path, side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    with pytest.raises(InputError, match="too many pixels to be read safely; at most [0-9]+ pixels are accepted"):
        read_image(tmp_path / "a.png")


def test_written_picture_reads_back(tmp_path):
    write_image(tmp_path / "new" / "a.png", gradient())
    write_image(tmp_path / "new" / "b.png", Image.fromarray(gradient()))
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "new" / name)), gradient())


def test_picture_of_another_suffix_is_not_written(tmp_path):
    with pytest.raises(InputError, match="a.xyz: .xyz is not a picture format; PNG"):
        write_image(tmp_path / "a.xyz", gradient())
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_the_earlier_picture(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", gradient())

    def raise_disk_full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", raise_disk_full)
    with pytest.raises(InputError, match="no space left on the disk"):
        write_image(tmp_path / "a.png", 255 - gradient())
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.png")), gradient())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_contact_sheet_goes_row_by_row():
    frames = np.stack([np.full((10, 20, 3), value, np.uint8) for value in (10, 20, 30, 40, 50)])
    sheet = np.asarray(contact_sheet(frames, columns=3, max_width=100))
    assert sheet.shape == (20, 60, 3)
    assert [int(sheet[y, x, 0]) for y in (5, 15) for x in (10, 30, 50)] == [10, 20, 30, 40, 50, 255]


def test_contact_sheet_shrinks_to_the_width_and_never_enlarges():
    frames = [gradient(100, 50)] * 4
    assert contact_sheet(frames, columns=4, max_width=200).size == (200, 25)
    assert contact_sheet(frames, columns=2, max_width=1000).size == (200, 100)
    assert contact_sheet(frames[:1], columns=4, max_width=1000).size == (100, 50)


def test_contact_sheet_refuses_no_frames_and_mixed_sizes():
    with pytest.raises(ValueError, match="0 frames in 2 columns"):
        contact_sheet([], columns=2)
    with pytest.raises(ValueError, match=r"frame 1 has shape \(24, 41, 3\), the first one \(24, 40, 3\)"):
        contact_sheet([gradient(), gradient(41)], columns=2)


def write_heic(path, brand="heic"):
    """A smooth picture as telephones write them, which is not square, so that its orientation shows."""
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    Image.fromarray(smooth()).save(path, format="HEIF", quality=98)
    content = path.read_bytes()
    path.write_bytes(content[:8] + brand.encode() + content[12:])


def smooth():
    y, x = np.mgrid[0:96, 0:128]
    return np.stack([x * 2, y * 2, 255 - x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "a.heif", "a.jpg", "a"])
@pytest.mark.parametrize("brand", ["heic", "heix", "mif1"])
def test_heic_is_read_by_its_content(tmp_path, name, brand):
    write_heic(tmp_path / name, brand)
    difference = np.asarray(read_image(tmp_path / name)).astype(int) - smooth()
    assert np.abs(difference).mean() < 3


def test_heic_without_pillow_heif_names_it(tmp_path, monkeypatch):
    write_heic(tmp_path / "a.jpg")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"a.jpg is a picture in HEIC, .*pip install pillow-heif.*PNG, JPEG, WebP"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_heic_that_is_cut_off_is_refused(tmp_path, share):
    write_heic(tmp_path / "a.heic")
    content = (tmp_path / "a.heic").read_bytes()
    (tmp_path / "a.heic").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="not a picture that can be read"):
        read_image(tmp_path / "a.heic")


def test_profile_and_primaries_of_a_heic_are_applied(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    profile = profiles.rgb_profile("Display P3")
    Image.fromarray(smooth()).save(tmp_path / "a.heic", format="HEIF", quality=98, icc_profile=profile)
    write_heic(tmp_path / "plain.heic")
    stored = np.asarray(read_image(tmp_path / "plain.heic"))
    difference = np.asarray(read_image(tmp_path / "a.heic")) - profiles.expected("Display P3", stored)
    assert np.abs(difference).mean() < 2 and np.abs(difference).max() < 12


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
@pytest.mark.parametrize("name", ["a.avif", "a.png"])
def test_avif_is_read_by_its_content(tmp_path, name):
    Image.fromarray(smooth()).save(tmp_path / name, format="AVIF", quality=95)
    assert np.abs(np.asarray(read_image(tmp_path / name)).astype(int) - smooth()).mean() < 3


@pytest.mark.parametrize("make", [lambda path: os.mkfifo(path), lambda path: path.symlink_to("/dev/zero")])
def test_pipe_and_device_are_refused_not_read(tmp_path, make):
    make(tmp_path / "a.png")
    with pytest.raises(InputError, match="a pipe, a device or another special file; PNG"):
        read_image(tmp_path / "a.png")


def test_pictures_of_one_height_are_joined_unchanged():
    first, second = clip(1, 20, 16)[0], clip(1, 30, 16)[0]
    joined = side_by_side([first, second])
    assert joined.shape == (16, 50, 3)
    np.testing.assert_array_equal(joined, np.concatenate([first, second], axis=1))


def test_lower_pictures_grow_in_proportion():
    assert side_by_side([clip(1, 20, 16)[0], clip(1, 20, 32)[0]]).shape == (32, 60, 3)


def test_joined_sides_are_even():
    joined = side_by_side([clip(1, 21, 15)[0], clip(1, 10, 15)[0]])
    assert joined.shape == (16, 32, 3)
    np.testing.assert_array_equal(joined[:, -1], joined[:, -2])
    np.testing.assert_array_equal(joined[-1], joined[-2])


@pytest.mark.parametrize("images", [[], [np.zeros((4, 4, 3))], [np.zeros((4, 4), np.uint8)]])
def test_what_is_not_a_picture_is_not_joined(images):
    with pytest.raises(ValueError, match="got none|has shape"):
        side_by_side(images)


@pytest.mark.parametrize("width, lines", [(1000, 1), (240, 2), (60, 4)])
def test_caption_is_below_the_picture_and_in_as_many_lines_as_it_needs(width, lines):
    picture = Image.new("RGB", (width, 50), "red")
    captioned = with_caption(picture, "csim 0.812   AKD 4.2 px   missing 1.0%   flicker 0.12")
    assert captioned.size == (width, 50 + 7 + 21 * lines)
    pixels = np.asarray(captioned)
    assert (pixels[:50] == (255, 0, 0)).all()
    dark = [(pixels[57 + 21 * line : 78 + 21 * line] < 80).any() for line in range(lines)]
    assert dark == [True] * lines

"""The end of a GIF's compressed pixels is found where the decoder stops, whatever the pixels are."""

import io

import numpy as np
import pytest
from PIL import Image

from ppdiffusers_ext.data.lzw import measure_pixels


def compressed(pixels):
    """(bytes, code size) of the only frame of a GIF that Pillow writes."""
    picture = Image.fromarray(pixels, "L")
    file = io.BytesIO()
    picture.save(file, "GIF", optimize=False)
    content = file.getvalue()
    place = content.index(b",", 13 + (3 << ((content[10] & 7) + 1))) + 10
    code_size, place, found = content[place], place + 1, b""
    while content[place]:
        found += content[place + 1 : place + 1 + content[place]]
        place += 1 + content[place]
    return found, code_size


@pytest.mark.parametrize("behind", [0, 1, 30, 5000])
@pytest.mark.parametrize("levels", [1, 3, 256])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 64), (333, 257)])
def test_bytes_behind_the_end_are_counted(size, levels, behind):
    pixels = np.random.default_rng(0).integers(0, levels, size, dtype=np.uint8)
    content, code_size = compressed(pixels)
    assert measure_pixels(content + bytes(behind), code_size) == (pixels.size, behind)


@pytest.mark.parametrize("levels", [1, 256])
def test_pixels_that_are_cut_off_are_fewer(levels):
    content, code_size = compressed(np.random.default_rng(0).integers(0, levels, (64, 64), dtype=np.uint8))
    pixels, behind = measure_pixels(content[: len(content) // 2], code_size)
    assert 0 < pixels < 64 * 64 and behind == 0
    assert measure_pixels(b"", 8) == (0, 0)


def test_codes_that_stand_for_nothing_are_refused():
    with pytest.raises(ValueError, match="stands for nothing"):
        measure_pixels(bytes([0, 255, 255, 255]), 8)


@pytest.mark.parametrize("count", [1, 255, 256, 4000, 5000, 20_000])
@pytest.mark.parametrize("code_size", [2, 4, 8])
def test_table_that_is_full_and_not_cleared_stays(count, code_size):
    clear = 1 << code_size
    bits, filled = [(clear, code_size + 1)], clear + 2
    for index in range(count):  # of one pixel each
        bits.append((index % clear, min(12, max(code_size + 1, filled.bit_length()))))
        filled = clear + 2 + index
    bits.append((clear + 1, min(12, max(code_size + 1, filled.bit_length()))))
    value = place = 0
    parts = []
    for code, width in bits:
        value |= code << place
        place += width
        while place >= 8:
            parts.append(value & 255)
            value, place = value >> 8, place - 8
    content = bytes([*parts, value] if place else parts)
    assert measure_pixels(content + b"more", code_size) == (count, 4)

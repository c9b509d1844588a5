"""Labelled sheets of pictures, for validation."""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppdiffusers_ext.data.images import write_image

_SIZES = (13, 11, 9, 7)  # of letters: the largest with which a label is no wider than what it is over
_LINE = 18  # pixels of a line of labels
_PAPER, _INK = (255, 255, 255), (0, 0, 0)
_GAP = 4

Cell = tuple[str, np.ndarray]  # label, and picture (H, W, 3) uint8
Row = tuple[str, Sequence[Cell]]  # name, and cells


def write_small_sheet(path: str | os.PathLike, sheet: np.ndarray) -> None:
    """Write a sheet, (H, W, 3) uint8, as a PNG of 256 colours, about a third as large as one of all colours."""
    write_image(path, Image.fromarray(sheet).quantize(256))


def labelled_sheet(title: str, rows: Sequence[Row], scale: int = 1) -> np.ndarray:
    """Rows of pictures with a title, a name before each row, and a label over each picture.

    Args:
        title: text.
        rows: list of (name of the row, list of (label, (H, W, 3) uint8)); the pictures of a row have one height.
        scale: integer factor of nearest-neighbour enlargement.

    Returns:
        (H, W, 3) uint8.
    """
    margin = 2 * _GAP + max(int(_font(_SIZES[0]).getlength(name)) for name, _ in rows)
    strips = [_row(name, cells, margin, scale) for name, cells in rows]
    width = max(margin, int(_font(_SIZES[0]).getlength(title)) + 2 * _GAP, *(strip.width for strip in strips))
    sheet = Image.new("RGB", (width, _LINE + sum(strip.height for strip in strips)), _PAPER)
    _write(sheet, title, _GAP, 0, width)
    top = _LINE
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return np.asarray(sheet)


def _row(name: str, cells: Sequence[Cell], margin: int, scale: int) -> Image.Image:
    pictures = [Image.fromarray(picture.repeat(scale, 0).repeat(scale, 1)) for _, picture in cells]
    height = max(picture.height for picture in pictures)
    strip = Image.new("RGB", (margin + sum(picture.width for picture in pictures), _LINE + height), _PAPER)
    _write(strip, name, _GAP, _LINE, margin)
    left = margin
    for (label, _), picture in zip(cells, pictures):
        _write(strip, label, left, 0, picture.width)
        strip.paste(picture, (left, _LINE))
        left += picture.width
    return strip


def _write(picture: Image.Image, text: str, left: int, top: int, width: int) -> None:
    fonts = [_font(size) for size in _SIZES]
    font = next((font for font in fonts if font.getlength(text) <= width), fonts[-1])
    ImageDraw.Draw(picture).text((left, top + 2), text, _INK, font)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

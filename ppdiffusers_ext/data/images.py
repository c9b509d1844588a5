"""Pictures: any common file to 8-bit RGB in sRGB, and back."""

import contextlib
import io
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFont, ImageOps, features

from ppdiffusers_ext.data.colours import ColourError, is_adobe_rgb, plain_rgb, to_srgb
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.transparency import tell_background, tell_once
from ppdiffusers_ext.errors import InputError, printable, shown_path
from ppdiffusers_ext.files import check_file

_CAPTION_SIZE = 14  # pixels
MIN_IMAGE_SIDE = 16  # pixels; below two latent pixels a side there is nothing to animate

# A closed list: some of Pillow's other formats start external programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_WRITTEN = "PNG, JPEG, WebP, BMP or TIFF are accepted"
_ACCEPTED = "PNG, JPEG, WebP, BMP, TIFF, AVIF or HEIC are accepted"
_TURNED = (5, 6, 7, 8)  # values of EXIF's orientation with height and width exchanged
_AVIF, _HEIC = (b"avif", b"avis"), (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def read_image(
    path: str | os.PathLike, background: str = "white", whole: str | os.PathLike | None = None
) -> Image.Image:
    """The picture at `path` as an RGB `PIL.Image` in sRGB, upright (EXIF orientation applied).

    Args:
        path: of the file, whose content says what it is; see `colours` for what becomes of its colours.
        background: "white" or "black", over which what is transparent is laid: people stand on white, poses on black.
        whole: the folder that the picture is a part of, for which notes are written once.

    Raises MissingFileError where there is no file, and InputError for a folder, for what is not a picture or is cut
    off, for a picture of too many pixels (Pillow's limit), for one with a side below MIN_IMAGE_SIDE pixels, and for
    HEIC where pillow-heif is not installed.
    """
    with _opened(path) as image:
        is_adobe = is_adobe_rgb(image)
        upright = ImageOps.exif_transpose(image)  # a decoded copy, so that damage shows here
        return _to_rgb(Path(path), upright, is_adobe, background, whole or path)


def picture_size(path: str | os.PathLike) -> tuple[int, int]:
    """(width, height) of what `read_image` gives, with its errors, but without decoding the picture."""
    with _opened(path) as image:
        is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED
        return (image.height, image.width) if is_turned else image.size


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    """The picture at `path`, not decoded yet, whose errors are the named ones as long as the context lasts."""
    path = check_file(path, "picture", _ACCEPTED)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damage that leaves the pixels readable
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_formats(path)) as image:
                _check_size(path, image)
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = f"at most {Image.MAX_IMAGE_PIXELS} pixels are accepted"
        raise InputError(f"{shown_path(path)} has too many pixels to be read safely; {limit}") from error
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(
            f"{shown_path(path)} may not be read by this user; a file that can be read is accepted"
        ) from error
    except Exception as error:  # Pillow's readers raise anything from struct.error to SyntaxError on damaged files
        raise InputError(f"{shown_path(path)} is not a picture that can be read; {_ACCEPTED}") from error


def _formats(path: Path) -> tuple[str, ...]:
    """The formats of Pillow that a file may be of: HEIC and AVIF are told by the brands that they begin with."""
    with open(path, "rb") as file:
        head = file.read(64)
    brands = {head[i : i + 4] for i in range(8, min(int.from_bytes(head[:4], "big"), 64), 4)}
    if head[4:8] != b"ftyp":
        return _FORMATS
    if brands.intersection(_AVIF) and features.check("avif"):
        return ("AVIF",)
    if brands.intersection(_HEIC):
        try:
            import pillow_heif
        except ImportError as error:
            raise InputError(
                f"{shown_path(path)} is a picture in HEIC, for which the package pillow-heif is needed "
                f"(pip install pillow-heif); {_WRITTEN} without it"
            ) from error
        pillow_heif.register_heif_opener()
        return ("HEIF",)
    return _FORMATS


def _check_size(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if min(width, height) < MIN_IMAGE_SIDE:
        least = f"at least {MIN_IMAGE_SIDE}x{MIN_IMAGE_SIDE} is accepted"
        raise InputError(f"{shown_path(path)} is {width}x{height} pixels, which is too small; {least}")


def _to_rgb(path: Path, image: Image.Image, is_adobe: bool, background: str, whole: str | os.PathLike) -> Image.Image:
    """8-bit RGB from any mode that Pillow reads."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _from_deep_grey(path, image)
    alpha = None
    if image.has_transparency_data:
        is_grey, info, image = image.mode in ("L", "LA", "La", "1"), image.info, image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.getchannel("R") if is_grey else image.convert("RGB")
        image.info = {name: value for name, value in info.items() if name != "transparency"}
    try:
        rgb = to_srgb(image, is_adobe)
    except ColourError as error:
        tell_once("%s: %s, so that its colours are taken as sRGB", printable(whole), str(error))
        rgb = plain_rgb(image)
    if alpha is None or alpha.getextrema()[0] == 255:
        return _without_info(rgb)
    tell_background(whole, background)
    rgb.putalpha(alpha)
    return _without_info(Image.alpha_composite(Image.new("RGBA", rgb.size, background), rgb).convert("RGB"))


def _without_info(image: Image.Image) -> Image.Image:
    """Without what belongs to the file: a profile would be written into the next one."""
    image.info = {}
    return image


def _from_deep_grey(path: Path, image: Image.Image) -> Image.Image:
    """Greyscale of more than 8 bits: 16 are scaled to 8 (Pillow would clip them); the range of others is unknown."""
    grey = np.asarray(image)
    if image.mode == "F" or grey.min() < 0 or grey.max() > 65535:
        raise InputError(
            f"{shown_path(path)} has floating-point or 32-bit pixels; pictures of 8 or 16 bits a channel are accepted"
        )
    levels = Image.fromarray(((grey.astype(np.uint32) + 128) // 257).astype(np.uint8))
    levels.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return levels


def write_image(path: str | os.PathLike, image: Image.Image | np.ndarray) -> None:
    """Write a `PIL.Image`, an (H, W, 3) array or an (H, W) one of grey values, uint8; the suffix chooses the format.

    Complete or not at all. Grey pictures remain so, and with .png those with a palette.

    Raises InputError where `path` cannot be written or its suffix is not that of a picture.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(
            f"cannot write {shown_path(path)}: {path.suffix or 'no suffix'} is not a picture format; {_WRITTEN}"
        )
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    kind = Image.registered_extensions()[path.suffix.lower()]
    image = image if image.mode in ("L", *["P"] * (kind == "PNG")) else image.convert("RGB")
    with output_file(path) as temporary:
        _save(temporary, image, format=kind)


def write_gif(path: str | os.PathLike, images: Sequence[Image.Image], duration: int) -> None:
    """Write palette images as an animated GIF that repeats for ever, each shown for so many milliseconds.

    Raises InputError where `path` cannot be written.
    """
    first, *others = images
    with output_file(path) as temporary:
        _save(temporary, first, format="GIF", save_all=True, append_images=others, duration=duration, loop=0)


def _save(path: Path, image: Image.Image, **options: Any) -> None:
    """Encode, then write: Pillow's encoders do not say what the system said when a disk is full."""
    buffer = io.BytesIO()
    image.save(buffer, **options)
    path.write_bytes(buffer.getbuffer())


def side_by_side(images: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures next to each other: sequence of (H, W, 3) uint8 arrays -> one (max H, sum of W, 3), both sides even.

    Lower pictures are enlarged to the height of the highest, in proportion. Odd sides repeat their last row or column.
    Raises ValueError for an empty sequence or another shape or type.
    """
    if len(images) == 0:
        raise ValueError("side_by_side needs at least one picture, got none")
    for image in images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"a picture has shape {image.shape} and type {image.dtype}, not (H, W, 3) and uint8")
    height = max(image.shape[0] for image in images)
    row = np.concatenate([_to_height(image, height) for image in images], axis=1)
    return np.pad(row, ((0, height % 2), (0, row.shape[1] % 2), (0, 0)), mode="edge")


def _to_height(image: np.ndarray, height: int) -> np.ndarray:
    if image.shape[0] == height:
        return image
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def contact_sheet(frames: Sequence[np.ndarray], columns: int, max_width: int = 1536) -> Image.Image:
    """A grid of frames, row by row, as a `PIL.Image`; shrunk (never enlarged) to at most `max_width` pixels.

    frames: sequence of (H, W, 3) uint8 arrays of one shape. Raises ValueError for an empty one or for mixed shapes.
    """
    if len(frames) == 0 or columns < 1:
        raise ValueError(f"a contact sheet needs frames and columns, got {len(frames)} frames in {columns} columns")
    height, width = frames[0].shape[:2]
    columns = min(columns, len(frames))
    scale = min(1, max_width / (columns * width))
    cell = (max(1, int(width * scale)), max(1, int(height * scale)))
    sheet = Image.new("RGB", (columns * cell[0], math.ceil(len(frames) / columns) * cell[1]), "white")
    for index, frame in enumerate(frames):
        if frame.shape != (height, width, 3):
            raise ValueError(f"frame {index} has shape {frame.shape}, the first one {(height, width, 3)}")
        row, column = divmod(index, columns)
        picture = Image.fromarray(frame)
        picture = picture if scale == 1 else picture.resize(cell, Image.Resampling.LANCZOS)
        sheet.paste(picture, (column * cell[0], row * cell[1]))
    return sheet


def with_caption(picture: Image.Image, text: str) -> Image.Image:
    """A picture with a line of text below it, which is broken between words where it is too long."""
    font, margin = ImageFont.load_default(_CAPTION_SIZE), _CAPTION_SIZE // 2
    lines: list[str] = []
    for word in text.split("   "):  # words that belong together have fewer blanks between them
        longer = f"{lines[-1]}   {word}" if lines else word
        if lines and font.getlength(longer) <= picture.width - 2 * margin:
            lines[-1] = longer
        else:
            lines.append(word)
    height = len(lines) * _CAPTION_SIZE * 3 // 2 + margin
    captioned = Image.new("RGB", (picture.width, picture.height + height), "white")
    captioned.paste(picture, (0, 0))
    draw = ImageDraw.Draw(captioned)
    for number, line in enumerate(lines):
        place = (margin, picture.height + margin + number * _CAPTION_SIZE * 3 // 2)
        draw.text(place, line, fill="black", font=font)
    return captioned

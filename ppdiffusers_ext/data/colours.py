"""Colours of pictures, as sRGB: what a file says about its colours is applied, not ignored.

In this order: an embedded ICC profile (relative colorimetric with black point compensation, as image editors do);
PNG's sRGB chunk; PNG's gAMA and cHRM; the primaries that HEIC names; AdobeRGB as cameras write it in EXIF. What says
none of these is sRGB. A picture whose colours are sRGB already, whatever its profile is called, stays as it is bit by
bit.
"""

import functools
import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}  # of pixels that a kind of profile is for
_UNSEEN = 2  # levels of 255 by which a profile of sRGB may differ from ours
_ROWS = 256  # that are converted at a time

# x and y of white, red, green and blue.
_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_ADOBE_RGB = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_BY_CODE = {  # of the primaries in HEIC (ISO/IEC 23091-2) that are others than sRGB's
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
_SRGB_GAMMA, _ADOBE_GAMMA = 1 / 2.2, 256 / 563  # as PNG writes the first, which stands for sRGB's curve
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


class ColourError(ValueError):
    """What a picture says about its colours cannot be used."""


def to_srgb(image: Image.Image, is_adobe: bool = False) -> Image.Image:
    """A picture of 8 bits a channel without transparency, in any mode of Pillow, as RGB in sRGB.

    Args:
        image: `PIL.Image` with the `info` of its file.
        is_adobe: what `is_adobe_rgb` said of its file.

    Raises:
        ColourError: what it says about its colours is damaged, or does not fit its pixels.
    """
    info = image.info
    if info.get("icc_profile") or image.mode == "LAB":
        return _by_profile(image, info.get("icc_profile"))
    rgb = image.convert("RGB")
    if "icc_profile" in info and info["icc_profile"] is None:
        raise ColourError("its colour profile is damaged")
    if "srgb" in info:
        return rgb
    if "gamma" in info or "chromaticity" in info:
        return _by_primaries(rgb, info.get("chromaticity", _SRGB), info.get("gamma"))
    if (code := (info.get("nclx_profile") or {}).get("color_primaries")) in _BY_CODE:
        return _by_primaries(rgb, _BY_CODE[code])
    return _by_primaries(rgb, _ADOBE_RGB, _ADOBE_GAMMA) if is_adobe else rgb


def plain_rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB, whatever it says about its colours."""
    return _by_profile(image, None) if image.mode == "LAB" else image.convert("RGB")


def is_adobe_rgb(image: Image.Image) -> bool:
    """Whether the EXIF of an open picture says so, as cameras do that embed no profile (the rules of DCF)."""
    try:
        return "exif" in image.info and image.getexif().get_ifd(0xA005).get(1, "").rstrip("\0 ") == "R03"
    except Exception:  # Pillow raises anything for damaged ones
        return False


def _by_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    transform, mode = _transform(profile)
    if mode == "RGB" and image.mode not in ("CMYK", "LAB"):
        image = image.convert("RGB")
    elif mode == "L" and image.mode == "1":
        image = image.convert("L")
    if image.mode != mode:
        raise ColourError(f"its colour profile is of {mode} pixels, and its own are {image.mode}")
    try:
        if transform is None:
            return image.convert("RGB")
        if mode == "L":
            levels = np.asarray(ImageCms.applyTransform(_sample("L"), transform))[0]  # (256, 3)
            return Image.merge("RGB", [image.point(channel.tolist()) for channel in levels.T])
        return ImageCms.applyTransform(image, transform)  # type: ignore[return-value]  # a new picture
    except ImageCms.PyCMSError as error:
        raise ColourError("its colour profile is damaged") from error


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes | None) -> tuple[Any, str]:
    """What converts from an ICC profile (None: Lab) to sRGB, None where nothing changes; and the mode of pixels."""
    try:
        is_lab = profile is None
        source: Any = ImageCms.createProfile("LAB") if is_lab else ImageCms.getOpenProfile(io.BytesIO(profile))  # type: ignore[arg-type]  # for Lab there is none
        kind = "Lab" if is_lab else source.profile.xcolor_space.strip()
        if kind not in _MODES:
            raise ColourError(f"its colour profile is of {kind!r} pixels")
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            _MODES[kind],
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            # What lcms does for the sake of speed costs dark greys some levels.
            ImageCms.Flags.BLACKPOINTCOMPENSATION | (ImageCms.Flags.NOOPTIMIZE if kind == "GRAY" else 0),
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise error if isinstance(error, ColourError) else ColourError("its colour profile is damaged") from error
    if kind in ("RGB", "GRAY"):
        sample = _sample(_MODES[kind])
        changed = np.asarray(ImageCms.applyTransform(sample, transform)).astype(int)
        if np.abs(changed - np.asarray(sample.convert("RGB"))).max() <= _UNSEEN:
            return None, _MODES[kind]
    return transform, _MODES[kind]


def _sample(mode: str) -> Image.Image:
    """All greys, and for RGB colours of all kinds, as a picture of one row."""
    greys = np.arange(256)
    if mode == "L":
        return Image.fromarray(greys[None].astype(np.uint8))
    colours = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3), axis=-1).reshape(1, -1, 3)
    return Image.fromarray(np.concatenate([np.repeat(greys[None, :, None], 3, 2), colours], 1).astype(np.uint8))


def _by_primaries(image: Image.Image, chromaticity: tuple[float, ...], gamma: float | None = None) -> Image.Image:
    """RGB of other primaries, or of a plain power instead of sRGB's curve.

    Args:
        image: RGB.
        chromaticity: x and y of white, red, green, blue.
        gamma: exponent by which light was stored; sRGB's curve if left out.
    """
    is_same = np.allclose(chromaticity, _SRGB, atol=2e-3)
    if gamma is not None and not 0.1 <= gamma <= 10:
        raise ColourError(f"its gamma of {gamma:g} is none")
    if is_same and (gamma is None or abs(gamma - _SRGB_GAMMA) < 1e-2):
        return image  # by the standard of PNG, this gamma stands for sRGB's curve
    levels = np.arange(256) / 255
    light = (_srgb_to_light(levels) if gamma is None else levels ** (1 / gamma)).astype(np.float32)
    matrix = np.eye(3) if is_same else np.linalg.inv(_to_xyz(_SRGB)) @ _to_xyz(chromaticity)
    pixels = np.array(image)
    for start in range(0, len(pixels), _ROWS):
        part = light[pixels[start : start + _ROWS]] @ matrix.T.astype(np.float32)
        pixels[start : start + _ROWS] = np.rint(_light_to_srgb(part.clip(0, 1)) * 255)
    return Image.fromarray(pixels)


def _to_xyz(chromaticity: tuple[float, ...]) -> np.ndarray:
    """The matrix from linear RGB of these primaries to XYZ as seen under D65."""
    white, *colours = np.reshape(chromaticity, (4, 2))
    if not white[1] > 0:
        raise ColourError("its white is none")
    try:
        white, d65 = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in (white, _SRGB[:2]))
        columns = np.stack([[x, y, 1 - x - y] for x, y in colours], axis=1)
        matrix = columns * np.linalg.solve(columns, white)
        seen = np.diag((_BRADFORD @ d65) / (_BRADFORD @ white))
        matrix = np.linalg.inv(_BRADFORD) @ seen @ _BRADFORD @ matrix
    except (np.linalg.LinAlgError, ZeroDivisionError) as error:
        raise ColourError("its primaries are none") from error
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 100:
        raise ColourError("its primaries are none")
    return matrix


def _srgb_to_light(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _light_to_srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)

"""What animated pictures (GIF, PNG, WebP) promise: their blocks are walked from the first byte to the last.

Decoders of pictures pass over what they cannot read, and take a file that is cut off for a shorter one. So the frames
are counted here, by the formats' own rules, and a file in which anything does not fit is refused.

The formats are those of GIF89a, of the PNG specification (third edition, with APNG) and of Google's WebP container.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from PIL import Image

from ppdiffusers_ext.data.lzw import measure_pixels
from ppdiffusers_ext.data.orientation import EXIF, Orientation

_ORIENTATION_TAG = 0x0112
_MOST_PADDING = 4  # bytes behind the pixels of a GIF's frame


class NotWholeError(Exception):
    """The file is no such picture, or damaged; the text says why."""


@dataclass
class Promise:
    """What a walk finds; where it fails, what it found before.

    Attributes:
        width, height: pixels of the stored pictures.
        delays: seconds that each frame is shown, a Fraction.
        unit: seconds in which the format counts; 0 if it has none.
        orientation: by which it is shown.
        is_led: whether the first picture stands for the others where they are not shown, and is none of them.
        is_deep_grey: whether pixels are 16-bit grey values.
    """

    width: int = 0
    height: int = 0
    delays: list = field(default_factory=list)
    unit: Fraction = Fraction(0)
    orientation: Orientation = EXIF[0]
    is_led: bool = False
    is_deep_grey: bool = False


class _Bytes:
    """A position in bytes; what is not there raises `NotWholeError`."""

    def __init__(self, content: bytes, start: int = 0, end: int | None = None) -> None:
        self.content, self.position = content, start
        self.end = len(content) if end is None else end

    def take(self, count: int) -> bytes:
        begin = self.position
        if count > self.end - begin:
            raise NotWholeError("its end is missing")
        self.position += count
        return self.content[begin : self.position]

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def is_over(self) -> bool:
        return self.position >= self.end

    def check_nothing_follows(self) -> None:
        if self.content[self.position : self.end].strip(b"\0"):
            raise NotWholeError("something follows its end")


def _check_rectangle(promise: Promise, left: int, top: int, width: int, height: int) -> None:
    if not width or not height or left + width > promise.width or top + height > promise.height:
        raise NotWholeError("it has a frame that does not fit into it")


# ---------------------------------------------------------------- GIF


def walk_gif(content: bytes, promise: Any) -> None:
    """Fill in the `Promise` of a GIF."""
    data, delay, promise.unit = _Bytes(content), None, Fraction(1, 100)
    if data.take(6) not in (b"GIF87a", b"GIF89a"):
        raise NotWholeError("it does not begin as a GIF")
    promise.width, promise.height, flags, _, _ = data.unpack("<HHBBB")
    _take_colors(data, flags)
    while (kind := data.take(1)) != b";":
        if kind == b"!":
            delay = _take_extension(data, delay)
        elif kind == b",":
            left, top, width, height, flags = data.unpack("<HHHHB")
            _check_rectangle(promise, left, top, width, height)
            if flags & 0x18:
                raise NotWholeError("it has a frame of a kind that there is not")
            _take_colors(data, flags)
            _take_pixels(data, width * height)
            promise.delays.append(Fraction(delay or 0, 100))
            delay = None
        else:
            raise NotWholeError(f"byte {data.position - 1} begins nothing that a GIF has")
    data.check_nothing_follows()


def _take_colors(data: _Bytes, flags: int) -> None:
    if flags & 0x80:
        data.take(3 << ((flags & 7) + 1))


def _take_extension(data: _Bytes, delay: Fraction | None) -> Fraction | None:
    """Pass over an extension. Returns hundredths of a second that the next frame is shown."""
    (label,) = data.take(1)
    if label == 0xF9:
        size, _, delay, _, end = data.unpack("<BBHBB")
        if size != 4 or end:
            raise NotWholeError("it has a damaged graphic control")
    elif label == 0xFF:
        _take_application(data)
    elif label in (0xFE, 0x01):  # a comment, a text
        _take_blocks(data)
    else:
        raise NotWholeError(f"it has an extension {label:#x}, which no GIF has")
    return delay


def _take_application(data: _Bytes) -> None:
    """Pass over what an application has added; how often it repeats has blocks of known lengths."""
    size, name = data.unpack("<B11s")
    if size != 11:
        raise NotWholeError("it has a damaged extension")
    start = data.position
    content = _take_blocks(data)
    if name in (b"NETSCAPE2.0", b"ANIMEXTS1.0") and (len(content) > 8 or data.content[start] not in (3, 5)):
        raise NotWholeError("it has a damaged extension")


def _take_pixels(data: _Bytes, count: int) -> None:
    code_size, content = data.take(1)[0], _take_blocks(data)
    if not 1 <= code_size <= 8 or not content:
        raise NotWholeError("it has a frame without pixels")
    try:
        pixels, behind = measure_pixels(content, code_size)
    except ValueError as error:
        raise NotWholeError(str(error)) from error
    if pixels != count or behind > _MOST_PADDING:
        raise NotWholeError(f"it has a frame of {count} pixels, and {pixels} of them, with {behind} bytes behind them")


def _take_blocks(data: _Bytes) -> bytes:
    """The bytes of data in blocks."""
    blocks = []
    while size := data.take(1)[0]:
        blocks.append(data.take(size))
    return b"".join(blocks)


# ---------------------------------------------------------------- PNG

_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def walk_png(content: bytes, promise: Any) -> None:
    """Fill in the `Promise` of a PNG; one without animation has no `delays`."""
    data, animation = _Bytes(content), _PngAnimation()
    seen: list = []
    if data.take(8) != b"\x89PNG\r\n\x1a\n":
        raise NotWholeError("it does not begin as a PNG")
    while seen[-1:] != [b"IEND"]:
        (size,) = data.unpack(">I")
        kind, chunk = data.take(4), data.take(size)
        if data.unpack(">I")[0] != zlib.crc32(kind + chunk):
            raise NotWholeError(f"its part {kind.decode('latin-1')!r} is damaged")
        if not seen and kind != b"IHDR" or seen and kind == b"IHDR" or (kind[0] < 0x60 and kind not in _CRITICAL):
            raise NotWholeError(f"it has a part {kind.decode('latin-1')!r} where none can be")
        _read_chunk(kind, chunk, promise, animation, seen)
        seen.append(kind)
    data.check_nothing_follows()
    animation.check()
    promise.is_led = animation.is_led


class _PngAnimation:
    """Numbers of frames and parts, held against each other."""

    def __init__(self) -> None:
        self.promised, self.frames, self.numbers, self.is_open, self.is_led = 0, 0, 0, False, False

    def number(self, chunk: bytes) -> None:
        if struct.unpack(">I", chunk[:4])[0] != self.numbers:
            raise NotWholeError("its parts do not follow each other")
        self.numbers += 1

    def begin(self) -> None:
        self.close()
        self.frames, self.is_open = self.frames + 1, True

    def close(self) -> None:
        if self.is_open:
            raise NotWholeError("it has a frame without pixels")

    def check(self) -> None:
        self.close()
        if self.frames != self.promised:
            raise NotWholeError(f"{self.frames} of {self.promised} frames are there")


def _read_chunk(kind: bytes, chunk: bytes, promise: Promise, animation: _PngAnimation, seen: Sequence[bytes]) -> None:
    least = {b"IHDR": 13, b"acTL": 8, b"fcTL": 26, b"fdAT": 5}.get(kind, 0)
    if len(chunk) < least:
        raise NotWholeError(f"its part {kind.decode('latin-1')!r} is too short")
    if kind == b"IHDR":
        promise.width, promise.height, depth, color = struct.unpack(">IIBB", chunk[:10])
        promise.is_deep_grey = depth == 16 and color == 0
    elif kind == b"eXIf":
        promise.orientation = _orientation(b"Exif\0\0" + chunk)
    elif kind == b"acTL":
        if animation.promised or b"IDAT" in seen:
            raise NotWholeError("it says twice, or too late, that it is animated")
        animation.promised = struct.unpack(">I", chunk[:4])[0]
    elif kind == b"fcTL":
        animation.number(chunk)
        animation.begin()
        width, height, left, top, count, per_second = struct.unpack(">IIIIHH", chunk[4:24])
        _check_rectangle(promise, left, top, width, height)
        promise.delays.append(Fraction(count, per_second or 100))
    elif kind == b"fdAT":
        animation.number(chunk)
        animation.is_open = False
    elif kind == b"IDAT":
        if seen and seen[-1] != b"IDAT" and b"IDAT" in seen:
            raise NotWholeError("its pixels are in two places")
        animation.is_led = animation.frames == 0 and animation.promised > 0
        animation.is_open = False


# ---------------------------------------------------------------- WebP

_EXTENDED = (b"ICCP", b"ANIM", b"ANMF", b"EXIF", b"XMP ", b"ALPH", b"VP8 ", b"VP8L")


def walk_webp(content: bytes, promise: Any) -> None:
    """Fill in the `Promise` of a WebP; one without animation has no `delays`."""
    data, promise.unit = _Bytes(content), Fraction(1, 1000)
    riff, size, kind = data.unpack("<4sI4s")
    if (riff, kind) != (b"RIFF", b"WEBP"):
        raise NotWholeError("it does not begin as a WebP")
    if size + 8 > len(content):
        raise NotWholeError("its end is missing")
    data.end = size + 8
    first, head = _take_chunk(data)
    if first != b"VP8X":
        return
    if len(head) < 10:
        raise NotWholeError("its head is too short")
    is_animated = head[0] & 2
    promise.width, promise.height = _three_bytes(head, 4) + 1, _three_bytes(head, 7) + 1
    while not data.is_over():
        kind, chunk = _take_chunk(data)
        if kind not in _EXTENDED or (is_animated and kind in (b"ALPH", b"VP8 ", b"VP8L")):
            raise NotWholeError(f"it has a part {kind.decode('latin-1')!r}, which none has there")
        if kind == b"ANMF":
            _read_frame(chunk, promise)
        elif kind == b"EXIF":
            promise.orientation = _orientation(chunk)
    if bool(is_animated) != bool(promise.delays):
        raise NotWholeError("it says that it is animated and has no frames, or has frames and does not say so")
    data.end = len(content)
    data.check_nothing_follows()


def _take_chunk(data: _Bytes) -> tuple[bytes, bytes]:
    kind, size = data.unpack("<4sI")
    chunk = data.take(size)
    if size % 2:
        data.take(1)
    return kind, chunk


def _three_bytes(content: bytes, start: int) -> int:
    return int.from_bytes(content[start : start + 3], "little")


def _read_frame(chunk: bytes, promise: Promise) -> None:
    if len(chunk) < 16:
        raise NotWholeError("it has a frame without pixels")
    left, top, width, height, delay = (_three_bytes(chunk, start) for start in (0, 3, 6, 9, 12))
    _check_rectangle(promise, 2 * left, 2 * top, width + 1, height + 1)
    data, kinds = _Bytes(chunk, 16), []
    while not data.is_over():
        kinds.append(_take_chunk(data)[0])
    if kinds not in ([b"VP8 "], [b"VP8L"], [b"ALPH", b"VP8 "]):
        raise NotWholeError("it has a frame without pixels, or of several")
    promise.delays.append(Fraction(delay, 1000))


def _orientation(exif: bytes) -> Orientation:
    """The `Orientation` of EXIF data; upright where they do not say."""
    tags = Image.Exif()
    try:
        tags.load(exif if exif[:4] == b"Exif" else b"Exif\0\0" + exif)
        number = tags.get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow raises anything on damaged data; they are no part of the pixels
        return EXIF[0]
    return EXIF[number - 1] if isinstance(number, int) and 1 <= number <= 8 else EXIF[0]


WALKS = {"GIF": walk_gif, "PNG": walk_png, "WebP": walk_webp}


def format_of(head: bytes) -> str | None:
    """The format, a key of `WALKS`, of a file that begins with these bytes; None for another."""
    if head[:4] == b"GIF8":
        return "GIF"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    return "WebP" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None

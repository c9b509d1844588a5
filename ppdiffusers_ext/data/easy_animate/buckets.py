"""Sizes that EasyAnimate makes videos in and is trained on: the nearest of a table of shapes, in some size.

From aigc-apps/EasyAnimate (`easyanimate/data/bucket_sampler.py`, `easyanimate/utils/utils.py`, `predict_*.py`), after
PixArt-alpha (Chen et al. 2023, arXiv:2310.00426).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MULTIPLE = 16  # pixels
FRAMES_MULTIPLE = 8
_OF_TABLE = 512
_STEP = 128  # pixels from one size of training to the next


def _read(text: str) -> dict[float, tuple[int, int]]:
    """Ratio of height to width -> (height, width)."""
    pairs = (entry.split(":") for entry in text.split())
    sizes = ((ratio, *size.split("x")) for ratio, size in pairs)
    return {float(ratio): (int(height), int(width)) for ratio, height, width in sizes}


SHAPES = _read(
    "0.25:256x1024 0.26:256x992 0.27:256x960 0.28:256x928 0.32:288x896 0.33:288x864 0.35:288x832 0.4:320x800 "
    "0.42:320x768 0.48:352x736 0.5:352x704 0.52:352x672 0.57:384x672 0.6:384x640 0.68:416x608 0.72:416x576 "
    "0.78:448x576 0.82:448x544 0.88:480x544 0.94:480x512 1.0:512x512 1.07:512x480 1.13:544x480 1.21:544x448 "
    "1.29:576x448 1.38:576x416 1.46:608x416 1.67:640x384 1.75:672x384 2.0:704x352 2.09:736x352 2.4:768x320 "
    "2.5:800x320 2.89:832x288 3.0:864x288 3.11:896x288 3.62:928x256 3.75:960x256 3.88:992x256 4.0:1024x256"
)
# Those that training draws from, with how often it does.
RANDOM_SHAPES = _read(
    "0.42:320x768 0.5:352x704 0.57:384x672 0.68:416x608 0.78:448x576 0.88:480x544 0.94:480x512 1.0:512x512 "
    "1.07:512x480 1.13:544x480 1.29:576x448 1.46:608x416 1.75:672x384 2.0:704x352 2.4:768x320"
)
_WEIGHTS = (1, 2, 4, 4, 4, 4, 8, 8, 8, 4, 4, 4, 4, 2, 1)
RANDOM_SHARES = tuple(weight / sum(_WEIGHTS) for weight in _WEIGHTS)


@dataclass(frozen=True)
class Bucket:
    """The size for a picture of some shape.

    Attributes:
        ratio: of the table's entry, height to width.
        exact: (height, width) that the entry comes to.
        size: the same in whole multiples of 16 pixels.
    """

    ratio: float
    exact: tuple
    size: tuple

    def cover(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture is resized to such that it covers the bucket; then its middle is cut out."""
        if self.size[0] / height > self.size[1] / width:
            return self.size[0], max(int(width * self.size[0] / height), self.size[1])
        return max(int(height * self.size[1] / width), self.size[0]), self.size[1]


def find_bucket(height: float, width: float, base: int, shapes: Any = None) -> Bucket:
    """The `Bucket` of the nearest shape.

    Args:
        height, width: of the picture, in any unit.
        base: pixels, such as 512: side of a square of as many pixels.
        shapes: table; `SHAPES` if left out.
    """
    shapes = SHAPES if shapes is None else shapes
    ratio = nearest_ratio(height, width, shapes)
    return scale_bucket(ratio, shapes[ratio], base)


def nearest_ratio(height: float, width: float, shapes: Iterable[float] = SHAPES) -> float:
    """The key of a table of shapes that is nearest to that of a picture."""
    return min(shapes, key=lambda key: abs(key - height / width))


def scale_bucket(ratio: Any, size: tuple[float, float], base: float) -> Bucket:
    """The `Bucket` of an entry of a table, at a size."""
    exact = tuple(side / _OF_TABLE * base for side in size)
    return Bucket(ratio, exact, tuple(int(side // MULTIPLE * MULTIPLE) for side in exact))


def round_frames(count: int, multiple: int = FRAMES_MULTIPLE) -> int:
    """Frames that can be made for so many that were asked for: one, or a multiple."""
    return 1 if count == 1 else count // multiple * multiple


def split_long(count: int, length: int, overlap: int, multiple: int = FRAMES_MULTIPLE) -> list[tuple[int, int]]:
    """Parts that a long video is made in, as (first frame, frames): each begins with the last ones of the one before.

    Args:
        count: frames that were asked for.
        length: of a part.
        overlap: frames that parts share.
        multiple: of which the last part has a whole number of frames; what is left over is not made.
    """
    parts, start, end = [], 0, length
    while start < count:
        frames = (count - start) // multiple * multiple if end >= count else length
        if frames <= 0:
            break
        parts.append((start, frames))
        if end >= count:
            break
        start += frames - overlap
        end = start + frames
    return parts


def frames_of_sizes(
    image_size: int, video_size: int, token_size: int, num_frames: int, multiple: int = FRAMES_MULTIPLE
) -> dict[int, int]:
    """Size of training -> frames, such that videos of all sizes have about as many tokens.

    Args:
        image_size, video_size: largest and smallest size, in pixels.
        token_size: size at which a video of `num_frames` has as many tokens as all should have.
        num_frames: most frames.
    """
    tokens = num_frames * token_size * token_size
    sizes = dict.fromkeys([*range(video_size, image_size, _STEP), image_size])
    return {size: int(min(tokens / size**2, num_frames) // multiple * multiple) for size in sizes}

"""Random masks of the inpaint mode, of ten kinds: 1 where frames are to be generated, 0 where they are given.

From aigc-apps/EasyAnimate (`get_random_mask` of `easyanimate/data/dataset_image_video.py`). There, a mask may leave
nothing to generate, for instance where both ends of a short clip are kept; here fewer frames are kept then.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_MOST_KEPT = 4  # frames at the beginning, and at the end
# Kind -> share, by the name of `SampleSettings.mask_kinds`: of videos, and of pictures.
OF_VIDEOS: Mapping[str, tuple[float, ...]] = {
    "v3": (0, 1 / 3, 1 / 3, 1 / 3),
    "v4": (0.05, 0.3, 0.3, 0.3, 0.05),
    "all": (0.05, 0.2, 0.2, 0.2, 0.05, 0.05, 0.05, 0.1, 0.05, 0.05),
}
OF_PICTURES: Mapping[str, tuple[float, ...]] = {"v3": (0, 1), "v4": (0.2, 0.8), "all": (0.2, 0.8)}


def random_mask(rng: Any, num_frames: int, height: int, width: int, kinds: str = "v4") -> np.ndarray:
    """A mask of a random kind, in which something is to be generated: (frames, 1, height, width) uint8.

    Args:
        rng: `np.random.Generator`.
        kinds: whose masks, see `SampleSettings.mask_kinds`.
    """
    shares = (OF_VIDEOS if num_frames > 1 else OF_PICTURES)[kinds]
    mask = make_mask(rng, int(rng.choice(len(shares), p=shares)), num_frames, height, width)
    return mask if mask.any() else np.ones_like(mask)  # boxes and single frames may come out empty


def make_mask(rng: Any, kind: int, num_frames: int, height: int, width: int) -> np.ndarray:
    """A mask of the kind with this number in the original; see `random_mask`."""
    mask = np.zeros((num_frames, 1, height, width), np.uint8)
    _KINDS[kind](rng, mask)
    return mask


def _box(rng: Any, mask: np.ndarray) -> None:
    rows, columns = _draw_box(rng, *mask.shape[2:])
    mask[:, :, rows, columns] = 1


def _draw_box(rng: Any, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a box whose sides are a quarter to three quarters of the frame's."""
    sides = width, height
    centres = [int(rng.integers(0, side)) for side in sides]
    sizes = [int(rng.integers(side // 4, side // 4 * 3)) for side in sides]
    columns, rows = (
        slice(max(centre - size // 2, 0), min(centre + size // 2, side))
        for centre, size, side in zip(centres, sizes, sides)
    )
    return rows, columns


def _everything(rng: Any, mask: np.ndarray) -> None:
    mask[:] = 1


def _after_the_first(rng: Any, mask: np.ndarray) -> None:
    mask[_draw_kept(rng, len(mask) - 1) :] = 1


def _between_the_ends(rng: Any, mask: np.ndarray) -> None:
    kept = _draw_kept(rng, (len(mask) - 1) // 2)
    mask[kept:-kept] = 1


def _draw_kept(rng: Any, most: int) -> int:
    return int(rng.integers(1, 1 + max(1, min(_MOST_KEPT, most))))


def _box_for_a_while(rng: Any, mask: np.ndarray) -> None:
    rows, columns = _draw_box(rng, *mask.shape[2:])
    half = len(mask) // 2
    first, end = int(rng.integers(0, half)), int(rng.integers(half, len(mask)))
    mask[first:end, :, rows, columns] = 1


def _pixels(rng: Any, mask: np.ndarray) -> None:
    mask[:] = rng.integers(0, 2, mask.shape)


def _small_boxes(rng: Any, mask: np.ndarray) -> None:
    num_frames, _, height, width = mask.shape
    count = int(rng.integers(1, max(1, num_frames // 2) + 1))
    for frame in rng.choice(num_frames, count, replace=False):
        rows, columns = (int(rng.integers(1, max(1, side // 4) + 1)) for side in (height, width))
        top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
        mask[frame, :, top : top + rows, left : left + columns] = 1


def _ellipse(rng: Any, mask: np.ndarray) -> None:
    _draw_ellipse(rng, mask, axes=2)


def _disc(rng: Any, mask: np.ndarray) -> None:
    _draw_ellipse(rng, mask, axes=1)


def _draw_ellipse(rng: Any, mask: np.ndarray, axes: int) -> None:
    height, width = mask.shape[2:]
    x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
    least, most = (max(1, min(height, width) // part) for part in (8, 4))
    radii = [int(rng.integers(least, max(most, least + 1))) for _ in range(axes)]
    rows, columns = np.mgrid[:height, :width]
    mask[:, :, ((columns - x) / radii[0]) ** 2 + ((rows - y) / radii[-1]) ** 2 < 1] = 1


def _single_frames(rng: Any, mask: np.ndarray) -> None:
    mask[rng.random(len(mask)) > 0.5] = 1


_KINDS: tuple[Callable[[Any, np.ndarray], None], ...] = (
    _box,
    _everything,
    _after_the_first,
    _between_the_ends,
    _box_for_a_while,
    _pixels,
    _small_boxes,
    _ellipse,
    _disc,
    _single_frames,
)


def shares_of_clip_frames(num_frames: int, kinds: str = "v4") -> np.ndarray:
    """How often each frame of a sample is the one that CLIP sees: (frames,) float64; the first in half of them."""
    shares = np.full(num_frames, 1 / num_frames)
    if kinds != "v3" and num_frames > 1:
        shares[:] = 0.5 / (num_frames - 1)
        shares[0] = 0.5
    return shares

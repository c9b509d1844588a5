"""Which frames of a clip a measure looks at."""

import cv2
import numpy as np

_LONGEST = 8  # the longer side, in shorter ones: a strip that is one pixel high must not fill the memory


def middles(num_frames: int, count: int) -> list[int]:
    """Indices in the middle of `count` equal parts of a clip, ascending and each once; all frames of a shorter one."""
    return sorted({int((part + 0.5) * num_frames / count) for part in range(count)})


def grey_of(frame: np.ndarray, short_side: int | None = None) -> np.ndarray:
    """The luma of a frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        short_side: pixels of the result's shorter side; the frame's own if left out.

    Returns:
        (height, width) uint8.
    """
    return np.asarray(cv2.cvtColor(resized(frame, short_side), cv2.COLOR_RGB2GRAY))


def resized(frame: np.ndarray, short_side: int | None) -> np.ndarray:
    """A frame, (H, W, 3) uint8, of a shorter side of so many pixels; fewer if the longer one had over 8 times that."""
    height, width = frame.shape[:2]
    if short_side is None or short_side == min(height, width):
        return frame
    ratio = short_side * min(1 / min(height, width), _LONGEST / max(height, width))
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    way = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, size, interpolation=way))

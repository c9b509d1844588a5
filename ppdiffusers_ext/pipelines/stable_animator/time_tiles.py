"""Windows of frames as StableAnimator denoises them, by default each with the clip's first frame at its beginning.

From Francis-Rings/StableAnimator (`animation/pipelines/inference_pipeline_animation.py`). A window of `size` frames is
frame 0, and size - 1 frames in a row; or, without that anchor, frames in a row alone. Predictions are blended with
weights that fall off to both ends.
"""

import numpy as np

from ppdiffusers_ext.errors import InputError


def time_tiles(num_frames: int, size: int, overlap: int, anchored: bool = True) -> list[list[int]]:
    """The frames of each window.

    Args:
        num_frames: of the clip.
        size: frames of a window, 2 or more.
        overlap: by how many frames less than `size` the next window begins later; less than `size`. Since the first
            frame of a window gives its place to frame 0, neighbours share one frame less than this. With 0, where the
            original leaves frames out and divides zero by zero, windows are as with 1: next to each other.
        anchored: whether the first frame of each window gives its place to frame 0, as released weights expect it.

    Returns:
        A list of lists; all frames in one window if there are no more than `size`.

    Raises:
        InputError: numbers that are not possible.
    """
    if num_frames < 1 or size < 2 or not 0 <= overlap < size:
        raise InputError(
            f"a clip of {num_frames} frames cannot be cut into tiles of {size} that overlap by {overlap}; 1 or more "
            "frames, tiles of 2 or more, and an overlap from 0 to less than a tile are accepted"
        )
    if num_frames <= size:
        return [list(range(num_frames))]
    starts = list(range(0, num_frames - size + 1, size - (max(overlap, 1) if anchored else overlap)))
    if starts[-1] + size < num_frames:
        starts.append(num_frames - size)
    return [[0 if anchored else start, *range(start + 1, start + size)] for start in starts]


def tile_weights(size: int) -> np.ndarray:
    """Weights of a window's frames: (size,) float32, highest in the middle."""
    places = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / size)
    return np.minimum(places, 2 - places)

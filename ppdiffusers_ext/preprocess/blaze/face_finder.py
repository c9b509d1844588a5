"""All faces of a frame, small ones too: the full-range detector on the whole frame and on overlapping tiles.

From BlazeFace (Bazarevsky et al. 2019, arXiv:1907.05047) as MediaPipe's `face_detection_full_range.pbtxt` has it; the
tiles are this project's.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from ppdiffusers_ext.preprocess.blaze.detector import FACES, Detection, Detector, overlap
from ppdiffusers_ext.preprocess.blaze.networks import Network
from ppdiffusers_ext.preprocess.blaze.regions import Region, whole

# Side of a tile, of the frame's longer side, and the least of a long frame, whose tiles are as high as it. The next
# one is half a tile further.
_TILE, _LEAST_TILE = 0.5, 0.25
_SAME = 0.3  # intersection over union from which two boxes are of one face
_WITHIN = 0.7  # of the smaller box in the larger one, likewise


class FaceFinder:
    """Finds the boxes of faces.

    Args:
        network: of a picture of 192 pixels, values -1 to 1.
    """

    def __init__(self, network: Network) -> None:
        self._detect = Detector(network, FACES)

    def __call__(self, frame: np.ndarray, is_thorough: bool = True) -> list[Detection]:
        """The faces in a frame, (H, W, 3) uint8, the most certain first.

        Args:
            is_thorough: look at tiles, too, where faces are found that are small in the whole.
        """
        regions = [whole(frame), *(tiles(frame) if is_thorough else [])]
        found = [face for region in regions for face in self._detect(frame, region)]
        kept: list[Detection] = []
        for face in sorted(found, key=lambda face: -face.score):
            if not any(is_same(face, other) for other in kept):
                kept.append(face)
        return kept


def tiles(frame: np.ndarray) -> list[Region]:
    """Overlapping squares that cover a frame, (H, W, 3)."""
    height, width = frame.shape[:2]
    side = max(height, width) * float(np.clip(min(height, width) / max(height, width), _LEAST_TILE, _TILE))
    centers = [_places(length, side) for length in (width, height)]
    return [Region(np.array(center), side) for center in product(*centers)]


def _places(length: float, side: float) -> list[float]:
    """Where squares of a side stand along a length, so that each covers at least half of the next one."""
    if length <= side:
        return [length / 2]
    count = int(np.ceil((length - side) / (side / 2))) + 1
    return list(np.linspace(side / 2, length - side / 2, count))


def is_same(face: Detection, other: Detection) -> bool:
    """True if two boxes are of one face: they overlap, or one, cut off by a tile's edge, lies in the other."""
    if overlap(face.box, other.box[None])[0] > _SAME:
        return True
    low, high = np.maximum(face.box[:2], other.box[:2]), np.minimum(face.box[2:], other.box[2:])
    common = np.clip(high - low, 0, None).prod()
    return bool(common > _WITHIN * min((one.box[2:] - one.box[:2]).prod() for one in (face, other)))

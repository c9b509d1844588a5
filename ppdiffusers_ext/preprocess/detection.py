"""Person detection with YOLOX: preprocessing and postprocessing around the network.

From YOLOX (Ge et al. 2021, arXiv:2107.08430; Megvii-BaseDetection/YOLOX) as DWPose uses it (`onnxdet.py`).
"""

import cv2
import numpy as np

_STRIDES = (8, 16, 32)
_GREY = 114
_CANDIDATE, _ACCEPTED = 0.1, 0.3  # scores of boxes that suppress others, and of boxes that count
_OVERLAP = 0.45  # of which the box with the lower score is left out


def letterbox(frame: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Place a frame, (H, W, 3) uint8, in the upper left of a grey picture.

    Args:
        size: (height, width) of the picture.

    Returns:
        The picture, (3, height, width) float32 with values 0 to 255, and the factor by which the frame was resized.
    """
    ratio = min(size[0] / frame.shape[0], size[1] / frame.shape[1])
    height, width = int(frame.shape[0] * ratio), int(frame.shape[1] * ratio)
    picture = np.full((*size, 3), _GREY, np.uint8)
    picture[:height, :width] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    return picture.transpose(2, 0, 1).astype(np.float32), ratio


def find_people(output: np.ndarray, ratio: float, size: tuple[int, int]) -> np.ndarray:
    """Boxes of people from the detector's output for a picture.

    Args:
        output: (anchors, 5 + classes) float32: box centre and logarithm of its sides in units of the anchor's cell,
            the score of there being an object, and that of each class; people are the first.
        ratio: what `letterbox` returned.
        size: (height, width) of the picture.

    Returns:
        (n, 4) float32 of left, top, right, bottom in pixels of the frame, the most certain first.
    """
    scores = output[:, 4] * output[:, 5]
    kept = scores > _CANDIDATE
    cells, strides = _cells(size)
    centers = ((output[kept, :2] + cells[kept]) * strides[kept]).astype(np.float32)
    sides = (np.exp(output[kept, 2:4]) * strides[kept]).astype(np.float32)
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1) / np.float32(ratio)
    boxes, scores = suppress(boxes, scores[kept], _OVERLAP)
    return boxes[scores > _ACCEPTED]


def _cells(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The cell of each anchor, (anchors, 2), and its side in pixels, (anchors, 1)."""
    cells, strides = [], []
    for stride in _STRIDES:
        rows, columns = size[0] // stride, size[1] // stride
        cells.append(np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2))
        strides.append(np.full((rows * columns, 1), stride))
    return np.concatenate(cells), np.concatenate(strides)


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float, edge: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Leave out boxes that overlap one of a higher score.

    Args:
        boxes: (n, 4) of left, top, right, bottom in pixels.
        scores: (n,).
        overlap: intersection over union above which the box with the lower score is left out.
        edge: pixels added to each side: 1 if both ends belong to a box, otherwise 0.

    Returns:
        Remaining boxes and scores, in descending order of scores.
    """
    order = scores.argsort()[::-1]
    boxes, scores = boxes[order], scores[order]
    areas = (boxes[:, 2:] - boxes[:, :2] + edge).prod(axis=1)
    rest, kept = np.arange(len(boxes)), []
    while rest.size:
        first, rest = rest[0], rest[1:]
        kept.append(first)
        start = np.maximum(boxes[first, :2], boxes[rest, :2])
        end = np.minimum(boxes[first, 2:], boxes[rest, 2:])
        common = np.maximum(0, end - start + edge).prod(axis=1)
        rest = rest[common / (areas[first] + areas[rest] - common) <= overlap]
    return boxes[kept], scores[kept]

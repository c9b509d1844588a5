"""Identity of a face: CSIM, the cosine similarity of embeddings of aligned faces.

The crop is the one that ArcFace's networks are trained on (Deng et al. 2019, arXiv:1801.07698): five points of a face
are moved onto a template of 112x112 pixels by the similarity transform of least squares (Umeyama 1991).
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np

CROP = 112  # pixels
# Left eye, right eye, tip of the nose, left and right corner of the mouth, as a viewer sees them: (x, y) in the crop.
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
# Of the 68 points of a face: eyes, tip of the nose, corners of the mouth.
_EYES, _NOSE, _MOUTH = (slice(36, 42), slice(42, 48)), 30, (48, 54)


class FaceEmbedder(Protocol):
    """A network that identifies a face.

    Attributes:
        name: as keys of reports name it, such as "mobileface".
        threshold: cosine above which two faces are of the same person.
    """

    name: str
    threshold: float

    def embed(self, crop: np.ndarray) -> np.ndarray:
        """Embedding, (n,), of an aligned face, (112, 112, 3) uint8 RGB."""


def five_points(face: np.ndarray) -> np.ndarray:
    """The (5, 2) points of `TEMPLATE` among the (68, 2) of a face."""
    return np.stack([*(face[eye].mean(axis=0) for eye in _EYES), face[_NOSE], *(face[corner] for corner in _MOUTH)])


def similarity_transform(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix of rotation, scale and translation that moves points, (n, 2), nearest to others.

    Raises ValueError for points that all are the same one.
    """
    centers = source.mean(axis=0), target.mean(axis=0)
    source, target = source - centers[0], target - centers[1]
    spread = float(np.sum(source**2))
    if not spread > 0:
        raise ValueError(f"{len(source)} points are the same one: no transform moves them onto others")
    left, values, right = np.linalg.svd(target.T @ source)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])  # no mirroring
    matrix = (left * signs) @ right * (float(np.sum(values * signs)) / spread)
    return np.concatenate([matrix, (centers[1] - matrix @ centers[0])[:, None]], axis=1)


def align_face(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The (112, 112, 3) crop of a face.

    Args:
        frame: (H, W, 3) uint8.
        points: (5, 2) in pixels of the frame, in the order of `TEMPLATE`.

    Raises:
        ValueError: see `similarity_transform`.
    """
    matrix = similarity_transform(np.asarray(points, float), TEMPLATE)
    crop: Any = cv2.warpAffine(frame, matrix, (CROP, CROP), flags=cv2.INTER_LINEAR)
    return np.asarray(crop)


def csim(embedding: np.ndarray, other: np.ndarray) -> float | None:
    """The cosine of the angle between two embeddings, -1 to 1; None if one has no direction."""
    lengths = float(np.linalg.norm(embedding) * np.linalg.norm(other))
    if not (np.isfinite(lengths) and lengths > 0):
        return None
    return float(np.clip(np.dot(embedding, other) / lengths, -1, 1))  # rounding may pass 1

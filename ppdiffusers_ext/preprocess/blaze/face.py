"""68 points of a face: detector, mesh of 468 points, and which of them stand for the 68 of iBUG.

From BlazeFace (Bazarevsky et al. 2019, arXiv:1907.05047) and the face mesh (Kartynnik et al. 2019, arXiv:1907.06724)
as MediaPipe's holistic graph uses them (`face_landmarks_from_pose_cpu.pbtxt`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppdiffusers_ext.preprocess.blaze.body import HEAD, LEFT_EYE, RIGHT_EYE, Body
from ppdiffusers_ext.preprocess.blaze.detector import Detection
from ppdiffusers_ext.preprocess.blaze.networks import Network
from ppdiffusers_ext.preprocess.blaze.regions import Region, enclosing

PRESENT = 0.5
_SIDE, _MESH = 192, 468
_FROM_BODY = 3.0
_FROM_DETECTION, _SHIFT = 2.0, -0.1
_FROM_MESH, _EYES = 1.5, (33, 263)
# The point of the mesh at each of iBUG's 68: jaw, brows, nose, eyes, outer and inner lips.
_IBUG = [
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
]
# Points of the mesh, whose mean is: nose, right eye, left eye, right ear, left ear.
_JOINTS = ((4,), (33, 133), (263, 362), (234, 127), (454, 356))


@dataclass(frozen=True, eq=False)
class Face:
    """The mesh of a face, (468, 2) in pixels of the frame, and how certain it is that there is one, 0 to 1."""

    mesh: np.ndarray
    presence: float

    @property
    def points(self) -> np.ndarray:
        """(68, 2): the points of iBUG, the subject's right ear first."""
        return self.mesh[_IBUG]

    @property
    def joints(self) -> np.ndarray:
        """(5, 2): nose, right eye, left eye, right ear, left ear."""
        return np.stack([self.mesh[list(points)].mean(axis=0) for points in _JOINTS])


class MeshNetwork:
    """Finds the mesh of a face.

    Args:
        network: of a picture of 192 pixels, values 0 to 1.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, frame: np.ndarray, region: Region) -> Face | None:
        """The `Face` in a region of a frame, (H, W, 3) uint8; None if there is none."""
        if not region.is_usable():
            return None
        mesh, presence = self._network(region.crop(frame, _SIDE))
        score = float(1 / (1 + np.exp(-np.clip(presence.reshape(-1)[0], -100, 100))))
        if score < PRESENT:
            return None
        return Face(region.to_frame(mesh.reshape(_MESH, 3)[:, :2].astype(float) / _SIDE), score)


def head_region(body: Body) -> Region:
    """Where the points of a body tell that its face is."""
    return enclosing(body.points[HEAD], body.points[RIGHT_EYE], body.points[LEFT_EYE], _FROM_BODY)


def region_from_mesh(mesh: np.ndarray) -> Region:
    """The region of a face whose mesh, (468, 2), is known."""
    return enclosing(mesh, mesh[_EYES[0]], mesh[_EYES[1]], _FROM_MESH)


def region_of(detection: Detection) -> Region:
    """The region of a detected face: around its keypoints, with the eyes level."""
    points = detection.keypoints
    return enclosing(points, points[0], points[1], _FROM_DETECTION, _SHIFT)

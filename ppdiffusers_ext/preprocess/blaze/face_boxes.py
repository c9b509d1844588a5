"""Boxes of faces with the networks that ship with the package, where antelopev2's files are not at hand."""

from __future__ import annotations

import numpy as np

from ppdiffusers_ext.preprocess.blaze.face import MeshNetwork, region_of
from ppdiffusers_ext.preprocess.blaze.face_finder import FaceFinder
from ppdiffusers_ext.preprocess.blaze.networks import Networks


class FaceBoxes:
    """Finds the faces in frames: the full-range detector proposes, the mesh refuses what is no face.

    Args:
        networks: the opened `Networks`.
    """

    def __init__(self, networks: Networks) -> None:
        self._find, self._mesh = FaceFinder(networks.face_detector), MeshNetwork(networks.face)

    def find(self, frame: np.ndarray) -> list[np.ndarray]:
        """Boxes of the faces, the largest first: each (4,) of left, top, right, bottom in pixels, around the mesh.

        Args:
            frame: (H, W, 3) uint8 RGB.
        """
        faces = [self._mesh(frame, region_of(box)) for box in self._find(frame)]
        boxes = [np.concatenate([face.mesh.min(axis=0), face.mesh.max(axis=0)]) for face in faces if face is not None]
        return sorted(boxes, key=lambda box: -float(np.prod(box[2:] - box[:2])))

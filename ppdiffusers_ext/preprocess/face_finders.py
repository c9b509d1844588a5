"""Which networks find faces for masks: antelopev2's, whose files are fetched, or those that ship with the package.

Where these see no face, RetinaFace looks, if its weights are there: Francis-Rings/StableAnimator
(`face_mask_extraction.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

AUTO, ANTELOPE, EMBEDDED = DETECTORS = ("auto", "antelopev2", "embedded")
FACES = "pretrained_weights/stable_animator"
RETINAFACE = "facexlib/detection_Resnet50_Final.pth"  # below it

# A frame, (H, W, 3) uint8 RGB, -> the boxes of its faces: left, top, right, bottom in pixels.
Find = Callable[["np.ndarray"], "Sequence | np.ndarray"]


def choose_detector(detector: str = AUTO, faces: str | os.PathLike | None = None) -> str:
    """ "antelopev2" or "embedded".

    Args:
        detector: one of these, or "auto": antelopev2 where its folder is given or its files are in the default one.
        faces: folder with the ONNX files in models/antelopev2; the default one if left out.
    """
    from ppdiffusers_ext.preprocess.faces import DETECTOR, FOLDER

    if detector != AUTO:
        return detector
    return ANTELOPE if faces or (Path(FACES) / FOLDER / DETECTOR).exists() else EMBEDDED


def find_retinaface(faces: str | os.PathLike | None = None, given: str | os.PathLike | None = None) -> Path | None:
    """The path of RetinaFace's weights: as it is given, or below the folder of faces; None if nothing is there."""
    path = Path(given or Path(faces or FACES) / RETINAFACE)
    return path if given or path.exists() else None


def describe_detector(detector: str = AUTO, faces: str | os.PathLike | None = None) -> str:
    """A line that tells a user what finds faces, and, if it was not asked for, why."""
    if choose_detector(detector, faces) == ANTELOPE:
        return "Faces: antelopev2"
    return "Faces: MediaPipe (embedded)" + (f"; antelopev2's files are not in {FACES}" if detector == AUTO else "")


def open_finder(
    detector: str = AUTO,
    faces: str | os.PathLike | None = None,
    retinaface: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> Find:
    """What finds the boxes of the faces in a frame, and RetinaFace where that sees none.

    Args:
        detector, faces: see `choose_detector`.
        retinaface: as `find_retinaface` gives it.
        device: "cpu" or "gpu".
        threads: number of CPU threads (default: the number of cores).

    Raises:
        InputError, MissingFileError: networks that cannot be used.
    """
    boxes_of = _open_detector(choose_detector(detector, faces), faces, device, threads)
    if retinaface is None:
        return boxes_of
    from ppdiffusers_ext.preprocess.retinaface import FaceFinder

    fallback = FaceFinder(retinaface)

    def find(frame: np.ndarray) -> Sequence | np.ndarray:
        boxes = boxes_of(frame)
        return boxes if len(boxes) else fallback.find(frame)

    return find


def _open_detector(name: str, faces: str | os.PathLike | None, device: str, threads: int | None) -> Find:
    if name == EMBEDDED:
        from ppdiffusers_ext.preprocess.blaze.face_boxes import FaceBoxes
        from ppdiffusers_ext.preprocess.blaze.networks import open_networks

        return FaceBoxes(open_networks(device, threads)).find
    from ppdiffusers_ext.preprocess.faces import FaceAnalyzer

    analyzer = FaceAnalyzer(faces or FACES, device, recognises=False, threads=threads)
    return lambda frame: [face.box for face in analyzer.find(frame)]

"""Face detection and face embeddings.

insightface's FaceAnalysis (deepinsight/insightface) with the networks of antelopev2, SCRFD (Guo et al. 2021,
arXiv:2105.04714) and ArcFace (Deng et al. 2019, arXiv:1801.07698), as Francis-Rings/StableAnimator uses it.
"""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ppdiffusers_ext.data.existing import check_distinct
from ppdiffusers_ext.data.frames import FrameSource, frame_name
from ppdiffusers_ext.data.images import write_image
from ppdiffusers_ext.data.outputs import check_outputs
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.files import check_all_there
from ppdiffusers_ext.preprocess.networks import session_settings

FOLDER = "models/antelopev2"  # below the folder of StableAnimator's weights
DETECTOR, RECOGNISER = "scrfd_10g_bnkps.onnx", "glintr100.onnx"
EMBEDDING = 512  # numbers
_SIZE = (640, 640)  # of pictures in which faces are looked for


@dataclass(frozen=True)
class Face:
    """A face in a frame.

    Attributes:
        box: (4,) float32 of left, top, right, bottom in pixels.
        score: confidence of the detector, 0 to 1.
        embedding: (512,) float32, whose direction identifies the person; not normalised. None if not requested.
    """

    box: np.ndarray
    score: float
    embedding: np.ndarray | None = None

    @property
    def area(self) -> float:
        """Area of the box in pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


class FaceAnalyzer:
    """Finds the faces in frames and computes their embeddings.

    Args:
        folder: in which `models/antelopev2` has the ONNX files.
        device: "cpu" or "gpu".
        channels: order in which the networks, which were trained on BGR, see the frames' colours: "rgb", as
            StableAnimator's inference and its face masks have it, or "bgr", as its training has it.
        recognises: True to compute embeddings.
        threads: number of CPU threads (default: the number of cores).

    Raises:
        MissingFileError: no such files.
        InputError: insightface or CUDA is not installed, or files that cannot be used.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        device: str = "cpu",
        channels: str = "rgb",
        recognises: bool = True,
        threads: int | None = None,
    ) -> None:
        if channels not in ("rgb", "bgr"):
            raise InputError(f"the channels {channels!r} are not known; rgb or bgr is accepted")
        self._is_bgr = channels == "bgr"
        network_files(folder, recognises)
        tasks = ["detection", "recognition"] if recognises else ["detection"]
        self._analysis = _open_analysis(Path(folder) / FOLDER, tasks, device, threads)

    def find(self, frame: np.ndarray) -> list[Face]:
        """Faces of a frame, the largest first.

        Args:
            frame: (H, W, 3) uint8 RGB.

        Returns:
            A list of `Face`, empty where there is none.
        """
        frame = frame[..., ::-1] if self._is_bgr else frame
        found = self._analysis.get(np.ascontiguousarray(frame))
        faces = [Face(face.bbox, float(face.det_score), face.embedding) for face in found]
        return sorted(faces, key=lambda face: face.area, reverse=True)

    def embed(self, frame: np.ndarray) -> np.ndarray | None:
        """Embedding of the largest face of a frame, (512,) float32, or None without a face."""
        faces = self.find(frame)
        return faces[0].embedding if faces else None


def network_files(folder: str | os.PathLike, recognises: bool = True) -> list[Path]:
    """The files of the networks that a `FaceAnalyzer` opens. Raises MissingFileError if they are not there."""
    files = [Path(folder) / FOLDER / name for name in ((DETECTOR, RECOGNISER) if recognises else (DETECTOR,))]
    check_all_there(
        [("", path) for path in files], "`python scripts/download_weights.py --only antelopev2` fetches them"
    )
    return files


def _open_analysis(folder: str | os.PathLike, tasks: list[str], device: str, threads: int | None) -> Any:
    try:
        from insightface.app import FaceAnalysis
    except ImportError as error:
        raise InputError("insightface is not installed; `pip install insightface` installs it") from error
    settings = session_settings(device, threads)
    try:
        # A folder rather than a name: where a name is not found, insightface downloads.
        analysis = FaceAnalysis(str(folder), allowed_modules=tasks, **settings)
        analysis.prepare(ctx_id=0 if device == "gpu" else -1, det_size=_SIZE)
    except Exception as error:  # ONNX, ONNX Runtime and insightface have classes of their own for each kind of damage
        raise InputError(
            f"the networks in {folder} cannot be used: {error}; those of antelopev2 are accepted"
        ) from error
    return analysis


def draw_mask(boxes: Sequence | np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Mask of filled boxes as in StableAnimator: corners are truncated to whole pixels and belong to the box.

    Args:
        boxes: list of (left, top, right, bottom) in pixels; if empty, the whole mask is white.
        size: (height, width) in pixels.

    Returns:
        (height, width) uint8 of 0 and 255.
    """
    mask = np.full(size, 0 if len(boxes) else 255, np.uint8)
    for box in boxes:
        left, top, right, bottom = (int(value) for value in box)
        cv2.rectangle(mask, (left, top), (right, bottom), (255,), thickness=cv2.FILLED)
    return mask


def mask_names(source: FrameSource) -> list[str]:
    """Names of the masks of a folder's pictures, or of a video's frames: frame_0.png and so on.

    Raises InputError where two pictures would have one mask.
    """
    pictures = source.names or [frame_name(i) for i in range(source.num_frames)]
    names = [Path(name).with_suffix(".png").name for name in pictures]
    check_distinct(dict(zip(pictures, names, strict=True)))
    return names


def write_face_masks(
    source: FrameSource,
    target: str | os.PathLike,
    find: Callable[[np.ndarray], Sequence | np.ndarray],
    wanted: Collection[str],
    progress: Callable[[range, int], Iterable[int]] | None = None,
) -> int:
    """Write masks of the faces in the pictures of a folder, or the frames of a video, into a folder.

    Without a face the whole mask is white.

    Args:
        source: of the pictures or frames.
        target: folder.
        find: function of a frame that returns the boxes of its faces.
        wanted: those of the names of `mask_names` that are to be written.
        progress: function of `(indices, count)` that returns an iterable of the indices, such as tqdm.

    Returns:
        Number of these pictures without a face.

    Raises:
        InputError, MissingFileError: what cannot be read or written.
    """
    names, target = mask_names(source), Path(target)
    missing = [i for i, name in enumerate(names) if name in wanted]
    if not missing:
        return 0
    check_outputs([target / names[missing[0]]], [source.path])
    without = 0
    frames, indices = source.read(missing[0], missing[-1] + 1), range(missing[0], missing[-1] + 1)
    for i, frame in zip(progress(indices, len(indices)) if progress else indices, frames):
        if names[i] in wanted:
            boxes = find(frame)
            without += not len(boxes)
            write_image(target / names[i], draw_mask(boxes, (frame.shape[0], frame.shape[1])))
    return without

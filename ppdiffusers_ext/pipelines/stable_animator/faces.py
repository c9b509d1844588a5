"""What an animation with StableAnimator needs of faces, from files: whose it is, where it is, how like it stays."""

import json
import logging
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle

from ppdiffusers_ext.data.frames import FrameSource
from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.data.stable_animator.face_boxes import box_of_dots, box_of_mask, read_boxes, read_mask
from ppdiffusers_ext.errors import InputError, MissingFileError, counted
from ppdiffusers_ext.models.stable_animator import IResNet
from ppdiffusers_ext.packaged import located
from ppdiffusers_ext.pipelines.stable_animator.options import RefinementConfig, check_steps
from ppdiffusers_ext.pipelines.stable_animator.refinement import FaceRefinement, embed_reference
from ppdiffusers_ext.preprocess.face_finders import EMBEDDED, open_finder
from ppdiffusers_ext.preprocess.faces import Face, FaceAnalyzer
from ppdiffusers_ext.weights.assignment import create, load_weights
from ppdiffusers_ext.weights.loading import read_checkpoint

logger = logging.getLogger(__name__)


def check_refinement(config: RefinementConfig, picture: np.ndarray, num_steps: int) -> None:
    """Raises InputError, MissingFileError for what can be told before frames are read and networks are loaded.

    Args:
        config: `RefinementConfig`.
        picture: (H, W, 3) uint8 RGB.
        num_steps: of denoising.
    """
    if not Path(located(config.recognizer)).is_file():
        raise MissingFileError(
            f"the weights of the face recogniser, {config.recognizer}, do not exist; `python scripts/"
            "download_weights.py --only StableAnimator-face_optimisation` fetches the released ones"
        )
    check_steps(config.first_step, config.end(num_steps), config.iterations, num_steps)
    if config.picture_mask is not None and _marked(config, picture) is None:
        raise InputError(f"mask {config.picture_mask} is black; white (255) where the picture's face is is needed")


def prepare_refinement(
    config: RefinementConfig,
    picture: np.ndarray,
    face: Face | None,
    skeletons: FrameSource,
    num_steps: int,
    height: int,
    width: int,
) -> FaceRefinement:
    """The `FaceRefinement`.

    Args:
        config: `RefinementConfig`.
        picture: (H, W, 3) uint8 RGB.
        face: the `Face` in it, or None.
        skeletons: a `FrameSource`.
        num_steps: of denoising.
        height, width: of the video.

    Raises:
        InputError, MissingFileError: no face in the picture or in any frame, or masks or weights that do not fit.
    """
    box = _marked(config, picture) if config.picture_mask is not None else _pixels_of(face, picture)
    if box is None:
        raise InputError(
            "the picture shows no face that could be optimised for; --picture-mask, which marks it, is accepted"
        )
    boxes = _boxes(config, skeletons, height, width)
    recognizer = load_recognizer(config.recognizer)
    reference = embed_reference(recognizer, picture, box)
    return FaceRefinement(recognizer, reference, boxes, config.first_step, config.end(num_steps), config.iterations)


def _marked(config: RefinementConfig, picture: np.ndarray) -> tuple[int, int, int, int] | None:
    return box_of_mask(read_mask(config.picture_mask, (picture.shape[0], picture.shape[1])))


def _boxes(
    config: RefinementConfig, skeletons: FrameSource, height: int, width: int
) -> list[tuple[int, int, int, int] | None]:
    if config.masks is not None:
        return read_boxes(config.masks, skeletons.num_frames, (height, width))
    boxes = [box_of_dots(skeleton, height, width) for skeleton in skeletons]
    missing = boxes.count(None)
    if missing == len(boxes):
        raise InputError(
            f"the skeletons in {skeletons.path} show no faces (dots); --masks, which says where they are, is accepted"
        )
    if missing:
        logger.warning(
            "%s of %d without a face: such frames are left as they are", counted(missing, "skeleton"), len(boxes)
        )
    return boxes


def _pixels_of(face: Face | None, picture: np.ndarray) -> tuple[int, int, int, int] | None:
    """The box of a `Face` as (top, bottom, left, right) in pixels of the picture, or None for none."""
    if face is None:
        return None
    (height, width), (left, top, right, bottom) = picture.shape[:2], (int(value) for value in face.box)
    top, bottom = max(0, top), min(height - 1, bottom)
    left, right = max(0, left), min(width - 1, right)
    return (top, bottom, left, right) if top <= bottom and left <= right else None


def load_recognizer(path: str | os.PathLike) -> IResNet:
    """The `IResNet` of a file, with as many layers as the file has, in evaluation mode.

    Raises:
        InputError, MissingFileError: no such file, or weights of another network.
    """
    network = describe_recognizer(path)
    load_weights(network, path)
    network.eval()
    return network


def describe_recognizer(path: str | os.PathLike) -> IResNet:
    """The same without its weights."""
    shapes = {name: tuple(tensor.shape) for name, tensor in read_checkpoint(path).tensors.items()}
    levels = [[name for name in shapes if re.fullmatch(rf"layer{n}\.\d+\.conv1\.weight", name)] for n in (1, 2, 3, 4)]
    options = {}  # those of the published network, if this is none at all: the mismatch is told then
    if all(levels) and "fc.bias" in shapes:
        options = {
            "layers": tuple(map(len, levels)),
            "planes": tuple(shapes[names[0]][0] for names in levels),
            "num_features": shapes["fc.bias"][0],
        }
    return create(lambda: IResNet(**options))


def find_face(folder: str | os.PathLike, picture: np.ndarray, path: object, channels: str) -> Face | None:
    """The largest `Face` of a picture, or None, with a notice of what else there is.

    Args:
        folder: in which models/antelopev2 is.
        picture: (H, W, 3) uint8 RGB.
        path: of the picture, for the notice.
        channels: see `FaceAnalyzer`.
    """
    return _largest(FaceAnalyzer(folder, _device(), channels).find(picture), path)


def find_small_face(recognizer: str | os.PathLike, picture: np.ndarray, path: object) -> Face | None:
    """As `find_face`, of a face that the detector which ships finds, and that a small recogniser embeds.

    Args:
        recognizer: file of its weights, an `IResNet`'s.
        picture, path: see `find_face`.
    """
    network, faces = load_recognizer(recognizer), []
    for box in open_finder(EMBEDDED, device=_device())(picture):
        face = Face(np.asarray(box, np.float32), 1.0)
        pixels = _pixels_of(face, picture)
        if pixels is not None:
            faces.append(replace(face, embedding=embed_reference(network, picture, pixels)[0].numpy()))
    return _largest(faces, path)


def _largest(faces: list[Face], path: object) -> Face | None:
    """The first of a picture's faces, which are sorted by their size; says what else there is."""
    if not faces:
        logger.warning("%s shows no face: the animation follows the picture alone", path)
        return None
    if len(faces) > 1:
        logger.warning("%s shows %d faces: the largest is taken", path, len(faces))
    return faces[0]


def _device() -> str:
    return "cpu" if paddle.device.get_device() == "cpu" else "gpu"


class IdentityReport:
    """How like the picture's face those in the frames are: CSIM, the cosine of their embeddings.

    The recogniser sees colours in the order that it was trained with, whatever the animation was made with.

    Args:
        folder: in which models/antelopev2 is.
        picture: (H, W, 3) uint8 RGB.
    """

    def __init__(self, folder: str | os.PathLike, picture: np.ndarray) -> None:
        self._analyzer = FaceAnalyzer(folder, _device(), channels="bgr")
        self._reference = self._analyzer.embed(picture)
        self.values: list[float | None] = []  # of each frame; None without a face in it or in the picture

    def add(self, frame: np.ndarray) -> None:
        """The next frame, (H, W, 3) uint8 RGB."""
        face, cosine = self._analyzer.embed(frame) if self._reference is not None else None, None
        if self._reference is not None and face is not None:
            lengths = np.linalg.norm(self._reference) * np.linalg.norm(face)
            cosine = float(np.dot(self._reference, face) / lengths)
        self.values.append(cosine)

    def write(self, path: str | os.PathLike) -> None:
        """Write JSON with `picture_has_face`, `csim` of each frame, their `mean_csim`, and `frames_without_face`."""
        seen = [value for value in self.values if value is not None]
        report = {
            "picture_has_face": self._reference is not None,
            "mean_csim": float(np.mean(seen)) if seen else None,
            "frames_without_face": len(self.values) - len(seen) if self._reference is not None else None,
            "csim": self.values,
        }
        with output_file(path) as temporary:
            Path(temporary).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    def __str__(self) -> str:
        if self._reference is None:
            return "no CSIM: the picture shows no face"
        seen = [value for value in self.values if value is not None]
        if not seen:
            return f"no CSIM: none of {len(self.values)} frames shows a face"
        missing = len(self.values) - len(seen)
        without = f"; {missing} of {len(self.values)} frames show no face" if missing else ""
        return f"CSIM {np.mean(seen):.3f} in the mean, {min(seen):.3f} at least{without}"

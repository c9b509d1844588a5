"""The networks that ship with the package, opened: by OpenVINO where it is installed and faster, else by ONNX Runtime.

They are MediaPipe's, in ONNX: pictures are (n, 3, height, width) float32, and so are maps among their outputs.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ppdiffusers_ext.environment import available_cores
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.preprocess.embedded import embedded_network
from ppdiffusers_ext.preprocess.networks import OnnxNetwork
from ppdiffusers_ext.weights.checksums import sha256_of

# (side, side, 3) float32 -> the outputs, each (1, ...).
Network = Callable[[np.ndarray], list[np.ndarray]]

# Those that OpenVINO runs faster than ONNX Runtime does.
_FASTER = ("person_detector", "body", "hand")


@dataclass(frozen=True)
class Networks:
    """What finds people and their parts.

    Attributes:
        person_detector: 224 pixels, -1 to 1: boxes and keypoints of people, (1, 2254, 12), and scores, (1, 2254, 1).
        body: 256 pixels, 0 to 1: 39 landmarks of 5 numbers, (1, 195); presence, (1, 1); mask of the person; heat maps,
            (1, 39, 64, 64); landmarks in space.
        hand_recrop: 256 pixels, 0 to 1: two points.
        hand: 224 pixels, 0 to 1: 21 landmarks of 3 numbers, (1, 63); presence, (1, 1); handedness; landmarks in space.
        close_face_detector: 128 pixels, -1 to 1: of faces that fill much of the picture, (1, 896, 16), (1, 896, 1).
        face_detector: 192 pixels, -1 to 1: of smaller faces, (1, 2304, 16), (1, 2304, 1).
        face: 192 pixels, 0 to 1: 468 points of 3 numbers, and presence before the sigmoid.
    """

    person_detector: Network
    body: Network
    hand_recrop: Network
    hand: Network
    close_face_detector: Network
    face_detector: Network
    face: Network


LARGE_BODY = Path("pretrained_weights/MediaPipePose/pose_landmark_heavy.onnx")
LARGE_BODY_SHA256 = "9b40f8053fa428fa81df99410670c87d547835274b16eec4563988288434f194"  # as in published/poses.yaml
_FILES = {
    "person_detector": "pose_detection",
    "body": "pose_landmark_full",
    "hand_recrop": "hand_recrop",
    "hand": "hand_landmark_full",
    "close_face_detector": "face_detection_short_range",
    "face_detector": "face_detection_full_range_sparse",
    "face": "face_landmark",
}


def network_files() -> list[Path]:
    """The files of the networks, in the order of `Networks`: of the larger network of bodies where it was fetched.

    Errors are those of `embedded_network`; InputError for a file of the larger network that is another.
    """
    files = {name: embedded_network(file) for name, file in _FILES.items()}
    if has_large_body():
        files["body"] = _checked(LARGE_BODY, LARGE_BODY.stat().st_mtime_ns)
    return [files[item.name] for item in fields(Networks)]


@functools.cache
def _checked(path: Path, changed: int) -> Path:
    """The path of the larger network, held against its SHA-256 once for each time that the file was `changed`."""
    if (found := sha256_of(path)) != LARGE_BODY_SHA256:
        raise InputError(
            f"{path} is damaged or another file: its sha256 is {found} instead of {LARGE_BODY_SHA256}; remove it, and "
            "`python scripts/download_weights.py --only MediaPipePose` fetches it again"
        )
    return path


def has_large_body() -> bool:
    """True if `python scripts/download_weights.py --only MediaPipePose` has fetched the larger network of bodies."""
    return LARGE_BODY.is_file()


def open_networks(device: str = "cpu", threads: int | None = None) -> Networks:
    """The `Networks`.

    Args:
        device: "cpu", or "gpu" for ONNX Runtime's CUDA.
        threads: number of CPU threads (default: the number of cores).

    Raises:
        MissingFileError, InputError: see `embedded_network` and `OnnxNetwork`.
    """
    has_openvino = device == "cpu" and importlib.util.find_spec("openvino") is not None
    names = [item.name for item in fields(Networks)]
    return Networks(
        **{
            name: _by_openvino(path, threads) if has_openvino and name in _FASTER else _by_onnx(path, device, threads)
            for name, path in zip(names, network_files(), strict=True)
        }
    )


def _by_onnx(path: Path, device: str, threads: int | None) -> Network:
    network = OnnxNetwork(path, device, threads)
    return lambda picture: network(_as_batch(picture))


def _by_openvino(path: Path, threads: int | None) -> Network:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads or available_cores(),
        "NUM_STREAMS": 1,
    }
    try:
        compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    except Exception as error:  # OpenVINO has RuntimeError for each kind of damage
        raise InputError(f"{path} cannot be opened as an ONNX file: {error}; a complete file is accepted") from error
    request = compiled.create_infer_request()

    def run(picture: np.ndarray) -> list[np.ndarray]:
        request.infer({0: _as_batch(picture)}, share_inputs=True)
        return [tensor.data.copy() for tensor in request.output_tensors]

    return run


def _as_batch(picture: np.ndarray) -> np.ndarray:
    """(side, side, 3) -> (1, 3, side, side)."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None])

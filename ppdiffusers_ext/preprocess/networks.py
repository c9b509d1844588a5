"""Third-party networks in ONNX files, run by ONNX Runtime."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers_ext.environment import available_cores
from ppdiffusers_ext.errors import InputError, MissingFileError, shown


def session_settings(device: str = "cpu", threads: int | None = None) -> dict[str, Any]:
    """Arguments of ONNX Runtime's `InferenceSession`. See `OnnxNetwork` for the parameters.

    Raises:
        InputError: there is no CUDA, or no such device.
    """
    import onnxruntime

    if device not in ("cpu", "gpu"):
        raise InputError(f"the device {shown(device)} of networks is not known; cpu or gpu is accepted")
    providers = ["CUDAExecutionProvider"] if device == "gpu" else ["CPUExecutionProvider"]
    if not set(providers) <= set(onnxruntime.get_available_providers()):
        raise InputError("this onnxruntime has no CUDA; device cpu, or `pip install onnxruntime-gpu`, is accepted")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.log_severity_level = 3
    # Threads that wait for work in a loop take the processor from what runs between two networks, OpenVINO among it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return {"providers": providers, "sess_options": options}


class OnnxNetwork:
    """A network with one input of pictures.

    Args:
        path: the ONNX file.
        device: "cpu", or "gpu" for ONNX Runtime's CUDA.
        threads: number of CPU threads (default: the number of cores).

    Attributes:
        size: (height, width) of the pictures in pixels.

    Raises:
        MissingFileError: no such file.
        InputError: ONNX Runtime is not installed or has no CUDA, or the file is no network of this kind.
    """

    def __init__(self, path: str | os.PathLike, device: str = "cpu", threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError("onnxruntime is not installed; `pip install onnxruntime` installs it") from error
        if not Path(path).is_file():
            raise MissingFileError(
                f"{path} does not exist; `python scripts/download_weights.py --only DWPose` fetches it"
            )
        settings = session_settings(device, threads)
        try:
            self._session = onnxruntime.InferenceSession(str(path), **settings)
        except Exception as error:  # ONNX Runtime has a class of its own for each kind of damage
            raise InputError(
                f"{path} cannot be opened as an ONNX file: {error}; a complete file is accepted"
            ) from error
        (self._input,) = self._session.get_inputs()
        batch, channels, *self.size = self._input.shape
        if channels != 3 or [side for side in self.size if not isinstance(side, int)] or len(self.size) != 2:
            raise InputError(f"{path} takes {self._input.shape}; a network of (n, 3, height, width) is accepted")
        self._batch = batch if isinstance(batch, int) else None

    def __call__(self, pictures: np.ndarray) -> list[np.ndarray]:
        """(n, 3, height, width) float32 -> the outputs, each (n, ...), in as many calls as the file's batch needs."""
        step = self._batch or len(pictures)
        calls = []
        for start in range(0, len(pictures), step):
            part = pictures[start : start + step]
            missing = step - len(part)
            padded = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
            outputs = self._session.run(None, {self._input.name: padded})
            calls.append([output[: len(part)] for output in outputs])
        return [np.concatenate(parts) for parts in zip(*calls)]

"""Device and precision: one decision, made once, that pipelines receive."""

import logging
import os
import re
from dataclasses import dataclass

import paddle

from ppdiffusers_ext.engine.bound_sessions import ENGINE, backend_on, check_gpu
from ppdiffusers_ext.environment import lacks_bf16, use_all_cores
from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.options import DTYPES

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """Where and in which precision the networks run.

    Attributes:
        device: "cpu" or "gpu:N", for `paddle.set_device`.
        dtype: "float32", "bfloat16" or "float16", of the UNets and the pose guider.
        exports_on: device of a compiled engine, "cpu" or "gpu:N"; on a GPU Paddle itself is on the CPU.
        encoder_dtype: of the VAE and the CLIP encoder. fp32 on a CPU, which has no half-precision arithmetic for them.
    """

    device: str
    dtype: str
    exports_on: str = "cpu"

    @property
    def place(self) -> str:
        """The device that computes."""
        return self.device if self.exports_on == "cpu" else self.exports_on

    @property
    def encoder_dtype(self) -> str:
        return "float32" if self.device == "cpu" else self.dtype

    @classmethod
    def choose(cls, device: str = "auto", dtype: str = "fp32", engine: str = "eager") -> "Runtime":
        """Check what the user asked for against what this machine has, and make it the current device.

        Args:
            device: "auto" (the first GPU, or else the CPU), "cpu", "gpu" or "gpu:N".
            dtype: "fp32", "bf16" or "fp16". fp16 on a CPU becomes bf16, and the log says so.
            engine: what runs the networks: "onnx" runs them on a GPU without Paddle for GPUs.

        Raises:
            InputError: an unknown name, or a GPU that is not there or that the engine cannot use.
        """
        if dtype not in DTYPES:
            raise InputError(f"dtype {shown(dtype)} is not known; use one of {', '.join(DTYPES)}")
        device = str(device)
        if engine == ENGINE and (device := _resolve(device)) != "cpu":
            check_gpu(device)
            backend_on(device, DTYPES[dtype])
            use_all_cores()
            paddle.set_device("cpu")
            return cls("cpu", DTYPES[dtype], device)
        device = check_device(device)
        if device == "cpu":
            use_all_cores()
            if dtype == "fp16":
                logger.warning("Paddle has no fp16 arithmetic on a CPU: bf16 weights are used instead of fp16")
                dtype = "bf16"
            if dtype == "bf16" and lacks_bf16():
                logger.warning(
                    "this processor has no arithmetic in bf16: networks compute in fp32, no faster than that"
                )
        paddle.set_device(device)
        return cls(device, DTYPES[dtype])


def check_device(device: str) -> str:
    """The device "cpu" or "gpu:N" of a name. Raises InputError for one that Paddle does not have."""
    resolved = _resolve(device)
    if resolved == "cpu" or device == "auto":
        return resolved
    if not paddle.is_compiled_with_cuda():
        raise InputError(
            f"device {device!r} needs a Paddle with CUDA, and this one is for CPUs; install requirements-gpu.txt, or "
            "use cpu"
        )
    gpus = _count_gpus()
    if int(resolved.partition(":")[2]) >= gpus:
        raise InputError(f"device {device!r} is not there: this machine has {gpus} GPUs; use gpu:0 or cpu")
    return resolved


def _resolve(device: str) -> str:
    """ "cpu" or "gpu:N" of a name; for auto the first GPU that Paddle has, or else the CPU."""
    if device == "auto":
        return f"gpu:{_own_gpu()}" if _count_gpus() else "cpu"
    if device == "cpu":
        return device
    found = re.fullmatch("gpu(?::([0-9]{1,4}))?", device)
    if not found:
        raise InputError(f"device {shown(device)} is not known; use auto, cpu, gpu or gpu:N")
    return f"gpu:{int(found[1] or _own_gpu())}"


def _own_gpu() -> int:
    """The GPU that Paddle's launcher gives this process; the first one where it was not launched."""
    return int(os.environ.get("FLAGS_selected_gpus", "0").split(",")[0] or 0)  # noqa: SIM112 (Paddle's name)


def _count_gpus() -> int:
    return paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0

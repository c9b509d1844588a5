"""ONNX Runtime on a GPU: exports in fp32 or fp16, whose inputs stay on the device while they are the same.

Paddle's tensors are in the host's memory, whichever Paddle is installed: only the exported functions run on the GPU.
TensorRT runs what it can where its package is installed (`pip install tensorrt-cu12`), and CUDA the rest, attention
among it (`fused_attention`).
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppdiffusers_ext.engine.backends import BACKENDS, GRAPH, Backend
from ppdiffusers_ext.errors import InputError

if TYPE_CHECKING:
    import paddle

    from ppdiffusers_ext.engine.tracing import Trace
    from ppdiffusers_ext.engine.weights_file import Stored


ENGINE = "onnx"
CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
PRECISIONS = ("float32", "float16")


def check_gpu(device: str) -> None:
    """Raise InputError if ONNX Runtime cannot run networks on a GPU of this machine.

    Args:
        device: "gpu:N".
    """
    BACKENDS[ENGINE].check_installed()
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if CUDA not in available:
        raise InputError(
            f"engine {ENGINE} on device {device!r} needs the package onnxruntime-gpu, and the ONNX Runtime "
            f"{onnxruntime.__version__} here computes with {', '.join(available)} alone; `pip install -r "
            "requirements-gpu.txt -c constraints.txt` in an environment of its own, or --device cpu, is accepted"
        )
    session = _tiny_session(_providers(device, "float32", None)[-2:])
    if CUDA not in session.get_providers():
        raise InputError(
            f"ONNX Runtime cannot start CUDA on device {device!r}; a driver, CUDA 12 and cuDNN 9, and the number of a "
            "GPU that is there, or --device cpu, are accepted"
        )


def _tiny_session(providers: list) -> Any:
    """A session of a graph that does nothing: whether a provider starts shows only then."""
    import onnx
    import onnxruntime

    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "tiny", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    _preload_libraries()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is told in one line
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)


def _preload_libraries() -> None:
    """Have CUDA and cuDNN of NVIDIA's Python packages found, which Paddle's wheels bring along."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
        onnxruntime.preload_dlls()


def backend_on(device: str, precision: str) -> Backend:
    """The `Backend` of ONNX Runtime on a device, with weights and computing in a precision.

    Args:
        device: "gpu:N", or "cpu", on which it works the same way.
        precision: one of `PRECISIONS`.

    Raises:
        InputError: another precision.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"engine {ENGINE} on device {device!r} computes in fp32 or fp16, not in {precision}; --dtype fp16, or "
            "--engine eager, is accepted"
        )
    return replace(
        BACKENDS[ENGINE],
        write=functools.partial(_write, is_half=precision == "float16"),
        fuses_attention=True,
        open=functools.partial(_open, device=device),
        precisions=PRECISIONS,
        stores=lambda precision: precision,
        device=device,
    )


def _write(trace: Trace, folder: str | Path, stored: Mapping[int, Stored], is_half: bool) -> None:
    import onnx

    from ppdiffusers_ext.engine.fused_attention import fuse_attention  # onnx comes with an extra
    from ppdiffusers_ext.engine.half_precision import to_half

    BACKENDS[ENGINE].write(trace, folder, stored)
    path = Path(folder) / GRAPH
    model = onnx.load(str(path), load_external_data=False)
    fuse_attention(model)
    if is_half:
        to_half(model)
    onnx.save(model, str(path))


def _open(folder: str | Path, threads: int, precision: str, device: str) -> BoundSession:
    import onnxruntime

    if device != "cpu":
        _preload_libraries()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    providers = _providers(device, precision, Path(folder))
    session = onnxruntime.InferenceSession(str(Path(folder) / GRAPH), options, providers=providers)
    if device != "cpu" and CUDA not in session.get_providers():
        raise InputError(f"ONNX Runtime does not open {folder} on device {device!r}; --device cpu is accepted")
    return BoundSession(session, device)


def _providers(device: str, precision: str, folder: Path | None) -> list[tuple[str, dict[str, Any]]]:
    """Names and options of providers, the first of which that can run an operation does."""
    if device == "cpu":
        return [(CPU, {})]
    index = _index(device)
    # The fastest convolution is looked for among all, and memory grows by what is asked for.
    cuda = {"device_id": index, "arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "EXHAUSTIVE"}
    providers: list[tuple[str, dict[str, Any]]] = [(CUDA, cuda), (CPU, {})]
    if folder is not None and importlib.util.find_spec("tensorrt") is not None:
        options: dict[str, Any] = {"device_id": index, "trt_fp16_enable": precision == "float16"}
        options |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(folder / "tensorrt")}
        providers.insert(0, (TENSORRT, options))
    return providers


def _index(device: str) -> int:
    found = re.fullmatch("gpu(?::([0-9]{1,4}))?", device)
    return int(found[1] or 0) if found else 0


class BoundSession:
    """An export in ONNX Runtime, whose inputs are bound on a device.

    An input that is the same tensor as in the call before, and has not been written to, is not copied there again:
    what a clip's networks see of its picture and poses is the same in all steps.

    Args:
        session: an `onnxruntime.InferenceSession`.
        device: "cpu" or "gpu:N".

    Attributes:
        providers: names of what runs it, the first of which that can run an operation does.
    """

    def __init__(self, session: Any, device: str) -> None:
        self._session, self.providers = session, session.get_providers()
        self._place = ("cpu", 0) if device == "cpu" else ("cuda", _index(device))
        self._inputs, self._outputs = (
            [value.name for value in of] for of in (session.get_inputs(), session.get_outputs())
        )
        # Name -> (the tensor, how often it was written to, the copy on the device).
        self._bound: dict[str, tuple[weakref.ref, int, Any]] = {}

    def __call__(self, arrays: Mapping[str, np.ndarray], tensors: Mapping[str, paddle.Tensor]) -> list[np.ndarray]:
        """Outputs for arrays, which are those of tensors of the same names."""
        binding = self._session.io_binding()
        for name in self._inputs:
            binding.bind_ortvalue_input(name, self._on_device(name, arrays[name], tensors[name]))
        for name in self._outputs:
            binding.bind_output(name)  # in the host's memory, where Paddle's tensors are
        self._session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()

    def rest(self) -> None:
        """Give up what is on the device of the inputs."""
        self._bound.clear()

    def _on_device(self, name: str, array: np.ndarray, tensor: paddle.Tensor) -> Any:
        import onnxruntime

        known, version, value = self._bound.get(name, (lambda: None, 0, None))
        if known() is not tensor or version != tensor.inplace_version:
            value = onnxruntime.OrtValue.ortvalue_from_numpy(array, *self._place)
            self._bound[name] = weakref.ref(tensor), tensor.inplace_version, value
        return value

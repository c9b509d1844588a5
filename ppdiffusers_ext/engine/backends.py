"""Engines for exported networks: Paddle Inference, ONNX Runtime and OpenVINO.

An engine opens the folder of an export, and is called with arrays in the order of the graph's inputs.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers_ext.engine.mapped_files import forgetting
from ppdiffusers_ext.engine.weights_file import WEIGHTS
from ppdiffusers_ext.errors import InputError

if TYPE_CHECKING:
    from ppdiffusers_ext.engine.tracing import Trace
    from ppdiffusers_ext.engine.weights_file import Stored


logger = logging.getLogger(__name__)

GRAPH, PROGRAM = "model.onnx", "model"
Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], list[np.ndarray]]


@dataclass(frozen=True)
class Backend:
    """Description of an engine.

    Attributes:
        name: in the option --engine.
        package: distribution that runs exports.
        modules: that must be importable.
        extra: of this project that installs the engine.
        write: function of `(trace, folder, stored)` that writes an export into a folder.
        open: function of `(folder, threads, precision)` that returns a function from a dict of arrays to a list of
            arrays. The latter has a method `rest` if its working memory can be freed between calls.
        weigh: function of `(folder)` that returns the bytes of weights that an export uses.
        shares_weights: True if exports refer to the shared file of weights.
        precisions: dtypes that it can compute in.
        transposes: True if it needs matrices of linear layers as (out, in), and copies others.
        fuses_attention: True if it never holds all scores of an attention in memory.
    """

    name: str
    package: str
    modules: tuple[str, ...]
    extra: str
    write: Callable
    open: Callable
    weigh: Callable
    shares_weights: bool = True
    precisions: tuple[str, ...] = ("float32",)
    transposes: bool = False
    fuses_attention: bool = False

    @property
    def missing(self) -> list[str]:
        """Required modules that are not installed."""
        return [module for module in self.modules if importlib.util.find_spec(module) is None]

    def check_installed(self) -> None:
        """Raise InputError if a required module is not installed."""
        if missing := self.missing:
            raise InputError(
                f"engine {self.name} needs {' and '.join(missing)}, not installed here; `pip install "
                f"'.[{self.extra}]' -c constraints.txt` installs what it needs, and --engine eager needs nothing"
            )

    @property
    def versions(self) -> dict[str, str]:
        """name -> version of the packages that an export depends on."""
        names = {"paddlepaddle", self.package, *(["onnx"] if "onnx" in self.modules else [])}
        return {name: importlib.metadata.version(name) for name in sorted(names)}


def _write_program(trace: Trace, folder: str | Path, stored: Mapping[int, Stored]) -> None:
    paddle.jit.save(trace.static, str(Path(folder) / PROGRAM))


def _weigh_program(folder: str | Path) -> int:
    return (Path(folder) / PROGRAM).with_suffix(".pdiparams").stat().st_size


def _open_inference(folder: str | Path, threads: int, precision: str) -> Run:
    from paddle import inference

    paths = (str((Path(folder) / PROGRAM).with_suffix(suffix)) for suffix in (".json", ".pdiparams"))
    config = inference.Config(*paths)
    config.disable_glog_info()
    config.enable_mkldnn()
    config.set_cpu_math_library_num_threads(threads)
    predictor = inference.create_predictor(config)
    names = predictor.get_input_names()

    def run(arrays: Arrays) -> list[np.ndarray]:
        for name in names:
            predictor.get_input_handle(name).copy_from_cpu(arrays[name])
        predictor.run()
        return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]

    return run


def _write_onnx(trace: Trace, folder: str | Path, stored: Mapping[int, Stored]) -> None:
    from ppdiffusers_ext.engine.onnx_graph import write_onnx  # onnx comes with an extra

    write_onnx(trace, Path(folder) / GRAPH, stored)


def _weigh_onnx(folder: str | Path) -> int:
    import onnx

    graph = onnx.load(str(Path(folder) / GRAPH), load_external_data=False).graph
    return sum(int(item.value) for x in graph.initializer for item in x.external_data if item.key == "length")


def _open_onnxruntime(folder: str | Path, threads: int, precision: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(Path(folder) / GRAPH), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda arrays: session.run(None, {name: arrays[name] for name in names})


def _open_openvino(folder: str | Path, threads: int, precision: str) -> Run:
    import openvino

    core = openvino.Core()
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        _say_that_bf16_is_missing()
        precision = "float32"
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    with forgetting(Path(folder) / WEIGHTS):
        return _OpenVinoSession(core.compile_model(str(Path(folder) / GRAPH), "CPU", options))


class _OpenVinoSession:
    def __init__(self, compiled: Any) -> None:
        self._compiled, self._request = compiled, compiled.create_infer_request()
        # An input has the names of all values that are the same, such as what it is reshaped to.
        self._names = [port.get_names() for port in compiled.inputs]

    def __call__(self, arrays: Arrays) -> list[np.ndarray]:
        of_ports = [next(array for name, array in arrays.items() if name in known) for known in self._names]
        self._request.infer(dict(enumerate(of_ports)), share_inputs=True)
        return [tensor.data.copy() for tensor in self._request.output_tensors]

    def rest(self) -> None:
        self._compiled.release_memory()


@functools.cache
def _say_that_bf16_is_missing() -> None:
    logger.warning("this processor has no arithmetic in bf16: OpenVINO computes in fp32")


_INFERENCE = Backend(
    "inference", "paddlepaddle", ("paddle",), "", _write_program, _open_inference, _weigh_program, False
)
_ONNX = Backend("onnx", "onnxruntime", ("onnx", "onnxruntime"), "onnx", _write_onnx, _open_onnxruntime, _weigh_onnx)
_OPENVINO = Backend(
    "openvino",
    "openvino",
    ("onnx", "openvino"),
    "cpu",
    _write_onnx,
    _open_openvino,
    _weigh_onnx,
    precisions=("float32", "bfloat16"),
    transposes=True,
    fuses_attention=True,
)
BACKENDS = {backend.name: backend for backend in (_INFERENCE, _ONNX, _OPENVINO)}

"""Engines for exported networks: Paddle Inference, ONNX Runtime and OpenVINO.

An engine opens the folder of an export, and is called with arrays in the order of the graph's inputs.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers_ext.engine.compilations import compile_once
from ppdiffusers_ext.engine.mapped_files import forgetting
from ppdiffusers_ext.engine.weights_file import WEIGHTS
from ppdiffusers_ext.environment import read_processor, return_freed_memory
from ppdiffusers_ext.errors import InputError

if TYPE_CHECKING:
    from ppdiffusers_ext.engine.quantising import Quantisation
    from ppdiffusers_ext.engine.tracing import Trace
    from ppdiffusers_ext.engine.weights_file import Stored


logger = logging.getLogger(__name__)

GRAPH, PROGRAM, REPRESENTATION = "model.onnx", "model", "model.xml"  # of ONNX, Paddle and OpenVINO
# Any of these has products of int8 that are faster than those of fp32.
_INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8"}
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
        weigh: function of `(folder)` that returns the bytes of weights that an export uses, counted as fp32.
        shares_weights: True if exports refer to the shared file of weights.
        precisions: dtypes that it can compute in.
        transposes: True if it needs matrices of linear layers as (out, in), and copies others.
        fuses_attention: True if it never holds all scores of an attention in memory.
        stores: function of `(precision)` that returns the dtype of the shared weights; see `write_weights`.
        device: of sessions that are called with tensors too, and keep there those that stay the same.
        channels_last: True if its convolutions keep channels innermost, see `models.channels_last`.
        quantise: function of `(folder, threads, precision, samples, report)` that makes a `Quantisation` of an export;
            None if it runs none in int8.
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
    stores: Callable[[str], str] = lambda precision: "float32"
    device: str | None = None
    channels_last: bool = False
    quantise: Callable | None = None

    @property
    def missing(self) -> list[str]:
        """Required modules that are not installed."""
        return [module for module in self.modules if importlib.util.find_spec(module) is None]

    def check_installed(self) -> None:
        """Raise InputError if a required module is not installed."""
        if missing := self.missing:
            raise InputError(
                f"engine {self.name} needs {' and '.join(missing)}, not installed here; {self.remedy} installs what "
                "it needs, and --engine eager needs nothing"
            )

    def multiplies_int8(self) -> bool:
        """True if this processor has products of int8, so that activations are worth quantising, too."""
        return bool(read_processor()[1] & _INT8_FLAGS)

    @property
    def remedy(self) -> str:
        """Command that installs what is missing."""
        return f"`pip install '.[{self.extra}]' -c constraints.txt`"

    @property
    def versions(self) -> dict[str, str]:
        """name -> version of the packages that an export depends on."""
        names = {"paddlepaddle", self.package, *(["onnx"] if "onnx" in self.modules else [])}
        return {name: _version(name) for name in sorted(names)}


def _version(package: str) -> str:
    """Version of a package, or of the one for GPUs that takes its place."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version(f"{package}-gpu")


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
    return sum(4 * math.prod(x.dims) for x in graph.initializer if x.external_data)


def _open_onnxruntime(folder: str | Path, threads: int, precision: str) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(Path(folder) / GRAPH), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda arrays: session.run(None, {name: arrays[name] for name in names})


def is_int8(folder: str | Path) -> bool:
    """True if the export in a folder is one in int8."""
    return (Path(folder) / REPRESENTATION).exists()


def _weigh_openvino(folder: str | Path) -> int:
    return (
        (Path(folder) / REPRESENTATION).with_suffix(".bin").stat().st_size if is_int8(folder) else _weigh_onnx(folder)
    )


def _open_openvino(folder: str | Path, threads: int, precision: str) -> Run:
    import openvino

    core = openvino.Core()
    hint = _precision_hint(precision)
    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    graph, weights = Path(folder) / GRAPH, Path(folder) / WEIGHTS
    if is_int8(folder):
        graph, weights = ((Path(folder) / REPRESENTATION).with_suffix(suffix) for suffix in (".xml", ".bin"))
    with forgetting(weights):
        session = _OpenVinoSession(compile_once(core, graph, weights, options))
    return_freed_memory()  # of weights as they were before they were rearranged, a sixth of them
    return session


def _precision_hint(precision: str) -> str:
    return "bf16" if _computes_in_bf16(precision) else "f32"


def _quantise_openvino(
    folder: Path, threads: int, precision: str, samples: Sequence[Arrays], report: Callable[[str], object]
) -> Quantisation:
    from ppdiffusers_ext.engine.quantising import Quantiser, split_samples

    with forgetting(folder / WEIGHTS):
        hint = _precision_hint(precision)
        quantiser = Quantiser(folder / GRAPH, threads, hint, _OPENVINO.multiplies_int8(), report)
        return quantiser.run(*split_samples(samples))


class _OpenVinoSession:
    def __init__(self, compiled: Any) -> None:
        self._compiled, self._request = compiled, compiled.create_infer_request()
        # An input has the names of all values that are the same, such as what it is reshaped to.
        self._names = [port.get_names() for port in compiled.inputs]
        self._results = [(tuple(port.shape), port.element_type.to_dtype()) for port in compiled.outputs]
        # Number of an output -> that of the input that it is.
        self._same = {
            i: number
            for i, port in enumerate(compiled.outputs)
            for number, known in enumerate(self._names)
            if known & port.get_names()
        }

    def __call__(self, arrays: Arrays) -> list[np.ndarray]:
        # Inputs are read where they are, and outputs written to what is returned. Given to `infer`, OpenVINO would
        # copy inputs that must not be written, as those of tensors are, keep them, and return copies of the outputs.
        given = [next(array for name, array in arrays.items() if name in known) for known in self._names]
        for i, array in enumerate(given):
            self._request.set_input_tensor(i, _in_place(array))
        outputs = [np.empty(shape, dtype) for shape, dtype in self._results]
        for i, array in enumerate(outputs):
            if i in self._same:  # OpenVINO 2026.4 takes the memory of such an output for that of the input
                array[...] = given[self._same[i]].reshape(array.shape)
            else:
                self._request.set_output_tensor(i, _in_place(array))
        self._request.infer(share_outputs=True)
        return outputs

    def rest(self) -> None:
        self._compiled.release_memory()


class _Writeable:
    """An array as one that may be written: OpenVINO takes no other in place, though a graph only reads its inputs."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array  # held as long as what is made of this
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def _in_place(array: np.ndarray) -> Any:
    """An `openvino.Tensor` that is an array's memory."""
    import openvino

    return openvino.Tensor(np.asarray(_Writeable(array)), shared_memory=True)


def _computes_in_bf16(precision: str) -> bool:
    import openvino

    if precision != "bfloat16":
        return False
    able = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if not able:
        _say_that_bf16_is_missing()
    return able


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
    _weigh_openvino,
    precisions=("float32", "bfloat16"),
    transposes=True,
    fuses_attention=True,
    stores=lambda precision: "bfloat16" if _computes_in_bf16(precision) else "float32",
    channels_last=True,
    quantise=_quantise_openvino,
)
BACKENDS = {backend.name: backend for backend in (_INFERENCE, _ONNX, _OPENVINO)}

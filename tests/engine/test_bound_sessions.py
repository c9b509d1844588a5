"""ONNX Runtime on a GPU, as far as a machine without one shows it: the same code on the CPU's provider."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import paddle
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from paddle import nn

from ppdiffusers_ext.engine import bound_sessions, half_precision
from ppdiffusers_ext.engine.bound_sessions import backend_on, check_gpu
from ppdiffusers_ext.engine.cache import ExportCache
from ppdiffusers_ext.engine.compiled import CompiledFunction, EngineError
from ppdiffusers_ext.engine.decibels import signal_to_noise
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.engine.weights_file import WEIGHTS
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models.layers import Conv2D, GroupNorm, LayerNorm, Linear, scaled_dot_product
from ppdiffusers_ext.pipelines.compiled_engine import CompiledEngine
from ppdiffusers_ext.runtime import Runtime

LARGE = 300.0  # whose square is beyond fp16


class Model(nn.Layer):
    """A convolution, both kinds of norms, attention, and a root of a mean of squares."""

    def __init__(self):
        super().__init__()
        paddle.seed(0)
        self.convolution, self.norm = Conv2D(4, 8, 3, padding=1), GroupNorm(2, 8, 1e-5)
        self.layer_norm, self.project = LayerNorm(8), Linear(8, 24)
        self.eval()

    def forward(self, x, y):
        z = nn.functional.silu(self.norm(self.convolution(x)))
        tokens = self.layer_norm(z.flatten(2).transpose([0, 2, 1]))
        tokens = scaled_dot_product(*self.project(tokens).chunk(3, axis=-1), num_heads=2)
        large = y * LARGE
        return tokens, large * (large.square().mean(-1, keepdim=True) + 1e-8).rsqrt()


@pytest.fixture
def make(tmp_path):
    """Call it for a compiled network on the CPU's provider and the network: `(precision)`."""

    def call(precision="float16"):
        network, cache = Model(), ExportCache(tmp_path)
        backend = backend_on("cpu", precision)
        return CompiledFunction("network", Network(network), backend, cache, 1, precision), network

    return call


def inputs():
    paddle.seed(7)
    return {"x": paddle.randn([1, 4, 4, 4]), "y": paddle.randn([2, 6])}


@paddle.no_grad()
def run(compiled, network, tensors):
    return [output.numpy() for output in compiled(lambda x, y: list(network(x, y)), tensors)]


@paddle.no_grad()
def truth(network, tensors):
    return [output.numpy() for output in network(**tensors)]


def decibels(outputs, expected):
    return [signal_to_noise(output, array) for output, array in zip(outputs, expected, strict=True)]


def test_half_precision_is_near_eager_mode_and_has_weights_of_half_the_size(make, tmp_path):
    compiled, network = make()
    tensors = inputs()
    made = [run(compiled, network, tensors), run(make()[0], network, tensors)]  # exported, and opened again
    for outputs in made:
        quality = decibels(outputs, truth(network, tensors))
        assert 45 < quality[0] < 100 and quality[1] > 45, quality
        assert all(output.dtype == np.float32 for output in outputs)
    (index,) = tmp_path.glob("weights/*-float16/weights.json")
    stored = json.loads(index.read_text())
    assert {entry["dtype"] for entry in stored.values()} == {"float16"}
    count = sum(int(np.prod(entry["shape"])) for entry in stored.values())
    assert sum(entry["length"] for entry in stored.values()) == 2 * count
    assert (index.parent / WEIGHTS).stat().st_nlink == 2  # of one export


def test_weights_that_are_stored_in_half_precision_are_not_widened_for_products(make, tmp_path):
    compiled, network = make()
    run(compiled, network, inputs())
    (path,) = tmp_path.glob("exports/*/model.onnx")
    graph = onnx.load(str(path), load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer if tensor.external_data}
    casts = {node.output[0] for node in graph.node if node.op_type == "Cast" and node.input[0] in stored}
    products = [node for node in graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    assert stored and products and not any(name in casts for node in products for name in node.input)


def test_single_precision_is_that_of_eager_mode(make):
    compiled, network = make("float32")
    tensors = inputs()
    assert min(decibels(run(compiled, network, tensors), truth(network, tensors))) > 100


@pytest.mark.parametrize("in_half", [False, True])
def test_statistics_are_in_single_precision_since_they_would_overflow(monkeypatch, in_half):
    """As the reference computes it: on a CPU, ONNX Runtime computes fp16 in fp32."""
    if in_half:
        monkeypatch.setattr(half_precision, "_STATISTICS", set())
        monkeypatch.setattr(half_precision, "_is_square", lambda node, floats: False)
    small = helper.make_tensor("small", TensorProto.FLOAT, [], [1e-8])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    steps = [("Mul", ["x", "x"], "square"), ("ReduceMean", ["square"], "mean"), ("Add", ["mean", "small"], "sum")]
    steps += [("Sqrt", ["sum"], "root"), ("Reciprocal", ["root"], "scale"), ("Mul", ["x", "scale"], "y")]
    nodes = [helper.make_node(kind, names, [result]) for kind, names, result in steps]
    graph = helper.make_graph(nodes, "graph", [x], [y], [small])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    half_precision.to_half(model)
    array = np.array([-600, 0, 300, 900], np.float32)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        (output,) = ReferenceEvaluator(model).run(None, {"x": array})
    quality = signal_to_noise(output, array / np.sqrt(np.square(array).mean()))
    assert not quality > 0 if in_half else 50 < quality < 100


def test_inputs_that_stay_the_same_are_copied_once(make, monkeypatch):
    compiled, network = make()
    tensors = inputs()
    run(compiled, network, tensors)
    copied, copy = [], onnxruntime.OrtValue.ortvalue_from_numpy
    monkeypatch.setattr(
        onnxruntime.OrtValue,
        "ortvalue_from_numpy",
        lambda array, *place: copied.append(array.shape) or copy(array, *place),
    )
    for other in ({}, {"y": paddle.ones([2, 6])}, {}):
        tensors = {**tensors, **other}
        assert min(decibels(run(compiled, network, tensors), truth(network, tensors))) > 45
    assert copied == [(2, 6)]
    tensors["x"].add_(paddle.ones([1, 4, 4, 4]))  # the same tensor with other numbers
    assert min(decibels(run(compiled, network, tensors), truth(network, tensors))) > 45
    compiled.rest()
    run(compiled, network, tensors)
    assert copied == [(2, 6), (1, 4, 4, 4), (1, 4, 4, 4), (2, 6)]


def test_numbers_of_a_graph_that_fp16_does_not_have_stay_finite():
    mask = helper.make_tensor("mask", TensorProto.FLOAT, [2], [-1e9, -np.inf])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "mask"], ["y"])], "graph", [x], [y], [mask])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    half_precision.to_half(model)
    (output,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": np.zeros(2, np.float32)})
    assert output.tolist() == [-65504, -np.inf]


def test_bf16_is_refused():
    with pytest.raises(InputError, match="engine onnx on device 'gpu:0' computes in fp32 or fp16, not in bfloat16"):
        backend_on("gpu:0", "bfloat16")


def test_runtime_for_cpus_is_refused_and_the_package_is_named():
    with pytest.raises(InputError, match="engine onnx on device 'gpu:0' needs the package onnxruntime-gpu, .* alone"):
        Runtime.choose("gpu", "fp16", "onnx")


def test_cuda_that_does_not_start_is_refused(monkeypatch):
    providers = [bound_sessions.CUDA, bound_sessions.CPU]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda model, options, providers: session(
        model, options, providers=[name for name, _ in providers if name == bound_sessions.CPU]))  # fmt: skip
    with pytest.raises(InputError, match="cannot start CUDA on device 'gpu:3'; a driver, CUDA 12 and cuDNN 9"):
        check_gpu("gpu:3")


@pytest.mark.parametrize("device, place", [("gpu", "gpu:0"), ("gpu:2", "gpu:2"), ("auto", "cpu"), ("cpu", "cpu")])
def test_networks_are_on_the_gpu_and_paddle_is_on_the_cpu(monkeypatch, device, place):
    monkeypatch.setattr("ppdiffusers_ext.runtime.check_gpu", lambda device: None)
    runtime = Runtime.choose(device, "fp32", "onnx")
    assert (runtime.device, runtime.place) == ("cpu", place)
    assert paddle.device.get_device() == "cpu"


def test_half_precision_on_the_gpu_stays_fp16(monkeypatch):
    monkeypatch.setattr("ppdiffusers_ext.runtime.check_gpu", lambda device: None)
    assert Runtime.choose("gpu", "fp16", "onnx") == Runtime("cpu", "float16", "gpu:0")
    with pytest.raises(InputError, match="not in bfloat16"):
        Runtime.choose("gpu", "bf16", "onnx")


@pytest.mark.parametrize("has_tensorrt, first", [(False, bound_sessions.CUDA), (True, bound_sessions.TENSORRT)])
def test_tensorrt_comes_first_where_it_is_installed(monkeypatch, tmp_path, has_tensorrt, first):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if has_tensorrt else None)
    names = [name for name, _ in bound_sessions._providers("gpu:1", "float16", tmp_path)]
    assert names[0] == first and names[-2:] == [bound_sessions.CUDA, bound_sessions.CPU]


def test_a_function_beyond_the_range_of_fp16_is_computed_in_fp32(tmp_path, caplog):
    def open_beyond(*arguments):
        session = half.open(*arguments)
        return lambda *given: [output * np.inf for output in session(*given)]

    single, half = (backend_on("cpu", precision) for precision in ("float32", "float16"))
    network, tensors = Model(), inputs()
    part, function = Network(network), lambda x, y: list(network(x, y))
    beyond = replace(half, open=open_beyond)
    engine = CompiledEngine(beyond, ExportCache(tmp_path), 1, "float16", single)
    with paddle.no_grad():
        for _ in range(2):
            outputs = [output.numpy() for output in engine.run(part, "run", function, tensors)]
            assert min(decibels(outputs, truth(network, tensors))) > 100
        assert caplog.text.count("dB are needed; --dtype fp32 or --engine eager is accepted; this function is") == 1
        refused = CompiledEngine(beyond, ExportCache(tmp_path), 1, "float16")
        with pytest.raises(EngineError, match="in half precision"):
            refused.run(part, "run", function, tensors)

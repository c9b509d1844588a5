"""Functions in compiled engines: the same numbers, one export for each set of shapes, and what happens when not."""

import importlib.util
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.engine import backends
from ppdiffusers_ext.engine import compiled as compiled_module
from ppdiffusers_ext.engine.backends import BACKENDS
from ppdiffusers_ext.engine.cache import ExportCache
from ppdiffusers_ext.engine.compiled import CompiledFunction, EngineError
from ppdiffusers_ext.engine.decibels import signal_to_noise
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.engine.weights_file import WEIGHTS
from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.models import layers
from ppdiffusers_ext.models.layers import Linear

ROOT = Path(__file__).resolve().parents[2]


class Model(nn.Layer):
    def __init__(self, seed=0):
        super().__init__()
        paddle.seed(seed)
        self.first, self.second = Linear(6, 8), Linear(8, 3)
        self.eval()

    def forward(self, x, y):
        return self.second(paddle.nn.functional.silu(self.first(x))) + y


@pytest.fixture
def make(tmp_path):
    """Call it for a compiled network, its function and what was done so far: `(engine, network, folder)`."""

    def call(engine="onnx", network=None, folder=tmp_path / "cache", precision="float32"):
        network = network or Model()
        backend = BACKENDS[engine] if isinstance(engine, str) else engine
        cache = ExportCache(folder)
        return CompiledFunction("network", Network(network), backend, cache, 1, precision), network

    return call


@pytest.mark.parametrize("engine", ["onnx", "openvino", "inference"])
def test_exports_that_take_too_much_memory_together_are_closed_and_opened_again(make, monkeypatch, engine):
    monkeypatch.setattr(compiled_module, "_LEAST_ROOM", 0)
    compiled, network = make(engine)
    for rows in (2, 3):
        call(compiled, network, rows)
    assert call(compiled, network, 3) == []
    assert call(compiled, network, 2) == ["open"]
    assert call(compiled, network, 2) == []
    assert call(compiled, network, 3) == ["open"]


def test_first_outputs_are_those_that_were_compared(make):
    calls = []

    def open_and_count(*arguments):
        session = BACKENDS["onnx"].open(*arguments)
        return lambda arrays: calls.append("call") or session(arrays)

    compiled, network = make(replace(BACKENDS["onnx"], open=open_and_count))
    call(compiled, network)
    assert calls == ["call"]


@pytest.mark.parametrize("engine", ["onnx", "openvino", "inference"])
def test_a_session_that_has_rested_makes_the_same(make, engine):
    compiled, network = make(engine)
    function = lambda x, y: [network(x, y)]  # noqa: E731
    with paddle.no_grad():
        (before,) = compiled(function, inputs())
        compiled.rest()
        (after,) = compiled(function, inputs())
    np.testing.assert_array_equal(before.numpy(), after.numpy())


@pytest.mark.parametrize("engine", ["onnx", "openvino", "inference"])
def test_outputs_stay_as_they_are_when_the_next_are_made(make, engine):
    compiled, network = make(engine)
    function = lambda x, y: [network(x, y)]  # noqa: E731
    with paddle.no_grad():
        (first,) = compiled(function, inputs())
        before = first.numpy().copy()
        (second,) = compiled(function, {name: x + 1 for name, x in inputs().items()})
    np.testing.assert_array_equal(first.numpy(), before)
    assert float((second - first).abs().min()) > 0


# What a function may return of its inputs and of what it computes, z: memory that engines may take for the same.
RETURNED = {
    "an input": lambda x, y, z: [z, x],
    "both inputs": lambda x, y, z: [y, z, x],
    "nothing but an input": lambda x, y, z: [x, y],
    "an input twice": lambda x, y, z: [x, z, x],
    "a result twice": lambda x, y, z: [z, z],
    "another shape of an input": lambda x, y, z: [z, x.reshape([-1])],
    "another shape of a result": lambda x, y, z: [z, z.reshape([-1])],
    "parts of an input": lambda x, y, z: [*x.split(2, axis=1), z],
    "parts of a result beside it": lambda x, y, z: [*z.split(3, axis=1), z],
    "inputs beside what they are joined to": lambda x, y, z: [paddle.concat([x, y], axis=1), x, y, z],
    "an input that is computed with in place": lambda x, y, z: [paddle.nn.functional.silu(x), z],
    "an input with one more axis": lambda x, y, z: [x.unsqueeze(0), z],
    "an input beside its other order": lambda x, y, z: [x.transpose([1, 0]), x, z],
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", RETURNED)
def test_inputs_that_are_outputs_too_stay_as_they_are(make, name, precision):
    network = Model()
    function = lambda x, y: RETURNED[name](x, y, network(x, y))  # noqa: E731
    compiled, _ = make("openvino", network, precision=precision)
    with paddle.no_grad():
        compiled(function, inputs())  # makes the export, the next opens it
        compiled, _ = make("openvino", network, precision=precision)
        for step in range(3):
            given = {key: x + step for key, x in inputs().items()}
            expected = [x.numpy().copy() for x in function(*given.values())]
            before = {key: x.numpy().copy() for key, x in given.items()}
            freed = [np.full(x.shape, 1e30, np.float32) for x in expected for _ in range(4)]
            del freed  # what an output that is not written would have
            outputs = compiled(function, given)
            for key, x in given.items():
                np.testing.assert_array_equal(x.numpy(), before[key])
            for output, array in zip(outputs, expected, strict=True):
                assert not array.size or signal_to_noise(output.numpy(), array) > 35


def test_openvino_copies_neither_inputs_nor_outputs(make, tmp_path):
    compiled, network = make("openvino")
    call(compiled, network)
    (export,) = (tmp_path / "cache" / "exports").iterdir()
    session = BACKENDS["openvino"].open(export, 1, "float32")
    arrays = {name: np.from_dlpack(x) for name, x in inputs().items()}  # which must not be written
    outputs = session(arrays)
    assert np.shares_memory(outputs[0], session._request.output_tensors[0].data)
    taken = [tensor.data for tensor in session._request.input_tensors]
    assert all(any(np.shares_memory(array, other) for other in taken) for array in arrays.values())
    for name, x in inputs().items():
        np.testing.assert_array_equal(arrays[name], x.numpy())


def test_weights_of_an_export_are_those_that_it_uses(make):
    compiled, network = make()
    with paddle.no_grad():
        compiled(lambda x, y: [network.first(x)], inputs())
    ((_, weights),) = compiled._sessions.values()
    assert weights == 4 * (6 * 8 + 8)


def inputs(rows=2):
    paddle.seed(7)
    return {"x": paddle.randn([rows, 6]), "y": paddle.randn([rows, 3])}


@paddle.no_grad()
def call(compiled, network, rows=2, **settings):
    """Outputs of the engine, and the steps that it took."""
    compiled.report.clear()
    (output,) = compiled(lambda x, y: [network(x, y)], inputs(rows), **settings)
    assert float((output - network(**inputs(rows))).abs().max()) < 1e-5
    return [what for what, _ in compiled.report]


MADE, FOUND = ["load", "export", "run eagerly", "open", "run"], ["open"]


@pytest.mark.parametrize("engine", BACKENDS)
def test_export_gives_the_same_numbers_and_is_made_once(make, engine):
    compiled, network = make(engine)
    assert call(compiled, network) == MADE
    assert call(compiled, network) == []
    assert call(*make(engine)) == FOUND


def test_other_shapes_weights_settings_and_engines_are_other_exports(make):
    compiled, network = make()
    assert call(compiled, network) == MADE
    assert call(compiled, network, rows=3) == MADE
    assert call(compiled, network, frames=2) == MADE
    assert call(*make(network=Model(seed=1))) == MADE
    assert call(*make("openvino")) == MADE
    assert call(compiled, network) == call(compiled, network, rows=3) == call(compiled, network, frames=2) == []


@pytest.mark.parametrize("is_terminal", [True, False])
def test_making_an_export_shows_how_far_it_is_in_a_terminal(make, monkeypatch, is_terminal):
    class Screen(io.StringIO):
        def isatty(self):
            return is_terminal

    monkeypatch.setattr(sys, "stderr", Screen())
    compiled, network = make()
    call(compiled, network)
    printed = sys.stderr.getvalue()
    assert ("exporting network for onnx, once for these shapes: 0 of 5 done, load" in printed) == is_terminal
    call(compiled, network)
    assert sys.stderr.getvalue() == printed


def test_another_version_of_a_package_is_another_export(make, monkeypatch):
    assert call(*make()) == MADE
    monkeypatch.setattr("ppdiffusers_ext.engine.compiled.__version__", "999")
    assert call(*make()) == MADE


def test_exports_of_one_network_share_its_weights(make, tmp_path):
    compiled, network = make()
    for rows in (1, 2, 3):
        call(compiled, network, rows)
    inodes = {path.stat().st_ino for path in tmp_path.rglob(WEIGHTS)}
    assert len(list(tmp_path.rglob(WEIGHTS))) == 4 and len(inodes) == 1


@pytest.mark.parametrize("wrong", [lambda x: x * 1.01, lambda x: x * np.nan, lambda x: x[:1]], ids="abc")
def test_export_that_disagrees_is_refused_with_the_numbers(make, tmp_path, wrong):
    backend = BACKENDS["onnx"]

    def open_wrong(*arguments):
        session = backend.open(*arguments)
        return lambda arrays: [wrong(array) for array in session(arrays)]

    compiled, network = make(replace(backend, open=open_wrong))
    with pytest.raises(EngineError, match=r"export of network for engine onnx (differs .* by|gives shapes)"):
        call(compiled, network)
    assert not list((tmp_path / "cache" / "exports").iterdir())
    assert call(*make()) == MADE


@pytest.fixture
def has_bf16():
    """Whether this processor has arithmetic in bf16."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@paddle.no_grad()
def test_half_precision_is_an_export_of_its_own_that_computes_nearly_the_same(make, has_bf16):
    assert call(*make("openvino")) == MADE
    network = Model()
    for steps in (MADE, FOUND):
        compiled, _ = make("openvino", network, precision="bfloat16")
        (output,) = compiled(lambda x, y: [network(x, y)], inputs())
        assert [what for what, _ in compiled.report] == steps
        assert output.dtype == paddle.float32
        error = float((output - network(**inputs())).abs().max())
        assert (error > 1e-5 if has_bf16 else error < 1e-5) and error < 0.05


def test_processor_without_half_precision_is_told_of_and_computes_in_fp32(make, monkeypatch, caplog):
    backends._say_that_bf16_is_missing.cache_clear()
    monkeypatch.setattr(openvino.Core, "get_property", lambda self, device, name: ["FP32"])
    call(*make("openvino", precision="bfloat16"))
    call(*make("openvino", precision="bfloat16"), rows=3)
    assert caplog.text.count("this processor has no arithmetic in bf16: OpenVINO computes in fp32") == 1


@pytest.mark.parametrize("noise, is_refused", [(0.01, False), (0.1, True), (np.nan, True)])
def test_half_precision_that_loses_too_much_is_refused_with_the_decibels(make, noise, is_refused):
    def open_noisy(*arguments):
        session = BACKENDS["openvino"].open(*arguments)
        return lambda arrays: [array * (1 + noise) for array in session(arrays)]

    compiled, network = make(replace(BACKENDS["openvino"], open=open_noisy), precision="bfloat16")
    if is_refused:
        with pytest.raises(EngineError, match=r"is (20\.\d|nan) dB from .*, and 30 dB are needed; --dtype fp32 or"):
            compiled(lambda x, y: [network(x, y)], inputs())
    else:
        compiled(lambda x, y: [network(x, y)], inputs())


def test_signal_to_noise_is_in_decibels():
    truth = np.array([3.0, -4.0])
    assert signal_to_noise(truth * 1.1, truth) == pytest.approx(20)
    assert signal_to_noise(truth, truth) == np.inf
    assert signal_to_noise(truth, truth * 0) == -np.inf


def test_matrices_are_stored_as_the_engine_wants_them(make, tmp_path):
    for engine in ("onnx", "openvino"):
        call(*make(engine))
    indices = [json.loads(path.read_text()) for path in sorted((tmp_path / "cache" / "weights").glob("*/*.json"))]
    assert [index["first.weight"]["transposed"] for index in indices] == [False, True]
    assert not any(index["first.bias"]["transposed"] for index in indices)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.unlink()], ids=["cut", "flipped", "missing"])
@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "weights.bin"])
def test_damaged_entry_is_made_again_with_a_notice(make, tmp_path, caplog, name, damage):
    call(*make())
    (entry,) = (tmp_path / "cache" / "exports").iterdir()
    damage(entry / name)
    steps = call(*make())
    if name == "manifest.json" and damage is flip and steps == FOUND:
        pytest.skip("the flipped byte is in a part of the manifest that nothing depends on")
    assert steps == MADE
    assert "is damaged" in caplog.text and "made again" in caplog.text
    assert call(*make()) == FOUND


def test_damaged_weights_are_written_again_for_the_next_export(make, tmp_path, caplog):
    compiled, network = make()
    call(compiled, network)
    (folder,) = (tmp_path / "cache" / "weights").iterdir()
    (folder / WEIGHTS).unlink()
    assert call(compiled, network, rows=5) == MADE
    assert "written again" in caplog.text


def test_two_processes_that_need_one_export_make_it_once(tmp_path):
    code = (
        "import sys, paddle\n"
        "from tests.engine.test_compiled import *\n"
        "compiled = CompiledFunction('network', Network(Model()), BACKENDS['onnx'], ExportCache(sys.argv[1]), 1)\n"
        "print(call(compiled, compiled._network.model))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = sorted(process.communicate(timeout=120)[0].strip() for process in processes)
    assert outputs == [str(MADE), str(FOUND)]


def test_cache_that_cannot_be_written_is_done_without(make, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    compiled, network = make(folder=tmp_path / "file" / "cache")
    assert call(compiled, network) == MADE
    assert "cannot be written" in caplog.text and "works without" in caplog.text
    assert call(*make(folder=tmp_path / "file" / "cache")) == MADE


@pytest.mark.parametrize("engine, extra", [("onnx", "onnx"), ("openvino", "cpu")])
def test_engine_that_is_not_installed_names_the_extra(monkeypatch, engine, extra):
    found = importlib.util.find_spec
    module = BACKENDS[engine].modules[-1]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else found(name))
    with pytest.raises(InputError, match=rf"engine {engine} needs {module}.*\.\[{extra}\].*--engine eager"):
        BACKENDS[engine].check_installed()


def test_manifest_says_what_an_export_was_made_from(make, tmp_path):
    call(*make())
    (entry,) = (tmp_path / "cache" / "exports").iterdir()
    key = json.loads((entry / "manifest.json").read_text())["key"]
    assert key["inputs"] == {"x": ["float32", 2, 6], "y": ["float32", 2, 3]}
    assert {"paddlepaddle", "ppdiffusers_ext", "onnx", "onnxruntime"} == set(key["versions"])


@pytest.mark.parametrize(("engine", "parts"), [("onnx", 4), ("inference", 4), ("openvino", 1)])
def test_engines_that_do_not_fuse_attention_compute_it_in_parts(make, monkeypatch, engine, parts):
    monkeypatch.setattr(layers, "MAX_SCORES", 2 * 3 * 8)  # of 3 of 12 queries, with 2 heads and 8 keys
    counted, attend = [], layers._attend
    monkeypatch.setattr(layers, "_attend", lambda *given: counted.append(paddle.in_dynamic_mode()) or attend(*given))
    compiled, network = make(engine)
    paddle.seed(0)
    inputs = {"x": paddle.randn([1, 12, 6]), "seen": paddle.randn([1, 8, 8])}
    (result,) = compiled(lambda x, y: [layers.scaled_dot_product(network.first(x), y, y, 2)], inputs)
    assert counted.count(False) == parts
    with paddle.no_grad():
        expected = layers.scaled_dot_product(network.first(inputs["x"]), inputs["seen"], inputs["seen"], 2)
    np.testing.assert_allclose(result.numpy(), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(("queries", "heads"), [(3, 3), (2, 2), (2, 3)])
@paddle.no_grad()
def test_attention_in_half_precision_is_right_with_as_many_queries_as_heads(make, queries, heads):
    paddle.seed(0)
    network = nn.LayerList([Linear(heads * 16, heads * 16) for _ in range(4)])
    x = paddle.randn([4, queries, heads * 16])

    def attend(x):
        return [network[3](layers.scaled_dot_product(*(network[i](x) for i in range(3)), heads))]

    compiled, _ = make("openvino", network, precision="bfloat16")
    (output,) = compiled(attend, {"x": x})
    assert signal_to_noise(output.numpy(), attend(x)[0].numpy()) > 35

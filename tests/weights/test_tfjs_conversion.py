"""Graph models of TensorFlow.js give the same numbers as ONNX, and damaged ones are refused."""

import base64
import json

import numpy as np
import onnxruntime
import pytest

from ppdiffusers_ext.weights.tfjs_conversion import TfjsError, convert_tfjs


def encoded(text):
    return {"s": base64.b64encode(text).decode()}


def write_model(arrays, nodes, sides=(6, 5, 3)):
    """(JSON, weights): the picture is "x"."""
    dims = [{"size": str(size)} for size in (-1, *sides)]
    placeholder = {"name": "x", "op": "Placeholder", "attr": {"shape": {"shape": {"dim": dims}}}}
    constants = [{"name": name, "op": "Const"} for name in arrays]
    listed = [{"name": name, "shape": list(value.shape), "dtype": value.dtype.name} for name, value in arrays.items()]
    manifest = [{"paths": ["w.bin"], "weights": listed}]
    model = {"modelTopology": {"node": [*constants, placeholder, *nodes]}, "weightsManifest": manifest}
    return json.dumps(model).encode(), b"".join(value.tobytes() for value in arrays.values())


def node(name, kind, *inputs, stride=1, padding=b"VALID"):
    strides, ones = ({"list": {"i": ["1", str(step), str(step), "1"]}} for step in (stride, 1))
    attributes = {"padding": encoded(padding), "strides": strides, "dilations": ones}
    return {"name": name, "op": kind, "input": list(inputs), "attr": attributes}


@pytest.fixture
def arrays():
    draw = np.random.default_rng(4).standard_normal
    shapes = {"dense": (1, 1, 3, 4), "depth": (3, 3, 4, 1), "slope": (4,), "matrix": (36, 5)}
    found = {name: draw(shape).astype(np.float32) for name, shape in shapes.items()}
    pads = np.array([(0, 0), (1, 1), (1, 1), (0, 0)], np.int32)
    return {**found, "pads": pads, "zero": np.array(0, np.float32), "flat": np.array([-1, 36], np.int32)}


NODES = [
    node("a", "Conv2D", "x", "dense"),
    node("p", "Pad", "a", "pads"),
    node("d", "DepthwiseConv2dNative", "p", "depth", stride=2),
    node("high", "Maximum", "zero", "d"),
    node("low", "Minimum", "zero", "d"),
    node("scaled", "Mul", "slope", "low"),
    node("sum", "AddV2", "high", "scaled"),
    node("less", "Sub", "sum", "slope"),
    node("r", "Reshape", "less", "flat"),
    node("y", "MatMul", "r", "matrix"),
]


def test_gives_what_its_definition_gives(arrays):
    pictures = np.random.default_rng(1).standard_normal((2, 6, 5, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(convert_tfjs(*write_model(arrays, NODES)))
    (found,) = session.run(None, {"x": pictures.transpose(0, 3, 1, 2)})
    padded = np.pad(pictures @ arrays["dense"][0, 0], arrays["pads"])
    values = np.zeros((2, 3, 3, 4), np.float32)
    for y in range(3):
        for x in range(3):
            window = padded[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            values[:, y, x] = np.einsum("nijc,ijc->nc", window, arrays["depth"][..., 0])
    values = np.where(values < 0, values * arrays["slope"], values) - arrays["slope"]
    np.testing.assert_allclose(found, values.reshape(2, 36) @ arrays["matrix"], rtol=1e-4, atol=1e-4)


def test_gives_the_same_bytes(arrays):
    model = write_model(arrays, NODES)
    assert convert_tfjs(*model) == convert_tfjs(*model)


def refused(model, weights, words=""):
    with pytest.raises(TfjsError, match=words):
        convert_tfjs(model, weights)


BAD = [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 9999, b'{"weightsManifest": [], "modelTopology": 1}']


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_model_is_refused(text):
    refused(text, b"")


def test_weights_that_are_cut_off_or_too_long_are_refused(arrays):
    model, weights = write_model(arrays, NODES)
    refused(model, weights[:-1], "cut off|bytes")
    refused(model, weights + b"\0", "bytes instead of")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (node("a", "Softmax", "x"), "node Softmax, which is not translated"),
        (node("a", "Conv2D", "x", "dense", padding=b"SAME"), "paddings"),
        (node("a", "Conv2D", "x", "nothing"), "fit together"),
        (node("a", "Conv2D", "x"), "fit together"),
    ],
)
def test_nodes_that_are_not_translated_are_named(arrays, change, words):
    refused(*write_model(arrays, [change, *NODES[1:]]), words)

"""TensorFlow.js's graph models as ONNX files: those of convolutions on pictures, such as face recognisers.

A model is a JSON file of nodes and a file of its weights. Their layout is TensorFlow's, and is moved as that of
TensorFlow Lite's networks is; the number of pictures stays free.
"""

from __future__ import annotations

import base64
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from ppdiffusers_ext.files import parse_json
from ppdiffusers_ext.weights.onnx_builder import Builder, finished_model

_MOVED, _BACK = (0, 3, 1, 2), (0, 2, 3, 1)
_DTYPES = {"float32": np.dtype("<f4"), "int32": np.dtype("<i4")}
_OF_TWO = {"AddV2": "Add", "Add": "Add", "Mul": "Mul", "Sub": "Sub", "Maximum": "Max", "Minimum": "Min"}


class TfjsError(ValueError):
    """A model that is damaged, or has nodes that are not translated."""


def convert_tfjs(model: bytes, weights: bytes) -> bytes:
    """The ONNX file of a graph model.

    Args:
        model: the JSON file.
        weights: the only file of weights.

    Raises:
        TfjsError: the model is damaged, or has a node that is not translated.
    """
    try:
        values = parse_json(model.decode(), "the model", "a graph model of TensorFlow.js is needed")
        constants = _constants(values["weightsManifest"], weights)
        return _Conversion(constants).convert(values["modelTopology"]["node"])
    except TfjsError:
        raise
    except Exception as error:  # of the JSON's structure, of NumPy and of ONNX: it is one sentence for the user
        raise TfjsError(f"its graph does not fit together ({' '.join(str(error).split())[:200]})") from error


def _constants(manifest: list[dict[str, Any]], data: bytes) -> dict[str, np.ndarray]:
    """Name -> values, which lie in the file one behind the other."""
    if len(manifest) != 1 or len(manifest[0]["paths"]) != 1:
        raise TfjsError("it has several files of weights; 1 is accepted")
    found, position = {}, 0
    for entry in manifest[0]["weights"]:
        dtype, shape = _DTYPES.get(entry["dtype"]), tuple(entry["shape"])
        if dtype is None or "quantization" in entry or any(side < 0 for side in shape):
            raise TfjsError(f"it has weights of type {entry['dtype']!s:.20}, which are not translated")
        length = prod(shape) * dtype.itemsize
        if position + length > len(data):
            raise TfjsError("its file of weights is cut off")
        values = np.frombuffer(data[position : position + length], dtype)
        found[entry["name"]] = values.reshape(shape).astype(dtype.newbyteorder("="))
        position += length
    if position != len(data):
        raise TfjsError(f"its file of weights has {len(data)} bytes instead of {position}")
    return found


class _Conversion:
    """The values of a graph by the names of their nodes, each with its number of dimensions."""

    def __init__(self, constants: dict[str, np.ndarray]) -> None:
        self.constants, self.builder = constants, Builder()
        self.names: dict[str, str] = {}
        self.ranks: dict[str, int] = {}
        self.width: int | None = None  # of what the last product of matrices gives

    def convert(self, nodes: list[dict[str, Any]]) -> bytes:
        nodes = [node for node in nodes if node["op"] != "Const"]
        pictures = [node for node in nodes if node["op"] == "Placeholder"]
        used = {name for node in nodes for name in node.get("input", ())}
        results = [node["name"] for node in nodes if node["name"] not in used]
        if len(pictures) != 1 or len(results) != 1:
            raise TfjsError(f"it has {len(pictures)} inputs and {len(results)} outputs; 1 and 1 are accepted")
        _, height, width, channels = (int(side["size"]) for side in pictures[0]["attr"]["shape"]["shape"]["dim"])
        for node in nodes:
            self.add(node)
        source, result = pictures[0]["name"], results[0]
        self.builder.node("Identity", self.names[result], output="output")
        if self.width is None or self.ranks[result] != 2:
            raise TfjsError("its output is no list of numbers for each picture")
        return finished_model(
            self.builder,
            [helper.make_tensor_value_info(source, TensorProto.FLOAT, ["n", channels, height, width])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", self.width])],
        )

    def add(self, node: dict[str, Any]) -> None:
        """Add a node and what it takes."""
        kind, inputs, name = node["op"], node.get("input", []), node["name"]
        if kind == "Placeholder":
            self.names[name], self.ranks[name] = name, 4
            return
        if kind in _OF_TWO:
            rank = max(self.ranks.get(value, 0) for value in inputs)
            operands = [self.operand(value, rank) for value in inputs]
            result = self.builder.node(_OF_TWO[kind], *operands)
        elif kind in ("Conv2D", "DepthwiseConv2dNative"):
            rank, result = 4, self.convolution(node, inputs, is_depthwise=kind != "Conv2D")
        elif kind == "Pad":
            pads = self.constants[inputs[1]][list(_MOVED)]
            ends = self.builder.integers(*(int(number) for number in pads.T.ravel()))
            rank, result = 4, self.builder.node("Pad", self.names[inputs[0]], ends)
        elif kind == "Reshape":
            shape = self.constants[inputs[1]].tolist()
            rank, source = len(shape), self.names[inputs[0]]
            if rank == 4:
                raise TfjsError("it makes a picture of a list, which is not translated")
            if self.ranks[inputs[0]] == 4:
                source = self.builder.node("Transpose", source, perm=list(_BACK))
            result = self.builder.node("Reshape", source, self.builder.integers(*shape))
        elif kind == "MatMul" and not any(_attribute(node, f"transpose_{side}", "b", False) for side in "ab"):
            weights = self.constants[inputs[1]]
            rank, self.width = 2, weights.shape[1]
            result = self.builder.node("MatMul", self.names[inputs[0]], self.builder.constant(weights))
        else:
            raise TfjsError(f"it has node {kind!s:.40}, which is not translated")
        self.names[name], self.ranks[name] = result, rank

    def operand(self, name: str, rank: int) -> str:
        """A value that is broadcast to `rank` dimensions."""
        if name in self.names:
            return self.names[name]
        values = self.constants[name]
        if rank == 4:
            values = values.reshape((1,) * (4 - values.ndim) + values.shape).transpose(_MOVED)
        return self.builder.constant(values)

    def convolution(self, node: dict[str, Any], inputs: list[str], is_depthwise: bool) -> str:
        weights, groups = self.constants[inputs[1]], 1  # (height, width, in, out)
        padding = base64.b64decode(_attribute(node, "padding", "s", ""), validate=True)
        strides = [int(stride) for stride in node["attr"]["strides"]["list"]["i"]]
        dilations = [int(step) for step in node["attr"]["dilations"]["list"]["i"]]
        if padding != b"VALID" or len(strides) != 4 or dilations != [1, 1, 1, 1]:
            raise TfjsError("it has a convolution with paddings or steps that are not translated")
        if is_depthwise:  # (height, width, channels, results of each)
            groups = weights.shape[2]
            weights = weights.reshape(*weights.shape[:2], 1, -1)
        moved = self.builder.constant(weights.transpose(3, 2, 0, 1))
        return self.builder.node("Conv", self.names[inputs[0]], moved, strides=strides[1:3], group=groups)


def _attribute(node: dict[str, Any], name: str, kind: str, default: Any) -> Any:
    return node.get("attr", {}).get(name, {}).get(kind, default)

"""Export of a traced computation to an ONNX graph with external weights.

Paddle's own exporter (paddle2onnx 2.1) writes wrong epsilons into group norms and fails above 2 GB. The networks here
use only two dozen operations on fixed shapes, so each operation is translated by one function.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import paddle
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from ppdiffusers_ext.engine.tracing import Trace
    from ppdiffusers_ext.engine.weights_file import Stored


OPSET = 20
_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "bool": TensorProto.BOOL,
}


class UnsupportedOperation(ValueError):
    """Operation without a translation to ONNX."""


def write_onnx(trace: Trace, path: str | os.PathLike, stored: Mapping[int, Stored]) -> None:
    """Write a trace as ONNX with external weights.

    Args:
        trace: a `Trace`.
        path: the file to write.
        stored: id of a tensor -> `Stored`, where it lies in the file of weights. Other tensors go into the graph.

    Raises:
        UnsupportedOperation: the trace has an operation without a translation.
    """
    graph = _Graph(trace, stored)
    for operation in _needed(trace):
        graph.add(operation)
    outputs = [_describe(value, graph.name(value)) for value in trace.outputs]
    inputs = [_describe(value, graph.names[value.id]) for value in graph.inputs]
    proto = helper.make_graph(graph.nodes, "network", inputs, outputs, [*graph.constants, *graph.weights])
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.save(model, str(path))


def _needed(trace: Trace) -> Iterator[Any]:
    """The operations that the outputs depend on, and all inputs."""
    needed, operations = {value.id for value in trace.outputs}, []
    for operation in reversed(trace.operations):
        if operation.name() == "pd_op.data" or any(value.id in needed for value in operation.results()):
            needed.update(value.id for value in operation.operands_source() if value.initialized())
            operations.append(operation)
    return reversed(operations)


def _describe(value: Any, name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[_dtype(value)], list(value.shape))


def _dtype(value: Any) -> str:
    return str(paddle.pir.core.datatype_to_vartype[value.dtype]).rsplit(".", 1)[-1].lower().replace("fp", "float")


def _pads(attributes: dict[str, Any], what: str) -> list[int]:
    """Padding as ONNX has it: before all axes, then after them."""
    pads, axes = list(attributes["paddings"]), len(attributes["strides"])
    if attributes["padding_algorithm"] != "EXPLICIT" or attributes["data_format"] not in ("NCHW", "NCDHW"):
        raise UnsupportedOperation(f"{what} with another padding or layout has no translation to ONNX")
    return pads * 2 if len(pads) == axes else [*pads[::2], *pads[1::2]]


class _Graph:
    """Nodes and constants as they accumulate; values of the program are known by their ids."""

    def __init__(self, trace: Trace, stored: Mapping[int, Stored]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.inputs: list[Any] = []  # values
        self.weights: list[TensorProto] = []
        self.names: dict[int, str] = {}  # id of a value -> name in the graph
        self.known: dict[int, np.ndarray] = {}  # id of a value -> array that is known now
        self.lists: dict[int, Sequence[Any]] = {}  # id of a value that is a list -> values
        self._parameters: dict[int, paddle.Tensor] = {}  # id of a value -> the tensor, until something uses it
        self._trace, self._stored = trace, stored

    def add(self, operation: Any) -> None:
        name = operation.name().removeprefix("pd_op.").removeprefix("builtin.")
        translate = getattr(self, f"_{name}", None)
        if translate is None:
            raise UnsupportedOperation(f"Paddle's operation {operation.name()} has no translation to ONNX")
        translate(operation, operation.operands_source(), operation.attrs())

    def name(self, value: Any) -> str:
        """Name of a value in the graph; a value that is known at export becomes a constant."""
        if value.id not in self.names:
            tensor = self._parameters.get(value.id)
            self.names[value.id] = self._constant(self.known[value.id]) if tensor is None else self._weight(tensor)
        return self.names[value.id]

    def _weight(self, tensor: paddle.Tensor) -> str:
        if id(tensor) not in self._stored:
            return self._constant(tensor.numpy())
        stored, name = self._stored[id(tensor)], f"w{len(self.weights)}"
        dims = stored.shape[::-1] if stored.transposed else stored.shape
        proto = TensorProto(name=name, data_type=_TYPES[stored.dtype], dims=dims)
        proto.data_location = TensorProto.EXTERNAL
        where = {"location": stored.file, "offset": stored.offset, "length": stored.length}
        for key, value in where.items():
            proto.external_data.add(key=key, value=str(value))
        self.weights.append(proto)
        if stored.dtype != str(tensor.dtype).removeprefix("paddle."):  # stored narrow, and computed with as it was
            name = self._node("Cast", [name], to=_TYPES[str(tensor.dtype).removeprefix("paddle.")])
        return self._node("Transpose", [name], perm=[1, 0]) if stored.transposed else name

    def _constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _node(
        self,
        kind: str,
        inputs: Sequence[str],
        result: Any = None,
        outputs: Sequence[str] | None = None,
        **attributes: Any,
    ) -> str:
        """A node; its output has a new name, which a `result` of the program is known by from now on."""
        outputs = outputs or [f"v{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        if result is not None:
            self.names[result.id] = outputs[0]
        return outputs[0]

    def _simple(self, kind: str, operation: Any, operands: Sequence[Any], **attributes: Any) -> None:
        self._node(kind, [self.name(value) for value in operands], operation.results()[0], **attributes)

    def _shape(self, x: str, shape: Sequence[int]) -> str:
        return self._node("Reshape", [x, self._constant(np.array(shape, np.int64))])

    def _parameter(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._parameters[operation.results()[0].id] = self._trace.parameters[attributes["parameter_name"]]

    def _data(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self.names[operation.results()[0].id] = attributes["name"]
        self.inputs.append(operation.results()[0])

    def _full_int_array(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self.known[operation.results()[0].id] = np.array(attributes["value"], np.int64)

    def _full(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        value = operation.results()[0]
        self.known[value.id] = np.full(attributes["shape"], attributes["value"], _dtype(value))

    def _full_like(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        value = operation.results()[0]
        self.known[value.id] = np.full(value.shape, self.known[operands[1].id].item(), _dtype(value))

    def _assign_value_(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        value = operation.results()[0]
        self.known[value.id] = np.array(attributes["values"], _dtype(value)).reshape(attributes["shape"])

    def _arange(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        start, end, step = (self.known[value.id].item() for value in operands)
        self.known[operation.results()[0].id] = np.arange(start, end, step, _dtype(operation.results()[0]))

    def _combine(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self.lists[operation.results()[0].id] = operands

    def _concat(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        axis = int(self.known[operands[1].id].item())
        self._simple("Concat", operation, self.lists[operands[0].id], axis=axis)

    def _stack(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        result, axis = operation.results()[0], attributes["axis"] % len(operation.results()[0].shape)
        shape = [1 if i == axis else n for i, n in enumerate(result.shape)]
        parts = [self._shape(self.name(value), shape) for value in self.lists[operands[0].id]]
        self._node("Concat", parts, result, axis=axis)

    def _split_with_num(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        axis, count = int(self.known[operands[1].id].item()), attributes["num"]
        outputs = [f"v{len(self.nodes)}_{i}" for i in range(count)]
        self._node("Split", [self.name(operands[0])], outputs=outputs, axis=axis, num_outputs=count)
        self.lists[operation.results()[0].id] = outputs

    def _split(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        for result, name in zip(operation.results(), self.lists[operands[0].id]):
            self.names[result.id] = name

    def _reshaped(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        result = operation.results()[0]
        self.names[result.id] = self._shape(self.name(operands[0]), result.shape)

    _reshape = _flatten = _unsqueeze = _squeeze = _reshaped

    def _expand(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        result = operation.results()[0]
        shape = self._constant(np.array(result.shape, np.int64))
        self._node("Expand", [self.name(operands[0]), shape], result)

    _expand_as = _expand

    def _tile(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        x, result = operands[0], operation.results()[0]
        shape = [1] * (len(result.shape) - len(x.shape)) + list(x.shape)
        repeats = np.array([size // before for size, before in zip(result.shape, shape)], np.int64)
        self._node("Tile", [self._shape(self.name(x), shape), self._constant(repeats)], result)

    def _transpose(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Transpose", operation, operands, perm=attributes["perm"])

    def _slice(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        starts, ends = (self._constant(self.known[value.id]) for value in operands[1:3])
        axes = self._constant(np.array(attributes["axes"], np.int64))
        part = self._node("Slice", [self.name(operands[0]), starts, ends, axes])
        result = operation.results()[0]
        self.names[result.id] = self._shape(part, result.shape) if attributes["decrease_axis"] else part

    def _cast(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Cast", operation, operands, to=_TYPES[_dtype(operation.results()[0])])

    def _add(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Add", operation, operands)

    def _subtract(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Sub", operation, operands)

    def _multiply(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Mul", operation, operands)

    def _divide(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Div", operation, operands)

    def _scale(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        result, dtype = operation.results()[0], _dtype(operation.results()[0])
        factor = self._constant(self.known[operands[1].id].astype(dtype).reshape([]))
        x, bias = self.name(operands[0]), attributes["bias"]
        if not bias:
            self._node("Mul", [x, factor], result)
            return
        bias = self._constant(np.array(bias, dtype))
        first, second = (("Mul", factor), ("Add", bias)) if attributes["bias_after_scale"] else (
            ("Add", bias), ("Mul", factor))  # fmt: skip
        self._node(second[0], [self._node(first[0], [x, first[1]]), second[1]], result)

    def _matmul(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        names = []
        for value, flip in zip(operands, (attributes["transpose_x"], attributes["transpose_y"])):
            order = list(range(len(value.shape)))
            flipped = [*order[:-2], order[-1], order[-2]]
            name = self.name(value)
            names.append(self._node("Transpose", [name], perm=flipped) if flip else name)
        self._node("MatMul", names, operation.results()[0])

    def _softmax(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Softmax", operation, operands, axis=attributes["axis"])

    def _relu(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Relu", operation, operands)

    def _silu(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        x = self.name(operands[0])
        self._node("Mul", [x, self._node("Sigmoid", [x])], operation.results()[0])

    def _sigmoid(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Sigmoid", operation, operands)

    def _exp(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Exp", operation, operands)

    def _sin(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Sin", operation, operands)

    def _cos(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Cos", operation, operands)

    def _sqrt(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Sqrt", operation, operands)

    def _rsqrt(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._node("Reciprocal", [self._node("Sqrt", [self.name(operands[0])])], operation.results()[0])

    def _where(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Where", operation, operands)

    def _square(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Mul", operation, [operands[0], operands[0]])

    def _mean(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._reduce("ReduceMean", operation, operands, attributes["keepdim"])

    def _sum(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._reduce("ReduceSum", operation, operands, attributes["keepdim"])

    def _reduce(self, kind: str, operation: Any, operands: Sequence[Any], keeps: bool) -> None:
        inputs, axes = [self.name(operands[0])], self.known[operands[1].id]
        if len(axes):  # else over all
            inputs.append(self._constant(np.array(axes, np.int64)))
        self._node(kind, inputs, operation.results()[0], keepdims=int(keeps))

    def _embedding(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._node("Gather", [self.name(operands[1]), self.name(operands[0])], operation.results()[0], axis=0)

    def _gelu(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        self._simple("Gelu", operation, operands, approximate="tanh" if attributes["approximate"] else "none")

    def _conv2d(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        strides, dilations, groups = (list(attributes["strides"]), list(attributes["dilations"]), attributes["groups"])
        pads = _pads(attributes, "a convolution")
        self._simple("Conv", operation, operands, strides=strides, dilations=dilations, group=groups, pads=pads)

    _conv3d = _conv2d

    def _pool2d(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        if attributes["ceil_mode"] or attributes["adaptive"] or attributes["global_pooling"]:
            raise UnsupportedOperation("a pool of another kind has no translation to ONNX")
        kernel = attributes["kernel_size"] if "kernel_size" in attributes else self.known[operands[1].id]
        options = {"kernel_shape": [int(n) for n in kernel], "strides": list(attributes["strides"])}
        options["pads"] = _pads(attributes, "a pool")
        if attributes["pooling_type"] == "max":
            self._simple("MaxPool", operation, operands[:1], **options)
        else:
            counted = int(not attributes["exclusive"])
            self._simple("AveragePool", operation, operands[:1], count_include_pad=counted, **options)

    _pool3d = _pool2d

    def _batch_norm_(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        x, mean, variance, weight, bias = operands
        self._simple("BatchNormalization", operation, [x, weight, bias, mean, variance], epsilon=attributes["epsilon"])

    def _pad3d(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        left, right, top, bottom, front, back = (int(n) for n in self.known[operands[1].id])
        if attributes["mode"] != "constant" or front or back:
            raise UnsupportedOperation("padding of another mode has no translation to ONNX")
        pads = self._constant(np.array([0, 0, 0, top, left, 0, 0, 0, bottom, right], np.int64))
        value = self._constant(np.array(attributes["pad_value"], _dtype(operands[0])))
        self._node("Pad", [self.name(operands[0]), pads, value], operation.results()[0])

    def _layer_norm(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        axis, epsilon = attributes["begin_norm_axis"], attributes["epsilon"]
        size = operands[0].shape[axis:]
        names = [self.name(operands[0])]
        names.append(self._optional(operands, 1, lambda: np.ones(size, _dtype(operands[0]))))
        names.append(self._optional(operands, 2, lambda: np.zeros(size, _dtype(operands[0]))))
        self._node("LayerNormalization", names, operation.results()[0], axis=axis, epsilon=epsilon)

    def _optional(self, operands: Sequence[Any], i: int, default: Callable[[], np.ndarray]) -> str:
        given = len(operands) > i and operands[i].initialized()
        return self.name(operands[i]) if given else self._constant(default())

    def _group_norm(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        # As instance norm of groups: every engine has a fast one, and group norm itself only from newer opsets on.
        x, result = operands[0], operation.results()[0]
        groups, channels, dtype = attributes["groups"], x.shape[1], _dtype(x)
        plane = [channels] + [1] * (len(x.shape) - 2)
        folded = self._shape(self.name(x), [x.shape[0], groups, -1])
        ones, zeros = (self._constant(make(groups, dtype)) for make in (np.ones, np.zeros))
        normed = self._node("InstanceNormalization", [folded, ones, zeros], epsilon=attributes["epsilon"])
        normed = self._shape(normed, x.shape)
        weight, bias = (self._shape(self.name(operands[i]), plane) for i in (1, 2))
        self._node("Add", [self._node("Mul", [normed, weight]), bias], result)

    def _nearest_interp(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        place = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        self._resize(operation, operands, attributes, mode="nearest", **place)

    def _bicubic_interp(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any]) -> None:
        place = {"coordinate_transformation_mode": "half_pixel", "cubic_coeff_a": -0.75}
        self._resize(operation, operands, attributes, mode="cubic", **place)

    def _resize(self, operation: Any, operands: Sequence[Any], attributes: dict[str, Any], **ways: Any) -> None:
        result = operation.results()[0]
        if attributes["align_corners"] or attributes["data_format"] not in ("NCHW", "NCDHW"):
            raise UnsupportedOperation("this way of resizing has no translation to ONNX")
        sizes = self._constant(np.array(result.shape, np.int64))
        self._node("Resize", [self.name(operands[0]), "", "", sizes], result, **ways)

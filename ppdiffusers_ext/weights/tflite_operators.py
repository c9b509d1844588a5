"""TensorFlow Lite's operators as ONNX nodes, one function each.

Fields of options are those of tensorflow/lite/schema/schema.fbs. Sizes of paddings are those of TensorFlow's SAME:
the larger half at the end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ppdiffusers_ext.weights.onnx_builder import Builder
from ppdiffusers_ext.weights.tflite_file import Network, Operator, Tensor, TfliteError

MOVED = (0, 3, 1, 2)  # (n, height, width, channels) -> (n, channels, height, width)
BACK = (0, 2, 3, 1)
_SAME = 0
_ACTIVATIONS = {1: "Relu", 4: "Tanh"}
_RELU6 = 3


def moved_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape in ONNX of a shape in TensorFlow Lite."""
    return tuple(shape[axis] for axis in MOVED) if len(shape) == 4 else tuple(shape)


class Graph:
    """The values of a network by the index of their tensor.

    Args:
        network: as `read_tflite` gives it.
        builder: takes the nodes.
    """

    def __init__(self, network: Network, builder: Builder) -> None:
        self.network, self.builder = network, builder
        self._names: dict[int, str] = {}
        self._known: dict[int, np.ndarray] = {}
        for index in (*network.inputs, *network.outputs):
            self._names[index] = network.tensors[index].name
        if len(set(self._names.values())) != len(self._names) or not all(self._names.values()):
            raise TfliteError("its inputs and outputs have no names of their own")

    def tensor(self, operator: Operator, position: int) -> Tensor:
        """The tensor of an input."""
        return self.network.tensors[self.index(operator, position)]

    def index(self, operator: Operator, position: int) -> int:
        """The index of an input. Raises TfliteError where it is left out."""
        if position >= len(operator.inputs) or operator.inputs[position] < 0:
            raise TfliteError(f"operator {operator.code!r} lacks an input")
        return operator.inputs[position]

    def has(self, operator: Operator, position: int) -> bool:
        """True if an input is not left out."""
        return position < len(operator.inputs) and operator.inputs[position] >= 0

    def output(self, operator: Operator) -> Tensor:
        """The tensor of the only output."""
        if len(operator.outputs) != 1:
            raise TfliteError(f"operator {operator.code!r} has {len(operator.outputs)} outputs instead of 1")
        return self.network.tensors[operator.outputs[0]]

    def values(self, operator: Operator, position: int) -> np.ndarray:
        """The values of an input that is a constant, as TensorFlow Lite has them."""
        index = self.index(operator, position)
        values = self._known.get(index, self.network.tensors[index].values)
        if values is None:
            raise TfliteError(f"operator {operator.code!r} has a computed value where a constant is needed")
        return values

    def know(self, operator: Operator, values: np.ndarray) -> None:
        """Have the output be a constant."""
        self.output(operator)
        self._known[operator.outputs[0]] = values

    def name(self, index: int) -> str:
        """The name in ONNX of a tensor, whose constant is moved as pictures are."""
        if index not in self._names:
            values = self._known.get(index, self.network.tensors[index].values)
            if values is None:
                raise TfliteError("an operator takes a value that is computed by none before it")
            self._names[index] = self.builder.constant(values.transpose(MOVED) if values.ndim == 4 else values)
        return self._names[index]

    def input(self, operator: Operator, position: int) -> str:
        """The name of an input."""
        return self.name(self.index(operator, position))

    def operand(self, operator: Operator, position: int) -> str:
        """The name of an input that is broadcast to the output."""
        index, rank = self.index(operator, position), len(self.output(operator).shape)
        tensor = self.network.tensors[index]
        if rank != 4 or len(tensor.shape) == 4:
            return self.name(index)
        values = self.values(operator, position)
        return self.builder.constant(values.reshape((1,) * (4 - values.ndim) + values.shape).transpose(MOVED))

    def finish(self, operator: Operator, name: str, activation: int = 0) -> None:
        """Give the result of an operator, after its activation, the name of the output."""
        if activation == _RELU6:
            bounds = (self.builder.constant(np.asarray(bound, np.float32)) for bound in (0, 6))
            name = self.builder.node("Clip", name, *bounds)
        elif activation:
            if activation not in _ACTIVATIONS:
                raise TfliteError(f"activation {activation} is not translated")
            name = self.builder.node(_ACTIVATIONS[activation], name)
        self.output(operator)
        index = operator.outputs[0]
        if index in self._names:  # an output of the network, whose name is given
            self.builder.node("Identity", name, output=self._names[index])
        else:
            self._names[index] = name


def _pads(size: int, kernel: int, stride: int, dilation: int, result: int) -> tuple[int, int]:
    """SAME padding before and after a side of `size`."""
    missing = max((result - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return missing // 2, missing - missing // 2


def _window(
    shape: Sequence[int],
    kernel: Sequence[int],
    padding: int,
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> dict[str, Any]:
    """Attributes of a window that goes over a picture of `shape` (n, height, width, channels)."""
    if len(shape) != 4 or min(*strides, *dilations, *kernel) < 1:
        raise TfliteError("a window over what is no picture, or without a size or a stride")
    pads = [(0, 0), (0, 0)]
    if padding == _SAME:
        pads = [
            _pads(size, side, stride, dilation, -(-size // stride))
            for size, side, stride, dilation in zip(shape[1:3], kernel, strides, dilations)
        ]
    (top, bottom), (left, right) = pads
    return {"kernel_shape": list(kernel), "strides": list(strides), "pads": [top, left, bottom, right]}


def _convolution(graph: Graph, operator: Operator) -> None:
    options, weights = operator.options, graph.values(operator, 1)  # (out, height, width, in)
    _add_convolution(graph, operator, weights.transpose(0, 3, 1, 2), options.scalar(3, "b"), (4, 5), 1)


def _depthwise(graph: Graph, operator: Operator) -> None:
    options, weights = operator.options, graph.values(operator, 1)  # (1, height, width, out)
    groups = graph.tensor(operator, 0).shape[-1]
    _add_convolution(graph, operator, weights.transpose(3, 0, 1, 2), options.scalar(4, "b"), (5, 6), groups)


def _add_convolution(
    graph: Graph, operator: Operator, weights: np.ndarray, activation: int, dilations: tuple[int, int], groups: int
) -> None:
    """Add a convolution. `dilations`: fields of the horizontal and the vertical one."""
    options = operator.options
    strides = options.scalar(2), options.scalar(1)
    steps = options.scalar(dilations[1], default=1), options.scalar(dilations[0], default=1)
    shape = graph.tensor(operator, 0).shape
    window = _window(shape, weights.shape[2:], options.scalar(0, "b"), strides, steps)
    inputs = [graph.input(operator, 0), graph.builder.constant(weights)]
    if graph.has(operator, 2):
        inputs.append(graph.builder.constant(graph.values(operator, 2)))
    result = graph.builder.node("Conv", *inputs, **window, dilations=list(steps), group=groups)
    graph.finish(operator, result, activation)


def _transposed_convolution(graph: Graph, operator: Operator) -> None:
    options = operator.options  # inputs: the output's shape, weights (out, height, width, in), picture, bias
    strides, padding = (options.scalar(2), options.scalar(1)), options.scalar(0, "b")
    _add_transposed(graph, operator, (2, 1, 3), padding, strides, options.scalar(3, "b"))


def _transposed_convolution_with_bias(graph: Graph, operator: Operator) -> None:
    """MediaPipe's own operator; inputs: picture, weights, bias. Its options are a structure of C."""
    if len(operator.custom_options) < 12:
        raise TfliteError("a transposed convolution without its options")
    kind, width, height = struct.unpack_from("<3i", operator.custom_options)
    _add_transposed(graph, operator, (0, 1, 2), _SAME if kind == 1 else 1, (height, width), 0)


def _add_transposed(
    graph: Graph, operator: Operator, inputs: tuple[int, ...], padding: int, strides: tuple[int, int], activation: int
) -> None:
    """Add a transposed convolution. `inputs`: positions of picture, weights and bias."""
    picture, at_weights, at_bias = inputs
    weights = graph.values(operator, at_weights)
    sides, results = graph.tensor(operator, picture).shape[1:3], graph.output(operator).shape[1:3]
    # It is the gradient of a convolution that makes the smaller picture from the larger one.
    window = _window(graph.output(operator).shape, weights.shape[1:3], padding, strides)
    reach = [(side - 1) * stride + kernel for side, stride, kernel in zip(sides, strides, window["kernel_shape"])]
    pads = window["pads"]
    extra = [result - size + pads[at] + pads[at + 2] for at, (result, size) in enumerate(zip(results, reach))]
    if any(not 0 <= more < stride for more, stride in zip(extra, strides)):
        raise TfliteError("a transposed convolution whose result has another size than its strides give")
    names = [graph.input(operator, picture), graph.builder.constant(weights.transpose(3, 0, 1, 2))]
    if graph.has(operator, at_bias):
        names.append(graph.builder.constant(graph.values(operator, at_bias)))
    result = graph.builder.node("ConvTranspose", *names, **window, output_padding=extra)
    graph.finish(operator, result, activation)


def _pool(kind: str) -> Translation:
    def add(graph: Graph, operator: Operator) -> None:
        options = operator.options
        kernel, strides = (options.scalar(4), options.scalar(3)), (options.scalar(2), options.scalar(1))
        window = _window(graph.tensor(operator, 0).shape, kernel, options.scalar(0, "b"), strides)
        result = graph.builder.node(kind, graph.input(operator, 0), **window)
        graph.finish(operator, result, options.scalar(5, "b"))

    return add


def _of_two(kind: str) -> Translation:
    def add(graph: Graph, operator: Operator) -> None:
        result = graph.builder.node(kind, graph.operand(operator, 0), graph.operand(operator, 1))
        graph.finish(operator, result, operator.options.scalar(0, "b"))

    return add


def _of_one(kind: str, activation: int = 0) -> Translation:
    def add(graph: Graph, operator: Operator) -> None:
        name = graph.input(operator, 0)
        graph.finish(operator, graph.builder.node(kind, name) if kind else name, activation)

    return add


def _prelu(graph: Graph, operator: Operator) -> None:
    result = graph.builder.node("PRelu", graph.input(operator, 0), graph.operand(operator, 1))
    graph.finish(operator, result)


def _pad(graph: Graph, operator: Operator) -> None:
    pads = graph.values(operator, 1)
    if pads.shape != (len(graph.tensor(operator, 0).shape), 2) or (pads < 0).any():
        raise TfliteError("a padding of other dimensions than its value has")
    pads = pads[list(MOVED)] if len(pads) == 4 else pads
    ends = graph.builder.integers(*(int(number) for number in pads.T.ravel()))
    graph.finish(operator, graph.builder.node("Pad", graph.input(operator, 0), ends))


def _dequantize(graph: Graph, operator: Operator) -> None:
    values = graph.values(operator, 0)
    if values.dtype != np.float16:
        raise TfliteError("it has weights of whole numbers, which are not translated")
    graph.know(operator, values.astype(np.float32))


def _densify(graph: Graph, operator: Operator) -> None:
    graph.know(operator, graph.values(operator, 0))  # the reader has filled in the zeros


def _resize(graph: Graph, operator: Operator) -> None:
    _, height, width, _ = graph.tensor(operator, 0).shape
    sides = [int(side) for side in graph.values(operator, 1).ravel()]
    if len(sides) != 2 or min(sides) < 1:
        raise TfliteError("a picture resized to no size")
    mode = "asymmetric"
    if operator.options.scalar(2, "B"):
        mode = "align_corners"
    elif operator.options.scalar(3, "B"):
        mode = "half_pixel"
    batch, _, _, channels = graph.tensor(operator, 0).shape
    size = graph.builder.integers(batch, channels, *sides)
    name = graph.input(operator, 0)
    graph.finish(
        operator,
        graph.builder.node("Resize", name, "", "", size, mode="linear", coordinate_transformation_mode=mode),
    )


def _depth_to_space(graph: Graph, operator: Operator) -> None:
    size = operator.options.scalar(0)
    graph.finish(operator, graph.builder.node("DepthToSpace", graph.input(operator, 0), blocksize=size, mode="DCR"))


def _as_stored(graph: Graph, operator: Operator, position: int) -> str:
    """An input with its values in TensorFlow Lite's order."""
    name = graph.input(operator, position)
    is_moved = len(graph.tensor(operator, position).shape) == 4
    return graph.builder.node("Transpose", name, perm=list(BACK)) if is_moved else name


def _reshape(graph: Graph, operator: Operator) -> None:
    shape = graph.output(operator).shape
    name = graph.builder.node("Reshape", _as_stored(graph, operator, 0), graph.builder.integers(*shape))
    if len(shape) == 4:
        name = graph.builder.node("Transpose", name, perm=list(MOVED))
    graph.finish(operator, name)


def _moved_axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise TfliteError(f"axis {axis} of a value of {rank} dimensions")
    return MOVED.index(axis % rank) if rank == 4 else axis % rank


def _concatenation(graph: Graph, operator: Operator) -> None:
    axis = _moved_axis(operator.options.scalar(0), len(graph.output(operator).shape))
    names = [graph.input(operator, position) for position in range(len(operator.inputs))]
    graph.finish(operator, graph.builder.node("Concat", *names, axis=axis), operator.options.scalar(1, "b"))


def _mean(graph: Graph, operator: Operator) -> None:
    keeps, rank = bool(operator.options.scalar(0, "B")), len(graph.tensor(operator, 0).shape)
    axes = sorted(_moved_axis(int(axis), rank) for axis in graph.values(operator, 1).ravel())
    if rank == 4 and not keeps and axes not in ([2, 3], [1, 2, 3]):
        raise TfliteError("a mean over dimensions other than height and width")
    result = graph.builder.node("ReduceMean", graph.input(operator, 0), axes=axes, keepdims=int(keeps))
    graph.finish(operator, result)


def _fully_connected(graph: Graph, operator: Operator) -> None:
    weights, shape = graph.values(operator, 1), graph.output(operator).shape  # (out, in)
    if weights.ndim != 2 or prod(graph.tensor(operator, 0).shape) % max(weights.shape[1], 1):
        raise TfliteError("a fully connected layer of another width than its input")
    rows = graph.builder.integers(-1, weights.shape[1])
    inputs = [graph.builder.node("Reshape", _as_stored(graph, operator, 0), rows), graph.builder.constant(weights)]
    if graph.has(operator, 2):
        inputs.append(graph.builder.constant(graph.values(operator, 2)))
    name = graph.builder.node("Gemm", *inputs, transB=1)
    if len(shape) != 2:
        name = graph.builder.node("Reshape", name, graph.builder.integers(*shape))
    if len(shape) == 4:
        name = graph.builder.node("Transpose", name, perm=list(MOVED))
    graph.finish(operator, name, operator.options.scalar(0, "b"))


def _strided_slice(graph: Graph, operator: Operator) -> None:
    shape, options = graph.tensor(operator, 0).shape, operator.options
    begins, ends, strides = (graph.values(operator, position).ravel().tolist() for position in (1, 2, 3))
    begin_mask, end_mask, *others = (options.scalar(field) for field in range(5))
    if any(others) or not len(begins) == len(ends) == len(strides) <= len(shape) or min(strides, default=1) < 1:
        raise TfliteError("a slice that adds or removes dimensions, or goes backwards")
    begins = [0 if begin_mask >> axis & 1 else begin for axis, begin in enumerate(begins)]
    ends = [shape[axis] if end_mask >> axis & 1 else end for axis, end in enumerate(ends)]
    axes = [_moved_axis(axis, len(shape)) for axis in range(len(begins))]
    parts = [graph.builder.integers(*numbers) for numbers in (begins, ends, axes, strides)]
    graph.finish(operator, graph.builder.node("Slice", graph.input(operator, 0), *parts))


Translation = Callable[[Graph, Operator], None]

# Builtin codes, and the names of custom operators.
TRANSLATIONS: dict[int | str, Translation] = {
    0: _of_two("Add"),
    1: _pool("AveragePool"),
    2: _concatenation,
    3: _convolution,
    4: _depthwise,
    5: _depth_to_space,
    6: _dequantize,
    9: _fully_connected,
    14: _of_one("Sigmoid"),
    17: _pool("MaxPool"),
    18: _of_two("Mul"),
    19: _of_one("", 1),
    21: _of_one("", _RELU6),
    22: _reshape,
    23: _resize,
    34: _pad,
    40: _mean,
    41: _of_two("Sub"),
    45: _strided_slice,
    54: _prelu,
    67: _transposed_convolution,
    117: _of_one("HardSwish"),
    124: _densify,
    "Convolution2DTransposeBias": _transposed_convolution_with_bias,
}

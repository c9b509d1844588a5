"""ONNX graphs in half precision, for engines on GPUs: fp16, with fp32 where fp16 overflows or loses the digits.

Inputs and outputs stay in fp32. Statistics of norms (means, sums of squares, roots) and whatever follows from them
alone are computed in fp32; LayerNormalization has statistics in fp32 by its definition, and softmax on a GPU by its
kernels. Sinusoids of timesteps are no part of the graphs.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_FLOATS = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
_TYPES = {name: number for number, name in _FLOATS.items()}
# Operations in fp32, and what follows from them alone too, such as the root of a mean of squares plus epsilon.
_STATISTICS = {"ReduceMean", "ReduceSum", "Sqrt", "Reciprocal", "Exp", "Sin", "Cos"}
# In fp32, while what they give is in fp16: it is about as large as 1.
_NORMS = {"InstanceNormalization"}
# Operations that only move numbers, which stay what they are.
_MOVES = {"Reshape", "Transpose", "Slice", "Split", "Expand", "Tile", "Gather", "Pad"}
_LARGEST = float(np.finfo("float16").max)


def to_half(model: onnx.ModelProto) -> None:
    """Have a graph in fp32 compute in fp16, in place.

    Args:
        model: as `write_onnx` makes it: its initialisers may be in fp16 or fp32, inputs and outputs are in fp32.
    """
    _Converter(model.graph).convert()


class _Converter:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph, self._nodes = graph, list(graph.node)
        self._added: list[onnx.NodeProto] = []
        # Name of a value -> dtype -> name of it in that dtype; the dtype that operations take it for.
        self._names: dict[str, dict[str, str]] = {}
        self._dtypes: dict[str, str] = {}
        self._constants = {tensor.name: tensor for tensor in graph.initializer}

    def convert(self) -> None:
        for value in self._graph.input:
            if value.type.tensor_type.elem_type == TensorProto.FLOAT:
                self._names[value.name], self._dtypes[value.name] = {"float32": value.name}, "float16"
        for tensor in self._constants.values():
            if tensor.data_type in _FLOATS:
                dtype = _FLOATS[tensor.data_type]
                self._names[tensor.name], self._dtypes[tensor.name] = {dtype: tensor.name}, "float16"
        for node in self._nodes:
            self._convert(node)
        for value in self._graph.output:
            if value.name in self._names:
                value.name = self._in(value.name, "float32")
        del self._graph.node[:]
        self._graph.node.extend(self._added)

    def _convert(self, node: onnx.NodeProto) -> None:
        floats = [name for name in node.input if name in self._names]
        if node.op_type == "Cast":
            target = next(attribute.i for attribute in node.attribute if attribute.name == "to")
            result: str | None = _FLOATS.get(target)
            if result and floats and floats[0] in self._constants:  # a stored weight, which is the same in any dtype
                self._names[node.output[0]], self._dtypes[node.output[0]] = self._names[floats[0]], "float16"
                self._constants[node.output[0]] = self._constants[floats[0]]
                return
            if floats:
                node.input[0] = self._in(floats[0], self._dtypes[floats[0]])
        else:
            result = self._dtype(node, floats) if floats else None
            for i, name in enumerate(node.input):
                if name in self._names and result is not None:
                    node.input[i] = self._in(name, result)
        self._added.append(node)
        if result is not None:
            for name in node.output:
                self._names[name] = {result: name}
                self._dtypes[name] = "float16" if node.op_type in _NORMS else result

    def _dtype(self, node: onnx.NodeProto, floats: Sequence[str]) -> str:
        """What an operation computes in."""
        if node.op_type in _STATISTICS | _NORMS or _is_square(node, floats):
            return "float32"
        if node.op_type in _MOVES:
            return self._dtypes[floats[0]]
        computed = [name for name in floats if name not in self._constants]
        return "float32" if computed and all(self._dtypes[name] == "float32" for name in computed) else "float16"

    def _in(self, name: str, dtype: str) -> str:
        """Name of a value in a dtype, which it is cast to where it is needed for the first time."""
        names = self._names[name]
        if dtype not in names:
            tensor = self._constants.get(name)
            if tensor is not None and tensor.data_location != TensorProto.EXTERNAL:
                names[dtype] = self._cast_constant(tensor, dtype)
            else:
                names[dtype] = f"{name}.{dtype}"
                source = next(iter(names.values()))
                self._added.append(helper.make_node("Cast", [source], [names[dtype]], to=_TYPES[dtype]))
        return names[dtype]

    def _cast_constant(self, tensor: TensorProto, dtype: str) -> str:
        array = numpy_helper.to_array(tensor)
        if dtype == "float16":  # a mask's large number stays finite
            array = np.where(np.isfinite(array), array.clip(-_LARGEST, _LARGEST), array)
        made = numpy_helper.from_array(array.astype(dtype), f"{tensor.name}.{dtype}")
        self._graph.initializer.append(made)
        return made.name


def _is_square(node: onnx.NodeProto, floats: Sequence[str]) -> bool:
    return node.op_type == "Mul" and len(floats) == 2 and floats[0] == floats[1]

"""Nodes and weights of an ONNX file while it is made.

Weights are stored in half precision where that loses nothing, as it does for networks whose file has them so, and cast
when the network is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

_OPSET = 17
_IR_VERSION = 8
_LEAST_HALF = 64  # values; the cast of fewer takes more room than it saves


class Builder:
    """Collects the nodes and initialisers of a graph. Names are counted, so that they are the same at each run."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def new_name(self) -> str:
        """A name that no value has yet."""
        self._count += 1
        return f"v{self._count}"

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node of one output, whose name it returns."""
        output = output or self.new_name()
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, values: np.ndarray) -> str:
        """Add an initialiser, and return its name. Equal ones are stored once."""
        values = np.ascontiguousarray(values)
        key = values.dtype.str, values.shape, values.tobytes()
        if key not in self._constants:
            self._constants[key] = self._store(values)
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """Add an initialiser of whole numbers, as shapes and axes are given."""
        return self.constant(np.asarray(values, np.int64))

    def _store(self, values: np.ndarray) -> str:
        name = self.new_name()
        if values.dtype == np.float32 and values.size >= _LEAST_HALF:
            with np.errstate(over="ignore"):
                half = values.astype(np.float16)
            if np.array_equal(half.astype(np.float32), values):
                self.initializers.append(numpy_helper.from_array(half, name))
                return self.node("Cast", name, to=TensorProto.FLOAT)
        self.initializers.append(numpy_helper.from_array(values, name))
        return name


def finished_model(builder: Builder, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto]) -> bytes:
    """The bytes of an ONNX file, after its checker has seen it. Raises errors of ONNX."""
    graph = helper.make_graph(builder.nodes, "network", inputs, outputs, builder.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)

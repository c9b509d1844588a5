"""Attention in ONNX graphs as one operation of ONNX Runtime, which never holds all scores: flash attention on a GPU.

`models.layers.scaled_dot_product` is traced as a product, a softmax and a product, which ONNX Runtime does not fuse by
itself. Its MultiHeadAttention takes (batch, tokens, channels).
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

DOMAIN = "com.microsoft"
_SWAP = [0, 2, 1, 3]  # (batch, heads, tokens, d) <-> (batch, tokens, heads, d)


def fuse_attention(model: onnx.ModelProto) -> int:
    """Have a graph in fp32 compute attention in ONNX Runtime's own operation, in place. Returns how often."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input)
    }
    count = _Fuser(model.graph, shapes).fuse()
    if count:
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return count


class _Fuser:
    def __init__(self, graph: onnx.GraphProto, shapes: Mapping[str, list[int]]) -> None:
        self._graph, self._shapes = graph, shapes
        self._makers = {name: node for node in graph.node for name in node.output}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        self._made: dict[int, list[onnx.NodeProto]] = {}  # id of the last node of an attention -> nodes instead

    def fuse(self) -> int:
        dead: set[int] = set()
        for node in self._graph.node:
            if node.op_type == "Softmax":
                dead |= self._fuse(node)
        nodes = [new for node in self._graph.node for new in self._made.get(id(node), [node]) if id(new) not in dead]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        return len(self._made)

    def _fuse(self, softmax: onnx.NodeProto) -> set[int]:
        """Replace the attention of a softmax, if it is one. Returns the ids of the nodes that it no longer needs."""
        scores, bias, added = self._makers.get(softmax.input[0]), None, None
        if scores is not None and scores.op_type == "Add":
            added, bias = scores, scores.input[1]
            scores = self._makers.get(added.input[0])
        users = self._users.get(softmax.output[0], [])
        if scores is None or scores.op_type != "MatMul" or [user.op_type for user in users] != ["MatMul"]:
            return set()
        (last,), flipped = users, self._makers.get(scores.input[1])
        if flipped is None or not _transposes(flipped, [0, 1, 3, 2]) or last.input[0] != softmax.output[0]:
            return set()
        query, key, value = scores.input[0], flipped.input[0], last.input[1]
        if any(len(self._shapes.get(name, ())) != 4 for name in (query, key, value)):
            return set()
        self._made[id(last)] = self._attention(query, key, value, bias, last.output[0])
        return {id(node) for node in (scores, added, softmax, flipped) if self._is_used_here(node)}

    def _is_used_here(self, node: onnx.NodeProto | None) -> bool:
        return node is not None and len(self._users[node.output[0]]) == 1

    def _attention(self, query: str, key: str, value: str, bias: str | None, result: str) -> list[onnx.NodeProto]:
        batch, heads, queries, _ = self._shapes[query]
        nodes: list[onnx.NodeProto] = []
        joined = [self._join(name, nodes) for name in (query, key, value)]
        if bias is not None:  # a row for each query
            rows = self._constant(f"{result}.rows", [batch, 1, queries, self._shapes[key][2]])
            nodes.append(helper.make_node("Expand", [bias, rows], [f"{result}.bias"]))
            joined += ["", "", f"{result}.bias"]
        # The queries are scaled before.
        fused = helper.make_node(
            "MultiHeadAttention", joined, [f"{result}.joined"], domain=DOMAIN, num_heads=heads, scale=1.0
        )
        nodes.append(fused)
        split = self._constant(f"{result}.split", [batch, queries, heads, -1])
        nodes.append(helper.make_node("Reshape", [f"{result}.joined", split], [f"{result}.split_up"]))
        return [*nodes, helper.make_node("Transpose", [f"{result}.split_up"], [result], perm=_SWAP)]

    def _join(self, name: str, nodes: list[onnx.NodeProto]) -> str:
        """(batch, heads, tokens, d) -> (batch, tokens, channels), whose nodes are appended."""
        batch, _, tokens, _ = self._shapes[name]
        maker, joined = self._makers.get(name), f"{name}.joined.{len(self._made)}"
        if maker is not None and _transposes(maker, _SWAP):
            swapped = maker.input[0]
        else:
            swapped = f"{joined}.swapped"
            nodes.append(helper.make_node("Transpose", [name], [swapped], perm=_SWAP))
        shape = self._constant(f"{joined}.shape", [batch, tokens, -1])
        nodes.append(helper.make_node("Reshape", [swapped, shape], [joined]))
        return joined

    def _constant(self, name: str, numbers: list[int]) -> str:
        self._graph.initializer.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
        return name


def _transposes(node: onnx.NodeProto, order: list[int]) -> bool:
    return node.op_type == "Transpose" and list(helper.get_node_attr_value(node, "perm")) == order

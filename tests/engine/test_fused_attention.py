"""Attention as one operation of ONNX Runtime: it is found in the graphs that networks become, and gives the same."""

from collections import Counter

import numpy as np
import onnx
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.engine.bound_sessions import backend_on
from ppdiffusers_ext.engine.cache import ExportCache
from ppdiffusers_ext.engine.compiled import CompiledFunction
from ppdiffusers_ext.engine.decibels import signal_to_noise
from ppdiffusers_ext.engine.network import Network
from ppdiffusers_ext.models.layers import Linear, scaled_dot_product


class Model(nn.Layer):
    def __init__(self):
        super().__init__()
        paddle.seed(0)
        self.project = Linear(12, 12)
        self.eval()

    def forward(self, x, y, bias=None):
        return scaled_dot_product(self.project(x), self.project(y), y, 3, bias)


def randn(*shape):
    return paddle.to_tensor(np.random.default_rng(len(shape)).standard_normal(shape, np.float32))


@pytest.mark.parametrize("precision, least", [("float32", 100), ("float16", 50)])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("keys", [5, 2])  # of two, each is there twice; see `scaled_dot_product`
def test_attention_is_one_operation_and_gives_the_same(tmp_path, precision, least, has_bias, keys):
    network, inputs = Model(), {"x": randn(2, 7, 12), "y": randn(2, keys, 12) * 2}
    if has_bias:
        inputs["bias"] = paddle.to_tensor([[0.0] * keys, [-10000.0] + [0.5] * (keys - 1)])
    cache, backend = ExportCache(tmp_path), backend_on("cpu", precision)
    compiled = CompiledFunction("attend", Network(network), backend, cache, 1, precision)
    with paddle.no_grad():
        (output,) = compiled(lambda *tensors: [network(*tensors)], inputs)
        assert signal_to_noise(output.numpy(), network(**inputs).numpy()) > least
    (path,) = tmp_path.glob("exports/*/model.onnx")
    kinds = Counter(node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node)
    assert kinds["MultiHeadAttention"] == 1 and kinds["Softmax"] == 0
    assert kinds["MatMul"] == 2  # projections


def test_a_softmax_that_is_no_attention_stays(tmp_path):
    class Plain(nn.Layer):
        def forward(self, x):
            return nn.functional.softmax(x, axis=-1)

    network, cache = Plain(), ExportCache(tmp_path)
    compiled = CompiledFunction("plain", Network(network), backend_on("cpu", "float32"), cache, 1)
    (output,) = compiled(lambda x: [network(x)], {"x": randn(3, 4)})
    np.testing.assert_allclose(output, network(randn(3, 4)), atol=1e-6)

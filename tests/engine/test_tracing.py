"""Tracing: what it gives, and that it leaves Python as it was."""

import contextlib
import traceback

import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.engine.tracing import trace


def test_trace_has_the_operations_the_weights_and_the_outputs():
    layer = nn.Linear(3, 2)
    traced = trace(layer, lambda x: [layer(x), x], {"x": paddle.ones([4, 3])})
    assert {id(tensor) for tensor in traced.parameters.values()} == {id(tensor) for tensor in layer.parameters()}
    assert [list(value.shape) for value in traced.outputs] == [[4, 2], [4, 3]]
    assert "pd_op.matmul" in [operation.name() for operation in traced.operations]


def fail(x):
    raise ValueError("a network that fails")


@pytest.mark.parametrize("function", [lambda x: [x + 1], fail])
def test_call_stacks_are_as_before_afterwards(function):
    extract = traceback.extract_stack
    with contextlib.suppress(ValueError):
        trace(nn.Linear(1, 1), function, {"x": paddle.ones([1])})
    assert traceback.extract_stack is extract

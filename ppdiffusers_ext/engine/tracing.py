"""Tracing of a network: its operations in Paddle's static program, for inputs of fixed shapes.

The code of the network runs once on placeholders. Decisions that depend on shapes are fixed in the program; numbers
that depend on values cannot be traced and raise an error.
"""

import contextlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn
from paddle.static import InputSpec


@dataclass(frozen=True)
class Trace:
    """Traced computation.

    Attributes:
        operations: Paddle's operations in the order of execution.
        parameters: name in the program -> tensor: weights and buffers of the layer.
        outputs: the program's values that are the results, in order.
        static: Paddle's static layer that owns the operations.
    """

    operations: list
    parameters: dict
    outputs: list
    static: Any


class _Traced(nn.Layer):
    def __init__(self, layer: nn.Layer, function: Callable[..., list[paddle.Tensor]]) -> None:
        super().__init__()
        self.layer, self._function = layer, function

    @paddle.jit.not_to_static
    def forward(self, tensors: list[paddle.Tensor]) -> list[paddle.Tensor]:
        return self._function(*tensors)


def trace(layer: nn.Layer, function: Callable[..., list[paddle.Tensor]], inputs: Mapping[str, paddle.Tensor]) -> Trace:
    """Run `function` on placeholders.

    Args:
        layer: `nn.Layer` whose weights the function uses; in evaluation mode.
        function: from tensors to a list of tensors.
        inputs: name -> tensor; only shape and dtype are used.

    Returns:
        `Trace`.
    """
    specs = [InputSpec(x.shape, x.dtype, name) for name, x in inputs.items()]
    traced = _Traced(layer, function)
    traced.eval()
    with paddle.no_grad(), _without_call_stacks():
        static = paddle.jit.to_static(traced, input_spec=[specs], full_graph=True)
        concrete = static.forward.concrete_program  # type: ignore[attr-defined]  # Paddle types it as any function
    tensors, values = concrete.parameters
    names = [value.get_defining_op().attrs()["parameter_name"] for value in values]
    operations = list(concrete.main_program.global_block().ops)
    outputs = [value for value in paddle.utils.flatten(concrete.outputs) if value is not None]
    return Trace(operations, dict(zip(names, tensors)), outputs, static)


@contextlib.contextmanager
def _without_call_stacks() -> Iterator[None]:
    """Paddle notes for every operation which lines of Python it comes from, which takes most of a trace."""
    extract = traceback.extract_stack
    traceback.extract_stack = lambda *arguments, **options: traceback.StackSummary()
    try:
        yield
    finally:
        traceback.extract_stack = extract

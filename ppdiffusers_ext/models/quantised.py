"""Linear layers whose weights are stored in 8 bits, and become numbers of the activations' kind when they are used.

Arithmetic is as before; memory is a quarter of that of fp32. Each output channel has a scale, by which its largest
weight becomes the largest number of the format:

- "int8": whole numbers from -127 to 127; weights are off by half a step, 1/254 of the channel's largest, at most.
- "fp8": e4m3, of four bits of exponent and three of mantissa (Micikevicius et al. 2022, arXiv:2209.05433); weights are
  off by 1/16 of themselves at most, or by 2^-10 / 448 of the channel's largest where they are very small.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers_ext.models.layers import Linear, follow

# The dtype of a format, and the largest of its numbers that is used.
_FORMATS = {"int8": (paddle.int8, 127.0), "fp8": (paddle.float8_e4m3fn, 448.0)}
FORMATS = tuple(_FORMATS)


@dataclass(frozen=True)
class Stored:
    """A matrix in 8 bits: codes (inputs, outputs), and what each column is multiplied by, scale (outputs,) in fp32."""

    codes: paddle.Tensor
    scale: paddle.Tensor

    @property
    def nbytes(self) -> int:
        return self.codes.size * self.codes.element_size() + self.scale.size * self.scale.element_size()

    def matrix(self, dtype: paddle.dtype) -> paddle.Tensor:
        """(inputs, outputs) in a dtype."""
        return (self.codes.astype("float32") * self.scale).astype(dtype)


def quantise(weight: paddle.Tensor, form: str) -> Stored:
    """The `Stored` of a matrix, (inputs, outputs), in one of `FORMATS`; on the device of the matrix."""
    dtype, largest = _FORMATS[form]
    weight = weight.astype("float32")
    scale = weight.abs().max(axis=0) / largest  # (outputs,)
    scale = paddle.where(scale > 0, scale, paddle.ones_like(scale))
    codes = (weight / scale).clip(-largest, largest)
    return Stored((codes.round() if dtype == paddle.int8 else codes).astype(dtype), scale)


class QuantisedLinear(Linear):
    """A `Linear` that has its weight in `stored`, a `Stored`; `weight` keeps name, shape and dtype, and no memory."""

    stored: Any = None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.linear(x, self.stored.matrix(x.dtype), follow(self.bias, x))


def use_quantised(model: nn.Layer, names: Sequence[str]) -> dict[str, QuantisedLinear]:
    """Have the linear layers in parts of a model, whose weights have no memory yet, take them from `stored`.

    Args:
        model: `nn.Layer`, which is changed.
        names: of the parts, such as "blocks".

    Returns:
        name of a weight -> its layer.
    """
    changed: dict[str, QuantisedLinear] = {}
    for name, layer in model.named_sublayers():
        if type(layer) is Linear and name.startswith(tuple(f"{part}." for part in names)):
            layer.__class__ = QuantisedLinear
            changed[f"{name}.weight"] = layer  # type: ignore[assignment]  # whose class has just changed
    return changed

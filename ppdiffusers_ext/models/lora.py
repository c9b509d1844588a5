"""Low-rank adaptation (LoRA) of a layer: Hu et al. 2021, arXiv:2106.09685, in the form of kohya's scripts.

The layer keeps its weights and its names; what LoRA adds to its output has its own.
"""

import math
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers_ext.models.layers import Conv2D, Linear, compute_dtype


def can_be_adapted(layer: nn.Layer) -> bool:
    """True for a linear layer and for a convolution with a 1x1 kernel."""
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2D) and layer.weight.shape[2:] == [1, 1])


class LoraLayer(nn.Layer):
    """LoRA of one layer, which adds scale * up(down(x)) to its output from now on.

    `lora_up` is zero at first, so the layer's output stays as it is.

    Args:
        layer: of `can_be_adapted`.
        rank: outputs of `lora_down`, inputs of `lora_up`.
        scale: alpha / rank, times a multiplier if there is one.
        rng: draws `lora_down` from U(-1 / sqrt(inputs), 1 / sqrt(inputs)).
    """

    def __init__(self, layer: Any, rank: int, scale: float, rng: np.random.Generator) -> None:
        super().__init__()
        self.lora_down: Any
        self.lora_up: Any
        if isinstance(layer, nn.Linear):
            inputs, outputs = layer.weight.shape
            self.lora_down = Linear(inputs, rank, bias_attr=False)
            self.lora_up = Linear(rank, outputs, bias_attr=False)
        else:
            outputs, inputs = layer.weight.shape[:2]
            place: dict[str, Any] = {"stride": layer._stride, "padding": layer._padding}
            self.lora_down = Conv2D(inputs, rank, 1, bias_attr=False, **place)
            self.lora_up = Conv2D(rank, outputs, 1, bias_attr=False)
        self._scale, bound, down = scale, 1 / math.sqrt(inputs), self.lora_down.weight
        down.set_value(rng.uniform(-bound, bound, down.shape).astype(np.float32))
        self.lora_up.weight.set_value(np.zeros(self.lora_up.weight.shape, np.float32))
        layer.register_forward_post_hook(self._add)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """The layer's input -> what is added to its output, before it is scaled; in the dtype of LoRA's weights."""
        return self.lora_up(self.lora_down(_cast(x, compute_dtype(self.lora_down.weight))))

    def _add(self, layer: nn.Layer, inputs: tuple, output: paddle.Tensor) -> paddle.Tensor:
        return output + _cast(self(inputs[0]), output.dtype) * self._scale


def _cast(x: paddle.Tensor, dtype: paddle.dtype) -> paddle.Tensor:
    """The tensor itself where it has the dtype: `astype` would copy it, and the copy be kept for the gradient."""
    return x if x.dtype == dtype else x.astype(dtype)

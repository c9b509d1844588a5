"""Exponential moving average (EMA) of the weights, which is often better than the weights of the last step.

theta_ema = decay * theta_ema + (1 - decay) * theta after each step (Polyak and Juditsky 1992), with a smaller decay at
first, min(decay, (1 + steps) / (10 + steps)), so that the random start is soon forgotten.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import paddle
from paddle import nn
from paddlenlp.trainer import TrainerCallback

from ppdiffusers_ext.weights.arrays import to_array


class ExponentialMovingAverage(TrainerCallback):
    """Average of all trainable parameters of a model, in fp32, updated by the trainer's steps.

    Args:
        model: `nn.Layer`.
        decay: below 1; 0.999 averages over about the last thousand steps.
    """

    def __init__(self, model: nn.Layer, decay: float) -> None:
        learning = [(name, parameter) for name, parameter in model.named_parameters() if not parameter.stop_gradient]
        self._decay, self._parameters = decay, dict(learning)
        self._averages = {name: _copy(parameter) for name, parameter in learning}

    @paddle.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        part = 1 - min(self._decay, (1 + state.global_step) / (10 + state.global_step))
        for name, average in self._averages.items():
            average.add_(part * (self._parameters[name].astype("float32") - average))

    def state(self) -> dict[str, paddle.Tensor]:
        """name -> fp32 tensor."""
        return self._averages

    def set_state(self, tensors: Mapping[str, paddle.Tensor]) -> None:
        """Restore the averages from `state`."""
        for name, average in self._averages.items():
            average.set_value(tensors[name])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Context in which the model's parameters are the averages."""
        kept = {name: to_array(parameter).copy() for name, parameter in self._parameters.items()}
        try:
            for name, parameter in self._parameters.items():
                parameter.set_value(self._averages[name].astype(parameter.dtype))
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.set_value(kept[name])


def _copy(parameter: paddle.Tensor) -> paddle.Tensor:
    return paddle.to_tensor(parameter.detach().astype("float32").numpy().copy())

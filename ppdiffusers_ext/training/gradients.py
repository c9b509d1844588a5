"""Gradients before each step: their norm for the log, no step with non-finite ones, and rules for clipping them."""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddlenlp.trainer import TrainerCallback

from ppdiffusers_ext.errors import NonFiniteError

logger = logging.getLogger(__name__)

_NAMED = 3  # layers of a message
_ABNORMAL, _MOST_CUT = 5, 10  # times the limit from which on a norm is abnormal, and that it is cut at most


class GradientWatch(TrainerCallback):
    """Measures the norm of all gradients, and skips a limited number of steps in which it is not finite.

    Args:
        model: `nn.Layer`, for the parameter names in messages.
        max_skipped: number of steps that may be skipped in a run; the next one raises NonFiniteError.
        limit: function of the steps before this one and the norm that returns the norm to clip to; or None where the
            optimiser clips.

    Attributes:
        norm: of the gradients of the last step, over all processes, before clipping.
        batches: functions that describe the batches of this step; filled by the trainer.
    """

    def __init__(
        self, model: nn.Layer, max_skipped: int = 0, limit: Callable[[int, float], float] | None = None
    ) -> None:
        self._names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._max_skipped, self._skipped, self._limit = max_skipped, 0, limit
        self.norm = 0.0
        self.batches: list[Callable[[], str]] = []

    @paddle.no_grad()
    def on_optimizer_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, scaler: Any = None, **others: Any
    ) -> None:
        parameters = own_parameters(optimizer)
        total = paddle.zeros([], "float32")
        for parameter in parameters:
            if parameter.grad is not None:
                total += parameter.grad.astype("float32").square().sum()
        if args.sharding:  # each process has a share of the sum; without it each has all gradients
            paddle.distributed.all_reduce(total)
        scale = float(scaler._scale) if scaler is not None else 1.0
        self.norm = math.sqrt(float(total)) / scale if float(total) >= 0 else math.nan
        if not math.isfinite(self.norm) and scaler is None:  # which skips by itself, and lowers its scale
            self._skip(parameters, state.global_step + 1)
        elif self._limit is not None and math.isfinite(self.norm):
            clip_gradients(parameters, self.norm, self._limit(state.global_step, self.norm))
        self.batches.clear()

    def _skip(self, parameters: list[paddle.Tensor], step: int) -> None:
        wrong = [
            self._names.get(id(parameter), parameter.name) for parameter in parameters if not _is_finite(parameter)
        ]
        layers = ", ".join(wrong[:_NAMED]) + (f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else "")
        batches = "; ".join(describe() for describe in self.batches)
        message = f"the gradients of step {step} are not finite, of {batches}: {layers or 'in another process'}"
        self._skipped += 1
        if self._skipped > self._max_skipped:
            raise NonFiniteError(f"{message}; --max_skipped_steps {self._max_skipped} is used up")
        logger.warning("step skipped (%d of at most %d): %s", self._skipped, self._max_skipped, message)
        for parameter in parameters:
            parameter.clear_gradient(False)


@paddle.no_grad()
def clip_gradients(parameters: Iterable[paddle.Tensor], norm: float, limit: float) -> None:
    """Scale gradients of a norm such that it becomes the limit, if it is above it: as torch's `clip_grad_norm_`."""
    scale = limit / (norm + 1e-6)
    for parameter in parameters if scale < 1 else ():
        if parameter.grad is not None:
            parameter.grad.scale_(scale)


@dataclass(frozen=True)
class FallingLimit:
    """The norm that gradients are clipped to, which falls at first, and which is lower where a norm is abnormal.

    Attributes:
        last: limit from step `steps` on.
        ratio: of the first limit to the last.
        steps: of the linear fall, after which a norm of more than five times the limit lowers the limit of its step by
            as much, up to ten times.
    """

    last: float
    ratio: float
    steps: int

    def __call__(self, step: int, norm: float) -> float:
        first = self.last * self.ratio
        limit = self.last if step >= self.steps else first + (self.last - first) / self.steps * step
        times = np.float32(norm) / np.float32(limit)  # in fp32, as the original has it
        if times <= _ABNORMAL or step <= self.steps:
            return limit
        return limit / _MOST_CUT if times >= _MOST_CUT else float(np.float32(limit) / times)


def innermost_optimizer(optimizer: Any) -> Any:
    """Optimiser that updates the parameters: with sharding, the one inside the sharding optimiser."""
    while hasattr(optimizer, "_inner_opt"):
        optimizer = optimizer._inner_opt
    return optimizer


def own_parameters(optimizer: Any) -> list[paddle.Tensor]:
    """Parameters that this process updates: with sharding, its share of them."""
    return [item for item in innermost_optimizer(optimizer)._parameter_list if not item.stop_gradient]


def _is_finite(parameter: paddle.Tensor) -> bool:
    return parameter.grad is None or bool(paddle.isfinite(parameter.grad).all())

"""CAME, an optimiser that keeps one number for each parameter and two vectors for each side of a matrix.

Luo et al. 2023, "CAME: Confidence-guided Adaptive Memory Efficient Optimization" (arXiv:2307.02047, algorithm 2), with
the constants of the authors' code. The mean square of a matrix's gradient, and of how far its update is from the
average of updates, are those of its rows times those of its columns; with more axes, of the last two.
"""

from collections.abc import Iterable
from typing import Any

import paddle

_BETAS = (0.9, 0.999, 0.9999)  # of the updates' average, and of the mean squares of gradients and of deviations
_LEAST_SQUARE, _LEAST_DEVIATION = 1e-30, 1e-16  # which are added to these
_MOST = 1.0  # root mean square of an update before it is averaged
_UPDATE, _SQUARE = "came_update", "came_square"
_ROWS, _COLUMNS = ("came_rows", "came_deviation_rows"), ("came_columns", "came_deviation_columns")


class Came(paddle.optimizer.Optimizer):
    """CAME without weight decay, in fp32 whatever the gradients are in.

    Args:
        learning_rate: a number, or a scheduler.
        parameters: that are trained; each counts the `learning_rate` of its `optimize_attr` as a factor.
        grad_clip: see Paddle's optimisers.
    """

    def __init__(self, learning_rate: Any, parameters: Iterable[paddle.Tensor], grad_clip: Any = None) -> None:
        super().__init__(learning_rate=learning_rate, parameters=list(parameters), grad_clip=grad_clip)

    def _create_accumulators(self, block: Any, parameters: Iterable[paddle.Tensor]) -> None:
        for parameter in parameters:
            shape = list(parameter.shape)
            shapes = {_UPDATE: shape}
            if len(shape) < 2:
                shapes[_SQUARE] = shape
            else:
                shapes |= dict.fromkeys(_ROWS, shape[:-1]) | dict.fromkeys(_COLUMNS, shape[:-2] + shape[-1:])
            for name, each in shapes.items():
                self._add_accumulator(name, parameter, dtype=paddle.float32, shape=each)

    @paddle.no_grad()
    def _append_optimize_op(self, block: Any, param_and_grad: Any) -> None:
        parameter, gradient = param_and_grad
        of_updates, of_squares, of_deviations = _BETAS
        gradient = gradient.astype("float32")
        update = gradient * self._inverse_root(parameter, 0, gradient.square() + _LEAST_SQUARE, of_squares)
        update = update / (_root_mean_square(update) / _MOST).clip(min=1.0)
        average = self._get_accumulator(_UPDATE, parameter)
        _move(average, update, of_updates)
        step = average
        if parameter.ndim > 1:
            deviations = (update - average).square() + _LEAST_DEVIATION
            step = step * self._inverse_root(parameter, 1, deviations, of_deviations)
        step = step * self._create_param_lr(param_and_grad).astype("float32")
        parameter.set_value((parameter.astype("float32") - step).astype(parameter.dtype))

    def _inverse_root(self, parameter: Any, which: int, squares: paddle.Tensor, beta: float) -> paddle.Tensor:
        """1 over the root of the average of squares, as far as what is kept of it tells.

        Args:
            which: average of the gradients' squares, 0, or of the deviations', 1.
            squares: that it takes in, with the weight 1 - `beta`.
        """
        if parameter.ndim < 2:
            square = self._get_accumulator(_SQUARE, parameter)
            _move(square, squares, beta)
            return square.rsqrt()
        rows = self._get_accumulator(_ROWS[which], parameter)
        columns = self._get_accumulator(_COLUMNS[which], parameter)
        _move(rows, squares.mean(axis=-1), beta)
        _move(columns, squares.mean(axis=-2), beta)
        of_rows = (rows / rows.mean(axis=-1, keepdim=True)).rsqrt().unsqueeze(-1)
        return of_rows * columns.rsqrt().unsqueeze(-2)


def _move(average: paddle.Tensor, value: paddle.Tensor, beta: float) -> None:
    average.scale_(beta).add_(value * (1 - beta))


def _root_mean_square(x: paddle.Tensor) -> paddle.Tensor:
    return x.square().mean().sqrt()

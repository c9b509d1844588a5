"""The average of weights."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.training.ema import ExponentialMovingAverage


@pytest.fixture
def model():
    paddle.seed(1)
    model = nn.Linear(2, 3)
    model.bias.stop_gradient = True
    return model


def take_steps(model, ema, values, first=1):
    for step, value in enumerate(values, first):
        model.weight.set_value(paddle.full([2, 3], value))
        ema.on_step_end(None, SimpleNamespace(global_step=step), None)


def test_average_follows_the_formula_with_a_smaller_decay_at_first(model):
    start = model.weight.numpy().copy()
    ema = ExponentialMovingAverage(model, 0.4)
    take_steps(model, ema, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    expected = start.astype(np.float64)
    for step, value in enumerate([1.0, 2.0, 4.0, 8.0, 16.0, 32.0], 1):
        decay = min(0.4, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    np.testing.assert_allclose(ema.state()["weight"].numpy(), expected, rtol=1e-6)


def test_what_does_not_learn_is_not_averaged(model):
    assert list(ExponentialMovingAverage(model, 0.9).state()) == ["weight"]


def test_weights_come_back_after_the_average_was_in_their_place(model):
    ema = ExponentialMovingAverage(model, 0.9)
    take_steps(model, ema, [3.0, 5.0])
    with pytest.raises(KeyError), ema.in_place():
        np.testing.assert_array_equal(model.weight.numpy(), ema.state()["weight"].numpy())
        assert not np.array_equal(model.weight.numpy(), np.full((2, 3), 5.0))
        raise KeyError
    np.testing.assert_array_equal(model.weight.numpy(), np.full((2, 3), 5.0, np.float32))


def test_average_that_was_kept_goes_on_to_the_same_bits(model):
    whole = ExponentialMovingAverage(model, 0.9)
    first = ExponentialMovingAverage(model, 0.9)
    take_steps(model, whole, [1.0, 2.0, 3.0, 4.0])
    take_steps(model, first, [1.0, 2.0])
    second = ExponentialMovingAverage(model, 0.9)
    second.set_state({name: tensor.clone() for name, tensor in first.state().items()})
    take_steps(model, second, [3.0, 4.0], first=3)
    np.testing.assert_array_equal(second.state()["weight"].numpy(), whole.state()["weight"].numpy())

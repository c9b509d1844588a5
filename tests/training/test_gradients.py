"""The norm of the gradients, and steps with gradients that are not finite."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.errors import NonFiniteError
from ppdiffusers_ext.training.gradients import FallingLimit, GradientWatch, own_parameters

ARGUMENTS, STATE = SimpleNamespace(sharding=[]), SimpleNamespace(global_step=6)


@pytest.fixture
def model():
    paddle.seed(3)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


@pytest.fixture
def optimizer(model):
    clip = nn.ClipGradByGlobalNorm(1.0)
    return paddle.optimizer.AdamW(0.1, parameters=model.parameters(), grad_clip=clip)


def values(model):
    return [parameter.numpy().copy() for parameter in model.parameters()]


def backward(model, broken=None):
    """Gradients of a loss; in the `broken` layer they are not finite, though the loss is."""
    loss = model(paddle.to_tensor([[1.0, 2.0, 3.0]])).square().sum()
    loss.backward()
    if broken:
        for name, parameter in model.named_parameters():
            if name.startswith(broken):
                parameter.grad.set_value(parameter.grad * np.inf)
    return loss


def test_norm_is_that_of_all_gradients(model, optimizer):
    watch = GradientWatch(model)
    backward(model)
    expected = np.sqrt(sum(float(parameter.grad.square().sum()) for parameter in model.parameters()))
    watch.on_optimizer_begin(ARGUMENTS, STATE, None, optimizer=optimizer)
    assert watch.norm == pytest.approx(expected, rel=1e-5)
    assert expected > 0.1


def test_norm_of_scaled_gradients_is_that_without_the_scale(model, optimizer):
    watch, scaled = GradientWatch(model), GradientWatch(model)
    backward(model)
    watch.on_optimizer_begin(ARGUMENTS, STATE, None, optimizer=optimizer)
    scaler = SimpleNamespace(_scale=paddle.to_tensor(8.0))
    scaled.on_optimizer_begin(ARGUMENTS, STATE, None, optimizer=optimizer, scaler=scaler)
    assert scaled.norm == pytest.approx(watch.norm / 8)


def test_first_bad_step_stops_the_run_and_names_step_batch_and_layers(model, optimizer):
    watch = GradientWatch(model)
    watch.batches += [lambda: "one.mp4 at timestep 5", lambda: "two.mp4 at timestep 9"]
    backward(model, broken="1.")
    message = r"of step 7 are not finite, of one.mp4 at timestep 5; two.mp4 at timestep 9: 1\.weight, 1\.bias"
    with pytest.raises(NonFiniteError, match=message):
        watch.on_optimizer_begin(ARGUMENTS, STATE, None, optimizer=optimizer)


def test_skipped_step_changes_nothing_and_the_next_one_works(model, optimizer, caplog):
    watch, before = GradientWatch(model, max_skipped=1), values(model)
    backward(model, broken="2.weight")
    watch.on_optimizer_begin(ARGUMENTS, STATE, None, optimizer=optimizer)
    optimizer.step()
    optimizer.clear_grad()
    for value, expected in zip(values(model), before):
        np.testing.assert_array_equal(value, expected)
    backward(model)
    watch.on_optimizer_begin(ARGUMENTS, STATE, None, optimizer=optimizer)
    optimizer.step()
    optimizer.clear_grad()
    assert all(not np.array_equal(*pair) for pair in zip(values(model)[:2], before[:2]))
    backward(model, broken="0.")
    with pytest.raises(NonFiniteError, match=r"0\.weight, 0\.bias; --max_skipped_steps 1 is used up"):
        watch.on_optimizer_begin(ARGUMENTS, STATE, None, optimizer=optimizer)


def test_scaler_skips_by_itself(model, optimizer):
    watch = GradientWatch(model)
    backward(model, broken="0.")
    scaler = SimpleNamespace(_scale=paddle.to_tensor(8.0))
    watch.on_optimizer_begin(ARGUMENTS, STATE, None, optimizer=optimizer, scaler=scaler)
    assert not np.isfinite(watch.norm)


def test_parameters_are_those_of_the_innermost_optimizer(model, optimizer):
    model[0].weight.stop_gradient = True
    wrapped = SimpleNamespace(_inner_opt=SimpleNamespace(_inner_opt=optimizer))
    assert [item.name for item in own_parameters(wrapped)] == [item.name for item in list(model.parameters())[1:]]


def test_gradients_are_clipped_to_the_limit_of_the_step(model):
    optimizer = paddle.optimizer.AdamW(0.1, parameters=model.parameters())
    asked = []

    def limit(step, norm):
        asked.append((step, norm))
        return norm / 4

    watch = GradientWatch(model, limit=limit)
    backward(model)
    before = [parameter.grad.numpy().copy() for parameter in model.parameters()]
    watch.on_optimizer_begin(ARGUMENTS, STATE, None, optimizer=optimizer)
    assert asked == [(6, watch.norm)]
    for parameter, gradient in zip(model.parameters(), before):
        np.testing.assert_allclose(parameter.grad.numpy(), gradient / 4, rtol=1e-4)


def test_gradients_below_the_limit_stay_as_they_are(model):
    optimizer = paddle.optimizer.AdamW(0.1, parameters=model.parameters())
    backward(model)
    before = [parameter.grad.numpy().copy() for parameter in model.parameters()]
    GradientWatch(model, limit=lambda step, norm: 2 * norm).on_optimizer_begin(
        ARGUMENTS, STATE, None, optimizer=optimizer
    )
    assert all(np.array_equal(parameter.grad.numpy(), old) for parameter, old in zip(model.parameters(), before))


@pytest.mark.parametrize(
    ("step", "norm", "limit"),
    [(0, 9.0, 2.0), (50, 9.0, 1.25), (100, 9.0, 0.5), (101, 2.5, 0.5), (101, 4.0, 0.0625), (101, 9.0, 0.05)],
)
def test_limit_falls_and_is_lower_for_abnormal_norms_after_that(step, norm, limit):
    assert FallingLimit(last=0.5, ratio=4, steps=100)(step, norm) == pytest.approx(limit)

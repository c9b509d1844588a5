"""CAME: its steps are those of the paper's algorithm, whatever a parameter's shape."""

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.training.came import Came

SHAPES = [(), (7,), (1,), (5, 3), (1, 6), (4, 3, 2), (6, 5, 3, 3), (2, 1, 1, 1)]


def algorithm(parameter, gradients, rates):
    """Algorithm 2 of arXiv:2307.02047 in float64, with matrices of the last two axes; the update alone for vectors."""
    parameter, average, step = parameter.astype(float), np.zeros(parameter.shape), None
    is_matrix, kept = parameter.ndim > 1, {}

    def divided(name, x, squares, beta):
        if not is_matrix:
            kept[name] = beta * kept.get(name, 0) + (1 - beta) * squares
            return x / np.sqrt(kept[name])
        rows, columns = kept.get(name, (0, 0))
        rows = beta * rows + (1 - beta) * squares.mean(axis=-1)
        columns = beta * columns + (1 - beta) * squares.mean(axis=-2)
        kept[name] = rows, columns
        outer = np.einsum("...r,...c->...rc", rows, columns) / rows.mean(axis=-1)[..., None, None]
        return x / np.sqrt(outer)

    for gradient, rate in zip(gradients, rates):
        gradient = gradient.astype(float)
        update = divided("gradient", gradient, gradient**2 + 1e-30, 0.999)
        update = update / max(1.0, np.sqrt((update**2).mean()))
        average = 0.9 * average + 0.1 * update
        step = divided("deviation", average, (update - average) ** 2 + 1e-16, 0.9999) if is_matrix else average
        parameter = parameter - rate * step
    return parameter


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e6])
def test_steps_are_those_of_the_algorithm(shape, size):
    rng = np.random.default_rng(0)
    start = rng.standard_normal(shape).astype(np.float32)
    gradients = [np.float32(size) * rng.standard_normal(shape).astype(np.float32) for _ in range(6)]
    rates = [0.01 * 0.9**number for number in range(6)]
    parameter = paddle.create_parameter(list(shape), "float32")
    parameter.set_value(start)
    optimizer = Came(rates[0], [parameter])
    for gradient, rate in zip(gradients, rates):
        optimizer.set_lr(rate)
        (parameter * paddle.to_tensor(gradient)).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
    expected = algorithm(start, gradients, rates)
    np.testing.assert_allclose(parameter.numpy(), expected, rtol=2e-4, atol=2e-5)
    assert np.abs(expected - start).max() > 1e-3


def make(learning_rate=0.01, clip=None):
    paddle.seed(0)
    with paddle.utils.unique_name.guard():
        layer = paddle.nn.Sequential(paddle.nn.Linear(6, 5), paddle.nn.LayerNorm(5), paddle.nn.Linear(5, 2))
        optimizer = Came(learning_rate, layer.parameters(), clip)
        optimizer._create_accumulators(None, layer.parameters())  # as training does: under names that a state has
        return layer, optimizer


def train(layer, optimizer, steps):
    for number in steps:
        x = paddle.to_tensor(np.random.default_rng(number).standard_normal((4, 6)).astype(np.float32))
        layer(x).square().mean().backward()
        optimizer.step()
        optimizer.clear_grad()


def test_state_that_is_kept_goes_on_to_the_same_bits():
    whole, optimizer = make()
    train(whole, optimizer, range(6))
    first, before = make()
    train(first, before, range(3))
    second, after = make()
    second.set_state_dict(first.state_dict())
    after.set_state_dict({name: x.clone() if hasattr(x, "clone") else x for name, x in before.state_dict().items()})
    train(second, after, range(3, 6))
    for one, other in zip(second.parameters(), whole.parameters()):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_state_is_a_number_for_each_parameter_and_vectors():
    layer, optimizer = make()
    train(layer, optimizer, range(1))
    sizes = {name: x.size for name, x in optimizer.state_dict().items() if isinstance(x, paddle.Tensor)}
    own = sum(parameter.size for parameter in layer.parameters())
    vectors = sum(2 * sum(parameter.shape) for parameter in layer.parameters() if parameter.ndim > 1)
    assert sum(sizes.values()) == own + vectors + sum(p.size for p in layer.parameters() if p.ndim < 2)


def test_parameters_have_their_own_factors_and_those_without_a_gradient_stay():
    layer, optimizer = make()
    slow, _ = make()
    for parameter in slow.parameters():
        parameter.optimize_attr["learning_rate"] = 0.5
    start = [parameter.numpy() for parameter in layer.parameters()]
    train(layer, optimizer, range(1))
    train(slow, Came(0.01, slow.parameters()), range(1))
    for before, one, other in zip(start, layer.parameters(), slow.parameters()):
        np.testing.assert_allclose(before - other.numpy(), (before - one.numpy()) / 2, atol=1e-6)
    alone, optimizer = make()
    before = alone[0].weight.numpy()
    alone[2].weight.sum().backward()
    optimizer.step()
    np.testing.assert_array_equal(alone[0].weight.numpy(), before)


def test_loss_falls():
    layer, optimizer = make(0.05, paddle.nn.ClipGradByGlobalNorm(1.0))
    x = paddle.to_tensor(np.random.default_rng(1).standard_normal((32, 6)).astype(np.float32))
    losses = []
    for _ in range(30):
        loss = (layer(x) - 1).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]

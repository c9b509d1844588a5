"""A second objective in turn with the first: when it steps, how far, and what a checkpoint has of it."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.errors import InputError, NonFiniteError
from ppdiffusers_ext.training.second import SecondObjective

ARGUMENTS = SimpleNamespace(
    learning_rate=1e-2, adam_beta1=0.5, adam_beta2=0.9, adam_epsilon=1e-8, weight_decay=0.0, max_skipped_steps=0
)


def make(**others):
    paddle.seed(0)
    with paddle.utils.unique_name.guard():
        network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))

    def loss(batch):
        return None if batch["waits"] else network(batch["x"]).mean()

    second = SecondObjective(network, loss, "judges", lambda batch: batch["name"], {})
    second.set_up(SimpleNamespace(**{**vars(ARGUMENTS), **others}))
    return network, second


def batch(value=1.0, waits=False, name="a clip"):
    return {"x": paddle.full([4, 2], value), "waits": waits, "name": name}


def take_step(second, *batches, rate=1e-2, **others):
    for one in batches:
        second.keep(one)
    arguments = SimpleNamespace(**{**vars(ARGUMENTS), **others})
    state = SimpleNamespace(global_step=3)
    second.on_optimizer_begin(arguments, state, None, optimizer=SimpleNamespace(get_lr=lambda: rate))
    second.on_step_end(arguments, state, None)


def values(network):
    return [parameter.numpy() for parameter in network.parameters()]


def test_networks_step_once_for_all_batches_of_a_step_as_for_a_large_batch():
    (one, of_one), (two, of_two) = make(), make()
    both = {**batch(), "x": paddle.concat([batch(1.0)["x"], batch(3.0)["x"]])}
    take_step(of_one, both)
    take_step(of_two, batch(1.0), batch(3.0))
    before = values(make()[0])
    for ours, expected, start in zip(values(two), values(one), before):
        np.testing.assert_allclose(ours, expected, atol=1e-6)
        assert np.abs(ours - start).max() == pytest.approx(1e-2, rel=1e-3)  # one step of Adam


def test_nothing_happens_while_there_is_nothing_to_learn():
    network, second = make()
    before = values(network)
    take_step(second, batch(waits=True), batch(waits=True))
    take_step(second)
    assert all(np.array_equal(*pair) for pair in zip(before, values(network)))


def test_learning_rate_is_that_of_the_models_step():
    network, second = make()
    before = values(network)
    take_step(second, batch(), rate=1e-3)
    assert np.abs(values(network)[0] - before[0]).max() == pytest.approx(1e-3, rel=1e-3)


def test_saved_state_goes_on_to_the_same_bits(tmp_path):
    network, second = make()
    take_step(second, batch(1.0))
    second.save(tmp_path)
    take_step(second, batch(-2.0))
    again, restored = make()
    again[0].weight.set_value(paddle.zeros([2, 3]))
    restored.load(tmp_path)
    take_step(restored, batch(-2.0))
    assert all(np.array_equal(*pair) for pair in zip(values(network), values(again)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["judges.safetensors", "judges_optimizer.safetensors"]


def test_state_of_other_networks_is_refused(tmp_path):
    _, second = make()
    second.save(tmp_path)
    (tmp_path / "judges_optimizer.safetensors").write_bytes((tmp_path / "judges.safetensors").read_bytes())
    with pytest.raises(InputError, match="is not the state of the optimiser of these judges"):
        make()[1].load(tmp_path)


def test_gradients_that_are_not_finite_are_skipped_up_to_a_number():
    network, second = make()
    before = values(network)
    take_step(second, batch(np.nan), max_skipped_steps=1)
    assert all(np.array_equal(*pair) for pair in zip(before, values(network)))
    with pytest.raises(NonFiniteError, match="gradients of the judges of step 3 are not finite, of b.mp4; --max_ski"):
        take_step(second, batch(np.inf, name="b.mp4"), max_skipped_steps=1)

"""Batches of a run: as queues fill them, none lost, and each known without those before it."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppdiffusers_ext.data.easy_animate.batch_plan import BatchPlan, fill_queues

KEYS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=40)


def test_queues_give_a_batch_as_soon_as_it_is_full():
    assert list(fill_queues("abaabb", 2)) == [(2, [0, 2]), (4, [1, 4])]


def order_of(plan, seed, epoch):
    """The items of an epoch in the order in which they come, rebuilt from the plan's own draws."""
    labels = plan._labels[np.random.default_rng([seed, epoch]).permutation(len(plan._labels))]
    orders = [iter(plan._order(epoch, label).tolist()) for label in range(len(plan._counts))]
    return [next(orders[label]) for label in labels]


@given(KEYS, st.integers(1, 9), st.integers(0, 99))
def test_batches_are_those_that_queues_fill_from_one_epoch_after_another(keys, batch_size, seed):
    plan = BatchPlan(keys, batch_size, seed)
    epochs = [order_of(plan, seed, epoch) for epoch in range(5)]
    assert all(sorted(epoch) == list(range(len(keys))) for epoch in epochs)
    stream = [item for epoch in epochs for item in epoch]
    filled = [
        [stream[place] for place in places] for _, places in fill_queues([keys[item] for item in stream], batch_size)
    ]
    assert [plan.batch(number).tolist() for number in range(len(filled))] == filled


@given(KEYS, st.integers(1, 9), st.integers(0, 99))
def test_batch_has_one_key_and_follows_from_its_number_alone(keys, batch_size, seed):
    numbers = range(6)
    plan = BatchPlan(keys, batch_size, seed)
    batches = [plan.batch(number).tolist() for number in numbers]
    assert all(len(batch) == batch_size and len({keys[item] for item in batch}) == 1 for batch in batches)
    assert batches == [BatchPlan(keys, batch_size, seed).batch(number).tolist() for number in reversed(numbers)][::-1]
    for number, batch in zip(numbers, batches):
        assert plan.alike(number).tolist() == [item for item, key in enumerate(keys) if key == keys[batch[0]]]


@given(KEYS, st.integers(1, 9))
def test_as_many_batches_are_complete_after_each_epoch_as_queues_fill(keys, batch_size):
    plan = BatchPlan(keys, batch_size, 0)
    filled = [number // len(keys) for number, _ in fill_queues(keys * 6, batch_size)]
    complete = [sum(epoch < epochs for epoch in filled) for epochs in range(7)]
    assert complete == [plan._complete_after(epochs) for epochs in range(7)]


def test_epochs_and_seeds_have_other_orders_and_kinds_mix():
    plan, other = (BatchPlan("ab" * 50, 1, seed) for seed in (1, 2))
    epochs = [[int(plan.batch(number)[0]) for number in range(start, start + 100)] for start in (0, 100)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(100)) and epochs[0] != epochs[1]
    assert epochs[0] != [int(other.batch(number)[0]) for number in range(100)]
    assert 5 < sum(epochs[0][place] % 2 for place in range(50)) < 45


def test_any_place_of_a_run_over_a_million_clips_is_found_at_once():
    plan = BatchPlan(np.random.default_rng(0).integers(0, 70, 1_000_000).tolist(), 8, 1)
    start = time.monotonic()
    for number in range(12_345_678, 12_345_778):
        plan.batch(number)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("batch_size", [3, 64])
def test_key_of_one_clip_waits_for_several_epochs(batch_size):
    plan = BatchPlan("abbbb", batch_size, 0)
    batches = [plan.batch(number).tolist() for number in range(200)]
    assert [0] * batch_size in batches

"""Values of a run's state: what is decoded is what was encoded, and all schedulers go on from it."""

import json

import numpy as np
import paddle
import pytest

from ppdiffusers_ext.pipelines.calls import as_generator
from ppdiffusers_ext.pipelines.schedulers import make_scheduler, scheduler_names
from ppdiffusers_ext.pipelines.state_values import SchedulerState, decode, encode, random_state, set_random_state
from ppdiffusers_ext.weights.arrays import to_tensor

STEPS = 6


def through_json(value, arrays):
    return decode(json.loads(json.dumps(encode(value, arrays), allow_nan=False)), tensors_of(arrays))


def tensors_of(arrays):
    return {name: to_tensor(array.copy()) for name, array in arrays.items()}


def test_values_come_back():
    values = {
        "none": None, "flag": True, "count": 3, "number": 0.1, "nan": float("nan"), "inf": float("-inf"), "text": "é",
        "list": [1, (2.5, None), {"a": [np.float32(1.5), np.int64(7)]}], "array": np.arange(6.0).reshape(2, 3),
        "tensor": paddle.to_tensor([[1.5, 2.5]]), "number tensor": paddle.to_tensor(3, dtype="int64"),
        "half": paddle.to_tensor([1.5]).astype("bfloat16"), "flags": paddle.to_tensor([True, False]),
    }  # fmt: skip
    found = through_json(values, {})
    assert list(found) == list(values)
    assert np.isnan(found.pop("nan")) and found["inf"] == values["inf"] and found["list"] == values["list"]
    assert type(found["list"][1]) is tuple and type(found["list"][2]["a"][0]) is np.float32
    assert np.array_equal(found["array"], values["array"]) and found["array"].flags.writeable
    for name in ("tensor", "number tensor", "half", "flags"):
        assert found[name].dtype == values[name].dtype and found[name].shape == values[name].shape
        assert bool((found[name] == values[name]).all())
    for name in ("none", "flag", "count", "number", "text"):
        assert found[name] == values[name] and type(found[name]) is type(values[name])


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": print}, np.array(["text"]), 1j, b"bytes"])
def test_what_cannot_be_kept_is_refused(value):
    with pytest.raises(TypeError, match="cannot be kept"):
        encode(value, {})


def test_random_numbers_go_on():
    generator = as_generator(5)
    paddle.randn([3])
    states = json.loads(json.dumps(random_state(generator)))
    expected = paddle.randn([4])
    paddle.seed(1)
    set_random_state(states, generator)
    assert bool((paddle.randn([4]) == expected).all())


@pytest.mark.parametrize("states", [[], [[], []], [[[0]], []], "text", [[["a", 1, 2, "b"]], []]])
def test_random_numbers_of_nothing_are_refused(states):
    with pytest.raises((ValueError, TypeError)):
        set_random_state(states, None)


def denoise(scheduler, latents, first=0, stop=None):
    for timestep in list(scheduler.timesteps)[first:stop]:
        scaled = scheduler.scale_model_input(latents, timestep)
        latents = scheduler.step(0.3 * scaled.tanh() + 0.1, timestep, latents).prev_sample.astype("float32")
    return latents


def new(name):
    scheduler = make_scheduler(name)
    scheduler.set_timesteps(STEPS)
    return scheduler


@pytest.mark.parametrize("name", scheduler_names())
def test_scheduler_goes_on_after_each_step(name):
    paddle.seed(0)
    noise = paddle.randn([1, 4, 2, 8, 8])
    try:
        scheduler = new(name)
        expected = denoise(scheduler, noise * scheduler.init_noise_sigma)
    except Exception as error:  # of no use to these pipelines, which say so
        pytest.skip(f"{name} makes no such clip: {type(error).__name__}")
    count = len(scheduler.timesteps)
    for done in range(1, count):
        paddle.seed(0)
        paddle.randn([1, 4, 2, 8, 8])
        scheduler = new(name)
        state, arrays = SchedulerState(scheduler), {}
        latents = denoise(scheduler, noise * scheduler.init_noise_sigma, stop=done)
        try:
            kept = json.loads(json.dumps(state.encode(arrays), allow_nan=False))
        except TypeError:
            assert name in ("DPMSolverSDEScheduler",)  # which has a source of noise of its own
            continue
        numbers = random_state(None)
        denoise(scheduler, latents, first=done)  # what it does to its own tensors is nothing to what was kept
        again = new(name)
        SchedulerState(again).restore(kept, tensors_of(arrays))
        set_random_state(numbers, None)
        assert bool((denoise(again, latents, first=done) == expected).all()), done

"""Values of a run's state as JSON and tensors, without pickles: schedulers, random numbers, what a run collects.

JSON holds what it can; a tensor is a name in a table of arrays, which a .safetensors file holds.
"""

import math
from typing import Any

import numpy as np
import paddle
from ppdiffusers.utils.paddle_utils import get_rng_state_tracker

from ppdiffusers_ext.weights.arrays import to_array
from ppdiffusers_ext.weights.formats import SAFETENSORS_DTYPES

_DTYPES = tuple(SAFETENSORS_DTYPES.values())
_KINDS = ("tensor", "array", "scalar", "tuple", "dict", "float")


def encode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON writes it; its numbers in tensors and arrays get into `arrays`.

    Raises:
        TypeError: a value of another kind than numbers, texts, tensors, arrays, lists, tuples and dicts of them.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and not isinstance(value, np.generic):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, paddle.Tensor):
        # A copy: the scheduler may write into its own.
        return {"tensor": _add(to_array(value).copy(), arrays), "cpu": value.place.is_cpu_place()}
    if isinstance(value, np.ndarray) and value.dtype in _DTYPES:
        return {"array": _add(value.copy(), arrays)}
    if isinstance(value, np.generic) and value.dtype in _DTYPES:
        return {"scalar": _add(np.asarray(value), arrays)}
    if isinstance(value, (list, tuple)):
        items = [encode(item, arrays) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: encode(item, arrays) for key, item in value.items()}}
    raise TypeError(f"a {type(value).__name__} cannot be kept")


def _add(array: np.ndarray, arrays: dict[str, np.ndarray]) -> str:
    name = f"value.{len(arrays)}"
    arrays[name] = np.ascontiguousarray(array).reshape(array.shape)
    return name


def decode(value: Any, tensors: dict[str, paddle.Tensor]) -> Any:
    """What `encode` was given, of what it returned and of its arrays as tensors.

    Raises:
        ValueError, KeyError, TypeError: it is nothing that `encode` returns.
    """
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    (kind,) = set(value) & set(_KINDS)
    content = value[kind]
    if kind == "tensor":
        tensor = tensors[content].clone()
        return tensor.cpu() if value["cpu"] else tensor.to(paddle.device.get_device())
    if kind in ("array", "scalar"):
        array = to_array(tensors[content]).copy()
        return array if kind == "array" else array[()]
    if kind == "tuple":
        return tuple(decode(item, tensors) for item in content)
    if kind == "dict":
        return {key: decode(item, tensors) for key, item in content.items()}
    return float(content)


class SchedulerState:
    """What a scheduler keeps from step to step.

    Args:
        scheduler: one of ppdiffusers', before its first step.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler, self._before = scheduler, dict(vars(scheduler))

    def encode(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        """Its attributes; for arguments and errors see `encode`. What cannot be kept and is as before is left out."""
        state = {}
        for name, value in vars(self._scheduler).items():
            if name == "_internal_dict":  # its options
                continue
            try:
                state[name] = encode(value, arrays)
            except TypeError:
                if self._before.get(name) is not value:
                    raise
        return state

    def restore(self, state: dict[str, Any], tensors: dict[str, paddle.Tensor]) -> None:
        """Give it the attributes that `encode` returned; for errors see `decode`."""
        vars(self._scheduler).update({name: decode(value, tensors) for name, value in state.items()})

    def reset(self) -> None:
        """Give it the attributes that it had before its first step."""
        vars(self._scheduler).clear()
        vars(self._scheduler).update(self._before)


def random_state(generator: str | None) -> list[Any]:
    """The states of Paddle's random numbers and of a generator of `calls.as_generator`, as JSON writes them."""
    states = [paddle.get_rng_state(), get_rng_state_tracker().states_.get(generator) or []]
    return [[_plain(state) for state in each] for each in states]


def set_random_state(states: list[Any], generator: str | None) -> None:
    """Set what `random_state` returned. Raises ValueError, TypeError for something else."""
    current, of_generator = ([_of_plain(state) for state in each] for each in states)
    if len(current) != len(paddle.get_rng_state()):
        raise ValueError("random numbers of another device")
    paddle.set_rng_state(current)
    if of_generator:
        get_rng_state_tracker().states_[generator] = of_generator


def _plain(state: Any) -> list[Any]:
    device, seed, offset, engine = state.__getstate__()
    return [device, seed, offset, bytes(engine).decode("ascii")]


def _of_plain(plain: list[Any]) -> Any:
    device, seed, offset, engine = plain
    kind = type(paddle.framework.core.default_cpu_generator().get_state())
    state = kind.__new__(kind)
    state.__setstate__((int(device), int(seed), int(offset), list(engine.encode("ascii"))))
    return state

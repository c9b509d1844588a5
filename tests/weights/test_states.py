"""States of optimisers and schedules: read as Paddle reads them, and without running anything."""

import os
import pickle

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.loading import read_state
from tests.support.fuzzing import bounded
from tests.support.special_files import special


class Executes:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def optimizer():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    schedule = paddle.optimizer.lr.CosineAnnealingDecay(0.1, T_max=5)
    optimizer = paddle.optimizer.AdamW(schedule, parameters=model.parameters())
    model(paddle.rand([2, 3])).square().sum().backward()
    optimizer.step()
    schedule.step()
    return optimizer


def assert_same(ours, theirs):
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for name in theirs:
            assert_same(ours[name], theirs[name])
    elif isinstance(theirs, paddle.Tensor):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    else:
        assert ours == theirs


def test_state_is_what_paddle_reads(tmp_path, optimizer):
    path = str(tmp_path / "optimizer.pdopt")
    paddle.save(
        {**optimizer.state_dict(), "master_weights": {"a": paddle.ones([2], "float16")}, "more": [1, (2.5, "x")]}, path
    )
    ours, theirs = read_state(path), paddle.load(path)
    assert {"LR_Scheduler", "master_weights"} < set(ours)
    assert_same(ours, theirs)


def test_tensors_outlive_the_file(tmp_path, optimizer):
    path = tmp_path / "optimizer.pdopt"
    paddle.save(optimizer.state_dict(), str(path))
    state, expected = read_state(path), paddle.load(str(path))
    path.write_bytes(b"\0" * path.stat().st_size)
    assert_same(state, expected)


def test_optimizer_takes_it(tmp_path, optimizer):
    path = str(tmp_path / "optimizer.pdopt")
    paddle.save(optimizer.state_dict(), path)
    optimizer.set_state_dict(read_state(path))
    assert optimizer.state_dict()["LR_Scheduler"]["last_epoch"] == 1


def test_nothing_is_executed(tmp_path):
    path, marker = tmp_path / "optimizer.pdopt", tmp_path / "executed"
    path.write_bytes(pickle.dumps({"moment": Executes(f"touch {marker}")}))
    with pytest.raises(InputError, match="wants to import (posix|nt)"):
        read_state(path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"<html>no such file</html>"], ids=["empty", "cut", "page"])
def test_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "scheduler.pdparams"
    path.write_bytes(content)
    with pytest.raises(InputError, match="scheduler.pdparams"):
        read_state(path)


# A state is a graph: what stands in it many times is there once, and counts as often as it stands there.


class Machine:
    """Pickles by hand, which refer to what they have put down: `G` is a global, the rest are operations."""

    def __init__(self):
        self.out = [pickle.PROTO + b"\x02"]

    def add(self, *parts):
        self.out += parts
        return self

    def write(self, path):
        path.write_bytes(b"".join([*self.out, pickle.STOP]))
        return path


def number(index):
    return index.to_bytes(4, "little")


def nested(outer, inner, depth, width):
    """A text, then `depth` containers of `width` times the one before."""
    parts = [b"X\x01\x00\x00\x00a"]
    make = {"tuple": (b"(", b"t"), "list": (b"(", b"l"), "dict": (b"(", b"d")}
    for level in range(depth):
        parts += [pickle.LONG_BINPUT + number(level), pickle.POP]
        start, end = make[outer if level % 2 else inner]
        items = [pickle.LONG_BINGET + number(level)] * width
        if end == b"d":
            items = [b"X\x04\x00\x00\x00" + f"{i:04}".encode() + item for i, item in enumerate(items)]
        parts += [start, *items, end]
    return parts


@pytest.mark.parametrize("depth, width", [(60, 2), (30, 3), (8, 60), (3, 1000), (99, 2)])
@pytest.mark.parametrize("kinds", [("tuple", "tuple"), ("list", "tuple"), ("dict", "dict"), ("tuple", "dict")])
def test_what_unfolds_to_more_than_the_file_is_refused_at_once(tmp_path, kinds, depth, width):
    path = Machine().add(*nested(*kinds, depth, width)).write(tmp_path / "a.pdopt")
    with bounded(), pytest.raises(InputError, match="unfolds to more"):
        read_state(path)


def test_what_is_shared_stays_shared(tmp_path):
    array = np.arange(6, dtype=np.float32)
    inner = (array, "x")
    path = tmp_path / "a.pdopt"
    path.write_bytes(pickle.dumps({"a": inner, "b": [inner, inner], "c": array}, 4))
    state = read_state(path)
    assert state["a"] is state["b"][0] is state["b"][1] and state["a"][0] is state["c"]
    np.testing.assert_array_equal(state["c"].numpy(), array)


def many_arrays(way, array, count):
    """A state whose `count` names are of one array; `way`: by reference, or each a view of its bytes."""
    if way == "one array":
        return pickle.dumps(dict.fromkeys((str(i) for i in range(count)), array), 4)
    if way == "pairs":
        return pickle.dumps({str(i): (str(i), array) for i in range(count)}, 4)
    rebuild, data = np.zeros(1, np.float32).__reduce_ex__(5)[0], array.tobytes()

    class View:
        def __reduce__(self):
            return rebuild, (data, np.dtype(np.float32), array.shape, "C")

    return pickle.dumps({str(i): View() for i in range(count)}, 4)


@pytest.mark.parametrize("way", ["one array", "pairs", "views"])
def test_many_names_of_one_array_are_refused_at_once(tmp_path, way):
    path = tmp_path / "a.pdopt"
    path.write_bytes(many_arrays(way, np.zeros(1 << 18, np.float32), 49_000))
    with bounded(most=256 << 20), pytest.raises(InputError, match="unfolds to more"):
        read_state(path)
    path.write_bytes(many_arrays(way, np.ones(1 << 18, np.float32), 3))  # tied weights have two
    assert [int(tensor.sum()) for tensor in flat(read_state(path))] == [1 << 18] * 3


def flat(state):
    return [value[1] if isinstance(value, tuple) else value for value in state.values()]


@pytest.mark.parametrize(
    "cycle",
    [b"]q\x00h\x00a", b"}q\x00X\x01\x00\x00\x00ah\x00s", b"]q\x00(h\x00h\x00ta", b"]q\x00]h\x00aa"],
    ids=["list", "dict", "tuple", "lists"],
)
def test_state_that_holds_itself_is_refused(tmp_path, cycle):
    path = Machine().add(cycle).write(tmp_path / "a.pdopt")
    with bounded(), pytest.raises(InputError, match="a.pdopt .*holds itself"):
        read_state(path)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "nothing", "secret"])
def test_what_is_no_file_is_refused(tmp_path, kind):
    path = special(tmp_path / "a.pdopt", kind)
    with bounded(), pytest.raises(InputError, match=str(path)):
        read_state(path)

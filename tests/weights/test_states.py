"""States of optimisers and schedules: read as Paddle reads them, and without running anything."""

import os
import pickle

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.loading import read_state


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

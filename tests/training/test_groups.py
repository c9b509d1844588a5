"""Groups of all processes, which share their connections where these are gloo's."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from paddle.distributed import collective

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.training.groups import from_first, leave, refuse_together, share_connections, wait_for_first
from tests.support.ranks import run_ranks

ROOT = Path(__file__).parents[2]


@pytest.fixture
def make(monkeypatch):
    """Paddle's function, in a run of three processes, that makes what a group talks through."""
    first = SimpleNamespace(nranks=3, process_group="the first")
    monkeypatch.setattr(collective, "_get_default_group", lambda: first)
    monkeypatch.setattr(collective, "_new_process_group_impl", lambda *given, **options: (given, options))
    share_connections()
    share_connections()
    return lambda *given, **options: collective._new_process_group_impl(*given, **options)


def test_group_of_all_processes_shares_the_connections_of_the_first(make):
    assert make("gloo", "store", 1, 3, "name", pg_options=None, group_id=11) == "the first"


@pytest.mark.parametrize(
    "given", [("gloo", "store", 1, 2, "name"), ("nccl", "store", 1, 3, "name")], ids=lambda g: g[0]
)
def test_other_groups_are_made_as_before(make, given):
    assert make(*given, group_id=11) == (given, {"group_id": 11})


# The end of the process is made to fail, as Paddle's destructors fail at times.
_PATIENCE = """
import atexit
import ctypes
import sys
import time
from pathlib import Path

import paddle
from paddle import distributed
from ppdiffusers_ext.training.groups import leave, wait_for_first

c = ctypes.CDLL(None)
c.on_exit(c.abort, None)

distributed.init_parallel_env()
if distributed.get_rank() == 0:
    time.sleep(float(sys.argv[1]))
wait_for_first("here")
total = paddle.ones([1])
distributed.all_reduce(total)
assert float(total) == 2
atexit.register(Path(f"left_{distributed.get_rank()}").touch)
leave()
"""


@pytest.mark.long
@pytest.mark.parametrize("seconds", [2, pytest.param(35, marks=pytest.mark.slow)])  # gloo waits for 30 seconds
def test_first_process_may_take_longer_than_gloo_waits_and_the_end_of_none_can_fail(tmp_path, seconds):
    (tmp_path / "patience.py").write_text(_PATIENCE)
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--backend", "gloo"]
    script = [str(tmp_path / "patience.py"), str(seconds)]
    command = [sys.executable, *launch, "--log_dir", str(tmp_path / "logs"), *script]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-2000:]
    assert sorted(path.name for path in tmp_path.glob("left_*")) == ["left_0", "left_1"]


def test_a_single_process_neither_waits_nor_leaves():
    wait_for_first("here")
    leave()


def refuse():
    raise InputError("a folder is missing")


def test_what_the_first_process_makes_or_refuses_is_so_in_all(monkeypatch):
    assert run_ranks(monkeypatch, [lambda: from_first("text", lambda: "")] * 3) == [""] * 3
    errors = run_ranks(monkeypatch, [lambda: from_first("text", refuse)] * 3)
    assert [(type(error), str(error)) for error in errors] == [(InputError, "a folder is missing")] * 3


@pytest.mark.parametrize("problems", [("", "", ""), ("", "b", "c"), ("a", "", "c")])
def test_problem_of_one_process_is_refused_in_all(monkeypatch, problems):
    errors = run_ranks(monkeypatch, [lambda each=each: refuse_together("here", each) for each in problems])
    expected = next(filter(None, problems), None)
    assert [error and str(error) for error in errors] == [expected] * 3

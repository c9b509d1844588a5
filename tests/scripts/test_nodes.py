"""The launcher of one of several machines: what it says meanwhile, and how it reads which machine this is."""

import contextlib
from types import SimpleNamespace

import pytest
from paddle.distributed.launch.context.status import Status
from paddle.distributed.launch.controllers.master import Master

from ppdiffusers_ext.distributed.meeting import End, Nodes
from ppdiffusers_ext.errors import InputError
from scripts import launch, nodes
from scripts.nodes import own_address, read_nodes
from tests.support.ports import free_address


@pytest.fixture
def master():
    return free_address()


@pytest.fixture
def launcher(master):
    """Call it for the part of Paddle's launcher that meets other machines, and what that knows of its own state."""
    with contextlib.ExitStack() as stack:

        def make(rank, wait):
            stack.enter_context(nodes.several(Nodes(2, rank, master, wait)))
            context = SimpleNamespace(status=Status(), args=SimpleNamespace(master=master), node=None)
            context.status.run()
            return Master.factory(context), context.status

        yield make


@pytest.mark.parametrize(("rank", "whom"), [(0, "the other machines at"), (1, "the machine with --rank 0, which")])
def test_machine_says_at_once_whom_it_waits_for(launcher, capsys, rank, whom):
    with pytest.raises(InputError):
        launcher(rank, wait=0.1)[0].sync_peers("/", "key", "value", 2)
    assert capsys.readouterr().err.startswith(f"waiting for {whom} ")


@pytest.mark.parametrize("is_done", [False, True])
def test_end_of_another_machine_is_told_once_after_the_processes_are_stopped(launcher, capsys, is_done):
    first, status = launcher(0, wait=0.1)
    if is_done:
        status.complete()
    first._end(End(1, "the machine with --rank 1 has ended: it was stopped"))
    assert status.is_restarting() is not is_done and capsys.readouterr().err == ""
    first.stop()
    first.stop()
    told = capsys.readouterr().err.splitlines()
    assert told == ([] if is_done else ["error: the machine with --rank 1 has ended: it was stopped"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_own_address_is_that_of_the_masters_network(host):
    assert own_address(f"{host}:6170") == "127.0.0.1"


# What the words of the command line say


def read(*words):
    return read_nodes(words, launch._value_of)


def test_words_say_which_machine_this_is():
    assert read("--gpus", "0,1") is None
    assert read("--nnodes", "1") is None
    assert read("--nnodes=2:4", "--master=etcd://10.0.0.1:2379") is None  # which Paddle's launcher brings together
    assert read("--nnodes=2", "--rank=1", "--master", "head:6170") == Nodes(2, 1, "head:6170", 600)
    assert read("--nnodes=2", "--rank=0", "--master", "head:1", "--elastic_timeout", "30").wait == 30


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nnodes", "2"], "--nnodes 2 needs --master ADDRESS:PORT"),
        (["--nnodes", "2", "--master", "a:1"], "--nnodes 2 needs --rank, 0 to 1"),
        (["--nnodes", "2", "--master", "a:1", "--rank", "2"], "--rank '2' cannot be used; 0 to 1 is accepted"),
        (["--nnodes", "2", "--master", "a:1", "--rank", "-1"], "--rank '-1' cannot be used"),
        (["--nnodes", "0"], "--nnodes '0' cannot be used; 1 to "),
        (["--nnodes", "9" * 5000], "--nnodes '999"),
        (["--nnodes", "2:4"], "--nnodes '2:4' cannot be used"),
        (["--nnodes", "2", "--master", "a"], "--master 'a' is no ADDRESS:PORT"),
        (["--nnodes", "2", "--master", "a:0"], "--master 'a:0' is no ADDRESS:PORT"),
        (["--nnodes", "2", "--master", "http://a:1/"], "is no ADDRESS:PORT"),
        (["--nnodes", "2", "--master", "a:99999"], "is no ADDRESS:PORT"),
        (
            ["--nnodes", "2", "--master", "a:1", "--rank", "0", "--elastic_timeout", "0"],
            "--elastic_timeout '0' cannot",
        ),
        (["--max_restart", "-1"], "--max_restart '-1' cannot be used; a whole number from 0"),
        (["--max_restart", "x"], "--max_restart 'x' cannot be used"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_words_that_do_not_fit_are_told_before_anything_starts(capsys, monkeypatch, words, message):
    monkeypatch.setattr(launch, "_start", lambda *given: pytest.fail(f"started {given}"))
    assert launch.main([*words, "scripts/trainer_stage1.py"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}") or message in line
    assert len(line) < 400


@pytest.mark.parametrize(
    ("restarts", "codes", "code", "starts"),
    [(0, [1], 1, 1), (2, [1, 0], 0, 2), (2, [1, 1, 1], 1, 3), (2, [2], 2, 1), (2, [143], 143, 1)],
)
def test_processes_that_fail_are_started_again_unless_they_were_stopped_or_refuse(
    capsys, monkeypatch, restarts, codes, code, starts
):
    left = list(codes)
    monkeypatch.setattr(launch, "_start_once", lambda words, nodes: left.pop(0))
    assert launch.main(["--max_restart", str(restarts), "scripts/trainer_stage1.py"]) == code
    assert len(codes) - len(left) == starts
    told = [f"restart {number} of {restarts}, from the newest checkpoint" for number in range(1, starts)]
    assert capsys.readouterr().err.splitlines() == told

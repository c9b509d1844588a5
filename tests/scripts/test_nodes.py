"""Launchers of several machines: they meet or say why not, and end together."""

import contextlib
import http.server
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from paddle.distributed.launch.context.status import Status
from paddle.distributed.launch.controllers.master import Master

from ppdiffusers_ext.errors import InputError
from scripts import launch, nodes
from scripts.nodes import Meeting, Nodes, own_address, read_nodes


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in {"_BEAT": 0.02, "_FAREWELL": 0.5, "_PAUSE": 0.02}.items():
        monkeypatch.setattr(nodes, name, seconds)


@pytest.fixture
def master():
    """Address with a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def machine(master):
    """Call it for a `Meeting` of a rank, which is closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(rank, count=2, wait=10.0):
            meeting = Meeting(Nodes(count, rank, master, wait))
            stack.callback(meeting.close)
            return meeting

        yield make


def together(*meetings):
    """What each machine hears when it says its rank, or why it refuses."""
    results = [None] * len(meetings)

    def call(place):
        try:
            results[place] = meetings[place].meet(f"of {meetings[place].nodes.rank}")
        except InputError as error:
            results[place] = str(error)
            meetings[place].say(2, str(error))

    threads = [threading.Thread(target=call, args=[place]) for place in range(len(meetings))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def watch(*meetings):
    """The list of what each machine is told of the end of another one."""
    told = []
    for meeting in meetings:
        meeting.watch(told.append)
    return told


def test_machines_meet_in_any_order_and_know_all_by_rank(machine):
    said = ["of 0", "of 1", "of 2"]
    assert together(machine(2, 3), machine(0, 3), machine(1, 3)) == [said] * 3


def test_machine_that_does_not_come_is_named(machine):
    first, other = together(machine(0, 3, wait=1.5), machine(2, 3, wait=2.0))
    assert first == "not all machines have come within 1 second: --rank 1; --elastic_timeout SECONDS waits longer"
    assert other.startswith(("not all machines", "the machine with --rank 0 has ended: not all"))


def test_master_that_does_not_answer_is_told(machine, master):
    (said,) = together(machine(1, wait=0.2))
    assert said.startswith(f"--master {master} does not answer for ")


@pytest.fixture
def other_program(master):
    """Something else that serves at the master's port."""
    server = http.server.HTTPServer(("127.0.0.1", int(master.split(":")[1])), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    yield
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("rank", "message"),
    [(0, "of this machine cannot be used (Address already in use); a free"), (1, "is the port of another program")],
)
def test_port_of_another_program_is_told(machine, other_program, rank, message):
    (said,) = together(machine(rank, wait=0.3))
    assert said.startswith("--master 127.0.0.1:") and message in said


STRANGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\xff\xfe\n\n",
    b"PUT /node/1 HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n",
    b"PUT /node/1 HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"DELETE /round HTTP/1.1\r\n\r\n",
    *(
        b"PUT %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (path, len(text), text)
        for path, text in (
            (b"/round", b"x"),
            (b"/node/x", b"{}"),
            (b"/node/1", b"\xff"),
            (b"/node/1", b"no JSON"),
            (b"/node/1", b"[" * 5000),
            (b"/node/1", b'{"count": "2", "value": "x", "id": "y"}'),
            (b"/ended/1", b"{}"),
            (b"/ended/1", b'{"code": 1, "why": "x"}'),
            (b"/alive/1", b"\xff"),
        )
    ),
]


def test_what_strangers_say_to_the_master_ends_nobody(machine, master, capfd):
    meetings = machine(0), machine(1)
    meetings[0]._serve = lambda serve=meetings[0]._serve: [serve(), *map(talk, STRANGE)]

    def talk(words):
        host, port = master.split(":")
        with socket.create_connection((host, int(port)), 5) as stranger:
            stranger.sendall(words)
            stranger.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                stranger.recv(1000)

    assert together(*meetings) == [["of 0", "of 1"]] * 2
    told = watch(*meetings)
    for words in STRANGE:
        talk(words)
    time.sleep(0.1)
    assert told == [] and meetings[0]._texts().keys() >= {"/node/0", "/node/1", "/round", "/started"}
    assert capfd.readouterr().err == ""


def test_rank_that_two_machines_have_is_told_to_all(machine):
    said = together(machine(0, 3), machine(1, 3), machine(1, 3))
    assert len([text for text in said if text.startswith("--rank 1 is given to two machines; 0 to 2")]) == 1
    assert all("--rank 1 is given to two machines" in text for text in said)


def test_other_number_of_machines_is_told(machine):
    said = together(machine(0, 2), machine(1, 3))
    assert any(text.startswith("--nnodes is ") and "the same on all is accepted" in text for text in said)
    assert all("--nnodes is " in text for text in said)


def test_end_of_one_is_told_to_all_with_its_reason(machine):
    meetings = [machine(rank, 3) for rank in range(3)]
    together(*meetings)
    told = watch(*meetings)
    meetings[1].say(2, "its process 0 failed: there is no clips.json")
    wait_for(lambda: len(told) == 2)
    assert {(end.code, end.why) for end in told} == {
        (2, "the machine with --rank 1 has ended: its process 0 failed: there is no clips.json")
    }
    meetings[0].say(1, "it was stopped")  # for the sake of machine 1, which is still what the others are told of
    assert meetings[2]._problem(meetings[2]._texts(), {}).why.startswith("the machine with --rank 1 has ended: its")


def test_machines_that_are_done_end_nobody(machine, monkeypatch):
    monkeypatch.setattr(nodes, "_SILENCE", 0.2)
    meetings = [machine(rank) for rank in range(2)]
    together(*meetings)
    told = watch(*meetings)
    meetings[1].say(0, "")
    time.sleep(0.5)
    assert told == [] and meetings[0].end is None


@pytest.mark.parametrize("lost", [0, 1])
def test_machine_that_is_silent_is_lost(machine, monkeypatch, lost):
    monkeypatch.setattr(nodes, "_SILENCE", 0.2)
    meetings = [machine(rank) for rank in range(2)]
    together(*meetings)
    told = watch(meetings[1 - lost])
    if lost == 0:
        meetings[0]._server.stop()
        meetings[0]._server = None
    wait_for(lambda: told)
    assert told[0].code == 1
    assert told[0].why.startswith(f"the machine with --rank {lost} has ended: no sign of life for ")


def test_machines_start_again_together_when_all_have_ended(machine):
    first = [machine(rank) for rank in range(2)]
    together(*first)
    first[1].say(1, "its process 0 failed")
    again = machine(1)
    thread = threading.Thread(target=again.meet, args=["of 1, again"])
    thread.start()  # before the first machine has noticed
    time.sleep(0.1)
    first[0].say(1, "it was stopped")
    first[0].close()
    assert machine(0).meet("of 0, again") == ["of 0, again", "of 1, again"]
    thread.join()


def test_machine_that_comes_back_ends_the_run_and_is_in_the_next(machine):
    first = [machine(rank) for rank in range(2)]
    together(*first)
    told = watch(first[0])
    again = machine(1)
    thread = threading.Thread(target=again.meet, args=["of 1, again"])
    thread.start()
    wait_for(lambda: told)
    assert told[0].why == "the machine with --rank 1 has ended: it was started anew"
    first[0].say(1, "it was stopped")
    first[0].close()
    assert machine(0).meet("of 0, again") == ["of 0, again", "of 1, again"]
    thread.join()


# What Paddle's launcher does with it


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
    first._end(nodes._End(1, "the machine with --rank 1 has ended: it was stopped"))
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

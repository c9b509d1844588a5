"""Launchers of several machines: they meet or say why not, and end together."""

import contextlib
import http.server
import socket
import threading
import time

import pytest

from ppdiffusers_ext.distributed import meeting
from ppdiffusers_ext.distributed.meeting import Meeting, Nodes
from ppdiffusers_ext.errors import InputError
from tests.support.ports import free_address


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in {"_BEAT": 0.02, "_FAREWELL": 0.5, "_PAUSE": 0.02}.items():
        monkeypatch.setattr(meeting, name, seconds)


@pytest.fixture
def master():
    return free_address()


@pytest.fixture
def machine(master):
    """Call it for a `Meeting` of a rank, which is closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(rank, count=2, wait=10.0):
            made = Meeting(Nodes(count, rank, master, wait))
            stack.callback(made.close)
            return made

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
    for each in meetings:
        each.watch(told.append)
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
    monkeypatch.setattr(meeting, "_SILENCE", 0.2)
    meetings = [machine(rank) for rank in range(2)]
    together(*meetings)
    told = watch(*meetings)
    meetings[1].say(0, "")
    time.sleep(0.5)
    assert told == [] and meetings[0].end is None


@pytest.mark.parametrize("lost", [0, 1])
def test_machine_that_is_silent_is_lost(machine, monkeypatch, lost):
    monkeypatch.setattr(meeting, "_SILENCE", 0.2)
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

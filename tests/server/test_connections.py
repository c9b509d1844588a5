"""Clients that keep the server waiting: the server ends their connections and serves others."""

import socket
import time

import pytest

from ppdiffusers_ext.server import connections
from tests.support.studio import form, studio


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """With all bounds so short that they can be waited for."""
    bounds = {
        "TICK": 0.02,
        "SECONDS_OF_HEAD": 0.3,
        "SECONDS_OF_BODY": 0.3,
        "SECONDS_OF_REST": 0.3,
        "SECONDS_OF_ANSWER": 0.3,
    }
    patch = pytest.MonkeyPatch()
    for name, value in bounds.items():
        patch.setattr(connections, name, value)
    with studio(tmp_path_factory.mktemp("studio")) as server:
        yield server
    patch.undo()


def head_of(found, method="POST", path="/uploads", *more):
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{found.port}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def starts(found):
    """How clients begin who then say no more: name -> bytes."""
    body, headers = form({"file": ("x.png", b"\0" * 50_000)})
    kind = f"Content-Type: {headers['Content-Type']}"
    length = f"Content-Length: {len(body)}"
    return {
        "nothing": b"",
        "half a word": b"GE",
        "half a head": head_of(found)[:-2],
        "a head alone": head_of(found, "POST", "/uploads", kind, length),
        "half a body": head_of(found, "POST", "/uploads", kind, length) + body[:20_000],
        "half a chunk": head_of(found, "POST", "/jobs", kind, "Transfer-Encoding: chunked") + b"ff\r\nx",
        "half of JSON": head_of(found, "POST", "/jobs", "Content-Type: application/json", "Content-Length: 50") + b"{",
        "a body that nobody reads": head_of(found, "POST", "/nowhere", "Content-Length: 1000000") + b"x",
        "half a second request": head_of(found, "GET", "/health") + b"GET /jobs HT",
    }


NAMES = ["nothing", "half a word", "half a head", "a head alone", "half a body", "half a chunk", "half of JSON",
         "a body that nobody reads", "half a second request"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_falls_silent_is_let_go(found, name):
    assert list(starts(found)) == NAMES
    with socket.create_connection(("127.0.0.1", found.port), timeout=20) as connection:
        connection.sendall(starts(found)[name])
        assert read_to_end(connection) is not None
    assert found.ask("GET", "/openapi.json").status == 200
    wait_for(lambda: found.service.uploads.borrowed_tokens == 0)


def read_to_end(connection):
    """All that comes until the server ends the connection, in whatever way."""
    found = b""
    try:
        while piece := connection.recv(1 << 16):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("name", ["nothing", "a head alone", "a body that nobody reads"])
def test_a_client_that_drips_is_let_go(found, name):
    """A byte now and then is no progress."""
    with socket.create_connection(("127.0.0.1", found.port), timeout=20) as connection:
        connection.sendall(starts(found)[name])
        deadline = time.monotonic() + 20
        with pytest.raises(OSError):
            while time.monotonic() < deadline:
                connection.sendall(b"A")
                time.sleep(0.02)
    assert time.monotonic() < deadline


def test_an_upload_that_goes_on_is_waited_for(found, monkeypatch):
    monkeypatch.setattr(connections, "LEAST_OF_BODY", 1000)
    body, headers = form({"file": ("x.txt", b"\0" * 12_000)})
    head = head_of(
        found, "POST", "/uploads", f"Content-Type: {headers['Content-Type']}", f"Content-Length: {len(body)}"
    )
    with socket.create_connection(("127.0.0.1", found.port), timeout=20) as connection:
        connection.sendall(head)
        began = time.monotonic()
        for start in range(0, len(body), 1300):
            connection.sendall(body[start : start + 1300])
            time.sleep(0.1)
        assert time.monotonic() - began > 0.6  # longer than a client may be silent
        assert connection.recv(100).startswith(b"HTTP/1.1 415 ")


def test_a_client_that_takes_nothing_is_let_go(found):
    found.job()
    job, attempt = found.run_next()
    found.end(job, attempt, result=("result.mp4", b"\0" * 30_000_000))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", found.port))
        connection.sendall(head_of(found, "GET", f"/jobs/{job}/result"))
        wait_for(lambda: len(found.server.server_state.connections) == 1)
        wait_for(lambda: not found.server.server_state.connections)
        assert len(read_to_end(connection)) < 30_000_000
    assert len(found.ask("GET", f"/jobs/{job}/result").body) == 30_000_000  # one that reads gets all


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_stream_of_events_is_not_slow_because_nothing_happens(found):
    job = found.job()
    with socket.create_connection(("127.0.0.1", found.port), timeout=20) as connection:
        connection.sendall(head_of(found, "GET", f"/jobs/{job}/events"))
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        time.sleep(0.8)
        connection.settimeout(0.01)
        with pytest.raises(TimeoutError):  # it is open
            while connection.recv(4096):
                pass


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
    b"GET\r\n\r\n", b"\r\n\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n Folded: x\r\n\r\n", b"GET / HTTP/1.1\r\nA\r\n\r\n",
    b"\0" * 70_000,
    b"GET /" + b"a" * 70_000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000,
    b"POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HEAD /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n\xff\xff\xff\r\n\r\n",
]  # fmt: skip


def test_what_is_no_http_is_refused_without_a_traceback(found, caplog):
    for text in GARBAGE:
        answer = found.raw(text, 2)
        assert answer == b"" or answer[9:10] == b"4" or b"/health" in text, text[:80]
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
    assert found.ask("GET", "/openapi.json").status == 200


def test_answers_are_sent_at_once(found):
    """Not held back by the system until the client has confirmed the part before (Nagle's algorithm)."""
    with socket.create_connection(("127.0.0.1", found.port), timeout=20) as connection:
        connection.sendall(head_of(found, "GET", f"/jobs/{found.job()}/events"))
        assert connection.recv(4096)
        kept = [each.transport.get_extra_info("socket") for each in found.server.server_state.connections]
        assert kept and all(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for each in kept)

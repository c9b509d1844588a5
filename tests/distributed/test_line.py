"""The line between ranks, of threads that stand for them."""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ppdiffusers_ext.distributed import line
from ppdiffusers_ext.distributed.line import Line, RankError


class Store:
    """As Paddle's `TCPStore`."""

    def __init__(self):
        self._values, self._changed = {}, threading.Condition()

    def set(self, key, value):
        with self._changed:
            self._values[key] = value
            self._changed.notify_all()

    def get(self, key):
        with self._changed:
            self._changed.wait_for(lambda: key in self._values, 10)
            return self._values[key]


def together(count, work, store=None):
    """What `work(line)` returns, or raises, in each of so many ranks."""
    store = store or Store()

    def be(rank):
        try:
            own = Line(rank, count, "127.0.0.1", store)
        except RankError as error:  # another has ended at once
            return error
        try:
            result = work(own)
            own.end()
        except Exception as error:
            own.end(str(error))
            return error
        return result

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(be, range(count)))


def test_ranks_that_meet_again_wait_for_the_first_ones_new_port():
    """The store still has the old one, which is closed; whoever comes before the first rank must not take it."""
    store = Store()
    together(2, lambda own: own.meet("here"), store)
    with ThreadPoolExecutor(2) as pool:
        early = pool.submit(Line, 1, 2, "127.0.0.1", store, 1)
        with pytest.raises(TimeoutError):
            early.result(0.2)
        first = pool.submit(Line, 0, 2, "127.0.0.1", store, 1)
        for own in (early.result(10), first.result(10)):
            own.end()


def test_all_ranks_get_the_values_of_all_each_time():
    def work(own):
        return [own.meet("here", [own.rank, turn, "é" * 100_000][: 2 + turn]) for turn in range(2)]

    first = [[[rank, 0] for rank in range(3)], [[rank, 1, "é" * 100_000] for rank in range(3)]]
    assert together(3, work) == [first] * 3


@pytest.mark.parametrize("ended", [0, 2])
def test_ranks_that_wait_are_told_why_another_ends(ended):
    def work(own):
        if own.rank == ended:
            raise ValueError("no \x1b[31mpicture")
        return own.meet("here")

    errors = together(3, work)
    assert [type(error) for rank, error in enumerate(errors) if rank != ended] == [RankError] * 2
    words = f"rank {ended} of 3 has ended: no \\x1b[31mpicture"
    assert {str(error) for rank, error in enumerate(errors) if rank != ended} == {words}


def test_a_rank_that_goes_without_a_word_is_told():
    def work(own):
        if own.rank == 1:
            return own.end()
        return own.meet("here")

    errors = together(2, work)
    assert "rank 1 of 2 has ended: killed" in str(errors[0])


def test_ranks_at_different_places_are_refused():
    errors = together(2, lambda own: own.meet("here" if own.rank else "there"))
    assert str(errors[0]).startswith("rank 1 is at 'here' and rank 0 at 'there'")
    assert str(errors[1]).startswith("rank 0 of 2 has ended: rank 1 is at") or "rank 1 is at" in str(errors[1])


class Haunted(Store):
    """A store where strangers connect to the first rank before each of the others does.

    Args:
        greetings: what each of them says, who stays; or what is sent when the line goes on.
    """

    def __init__(self, *greetings):
        super().__init__()
        self._greetings, self.strangers = greetings, []

    def get(self, key):
        host, port, _ = line.json.loads(super().get(key))
        for greeting in self._greetings:
            self.strangers.append(stranger := socket.create_connection((host, port)))
            with contextlib.suppress(OSError):  # it is not listened to any more
                stranger.sendall(greeting)
        return super().get(key)


def said(text):
    return len(text).to_bytes(4, "big") + text


STRANGE = {
    "nothing": b"",
    "half a length": b"\0\0",
    "half a message": b'\0\0\0\x20{"rank": 1,',
    "no secret": said(b"{}"),
    "another secret": said(b'{"rank": 1, "secret": "x"}'),
    "no mapping": said(b"[1]"),
    "no JSON": said(b"GET / HTTP/1.1"),
    "no text": said(b"\xff\xfe"),
    "depth": said(b"[" * 1000),
    "a long message": b"\0\0\xff\xff" + bytes(1 << 16),
    "an endless one": b"\xff" * (1 << 16),
}


@pytest.mark.parametrize("greeting", STRANGE.values(), ids=STRANGE)
def test_who_does_not_know_the_secret_is_no_rank_and_holds_up_nobody(greeting):
    assert together(3, lambda own: own.meet("here", own.rank), Haunted(greeting, greeting)) == [[0, 1, 2]] * 3


def test_crowd_of_silent_strangers_takes_no_more_connections_than_are_kept():
    store = Haunted(*[b""] * 150)
    assert together(2, lambda own: own.meet("here", own.rank), store) == [[0, 1]] * 2


def test_a_rank_that_never_comes_is_named(monkeypatch):
    monkeypatch.setattr(line, "_SECONDS", 0.1)
    with pytest.raises(RankError, match="rank 1 of 2 has not come"):
        Line(0, 2, "127.0.0.1", Store())


def test_stranger_who_goes_on_talking_does_not_put_off_the_end(monkeypatch):
    monkeypatch.setattr(line, "_SECONDS", 0.3)
    store, stranger = Store(), socket.socket()

    def talk():
        host, port, _ = line.json.loads(store.get("ppdiffusers_ext/line/0"))
        stranger.connect((host, port))
        with contextlib.suppress(OSError):
            stranger.sendall(b"\0\0\4\0")
            while True:
                stranger.sendall(b" ")
                time.sleep(0.01)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(talk)
        with pytest.raises(RankError, match="rank 1 of 2 has not come"):
            Line(0, 2, "127.0.0.1", store)

"""The line between ranks, of threads that stand for them."""

import socket
import threading
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


def test_who_does_not_know_the_secret_is_no_rank():
    store = Store()

    class Eager(Store):
        def get(self, key):
            host, port, _ = line.json.loads(store.get(key))
            for greeting in (b"", b"\0\0\0\2{}", b"\xff" * 8):
                with socket.create_connection((host, port)) as stranger:
                    stranger.sendall(greeting)
            return store.get(key)

    strange = Eager()
    strange.set = store.set
    assert together(2, lambda own: own.meet("here", own.rank), strange) == [[0, 1]] * 2


def test_a_rank_that_never_comes_is_named(monkeypatch):
    monkeypatch.setattr(line, "_SECONDS", 0.1)
    with pytest.raises(RankError, match="rank 1 of 2 has not come"):
        Line(0, 2, "127.0.0.1", Store())

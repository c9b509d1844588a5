"""Processes of a training as threads of this one: what they say to each other through the store, without launches."""

import threading
from collections.abc import Callable
from typing import Any

from paddle import distributed

from ppdiffusers_ext.training import groups


class Store:
    """What Paddle's TCP store does: a value can be read as soon as it is set."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def set(self, name: str, value: bytes) -> None:
        with self._changed:
            self._values[name] = value
            self._changed.notify_all()

    def get(self, name: str) -> bytes:
        with self._changed:
            assert self._changed.wait_for(lambda: name in self._values, 20), f"nobody sets {name}"
            return self._values[name]


def run_ranks(monkeypatch: Any, functions: list[Callable[[], Any]]) -> list[Any]:
    """What each function returns, or the error that it raises, where it is called as the process of its place."""
    place, store, results = threading.local(), Store(), [None] * len(functions)
    monkeypatch.setattr(distributed, "get_world_size", lambda: len(functions))
    monkeypatch.setattr(distributed, "get_rank", lambda: place.rank)
    monkeypatch.setattr(groups.core, "create_or_get_global_tcp_store", lambda: store)

    def call(rank: int) -> None:
        place.rank = rank
        try:
            results[rank] = functions[rank]()
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=call, args=[rank]) for rank in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results

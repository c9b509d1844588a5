"""A `requests.Session` that follows no redirects, and whose lines another thread can cut."""

import contextlib
import socket
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from ppdiffusers_ext.version import __version__


class Session(requests.Session):
    """A session for one request at a time. Proxies are those of the environment."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[socket.socket] = []
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(self._lines))
        self.headers["User-Agent"] = f"ppdiffusers_ext/{__version__}"
        # Sizes, ranges and hashes are of the file as it is, not of a compressed transfer.
        self.headers["Accept-Encoding"] = "identity"

    def get_redirect_target(self, response: requests.Response) -> None:
        """None: redirects are followed by `exchange`. This would read the bodies of all of them."""
        return None

    def cut(self) -> None:
        """End the lines that are open: what waits for their servers goes on at once, with an error."""
        while self._lines:
            with contextlib.suppress(OSError, IndexError):
                self._lines.pop().shutdown(socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """Puts the socket of each connection into a list, with and without proxies."""

    def __init__(self, lines: list[socket.socket]) -> None:
        self._lines = lines
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        return self._watch(super().proxy_manager_for(*arguments, **options))

    def _watch(self, manager: Any) -> Any:
        classes = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {scheme: _watched(cls, self._lines) for scheme, cls in classes.items()}
        return manager


def _watched(pool: Any, lines: list[socket.socket]) -> Any:
    """A class of pools whose connections put their sockets into `lines`, the last ones only."""
    if getattr(pool, "is_watched", False):
        return pool

    class Connection(pool.ConnectionCls):
        def connect(self) -> None:
            super().connect()
            del lines[:-8]
            lines.append(self.sock)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection, "is_watched": True})

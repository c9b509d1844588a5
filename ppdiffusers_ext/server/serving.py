"""Runs the application: binds, prints its address, and ends in order."""

import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import InputError, MissingFileError, shown
from ppdiffusers_ext.server.settings import ServerSettings

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

# Packages of the extra `server`, by the names of their modules.
_NEEDED = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
MOST_CONNECTIONS = 512
_MOST_WAITING = 256  # connections that the system keeps for us
_MOST_OF_HEAD = 32 << 10  # bytes
_SECONDS_OF_END = 5  # in which answers that go on have to end


def check_installed() -> None:
    """Raises MissingFileError where a package of the extra `server` is not installed."""
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingFileError(
            f"the server needs {', '.join(missing)}, which is not installed; what "
            "`pip install 'ppdiffusers_ext[server]'` installs is accepted"
        )


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; port 0 for any that is free. Raises InputError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError):
        raise InputError(f"host {shown(host)} is no address; one of this machine's, such as 127.0.0.1, is accepted") \
            from None  # fmt: skip
    # With the protocol named, asyncio sets TCP_NODELAY; without it an answer on a kept connection waits for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_MOST_WAITING)
    except OSError as error:
        listening.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InputError(
            f"port {port} of {host} cannot be used: {reason}; a free --port, or a --host of this machine, is accepted"
        ) from error
    return listening


def address_of(listening: socket.socket) -> str:
    """The address of the page, as a browser of this machine takes it."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(
    listening: socket.socket,
    data: Path,
    settings: ServerSettings,
    token: str | None,
    names: frozenset[str] = frozenset(),
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until a signal ends it: Ctrl-C and SIGTERM end it in order, a second one at once.

    Args:
        listening: of `bind`; it is closed at the end.
        data: folder of jobs, uploads and results.
        settings: of the jobs.
        token: that clients need; None for none, where the address is of this machine alone.
        names: further names by which clients may call the server.
        ready: called as soon as requests are answered.

    Raises:
        InputError: the data folder cannot be used.
    """
    import uvicorn

    from ppdiffusers_ext.server.app import make_app
    from ppdiffusers_ext.server.jobs import Jobs
    from ppdiffusers_ext.server.security import Access
    from ppdiffusers_ext.server.service import Service

    access = Access(listening.getsockname()[0], token, names)
    jobs = Jobs(data, settings)
    service = Service(jobs, settings, access)

    class Server(uvicorn.Server):
        """A uvicorn server that tells streams to end, and leaves signals to whoever started it when it has ended."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            with _ending(self._end):
                yield

        def _end(self) -> None:
            self.force_exit = self.should_exit
            self.should_exit = service.is_stopping = True

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    try:
        jobs.start()
        asyncio.run(Server(configured(make_app(service))).serve([listening]))
    finally:
        service.is_stopping = True
        jobs.stop()
        listening.close()


def configured(app: "FastAPI") -> "uvicorn.Config":
    """How uvicorn serves the application: bounds, and nothing in a log that has a token in it."""
    import uvicorn

    from ppdiffusers_ext.server.connections import Connection

    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_SECONDS_OF_END,
        h11_max_incomplete_event_size=_MOST_OF_HEAD,
    )


@contextlib.contextmanager
def _ending(end: Callable[[], None]) -> Iterator[None]:
    """Within it signals call `end` in the event loop; one that is ignored, as under nohup, stays so."""
    loop = asyncio.get_running_loop()
    numbers = [each for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
               if signal.getsignal(each) is not signal.SIG_IGN]  # fmt: skip
    earlier = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)

"""Connections with clients that are slow, or want to be, and with such as do not speak HTTP.

Each has bounds of time, which uvicorn alone lacks. What is no HTTP is refused, also in the middle of a request, where
uvicorn fails.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

TICK = 2.0  # seconds between two looks
SECONDS_OF_HEAD = 20.0  # in which the head of a request has to be there
SECONDS_OF_BODY = 30.0  # in which a body has to go on by LEAST_OF_BODY
LEAST_OF_BODY = 32 << 10  # bytes
SECONDS_OF_REST = 30.0  # in which the rest of a body has to be there that nobody needs any more
SECONDS_OF_ANSWER = 120.0  # in which what waits to be sent has to be taken
_WORDS = b'{"error":"this is no HTTP request; HTTP/1.1 is accepted"}'
_NO_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_WORDS), _WORDS)
)


class Connection(H11Protocol):
    """A connection that ends where its client keeps the server waiting."""

    _ticking: asyncio.TimerHandle | None = None
    _received = 0
    _stage: Any = None  # what goes on, since when, and how much had come then
    _since = 0.0
    _had = 0
    _blocked: float | None = None  # since when the client takes nothing

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._since = self.loop.time()
        self._ticking = self.loop.call_later(TICK, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)

    def pause_writing(self) -> None:
        self._blocked = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._blocked = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; where an answer is under way that cannot be taken back, end the connection."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the application is not to answer any more
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_NO_HTTP)
        self.transport.close()

    def _look(self) -> None:
        now = self.loop.time()
        stage, seconds = self._stage_now()
        goes_on = stage[0] == "body" and self._received - self._had >= LEAST_OF_BODY
        if stage != self._stage or goes_on:
            self._stage, self._since, self._had = stage, now, self._received
        is_late = seconds is not None and now - self._since > seconds
        if is_late or (self._blocked is not None and now - self._blocked > SECONDS_OF_ANSWER):
            self.transport.abort()
            return
        self._ticking = self.loop.call_later(TICK, self._look)

    def _stage_now(self) -> tuple[tuple[str, int], float | None]:
        """What the connection is at, and how long it may be at that without going on; None for as long as it takes."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            is_rest = cycle is not None and cycle.more_body
            return ("rest", id(cycle)) if is_rest else ("head", id(cycle)), (
                SECONDS_OF_REST if is_rest else SECONDS_OF_HEAD
            )
        if cycle.more_body and not self.flow.read_paused:
            return ("body", id(cycle)), SECONDS_OF_BODY
        return ("work", id(cycle)), None

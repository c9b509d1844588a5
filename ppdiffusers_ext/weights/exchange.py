"""One request and its answer. Whatever a server sends, or does not send, becomes one of the errors named here.

`requests` waits for a server as long as a byte comes now and then. Here the head of an answer must be there in time,
and its body must keep a minimum rate. Redirects are followed here too: `requests` would read their bodies.
"""

from __future__ import annotations

import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from ppdiffusers_ext.weights.answers import SourceError, length_of, reason_of, said

if TYPE_CHECKING:
    from io import BufferedReader

    import requests

    from ppdiffusers_ext.weights.sessions import Session


ASKING = "asks a server"  # the name of the threads that do
_MOST_REDIRECTS = 10
_MOST_TRAILERS, _MOST_LINE = 100, 2**13
_PIECE_BYTES = 2**16
_UNREACHABLE = ("Network is unreachable", "No route to host")


class Dropped(Exception):
    """The line broke, or the server is busy: the same request may succeed later.

    wait: seconds to wait before, where they are known.
    absent: the host's name could not be resolved, or no network leads there.
    unknown: there is no host of that name, as far as those know who can be asked.
    """

    def __init__(self, reason: str, wait: float | None = None, absent: bool = False, unknown: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.absent, self.unknown = wait, absent, unknown


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for, and how often it is asked again.

    attempts: in a row that bring nothing new.
    first_wait, longest_wait: seconds before the second attempt, doubled for each further one up to the longest. What
        the server asks for (Retry-After) is kept to, up to the longest as well.
    connect_timeout, read_timeout: seconds without any answer, and without any byte.
    head_timeout: seconds until all headers of an answer, and of the redirects to it, are there.
    min_rate: bytes per second. A line that brought less over `rate_seconds` counts as dropped; a file that, after
        `allowance` seconds, has come more slowly in all is given up. 0 for neither.
    resolve_timeout: seconds until the names of the hosts are resolved.
    """

    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 60.0
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    head_timeout: float = 60.0
    min_rate: float = 1000.0
    rate_seconds: float = 60.0
    allowance: float = 300.0
    resolve_timeout: float = 3.0

    @property
    def timeout(self) -> tuple[float, float]:
        return self.connect_timeout, self.read_timeout


class Answer:
    """The head of an answer, and its body as it comes. A context manager that closes the line.

    Attributes:
        head: `requests.Response`, whose body nobody has read.
        heads: those of the redirects before it, and it.
    """

    def __init__(self, heads: list[requests.Response], patience: Patience) -> None:
        self.heads, self.head, self._patience = heads, heads[-1], patience
        # What http.client made of the answer; requests itself takes the cookies from it.
        self._http = self.head.raw._original_response

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.head.close()

    @property
    def is_chunked(self) -> bool:
        return bool(self._http.chunked)

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the body, without decoding its content, in pieces of at most 64 KiB.

        Raises Dropped where the line breaks, is too slow, or ends too early; SourceError for chunks that are none.
        """
        encoding = self.head.headers.get("Transfer-Encoding", "").strip().lower() or "identity"
        if encoding not in ("identity", "chunked"):
            raise SourceError(f"the server sends the file in a way that is not known ({said(encoding)})")
        length, rate = length_of(self.head), _Rate(self._patience)
        file = self._http.fp
        if file is None:  # an answer that has no body
            return
        body = self._chunks(file, rate) if self.is_chunked else self._straight(file, length, rate)
        while True:
            try:
                piece = next(body, b"")
            except (SourceError, Dropped):
                raise
            except Exception as error:
                raise _as_ours(error) from error
            if not piece:
                return
            yield piece

    def _straight(self, file: BufferedReader, length: int | None, rate: _Rate) -> Iterator[bytes]:
        while length is None or length > 0:
            piece = file.read1(_PIECE_BYTES if length is None else min(length, _PIECE_BYTES))
            if not piece:
                return  # who knows how many bytes there must be is to look
            length = None if length is None else length - len(piece)
            rate.count(len(piece))
            yield piece

    def _chunks(self, file: BufferedReader, rate: _Rate) -> Iterator[bytes]:
        while True:
            size = _line(file, rate).partition(b";")[0].strip()
            # int() would take "-5", "+5", "0x5" and "5_0".
            if not re.fullmatch(b"[0-9a-fA-F]{1,15}", size):
                raise SourceError(f"the server sends the file in pieces that cannot be ({said(repr(size))})")
            left = int(size, 16)
            if left == 0:
                break
            while left:
                piece = file.read1(min(left, _PIECE_BYTES))
                if not piece:
                    raise Dropped("the connection was closed in the middle of the file")
                left -= len(piece)
                rate.count(len(piece))
                yield piece
            if _line(file, rate) != b"\r\n":
                raise SourceError("the server sends the file in pieces of other lengths than it says")
        for _ in range(_MOST_TRAILERS):
            if not _line(file, rate).strip():
                return
        raise SourceError("the server does not end the file")


def _line(file: BufferedReader, rate: _Rate) -> bytes:
    """A line of the framing of chunks, with its end. It counts for nothing in the rate."""
    line = b""
    while not line.endswith(b"\n"):
        byte = file.read1(1)
        if not byte:
            raise Dropped("the connection was closed in the middle of the file")
        line += byte
        if len(line) > _MOST_LINE:
            raise SourceError("the server sends the file in pieces that cannot be (a line without end)")
        rate.count(0)
    return line


class _Rate:
    """Holds the body of an answer to the minimum rate."""

    def __init__(self, patience: Patience) -> None:
        self._seconds, self._least = patience.rate_seconds, patience.min_rate * patience.rate_seconds
        self._start, self._came = time.monotonic(), 0

    def count(self, came: int) -> None:
        self._came += came
        if time.monotonic() - self._start < self._seconds:
            return
        if self._came < self._least:
            raise Dropped(
                f"the server sends less than {self._least / self._seconds:.0f} bytes per second (--min-rate)"
            )
        self._start, self._came = time.monotonic(), 0


def open_answer(
    session: Session,
    method: str,
    url: str,
    patience: Patience,
    headers: Mapping[str, str] | None = None,
    auth: Any = None,
    is_enough: Callable[[requests.Response], bool] | None = None,
    body: bytes | None = None,
) -> Answer:
    """The `Answer` to a request; redirects are followed.

    auth: as `requests` takes it, for `url` and for addresses of the same server only.
    body: of the request; whoever sends one follows no redirects (`is_enough`).
    is_enough: a redirect of which this is true, a function of its head, is not followed.

    Raises:
        Dropped: no answer, or not in time.
        SourceError: what came is no answer that can be used.
    """
    heads, origin, end = [], _origin(url), time.monotonic() + patience.head_timeout
    for _ in range(_MOST_REDIRECTS + 1):
        own = auth if _origin(url) == origin else None
        options = {"headers": headers, "auth": own, "timeout": patience.timeout, "data": body}
        head = _ask_once(session, method, url, options, max(0.0, end - time.monotonic()))
        heads.append(head)
        leads_on = head.status_code in (301, 302, 303, 307, 308) and "Location" in head.headers
        if not leads_on or (is_enough is not None and is_enough(head)):
            return Answer(heads, patience)
        head.close()
        url = _target(url, head)
    raise SourceError(f"the server leads to another address more than {_MOST_REDIRECTS} times")


def _ask_once(session: Session, method: str, url: str, options: dict[str, Any], seconds: float) -> requests.Response:
    """The head of the answer to one request: `requests.Response`."""
    try:
        return _in_time(
            lambda: session.request(method, url, stream=True, allow_redirects=False, **options), seconds, session.cut
        )
    except Dropped:
        raise
    except Exception as error:
        raise _as_ours(error) from error


def _in_time(ask: Callable[[], requests.Response], seconds: float, cut: Callable[[], None]) -> requests.Response:
    """What `ask()` returns or raises. Raises Dropped where that takes too long, after a call of `cut`.

    The thread that asks may wait for a name to be resolved, from which nothing wakes it: it is left to itself, and
    closes what comes too late.
    """
    ready: queue.SimpleQueue = queue.SimpleQueue()
    abandoned = threading.Event()

    def work() -> None:
        try:
            head, error = ask(), None
        except BaseException as failure:
            head, error = None, failure
        ready.put((head, error))
        if abandoned.is_set() and head is not None:
            head.close()

    threading.Thread(target=work, daemon=True, name=ASKING).start()
    try:
        head, error = ready.get(timeout=seconds)
    except queue.Empty:
        abandoned.set()
        cut()
        raise Dropped("the server does not answer in time") from None
    if error is not None:
        raise error
    return head


def _target(url: str, head: requests.Response) -> str:
    """Where a redirect leads to. Raises SourceError where that is no address of the web."""
    text = head.headers["Location"]
    try:
        # http.client reads headers as Latin-1: these are the bytes as they came.
        target = urljoin(url, quote(text.encode("latin-1"), safe="!#$%&'()*+,/:;=?@[]~"))
        parts = urlsplit(target)
        is_fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_fine = False
    if not is_fine:
        raise SourceError(f"the server leads to an address that is none ({said(text)})")
    if urlsplit(url).scheme == "https" and parts.scheme == "http":
        raise SourceError(f"the server leads from https to http ({said(text)}), where anybody may change the file")
    return target


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _as_ours(error: BaseException) -> Dropped | SourceError:
    """The `Dropped` or the `SourceError` that an error of the network, or of what reads it, stands for."""
    import http.client

    import requests
    import urllib3

    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return SourceError(f"the server's certificate cannot be trusted ({reason_of(error)})")
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            reason = f"the name of the server cannot be resolved ({said(cause.strerror)})"
            return Dropped(reason, absent=True, unknown=cause.errno == socket.EAI_NONAME)
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return Dropped("the server does not answer in time")
    # requests' other errors are OSErrors too, but an address that is none will not become one.
    broken = (requests.ConnectionError, urllib3.exceptions.HTTPError, http.client.HTTPException, ConnectionError)
    if isinstance(error, broken) or (isinstance(error, OSError) and not isinstance(error, requests.RequestException)):
        reason = reason_of(error)
        return Dropped(reason, absent=reason.endswith(_UNREACHABLE))
    return SourceError(f"the server's answer cannot be understood ({type(error).__name__}: {said(error)})")  # type: ignore[arg-type]  # shown as text


def _causes(error: BaseException | None) -> list[BaseException]:
    """An error and what led to it."""
    seen = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return seen

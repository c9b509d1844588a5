"""A client of the server's REST in Python's own library: ComfyUI's Python is to need no package for it."""

import http.client
import json
import mimetypes
import secrets
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError, one_line, shown
from ppdiffusers_ext.files import parse_json

_MOST_TEXT = 32 << 20  # bytes of an answer in JSON or text
_MOST_RESULT = 8 << 30  # bytes of a result
_MOST_LINE = 1 << 20  # of an event
_PIECE = 1 << 20
_SECONDS, _SECONDS_OF_EVENTS = 120.0, 60.0
_SUFFIXES = {
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "image/gif": ".gif",
    "image/png": ".png",
}
_ACCEPTED = "an address such as http://127.0.0.1:7860 is accepted"


class Client:
    """
    Args:
        address: scheme, host and port, maybe with a path before those of the routes.
        token: sent with each request; empty for none.

    Raises:
        InputError: no such address.
    """

    def __init__(self, address: str, token: str = "") -> None:
        try:
            parts = urllib.parse.urlsplit(address.rstrip("/"))
            port = parts.port
        except (ValueError, AttributeError):
            raise InputError(f"server {shown(address)} is no address; {_ACCEPTED}") from None
        is_plain = address.isprintable() and not any(letter.isspace() for letter in address)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or not is_plain
            or parts.username
        ):
            raise InputError(f"server {shown(address)} is no address; {_ACCEPTED}")
        if not (token.isprintable() and token.isascii()):
            raise InputError("the server's token has letters that no token has; printable ASCII is accepted")
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._path = parts.hostname, port, parts.path
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """What a route answers. Raises InputError for refusals, in the server's words, and failures."""
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        return self._parsed(self._text(method, path, content, headers))

    def text(self, path: str) -> str:
        """The text of a file."""
        return self._text("GET", path, None, {})

    def upload(self, path: str, file: Path) -> Any:
        """Send a file in pieces, as the part `file` of a form: what the route answers."""
        boundary = secrets.token_hex(16)
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        ).encode()
        end = f"\r\n--{boundary}--\r\n".encode()

        def pieces() -> Iterator[bytes]:
            yield head
            with open(file, "rb") as opened:
                while piece := opened.read(_PIECE):
                    yield piece
            yield end

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + file.stat().st_size + len(end)),
        }
        return self._parsed(self._text("POST", path, pieces(), headers))

    def _parsed(self, text: str) -> Any:
        return parse_json(text, f"the answer of the server {self.address}", "JSON is accepted")

    def download(self, path: str, target: Path) -> Path:
        """Write a file; its path, with the suffix of what it is."""
        with self._answered("GET", path) as answer:
            kind = (answer.getheader("Content-Type") or "").partition(";")[0].strip().lower()
            if kind not in _SUFFIXES:
                raise InputError(f"the server {self.address} sent {shown(kind)}; a video or a picture is accepted")
            target, count = target.with_suffix(_SUFFIXES[kind]), 0
            with open(target, "wb") as file:
                while piece := self._read(answer, _PIECE):
                    count += len(piece)
                    if count > _MOST_RESULT:
                        raise InputError(f"the result of the server {self.address} is too large; up to "
                                         f"{_MOST_RESULT >> 30} GiB are accepted")  # fmt: skip
                    file.write(piece)
        return target

    def events(self, path: str, last: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of a stream as they come: (number, data). It ends where the server ends it.

        Args:
            last: number of the last event that was seen.

        Raises:
            InputError: it is refused, or the connection is lost.
        """
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        with self._answered("GET", path, None, headers, _SECONDS_OF_EVENTS) as answer:
            number, lines = "", []
            while line := self._line(answer):
                text = line.decode("utf-8", "replace").rstrip("\r\n")
                name, _, value = text.partition(":")
                if name == "id":
                    number = value.strip()
                elif name == "data":
                    lines.append(value.removeprefix(" "))
                elif not text and lines:
                    data = parse_json("\n".join(lines), "an event", "JSON is accepted")
                    yield number, data if isinstance(data, dict) else {}
                    lines = []

    def _text(self, method: str, path: str, body: Any, headers: dict[str, str]) -> str:
        with self._answered(method, path, body, headers) as answer:
            content = self._read(answer, _MOST_TEXT + 1)
        if len(content) > _MOST_TEXT:
            raise InputError(f"the answer of the server {self.address} is too long; up to {_MOST_TEXT >> 20} MiB are "
                             "accepted")  # fmt: skip
        return content.decode("utf-8", "replace")

    def _answered(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        seconds: float = _SECONDS,
    ) -> "_Answer":
        """The answer to a request, for `with`. Redirections are not followed: the token is for this server alone."""
        connection = self._kind(self._host, self._port, timeout=seconds)
        try:
            connection.request(method, self._path + path, body, {**self._headers, **(headers or {})})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._failure(error) from error
        if not 200 <= response.status < 300:
            with _Answer(connection, response) as answer:
                raise self._refusal(response.status, self._read(answer, _MOST_LINE))
        return _Answer(connection, response)

    def _read(self, answer: Any, count: int) -> bytes:
        try:
            return answer.read(count)
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error) from error

    def _line(self, answer: Any) -> bytes:
        try:
            return answer.readline(_MOST_LINE)
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> InputError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return InputError(
            f"the server {self.address} does not answer ({one_line(reason, 200)}); `python -m scripts.serve` starts "
            "one, and PPDIFFUSERS_EXT_SERVER, or the loader's input `server`, names another"
        )

    def _refusal(self, status: int, content: bytes) -> InputError:
        try:
            words = json.loads(content)["error"]
        except (ValueError, KeyError, TypeError, RecursionError):
            words = f"HTTP status {status}"
        hint = "; PPDIFFUSERS_EXT_TOKEN is to have its token" if status in (401, 403) else ""
        return InputError(f"{one_line(words, 1000)} (the server {self.address}{hint})")


class _Answer:
    """A response, whose connection is closed at the end of a `with` block."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self.read, self.readline, self.getheader = response.read, response.readline, response.getheader

    def __enter__(self) -> "_Answer":
        return self

    def __exit__(self, *_: Any) -> None:
        self._connection.close()

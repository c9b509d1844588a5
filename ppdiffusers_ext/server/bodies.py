"""Bodies of requests: bounded as they come, JSON read strictly, files of forms handed on while they come."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Any, BinaryIO, cast

import anyio
import python_multipart
from anyio import CapacityLimiter
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.files import parse_json
from ppdiffusers_ext.options import any_of
from ppdiffusers_ext.server.answers import Refused
from ppdiffusers_ext.server.records import Upload
from ppdiffusers_ext.server.refusals import TooLarge, TooMany

MOST_JSON = 1 << 20  # bytes
_MOST_TEXT = 200_000  # bytes of a field of a form that is no file
_MOST_HEADS = 64 << 10  # bytes of a form beside its files and fields
_MOST_HEAD = 8 << 10  # bytes of the head of a part
_JSON, _FORM = "application/json", "multipart/form-data"
_HALF = "the connection ended before the whole request was there; a whole one is accepted"


def kind_of_body(request: Request) -> str:
    """The media type of a body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_length(request: Request, most: int) -> None:
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and (len(length) > 15 or int(length) > most):
        raise _too_large(most)


def _too_large(most: int) -> TooLarge:
    return TooLarge("request", most=most)


async def read_body(request: Request, most: int) -> bytes:
    """A whole body. Raises TooLarge as soon as there are more bytes than `most`, Refused where it is cut off."""
    _check_length(request, most)
    pieces, size = [], 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > most:
                raise _too_large(most)
            pieces.append(piece)
    except ClientDisconnect:
        raise Refused(_HALF, 400) from None
    return b"".join(pieces)


async def read_json_object(request: Request, most: int = MOST_JSON) -> dict[str, Any]:
    """The object that is the JSON of a body.

    Raises:
        Refused: another media type: one that a browser sends to other sites unasked is not accepted.
        TooLarge, InputError: too many bytes, or no JSON object.
    """
    if kind_of_body(request) != _JSON:
        raise Refused(f"the body is {shown(kind_of_body(request) or 'of no type')}; {_JSON} is accepted", 415)
    body = await read_body(request, most)
    return await anyio.to_thread.run_sync(parse_object, body, "the body")


def parse_object(text: bytes | str, where: str) -> dict[str, Any]:
    """The object that a JSON text is, in UTF-8. Raises InputError."""
    accepted = "a JSON object is accepted"
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{where} is not UTF-8; {accepted}") from None
    value = parse_json(text, where, accepted)
    if not isinstance(value, dict):
        raise InputError(f"{where} is {shown(value)}; {accepted}")
    return value


Store = Callable[[BinaryIO, str], Upload]


class FormReader:
    """Reads a form of fields, and hands each file on to a thread while it comes, so that nothing is stored twice.

    Args:
        request: of multipart/form-data.
        store: called in a thread with a stream and the client's name of a file.
        files, texts: names of fields that may be files, and that may be texts.
        most: bytes of the whole form.
        limiter: of threads; none is waited for.
    """

    def __init__(
        self,
        request: Request,
        store: Store,
        files: Collection[str],
        texts: Collection[str],
        most: int,
        limiter: CapacityLimiter,
    ) -> None:
        self._request, self._store, self._limiter = request, store, limiter
        self._of_files, self._of_texts, self._most = files, texts, most
        self._parts = _Parts(boundary_of(request), self)
        self.texts: dict[str, str] = {}
        self.uploads: dict[str, Upload] = {}

    async def read(self) -> None:
        """Fill `texts` and `uploads`.

        Raises:
            TooLarge, TooMany, InputError: what the form is, or `store` said of a file.
        """
        _check_length(self._request, self._most + _MOST_HEADS)
        size, file = 0, None
        try:
            async for piece in self._request.stream():
                size += len(piece)
                if size > self._most + _MOST_HEADS:
                    raise _too_large(self._most)
                for what, value in self._parts.feed(piece):
                    if what == "file":
                        name, file_name = value
                        file = _Coming(self._store, file_name, self._limiter)
                    elif what == "data":
                        assert file is not None
                        await file.send(value)
                    else:
                        assert file is not None
                        self.uploads[name], file = await file.end(), None
            self._parts.finish()
        except ClientDisconnect:
            raise Refused(_HALF, 400) from None
        finally:
            if file is not None:
                await file.drop()

    def check_part(self, name: str, is_file: bool) -> None:
        """Raises InputError for a field that is not known, or that was there already."""
        known = [*self._of_texts, *(each for each in self._of_files if each not in self._of_texts)]
        if name not in known:
            raise InputError(f"field {shown(name)} of the form is not known; {any_of(known)} is accepted")
        if is_file and name not in self._of_files:
            raise InputError(f"{name} is a file; a text is accepted")
        if not is_file and name not in self._of_texts:
            raise InputError(f"{name} is no file; a file, with a filename in its part, is accepted")
        if name in self._parts.begun:
            raise InputError(f"{name} is there twice; one is accepted")


def boundary_of(request: Request) -> bytes:
    """The boundary of a form. Raises Refused."""
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    if kind != _FORM.encode():
        raise Refused(f"the body is {shown(kind.decode('latin-1') or 'of no type')}; {_FORM} is accepted", 415)
    boundary = parameters.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 200:
        raise Refused(f"the form has a boundary of {len(boundary)} characters; one of 1 to 200 is accepted", 400)
    return boundary


class _Parts:
    """From pieces of a form to what its parts are: ("file", (name, file name)), ("data", bytes), ("end", None)."""

    def __init__(self, boundary: bytes, reader: FormReader) -> None:
        self._reader, self._events = reader, cast("list[tuple[str, Any]]", [])
        self.begun: set[str] = set()
        self._is_over = False
        self._head: dict[bytes, bytes] = {}
        self._name_of_header, self._value = b"", b""
        self._name, self._text = "", cast("bytearray | None", None)
        calls: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._head_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._over,
        }
        self._parser = python_multipart.MultipartParser(boundary, calls, max_header_size=_MOST_HEAD)

    def feed(self, piece: bytes) -> list[tuple[str, Any]]:
        self._events.clear()
        try:
            if not self._is_over:
                self._parser.write(piece)
        except FormParserError as error:
            raise InputError(f"the form cannot be read ({error}); multipart/form-data is accepted") from error
        return self._events

    def finish(self) -> None:
        if not self._is_over:
            raise InputError("the form ends early; one with its closing boundary is accepted")

    def _begin(self) -> None:
        self._head = {}

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name_of_header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._head[self._name_of_header.lower()] = self._value
        self._name_of_header, self._value = b"", b""

    def _head_end(self) -> None:
        _, parameters = parse_options_header(self._head.get(b"content-disposition"))
        self._name = parameters.get(b"name", b"").decode("utf-8", "replace")
        is_file = b"filename" in parameters
        self._reader.check_part(self._name, is_file)
        self.begun.add(self._name)
        self._text = None if is_file else bytearray()
        if is_file:
            file_name = parameters[b"filename"].decode("utf-8", "replace")
            self._events.append(("file", (self._name, file_name)))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._text is None:
            self._events.append(("data", data[start:end]))
            return
        self._text += data[start:end]
        if len(self._text) > _MOST_TEXT:
            raise TooLarge("text", option=self._name, most=_MOST_TEXT)

    def _end(self) -> None:
        if self._text is None:
            self._events.append(("end", None))
            return
        try:
            self._reader.texts[self._name] = self._text.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{self._name} is not UTF-8, which is accepted") from None

    def _over(self) -> None:
        self._is_over = True


class _Coming:
    """A file that comes piece by piece, and a thread that stores it meanwhile."""

    def __init__(self, store: Store, name: str, limiter: CapacityLimiter) -> None:
        if limiter.available_tokens < 1:
            raise TooMany("busy.uploads")
        self._send, self._receive = anyio.create_memory_object_stream[bytes](4)
        self._is_whole, self._rest = False, b""

        def work() -> Upload:
            try:
                return store(cast("BinaryIO", self), name)
            finally:
                anyio.from_thread.run_sync(self._receive.close)

        self._stored: asyncio.Task[Upload] = asyncio.ensure_future(
            cast("Awaitable[Upload]", anyio.to_thread.run_sync(work, limiter=limiter))
        )

    def read(self, count: int = -1) -> bytes:
        """The next bytes, at most `count`; b"" at the end. Called in the thread. Raises Refused if it is cut off."""
        if not self._rest:
            try:
                self._rest = anyio.from_thread.run(self._receive.receive)
            except anyio.EndOfStream:
                if not self._is_whole:
                    raise Refused(_HALF, 400) from None
                return b""
        count = len(self._rest) if count < 0 else count
        piece, self._rest = self._rest[:count], self._rest[count:]
        return piece

    async def send(self, piece: bytes) -> None:
        if not piece:
            return
        try:
            await self._send.send(piece)
        except anyio.BrokenResourceError:
            await self._stored  # raises why no more is read
            raise

    async def end(self) -> Upload:
        """What was stored. Raises what `store` raised."""
        self._is_whole = True
        self._send.close()
        return await self._stored

    async def drop(self) -> None:
        """End the thread: nothing of the file stays."""
        self._send.close()
        with contextlib.suppress(Exception):
            await asyncio.shield(self._stored)

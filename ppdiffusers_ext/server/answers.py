"""Answers as JSON, and the status of each refusal.

What a client is told of an error: {"error": words}, with the "code" and "values" of `refusals` where it has these.
"""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.server.refusals import (
    NoRoom,
    NotFound,
    NotMedia,
    NotReady,
    Refusal,
    TooLarge,
    TooMany,
    Unavailable,
)
from ppdiffusers_ext.server.words import told_of

_CODES = {401: "token", 403: "origin"}  # of what the guard refuses
_STATUSES = {
    NotFound: 404,
    NotReady: 409,
    MissingFileError: 409,  # weights that the server has not: another model is accepted, or the same later
    TooLarge: 413,
    NotMedia: 415,
    TooMany: 429,
    NoRoom: 503,
    Unavailable: 503,
}


class Refused(InputError):
    """A request that is refused with a status of its own.

    Args:
        words: what is wrong; what would be accepted.
        status: of the answer.
        headers: of the answer.
    """

    def __init__(self, words: str, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(words)
        self.status, self.headers = status, dict(headers or {})


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON, in ASCII: halves of characters, which a client may have sent, have no UTF-8."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Response(text.encode("ascii"), status, headers, media_type="application/json")


def refusal(error: BaseException) -> Response:
    """The answer to a request that led to an error: its words without paths of the server."""
    status = next((code for kind, code in _STATUSES.items() if isinstance(error, kind)), None)
    if status is None:
        status = 503 if isinstance(error, (MemoryError, OSError)) else 400 if isinstance(error, InputError) else 500
    headers: dict[str, str] = {"Retry-After": "10"} if status in (429, 503) else {}
    if isinstance(error, Refused):
        status, headers = error.status, error.headers
        if code := _CODES.get(status):
            error = Refusal(code, words=str(error))
    return answer(told_of(error), status, headers)

"""What a server's answer says of a file: its size, its version, its hash; and what an error says of the line.

Whatever stands in a header, a function here gives a value of its kind, or None, or raises `SourceError`. Text of a
server goes through `printable` before anybody sees it.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import InputError, printable

if TYPE_CHECKING:
    import requests


_MOST_TEXT = 200  # characters of a server's text in a message
_MOST_WAIT = 10**6  # seconds
_NUMBER = "[0-9]{1,18}"  # of bytes; the largest files have 10 to 12 digits


class SourceError(InputError):
    """A source does not give the file; another one may."""


@dataclass(frozen=True)
class Offer:
    """What the hub says of a file besides its bytes; None for what it does not say.

    sha256: of a large file, which git keeps as a pointer. git_sha1: of any other file, git's own hash of it.
    """

    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None


def offer_of(heads: Sequence[requests.Response], is_hub: bool = False) -> Offer:
    """The `Offer` of some answers: the redirects, and what they led to. `is_hub`: the ETag is the hub's own."""
    for head in heads:
        tag, size = _bare(head.headers.get("X-Linked-Etag", "")), head.headers.get("X-Linked-Size", "")
        if tag or size:
            return Offer(_number(size), tag if re.fullmatch("[0-9a-f]{64}", tag) else None)
    tag = _bare(heads[-1].headers.get("ETag", "")) if is_hub else ""
    return Offer(git_sha1=tag) if re.fullmatch("[0-9a-f]{40}", tag) else Offer()


def _bare(tag: str) -> str:
    return tag.removeprefix("W/").strip('"').lower()


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(_NUMBER, text) else None


def said(text: str | None) -> str:
    """A server's text as it may be shown."""
    return printable(" ".join(str(text).split()), _MOST_TEXT)


def is_html(head: requests.Response, name: str) -> bool:
    """Whether the server sends a web page in the place of a file."""
    kind = head.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml") and not name.endswith((".html", ".htm"))


def version_of(head: requests.Response) -> str:
    """The ETag, or the date, by which a server tells versions apart; "" where it does not."""
    tag = head.headers.get("ETag", "")
    # A weak tag may stay the same when the bytes change.
    version = tag if tag and not tag.startswith("W/") else head.headers.get("Last-Modified", "")
    # It is sent back, so it must be what a header can hold.
    return version if re.fullmatch("[!-~]([ -~]{0,500}[!-~])?", version) else ""


def length_of(head: requests.Response) -> int | None:
    """The size of the answer's body as the server gives it, or None. Raises SourceError where that is no size."""
    text = head.headers.get("Content-Length")
    if text is None:
        return None
    if _number(text) is None:
        raise SourceError(f"the server gives a length that none can be ({said(text)})")
    return int(text)


def size_of(head: requests.Response) -> int | None:
    """The size of the whole file as the server gives it, or None. Raises SourceError where that is no size."""
    if head.status_code in (206, 416):
        return _number(head.headers.get("Content-Range", "").rpartition("/")[2])
    return length_of(head)


def start_of(head: requests.Response) -> int | None:
    """Where the range of an answer begins, in bytes; None where the server does not say."""
    match = re.fullmatch(rf"bytes ({_NUMBER})-{_NUMBER}/({_NUMBER}|\*)", head.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def retry_after(head: requests.Response) -> float | None:
    """The seconds that the server asks to be left alone for, at least 0, or None where it asks for none."""
    text = head.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]+", text):
        return min(int(text[:20]), _MOST_WAIT)
    try:
        seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except Exception:  # whatever a text makes of the parser of dates
        return None
    return min(max(0.0, seconds), _MOST_WAIT)


def reason_of(error: BaseException) -> str:
    """What broke, without the object addresses and pools in urllib3's messages."""
    cause = error.args[0] if error.args else error
    cause = getattr(cause, "reason", cause)
    text = str(cause).rpartition("object at 0x")[2].partition(">: ")[2] or str(cause)
    return said(text or type(error).__name__)

"""What a server's answer says of a file: its size, its version, its hash; and what an error says of the line."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Offer:
    """What the hub says of a large file besides its bytes; None for what it does not say."""

    size: int | None = None
    sha256: str | None = None


def offer_of(response):
    """The `Offer` of a response, or of the redirects that led to it."""
    for answer in (*response.history, response):
        tag = answer.headers.get("X-Linked-Etag", "").removeprefix("W/").strip('"').lower()
        size = answer.headers.get("X-Linked-Size", "")
        if tag or size:
            return Offer(int(size) if size.isdecimal() else None, tag if re.fullmatch("[0-9a-f]{64}", tag) else None)
    return Offer()


def is_html(response, name):
    """Whether the server sends a web page in the place of a file."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind == "text/html" and not name.endswith((".html", ".htm"))


def version_of(response):
    """The ETag, or the date, by which a server tells versions apart; "" where it does not."""
    tag = response.headers.get("ETag", "")
    # A weak tag may stay the same when the bytes change.
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def size_of(response):
    """The size of the whole file as the server gives it, or None."""
    if response.status_code in (206, 416):
        text = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def retry_after(response):
    """The seconds that the server asks to be left alone for, or None."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        return Retry().get_retry_after(response)
    except InvalidHeader:
        return None


def reason_of(error):
    """What broke, without the object addresses and pools in urllib3's messages."""
    cause = error.args[0] if error.args else error
    cause = getattr(cause, "reason", cause)
    return str(cause).rpartition("object at 0x")[2].partition(">: ")[2] or str(cause)

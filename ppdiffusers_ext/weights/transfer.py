"""One file from one source: resumed where it stopped, tried again when the line breaks, believed when it is verified.

The data lies in a part until then (see `parts`), which says what of it may be continued. The version (the ETag, or the
date) and an overlap that is fetched twice keep two versions from being mixed.
"""

from __future__ import annotations

import errno
import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.answers import (
    Offer,
    SourceError,
    is_html,
    offer_of,
    retry_after,
    said,
    size_of,
    start_of,
    version_of,
)
from ppdiffusers_ext.weights.archives import DISK_MARGIN
from ppdiffusers_ext.weights.checksums import md5_of, sha256_of
from ppdiffusers_ext.weights.exchange import Dropped, open_answer
from ppdiffusers_ext.weights.parts import Part, sync
from ppdiffusers_ext.weights.sources import authorise

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from ppdiffusers_ext.weights.exchange import Answer, Patience
    from ppdiffusers_ext.weights.hosts import Hosts
    from ppdiffusers_ext.weights.parts import Part
    from ppdiffusers_ext.weights.sessions import Session
    from ppdiffusers_ext.weights.sources import Source


_logger = logging.getLogger(__name__)

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_OVERLAP_BYTES = 2**12  # of a part are fetched again, to be compared
_MOST_UNKNOWN_BYTES = 100 * 10**9  # of a file whose length nobody says
_HTML_STARTS = (b"<!doctype html", b"<html")
_START_BYTES = 512


class Stopped(Exception):
    """The whole download is to end; the part is kept."""


@dataclass(frozen=True)
class Expected:
    """What a file must be; None for what is not known. `otherwise` is said of a file that is another one."""

    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    otherwise: str = "that is not the published file"


@dataclass(frozen=True)
class Fetched:
    """A file that came and was verified.

    was_announced: the hub had said its hash. is_known: its hash was known before, of the hub or otherwise.
    """

    size: int
    sha256: str
    was_announced: bool
    is_known: bool


class Transfer:
    """Brings a file into a part.

    hosts: the `Hosts` of the run.
    stop: `threading.Event`; when it is set, nothing more is written.
    advance: called with the number of bytes that came (negative when a part was thrown away).
    """

    def __init__(
        self,
        session: Session,
        source: Source,
        part: Path,
        expected: Expected,
        patience: Patience,
        hosts: Hosts,
        stop: threading.Event,
        advance: Callable[[int], object],
    ) -> None:
        self._session, self._source, self._count = session, source, advance
        self._part = Part(Path(part), self._advance)
        self._expected, self._patience, self._stop = expected, patience, stop
        self._hosts, self._host = hosts, urlsplit(source.url).netloc
        self._size, self._offer, self._counted, self._continues = expected.size, Offer(), 0, False

    def _advance(self, change: int) -> None:
        self._counted += change
        self._count(change)

    @property
    def _sha256(self) -> str | None:
        return self._expected.sha256 or self._offer.sha256

    def run(self) -> Fetched:
        """Fetch and verify the file. Returns a `Fetched`.

        Raises:
            SourceError: this source does not give the file that is expected. A part of the right one is kept.
            InputError: the disk is full, or cannot be written; the part is kept.
            Stopped: `stop` was set; the part is kept.
        """
        try:
            return self._fetched()
        except SourceError:
            self._advance(-self._counted)
            raise
        except OSError as error:
            raise self._disk_error(error) from error

    def _fetched(self) -> Fetched:
        if self._host in self._hosts.silent:
            raise SourceError(self._hosts.silent[self._host])
        self._part.restore(without_note=self._sha256 is not None)
        for is_last in (False, True):
            resumed = self._collect()
            try:
                return self._verified()
            except SourceError:
                self._part.discard()
                # The fault may be in what an earlier request or run had left: once more, from the start.
                if is_last or not resumed:
                    raise
        raise AssertionError("the second round returns or raises")

    def _collect(self) -> bool:
        """Have the part complete. Returns whether more than one request, or an earlier run, had a share in it."""
        start = most = self._part.have
        began, failures, resumed = time.monotonic(), 0, start > 0
        while self._expected.sha256 is None or self._part.sha256 != self._expected.sha256:
            try:
                self._request()
                break
            except Dropped as drop:
                # A server that drops every connection is fine as long as it takes up where it stopped.
                failures = 1 if self._part.have > most else failures + 1
                most, resumed = max(most, self._part.have), True
                self._give_up_if_hopeless(drop, failures, time.monotonic() - began, most - start)
                self._wait(drop, failures)
        return resumed

    def _give_up_if_hopeless(self, drop: Dropped, failures: int, seconds: float, came: int) -> None:
        patience = self._patience
        is_unknown = drop.unknown and self._host not in self._hosts.answered
        if is_unknown or (drop.absent and self._hosts.is_offline):
            self._hosts.silent[self._host] = str(drop)
            raise SourceError(str(drop)) from drop
        if failures >= patience.attempts:
            if self._host not in self._hosts.answered:
                self._hosts.silent[self._host] = f"the server did not answer before ({drop})"
            raise SourceError(f"{drop} ({failures} attempts)") from drop
        if patience.min_rate and seconds > patience.allowance + came / patience.min_rate:
            raise SourceError(
                f"{drop}; {came} bytes came in {seconds:.0f} s, which is too slow (--min-rate)"
            ) from drop

    def _wait(self, drop: Dropped, failures: int) -> None:
        seconds = drop.wait if drop.wait is not None else self._patience.first_wait * 2 ** (failures - 1)
        seconds = min(seconds, self._patience.longest_wait)
        _logger.info("%s: %s; trying again in %.0f s", self._source.shown, drop, seconds)
        if self._stop.wait(seconds):
            raise Stopped

    def _request(self) -> None:
        """Ask once for what is missing, and write what comes."""
        url, auth = self._source.url, authorise(self._source)
        with open_answer(self._session, "GET", url, self._patience, self._range_headers(), auth) as answer:
            self._hosts.answered.add(self._host)
            self._check(answer)
            self._write(answer)

    def _range_headers(self) -> dict[str, str]:
        part = self._part
        is_same = part.url == self._source.shown and bool(part.version)
        # Without a hash, only the version can tell that the rest belongs to the part. What is hardly begun is not
        # worth the question. The part goes only when the server has sent something else.
        self._continues = part.have > _OVERLAP_BYTES and (is_same or self._sha256 is not None)
        if not self._continues:
            return {}
        headers = {"Range": f"bytes={part.have - _OVERLAP_BYTES}-"}
        if is_same:
            headers["If-Range"] = part.version
        return headers

    def _check(self, answer: Answer) -> None:
        """Raise unless the body of an answer is to be written."""
        head = answer.head
        self._check_status(head)
        if head.status_code == 416:
            raise self._other_part("the server has another part of the file than was asked for")
        if is_html(head, self._source.url):
            raise SourceError("it is a web page (text/html) in the place of the file")
        encoding = head.headers.get("Content-Encoding", "").strip().lower() or "identity"
        # Some servers say so of every archive.
        if encoding != "identity" and not self._source.url.endswith((".gz", ".tgz")):
            raise SourceError(f"the server sends the file compressed ({said(encoding)}), which was not asked for")
        if head.status_code == 206:
            self._check_range(head)
        self._check_offer(answer)

    def _check_status(self, head: requests.Response) -> None:
        status = head.status_code
        text = f"the server answers {status} ({said(head.reason or 'without a reason')})"
        if status in (408, 429) or status >= 500:
            raise Dropped(text, wait=retry_after(head))
        if status in (401, 403) and self._source.is_hub:
            raise SourceError(
                f"{text}; its licence may have to be accepted at {self._source.page}, and HF_TOKEN set to a token of "
                "the account that has accepted it"
            )
        if status not in (200, 206, 416) or (status != 200 and not self._continues):
            raise SourceError(text)

    def _check_range(self, head: requests.Response) -> None:
        """Raise unless the rest of a file begins where it was asked for, and is of the same version."""
        had, has = self._part.version if self._part.url == self._source.shown else "", version_of(head)
        # With a hash, a server may leave the version out.
        same = not had or had == has or (not has and self._sha256 is not None)
        have, total = self._part.have, size_of(head)
        if start_of(head) != have - _OVERLAP_BYTES or (total is not None and total < have) or not same:
            raise self._other_part("the server sends another part of the file than was asked for")

    def _other_part(self, reason: str) -> Dropped:
        self._part.discard()
        return Dropped(reason, wait=0)

    def _check_offer(self, answer: Answer) -> None:
        """Take over what the server says of the file; raise where that is not the one that is expected."""
        offer, total = offer_of(answer.heads, self._source.is_hub), size_of(answer.head)
        if offer.sha256 and self._expected.sha256 not in (None, offer.sha256):
            raise SourceError(self._other_file(f"its sha256 is {offer.sha256}"))
        for size in (offer.size, total):
            if size == 0:
                raise SourceError("the file there is empty")
            if size is not None and self._expected.size not in (None, size):
                raise SourceError(self._other_file(f"it has {size} bytes"))
        if None not in (offer.size, total) and offer.size != total:
            raise SourceError(f"the hub announces {offer.size} bytes, but {total} are sent")
        self._size, self._offer = self._expected.size or offer.size or total, offer
        if self._size is None and self._sha256 is None and not answer.is_chunked:
            raise SourceError("the server does not say how long the file is; a broken one could not be told from it")

    def _write(self, answer: Answer) -> None:
        head, part, total, again = answer.head, self._part, size_of(answer.head), b""
        if head.status_code == 206:
            again = part.last(_OVERLAP_BYTES)
        else:
            part.begin(self._source.shown, version_of(head), total)
        limit = self._limit()
        with part.writing():
            for piece in answer.pieces():
                if self._stop.is_set():
                    raise Stopped
                same, again, piece = _compare(again, piece)
                if not same:
                    break
                if part.have + len(piece) > limit:
                    break
                had = part.have
                part.append(piece)
                if had < _START_BYTES:
                    self._refuse_web_page()
            else:
                if again or (total is not None and part.have < total):
                    raise Dropped(f"the connection was closed after {part.have} of {total or 'unknown'} bytes")
                return
        if not same:
            raise self._other_part("the server has another file at the same address now")
        part.discard()
        raise SourceError(f"the server sends more than {limit} bytes, which is all that is expected or has room")

    def _refuse_web_page(self) -> None:
        start = self._part.start(_START_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        if start.startswith(_HTML_STARTS) and not self._source.url.endswith((".html", ".htm")):
            self._part.discard()
            raise SourceError("it is a web page (it begins with <html>) in the place of the file")

    def _limit(self) -> int:
        """The number of bytes that the file may have. Raises InputError where the disk has no room for it."""
        room = self._part.have + shutil.disk_usage(self._part.path.parent).free
        if self._size is None:
            return min(room - DISK_MARGIN, _MOST_UNKNOWN_BYTES)
        if self._size > room:
            raise self._disk_error(OSError(errno.ENOSPC, ""))
        return self._size

    def _verified(self) -> Fetched:
        """The `Fetched` file. Raises SourceError where the part is not what it must be."""
        part = self._part
        if part.have == 0:
            raise SourceError("the file there is empty")
        self._refuse_web_page()
        if self._size not in (None, part.have):
            raise SourceError(self._other_file(f"it has {part.have} bytes"))
        sync(part.path)
        # From the disk, not as it came: what is there will be used.
        sha256 = sha256_of(part.path)
        if sha256 != part.sha256:
            raise SourceError(f"{part.path} is not what was written; the disk may be damaged")
        if self._sha256 not in (None, sha256):
            raise SourceError(self._other_file(f"its sha256 is {sha256} instead of {self._sha256}"))
        if self._expected.md5 is not None and md5_of(part.path) != self._expected.md5:
            raise SourceError(self._other_file(f"its md5 is not {self._expected.md5}"))
        git_sha1 = self._offer.git_sha1 if self._sha256 is None else None
        if git_sha1 not in (None, git_sha1_of(part.path)):
            raise SourceError(self._other_file(f"git's hash of it is not {git_sha1}, which the hub announces"))
        was_announced = self._expected.sha256 is None and (self._offer.sha256 or git_sha1) is not None
        return Fetched(
            part.have, sha256, self._source.is_hub and was_announced, (self._sha256 or git_sha1) is not None
        )

    def _other_file(self, what: str) -> str:
        return f"{what}; {self._expected.otherwise}"

    def _disk_error(self, error: OSError) -> InputError:
        if error.errno in _DISK_FULL:
            rest = f"{self._size - self._part.have} more bytes are" if self._size else "more space is"
            return InputError(
                f"no space left on the disk while writing {self._part.path}; {rest} needed, what is there is kept"
            )
        if error.errno == errno.EFBIG:
            return InputError(
                f"cannot write {self._part.path}: it would be larger than this file system, or `ulimit -f`, allows; "
                "a folder elsewhere (--dest), or a higher limit, is needed"
            )
        return InputError(
            f"cannot write {self._part.path}: {error.strerror or error}; a folder that can be written is needed"
        )


def git_sha1_of(path: Path) -> str:
    """Git's hash of a file's content, as 40 hexadecimal digits."""
    digest = sha1(b"blob %d\0" % path.stat().st_size)
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _compare(again: bytes, piece: bytes) -> tuple[bool, bytes, bytes]:
    """Whether a piece begins as what is fetched again, what of that is still to come, and the rest of the piece."""
    count = min(len(again), len(piece))
    return piece[:count] == again[:count], again[count:], piece[count:]

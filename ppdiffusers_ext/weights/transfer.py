"""One file from one source: resumed where it stopped, tried again when the line breaks, believed when it is verified.

The data lies in a part file until then. What is needed to continue it safely lies in a small note beside the part: the
address and the version (the ETag, or the date) it is of, so that two versions are never mixed.
"""

import errno
import json
import logging
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.answers import is_html, offer_of, reason_of, retry_after, size_of, version_of
from ppdiffusers_ext.weights.archives import DISK_MARGIN
from ppdiffusers_ext.weights.checksums import sha256_of
from ppdiffusers_ext.weights.sources import authorise

_logger = logging.getLogger(__name__)

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_CHUNK_BYTES = 2**16
_HTML_STARTS = (b"<!doctype html", b"<html")


class SourceError(InputError):
    """A source does not give the file; another one may."""


class Stopped(Exception):
    """The whole download is to end; the part is kept."""


class _Dropped(Exception):
    """The line broke, or the server is busy: the same request may succeed later."""

    def __init__(self, reason, wait=None):
        super().__init__(reason)
        self.wait = wait  # seconds, where it is known


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for, and how often it is asked again.

    attempts: in a row that bring nothing new.
    first_wait, longest_wait: seconds before the second attempt, doubled for each further one up to the longest. What
        the server asks for (Retry-After) is kept to, up to the longest as well.
    connect_timeout, read_timeout: seconds without any answer, and without any byte.
    """

    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 60.0
    connect_timeout: float = 10.0
    read_timeout: float = 30.0

    @property
    def timeout(self):
        return self.connect_timeout, self.read_timeout


@dataclass(frozen=True)
class Expected:
    """What a file must be; None for what is not known. `otherwise` is said of a file that is another one."""

    size: int | None = None
    sha256: str | None = None
    otherwise: str = "that is not the published file"


@dataclass(frozen=True)
class Hosts:
    """Which servers have answered in this run, and which never have: those are not waited for again."""

    answered: set = field(default_factory=set)
    silent: set = field(default_factory=set)


def part_of(target):
    """Where the data of a file lies until it is complete: beside it."""
    return target.with_name(f".{target.name}.part")


def remove_part(part):
    """Remove a part and its note, as far as they are there."""
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def _note_of(part):
    return part.with_name(f"{part.name}.json")


class Transfer:
    """Brings a file into `part`.

    hosts: the `Hosts` of the run.
    stop: `threading.Event`; when it is set, nothing more is written.
    advance: called with the number of bytes that came (negative when a part was thrown away).
    """

    def __init__(self, session, source, part, expected, patience, hosts, stop, advance):
        self._session, self._source, self._part = session, source, Path(part)
        self._expected, self._patience, self._stop, self._advance = expected, patience, stop, advance
        self._hosts, self._host = hosts, urlsplit(source.url).netloc
        self._have = self._counted = 0
        self._size, self._sha256 = expected.size, expected.sha256

    def run(self):
        """Fetch and verify the file. Returns its size in bytes, its sha256, and whether the hub had announced that.

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

    def _fetched(self):
        for is_last in (False, True):
            resumed = self._collect()
            try:
                return self._verified()
            except SourceError:
                self._discard()
                # The fault may be in what an earlier request or run had left: once more, from the start.
                if is_last or not resumed:
                    raise

    def _collect(self):
        """Have the part complete. Returns whether more than one request, or an earlier run, had a share in it."""
        if self._host in self._hosts.silent:
            raise SourceError("the server did not answer before")
        self._measure()
        most, failures, resumed = self._have, 0, self._have > 0
        while True:
            try:
                self._request()
                return resumed
            except _Dropped as drop:
                # A server that drops every connection is fine as long as it takes up where it stopped.
                self._measure()
                failures = 1 if self._have > most else failures + 1
                most, resumed = max(most, self._have), True
                if failures >= self._patience.attempts:
                    if self._host not in self._hosts.answered:
                        self._hosts.silent.add(self._host)
                    raise SourceError(f"{drop} ({failures} attempts)") from drop
                self._wait(drop, failures)

    def _wait(self, drop, failures):
        seconds = drop.wait if drop.wait is not None else self._patience.first_wait * 2 ** (failures - 1)
        seconds = min(seconds, self._patience.longest_wait)
        _logger.info("%s: %s; trying again in %.0f s", self._source.shown, drop, seconds)
        if self._stop.wait(seconds):
            raise Stopped

    def _request(self):
        """Ask once for what is missing, and write what comes."""
        import requests
        import urllib3

        try:
            with self._session.get(
                self._source.url,
                headers=self._range_headers(),
                auth=authorise(self._source),
                timeout=self._patience.timeout,
                stream=True,
            ) as response:
                self._hosts.answered.add(self._host)
                if self._is_wanted(response):
                    self._write(response)
        # Reading the body raises urllib3's exceptions, all before that requests' own.
        except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise _Dropped("the server does not answer in time") from error
        except (requests.ConnectionError, urllib3.exceptions.HTTPError) as error:
            raise _Dropped(reason_of(error)) from error
        except requests.RequestException as error:
            raise SourceError(str(error)) from error

    def _range_headers(self):
        note = self._read_note()
        # Without a hash, only the version can tell that the rest belongs to the part.
        if self._have == 0 or (self._sha256 is None and not note.get("version")):
            return {}
        if self._sha256 is None and self._have == note.get("size"):
            # Complete, but of which version? The server says so with the last byte.
            os.truncate(self._part, self._have - 1)
            self._measure()
        headers = {"Range": f"bytes={self._have}-"}
        if note.get("version"):
            headers["If-Range"] = note["version"]
        return headers

    def _is_wanted(self, response):
        """Whether the answer's body is to be written: False where the part was complete. Raises where it cannot be."""
        self._check_status(response)
        if response.status_code == 416:
            if self._sha256 is not None and size_of(response) == self._have:
                return False
            self._discard()
            raise _Dropped("the server has another part of the file than was asked for", wait=0)
        if is_html(response, self._source.url):
            raise SourceError("it is a web page (text/html) in the place of the file")
        encoding = response.headers.get("Content-Encoding", "identity")
        # Some servers say so of every archive.
        if encoding != "identity" and not self._source.url.endswith((".gz", ".tgz")):
            raise SourceError(f"the server sends the file compressed ({encoding}), which was not asked for")
        if response.status_code == 206:
            self._check_range(response)
        self._check_offer(response)
        return True

    def _check_status(self, response):
        status = response.status_code
        said = f"the server answers {status} ({response.reason or 'without a reason'})"
        if status in (408, 429) or status >= 500:
            raise _Dropped(said, wait=retry_after(response))
        if status in (401, 403) and self._source.is_hub:
            raise SourceError(
                f"{said}; its licence may have to be accepted at {self._source.page}, and HF_TOKEN set to a token of "
                "the account that has accepted it"
            )
        if status not in (200, 206, 416):
            raise SourceError(said)

    def _check_range(self, response):
        """Raise unless the rest of a file begins where the part ends, and is of the same version."""
        had, has = self._read_note().get("version"), version_of(response)
        # With a hash, a server may leave the version out.
        same = not had or had == has or (not has and self._sha256 is not None)
        start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        if start != str(self._have) or not same:
            self._discard()
            raise _Dropped("the server sends another part of the file than was asked for", wait=0)

    def _check_offer(self, response):
        """Take over what the server says of the file; raise where that is not the one that is expected."""
        offer, total = offer_of(response), size_of(response)
        if offer.sha256 and self._expected.sha256 not in (None, offer.sha256):
            raise SourceError(self._other_file(f"its sha256 is {offer.sha256}"))
        for size in (offer.size, total):
            if size == 0:
                raise SourceError("the file there is empty")
            if size is not None and self._expected.size not in (None, size):
                raise SourceError(self._other_file(f"it has {size} bytes"))
        if None not in (offer.size, total) and offer.size != total:
            raise SourceError(f"the hub announces {offer.size} bytes, but {total} are sent")
        self._size = self._expected.size or offer.size or total
        self._sha256 = self._expected.sha256 or offer.sha256
        if self._size is None and self._sha256 is None and not response.raw.chunked:
            raise SourceError("the server does not say how long the file is; a broken one could not be told from it")

    def _write(self, response):
        continued = response.status_code == 206
        if not continued:
            self._discard()
            self._part.parent.mkdir(parents=True, exist_ok=True)
            self._part.touch()
            note = {"url": self._source.shown, "version": version_of(response), "size": size_of(response)}
            _note_of(self._part).write_text(json.dumps(note), encoding="utf-8")
        limit = self._limit()
        total = size_of(response)
        with open(self._part, "ab") as file:
            for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
                if self._stop.is_set():
                    raise Stopped
                if self._have + len(chunk) > limit:
                    break
                file.write(chunk)
                self._count(self._have + len(chunk))
            else:
                if total is not None and self._have < total:
                    raise _Dropped(f"the connection was closed after {self._have} of {total} bytes")
                return
        self._discard()
        raise SourceError(f"the server sends more than {limit} bytes, which is all that is expected or has room")

    def _limit(self):
        """The number of bytes that the file may have. Raises InputError where the disk has no room for it."""
        room = self._have + shutil.disk_usage(self._part.parent).free
        if self._size is None:
            return room - DISK_MARGIN
        if self._size > room:
            raise self._disk_error(OSError(errno.ENOSPC, ""))
        return self._size

    def _verified(self):
        """Size, hash and whether the hub announced it. Raises SourceError where the part is not what it must be."""
        self._measure()
        if self._have == 0:
            raise SourceError("the file there is empty")
        with open(self._part, "rb+") as file:
            start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
            os.fsync(file.fileno())
        if start.startswith(_HTML_STARTS) and not self._source.url.endswith((".html", ".htm")):
            raise SourceError("it is a web page (it begins with <html>) in the place of the file")
        if self._size not in (None, self._have):
            raise SourceError(self._other_file(f"it has {self._have} bytes"))
        sha256 = sha256_of(self._part)
        if self._sha256 not in (None, sha256):
            raise SourceError(self._other_file(f"its sha256 is {sha256} instead of {self._sha256}"))
        return self._have, sha256, self._source.is_hub and self._expected.sha256 is None and self._sha256 is not None

    def _other_file(self, what):
        return f"{what}; {self._expected.otherwise}"

    def _disk_error(self, error):
        if error.errno in _DISK_FULL:
            rest = f"{self._size - self._have} more bytes are" if self._size else "more space is"
            return InputError(
                f"no space left on the disk while writing {self._part}; {rest} needed, what is there is kept"
            )
        return InputError(
            f"cannot write {self._part}: {error.strerror or error}; a folder that can be written is needed"
        )

    def _read_note(self):
        try:
            note = json.loads(_note_of(self._part).read_bytes())
            return note if note["url"] == self._source.shown else {}
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def _measure(self):
        self._count(self._part.stat().st_size if self._part.exists() else 0)

    def _count(self, have):
        self._have = have
        self._advance(have - self._counted)
        self._counted = have

    def _discard(self):
        remove_part(self._part)
        self._measure()

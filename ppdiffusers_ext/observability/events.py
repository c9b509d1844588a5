"""Events as lines of JSON: what `--log-json FILE` writes.

Each line is a mapping with `time` (UTC), `event` and what belongs to the event:

    run_started    command
    stage_finished stage, seconds, memory_bytes
    run_finished   seconds, memory_bytes
    run_failed     seconds, memory_bytes, reason

`scripts.batch` adds those of its jobs; see `batch.observing`. Several runs may append to one file.
"""

import contextlib
import contextvars
import datetime
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from ppdiffusers_ext.environment import peak_memory
from ppdiffusers_ext.errors import InputError, one_line, shown_path
from ppdiffusers_ext.files import append, check_name

_MOST_OF_REASON = 2000  # characters
_BEGINNING = b'{"time": "'  # of each line
_ACCEPTED = "the name of a new file, or of a log to append to, is accepted"

_current: contextvars.ContextVar["EventLog | None"] = contextvars.ContextVar("event log", default=None)


class EventLog:
    """A file to which events are appended, a line at a time.

    Args:
        path: of the file.

    Raises:
        InputError: it cannot be written.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._path = check_name(path, "--log-json", _ACCEPTED)
        try:
            is_in_line = self._path.is_file() and self._check()
            # Of a pipe that nobody reads the system says that, instead of waiting for a reader.
            place = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
            os.set_blocking(place, True)
            self._file = open(place, "ab", buffering=0)  # noqa: SIM115  # `close` does
            if is_in_line:
                append(self._file, b"\n")
        except OSError as error:
            raise self._refused(error) from error

    def _check(self) -> bool:
        """Raise InputError for a file that is no log. Whether its last line lacks its end, as after a full disk."""
        with open(self._path, "rb") as file:
            if not _BEGINNING.startswith(file.read(len(_BEGINNING))):
                raise InputError(f"--log-json {shown_path(self._path)} is no log of events; {_ACCEPTED}")
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            return file.read(1) not in (b"", b"\n")

    def write(self, event: str, **values: Any) -> None:
        """Append an event. Raises InputError where it cannot be written."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **values}, ensure_ascii=True, default=str)
        try:
            append(self._file, line.encode() + b"\n")
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        self._file.close()

    def _refused(self, error: OSError) -> InputError:
        return InputError(f"--log-json {shown_path(self._path)} cannot be written ({error.strerror}); {_ACCEPTED}")


def current_log() -> EventLog | None:
    """The `EventLog` of the run that this is called in, or None."""
    return _current.get()


@contextlib.contextmanager
def logged(path: str | os.PathLike | None, command: str) -> Iterator[EventLog | None]:
    """Within it, events are written to a file, if one is named: the beginning and the end of the run among them.

    Args:
        path: of the file.
        command: that runs.

    Raises:
        InputError: the file cannot be written.
    """
    if path is None:
        yield None
        return
    log, begun = EventLog(path), time.monotonic()

    def end(event: str, **values: Any) -> None:
        seconds = round(time.monotonic() - begun, 3)
        log.write(event, seconds=seconds, memory_bytes=peak_memory(), **values)

    token = _current.set(log)
    try:
        log.write("run_started", command=command)
        try:
            yield log
        except BaseException as error:
            with contextlib.suppress(InputError):  # the error that ends the run is told
                end("run_failed", reason=one_line(_words_of(error), _MOST_OF_REASON))
            raise
        end("run_finished")
    finally:
        _current.reset(token)
        log.close()


def _words_of(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return f"stopped by {str(error) or 'Ctrl-C'}"
    return str(error) or type(error).__name__

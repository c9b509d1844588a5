"""The manifest of a batch: a line of JSON for each thing that happens to a job, written as it happens.

What is read back is what the lines say, one after the other; half a line, of a run that was killed, is left out. When
a run begins, the lines become one for each job, so that the file does not grow with the runs.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

from ppdiffusers_ext.data.outputs import output_file
from ppdiffusers_ext.errors import InputError, shown_path
from ppdiffusers_ext.files import append, check_file

WAITING, BEGUN, MADE, KEPT, FAILED = STATES = ("waiting", "begun", "made", "kept", "failed")
FINISHED = (MADE, KEPT)
LOST = "lost"  # what happens to a job whose worker ended


@dataclass
class Entry:
    """What became of a job.

    Attributes:
        output: of the job, its name.
        of: its digest; one with another digest is another job.
        state: one of `STATES`.
        attempts: how many times it was begun.
        failures: how many times it failed, or its worker ended.
        reason: of the last failure, or what is to be said of an output that is kept, or "".
        seconds, memory: that it took, and the most bytes that its worker had meanwhile; 0 where nobody knows.
        stamps: of its inputs and its output when it was done, or failed; see `Batch.stamps`.
        figures: identity and pose, where its report has them.
        stages: stage of the run -> seconds.
    """

    output: str
    of: str
    state: str = WAITING
    attempts: int = 0
    failures: int = 0
    reason: str = ""
    seconds: float = 0.0
    memory: int = 0
    stamps: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)

    def happened(self, what: str, **values: Any) -> None:
        """Count what happens: one of `STATES`, of which `WAITING` is that it is given back, or `LOST`."""
        if what == BEGUN:
            self.attempts += 1
        if what in (FAILED, LOST):
            self.failures += 1
        if what == LOST:  # it is tried once more
            self.attempts += 1
        self.state = BEGUN if what == LOST else what
        if what in FINISHED:
            self.reason = ""
        for name, value in values.items():
            setattr(self, name, value)


_OF_NUMBERS = {"figures", "stages"}
_TOO_MUCH = 1 << 63  # of seconds, bytes, and whatever else is counted
_NAMES = {item.name: type(getattr(Entry("", ""), item.name)) for item in fields(Entry)}


class Manifest:
    """
    Args:
        path: of the file.
        others: manifests of parts of the same batch, which are read, too; of two that tell of a job, the one that has
            it finished counts.

    Attributes:
        entries: output -> `Entry`.

    Raises:
        InputError: a file that is no manifest.
    """

    def __init__(self, path: Path, others: Sequence[Path] = ()) -> None:
        self.path, self.entries = path, dict[str, Entry]()
        self._file: BinaryIO | None = None
        for each in (path, *others):
            for entry in read_manifest(each):
                known = self.entries.get(entry.output)
                if known is None or known.state not in FINISHED:
                    self.entries[entry.output] = entry

    def begin(self, jobs: Iterable[tuple[str, str]]) -> None:
        """Write an entry for each job, of its output and digest, and go on to write what happens.

        What the manifest says of jobs that are not among them, or have another digest now, is left out.

        Raises:
            InputError: it cannot be written.
        """
        known, self.entries = self.entries, {}
        for output, of in jobs:
            entry = known.get(output)
            self.entries[output] = entry if entry is not None and entry.of == of else Entry(output, of)
        with output_file(self.path) as temporary, open(temporary, "wb") as file:
            file.writelines(_line(asdict(entry)) for entry in self.entries.values())
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115  # `close` does

    def tell(self, output: str, what: str, **values: Any) -> None:
        """Write what happens to a job; see `Entry.happened`. Raises InputError where it cannot be written."""
        assert self._file is not None
        self.entries[output].happened(what, **values)
        try:
            append(self._file, _line({"output": output, "event": what, **values}))
        except OSError as error:
            raise InputError(
                f"manifest {shown_path(self.path)} cannot be written ({error.strerror}); free some space: the same "
                "command goes on"
            ) from error

    def close(self) -> None:
        """Write no more."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=True).encode() + b"\n"


def read_manifest(path: Path) -> list[Entry]:
    """The entries of a manifest; none where there is no such file. Raises InputError for a file that is none."""
    if not path.exists():
        return []
    check_file(path, "manifest", "one that a batch wrote is accepted, or none: it is made anew")
    found: dict[str, Entry] = {}
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                _read_line(json.loads(line), found)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise InputError(
                    f"line {number} of manifest {shown_path(path)} is none of a batch; a manifest as it was written "
                    "is accepted, or none: it is made anew"
                ) from error
    return list(found.values())


def _read_line(values: Any, found: dict[str, Entry]) -> None:
    if not isinstance(values, dict):
        raise TypeError("no mapping")
    event = values.pop("event", None)
    for name, value in values.items():
        _check(value, _NAMES[name])
    for name in _OF_NUMBERS & values.keys():
        for value in values[name].values():
            _check(value, float)
    if values.get("state", WAITING) not in STATES or event not in (None, *STATES, LOST):
        raise ValueError("state")
    if event is None:
        found[values["output"]] = Entry(**values)
    else:
        found[values.pop("output")].happened(event, **values)


def _check(value: Any, kind: type) -> None:
    """Raise TypeError or ValueError for a value that no run writes where one of a kind is."""
    if isinstance(value, bool) or not isinstance(value, (float, int) if kind is float else kind):
        raise TypeError(kind.__name__)
    if isinstance(value, (float, int)) and not -_TOO_MUCH < value < _TOO_MUCH:  # nor is NaN
        raise ValueError(value)


def stamp(path: str | Path) -> Any:
    """Size and time of a file, or of what is in a folder; None where there is nothing."""
    try:
        status = os.stat(path)
        if not os.path.isdir(path):
            return [status.st_size, status.st_mtime_ns]
        with os.scandir(os.fspath(path)) as entries:
            inside = sorted((each.name, each.stat()) for each in entries if not each.name.startswith("."))
        return [[name, of.st_size, of.st_mtime_ns] for name, of in inside]
    except (OSError, ValueError):
        return None

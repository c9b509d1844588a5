"""The record of every verified download, so that later ones of the same path must be the same (trust on first use).

It lies at `checksums.json` in the folder of all weights, for people to read and to edit.
"""

import datetime
import hashlib
import json
import os
import re
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError, MissingFileError, printable, shown
from ppdiffusers_ext.files import read_json
from ppdiffusers_ext.weights.parts import sync

NAME = "checksums.json"
TRUST = ("registry", "hub", "first use")
_READ_BYTES = 2**20
_MOST_BYTES = 2**26  # of a record with the members of many archives
_ACCEPTED = "restore it, or move it away to have the files that are there checked and recorded anew"


@dataclass(frozen=True)
class Record:
    """Size, hash and origin of one path.

    size, sha256: in bytes, and as 64 hexadecimal digits; of an unpacked archive, those of the archive, and None for a
        folder that the user put there.
    source: the address it came from.
    trust: who said that the hash is right, one of TRUST.
    date: of the first download, as YYYY-MM-DD.
    members: of an unpacked archive, its files: name -> (size, sha256).
    """

    size: int | None
    sha256: str | None
    source: str
    trust: str
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())
    members: dict = field(default_factory=dict)


class Checksums:
    """The records of a folder. Threads may share it; processes take turns by the folder's lock."""

    def __init__(self, folder: str | os.PathLike) -> None:
        """Read the file; none is as good as an empty one. Raises InputError where it is damaged."""
        self.path = Path(folder) / NAME
        self._lock = threading.Lock()
        try:
            self._records = _parse(read_json(self.path, "record", "a file that can be read is needed", _MOST_BYTES))
        except MissingFileError:
            self._records = {}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {printable(error, 300)}"
            raise InputError(f"{self.path} is damaged ({what}); {_ACCEPTED}") from error

    def get(self, path: str) -> Record | None:
        """The `Record` of a path (str, relative to the folder, with slashes), or None."""
        return self._records.get(path)

    def put(self, path: str, record: Record) -> None:
        """Record a path and write the file, which is at any moment either the old or the new one."""
        with self._lock:
            self._records[path] = record
            files = {name: _as_json(self._records[name]) for name in sorted(self._records)}
            temporary = self.path.with_name(f".{NAME}.new")
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump({"version": 1, "files": files}, file, indent=1)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
            sync(self.path.parent)


def sha256_of(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def md5_of(path: str | os.PathLike) -> str:
    """The MD5 of a file's content, as 32 hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _as_json(record: Record) -> dict[str, Any]:
    values = asdict(record)
    members = values.pop("members")
    if members:
        values["members"] = {name: {"size": size, "sha256": sha256} for name, (size, sha256) in members.items()}
    return values


def _parse(document: Any) -> dict[str, Record]:
    if document["version"] != 1:
        raise ValueError(f"version {shown(document['version'])} is not known, 1 is")
    return {path: _parse_record(dict(values)) for path, values in document["files"].items()}


def _parse_record(values: Any) -> Record:
    members = {
        name: _checked_pair(member["size"], member["sha256"]) for name, member in values.pop("members", {}).items()
    }
    if not members or values["size"] is not None or values["sha256"] is not None:
        _checked_pair(values["size"], values["sha256"])
    record = Record(**values, members=members)
    if record.trust not in TRUST or not isinstance(record.source, str) or not isinstance(record.date, str):
        raise ValueError("source, trust or date is none")
    return record


def _checked_pair(size: Any, sha256: Any) -> tuple[int | None, str | None]:
    # A hash in capitals would never be equal to one that was computed.
    if type(size) is not int or size < 0 or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f"{shown(size)}, {shown(sha256)} are not a size and a sha256")
    return size, sha256

"""What of the registry is asked for, and what of it lies in a folder. Nothing here opens a connection."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import InputError
from ppdiffusers_ext.weights.checksums import Checksums, sha256_of
from ppdiffusers_ext.weights.entries import File, Weights

if TYPE_CHECKING:
    from ppdiffusers_ext.weights.checksums import Record


# present: there, and recorded. unrecorded: there, but nobody has checked it. wrong: there, but it cannot be the file.
# packed: the archive is there, but not what it unpacks to.
STATES = ("present", "unrecorded", "wrong", "packed", "missing")


@dataclass(frozen=True)
class Item:
    """One file (or one archive) of one checkpoint."""

    weights: Weights
    file: File

    @property
    def path(self) -> str:
        """Where it lies below the folder of all weights: str with slashes. Of an archive, the folder it fills."""
        return str(PurePosixPath(self.weights.folder) / self.file.path)

    @property
    def remote(self) -> str:
        """Its name at the source: str with slashes."""
        return self.file.remote or self.file.path

    @property
    def target(self) -> str:
        """Where what is fetched lies below that folder: `path`; of an archive or a package beside what it fills."""
        if self.file.packed is not None:
            return str(PurePosixPath(self.path).with_name(self.file.packed.archive))
        if not self.file.is_archive:
            return self.path
        return str(PurePosixPath(self.path).with_name(PurePosixPath(self.remote).name))


def items_of(entries: Iterable[Weights]) -> list[Item]:
    """The `Item`s of a sequence of `Weights`, in their order. Raises ValueError where two have the same path."""
    items = [Item(weights, file) for weights in entries for file in weights.files]
    paths = [item.path for item in items]
    if len(set(paths)) < len(paths):
        raise ValueError(f"in the registry twice: {sorted({path for path in paths if paths.count(path) > 1})}")
    return items


def select(
    registry: Sequence[Weights], systems: Iterable[str] = (), names: Iterable[str] = (), extras: bool = False
) -> list[Weights]:
    """The entries of some systems (of all if none is given), or only those named, as a list of `Weights`.

    Alternatives and extras (`by_default` is False) are among them when they are named, or with `extras`.

    Raises InputError for a name or a system that the registry has not, or a name that is of none of the systems.
    """
    known_systems = sorted({system for weights in registry for system in weights.systems})
    for system in systems:
        if system not in known_systems:
            raise InputError(f"unknown system {system!r}; {', '.join(known_systems)} are accepted")
    entries = [weights for weights in registry if not systems or set(systems) & set(weights.systems)]
    known_names = [weights.name for weights in entries]
    for name in names:
        if name not in known_names:
            of = f" in {' and '.join(systems)}" if systems else ""
            raise InputError(f"unknown name {name!r}{of}; {', '.join(known_names)} are accepted")
    if names:
        return [weights for weights in entries if weights.name in names]
    return [weights for weights in entries if weights.by_default or extras]


@dataclass(frozen=True)
class Total:
    """The sizes of some files: bytes of those that are known, exactly or rounded, and how many are not known."""

    known: int
    is_rounded: bool
    unknown: int

    @staticmethod
    def of(files: Iterable[File]) -> Total:
        sizes = [file.size or file.about for file in files]
        rounded = any(file.size is None and file.about is not None for file in files)
        return Total(sum(size for size in sizes if size is not None), rounded, sizes.count(None))


def state_of(item: Item, folder: str | os.PathLike, record: Record | None) -> str:
    """One of STATES, by names and sizes only. `record` is the `Record` of the item's path, or None."""
    path = Path(folder) / item.path
    if path.exists() and item.file.is_archive != path.is_dir():
        return "wrong"
    if item.file.is_archive:
        state = _state_of_unpacked(item, path, record) if path.exists() else "missing"
        return "packed" if state == "missing" and (Path(folder) / item.target).is_file() else state
    if not path.exists():
        is_packed = item.file.packed is not None and (Path(folder) / item.target).is_file()
        return "packed" if is_packed else "missing"
    size = path.stat().st_size
    if size == 0 or item.file.size not in (None, size):
        return "wrong"
    if record is None:
        return "unrecorded"
    # The registry may have learnt a hash since, or another one.
    return "present" if record.size == size and item.file.sha256 in (None, record.sha256) else "wrong"


def _state_of_unpacked(item: Item, path: Path, record: Record | None) -> str:
    names = item.file.members if record is None else record.members
    if not all((path / name).is_file() for name in {*names, *item.file.members}):
        return "missing"
    if record is None:
        return "unrecorded"
    sizes_agree = all((path / name).stat().st_size == size for name, (size, _) in record.members.items())
    hashes_agree = record.sha256 is None or item.file.sha256 in (None, record.sha256)
    return "present" if sizes_agree and hashes_agree else "missing"


def missing(entries: Iterable[Weights], folder: str | os.PathLike) -> list[str]:
    """The paths of the entries' files that are not there (or cannot be the right ones): list of str.

    By names and sizes only; `verify` looks at the content. Raises InputError where checksums.json is damaged.
    """
    checksums = Checksums(folder)
    states = {item.path: state_of(item, folder, checksums.get(item.path)) for item in items_of(entries)}
    return [path for path, state in states.items() if state not in ("present", "unrecorded")]


def verify(entries: Iterable[Weights], folder: str | os.PathLike) -> Iterator[tuple[str, str, str]]:
    """Hash every file that is there: yields (path, verdict, reason), the files of archives one by one.

    The verdict is "ok", "wrong", "missing", or "unrecorded" where no hash is known to compare with; the reason is ""
    for the first. Raises InputError where checksums.json is damaged.
    """
    checksums = Checksums(folder)
    for item in items_of(entries):
        record = checksums.get(item.path)
        for path, size, sha256 in _expectations(item, record):
            yield path, *_verdict(Path(folder) / path, size, sha256)


def _expectations(item: Item, record: Record | None) -> Iterator[tuple[str, int | None, str | None]]:
    """(path, size, sha256) of every file of an item; None for what is not known."""
    if item.file.is_archive:
        known = record.members if record else {}
        for name in sorted({*item.file.members, *known}):
            yield f"{item.path}/{name}", *known.get(name, (None, None))
    else:
        size, sha256 = (record.size, record.sha256) if record else (None, None)
        yield item.path, item.file.size or size, item.file.sha256 or sha256


def _verdict(path: Path, size: int | None, sha256: str | None) -> tuple[str, str]:
    if not path.is_file():
        return "missing", "it is a folder" if path.is_dir() else "there is no such file"
    actual_size = os.stat(path).st_size
    if size not in (None, actual_size):
        return "wrong", f"it has {actual_size} bytes instead of {size}; remove it to have it fetched again"
    if sha256 is None:
        return "unrecorded", "no hash is known; a download without --verify checks and records it"
    actual = sha256_of(path)
    if actual != sha256:
        return "wrong", f"its sha256 is {actual} instead of {sha256}; remove it to have it fetched again"
    return "ok", ""

"""What becomes of results that exist, the same in all commands: refused, replaced by --overwrite, or kept.

Results that another run is making are refused, whatever is asked for: they are held from before they are looked at
until the job is done.

A result that --skip-existing keeps has to be what would be made now; `records` says what it was made of. One without a
record is a user's own file, and is kept.
"""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.holding import LOCK, Busy, Hold
from ppdiffusers_ext.data.outputs import OutputError, given_as, make_folders, real_target, watched_by
from ppdiffusers_ext.data.records import Made, Records, files_below, record
from ppdiffusers_ext.errors import InputError, counted, shown_path

logger = logging.getLogger(__name__)

_REPLACES, _KEEPS = "--overwrite replaces", "--skip-existing keeps"
_GOES_ON = "--skip-existing goes on with the rest"


class ExistsError(OutputError):
    """A result exists that is neither to be replaced nor what would be made."""


class HeldError(ExistsError):
    """Another process makes a result."""


@dataclass
class Results:
    """The results of a job, held against what exists.

    Attributes:
        made: path of each result -> what it is made of.
        missing: paths of those that are to be made.
        kept: number of those that exist, and stay.
    """

    made: dict[Path, Made]
    missing: list[Path] = field(default_factory=list)
    kept: int = 0
    _replaces: bool = False
    _removed: list[Path] = field(default_factory=list)
    _held: list[Hold] = field(default_factory=list)
    _is_sequence: bool = False
    _num_written: int = 0

    def hold(self, paths: Iterable[str | os.PathLike], is_sequence: bool = False) -> None:
        """Hold outputs, as long as there are these results; see `hold_outputs`."""
        self._held.append(hold_outputs(paths, is_sequence))

    def include(self, other: "Results") -> None:
        """Add those of another job."""
        self.made |= other.made
        self.missing += other.missing
        self.kept += other.kept
        self._replaces |= other._replaces
        self._held += other._held

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Within it, each result that is written gets its record.

        Those of an earlier run, where they are one sequence, are removed when the first new one is complete: of a run
        that is stopped later, none of them stands among the new ones.

        An InputError that ends it early also says how many of a sequence are made, with which a later run goes on.
        """
        self._by_target = {real_target(path): made for path, made in self.made.items()}
        try:
            with watched_by(self):
                yield
        except InputError as error:
            if self._is_sequence and self._num_written:
                made = f"{self._num_written:,} of {counted(len(self.missing), 'result')} made before"
                error.args = (f"{error} ({made} {'is' if self._num_written == 1 else 'are'} kept: {_GOES_ON})",)
            raise

    def replaces(self, folder: Path) -> bool:
        """Whether a folder that is there may be replaced by a result; see `outputs.watched_by`."""
        return self._replaces and folder in self._by_target

    def completed(self, temporary: Path, target: Path) -> None:
        """Record a result that is about to get its name; see `outputs.watched_by`."""
        made = self._by_target.get(target)
        if made is None:
            return
        for path in self._removed:
            path.unlink(missing_ok=True)
        self._removed = []
        self._num_written += 1
        if temporary.is_dir():
            record(temporary, {name: (temporary / name, made) for name in files_below(temporary)})
        else:
            record(target.parent, {target.name: (temporary, made)})


def check_existing(
    made: Mapping[Any, Made | Callable[[], Made]],
    overwrite: bool = False,
    skip_existing: bool = False,
    pattern: str | None = None,
) -> Results:
    """Hold the results that a job would make against what exists, before it begins.

    Args:
        made: path of each result, a file or a folder -> what it will be made of; or a function that returns it, which
            may read long, and is called once, where nothing is to be refused before.
        overwrite: results that exist are to be replaced.
        skip_existing: they are to be kept, if they were made of the same.
        pattern: where results are one sequence, such as the frames of a video: a regular expression of the names of
            all that a run may make, r"frame_\\d+\\.png". There must be no more of them than these.

    Raises:
        ExistsError: a result exists, and neither is given; or one is to be kept that was made of something else; or a
            folder is to be replaced that holds files which are no results.
        HeldError: another process makes one of them.
    """
    hold = hold_outputs(made, pattern is not None)
    try:
        results = _results(made, overwrite, skip_existing, pattern)
    except BaseException:
        hold.release()
        raise
    results._held.append(hold)
    results._is_sequence = pattern is not None
    return results


def hold_outputs(paths: Iterable[str | os.PathLike], is_sequence: bool = False) -> Hold:
    """Hold outputs so that no other process makes them, until the `Hold` is released or nobody has it any more.

    Args:
        paths: of files and folders.
        is_sequence: they are one sequence, of which another run may make more: the folder is held.

    Raises:
        HeldError: another process holds one.
    """
    targets = {real_target(path): path for path in paths}
    hold = Hold()
    try:
        hold.add(targets, is_sequence, lambda folder, undo: make_folders(folder, folder, undo))
    except Busy as busy:
        hold.release()
        folders = {real.parent: Path(path).parent for real, path in targets.items()}
        path = targets.get(busy.path) or folders[busy.path]
        by = f"process {busy.process}" if busy.process else "another process"
        raise HeldError(
            f"{given_as(path)} is being written by {by}; another output is accepted, or this one when that has ended"
        ) from None
    return hold


def _results(
    made: Mapping[Any, Made | Callable[[], Made]], overwrite: bool, skip_existing: bool, pattern: str | None
) -> Results:
    targets = list(map(Path, made))
    existing = [path for path in targets if _exists(real_target(path))]
    leftovers = _leftovers(targets, pattern) if pattern else []
    if overwrite:
        for folder in filter(os.path.isdir, existing):
            _check_replaceable(folder)
        return Results(_resolved(made), targets, 0, True, [*map(real_target, existing), *leftovers] if pattern else [])
    if not skip_existing:
        if existing or leftovers:
            raise ExistsError(_refusal(existing or leftovers, len(targets)))
        return Results(_resolved(made), targets)
    paths = _resolved(made)
    _check_kept(paths, existing)
    if leftovers:
        raise ExistsError(
            f"{shown_path(leftovers[0])} is of an earlier run that made more ({counted(len(leftovers), 'such file')});"
            f" {_REPLACES} all of them"
        )
    there = set(existing)
    return Results(paths, [path for path in targets if path not in there], len(existing))


def check_distinct(results: Mapping[Any, Any]) -> None:
    """Refuse two inputs whose result would be the same file, one of which would be taken for the other's.

    Args:
        results: input -> path of its result.

    Raises:
        InputError: there are such inputs.
    """
    of: dict[Any, Any] = {}
    for source, target in results.items():
        if (other := of.setdefault(target, source)) is not source:
            raise InputError(
                f"{shown_path(other)} and {shown_path(source)} would both become {shown_path(target)}; names that "
                "differ without their endings are accepted"
            )


def _resolved(made: Mapping[Any, Made | Callable[[], Made]]) -> dict[Path, Made]:
    called: dict[Callable[[], Made], Made] = {}
    resolved = {}
    for path, of in made.items():
        if isinstance(of, Made):
            resolved[Path(path)] = of
        else:
            if of not in called:
                called[of] = of()
            resolved[Path(path)] = called[of]
    return resolved


def _refusal(existing: list[Path], count: int) -> str:
    first = given_as(existing[0])
    if count == 1:
        return f"{first} exists; {_REPLACES} it, {_KEEPS} it"
    others = f" and {counted(len(existing) - 1, 'more result')}" if len(existing) > 1 else ""
    return (
        f"{first}{others} of {count:,} {'exist' if others else 'exists'}; {_REPLACES} what is there, {_KEEPS} it and "
        "goes on with the rest, as after a run that was stopped"
    )


def _check_kept(paths: dict[Path, Made], existing: list[Path]) -> None:
    """Raise ExistsError for the first result that was made of something else; say how many have no record."""
    read: dict[Path, Records] = {}
    own = []
    for path in existing:
        target = real_target(path)
        folder, names = (target, files_below(target)) if target.is_dir() else (target.parent, [target.name])
        records = read.get(folder) or read.setdefault(folder, Records(folder))
        found = {name: records.of(name) for name in names}
        for name, of in found.items():
            if of is not None and (different := of.differences(paths[path])):
                where = path / name if target.is_dir() else path
                raise ExistsError(
                    f"{shown_path(where)} was made of something else: {', '.join(different)}; {_REPLACES} it"
                )
        if target.is_dir() and (lost := records.lacking(names)):
            raise ExistsError(f"{shown_path(path)} lacks {shown_path(lost[0])}, which was in it; {_REPLACES} it")
        if None in found.values():
            own.append(path)
    if own:
        logger.warning("kept as they are, without a record of what they were made of: %s (%s%s)",
                       counted(len(own), "result"), shown_path(own[0]), ", ..." if len(own) > 1 else "")  # fmt: skip


def are_made_of(made: Mapping[Path, Made]) -> bool:
    """Whether all of these files and folders, which exist, have a record that says this."""
    for path, of in made.items():
        target = real_target(path)
        folder, names = (target, files_below(target)) if target.is_dir() else (target.parent, [target.name])
        records = Records(folder)
        if any((found := records.of(name)) is None or found.differences(of) for name in names):
            return False
    return True


def has_record(path: str | os.PathLike) -> bool:
    """Whether a file is what a run has made, as it has made it."""
    target = real_target(path)
    return Records(target.parent).of(target.name) is not None


def _leftovers(paths: list[Path], pattern: str) -> list[Path]:
    """Files with a record in the folders of results, named as these but none of them."""
    targets = {real_target(path) for path in paths}
    found = []
    for folder in sorted({target.parent for target in targets}):
        names = [name for name in os.listdir(folder) if re.fullmatch(pattern, name)] if folder.is_dir() else []
        others = sorted(name for name in names if folder / name not in targets)
        records = Records(folder)
        found += [folder / name for name in others if (folder / name).is_file() and records.of(name)]
    return found


def _check_replaceable(folder: Path) -> None:
    """Raise ExistsError where a folder holds anything else than results, which would be lost."""
    records = Records(folder)
    if own := [name for name in files_below(folder) if records.of(name) is None]:
        raise ExistsError(
            f"{given_as(folder)} cannot be replaced: {shown_path(own[0])} in it has no record of having been made; "
            "a new or an empty folder is accepted"
        )


def _exists(path: Path) -> bool:
    """Whether there is a file, or a folder that has something in it."""
    return bool({*os.listdir(path)} - {LOCK}) if os.path.isdir(path) else os.path.exists(path)

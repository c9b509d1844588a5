"""The jobs of a file: YAML with `jobs`, or CSV with a heading, each row of which is a job. Imports no Paddle."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ppdiffusers_ext.data.outputs import PICTURES
from ppdiffusers_ext.errors import InputError, check_keys, shown, shown_path
from ppdiffusers_ext.files import read_text, read_yaml, suffix_of

MOST_JOBS = 100_000
_ACCEPTED = "a YAML file with `jobs:`, a list of mappings, or a CSV file with a heading is accepted"
_DEFAULT = "animate"  # the command of jobs that name none


@dataclass(frozen=True)
class BatchJob:
    """A job as a file has it.

    Attributes:
        number: of the job in its file, from 1 on.
        command: name of the command that runs it.
        values: option -> value, as typed or as YAML has it.
        where: what a message calls it.
        has_defaults: whether its list has options for all jobs, from which a value may be.
    """

    number: int
    command: str
    values: Mapping[str, Any]
    where: str
    has_defaults: bool = False

    @property
    def place_of_options(self) -> str:
        """What a message calls the places in which its options may stand."""
        return f"{self.where}, or in the defaults of all jobs" if self.has_defaults else self.where

    @property
    def output(self) -> str:
        """The file or folder that it writes, which is its name in the manifest."""
        return self.values["output"]

    @property
    def digest(self) -> str:
        """Of the command and all options: another one is another job, whatever its output is called."""
        text = json.dumps([self.command, self.values], sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_job_list(
    path: str | os.PathLike, commands: Sequence[str], given: Mapping[str, Any] | None = None
) -> list[BatchJob]:
    """The jobs of a file, in order.

    A YAML file may have `defaults`, options of jobs that do not say them. An empty cell of a CSV file says nothing.

    Args:
        commands: names that `command` may have.
        given: options of jobs that neither a job nor the file's `defaults` say.

    Raises:
        MissingFileError, InputError: no such file, or one that lists no jobs; a job without an output; two jobs whose
            output is the same, or lies in the other's.
    """
    name = shown_path(path)
    is_csv = suffix_of(path) in (".csv", ".tsv")
    mappings, has_defaults = (_of_csv(path), False) if is_csv else _of_yaml(path)
    if not mappings:
        raise InputError(f"{name} lists no jobs; {_ACCEPTED}")
    if len(mappings) > MOST_JOBS:
        raise InputError(f"{name} has {len(mappings):,} jobs; up to {MOST_JOBS:,} are accepted")
    given = given or {}
    jobs = []
    for number, values in enumerate(mappings, 1):
        said = {option: value for option, value in values.items() if value is not None}
        job = _job_of(number, {**given, **said}, name, commands)
        jobs.append(replace(job, has_defaults=has_defaults))
    _check_apart(jobs)
    return jobs


def _of_yaml(path: str | os.PathLike) -> tuple[list[dict[str, Any]], bool]:
    """The jobs' options, and whether some are those of all."""
    name, values = shown_path(path), read_yaml(path, "list of jobs", _ACCEPTED)
    check_keys(values, ["defaults", "jobs"], f"key in {name}")
    defaults, jobs = values.get("defaults") or {}, values.get("jobs")
    if not isinstance(defaults, dict):
        raise InputError(f"defaults of {name} are {shown(defaults)}; a mapping of options is accepted")
    if not (isinstance(jobs, list) and all(isinstance(job, dict) for job in jobs)):
        raise InputError(f"{name} has no list of jobs; {_ACCEPTED}")
    usual = _named(defaults, f"defaults of {name}")
    return [{**usual, **_named(job, f"job {number} of {name}")} for number, job in enumerate(jobs, 1)], bool(usual)


def _of_csv(path: str | os.PathLike) -> list[dict[str, Any]]:
    name, text = shown_path(path), read_text(path, "list of jobs", _ACCEPTED)
    if "\0" in text:
        raise InputError(f"{name} has a character of code 0; {_ACCEPTED}")
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = "\t" if suffix_of(path) == ".tsv" else max(",;", key=first.count)  # spreadsheets of some countries
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} of {name} is not CSV ({error}); {_ACCEPTED}") from error
    if not rows:
        return []
    heading = [_option(cell.strip()) for cell in rows[0][1]]
    if len(set(heading)) < len(heading) or "" in heading:
        raise InputError(f"the heading of {name} has a name twice, or an empty one; {_ACCEPTED}")
    found = []
    for line, cells in rows[1:]:
        if len(cells) != len(heading):
            raise InputError(
                f"line {line} of {name} has {len(cells)} cells, its heading {len(heading)}; as many are accepted"
            )
        found.append({key: cell.strip() for key, cell in zip(heading, cells) if cell.strip()})
    return found


def _named(values: Mapping[Any, Any], where: str) -> dict[str, Any]:
    named = {_option(key): value for key, value in values.items()}
    if len(named) < len(values):
        names = [_option(key) for key in values]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{where} has the option {shown(twice)} twice; one of its spellings is accepted")
    return named


def _option(key: Any) -> str:
    """The name of an option, which may be written with hyphens as its flag is."""
    return str(key).replace("-", "_")


def _job_of(number: int, values: dict[str, Any], name: str, commands: Sequence[str]) -> BatchJob:
    where = f"job {number} of {name}"
    options = dict(values)
    command = options.pop("command", _DEFAULT)
    check_keys({command: None} if isinstance(command, str) else command, commands, f"command of {where}")
    output = options.get("output")
    if not isinstance(output, str) or not output:
        raise InputError(f"{where} has no output; the name of a file or a folder that no other job writes is accepted")
    return BatchJob(number, command, options, where)


def _check_apart(jobs: Sequence[BatchJob]) -> None:
    """Refuse two jobs that would write the same, or of which one writes into what the other writes."""
    taken: dict[Path, BatchJob] = {}
    for job in jobs:
        path = place_of(job.output)
        if (other := taken.setdefault(path, job)) is not job:
            raise InputError(f"{job.where} and job {other.number} have the same output {shown_path(job.output)}; "
                             "different names are accepted")  # fmt: skip
    for path, job in taken.items():
        for parent in path.parents:
            if parent in taken:
                raise InputError(f"the output of {job.where} lies in that of job {taken[parent].number}, "
                                 f"{shown_path(taken[parent].output)}; different folders are accepted")  # fmt: skip


Paths = Callable[[BatchJob], Iterable[str | os.PathLike]]


def check_files_apart(
    jobs: Sequence[BatchJob], outputs: Paths, inputs: Paths, files: Iterable[str | os.PathLike] = ()
) -> None:
    """Refuse jobs that would write the same file, or one that another one reads, whichever of them comes first.

    A picture in a folder of pictures is read with these.

    Args:
        outputs, inputs: functions of a job that give the paths of what it writes and reads.
        files: what the run writes beside the jobs.
    """
    writers: dict[Path, BatchJob | None] = {}
    for path in files:
        if place_of(path) in writers:
            raise InputError(f"{shown_path(path)} would be two of the files that the run itself writes; "
                             "different names are accepted")  # fmt: skip
        writers[place_of(path)] = None
    pictures: dict[Path, Any] = {}  # folder -> a picture that is written into it, and by whom
    for job in jobs:
        for path in outputs(job):
            place = place_of(path)
            if suffix_of(path) in PICTURES:
                pictures.setdefault(place.parent, (path, job))
            writer = writers.setdefault(place, job)
            if writer is not job:
                other = "the run" if writer is None else f"job {writer.number}"
                raise InputError(f"{job.where} and {other} would both write {shown_path(path)}; "
                                 "different names are accepted")  # fmt: skip
    for job in jobs:
        for path in inputs(job):
            place = place_of(path)
            writer = writers.get(place, job)
            if writer is not None and writer is not job:
                raise InputError(f"{writer.where} would replace {shown_path(path)}, which job {job.number} reads; "
                                 "an output that no job reads is accepted")  # fmt: skip
            if place in pictures:
                picture, writer = pictures[place]
                raise InputError(f"{writer.where} would write {shown_path(picture)} among the pictures that job "
                                 f"{job.number} reads; an output in another folder is accepted")  # fmt: skip


def check_place(output: str | os.PathLike, is_of_file: bool = True) -> None:
    """Raise InputError for an output that cannot be made where it is to be. Makes nothing; what is there may stay."""
    target = Path(os.path.realpath(output))
    folder = next(each for each in (target, *target.parents) if each.exists())
    if folder == target:
        is_right = target.is_file() if is_of_file else target.is_dir()
        reason = "" if is_right else f"it is there, and is no {'regular file' if is_of_file else 'folder'}"
    elif not folder.is_dir():
        reason = f"{shown_path(folder)} is no folder"
    else:
        reason = "" if os.access(folder, os.W_OK | os.X_OK) else f"nothing can be made in {shown_path(folder)}"
    if reason:
        raise InputError(f"cannot write {shown_path(output)}: {reason}; an output in a folder that can be written is "
                         "accepted")  # fmt: skip


def place_of(output: str | os.PathLike) -> Path:
    """What is the same of two names of one output; names that differ by case alone are taken for one."""
    return Path(os.path.realpath(output).casefold())


def shard_of(text: str | None, jobs: Sequence[BatchJob]) -> list[BatchJob]:
    """The I-th of N parts of jobs, every N-th of them, where `text` is I/N; all where it is None.

    Raises:
        InputError: I is above N.
    """
    if text is None:
        return list(jobs)
    number, count = map(int, text.split("/"))
    if number > count:
        raise InputError(f"--shard {text} is above the number of parts; I/N with I from 1 to N is accepted")
    return list(jobs[number - 1 :: count])

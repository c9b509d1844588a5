"""What the processes of a training must have in common, whatever machine they are on, checked before they compute.

Each trains on its part of the samples, with a copy of the networks. With other options, or another list of clips, some
samples would be read twice and others never, and copies would differ; without a common output folder nobody could put
a checkpoint together.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from paddle import distributed

from ppdiffusers_ext.options import declaration
from ppdiffusers_ext.packaged import located
from ppdiffusers_ext.training.groups import from_first, refuse_together

# Options that a process may have for itself, and the folder, which `check_alike` looks at otherwise.
_OWN = {"local_rank", "dataloader_num_workers", "disable_tqdm", "logging_dir", "run_name", "output_dir"}
# What Paddle's launcher writes of each process while others begin, perhaps in a folder that an option names.
_OF_LAUNCHER = re.compile(r"(workerlog|envlog|backup_env|endpoints|default|watcher)\.")
_EDGE = 1 << 20  # bytes at each end of a file by which it is told from others
_MOST_FILES = 1000  # of a folder whose names and sizes are compared
_MOST_TOLD = 200  # characters of a value that a message has
_PATIENCE = 15.0  # seconds until a file that another machine wrote has to be seen: NFS remembers what a folder had


def check_alike(parts: Iterable[Any], found: Any) -> None:
    """Raise InputError, in every process, where one has other options or files than the first, or another folder.

    Args:
        parts: dataclasses of options, one of which has `output_dir`.
        found: the clips that were found, whose `repr` has their names.
    """
    if distributed.get_world_size() == 1:
        return
    parts = list(parts)
    (folder,) = (Path(part.output_dir) for part in parts if hasattr(part, "output_dir"))
    own = _described(parts, found, folder)
    mark = from_first("mark of the output folder", lambda: _make_mark(folder))
    try:
        host, first = json.loads(from_first("options", lambda: json.dumps([socket.gethostname(), own])))
        refuse_together("alike", _difference(host, first, own) or _unseen(folder, mark))
    finally:
        if distributed.get_rank() == 0:
            (folder / mark).unlink(missing_ok=True)


def _described(parts: list[Any], found: Any, output: Path) -> dict[str, str]:
    """Name of an option or file -> value, in words; of the clips that were found, a digest."""
    values: dict[str, str] = {}
    for part in parts:
        for item in dataclasses.fields(part):
            if item.name not in _OWN:
                value = getattr(part, item.name)
                text = repr(value)
                values[f"--{item.name}"] = text if text.isprintable() and len(text) <= _MOST_TOLD else _digest_of(text)
                digests = _digests(value, declaration(item).is_path, output)
                values |= {f"what --{item.name} names, {path},": digest for path, digest in digests}
    return {**values, "the list of clips": _digest_of(repr(found))}


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def _digests(value: Any, is_path: bool, output: Path) -> Iterator[tuple[str, str]]:
    """(path, digest) of the files that the value of an option names, and of folders if it is to name such."""
    for word in value if isinstance(value, list | tuple) else [value]:
        if isinstance(word, str) and word:
            with contextlib.suppress(OSError, ValueError):
                path = Path(located(word))
                if path.is_file():
                    yield word, _digest_of_file(path)
                elif is_path and path.is_dir():
                    yield word, _digest_of_folder(path, output)


def _digest_of_file(path: Path) -> str:
    size = path.stat().st_size
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read(_EDGE))
        file.seek(max(_EDGE, size - _EDGE))
        digest.update(file.read(_EDGE))
    return f"{size} bytes, {digest.hexdigest()[:16]}"


def _digest_of_folder(folder: Path, output: Path) -> str:
    """Of names and sizes, but for what this run writes; where there are more than are looked at, the same for all."""
    found = list(itertools.islice(folder.rglob("*"), _MOST_FILES + 1))
    if len(found) > _MOST_FILES:
        return f"more than {_MOST_FILES} files"
    output = output.resolve()
    others = (path for path in found if output not in (path.resolve(), *path.resolve().parents))
    files = sorted(path for path in others if path.is_file() and not _OF_LAUNCHER.match(path.name))
    listed = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]
    return f"{len(files)} files, {_digest_of(repr(listed))}"


def _difference(host: str, first: dict[str, str], own: dict[str, str]) -> str:
    """The first difference of this process from the first one, in words; "" if there is none."""
    for name in {**first, **own}:
        if first.get(name) != own.get(name):
            here = f"process {distributed.get_rank()} on {socket.gethostname()}"
            return (
                f"{name} is not the same in all processes: {first.get(name, 'nothing')} in process 0 on {host}, "
                f"{own.get(name, 'nothing')} in {here}; the same on each machine is accepted"
            )
    return ""


def _make_mark(folder: Path) -> str:
    """Name of a new file in the output folder."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f".machines-{secrets.token_hex(8)}"
    (folder / name).touch()
    return name


def _unseen(folder: Path, mark: str) -> str:
    """What is wrong if the file that the first process made is not there, in words; "" if it is."""
    end = time.monotonic() + _PATIENCE
    while not os.path.exists(folder / mark):
        if time.monotonic() > end:
            return (
                f"--output_dir {folder} of process {distributed.get_rank()} on {socket.gethostname()} is not that of "
                "process 0; a folder that all machines share is accepted"
            )
        time.sleep(0.2)
        with contextlib.suppress(OSError):
            os.listdir(folder)  # has NFS look again
    return ""

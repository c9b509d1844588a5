"""Training checkpoints: complete or absent, with a manifest.

A checkpoint is written under a hidden name; when all processes are done it gets `manifest.json` (its files with sizes
and sha256, and the settings that a resumed run must share) and its final name. A process that is killed in between
leaves the earlier checkpoints untouched.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ppdiffusers_ext.errors import InputError, MissingFileError, printable, shown
from ppdiffusers_ext.files import check_folder, read_json
from ppdiffusers_ext.weights.checksums import sha256_of

MANIFEST = "manifest.json"
PREFIX = "checkpoint-"
_HIDDEN = ".saving-"
_ACCEPTED = "a checkpoint as this project's training writes it is needed, or another --output_dir"
_MOST_STEPS = 10**12
_NAMED = 10  # differences that a message has
_FREE = {"world_size", "sharding"}  # settings in manifests of earlier versions that a resumed run need not share


def folder_of(output_dir: str | os.PathLike, step: int) -> Path:
    """Folder of the checkpoint of a step."""
    return Path(output_dir) / f"{PREFIX}{step}"


def hidden_folder_of(output_dir: str | os.PathLike, step: int) -> Path:
    """Folder in which the checkpoint of a step is written before it is complete."""
    return Path(output_dir) / f"{_HIDDEN}{step}"


def complete(hidden: str | os.PathLike, folder: str | os.PathLike, run: dict[str, Any], step: int) -> None:
    """Write the manifest of a checkpoint whose files are all written, and give it its final name.

    Args:
        hidden, folder: where it was written, and its final folder, which is replaced if it exists.
        run: dict of settings that a resumed run must share with this one.
        step: of the run.
    """
    hidden, folder = Path(hidden), Path(folder)
    files = {}
    for path in sorted(path for path in hidden.rglob("*") if path.is_file()):
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
        files[str(path.relative_to(hidden))] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    with open(hidden / MANIFEST, "w", encoding="utf-8") as file:
        json.dump({"run": run, "step": step, "files": files}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(hidden, folder)


def clean(output_dir: str | os.PathLike) -> None:
    """Remove incomplete checkpoints of killed runs."""
    for path in Path(output_dir).glob(f"{_HIDDEN}*"):
        shutil.rmtree(path, ignore_errors=True)


def remove_all(output_dir: str | os.PathLike) -> None:
    """Remove all checkpoints, valid or not."""
    for step in steps_of(output_dir):
        shutil.rmtree(folder_of(output_dir, step))
    clean(output_dir)


def steps_of(output_dir: str | os.PathLike) -> list[int]:
    """Steps of all checkpoints in a folder, valid or not, the newest first."""
    names = [path.name.removeprefix(PREFIX) for path in Path(output_dir).glob(f"{PREFIX}*") if path.is_dir()]
    return sorted((int(name) for name in names if re.fullmatch("[0-9]{1,12}", name)), reverse=True)


def problem_of(folder: str | os.PathLike) -> str | None:
    """Description of what is wrong with a checkpoint, or None if it is valid. Reads all of its files."""
    try:
        folder = check_folder(folder, "checkpoint", "the folder of one is needed")
        for name, (size, sha256) in _read_manifest(folder).files.items():
            path, name = folder / name, printable(name, 200)
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes instead of {size}"
            if sha256_of(path) != sha256:
                return f"{name} is damaged"
    except MissingFileError:
        return f"it has no {MANIFEST}, so it was not written to its end"
    except InputError as error:
        return f"its {MANIFEST} cannot be read ({error})"
    except OSError as error:
        return f"a file of it cannot be read ({error.strerror or error})"
    return None


def run_of(folder: str | os.PathLike) -> dict[str, Any]:
    """Settings that a run must share to resume from a checkpoint: the dict given to `complete`.

    Raises:
        InputError, MissingFileError: its manifest cannot be read.
    """
    return _read_manifest(folder).run


def newest_valid(output_dir: str | os.PathLike, on_problem: Callable[[Path, str], None] | None = None) -> Path | None:
    """Newest valid checkpoint in a folder, or None.

    on_problem: function called with (folder, problem) for each newer checkpoint that is not valid.
    """
    for step in steps_of(output_dir):
        folder = folder_of(output_dir, step)
        problem = problem_of(folder)
        if problem is None:
            return folder
        if on_problem is not None:
            on_problem(folder, problem)
    return None


def step_of(folder: str | os.PathLike) -> int:
    """Step of a checkpoint. Raises InputError or MissingFileError if its manifest cannot be read."""
    return _read_manifest(folder).step


def check_run(folder: str | os.PathLike, run: dict[str, Any], accepted: str = "a run that agrees") -> None:
    """Raise InputError unless a run with the settings `run` can resume from the checkpoint.

    Args:
        run: dict as given to `complete`.
        accepted: what is, for the message.
    """
    earlier = run_of(folder)
    different = [key for key in sorted({*earlier, *run} - _FREE) if earlier.get(key) != run.get(key)]
    if different:
        told = "; ".join(
            f"{printable(key, 60)} was {_told(earlier.get(key))}, is {_told(run.get(key))}"
            for key in different[:_NAMED]
        )
        told += f"; {len(different) - _NAMED} more differ" if len(different) > _NAMED else ""
        raise InputError(f"{folder} is of another run: {told}; {accepted}, or another --output_dir, is accepted")


def _told(value: object) -> str:
    return value if isinstance(value, str) and len(value) < 80 else shown(value)


@dataclass(frozen=True)
class _Manifest:
    """What a checkpoint says of itself: files by name, as (size, sha256); the run's dict; its step."""

    files: dict
    run: dict
    step: int


def _read_manifest(folder: str | os.PathLike) -> _Manifest:
    """The `_Manifest` of a checkpoint. Raises InputError, MissingFileError where it is damaged or not there."""
    path = Path(folder) / MANIFEST
    content = read_json(path, "manifest", _ACCEPTED)
    content = content if isinstance(content, dict) else {}
    files, run, step = content.get("files"), content.get("run"), content.get("step")
    if (
        not isinstance(files, dict)
        or not isinstance(run, dict)
        or (type(step) is not int or not 0 <= step <= _MOST_STEPS)
        or not all(_is_inside(name) and _is_file(entry) for name, entry in files.items())
    ):
        raise InputError(f"manifest {path} does not say what is in the checkpoint; {_ACCEPTED}")
    return _Manifest({name: (entry["size"], entry["sha256"]) for name, entry in files.items()}, run, step)


def _is_inside(name: str) -> bool:
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    return "\0" not in name and bool(posix.name) and not windows.anchor and ".." not in (*posix.parts, *windows.parts)


def _is_file(entry: Any) -> bool:
    is_entry = isinstance(entry, dict) and type(entry.get("size")) is int and entry["size"] >= 0
    return is_entry and isinstance(entry.get("sha256"), str) and bool(re.fullmatch("[0-9a-f]{64}", entry["sha256"]))

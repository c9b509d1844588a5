"""Checkpoints of training: complete or not there at all, with a list of what is in them.

A checkpoint is written under a hidden name; when all processes are done it gets `manifest.json` (its files with sizes
and sha256, and what the run must have in common to go on from it) and its name. Whatever is killed in between leaves
the earlier checkpoints as they were.
"""

import json
import os
import shutil
from pathlib import Path

from ppdiffusers_ext.errors import InputError, printable, shown
from ppdiffusers_ext.files import read_json
from ppdiffusers_ext.weights.checksums import sha256_of

MANIFEST = "manifest.json"
PREFIX = "checkpoint-"
_HIDDEN = ".saving-"


def folder_of(output_dir, step):
    """Where the checkpoint of a step lies."""
    return Path(output_dir) / f"{PREFIX}{step}"


def hidden_folder_of(output_dir, step):
    """Where it is written."""
    return Path(output_dir) / f"{_HIDDEN}{step}"


def complete(hidden, folder, run, step):
    """Give a checkpoint, all of whose files are written, its manifest and its name.

    Args:
        hidden, folder: where it was written, and where it belongs. What is there already is replaced.
        run: dict of what another run must have in common with this one.
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


def clean(output_dir):
    """Remove what killed runs have begun to write."""
    for path in Path(output_dir).glob(f"{_HIDDEN}*"):
        shutil.rmtree(path, ignore_errors=True)


def remove_all(output_dir):
    """Remove all checkpoints, whether they are valid or not."""
    for step in steps_of(output_dir):
        shutil.rmtree(folder_of(output_dir, step))
    clean(output_dir)


def steps_of(output_dir):
    """The steps of all checkpoints in a folder, the newest first, whether they are valid or not."""
    names = [path.name.removeprefix(PREFIX) for path in Path(output_dir).glob(f"{PREFIX}*") if path.is_dir()]
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def problem_of(folder):
    """What is wrong with a checkpoint, in words; None for a valid one. Reads all of it."""
    folder = Path(folder)
    try:
        for name, expected in _read_manifest(folder)["files"].items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != expected["size"]:
                return f"{name} has {path.stat().st_size} bytes instead of {expected['size']}"
            if sha256_of(path) != expected["sha256"]:
                return f"{name} is damaged"
    except FileNotFoundError:
        return f"it has no {MANIFEST}, so it was not written to its end"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"its {MANIFEST} cannot be read"
    return None


def _read_manifest(folder):
    """The manifest of a checkpoint, whose step and run are what they should be.

    Raises:
        MissingFileError: there is none.
        InputError: it cannot be read.
    """
    path = Path(folder) / MANIFEST
    manifest = read_json(path, "manifest", "one that training wrote is needed")
    kinds = {"run": dict, "step": int, "files": dict}
    if not isinstance(manifest, dict) or any(not isinstance(manifest.get(key), kind) for key, kind in kinds.items()):
        raise InputError(f"{path} lacks {', '.join(kinds)}; one that training wrote is needed")
    return manifest


def run_of(folder):
    """What a valid checkpoint's run has in common with one that goes on: the dict that `complete` was given."""
    return _read_manifest(folder)["run"]


def newest_valid(output_dir, on_problem=None):
    """The newest valid checkpoint in a folder, or None.

    on_problem: called with (folder, problem) for each newer one that is not valid.
    """
    for step in steps_of(output_dir):
        folder = folder_of(output_dir, step)
        problem = problem_of(folder)
        if problem is None:
            return folder
        if on_problem is not None:
            on_problem(folder, problem)
    return None


def step_of(folder):
    """The step of a valid checkpoint."""
    return _read_manifest(folder)["step"]


def check_run(folder, run):
    """Raise an InputError unless the checkpoint is of a run that `run` can go on with.

    Args:
        run: dict as given to `complete`.
    """
    earlier = run_of(folder)
    different = [key for key in sorted({*earlier, *run}) if earlier.get(key) != run.get(key)]
    if different:
        told = "; ".join(
            f"{printable(key, 80)} was {shown(earlier.get(key))}, is {shown(run.get(key))}" for key in different
        )
        raise InputError(
            f"{folder} is of another run: {told}; a run that agrees, or another --output_dir, is accepted"
        )

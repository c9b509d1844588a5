"""Checks of the files that a training is told of, without Paddle: what is missing is told at once, in one message."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ppdiffusers_ext.errors import InputError, MissingFileError
from ppdiffusers_ext.files import check_all_there, check_file
from ppdiffusers_ext.options import declaration
from ppdiffusers_ext.packaged import located
from ppdiffusers_ext.training import checkpoints


def named_paths(*parts: Any, without: Sequence[str] = ()) -> dict[str, str]:
    """The files and folders that options name, those declared with `path_option`: "--option" -> path.

    Args:
        parts: instances of dataclasses of options.
        without: options, as "--option", to leave out.
    """
    options = [(item, getattr(part, item.name)) for part in parts for item in dataclasses.fields(part)]
    paths = {f"--{item.name}": path for item, path in options if declaration(item).is_path and path}
    return {name: path for name, path in paths.items() if name not in without}


def check_inputs(system: str, paths: dict[str, str], readers: Sequence[tuple[Callable, str | Path]]) -> list[Callable]:
    """Checks for `check_together`: that all paths exist, and that those which do can be read.

    Args:
        system: whose weights `scripts/download_weights.py` fetches.
        paths: of `named_paths`.
        readers: (function that raises MissingFileError or InputError, path that it is called with).
    """
    fetches = (
        f"`python scripts/download_weights.py --system {system}` fetches the released weights, docs/weights.md lists "
        "them"
    )
    of_existing = [
        (lambda read=read, path=path: read(path)) for read, path in readers if _has_folder(path, paths.values())
    ]
    return [lambda: check_all_there(list(paths.items()), fetches), *of_existing]


def _has_folder(path: str | Path, paths: Any) -> bool:
    """False for what is in a folder that does not exist itself, which is told of the folder."""
    inside = {str(Path(path)), *map(str, Path(path).parents)}
    return all(os.path.exists(located(other)) for other in paths if str(Path(other)) in inside)


def check_weight_file(path: str) -> Path:
    """Raise InputError or MissingFileError unless it is a file that can be read. Its contents are not read."""
    return check_file(path, "weight file", "a checkpoint is needed")


def check_together(checks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Returns what each check returns.

    Raises:
        MissingFileError: what any of them misses, in one message.
        InputError: of the first check that raises it.
    """
    results, missing = [], []
    for check in checks:
        try:
            results.append(check())
        except MissingFileError as error:
            missing.append(str(error))
    if missing:
        raise MissingFileError("; moreover, ".join(dict.fromkeys(missing)))
    return results


def check_resume(arguments: Any) -> None:
    """Raise InputError for a checkpoint to resume from that is none. Its files are not read."""
    asked = arguments.resume_from_checkpoint
    if not asked or asked == "latest":
        return
    try:
        step = checkpoints.step_of(asked)
    except InputError:
        raise InputError(f"--resume_from_checkpoint {asked} cannot be used: {checkpoints.problem_of(asked)}") from None
    check_steps(asked, step, arguments)


def check_steps(folder: str | Path, step: int, arguments: Any) -> None:
    """Raise InputError for a checkpoint after the last step of the run."""
    if step > arguments.max_steps:
        raise InputError(
            f"{folder} is of a run of more steps than --max_steps {arguments.max_steps}; {step} or more, another "
            "--output_dir, or --overwrite_output_dir, is accepted"
        )


def check_held_out(count: int, clips: int, accepted: str = "") -> None:
    """Raise InputError where held-out clips leave none to train on.

    Args:
        count: of the held-out clips.
        clips: number of all of them.
        accepted: which clips these are, for the message, as " in PATH".
    """
    if count >= clips:
        raise InputError(
            f"--validation_clips {count} of {clips}{accepted} leaves none to train on; fewer, or --validation_steps "
            "0, are accepted"
        )

"""Checkpoints in several files: an index says which of them, the shards, has which tensor.

The form is that of transformers, diffusers, paddlenlp and ppdiffusers: a JSON object whose `weight_map` has the name
of each tensor and that of its file, which lies beside the index.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from ppdiffusers_ext.errors import InputError, MissingFileError, printable
from ppdiffusers_ext.files import check_name, read_json

INDEX_SUFFIX = ".index.json"
_MAX_BYTES = 64 << 20  # of an index, which has some hundred bytes for each tensor


def is_index(path: PurePath) -> bool:
    """Whether a file says of itself that it is the index of shards."""
    return path.name.endswith(INDEX_SUFFIX)


def read_index(path: Path) -> dict[Path, list[str]]:
    """Path of each shard -> names of its tensors.

    Raises:
        InputError: the file is no index, or names a file that does not lie below its folder.
        MissingFileError: a shard is not there.
    """
    content = read_json(path, "weight index", "the index of shards is accepted", _MAX_BYTES)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names or any(type(file) is not str for file in names.values()):
        raise InputError(f"weight index {path} has no weight_map with the file of each tensor; one is needed")
    for file in set(names.values()):
        _check_place(path, file)
    shards: dict = {}
    for name, file in names.items():
        shards.setdefault(path.parent / file, []).append(name)
    missing = [shard for shard in shards if not os.path.exists(shard)]
    if missing:
        raise MissingFileError(
            f"shard {missing[0]} does not exist, one of {len(shards)} that {path} names"
            + (f"; {len(missing) - 1} more of them are missing" if len(missing) > 1 else "")
            + "; all of them are needed"
        )
    return shards


def files_of(path: Path) -> list[Path]:
    """The files that a checkpoint is in: the path, or that of an index and those of its shards; as `read_index`."""
    return [path, *read_index(path)] if is_index(path) else [path]


def check_shard(index: Path, shard: Path, names: Sequence[str], found: Collection[str]) -> None:
    """Raises InputError where a shard has not just the tensors that the index says.

    Args:
        names: of the tensors as the index has them.
        found: those in the shard.
    """
    for wrong, what in (
        (set(names) - set(found), "lacks {}, which {} says it has"),
        (set(found) - set(names), "has {}, which {} does not say"),
    ):
        if wrong:
            what = what.format(_some(sorted(wrong)), index)
            raise InputError(f"{shard} {what}; the shards of one checkpoint are accepted")


def _check_place(index: Path, file: str) -> None:
    posix, windows = PurePosixPath(file), PureWindowsPath(file)
    is_other = not posix.name or is_index(posix)
    if is_other or posix.is_absolute() or windows.anchor or ".." in posix.parts or ".." in windows.parts:
        raise InputError(
            f"weight index {index} names the file {file!r:.200}; weight files in its own folder are accepted"
        )
    check_name(index.parent / file, "shard", "weight files in the index's own folder are accepted")


def _some(names: Sequence[str]) -> str:
    return printable(", ".join(name[:100] for name in names[:3])) + (
        f" and {len(names) - 3} more" if len(names) > 3 else ""
    )

"""Checkpoints in several files: an index says which of them, the shards, has which tensor.

The form is that of transformers, diffusers, paddlenlp and ppdiffusers: a JSON object whose `weight_map` has the name
of each tensor and that of its file, which lies beside the index.
"""

import json
from pathlib import PurePosixPath, PureWindowsPath

from ppdiffusers_ext.errors import InputError, MissingFileError

INDEX_SUFFIX = ".index.json"
_MAX_BYTES = 64 << 20  # of an index, which has some hundred bytes for each tensor


def is_index(path):
    """Whether a file says of itself that it is the index of shards."""
    return path.name.endswith(INDEX_SUFFIX)


def read_index(path):
    """Path of each shard -> names of its tensors.

    Raises:
        InputError: the file is no index, or names a file that does not lie below its folder.
        MissingFileError: a shard is not there.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"weight index {path} is larger than {_MAX_BYTES >> 20} MiB; the index of shards is accepted")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"weight index {path} is not JSON ({error})") from error
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names or any(type(file) is not str for file in names.values()):
        raise InputError(f"weight index {path} has no weight_map with the file of each tensor; one is needed")
    shards = {}
    for name, file in names.items():
        _check_place(path, file)
        shards.setdefault(path.parent / file, []).append(name)
    missing = [shard for shard in shards if not shard.is_file()]
    if missing:
        raise MissingFileError(
            f"shard {missing[0]} does not exist, one of {len(shards)} that {path} names"
            + (f"; {len(missing) - 1} more of them are missing" if len(missing) > 1 else "")
            + "; all of them are needed"
        )
    return shards


def files_of(path):
    """The files that a checkpoint is in: the path, or that of an index and those of its shards; as `read_index`."""
    return [path, *read_index(path)] if is_index(path) else [path]


def check_shard(index, shard, names, found):
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


def _check_place(index, file):
    posix, windows = PurePosixPath(file), PureWindowsPath(file)
    is_other = not posix.name or is_index(posix)
    if is_other or posix.is_absolute() or windows.anchor or ".." in posix.parts or ".." in windows.parts:
        raise InputError(
            f"weight index {index} names the file {file!r:.200}; weight files in its own folder are accepted"
        )


def _some(names):
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

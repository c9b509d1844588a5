"""The folder of a run's state: files of tensors, and an index that names those that are complete with their SHA-256.

The poses of a driving video are beside it under an index of their own, since they are there before the run begins.

The index is replaced when what it names is on the disk. So whenever the run is killed, the folder holds the state
before or the one after. Nothing in it is executed.
"""

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paddle

from ppdiffusers_ext.data.disk import flush
from ppdiffusers_ext.data.leftovers import remove
from ppdiffusers_ext.data.outputs import fitting_name, real_target
from ppdiffusers_ext.data.records import digest, digest_of
from ppdiffusers_ext.errors import InputError, printable, shown_path
from ppdiffusers_ext.files import read_json
from ppdiffusers_ext.weights.loading import load_tensors
from ppdiffusers_ext.weights.writing import write_safetensors

_INDEX = "index.json"
POSES_INDEX, POSES = "poses.json", "poses.safetensors"
_MOST_INDEX = 64 << 20  # bytes
_ACCEPTED = "the state that a run keeps is accepted"
# What reading a state that was written by something else may raise.
DAMAGED = (InputError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError)

logger = logging.getLogger(__name__)


class StateFolder:
    """The folder `.NAME.unfinished` beside an output NAME, made when it is claimed.

    Args:
        target: path of the output.

    Attributes:
        path: of the folder.
    """

    def __init__(self, target: str | os.PathLike) -> None:
        target = real_target(target)
        self.path = target.with_name(fitting_name(target.parent, f".{target.name}", ".unfinished"))
        self._lock: int | None = None

    @property
    def exists(self) -> bool:
        return os.path.lexists(self.path)

    @property
    def has_index(self) -> bool:
        return os.path.lexists(self.path / _INDEX)

    @property
    def has_poses(self) -> bool:
        return os.path.lexists(self.path / POSES_INDEX)

    @property
    def is_claimed(self) -> bool:
        return self._lock is not None

    def claim(self) -> bool:
        """Make the folder and hold it until `release`. Returns False where another run holds it; raises OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:  # a file system without locks
            pass
        self._lock = descriptor
        return True

    def release(self) -> None:
        """Let other runs have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Remove it with all that is in it."""
        remove(self.path)

    def clear(self, kept: Mapping[str, Any] | None = None) -> None:
        """Remove all files but those with the names that are `kept`, and poses."""
        for path in self.path.iterdir():
            if path.name not in (POSES_INDEX, POSES, *(kept or ())):
                path.unlink() if path.is_symlink() else remove(path)

    def write(self, name: str, arrays: Mapping[str, Any]) -> dict[str, str]:
        """Write arrays into a new file: what the index says of it. Raises OSError."""
        path = self.path / name
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # which may be a link, or an earlier file that is mapped into the memory
        write_safetensors(path, arrays, {"format": "pd"})
        flush(path)
        return {"file": name, "sha256": digest(path)}

    def read(self, file: Mapping[str, Any]) -> dict[str, paddle.Tensor]:
        """The tensors of a file, of what the index says of it.

        Raises:
            ValueError, OSError, KeyError: it is missing, or another one.
        """
        path = self.path / Path(file["file"]).name
        if path.is_symlink() or digest(path) != file["sha256"]:
            raise ValueError(f"{path.name} has another content")
        return load_tensors(path)

    def write_index(self, index: Mapping[str, Any], name: str = _INDEX) -> None:
        """Replace the index, or that of the poses. Raises OSError."""
        temporary = self.path / f"{name}.new"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        content = {"sha256": digest_of(index), "state": index}
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
        flush(temporary)
        os.replace(temporary, self.path / name)

    def read_index(self, name: str = _INDEX) -> Any:
        """What `write_index` wrote. Raises InputError, ValueError, TypeError, KeyError for anything else."""
        content = read_json(self.path / name, "state", _ACCEPTED, _MOST_INDEX)
        if digest_of(content["state"]) != content["sha256"]:
            raise ValueError(f"{name} has another content")
        return content["state"]

    def clear_unnamed(self, *files: Mapping[str, Any]) -> None:
        """Remove what is neither the index nor one of these files, of which it says something."""
        self.clear({_INDEX: None, **{file["file"]: None for file in files}})

    def tell_damage(self, error: BaseException) -> None:
        """Say that what is there cannot be used."""
        logger.warning("a state in %s is damaged and not used (%s)", shown_path(self.path),
                       printable(" ".join(str(error).split()), 200))  # fmt: skip

    def size(self) -> str:
        """What the files take, in words."""
        return f"{sum(path.lstat().st_size for path in self.path.iterdir()) / 1e6:.1f} MB"

"""Cache of exported networks on disk; each export is made once.

    FOLDER/weights/NAME/weights.bin     weights of a network, shared by its exports; named by their digest and layout
    FOLDER/exports/KEY/                 a graph, a link to its weights, and manifest.json, the last to be written
    FOLDER/digests/                     of checkpoints, so that one that has not changed is not read for its digest

A key covers everything that an export depends on: weights, shapes, dtypes, and versions of the packages. An entry that
differs from its manifest is made again. A folder that cannot be written is replaced by a temporary one for the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from ppdiffusers_ext.data.outputs import moved_by, output_file, output_folder
from ppdiffusers_ext.engine.weights_file import WEIGHTS, digest_of_file, read_index, write_weights
from ppdiffusers_ext.errors import InputError, printable
from ppdiffusers_ext.files import check_file, read_json

if TYPE_CHECKING:
    from paddle import nn

    from ppdiffusers_ext.engine.weights_file import Stored


logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_FOLDERS = ("weights", "exports", "digests")
_DAMAGE = (OSError, ValueError, TypeError, LookupError, AttributeError)  # what reading a damaged entry raises


def default_folder() -> Path:
    """Default folder of exports, in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(base):
        raise InputError("this user has no home folder for exports; --engine-cache with another folder is accepted")
    return Path(base) / "ppdiffusers_ext" / "engine"


class ExportCache:
    """
    Args:
        folder: created where it is missing; `default_folder()` if left out.
    """

    def __init__(self, folder: str | os.PathLike | None = None) -> None:
        self.folder = Path(folder or default_folder())
        # A file's identity -> digest: exports that share weights read them once.
        self._verified: dict[tuple[int, ...], str] = {}
        try:
            for name in _FOLDERS:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            logger.warning(
                "the cache folder %s cannot be written (%s): this run works without, and exports will be made again",
                self.folder,
                error.strerror or error,
            )
            self._temporary = tempfile.TemporaryDirectory(prefix="ppdiffusers_ext-")
            self.folder = Path(self._temporary.name)
            for name in _FOLDERS:
                (self.folder / name).mkdir()

    @property
    def is_empty(self) -> bool:
        """True if there are no exports."""
        return not any((self.folder / "exports").iterdir())

    def folder_of(self, key: dict) -> Path:
        """Folder of an export, whether it exists or not."""
        return self.folder / "exports" / _digest(key)

    def find(self, key: dict) -> Path | None:
        """Folder of a complete and undamaged export, or None."""
        folder = self.folder_of(key)
        if not os.path.lexists(folder):
            return None
        try:
            manifest = read_json(folder / _MANIFEST, "manifest", "one of this cache is needed")
            for name, expected in manifest["files"].items():
                if Path(name).name != name or name in ("", ".."):
                    raise ValueError("a file that lies elsewhere")
                check_file(folder / name, "file", "one of this export is needed")
                if (folder / name).stat().st_size != expected["size"]:
                    raise ValueError(f"{name} is not as long as it was")
                if self._digest_once(folder / name) != expected["digest"]:
                    raise ValueError(f"{name} has other content")
            return folder
        except _DAMAGE as error:
            logger.warning("the export in %s is damaged (%s) and is made again", folder, printable(error, 300))
            _remove(folder)
            return None

    def discard(self, key: dict) -> None:
        """Remove an export."""
        _remove(self.folder_of(key))

    def weights(self, layer: nn.Layer, digest: str, transpose: bool = False) -> tuple[Path, dict[str, Stored]]:
        """Folder and index of the file of a network's weights; writes the file if it is missing or damaged.

        Args:
            layer, transpose: see `write_weights`.
            digest: of the weights.
        """
        name = f"{digest}-transposed" if transpose else digest
        folder = self.folder / "weights" / name
        with self._lock(f"weights-{name}"):
            if os.path.lexists(folder):
                try:
                    return folder, read_index(folder)
                except _DAMAGE as error:
                    reason = printable(error, 300)
                    logger.warning("the weights in %s are damaged (%s) and are written again", folder, reason)
                    _remove(folder)
            with moved_by("--engine-cache"):
                write_weights(layer, folder, transpose)
            return folder, read_index(folder)

    def digest_of_checkpoint(self, path: str | os.PathLike) -> str:
        """Digest of a file's content, cached while its size and modification time stay the same."""
        file = check_file(path, "weight file", "the file of a checkpoint is needed").resolve()
        status = file.stat()
        note = self.folder / "digests" / f"{_digest(str(file))}.json"
        identity = [str(file), status.st_size, status.st_mtime_ns]
        try:
            remembered = read_json(note, "note", "one of this cache is needed")
            if remembered["identity"] == identity and re.fullmatch("[0-9a-f]{32}", remembered["digest"]):
                return remembered["digest"]
        except _DAMAGE:
            _remove(note)
        digest = digest_of_file(file)
        with moved_by("--engine-cache"), output_file(note) as temporary:
            Path(temporary).write_text(json.dumps({"identity": identity, "digest": digest}), encoding="utf-8")
        return digest

    def _digest_once(self, path: Path) -> str:
        status = path.stat()
        identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        if identity not in self._verified:
            self._verified[identity] = digest_of_file(path)
        return self._verified[identity]

    @contextlib.contextmanager
    def entry(self, key: dict) -> Iterator[None]:
        """Hold the lock of a key, so that two processes do not make the same export."""
        with self._lock(_digest(key)):
            yield

    @contextlib.contextmanager
    def write(self, key: dict, weights: Path | None = None) -> Iterator[Path]:
        """Yield a folder to write an export into, with a link to its weights; adds it to the cache when complete."""
        folder = self.folder_of(key)
        with moved_by("--engine-cache"), output_folder(folder) as temporary:
            if weights is not None:
                _link(weights / WEIGHTS, temporary / WEIGHTS)
            yield temporary
            files = {path.name: self._describe(path) for path in temporary.iterdir()}
            manifest = {"key": key, "files": files}
            (temporary / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")

    def _describe(self, path: Path) -> dict[str, int | str]:
        return {"size": path.stat().st_size, "digest": self._digest_once(path)}

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.folder / f".{name}.lock")


def _remove(path: Path) -> None:
    """Remove what stands in the place of an entry, whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _digest(key: Any) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)

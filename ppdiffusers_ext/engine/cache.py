"""Cache of exported networks on disk; each export is made once.

    FOLDER/weights/NAME/weights.bin     weights of a network, shared by its exports; named by their digest and layout
    FOLDER/exports/KEY/                 a graph, a link to its weights, and manifest.json, the last to be written
    FOLDER/digests/                     of checkpoints and weights, so that none is read again if it has not changed

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
from ppdiffusers_ext.engine.entries import DAMAGE, MANIFEST, check_manifest, remove_entry, write_manifest
from ppdiffusers_ext.engine.weights_file import WEIGHTS, digest_of_file, read_index, write_weights
from ppdiffusers_ext.errors import InputError, printable
from ppdiffusers_ext.files import check_file, read_json

if TYPE_CHECKING:
    from paddle import nn

    from ppdiffusers_ext.engine.weights_file import Stored


logger = logging.getLogger(__name__)

_LARGE = 2**24  # bytes of a file that is not read at each start, as long as its size and modification time stay
_FOLDERS = ("weights", "exports", "digests")


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
        self._verified: dict[tuple[str | int, ...], str] = {}
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
            check_manifest(folder, self._digest_once)
            return folder
        except DAMAGE as error:
            logger.warning("the export in %s is damaged (%s) and is made again", folder, printable(error, 300))
            remove_entry(folder)
            return None

    def facts(self, folder: Path) -> dict[str, Any]:
        """What the manifest of an export says of it.

        Raises:
            OSError, ValueError, TypeError, LookupError: it is damaged.
        """
        return read_json(folder / MANIFEST, "manifest", "one of this cache is needed")["facts"]

    def discard(self, key: dict) -> None:
        """Remove an export."""
        remove_entry(self.folder_of(key))

    def weights(
        self, layer: nn.Layer, digest: str, transpose: bool = False, dtype: str = "float32"
    ) -> tuple[Path, dict[str, Stored]]:
        """Folder and index of the file of a network's weights; writes the file if it is missing or damaged.

        Args:
            layer, transpose, dtype: see `write_weights`.
            digest: of the weights.
        """
        name = "-".join([digest, *["transposed"] * transpose, *[dtype] * (dtype != "float32")])
        folder = self.folder / "weights" / name
        with self._lock(f"weights-{name}"):
            if os.path.lexists(folder):
                try:
                    return folder, read_index(folder)
                except DAMAGE as error:
                    reason = printable(error, 300)
                    logger.warning("the weights in %s are damaged (%s) and are written again", folder, reason)
                    remove_entry(folder)
            with moved_by("--engine-cache"):
                written = write_weights(layer, folder, transpose, dtype)
            self._note(_name(folder / WEIGHTS), folder / WEIGHTS, written)  # it need not be read again for it
            return folder, read_index(folder)

    def has_weights(self, digest: str) -> bool:
        """Whether weights of a digest are here, which exports refer to."""
        return any(f"{path.name}-".startswith(f"{digest}-") for path in (self.folder / "weights").iterdir())

    def is_noted(self, path: str | os.PathLike) -> bool:
        """Whether `digest_of_checkpoint` is known, so that the file need not be read for it."""
        file = Path(path).resolve()
        return self._noted(str(file), file) is not None

    def digest_of_checkpoint(self, path: str | os.PathLike) -> str:
        """Digest of a file's content, cached while its size and modification time stay the same."""
        file = check_file(path, "weight file", "the file of a checkpoint is needed").resolve()
        return self._noted_digest(str(file), file)

    def _noted_digest(self, name: str, file: Path) -> str:
        """Digest of a file, from its note if its size and modification time are those of the note."""
        if (noted := self._noted(name, file)) is not None:
            return noted
        digest = digest_of_file(file)
        self._note(name, file, digest)
        return digest

    def _noted(self, name: str, file: Path) -> str | None:
        note = self._place_of_note(name)
        try:
            remembered = read_json(note, "note", "one of this cache is needed")
            if remembered["identity"] == _identity(name, file) and re.fullmatch("[0-9a-f]{32}", remembered["digest"]):
                return remembered["digest"]
        except DAMAGE:
            remove_entry(note)
        return None

    def _note(self, name: str, file: Path, digest: str) -> None:
        content = json.dumps({"identity": _identity(name, file), "digest": digest})
        with moved_by("--engine-cache"), output_file(self._place_of_note(name)) as temporary:
            Path(temporary).write_text(content, encoding="utf-8")

    def _place_of_note(self, name: str) -> Path:
        return self.folder / "digests" / f"{_digest(name)}.json"

    def _digest_once(self, path: Path) -> str:
        """Digest of a file of an entry. That of a large one is noted on the disk, for all entries that link to it."""
        identity = tuple(_identity(_name(path), path))
        if identity not in self._verified:
            large = path.stat().st_size >= _LARGE
            self._verified[identity] = self._noted_digest(_name(path), path) if large else digest_of_file(path)
        return self._verified[identity]

    @contextlib.contextmanager
    def entry(self, key: dict) -> Iterator[None]:
        """Hold the lock of a key, so that two processes do not make the same export."""
        with self._lock(_digest(key)):
            yield

    @contextlib.contextmanager
    def write(self, key: dict, weights: Path | None = None, facts: dict | None = None) -> Iterator[Path]:
        """Yield a folder to write an export into, with a link to its weights; adds it to the cache when complete.

        `facts` are for the manifest, where `facts()` finds them.
        """
        folder = self.folder_of(key)
        with moved_by("--engine-cache"), output_folder(folder) as temporary:
            if weights is not None:
                _link(weights / WEIGHTS, temporary / WEIGHTS)
            yield temporary
            write_manifest(temporary, key, self._digest_once, facts)

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.folder / f".{name}.lock")


def _name(path: Path) -> str:
    """Name of a file's content, which its links have in common."""
    return f"{path.stat().st_dev} {path.stat().st_ino}"


def _identity(name: str, path: Path) -> list[str | int]:
    return [name, path.stat().st_size, path.stat().st_mtime_ns]


def _digest(key: Any) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)

"""Entries of caches: folders with a manifest of sizes and digests, by which damage is seen."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ppdiffusers_ext.files import check_file, read_json

MANIFEST = "manifest.json"
DAMAGE = (OSError, ValueError, TypeError, LookupError, AttributeError)  # what reading a damaged entry raises

Digest = Callable[[Path], str]


def write_manifest(folder: Path, key: Any, digest_of: Digest, facts: dict | None = None) -> None:
    """Write the manifest of an entry's files, the last of them.

    Args:
        folder: of the entry.
        key: what the entry was made from, for people to read.
        digest_of: digest of a file.
        facts: what else is known of it.
    """
    files = {path.name: {"size": path.stat().st_size, "digest": digest_of(path)} for path in folder.iterdir()}
    content = {"key": key, "files": files, **({} if facts is None else {"facts": facts})}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def check_manifest(folder: Path, digest_of: Digest) -> None:
    """Hold the files of an entry against its manifest.

    Raises:
        OSError, ValueError, TypeError, LookupError, AttributeError: a file differs, or there is no sound manifest.
    """
    manifest = read_json(folder / MANIFEST, "manifest", "one of this cache is needed")
    for name, expected in manifest["files"].items():
        if Path(name).name != name or name in ("", ".."):
            raise ValueError("a file that lies elsewhere")
        check_file(folder / name, "file", "one of this export is needed")
        if (folder / name).stat().st_size != expected["size"]:
            raise ValueError(f"{name} is not as long as it was")
        if digest_of(folder / name) != expected["digest"]:
            raise ValueError(f"{name} has other content")


def remove_entry(path: Path) -> None:
    """Remove what stands in the place of an entry, whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

"""The addresses and the places of files as lists for other programs: aria2c, wget and curl. No connection is opened.

Afterwards `python scripts/download_weights.py --offline` checks the files, unpacks archives and records both.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.packaged import as_called
from ppdiffusers_ext.weights.sources import sources_of

if TYPE_CHECKING:
    from ppdiffusers_ext.weights.inventory import Item
    from ppdiffusers_ext.weights.sources import Source


def list_addresses(items: Iterable[Item], folder: str | os.PathLike, program: str, mirror: str | None = None) -> str:
    """The text of a list: str.

    items: `Item`s. folder: of all weights. program: a name in FORMATS. mirror: an address to be asked first.

    Raises InputError where the folder's name has characters that such a list cannot hold.
    """
    if not str(folder).isprintable() or str(folder) != str(folder).strip():
        raise InputError(
            f"a list of addresses cannot hold the folder {shown(str(folder))}; a name of printable characters, "
            "without spaces at its ends, is accepted"
        )
    head, entry = FORMATS[program]
    entries = [
        entry(item, [_address_of(source) for source in sources_of(item, mirror)], Path(folder) / item.target)
        for item in items
    ]
    return "".join(f"{line}\n" for line in [*map(as_called, head), *(line for lines in entries for line in lines)])


def _address_of(source: Source) -> str:
    return source.url if source.package is None else source.package.usual_address(source.archive)


_ARIA2_HEAD = ("# python scripts/download_weights.py --print-urls aria2 ... | aria2c --input-file=-",)
_WGET_HEAD = ("# python scripts/download_weights.py --print-urls wget ... | sh",)
_CURL_HEAD = (
    "# python scripts/download_weights.py --print-urls curl ... | curl --config -",
    "create-dirs",
    "location",
    "fail",
    'continue-at = "-"',
)


def _aria2(item: Item, urls: list[str], path: Path) -> list[str]:
    """An entry of an input file: all addresses of one file on a line, then its options."""
    lines = ["\t".join(urls), f"  dir={path.parent}", f"  out={path.name}", "  continue=true"]
    sha256 = item.file.packed.sha256 if item.file.packed else item.file.sha256
    return lines + ([f"  checksum=sha-256={sha256}"] if sha256 else [])


def _wget(item: Item, urls: list[str], path: Path) -> list[str]:
    """A command of a shell. Other addresses are comments: wget would continue a part of one from another."""
    folder, target = shlex.quote(f"{path.parent}"), shlex.quote(f"{path}")
    return [f"mkdir -p -- {folder} && wget -c -O {target} {shlex.quote(urls[0])}", *_others(urls)]


def _curl(item: Item, urls: list[str], path: Path) -> list[str]:
    """Two lines of a configuration file, and the other addresses as comments."""
    return [f"url = {_quoted(urls[0])}", f"output = {_quoted(path)}", *_others(urls)]


def _others(urls: list[str]) -> list[str]:
    return [f"# or {url}" for url in urls[1:]]


def _quoted(text: str | Path) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


FORMATS = {"aria2": (_ARIA2_HEAD, _aria2), "wget": (_WGET_HEAD, _wget), "curl": (_CURL_HEAD, _curl)}

"""Single files out of archives that nobody has vouched for: wheels (zip) and npm packages (tar.gz). All in memory."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, BinaryIO

from ppdiffusers_ext.errors import printable, shown_path
from ppdiffusers_ext.files import check_file
from ppdiffusers_ext.weights import tar_files
from ppdiffusers_ext.weights.archives import ZIP_METHODS, ArchiveError, SmallReads, damage_as_archive_error

_BLOCK_BYTES = 1 << 20


def read_member(archive: Path, name: str, size: int, package: str) -> bytes:
    """The bytes of one file in an archive, which is never unpacked.

    Args:
        archive: a zip, tar or tar.gz file; they are told apart by their content.
        name: of the file, as the archive has it.
        size: of the file in bytes; another one is refused before it is read.
        package: what the archive is to be, for messages.

    Raises:
        ArchiveError: the archive is damaged, or has no such file of this size.
        MissingFileError: there is no such archive.
        InputError: it is no file, or may not be read.
    """
    archive = check_file(archive, "package", f"{package} is accepted")
    with damage_as_archive_error(archive), open(archive, "rb") as file:
        start = file.read(4)
        file.seek(0)
        read = _from_zip if start == b"PK\x03\x04" else _from_tar
        content = read(file, name, size)
    if content is None:
        raise ArchiveError(
            f"{shown_path(archive)} has no file {printable(name, 200)} of {size} bytes; {package} is accepted"
        )
    return content


def _from_zip(file: BinaryIO, name: str, size: int) -> bytes | None:
    with zipfile.ZipFile(SmallReads(file)) as whole:
        found = [member for member in whole.infolist() if member.orig_filename == name]
        if len(found) != 1 or found[0].file_size != size:
            return None
        (member,) = found
        if member.flag_bits & 0x1 or member.compress_type not in ZIP_METHODS:
            raise ValueError("it is encrypted, or compressed by other means than deflate")
        with whole.open(member) as content:
            return _read_all(content)


def _from_tar(file: BinaryIO, name: str, size: int) -> bytes | None:
    for member in tar_files.members(file):
        if member.name == name and not member.is_folder and not member.refused and member.size == size:
            return _read_all(member)
    return None


def _read_all(content: IO[bytes] | tar_files.Member) -> bytes:
    parts = []
    while block := content.read(_BLOCK_BYTES):
        parts.append(block)
    return b"".join(parts)
